//! `/fhir`: read, vread, history and search of the published resources, AuditEvents as a view of the log, `$sign`, and
//! what the server says of itself. Handlers only; sockets, tokens and the audit are the gatekeeper's.
//! Errors: [`Problem`], rendered as OperationOutcome. Source: INTERFACES sections 1.6 and 1.7; HL7 FHIR R4 (http).

mod asked;
mod audit_event;
#[cfg(test)]
mod audit_event_tests;
mod capability;
mod criteria;
mod log_view;
mod narrow;
mod parameters;
mod search;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
mod waiting;
mod when;

use serde_json::{Value, json};
use time::OffsetDateTime;
use vidimus_log::body::{AccessAction, AccessWhat};
use vidimus_store::ResourceRow;

use self::{
    asked::{Asked, Rules},
    parameters::{SHAPING, TYPES, Type},
};
use crate::{
    access::Role,
    fhir::shelf::Opened,
    http::{Answer, Call, Kind, Operation, Parameter, Problem, Reply, Shape, Verb, header, path, query},
    signing,
};

const MEDIA: &[&str] = &["application/fhir+json", "application/json"];
const FORM: &[&str] = &["application/x-www-form-urlencoded"];
const ID: Parameter = path("id", Shape::FhirId, "Id of the resource");
const VERSION: Parameter = path("vid", Shape::Integer(1, u32::MAX as i64), "Version of the resource");
const FORMAT: Parameter = query("_format", Shape::Word(&["json", "application/fhir+json", "application/json"]), "json");
const NONE_MATCH: Parameter = header("If-None-Match", Shape::Text(256), "Version that the caller holds: 304 if it is");
const IF_MATCH: Parameter = header("If-Match", Shape::Text(64), "Version of the report that the signer saw");
const PREFER: Parameter = header("Prefer", Shape::Text(256), "handling=strict (as it is without) or lenient");
const SIGNERS: &[Role] = &[Role::Clinician];

/// Rows of the table of operations: what is served under `/fhir`.
pub(crate) fn operations() -> Vec<Operation> {
    let mut all = vec![
        Operation::new("fhir.metadata", Verb::Get, "/fhir/metadata", &[], capability::metadata)
            .about("fhir", AccessWhat::Query, "CapabilityStatement")
            .takes(&[FORMAT])
            .replies(resource(200, "Resource", "What is served here"))
            .faults(&[406]),
        Operation::new("fhir.smart", Verb::Get, "/fhir/.well-known/smart-configuration", &[], capability::smart)
            .about("fhir", AccessWhat::Query, "SMART configuration")
            .replies(crate::http::ok("Any", "Issuer, keys and scopes")),
    ];
    for one in TYPES {
        all.extend(of_type(one));
    }
    let address = "/fhir/DiagnosticReport/{id}/$sign";
    all.push(
        Operation::new("fhir.diagnosticreport.sign", Verb::Post, address, SIGNERS, signing::operation)
            .about("fhir", AccessWhat::Finding, "Agree or disagree, and sign: the only way to final")
            .action(AccessAction::Execute)
            .takes(&[ID, IF_MATCH, header("Idempotency-Key", Shape::Text(128), "Makes a second try safe")])
            .body(MEDIA, Some("Parameters"))
            .replies(resource(200, "Resource", "The report, final; with Prefer: return=minimal nothing"))
            .faults(&[404, 409, 412, 415, 422, 428]),
    );
    all
}

const fn resource(status: u16, schema: &'static str, summary: &'static str) -> Reply {
    Reply { status, media: &["application/fhir+json"], schema: Some(schema), summary }
}

