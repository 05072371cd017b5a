//! The keys of access in the site's `keys/`: 64 hexadecimal characters a file, mode 0600, made at first use.
//! The command line makes them beside a running service, so the making needs no lock: the bytes are written and synced
//! under a name of their own, then linked to the final name, which fails if it is there. All processes read one key.
//! Errors: name the file and what to do; a key is never shown and is wiped from memory when dropped.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vidimus_log::Digest;
use zeroize::Zeroizing;

/// 32 secret bytes.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// Fresh random bytes.
pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system's source of randomness")?;
    Ok(bytes)
}

/// 256 random bits as 43 characters of base64url.
pub(super) fn random_text() -> anyhow::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// The key `name` of the site in `dir`; made if it is not there.
pub(super) fn open(dir: &Path, name: &str) -> anyhow::Result<Secret> {
    let folder = dir.join("keys");
    refuse_others(&folder, "0700")?;
    let path = folder.join(name);
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    make(&folder, name)?;
    read(&path)?.with_context(|| format!("{}: it vanished while it was made; try again", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Option<Secret>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    };
    refuse_others(path, "0600")?;
    let digest = text.strip_suffix('\n').and_then(|hex| hex.parse::<Digest>().ok());
    let digest = digest.with_context(|| {
        format!("{}: expected 64 hexadecimal characters; restore the file from a backup", path.display())
    })?;
    Ok(Some(Zeroizing::new(*digest.as_bytes())))
}

fn make(folder: &Path, name: &str) -> anyhow::Result<()> {
    let secret = Zeroizing::new(random::<32>()?);
    let text = Zeroizing::new(format!("{}\n", Digest::from_bytes(*secret).hex()));
    let temporary = folder.join(format!(".new-{name}-{}", random_text()?));
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&temporary, folder.join(name)) {
            // Another process was first: its key is the site's.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    };
    let written = write();
    // The first error is the one to report.
    let removed = fs::remove_file(&temporary);
    written.and(removed).and_then(|()| File::open(folder)?.sync_all()).with_context(|| {
        format!("{}: the key cannot be made; look at the folder's permissions and the free space", folder.display())
    })?;
    Ok(())
}

/// Refuses a path that others than its owner may use.
fn refuse_others(path: &Path, expected: &str) -> anyhow::Result<()> {
    let mode = fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?.mode() & 0o777;
    anyhow::ensure!(
        mode & 0o077 == 0,
        "{0}: others may use it (mode {mode:04o}); if nobody did: chmod {expected} {0}",
        path.display()
    );
    Ok(())
}
