//! Structured messages on standard error, and OpenTelemetry spans; exported over OTLP when an end point is configured.
//! Without one they still give every entry of the log the trace that it belongs to.
//!
//! Spans are named by the operation of a request (`GET /readings/{id}`) and by the step of a read (`decode`, `guard`,
//! `intent`, `infer`, `outcome`, `write`) and carry counts, codes and package roots. No UID, name,
//! path or pixel of a patient is ever given to a span or a message; `tests/` greps for canaries.
//! Configuration: `VIDIMUS_LOG` (a filter, default `warn`), `VIDIMUS_LOG_FORMAT=json`, `OTEL_EXPORTER_OTLP_ENDPOINT`.

use std::{env, io, panic};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Where spans go; flushed when dropped.
pub(crate) struct Telemetry(SdkTracerProvider);

impl Drop for Telemetry {
    fn drop(&mut self) {
        // A collector that is down must not change the exit code of a reading.
        if let Err(error) = self.0.shutdown() {
            eprintln!("telemetry: spans were not delivered: {error}");
        }
    }
}

/// From now on a panic is told by its place alone: its text may hold what a parser had in hand.
fn tell_panics_by_place() {
    panic::set_hook(Box::new(|facts| {
        let place = facts.location().map_or_else(String::new, |place| format!("{}:{}", place.file(), place.line()));
        eprintln!("vidimus: a fault of the program at {place}; please report it");
    }));
}

/// Starts telemetry for this process.
pub(crate) fn start() -> anyhow::Result<Telemetry> {
    tell_panics_by_place();
    let filter = || EnvFilter::try_from_env("VIDIMUS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(true);
    let lines = if env::var("VIDIMUS_LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().with_filter(filter()).boxed()
    } else {
        lines.with_ansi(false).without_time().with_filter(filter()).boxed()
    };
    let endpoint = env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
    let provider = match endpoint {
        Some(endpoint) => exporter(&endpoint)?,
        None => SdkTracerProvider::builder().build(),
    };
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("vidimus"))
        .with_location(false)
        .with_threads(false)
        .with_filter(EnvFilter::new("off,vidimus=info"));
    tracing_subscriber::registry().with(lines).with(spans).try_init()?;
    Ok(Telemetry(provider))
}

fn exporter(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let resource = Resource::builder().with_service_name("vidimus").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread};

    /// Proves: REQ-SVC-216
    #[test]
    fn a_panic_is_told_by_its_place_and_not_by_its_text() {
        const CHILD: &str = "VIDIMUS_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            super::tell_panics_by_place();
            assert!(thread::spawn(|| panic!("the name Sample^Child")).join().is_err());
            return;
        }
        // the hook belongs to the whole process: a process of its own
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "telemetry::tests::a_panic_is_told_by_its_place_and_not_by_its_text", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let told = [ran.stdout, ran.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(ran.status.success() && told.contains("a fault of the program at"), "{told}");
        assert!(told.contains("telemetry.rs:") && !told.contains("Sample^Child"), "{told}");
    }
}
