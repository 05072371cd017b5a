//! The one thread that writes the log, and the way to it: callers prepare their entries side by side, the thread writes
//! what waits as one batch, and the receipts are made from the committed head by the callers again.
//! Errors: `RecordError`; a full queue is `Busy`. Source: AUDIT_LOG section 6.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use vidimus_log::{Digest, Draft, EntryId, Receipt, RecordError};

use crate::{
    Row, SiteError,
    batch::{Done, Log, Prepared, Request},
    latency::{AppendLatency, Histogram},
    log::{self, Head, now_ms},
    queue::{NotTaken, Thread, Weight},
    reads::Reads,
};

/// Rows count towards the queue's bytes with about so much each.
const ROW_BYTES: usize = 256;

/// The writer of a site.
pub(crate) struct Sequencer {
    thread: Thread<Request, Result<Done, RecordError>>,
    shared: Arc<Shared>,
    origin: String,
    boot: std::sync::OnceLock<EntryId>,
    latency: Histogram,
    clock: Mutex<fn() -> u64>,
}

/// What the thread and its callers both see.
struct Shared {
    log: Mutex<Log>,
    newest: Mutex<Arc<Head>>,
    batches: AtomicU64,
    entries: AtomicU64,
}

impl Sequencer {
    /// Whether the log is not fenced. While a batch is being written it is not.
    pub(crate) fn takes_entries(&self) -> bool {
        match self.shared.log.try_lock() {
            Ok(log) => log.fence.is_none(),
            Err(std::sync::TryLockError::WouldBlock) => true,
            Err(std::sync::TryLockError::Poisoned(_)) => false,
        }
    }

