//! Answers and problems as HTTP: status, media type, the headers that every answer has, metrics and span.

use std::time::Instant;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header as names},
};
use vidimus_log::EntryId;

use super::{Answer, Operation, Problem, Service, trace};

/// An answer on its way out.
pub(super) fn response(answer: Answer, id: EntryId) -> HttpResponse {
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
pub(super) fn refuse(problem: &Problem, id: EntryId, fhir: bool) -> HttpResponse {
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
pub(super) fn finish(
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
