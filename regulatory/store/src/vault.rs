//! The vault: openings of commitments and sealed files, under one key for each patient, in a file apart from the log.
//! A document is durable before the entry that commits to it. Erasing the key is erasing the link: proofs still
//! verify, the documents stay sealed. Keys are wrapped by an epoch's key that lies outside the database.
//! Errors: [`VaultError`]; patient data comes out as [`Phi`] only. Source: AUDIT_LOG section 4.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
};
use vidimus_log::{Digest, EntryId, Phi, commit, values::Commit};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    VaultError, files,
    keys::Secret,
    nodes::sql,
    seal,
    tables::{vault_key, vault_object, vault_opening},
};

/// Values up to this size lie in the database, larger ones in a file of their own.
const INLINE_BYTES_MAX: usize = 65_536;
const INLINE: u8 = 0;
const STORED: u8 = 1;

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
    id: KeyId,
    key: Secret,
}

/// Names a subject's key; an erased key's name is never used again.
type KeyId = [u8; 16];

/// What a commitment opens to.
pub struct Opening {
    /// The randomness of the commitment.
    pub opening: [u8; commit::OPENING_BYTES],
    /// The exact bytes committed to.
    pub value: Phi<Vec<u8>>,
}

/// Sealed documents of one site.
pub struct Vault {
    connection: Mutex<SqliteConnection>,
    objects: PathBuf,
    origin: String,
    epoch: u64,
    kek: Secret,
    writes: bool,
}

impl Vault {
    pub(crate) fn new(connection: SqliteConnection, dir: &Path, origin: &str, kek: Secret, writes: bool) -> Self {
        let connection = Mutex::new(connection);
        Self { connection, objects: dir.join("objects"), origin: origin.to_owned(), epoch: 1, kek, writes }
    }