    /// Starts the thread.
    pub(crate) fn start(log: Log) -> Result<Self, SiteError> {
        let origin = log.origin.clone();
        let newest = Mutex::new(Arc::clone(&log.head));
        let (batches, entries) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { log: Mutex::new(log), newest, batches, entries });
        let serving = Arc::clone(&shared);
        let thread = Thread::start("vidimus-log", move |batch| {
            let (requests, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| waiting.split()).unzip();
            let done = serving.run(requests);
            for (answer, done) in answers.into_iter().zip(done) {
                // A caller that is gone needs no answer.
                let _ = answer.send(done);
            }
        });
        let thread = thread.map_err(|source| SiteError::Database { operation: "start", source: Box::new(source) })?;
        let (latency, clock) = (Histogram::default(), Mutex::new(now_ms as fn() -> u64));
        Ok(Self { thread, shared, origin, boot: std::sync::OnceLock::new(), latency, clock })
    }

    /// From now on entries name this process's `boot`.
    pub(crate) fn announce(&self, boot: EntryId) {
        let _ = self.boot.set(boot);
        self.log().boot = Some(boot);
    }

    /// The log itself, between two batches. A panic within a batch leaves its outcome in doubt: the log is read-only
    /// from then on.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log()
    }

    /// The newest committed head.
    pub(crate) fn newest(&self) -> Arc<Head> {
        Arc::clone(&self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long callers waited for durable entries, and how many came in how many batches.
    pub(crate) fn latency(&self) -> AppendLatency {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (batches, entries) = (load(&self.shared.batches), load(&self.shared.entries));
        self.latency.snapshot(batches, entries, u64::try_from(self.thread.queue.len()).unwrap_or(0))
    }

    /// Appends drafts with their rows, all or none; the receipts are durable when this returns.
    pub(crate) fn append(&self, reads: &Reads, drafts: Vec<(Draft, Vec<Row>)>) -> Result<Vec<Receipt>, RecordError> {
        let began = Instant::now();
        let mut weight = Weight::default();
        let mut entries = Vec::with_capacity(drafts.len());
        for (draft, rows) in drafts {
            let own = matches!(draft.body, vidimus_log::Body::Boot(_)).then_some(draft.entry_id);
            let mut prepared = Prepared::new(&self.origin, own.or(self.boot.get().copied()), self.now_ms(), draft)?;
            weight.rows += 1;
            weight.bytes += prepared.bytes.len() + rows.len() * ROW_BYTES;
            prepared.rows = rows;
            entries.push(prepared);
        }
        match self.ask(Request::Append(entries), weight)? {
            Done::Placed(placed, head) => {
                self.latency.observe(began.elapsed());
                // The entries are there: the same call again gives their receipts.
                let mut connection = reads.take().map_err(|error| RecordError::Busy(Box::new(error)))?;
                let receipts: Result<_, SiteError> =
                    placed.into_iter().map(|entry| log::receipt(&mut connection, &head, entry)).collect();
                drop(connection);
                receipts.map_err(|error| {
                    self.log().damage(&error);
                    RecordError::Fenced(Box::new(error))
                })
            }
            Done::Begun(_) => Err(RecordError::Refused { rule: "the writer mixed up two requests".to_owned() }),
        }
    }

    /// Counts one attempt more with a study that waits.
    pub(crate) fn begin(&self, study: &Digest) -> Result<u32, RecordError> {
        match self.ask(Request::Begin(*study), Weight { rows: 1, bytes: ROW_BYTES })? {
            Done::Begun(attempts) => Ok(attempts),
            Done::Placed(..) => Err(RecordError::Refused { rule: "the writer mixed up two requests".to_owned() }),
        }
    }

    fn now_ms(&self) -> u64 {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock()
    }

    fn ask(&self, request: Request, weight: Weight) -> Result<Done, RecordError> {
        let died = "a panic left the outcome of a write in doubt: restart the program";
        match self.thread.queue.push(request, weight) {
            Ok(answer) => answer.recv().unwrap_or_else(|_| Err(RecordError::Fenced(died.into()))),
            Err(NotTaken::Full) => Err(RecordError::Busy("too many entries wait to be written".into())),
            Err(NotTaken::Closed) => Err(RecordError::ReadOnly { why: died.to_owned() }),
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| {
            let mut log = poisoned.into_inner();
            log.fence = Some("a panic left the outcome of a write in doubt: restart the program".to_owned());
            log
        })
    }

    fn run(&self, requests: Vec<Request>) -> Vec<Result<Done, RecordError>> {
        let mut log = self.log();
        let before = log.head.frontier.size();
        let done = log.run(requests);
        let head = Arc::clone(&log.head);
        let grown = head.frontier.size().saturating_sub(before);
        if grown > 0 {
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.entries.fetch_add(grown, Ordering::Relaxed);
        }
        // Before any answer: whoever has one finds its entry under the newest head.
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = head;
        done
    }
}

#[cfg(test)]
mod tests {
    use vidimus_log::{Recorder as _, body};

    use super::*;
    use crate::{
        BootFacts, Site, SiteFacts,
        log::{Placed, incident, new_id},
    };

    fn made() -> (tempfile::TempDir, Site) {
        let dir = tempfile::TempDir::new().unwrap();
        let (domain, opened_by) = ("t.example".into(), "tests".into());
        Site::create(dir.path(), &SiteFacts { site: "t".into(), domain, log_code: None, opened_by }).unwrap();
        let (binary, config) = (Digest::of(b"binary"), Digest::of(b"config"));
        let boot = BootFacts { binary, version: "1".into(), config, host: "test".into(), backend: "cpu".into() };
        let site = Site::open(dir.path(), &boot).unwrap();
        (dir, site)
    }

    /// Proves: REQ-STO-012
    #[test]
    fn a_clock_that_steps_back_is_an_incident_before_the_entry() {
        let (_dir, site) = made();
        let append = || site.record_with(Draft::system(new_id(), incident("test", Digest::of(b""), "x")), vec![]);
        let set = |clock: fn() -> u64| *site.writer.as_ref().unwrap().clock.lock().unwrap() = clock;
        set(|| now_ms() - 50_000);
        assert_eq!(append().unwrap().index, 2, "within a minute: no incident");
        set(|| now_ms() - 3_600_000);
        assert_eq!(append().unwrap().index, 4);
        assert!(String::from_utf8(site.entry(3).unwrap()).unwrap().contains("\"code\":\"clock_step\""));
        assert_eq!(append().unwrap().index, 5, "one step, one incident");
        set(now_ms);
        assert_eq!(append().unwrap().index, 6);
        site.verify().unwrap();
    }

    fn prepared(log: &Log, id: EntryId, text: &str, rows: Vec<Row>) -> Prepared {
        let body = body::Incident { code: "test".into(), ..incident("test", Digest::of(text.as_bytes()), text) };
        let now_ms = crate::log::now_ms();
        Prepared { rows, ..Prepared::new(&log.origin, log.boot, now_ms, Draft::system(id, body)).unwrap() }
    }

    /// Proves: REQ-STO-108
    #[test]
    fn a_batch_has_one_signature_and_a_request_that_breaks_a_rule_is_undone_alone() {
        let (_dir, site) = made();
        let held = site.record(Draft::system(new_id(), incident("test", Digest::of(b"held"), "held"))).unwrap();
        let mut log = site.writer.as_ref().unwrap().log();
        let (size, study) = (log.head.frontier.size(), Digest::of(b"study"));
        let done = Row::Signed { reading: new_id(), sign_off: new_id(), agrees: true };
        let (one, two) = (new_id(), new_id());
        let requests = vec![
            Request::Append(vec![prepared(&log, one, "one", vec![])]),
            Request::Append(vec![
                prepared(&log, new_id(), "refused with the next", vec![]),
                prepared(&log, new_id(), "refused", vec![done]),
            ]),
            Request::Append(vec![prepared(&log, held.entry_id, "other content", vec![])]),
            Request::Begin(study),
            Request::Append(vec![prepared(&log, one, "one", vec![]), prepared(&log, two, "two", vec![])]),
        ];
        let answers: [_; 5] = log.run(requests).try_into().ok().unwrap();
        let [Ok(Done::Placed(first, head)), Err(RecordError::Refused { .. }), third, Ok(Done::Begun(0)), last] =
            answers
        else {
            panic!("other answers")
        };
        assert!(matches!(third, Err(RecordError::Duplicate { entry_id }) if entry_id == held.entry_id));
        let Ok(Done::Placed(last, under)) = last else { panic!("the last request") };
        assert!(Arc::ptr_eq(&head, &under), "one head, one signature");
        let places = |placed: &[Placed]| placed.iter().map(|entry| entry.index).collect::<Vec<_>>();
        // Between them stands the incident of the id that was used again.
        assert_eq!((places(&first), places(&last)), (vec![size], vec![size, size + 2]));
        assert_eq!(head.frontier.size(), size + 3);
        drop(log);
        site.verify().unwrap();
    }
}
