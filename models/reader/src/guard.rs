//! The guard: is this study what the model was made for? Attributes first, then the pixels, then the distance from the
//! training data.
//!
//! A refusal is a result with a code, never silence and never a probability. [`Accepted`] has no other maker than
//! [`Candidate::accept`].
//! Distance: Mahalanobis of the trunk's channel means against the training films (Lee et al., NeurIPS 2018),
//! covariance shrunk towards its diagonal; the limit was set on tuning films only. It runs the network's trunk, but
//! never its head.
//! Shapes: features `[D]`; the reference holds mean `[D]` and the lower Cholesky factor `[D, D]` of the covariance.
//! Errors: [`Refusal`], or the imaging error of a file that cannot be decoded.

use std::{collections::BTreeMap, fmt};

use candle_core::Tensor;
use safetensors::SafeTensors;
use vidimus_imaging::{Image, ImagingError, Instance};
use vidimus_log::Digest;
use vidimus_networks::NetworkError;

use crate::{bundle::BundleError, contract::InputContract, model::Candidate, reading::Note};

/// Ages of one study may differ by this: an age string counts whole years, and may be a year behind.
const AGE_SPREAD_YEARS: f64 = 2.0;
/// Below this standard deviation of the display values an image shows nothing.
const CONTRAST_MIN: f64 = 0.02;
/// Above this share of pixels at either end of the display range the exposure is noted.
const CLIPPED_NOTED: f64 = 0.3;
/// The side of the films that the model was trained on; smaller ones are noted.
const SIDE_TRAINED: u32 = 224;

