//! Reading a study that the vault holds: what a worker of the service does.
//!
//! All instances of the study are read, series by series and in the order of their numbers; who sent it asked for it,
//! and the trace of the arrival goes on. A study whose reading ends without being published is given up in the end, and
//! published as failed.
//! Memory: a study of more than [`FILMS_MAX`] instances or [`BYTES_MAX`] bytes is not read.
//! Errors: those of the log and the vault, of which an object that cannot be opened is one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
};

use vidimus_imaging::Instance;
use vidimus_log::{Digest, Entry, EntryId, Receipt, body::OutcomeStatus};
use vidimus_store::{VaultError, WorkRow};

use super::{
    Asked, Pipeline, Reason, Status, StudyReading, Timing,
    arrive::{Film, Kept, Unreadable},
    entries, is_fatal,
    record::Why,
    study::Study,
};
use crate::site::House;

/// Most instances of a study that is read at once: the largest series of one examination have some 2,000 slices.
const FILMS_MAX: usize = 4_096;
/// Most bytes of its files together.
const BYTES_MAX: usize = 2 << 30;

/// Why a study was given up.
const CRASHED: &str = "crashed";

impl Asked {
    /// Who sent the study, by the entry of its arrival; the program itself where the log has no such entry.
    pub(crate) fn by_arrival(house: &House, arrival: &EntryId) -> anyhow::Result<Self> {
        let Some(index) = house.site.find(arrival)? else { return Ok(Self::on_command_line(house)) };
        let Entry { actor, trace, .. } = Entry::parse(&house.site.entry(index)?)?;
        Ok(Self { actor, trace })
    }
}

/// The films of a study that is held.
#[derive(Default)]
struct Films {
    kept: Vec<Kept>,
    /// Those that cannot be opened.
    faults: Vec<Unreadable>,
    /// The study is too large to be read.
    too_large: bool,
}

impl Films {
    fn lost(&self) -> Vec<Why> {
        let why = |fault: &Unreadable| Why {
            code: entries::UNREADABLE.into(),
            text: format!("An image that came with the study: {}", fault.why),
        };
        self.faults.iter().map(why).collect()
    }
}

