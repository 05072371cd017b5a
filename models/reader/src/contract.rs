//! What a model may be given, as data: modality, body part, view, age, photometric interpretation, size.
//! Units: years, pixels. The guard holds a study to it; the labelling prints it.

use serde::{Deserialize, Serialize};

/// Ages in years; an age is inside if `min <= age < max`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgeRange {
    /// Youngest age inside.
    pub min: f64,
    /// First age outside.
    pub max: f64,
}

/// The input contract of a package.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputContract {
    /// Values of Modality (0008,0060).
    pub modalities: Vec<String>,
    /// Values of Body Part Examined (0018,0015); an absent one is accepted and noted.
    pub body_parts: Vec<String>,
    /// Values of View Position (0018,5101); an absent one is accepted and noted.
    pub views: Vec<String>,
    /// Values of Photometric Interpretation (0028,0004).
    pub photometric: Vec<String>,
    /// Age of the patient; an unknown one is accepted and noted.
    pub age_years: AgeRange,
    /// Least rows and columns.
    pub side_min: u32,
    /// The longer side may be at most this many times the shorter.
    pub aspect_max: f64,
}
