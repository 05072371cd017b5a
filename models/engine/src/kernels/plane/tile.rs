//! The register tile: some channel blocks by rows by columns of a convolution's result, held in registers while the
//! sum runs. It serves every dense convolution, pointwise ones and the products between Winograd's transforms.
//! The rule of one element: `a = start` (or 0), then for each block of input channels, kernel row, kernel column and
//! channel of the block, in that order, `a = fma(w, x, a)`; then [`Ending`]. Zeros of the border take part.
//! Weights: `[input block][kernel row][kernel column][channel][16 · blocks]`.

use super::{Clip, Ending, raw_instances};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes};

/// Most columns of one tile.
pub(crate) const COLUMNS_MAX: usize = 14;

/// Floats between a weight in use and the one that is fetched meanwhile: as long as distant memory takes to answer.
const AHEAD: usize = 1024;

/// Where a tile's operands lie. Strides in floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// The input under the first tap of the first element.
    pub(crate) x: *const f32,
    pub(crate) weights: *const f32,
    /// Start of the sums by channel; null: zero.
    pub(crate) start: *const f32,
    pub(crate) out: *mut f32,
    /// Blocks of input channels, and channels of the last one.
    pub(crate) inputs: usize,
    pub(crate) tail: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) x_block: usize,
    /// Between the taps of a column and of a row.
    pub(crate) x_tap: [usize; 2],
    /// Between the inputs of neighbouring rows and columns of the result.
    pub(crate) x_row: usize,
    pub(crate) x_column: usize,
    pub(crate) out_block: usize,
    pub(crate) out_row: usize,
    pub(crate) out_column: usize,
    /// Floats of one weight step: 16 · blocks of the packing.
    pub(crate) step: usize,
    pub(crate) ending: Ending,
}

