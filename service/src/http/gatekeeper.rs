//! The one door: access, parameters, body, handler, audit entry, answer; in this order, for every row of the table.
//! A request that is refused is answered by its problem after the denial is in the log. An answer leaves after its
//! `access` entry is durable; if that entry cannot be written, the answer is 503 and not what was asked for.
//! Errors: [`Problem`].

use std::{sync::Arc, time::Duration, time::Instant};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header as names},
    rt::time::timeout,
    web,
};
use futures_util::StreamExt as _;
use tracing::Instrument as _;
use vidimus_log::{EntryId, Recorder as _};

use super::{
    Answer, Call, Kind, Operation, Problem, Service, Streamed, audit,
    idempotency::{self, Turn},
    operation::{Place, Stream, Work},
    trace,
};
use crate::{
    access::{Caller, Credentials, Denial},
    stow,
};

/// A sender that is silent for so long has stopped.
const SILENCE: Duration = Duration::from_secs(15);
/// Longest query.
const QUERY_BYTES_MAX: usize = 32 * 1024;
/// Longest value of a header that is looked at.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";

/// What is known of a request before its body is read.
pub(crate) struct Request {
    pub id: EntryId,
    pub base: String,
    pub path: Vec<(String, String)>,
    pub query: Vec<(String, String)>,
    pub raw_query: String,
    pub headers: Vec<(String, String)>,
    pub(super) client: audit::Client,
    safe: bool,
    malformed: bool,
}

impl Request {
    fn new(service: &Service, request: &HttpRequest) -> Self {
        let mut malformed = false;
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in request.headers() {
            let Some(value) = value.to_str().ok().filter(|value| value.len() <= HEADER_BYTES_MAX) else {
                malformed = true;
                continue;
            };
            // Lines of one name are one list (RFC 9110 section 5.3): a second one is seen too.
            match headers.iter_mut().find(|(known, _)| known == name.as_str()) {
                Some((known, list)) => {
                    list.push_str(if known == "cookie" { "; " } else { ", " });
                    list.push_str(value);
                }
                None => headers.push((name.as_str().to_owned(), value.to_owned())),
            }
        }
        let raw_query = request.query_string().to_owned();
        let query = pairs(raw_query.as_bytes()).unwrap_or_else(|| {
            malformed = true;
            Vec::new()
        });
        let path = request.match_info().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let host = super::find(&headers, "host").filter(|host| is_authority(host)).unwrap_or("localhost");
        let scheme = if service.tls { "https" } else { "http" };
        let base = service.public_url.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
        let agent: String = super::find(&headers, "user-agent").unwrap_or_default().chars().take(256).collect();
        let address = request.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        let client = serde_json::json!({ "address": address, "user_agent": agent }).to_string();
        Self {
            id: service.house.site.new_id(),
            base,
            path,
            query,
            raw_query,
            headers,
            client: audit::Client(client),
            safe: request.method().is_safe(),
            malformed,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        super::find(&self.headers, name)
    }
}

/// Host and port, as they may stand in an address that the service makes.
fn is_authority(host: &str) -> bool {
    (1..=255).contains(&host.len())
        && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b':' | b'[' | b']'))
}

/// Decoded pairs of a query or form; none where it is no such thing.
fn pairs(raw: &[u8]) -> Option<Vec<(String, String)>> {
    if raw.len() > QUERY_BYTES_MAX {
        return None;
    }
    let raw = std::str::from_utf8(raw).ok()?;
    web::Query::<Vec<(String, String)>>::from_query(raw).ok().map(web::Query::into_inner)
}

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

/// What the headers say about the sender, unchecked. Behind a proxy the browser is at the public address: its origin
/// and its TLS count, not those of the last hop.
pub(super) fn credentials<'a>(
    service: &'a Service,
    headers: &'a [(String, String)],
    safe_method: bool,
    passive: bool,
) -> Credentials<'a> {
    let header = |name| super::find(headers, name);
    let public = service.public_url.as_deref().and_then(|url| url.split_once("://"));
    let (https, host) = match public {
        Some((scheme, rest)) => (scheme == "https", rest.split('/').next()),
        None => (service.tls, header("host")),
    };
    Credentials {
        authorization: header("authorization"),
        cookie: header("cookie"),
        origin: header("origin"),
        fetch_site: header("sec-fetch-site"),
        host,
        https,
        safe_method,
        passive,
    }
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

