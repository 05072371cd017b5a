//! A demonstration site that the tests share: made once in this process, copied by those that change it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;
use vidimus_tests::{Ran, vidimus_run};

/// A site after `vidimus demo --json`, and what that printed.
pub(crate) struct Demo {
    folder: TempDir,
    /// The objects of the sample films.
    pub(crate) readings: Vec<Value>,
}

impl Demo {
    /// The site's folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("site")
    }
}

/// The shared site. Tests that write use [`copy`].
pub(crate) fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let dir = folder.path().join("site");
        let ran = vidimus_run(&["demo", "--no-serve", "--json", "--dir", text(&dir)]).expect_code(0);
        Demo { readings: ran.objects(), folder }
    })
}

/// A copy of the shared site in a folder of its own.
pub(crate) fn copy() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("site");
    copy_folder(&demo().dir(), &dir);
    (folder, dir)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // `fs::copy` keeps the mode: keys stay private.
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A sample film of the repository.
pub(crate) fn sample(number: usize) -> PathBuf {
    vidimus_tests::root().join(format!("service/samples/sample-{number:02}.dcm"))
}

/// Reads paths at a site, as a program does.
pub(crate) fn read(dir: &Path, paths: &[&Path]) -> Ran {
    let mut arguments = vec!["read"];
    arguments.extend(paths.iter().map(|path| text(path)));
    arguments.extend(["--dir", text(dir), "--json"]);
    vidimus_run(&arguments)
}

/// The whole log of a site verifies.
pub(crate) fn assert_log_whole(dir: &Path) {
    vidimus_run(&["log", "verify", "--dir", text(dir)]).expect_code(0);
}