macro_rules! refusal_codes {
    ($($variant:ident = $code:literal: $doc:literal,)*) => {
        /// Why a study is not evaluated.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RefusalCode {
            $(#[doc = $doc] $variant,)*
        }

        impl RefusalCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it stands in readings, entries and FHIR resources.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

refusal_codes! {
    NoImage = "no-image": "No instance of the study holds pixels.",
    ModalityUnsupported = "modality-unsupported": "Modality (0008,0060) is outside the input contract.",
    BodyPartUnsupported = "body-part-unsupported": "Body Part Examined (0018,0015) is outside the input contract.",
    ViewUnsupported = "view-unsupported": "View Position (0018,5101) is outside the input contract.",
    AgeOutsideIntendedUse = "age-outside-intended-use": "The patient's age is outside the intended use.",
    AgeContradictory = "age-contradictory": "The attributes give two ages.",
    NotForPresentation = "not-for-presentation": "The image holds raw detector values.",
    PhotometricUnsupported = "photometric-unsupported": "Photometric Interpretation (0028,0004) is outside the input contract.",
    FramesUnsupported = "frames-unsupported": "The image has several frames.",
    TooSmall = "too-small": "The image has too few rows or columns.",
    AspectUnsupported = "aspect-unsupported": "The image is too long for its width.",
    NoContrast = "no-contrast": "The image shows nothing.",
    PhotometricSuspect = "photometric-suspect": "The image looks inverted.",
    OutOfDomain = "out-of-domain": "The image is unlike the films that the model was trained on.",
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not evaluated, because.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The code.
    pub code: RefusalCode,
    /// A sentence: attribute, found, expected. No patient data.
    pub text: String,
}

impl Refusal {
    fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Why a study was not accepted.
#[derive(Debug)]
pub enum NotAccepted {
    /// Outside the contract: a result.
    Refused(Refusal),
    /// An image cannot be decoded: a fault.
    Unreadable(ImagingError),
    /// The network could not run on it: a fault.
    Broken(NetworkError),
}

impl From<Refusal> for NotAccepted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Distance of an image from the training films.
#[derive(Clone, Copy, Debug)]
pub struct GuardScore {
    /// The distance, per root of the number of features.
    pub score: f64,
    /// Above it an image is refused.
    pub limit: f64,
}

/// One image inside the contract.
pub struct AcceptedImage {
    /// Display values in 0..=1, high is white.
    pub display: Image<f32>,
    /// The network's input, `[1, channels, side, side]`.
    pub input: Tensor,
    /// Its distance.
    pub distance: GuardScore,
    /// What was noted about it.
    pub notes: Vec<Note>,
    /// Place among the instances that were given.
    pub instance: usize,
}

/// A study inside the contract: at least one image.
pub struct Accepted {
    images: Vec<AcceptedImage>,
    input: Digest,
    set_aside: Vec<SetAside>,
}

/// An image of an accepted study that was not read.
#[derive(Debug)]
pub struct SetAside {
    /// Place among the instances that were given.
    pub instance: usize,
    /// Why: a refusal is a result, anything else a fault of that image.
    pub reason: NotAccepted,
}

impl Accepted {
    /// The images, at least one.
    pub fn images(&self) -> &[AcceptedImage] {
        &self.images
    }

    /// Digest over the digests of the study's files as received, in the order given.
    pub const fn input_digest(&self) -> Digest {
        self.input
    }

    /// Images of the study that were not read, and why.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.set_aside
    }

    /// Codes and counts of the images that were not read.
    pub fn set_aside_notes(&self) -> Vec<Note> {
        let mut by_code: BTreeMap<&str, (usize, String)> = BTreeMap::new();
        for aside in &self.set_aside {
            let (code, text) = match &aside.reason {
                NotAccepted::Refused(refusal) => (refusal.code.as_str(), refusal.text.clone()),
                NotAccepted::Unreadable(error) => ("unreadable", error.to_string()),
                NotAccepted::Broken(_) => ("inference", "the network could not run on it".to_owned()),
            };
            by_code.entry(code).or_insert((0, text)).0 += 1;
        }
        by_code
            .into_iter()
            .map(|(code, (count, text))| Note {
                code: code.to_owned(),
                text: format!("{count} of the study's images not read: {text}"),
            })
            .collect()
    }
}

/// The distance's reference: what the training films look like to the trunk.
pub struct GuardReference {
    mean: Vec<f64>,
    factor: Vec<f64>,
    limit: f64,
}

impl GuardReference {
    /// Reads the reference of a bundle: tensors `mean` `[D]`, `factor` `[D, D]` and `limit` `[1]`, f32.
    pub fn load(path: &str, bytes: &[u8]) -> Result<Self, BundleError> {
        let invalid = |what: String| BundleError::Invalid { path: path.into(), what };
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| invalid(error.to_string()))?;
        let read = |name: &str| -> Result<Vec<f64>, BundleError> {
            let view = tensors.tensor(name).map_err(|error| invalid(format!("tensor {name}: {error}")))?;
            if view.dtype() != safetensors::Dtype::F32 {
                return Err(invalid(format!("tensor {name}: expected F32, found {:?}", view.dtype())));
            }
            let values: Vec<f64> =
                view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
            if values.iter().all(|value| value.is_finite()) {
                Ok(values)
            } else {
                Err(invalid(format!("tensor {name}: a value is not finite")))
            }
        };
        let (mean, factor, limit) = (read("mean")?, read("factor")?, read("limit")?);
        let dimension = mean.len();
        if factor.len() != dimension * dimension || limit.len() != 1 {
            return Err(invalid(format!("{dimension} means do not fit {} factors", factor.len())));
        }
        if (0..dimension).any(|i| factor[i * dimension + i] <= 0.0) {
            return Err(invalid("tensor factor: a diagonal value is not positive".into()));
        }
        Ok(Self { mean, factor, limit: limit[0] })
    }

    /// Fits the reference to the features of training films, with the covariance shrunk by `shrinkage` towards its
    /// diagonal; the limit is the
    /// `quantile` of the distances of `tuning`, times `slack`. Returns the safetensors bytes.
    pub fn fit(
        features: &[Vec<f32>],
        tuning: &[Vec<f32>],
        shrinkage: f64,
        quantile: f64,
        slack: f64,
    ) -> Result<Vec<u8>, FitError> {
        let dimension = features.first().map_or(0, Vec::len);
        if features.len() < 2 || tuning.is_empty() || features.iter().chain(tuning).any(|f| f.len() != dimension) {
            return Err(FitError::Shape);
        }
        let count = features.len() as f64;
        let mut mean = vec![0.0; dimension];
        for film in features {
            for (sum, &value) in mean.iter_mut().zip(film) {
                *sum += f64::from(value) / count;
            }
        }
        let mut covariance = vec![0.0; dimension * dimension];
        for film in features {
            let centred: Vec<f64> = film.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean).collect();
            for i in 0..dimension {
                for j in 0..=i {
                    covariance[i * dimension + j] += centred[i] * centred[j] / (count - 1.0);
                }
            }
        }
        let floor = 1e-6 + (0..dimension).map(|i| covariance[i * dimension + i]).sum::<f64>() / dimension as f64 * 1e-4;
        for i in 0..dimension {
            for j in 0..i {
                covariance[i * dimension + j] *= 1.0 - shrinkage;
            }
            covariance[i * dimension + i] += floor;
        }
        let factor = cholesky(covariance, dimension)?;
        // The stored figures are f32: the limit is set with what a reader of the file will compute.
        let rounded = |values: &[f64]| -> Vec<f64> { values.iter().map(|&value| f64::from(value as f32)).collect() };
        let reference = Self { mean: rounded(&mean), factor: rounded(&factor), limit: f64::INFINITY };
        let mut distances: Vec<f64> = tuning.iter().map(|film| reference.score(film).score).collect();
        distances.sort_by(f64::total_cmp);
        let place = ((distances.len() - 1) as f64 * quantile).round() as usize;
        let limit = distances.get(place).copied().ok_or(FitError::Shape)? * slack;
        Ok(write(&reference.mean, &reference.factor, limit)?)
    }

    /// The distance of an image's features.
    pub fn score(&self, features: &[f32]) -> GuardScore {
        let dimension = self.mean.len();
        let mut solved = vec![0.0; dimension];
        let mut total = 0.0;
        for i in 0..dimension {
            let row = &self.factor[i * dimension..=i * dimension + i];
            let known: f64 = row.iter().zip(&solved[..i]).map(|(factor, value)| factor * value).sum();
            let value = (features.get(i).map_or(f64::NAN, |&f| f64::from(f)) - self.mean[i] - known) / row[i];
            solved[i] = value;
            total += value * value;
        }
        GuardScore { score: (total / dimension as f64).sqrt(), limit: self.limit }
    }
}

