//! Readings: the worklist, one reading, its films and explanation, its receipt, its signature.
//! Everything shown is the sealed record of the published reading; nothing is computed again.

use std::time::Duration;

use serde_json::{Map, Value, json};
use vidimus_log::{Digest, EntryId, Phi};
use vidimus_store::{Order, PublishedRow, VaultError, WorklistQuery, attention};

use super::{
    super::{Answer, Call, Kind, Problem},
    cursor, limit,
    log::receipt_of,
    open_cursor, time_ms, time_text,
};
use crate::{
    pipeline::{Record, ViewError, pixels as pixels_of, rendered},
    signing,
};

/// Changes that one answer lists at most.
const CHANGES_MAX: usize = 200;

/// A page of the worklist.
pub(in super::super) fn list(call: &Call<'_>) -> Result<Answer, Problem> {
    let site = &call.house().site;
    let flag = |name| call.query(name).map(|value| value == "true");
    let text = |name| call.query(name).map(str::to_owned);
    let study = match (call.query("study"), call.query("study_instance_uid")) {
        (Some(key), _) => Some(key.parse::<Digest>().map_err(|_| bad("study: expected a key of a study"))?),
        (None, Some(uid)) => Some(site.keyed("study", uid.as_bytes())),
        (None, None) => None,
    };
    let order = if call.query("order") == Some("newest") { Order::Newest } else { Order::Attention };
    let most = limit(call);
    let query = WorklistQuery {
        order,
        status: text("status"),
        decision: text("decision"),
        signed: flag("signed"),
        study,
        patient: None,
        from_ms: time_ms(call, "from"),
        to_ms: time_ms(call, "to"),
        after: call.query("cursor").map(|text| after(call, text)).transpose()?,
        limit: most,
    };
    let tip = site.last_published()?;
    let rows = site.worklist(&query)?;
    let last = rows.last().filter(|_| rows.len() == most);
    let next = last.map(|row| cursor(call, &format!("{}/{}", row.attention, row.index)));
    let readings: Vec<Value> = rows.iter().map(|row| summary(call, row)).collect::<Result<_, _>>()?;
    let waiting = call.service.queue.depth();
    Answer::json(&json!({ "readings": readings, "waiting": waiting, "tip": tip, "next": next }))
}

fn bad(detail: &str) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

fn after(call: &Call<'_>, text: &str) -> Result<(u32, u64), Problem> {
    let held = open_cursor(call, text)?;
    let pair = held.split_once('/').and_then(|(rank, index)| Some((rank.parse().ok()?, index.parse().ok()?)));
    pair.ok_or_else(|| bad("cursor: it is none of this list"))
}

