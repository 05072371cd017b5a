//! Registered protocols: what will be asked of a model, written down before a locked set is opened.
//! A protocol is a TOML file; its identity is the SHA-256 of the file's bytes. Unknown fields are refused, so that no
//! misspelt rule is taken for a kept one. The seed of every random draw follows from protocol and set.
//! Errors: [`ProtocolError`] names field and rule. Source: EVIDENCE sections 3 and 4.

mod fields;

use std::path::Path;

use vidimus_log::{Digest, body::ProtocolRegistered};

use crate::statistics::Confidence;

pub use fields::*;

/// Why a protocol cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The file could not be read.
    #[error("protocol {file}: reading failed")]
    File {
        /// The file.
        file: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML of the protocol's form.
    #[error("protocol: {0}")]
    Form(String),
    /// A field breaks a rule.
    #[error("protocol: {field}: {rule}")]
    Rule {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
}

/// A protocol with its identity.
#[derive(Debug, Clone)]
pub struct Protocol {
    text: ProtocolText,
    digest: Digest,
}

impl Protocol {
    /// Reads a protocol file.
    pub fn load(path: &Path) -> Result<Self, ProtocolError> {
        let file = || path.display().to_string();
        Self::parse(&std::fs::read(path).map_err(|source| ProtocolError::File { file: file(), source })?)
    }

    /// Reads a protocol's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let text = std::str::from_utf8(bytes).map_err(|error| ProtocolError::Form(error.to_string()))?;
        let text: ProtocolText = toml::from_str(text).map_err(|error| ProtocolError::Form(error.to_string()))?;
        check(&text)?;
        Ok(Self { text, digest: Digest::of(bytes) })
    }

    /// The fields.
    pub const fn text(&self) -> &ProtocolText {
        &self.text
    }

    /// SHA-256 of the file's bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The registered seed: the first 8 bytes of SHA-256(protocol digest || set root).
    pub fn seed(&self) -> [u8; 8] {
        let digest = Digest::of_parts([self.digest.as_bytes().as_slice(), self.text.locked_set.root.as_bytes()]);
        let mut seed = [0; 8];
        for (to, from) in seed.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        seed
    }

    /// The one-sided error that look `k` (from 1) spends.
    pub fn alpha_of_look(&self, k: u64) -> f64 {
        (0..k).fold(self.text.alpha, |alpha, _| alpha / 2.0)
    }

    /// The confidence of two-sided intervals at look `k`: its one-sided error on each side.
    pub fn confidence_of_look(&self, k: u64) -> Result<Confidence, ProtocolError> {
        Confidence::new(1.0 - 2.0 * self.alpha_of_look(k))
            .map_err(|_| ProtocolError::Rule { field: "alpha", rule: "leaves no confidence at this look" })
    }

    /// The body of the entry that registers the protocol.
    pub fn to_body(&self) -> ProtocolRegistered {
        ProtocolRegistered {
            protocol: self.digest.into(),
            set_root: self.text.locked_set.root.into(),
            looks: self.text.looks,
            primary: self.text.endpoint.iter().map(|endpoint| endpoint.id.to_lowercase().as_str().into()).collect(),
            supersedes: None,
        }
    }
}

fn check(text: &ProtocolText) -> Result<(), ProtocolError> {
    let rule = |holds: bool, field, rule| if holds { Ok(()) } else { Err(ProtocolError::Rule { field, rule }) };
    let share = |value: f64| (0.0..=1.0).contains(&value);
    rule((1..=3).contains(&text.endpoint.len()), "endpoint", "expected one to three primary endpoints")?;
    rule((1..=20).contains(&text.looks), "looks", "expected 1 to 20")?;
    rule(text.alpha > 0.0 && text.alpha < 0.5, "alpha", "expected above 0 and below 0.5")?;
    rule(text.seed_rule == "sha256(protocol||set)[0..8]", "seed_rule", "expected sha256(protocol||set)[0..8]")?;
    rule(text.bootstrap.unit == "patient", "bootstrap.unit", "expected patient")?;
    rule(text.bootstrap.stratified_by == "class", "bootstrap.stratified_by", "expected class")?;
    rule((100..=100_000).contains(&text.bootstrap.replicates), "bootstrap.replicates", "expected 100 to 100,000")?;
    rule(share(text.operating_point.threshold), "operating_point.threshold", "expected 0 to 1")?;
    rule((2..=60).contains(&text.aggregates.roc_points_max), "aggregates.roc_points_max", "expected 2 to 60")?;
    rule((2..=50).contains(&text.aggregates.reliability_bins), "aggregates.reliability_bins", "expected 2 to 50")?;
    if let Some(selective) = &text.selective {
        let covered = |c: &f64| *c > 0.0 && share(*c);
        let known = (1..=20).contains(&selective.coverages.len()) && selective.coverages.iter().all(covered);
        rule(known, "selective.coverages", "expected 1 to 20 shares above 0 and at most 1")?;
        rule((2..=60).contains(&selective.points_max), "selective.points_max", "expected 2 to 60")?;
    }
    let ids: Vec<&str> = text.endpoint.iter().map(|endpoint| endpoint.id.as_str()).collect();
    rule(text.order == ids, "order", "expected every endpoint's id, in the order of the endpoints")?;
    let disjoint = !text.positive_classes.iter().any(|class| text.negative_classes.contains(class));
    rule(disjoint, "positive_classes", "a class is positive or negative, not both")?;
    rule(
        text.missing.sensitivity_analysis == SensitivityAnalysis::Exclude
            && text.duplicates.sensitivity_analysis == SensitivityAnalysis::FirstOfEqualPixels,
        "sensitivity_analysis",
        "expected exclude for missing and first-of-equal-pixels for duplicates",
    )?;
    for endpoint in &text.endpoint {
        let fits = match endpoint.statistic {
            Statistic::Auc => matches!(endpoint.interval, IntervalMethod::Delong | IntervalMethod::Obuchowski),
            Statistic::Sensitivity | Statistic::Specificity => {
                !matches!(endpoint.interval, IntervalMethod::Delong | IntervalMethod::Obuchowski)
            }
        };
        rule(
            fits,
            "endpoint.interval",
            "expected delong or obuchowski for an area, a proportion's interval otherwise",
        )?;
        let shares = [Some(endpoint.point_min), endpoint.lower_min, endpoint.goal];
        rule(shares.into_iter().flatten().all(share), "endpoint", "expected limits within 0 to 1")?;
    }
    for secondary in &text.secondary {
        let between = secondary.statistic == SecondaryStatistic::Between;
        let named = secondary.positive.is_some() && secondary.negative.is_some();
        rule(between == named, "secondary", "positive and negative belong to between, and to it alone")?;
    }
    Ok(())
}