/// The reference could not be fitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Too few films, or films with different numbers of features.
    #[error(
        "guard reference: at least two training films and one tuning film with the same number of features are needed"
    )]
    Shape,
    /// The covariance has no Cholesky factor.
    #[error("guard reference: the covariance is not positive definite at feature {0}; raise the shrinkage")]
    NotPositive(usize),
    /// The file could not be made.
    #[error("guard reference: write")]
    Write(#[from] safetensors::SafeTensorError),
}

/// The lower Cholesky factor of a symmetric matrix given by its lower half.
fn cholesky(mut matrix: Vec<f64>, dimension: usize) -> Result<Vec<f64>, FitError> {
    for i in 0..dimension {
        for j in 0..=i {
            let (above, row) = matrix.split_at(i * dimension);
            let other = if j == i { &row[..j] } else { &above[j * dimension..j * dimension + j] };
            let known: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
            let rest = matrix[i * dimension + j] - known;
            matrix[i * dimension + j] = if i == j {
                if rest <= 0.0 {
                    return Err(FitError::NotPositive(i));
                }
                rest.sqrt()
            } else {
                rest / matrix[j * dimension + j]
            };
        }
        for j in i + 1..dimension {
            matrix[i * dimension + j] = 0.0;
        }
    }
    Ok(matrix)
}

