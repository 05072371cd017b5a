//! Deletion and insertion: the score as the strongest places are taken away, or given to an empty input, against random
//! orders.
//! Shapes: a map over the input's space; curves of `steps + 1` scores from nothing changed to all changed.
//! A faithful map takes the score down early and brings it up early; the areas are means over the curve, in the score's
//! unit.
//! Errors: [`ExplainError`]. Source: Petsiuk et al. 2018 (arXiv 1806.07421).

use super::super::subject::{ExplainError, Subject};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// The curves of one map on one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// Scores as the strongest places are filled.
    pub deletion: Vec<f64>,
    /// Scores as the strongest places are put back into a filled input.
    pub insertion: Vec<f64>,
    /// Mean of the deletion curve.
    pub deletion_area: f64,
    /// Mean of the insertion curve.
    pub insertion_area: f64,
    /// Mean areas of random orders: deletion, insertion.
    pub random_areas: [f64; 2],
}

impl Curves {
    /// How much better than random orders the map does, insertion less deletion: above 0 is faithful.
    #[must_use]
    pub fn gain(&self) -> f64 {
        (self.insertion_area - self.deletion_area) - (self.random_areas[1] - self.random_areas[0])
    }
}

/// Curves of `map` in `steps` steps, against `orders` random orders from `seed`; filled with `fill`.
pub fn curves(
    subject: &Subject<'_>,
    x: &[f32],
    map: &[f32],
    (steps, fill): (usize, f32),
    (orders, seed): (usize, u64),
) -> Result<Curves, ExplainError> {
    subject.one(x)?;
    let space = subject.input.space();
    if map.len() != space || steps == 0 || orders == 0 {
        let problem = format!("{} places for {space}, {steps} steps, {orders} orders", map.len());
        return Err(ExplainError::Parameter { parameter: "map", problem });
    }
    let mut order: Vec<usize> = (0..space).collect();
    order.sort_by(|&a, &b| map[b].total_cmp(&map[a]).then(a.cmp(&b)));
    let [deletion, insertion] = both(subject, x, &order, (steps, fill))?;
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut random_areas = [0.0; 2];
    for _ in 0..orders {
        for at in (1..space).rev() {
            order.swap(at, (stream.next_u64() % (at as u64 + 1)) as usize);
        }
        let found = both(subject, x, &order, (steps, fill))?;
        for (area, curve) in random_areas.iter_mut().zip(&found) {
            *area += mean(curve) / orders as f64;
        }
    }
    let (deletion_area, insertion_area) = (mean(&deletion), mean(&insertion));
    Ok(Curves { deletion, insertion, deletion_area, insertion_area, random_areas })
}

fn mean(curve: &[f64]) -> f64 {
    curve.iter().sum::<f64>() / curve.len().max(1) as f64
}

fn both(
    subject: &Subject<'_>,
    x: &[f32],
    order: &[usize],
    (steps, fill): (usize, f32),
) -> Result<[Vec<f64>; 2], ExplainError> {
    let space = order.len();
    let mut inputs = Vec::with_capacity(2 * (steps + 1) * x.len());
    for insert in [false, true] {
        for step in 0..=steps {
            let changed = space * step / steps;
            let (mut input, other) = if insert { (vec![fill; x.len()], x) } else { (x.to_vec(), [].as_slice()) };
            for channel in 0..subject.input.channels {
                for &at in &order[..changed] {
                    let place = channel * space + at;
                    input[place] = other.get(place).copied().unwrap_or(fill);
                }
            }
            inputs.extend(input);
        }
    }
    let mut scores = subject.scores(&inputs)?;
    let insertion = scores.split_off(steps + 1);
    Ok([scores, insertion])
}
