//! The manifest of a locked set: one canonical JSON line a case, and the salted commitment of each line.
//! Errors: [`DatasetError::Line`] for a line out of form, [`DatasetError::Commitment`] for one that was changed.
//! Source: EVIDENCE section 2, AUDIT_LOG sections 3 and 4.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use vidimus_log::{Digest, canonical, commit::commitment, leaf_hash, tree};

use super::{DatasetError, archive, file, read};

/// The label of a case's commitment.
const LABEL: &str = "locked-case";
/// One case with its reference standard. Seen in this crate alone: outside there is no way to a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Random id of the case.
    pub(crate) case: String,
    /// The reference standard: the class.
    pub(crate) class: String,
    /// The member of the archive.
    pub(crate) file: String,
    /// Digest of the file's bytes.
    pub(crate) file_sha256: Digest,
    /// Pseudonym of the patient.
    pub(crate) patient: String,
    /// Canonical digest of the decoded pixels (IMAGING section 6).
    pub(crate) pixel_sha256: Digest,
    /// Further strata by name.
    pub(crate) strata: BTreeMap<String, String>,
    /// The reference standard: the subtype, or `none`.
    pub(crate) subtype: String,
}

/// A line of `openings.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    case: String,
    commitment: String,
    opening: String,
}

/// The manifest's bytes for `cases`, sorted by case id.
pub(super) fn to_bytes(cases: &mut [Case]) -> Result<Vec<u8>, DatasetError> {
    cases.sort_by(|a, b| a.case.cmp(&b.case));
    let mut bytes = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        line(&mut bytes, case, file::MANIFEST, index + 1)?;
    }
    Ok(bytes)
}

/// Parses the manifest: canonical lines, ids sorted and unique.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Case>, DatasetError> {
    let cases: Vec<Case> = parse_lines(bytes, file::MANIFEST)?;
    for (index, pair) in cases.windows(2).enumerate() {
        if pair[0].case >= pair[1].case {
            let rule = "case ids must rise from line to line".to_owned();
            return Err(DatasetError::Line { file: file::MANIFEST, line: index + 2, rule });
        }
    }
    Ok(cases)
}

/// The openings' bytes for a manifest, and the root.
pub(super) fn commit(
    manifest: &[u8],
    cases: &[Case],
    opening_of: impl Fn(&Case) -> [u8; 32],
) -> Result<(Vec<u8>, Digest), DatasetError> {
    let mut bytes = Vec::new();
    let mut leaves = Vec::with_capacity(cases.len());
    for (index, (text, case)) in lines(manifest).zip(cases).enumerate() {
        let opening = opening_of(case);
        let commitment = commitment(LABEL, &opening, text).to_string();
        leaves.push(leaf_hash(commitment.as_bytes()));
        let opening = Opening { case: case.case.clone(), commitment, opening: Digest::from_bytes(opening).hex() };
        line(&mut bytes, &opening, file::OPENINGS, index + 1)?;
    }
    Ok((bytes, tree::root(&leaves)))
}

/// Checks each manifest line against its commitment; returns the root of the commitments.
pub(super) fn verify(manifest: &[u8], cases: &[Case], openings: &[u8]) -> Result<Digest, DatasetError> {
    let openings: Vec<Opening> = parse_lines(openings, file::OPENINGS)?;
    if openings.len() != cases.len() {
        let rule = format!("{} lines, but manifest.jsonl has {}", openings.len(), cases.len());
        return Err(DatasetError::Line { file: file::OPENINGS, line: openings.len(), rule });
    }
    let mut leaves = Vec::with_capacity(cases.len());
    for (index, ((text, case), opening)) in lines(manifest).zip(cases).zip(&openings).enumerate() {
        let line = index + 1;
        let secret: Digest = opening.opening.parse().map_err(|_| DatasetError::Line {
            file: file::OPENINGS,
            line,
            rule: "opening: expected 64 lower-case hexadecimal characters".to_owned(),
        })?;
        let expected = commitment(LABEL, secret.as_bytes(), text);
        if opening.case != case.case || opening.commitment != expected.as_str() {
            return Err(DatasetError::Commitment { file: file::MANIFEST, line, case: case.case.clone() });
        }
        leaves.push(leaf_hash(opening.commitment.as_bytes()));
    }
    Ok(tree::root(&leaves))
}

/// All cases with their labels and bytes: for a look alone.
pub(crate) fn read_cases(folder: &Path) -> Result<Vec<(Case, Vec<u8>)>, DatasetError> {
    let cases = parse(&read(folder, file::MANIFEST)?)?;
    let mut members = archive::verified_members(folder, &cases)?;
    cases
        .into_iter()
        .map(|case| match members.remove(&case.file) {
            Some(bytes) => Ok((case, bytes)),
            None => Err(DatasetError::Member { member: case.file, what: "listed twice in manifest.jsonl" }),
        })
        .collect()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn line<T: Serialize>(out: &mut Vec<u8>, value: &T, file: &'static str, line: usize) -> Result<(), DatasetError> {
    let fault = |rule: String| DatasetError::Line { file, line, rule };
    let value = serde_json::to_value(value).map_err(|error| fault(error.to_string()))?;
    out.extend(canonical::to_bytes(&value).map_err(|error| fault(error.to_string()))?);
    out.push(b'\n');
    Ok(())
}

fn parse_lines<T: for<'de> Deserialize<'de>>(bytes: &[u8], file: &'static str) -> Result<Vec<T>, DatasetError> {
    let count = lines(bytes).count();
    let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
    if count == 0 || count != newlines || bytes.last() != Some(&b'\n') {
        let rule = "expected lines of JSON, each with its line end, and no empty one".to_owned();
        return Err(DatasetError::Line { file, line: count, rule });
    }
    lines(bytes)
        .enumerate()
        .map(|(index, text)| {
            let fault = |rule: String| DatasetError::Line { file, line: index + 1, rule };
            canonical::check(text).map_err(|error| fault(error.to_string()))?;
            serde_json::from_slice(text).map_err(|error| fault(error.to_string()))
        })
        .collect()
}