/// Asks for the cache line at `at`, which may be any address.
#[inline(always)]
fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that never faults, in every x86-64 processor.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// # Safety
/// The processor has `V`'s instructions. Readable: the weights of `B` blocks; `x` under every tap of every element;
/// `start` and the ending's operands for `B` blocks. Writable: sixteen values for each element. `X` is `x_column` or 0.
#[expect(clippy::needless_range_loop, reason = "three indices at once: the tile's place in registers")]
#[inline(always)]
unsafe fn body<V: Lanes, const B: usize, const R: usize, const C: usize, const X: usize>(tile: &Tile) {
    let column = if X == 0 { tile.x_column } else { X };
    // SAFETY: as this function's.
    unsafe {
        let mut sums = [[[V::splat(0.0); C]; R]; B];
        if !tile.start.is_null() {
            for b in 0..B {
                let start = V::load(tile.start.add(b * LANES));
                for r in 0..R {
                    for c in 0..C {
                        sums[b][r][c] = start;
                    }
                }
            }
        }
        let mut weights = tile.weights;
        for input in 0..tile.inputs {
            let channels = if input + 1 == tile.inputs { tile.tail } else { LANES };
            for row in 0..tile.kernel[0] {
                for tap in 0..tile.kernel[1] {
                    let mut x = tile.x.add(input * tile.x_block + row * tile.x_tap[0] + tap * tile.x_tap[1]);
                    for _ in 0..channels {
                        let mut w = [V::splat(0.0); B];
                        for b in 0..B {
                            w[b] = V::load(weights.add(b * LANES));
                        }
                        for b in 0..B {
                            prefetch(weights.wrapping_add(AHEAD + b * LANES));
                        }
                        for r in 0..R {
                            for c in 0..C {
                                let v =
                                    V::splat(*x.add(r.wrapping_mul(tile.x_row).wrapping_add(c.wrapping_mul(column))));
                                for b in 0..B {
                                    sums[b][r][c] = w[b].fma(v, sums[b][r][c]);
                                }
                            }
                        }
                        weights = weights.add(tile.step);
                        x = x.add(1);
                    }
                }
            }
        }
        let (rest, last) = (tile.ending.rest, tile.ending.last);
        for b in 0..B {
            for r in 0..R {
                for c in 0..C {
                    let across = c.wrapping_mul(tile.out_column);
                    let mut v = sums[b][r][c];
                    if !rest.is_null() {
                        let down = r.wrapping_mul(tile.ending.rest_row).wrapping_add(across);
                        v = v
                            .add(V::load(rest.wrapping_add(b.wrapping_mul(tile.ending.rest_block).wrapping_add(down))));
                    }
                    if last != Clip::None {
                        v = last.apply(v);
                    }
                    let down = r.wrapping_mul(tile.out_row).wrapping_add(across);
                    v.store(tile.out.wrapping_add(b.wrapping_mul(tile.out_block).wrapping_add(down)));
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn avx512<const B: usize, const R: usize, const C: usize, const X: usize>(tile: &Tile) {
    // SAFETY: this function has the instructions; addresses are the caller's.
    unsafe { body::<std::arch::x86_64::__m512, B, R, C, X>(tile) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const C: usize, const X: usize>(tile: &Tile) {
    // SAFETY: this function has the instructions; addresses are the caller's.
    unsafe { body::<(std::arch::x86_64::__m256, std::arch::x86_64::__m256), 1, 1, C, X>(tile) }
}

/// Picks an instance by the number of columns, which must be among those listed.
macro_rules! by_columns {
    ($form:ident, $blocks:literal, $rows:literal, $column:literal, $columns:expr, $tile:expr, [$($count:literal)*]) => {
        match $columns {
            $($count => $form::<$blocks, $rows, $count, $column>($tile),)*
            columns => unreachable!("a tile of {columns} columns"),
        }
    };
    ($form:ident, $column:literal, $columns:expr, $tile:expr, [$($count:literal)*]) => {
        match $columns {
            $($count => $form::<$count, $column>($tile),)*
            columns => unreachable!("a tile of {columns} columns"),
        }
    };
}

/// Columns of the next tile of a row with `left` to go: equal parts where inputs are neighbours, else what there is.
pub(crate) const fn columns(left: usize, x_column: usize) -> usize {
    if x_column == LANES {
        return left.div_ceil(left.div_ceil(COLUMNS_MAX));
    }
    match left {
        14.. => 14,
        7.. => 7,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// Computes `blocks` (1 or 2) channel blocks of `rows` (1, or 2 of at most 7 columns) by `columns` columns, where
/// `columns` is one of [`columns`]' answers.
///
/// # Safety
/// As [`Tile`]'s fields say, for every element of the tile.
pub(crate) unsafe fn tile(isa: Isa, blocks: usize, rows: usize, columns: usize, tile: &Tile) {
    let ending = &tile.ending;
    if ending.factor.is_null() && ending.first == Clip::None {
        // SAFETY: as this function's.
        unsafe { sums(isa, blocks, rows, columns, tile) };
        return;
    }
    if ending.factor.is_null() && ending.rest.is_null() && ending.last == Clip::None {
        let ending = Ending { last: ending.first, ..Ending::NONE };
        // SAFETY: as this function's.
        unsafe { sums(isa, blocks, rows, columns, &Tile { ending, ..*tile }) };
        return;
    }
    // SAFETY: as this function's; the ending reads and writes the elements just made.
    unsafe {
        sums(isa, blocks, rows, columns, &Tile { ending: Ending::NONE, ..*tile });
        for block in 0..blocks {
            for row in 0..rows {
                end(isa, tile, block, row, columns);
            }
        }
    }
}

raw_instances! {
    /// A row of a finished tile through its ending.
    end = end_body(tile: &Tile, block: usize, row: usize, columns: usize)
}

/// # Safety
/// As [`tile`]'s.
#[inline(always)]
unsafe fn end_body<V: Lanes, const W: usize>(tile: &Tile, block: usize, row: usize, columns: usize) {
    // SAFETY: as this function's.
    unsafe {
        for column in 0..columns {
            let at = tile.out.add(block * tile.out_block + row * tile.out_row + column * tile.out_column);
            let rest = block * tile.ending.rest_block + row * tile.ending.rest_row + column * tile.out_column;
            tile.ending.apply(V::load(at), block, rest).store(at);
        }
    }
}

/// # Safety
/// As [`tile`]'s; the ending is a summand and a last clip at most.
unsafe fn sums(isa: Isa, blocks: usize, rows: usize, columns: usize, tile: &Tile) {
    // SAFETY: as this function's.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 {
            match (blocks, rows, tile.x_column) {
                (2, 1, 16) => by_columns!(avx512, 2, 1, 16, columns, tile, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
                (1, 1, 16) => by_columns!(avx512, 1, 1, 16, columns, tile, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
                (2, 2, 16) => by_columns!(avx512, 2, 2, 16, columns, tile, [1 2 3 4 5 6 7]),
                (1, 2, 16) => by_columns!(avx512, 1, 2, 16, columns, tile, [1 2 3 4 5 6 7]),
                (2, 1, 32) => by_columns!(avx512, 2, 1, 32, columns, tile, [1 2 4 7 14]),
                (1, 1, 32) => by_columns!(avx512, 1, 1, 32, columns, tile, [1 2 4 7 14]),
                (2, 1, 8) => by_columns!(avx512, 2, 1, 8, columns, tile, [1 2 4 7 14]),
                (1, 1, 8) => by_columns!(avx512, 1, 1, 8, columns, tile, [1 2 4 7 14]),
                (2, 1, 4) => by_columns!(avx512, 2, 1, 4, columns, tile, [1 2 4 7 14]),
                (1, 1, 4) => by_columns!(avx512, 1, 1, 4, columns, tile, [1 2 4 7 14]),
                (2, 1, _) => by_columns!(avx512, 2, 1, 0, columns, tile, [1 2 4 7 14]),
                (1, 1, _) => by_columns!(avx512, 1, 1, 0, columns, tile, [1 2 4 7 14]),
                _ => unreachable!("a tile of {blocks} blocks and {rows} rows"),
            }
            return;
        }
        for block in 0..blocks {
            for row in 0..rows {
                narrow(isa, block, row, columns, tile);
            }
        }
    }
}

/// One block and row of a tile in pieces that the smaller register files hold.
///
/// # Safety
/// As [`tile`]'s.
unsafe fn narrow(isa: Isa, block: usize, row: usize, columns: usize, tile: &Tile) {
    let mut from = 0;
    while from < columns {
        let count = match columns - from {
            6.. => 6,
            4.. => 4,
            2.. => 2,
            _ => 1,
        };
        // SAFETY: the piece lies within the tile.
        unsafe {
            let mut piece = *tile;
            piece.x = tile.x.add(row * tile.x_row + from * tile.x_column);
            piece.weights = tile.weights.add(block * LANES);
            if !tile.start.is_null() {
                piece.start = tile.start.add(block * LANES);
            }
            let place = block * tile.out_block + row * tile.out_row + from * tile.out_column;
            piece.out = tile.out.add(place);
            if !tile.ending.rest.is_null() {
                let place = block * tile.ending.rest_block + row * tile.ending.rest_row + from * tile.out_column;
                piece.ending.rest = tile.ending.rest.add(place);
            }
            let piece = &piece;
            match (isa, tile.x_column) {
                #[cfg(target_arch = "x86_64")]
                (Isa::Avx2, 16) => by_columns!(avx2, 16, count, piece, [1 2 4 6]),
                #[cfg(target_arch = "x86_64")]
                (Isa::Avx2, 32) => by_columns!(avx2, 32, count, piece, [1 2 4 6]),
                #[cfg(target_arch = "x86_64")]
                (Isa::Avx2, 8) => by_columns!(avx2, 8, count, piece, [1 2 4 6]),
                #[cfg(target_arch = "x86_64")]
                (Isa::Avx2, _) => by_columns!(avx2, 0, count, piece, [1 2 4 6]),
                _ => by_columns!(scalar, 0, count, piece, [1 2 4 6]),
            }
        }
        from += count;
    }
}

/// # Safety
/// As [`body`]'s.
unsafe fn scalar<const C: usize, const X: usize>(tile: &Tile) {
    // SAFETY: scalar lanes need no special instructions; addresses are the caller's.
    unsafe { body::<[f32; LANES], 1, 1, C, X>(tile) }
}