/// Waits until something was published or signed.
pub(in super::super) fn changes(call: &Call<'_>) -> Result<Answer, Problem> {
    let site = &call.house().site;
    let number = |name| call.query(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let (since, wait) = (number("since"), Duration::from_secs(number("wait").min(55)));
    let tip = call.service.queue.changed(since, wait);
    let query = WorklistQuery { order: Order::Newest, limit: CHANGES_MAX, ..WorklistQuery::default() };
    let rows = if tip > since { site.worklist(&query)? } else { Vec::new() };
    let newer =
        |row: &&PublishedRow| row.index > since || row.signed.as_ref().is_some_and(|signed| signed.index > since);
    let changed: Vec<Value> = rows
        .iter()
        .filter(newer)
        .map(|row| json!({ "id": row.reading.to_string(), "index": row.index, "status": row.status }))
        .collect();
    Answer::json(&json!({ "tip": tip, "waiting": call.service.queue.depth(), "changed": changed }))
}

/// The row of the path's reading.
fn row(call: &Call<'_>) -> Result<PublishedRow, Problem> {
    let missing = || Problem::new(Kind::NotFound, "there is no published reading of this id");
    let id = EntryId::parse(call.path("id")).map_err(|_| missing())?;
    call.house().site.published_reading(&id)?.ok_or_else(missing)
}

/// The record of a row; none where the patient's data was erased.
fn record(call: &Call<'_>, row: &PublishedRow) -> Result<Option<Record>, Problem> {
    match Record::open(call.house(), row) {
        Ok(record) => Ok(Some(record)),
        Err(error) if matches!(error.downcast_ref(), Some(VaultError::Erased)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn opened(call: &Call<'_>) -> Result<(PublishedRow, Record), Problem> {
    let row = row(call)?;
    let erased = || {
        let detail = "the patient's data was erased; the log's entries of this reading still verify";
        Problem::new(Kind::NotFound, detail)
    };
    let record = record(call, &row)?.ok_or_else(erased)?;
    Ok((row, record))
}

fn summary(call: &Call<'_>, row: &PublishedRow) -> Result<Value, Problem> {
    let record = record(call, row)?;
    Ok(Value::Object(summary_of(call, row, record.as_ref())?))
}

/// What the list shows of a reading.
fn summary_of(call: &Call<'_>, row: &PublishedRow, record: Option<&Record>) -> Result<Map<String, Value>, Problem> {
    let object = record.map_or(&Value::Null, |record| &record.object);
    let person = record.map(|record| &record.patient);
    let text = |of: Option<&String>| of.cloned().unwrap_or_default();
    let study = record.map(|record| &record.study);
    let reason = match record {
        Some(_) => object["reason"].clone(),
        None => json!({ "code": "erased", "text": "the patient's data was erased" }),
    };
    let shown = json!({
        "id": row.reading.to_string(),
        "index": row.index,
        "issued": time_text(row.issued_ms),
        "status": row.status,
        "reason": reason,
        "attention": { "rank": row.attention, "why": why(row, object) },
        "findings": findings(object),
        "model": object["model"],
        "patient": {
            "name": text(person.map(|person| &person.name)),
            "id": text(person.map(|person| &person.id)),
            "birth_date": text(person.map(|person| &person.birth_date)),
            "sex": person.and_then(|person| person.sex.clone()),
        },
        "study": {
            "study_instance_uid": text(study.map(|study| &study.study_instance_uid)),
            "date": text(study.map(|study| &study.date)),
            "accession": text(study.map(|study| &study.accession)),
            "modality": text(study.map(|study| &study.modality)),
            "body_part": study.and_then(|study| study.body_part.clone()),
            "view": study.and_then(|study| study.view.clone()),
            "age": study.and_then(|study| study.age),
            "key": row.study,
        },
        "images": record.map_or(0, |record| record.films),
        "signed": signed(call, row)?,
    });
    match shown {
        Value::Object(shown) => Ok(shown),
        _ => Ok(Map::new()),
    }
}

/// Findings as the list shows them.
fn findings(object: &Value) -> Vec<Value> {
    let all = object["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = |finding: &Value| {
        let point = &finding["operating_point"];
        json!({
            "id": finding["id"],
            "code": finding["code"],
            "decision": finding["decision"],
            "probability": finding["probability"],
            "operating_point": { "name": point["name"], "threshold": point["threshold"] },
        })
    };
    all.iter().map(shown).collect()
}

/// Why a reading stands where it stands in the list.
fn why(row: &PublishedRow, object: &Value) -> String {
    let finding = object["findings"][0]["code"]["display"].as_str().unwrap_or("the finding");
    let reason = object["reason"]["text"].as_str().unwrap_or("no reason is kept");
    match row.attention {
        attention::PRESENT => format!("{finding} called present, not signed yet"),
        attention::FAILED => format!("could not be read: {reason}"),
        attention::NOT_EVALUATED => format!("not evaluated: {reason}"),
        attention::ABSENT => format!("{finding} called absent, not signed yet"),
        _ => "signed".into(),
    }
}

/// Who signed it, in short.
fn signed(call: &Call<'_>, row: &PublishedRow) -> Result<Value, Problem> {
    let Some(signed) = &row.signed else { return Ok(Value::Null) };
    let view = signing::view(call.house(), &row.reading)?;
    let field = |name: &str| view.as_ref().map_or(Value::Null, |view| view[name].clone());
    Ok(json!({
        "sign_off": signed.sign_off.to_string(),
        "agrees": signed.agrees,
        "by": field("by"),
        "at": field("at"),
    }))
}

/// One reading with all that was said of it.
pub(in super::super) fn show(call: &Call<'_>) -> Result<Answer, Problem> {
    let (row, record) = opened(call)?;
    let mut shown = match &record.object {
        Value::Object(object) => object.clone(),
        _ => Map::new(),
    };
    let findings = shown.get("findings").cloned();
    shown.extend(summary_of(call, &row, Some(&record))?);
    // The list's short findings give way to the full ones.
    shown.insert("findings".into(), findings.unwrap_or_else(|| json!([])));
    let mut images = serde_json::to_value(&record.images).map_err(anyhow::Error::from)?;
    for image in images.as_array_mut().into_iter().flatten() {
        // Where the original is sealed is the vault's own affair.
        image.as_object_mut().map(|image| image.remove("object"));
    }
    shown.insert("images".into(), images);
    shown.insert("films".into(), json!(record.films));
    shown.insert("explanation".into(), serde_json::to_value(&record.explanation).map_err(anyhow::Error::from)?);
    shown.insert("not_evaluated".into(), serde_json::to_value(&record.not_evaluated).map_err(anyhow::Error::from)?);
    shown.insert("limits".into(), json!(record.limits));
    shown.insert("sign_off".into(), signing::view(call.house(), &row.reading)?.unwrap_or(Value::Null));
    shown.insert("override_reasons".into(), signing::reasons(call.house()));
    Ok(Answer::json(&shown)?.about(row.patient))
}

/// Which film, which frame.
fn place(call: &Call<'_>) -> (usize, usize) {
    let number = |name| call.query(name).and_then(|value| value.parse().ok()).unwrap_or(0);
    (number("instance"), number("frame"))
}

fn unseen(error: ViewError) -> Problem {
    match error {
        ViewError::NoImage { .. } | ViewError::NoFrame { .. } => Problem::new(Kind::NotFound, error.to_string()),
        ViewError::TooLarge { .. } | ViewError::Unreadable(_) => Problem::new(Kind::Unprocessable, error.to_string()),
        ViewError::Vault(error) => error.into(),
        ViewError::Picture(_) => anyhow::Error::from(error).into(),
    }
}

/// A film as it is displayed.
pub(in super::super) fn image(call: &Call<'_>) -> Result<Answer, Problem> {
    let (row, record) = opened(call)?;
    let (instance, frame) = place(call);
    let png = rendered(call.house(), &record, instance, frame).map_err(unseen)?;
    Ok(Answer::bytes("image/png", png).about(row.patient))
}

/// A film's stored values.
pub(in super::super) fn pixels(call: &Call<'_>) -> Result<Answer, Problem> {
    let (row, record) = opened(call)?;
    let (instance, frame) = place(call);
    let pixels = pixels_of(call.house(), &record, instance, frame).map_err(unseen)?;
    let size = format!("{} {}", pixels.rows, pixels.columns);
    let answer = Answer::bytes("application/octet-stream", pixels.bytes).about(row.patient);
    Ok(answer.header("x-rows-columns", size))
}

fn picture(row: &PublishedRow, png: Option<Phi<Vec<u8>>>) -> Result<Answer, Problem> {
    let missing = || Problem::new(Kind::NotFound, "this reading has no explanation: nothing was evaluated");
    Ok(Answer::bytes("image/png", png.ok_or_else(missing)?.open().clone()).about(row.patient))
}

/// The explanation over the film.
pub(in super::super) fn overlay(call: &Call<'_>) -> Result<Answer, Problem> {
    let (row, record) = opened(call)?;
    picture(&row, record.overlay_png(call.house())?)
}

/// The explanation alone.
pub(in super::super) fn saliency(call: &Call<'_>) -> Result<Answer, Problem> {
    let (row, record) = opened(call)?;
    picture(&row, record.saliency_png(call.house())?)
}

/// The receipt of the entry that ends it.
pub(in super::super) fn receipt(call: &Call<'_>) -> Result<Answer, Problem> {
    let row = row(call)?;
    Ok(receipt_of(call, call.path("id"))?.about(row.patient))
}

/// The report as it was released: a transaction Bundle, byte for byte what the log's `finding_released` commits to.
pub(in super::super) fn fhir(call: &Call<'_>) -> Result<Answer, Problem> {
    let (row, record) = opened(call)?;
    Ok(Answer::fhir(record.bundle(call.house())?.open().clone()).about(row.patient))
}
