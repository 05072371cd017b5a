//! The OpenAPI 3.0 document, made from the table of operations and the schemas in `schemas.json`.
//! What is served is what is described: a test walks both. Source: OpenAPI 3.0.3.

use openapiv3::OpenAPI;
use serde_json::{Map, Value, json};

use super::{Kind, Operation, Shape, operation::Place, operations};

/// The schemas of bodies and answers, as data.
const SCHEMAS: &str = include_str!("schemas.json");

/// Faults that any operation can be answered with.
const COMMON: &[Kind] = &[Kind::BadRequest, Kind::Timeout, Kind::Internal, Kind::Unavailable, Kind::NoRoom];
/// Faults of those that are not public.
const GUARDED: &[Kind] = &[Kind::Unauthenticated, Kind::Forbidden];

/// The document.
pub(crate) fn document() -> anyhow::Result<OpenAPI> {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let item = paths.entry(operation.path.to_string()).or_insert_with(|| json!({}));
        item[operation.verb.as_str().to_ascii_lowercase()] = describe(&operation);
    }
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let document = json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Vidimus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A second read of medical images with an explanation and a receipt that anyone can check. \
                            For research and demonstration.",
            "license": { "name": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "service", "description": "Health, keys, sign-in, pages" },
            { "name": "readings", "description": "Studies in, readings out, signatures" },
            { "name": "log", "description": "The audit log: C2SP tlog-tiles, entries, receipts" },
            { "name": "models", "description": "Models and the evidence for their release" },
            { "name": "dicomweb", "description": "DICOM PS3.18" },
            { "name": "fhir", "description": "HL7 FHIR R4" },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "session": { "type": "apiKey", "in": "cookie", "name": "vidimus_session" },
            },
        },
    });
    Ok(serde_json::from_value(document)?)
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(operation),
        "security": if operation.is_public() { json!([]) } else { json!([{ "bearer": [] }, { "session": [] }]) },
        "x-roles": operation.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "x-audit": { "action": operation.action.as_str(), "what": operation.what.as_str() },
        "x-limits": { "body_bytes": operation.limits.body_bytes, "seconds": operation.limits.seconds },
    });
    if let Some(body) = &operation.body {
        described["requestBody"] = json!({ "required": true, "content": content(body.media, body.schema) });
    }
    described
}

fn parameter(parameter: &super::Parameter) -> Value {
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "description": parameter.summary,
        "schema": schema(parameter.shape),
    })
}

fn schema(shape: Shape) -> Value {
    match shape {
        Shape::Text(most) => json!({ "type": "string", "maxLength": most }),
        Shape::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Time => json!({ "type": "string", "format": "date-time" }),
        Shape::Uid => json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)*$", "maxLength": 64 }),
        Shape::Age => json!({ "type": "string", "pattern": "^[0-9]{3}[DWMY]$" }),
        Shape::CodeString => json!({ "type": "string", "pattern": "^[A-Z0-9 _]{1,16}$" }),
        Shape::EntryId => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
        Shape::Digest => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
        Shape::Code => json!({ "type": "string", "pattern": "^[a-z0-9_.-]{1,64}$" }),
        Shape::FhirId => json!({ "type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$" }),
        Shape::Tail => json!({ "type": "string", "maxLength": 256 }),
    }
}

fn content(media: &[&str], schema: Option<&str>) -> Value {
    let schema = schema.map_or_else(
        || json!({ "type": "string", "format": "binary" }),
        |name| json!({ "$ref": format!("#/components/schemas/{name}") }),
    );
    let content: Map<String, Value> =
        media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
    Value::Object(content)
}

/// The statuses that an operation can be answered with.
fn responses(operation: &Operation) -> Value {
    let mut responses: Map<String, Value> = Map::new();
    for reply in &operation.replies {
        let mut described = json!({ "description": reply.summary });
        if !reply.media.is_empty() {
            described["content"] = content(reply.media, reply.schema);
        }
        responses.insert(reply.status.to_string(), described);
    }
    for kind in faults(operation) {
        let (media, schema) = if operation.is_fhir() {
            ("application/fhir+json", "OperationOutcome")
        } else {
            ("application/problem+json", "Problem")
        };
        let described = json!({ "description": kind.title(), "content": content(&[media], Some(schema)) });
        responses.entry(kind.status().to_string()).or_insert(described);
    }
    Value::Object(responses)
}

/// The faults of a row: the common ones, those that follow from its form, and those that it names.
fn faults(operation: &Operation) -> Vec<Kind> {
    let mut faults = COMMON.to_vec();
    if !operation.is_public() {
        faults.extend_from_slice(GUARDED);
    }
    if operation.parameters.iter().any(|parameter| parameter.place == Place::Path) {
        faults.push(Kind::NotFound);
    }
    if operation.body.is_some() {
        faults.extend([Kind::TooLarge, Kind::UnsupportedMedia]);
    }
    if operation.parameters.iter().any(|parameter| parameter.name == "Idempotency-Key") {
        faults.extend([Kind::Conflict, Kind::Unprocessable]);
    }
    faults.extend(Kind::ALL.iter().filter(|kind| operation.faults.contains(&kind.status())));
    faults
}
