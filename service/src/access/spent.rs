//! Tokens that were used up: exchanged for a session, or revoked. Kept in a file until each token's own end, so that a
//! restart makes none of them good again.
//! A line is `<use> <end, UTC seconds> <SHA-256 of the jti>`; it is durable before [`Spent::add`] returns. A last line
//! without its end was never acknowledged and is dropped.
//! Errors: `anyhow` at the opening, naming the file; [`Denial`] `not-durable` where a use cannot be kept: then it is
//! refused.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use vidimus_log::Digest;

use super::{Denial, limits::SPENT_MAX};

/// For what a token was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// It gave a session or a step-up: no second one.
    Exchanged,
    /// It is good for nothing any more.
    Revoked,
}

impl Use {
    const fn word(self) -> &'static str {
        match self {
            Self::Exchanged => "exchanged",
            Self::Revoked => "revoked",
        }
    }
}

/// The list, in memory and on disk.
pub(super) struct Spent {
    rows: HashMap<(Use, Digest), u64>,
    file: File,
    /// Bytes of whole lines; a write that failed is cut back to here.
    length: u64,
}

impl Spent {
    /// Reads the list, drops what has ended and writes the rest anew.
    pub(super) fn open(path: &Path, now_s: u64) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
        };
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut rows = HashMap::new();
        for (number, line) in whole.lines().enumerate() {
            let (row, ends_s) = parse(line).with_context(|| {
                format!("{}: line {}: expected use, end and digest; restore the file", path.display(), number + 1)
            })?;
            if ends_s > now_s {
                rows.insert(row, ends_s);
            }
        }
        let (file, length) = rewrite(path, &rows).with_context(|| format!("{}: cannot be written", path.display()))?;
        Ok(Self { rows, file, length })
    }

    /// Whether the token was used up so.
    pub(super) fn is(&self, how: Use, token_id: &str) -> bool {
        self.rows.contains_key(&(how, Digest::of(token_id.as_bytes())))
    }

    /// Keeps that the token was used up; durable on success.
    pub(super) fn add(&mut self, how: Use, token_id: &str, ends_s: u64, now_s: u64) -> Result<(), Denial> {
        // Its verification allows for clocks that differ: so does its memory.
        let ends_s = ends_s.saturating_add(super::limits::SKEW_S);
        let row = (how, Digest::of(token_id.as_bytes()));
        if self.rows.contains_key(&row) {
            return Ok(());
        }
        self.rows.retain(|_, ends_s| *ends_s > now_s);
        if self.rows.len() >= SPENT_MAX {
            return Err(Denial::new("not-durable"));
        }
        let line = line(&row, ends_s);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // What stands behind the last whole line goes; should this fail too, the next line is refused at opening.
            let _ = self.file.set_len(self.length);
            return Err(Denial::new("not-durable"));
        }
        self.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.rows.insert(row, ends_s);
        Ok(())
    }
}

fn line((how, digest): &(Use, Digest), ends_s: u64) -> String {
    format!("{} {ends_s} {digest}\n", how.word())
}

fn parse(line: &str) -> Option<((Use, Digest), u64)> {
    let mut words = line.split(' ');
    let (word, ends, digest, None) = (words.next()?, words.next()?, words.next()?, words.next()) else { return None };
    let how = [Use::Exchanged, Use::Revoked].into_iter().find(|how| how.word() == word)?;
    Some(((how, digest.parse().ok()?), ends.parse().ok()?))
}

/// Writes the list whole under another name, then puts it in place; the file stays open for the lines to come.
fn rewrite(path: &Path, rows: &HashMap<(Use, Digest), u64>) -> io::Result<(File, u64)> {
    let temporary = path.with_extension("new");
    let text: String = rows.iter().map(|(row, ends_s)| line(row, *ends_s)).collect();
    let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&temporary)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok((file, u64::try_from(text.len()).unwrap_or(u64::MAX)))
}
