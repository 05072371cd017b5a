//! What all requests share while instances arrive: memory for those being looked at, the studies being recorded, the
//! persons of studies seen lately, and the folder for bytes on their way in.
//! Units: bytes. Errors: [`Busy`] when memory stays taken. Requirement: REQ-SVC-160.

use std::{
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use vidimus_log::Digest;

use super::spool::{Incoming, PART_BYTES_MAX, Spool, SpoolError};
use crate::pipeline::holding::People;

/// A part is in memory as received, as instance and as sealed.
const COPIES: u64 = 3;
/// Memory of all requests for the parts that they look at: one of the largest, or many films at once.
const MEMORY_BYTES_MAX: u64 = COPIES * PART_BYTES_MAX;
/// How long a request waits for memory.
const WAIT: Duration = Duration::from_secs(30);
/// Locks for studies that are new: two requests for one study share one, others seldom.
const STRIPES: usize = 64;

/// Memory stayed taken: the same request may be sent again.
#[derive(Debug, thiserror::Error)]
#[error("too many instances are arriving at once: nothing of this request was stored; send it again")]
pub(crate) struct Busy;

/// Arrivals at one site.
pub(crate) struct Arrivals {
    incoming: Incoming,
    pub(super) people: People,
    free: Mutex<u64>,
    freed: Condvar,
    stripes: [Mutex<()>; STRIPES],
}

/// Memory that a part holds; given back when dropped.
pub(super) struct Taken<'a> {
    arrivals: &'a Arrivals,
    bytes: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.arrivals.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.arrivals.freed.notify_all();
    }
}

impl Arrivals {
    /// Nothing on its way yet.
    pub(crate) fn open(site: &Path) -> Result<Self, SpoolError> {
        Ok(Self {
            incoming: Incoming::open(site)?,
            people: People::default(),
            free: Mutex::new(MEMORY_BYTES_MAX),
            freed: Condvar::new(),
            stripes: std::array::from_fn(|_| Mutex::new(())),
        })
    }

    /// Room on the disk for one request.
    pub(crate) fn spool(&self) -> Spool {
        self.incoming.spool()
    }

    /// Takes memory for a part of this length.
    pub(super) fn memory(&self, length: u64) -> Result<Taken<'_>, Busy> {
        self.memory_within(length, WAIT)
    }

    fn memory_within(&self, length: u64, wait: Duration) -> Result<Taken<'_>, Busy> {
        let bytes = length.saturating_mul(COPIES).min(MEMORY_BYTES_MAX);
        let until = Instant::now() + wait;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Busy);
            }
            free = self.freed.wait_timeout(free, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= bytes;
        Ok(Taken { arrivals: self, bytes })
    }

    /// Holds these studies until the guards are dropped: nobody else records them as new meanwhile. Locks are taken in
    /// one order, so that two requests never wait for each other.
    pub(super) fn hold<'s>(&self, studies: impl Iterator<Item = &'s Digest>) -> Vec<MutexGuard<'_, ()>> {
        let mut places: Vec<usize> = studies.map(|study| usize::from(study.as_bytes()[0]) % STRIPES).collect();
        places.sort_unstable();
        places.dedup();
        let stripes = places.into_iter().filter_map(|place| self.stripes.get(place));
        stripes.map(|stripe| stripe.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-SVC-160
    #[test]
    fn memory_of_all_requests_is_bounded_and_given_back() {
        let site = tempfile::tempdir().unwrap();
        let arrivals = Arrivals::open(site.path()).unwrap();
        let now = Duration::ZERO;
        let first = arrivals.memory_within(PART_BYTES_MAX - 1, now).unwrap();
        let second = arrivals.memory_within(1, now).unwrap();
        assert!(arrivals.memory_within(1, now).is_err());
        drop(second);
        assert!(arrivals.memory_within(1, now).is_ok());
        drop(first);
        // More than there is means all of it: such a part is alone, and does not wait for ever.
        assert!(arrivals.memory_within(10 * PART_BYTES_MAX, now).is_ok());
        std::thread::scope(|scope| {
            let all = arrivals.memory_within(PART_BYTES_MAX, now).unwrap();
            let waits = scope.spawn(|| arrivals.memory_within(1, Duration::from_secs(60)).is_ok());
            drop(all);
            assert!(waits.join().unwrap());
        });
    }

    /// Proves: REQ-SVC-160
    #[test]
    fn two_requests_that_name_the_same_studies_never_wait_for_each_other() {
        let site = tempfile::tempdir().unwrap();
        let arrivals = Arrivals::open(site.path()).unwrap();
        let studies: Vec<Digest> = (0..32_u8).map(|one| Digest::of(&[one])).collect();
        std::thread::scope(|scope| {
            for turn in 0..8 {
                let (arrivals, mut studies) = (&arrivals, studies.clone());
                studies.rotate_left(turn * 4);
                scope.spawn(move || (0..50).for_each(|_| drop(arrivals.hold(studies.iter()))));
            }
        });
        drop(arrivals.hold(studies.iter().chain(&studies)));
    }
}
