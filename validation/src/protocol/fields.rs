//! The fields of a protocol file, one struct a table; unknown fields are refused.
//! What they mean stands in EVIDENCE section 4; the rules between them are [`super::check`]'s.

use serde::Deserialize;
use vidimus_log::Digest;

use crate::dataset::Class;

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

/// Abstention: how the error falls when the least sure cases are left to people.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectiveRule {
    /// Shares of the cases at which the error is reported, each above 0 and at most 1.
    pub coverages: Vec<f64>,
    /// Points of the curve at most.
    pub points_max: usize,
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
    /// The curve of error against coverage; without this table the verdict has none.
    pub selective: Option<SelectiveRule>,
    /// Suites of the gate that this protocol does not run.
    pub suite_not_run: Vec<SuiteNotRun>,
    /// Limits printed with the verdict.
    pub limits: Vec<String>,
}
