-- What the service needs beside the log: studies that wait, readings that were published, versions of resources,
-- requests that were answered, and entries found by kind, actor and operation.
-- Source: AUDIT_LOG section 7, INTERFACES sections 1.7 and 8. Keyed hashes, ids and codes only, no patient's data.

PRAGMA user_version = 2;

-- Read out of the entry when its row is indexed, so that they cannot differ from it; a damaged body has none.
ALTER TABLE log_entry ADD COLUMN kind TEXT AS
    (CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.kind') END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN actor TEXT AS
    (CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.actor.id') END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN operation TEXT AS
    (CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.body.operation') END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN t_ms INTEGER AS
    (CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.t_ms') END) VIRTUAL;

CREATE INDEX log_entry_kind ON log_entry (kind, idx);
CREATE INDEX log_entry_actor ON log_entry (actor, idx);
CREATE INDEX log_entry_operation ON log_entry (operation, idx) WHERE operation IS NOT NULL;
CREATE INDEX log_entry_t_ms ON log_entry (t_ms);

CREATE INDEX registry_instance_study_idx ON registry_instance (study, idx);
DROP INDEX registry_instance_study;

-- A study with images that no reading has looked at yet. `idx` is the entry with which it began to wait.
CREATE TABLE registry_work (
    study    BLOB PRIMARY KEY NOT NULL CHECK (length(study) = 32),
    patient  BLOB NOT NULL CHECK (length(patient) = 32),
    arrival  BLOB NOT NULL CHECK (length(arrival) = 16),
    document BLOB NOT NULL CHECK (length(document) = 16),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    idx      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX registry_work_idx ON registry_work (idx);

-- Readings that can be seen. A sign-off comes once and moves the reading to the end of the worklist.
CREATE TABLE registry_published (
    reading    BLOB PRIMARY KEY NOT NULL CHECK (length(reading) = 16),
    study      BLOB NOT NULL CHECK (length(study) = 32),
    patient    BLOB NOT NULL CHECK (length(patient) = 32),
    status     TEXT NOT NULL,
    decision   TEXT,
    attention  INTEGER NOT NULL CHECK (attention >= 0),
    model_root BLOB NOT NULL CHECK (length(model_root) = 32),
    document   BLOB NOT NULL CHECK (length(document) = 16),
    issued_ms  INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    sign_off   BLOB CHECK (length(sign_off) = 16),
    agrees     INTEGER CHECK (agrees IN (0, 1)),
    signed_idx INTEGER CHECK ((signed_idx IS NULL) = (sign_off IS NULL) AND (signed_idx IS NULL) = (agrees IS NULL))
) STRICT;

CREATE INDEX registry_published_attention ON registry_published (attention, idx DESC);
CREATE INDEX registry_published_idx ON registry_published (idx);
CREATE INDEX registry_published_status ON registry_published (status, idx);
CREATE INDEX registry_published_status_attention ON registry_published (status, attention, idx DESC);
CREATE INDEX registry_published_decision ON registry_published (decision, idx);
CREATE INDEX registry_published_decision_attention ON registry_published (decision, attention, idx DESC);
CREATE INDEX registry_published_study ON registry_published (study);
CREATE INDEX registry_published_patient ON registry_published (patient);
CREATE INDEX registry_published_issued ON registry_published (issued_ms, idx);
CREATE INDEX registry_published_signed ON registry_published (signed_idx, idx);

-- Every version of every resource; `newest` marks the last version of each.
CREATE TABLE registry_resource (
    sequence   INTEGER PRIMARY KEY NOT NULL,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    INTEGER NOT NULL CHECK (version >= 1),
    patient    BLOB CHECK (length(patient) = 32),
    study      BLOB CHECK (length(study) = 32),
    reading    BLOB CHECK (length(reading) = 16),
    status     TEXT NOT NULL,
    code       TEXT,
    document   BLOB NOT NULL CHECK (length(document) = 16),
    updated_ms INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    newest     INTEGER NOT NULL CHECK (newest IN (0, 1)),
    UNIQUE (kind, id, version)
) STRICT;

CREATE INDEX registry_resource_kind ON registry_resource (kind, newest, sequence);
CREATE INDEX registry_resource_updated ON registry_resource (kind, newest, updated_ms, sequence);
CREATE INDEX registry_resource_status ON registry_resource (kind, newest, status, sequence);
CREATE INDEX registry_resource_code ON registry_resource (kind, newest, code, sequence);
CREATE INDEX registry_resource_patient ON registry_resource (patient, kind, newest, sequence);
CREATE INDEX registry_resource_study ON registry_resource (study, kind, newest, sequence);
CREATE INDEX registry_resource_reading ON registry_resource (reading, kind, newest, sequence);

-- Requests that were answered: the same key again gives the same answer.
CREATE TABLE registry_request (
    key     BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
    body    BLOB NOT NULL CHECK (length(body) = 32),
    answer  BLOB NOT NULL CHECK (length(answer) = 16),
    made_ms INTEGER NOT NULL,
    idx     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
