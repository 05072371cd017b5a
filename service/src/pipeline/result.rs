//! The result of one study, as programs read it (`--json`) and as the page and the FHIR file are made from it.
//! The object is the one of the first issue; `not_evaluated` and `failed` carry no probability anywhere.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use serde::Serialize;
use serde_json::{Value, json};
use vidimus_log::{Digest, Phi, Receipt};
use vidimus_reader::{ModelFacts, Reading};

/// How the study ended, in the words of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Evaluated,
    NotEvaluated,
    Failed,
}

impl Status {
    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Evaluated => "evaluated",
            Self::NotEvaluated => "not_evaluated",
            Self::Failed => "failed",
        }
    }
}

/// Why it was not evaluated, or failed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reason {
    pub code: String,
    pub text: String,
}

/// Where the files lie.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Files {
    pub fhir: Option<String>,
    pub saliency_png: Option<String>,
    pub overlay_png: Option<String>,
    pub receipt: Option<String>,
}

/// Who is told of readings while they are made: the service's metrics.
pub(crate) trait Observer: Send + Sync {
    /// A stage of a reading is done; its name is one of the program's own.
    fn stage(&self, name: &'static str, seconds: f64);

    /// A study was read; `reason` is the code of a refusal or failure.
    fn reading(&self, status: &'static str, reason: Option<&str>);
}

/// Milliseconds by step.
#[derive(Clone, Default)]
pub(crate) struct Timing {
    steps: BTreeMap<&'static str, f64>,
    observer: Option<Arc<dyn Observer>>,
}

impl Timing {
    /// Tells an observer of each step as it ends.
    pub(super) fn observed(observer: Option<Arc<dyn Observer>>) -> Self {
        Self { steps: BTreeMap::new(), observer }
    }

    /// Runs a step under a span of its name and adds its time.
    pub(crate) fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let span = tracing::info_span!(target: "vidimus", "step", otel.name = name, vidimus.stage = name);
        let start = Instant::now();
        let result = span.in_scope(work);
        let seconds = start.elapsed().as_secs_f64();
        *self.steps.entry(name).or_default() += seconds * 1e3;
        if let Some(observer) = &self.observer {
            observer.stage(name, seconds);
        }
        result
    }

    /// The sum of all steps, in milliseconds.
    pub(crate) fn total_ms(&self) -> f64 {
        // A sum of nothing is -0.0.
        self.steps.values().fold(0.0, |sum, ms| sum + ms)
    }

    /// All steps and their sum.
    fn object(&self) -> Value {
        let round = |ms: f64| (ms * 1e3).round() / 1e3;
        let mut object: serde_json::Map<String, Value> =
            self.steps.iter().map(|(name, ms)| ((*name).to_owned(), json!(round(*ms)))).collect();
        object.insert("total".into(), json!(round(self.total_ms())));
        Value::Object(object)
    }
}

/// One study's result.
pub(crate) struct StudyReading {
    /// What a page calls it: file names, never a patient's.
    pub title: String,
    /// The study, where the file says it.
    pub study_uid: Option<Phi<String>>,
    pub status: Status,
    pub reason: Option<Reason>,
    pub model: Option<ModelFacts>,
    pub reading: Option<Reading>,
    /// Digest of the input where nothing else was made.
    pub input: Option<Digest>,
    pub receipt: Option<Receipt>,
    pub files: Files,
    pub timing: Timing,
    /// Whether it can be seen in the list of readings.
    pub published: bool,
}

impl StudyReading {
    /// Says on standard error, where one listens, how it ended: codes and numbers only.
    pub(super) fn tell(&self) {
        tracing::info!(
            target: "vidimus",
            outcome = self.status.as_str(),
            reason = self.reason.as_ref().map(|reason| reason.code.as_str()),
            index = self.receipt.as_ref().map(|receipt| receipt.index),
            "study read"
        );
    }

    /// The object of `--json`.
    pub(crate) fn object(&self) -> Value {
        let reading = self.reading.as_ref();
        let digests = reading.map_or_else(|| json!({ "input": self.input }), |reading| json!(reading.digests));
        let receipt = self.receipt.as_ref().map(|receipt| {
            json!({
                "entry_id": receipt.entry_id.to_string(),
                "index": receipt.index,
                "tree_size": receipt.tree_size,
                "checkpoint": receipt.checkpoint,
            })
        });
        json!({
            "study_instance_uid": self.study_uid.as_ref().map(Phi::open),
            "status": self.status,
            "reason": self.reason,
            "model": self.model,
            "findings": reading.map_or(&[][..], |reading| &reading.findings),
            "measurements": reading.map_or(&[][..], |reading| &reading.measurements),
            "quality": reading.map_or(&[][..], |reading| &reading.quality),
            "uncertainty": reading.map(|reading| &reading.uncertainty),
            "explanation": reading.map(|reading| json!({
                "method": reading.saliency.method(),
                "badge": reading.badge,
            })),
            "digests": digests,
            "receipt": receipt,
            "files": self.files,
            "timing_ms": self.timing.object(),
            "input": self.title,
        })
    }
}
