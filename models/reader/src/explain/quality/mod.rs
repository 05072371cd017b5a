//! Whether an explanation deserves belief: checks of a method on a network, and of one map.
//! Shapes: maps and masks over one space, place by place. Figures are shares or rank correlations in -1..=1.
//! What is measured: similarity of two maps; deletion and insertion curves against random orders; whether a map changes
//! when the network's parameters are shuffled, layer by layer from the end; where it lies against a person's mask.
//! Errors: [`ExplainError`]; maps of different lengths are a mistake of ours and asserted.
//! Source: Adebayo et al. 2018 (sanity checks); Petsiuk et al. 2018 (deletion, insertion); Zhang et al. 2018 (pointing
//! game).

mod curves;
mod randomised;
mod similarity;

pub use curves::{Curves, curves};
pub use randomised::{Randomised, randomised};
pub use similarity::{rank_correlation, top_overlap};

/// Whether the map's largest place lies in the mask (the first of equals); `None` for an empty mask or a map of zeros.
#[must_use]
pub fn points_inside(map: &[f32], mask: &[bool]) -> Option<bool> {
    assert_eq!(map.len(), mask.len(), "map and mask cover the same places");
    let mut best = 0;
    for (at, value) in map.iter().enumerate() {
        if *value > map[best] {
            best = at;
        }
    }
    (mask.contains(&true) && map.get(best).is_some_and(|value| *value > 0.0)).then(|| mask[best])
}

/// The share of the map's positive weight inside of the mask; `None` where there is no weight.
#[must_use]
pub fn energy_inside(map: &[f32], mask: &[bool]) -> Option<f64> {
    assert_eq!(map.len(), mask.len(), "map and mask cover the same places");
    let (mut inside, mut total) = (0.0, 0.0);
    for (value, masked) in map.iter().zip(mask) {
        let value = f64::from(value.max(0.0));
        total += value;
        inside += if *masked { value } else { 0.0 };
    }
    (total > 0.0).then(|| inside / total)
}
