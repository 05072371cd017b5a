//! Instances that come over the network: STOW-RS and the single upload, from the first byte to the durable answer.
//!
//! `multipart` finds the parts of a body as it comes, `spool` keeps and hashes them outside of memory, `receiving`
//! moves them there from the socket, `arrival` holds each to the rules and records all in one transaction, `answer`
//! and `upload` say what became of them. The bytes and the entry are durable before the answer.
//! Errors: [`Problem`]; a part that cannot be stored is an item of the answer. Source: DICOM PS3.18 section 10.5.

mod answer;
mod arrival;
#[cfg(test)]
mod arrival_tests;
mod budget;
mod failure;
mod media;
mod multipart;
#[cfg(test)]
mod multipart_tests;
mod receiving;
mod spool;
mod upload;

use std::time::Duration;

use actix_web::{rt::time::timeout, web};

use crate::http::{Answer, Kind, Problem, Stream, Streamed};

pub(crate) use budget::Arrivals;

use arrival::{ArrivalError, Parts, Sort};
use receiving::Body;

impl From<ArrivalError> for Problem {
    fn from(error: ArrivalError) -> Self {
        match error {
            ArrivalError::Busy(busy) => Self::later(busy.to_string(), 2).because("busy"),
            ArrivalError::Failed(error) => error.into(),
        }
    }
}

/// Takes a request whose body streams, after access was checked. What it refuses by a [`Problem`] is not in the log.
pub(crate) async fn take(request: &Streamed, stream: Stream, payload: web::Payload) -> Result<Answer, Problem> {
    let body = receiving::receive(request, stream, payload).await?;
    let (span, shared) = (tracing::Span::current(), request.clone());
    // A sender that leaves now changes nothing: all of it has come, and is stored.
    let task = web::block(move || span.in_scope(|| shared.once(&body.digest(), || store(&shared, stream, &body))));
    match timeout(Duration::from_secs(request.operation.limits.seconds), task).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Problem::new(Kind::Internal, "the request was not carried out to its end")),
        Err(_) => Err(Problem::later("this took longer than it may; it may still be done", 5)),
    }
}

fn store(request: &Streamed, stream: Stream, body: &Body) -> Result<Answer, Problem> {
    let service = &request.service;
    let facts = match stream {
        Stream::Stow => None,
        Stream::Upload => upload::facts(request, body),
    };
    let sort = match stream {
        Stream::Stow => Sort::Stow { study: request.path("study") },
        Stream::Upload => Sort::Upload { picture: facts.as_ref() },
    };
    let parts = Parts { spool: &body.spool, parts: &body.parts, sort };
    let audit = |subject: Option<&_>, why: &str| request.audit(subject, why, Vec::new());
    let received = arrival::receive(&service.house, &service.arrivals, &parts, audit)?;
    service.queue.wake();
    match stream {
        Stream::Stow => {
            let document = answer::document(&received).to_string();
            let answer = Answer::bytes(body.answer, document).status(answer::status(&received)).recorded();
            Ok(Answer { subject: received.patient, ..answer })
        }
        Stream::Upload => upload::answer(&service.house, &received),
    }
}
