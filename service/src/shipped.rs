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

/// The newest version of each family: what a new site is given. Earlier ones stay here as evidence of what was
/// released.
pub(crate) fn newest() -> Vec<Shipped> {
    let mut newest: BTreeMap<String, Shipped> = BTreeMap::new();
    for shipped in bundles() {
        let Some((family, _)) = shipped.name.split_once('/') else { continue };
        let later = newest.get(family).is_none_or(|held| numbers(&held.name) < numbers(&shipped.name));
        if later {
            newest.insert(family.to_owned(), shipped);
        }
    }
    newest.into_values().collect()
}

/// The numbers of a version, in the order in which versions follow each other.
fn numbers(name: &str) -> Vec<u64> {
    let version = name.split_once('/').map_or(name, |(_, version)| version);
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// The sample radiographs: file name and bytes.
pub(crate) fn samples() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    SAMPLES.iter().filter(|(path, _)| path.ends_with(".dcm")).map(|(path, bytes)| (*path, *bytes))
}

/// A file of the pages.
pub(crate) fn page(name: &str) -> Option<&'static [u8]> {
    PAGES.iter().find(|(path, _)| *path == name).map(|(_, bytes)| *bytes)
}
