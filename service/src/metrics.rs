//! Counters and histograms of the service, as Prometheus text (exposition format 0.0.4).
//! Labels are codes of the program's own tables: operations, stages, refusal codes. Nothing of a request gets in.
//! Times are in seconds.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::pipeline::Observer;

/// Upper bounds of the histograms' buckets, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// A histogram over [`BOUNDS`].
#[derive(Clone, Default)]
pub(crate) struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            if seconds <= bound {
                *bucket += 1;
            }
        }
        self.count += 1;
        self.sum += seconds;
    }
}

#[derive(Default)]
struct State {
    requests: BTreeMap<(String, u16), u64>,
    durations: BTreeMap<String, Histogram>,
    stages: BTreeMap<&'static str, Histogram>,
    readings: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<String, u64>,
    signed: BTreeMap<bool, u64>,
}

/// What the service counts.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<State>);

/// A value that is asked for when the page is made.
pub(crate) struct Gauge {
    /// Name without prefix.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered.
    pub(crate) fn request(&self, operation: &str, status: u16, took: Duration) {
        let mut state = self.state();
        *state.requests.entry((operation.to_owned(), status)).or_default() += 1;
        state.durations.entry(operation.to_owned()).or_default().add(took.as_secs_f64());
    }

    /// A reading was signed.
    pub(crate) fn signed(&self, agrees: bool) {
        *self.state().signed.entry(agrees).or_default() += 1;
    }

    /// The page, with the gauges of the moment and a histogram of the log given as cumulative buckets (upper bound in
    /// seconds, count), count and sum in seconds.
    pub(crate) fn page(&self, gauges: &[Gauge], append: (&[(f64, u64)], u64, f64)) -> String {
        let state = self.state();
        let mut page = String::new();
        head(&mut page, "requests_total", "counter", "Requests by operation and status.");
        for ((operation, status), count) in &state.requests {
            let _ = writeln!(page, "vidimus_requests_total{{operation=\"{operation}\",status=\"{status}\"}} {count}");
        }
        head(&mut page, "request_seconds", "histogram", "Time from the first byte to the answer, by operation.");
        for (operation, histogram) in &state.durations {
            write(&mut page, "request_seconds", &format!("operation=\"{operation}\""), histogram);
        }
        head(&mut page, "stage_seconds", "histogram", "Time of a stage of a reading.");
        for (stage, histogram) in &state.stages {
            write(&mut page, "stage_seconds", &format!("stage=\"{stage}\""), histogram);
        }
        head(&mut page, "readings_total", "counter", "Studies read, by how they ended.");
        for (status, count) in &state.readings {
            let _ = writeln!(page, "vidimus_readings_total{{status=\"{status}\"}} {count}");
        }
        head(&mut page, "refusals_total", "counter", "Studies not evaluated or failed, by the code of the reason.");
        for (reason, count) in &state.refusals {
            let _ = writeln!(page, "vidimus_refusals_total{{reason=\"{reason}\"}} {count}");
        }
        head(&mut page, "signed_total", "counter", "Readings signed, by whether the person agreed.");
        for (agrees, count) in &state.signed {
            let _ = writeln!(page, "vidimus_signed_total{{agrees=\"{agrees}\"}} {count}");
        }
        head(&mut page, "log_append_seconds", "histogram", "Time until an entry of the audit log was durable.");
        let (buckets, count, sum) = append;
        for (bound, count) in buckets {
            let _ = writeln!(page, "vidimus_log_append_seconds_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(page, "vidimus_log_append_seconds_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(page, "vidimus_log_append_seconds_sum {sum}");
        let _ = writeln!(page, "vidimus_log_append_seconds_count {count}");
        for Gauge { name, help, value } in gauges {
            head(&mut page, name, "gauge", help);
            let _ = writeln!(page, "vidimus_{name} {value}");
        }
        page
    }
}

impl Observer for Metrics {
    fn stage(&self, name: &'static str, seconds: f64) {
        self.state().stages.entry(name).or_default().add(seconds);
    }

    fn reading(&self, status: &'static str, reason: Option<&str>) {
        let mut state = self.state();
        *state.readings.entry(status).or_default() += 1;
        if let Some(reason) = reason {
            *state.refusals.entry(reason.to_owned()).or_default() += 1;
        }
    }
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP vidimus_{name} {help}\n# TYPE vidimus_{name} {kind}");
}

fn write(page: &mut String, name: &str, label: &str, histogram: &Histogram) {
    for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
        let _ = writeln!(page, "vidimus_{name}_bucket{{{label},le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(page, "vidimus_{name}_bucket{{{label},le=\"+Inf\"}} {}", histogram.count);
    let _ = writeln!(page, "vidimus_{name}_sum{{{label}}} {}", histogram.sum);
    let _ = writeln!(page, "vidimus_{name}_count{{{label}}} {}", histogram.count);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-SVC-351
    #[test]
    fn the_page_counts_what_happened_in_cumulative_buckets() {
        let metrics = Metrics::default();
        metrics.request("readings.list", 200, Duration::from_millis(3));
        metrics.request("readings.list", 200, Duration::from_millis(30));
        metrics.reading("not_evaluated", Some("not-a-chest-film"));
        metrics.signed(false);
        let gauges = [Gauge { name: "log_entries", help: "Entries.", value: 7.0 }];
        let page = metrics.page(&gauges, (&[(0.001, 1)], 2, 0.5));
        for line in [
            "vidimus_requests_total{operation=\"readings.list\",status=\"200\"} 2",
            "vidimus_request_seconds_bucket{operation=\"readings.list\",le=\"0.005\"} 1",
            "vidimus_request_seconds_bucket{operation=\"readings.list\",le=\"0.05\"} 2",
            "vidimus_refusals_total{reason=\"not-a-chest-film\"} 1",
            "vidimus_signed_total{agrees=\"false\"} 1",
            "vidimus_log_append_seconds_count 2",
            "vidimus_log_entries 7",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }
}
