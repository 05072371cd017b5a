//! The one door: access, parameters, body, handler, audit entry, answer; in this order, for every row of the table.
//! A request that is refused is answered by its problem after the denial is in the log. An answer leaves after its
//! `access` entry is durable; if that entry cannot be written, the answer is 503 and not what was asked for.
//! Errors: [`Problem`].

use std::{sync::Arc, time::Duration, time::Instant};

use actix_web::{HttpRequest, HttpResponse, rt::time::timeout, web};
use futures_util::StreamExt as _;
use tracing::Instrument as _;
use vidimus_log::Recorder as _;

use super::{
    Answer, Call, Kind, Operation, Problem, Service, Streamed, audit,
    idempotency::{self, Turn},
    operation::{Stream, Work},
    request::{Request, credentials, judge, pairs},
    response::{finish, refuse, response},
    trace,
};
use crate::{
    access::{Caller, Denial},
    stow,
};

/// A sender that is silent for so long has stopped.
const SILENCE: Duration = Duration::from_secs(15);
const FORM: &str = "application/x-www-form-urlencoded";

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        let detail = "this needs a valid token or session: sign in, or send a bearer token of this site";
        Self::new(Kind::Unauthenticated, detail).challenge(denial.challenge).because(denial.code)
    }
}

/// Who asks.
fn authenticate(service: &Service, request: &Request, passive: bool) -> Result<Caller, Problem> {
    let credentials = credentials(service, &request.headers, request.safe, passive);
    Ok(service.access.authenticate(&credentials, service.house.now_ms() / 1000)?)
}

/// Access, then the form of the parameters. A denial keeps the caller's name for the audit.
fn admit(
    service: &Service,
    operation: &Operation,
    request: &mut Request,
) -> Result<Option<Caller>, Box<(Option<Caller>, Problem)>> {
    let caller = if operation.is_public() {
        None
    } else {
        let caller = authenticate(service, request, operation.passive).map_err(|problem| Box::new((None, problem)))?;
        if !audit::may(operation, caller.role) {
            let roles: Vec<&str> = operation.roles.iter().map(|role| role.as_str()).collect();
            let detail = format!("the role {} may not do this; needed is {}", caller.role.as_str(), roles.join(" or "));
            let problem = Problem::new(Kind::Forbidden, detail).because("role");
            return Err(Box::new((Some(caller), problem)));
        }
        Some(caller)
    };
    match judge(operation, request) {
        Ok(()) => Ok(caller),
        Err(problem) => Err(Box::new((caller, problem))),
    }
}

/// Reads a body within the row's limits of bytes and time.
async fn read_body(operation: &Operation, request: &Request, mut payload: web::Payload) -> Result<Vec<u8>, Problem> {
    let Some(body) = &operation.body else { return Ok(Vec::new()) };
    let limit = operation.limits.body_bytes;
    let too_large = || Problem::new(Kind::TooLarge, format!("the body: at most {limit} bytes"));
    let declared = request.header("content-length").and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large());
    }
    let media = request.header("content-type").unwrap_or_default();
    let bare = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !body.media.contains(&bare.as_str()) {
        let detail = format!("Content-Type: taken is {}", body.media.join(" or "));
        return Err(Problem::new(Kind::UnsupportedMedia, detail));
    }
    let mut bytes = Vec::new();
    let slow = |_| Problem::new(Kind::Timeout, "the body did not arrive in time");
    let all = async {
        while let Some(chunk) = timeout(SILENCE, payload.next()).await.map_err(slow)? {
            let chunk = chunk.map_err(|_| Problem::new(Kind::BadRequest, "the body broke off"))?;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(())
    };
    timeout(Duration::from_secs(operation.limits.seconds), all).await.map_err(slow)??;
    Ok(bytes)
}

/// Handler and audit entry, on a blocking thread.
fn work(
    service: &Service,
    operation: &Operation,
    handler: fn(&Call<'_>) -> Result<Answer, Problem>,
    caller: Option<&Caller>,
    request: Request,
    body: Vec<u8>,
) -> Result<Answer, Problem> {
    let mut query = request.query;
    if super::find(&request.headers, "content-type").is_some_and(|media| media.starts_with(FORM)) {
        query.extend(pairs(&body).ok_or_else(|| Problem::new(Kind::BadRequest, "the body is no form"))?);
    }
    let call = Call {
        service,
        operation,
        caller,
        id: request.id,
        body,
        base: request.base,
        path: request.path,
        query,
        raw_query: request.raw_query,
        headers: request.headers,
        client: request.client,
    };
    if operation.is_public() {
        return handler(&call);
    }
    let done = answer(&call, handler);
    if let Err(problem) = &done {
        audit::record_denied(service, Some(operation), caller, call.id, &call.client, problem.code())?;
    }
    done
}

fn answer(call: &Call<'_>, handler: fn(&Call<'_>) -> Result<Answer, Problem>) -> Result<Answer, Problem> {
    let asked = idempotency::Asked {
        service: call.service,
        operation: call.operation,
        caller: call.caller,
        path: &call.path,
        raw_query: &call.raw_query,
        key: call.header(idempotency::HEADER),
        body: &call.body,
    };
    let (held, answer) = match idempotency::turn(&asked)? {
        Turn::Free => (None, handler(call)?),
        Turn::Again(answer) => (None, answer),
        Turn::First(held) => {
            let answer = handler(call)?;
            (Some(held), answer)
        }
    };
    let rows = held.as_ref().map_or(Ok(Vec::new()), |held| held.keep(call.house(), &answer))?;
    if !answer.recorded {
        let draft = call.audit(answer.subject.as_ref(), "role", Vec::new())?;
        audit::record_granted(call.service, draft, rows)?;
    } else if !rows.is_empty() {
        // The request's own entry is written already: the kept answer gets one of its own.
        let said = audit::Granted { subject: answer.subject.as_ref(), why: "idempotency-key", refs: Vec::new() };
        let id = call.house().site.new_id();
        let draft = audit::granted(call.service, call.operation, call.caller, id, &call.client, said)?;
        audit::record_granted(call.service, draft, rows)?;
    }
    Ok(answer)
}

