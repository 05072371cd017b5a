//! The vault: openings of commitments and sealed files, under one key for each patient, in a file apart from the log.
//! A document is durable before the entry that commits to it. Erasing the key is erasing the link: proofs still
//! verify, the documents stay sealed. Keys are wrapped by an epoch's key that lies outside the database.
//! Errors: [`VaultError`]; patient data comes out as [`Phi`] only. Source: AUDIT_LOG section 4.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection};
use vidimus_log::{Digest, EntryId, Phi, commit, values::Commit};
use zeroize::Zeroizing;

use crate::{
    SiteError, VaultError, database, files,
    keeper::{Document, Keeper, NotKept},
    keys::Secret,
    reads::Reads,
    seal,
    sealing::Batch,
    tables::{vault_key, vault_object, vault_opening},
};

/// Values up to this size lie in the database, larger ones in a file of their own.
pub(crate) const INLINE_BYTES_MAX: usize = 65_536;
pub(crate) const INLINE: u8 = 0;
pub(crate) const STORED: u8 = 1;

/// Each try waits for readers as long as the connection waits for a lock.
const CHECKPOINT_TRIES: u32 = 3;

/// Names a sealed file: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 16]);

impl ObjectId {
    /// The id of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 lower-case hexadecimal characters.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose documents: a patient, a member of staff, or the site itself; holds the key, shows nothing.
pub struct Subject {
    pub(crate) id: KeyId,
    pub(crate) key: Secret,
}

/// Names a subject's key; an erased key's name is never used again.
pub(crate) type KeyId = [u8; 16];

/// What a commitment opens to.
pub struct Opening {
    /// The randomness of the commitment.
    pub opening: [u8; commit::OPENING_BYTES],
    /// The exact bytes committed to.
    pub value: Phi<Vec<u8>>,
}

/// Sealed documents of one site. All methods may be called from any thread; callers that write at the same time share
/// the wait for the disk.
pub struct Vault {
    // Closed before the keeper, whose connection is the last one and empties the write-ahead log.
    reads: Reads,
    keeper: Option<Keeper>,
    pub(crate) objects: PathBuf,
    pub(crate) origin: String,
    epoch: u64,
    kek: Secret,
}

impl Vault {
    /// The vault of the process that writes the site.
    pub(crate) fn new(connection: SqliteConnection, dir: &Path, origin: &str, kek: Secret) -> Result<Self, SiteError> {
        let reads = Reads::new(dir, &database::VAULT, None);
        Ok(Self { keeper: Some(Keeper::start(connection)?), ..Self::over(reads, dir, origin, kek) })
    }

    /// The vault of a process that reads beside it.
    pub(crate) fn new_read(connection: SqliteConnection, dir: &Path, origin: &str, kek: Secret) -> Self {
        Self::over(Reads::new(dir, &database::VAULT, Some(connection)), dir, origin, kek)
    }

    fn over(reads: Reads, dir: &Path, origin: &str, kek: Secret) -> Self {
        Self { reads, keeper: None, objects: dir.join("objects"), origin: origin.to_owned(), epoch: 1, kek }
    }

    /// The subject of this patient's keyed hash; its key is made at first use.
    pub fn subject(&self, patient: &Digest) -> Result<Subject, VaultError> {
        self.subject_of("patient", patient)
    }

    /// The subject of a member of staff, by the keyed hash of its pseudonym.
    pub fn staff(&self, person: &Digest) -> Result<Subject, VaultError> {
        self.subject_of("staff", person)
    }

    /// The subject of documents that concern nobody in person.
    pub fn site(&self) -> Result<Subject, VaultError> {
        self.subject_of("site", &Digest::of(b"site"))
    }

    fn subject_of(&self, sort: &str, key: &Digest) -> Result<Subject, VaultError> {
        let subject = subject_hash(sort, key);
        if let Some(held) = self.held_subject(&subject)? {
            return Ok(held);
        }
        let keeper = self.keeper()?;
        let id: KeyId = files::random().ok_or(VaultError::Randomness)?;
        let key = Secret::new(files::random().ok_or(VaultError::Randomness)?);
        let wrapped = seal::seal(&self.kek, &self.key_place(&id), &*key).ok_or(VaultError::Randomness)?;
        match keeper.keep(vec![Document::Key { id, subject, epoch: self.epoch, wrapped }]) {
            Ok(()) => Ok(Subject { id, key }),
            // Another caller has made the subject's key meanwhile.
            Err(NotKept::Taken) => self.held_subject(&subject)?.ok_or(VaultError::Missing),
            Err(NotKept::Failed(error)) => Err(error),
        }
    }

