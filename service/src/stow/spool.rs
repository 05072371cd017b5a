//! Bytes on their way in: kept outside of memory, hashed while they come, gone when nobody holds them.
//!
//! A request's parts lie one behind another in memory while they are few, then in one file without a name in
//! `DIR/incoming` (0700): whatever ends the request, the process or the machine, nothing of it is left. The disk under
//! them is the site's, so a full one is found before anything is sealed, and nothing is lost by it.
//! Units: bytes. Errors: [`SpoolError`]. Requirement: REQ-SVC-156 to REQ-SVC-158.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use vidimus_log::Digest;

/// Bytes of one part at most: each is read whole before it is sealed. The largest films have about 64 MiB.
pub(crate) const PART_BYTES_MAX: u64 = 512 << 20;
/// Bytes of a request that stay in memory.
const MEMORY_BYTES_MAX: usize = 256 * 1024;

/// Why bytes could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SpoolError {
    /// No room: nothing of the request was stored, and nothing that was stored before is lost.
    #[error("disk full: nothing of this request was stored; make room, then send it again")]
    DiskFull(#[source] io::Error),
    /// The folder or the file cannot be used.
    #[error("bytes on their way in could not be kept: {what}")]
    Broken {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    fn of(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull(error)
            }
            _ => Self::Broken { what, source: error },
        }
    }
}

/// The folder of a site for bytes on their way in.
#[derive(Debug)]
pub(crate) struct Incoming {
    dir: PathBuf,
}

impl Incoming {
    /// Makes the folder, and empties it of what an earlier process may have left where files need names.
    pub(crate) fn open(site: &Path) -> Result<Self, SpoolError> {
        let dir = site.join("incoming");
        let failed = SpoolError::of("make the folder `incoming`");
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        for entry in fs::read_dir(&dir).map_err(&failed)? {
            fs::remove_file(entry.map_err(&failed)?.path()).map_err(&failed)?;
        }
        Ok(Self { dir })
    }

    /// Room for one request.
    pub(crate) fn spool(&self) -> Spool {
        Spool { dir: self.dir.clone(), memory: Vec::new(), file: None, length: 0, open: None }
    }
}

/// A part that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u64,
    /// Its length as received.
    pub length: u64,
    /// SHA-256 of its bytes; none where it is longer than an instance may be: then its bytes were not kept.
    pub digest: Option<Digest>,
}

/// The bytes of one request.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    memory: Vec<u8>,
    /// Once there is a file, all bytes lie in it.
    file: Option<File>,
    length: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    start: u64,
    length: u64,
    hasher: Sha256,
}

impl Spool {
    /// Begins a part.
    pub(crate) fn begin(&mut self) {
        self.open = Some(Open { start: self.length, length: 0, hasher: Sha256::new() });
    }

