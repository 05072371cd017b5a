//! One film or picture sent by a person: `POST /readings`, on the same way as STOW-RS.
//!
//! A picture (PNG, JPEG) has no metadata; what the sender states in the query becomes part of the instance. A film says
//! itself what it is, and the query is not asked.
//! Errors: [`Problem`], with the text of the failure. Requirement: REQ-SVC-167.

use serde_json::json;
use vidimus_imaging::import::ImportFacts;
use vidimus_log::Digest;

use super::{
    arrival::{Received, Stored, newest_reading},
    failure::Failure,
    multipart::DICOM,
    receiving::Body,
};
use crate::{
    http::{Answer, Kind, Problem, Streamed},
    site::House,
};

/// What the sender states about a picture; none where a film was sent.
pub(super) fn facts(request: &Streamed, body: &Body) -> Option<ImportFacts> {
    if body.parts.iter().all(|part| part.media == DICOM) {
        return None;
    }
    // Their forms are the table's.
    let stated = |name: &str| request.query(name).map(str::to_owned);
    Some(ImportFacts {
        modality: stated("modality"),
        body_part: stated("body_part"),
        view: stated("view"),
        age: stated("age"),
        ..ImportFacts::default()
    })
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
    Ok(newest_reading(house, study)?.map(|id| id.to_string()))
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
