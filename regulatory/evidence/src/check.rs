//! The checker: one pass over evidence, sources and manifests; every breach is a [`Fault`].
//! Rules: ids unique and well formed; every test proves a known requirement and is not ignored; every requirement has a
//! test or is refined by requirements that have; hazards are controlled, controls are requirements, no residual risk is
//! in the red zone; every claim has endpoints and label statements; performance text holds no typed figure;
//! every clause has an artefact or a reason; SOUP equals manifests and lock file; every code used is in the
//! terminology.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    Fault, Library,
    data::FOLDER,
    soup,
    source::{self, Sources},
    terminology,
};

/// Severity times probability from which a residual risk is not acceptable.
const RED_ZONE: u8 = 12;

/// Checks the repository below `root`; an empty list is the only good answer.
pub fn check(root: &Path) -> Vec<Fault> {
    let mut faults = match (Library::read(root), source::walk(root)) {
        (Err(fault), _) | (_, Err(fault)) => vec![fault],
        (Ok(library), Ok(sources)) => {
            let mut faults = requirements(&library, &sources);
            faults.extend(risks(&library));
            faults.extend(claims(root, &library));
            faults.extend(labels(root, &library));
            faults.extend(clauses(root, &library));
            faults.extend(codes(&sources));
            match soup::check(root, &library.soup) {
                Ok(found) => faults.extend(found),
                Err(fault) => faults.push(fault),
            }
            faults
        }
    };
    faults.sort();
    faults.dedup();
    faults
}

fn requirements(library: &Library, sources: &Sources) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut known = BTreeMap::new();
    for (file, requirement) in &library.requirements {
        if !is_id(&requirement.id, "REQ", true) {
            faults.push(Fault::new(file, &requirement.id, "expected REQ-AREA-NNN"));
        }
        if requirement.text.trim().is_empty() {
            faults.push(Fault::new(file, &requirement.id, "text is empty"));
        }
        if let Some((other, _)) = known.insert(requirement.id.as_str(), (file, requirement)) {
            faults.push(Fault::new(file, &requirement.id, format!("is also in {other}: ids are unique")));
        }
    }
    let mut proved = BTreeSet::new();
    for test in &sources.tests {
        if test.proves.is_empty() {
            faults.push(Fault::new(&test.file, &test.name, "names no requirement: add `Proves: REQ-AREA-NNN`"));
        }
        if test.ignored {
            faults.push(Fault::new(&test.file, &test.name, "is ignored: a test runs or is removed"));
        }
        for id in &test.proves {
            if !known.contains_key(id.as_str()) {
                faults.push(Fault::new(&test.file, &test.name, format!("proves {id}, which no requirements file has")));
            }
            proved.insert(id.as_str());
        }
    }
    for (file, requirement) in &library.requirements {
        let refined = !requirement.refined_by.is_empty();
        for id in &requirement.refined_by {
            if !known.contains_key(id.as_str()) {
                faults.push(Fault::new(file, &requirement.id, format!("is refined by {id}, which does not exist")));
            } else if !proved.contains(id.as_str()) {
                faults.push(Fault::new(file, &requirement.id, format!("is refined by {id}, which no test proves")));
            }
        }
        if !refined && !proved.contains(requirement.id.as_str()) {
            faults.push(Fault::new(file, &requirement.id, "no test proves it"));
        }
    }
    faults
}

