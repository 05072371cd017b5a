//! The reading itself: an admitted model, an accepted study and the receipt of the durable intent become a [`Reading`].
//!
//! Arithmetic: profile of the package; softmax and its kin in f64 from the pinned `libm`, so that they do not depend
//! on the machine's. A study of several films is one reading: its finding is that of the film with the highest
//! probability.
//! Errors: [`ReadError`]; nothing is returned that is not whole and finite.

use candle_core::Tensor;
use vidimus_log::{Body, Digest, Entry, Receipt, values::Sha256};
use vidimus_networks::{ActivationMap, Forward, NetworkError};

use crate::{
    admission::ReleasedModel,
    explain::{
        Saliency,
        badge::{self, Badge, Checks},
    },
    guard::{Accepted, AcceptedImage},
    model::{Candidate, Scores},
    reading::{Digests, Finding, NotAProbability, Note, OperatingPoint, Reading, Uncertainty},
};

/// Within this distance of the threshold a reading says that it is near it.
const MARGIN_NOTED: f64 = 0.15;
/// A change under mirroring above this is noted.
const SPREAD_NOTED: f64 = 0.2;

/// A reading failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The receipt is of another entry than the intent of this model.
    #[error("read intent: {0}")]
    Intent(&'static str),
    /// The network could not run.
    #[error("inference: {0}")]
    Inference(#[from] NetworkError),
    /// A tensor could not be handled.
    #[error("inference")]
    Tensor(#[from] candle_core::Error),
    /// The network's answer is not a probability.
    #[error("inference: the network's answer is not finite")]
    Answer(#[from] NotAProbability),
}

/// The receipt of a durable `read_intent` for one model: the right to infer.
pub struct IntentReceipt(Receipt);

impl IntentReceipt {
    /// Takes the receipt if its entry is an intent to read with `model`.
    pub fn new(receipt: Receipt, model: &ReleasedModel) -> Result<Self, ReadError> {
        let entry = Entry::parse(&receipt.entry).map_err(|_| ReadError::Intent("the receipt holds no valid entry"))?;
        match &entry.body {
            Body::ReadIntent(intent) if intent.model == Sha256(model.candidate().bundle().root()) => Ok(Self(receipt)),
            Body::ReadIntent(_) => Err(ReadError::Intent("it names another model")),
            _ => Err(ReadError::Intent("the receipt is of an entry of another kind")),
        }
    }

    /// The receipt.
    pub const fn receipt(&self) -> &Receipt {
        &self.0
    }
}

/// One film's scores, upright and mirrored, and the maps that an explanation is made from.
struct ImageScores {
    scores: Scores,
    mirrored: Scores,
    forward: Forward,
}

/// The film that decides, explained.
struct ImageReading<'a> {
    scores: &'a Scores,
    mirrored: &'a Scores,
    saliency: Saliency,
    badge: Badge,
}

/// Reads an accepted study.
pub fn read(model: &ReleasedModel, accepted: &Accepted, _intent: &IntentReceipt) -> Result<Reading, ReadError> {
    let images = accepted.images().iter().map(|image| score_image(model, image)).collect::<Result<Vec<_>, _>>()?;
    let first = |image: &ImageScores| image.scores.findings.first().map_or(0.0, |probability| probability.get());
    let mut chosen = 0;
    for (place, image) in images.iter().enumerate() {
        if first(image) > first(&images[chosen]) {
            chosen = place;
        }
    }
    let image = explained(model, &accepted.images()[chosen], &images[chosen])?;
    let findings = findings(model, &image);
    let uncertainty = uncertainty(model, accepted, &image, chosen, &findings);
    let mut quality = accepted.images()[chosen].notes.clone();
    quality.extend(accepted.set_aside_notes());
    let mut tensors = Vec::new();
    for accepted in accepted.images() {
        tensors.extend(accepted.input.flatten_all()?.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes));
    }
    let mut outputs = Vec::new();
    for image in &images {
        outputs.extend(image.scores.logits.iter().flat_map(|logit| logit.to_le_bytes()));
        outputs.extend(image.scores.findings.iter().flat_map(|probability| probability.get().to_le_bytes()));
    }
    let digests = Digests {
        input: accepted.input_digest(),
        preprocessing: Digest::of(&tensors),
        output: Digest::of(&outputs),
        saliency: image.saliency.digest(),
    };
    Ok(Reading {
        model: model.facts(),
        findings,
        measurements: Vec::new(),
        quality,
        uncertainty,
        digests,
        saliency: image.saliency,
        badge: image.badge,
        image: chosen,
    })
}

fn score_image(model: &ReleasedModel, image: &AcceptedImage) -> Result<ImageScores, ReadError> {
    // The mirrored film is a second look at the same evidence; in one batch each keeps the bits that it has alone.
    let both = Tensor::cat(&[&image.input, &image.input.flip(&[3])?.contiguous()?], 0)?;
    let (scores, forward) = model.candidate().score_batch(&both)?;
    let Ok([scores, mirrored]) = <[Scores; 2]>::try_from(scores) else {
        return Err(NetworkError::Input { expected: "two images", found: both.dims().to_vec() }.into());
    };
    Ok(ImageScores { scores, mirrored, forward })
}

fn explained<'a>(
    model: &ReleasedModel,
    image: &AcceptedImage,
    scored: &'a ImageScores,
) -> Result<ImageReading<'a>, ReadError> {
    let (candidate, ImageScores { scores, mirrored, forward }) = (model.candidate(), scored);
    let (map, turned) = (candidate.activation_map(forward, 0)?, candidate.activation_map(forward, 1)?);
    let saliency = candidate.saliency(&map, image);
    let badge = badge_of(candidate, image, scores, (&map, &turned), &saliency)?;
    Ok(ImageReading { scores, mirrored, saliency, badge })
}

