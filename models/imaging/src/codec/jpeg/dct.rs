//! The inverse discrete cosine transform of one block, in whole numbers, to within half a level of the exact one.
//! In: coefficients in zigzag order as coded, and their steps. Out: 64 values, row by row, clamped to the precision.
//! Source: ITU-T T.81 A.3.3, A.3.4.

/// From the place in the stream to the place in the block (T.81 figure 5).
pub(super) const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

const SCALE_BITS: u32 = 14;

/// `BASIS[u][x]` is cos((2x + 1) u pi / 16) / 2, for u = 0 over the square root of 2, times 2^14.
const BASIS: [[i64; 8]; 8] = [
    [5793, 5793, 5793, 5793, 5793, 5793, 5793, 5793],
    [8035, 6811, 4551, 1598, -1598, -4551, -6811, -8035],
    [7568, 3135, -3135, -7568, -7568, -3135, 3135, 7568],
    [6811, -1598, -8035, -4551, 4551, 8035, 1598, -6811],
    [5793, -5793, -5793, 5793, 5793, -5793, -5793, 5793],
    [4551, -8035, 1598, 6811, -6811, -1598, 8035, -4551],
    [3135, -7568, 7568, -3135, -3135, 7568, -7568, 3135],
    [1598, -4551, 6811, -8035, 8035, -6811, 4551, -1598],
];

/// The values of a block.
pub(super) fn inverse(coefficients: &[i16; 64], steps: &[u16; 64], precision: u8) -> [u16; 64] {
    let mut block = [0_i64; 64];
    for (order, coefficient) in coefficients.iter().enumerate() {
        block[ZIGZAG[order]] = i64::from(*coefficient) * i64::from(steps[order]);
    }
    let (middle, greatest) = (1_i64 << (precision - 1), (1_i64 << precision) - 1);
    // columns first: rows[y][v] over the vertical frequency u
    let mut rows = [[0_i64; 8]; 8];
    for (frequency, line) in block.as_chunks::<8>().0.iter().enumerate() {
        if line.iter().all(|value| *value == 0) {
            continue;
        }
        for (place, out) in rows.iter_mut().enumerate() {
            let weight = BASIS[frequency][place];
            out.iter_mut().zip(line).for_each(|(out, value)| *out += weight * value);
        }
    }
    let mut values = [0; 64];
    let half = 1_i64 << (2 * SCALE_BITS - 1);
    for (line, out) in rows.iter().zip(values.as_chunks_mut::<8>().0) {
        let mut sums = [half; 8];
        for (value, basis) in line.iter().zip(&BASIS) {
            if *value != 0 {
                sums.iter_mut().zip(basis).for_each(|(sum, weight)| *sum += value * weight);
            }
        }
        for (sum, value) in sums.iter().zip(out) {
            *value = ((sum >> (2 * SCALE_BITS)) + middle).clamp(0, greatest) as u16;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-008
    #[test]
    fn the_inverse_transform_is_within_one_level_of_the_exact_one() {
        let mut coefficients = [0_i16; 64];
        let mut seed = 12345_u32;
        for coefficient in coefficients.iter_mut().take(20) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *coefficient = (seed >> 24) as i16 - 128;
        }
        let values = inverse(&coefficients, &[1; 64], 8);
        for y in 0..8 {
            for x in 0..8 {
                let mut exact = 128.0_f64;
                for (order, coefficient) in coefficients.iter().enumerate() {
                    let (v, u) = (ZIGZAG[order] / 8, ZIGZAG[order] % 8);
                    let norm = |n: usize| if n == 0 { 0.5_f64.sqrt() } else { 1.0 };
                    let angle = |place: usize, n: usize| {
                        ((2 * place + 1) as f64 * n as f64 * std::f64::consts::PI / 16.0).cos() * norm(n) / 2.0
                    };
                    exact += f64::from(*coefficient) * angle(x, u) * angle(y, v);
                }
                assert!((f64::from(values[y * 8 + x]) - exact.clamp(0.0, 255.0)).abs() <= 1.0);
            }
        }
    }
}
