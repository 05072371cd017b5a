//! What the program carries: released bundles with their evidence, and sample radiographs.
//! The bytes are those of `models/bundles` and `service/samples` at build time; `build.rs` lists them.

use std::collections::BTreeMap;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// One shipped bundle: the files of the package and those that lie beside it in `evidence/`.
pub(crate) struct Shipped {
    /// `NAME/VERSION`.
    pub name: String,
    /// Files by path inside the bundle's folder.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Every shipped bundle, by name.
pub(crate) fn bundles() -> Vec<Shipped> {
    let mut found: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (path, bytes) in BUNDLES {
        let mut parts = path.splitn(3, '/');
        if let (Some(family), Some(version), Some(rest)) = (parts.next(), parts.next(), parts.next()) {
            found.entry(format!("{family}/{version}")).or_default().insert(rest.to_owned(), bytes.to_vec());
        }
    }
    found.into_iter().map(|(name, files)| Shipped { name, files }).collect()
}

/// The sample radiographs: file name and bytes.
pub(crate) fn samples() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    SAMPLES.iter().filter(|(path, _)| path.ends_with(".dcm")).map(|(path, bytes)| (*path, *bytes))
}

/// A file of the pages.
pub(crate) fn page(name: &str) -> Option<&'static [u8]> {
    PAGES.iter().find(|(path, _)| *path == name).map(|(_, bytes)| *bytes)
}
