-- The audit log, its head and the registry of one site: one file, one transaction.
-- Source: AUDIT_LOG section 7. Rows of the log are appended and never changed; the tree, not the trigger, is the proof.

PRAGMA application_id = 0x56444D31;
PRAGMA user_version = 1;

CREATE TABLE log_meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log_entry (
    idx      INTEGER PRIMARY KEY NOT NULL CHECK (idx >= 0),
    entry_id BLOB NOT NULL UNIQUE CHECK (length(entry_id) = 16),
    leaf     BLOB NOT NULL CHECK (length(leaf) = 32),
    body     BLOB NOT NULL CHECK (length(body) BETWEEN 1 AND 32768)
) STRICT;

-- Full tiles only; a partial one of any size is cut from the leaves.
CREATE TABLE log_tile (
    level INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    data  BLOB NOT NULL CHECK (length(data) = 8192),
    root  BLOB NOT NULL CHECK (length(root) = 32),
    PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_head (
    one       INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    size      INTEGER NOT NULL,
    root      BLOB NOT NULL CHECK (length(root) = 32),
    frontier  BLOB NOT NULL CHECK (length(frontier) % 32 = 0),
    note      TEXT NOT NULL,
    last_t_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE log_checkpoint (
    size INTEGER PRIMARY KEY NOT NULL,
    note TEXT NOT NULL
) STRICT;

CREATE TABLE log_cosignature (
    size  INTEGER NOT NULL,
    keyid BLOB NOT NULL CHECK (length(keyid) = 4),
    line  TEXT NOT NULL,
    PRIMARY KEY (size, keyid, line)
) STRICT, WITHOUT ROWID;

-- Reads that were begun and have no outcome: one row each, gone with the outcome. Derived from the entries.
CREATE TABLE open_intent (
    intent_id   BLOB PRIMARY KEY NOT NULL CHECK (length(intent_id) = 16),
    idx         INTEGER NOT NULL,
    deadline_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The registry: keyed hashes and storage ids, never a patient's data in clear.
CREATE TABLE registry_instance (
    key     BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
    study   BLOB NOT NULL CHECK (length(study) = 32),
    patient BLOB NOT NULL CHECK (length(patient) = 32),
    content BLOB NOT NULL CHECK (length(content) = 32),
    object  BLOB NOT NULL CHECK (length(object) = 16),
    idx     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX registry_instance_study ON registry_instance (study);

CREATE TABLE registry_reading (
    intent_id  BLOB PRIMARY KEY NOT NULL CHECK (length(intent_id) = 16),
    outcome_id BLOB NOT NULL UNIQUE CHECK (length(outcome_id) = 16),
    status     TEXT NOT NULL,
    model_root BLOB NOT NULL CHECK (length(model_root) = 32),
    reading    BLOB NOT NULL CHECK (length(reading) = 16),
    idx        INTEGER NOT NULL
) STRICT;

CREATE INDEX registry_reading_idx ON registry_reading (idx);

CREATE TABLE registry_model (
    root    BLOB PRIMARY KEY NOT NULL CHECK (length(root) = 32),
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    state   TEXT NOT NULL,
    idx     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER log_entry_no_update BEFORE UPDATE ON log_entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_entry_no_delete BEFORE DELETE ON log_entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_entry_no_replace BEFORE INSERT ON log_entry
WHEN EXISTS (SELECT 1 FROM log_entry WHERE idx = NEW.idx OR entry_id = NEW.entry_id)
BEGIN SELECT RAISE(ABORT, 'append only: taken'); END;

CREATE TRIGGER log_tile_no_update BEFORE UPDATE ON log_tile BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_tile_no_delete BEFORE DELETE ON log_tile BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_tile_no_replace BEFORE INSERT ON log_tile
WHEN EXISTS (SELECT 1 FROM log_tile WHERE level = NEW.level AND n = NEW.n)
BEGIN SELECT RAISE(ABORT, 'append only: taken'); END;

CREATE TRIGGER log_checkpoint_no_update BEFORE UPDATE ON log_checkpoint BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_checkpoint_no_delete BEFORE DELETE ON log_checkpoint BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_checkpoint_no_replace BEFORE INSERT ON log_checkpoint
WHEN EXISTS (SELECT 1 FROM log_checkpoint WHERE size = NEW.size)
BEGIN SELECT RAISE(ABORT, 'append only: taken'); END;

CREATE TRIGGER log_cosignature_no_update BEFORE UPDATE ON log_cosignature
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_cosignature_no_delete BEFORE DELETE ON log_cosignature
BEGIN SELECT RAISE(ABORT, 'append only'); END;

CREATE TRIGGER log_head_no_shrink BEFORE UPDATE ON log_head WHEN NEW.size < OLD.size
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER log_head_no_delete BEFORE DELETE ON log_head BEGIN SELECT RAISE(ABORT, 'append only'); END;
