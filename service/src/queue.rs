//! The inference queue: studies that were taken are read one after another, on threads of their own.
//!
//! What waits stands in the registry, written in the transaction of its arrival, so a crash loses nothing: the row is
//! still there and is read after the restart. A reading that panics is a failed reading and never the end of the
//! service. A study whose reading takes the process with it is tried [`ATTEMPTS_MAX`] times, counted durably, and then
//! published as failed; so is one of which a document cannot be opened. While log or vault take nothing (a full disk)
//! the workers wait and try again.
//! Units: seconds. Errors: none but those of the start; what happens later is a result or a message.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use vidimus_log::{Digest, EntryId};
use vidimus_store::WorkRow;

use crate::{
    admitted::Admitted,
    pipeline::{self, Asked, Observer, Pipeline, StudyReading},
    site::House,
};

/// How often a study's reading is begun, at most, before it is published as failed: once by chance, once to be sure.
const ATTEMPTS_MAX: u32 = 3;
/// First and longest pause while the log takes no entries.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an idle worker sleeps, at most, before it looks again by itself.
const IDLE: Duration = Duration::from_secs(30);
/// Room for a deep call in a build without optimisation: what the main thread has.
const STACK_BYTES: usize = 8 << 20;

/// How many read, and how many may wait.
#[derive(Clone, Copy)]
pub(crate) struct QueueOptions {
    /// Threads that read, at least one.
    pub threads: usize,
    /// Studies that may wait or be read.
    pub capacity: usize,
}

/// The queue of one site.
pub(crate) struct Queue {
    house: Arc<House>,
    observer: Arc<dyn Observer>,
    admitted: Admitted,
    capacity: usize,
    state: Mutex<State>,
    /// A study came, or the queue stops.
    arrived: Condvar,
    /// Something was published or signed, or a worker ended.
    published: Condvar,
}

#[derive(Default)]
struct State {
    busy: HashSet<Digest>,
    /// Arrivals that this process cannot even give up: the next start tries again.
    left: HashSet<EntryId>,
    arrivals: u64,
    publications: u64,
    workers: usize,
    stopping: bool,
}

impl Queue {
    /// Admits the model and starts to read what waits.
    pub(crate) fn start(
        house: Arc<House>,
        observer: Arc<dyn Observer>,
        options: QueueOptions,
    ) -> anyhow::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            house,
            observer,
            admitted: Admitted::default(),
            capacity: options.capacity,
            state: Mutex::default(),
            arrived: Condvar::new(),
            published: Condvar::new(),
        });
        if let Err(error) = queue.admitted.now(&queue.house)?.as_ref() {
            eprintln!("vidimus: no study will be read: {error}");
        }
        for number in 0..options.threads.max(1) {
            let worker = Worker::new(&queue);
            thread::Builder::new()
                .name(format!("vidimus-reader-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || worker.run())
                .context("a thread for readings cannot be started")?;
        }
        Ok(queue)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no further study may be taken. Where the registry does not answer there is no room either.
    pub(crate) fn is_full(&self) -> bool {
        self.house.site.work_count().map_or(true, |count| count >= self.capacity as u64)
    }

    /// How many studies wait, those being read not counted.
    pub(crate) fn depth(&self) -> u64 {
        self.house.site.work_count().unwrap_or(0).saturating_sub(self.in_progress())
    }

    /// How many studies are being read.
    pub(crate) fn in_progress(&self) -> u64 {
        self.state().busy.len() as u64
    }

    /// Whether a model was admitted at the last reading, or at the start.
    pub(crate) fn model_is_admitted(&self) -> bool {
        self.admitted.is_some()
    }

    /// A study has come: to be called when its entry is durable.
    pub(crate) fn wake(&self) {
        self.state().arrivals += 1;
        self.arrived.notify_all();
    }

    /// Something that is published has changed: to be called after a sign-off too.
    pub(crate) fn announce(&self) {
        self.state().publications += 1;
        self.published.notify_all();
    }

    /// Waits until something is published or signed after entry `since`, at most so long, or until the queue stops.
    /// Returns the newest such entry.
    pub(crate) fn changed(&self, since: u64, wait: Duration) -> u64 {
        let end = Instant::now() + wait;
        let mut state = self.state();
        loop {
            let seen = state.publications;
            drop(state);
            let newest = self.house.site.last_published().unwrap_or(since);
            state = self.state();
            while state.publications == seen && newest <= since && !state.stopping {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return newest;
                }
                state = self.published.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if newest > since || state.stopping {
                return newest;
            }
        }
    }

    /// Finishes the readings in progress and begins none. Whether all ended in time: what did not is closed as
    /// interrupted by the next start, and what waits is read then.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut state = self.state();
        state.stopping = true;
        self.arrived.notify_all();
        self.published.notify_all();
        while state.workers > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.published.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// One thread.
struct Worker(Arc<Queue>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.state().workers -= 1;
        self.0.published.notify_all();
    }
}

/// A study that is being read; whatever comes of it, it is given free again.
struct Busy<'a> {
    queue: &'a Queue,
    study: Digest,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.queue.state().busy.remove(&self.study);
    }
}

impl Worker {
    fn new(queue: &Arc<Queue>) -> Self {
        queue.state().workers += 1;
        Self(Arc::clone(queue))
    }

