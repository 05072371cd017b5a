//! Where values lie: offsets in one buffer, so that values whose lives do not meet share memory.
//! Units: floats; every offset is a multiple of 16 (one cache line).
//! Method: by size, largest first, each at the lowest place that is free over its whole life. Deterministic.
//! Errors: none.

/// A value's size and life: from the operation that makes it to the last one that reads it, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) floats: usize,
    pub(crate) born: usize,
    pub(crate) dies: usize,
}

/// An offset for each tenant, and the floats that the whole buffer needs.
pub(crate) fn place(tenants: &[Tenant]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..tenants.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(tenants[at].floats), at));
    let mut offsets = vec![0; tenants.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut whole = 0;
    for at in order {
        let one = tenants[at];
        let floats = one.floats.next_multiple_of(16);
        // neighbours in time, by where they lie
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| tenants[other].born <= one.dies && one.born <= tenants[other].dies)
            .map(|&other| (offsets[other], offsets[other] + tenants[other].floats.next_multiple_of(16)))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (from, to) in taken {
            if offset + floats <= from {
                break;
            }
            offset = offset.max(to);
        }
        offsets[at] = offset;
        whole = whole.max(offset + floats);
        placed.push(at);
    }
    (offsets, whole)
}

#[cfg(test)]
mod tests {
    use super::{Tenant, place};
    use proptest::prelude::*;

    proptest! {
        /// Proves: REQ-ENG-020
        #[test]
        fn values_that_live_at_the_same_time_never_share_memory(
            lives in prop::collection::vec((1usize..200, 0usize..20, 0usize..6), 1..40)
        ) {
            let tenants: Vec<Tenant> =
                lives.iter().map(|&(floats, born, span)| Tenant { floats, born, dies: born + span }).collect();
            let (offsets, whole) = place(&tenants);
            for (a, one) in tenants.iter().enumerate() {
                prop_assert!(offsets[a].is_multiple_of(16) && offsets[a] + one.floats <= whole);
                for (b, other) in tenants.iter().enumerate().skip(a + 1) {
                    let meet = one.born <= other.dies && other.born <= one.dies;
                    let overlap = offsets[a] < offsets[b] + other.floats && offsets[b] < offsets[a] + one.floats;
                    prop_assert!(!(meet && overlap), "{a} and {b}");
                }
            }
        }
    }
}
