//! The table against itself: unique rows, roles, limits, and the OpenAPI document that is checked in.

use std::collections::BTreeSet;

use super::{Kind, openapi, operation::Place, operations};
use crate::access::Role;

/// The public list of the contract; a row that is not on it has roles.
const PUBLIC: &[&str] = &[
    "/",
    "/static/{file}",
    "/health",
    "/ready",
    "/openapi.json",
    "/session",
    "/log/checkpoint",
    "/log/tile/{path}",
    "/.well-known/jwks.json",
    "/.well-known/vidimus-log.vkey",
    "/fhir/metadata",
    "/fhir/.well-known/smart-configuration",
];

/// Proves: REQ-SVC-352
#[test]
fn each_row_is_one_operation_with_roles_or_on_the_public_list() {
    let table = operations();
    let places: BTreeSet<String> = table.iter().map(|row| format!("{} {}", row.verb.as_str(), row.path)).collect();
    let ids: BTreeSet<&str> = table.iter().map(|row| row.id.as_ref()).collect();
    assert_eq!((places.len(), ids.len()), (table.len(), table.len()), "no row twice");
    for row in &table {
        assert!(vidimus_log::values::is_code(&row.id), "{}: its id is a code of the log", row.id);
        assert_eq!(row.is_public(), PUBLIC.contains(&row.path.as_ref()), "{}", row.path);
        assert!(!row.summary.is_empty() && !row.replies.is_empty(), "{}: described", row.id);
        assert!((1..=600).contains(&row.limits.seconds), "{}: bounded in time", row.id);
        assert!(row.body.is_none() || row.limits.body_bytes > 0, "{}: a body has room", row.id);
        let named: Vec<&str> = row
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')))
            .collect();
        let described: Vec<&str> =
            row.parameters.iter().filter(|one| one.place == Place::Path).map(|one| one.name).collect();
        assert_eq!(named, described, "{}: every part of the path is a parameter", row.id);
    }
}

/// Proves: REQ-SVC-353
#[test]
fn a_modality_may_store_and_nothing_else_and_a_regulator_sees_no_reading() {
    for row in operations() {
        let stores = row.path.starts_with("/dicom-web/studies");
        assert_eq!(row.roles.contains(&Role::Modality), stores, "{}", row.id);
        let patient = row.path.starts_with("/readings") || stores || row.path == "/replay";
        assert!(!(patient && row.roles.contains(&Role::Regulator)), "{}", row.id);
    }
}

/// Proves: REQ-SVC-354
#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    let served = serde_json::to_string_pretty(&openapi::document().unwrap()).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let held = std::fs::read_to_string(path).unwrap_or_default();
    if held != served {
        let made = std::env::var_os("VIDIMUS_WRITE_OPENAPI").is_some();
        if made {
            std::fs::write(path, &served).unwrap();
        }
        assert!(
            made,
            "service/openapi.json: VIDIMUS_WRITE_OPENAPI=1 cargo test writes it anew; look at the difference"
        );
    }
}

/// Proves: REQ-SVC-355
#[test]
fn every_problem_has_one_name_a_status_and_its_words_in_fhir_and_dicom() {
    let slugs: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
    assert_eq!(slugs.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert!((400..600).contains(&kind.status()) && !kind.title().is_empty(), "{kind:?}");
        assert!(!kind.fhir().is_empty() && kind.dicom() > 0, "{kind:?}");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/problems.md");
        let pages = std::fs::read_to_string(page).unwrap();
        let row = format!("| `{}` | {} | `{}` | {:#06X} |", kind.slug(), kind.status(), kind.fhir(), kind.dicom());
        assert!(pages.contains(&row.replace("0X", "0x")), "docs/problems.md lacks the row {row}");
    }
}