fn write(mean: &[f64], factor: &[f64], limit: f64) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let bytes = |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect() };
    let (mean_bytes, factor_bytes, limit_bytes) = (bytes(mean), bytes(factor), bytes(&[limit]));
    let view = |shape: Vec<usize>, data| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, data);
    let tensors = [
        ("factor", view(vec![mean.len(), mean.len()], &factor_bytes)?),
        ("limit", view(vec![1], &limit_bytes)?),
        ("mean", view(vec![mean.len()], &mean_bytes)?),
    ];
    safetensors::serialize(tensors, None)
}

impl Candidate {
    /// Holds the instances of one study to the input contract.
    pub fn accept(&self, study: &[&Instance]) -> Result<Accepted, NotAccepted> {
        one_age(study)?;
        let mut images = Vec::new();
        let mut set_aside = Vec::new();
        for (place, instance) in study.iter().enumerate() {
            match self.accept_image(instance, place) {
                Ok(image) => images.push(image),
                Err(reason) => set_aside.push(SetAside { instance: place, reason }),
            }
        }
        if images.is_empty() {
            // A fault says more than a refusal: something could not even be judged.
            let fault = set_aside.iter().position(|aside| !matches!(aside.reason, NotAccepted::Refused(_)));
            let none = || Refusal::new(RefusalCode::NoImage, "the study holds no image").into();
            let worst = (!set_aside.is_empty()).then(|| set_aside.swap_remove(fault.unwrap_or(0)).reason);
            return Err(worst.unwrap_or_else(none));
        }
        let input = Digest::of_parts(study.iter().map(|instance| instance.bytes_digest.as_bytes().as_slice()));
        Ok(Accepted { images, input, set_aside })
    }

    fn accept_image(&self, instance: &Instance, place: usize) -> Result<AcceptedImage, NotAccepted> {
        let contract = &self.bundle().package().input;
        let mut notes = attributes(contract, instance)?;
        let decoded = instance.decode().map_err(NotAccepted::Unreadable)?;
        let display = decoded.display(instance, 0).map_err(NotAccepted::Unreadable)?;
        notes.extend(pixels(&display)?);
        let mut warnings: Vec<_> = instance.warnings.iter().chain(&decoded.warnings).collect();
        warnings.sort_unstable();
        warnings.dedup();
        notes.extend(warnings.into_iter().map(|warning| Note {
            code: "file-warning".into(),
            text: format!(
                "the file deviates from the standard in a way that changes neither pixels nor identity: {warning:?}"
            ),
        }));
        let prepare = |image: &Image<f32>| {
            let preparation = &self.bundle().package().preparation;
            preparation.prepare(image.rows, image.columns, &image.pixels).map_err(NotAccepted::Broken)
        };
        let input = prepare(&display)?;
        let distance = self.distance(&input).map_err(NotAccepted::Broken)?;
        // A film that fits better upside down in its grey values is inverted, whatever its attributes say.
        let inverted = Image { pixels: display.pixels.iter().map(|value| 1.0 - value).collect(), ..display.clone() };
        let inverse = self.distance(&prepare(&inverted)?).map_err(NotAccepted::Broken)?;
        let GuardScore { score, limit } = distance;
        if inverse.score < score && inverse.score <= limit {
            let text = "the image looks inverted: check Photometric Interpretation (0028,0004) \
                        and Presentation LUT Shape (2050,0020)";
            return Err(Refusal::new(RefusalCode::PhotometricSuspect, text).into());
        }
        if score > limit || score.is_nan() {
            let text = format!(
                "the image is unlike the films that the model was trained on: distance {score:.2}, limit {limit:.2}"
            );
            return Err(Refusal::new(RefusalCode::OutOfDomain, text).into());
        }
        Ok(AcceptedImage { display, input, distance, notes, instance: place })
    }
}