impl Pipeline<'_> {
    /// Reads a study that waits. What comes back is the study's own result; films that cannot be read are in the log.
    pub(crate) fn read_held(&self, work: &WorkRow) -> anyhow::Result<StudyReading> {
        let span = tracing::info_span!(target: "vidimus", "read", vidimus.purpose = self.purpose.as_str());
        self.follow(&span, work);
        let _entered = span.enter();
        let mut timing = Timing::observed(self.observer.clone());
        let films = timing.step("open", || self.open_films(work))?;
        let (lost, too_large) = (films.lost(), films.too_large);
        for fault in films.faults {
            self.unreadable(fault)?;
        }
        let study = Study::held(self.house, films.kept, lost, work)?;
        let mut results = Vec::new();
        if too_large {
            let text =
                format!("the study has more than {FILMS_MAX} images or {BYTES_MAX} bytes: it is not read at once");
            results.push(self.failed(study, Reason { code: "study-too-large".into(), text }, timing)?);
        } else if study.films.is_empty() {
            let text = "no image of the study can be opened".to_owned();
            results.push(self.failed(study, Reason { code: entries::UNREADABLE.into(), text }, timing)?);
        } else {
            self.study(study, timing, &mut results)?;
        }
        let result = results.pop().ok_or_else(|| anyhow::anyhow!("a study was read and has no result"))?;
        result.tell();
        Ok(result)
    }

    /// Publishes a study as failed whose reading did not come to an end: it panicked, or took the process with it, or
    /// could not be handed out.
    pub(crate) fn give_up(&self, work: &WorkRow, attempts: u32) -> anyhow::Result<StudyReading> {
        // what it died of may be the opening of its films
        let films = catch_unwind(AssertUnwindSafe(|| self.open_films(work)));
        let films = films.ok().and_then(Result::ok).unwrap_or_default();
        let lost = films.lost();
        let mut study = Study::held(self.house, films.kept, lost, work)?;
        let tries = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
        let text =
            format!("a fault of the program, not of the study, kept its reading from ending; it was tried {tries}");
        let reason = Reason { code: CRASHED.into(), text };
        let close = |intent| self.record_failure(self.model_root(), &intent, OutcomeStatus::Failed, CRASHED);
        let receipt = match self.take_open().map(close) {
            Some(Ok(closed)) => closed,
            Some(Err(error)) if is_fatal(&error) => return Err(error),
            // no intent is open, or it stopped in the instant in which the outcome was already in the log
            None | Some(Err(_)) => self.record_refusal(&mut study, CRASHED, Status::Failed)?,
        };
        let result = self.hand_out_failure(&study, receipt, reason, Timing::observed(self.observer.clone()))?;
        result.tell();
        Ok(result)
    }

    /// Closes the intent of a reading that could not go on, so that another may begin.
    pub(crate) fn interrupt(&self) -> anyhow::Result<()> {
        let Some(intent) = self.take_open() else { return Ok(()) };
        let closed = self.record_failure(self.model_root(), &intent, OutcomeStatus::Interrupted, "interrupted");
        if closed.is_err() {
            self.keep_open(Some(intent));
        }
        closed.map(|_| ())
    }

    fn take_open(&self) -> Option<Receipt> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Opens the instances that are held of a study.
    fn open_films(&self, work: &WorkRow) -> anyhow::Result<Films> {
        let rows = self.house.site.study_instances(&work.study)?;
        let mut films = Films { too_large: rows.len() > FILMS_MAX, ..Films::default() };
        let mut bytes = 0;
        for row in rows.into_iter().take(FILMS_MAX) {
            let name = "an image of the study".to_owned();
            let original = match self.house.site.vault().get(&row.object) {
                Ok(original) => original,
                Err(error) if is_lost(&error) => {
                    films.faults.push(Unreadable { name, why: "its sealed original cannot be opened".into() });
                    continue;
                }
                // It may open at the next attempt; no fault of the vault, for which other studies would have to wait.
                Err(VaultError::Unreadable { source, .. }) => {
                    anyhow::bail!("{name} of a study: its sealed original cannot be read: {source}")
                }
                Err(error) => return Err(error.into()),
            };
            bytes += original.open().len();
            films.too_large |= bytes > BYTES_MAX;
            // one film is enough to say whose study it is
            if films.too_large && !films.kept.is_empty() {
                break;
            }
            match Instance::from_bytes(original.open()) {
                Ok(instance) => films.kept.push(Kept { film: Film::held(name, instance), object: row.object }),
                Err(error) => films.faults.push(Unreadable { name, why: error.to_string() }),
            }
        }
        films.kept.sort_by(|one, other| place_in_study(&one.film.instance).cmp(&place_in_study(&other.film.instance)));
        for (place, kept) in films.kept.iter_mut().enumerate() {
            kept.film.name = format!("image {}", place + 1);
        }
        Ok(films)
    }

    /// The span goes on with the trace of the arrival.
    fn follow(&self, span: &tracing::Span, work: &WorkRow) {
        use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;
        let Some(trace) = self.asked.trace.as_ref().and_then(|trace| TraceId::from_hex(trace).ok()) else { return };
        let [a, b, c, d, e, f, g, h, ..] = *Digest::of(work.arrival.as_bytes()).as_bytes();
        // the entry keeps the trace, not the span: the parent is named by the arrival
        let parent = SpanId::from_bytes([a, b, c, d, e, f, g, h]);
        let context = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, TraceState::NONE);
        // refused where spans are not exported: then there is nothing to go on with
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(context));
    }
}

/// Whether an object is gone for good: a fault of this film, not of the vault.
fn is_lost(error: &VaultError) -> bool {
    match error {
        VaultError::Erased | VaultError::Missing | VaultError::Tampered { .. } => true,
        VaultError::Unreadable { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Instances of one request come in no order of their own: series by series, and in each as the device counted.
fn place_in_study(instance: &Instance) -> (&str, i64, &str) {
    let number = instance.instance_number.unwrap_or(i64::MAX);
    (instance.series_instance_uid.open(), number, instance.sop_instance_uid.open())
}
