//! The models of the site and the evidence for their release, as it lies beside the package and stands in the log.
//! No patient is in any of it: the verdict holds figures and aggregates, the manifests hold digests.

use serde_json::{Map, Value, json};
use vidimus_log::{Digest, Entry, Receipt};
use vidimus_reader::Bundle;
use vidimus_store::ModelRow;
use vidimus_validation::{Protocol, Verdict};

use super::super::{Answer, Call, Kind, Problem};
use crate::gate;

/// Files of the evidence, beside the package.
const EVIDENCE: &str = "evidence";
/// Largest file that is shown.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The models of this site.
pub(in super::super) fn list(call: &Call<'_>) -> Result<Answer, Problem> {
    let rows = call.house().site.models()?;
    let models: Vec<Value> = rows.iter().map(|row| summary(call, row)).collect::<Result<_, _>>()?;
    Answer::json(&json!({ "models": models }))
}

fn summary(call: &Call<'_>, row: &ModelRow) -> Result<Value, Problem> {
    let admitted = gate::admit_row(call.house(), row)?;
    let mode = admitted.as_ref().ok().map(|model| model.deployment().mode());
    Ok(json!({
        "root": row.root,
        "name": row.name,
        "version": row.version,
        "state": row.state,
        "mode": mode,
        "admitted": admitted.is_ok(),
        "why": admitted.as_ref().err().map(ToString::to_string),
    }))
}

fn row(call: &Call<'_>) -> Result<ModelRow, Problem> {
    let root = call.path("root");
    let missing = || Problem::new(Kind::NotFound, "the site knows no model with this package root");
    call.house().site.models()?.into_iter().find(|row| row.root.hex() == root).ok_or_else(missing)
}

/// One model.
pub(in super::super) fn show(call: &Call<'_>) -> Result<Answer, Problem> {
    let row = row(call)?;
    let mut shown = summary(call, &row)?;
    let bundle = match Bundle::read(&gate::folder(call.house(), &row.root)) {
        Ok(bundle) => bundle,
        Err(error) => {
            shown["fault"] = json!(error.to_string());
            return Answer::json(&shown);
        }
    };
    let package = bundle.package();
    shown["package"] = json!(package);
    shown["weights_sha256"] = json!(bundle.digest(&package.weights).ok());
    shown["card"] = json!(bundle.file(&package.card).ok().map(String::from_utf8_lossy));
    if let Ok(model) = gate::admit_row(call.house(), &row)? {
        let figures = model.figures();
        shown["figures"] = json!({
            "sensitivity": figures.sensitivity,
            "specificity": figures.specificity,
            "ci95": figures.ci95,
            "calibration": figures.calibration,
            "set": figures.set,
        });
    }
    Answer::json(&shown)
}

/// The evidence for a release.
pub(in super::super) fn evidence(call: &Call<'_>) -> Result<Answer, Problem> {
    let row = row(call)?;
    let read = |name: &str| read(call, &row.root, &format!("{EVIDENCE}/{name}")).ok();
    let table = |name: &str| -> Option<Value> {
        let text = String::from_utf8(read(name)?).ok()?;
        serde_json::to_value(text.parse::<toml::Table>().ok()?).ok()
    };
    let verdict = read("verdict.json");
    let protocol = read("protocol.toml");
    let looks = looks(protocol.as_deref(), verdict.as_deref());
    let held = gate::Held::collect(call.house(), &row.root)?;
    let all = |receipts: &[Receipt]| receipts.iter().map(entry).collect::<Result<Vec<Value>, Problem>>();
    Answer::json(&json!({
        "root": row.root,
        "name": row.name,
        "version": row.version,
        "verdict": verdict.as_deref().and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok()),
        "verdict_sha256": verdict.as_deref().map(Digest::of),
        "protocol": protocol.as_deref().map(String::from_utf8_lossy),
        "looks": looks,
        "release": table("release.toml"),
        "signatures": table("signatures.toml").and_then(|table| table.get("signature").cloned()).unwrap_or(json!([])),
        "registrations": all(&held.registrations)?,
        "evaluation": held.evaluation.as_ref().map(entry).transpose()?,
        "decisions": all(&held.decisions)?,
        "rollouts": all(&held.rollouts)?,
        "files": files(call, &row.root)?,
    }))
}

/// Looks that the protocol allows, and which one the verdict was.
fn looks(protocol: Option<&[u8]>, verdict: Option<&[u8]>) -> Value {
    let budget = protocol.and_then(|bytes| Protocol::parse(bytes).ok()).map(|protocol| protocol.to_body().looks);
    let used = verdict.and_then(|bytes| Verdict::parse(bytes).ok()).map(|verdict| verdict.look());
    json!({ "used": used, "budget": budget })
}

/// An entry of the log as evidence: what it says, where it stands.
fn entry(receipt: &Receipt) -> Result<Value, Problem> {
    let parsed = Entry::parse(&receipt.entry).map_err(anyhow::Error::from)?;
    let said: Value = serde_json::from_slice(&receipt.entry).map_err(anyhow::Error::from)?;
    let mut shown = Map::new();
    shown.insert("entry_id".into(), json!(receipt.entry_id.to_string()));
    shown.insert("index".into(), json!(receipt.index));
    shown.insert("leaf".into(), json!(receipt.leaf));
    shown.insert("kind".into(), json!(parsed.body.kind()));
    for name in ["t_ms", "actor", "body", "refs"] {
        shown.insert(name.into(), said[name].clone());
    }
    Ok(Value::Object(shown))
}

/// The files of the package and of its evidence, by path.
fn files(call: &Call<'_>, root: &Digest) -> Result<Vec<String>, Problem> {
    let folder = gate::folder(call.house(), root);
    let mut names = Vec::new();
    for (prefix, folder) in [("", folder.clone()), ("evidence/", folder.join(EVIDENCE))] {
        for found in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if found.file_type().is_ok_and(|kind| kind.is_file()) {
                names.push(format!("{prefix}{}", found.file_name().to_string_lossy()));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// A file, as it is.
pub(in super::super) fn file(call: &Call<'_>) -> Result<Answer, Problem> {
    let row = row(call)?;
    let bytes = read(call, &row.root, call.path("file"))?;
    let answer = Answer::bytes("application/octet-stream", bytes);
    Ok(answer.header("content-disposition", "attachment"))
}

/// Reads a file that the package or its evidence has; no other path is followed.
fn read(call: &Call<'_>, root: &Digest, name: &str) -> Result<Vec<u8>, Problem> {
    let missing = || Problem::new(Kind::NotFound, "the package has no file of this name");
    if !files(call, root)?.iter().any(|known| known == name) {
        return Err(missing());
    }
    let path = gate::folder(call.house(), root).join(name);
    let length = std::fs::metadata(&path).map_err(|_| missing())?.len();
    if length > FILE_BYTES_MAX {
        return Err(Problem::new(Kind::TooLarge, "the file is larger than is shown here"));
    }
    std::fs::read(&path).map_err(|_| missing())
}
