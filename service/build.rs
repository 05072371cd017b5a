//! Lists what the program carries, so that it needs no folder beside it: the shipped bundles, the sample radiographs
//! and the pages.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut text = String::new();
    for (name, folder) in
        [("BUNDLES", here.join("../models/bundles")), ("SAMPLES", here.join("samples")), ("PAGES", here.join("pages"))]
    {
        let mut files = Vec::new();
        walk(&folder, "", &mut files);
        files.sort();
        let _ = writeln!(text, "pub(crate) static {name}: &[(&str, &[u8])] = &[");
        for (path, file) in files {
            let _ = writeln!(text, "    ({path:?}, include_bytes!({:?})),", file.display().to_string());
        }
        text.push_str("];\n");
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("shipped.rs");
    if let Err(error) = fs::write(&out, text) {
        println!("cargo::error=cannot write the list of shipped files: {error}");
    }
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.path().is_dir() {
            walk(&entry.path(), &path, files);
        } else {
            files.push((path, entry.path()));
        }
    }
}
