//! The table: everything that is served, one row each. Who may do what stands here and nowhere else.
//!
//! Public (no roles): health, the log's checkpoint and hash tiles, discovery and keys, sign-in, static files, the
//! OpenAPI document. Everything else answers a stranger with 401 before it looks at the path's values, a wrong role
//! with 403, and leaves one `access` entry in the log.

use vidimus_log::body::{AccessAction, AccessWhat};

use super::{
    Operation, Parameter, Reply, Shape, Stream, Verb, handlers as on, header, ok, operation::Limits, path, query,
};
use crate::{
    access::Role::{self, Admin, Clinician, Modality, Quality, Regulator},
    fhir, signing,
};

const PUBLIC: &[Role] = &[];
const SENDERS: &[Role] = &[Modality, Clinician];
const READERS: &[Role] = &[Clinician, Quality];
const SIGNERS: &[Role] = &[Clinician];
const AUDITORS: &[Role] = &[Quality, Regulator, Admin];
const EVIDENCE: &[Role] = &[Clinician, Quality, Regulator, Admin];
const OPERATORS: &[Role] = &[Admin, Quality];

/// Bytes of a whole STOW-RS request.
pub(crate) const STOW_BYTES_MAX: u64 = 4 << 30;
/// Bytes of one uploaded film or picture.
pub(crate) const UPLOAD_BYTES_MAX: u64 = 512 << 20;

const READING: Parameter = path("id", Shape::EntryId, "The reading: the id of the entry that ends it");
const INSTANCE: Parameter = query("instance", Shape::Integer(0, 100_000), "Place of the image in `images`");
const FRAME: Parameter = query("frame", Shape::Integer(0, 100_000), "Place of the frame in the image");
const LIMIT: Parameter = query("limit", Shape::Integer(1, 200), "Items of a page, 50 where it is not said");
const CURSOR: Parameter = query("cursor", Shape::Text(256), "`next` of the page before");
const FROM: Parameter = query("from", Shape::Time, "Not before");
const TO: Parameter = query("to", Shape::Time, "Not after");
const KEY: Parameter = header("Idempotency-Key", Shape::Text(128), "Makes a second try safe");
const ROOT: Parameter = path("root", Shape::Digest, "Root of the model's package");

const PNG: &[&str] = &["image/png"];
const BYTES: &[&str] = &["application/octet-stream"];
const TEXT: &[&str] = &["text/plain"];
const JSON: &[&str] = &["application/json"];
const STATUSES: &[&str] = &["evaluated", "not_evaluated", "failed"];

const fn given(status: u16, media: &'static [&'static str], summary: &'static str) -> Reply {
    Reply { status, media, schema: None, summary }
}

const fn created(schema: &'static str, summary: &'static str) -> Reply {
    Reply { status: 201, media: JSON, schema: Some(schema), summary }
}

/// Every operation.
pub(crate) fn operations() -> Vec<Operation> {
    let mut all = service();
    all.extend(readings());
    all.extend(log());
    all.extend(models());
    all.extend(fhir::rest::operations());
    all
}