    fn run(&self) {
        while let Some(work) = self.next() {
            let busy = Busy { queue: &self.0, study: work.study };
            if catch_unwind(AssertUnwindSafe(|| self.serve(&work))).is_err() {
                self.leave(&work);
            }
            drop(busy);
            self.0.announce();
        }
    }

    /// The oldest study that nobody reads yet; none when the queue stops.
    fn next(&self) -> Option<WorkRow> {
        let queue = &self.0;
        loop {
            let mut state = queue.state();
            if state.stopping {
                return None;
            }
            let seen = state.arrivals;
            // Asked under the lock: a row from before it may be of a study that another worker has just finished.
            match queue.house.site.work(state.busy.len() + state.left.len() + 1) {
                Ok(rows) => {
                    let free = |row: &WorkRow| !state.busy.contains(&row.study) && !state.left.contains(&row.arrival);
                    if let Some(row) = rows.into_iter().find(free) {
                        state.busy.insert(row.study);
                        return Some(row);
                    }
                }
                Err(error) => tracing::error!(target: "vidimus", %error, "the registry does not say what waits"),
            }
            let end = Instant::now() + IDLE;
            while state.arrivals == seen && !state.stopping {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = queue.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Reads a study until something comes of it. An attempt is counted before it begins; one that the log cannot keep
    /// is no attempt, and goes on when it can.
    fn serve(&self, work: &WorkRow) {
        let Some(attempts) = self.insist(|| Ok(self.0.house.site.work_begin(&work.study)?)) else { return };
        if attempts == 0 {
            return;
        }
        // One that could not be handed out: the next attempt, or the last, says so.
        if let Some(Some(result)) = self.insist(|| self.attempt(work, attempts)) {
            let reason = result.reason.as_ref().map(|reason| reason.code.as_str());
            self.0.observer.reading(result.status.as_str(), reason);
        }
    }

    /// Does something again and again while the log or the vault cannot be written; none when the queue stops.
    fn insist<T>(&self, act: impl Fn() -> anyhow::Result<T>) -> Option<T> {
        let (mut pause, longest) = PAUSE;
        loop {
            let error = match act() {
                Ok(done) => return Some(done),
                Err(error) => error,
            };
            tracing::error!(target: "vidimus", error = %format!("{error:#}"), "a study cannot be read now");
            if !self.pause(pause) {
                return None;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Waits; whether the queue goes on.
    fn pause(&self, pause: Duration) -> bool {
        let queue = &self.0;
        let end = Instant::now() + pause;
        let mut state = queue.state();
        while !state.stopping {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = queue.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.stopping
    }

    /// One attempt. None where it ended without being published, and may be tried again.
    fn attempt(&self, work: &WorkRow, attempts: u32) -> anyhow::Result<Option<StudyReading>> {
        let queue = &self.0;
        let model = queue.admitted.now(&queue.house)?;
        let asked = Asked::by_arrival(&queue.house, &work.arrival)?;
        let reader = Pipeline::new(&queue.house, model.as_ref().as_ref(), Pipeline::purpose_of(&model), asked)
            .observed(Arc::clone(&queue.observer));
        if attempts > ATTEMPTS_MAX {
            return self.give_up(&reader, work, attempts - 1);
        }
        match catch_unwind(AssertUnwindSafe(|| reader.read_held(work))) {
            Ok(Ok(result)) if result.published => Ok(Some(result)),
            Ok(Err(error)) if pipeline::is_passing(&error) => {
                Self::interrupt(&reader);
                Err(error)
            }
            Ok(unpublished) => {
                if let Err(error) = unpublished {
                    tracing::error!(target: "vidimus", error = %format!("{error:#}"), "a study was not handed out");
                }
                if attempts >= ATTEMPTS_MAX {
                    return self.give_up(&reader, work, attempts);
                }
                Self::interrupt(&reader);
                self.pause(PAUSE.0);
                Ok(None)
            }
            Err(_) => self.give_up(&reader, work, attempts),
        }
    }

    /// Closes the intent of an attempt that another one follows.
    fn interrupt(reader: &Pipeline<'_>) {
        if let Err(error) = reader.interrupt() {
            tracing::error!(target: "vidimus", %error, "an intent stays open until the next start");
        }
    }

    /// Publishes a study as failed. Where even that fails or panics it is left for the next start.
    fn give_up(&self, reader: &Pipeline<'_>, work: &WorkRow, attempts: u32) -> anyhow::Result<Option<StudyReading>> {
        match catch_unwind(AssertUnwindSafe(|| reader.give_up(work, attempts))) {
            Ok(Ok(result)) if result.published => return Ok(Some(result)),
            Ok(Err(error)) if pipeline::is_passing(&error) => return Err(error),
            Ok(Err(error)) => {
                tracing::error!(target: "vidimus", error = %format!("{error:#}"), "a study cannot be given up");
            }
            _ => {}
        }
        self.leave(work);
        Ok(None)
    }

    /// Leaves a study to the next start, so that others are read.
    fn leave(&self, work: &WorkRow) {
        tracing::error!(target: "vidimus", arrival = %work.arrival, "a study can neither be read nor be given up");
        self.0.state().left.insert(work.arrival);
    }
}

#[cfg(test)]
mod tests;
