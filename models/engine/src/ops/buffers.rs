//! Large buffers that a training step gives back and the next one takes again: the system would otherwise hand out and
//! clear fresh pages for every map of every step, which costs as much as the norms.
//! Units: bytes. At most [`KEPT_BYTES`] are kept; [`release`] gives them back to the system.
//! A taken buffer holds values of before: only for kernels that write every element.
//! Errors: none; a poisoned lock means fresh buffers.

use std::sync::Mutex;

/// Buffers below this many values are not worth keeping.
const LENGTH_LEAST: usize = 1 << 14;

/// Bytes that are kept at most.
const KEPT_BYTES: usize = 2 << 30;

static KEPT: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// A buffer of `length` values of any content.
pub(super) fn take(length: usize) -> Vec<f32> {
    if length < LENGTH_LEAST {
        return vec![0.0; length];
    }
    let fits = |buffer: &Vec<f32>| buffer.capacity() >= length && buffer.capacity() / 2 <= length;
    let found = KEPT.lock().ok().and_then(|mut kept| {
        let best = (0..kept.len()).filter(|&at| fits(&kept[at])).min_by_key(|&at| kept[at].capacity());
        best.map(|at| kept.swap_remove(at))
    });
    match found {
        Some(mut buffer) => {
            buffer.resize(length, 0.0);
            buffer
        }
        None => vec![0.0; length],
    }
}

/// Keeps a buffer for the next to take.
pub(crate) fn give(buffer: Vec<f32>) {
    if buffer.capacity() < LENGTH_LEAST {
        return;
    }
    if let Ok(mut kept) = KEPT.lock() {
        let bytes: usize = kept.iter().map(|buffer| buffer.capacity() * 4).sum();
        if bytes + buffer.capacity() * 4 <= KEPT_BYTES {
            kept.push(buffer);
        }
    }
}

/// Gives the memory that training steps keep between them back to the system.
pub fn release() {
    if let Ok(mut kept) = KEPT.lock() {
        kept.clear();
    }
}
