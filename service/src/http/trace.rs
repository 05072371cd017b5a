//! Spans of requests: W3C trace context in, `url.template` and status out; never a path, a query or a header.
//! Source: W3C Trace Context; OpenTelemetry semantic conventions for HTTP.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The root span of a request, under the caller's trace where it names one.
pub(super) fn request_span(method: &str, template: &str, traceparent: Option<&str>) -> Span {
    let name = format!("{method} {template}");
    let span = tracing::info_span!(
        target: "vidimus",
        "request",
        otel.name = %name,
        otel.kind = "server",
        http.request.method = %method,
        url.template = %template,
        http.response.status_code = tracing::field::Empty,
        error.type = tracing::field::Empty,
    );
    if let Some(remote) = traceparent.and_then(parse) {
        // Refused where no exporter listens: then there is no trace to join.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }
    span
}

/// Notes the answer.
pub(super) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 400 {
        span.record("error.type", tracing::field::display(status));
    }
}

/// `00-<trace id>-<span id>-<flags>`.
fn parse(header: &str) -> Option<SpanContext> {
    let mut parts = header.trim().split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    if !lower(version, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    if !lower(trace, 32) || !lower(parent, 16) || !lower(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    let context = SpanContext::new(trace, parent, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

/// The span's own context, for the answer.
pub(super) fn context_of(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span().span_context().clone();
    let flags = if span.is_sampled() { "01" } else { "00" };
    span.is_valid().then(|| format!("00-{}-{}-{flags}", span.trace_id(), span.span_id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-SVC-350
    #[test]
    fn a_traceparent_is_taken_as_the_standard_has_it_and_not_otherwise() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse(good).unwrap().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some(), "a later version");
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
