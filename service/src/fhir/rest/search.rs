//! Search over the published resources: the registry narrows by keys, the rest is matched on the opened resources; a
//! page ends by a signed cursor, which stays good while new readings arrive.
//! A page looks at a bounded number of rows: one that finds too little within them is short and has a `next` all the
//! same.
//! Errors: [`Problem`]; the vault or the registry. Source: INTERFACES section 1.7.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vidimus_log::{Digest, EntryId};
use vidimus_store::{ResourceQuery, ResourceRow};

use super::{
    asked::{Asked, Link, Order},
    criteria::{at, span_of},
    log_view, parameters, waiting,
};
use crate::{
    fhir::{BASE, shelf::Opened, values},
    http::{Kind, Problem},
    site::House,
};

/// Rows that one page looks at, beyond which it is handed out short.
const ROWS_MAX: usize = 2_000;
/// Rows at a time.
const STEP: usize = 200;
/// Resources that can be sorted by another order than the store's, or counted by opening them.
const SORTED_MAX: usize = 5_000;
/// Resources that accompany a page.
const INCLUDED_MAX: usize = 1_000;

/// A found resource and the patient whom it is about.
pub(super) struct Found {
    pub resource: Value,
    pub patient: Option<Digest>,
    /// Its row; none for what is a view.
    row: Option<ResourceRow>,
}

impl Found {
    /// A view that lies in no row.
    pub(super) const fn view(resource: Value, patient: Option<Digest>) -> Self {
        Self { resource, patient, row: None }
    }
}

/// A page.
#[derive(Default)]
pub(super) struct Page {
    pub matches: Vec<Found>,
    pub included: Vec<Found>,
    pub total: Option<usize>,
    /// Place after which the next page begins.
    pub next: Option<String>,
}

/// The answer to a search, and the patient if it is about one only.
pub(super) fn search(house: &House, base: &str, asked: &Asked) -> Result<(Value, Option<Digest>), Problem> {
    let mut page = if asked.kind.name == "AuditEvent" { log_view::page(house, asked)? } else { stored(house, asked)? };
    if !asked.only_count {
        page.included = included(house, asked, &page.matches)?;
    }
    let patients: BTreeSet<Digest> = page.matches.iter().chain(&page.included).filter_map(|one| one.patient).collect();
    let patient = patients.first().copied().filter(|_| patients.len() == 1);
    Ok((bundle(house, base, asked, page), patient))
}

fn bundle(house: &House, base: &str, asked: &Asked, page: Page) -> Value {
    let mut links = vec![json!({ "relation": "self", "url": asked.address(base, None) })];
    if let Some(next) = &page.next {
        let cursor = asked.cursor(house, next);
        links.push(json!({ "relation": "next", "url": asked.address(base, Some(&cursor)) }));
    }
    let entry = |found: Found, mode: &str| {
        let (kind, id) = (found.resource["resourceType"].clone(), found.resource["id"].clone());
        let address = format!("{base}/{}/{}", kind.as_str().unwrap_or(""), id.as_str().unwrap_or(""));
        let elements = if mode == "match" { asked.elements.as_slice() } else { &[] };
        json!({ "fullUrl": address, "resource": part(found.resource, elements), "search": { "mode": mode } })
    };
    let mut entries: Vec<Value> = page.matches.into_iter().map(|found| entry(found, "match")).collect();
    entries.extend(page.included.into_iter().map(|found| entry(found, "include")));
    values::without_empty(json!({
        "resourceType": "Bundle",
        "type": "searchset",
        "total": page.total,
        "link": links,
        "entry": entries,
    }))
}

/// The wanted elements of a resource, what must be there, and a mark that it is a part.
fn part(resource: Value, elements: &[String]) -> Value {
    if elements.is_empty() {
        return resource;
    }
    let Value::Object(fields) = resource else { return resource };
    const ALWAYS: &[&str] = &[
        "resourceType",
        "id",
        "meta",
        "status",
        "code",
        "subject",
        "intent",
        "target",
        "recorded",
        "agent",
        "content",
    ];
    const OF_EVENT: &[&str] = &["type", "source"];
    let event = fields.get("resourceType").is_some_and(|kind| kind == "AuditEvent");
    let kept = fields.into_iter().filter(|(name, _)| {
        ALWAYS.contains(&name.as_str())
            || (event && OF_EVENT.contains(&name.as_str()))
            || elements.iter().any(|wanted| wanted == name)
    });
    let mut part = Value::Object(kept.collect());
    let system = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
    part["meta"]["tag"] = json!([{ "system": system, "code": "SUBSETTED", "display": "subsetted" }]);
    part
}

/// Whether the criteria are no more than what the registry was asked for.
struct Narrowed {
    query: ResourceQuery,
    whole: bool,
    /// Nothing can fit.
    nothing: bool,
}