    /// A panic elsewhere leaves at most an open transaction behind, which the next statement would join: end it.
    fn lock(&self) -> MutexGuard<'_, SqliteConnection> {
        self.connection.lock().unwrap_or_else(|poisoned| {
            self.connection.clear_poison();
            let mut guard = PoisonError::into_inner(poisoned);
            let _ = guard.batch_execute("ROLLBACK");
            guard
        })
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
        let mut connection = self.lock();
        let held: Option<Vec<u8>> = vault_key::table
            .filter(vault_key::subject.eq(subject.as_bytes().as_slice()))
            .select(vault_key::id)
            .first(&mut *connection)
            .optional()
            .map_err(VaultError::database("read a subject's key"))?;
        if let Some(held) = held {
            let id = key_id(&held)?;
            return Ok(Subject { id, key: self.key(&mut connection, &id)? });
        }
        self.refuse_reader()?;
        let id: KeyId = files::random().ok_or(VaultError::Randomness)?;
        let key = Secret::new(files::random().ok_or(VaultError::Randomness)?);
        let wrapped = seal::seal(&self.kek, &self.key_place(&id), &*key).ok_or(VaultError::Randomness)?;
        diesel::insert_into(vault_key::table)
            .values((
                vault_key::id.eq(id.as_slice()),
                vault_key::subject.eq(subject.as_bytes().as_slice()),
                vault_key::epoch.eq(sql(self.epoch)),
                vault_key::wrapped.eq(wrapped),
            ))
            .execute(&mut *connection)
            .map_err(VaultError::database("keep a subject's key"))?;
        Ok(Subject { id, key })
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
        let wrapped = wrapped.ok_or(VaultError::Erased)?;
        let tampered = || VaultError::Tampered { what: "a subject's key".to_owned() };
        let key = Zeroizing::new(seal::open(&self.kek, &self.key_place(id), &wrapped).ok_or_else(tampered)?);
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
        self.refuse_reader()?;
        let mut prepared = Vec::with_capacity(fields.len());
        for (field, value) in fields {
            prepared.push(match self.opening(entry, field) {
                Ok(held) if held.value.open().as_slice() == *value => {
                    (commit::commitment(field, &held.opening, value), None)
                }
                Ok(_) => return Err(VaultError::Conflict),
                Err(VaultError::Missing) => {
                    let opening = files::random().ok_or(VaultError::Randomness)?;
                    let sealed = self.seal_opening(subject, entry, field, &opening, value)?;
                    (commit::commitment(field, &opening, value), Some((*field, sealed)))
                }
                Err(error) => return Err(error),
            });
        }
        let rows: Vec<_> = prepared.iter_mut().filter_map(|(_, row)| row.take()).collect();
        self.insert_openings(subject, entry, rows)?;
        Ok(prepared.into_iter().map(|(commit, _)| commit).collect())
    }

    fn insert_openings(
        &self,
        subject: &Subject,
        entry: &EntryId,
        rows: Vec<(&str, Vec<u8>)>,
    ) -> Result<(), VaultError> {
        if rows.is_empty() {
            return Ok(());
        }
        let failed = VaultError::database("keep an opening");
        let mut connection = self.lock();
        connection.batch_execute("BEGIN IMMEDIATE").map_err(&failed)?;
        let insert = |connection: &mut SqliteConnection| {
            for (field, sealed) in rows {
                diesel::insert_into(vault_opening::table)
                    .values((
                        vault_opening::entry_id.eq(entry.as_bytes().as_slice()),
                        vault_opening::field.eq(field),
                        vault_opening::key_id.eq(subject.id.as_slice()),
                        vault_opening::sealed.eq(sealed),
                    ))
                    .execute(connection)?;
            }
            connection.batch_execute("COMMIT")
        };
        insert(&mut connection).map_err(|error| {
            // SQLite may have rolled back already; then this has nothing to do.
            let _ = connection.batch_execute("ROLLBACK");
            failed(error)
        })
    }

    fn seal_opening(
        &self,
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
        let place = seal::place(&self.origin, &entry.to_string(), field);
        let sealed = seal::seal(&subject.key, &place, &document).ok_or(VaultError::Randomness);
        document.zeroize();
        sealed
    }

    /// What the commitment in `field` of an entry opens to; [`VaultError::Erased`] once the subject's key is gone.
    pub fn opening(&self, entry: &EntryId, field: &str) -> Result<Opening, VaultError> {
        let mut connection = self.lock();
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
        self.refuse_reader()?;
        let id = ObjectId(files::random().ok_or(VaultError::Randomness)?);
        let place = seal::place(&self.origin, &id.to_string(), "object");
        let sealed = seal::seal(&subject.key, &place, value).ok_or(VaultError::Randomness)?;
        let path = self.objects.join(id.to_string());
        files::write_whole(&path, &sealed).map_err(VaultError::io("write the object", &path))?;
        diesel::insert_into(vault_object::table)
            .values((vault_object::id.eq(id.as_bytes().as_slice()), vault_object::key_id.eq(subject.id.as_slice())))
            .execute(&mut *self.lock())
            .map_err(VaultError::database("keep an object"))?;
        Ok(id)
    }

    /// Opens a sealed file.
    pub fn get(&self, id: &ObjectId) -> Result<Phi<Vec<u8>>, VaultError> {
        let mut connection = self.lock();
        let subject: Option<Vec<u8>> = vault_object::table
            .find(id.as_bytes().as_slice())
            .select(vault_object::key_id)
            .first(&mut *connection)
            .optional()
            .map_err(VaultError::database("read an object"))?;
        let key = self.key(&mut connection, &key_id(&subject.ok_or(VaultError::Missing)?)?)?;
        drop(connection);
        let path = self.objects.join(id.to_string());
        let sealed = fs::read(&path).map_err(VaultError::io("read the object", &path))?;
        let place = seal::place(&self.origin, &id.to_string(), "object");
        let tampered = || VaultError::Tampered { what: format!("object {id}") };
        seal::open(&key, &place, &sealed).map(Phi::new).ok_or_else(tampered)
    }

    /// Destroys a patient's key: its documents stay sealed for ever. Returns how many documents that were.
    /// First form: the key's bytes leave this file; a backup of the file still holds the wrapped key until the epoch's
    /// key is changed.
    pub fn erase(&self, patient: &Digest) -> Result<u64, VaultError> {
        self.refuse_reader()?;
        let failed = VaultError::database("erase a subject's key");
        let mut connection = self.lock();
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
        connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").map_err(&failed)?;
        Ok(u64::try_from(openings + objects).unwrap_or(0))
    }

    const fn refuse_reader(&self) -> Result<(), VaultError> {
        if self.writes { Ok(()) } else { Err(VaultError::ReadOnly) }
    }
}

fn subject_hash(sort: &str, key: &Digest) -> Digest {
    Digest::of_parts([b"vidimus/subject/v1\n", sort.as_bytes(), b"\n", key.as_bytes()])
}

fn key_id(bytes: &[u8]) -> Result<KeyId, VaultError> {
    bytes.try_into().map_err(|_| VaultError::Tampered { what: "the key of a document".to_owned() })
}
