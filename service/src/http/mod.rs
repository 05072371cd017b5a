//! The service over HTTP: one table of operations (`routes`), one gatekeeper that every request passes, and handlers
//! that know neither sockets nor tokens.
//!
//! A request goes one way: router, access, parameters, body, handler, audit entry, answer. A handler is a plain
//! function from [`Call`] to [`Answer`] or [`Problem`], run on a blocking thread. Nothing leaves before the entry that
//! says so is durable.
//! Errors: [`Problem`], as problem+json, or as OperationOutcome under `/fhir`.

mod audit;
mod gatekeeper;
mod handlers;
mod idempotency;
mod openapi;
mod operation;
mod problem;
mod request;
mod response;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use vidimus_log::{Digest, Draft, EntryId, Recorder as _, Ref};

pub(crate) use operation::{Limits, Operation, Parameter, Reply, Shape, Stream, Verb, header, ok, path, query};
pub(crate) use problem::{Kind, Problem};
pub(crate) use routes::operations;
pub(crate) use server::{Options, serve};

use crate::{
    access::{Access, Caller},
    metrics::Metrics,
    queue::Queue,
    site::House,
    stow::Arrivals,
};

/// Everything that requests share.
pub(crate) struct Service {
    /// The site.
    pub house: Arc<House>,
    /// Who may come in.
    pub access: Access,
    /// Studies that wait for their reading.
    pub queue: Arc<Queue>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Address under which clients know the service, where it is not the one that they name.
    pub public_url: Option<String>,
    /// Whether connections are encrypted by this process.
    pub tls: bool,
    /// Digest of the table's access rules: the `policy` of every `access` entry.
    pub policy: Digest,
    /// Instances on their way in.
    pub arrivals: Arrivals,
    /// Strangers' denials that may still be listed one by one.
    denials: audit::Denials,
    /// Idempotency keys whose first request is still at work.
    in_flight: idempotency::InFlight,
}

/// A request that the gatekeeper let through.
pub(crate) struct Call<'a> {
    /// What is shared.
    pub service: &'a Service,
    /// Its row of the table.
    pub operation: &'a Operation,
    /// Who asks; nobody for public operations.
    pub caller: Option<&'a Caller>,
    /// The id of its `access` entry, and of the request.
    pub id: EntryId,
    /// The body, within the row's limit.
    pub body: Vec<u8>,
    /// Scheme and authority under which the caller knows the service, without a slash at the end.
    pub base: String,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    raw_query: String,
    headers: Vec<(String, String)>,
    client: audit::Client,
}

/// No caller where the table says that there is one: the gatekeeper's fault, not the caller's.
fn nobody() -> Problem {
    Problem::new(Kind::Unauthenticated, "nobody is signed in")
}

