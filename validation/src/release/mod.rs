//! A release: who attests that which package may be used for what, in which mode, on which verdicts.
//! `release.toml` is the record; two detached signatures over its digest lie beside it. The class of the evidence and
//! the result of the verdicts cap the mode: A active, B canary, C demonstration; inconclusive demonstration,
//! fail shadow.
//! Errors: [`ReleaseError`] names the rule: a person who signs twice, a digest that differs, a mode above its cap.
//! Source: EVIDENCE sections 2, 7, 8 and 9; 21 CFR 11.50, 11.70, 11.200.

mod signature;

use serde::{Deserialize, Serialize};
use vidimus_log::{
    Digest,
    body::{Decision, ReleaseDecision, Verdict as Word},
};

use crate::verdict::Verdict;

pub use signature::{Role, Signature, Signer, SigningFacts, parse_signatures, signatures_to_toml};

/// The use that a site puts a released model to, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not run.
    Off,
    /// Run, shown to nobody.
    Shadow,
    /// Shown, each output marked.
    Demonstration,
    /// A share of studies.
    Canary,
    /// All studies.
    Active,
}

impl Mode {
    /// The word in a record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Demonstration => "demonstration",
            Self::Canary => "canary",
            Self::Active => "active",
        }
    }
}

/// Why a release is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// `release.toml` or the signatures' file is not in its form.
    #[error("release: {file}: {rule}")]
    Form {
        /// The file.
        file: &'static str,
        /// The rule that it breaks.
        rule: String,
    },
    /// No verdict.
    #[error("release refused: it names no verdict; evaluate the package first")]
    NoVerdict,
    /// A verdict is about another package, or is not the one that the record names.
    #[error("release refused: verdict {verdict} {what}")]
    Verdict {
        /// The verdict's digest.
        verdict: Digest,
        /// What is wrong.
        what: &'static str,
    },
    /// The mode is above its cap.
    #[error("release refused: mode {mode} is above {cap}, the most that {reason} allows")]
    Mode {
        /// The mode asked for.
        mode: &'static str,
        /// The most that is allowed.
        cap: &'static str,
        /// What sets the cap.
        reason: String,
    },
    /// A signature does not verify.
    #[error("release refused: signature of the {role}: {what}")]
    Signature {
        /// The role that it was given in.
        role: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The two roles are not both there, once each.
    #[error("release refused: expected one signature of an evaluator and one of an approver")]
    Roles,
    /// One person signed both.
    #[error("release refused: evaluator and approver are the same person ({what} is equal); a second person must sign")]
    SamePerson {
        /// What is equal: `signer`, `key` or `printed name`.
        what: &'static str,
    },
    /// The approver helped to train the model.
    #[error("release refused: the approver is a contributor of the package; another person must approve")]
    Contributor,
}

/// A verdict as a release cites it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CitedVerdict {
    /// The verdict's digest.
    pub digest: Digest,
    /// The protocol's digest.
    pub protocol: Digest,
    /// The set's root.
    pub set_root: Digest,
    /// The set's class.
    pub class: String,
    /// The result.
    pub result: String,
    /// The look's number.
    pub look: u64,
}

/// What the proposer says; the rest follows from the verdicts.
#[derive(Debug, Clone)]
pub struct ReleaseFacts {
    /// The release's id.
    pub id: String,
    /// The intended use.
    pub intended_use: String,
    /// Version of the labelling.
    pub labelling: String,
    /// Sites, or `any`.
    pub sites: Vec<String>,
    /// The mode asked for.
    pub mode: Mode,
    /// Digest of the release before this one.
    pub previous: Option<Digest>,
    /// Class of the change (`first release`, `inside plan n`, `outside`).
    pub change: String,
    /// Known anomalies.
    pub anomalies: Vec<String>,
    /// Printed names of those who made or trained the package.
    pub contributors: Vec<String>,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    id: String,
    family: String,
    version: String,
    package_root: Digest,
    intended_use: String,
    labelling: String,
    sites: Vec<String>,
    mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    change: String,
    anomalies: Vec<String>,
    contributors: Vec<String>,
    verdict: Vec<CitedVerdict>,
}

/// A release record and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    record: Record,
    bytes: Vec<u8>,
}

/// A release with two valid signatures of different persons over verdicts that were at hand. Only
/// [`Release::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRelease {
    release: Release,
}

impl Release {
    /// Proposes a release of the package that all `verdicts` are about.
    pub fn propose(facts: ReleaseFacts, verdicts: &[Verdict]) -> Result<Self, ReleaseError> {
        let first = verdicts.first().ok_or(ReleaseError::NoVerdict)?;
        let record = Record {
            id: facts.id,
            family: first.family().to_owned(),
            version: first.version().to_owned(),
            package_root: first.package_root(),
            intended_use: facts.intended_use,
            labelling: facts.labelling,
            sites: facts.sites,
            mode: facts.mode,
            previous: facts.previous,
            change: facts.change,
            anomalies: facts.anomalies,
            contributors: facts.contributors,
            verdict: verdicts.iter().map(cite).collect(),
        };
        let form = |rule: String| ReleaseError::Form { file: "release.toml", rule };
        let bytes = toml::to_string(&record).map_err(|error| form(error.to_string()))?.into_bytes();
        let release = Self { record, bytes };
        release.check(verdicts)?;
        Ok(release)
    }