/// One patient has one age: films of a study, and the age and the dates of a film, may not contradict each other.
fn one_age(study: &[&Instance]) -> Result<(), NotAccepted> {
    let stated = study.iter().flat_map(|instance| [instance.patient_age, instance.patient_age_by_dates]);
    let ages: Vec<f64> = stated.flatten().map(|age| age.years).collect();
    let (youngest, oldest) =
        ages.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), age| (low.min(*age), high.max(*age)));
    if oldest - youngest > AGE_SPREAD_YEARS {
        let text = "Patient's Age (0010,1010), Patient's Birth Date (0010,0030) and Study Date (0008,0020) contradict \
                    each other: the intended use cannot be checked";
        return Err(Refusal::new(RefusalCode::AgeContradictory, text).into());
    }
    Ok(())
}

/// The attributes against the contract; what is absent and therefore unchecked is noted.
fn attributes(contract: &InputContract, instance: &Instance) -> Result<Vec<Note>, NotAccepted> {
    use RefusalCode as Code;
    let mut notes = Vec::new();
    let mut note = |code: &str, text: String| notes.push(Note { code: code.into(), text });
    let listed = |list: &[String], value: &str| list.iter().any(|known| known.eq_ignore_ascii_case(value));
    if !instance.has_pixels() {
        return Err(Refusal::new(Code::NoImage, "the object holds no pixel data").into());
    }
    let expected = |list: &[String]| list.join(", ");
    if !listed(&contract.modalities, &instance.modality) {
        let found = Some(instance.modality.as_str()).filter(|modality| !modality.is_empty());
        let text =
            format!("Modality (0008,0060): expected {}, found {}", expected(&contract.modalities), printable(found));
        return Err(Refusal::new(Code::ModalityUnsupported, text).into());
    }
    match instance.body_part.as_deref() {
        Some(part) if listed(&contract.body_parts, part) => {}
        None => note(
            "body-part-absent",
            "Body Part Examined (0018,0015) is absent: the region was judged by the pixels alone".into(),
        ),
        found => {
            let text = format!(
                "Body Part Examined (0018,0015): expected {}, found {}",
                expected(&contract.body_parts),
                printable(found)
            );
            return Err(Refusal::new(Code::BodyPartUnsupported, text).into());
        }
    }
    match instance.view_position.as_deref() {
        Some(view) if listed(&contract.views, view) => {}
        None => note(
            "view-absent",
            "View Position (0018,5101) is absent: a lateral film cannot be told from its attributes".into(),
        ),
        found => {
            let text = format!(
                "View Position (0018,5101): expected {}, found {}",
                expected(&contract.views),
                printable(found)
            );
            return Err(Refusal::new(Code::ViewUnsupported, text).into());
        }
    }
    match instance.patient_age.map(|age| age.years) {
        Some(age) if age >= contract.age_years.min && age < contract.age_years.max => {}
        None => note(
            "age-absent",
            "Patient's Age (0010,1010) and Birth Date are absent: the intended use cannot be checked".into(),
        ),
        Some(_) => {
            let text = format!(
                "Patient's Age (0010,1010): the model is meant for ages {} to below {} years; adults and infants are outside its intended use",
                contract.age_years.min, contract.age_years.max
            );
            return Err(Refusal::new(Code::AgeOutsideIntendedUse, text).into());
        }
    }
    if instance.presentation_intent.as_deref().is_some_and(|intent| intent.eq_ignore_ascii_case("FOR PROCESSING")) {
        return Err(Refusal::new(
            Code::NotForPresentation,
            "Presentation Intent Type (0008,0068): expected FOR PRESENTATION, found FOR PROCESSING",
        )
        .into());
    }
    let description = instance.description().map_err(NotAccepted::Unreadable)?;
    if !listed(&contract.photometric, description.photometric.term()) {
        let text = format!(
            "Photometric Interpretation (0028,0004): expected {}, found {}",
            expected(&contract.photometric),
            description.photometric.term()
        );
        return Err(Refusal::new(Code::PhotometricUnsupported, text).into());
    }
    if description.frames > 1 {
        let text = format!("Number of Frames (0028,0008): expected 1, found {}", description.frames);
        return Err(Refusal::new(Code::FramesUnsupported, text).into());
    }
    let (short, long) =
        (description.rows.min(description.columns), f64::from(description.rows.max(description.columns)));
    if short < contract.side_min {
        let text =
            format!("Rows (0028,0010) or Columns (0028,0011): expected at least {}, found {short}", contract.side_min);
        return Err(Refusal::new(Code::TooSmall, text).into());
    }
    if long > contract.aspect_max * f64::from(short) {
        let text = format!(
            "Rows (0028,0010) and Columns (0028,0011): expected a ratio of at most {}, found {:.2}",
            contract.aspect_max,
            long / f64::from(short)
        );
        return Err(Refusal::new(Code::AspectUnsupported, text).into());
    }
    if short < SIDE_TRAINED {
        note("low-resolution", format!("the shorter side has {short} pixels; training films have {SIDE_TRAINED}"));
    }
    if instance.burned_in_annotation.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("YES")) {
        note(
            "burned-in-annotation",
            "Burned In Annotation (0028,0301) is YES: text in the image may mislead the network".into(),
        );
    }
    Ok(notes)
}

