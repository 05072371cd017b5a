//! The volume of a chamber from its areas in parallel slices, and what share of it is pumped out.
//! Method: slice summation (Simpson's disc rule for equal steps): the sum of areas times the distance of slices. Areas
//! are taken to err together. Not covered by the uncertainty: which slices count as the chamber's base and tip.
//! Units: mL and %. Errors: slices that are no even stack, by attribute; phases the wrong way round.
//! Source: JCGM 100 (GUM) 5.2.2 for correlated inputs.

use vidimus_imaging::{
    Millimetre,
    geometry::{Slice, order},
};

use super::{
    MeasureError,
    unit::{Measured, Model, Unit},
};

/// A chamber's area in one slice.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Where the slice lies.
    pub slice: Slice,
    /// The area, in mm2.
    pub area: Measured,
}

/// The common distance of slices; slices that are missing, double, uneven or tilted are refused.
pub fn slice_distance(slices: &[Slice]) -> Result<Millimetre, MeasureError> {
    let order = order(slices)?;
    let (first, last) = (order.places.first().copied().unwrap_or(0.0), order.places.last().copied().unwrap_or(0.0));
    Millimetre::new((last - first) / (order.places.len() - 1) as f64).ok_or(MeasureError::Size)
}

/// Volume of a chamber by slice summation, in mL.
pub fn summed_volume(sections: &[Section]) -> Result<Measured, MeasureError> {
    let slices: Vec<Slice> = sections.iter().map(|section| section.slice).collect();
    let distance = slice_distance(&slices)?.value();
    let (mut value, mut standard) = (0.0, 0.0);
    for section in sections {
        section.area.needs(Unit::Area)?;
        value += section.area.value() * distance * 1e-3;
        standard += section.area.spread().standard * distance * 1e-3;
    }
    Ok(Measured::normal(value, Unit::Millilitre, standard, Model::Propagated))
}

/// What is pumped out in a beat, in mL. `correlation` is that of the volumes' errors: 0 is cautious, as one reader's
/// outlines tend to lie too far in or out in both phases.
pub fn stroke_volume(diastole: &Measured, systole: &Measured, correlation: f64) -> Result<Measured, MeasureError> {
    let (diastole, systole) = phases(diastole, systole, correlation)?;
    let standard = combined([diastole.spread().standard, -systole.spread().standard], correlation);
    Ok(Measured::normal(diastole.value() - systole.value(), Unit::Millilitre, standard, Model::Propagated))
}

/// Share of the end-diastolic volume that is pumped out, in per cent; `correlation` as for [`stroke_volume`].
pub fn ejection_fraction(diastole: &Measured, systole: &Measured, correlation: f64) -> Result<Measured, MeasureError> {
    let (diastole, systole) = phases(diastole, systole, correlation)?;
    let left = systole.value() / diastole.value();
    let by_diastole = left / diastole.value() * diastole.spread().standard;
    let by_systole = -systole.spread().standard / diastole.value();
    let standard = combined([by_diastole, by_systole], correlation);
    Ok(Measured::normal(100.0 * (1.0 - left), Unit::Percent, 100.0 * standard, Model::Propagated))
}

fn phases(diastole: &Measured, systole: &Measured, correlation: f64) -> Result<(Measured, Measured), MeasureError> {
    if !(-1.0..=1.0).contains(&correlation) {
        return Err(MeasureError::Correlation { found: correlation });
    }
    let (diastole, systole) = (diastole.in_millilitres()?, systole.in_millilitres()?);
    if diastole.value() > 0.0 && systole.value() <= diastole.value() {
        Ok((diastole, systole))
    } else {
        Err(MeasureError::Phases)
    }
}

/// Standard uncertainty of a sum of two terms.
fn combined([a, b]: [f64; 2], correlation: f64) -> f64 {
    (a * a + b * b + 2.0 * correlation * a * b).max(0.0).sqrt()
}