fn service() -> Vec<Operation> {
    use AccessWhat::{Query, Session};
    vec![
        Operation::new("health", Verb::Get, "/health", PUBLIC, on::status::health)
            .about("service", Query, "Whether the process answers")
            .replies(ok("Health", "It does")),
        Operation::new("ready", Verb::Get, "/ready", PUBLIC, on::status::ready)
            .about("service", Query, "Whether studies can be taken and read")
            .replies(ok("Ready", "They can"))
            .replies(Reply { status: 503, media: JSON, schema: Some("Ready"), summary: "They cannot, and why" }),
        Operation::new("metrics", Verb::Get, "/metrics", OPERATORS, on::status::metrics)
            .about("service", Query, "Counters and histograms as Prometheus text")
            .replies(given(200, TEXT, "Exposition format 0.0.4")),
        Operation::new("openapi", Verb::Get, "/openapi.json", PUBLIC, on::status::openapi)
            .about("service", Query, "This document")
            .replies(ok("Any", "OpenAPI 3.0")),
        Operation::new("jwks", Verb::Get, "/.well-known/jwks.json", PUBLIC, on::session::jwks)
            .about("service", Session, "Keys of the site's own issuer (RFC 7517)")
            .replies(ok("Any", "A key set")),
        Operation::new("log.key", Verb::Get, "/.well-known/vidimus-log.vkey", PUBLIC, on::log::key)
            .about("log", AccessWhat::Log, "The log's public key (C2SP signed-note)")
            .replies(given(200, TEXT, "One line")),
        Operation::new("session.start", Verb::Post, "/session", PUBLIC, on::session::start)
            .about("service", Session, "Sign in with a one-time code or a token; again, to be fresh for a signature")
            .body(JSON, Some("SignIn"))
            .replies(ok("Session", "Signed in; the cookie is set"))
            .faults(&[401, 403, 429]),
        Operation::new("session.show", Verb::Get, "/session", PUBLIC, on::session::show)
            .about("service", Session, "Who is signed in")
            .replies(ok("Session", "Who, or that nobody is")),
        Operation::new("session.end", Verb::Delete, "/session", PUBLIC, on::session::end)
            .about("service", Session, "Sign out")
            .replies(given(204, &[], "Signed out"))
            .faults(&[401, 403]),
        Operation::new("page", Verb::Get, "/", PUBLIC, on::pages::index)
            .about("service", Query, "The pages; they hold no data")
            .replies(given(200, &["text/html"], "The page")),
        Operation::new("static", Verb::Get, "/static/{file}", PUBLIC, on::pages::file)
            .about("service", Query, "A file of the pages")
            .takes(&[path("file", Shape::Tail, "Its name")])
            .replies(given(200, &["text/css", "text/javascript", "image/svg+xml"], "The file")),
    ]
}

