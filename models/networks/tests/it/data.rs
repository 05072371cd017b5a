//! Where the shared data lies, and what to do where it does not.

use std::path::PathBuf;

/// The data folder, or `None` (said aloud) where a stranger's clone has none; with `CI=true` its absence is a failure.
pub(crate) fn folder() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = std::env::var_os("VIDIMUS_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no data at {}", folder.display());
    eprintln!("not run: no data at {}", folder.display());
    None
}

/// The published trunk's folder.
pub(crate) fn trunk() -> Option<PathBuf> {
    Some(folder()?.join("weights/efficientnet-lite0-imagenet"))
}
