//! Documents that become durable together: sealed one by one, their files synced side by side, their rows kept in one
//! transaction. What is not kept in the end leaves no file behind.
//! Errors: [`VaultError`]. Source: AUDIT_LOG section 4.

use std::{collections::HashMap, fs, io::Write as _, path::PathBuf};

use vidimus_log::{EntryId, Phi, commit, values::Commit};
use zeroize::Zeroize as _;

use crate::{
    ObjectId, Subject, Vault, VaultError, files,
    keeper::{Document, Keeper},
    seal,
    vault::{INLINE, INLINE_BYTES_MAX, STORED},
};

/// Files that are open at a time.
const FILES_OPEN_MAX: usize = 32;
/// Threads that wait for the disk at a time: the disk writes one journal for all of them.
const SYNCS_MAX: usize = 8;

/// Documents of one [`Vault::batch`].
pub struct Batch<'a> {
    vault: &'a Vault,
    documents: Vec<Document>,
    made: HashMap<(EntryId, String), ([u8; commit::OPENING_BYTES], Commit)>,
    open: Vec<fs::File>,
    written: Vec<PathBuf>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(vault: &'a Vault) -> Self {
        Self { vault, documents: Vec::new(), made: HashMap::new(), open: Vec::new(), written: Vec::new() }
    }

    /// Seals `value` into a file of its own.
    pub fn put(&mut self, subject: &Subject, value: &[u8]) -> Result<ObjectId, VaultError> {
        let id = ObjectId::from_bytes(files::random().ok_or(VaultError::Randomness)?);
        let place = seal::place(&self.vault.origin, &id.to_string(), "object");
        let sealed = seal::seal(&subject.key, &place, value).ok_or(VaultError::Randomness)?;
        if self.open.len() >= FILES_OPEN_MAX {
            self.sync()?;
        }
        let path = self.vault.objects.join(id.to_string());
        // Without its row the file is nothing, so it needs no other name until it is whole.
        let made = files::private().write(true).create_new(true).open(&path);
        let mut file = made.map_err(VaultError::io("make the object", &path))?;
        self.written.push(path.clone());
        file.write_all(&sealed).map_err(VaultError::io("write the object", &path))?;
        self.open.push(file);
        self.documents.push(Document::Object { id, key: subject.id });
        Ok(id)
    }

    /// Opens a document that was put into this batch, which nobody else can open yet.
    pub fn get(&self, subject: &Subject, id: &ObjectId) -> Result<Phi<Vec<u8>>, VaultError> {
        self.vault.unseal(&subject.key, id)
    }

    /// The commitment to `value` in `field` of the entry to come. The same value again (a retry) gives the same
    /// commitment, another value is refused.
    pub fn commit(
        &mut self,
        subject: &Subject,
        entry: &EntryId,
        field: &str,
        value: &[u8],
    ) -> Result<Commit, VaultError> {
        let place = (*entry, field.to_owned());
        if let Some((opening, made)) = self.made.get(&place) {
            let again = commit::commitment(field, opening, value);
            return if again == *made { Ok(again) } else { Err(VaultError::Conflict) };
        }
        match self.vault.opening(entry, field) {
            Ok(held) if held.value.open().as_slice() == value => {
                return Ok(commit::commitment(field, &held.opening, value));
            }
            Ok(_) => return Err(VaultError::Conflict),
            Err(VaultError::Missing) => {}
            Err(error) => return Err(error),
        }
        let opening = files::random().ok_or(VaultError::Randomness)?;
        let sealed = self.seal_opening(subject, entry, field, &opening, value)?;
        self.documents.push(Document::Opening { entry: *entry, field: field.to_owned(), key: subject.id, sealed });
        let made = commit::commitment(field, &opening, value);
        self.made.insert(place, (opening, made.clone()));
        Ok(made)
    }

    fn seal_opening(
        &mut self,
        subject: &Subject,
        entry: &EntryId,
        field: &str,
        opening: &[u8; commit::OPENING_BYTES],
        value: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        let mut document = Vec::with_capacity(opening.len() + 1 + value.len().min(INLINE_BYTES_MAX));
        document.extend_from_slice(opening);
        if value.len() <= INLINE_BYTES_MAX {
            document.push(INLINE);
            document.extend_from_slice(value);
        } else {
            document.push(STORED);
            document.extend_from_slice(self.put(subject, value)?.as_bytes());
        }
        let place = seal::place(&self.vault.origin, &entry.to_string(), field);
        let sealed = seal::seal(&subject.key, &place, &document).ok_or(VaultError::Randomness);
        document.zeroize();
        sealed
    }

    /// Makes the open files durable, side by side.
    fn sync(&mut self) -> Result<(), VaultError> {
        let open = std::mem::take(&mut self.open);
        let share = open.len().div_ceil(SYNCS_MAX).max(1);
        let sync = |files: &[fs::File]| files.iter().try_for_each(fs::File::sync_all);
        let synced = match open.as_slice() {
            [] => Ok(()),
            [one] => one.sync_all(),
            several => std::thread::scope(|scope| {
                let threads: Vec<_> = several.chunks(share).map(|files| scope.spawn(move || sync(files))).collect();
                let died = || Err(std::io::Error::other("a thread that syncs files died"));
                threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| died()))
            }),
        };
        synced.map_err(VaultError::io("sync the objects in", &self.vault.objects))
    }

    /// Makes everything durable: files first, then their names, then the rows.
    pub(crate) fn keep(mut self, keeper: &Keeper) -> Result<(), VaultError> {
        self.sync()?;
        if !self.written.is_empty() {
            let objects = &self.vault.objects;
            files::sync_folder(objects).map_err(VaultError::io("sync the folder", objects))?;
        }
        let kept = keeper.keep(std::mem::take(&mut self.documents)).map_err(VaultError::from);
        if matches!(kept, Ok(()) | Err(VaultError::Fenced)) {
            // In doubt the rows may be there: then their files must be, too.
            self.written.clear();
        }
        kept
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for path in &self.written {
            // Without its row the file is nothing: it may as well stay.
            let _ = fs::remove_file(path);
        }
    }
}
