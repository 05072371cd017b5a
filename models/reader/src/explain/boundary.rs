//! A segmentation's own doubt: where its boundary could as well lie.
//! Shapes: probabilities `[depth, rows, columns]`, 0..=1; the doubt the same.
//! Units: millimetres where a spacing is given; the band's width is that of the places between the two probabilities,
//! by the boundary's length (planes) or area (volumes) between neighbours.
//! Errors: [`ExplainError::Parameter`] for probabilities that are none.
//! Source: binary entropy (Shannon 1948); the width is the band's measure over that of the boundary's faces.

use super::subject::ExplainError;

/// The places that could belong to either side: their probability lies between these two.
const BAND: [f32; 2] = [0.25, 0.75];

/// The doubt about a boundary.
#[derive(Clone, Debug, PartialEq)]
pub struct Boundary {
    /// Binary entropy of each place, in bits: 1 where both sides are as likely.
    pub entropy: Vec<f32>,
    /// Places between the two probabilities.
    pub band_places: usize,
    /// Mean width of the band, in millimetres; none without a spacing or without a boundary.
    pub width_mm: Option<f64>,
}

/// The doubt of probabilities over `extent`; `spacing_mm` by axis where it is known.
pub fn boundary(
    probabilities: &[f32],
    extent: [usize; 3],
    threshold: f32,
    spacing_mm: Option<[f64; 3]>,
) -> Result<Boundary, ExplainError> {
    let wrong =
        |problem: &str| Err(ExplainError::Parameter { parameter: "probabilities", problem: problem.to_owned() });
    if probabilities.len() != extent.iter().product::<usize>() {
        return wrong("as many as places are needed");
    }
    if probabilities.iter().any(|p| !(0.0..=1.0).contains(p)) {
        return wrong("each must lie in 0..=1");
    }
    let entropy = probabilities.iter().map(|p| bits(f64::from(*p)) as f32).collect();
    let band_places = probabilities.iter().filter(|p| (BAND[0]..BAND[1]).contains(*p)).count();
    let width_mm = spacing_mm.and_then(|spacing| {
        let faces = faces(probabilities, extent, threshold, spacing);
        let cell: f64 = spacing.iter().product();
        (faces > 0.0).then(|| band_places as f64 * cell / faces)
    });
    Ok(Boundary { entropy, band_places, width_mm })
}

fn bits(p: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * libm::log2(p) } else { 0.0 };
    part(p) + part(1.0 - p)
}

/// The area of the faces between the two sides.
fn faces(probabilities: &[f32], extent: [usize; 3], threshold: f32, spacing: [f64; 3]) -> f64 {
    let [depth, rows, columns] = extent;
    let inside = |d: usize, r: usize, c: usize| probabilities[(d * rows + r) * columns + c] > threshold;
    let area = |axis: usize| (0..3).filter(|other| *other != axis).map(|other| spacing[other]).product::<f64>();
    let mut total = 0.0;
    for d in 0..depth {
        for r in 0..rows {
            for c in 0..columns {
                let here = inside(d, r, c);
                if d + 1 < depth && inside(d + 1, r, c) != here {
                    total += area(0);
                }
                if r + 1 < rows && inside(d, r + 1, c) != here {
                    total += area(1);
                }
                if c + 1 < columns && inside(d, r, c + 1) != here {
                    total += area(2);
                }
            }
        }
    }
    total
}
