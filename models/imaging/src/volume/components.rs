//! The largest connected part of a mask: what stray voxels are left out of.
//! Shapes: as [`super::Volume`]; neighbours share a face. Errors: none.

use super::Volume;

impl Volume {
    /// The same volume with every voxel above zero that does not belong to the largest connected part set to zero; of
    /// equal parts the one that comes first.
    #[must_use]
    pub fn largest_component(&self) -> Self {
        let mut part = vec![0u32; self.values.len()];
        let (mut best, mut most, mut count) = (0, 0usize, 0);
        let mut open = Vec::new();
        for start in 0..part.len() {
            if part[start] != 0 || self.values[start] <= 0.0 {
                continue;
            }
            count += 1;
            let mut size = 0;
            part[start] = count;
            open.push(start);
            while let Some(at) = open.pop() {
                size += 1;
                for next in self.neighbours(at) {
                    if part[next] == 0 && self.values[next] > 0.0 {
                        part[next] = count;
                        open.push(next);
                    }
                }
            }
            if size > most {
                (best, most) = (count, size);
            }
        }
        let kept = part.iter().zip(&self.values).map(|(part, value)| if *part == best { *value } else { 0.0 });
        Self { values: kept.collect(), ..self.clone() }
    }

    fn neighbours(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let [ni, nj, nk] = self.shape;
        let (i, j, k) = (at / (nj * nk), at / nk % nj, at % nk);
        let step = |inside: bool, to: Option<usize>| if inside { to } else { None };
        [
            step(i > 0, at.checked_sub(nj * nk)),
            step(i + 1 < ni, at.checked_add(nj * nk)),
            step(j > 0, at.checked_sub(nk)),
            step(j + 1 < nj, at.checked_add(nk)),
            step(k > 0, at.checked_sub(1)),
            step(k + 1 < nk, at.checked_add(1)),
        ]
        .into_iter()
        .flatten()
    }
}
