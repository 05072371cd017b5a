//! A verdict: what the gate concluded, as canonical JSON; the only source of a figure that a person reads.
//! Figures are decimal strings of fixed digits, and every ratio has its integer counts beside it. The bytes are a pure
//! function of package, set, protocol, look number and the model's answers: host, build and time are not in them.
//! Errors: [`VerdictError`] for bytes that are not a verdict. Source: EVIDENCE section 7, AUDIT_LOG section 3.

use serde_json::Value;
use vidimus_log::{
    Digest,
    body::{Evaluation as EvaluationBody, Primary, Verdict as Word},
    canonical,
};

/// Raised when any figure may change for the same inputs.
pub const GATE_VERSION: &str = "1";

/// Bytes that are not a verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerdictError {
    /// Not canonical JSON.
    #[error("verdict: {0}")]
    Canonical(#[from] canonical::CanonicalError),
    /// A field is missing or malformed.
    #[error("verdict: {field}: missing or malformed")]
    Field {
        /// The field's path.
        field: &'static str,
    },
    /// A figure contradicts another one.
    #[error("verdict: {field}: {rule}")]
    Inconsistent {
        /// The field's path.
        field: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// A verdict's bytes and the facts that the release and the log need.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    bytes: Vec<u8>,
    value: Value,
    facts: Facts,
}

#[derive(Debug, Clone, PartialEq)]
struct Facts {
    protocol: Digest,
    package_root: Digest,
    family: String,
    version: String,
    set_root: Digest,
    class: String,
    look: u64,
    seed: String,
    result: Word,
    primary: Primary,
}

impl Verdict {
    /// Reads a verdict; its bytes must be canonical and its facts complete.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerdictError> {
        canonical::check(bytes)?;
        let value: Value = serde_json::from_slice(bytes).map_err(|_| VerdictError::Field { field: "/" })?;
        let facts = facts(&value)?;
        consistent(&value, &facts)?;
        Ok(Self { bytes: bytes.to_vec(), value, facts })
    }

    /// The verdict of a value made by the judge.
    pub(crate) fn from_value(value: &Value) -> Result<Self, VerdictError> {
        Self::parse(&canonical::to_bytes(value)?)
    }

    /// The canonical bytes: the file `verdict.json`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of the bytes: the verdict's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The whole verdict, to draw from.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Digest of the protocol.
    pub const fn protocol(&self) -> Digest {
        self.facts.protocol
    }

    /// Root of the package.
    pub const fn package_root(&self) -> Digest {
        self.facts.package_root
    }

    /// The model family.
    pub fn family(&self) -> &str {
        &self.facts.family
    }

    /// The model's version.
    pub fn version(&self) -> &str {
        &self.facts.version
    }

    /// Root of the set.
    pub const fn set_root(&self) -> Digest {
        self.facts.set_root
    }

    /// Class of the set: `A`, `B` or `C`.
    pub fn class(&self) -> &str {
        &self.facts.class
    }

    /// Number of the look.
    pub const fn look(&self) -> u64 {
        self.facts.look
    }

    /// What was concluded.
    pub const fn result(&self) -> Word {
        self.facts.result
    }

    /// The first primary endpoint.
    pub const fn primary(&self) -> &Primary {
        &self.facts.primary
    }

    /// The body of the `evaluation` entry; `made_by` names the makers of a shipped verdict, and is absent for one that
    /// a look of this site opened.
    pub fn to_body(&self, harness: Digest, made_by: Option<&str>) -> EvaluationBody {
        EvaluationBody {
            protocol: self.facts.protocol.into(),
            harness: harness.into(),
            seed: self.facts.seed.as_str().into(),
            results: self.digest().into(),
            primary: self.facts.primary.clone(),
            verdict: self.facts.result,
            made_by: made_by.map(Into::into),
        }
    }

    /// The estimate, limits and counts of a primary endpoint by id: for labels, which may state no figure of their own.
    pub fn endpoint(&self, id: &str) -> Option<&Value> {
        self.value.get("endpoints")?.as_array()?.iter().find(|endpoint| endpoint["id"] == id)
    }
}