/// What of the criteria the registry can answer by its columns.
fn narrow(house: &House, asked: &Asked) -> Result<Narrowed, Problem> {
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
                let coded = |token: &&super::criteria::Token| {
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
fn narrow_identifier(house: &House, kind: &str, criterion: &super::criteria::Criterion, query: &mut ResourceQuery) {
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
fn narrow_by_reading(
    house: &House,
    criterion: &super::criteria::Criterion,
    query: &mut ResourceQuery,
) -> Result<(), Problem> {
    let Some((Some(kind), id)) = criterion.only_reference() else { return Ok(()) };
    if let Some(row) = house.site.resource(kind, id)? {
        query.reading = query.reading.or(row.reading);
        query.study = query.study.or(row.study);
    }
    Ok(())
}

/// Resources of the registry, and what waits.
fn stored(house: &House, asked: &Asked) -> Result<Page, Problem> {
    let narrowed = narrow(house, asked)?;
    if narrowed.nothing {
        return Ok(Page { total: Some(0), ..Page::default() });
    }
    let waiting = if asked.kind.name == "Task" && asked.after.is_none() {
        waiting::tasks(house)?.into_iter().filter(|found| asked.holds(&found.resource)).collect()
    } else {
        Vec::new()
    };
    let counted = if asked.only_count || asked.total { Some(count(house, asked, &narrowed)?) } else { None };
    if asked.only_count {
        return Ok(Page { total: counted.map(|counted| counted + waiting.len()), ..Page::default() });
    }
    let first = asked.after.is_none();
    let waits = waiting.len();
    let mut page = match asked.order {
        Order::Newest => newest(house, asked, &narrowed, waiting)?,
        Order::By { path, descending } => sorted(house, asked, &narrowed, waiting, (path, descending))?,
    };
    let all = (first && page.next.is_none()).then_some(page.matches.len());
    page.total = counted.map(|counted| counted + waits).or(all);
    Ok(page)
}

/// How many stored resources fit.
fn count(house: &House, asked: &Asked, narrowed: &Narrowed) -> Result<usize, Problem> {
    let mut opened = Opened::new(house);
    let mut query = ResourceQuery { limit: STEP, ..narrowed.query.clone() };
    let (mut counted, mut looked) = (0, 0);
    loop {
        let rows = house.site.resources(&query)?;
        for row in &rows {
            let fits = narrowed.whole || resource(&mut opened, row)?.is_some_and(|resource| asked.holds(&resource));
            counted += usize::from(fits);
        }
        looked += rows.len();
        let Some(last) = rows.last().filter(|_| rows.len() == STEP) else { return Ok(counted) };
        if !narrowed.whole && looked >= SORTED_MAX {
            return Err(costly("the number"));
        }
        query.before = Some(last.sequence);
    }
}

fn costly(what: &str) -> Problem {
    let detail = format!("{what} of more than {SORTED_MAX} resources: narrow the search by patient, date or status");
    Problem::new(Kind::Unprocessable, detail)
}

/// The resource of a row; none where the patient's data was erased.
fn resource(opened: &mut Opened<'_>, row: &ResourceRow) -> Result<Option<Value>, Problem> {
    match opened.resource(row) {
        Ok(resource) => Ok(Some(resource)),
        Err(error) if matches!(error.downcast_ref(), Some(vidimus_store::VaultError::Erased)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// In the order of the store.
fn newest(house: &House, asked: &Asked, narrowed: &Narrowed, waiting: Vec<Found>) -> Result<Page, Problem> {
    let mut page = Page { matches: waiting, ..Page::default() };
    page.matches.truncate(asked.count);
    let mut query = narrowed.query.clone();
    query.before = match &asked.after {
        None => None,
        Some(after) => Some(after.parse().map_err(|_| Problem::new(Kind::BadRequest, "_cursor: it is none of ours"))?),
    };
    let mut opened = Opened::new(house);
    let mut looked = 0;
    loop {
        let rows = house.site.resources(&query)?;
        let more = rows.len() == query.limit;
        for row in rows {
            if page.matches.len() == asked.count {
                // one more fits or might: the next page tells
                page.next = Some(query.before.unwrap_or(u64::MAX / 2).to_string());
                return Ok(page);
            }
            query.before = Some(row.sequence);
            if let Some(resource) = resource(&mut opened, &row)?.filter(|resource| asked.holds(resource)) {
                page.matches.push(Found { resource, patient: row.patient, row: Some(row) });
            }
        }
        looked += STEP;
        if !more {
            return Ok(page);
        }
        if looked >= ROWS_MAX {
            page.next = query.before.map(|before| before.to_string());
            return Ok(page);
        }
    }
}

/// By a date: all that fit are put in order, and the page begins behind the key of the last one.
fn sorted(
    house: &House,
    asked: &Asked,
    narrowed: &Narrowed,
    waiting: Vec<Found>,
    (path, descending): (&str, bool),
) -> Result<Page, Problem> {
    let mut all = waiting;
    let mut query = narrowed.query.clone();
    let mut opened = Opened::new(house);
    loop {
        let rows = house.site.resources(&query)?;
        let more = rows.len() == query.limit;
        for row in rows {
            query.before = Some(row.sequence);
            if let Some(resource) = resource(&mut opened, &row)?.filter(|resource| asked.holds(resource)) {
                all.push(Found { resource, patient: row.patient, row: Some(row) });
            }
        }
        if all.len() > SORTED_MAX {
            return Err(costly("an order"));
        }
        if !more {
            break;
        }
    }
    // what has no date comes last in either direction, as the standard leaves it open
    let key = |found: &Found| {
        let time = at(&found.resource, path).first().and_then(|value| span_of(value)).map(|span| span.low);
        let place = time.map_or(i64::MAX, |time| if descending { -time } else { time });
        (place, found.row.as_ref().map_or(u64::MAX, |row| row.sequence))
    };
    all.sort_by_key(key);
    let after = match &asked.after {
        None => None,
        Some(after) => {
            let read = |after: &str| {
                let (place, sequence) = after.split_once('/')?;
                Some((place.parse::<i64>().ok()?, sequence.parse::<u64>().ok()?))
            };
            let wrong = || Problem::new(Kind::BadRequest, "_cursor: it is none of ours");
            Some(read(after).ok_or_else(wrong)?)
        }
    };
    let mut rest = all.into_iter().filter(|found| after.is_none_or(|after| key(found) > after));
    let matches: Vec<Found> = rest.by_ref().take(asked.count).collect();
    let next = rest.next().and(matches.last()).map(key).map(|(place, sequence)| format!("{place}/{sequence}"));
    Ok(Page { matches, next, ..Page::default() })
}

/// The resources that `_include` and `_revinclude` add, each once and none that is a match already.
fn included(house: &House, asked: &Asked, matches: &[Found]) -> Result<Vec<Found>, Problem> {
    let name = |resource: &Value| {
        let text = |field: &str| resource[field].as_str().unwrap_or_default().to_owned();
        (text("resourceType"), text("id"))
    };
    let mut seen: BTreeSet<(String, String)> = matches.iter().map(|found| name(&found.resource)).collect();
    let mut opened = Opened::new(house);
    let mut included = Vec::new();
    for found in matches {
        let mut rows = Vec::new();
        for link in &asked.include {
            rows.extend(referred(house, found, link)?);
        }
        for link in &asked.revinclude {
            rows.extend(referring(house, found, link, &mut opened)?);
        }
        for row in rows {
            if !seen.insert((row.kind.clone(), row.id.clone())) {
                continue;
            }
            if included.len() == INCLUDED_MAX {
                return Ok(included);
            }
            if let Some(resource) = resource(&mut opened, &row)? {
                included.push(Found { resource, patient: row.patient, row: Some(row) });
            }
        }
    }
    Ok(included)
}

/// Where a resource leads by one parameter.
fn referred(house: &House, found: &Found, link: &Link) -> Result<Vec<ResourceRow>, Problem> {
    let mut rows = Vec::new();
    let references = link.parameter.at.iter().flat_map(|path| at(&found.resource, path));
    for reference in references.filter_map(|value| value["reference"].as_str()) {
        let mut parts = reference.split('/');
        let (Some(kind), Some(id)) = (parts.next(), parts.next()) else { continue };
        let seen = parameters::of(kind).is_some_and(|kind| link.of.roles.iter().all(|role| kind.roles.contains(role)));
        if !seen || link.target.is_some_and(|target| target != kind) {
            continue;
        }
        let version = parts.next().filter(|word| *word == "_history").and_then(|_| parts.next()?.parse().ok());
        rows.extend(match version {
            Some(version) => house.site.resource_version(kind, id, version)?,
            None => house.site.resource(kind, id)?,
        });
    }
    Ok(rows)
}

/// What leads to a resource by one parameter.
fn referring(house: &House, found: &Found, link: &Link, opened: &mut Opened<'_>) -> Result<Vec<ResourceRow>, Problem> {
    let Some(row) = &found.row else { return Ok(Vec::new()) };
    let mut query = ResourceQuery { kind: link.of.name.into(), limit: INCLUDED_MAX, ..ResourceQuery::default() };
    if row.reading.is_some() {
        query.reading = row.reading;
    } else if row.study.is_some() {
        query.study = row.study;
    } else {
        query.patient = row.patient;
    }
    let address = format!("{}/{}", row.kind, row.id);
    let mut rows = Vec::new();
    for candidate in house.site.resources(&query)? {
        let Some(resource) = resource(opened, &candidate)? else { continue };
        let leads = link.parameter.at.iter().flat_map(|path| at(&resource, path)).any(|value| {
            let reference = value["reference"].as_str().unwrap_or_default();
            reference.split("/_history/").next() == Some(&address)
        });
        if leads {
            rows.push(candidate);
        }
    }
    Ok(rows)
}
