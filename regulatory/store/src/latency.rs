//! How long callers wait for durable entries: a histogram with fixed bounds in microseconds, counted without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets in microseconds; what took longer is in `count` only.
const BOUNDS_US: [u64; 14] =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000];

/// A snapshot of the durable appends of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendLatency {
    /// Calls that got their receipts.
    pub count: u64,
    /// Sum of the time that they took, in microseconds.
    pub sum_us: u64,
    /// Upper bound in microseconds, and how many calls took at most so long: each bucket holds the ones before it.
    pub buckets: Vec<(u64, u64)>,
    /// Transactions that held them.
    pub batches: u64,
    /// Entries in those transactions: `entries / batches` is the mean batch.
    pub entries: u64,
    /// Requests that wait now.
    pub waiting: u64,
}

#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().zip(&self.buckets).find(|(bound, _)| took_us <= **bound);
        if let Some((_, bucket)) = bucket {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, batches: u64, entries: u64, waiting: u64) -> AppendLatency {
        let mut sum = 0;
        let cumulative = |(bound, bucket): (&u64, &AtomicU64)| {
            sum += bucket.load(Ordering::Relaxed);
            (*bound, sum)
        };
        let buckets: Vec<_> = BOUNDS_US.iter().zip(&self.buckets).map(cumulative).collect();
        // Read after the buckets and at least their sum: a scrape between two counts sees no bucket above the whole.
        let count = self.count.load(Ordering::Relaxed).max(sum);
        AppendLatency { count, sum_us: self.sum_us.load(Ordering::Relaxed), buckets, batches, entries, waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-STO-110
    #[test]
    fn a_bucket_holds_all_that_took_at_most_its_bound() {
        let histogram = Histogram::default();
        for took_us in [0, 100, 101, 999, 1_000, 4_999_999, 60_000_000] {
            histogram.observe(Duration::from_micros(took_us));
        }
        let snapshot = histogram.snapshot(2, 7, 0);
        let at = |bound_us| snapshot.buckets.iter().find(|(bound, _)| *bound == bound_us).unwrap().1;
        assert_eq!([at(100), at(200), at(500), at(1_000), at(5_000_000)], [2, 3, 3, 5, 6]);
        assert_eq!((snapshot.count, snapshot.sum_us), (7, 65_002_199));
    }
}