impl Call<'_> {
    /// The site.
    pub(crate) fn house(&self) -> &House {
        &self.service.house
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        self.caller.ok_or_else(nobody)
    }

    /// A parameter of the path, in the form that the table states.
    pub(crate) fn path(&self, name: &str) -> &str {
        find(&self.path, name).unwrap_or_default()
    }

    /// A parameter of the query: the first of its name.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// All parameters of the query, decoded, in their order; for a form (`_search`) those of the body too.
    pub(crate) fn queries(&self) -> &[(String, String)] {
        &self.query
    }

    /// A header's value, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Where it stands is said, not what stands there: serde's own message may quote a value.
            let place = format!("line {}, column {}", error.line(), error.column());
            let problem = match error.classify() {
                serde_json::error::Category::Data => "has another form than the schema says",
                _ => "is no JSON",
            };
            Problem::new(Kind::BadRequest, format!("the body {problem} ({place})"))
        })
    }

    /// Whether the caller takes one of these media types; the first that is taken. RFC 9110 section 12.5.1, without
    /// weights: the order is ours.
    pub(crate) fn accepts(&self, offered: &[&'static str]) -> Result<&'static str, Problem> {
        accepted(self.header("accept"), offered)
    }

    /// The draft of this request's own `access` entry with the result `granted`; its commitments are durable. For
    /// handlers that record it themselves in one transaction with what they do.
    pub(crate) fn audit(&self, subject: Option<&Digest>, why: &str, refs: Vec<Ref>) -> Result<Draft, Problem> {
        let granted = audit::Granted { subject, why, refs };
        audit::granted(self.service, self.operation, self.caller, self.id, &self.client, granted)
    }
}

/// The first of the offered media types that an `Accept` header takes.
pub(crate) fn accepted(accept: Option<&str>, offered: &[&'static str]) -> Result<&'static str, Problem> {
    let Some(accept) = accept.map(str::trim).filter(|accept| !accept.is_empty()) else {
        return offered.first().copied().ok_or_else(|| Problem::new(Kind::NotAcceptable, "nothing is offered"));
    };
    let ranges: Vec<String> = accept
        .split(',')
        .filter_map(|range| {
            let mut parts = range.split(';');
            let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            let refused = parts.any(|part| {
                let part = part.trim().to_ascii_lowercase();
                part.strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
            });
            (!refused).then_some(name)
        })
        .collect();
    let takes = |media: &str| {
        let bare = media.split(';').next().unwrap_or_default().trim();
        let family = bare.split('/').next().unwrap_or_default();
        ranges.iter().any(|range| range == "*/*" || range == bare || *range == format!("{family}/*"))
    };
    offered
        .iter()
        .copied()
        .find(|media| takes(media))
        .ok_or_else(|| Problem::new(Kind::NotAcceptable, format!("Accept: given is {}", offered.join(" or "))))
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A request whose body streams, let through by the gatekeeper. Cheap to clone: it goes where the work goes.
#[derive(Clone)]
pub(crate) struct Streamed {
    /// What is shared.
    pub service: Arc<Service>,
    /// Its row of the table.
    pub operation: &'static Operation,
    /// Who asks.
    pub caller: Arc<Caller>,
    request: Arc<request::Request>,
}

impl Streamed {
    /// The site.
    pub(crate) fn house(&self) -> &House {
        &self.service.house
    }

    /// The id of its `access` entry, and of the request.
    pub(crate) fn id(&self) -> EntryId {
        self.request.id
    }

    /// A parameter of the path, in the form that the table states.
    pub(crate) fn path(&self, name: &str) -> Option<&str> {
        find(&self.request.path, name)
    }

    /// A parameter of the query, in the form that the table states.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        find(&self.request.query, name)
    }

    /// A header's value, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.request.headers, name)
    }

    /// Does a request once for each `Idempotency-Key`, which goes with this digest of its body: sent again it is
    /// answered again. What `act` answers is in the log already. Blocks.
    pub(crate) fn once(&self, body: &Digest, act: impl FnOnce() -> Result<Answer, Problem>) -> Result<Answer, Problem> {
        let asked = idempotency::Asked {
            service: &self.service,
            operation: self.operation,
            caller: Some(&self.caller),
            path: &self.request.path,
            raw_query: &self.request.raw_query,
            key: self.header(idempotency::HEADER),
            body: body.as_bytes(),
        };
        let held = match idempotency::turn(&asked)? {
            idempotency::Turn::Free => return act(),
            idempotency::Turn::Again(answer) => {
                let draft = self.audit(None, "idempotency-key", Vec::new())?;
                audit::record_granted(&self.service, draft, Vec::new())?;
                return Ok(answer.recorded());
            }
            idempotency::Turn::First(held) => held,
        };
        let answer = act()?;
        let rows = held.keep(self.house(), &answer)?;
        if !rows.is_empty() {
            // The request's own entry is written already: the kept answer gets one of its own.
            let said = audit::Granted { subject: answer.subject.as_ref(), why: "idempotency-key", refs: Vec::new() };
            let (id, client) = (self.house().site.new_id(), &self.request.client);
            let draft = audit::granted(&self.service, self.operation, Some(&self.caller), id, client, said)?;
            audit::record_granted(&self.service, draft, rows)?;
        }
        Ok(answer)
    }

    /// The draft of this request's own `access` entry, granted; its commitments are durable. Blocks.
    pub(crate) fn audit(&self, subject: Option<&Digest>, why: &str, refs: Vec<Ref>) -> Result<Draft, Problem> {
        let said = audit::Granted { subject, why, refs };
        let request = &self.request;
        audit::granted(&self.service, self.operation, Some(&self.caller), request.id, &request.client, said)
    }
}

/// What a handler answers.
pub(crate) struct Answer {
    pub status: u16,
    pub media: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The patient concerned (keyed digest), for the audit.
    pub subject: Option<Digest>,
    /// Whether the handler recorded the request's `access` entry itself.
    pub recorded: bool,
}

impl Answer {
    /// Bytes of a media type.
    pub(crate) fn bytes(media: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let (media, body) = (media.into(), body.into());
        Self { status: 200, media, headers: Vec::new(), body, subject: None, recorded: false }
    }

    /// JSON.
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(anyhow::Error::from)?;
        Ok(Self::bytes("application/json", body))
    }

    /// A resource of FHIR or a Bundle, as its bytes.
    pub(crate) fn fhir(body: impl Into<Vec<u8>>) -> Self {
        Self::bytes("application/fhir+json; charset=utf-8", body)
    }

    /// Plain text.
    pub(crate) fn text(body: impl Into<String>) -> Self {
        Self::bytes("text/plain; charset=utf-8", body.into())
    }

    /// Nothing but a status.
    pub(crate) fn empty(status: u16) -> Self {
        Self::bytes("", Vec::new()).status(status)
    }

    /// With another status than 200.
    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// About a patient, by the keyed digest.
    pub(crate) fn about(self, patient: Digest) -> Self {
        Self { subject: Some(patient), ..self }
    }

    /// The handler has recorded the request's own entry.
    pub(crate) fn recorded(self) -> Self {
        Self { recorded: true, ..self }
    }
}
