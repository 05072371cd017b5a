-- The vault of one site: sealed documents and wrapped keys, in a file of its own, apart from the log.
-- Source: AUDIT_LOG section 4. `secure_delete` is on: a deleted key leaves no bytes behind.

PRAGMA application_id = 0x56444D32;
PRAGMA user_version = 1;

-- One data key a subject, wrapped by the key of its epoch, which lies outside this file. Documents name the key, not
-- the subject: after an erasure the subject may get a new key, and the old documents stay sealed.
CREATE TABLE vault_key (
    id      BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    subject BLOB NOT NULL UNIQUE CHECK (length(subject) = 32),
    epoch   INTEGER NOT NULL,
    wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What a commitment in the log opens to.
CREATE TABLE vault_opening (
    entry_id BLOB NOT NULL CHECK (length(entry_id) = 16),
    field    TEXT NOT NULL,
    key_id   BLOB NOT NULL CHECK (length(key_id) = 16),
    sealed   BLOB NOT NULL,
    PRIMARY KEY (entry_id, field)
) STRICT, WITHOUT ROWID;

CREATE INDEX vault_opening_key ON vault_opening (key_id);

-- Sealed files of the folder `objects`.
CREATE TABLE vault_object (
    id     BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    key_id BLOB NOT NULL CHECK (length(key_id) = 16)
) STRICT, WITHOUT ROWID;

CREATE INDEX vault_object_key ON vault_object (key_id);
