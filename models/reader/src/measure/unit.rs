//! A measure with its unit and its uncertainty. Made only inside of this module, from sizes in the patient.
//! Units: UCUM. Errors: another unit than the one needed, [`MeasureError::Unit`].

use std::fmt;

use serde::{Serialize, Serializer};

use super::MeasureError;
use crate::reading::Measurement;

/// 97.5th percentile of the normal distribution: half of a 95 % interval in standard uncertainties.
pub(super) const NORMAL_95: f64 = 1.959_963_984_540_054;

/// A unit of UCUM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Millimetre.
    Length,
    /// Square millimetre.
    Area,
    /// Cubic millimetre.
    Volume,
    /// Millilitre.
    Millilitre,
    /// Per cent.
    Percent,
}

impl Unit {
    /// Its code in UCUM.
    #[must_use]
    pub const fn ucum(self) -> &'static str {
        match self {
            Self::Length => "mm",
            Self::Area => "mm2",
            Self::Volume => "mm3",
            Self::Millilitre => "mL",
            Self::Percent => "%",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ucum())
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.ucum())
    }
}

/// What the uncertainty stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// The whole outline lies inwards or outwards together, by a normal error of the size given.
    OutlineTogether,
    /// One threshold, the same for all pixels, decides on the map of probabilities which of them belong.
    ThresholdTogether,
    /// Propagated to first order from measures with uncertainties.
    Propagated,
    /// A count: nothing was assumed about its error, which is not stated.
    NotStated,
}

/// How far a measure may be off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Standard uncertainty, in the measure's unit.
    pub standard: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What it stands on.
    pub model: Model,
}

/// A measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    value: f64,
    unit: Unit,
    spread: Spread,
}

impl Measured {
    /// A value with a normal spread; no measure here can be below zero, and its interval does not go there.
    pub(super) fn normal(value: f64, unit: Unit, standard: f64, model: Model) -> Self {
        let half = NORMAL_95 * standard;
        Self { value, unit, spread: Spread { standard, low: (value - half).max(0.0), high: value + half, model } }
    }

    pub(super) const fn with(value: f64, unit: Unit, spread: Spread) -> Self {
        Self { value, unit, spread }
    }

    /// The number.
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.value
    }

    /// Its unit.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// How far it may be off.
    #[must_use]
    pub const fn spread(&self) -> &Spread {
        &self.spread
    }

    /// A volume in millilitres, which clinicians read.
    pub fn in_millilitres(&self) -> Result<Self, MeasureError> {
        if self.unit == Unit::Millilitre {
            return Ok(*self);
        }
        self.needs(Unit::Volume)?;
        Ok(self.scaled(1e-3, Unit::Millilitre))
    }

    /// The measure under its name, for a reading.
    #[must_use]
    pub fn named(&self, name: &str) -> Measurement {
        Measurement {
            name: name.to_owned(),
            value: self.value,
            unit: self.unit.ucum().to_owned(),
            uncertainty: (self.spread.model != Model::NotStated).then_some(self.spread),
        }
    }

    pub(super) fn scaled(&self, by: f64, unit: Unit) -> Self {
        let Spread { standard, low, high, model } = self.spread;
        let spread = Spread { standard: standard * by, low: low * by, high: high * by, model };
        Self { value: self.value * by, unit, spread }
    }

    pub(super) fn needs(&self, expected: Unit) -> Result<(), MeasureError> {
        if self.unit == expected { Ok(()) } else { Err(MeasureError::Unit { expected, found: self.unit }) }
    }
}