/// Read, versions and search of one type.
fn of_type(one: &'static Type) -> Vec<Operation> {
    let (name, id) = (one.name, one.name.to_lowercase());
    let unchanged = Reply { status: 304, media: &[], schema: None, summary: "The caller holds this version" };
    let mut searched: Vec<Parameter> = one
        .parameters
        .iter()
        .chain(parameters::COMMON)
        .map(|one| query(one.name, Shape::Text(2_000), one.summary))
        .collect();
    searched.extend(SHAPING.iter().map(|(name, summary)| match *name {
        "_count" => query(name, Shape::Integer(0, 200), summary),
        "_format" => FORMAT,
        _ => query(name, Shape::Text(2_000), summary),
    }));
    let found = resource(200, "Bundle", "A page of what fits (searchset)");
    let mut all = vec![
        Operation::new(format!("fhir.{id}.read"), Verb::Get, format!("/fhir/{name}/{{id}}"), one.roles, read)
            .about("fhir", one.what, format!("{name}: {}", one.summary))
            .takes(&[ID, FORMAT, NONE_MATCH])
            .replies(resource(200, "Resource", "The newest version"))
            .replies(unchanged)
            .faults(&[404, 406]),
        Operation::new(format!("fhir.{id}.search"), Verb::Get, format!("/fhir/{name}"), one.roles, find)
            .about("fhir", AccessWhat::Query, format!("Search: {}", one.summary))
            .takes(&searched)
            .takes(&[PREFER])
            .replies(found)
            .faults(&[406, 422]),
        Operation::new(format!("fhir.{id}.find"), Verb::Post, format!("/fhir/{name}/_search"), one.roles, find)
            .about("fhir", AccessWhat::Query, format!("Search with a form: {}", one.summary))
            .action(AccessAction::Read)
            .takes(&[PREFER])
            .body(FORM, None)
            .replies(found)
            .faults(&[406, 415, 422]),
    ];
    if one.versioned {
        let address = format!("/fhir/{name}/{{id}}/_history");
        all.push(
            Operation::new(format!("fhir.{id}.history"), Verb::Get, address.clone(), one.roles, history)
                .about("fhir", one.what, format!("All versions of one {name}"))
                .takes(&[ID, FORMAT])
                .replies(resource(200, "Bundle", "The versions, the newest first"))
                .faults(&[404, 406]),
        );
        all.push(
            Operation::new(format!("fhir.{id}.vread"), Verb::Get, format!("{address}/{{vid}}"), one.roles, vread)
                .about("fhir", one.what, format!("One version of one {name}"))
                .takes(&[ID, VERSION, FORMAT, NONE_MATCH])
                .replies(resource(200, "Resource", "The version"))
                .replies(unchanged)
                .faults(&[404, 406]),
        );
    }
    all
}

/// Address of `/fhir` as the caller knows it.
fn base(call: &Call<'_>) -> String {
    format!("{}/fhir", call.base)
}