/// A request to a row of the table.
pub(super) async fn pass(operation: &'static Operation, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let Some(service) = request.app_data::<web::Data<Service>>().map(|data| Arc::clone(data)) else {
        return HttpResponse::InternalServerError().finish();
    };
    let started = Instant::now();
    let known = Request::new(&service, &request);
    let span = trace::request_span(operation.verb.as_str(), &operation.path, known.header("traceparent"));
    let id = known.id;
    let response = run(&service, operation, known, payload).instrument(span.clone()).await;
    let response = response.unwrap_or_else(|problem| refuse(&problem, id, operation.is_fhir()));
    finish(&service, &span, Some(operation), started, id, response)
}

async fn run(
    service: &Arc<Service>,
    operation: &'static Operation,
    mut request: Request,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let id = request.id;
    let caller = match admit(service, operation, &mut request) {
        Ok(caller) => caller,
        Err(refused) => {
            let (caller, problem) = *refused;
            return Err(deny(service, operation, caller, &request, problem).await);
        }
    };
    let handler = match operation.work {
        Work::Streaming(stream) => return streamed(service, operation, stream, caller, request, payload).await,
        Work::Blocking(handler) => handler,
    };
    let body = match read_body(operation, &request, payload).await {
        Ok(body) => body,
        Err(problem) => return Err(deny(service, operation, caller, &request, problem).await),
    };
    let (span, shared) = (tracing::Span::current(), Arc::clone(service));
    let task = web::block(move || span.in_scope(|| work(&shared, operation, handler, caller.as_ref(), request, body)));
    let limit = Duration::from_secs(operation.limits.seconds);
    let answer = match timeout(limit, task).await {
        Ok(Ok(answer)) => answer?,
        Ok(Err(_)) => return Err(Problem::new(Kind::Internal, "the request was not carried out to its end")),
        Err(_) => return Err(Problem::later("this took longer than it may; it may still be done", 5)),
    };
    Ok(response(answer, id))
}

/// The operations whose body streams record their own entries; what they refuse is recorded here.
async fn streamed(
    service: &Arc<Service>,
    operation: &'static Operation,
    stream: Stream,
    caller: Option<Caller>,
    request: Request,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let id = request.id;
    let Some(caller) = caller else { return Err(super::nobody()) };
    let (request, caller) = (Arc::new(request), Arc::new(caller));
    let streamed = Streamed { service: Arc::clone(service), operation, caller: Arc::clone(&caller), request };
    match stow::take(&streamed, stream, payload).await {
        Ok(answer) => Ok(response(answer, id)),
        Err(problem) => Err(deny(service, operation, Some(Caller::clone(&caller)), &streamed.request, problem).await),
    }
}

/// Records a denial; the problem that the caller gets.
async fn deny(
    service: &Arc<Service>,
    operation: &'static Operation,
    caller: Option<Caller>,
    request: &Request,
    problem: Problem,
) -> Problem {
    if operation.is_public() {
        return problem;
    }
    let (id, client, code) = (request.id, request.client.clone(), problem.code());
    let (span, shared) = (tracing::Span::current(), Arc::clone(service));
    let recorded = web::block(move || {
        span.in_scope(|| audit::record_denied(&shared, Some(operation), caller.as_ref(), id, &client, code))
    });
    match recorded.await {
        Ok(Ok(())) => problem,
        Ok(Err(fault)) => fault,
        Err(_) => Problem::later("the denial could not be recorded", 5),
    }
}

/// An address that the table lacks, or a method that its row lacks: a stranger learns nothing of either.
pub(super) async fn elsewhere(request: HttpRequest, allow: Option<&'static str>) -> HttpResponse {
    let Some(service) = request.app_data::<web::Data<Service>>().map(|data| Arc::clone(data)) else {
        return HttpResponse::InternalServerError().finish();
    };
    let started = Instant::now();
    let known = Request::new(&service, &request);
    let (id, fhir) = (known.id, request.path().starts_with("/fhir/"));
    let span = trace::request_span(method_name(&request), "unknown", known.header("traceparent"));
    let (caller, problem) = match authenticate(&service, &known, false) {
        Err(problem) => (None, problem),
        Ok(caller) => {
            let problem = match allow {
                Some(allow) => Problem {
                    allow: Some(allow.to_owned()),
                    ..Problem::new(Kind::MethodNotAllowed, format!("served here: {allow}"))
                },
                None => Problem::new(Kind::NotFound, "nothing is served at this address"),
            };
            (Some(caller), problem)
        }
    };
    let (client, code, shared, inner) = (known.client.clone(), problem.code(), Arc::clone(&service), span.clone());
    let recorded =
        web::block(move || inner.in_scope(|| audit::record_denied(&shared, None, caller.as_ref(), id, &client, code)));
    let problem = match recorded.await {
        Ok(Err(fault)) => fault,
        _ => problem,
    };
    finish(&service, &span, None, started, id, refuse(&problem, id, fhir))
}

/// The method as a span may name it: what a sender invents does not get in.
fn method_name(request: &HttpRequest) -> &'static str {
    const KNOWN: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.iter().copied().find(|known| request.method().as_str() == *known).unwrap_or("_OTHER")
}