    fn held_subject(&self, subject: &Digest) -> Result<Option<Subject>, VaultError> {
        let mut connection = self.reads.take().map_err(VaultError::reading)?;
        let held: Option<(Vec<u8>, Vec<u8>)> = vault_key::table
            .filter(vault_key::subject.eq(subject.as_bytes().as_slice()))
            .select((vault_key::id, vault_key::wrapped))
            .first(&mut *connection)
            .optional()
            .map_err(VaultError::database("read a subject's key"))?;
        drop(connection);
        let subject = |(id, wrapped): (Vec<u8>, Vec<u8>)| {
            let id = key_id(&id)?;
            Ok(Subject { id, key: self.unwrap_key(&id, &wrapped)? })
        };
        held.map(subject).transpose()
    }

    fn key_place(&self, id: &KeyId) -> Vec<u8> {
        seal::place(&self.origin, &ObjectId(*id).to_string(), &format!("key/{}", self.epoch))
    }

    fn key(&self, connection: &mut SqliteConnection, id: &KeyId) -> Result<Secret, VaultError> {
        let wrapped: Option<Vec<u8>> = vault_key::table
            .find(id.as_slice())
            .select(vault_key::wrapped)
            .first(connection)
            .optional()
            .map_err(VaultError::database("read a subject's key"))?;
        self.unwrap_key(id, &wrapped.ok_or(VaultError::Erased)?)
    }

    fn unwrap_key(&self, id: &KeyId, wrapped: &[u8]) -> Result<Secret, VaultError> {
        let tampered = || VaultError::Tampered { what: "a subject's key".to_owned() };
        let key = Zeroizing::new(seal::open(&self.kek, &self.key_place(id), wrapped).ok_or_else(tampered)?);
        Ok(Secret::new(key.as_slice().try_into().map_err(|_| tampered())?))
    }

    /// The commitment to `value` in `field` of the entry to come. The opening is durable when this returns; the same
    /// value again (a retry) gives the same commitment, another value is refused.
    pub fn commit(&self, subject: &Subject, entry: &EntryId, field: &str, value: &[u8]) -> Result<Commit, VaultError> {
        let mut commits = self.commit_all(subject, entry, &[(field, value)])?;
        commits.pop().ok_or(VaultError::Missing)
    }

    /// [`Vault::commit`] for several fields of one entry, in one transaction and in order.
    pub fn commit_all(
        &self,
        subject: &Subject,
        entry: &EntryId,
        fields: &[(&str, &[u8])],
    ) -> Result<Vec<Commit>, VaultError> {
        let all = |batch: &mut Batch<'_>| {
            fields.iter().map(|(field, value)| batch.commit(subject, entry, field, value)).collect::<Result<_, _>>()
        };
        match self.batch(all) {
            // Another caller has committed to one of the fields meanwhile: now it is a retry, or another value.
            Err(VaultError::Taken) => self.batch(all),
            kept => kept,
        }
    }

