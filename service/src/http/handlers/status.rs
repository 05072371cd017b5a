//! Health, readiness, metrics, the OpenAPI document.

use serde_json::json;

use super::super::{Answer, Call, Problem, openapi};
use crate::metrics::Gauge;

/// The process answers.
pub(in super::super) fn health(_: &Call<'_>) -> Result<Answer, Problem> {
    Answer::json(&json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether studies can be taken and read: the log takes entries, a model is admitted, there is room in the queue.
pub(in super::super) fn ready(call: &Call<'_>) -> Result<Answer, Problem> {
    let queue = &call.service.queue;
    let checks =
        [("log", call.house().site.takes_entries()), ("model", queue.model_is_admitted()), ("queue", !queue.is_full())];
    let ready = checks.iter().all(|(_, good)| *good);
    let checks: serde_json::Map<String, serde_json::Value> =
        checks.iter().map(|(name, good)| ((*name).to_owned(), json!(if *good { "ok" } else { "failed" }))).collect();
    let status = if ready { "ready" } else { "not-ready" };
    let answer = Answer::json(&json!({ "status": status, "checks": checks }))?;
    Ok(answer.status(if ready { 200 } else { 503 }))
}

/// Prometheus text.
pub(in super::super) fn metrics(call: &Call<'_>) -> Result<Answer, Problem> {
    let site = &call.house().site;
    let queue = &call.service.queue;
    let latency = site.append_latency();
    let number = |count: u64| count as f64;
    let gauges = [
        Gauge { name: "log_entries", help: "Size of the log's tree.", value: number(site.size()) },
        Gauge { name: "log_batches", help: "Transactions of the log.", value: number(latency.batches) },
        Gauge { name: "log_waiting", help: "Requests that wait for the log.", value: number(latency.waiting) },
        Gauge { name: "queue_waiting", help: "Studies that wait for their reading.", value: number(queue.depth()) },
        Gauge { name: "queue_reading", help: "Studies being read.", value: number(queue.in_progress()) },
        Gauge { name: "resident_bytes", help: "Memory of the process.", value: number(resident_bytes().unwrap_or(0)) },
    ];
    let buckets: Vec<(f64, u64)> =
        latency.buckets.iter().map(|(bound_us, count)| (number(*bound_us) / 1e6, *count)).collect();
    let page = call.service.metrics.page(&gauges, (&buckets, latency.count, number(latency.sum_us) / 1e6));
    Ok(Answer::bytes("text/plain; version=0.0.4; charset=utf-8", page))
}

/// Resident memory, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The OpenAPI document.
pub(in super::super) fn openapi(_: &Call<'_>) -> Result<Answer, Problem> {
    Answer::json(&openapi::document()?)
}
