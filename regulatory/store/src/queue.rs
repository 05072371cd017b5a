//! A bounded queue between callers and the one thread that writes for them: what waits while a batch is written becomes
//! the next batch. No timer: a lone caller waits for nobody. Full is an answer, never a silent drop.
//! Source: AUDIT_LOG section 6.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

/// Requests that may wait.
pub(crate) const REQUESTS_MAX: usize = 4_096;
/// Bytes that may wait.
pub(crate) const BYTES_MAX: usize = 16 << 20;
/// Rows of one batch, unless one request alone has more.
const BATCH_ROWS_MAX: usize = 512;
/// Bytes of one batch, unless one request alone has more.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// How much a request brings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    /// Rows (entries, documents).
    pub(crate) rows: usize,
    /// Bytes.
    pub(crate) bytes: usize,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Too many wait: try again later.
    Full,
    /// The writer has ended.
    Closed,
}

/// The queue of requests `T` with answers `A`.
pub(crate) struct Queue<T, A> {
    state: Mutex<State<T, A>>,
    filled: Condvar,
}

/// A request and where its answer goes.
pub(crate) struct Waiting<T, A> {
    /// What is asked.
    pub(crate) request: T,
    weight: Weight,
    answer: SyncSender<A>,
}

impl<T, A> Waiting<T, A> {
    /// Splits off the way back.
    pub(crate) fn split(self) -> (T, SyncSender<A>) {
        (self.request, self.answer)
    }
}

struct State<T, A> {
    waiting: VecDeque<Waiting<T, A>>,
    bytes: usize,
    closed: bool,
}

impl<T, A> Queue<T, A> {
    pub(crate) const fn new() -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new() }
    }

    /// No code that can panic runs under this lock.
    fn state(&self) -> MutexGuard<'_, State<T, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request at the end; the answer comes through the channel, which closes without one if the writer dies.
    pub(crate) fn push(&self, request: T, weight: Weight) -> Result<Receiver<A>, NotTaken> {
        let (answer, answered) = sync_channel(1);
        let mut state = self.state();
        if state.closed {
            return Err(NotTaken::Closed);
        }
        let over = state.waiting.len() >= REQUESTS_MAX || state.bytes.saturating_add(weight.bytes) > BYTES_MAX;
        // A request larger than the queue would never get in: it may wait alone.
        if over && !state.waiting.is_empty() {
            return Err(NotTaken::Full);
        }
        state.bytes = state.bytes.saturating_add(weight.bytes);
        state.waiting.push_back(Waiting { request, weight, answer });
        drop(state);
        self.filled.notify_one();
        Ok(answered)
    }

    /// Waits for one request, then takes all that wait, up to the limits of a batch. `None`: it is closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<Waiting<T, A>>> {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut batch, mut sum) = (Vec::new(), Weight::default());
        while let Some(next) = state.waiting.front() {
            let rows = sum.rows.saturating_add(next.weight.rows);
            let bytes = sum.bytes.saturating_add(next.weight.bytes);
            if !batch.is_empty() && (rows > BATCH_ROWS_MAX || bytes > BATCH_BYTES_MAX) {
                break;
            }
            sum = Weight { rows, bytes };
            batch.extend(state.waiting.pop_front());
        }
        state.bytes = state.bytes.saturating_sub(sum.bytes);
        Some(batch)
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Takes no more requests; those that wait are still served.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }

    /// Takes no more requests and leaves those that wait without an answer: the writer died.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
    }
}

/// The one thread that serves a queue; it ends with its owner.
pub(crate) struct Thread<T: Send + 'static, A: Send + 'static> {
    pub(crate) queue: std::sync::Arc<Queue<T, A>>,
    handle: Option<std::thread::JoinHandle<()>>,
}

impl<T: Send + 'static, A: Send + 'static> Thread<T, A> {
    /// Starts the thread; `serve` gets one batch at a time.
    pub(crate) fn start(
        name: &str,
        mut serve: impl FnMut(Vec<Waiting<T, A>>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let queue = std::sync::Arc::new(Queue::new());
        let served = std::sync::Arc::clone(&queue);
        let run = move || {
            let guard = AbandonAtEnd(&served);
            while let Some(batch) = guard.0.take() {
                serve(batch);
            }
        };
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { queue, handle: Some(handle) })
    }
}

impl<T: Send + 'static, A: Send + 'static> Drop for Thread<T, A> {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(handle) = self.handle.take() {
            // A panic of the thread was told to every caller that waited for it.
            let _ = handle.join();
        }
    }
}

struct AbandonAtEnd<'a, T, A>(&'a Queue<T, A>);

impl<T, A> Drop for AbandonAtEnd<'_, T, A> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Weight = Weight { rows: 1, bytes: 100 };

    /// Proves: REQ-STO-109
    #[test]
    fn a_full_queue_says_so_and_takes_again_when_there_is_room() {
        let queue: Queue<usize, ()> = Queue::new();
        let waiting: Vec<_> = (0..REQUESTS_MAX).map(|number| queue.push(number, ONE).unwrap()).collect();
        assert_eq!(queue.push(0, ONE).unwrap_err(), NotTaken::Full);
        assert_eq!(queue.take().unwrap().len(), BATCH_ROWS_MAX);
        queue.push(0, ONE).unwrap();
        drop(waiting);
        let queue: Queue<usize, ()> = Queue::new();
        queue.push(0, Weight { rows: 1, bytes: BYTES_MAX * 2 }).unwrap();
        assert_eq!(queue.push(1, ONE).unwrap_err(), NotTaken::Full, "beside one that is larger than the queue");
        assert_eq!(queue.take().unwrap().len(), 1);
        queue.push(1, Weight { rows: 1, bytes: BYTES_MAX }).unwrap();
    }

    /// Proves: REQ-STO-109
    #[test]
    fn a_batch_keeps_the_order_and_its_limits() {
        let queue: Queue<usize, ()> = Queue::new();
        for (number, rows) in [(0, 500), (1, 12), (2, 1), (3, 10_000), (4, 1)] {
            queue.push(number, Weight { rows, bytes: 10 }).unwrap();
        }
        let batch = || queue.take().unwrap().into_iter().map(|waiting| waiting.request).collect::<Vec<_>>();
        assert_eq!([batch(), batch(), batch(), batch()], [vec![0, 1], vec![2], vec![3], vec![4]]);
        let bytes = Weight { rows: 1, bytes: BATCH_BYTES_MAX - 50 };
        queue.push(5, bytes).unwrap();
        queue.push(6, ONE).unwrap();
        queue.close();
        assert_eq!(queue.push(7, ONE).unwrap_err(), NotTaken::Closed);
        let lengths: Vec<_> = std::iter::from_fn(|| queue.take()).map(|batch| batch.len()).collect();
        assert_eq!(lengths, [1, 1], "what waited is served after the end is announced");
    }

    /// Proves: REQ-STO-109
    #[test]
    fn a_writer_that_dies_leaves_nobody_waiting() {
        let thread: Thread<u8, u8> = Thread::start("test", |batch| {
            for waiting in batch {
                let (request, answer) = waiting.split();
                assert_ne!(request, 13, "the panic of this test");
                answer.send(request).unwrap();
            }
        })
        .unwrap();
        assert_eq!(thread.queue.push(1, ONE).unwrap().recv(), Ok(1));
        assert!(thread.queue.push(13, ONE).unwrap().recv().is_err());
        while thread.queue.push(1, ONE).is_ok_and(|answer| answer.recv().is_ok()) {}
        assert_eq!(thread.queue.len(), 0);
    }
}