/// The type that a row of the table is about.
fn type_of(call: &Call<'_>) -> Result<&'static Type, Problem> {
    let name = call.operation.path.trim_start_matches("/fhir/").split('/').next().unwrap_or_default();
    parameters::of(name).ok_or_else(|| missing("resource"))
}

fn missing(kind: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no {kind} of this id and version"))
}

/// The media type that the caller takes: JSON of FHIR, also under its plain name.
fn negotiate(call: &Call<'_>) -> Result<(), Problem> {
    match call.query("_format") {
        Some("json" | "application/fhir+json" | "application/json") => Ok(()),
        Some(_) => Err(Problem::new(Kind::NotAcceptable, "_format: given is json")),
        None => call.accepts(MEDIA).map(|_| ()),
    }
}

/// [`negotiate`], where `_format` is all that may be asked.
fn plain(call: &Call<'_>) -> Result<(), Problem> {
    negotiate(call)?;
    if call.queries().iter().any(|(name, _)| name != "_format") {
        return Err(Problem::new(
            Kind::BadRequest,
            "the query holds a parameter that is not known here; known: _format",
        ));
    }
    Ok(())
}

/// The newest version.
fn read(call: &Call<'_>) -> Result<Answer, Problem> {
    plain(call)?;
    let (kind, id) = (type_of(call)?, call.path("id"));
    if kind.name == "AuditEvent" {
        let event = log_view::event(call.house(), id)?.ok_or_else(|| missing(kind.name))?;
        return Ok(Answer::fhir(event.to_string()).header("etag", "W/\"1\""));
    }
    if let Some(row) = call.house().site.resource(kind.name, id)? {
        return stored(call, &row);
    }
    let waits = if kind.name == "Task" { waiting::task(call.house(), id)? } else { None };
    let found = waits.ok_or_else(|| missing(kind.name))?;
    let answer = Answer::fhir(found.resource.to_string());
    Ok(match found.patient {
        Some(patient) => answer.about(patient),
        None => answer,
    })
}

/// One version.
fn vread(call: &Call<'_>) -> Result<Answer, Problem> {
    plain(call)?;
    let kind = type_of(call)?;
    let version: u32 = call.path("vid").parse().map_err(|_| missing(kind.name))?;
    let row = call.house().site.resource_version(kind.name, call.path("id"), version)?;
    stored(call, &row.ok_or_else(|| missing(kind.name))?)
}

/// The exact bytes of a version, unless the caller holds them.
fn stored(call: &Call<'_>, row: &ResourceRow) -> Result<Answer, Problem> {
    let tag = etag(row);
    let held = call.header("if-none-match").is_some_and(|held| {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        held.trim() == "*" || held.split(',').any(|one| opaque(one) == opaque(&tag))
    });
    let answer = if held { Answer::empty(304) } else { Answer::fhir(Opened::new(call.house()).bytes(row)?) };
    let answer = versioned(answer, row);
    Ok(match row.patient {
        Some(patient) => answer.about(patient),
        None => answer,
    })
}

fn etag(row: &ResourceRow) -> String {
    format!("W/\"{}\"", row.version)
}

/// With the headers of a version.
pub(crate) fn versioned(answer: Answer, row: &ResourceRow) -> Answer {
    answer.header("etag", etag(row)).header("last-modified", http_date(row.updated_ms))
}

/// IMF-fixdate of RFC 9110.
fn http_date(ms: u64) -> String {
    let time = i64::try_from(ms / 1_000).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let short = |name: String| name.get(..3).unwrap_or_default().to_owned();
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        short(time.weekday().to_string()),
        time.day(),
        short(time.month().to_string()),
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// All versions of one resource.
fn history(call: &Call<'_>) -> Result<Answer, Problem> {
    plain(call)?;
    let (kind, id) = (type_of(call)?, call.path("id"));
    let rows = call.house().site.resource_history(kind.name, id)?;
    let Some(newest) = rows.first() else { return Err(missing(kind.name)) };
    let patient = newest.patient;
    let (base, mut opened) = (base(call), Opened::new(call.house()));
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        // what an erasure closed is no longer a version that can be shown
        let Some(resource) = opened.unless_erased(row)? else { continue };
        let address = format!("{}/{id}", kind.name);
        entries.push(json!({
            "fullUrl": format!("{base}/{address}"),
            "resource": resource,
            "request": { "method": if row.version == 1 { "POST" } else { "PUT" }, "url": address },
            "response": {
                "status": if row.version == 1 { "201" } else { "200" },
                "etag": etag(row),
                "lastModified": super::publish::instant(row.updated_ms),
            },
        }));
    }
    if entries.is_empty() {
        return Err(missing(kind.name));
    }
    let address = format!("{base}/{}/{id}/_history", kind.name);
    let bundle = json!({
        "resourceType": "Bundle",
        "type": "history",
        "total": entries.len(),
        "link": [{ "relation": "self", "url": address }],
        "entry": entries,
    });
    let answer = Answer::fhir(bundle.to_string());
    Ok(match patient {
        Some(patient) => answer.about(patient),
        None => answer,
    })
}

/// Search, by query or form.
fn find(call: &Call<'_>) -> Result<Answer, Problem> {
    negotiate(call)?;
    let preferred = call.header("prefer").unwrap_or_default();
    let lenient = preferred.split([',', ';']).any(|one| one.trim().eq_ignore_ascii_case("handling=lenient"));
    let base = base(call);
    let rules = Rules { house: call.house(), base: &base, lenient };
    let asked = Asked::read(type_of(call)?, call.queries(), &rules)?;
    let (bundle, patient): (Value, _) = search::search(call.house(), &base, &asked)?;
    let answer = Answer::fhir(bundle.to_string());
    Ok(match patient {
        Some(patient) => answer.about(patient),
        None => answer,
    })
}
