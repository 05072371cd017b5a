//! Registered protocols: what will be asked of a model, written down before a locked set is opened.
//! A protocol is a TOML file; its identity is the SHA-256 of the file's bytes. Unknown fields are refused, so that no
//! misspelt rule is taken for a kept one. The seed of every random draw follows from protocol and set.
//! Errors: [`ProtocolError`] names field and rule. Source: EVIDENCE sections 3 and 4.

use std::path::Path;

use serde::Deserialize;
use vidimus_log::{Digest, body::ProtocolRegistered};

use crate::{dataset::Class, statistics::Confidence};

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

/// The statistic of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    /// Area under the ROC curve of the finding's probability.
    Auc,
    /// Share of positive cases called positive at the operating point.
    Sensitivity,
    /// Share of negative cases called negative at the operating point.
    Specificity,
}

/// The interval that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntervalMethod {
    /// DeLong: every image for itself.
    Delong,
    /// Obuchowski: images of one patient may depend on each other.
    Obuchowski,
    /// Wilson score.
    Wilson,
    /// Wilson score with the design effect of patients.
    ClusteredWilson,
    /// Clopper-Pearson.
    ClopperPearson,
}

/// A primary endpoint and what it must reach.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `E1` and so on.
    pub id: String,
    /// What is estimated.
    pub statistic: Statistic,
    /// What is counted: `image` is the only unit of this version.
    pub unit: Unit,
    /// The interval that decides.
    pub interval: IntervalMethod,
    /// The estimate must reach this.
    pub point_min: f64,
    /// The lower limit must reach this, where given.
    pub lower_min: Option<f64>,
    /// What was hoped for; reported, decides nothing.
    pub goal: Option<f64>,
    /// Why these figures.
    pub reason: String,
}

/// Unit of analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Each image; patients are clusters.
    Image,
}

/// A secondary endpoint: reported, never decisive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secondary {
    /// `S1` and so on.
    pub id: String,
    /// What is reported.
    pub statistic: SecondaryStatistic,
    /// `between`: the subtype taken as positive.
    pub positive: Option<String>,
    /// `between`: the subtype taken as negative.
    pub negative: Option<String>,
    /// What may be claimed from it.
    pub claim: String,
}

/// What a secondary endpoint reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondaryStatistic {
    /// Brier score with its parts, expected calibration error, calibration line, Spiegelhalter's z.
    Calibration,
    /// Both likelihood ratios at the operating point.
    LikelihoodRatios,
    /// AUC between two subtypes, of the share of the first one's probability in both.
    Between,
}

/// A subgroup analysis: sensitivity and specificity in each value of a stratum.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subgroup {
    /// `subtype`, or a stratum of the manifest.
    pub by: String,
    /// Below this many cases "too few" is written.
    pub min_n: u64,
    /// Alarm where the interval lies below the rest by more than this.
    pub max_gap: f64,
    /// What an alarm does: `label` in this version.
    pub action: SubgroupAction,
}

/// What follows from a subgroup's alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubgroupAction {
    /// It is written on the label.
    Label,
    /// The verdict fails.
    Block,
}

/// How cases without a score are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// As a wrong answer.
    Wrong,
}

/// How the analysis beside the primary one treats what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SensitivityAnalysis {
    /// Cases without a score are left out.
    Exclude,
    /// Of images with the same pixels only the first (by case id) is kept.
    FirstOfEqualPixels,
}

/// Cases without a score.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Not evaluated (the guard or the model said no).
    pub refused: Counted,
    /// Failed.
    pub failed: Counted,
    /// The analysis beside it.
    pub sensitivity_analysis: SensitivityAnalysis,
}

/// Pixel-identical images inside the set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duplicates {
    /// Whether the primary analysis keeps them: always, in this version.
    pub primary: KeptAll,
    /// The analysis beside it.
    pub sensitivity_analysis: SensitivityAnalysis,
}

/// The primary analysis keeps every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptAll {
    /// Every case is kept.
    Keep,
}

/// The model under test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageRule {
    /// The model family.
    pub family: String,
    /// Which build of it.
    pub rule: String,
}

/// The set that the protocol is about.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRule {
    /// Code of the set.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its root.
    pub root: Digest,
    /// Its class.
    pub class: Class,
}

/// What the model is compared with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparator {
    /// `fixed-goal`.
    pub kind: String,
    /// Published results that the goals were set by.
    pub references: Vec<String>,
}

/// The threshold fixed beforehand.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// Its name.
    pub name: String,
    /// A case is positive where the finding's probability is at least this.
    pub threshold: f64,
}

/// The bootstrap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapRule {
    /// Replicates.
    pub replicates: u32,
    /// `patient`.
    pub unit: String,
    /// `class`.
    pub stratified_by: String,
}

/// What leaves the gate beside the figures.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregates {
    /// Points of the ROC curve at most.
    pub roc_points_max: usize,
    /// Bins of the reliability diagram.
    pub reliability_bins: usize,
    /// Whether results of single cases leave the gate: never, in this version.
    pub per_case: Sealed,
}

/// Results of single cases stay sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sealed {
    /// They do not leave the gate.
    Sealed,
}

/// A suite that this protocol does not run, and why.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteNotRun {
    /// The suite of EVIDENCE section 6.
    pub id: String,
    /// The reason, printed in the verdict.
    pub why: String,
}

/// The fields of a protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolText {
    /// The protocol's id.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// The intended use that the answer is for.
    pub intended_use: String,
    /// The finding whose probability is judged.
    pub finding: String,
    /// Classes of the set that count as positive.
    pub positive_classes: Vec<String>,
    /// Classes of the set that count as negative.
    pub negative_classes: Vec<String>,
    /// Budget of looks for this set version and family.
    pub looks: u64,
    /// One-sided error over all looks; look k spends `alpha / 2^k`.
    pub alpha: f64,
    /// `sha256(protocol||set)[0..8]`, the only rule.
    pub seed_rule: String,
    /// Order of testing: a fixed sequence.
    pub order: Vec<String>,
    /// When to stop.
    pub stopping_rule: String,
    /// How many cases, and why that is enough.
    pub sample_size: String,
    /// Roles that sign.
    pub signers: Vec<String>,
    /// The model.
    pub package: PackageRule,
    /// The set.
    pub locked_set: SetRule,
    /// The comparator.
    pub comparator: Comparator,
    /// The threshold.
    pub operating_point: OperatingPoint,
    /// The bootstrap.
    pub bootstrap: BootstrapRule,
    /// Missing results.
    pub missing: Missing,
    /// Identical images.
    pub duplicates: Duplicates,
    /// Primary endpoints, 1 to 3.
    pub endpoint: Vec<Endpoint>,
    /// Secondary endpoints.
    pub secondary: Vec<Secondary>,
    /// Subgroups.
    pub subgroup: Vec<Subgroup>,
    /// What leaves the gate.
    pub aggregates: Aggregates,
    /// Suites of the gate that this protocol does not run.
    pub suite_not_run: Vec<SuiteNotRun>,
    /// Limits printed with the verdict.
    pub limits: Vec<String>,
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
