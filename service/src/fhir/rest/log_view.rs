//! AuditEvents: the log itself, seen through FHIR, the newest entry first. Nothing is stored for it.
//! Errors: [`Problem`]; the log cannot be read. Source: INTERFACES section 1.6.

use serde_json::Value;
use vidimus_store::EntryQuery;

use super::{
    asked::{Asked, Order},
    audit_event::audit_event,
    search::{Found, Page},
};
use crate::{
    fhir::BASE,
    http::{Kind, Problem},
    site::House,
};

/// Entries that one page looks at, beyond which it is handed out short.
const ENTRIES_MAX: usize = 10_000;
/// Entries that are counted one by one.
const COUNTED_MAX: usize = 100_000;
const STEP: usize = 500;

/// The AuditEvent of an entry, by its index.
pub(super) fn event(house: &House, id: &str) -> Result<Option<Value>, Problem> {
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
    let Some(index) = id.parse::<u64>().ok().filter(|_| plain) else { return Ok(None) };
    if index >= house.site.size() {
        return Ok(None);
    }
    let bytes = house.site.entries(index..index.saturating_add(1))?.pop();
    Ok(bytes.and_then(|bytes| audit_event(&house.terms, index, &bytes)))
}

/// A page of them.
pub(super) fn page(house: &House, asked: &Asked) -> Result<Page, Problem> {
    if asked.order != Order::Newest {
        return Err(Problem::new(Kind::BadRequest, "_sort: the log is served the newest entry first"));
    }
    let mut page = Page::default();
    if asked.total || asked.only_count {
        page.total = Some(count(house, asked)?);
    }
    if asked.only_count {
        return Ok(page);
    }
    let after = match &asked.after {
        None => None,
        Some(after) => Some(after.parse().map_err(|_| Problem::new(Kind::BadRequest, "_cursor: it is none of ours"))?),
    };
    let narrowed = narrow(asked);
    let mut query = EntryQuery { before: after.or(narrowed.before), limit: STEP, ..narrowed };
    let mut looked = 0;
    loop {
        let entries = house.site.search_entries(&query)?;
        let more = entries.len() == STEP;
        looked += entries.len();
        for (index, bytes) in entries {
            if page.matches.len() == asked.count {
                page.next = query.before.map(|before| before.to_string());
                return Ok(page);
            }
            query.before = Some(index);
            let event = audit_event(&house.terms, index, &bytes).filter(|event| asked.holds(event));
            page.matches.extend(event.map(|event| Found::view(event, None)));
        }
        if !more {
            if after.is_none() && page.total.is_none() {
                page.total = Some(page.matches.len());
            }
            return Ok(page);
        }
        if looked >= ENTRIES_MAX {
            page.next = query.before.map(|before| before.to_string());
            return Ok(page);
        }
    }
}

/// What of the criteria the log's columns can answer; all of it is held to the event again.
fn narrow(asked: &Asked) -> EntryQuery {
    let mut query = EntryQuery::default();
    for criterion in &asked.criteria {
        match criterion.parameter.name {
            "date" | "_lastUpdated" => {
                let (low, high) = criterion.bounds();
                let ms = |micros: i64| u64::try_from(micros.div_euclid(1_000)).unwrap_or(0);
                query.from_ms = query.from_ms.max(low.map(ms));
                query.to_ms = [query.to_ms, high.map(|high| ms(high).saturating_add(1))].into_iter().flatten().min();
            }
            "_id" => {
                // an id is a place: one of them bounds the walk
                let tokens = criterion.tokens().unwrap_or_default();
                let places: Option<Vec<u64>> =
                    tokens.iter().map(|token| token.code.as_deref()?.parse::<u64>().ok()).collect();
                let last = places.and_then(|places| places.into_iter().max());
                query.before = last.map(|last| last.saturating_add(1));
            }
            "agent" => {
                query.actor = criterion.only_identifier().and_then(|token| token.code.clone()).or(query.actor);
            }
            "subtype" => {
                let tokens = criterion.tokens().unwrap_or_default();
                let system = format!("{BASE}/CodeSystem/audit");
                if let [token] = tokens.as_slice()
                    && token.system.as_ref() == Some(&system)
                    && let Some(code) = &token.code
                {
                    let is_kind =
                        vidimus_log::body::KINDS.iter().any(|kind| kind.name == code && kind.name != "access");
                    if is_kind { query.kind = Some(code.clone()) } else { query.operation = Some(code.clone()) }
                }
            }
            _ => {}
        }
    }
    query
}

fn count(house: &House, asked: &Asked) -> Result<usize, Problem> {
    if asked.criteria.is_empty() {
        return Ok(usize::try_from(house.site.size()).unwrap_or(usize::MAX));
    }
    let mut query = EntryQuery { limit: STEP, ..narrow(asked) };
    let (mut counted, mut looked) = (0, 0);
    loop {
        let entries = house.site.search_entries(&query)?;
        for (index, bytes) in &entries {
            let fits = audit_event(&house.terms, *index, bytes).is_some_and(|event| asked.holds(&event));
            counted += usize::from(fits);
        }
        looked += entries.len();
        let Some((last, _)) = entries.last().filter(|_| entries.len() == STEP) else { return Ok(counted) };
        if looked >= COUNTED_MAX {
            let detail = format!("the number of more than {COUNTED_MAX} entries: narrow the search by date or agent");
            return Err(Problem::new(Kind::Unprocessable, detail));
        }
        query.before = Some(*last);
    }
}