fn risks(library: &Library) -> Vec<Fault> {
    let file = format!("{FOLDER}/hazards.toml");
    let requirements: BTreeSet<&str> = library.requirements.iter().map(|(_, r)| r.id.as_str()).collect();
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let controls: BTreeSet<&str> = library.controls.iter().map(|control| control.id.as_str()).collect();
    for hazard in &library.hazards {
        let mut fault = |rule: String| faults.push(Fault::new(&file, &hazard.id, rule));
        if !is_id(&hazard.id, "HAZ", false) || !ids.insert(hazard.id.as_str()) {
            fault("expected HAZ-NNN, once".to_owned());
        }
        if ![hazard.severity, hazard.p_before, hazard.p_after].iter().all(|value| (1..=5).contains(value)) {
            fault("severity and probabilities: expected 1 to 5".to_owned());
        }
        if hazard.p_after > hazard.p_before {
            fault("the probability rises with its controls".to_owned());
        }
        if hazard.severity.saturating_mul(hazard.p_after) >= RED_ZONE {
            fault(format!("residual risk {} x {} is in the red zone", hazard.severity, hazard.p_after));
        }
        if hazard.controls.is_empty() {
            fault("no control".to_owned());
        }
        if hazard.residual.trim().is_empty() {
            fault("residual: say why what is left is accepted".to_owned());
        }
        for control in &hazard.controls {
            if !controls.contains(control.as_str()) {
                fault(format!("names control {control}, which does not exist"));
            }
            used.insert(control.as_str());
        }
        let only_information = hazard
            .controls
            .iter()
            .all(|id| library.controls.iter().any(|c| c.id == *id && c.kind == crate::ControlKind::Information));
        if only_information && hazard.severity >= 3 {
            fault("severity 3 or more is controlled by information alone".to_owned());
        }
    }
    for control in &library.controls {
        let mut fault = |rule: String| faults.push(Fault::new(&file, &control.id, rule));
        if !is_id(&control.id, "RC", false) || !ids.insert(control.id.as_str()) {
            fault("expected RC-NNN, once".to_owned());
        }
        if !requirements.contains(control.requirement.as_str()) {
            fault(format!("points to {}, which no requirements file has", control.requirement));
        }
        if !used.contains(control.id.as_str()) {
            fault("controls no hazard".to_owned());
        }
    }
    faults
}

fn claims(root: &Path, library: &Library) -> Vec<Fault> {
    let file = format!("{FOLDER}/device.toml");
    let statements: BTreeSet<&str> = library.labels.iter().flat_map(|(_, l)| l.all()).map(|s| s.id.as_str()).collect();
    let mut faults = Vec::new();
    for claim in &library.device.claim {
        let mut fault = |rule: String| faults.push(Fault::new(&file, &claim.id, rule));
        if claim.endpoints.is_empty() || claim.statements.is_empty() {
            fault("a claim needs an endpoint and a label statement".to_owned());
        }
        for statement in claim.statements.iter().filter(|id| !statements.contains(id.as_str())) {
            fault(format!("names {statement}, which no label has"));
        }
        for endpoint in &claim.endpoints {
            let found =
                endpoint.split_once('#').is_some_and(|(path, id)| endpoint_ids(root, path).contains(&id.to_owned()));
            if !found {
                fault(format!("names endpoint {endpoint}, which no protocol has"));
            }
        }
    }
    faults
}

/// Ids of the endpoints of a protocol file below the root; none where it cannot be read.
fn endpoint_ids(root: &Path, path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let Ok(protocol) = toml::from_str::<toml::Value>(&text) else { return Vec::new() };
    let endpoints = ["endpoint", "secondary"].into_iter().filter_map(|key| protocol.get(key)?.as_array());
    endpoints.flatten().filter_map(|endpoint| Some(endpoint.get("id")?.as_str()?.to_owned())).collect()
}

fn labels(root: &Path, library: &Library) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    for (file, label) in &library.labels {
        for statement in label.all() {
            if !is_id(&statement.id, "LBL", false) || !ids.insert(statement.id.as_str()) {
                faults.push(Fault::new(file, &statement.id, "expected LBL-NNN, once"));
            }
        }
        let endpoints = endpoint_ids(root, &label.protocol);
        if endpoints.is_empty() {
            faults.push(Fault::new(file, &label.id, format!("protocol {} has no endpoint", label.protocol)));
        }
        for statement in label.performance() {
            match references(&statement.text) {
                Err(rule) => faults.push(Fault::new(file, &statement.id, rule)),
                Ok(references) => {
                    for reference in references {
                        let id = reference.split('.').next().unwrap_or_default();
                        if !endpoints.iter().any(|endpoint| endpoint == id) {
                            faults.push(Fault::new(
                                file,
                                &statement.id,
                                format!("refers to endpoint {id}, which its protocol lacks"),
                            ));
                        }
                    }
                }
            }
        }
    }
    faults
}