/// Judges a map by a few passes over films in which cells are filled with the film's mean.
fn badge_of(
    candidate: &Candidate,
    image: &AcceptedImage,
    scores: &Scores,
    (map, turned): (&ActivationMap, &ActivationMap),
    saliency: &Saliency,
) -> Result<Badge, ReadError> {
    let (positive, other) = (map.positive(), turned.positive());
    let (_, channels, rows, columns) = image.input.dims4()?;
    let input = image.input.flatten_all()?.to_vec1::<f32>()?;
    let mean = (input.iter().map(|&value| f64::from(value)).sum::<f64>() / input.len() as f64) as f32;
    let fillings = badge::fillings(&positive);
    let mut films = Vec::with_capacity(fillings.len() * input.len());
    for cells in &fillings {
        let mut film = input.clone();
        for &cell in cells {
            let (y, x) = (cell / map.columns, cell % map.columns);
            for row in y * rows / map.rows..(y + 1) * rows / map.rows {
                for channel in 0..channels {
                    let line = (channel * rows + row) * columns;
                    film[line + x * columns / map.columns..line + (x + 1) * columns / map.columns].fill(mean);
                }
            }
        }
        films.extend(film);
    }
    let films = Tensor::from_vec(films, (fillings.len(), channels, rows, columns), image.input.device())?;
    let (filled, _) = candidate.score_batch(&films)?;
    let whole = candidate.log_odds(scores);
    let falls: Vec<f64> = filled.iter().map(|scores| whole - candidate.log_odds(scores)).collect();
    let checks = Checks {
        fall_strongest: falls.first().copied().unwrap_or(f64::NAN),
        fall_random: falls.iter().skip(1).sum::<f64>() / badge::CHOICES as f64,
        mirror: badge::mirror_agreement(&positive, &other, map.columns),
        border: saliency.border_share() / saliency.even_border_share(),
        empty: positive.iter().all(|&value| value <= 0.0),
    };
    Ok(Badge::judge(&checks, &badge::LIMITS))
}

fn findings(model: &ReleasedModel, image: &ImageReading<'_>) -> Vec<Finding> {
    let package = model.candidate().bundle().package();
    let regions = image.badge.regions(&image.saliency);
    let figures = model.figures();
    package
        .findings
        .iter()
        .zip(&image.scores.findings)
        .map(|(spec, &probability)| Finding {
            id: spec.id.clone(),
            code: spec.code.clone(),
            body_site: spec.body_site.clone(),
            probability,
            operating_point: OperatingPoint {
                name: spec.operating_point.name.clone(),
                threshold: spec.operating_point.threshold,
                sensitivity: figures.sensitivity,
                specificity: figures.specificity,
                ci95: figures.ci95,
                set: figures.set.clone(),
            },
            decision: if probability.get() >= spec.operating_point.threshold { "present" } else { "absent" },
            regions: regions.clone(),
        })
        .collect()
}

fn uncertainty(
    model: &ReleasedModel,
    accepted: &Accepted,
    image: &ImageReading<'_>,
    chosen: usize,
    findings: &[Finding],
) -> Uncertainty {
    let distance = accepted.images()[chosen].distance;
    let spread = findings
        .iter()
        .zip(&image.mirrored.findings)
        .map(|(finding, mirrored)| (finding.probability.get() - mirrored.get()).abs())
        .fold(0.0, f64::max);
    let margin = findings
        .iter()
        .map(|finding| (finding.probability.get() - finding.operating_point.threshold).abs())
        .fold(f64::INFINITY, f64::min);
    let border = image.saliency.border_share();
    let mut notes = Vec::new();
    let mut note = |code: &str, text: String| notes.push(Note { code: code.into(), text });
    if margin < MARGIN_NOTED {
        note(
            "near-threshold",
            format!("the probability lies within {MARGIN_NOTED} of the threshold: treat it as undecided"),
        );
    }
    if spread > SPREAD_NOTED {
        note(
            "unstable-under-mirroring",
            format!("mirrored left to right the film gets a probability that differs by {spread:.2}"),
        );
    }
    if border > badge::LIMITS.border_max * image.saliency.even_border_share() {
        note(
            "evidence-on-border",
            format!(
                "{:.0} % of the explanation's weight lies on the film's outer tenth, where no lung is",
                border * 100.0
            ),
        );
    }
    if accepted.images().len() > 1 {
        note(
            "several-films",
            format!(
                "the study has {} films that were read; the highest probability is shown, while the figures are those of single films",
                accepted.images().len()
            ),
        );
    }
    for limit in &model.candidate().bundle().package().intended_use.limits {
        note("limit", limit.clone());
    }
    Uncertainty {
        ood_score: distance.score,
        ood_limit: distance.limit,
        mirrored_probability: image.mirrored.findings.clone(),
        mirrored_spread: spread,
        margin,
        calibration: model.figures().calibration,
        saliency_border_share: border,
        notes,
    }
}
