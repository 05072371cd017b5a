//! Files from outside: read up to a bound, and the folder of a published log as a source.
//! Errors: `VerifyError::Unreadable` with the path.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use vidimus_log::{
    Digest, Source, SourceError, VerifyError, limits,
    note::VerifyingKey,
    tile::{self, Name},
    tree::{self, Nodes},
};

/// Reads a file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: usize) -> Result<Vec<u8>, VerifyError> {
    read_bounded(path, most).map_err(|why| VerifyError::Unreadable { what: format!("{}: {why}", path.display()) })
}

fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(error.to_string()),
        Ok(length) if length > most => Err(format!("longer than the {most} bytes that it can have")),
        Ok(_) => Ok(bytes),
    }
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path, most: usize) -> Result<String, VerifyError> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|_| VerifyError::Unreadable { what: format!("{}: not UTF-8", path.display()) })
}

/// Reads a public key.
pub(crate) fn read_key(path: &Path) -> Result<VerifyingKey, VerifyError> {
    let unreadable =
        |error: vidimus_log::note::NoteError| VerifyError::Unreadable { what: format!("{}: {error}", path.display()) };
    VerifyingKey::parse(&read_text(path, 4_096)?).map_err(unreadable)
}

/// A folder with `checkpoint` and `tile/`.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Source for Folder {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, SourceError> {
        let most = match Name::parse(path) {
            None => limits::NOTE_BYTES_MAX,
            Some(Name::Tile { .. }) => 8_192,
            Some(Name::Bundle { .. }) => 256 * (2 + limits::ENTRY_BYTES_MAX),
        };
        let error = |why| SourceError { path: path.to_owned(), why };
        read_bounded(&self.0.join(path), most).map_err(error)
    }
}

/// Hashes from the tiles of a folder that belong to a log of this size.
pub(crate) struct FolderNodes {
    pub(crate) folder: Folder,
    pub(crate) size: u64,
}

impl Nodes for FolderNodes {
    type Error = VerifyError;

    fn node(&mut self, level: u32, index: u64) -> Result<Digest, VerifyError> {
        let (level, tile, range) = tile::locate(level, index);
        let width = tile::hashes_at(self.size, level).saturating_sub(tile * tile::WIDTH).min(tile::WIDTH);
        let path = tile::path(level, tile, width);
        let bytes = self.folder.read(&path).map_err(|error| VerifyError::Unreadable { what: error.to_string() })?;
        let hashes = tile::hashes(&bytes).filter(|hashes| u64::try_from(hashes.len()) == Ok(width));
        let hash = hashes.as_ref().and_then(|hashes| hashes.get(range)).map(tree::root);
        hash.ok_or_else(|| VerifyError::Tampered { what: format!("{path}: expected {width} hashes") })
    }
}
