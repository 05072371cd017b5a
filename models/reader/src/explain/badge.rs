//! The badge of one reading's map: reliable, with caution, or unreliable, by checks that cost a few passes.
//!
//! 1. Faithful: the finding's log-odds fall more when the strongest fifth of the map's cells is filled with the film's
//!    mean than when as many random cells are (mean of three seeded choices).
//! 2. Steady: the map of the mirrored film, turned back, ranks the cells alike.
//! 3. Off the border: no more than twice the share of a map without preference.
//! 4. Not empty, and finite.
//!
//! Thresholds are data ([`Limits`]); a map that is not faithful is unreliable, anything else asks for caution.
//! Errors: none here; a score that is not finite makes the map unreliable.
//! Source: Petsiuk et al. 2018 (deletion); the border's share is the known shortcut of the training set (its card).

use super::quality::rank_correlation;
use super::saliency::{Region, Saliency};
use serde::Serialize;

/// Share of the cells that are filled.
pub const FILLED: f64 = 0.2;
/// Random choices that the map is held against.
pub const CHOICES: usize = 3;

/// Thresholds of the checks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The strongest cells must take at least this more of the log-odds than random ones.
    pub gain_min: f64,
    /// Rank correlation with the mirrored film's map.
    pub mirror_min: f64,
    /// The border's share by that of a map without preference.
    pub border_max: f64,
}

/// Fixed from the checks' meaning, before any figure: a map no better than chance is not faithful; ranks that share
/// less than a quarter of their order are not steady; the border as already noted by readings of version 1.0.0.
pub const LIMITS: Limits = Limits { gain_min: 0.0, mirror_min: 0.25, border_max: 2.0 };

/// How far a map can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// It passed every check.
    Reliable,
    /// It passed the check of faithfulness and failed another.
    Caution,
    /// It is no better than chance, or is not finite: it is not laid over the film.
    Unreliable,
}

/// What the checks saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checks {
    /// Fall of the log-odds without the strongest cells.
    pub fall_strongest: f64,
    /// Mean fall without as many random cells.
    pub fall_random: f64,
    /// Rank correlation with the mirrored film's map.
    pub mirror: f64,
    /// The border's share by that of a map without preference.
    pub border: f64,
    /// Whether nothing speaks for the finding.
    pub empty: bool,
}

/// One reason of a badge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Code.
    pub code: &'static str,
    /// Sentence.
    pub text: &'static str,
}

/// The badge of a map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Badge {
    /// The verdict.
    pub trust: Trust,
    /// Why it is not `reliable`.
    pub reasons: Vec<Reason>,
    /// Fall of the log-odds without the strongest fifth of the cells, less that without random ones.
    pub gain: f64,
    /// Rank correlation with the mirrored film's map.
    pub mirror_agreement: f64,
}

impl Badge {
    /// Judges what the checks saw.
    #[must_use]
    pub fn judge(checks: &Checks, limits: &Limits) -> Self {
        let gain = checks.fall_strongest - checks.fall_random;
        let mut reasons = Vec::new();
        let mut reason = |code, text| reasons.push(Reason { code, text });
        let finite = [gain, checks.mirror, checks.border].iter().all(|value| value.is_finite());
        let mut trust = Trust::Reliable;
        if !finite {
            reason("not-finite", "the map or its checks are not finite");
            trust = Trust::Unreliable;
        } else if checks.empty {
            reason("no-evidence", "nothing in the film speaks for the finding, so there is nothing to show");
            trust = Trust::Caution;
        } else if gain <= limits.gain_min {
            reason("not-faithful", "taking away the marked places changes the answer no more than taking away others");
            trust = Trust::Unreliable;
        }
        if finite && !checks.empty {
            if checks.mirror < limits.mirror_min {
                reason("not-steady", "the mirrored film is explained by other places");
                trust = trust.max(Trust::Caution);
            }
            if checks.border > limits.border_max {
                reason("on-border", "much of the evidence lies on the film's border, where no lung is");
                trust = trust.max(Trust::Caution);
            }
        }
        let shown = |value: f64| if value.is_finite() { value } else { 0.0 };
        Self { trust, reasons, gain: shown(gain), mirror_agreement: shown(checks.mirror) }
    }

    /// The regions that may be told of a map: none of one that is not to be believed.
    #[must_use]
    pub fn regions(&self, saliency: &Saliency) -> Vec<Region> {
        if self.trust == Trust::Unreliable { Vec::new() } else { saliency.regions() }
    }
}

impl Trust {
    /// The graver of two.
    fn max(self, other: Self) -> Self {
        if self == Self::Unreliable || other == Self::Unreliable {
            Self::Unreliable
        } else if self == Self::Caution || other == Self::Caution {
            Self::Caution
        } else {
            Self::Reliable
        }
    }

    /// The word of records and pages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reliable => "reliable",
            Self::Caution => "caution",
            Self::Unreliable => "unreliable",
        }
    }
}

/// The cells to fill: first the strongest of `map`, then [`CHOICES`] choices of as many others, fixed by their number.
#[must_use]
pub fn fillings(map: &[f32]) -> Vec<Vec<usize>> {
    let count = ((map.len() as f64 * FILLED).round() as usize).max(1);
    let mut order: Vec<usize> = (0..map.len()).collect();
    order.sort_by(|&a, &b| map[b].total_cmp(&map[a]).then(a.cmp(&b)));
    let mut all = vec![order.iter().copied().take(count).collect::<Vec<_>>()];
    let mut state = 0x5eed_u64;
    for _ in 0..CHOICES {
        let mut cells: Vec<usize> = (0..map.len()).collect();
        for at in (1..cells.len()).rev() {
            // splitmix64: enough for a choice that only has to be the same each time
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            cells.swap(at, ((mixed ^ (mixed >> 31)) % (at as u64 + 1)) as usize);
        }
        cells.truncate(count);
        all.push(cells);
    }
    all
}

/// A map of `rows` by `columns` cells against that of the mirrored film, turned back.
#[must_use]
pub fn mirror_agreement(map: &[f32], mirrored: &[f32], columns: usize) -> f64 {
    let back: Vec<f32> = mirrored.chunks_exact(columns.max(1)).flat_map(|row| row.iter().rev().copied()).collect();
    rank_correlation(map, &back)
}
