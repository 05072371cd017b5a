//! A closed contour in the pixels of an image, as readers draw it.
//! Units: points as (column, row) in pixels, whole numbers at pixel centres; areas in mm2.
//! Errors: [`MeasureError::Contour`] for fewer than three points, points that are no numbers, or no area.

use super::{
    Boundary, MeasureError, PixelSize, PlaneMask,
    unit::{Measured, Model, Unit},
};

/// A closed contour.
#[derive(Clone, Debug, PartialEq)]
pub struct Contour {
    points: Vec<[f64; 2]>,
}

impl Contour {
    /// Points in turn; the last is joined to the first.
    pub fn new(points: Vec<[f64; 2]>) -> Result<Self, MeasureError> {
        let contour = Self { points };
        let finite = contour.points.iter().flatten().all(|value| value.is_finite() && value.abs() < 1e6);
        if finite && contour.points.len() >= 3 && contour.pixels() > 0.0 {
            Ok(contour)
        } else {
            Err(MeasureError::Contour { found: contour.points.len() })
        }
    }

    fn sides(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2])> {
        self.points.iter().copied().zip(self.points.iter().copied().cycle().skip(1))
    }

    /// Area in pixels, by the shoelace formula.
    fn pixels(&self) -> f64 {
        self.sides().map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f64>().abs() / 2.0
    }

    /// The area within.
    #[must_use]
    pub fn area(&self, size: &PixelSize, boundary: Boundary) -> Measured {
        let length: f64 = self.sides().map(|(a, b)| size.length([b[1] - a[1], b[0] - a[0]])).sum();
        let standard = length * boundary.in_plane(size);
        Measured::normal(self.pixels() * size.area(), Unit::Area, standard, Model::OutlineTogether)
    }

    /// The pixels of an image whose centres lie within.
    pub fn mask(&self, rows: usize, columns: usize) -> Result<PlaneMask, MeasureError> {
        let mut inside = vec![false; rows.saturating_mul(columns)];
        for (row, line) in inside.chunks_mut(columns.max(1)).enumerate() {
            let y = row as f64;
            // where the contour crosses this row; a side takes its upper end and not its lower, so none counts twice
            let mut crossings: Vec<f64> = self
                .sides()
                .filter(|(a, b)| (a[1] <= y) != (b[1] <= y))
                .map(|(a, b)| a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
                .collect();
            crossings.sort_by(f64::total_cmp);
            for pair in crossings.chunks_exact(2) {
                for (column, pixel) in line.iter_mut().enumerate() {
                    let x = column as f64;
                    *pixel |= pair[0] <= x && x < pair[1];
                }
            }
        }
        PlaneMask::new(rows, columns, &inside)
    }
}