/// The references `{verdict:E1.estimate}` of a performance text; any digit outside of one is refused.
fn references(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (before, after) = match rest.split_once("{verdict:") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        if before.chars().any(|c| c.is_ascii_digit()) {
            return Err("performance text holds a typed figure: refer to the verdict instead".to_owned());
        }
        let Some(after) = after else { break };
        let (reference, tail) = after.split_once('}').ok_or("a reference {verdict:..} does not end")?;
        found.push(reference.to_owned());
        rest = tail;
    }
    if found.is_empty() {
        return Err("performance text refers to no figure of a verdict".to_owned());
    }
    Ok(found)
}

fn clauses(root: &Path, library: &Library) -> Vec<Fault> {
    let known: BTreeSet<&str> = library
        .requirements
        .iter()
        .map(|(_, r)| r.id.as_str())
        .chain(library.hazards.iter().map(|h| h.id.as_str()))
        .chain(library.controls.iter().map(|c| c.id.as_str()))
        .chain(library.labels.iter().flat_map(|(_, l)| l.all()).map(|s| s.id.as_str()))
        .collect();
    let mut faults = Vec::new();
    for (file, crosswalk) in &library.crosswalks {
        for clause in &crosswalk.clause {
            let mut fault = |rule: String| faults.push(Fault::new(file, &clause.clause, rule));
            let reason = clause.not_applicable.as_ref().is_some_and(|reason| !reason.trim().is_empty());
            match clause.status.as_str() {
                "met" | "partly" if clause.artefacts.is_empty() => fault("met or partly met by no artefact".to_owned()),
                "met" | "partly" => {}
                "open" | "not applicable" if !reason => fault("say why it is open or not applicable".to_owned()),
                "open" | "not applicable" => {}
                _ => fault("status: expected met, partly, open or not applicable".to_owned()),
            }
            for artefact in &clause.artefacts {
                let is_path = artefact.contains('/') || artefact.contains('.');
                if !(known.contains(artefact.as_str()) || is_path && root.join(artefact).exists()) {
                    fault(format!("names {artefact}, which is neither an id nor a file"));
                }
            }
        }
    }
    faults
}

fn codes(sources: &Sources) -> Vec<Fault> {
    let file = format!("{FOLDER}/terminology.toml");
    let table = match terminology() {
        Ok(table) => table,
        Err(error) => return vec![Fault::new(file, "table", error.to_string())],
    };
    let mut faults: Vec<Fault> = sources
        .codes
        .iter()
        .filter(|used| !used.file.starts_with(FOLDER) && table.find(used.system, &used.code).is_none())
        .map(|used| Fault::new(&used.file, &used.code, format!("code of {} is not in terminology.toml", used.system)))
        .collect();
    for term in table.terms() {
        if term.display.is_empty() || term.source_1.is_empty() || term.source_2.is_empty() || term.date.is_empty() {
            faults.push(Fault::new(&file, &term.code, "display, both sources and date are needed"));
        }
    }
    faults
}

/// `PREFIX-NNN`, or `PREFIX-AREA-NNN`.
fn is_id(id: &str, prefix: &str, with_area: bool) -> bool {
    let parts: Vec<&str> = id.split('-').collect();
    let number = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    match parts.as_slice() {
        [first, area, last] if with_area => {
            *first == prefix && area.len() == 3 && area.bytes().all(|b| b.is_ascii_uppercase()) && number(last)
        }
        [first, last] if !with_area => *first == prefix && number(last),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-EVD-005
    #[test]
    fn a_typed_figure_in_performance_text_is_refused() {
        assert_eq!(references("AUC {verdict:E1.estimate}").unwrap(), ["E1.estimate"]);
        assert!(references("AUC 0.99").unwrap_err().contains("typed figure"));
        assert!(references("AUC {verdict:E1.estimate} (was 1)").is_err());
        assert!(references("AUC {verdict:E1").is_err());
        assert!(references("very good").is_err());
    }

    /// Proves: REQ-EVD-001
    #[test]
    fn ids_have_one_form() {
        for (id, prefix, area, expected) in [
            ("REQ-LOG-001", "REQ", true, true),
            ("REQ-LOG-1", "REQ", true, false),
            ("REQ-log-001", "REQ", true, false),
            ("HAZ-001", "HAZ", false, true),
            ("HAZ-001x", "HAZ", false, false),
        ] {
            assert_eq!(is_id(id, prefix, area), expected, "{id}");
        }
    }
}
