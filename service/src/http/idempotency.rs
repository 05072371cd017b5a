//! Idempotency-Key: a POST that is sent again is answered again and not done again.
//! The key belongs to who sent it and to the operation; the answer lies sealed in the vault, its row travels with the
//! request's `access` entry. The same key with another body is refused (422), with a first request still at work: 409.
//! Source: draft-ietf-httpapi-idempotency-key-header-07.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use vidimus_log::Digest;
use vidimus_store::Row;

use super::{Answer, Kind, Operation, Problem, Service, Verb};
use crate::{access::Caller, site::House};

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// Its longest value.
pub(super) const KEY_BYTES_MAX: usize = 128;

/// Keys whose first request is still at work.
#[derive(Default)]
pub(super) struct InFlight(Mutex<HashSet<Digest>>);

/// A key that this request holds; given back when dropped.
pub(super) struct Held<'a> {
    all: &'a InFlight,
    key: Digest,
    body: Digest,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    media: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Headers that are answered again.
const HEADERS: &[&str] = &["location", "etag", "last-modified"];

/// What the key means for this request.
pub(super) enum Turn<'a> {
    /// There is no key.
    Free,
    /// It is the first of its key.
    First(Held<'a>),
    /// It was answered before.
    Again(Answer),
}

/// A request, as its key names it.
pub(super) struct Asked<'a> {
    pub service: &'a Service,
    pub operation: &'a Operation,
    pub caller: Option<&'a Caller>,
    pub path: &'a [(String, String)],
    pub raw_query: &'a str,
    /// The header's value.
    pub key: Option<&'a str>,
    /// The body, or a digest of it.
    pub body: &'a [u8],
}

/// Looks a request's key up and holds it.
pub(super) fn turn<'a>(asked: &Asked<'a>) -> Result<Turn<'a>, Problem> {
    let Some(key) = asked.key.filter(|_| asked.operation.verb == Verb::Post) else { return Ok(Turn::Free) };
    let visible = !key.is_empty() && key.len() <= KEY_BYTES_MAX && key.bytes().all(|c| (0x20..0x7f).contains(&c));
    if !visible {
        let detail = format!("Idempotency-Key: expected 1 to {KEY_BYTES_MAX} visible ASCII characters");
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    let site = &asked.service.house.site;
    let caller = asked.caller.map_or("", |caller| caller.actor.id.as_str());
    let target: Vec<&str> = asked.path.iter().map(|(_, value)| value.as_str()).collect();
    let named = format!("{caller}\n{}\n{}\n{key}", asked.operation.id, target.join("/"));
    let key = site.keyed("request", named.as_bytes());
    let body = Digest::of_parts([asked.raw_query.as_bytes(), b"\n", asked.body]);
    if !asked.service.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
        return Err(Problem::new(Kind::Conflict, "Idempotency-Key: the first request with this key is still at work"));
    }
    let held = Held { all: &asked.service.in_flight, key, body };
    let Some(row) = site.request(&key)? else { return Ok(Turn::First(held)) };
    if row.body != body {
        return Err(Problem::new(Kind::Unprocessable, "Idempotency-Key: it was used before with another request"));
    }
    let kept: Kept = serde_json::from_slice(site.vault().get(&row.answer)?.open()).map_err(anyhow::Error::from)?;
    let mut answer = Answer::bytes(kept.media, kept.body).status(kept.status).header("idempotent-replayed", "true");
    for name in HEADERS {
        if let Some((_, value)) = kept.headers.iter().find(|(kept, _)| kept == name) {
            answer = answer.header(name, value.clone());
        }
    }
    Ok(Turn::Again(answer))
}

impl Held<'_> {
    /// The row that keeps the answer; the answer itself is sealed when this returns. Faults are not kept: they may be
    /// tried again.
    pub(super) fn keep(&self, house: &House, answer: &Answer) -> Result<Vec<Row>, Problem> {
        if answer.status >= 300 {
            return Ok(Vec::new());
        }
        let Ok(body) = String::from_utf8(answer.body.clone()) else { return Ok(Vec::new()) };
        let headers = answer.headers.iter().filter(|(name, _)| HEADERS.contains(name));
        let headers = headers.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let kept = Kept { status: answer.status, media: answer.media.clone(), headers, body };
        let kept = serde_json::to_vec(&kept).map_err(anyhow::Error::from)?;
        let subject = match &answer.subject {
            Some(patient) => house.subject(patient)?,
            None => house.site.vault().site()?,
        };
        let answer = house.site.vault().put(&subject, &kept)?;
        Ok(vec![Row::Request { key: self.key, body: self.body, answer, made_ms: house.now_ms() }])
    }
}
