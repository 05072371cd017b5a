//! What the server says of itself: CapabilityStatement from the table of operations and the table of parameters, and
//! the SMART configuration. Nothing is claimed that no row serves.
//! Errors: [`Problem`] 406. Source: HL7 FHIR R4 CapabilityStatement; SMART App Launch 2.0, section 2.

use serde_json::{Value, json};

use super::{
    operations,
    parameters::{COMMON, Parameter, TYPES, Type},
    plain,
};
use crate::{
    access::Role,
    fhir::BASE,
    http::{Answer, Call, Problem, Verb},
};

/// What the server is for.
const DESCRIPTION: &str = "Readings of a model as preliminary reports, final only by a clinician's signature; every \
    act is an AuditEvent. For research and demonstration.";
/// How it is searched.
const SEARCH: &str = "Unknown parameters are refused unless Prefer: handling=lenient is sent. Pages follow the link \
    next. Dates are compared in UTC where no zone is given.";

/// When the statement changed last.
const DATE: &str = "2026-11-25";

/// `GET /fhir/metadata`.
pub(super) fn metadata(call: &Call<'_>) -> Result<Answer, Problem> {
    plain(call)?;
    Ok(Answer::fhir(statement(&call.base, &call.house().service.version).to_string()))
}

/// The CapabilityStatement of a server at this address.
pub(super) fn statement(address: &str, version: &str) -> Value {
    json!({
        "resourceType": "CapabilityStatement",
        "url": format!("{BASE}/CapabilityStatement/server"),
        "name": "Vidimus",
        "title": "Vidimus: a second read of medical images",
        "status": "active",
        "experimental": true,
        "date": DATE,
        "publisher": "Vidimus",
        "description": DESCRIPTION,
        "kind": "instance",
        "software": { "name": "Vidimus", "version": version },
        "implementation": { "description": "Vidimus", "url": format!("{address}/fhir") },
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "rest": [{
            "mode": "server",
            "documentation": SEARCH,
            "security": {
                "cors": false,
                "service": [{ "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                    "display": "SMART-on-FHIR",
                }] }],
                "description": "Bearer tokens (RFC 9068) of the site's own issuer; keys at /.well-known/jwks.json.",
            },
            "resource": TYPES.iter().map(resource).collect::<Vec<_>>(),
        }],
    })
}

fn resource(one: &Type) -> Value {
    let interactions = interactions(one.name);
    let parameter =
        |one: &Parameter| json!({ "name": one.name, "type": one.sort.as_str(), "documentation": one.summary });
    let mut resource = json!({
        "type": one.name,
        "documentation": format!("{} (roles: {})", one.summary, roles(one.roles)),
        "interaction": interactions.iter().map(|code| json!({ "code": code })).collect::<Vec<_>>(),
        "versioning": if one.versioned { "versioned" } else { "no-version" },
        "readHistory": one.versioned,
        "updateCreate": false,
        "searchParam": one.parameters.iter().chain(COMMON).map(parameter).collect::<Vec<_>>(),
    });
    if !one.include.is_empty() {
        resource["searchInclude"] = one.include.iter().map(|name| json!(format!("{}:{name}", one.name))).collect();
    }
    if !one.revinclude.is_empty() {
        let links = one.revinclude.iter().map(|(of, name)| json!(format!("{of}:{name}")));
        resource["searchRevInclude"] = links.collect();
    }
    let named = format!("/fhir/{}/{{id}}/$", one.name);
    let own: Vec<Value> = operations()
        .iter()
        .filter_map(|row| {
            let name = row.path.strip_prefix(&named)?;
            Some(json!({ "name": name, "definition": format!("{BASE}/OperationDefinition/{name}") }))
        })
        .collect();
    if !own.is_empty() {
        resource["operation"] = json!(own);
    }
    resource
}

/// FHIR's words for the rows of one type.
fn interactions(name: &str) -> Vec<&'static str> {
    let address = format!("/fhir/{name}");
    let mut found = Vec::new();
    for row in operations() {
        let Some(rest) = row.path.strip_prefix(&address) else { continue };
        let word = match (row.verb, rest) {
            (Verb::Get, "/{id}") => "read",
            (Verb::Get, "/{id}/_history/{vid}") => "vread",
            (Verb::Get, "/{id}/_history") => "history-instance",
            (Verb::Get, "") => "search-type",
            _ => continue,
        };
        found.push(word);
    }
    found
}

fn roles(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

/// `GET /fhir/.well-known/smart-configuration`: a resource server with the site's own issuer, no launch.
pub(super) fn smart(call: &Call<'_>) -> Result<Answer, Problem> {
    let keys: Value = serde_json::from_str(call.service.access.jwks()).map_err(anyhow::Error::from)?;
    let algorithms: Vec<&Value> = keys["keys"].as_array().into_iter().flatten().map(|key| &key["alg"]).collect();
    Answer::json(&json!({
        "jwks_uri": format!("{}/.well-known/jwks.json", call.base),
        "grant_types_supported": [],
        "scopes_supported": [
            "user/DiagnosticReport.rs", "user/Observation.rs", "user/ImagingStudy.rs", "user/Task.rs",
            "user/AuditEvent.rs", "user/Device.rs", "vidimus/sign", "vidimus/audit.read",
        ],
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "capabilities": ["permission-v2", "permission-user"],
    }))
}