    /// Adds bytes to the open part.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.length += bytes.len() as u64;
        if open.length > PART_BYTES_MAX {
            // What was kept of it is overwritten by the next part.
            self.length = open.start;
            return Ok(());
        }
        open.hasher.update(bytes);
        self.keep(bytes)
    }

    /// Ends the open part.
    pub(crate) fn end(&mut self) -> Option<Span> {
        let Open { start, length, hasher } = self.open.take()?;
        let kept = length <= PART_BYTES_MAX;
        let digest = kept.then(|| Digest::from_bytes(hasher.finalize().into()));
        Some(Span { start, length, digest })
    }

    /// The bytes of a part, read back and held to their digest; none where they were not kept.
    pub(crate) fn read(&self, span: &Span) -> Result<Option<Vec<u8>>, SpoolError> {
        let Some(digest) = span.digest else { return Ok(None) };
        let broken = |why: &'static str| SpoolError::of("read a part back")(io::Error::other(why));
        let length = usize::try_from(span.length).map_err(|_| broken("it is larger than the memory's addresses"))?;
        let mut bytes = vec![0; length];
        match &self.file {
            Some(file) => file.read_exact_at(&mut bytes, span.start).map_err(SpoolError::of("read a part back"))?,
            None => {
                let start = usize::try_from(span.start).unwrap_or(usize::MAX);
                let held = self.memory.get(start..).and_then(|rest| rest.get(..length));
                bytes.copy_from_slice(held.ok_or_else(|| broken("it is not there"))?);
            }
        }
        if Digest::of(&bytes) == digest { Ok(Some(bytes)) } else { Err(broken("other bytes came back")) }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let start = self.length;
        self.length += bytes.len() as u64;
        if self.file.is_none() {
            let place = usize::try_from(start).unwrap_or(usize::MAX).min(self.memory.len());
            self.memory.truncate(place);
            if place + bytes.len() <= MEMORY_BYTES_MAX {
                self.memory.extend_from_slice(bytes);
                return Ok(());
            }
            let mut file = tempfile::tempfile_in(&self.dir).map_err(SpoolError::of("make a file"))?;
            file.write_all(&self.memory).map_err(SpoolError::of("write"))?;
            (self.file, self.memory) = (Some(file), Vec::new());
        }
        match &self.file {
            Some(file) => file.write_all_at(bytes, start).map_err(SpoolError::of("write")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn part(spool: &mut Spool, pieces: &[&[u8]]) -> Span {
        spool.begin();
        for piece in pieces {
            spool.write(piece).unwrap();
        }
        spool.end().unwrap()
    }

    /// Proves: REQ-SVC-156
    #[test]
    fn parts_come_back_as_they_were_sent_from_memory_and_from_the_file() {
        let site = tempfile::tempdir().unwrap();
        let incoming = Incoming::open(site.path()).unwrap();
        let mut spool = incoming.spool();
        let large = vec![7_u8; MEMORY_BYTES_MAX];
        let sent: [&[&[u8]]; 5] = [&[b"ab", b"c"], &[], &[&large[1..]], &[&large, b"x"], &[b"end"]];
        let spans: Vec<Span> = sent.iter().map(|pieces| part(&mut spool, pieces)).collect();
        assert!(spool.file.is_some() && spool.memory.is_empty());
        for (span, pieces) in spans.iter().zip(sent) {
            let whole = pieces.concat();
            assert_eq!((span.length, span.digest), (whole.len() as u64, Some(Digest::of(&whole))));
            assert_eq!(spool.read(span).unwrap(), Some(whole));
        }
        let mode = fs::metadata(site.path().join("incoming")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_dir(site.path().join("incoming")).unwrap().count(), 0, "the file has no name");
    }

    /// Proves: REQ-SVC-156
    #[test]
    fn a_few_bytes_stay_in_memory() {
        let site = tempfile::tempdir().unwrap();
        let mut spool = Incoming::open(site.path()).unwrap().spool();
        let span = part(&mut spool, &[&vec![1; MEMORY_BYTES_MAX]]);
        assert!(spool.file.is_none());
        assert_eq!(spool.read(&span).unwrap().unwrap().len(), MEMORY_BYTES_MAX);
    }

    /// Proves: REQ-SVC-157
    #[test]
    fn a_part_longer_than_an_instance_may_be_is_not_kept_and_harms_no_other() {
        let site = tempfile::tempdir().unwrap();
        let mut spool = Incoming::open(site.path()).unwrap().spool();
        let before = part(&mut spool, &[b"before"]);
        let piece = vec![9_u8; 16 << 20];
        spool.begin();
        for _ in 0..=PART_BYTES_MAX / piece.len() as u64 {
            // Kept as holes would be: only the count decides.
            spool.open.as_mut().unwrap().length += piece.len() as u64 - 1;
            spool.write(&piece[..1]).unwrap();
        }
        let long = spool.end().unwrap();
        assert!(long.length > PART_BYTES_MAX && long.digest.is_none());
        assert_eq!(spool.read(&long).unwrap(), None);
        let after = part(&mut spool, &[b"after"]);
        assert_eq!(spool.read(&before).unwrap().unwrap(), b"before");
        assert_eq!(spool.read(&after).unwrap().unwrap(), b"after");
    }

    /// Proves: REQ-SVC-158
    #[test]
    fn what_an_earlier_process_left_is_removed_at_the_start() {
        let site = tempfile::tempdir().unwrap();
        Incoming::open(site.path()).unwrap();
        let left = site.path().join("incoming/.tmpleft");
        fs::write(&left, b"left").unwrap();
        Incoming::open(site.path()).unwrap();
        assert!(!left.exists());
    }

    /// Proves: REQ-SVC-157
    #[test]
    fn a_full_disk_says_so() {
        // `/dev/full` answers every write as a full disk does.
        let site = tempfile::tempdir().unwrap();
        let mut spool = Incoming::open(site.path()).unwrap().spool();
        spool.file = Some(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        spool.begin();
        assert!(matches!(spool.write(b"x"), Err(SpoolError::DiskFull(_))));
    }
}