/// Holds the parameters to the row.
fn judge(operation: &Operation, request: &Request) -> Result<(), Problem> {
    let bad = |detail: String| Err(Problem::new(Kind::BadRequest, detail));
    if request.malformed {
        return bad(format!("a header or the query is no text, or longer than {QUERY_BYTES_MAX} bytes"));
    }
    for parameter in &operation.parameters {
        let name = parameter.name;
        let value = match parameter.place {
            Place::Path => {
                let value = super::find(&request.path, name).unwrap_or_default();
                if !parameter.shape.holds(value) {
                    let detail = format!("{name}: there is none of this name; expected {}", parameter.shape.expected());
                    return Err(Problem::new(Kind::NotFound, detail));
                }
                continue;
            }
            Place::Query if operation.is_fhir() => continue,
            Place::Query => super::find(&request.query, name),
            Place::Header => super::find(&request.headers, &name.to_ascii_lowercase()),
        };
        match value {
            None if parameter.required => {
                return bad(format!("{name}: missing; expected {}", parameter.shape.expected()));
            }
            Some(value) if !parameter.shape.holds(value) => {
                return bad(format!("{name}: expected {}", parameter.shape.expected()));
            }
            _ => {}
        }
    }
    if operation.is_fhir() {
        return Ok(());
    }
    let known: Vec<&str> =
        operation.parameters.iter().filter(|one| one.place == Place::Query).map(|one| one.name).collect();
    for (place, (name, _)) in request.query.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return bad(format!("the query holds a parameter that is not known here; known: {list}"));
        }
        if request.query.iter().take(place).any(|(earlier, _)| earlier == name) {
            return bad(format!("{name}: given twice"));
        }
    }
    Ok(())
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

fn response(answer: Answer, id: EntryId) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if !answer.media.is_empty() {
        response.insert_header((names::CONTENT_TYPE, answer.media.as_str()));
    }
    for (name, value) in &answer.headers {
        response.insert_header((*name, value.as_str()));
    }
    response.insert_header(("x-request-id", id.to_string()));
    response.body(answer.body)
}

/// A problem as an answer.
fn refuse(problem: &Problem, id: EntryId, fhir: bool) -> HttpResponse {
    let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(challenge) = &problem.challenge {
        response.insert_header((names::WWW_AUTHENTICATE, challenge.as_str()));
    }
    if let Some(seconds) = problem.retry_after {
        response.insert_header((names::RETRY_AFTER, seconds.to_string()));
    }
    if let Some(allow) = &problem.allow {
        response.insert_header((names::ALLOW, allow.as_str()));
    }
    response.insert_header(("x-request-id", id.to_string()));
    let (media, document) = if fhir {
        ("application/fhir+json; charset=utf-8", problem.outcome())
    } else {
        ("application/problem+json", problem.document(&id.to_string()))
    };
    response.insert_header((names::CONTENT_TYPE, media)).body(document.to_string())
}

/// Headers that every answer has, metrics, span.
fn finish(
    service: &Service,
    span: &tracing::Span,
    operation: Option<&Operation>,
    started: Instant,
    id: EntryId,
    mut response: HttpResponse,
) -> HttpResponse {
    let status = response.status().as_u16();
    let name = operation.map_or("unknown", |operation| operation.id.as_ref());
    service.metrics.request(name, status, started.elapsed());
    trace::answered(span, status);
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: &str| {
        let name = names::HeaderName::from_static(name);
        if !headers.contains_key(&name)
            && let Ok(value) = names::HeaderValue::from_str(value)
        {
            headers.insert(name, value);
        }
    };
    put("x-content-type-options", "nosniff");
    put("referrer-policy", "no-referrer");
    put("cross-origin-resource-policy", "same-origin");
    put("cache-control", "no-store");
    put("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
    if service.tls {
        put("strict-transport-security", "max-age=31536000");
    }
    if let Some(context) = trace::context_of(span) {
        put("traceresponse", &context);
    }
    tracing::info!(target: "vidimus", operation = name, status, request = %id, "answered");
    response
}
