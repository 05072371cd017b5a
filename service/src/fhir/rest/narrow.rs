//! What of a search the registry can answer by its keys and columns; the rest is matched on the opened resources.
//! A narrowing never leaves out what fits: where it is not the whole criterion, the criterion is held again.
//! Errors: [`Problem`]; the registry.

use vidimus_log::{Digest, EntryId};
use vidimus_store::ResourceQuery;

use super::{
    asked::Asked,
    criteria::{Criterion, Token},
    search::STEP,
};
use crate::{fhir::BASE, http::Problem, site::House};

/// Whether the criteria are no more than what the registry was asked for.
pub(super) struct Narrowed {
    pub(super) query: ResourceQuery,
    pub(super) whole: bool,
    /// Nothing can fit.
    pub(super) nothing: bool,
}

/// What of the criteria the registry can answer by its columns.
pub(super) fn narrow(house: &House, asked: &Asked) -> Result<Narrowed, Problem> {
    let mut query = ResourceQuery { kind: asked.kind.name.into(), limit: STEP, ..ResourceQuery::default() };
    let mut narrowed = Narrowed { query: ResourceQuery::default(), whole: true, nothing: false };
    for criterion in &asked.criteria {
        let parameter = criterion.parameter;
        let mut whole = false;
        match parameter.name {
            "_id" if query.ids.is_empty() => {
                if let Some(tokens) = criterion.tokens() {
                    query.ids = tokens.iter().filter_map(|token| token.code.clone()).collect();
                    whole = tokens.iter().all(|token| token.system.is_none());
                }
            }
            "_lastUpdated" => {
                let (low, high) = criterion.bounds();
                let ms = |micros: i64| u64::try_from(micros.div_euclid(1_000)).unwrap_or(0);
                query.updated_from_ms = query.updated_from_ms.max(low.map(ms));
                let high = high.map(|high| ms(high).saturating_add(1));
                query.updated_to_ms = [query.updated_to_ms, high].into_iter().flatten().min();
            }
            "status" if query.status.is_empty() => {
                if let Some(tokens) = criterion.tokens() {
                    query.status = tokens.iter().filter_map(|token| token.code.clone()).collect();
                    whole = tokens.iter().all(|token| token.system.is_none() && token.code.is_some());
                    if query.status.len() < tokens.len() {
                        query.status.clear();
                    }
                }
            }
            "code" if query.code.is_empty() => {
                let tokens = criterion.tokens().unwrap_or_default();
                let coded = |token: &&Token| {
                    let system = token.system.as_deref().filter(|system| !system.is_empty())?;
                    Some(format!("{system}|{}", token.code.as_deref()?))
                };
                let codes: Vec<String> = tokens.iter().filter_map(coded).collect();
                if !codes.is_empty() && codes.len() == tokens.len() {
                    // the column holds the first coding; one resource of ours has no second
                    (query.code, whole) = (codes, true);
                }
            }
            "patient" | "subject" if query.patient.is_none() => {
                if let Some((_, id)) = criterion.only_reference() {
                    match id.parse::<Digest>() {
                        Ok(patient) => (query.patient, whole) = (Some(patient), true),
                        Err(_) => narrowed.nothing = true,
                    }
                } else if let Some(token) = criterion.only_identifier() {
                    whole = false;
                    query.patient = token.code.as_deref().map(|id| house.site.keyed("patient", id.trim().as_bytes()));
                }
            }
            "identifier" => narrow_identifier(house, asked.kind.name, criterion, &mut query),
            "target" | "result" | "media" | "derived-from" | "focus" | "entity" => {
                narrow_by_reading(house, criterion, &mut query)?;
            }
            _ => {}
        }
        narrowed.whole &= whole;
    }
    narrowed.query = query;
    Ok(narrowed)
}

/// Identifiers under which keys can be made again.
fn narrow_identifier(house: &House, kind: &str, criterion: &Criterion, query: &mut ResourceQuery) {
    let tokens = criterion.tokens().unwrap_or_default();
    let [token] = tokens.as_slice() else { return };
    let (Some(system), Some(code)) = (token.system.as_deref(), token.code.as_deref()) else { return };
    match (kind, system) {
        ("ImagingStudy", "urn:dicom:uid") => {
            let uid = code.strip_prefix("urn:oid:").unwrap_or(code);
            query.study = Some(house.site.keyed("study", uid.as_bytes()));
        }
        ("Patient", system) if system == format!("{BASE}/id/patient") => {
            query.patient = Some(house.site.keyed("patient", code.trim().as_bytes()));
        }
        ("DiagnosticReport", system) if system == format!("{BASE}/id/reading") => {
            query.reading = EntryId::parse(code).ok();
        }
        ("Device", _) if code.len() == 64 && query.ids.is_empty() => query.ids = vec![code.to_owned()],
        _ => {}
    }
}

/// A reference to a resource of a reading leads to resources of the same reading; one to a study, of the same study.
fn narrow_by_reading(house: &House, criterion: &Criterion, query: &mut ResourceQuery) -> Result<(), Problem> {
    let Some((Some(kind), id)) = criterion.only_reference() else { return Ok(()) };
    if let Some(row) = house.site.resource(kind, id)? {
        query.reading = query.reading.or(row.reading);
        query.study = query.study.or(row.study);
    }
    Ok(())
}