fn readings() -> Vec<Operation> {
    use AccessWhat::{Explanation, Finding, Image, Query, Study};
    let tag = "readings";
    vec![
        Operation::new("readings.list", Verb::Get, "/readings", READERS, on::readings::list)
            .about(tag, Query, "Readings, what needs eyes first or the newest first")
            .takes(&[
                query("order", Shape::Word(&["attention", "newest"]), "Order; attention where it is not said"),
                query("status", Shape::Word(STATUSES), "How it ended"),
                query("decision", Shape::Word(&["present", "absent"]), "Of the first finding"),
                query("signed", Shape::Boolean, "Whether a clinician has signed"),
                query("study", Shape::Digest, "Key of the study"),
                query("study_instance_uid", Shape::Uid, "Study Instance UID (0020,000D)"),
                FROM,
                TO,
                LIMIT,
                CURSOR,
            ])
            .replies(ok("Readings", "A page of them")),
        Operation::new("readings.changes", Verb::Get, "/readings/changes", READERS, on::readings::changes)
            .about(tag, Query, "What was published or signed since; waits for it")
            .takes(&[
                query("since", Shape::Integer(0, i64::MAX), "`tip` of what is known"),
                query("wait", Shape::Integer(0, 55), "Seconds to wait, none where it is not said"),
            ])
            .limits(0, 65)
            .passive()
            .replies(ok("Changes", "What changed")),
        Operation::new("readings.create", Verb::Post, "/readings", SIGNERS, on::none)
            .about(tag, Study, "Have one film or picture read")
            .limits(UPLOAD_BYTES_MAX, 300)
            .takes(&[
                query("modality", Shape::CodeString, "Of a picture: modality, such as DX"),
                query("body_part", Shape::CodeString, "Of a picture: body part, such as CHEST"),
                query("view", Shape::CodeString, "Of a picture: view position, such as AP"),
                query("age", Shape::Age, "Of a picture: age string, such as 003Y"),
                KEY,
            ])
            .body(&["application/dicom", "image/png", "image/jpeg"], None)
            .replies(Reply {
                status: 202,
                media: JSON,
                schema: Some("Accepted"),
                summary: "Durable, and it will be read",
            })
            .faults(&[409, 413, 415, 422])
            .streams(Stream::Upload),
        Operation::new("readings.show", Verb::Get, "/readings/{id}", READERS, on::readings::show)
            .about(tag, Finding, "A reading with all that was said of it")
            .takes(&[READING])
            .replies(ok("Reading", "The reading")),
        Operation::new("readings.image", Verb::Get, "/readings/{id}/image", READERS, on::readings::image)
            .about(tag, Image, "A film as it is displayed, 8 bits")
            .takes(&[READING, INSTANCE, FRAME])
            .limits(0, 60)
            .replies(given(200, PNG, "The picture"))
            .faults(&[422]),
        Operation::new("readings.pixels", Verb::Get, "/readings/{id}/pixels", READERS, on::readings::pixels)
            .about(tag, Image, "A film's stored values: 16 bits, little endian, row by row")
            .takes(&[READING, INSTANCE, FRAME])
            .limits(0, 60)
            .replies(given(200, BYTES, "Rows times columns times two bytes"))
            .faults(&[422]),
        Operation::new("readings.overlay", Verb::Get, "/readings/{id}/overlay", READERS, on::readings::overlay)
            .about(tag, Explanation, "The explanation drawn over the film")
            .takes(&[READING])
            .replies(given(200, PNG, "The picture")),
        Operation::new("readings.saliency", Verb::Get, "/readings/{id}/saliency", READERS, on::readings::saliency)
            .about(tag, Explanation, "The explanation alone")
            .takes(&[READING])
            .replies(given(200, PNG, "The picture")),
        Operation::new("readings.fhir", Verb::Get, "/readings/{id}/fhir", READERS, on::readings::fhir)
            .about(tag, Finding, "The report as it was released: a FHIR transaction Bundle")
            .takes(&[READING])
            .replies(Reply {
                status: 200,
                media: &["application/fhir+json"],
                schema: Some("Bundle"),
                summary: "The very bytes that the log commits to",
            }),
        Operation::new("readings.receipt", Verb::Get, "/readings/{id}/receipt", READERS, on::readings::receipt)
            .about(tag, Finding, "The receipt of the entry that ends the reading (C2SP tlog-proof)")
            .takes(&[READING])
            .replies(given(200, TEXT, "The receipt")),
        Operation::new("readings.sign-off", Verb::Post, "/readings/{id}/sign-off", SIGNERS, signing::sign_off)
            .about(tag, Finding, "Agree and sign; needs a fresh authentication")
            .action(AccessAction::Execute)
            .takes(&[READING, KEY])
            .body(JSON, Some("SignOff"))
            .replies(created("Signed", "Signed"))
            .faults(&[409, 422]),
        Operation::new("readings.override", Verb::Post, "/readings/{id}/override", SIGNERS, signing::override_)
            .about(tag, Finding, "Disagree and sign; needs a fresh authentication")
            .action(AccessAction::Execute)
            .takes(&[READING, KEY])
            .body(JSON, Some("Override"))
            .replies(created("Signed", "Signed"))
            .faults(&[409, 422]),
        Operation::new("replay", Verb::Post, "/replay", &[Quality], on::replay::replay)
            .about(tag, Finding, "Compute readings again and hold their digests to the log")
            .action(AccessAction::Execute)
            .limits(Limits::FORM.body_bytes, 120)
            .takes(&[KEY])
            .body(JSON, Some("ReplayRequest"))
            .replies(ok("Replayed", "Same or not, each"))
            .faults(&[404, 422]),
        stow("stow", "/dicom-web/studies", &[]),
        stow("stow.study", "/dicom-web/studies/{study}", &[path("study", Shape::Uid, "Study Instance UID")]),
    ]
}

fn stow(id: &'static str, address: &'static str, parameters: &[Parameter]) -> Operation {
    const DICOM: &[&str] = &["application/dicom+json"];
    let reply = |status, summary| Reply { status, media: DICOM, schema: Some("DicomJson"), summary };
    Operation::new(id, Verb::Post, address, SENDERS, on::none)
        .about(
            "dicomweb",
            AccessWhat::Study,
            "STOW-RS: store instances; each study is then read without further asking",
        )
        .limits(STOW_BYTES_MAX, 600)
        .takes(parameters)
        .takes(&[KEY])
        .body(&["multipart/related"], None)
        .replies(reply(200, "All stored"))
        .replies(reply(202, "Some stored"))
        .replies(reply(409, "None stored"))
        .faults(&[406, 413, 415])
        .streams(Stream::Stow)
}