    /// Reads `release.toml`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let form = |rule: String| ReleaseError::Form { file: "release.toml", rule };
        let text = std::str::from_utf8(bytes).map_err(|error| form(error.to_string()))?;
        let record = toml::from_str(text).map_err(|error: toml::de::Error| form(error.message().to_owned()))?;
        Ok(Self { record, bytes: bytes.to_vec() })
    }

    /// The bytes of `release.toml`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of the bytes: what both persons sign.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Root of the released package.
    pub const fn package_root(&self) -> Digest {
        self.record.package_root
    }

    /// The mode.
    pub const fn mode(&self) -> Mode {
        self.record.mode
    }

    /// The intended use.
    pub fn intended_use(&self) -> &str {
        &self.record.intended_use
    }

    /// The verdicts that it cites.
    pub fn verdicts(&self) -> &[CitedVerdict] {
        &self.record.verdict
    }

    /// Checks the record against the verdicts at hand, and both signatures: roles, digest, signed leaf, persons.
    /// `signed_leaf` is the leaf of the evaluation's entry that was signed; `trusted` are the key ids that the log, or
    /// the file beside the record, enrolled.
    pub fn verify(
        &self,
        verdicts: &[Verdict],
        signatures: &[Signature],
        signed_leaf: Digest,
        trusted: &[String],
    ) -> Result<SignedRelease, ReleaseError> {
        self.check(verdicts)?;
        let [first, second] = signatures else { return Err(ReleaseError::Roles) };
        let (evaluator, approver) = match (first.role(), second.role()) {
            (Role::Evaluator, Role::Approver) => (first, second),
            (Role::Approver, Role::Evaluator) => (second, first),
            _ => return Err(ReleaseError::Roles),
        };
        let (one, other) = (
            evaluator.verify(self.digest(), signed_leaf, trusted)?,
            approver.verify(self.digest(), signed_leaf, trusted)?,
        );
        let folded = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        for (what, equal) in [
            ("signer", one.signer == other.signer),
            ("key", evaluator.key_id() == approver.key_id()),
            ("printed name", folded(&one.printed_name) == folded(&other.printed_name)),
        ] {
            if equal {
                return Err(ReleaseError::SamePerson { what });
            }
        }
        if self.record.contributors.iter().any(|name| folded(name) == folded(&other.printed_name)) {
            return Err(ReleaseError::Contributor);
        }
        Ok(SignedRelease { release: self.clone() })
    }

    /// The rules that need no signature: verdicts are those cited, all of one package, and the mode is below its caps.
    fn check(&self, verdicts: &[Verdict]) -> Result<(), ReleaseError> {
        if self.record.verdict.is_empty() {
            return Err(ReleaseError::NoVerdict);
        }
        for cited in &self.record.verdict {
            let fault = |what| ReleaseError::Verdict { verdict: cited.digest, what };
            let at_hand = verdicts.iter().find(|verdict| verdict.digest() == cited.digest);
            let verdict = at_hand.ok_or_else(|| fault("is cited but not at hand, or its bytes differ"))?;
            if cite(verdict) != *cited {
                return Err(fault("says something else than the record cites"));
            }
            if verdict.package_root() != self.record.package_root {
                return Err(fault("is about another package"));
            }
            self.check_mode(verdict)?;
        }
        Ok(())
    }

    fn check_mode(&self, verdict: &Verdict) -> Result<(), ReleaseError> {
        let by_class = match verdict.class() {
            "A" => Mode::Active,
            "B" => Mode::Canary,
            _ => Mode::Demonstration,
        };
        let by_result = match verdict.result() {
            Word::Pass => Mode::Active,
            Word::Inconclusive => Mode::Demonstration,
            Word::Fail => Mode::Shadow,
        };
        let class_reason = format!("class {} evidence", verdict.class());
        let result_reason = format!("a verdict of {}", verdict.result().as_str());
        for (cap, reason) in [(by_class, class_reason), (by_result, result_reason)] {
            if self.record.mode > cap {
                return Err(ReleaseError::Mode { mode: self.record.mode.as_str(), cap: cap.as_str(), reason });
            }
        }
        Ok(())
    }
}

impl SignedRelease {
    /// The record.
    pub const fn release(&self) -> &Release {
        &self.release
    }

    /// The body of the `release_decision` entry; `signoffs` are the leaves of both `sign_off` entries.
    pub fn to_body(&self, reason: &str, effective_ms: u64, signoffs: Vec<Digest>) -> ReleaseDecision {
        ReleaseDecision {
            decision: Decision::Approve,
            scope: self.release.record.mode.as_str().into(),
            reason: reason.into(),
            effective_ms,
            signoffs,
        }
    }
}

fn cite(verdict: &Verdict) -> CitedVerdict {
    CitedVerdict {
        digest: verdict.digest(),
        protocol: verdict.protocol(),
        set_root: verdict.set_root(),
        class: verdict.class().to_owned(),
        result: verdict.result().as_str().to_owned(),
        look: verdict.look(),
    }
}
