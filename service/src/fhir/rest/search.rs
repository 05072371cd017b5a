//! Search over the published resources: the registry narrows by keys, the rest is matched on the opened resources; a
//! page ends by a signed cursor, which stays good while new readings arrive.
//! A page looks at a bounded number of rows: one that finds too little within them is short and has a `next` all the
//! same.
//! Errors: [`Problem`]; the vault or the registry. Source: INTERFACES section 1.7.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vidimus_log::Digest;
use vidimus_store::{ResourceQuery, ResourceRow};

use super::{
    asked::{Asked, Link, Order},
    criteria::{at, span_of},
    log_view,
    narrow::{Narrowed, narrow},
    parameters, waiting,
};
use crate::{
    fhir::{shelf::Opened, values},
    http::{Kind, Problem},
    site::House,
};

/// Rows that one page looks at, beyond which it is handed out short.
const ROWS_MAX: usize = 2_000;
/// Rows at a time.
pub(super) const STEP: usize = 200;
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
            let fits = narrowed.whole || opened.unless_erased(row)?.is_some_and(|resource| asked.holds(&resource));
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
            if let Some(resource) = opened.unless_erased(&row)?.filter(|resource| asked.holds(resource)) {
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
            if let Some(resource) = opened.unless_erased(&row)?.filter(|resource| asked.holds(resource)) {
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
            if let Some(resource) = opened.unless_erased(&row)? {
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
        let Some(resource) = opened.unless_erased(&candidate)? else { continue };
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
