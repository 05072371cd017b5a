//! Winograd's minimal filtering: F(4x4, 3x3) and F(2x2, 3x3) transforms of one channel block, a run of patches at once.
//! A patch of `(m + 2)²` inputs becomes as many points; between the transforms each point is a product over channels
//! (`tile`). Both transforms are fixed lists of sums and fused multiply-adds, columns first, then rows.
//! Shapes: points lie `point` floats apart, the patches of a run 16 floats apart at each point.
//! Source: Lavin and Gray 2015, points 0, 1, -1, 2, -2 and infinity.

use super::{Ending, raw_instances};
use crate::lanes::{LANES, Lanes};

raw_instances! {
    /// `count` neighbouring 6x6 patches, 4 columns apart, to their 36 points.
    into_points4 = into_body4(x: *const f32, x_row: usize, out: *mut f32, point: usize, count: usize)
}

raw_instances! {
    /// `count` neighbouring 4x4 patches, 2 columns apart, to their 16 points.
    into_points2 = into_body2(x: *const f32, x_row: usize, out: *mut f32, point: usize, count: usize)
}

raw_instances! {
    /// The points of `count` neighbouring patches to their 4x4 results.
    from_points4 = from_body4(points: *const f32, point: usize, count: usize, to: &Target)
}

raw_instances! {
    /// The points of `count` neighbouring patches to their 2x2 results.
    from_points2 = from_body2(points: *const f32, point: usize, count: usize, to: &Target)
}

/// Where a run's results go: rows and columns behind the image's end are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Added to every sum, by channel.
    pub(crate) start: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) out_row: usize,
    /// Rows and columns of the image from the run's first element on.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) ending: Ending,
}

/// # Safety
/// The processor has `V`'s instructions.
#[inline(always)]
unsafe fn input4<V: Lanes>(d: [V; 6]) -> [V; 6] {
    // SAFETY: as this function's.
    unsafe {
        let (m4, m5, c4, c2) = (V::splat(-4.0), V::splat(-5.0), V::splat(4.0), V::splat(2.0));
        let a = d[2].fma(m4, d[4]);
        let b = d[1].fma(m4, d[3]);
        let c = d[4].sub(d[2]);
        let e = d[3].sub(d[1]).mul(c2);
        let first = d[0].fma(c4, d[2].fma(m5, d[4]));
        let last = d[1].fma(c4, d[3].fma(m5, d[5]));
        [first, a.add(b), a.sub(b), c.add(e), c.sub(e), last]
    }
}

/// # Safety
/// The processor has `V`'s instructions.
#[inline(always)]
unsafe fn output4<V: Lanes>(m: [V; 6]) -> [V; 4] {
    // SAFETY: as this function's.
    unsafe {
        let (p, q, r, u) = (m[1].add(m[2]), m[1].sub(m[2]), m[3].add(m[4]), m[3].sub(m[4]));
        let (c2, c4, c8) = (V::splat(2.0), V::splat(4.0), V::splat(8.0));
        [m[0].add(p).add(r), u.fma(c2, q), r.fma(c4, p), u.fma(c8, q).add(m[5])]
    }
}

/// # Safety
/// The processor has `V`'s instructions.
#[inline(always)]
unsafe fn input2<V: Lanes>(d: [V; 4]) -> [V; 4] {
    // SAFETY: as this function's.
    unsafe { [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])] }
}

/// # Safety
/// The processor has `V`'s instructions.
#[inline(always)]
unsafe fn output2<V: Lanes>(m: [V; 4]) -> [V; 2] {
    // SAFETY: as this function's.
    unsafe { [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])] }
}

/// Makes the two bodies of one size: `N` points a side, `M` results a side.
macro_rules! transforms {
    ($into:ident, $from:ident, $input:ident, $output:ident, $n:literal, $m:literal) => {
        /// # Safety
        /// The processor has `V`'s instructions; patches are readable, points writable.
        #[inline(always)]
        unsafe fn $into<V: Lanes, const W: usize>(
            x: *const f32,
            x_row: usize,
            out: *mut f32,
            point: usize,
            count: usize,
        ) {
            for patch in 0..count {
                // SAFETY: as this function's.
                unsafe {
                    let (x, out) = (x.add(patch * $m * LANES), out.add(patch * LANES));
                    let mut t = [[V::splat(0.0); $n]; $n];
                    for j in 0..$n {
                        let mut d = [V::splat(0.0); $n];
                        for (i, d) in d.iter_mut().enumerate() {
                            *d = V::load(x.add(i * x_row + j * LANES));
                        }
                        for (t, v) in t.iter_mut().zip($input(d)) {
                            t[j] = v;
                        }
                    }
                    for (i, t) in t.iter().enumerate() {
                        for (j, v) in $input(*t).into_iter().enumerate() {
                            v.store(out.add((i * $n + j) * point));
                        }
                    }
                }
            }
        }

        /// # Safety
        /// The processor has `V`'s instructions; points are readable, results within rows and columns writable.
        #[inline(always)]
        unsafe fn $from<V: Lanes, const W: usize>(points: *const f32, point: usize, count: usize, to: &Target) {
            for patch in 0..count {
                // SAFETY: as this function's.
                unsafe {
                    let points = points.add(patch * LANES);
                    let start = V::load(to.start);
                    let mut t = [[V::splat(0.0); $n]; $m];
                    for j in 0..$n {
                        let mut d = [V::splat(0.0); $n];
                        for (i, d) in d.iter_mut().enumerate() {
                            *d = V::load(points.add((i * $n + j) * point));
                        }
                        for (t, v) in t.iter_mut().zip($output(d)) {
                            t[j] = v;
                        }
                    }
                    for (i, t) in t.iter().enumerate().take(to.rows) {
                        for (j, v) in $output(*t).into_iter().enumerate() {
                            let column = patch * $m + j;
                            if column < to.columns {
                                let rest = i * to.ending.rest_row + column * LANES;
                                let v = to.ending.apply(v.add(start), 0, rest);
                                v.store(to.out.add(i * to.out_row + column * LANES));
                            }
                        }
                    }
                }
            }
        }
    };
}
transforms!(into_body4, from_body4, input4, output4, 6, 4);
transforms!(into_body2, from_body2, input2, output2, 4, 2);
