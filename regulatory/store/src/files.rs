//! Files of a site: folders 0700, files 0600, written whole (temporary name, fsync, rename, fsync of the folder).
//! Errors: [`SiteError`] with path and action.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
    time::Duration,
};

use crate::SiteError;

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// Makes a folder that only its owner may enter.
pub(crate) fn make_folder(path: &Path) -> Result<(), SiteError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(SiteError::io("make the folder", path))
}

/// Options for a new file that only its owner may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Writes a file whole or not at all; on success it is durable.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let mut temporary = std::ffi::OsString::from(".new-");
    temporary.push(name);
    let temporary = folder.join(temporary);
    let write = || {
        let mut file = private().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(folder)
    };
    write().inspect_err(|_| {
        // The first error is the one to report; the left-over is overwritten by the next try.
        let _ = fs::remove_file(&temporary);
    })
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), SiteError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(SiteError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Refuses a path on which others hold any of the permission bits `mask`.
pub(crate) fn refuse_others(path: &Path, mask: u32, what: &'static str) -> Result<(), SiteError> {
    let found = fs::metadata(path).map_err(SiteError::io("read", path))?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&found) & 0o777;
        if mode & mask != 0 {
            return Err(SiteError::Permissions { path: path.to_owned(), mode, what });
        }
    }
    #[cfg(not(unix))]
    let _ = (found, mask, what);
    Ok(())
}

/// How often the lock is tried, and the pause between: a process that this one is just starting holds a copy of every
/// open file for a moment, so of a lock that was given back already.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Takes the site's lock for as long as the file lives.
pub(crate) fn lock(dir: &Path) -> Result<File, SiteError> {
    let path = dir.join("lock");
    let open = private().read(true).write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(SiteError::io("open the lock", &path))?;
    for tried in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(fs::TryLockError::WouldBlock) if tried < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
            Err(fs::TryLockError::WouldBlock) => return Err(SiteError::Locked { dir: dir.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(SiteError::io("lock", &path)(error)),
        }
    }
    Ok(file)
}