    /// Keeps several documents together: all that `fill` puts and commits is durable when this returns, in one
    /// transaction, or nothing of it is kept. What `fill` returns is handed out only then.
    pub fn batch<T, E: From<VaultError>>(&self, fill: impl FnOnce(&mut Batch<'_>) -> Result<T, E>) -> Result<T, E> {
        let keeper = self.keeper()?;
        let mut batch = Batch::new(self);
        let filled = fill(&mut batch)?;
        batch.keep(keeper)?;
        Ok(filled)
    }

    /// What the commitment in `field` of an entry opens to; [`VaultError::Erased`] once the subject's key is gone.
    pub fn opening(&self, entry: &EntryId, field: &str) -> Result<Opening, VaultError> {
        let mut connection = self.reads.take().map_err(VaultError::reading)?;
        let row: Option<(Vec<u8>, Vec<u8>)> = vault_opening::table
            .find((entry.as_bytes().as_slice(), field))
            .select((vault_opening::key_id, vault_opening::sealed))
            .first(&mut *connection)
            .optional()
            .map_err(VaultError::database("read an opening"))?;
        let (subject, sealed) = row.ok_or(VaultError::Missing)?;
        let key = self.key(&mut connection, &key_id(&subject)?)?;
        drop(connection);
        let tampered = || VaultError::Tampered { what: format!("the opening of {field} in entry {entry}") };
        let place = seal::place(&self.origin, &entry.to_string(), field);
        let document = Zeroizing::new(seal::open(&key, &place, &sealed).ok_or_else(tampered)?);
        let (opening, rest) = document.split_first_chunk().ok_or_else(tampered)?;
        let value = match rest.split_first() {
            Some((&INLINE, value)) => Phi::new(value.to_vec()),
            Some((&STORED, id)) => self.get(&ObjectId(id.try_into().map_err(|_| tampered())?))?,
            _ => return Err(tampered()),
        };
        Ok(Opening { opening: *opening, value })
    }

    /// Seals `value` into a file of its own; durable when this returns.
    pub fn put(&self, subject: &Subject, value: &[u8]) -> Result<ObjectId, VaultError> {
        self.batch(|batch| batch.put(subject, value))
    }

    /// Opens a sealed file.
    pub fn get(&self, id: &ObjectId) -> Result<Phi<Vec<u8>>, VaultError> {
        let mut connection = self.reads.take().map_err(VaultError::reading)?;
        let subject: Option<Vec<u8>> = vault_object::table
            .find(id.as_bytes().as_slice())
            .select(vault_object::key_id)
            .first(&mut *connection)
            .optional()
            .map_err(VaultError::database("read an object"))?;
        let key = self.key(&mut connection, &key_id(&subject.ok_or(VaultError::Missing)?)?)?;
        drop(connection);
        self.unseal(&key, id)
    }

    pub(crate) fn unseal(&self, key: &Secret, id: &ObjectId) -> Result<Phi<Vec<u8>>, VaultError> {
        let path = self.objects.join(id.to_string());
        let sealed = fs::read(&path).map_err(VaultError::io("read the object", &path))?;
        let place = seal::place(&self.origin, &id.to_string(), "object");
        let tampered = || VaultError::Tampered { what: format!("object {id}") };
        seal::open(key, &place, &sealed).map(Phi::new).ok_or_else(tampered)
    }

    /// Destroys a patient's key: its documents stay sealed for ever. Returns how many documents that were.
    /// First form: the key's bytes leave this file; a backup of the file still holds the wrapped key until the epoch's
    /// key is changed.
    pub fn erase(&self, patient: &Digest) -> Result<u64, VaultError> {
        let failed = VaultError::database("erase a subject's key");
        let mut connection = self.keeper()?.connection()?;
        let held: Option<Vec<u8>> = vault_key::table
            .filter(vault_key::subject.eq(subject_hash("patient", patient).as_bytes().as_slice()))
            .select(vault_key::id)
            .first(&mut *connection)
            .optional()
            .map_err(&failed)?;
        let id = held.ok_or(VaultError::Missing)?;
        let openings = vault_opening::table.filter(vault_opening::key_id.eq(&id)).count();
        let openings: i64 = openings.get_result(&mut *connection).map_err(&failed)?;
        let objects = vault_object::table.filter(vault_object::key_id.eq(&id)).count();
        let objects: i64 = objects.get_result(&mut *connection).map_err(&failed)?;
        diesel::delete(vault_key::table.find(&id)).execute(&mut *connection).map_err(&failed)?;
        empty_write_ahead_log(&mut connection)?;
        Ok(u64::try_from(openings + objects).unwrap_or(0))
    }

    /// Whether the vault is written, and no write's outcome is in doubt.
    pub(crate) fn takes_documents(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::takes_documents)
    }

    fn keeper(&self) -> Result<&Keeper, VaultError> {
        self.keeper.as_ref().ok_or(VaultError::ReadOnly)
    }
}

/// A deleted key is gone only when the write-ahead log is empty, which waits for those who still read from it.
fn empty_write_ahead_log(connection: &mut SqliteConnection) -> Result<(), VaultError> {
    #[derive(diesel::QueryableByName)]
    struct Checkpoint {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        busy: i64,
    }
    let failed = VaultError::database("empty the write-ahead log");
    for _ in 0..CHECKPOINT_TRIES {
        let pragma = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)");
        let checkpoint: Checkpoint = pragma.get_result(connection).map_err(&failed)?;
        if checkpoint.busy == 0 {
            return Ok(());
        }
    }
    Err(VaultError::StillRead)
}

fn subject_hash(sort: &str, key: &Digest) -> Digest {
    Digest::of_parts([b"vidimus/subject/v1\n", sort.as_bytes(), b"\n", key.as_bytes()])
}

fn key_id(bytes: &[u8]) -> Result<KeyId, VaultError> {
    bytes.try_into().map_err(|_| VaultError::Tampered { what: "the key of a document".to_owned() })
}
