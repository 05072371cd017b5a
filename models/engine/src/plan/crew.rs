//! The threads of one image: a list of operations, each cut into tasks; an operation ends when its tasks are done.
//! Whoever is free takes the next task; nobody waits for a thread that the machine has put to sleep, only for tasks
//! that are under way. Tasks never share an output element, so who takes which cannot change a bit.
//! Units: threads. `with_threads` forces a number for this thread's plans; else rayon's pool (`RAYON_NUM_THREADS`).
//! Errors: none; a panic in a task is passed on.

use crate::isa::Isa;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

thread_local! {
    static FORCED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Looks at a counter before the thread offers its processor to others.
const SPINS: u32 = 2_000;

/// Runs `work` with the plans that this thread starts on so many threads (at least 1).
pub fn with_threads<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<usize>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let _restore = Restore(FORCED.replace(Some(threads.max(1))));
    work()
}

/// The threads that plans use now.
pub(crate) fn threads() -> usize {
    FORCED.get().unwrap_or_else(rayon::current_num_threads)
}

/// Runs `work` where rayon's operations find `threads` threads.
pub(crate) fn within<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    if threads == rayon::current_num_threads() {
        return work();
    }
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        // no more threads to be had: fewer give the same bits
        Err(_) => work(),
    }
}

/// How many threads an image has, and with which instructions they work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crew {
    threads: usize,
    isa: Isa,
}

impl Crew {
    pub(crate) const fn new(threads: usize, isa: Isa) -> Self {
        Self { threads, isa }
    }

    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) const fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs operations one after another: `tasks[op]` tasks each, `task(op, index, worker)` with `worker < threads`.
    pub(crate) fn run(&self, tasks: &[usize], task: &(dyn Fn(usize, usize, usize) + Sync)) {
        if self.threads == 1 {
            for (op, &count) in tasks.iter().enumerate() {
                for index in 0..count {
                    task(op, index, 0);
                }
            }
            return;
        }
        let board = Board::new(tasks);
        rayon::in_place_scope(|scope| {
            for worker in 1..self.threads {
                let board = &board;
                scope.spawn(move |_| board.work(worker, task));
            }
            board.work(0, task);
        });
        let panic = board.panic.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

struct Board<'a> {
    tasks: &'a [usize],
    next: Vec<AtomicUsize>,
    done: Vec<AtomicUsize>,
    broken: AtomicBool,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl<'a> Board<'a> {
    fn new(tasks: &'a [usize]) -> Self {
        let counters = || tasks.iter().map(|_| AtomicUsize::new(0)).collect();
        Self { tasks, next: counters(), done: counters(), broken: AtomicBool::new(false), panic: Mutex::new(None) }
    }

    fn work(&self, worker: usize, task: &(dyn Fn(usize, usize, usize) + Sync)) {
        for (op, &count) in self.tasks.iter().enumerate() {
            loop {
                let index = self.next[op].fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(op, index, worker))) {
                    self.broken.store(true, Ordering::Release);
                    *self.panic.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(panic);
                }
                // what this task wrote is seen by whoever sees the count
                self.done[op].fetch_add(1, Ordering::Release);
            }
            let mut looks = 0;
            while self.done[op].load(Ordering::Acquire) < count {
                looks += 1;
                if looks < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
            if self.broken.load(Ordering::Acquire) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Crew;
    use crate::Isa;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Proves: REQ-ENG-021
    #[test]
    fn every_task_runs_once_and_after_all_of_the_operation_before() {
        for threads in [1, 2, 3, 5] {
            let tasks = [3usize, 0, 17, 1, 64];
            let ran: Vec<AtomicUsize> = tasks.iter().map(|_| AtomicUsize::new(0)).collect();
            Crew::new(threads, Isa::Scalar).run(&tasks, &|op, index, worker| {
                assert!(index < tasks[op] && worker < threads);
                for before in 0..op {
                    assert_eq!(ran[before].load(Ordering::SeqCst), tasks[before], "operation {op} began early");
                }
                ran[op].fetch_add(1, Ordering::SeqCst);
            });
            assert!(ran.iter().zip(tasks).all(|(ran, count)| ran.load(Ordering::SeqCst) == count));
        }
    }

    /// Proves: REQ-ENG-021
    #[test]
    fn a_panic_in_a_task_reaches_the_caller() {
        let broken = std::panic::catch_unwind(|| {
            Crew::new(3, Isa::Scalar).run(&[8, 8], &|op, index, _| assert!(op != 1 || index != 4, "task 4"));
        });
        assert!(broken.is_err());
    }
}
