//! The site's keys: one file each, 64 hexadecimal characters, mode 0600, in a folder 0700 apart from the databases.
//! Errors: [`SiteError`]; a key is never printed and is wiped from memory when dropped.

use std::{fs, path::Path};

use vidimus_log::{Digest, note::SigningKey};
use zeroize::Zeroizing;

use crate::{SiteError, files};

/// 32 secret bytes.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// Makes a key and its file.
pub(crate) fn make(path: &Path) -> Result<Secret, SiteError> {
    let secret = Zeroizing::new(files::random::<32>().ok_or(SiteError::Randomness)?);
    let text = Zeroizing::new(format!("{}\n", Digest::from_bytes(*secret).hex()));
    files::write_whole(path, text.as_bytes()).map_err(SiteError::io("write the key", path))?;
    Ok(secret)
}

/// Reads a key; others must not be able to.
pub(crate) fn read(path: &Path) -> Result<Secret, SiteError> {
    files::refuse_others(path, 0o077, "read a key")?;
    let text = Zeroizing::new(fs::read_to_string(path).map_err(SiteError::io("read the key", path))?);
    let digest = text.strip_suffix('\n').and_then(|hex| hex.parse::<Digest>().ok());
    let digest =
        digest.ok_or(SiteError::Tampered { file: "keys", what: "a key is not 64 hexadecimal characters".into() })?;
    Ok(Zeroizing::new(*digest.as_bytes()))
}

/// Reads the key that signs checkpoints.
pub(crate) fn signing(dir: &Path, origin: &str) -> Result<SigningKey, SiteError> {
    let seed = read(&dir.join("keys").join("log.key"))?;
    SigningKey::from_seed(origin, &seed).map_err(|error| SiteError::Fact { what: "origin", why: error.to_string() })
}
