//! The audit log over HTTP: checkpoint and tiles for every verifier, entries for those who may read them.

use std::time::Instant;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use vidimus_log::{EntryId, leaf_hash};
use vidimus_store::EntryQuery;

use super::{
    super::{Answer, Call, Kind, Problem},
    cursor, limit, open_cursor, time_ms,
};

/// Tiles and bundles of a log never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The log's public key.
pub(in super::super) fn key(call: &Call<'_>) -> Result<Answer, Problem> {
    Ok(Answer::text(format!("{}\n", call.house().site.verifying_key().text())))
}

/// The newest checkpoint.
pub(in super::super) fn checkpoint(call: &Call<'_>) -> Result<Answer, Problem> {
    Ok(Answer::text(call.house().site.checkpoint()))
}

/// A tile of hashes.
pub(in super::super) fn tile(call: &Call<'_>) -> Result<Answer, Problem> {
    let path = call.path("path");
    if path.starts_with("entries/") {
        return Err(missing());
    }
    published(call, &format!("tile/{path}"))
}

/// A bundle of entries.
pub(in super::super) fn bundle(call: &Call<'_>) -> Result<Answer, Problem> {
    published(call, &format!("tile/entries/{}", call.path("path")))
}

fn missing() -> Problem {
    Problem::new(Kind::NotFound, "the log has no tile of this name and width")
}

fn published(call: &Call<'_>, path: &str) -> Result<Answer, Problem> {
    let bytes = call.house().site.published(path)?.ok_or_else(missing)?;
    Ok(Answer::bytes("application/octet-stream", bytes).header("cache-control", FOR_EVER))
}

/// The receipt of any entry.
pub(in super::super) fn receipt(call: &Call<'_>) -> Result<Answer, Problem> {
    receipt_of(call, call.path("entry_id"))
}

/// The receipt of the entry with this id.
pub(super) fn receipt_of(call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
    let missing = || Problem::new(Kind::NotFound, "the log has no entry of this id");
    let id = EntryId::parse(id).map_err(|_| missing())?;
    let site = &call.house().site;
    site.find(&id)?.ok_or_else(missing)?;
    Ok(Answer::text(site.receipt(&id)?.to_tlog_proof()))
}

/// Entries, the newest first.
pub(in super::super) fn entries(call: &Call<'_>) -> Result<Answer, Problem> {
    let site = &call.house().site;
    let text = |name| call.query(name).map(str::to_owned);
    let before = match call.query("cursor") {
        Some(text) => Some(open_cursor(call, text)?.parse().map_err(|_| bad_cursor())?),
        None => None,
    };
    let most = limit(call);
    let asked = EntryQuery {
        kind: text("kind"),
        actor: text("actor"),
        operation: text("operation"),
        from_ms: time_ms(call, "from"),
        to_ms: time_ms(call, "to"),
        before,
        limit: most,
    };
    let found = site.search_entries(&asked)?;
    let next = (found.len() == most).then(|| found.last()).flatten().map(|(index, _)| cursor(call, &index.to_string()));
    let entries: Vec<Value> = found.iter().map(|(index, bytes)| shown(*index, bytes)).collect::<Result<_, _>>()?;
    Answer::json(&json!({ "entries": entries, "size": site.size(), "next": next }))
}

fn bad_cursor() -> Problem {
    Problem::new(Kind::BadRequest, "cursor: it is none of this list")
}

/// One entry.
pub(in super::super) fn entry(call: &Call<'_>) -> Result<Answer, Problem> {
    let site = &call.house().site;
    let missing = || Problem::new(Kind::NotFound, "the log has no entry of this index");
    let index: u64 = call.path("index").parse().map_err(|_| missing())?;
    let bytes = site.entries(index..index.saturating_add(1))?.pop().ok_or_else(missing)?;
    let mut entry = shown(index, &bytes)?;
    entry["entry"] = json!(STANDARD.encode(&bytes));
    Answer::json(&entry)
}

/// An entry as its own canonical JSON says it, with its place and leaf.
fn shown(index: u64, bytes: &[u8]) -> Result<Value, Problem> {
    let mut entry: Value = serde_json::from_slice(bytes).map_err(anyhow::Error::from)?;
    entry["index"] = json!(index);
    entry["leaf"] = json!(leaf_hash(bytes).hex());
    Ok(entry)
}

/// Verifies the whole log now. A fault is a result.
pub(in super::super) fn verify(call: &Call<'_>) -> Result<Answer, Problem> {
    let started = Instant::now();
    let site = &call.house().site;
    let verified = site.verify();
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let answer = match &verified {
        Ok(facts) => json!({
            "ok": true,
            "size": facts.size,
            "entries": facts.size,
            "root": facts.root.hex(),
            "took_ms": took_ms,
            "fault": null,
        }),
        Err(error) => {
            tracing::error!(target: "vidimus", %error, "the log does not verify");
            json!({
                "ok": false, "size": site.size(), "entries": site.size(), "root": null, "took_ms": took_ms,
                "fault": error.to_string(),
            })
        }
    };
    Answer::json(&answer)
}
