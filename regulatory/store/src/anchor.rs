//! The anchor file: the last states of the log beside the database, so that a database put back to an earlier day, or
//! replaced by another history, is seen at start. A ring of 512-byte records in a file of fixed length:
//! `magic[8] seq[8] size[8] root[32] note digest[32] zeros sha256[32]`, numbers big-endian.
//! Written after each commit, made durable about each second while the log grows and at shutdown (`lazy`).
//! Errors: [`SiteError`]. Source: AUDIT_LOG section 8.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use vidimus_log::Digest;

use crate::{SiteError, files};

const MAGIC: &[u8; 8] = b"VDMSANC1";
const RECORD_BYTES: usize = 512;
const RECORDS: u64 = 64;

/// A state of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    seq: u64,
    /// Number of entries.
    pub(crate) size: u64,
    /// Root over them.
    pub(crate) root: Digest,
    note: Digest,
}

/// The file, and the newest state in it.
pub(crate) struct Anchor {
    file: File,
    path: PathBuf,
    newest: State,
    synced: Instant,
}

/// While the log grows, the file is made durable about this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);

fn path(dir: &Path) -> PathBuf {
    dir.join("anchor.tlog")
}

/// Makes the file with its first state.
pub(crate) fn make(dir: &Path, size: u64, root: Digest, note: &str) -> Result<(), SiteError> {
    let first = State { seq: 0, size, root, note: Digest::of(note.as_bytes()) };
    let mut bytes = record(&first).to_vec();
    bytes.resize(RECORD_BYTES * usize::try_from(RECORDS).unwrap_or(1), 0);
    let path = path(dir);
    files::write_whole(&path, &bytes).map_err(SiteError::io("write the anchor", &path))
}

/// The newest whole record; a torn one is older by one commit and no harm.
pub(crate) fn read(dir: &Path) -> Result<State, SiteError> {
    let path = path(dir);
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(SiteError::io("open the anchor", &path))?;
    let most = u64::try_from(RECORD_BYTES).unwrap_or(512) * RECORDS;
    file.take(most).read_to_end(&mut bytes).map_err(SiteError::io("read the anchor", &path))?;
    let states = bytes.chunks_exact(RECORD_BYTES).filter_map(parse);
    states
        .max_by_key(|state| state.seq)
        .ok_or_else(|| SiteError::Tampered { file: "anchor.tlog", what: "no whole record in it".to_owned() })
}

impl Anchor {
    /// Opens the file for writing.
    pub(crate) fn open(dir: &Path) -> Result<Self, SiteError> {
        let newest = read(dir)?;
        let path = path(dir);
        files::refuse_others(&path, 0o022, "write the anchor")?;
        let file = OpenOptions::new().write(true).open(&path).map_err(SiteError::io("open the anchor", &path))?;
        Ok(Self { file, path, newest, synced: Instant::now() })
    }

    /// The newest state.
    pub(crate) const fn newest(&self) -> State {
        self.newest
    }

    /// Writes a state over the oldest one.
    pub(crate) fn write(&mut self, size: u64, root: Digest, note: &str) -> Result<(), SiteError> {
        let state = State { seq: self.newest.seq + 1, size, root, note: Digest::of(note.as_bytes()) };
        let offset = (state.seq % RECORDS) * 512;
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&record(&state))
        };
        write(&mut self.file).map_err(SiteError::io("write the anchor", &self.path))?;
        self.newest = state;
        if self.synced.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&mut self) -> Result<(), SiteError> {
        self.synced = Instant::now();
        self.file.sync_data().map_err(SiteError::io("sync the anchor", &self.path))
    }
}

fn record(state: &State) -> [u8; RECORD_BYTES] {
    let mut body = Vec::with_capacity(RECORD_BYTES);
    body.extend_from_slice(MAGIC);
    body.extend_from_slice(&state.seq.to_be_bytes());
    body.extend_from_slice(&state.size.to_be_bytes());
    body.extend_from_slice(state.root.as_bytes());
    body.extend_from_slice(state.note.as_bytes());
    body.resize(RECORD_BYTES - 32, 0);
    let digest = Digest::of(&body);
    let mut out = [0; RECORD_BYTES];
    for (to, from) in out.iter_mut().zip(body.iter().chain(digest.as_bytes())) {
        *to = *from;
    }
    out
}

fn parse(bytes: &[u8]) -> Option<State> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (root, rest) = rest.split_first_chunk::<32>()?;
    let (note, _) = rest.split_first_chunk::<32>()?;
    let state = State {
        seq: u64::from_be_bytes(*seq),
        size: u64::from_be_bytes(*size),
        root: Digest::from_bytes(*root),
        note: Digest::from_bytes(*note),
    };
    (magic == MAGIC && record(&state) == bytes).then_some(state)
}
