//! One film or picture sent by a person: `POST /readings`, on the same way as STOW-RS.
//!
//! A picture (PNG, JPEG) has no metadata; what the sender states in the query becomes part of the instance. A film says
//! itself what it is, and the query is not asked.
//! Errors: [`Problem`], with the text of the failure. Requirement: REQ-SVC-167.

use serde_json::json;
use vidimus_imaging::import::ImportFacts;
use vidimus_log::Digest;
use vidimus_store::{Order, WorklistQuery};

use super::{
    arrival::{Received, Stored},
    failure::Failure,
    multipart::DICOM,
    receiving::Body,
};
use crate::{
    http::{Answer, Kind, Problem, Streamed},
    site::House,
};

/// What the sender states about a picture; none where a film was sent.
pub(super) fn facts(request: &Streamed, body: &Body) -> Result<Option<ImportFacts>, Problem> {
    if body.parts.iter().all(|part| part.media == DICOM) {
        return Ok(None);
    }
    let code = |name: &str| match request.query(name) {
        Some(text) if !is_code_string(text) => {
            let detail = format!("{name}: expected 1 to 16 of A to Z, 0 to 9, space and underscore");
            Err(Problem::new(Kind::BadRequest, detail))
        }
        text => Ok(text.map(str::to_owned)),
    };
    let age = request.query("age");
    if age.is_some_and(|age| !is_age(age)) {
        return Err(Problem::new(Kind::BadRequest, "age: expected three digits and D, W, M or Y, such as 003Y"));
    }
    Ok(Some(ImportFacts {
        modality: code("modality")?,
        body_part: code("body_part")?,
        view: code("view")?,
        age: age.map(str::to_owned),
        ..ImportFacts::default()
    }))
}

/// DICOM PS3.5 section 6.2, CS.
fn is_code_string(text: &str) -> bool {
    let sound = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b' ' || c == b'_';
    (1..=16).contains(&text.len()) && text.bytes().all(sound) && !text.trim().is_empty()
}

/// DICOM PS3.5 section 6.2, AS.
fn is_age(text: &str) -> bool {
    matches!(text.as_bytes(), [a, b, c, b'D' | b'W' | b'M' | b'Y'] if [a, b, c].iter().all(|c| c.is_ascii_digit()))
}

/// The answer to the sender.
pub(super) fn answer(house: &House, received: &Received) -> Result<Answer, Problem> {
    let part = received.parts.first().ok_or_else(|| Problem::new(Kind::BadRequest, "the body is empty"))?;
    if let Err(failure) = &part.outcome {
        return Err(problem(failure));
    }
    let (Some(receipt), Some(names), Some((study, patient))) = (&received.receipt, &part.names, part.study) else {
        return Err(anyhow::anyhow!("a stored instance has no receipt").into());
    };
    let reading = if part.outcome == Ok(Stored::New) { None } else { published(house, study)? };
    let accepted = json!({
        "arrival": receipt.entry_id.to_string(),
        "study": study.hex(),
        "study_instance_uid": names.study.open(),
        "state": if reading.is_some() { "held" } else { "queued" },
        "reading": reading,
    });
    Ok(Answer::json(&accepted)?.status(202).about(patient).recorded())
}

/// The newest reading of a study that is held, once it is published.
fn published(house: &House, study: Digest) -> Result<Option<String>, Problem> {
    let query = WorklistQuery { order: Order::Newest, study: Some(study), limit: 1, ..WorklistQuery::default() };
    Ok(house.site.worklist(&query)?.first().map(|row| row.reading.to_string()))
}

fn problem(failure: &Failure) -> Problem {
    let kind = match failure {
        Failure::TooLong => Kind::TooLarge,
        Failure::Conflict(_) => Kind::Conflict,
        _ => Kind::Unprocessable,
    };
    let code = match failure {
        Failure::Conflict(kind) => kind.code(),
        _ => "unreadable",
    };
    Problem::new(kind, failure.text()).because(code)
}