fn facts(value: &Value) -> Result<Facts, VerdictError> {
    let text = |field: &'static str| {
        value.pointer(field).and_then(Value::as_str).map(str::to_owned).ok_or(VerdictError::Field { field })
    };
    let digest = |field: &'static str| text(field)?.parse::<Digest>().map_err(|_| VerdictError::Field { field });
    let number =
        |field: &'static str| value.pointer(field).and_then(Value::as_u64).ok_or(VerdictError::Field { field });
    let result = match text("/result")?.as_str() {
        "pass" => Word::Pass,
        "fail" => Word::Fail,
        "inconclusive" => Word::Inconclusive,
        _ => return Err(VerdictError::Field { field: "/result" }),
    };
    Ok(Facts {
        protocol: digest("/protocol/digest")?,
        package_root: digest("/package/root")?,
        family: text("/package/family")?,
        version: text("/package/version")?,
        set_root: digest("/set/root")?,
        class: text("/set/class")?,
        look: number("/look/number")?,
        seed: text("/seed")?,
        result,
        primary: Primary {
            metric: text("/endpoints/0/statistic")?.into(),
            value: text("/endpoints/0/estimate")?.into(),
            ci_low: text("/endpoints/0/interval/low")?.into(),
            ci_high: text("/endpoints/0/interval/high")?.into(),
            n: number("/endpoints/0/n")?,
        },
    })
}

/// The result must follow from the endpoints and the leakage checks, and the confusion must give its ratios: a verdict
/// with one digit changed is found without the data.
fn consistent(value: &Value, facts: &Facts) -> Result<(), VerdictError> {
    let endpoints = value["endpoints"].as_array().ok_or(VerdictError::Field { field: "/endpoints" })?;
    let results: Vec<&str> = endpoints
        .iter()
        .chain(value["leakage"].as_array().into_iter().flatten())
        .chain(value["subgroups"].as_array().into_iter().flatten().filter(|s| s["action"] == "block"))
        .filter_map(|check| check["result"].as_str())
        .collect();
    if conclude(&results) != facts.result {
        return Err(VerdictError::Inconsistent { field: "/result", rule: "does not follow from the endpoints" });
    }
    for endpoint in endpoints {
        let (Some(estimate), Some(low), Some(high)) = (
            decimal(&endpoint["estimate"]),
            decimal(&endpoint["interval"]["low"]),
            decimal(&endpoint["interval"]["high"]),
        ) else {
            return Err(VerdictError::Field { field: "/endpoints/estimate" });
        };
        let (Some(top), Some(bottom)) = (endpoint["counts"]["top"].as_u64(), endpoint["counts"]["bottom"].as_u64())
        else {
            return Err(VerdictError::Field { field: "/endpoints/counts" });
        };
        let ratio = crate::statistics::float(top) / crate::statistics::float(bottom.max(1));
        // six digits are printed, so half a unit of the last one is the most that rounding may change
        if (ratio - estimate).abs() > 0.6e-6 {
            return Err(VerdictError::Inconsistent {
                field: "/endpoints/estimate",
                rule: "is not the ratio of its counts",
            });
        }
        if !(low <= estimate && estimate <= high) {
            return Err(VerdictError::Inconsistent {
                field: "/endpoints/interval",
                rule: "does not hold the estimate",
            });
        }
    }
    Ok(())
}

/// `fail` if anything failed, else `inconclusive` if anything was, else `pass`.
pub(crate) fn conclude(results: &[&str]) -> Word {
    if results.contains(&"fail") {
        Word::Fail
    } else if results.contains(&"inconclusive") {
        Word::Inconclusive
    } else {
        Word::Pass
    }
}

fn decimal(value: &Value) -> Option<f64> {
    value.as_str()?.parse().ok()
}