fn log() -> Vec<Operation> {
    use AccessWhat::Log;
    let tile = path("path", Shape::Tail, "Path of a tile as in C2SP tlog-tiles");
    vec![
        Operation::new("log.checkpoint", Verb::Get, "/log/checkpoint", PUBLIC, on::log::checkpoint)
            .about("log", Log, "The newest signed checkpoint (C2SP tlog-checkpoint)")
            .replies(given(200, TEXT, "A signed note")),
        Operation::new("log.bundle", Verb::Get, "/log/tile/entries/{path}", AUDITORS, on::log::bundle)
            .about("log", Log, "A bundle of entries (C2SP tlog-tiles)")
            .takes(&[tile])
            .replies(given(200, BYTES, "The bundle")),
        Operation::new("log.tile", Verb::Get, "/log/tile/{path}", PUBLIC, on::log::tile)
            .about("log", Log, "A tile of hashes (C2SP tlog-tiles)")
            .takes(&[tile])
            .replies(given(200, BYTES, "The tile")),
        Operation::new("log.entries", Verb::Get, "/log/entries", AUDITORS, on::log::entries)
            .about("log", Log, "Entries, the newest first")
            .takes(&[
                query("kind", Shape::Code, "Kind of entry"),
                query("actor", Shape::Code, "Who acted"),
                query("operation", Shape::Code, "Of an `access` entry: the operation"),
                FROM,
                TO,
                LIMIT,
                CURSOR,
            ])
            .replies(ok("Entries", "A page of them")),
        Operation::new("log.entry", Verb::Get, "/log/entries/{index}", AUDITORS, on::log::entry)
            .about("log", Log, "One entry with its exact bytes")
            .takes(&[path("index", Shape::Integer(0, i64::MAX), "Its place in the log")])
            .replies(ok("Entry", "The entry")),
        Operation::new("log.verify", Verb::Post, "/log/verify", AUDITORS, on::log::verify)
            .about("log", Log, "Verify the whole log now")
            .action(AccessAction::Execute)
            .limits(0, 300)
            .takes(&[KEY])
            .replies(ok("Verified", "What was found")),
        Operation::new("receipts.show", Verb::Get, "/receipts/{entry_id}", EVIDENCE, on::log::receipt)
            .about("log", Log, "The receipt of an entry under the newest checkpoint (C2SP tlog-proof)")
            .takes(&[path("entry_id", Shape::EntryId, "The entry")])
            .replies(given(200, TEXT, "The receipt")),
    ]
}

fn models() -> Vec<Operation> {
    use AccessWhat::Model;
    vec![
        Operation::new("models.list", Verb::Get, "/models", EVIDENCE, on::models::list)
            .about("models", Model, "The models of this site")
            .replies(ok("Models", "All of them")),
        Operation::new("models.show", Verb::Get, "/models/{root}", EVIDENCE, on::models::show)
            .about("models", Model, "A model: card, intended use, input contract, operating points")
            .takes(&[ROOT])
            .replies(ok("Model", "The model")),
        Operation::new("models.evidence", Verb::Get, "/models/{root}/evidence", EVIDENCE, on::models::evidence)
            .about("models", Model, "The evidence for its release: protocol, looks, verdict, signatures, decisions")
            .takes(&[ROOT])
            .replies(ok("Evidence", "The evidence")),
        Operation::new("models.file", Verb::Get, "/models/{root}/evidence/{file}", EVIDENCE, on::models::file)
            .about("models", Model, "A file of the package or of its evidence, as it is")
            .takes(&[ROOT, path("file", Shape::Tail, "Its path")])
            .replies(given(200, BYTES, "The file")),
    ]
}
