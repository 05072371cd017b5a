//! The guard: is this study what the model was made for? Attributes first, then the pixels, then the distance from the
//! training data.
//!
//! A refusal is a result with a code, never silence and never a probability. [`Accepted`] has no other maker than
//! [`Candidate::accept`].
//! The limit of the distance was set on tuning films (`service/src/training.rs` says how). It runs the network's trunk,
//! but never its head.
//! Errors: [`Refusal`], or the imaging error of a file that cannot be decoded.

mod contract;
mod distance;

use std::{collections::BTreeMap, fmt};

use candle_core::Tensor;
use vidimus_imaging::{Image, ImagingError, Instance};
use vidimus_log::Digest;
use vidimus_networks::NetworkError;

pub use distance::{FitError, GuardReference, GuardScore};

use crate::{model::Candidate, reading::Note};
use contract::{attributes, one_age, pixels};

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
        // A film that fits better upside down in its grey values is inverted, whatever its attributes say.
        let inverted = Image { pixels: display.pixels.iter().map(|value| 1.0 - value).collect(), ..display.clone() };
        let both = [&input, &prepare(&inverted)?];
        let both = Tensor::cat(&both, 0).map_err(|error| NotAccepted::Broken(error.into()))?;
        let [distance, inverse] = self.distances(&both).map_err(NotAccepted::Broken)?[..] else {
            return Err(NotAccepted::Broken(NetworkError::Input {
                expected: "two images",
                found: both.dims().to_vec(),
            }));
        };
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