/// Terms of body parts and views that a message may repeat; any other text could hold a name, and is not repeated.
const TERMS: &[&str] = &[
    "ABDOMEN",
    "ANKLE",
    "ARM",
    "BRAIN",
    "BREAST",
    "CHEST",
    "CSPINE",
    "ELBOW",
    "EXTREMITY",
    "EYE",
    "FEMUR",
    "FINGER",
    "FOOT",
    "FOREARM",
    "HAND",
    "HEAD",
    "HEART",
    "HIP",
    "HUMERUS",
    "JAW",
    "KNEE",
    "LEG",
    "LSPINE",
    "NECK",
    "PELVIS",
    "RIB",
    "SHOULDER",
    "SKULL",
    "SPINE",
    "STERNUM",
    "THIGH",
    "THORAX",
    "TOE",
    "TSPINE",
    "WHOLEBODY",
    "WRIST",
    "AP",
    "PA",
    "LL",
    "RL",
    "LLD",
    "RLD",
    "LLO",
    "RLO",
    "LATERAL",
    "OBLIQUE",
    "CC",
    "MLO",
];

/// A code string of an attribute as it may stand in a message.
fn printable(value: Option<&str>) -> String {
    let modality = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    match value {
        None => "nothing".into(),
        Some(value) if TERMS.contains(&value) || modality(value) => value.into(),
        Some(_) => "another value".into(),
    }
}

/// Contrast and exposure.
fn pixels(display: &Image<f32>) -> Result<Vec<Note>, Refusal> {
    let count = display.pixels.len().max(1) as f64;
    let mean = display.pixels.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = display.pixels.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt();
    if deviation.is_nan() || deviation < CONTRAST_MIN {
        let text = format!(
            "the display values have a standard deviation of {deviation:.3}; at least {CONTRAST_MIN} is expected"
        );
        return Err(Refusal::new(RefusalCode::NoContrast, text));
    }
    let share = |at: fn(f32) -> bool| display.pixels.iter().filter(|&&value| at(value)).count() as f64 / count;
    let mut notes = Vec::new();
    for (code, clipped) in
        [("clipped-dark", share(|value| value <= 0.0)), ("clipped-bright", share(|value| value >= 1.0))]
    {
        if clipped > CLIPPED_NOTED {
            let text = format!(
                "{:.0} % of the pixels lie at the end of the display range: check exposure and window",
                clipped * 100.0
            );
            notes.push(Note { code: code.into(), text });
        }
    }
    Ok(notes)
}
