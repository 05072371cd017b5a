//! A made-up repository in a temporary folder; each test breaks one thing and expects its fault.

use std::{fs, path::Path};

use tempfile::TempDir;
use vidimus_evidence::{Terminology, check, terminology};

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn change(root: &Path, file: &str, from: &str, to: &str) {
    let path = root.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} lacks {from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

const SOURCE: &str = "crate/src/lib.rs";
const HAZARDS: &str = "regulatory/evidence/hazards.toml";
const REQUIREMENTS: &str = "regulatory/evidence/requirements/a.toml";
const SOUP: &str = "regulatory/evidence/soup.toml";
const LABEL: &str = "regulatory/evidence/labelling/a.toml";
const CROSSWALK: &str = "regulatory/evidence/crosswalk/a.toml";
const DEVICE: &str = "regulatory/evidence/device.toml";

/// Each file of a repository in which every rule holds.
const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        r#"
[workspace]
members = ["crate"]
[workspace.dependencies]
serde = "1.0.2"
"#,
    ),
    (
        "crate/Cargo.toml",
        r#"
[dependencies]
serde.workspace = true
own = { path = "own" }
"#,
    ),
    (
        "Cargo.lock",
        r#"
[[package]]
name = "serde"
version = "1.0.9"
"#,
    ),
    (
        REQUIREMENTS,
        r#"
[[requirement]]
id = "REQ-AAA-001"
text = "A thing holds."
kind = "software"
[[requirement]]
id = "REQ-SYS-001"
text = "All holds."
kind = "system"
refined_by = ["REQ-AAA-001"]
"#,
    ),
    (
        HAZARDS,
        r#"
[[hazard]]
id = "HAZ-001"
hazard = "h"
sequence = "s"
harm = "h"
severity = 4
p_before = 4
p_after = 2
controls = ["RC-001"]
ai_cause = "none"
residual = "why"
[[control]]
id = "RC-001"
text = "c"
kind = "design"
requirement = "REQ-AAA-001"
new_risk = "none"
"#,
    ),
    (
        SOUP,
        r#"
[[soup]]
name = "serde"
version = "1.0.9"
licence = "MIT"
job = "j"
if_wrong = "w"
checked_by = "c"
"#,
    ),
    (
        "p.toml",
        r#"
[[endpoint]]
id = "E1"
"#,
    ),
    (
        LABEL,
        r#"
id = "IU-1"
version = "1"
family = "f"
intended_use = "i"
protocol = "p.toml"
limit = []
warning = []
[[statement]]
id = "LBL-001"
text = "s"
[[performance]]
id = "LBL-002"
text = "AUC {verdict:E1.estimate}"
"#,
    ),
    (
        CROSSWALK,
        r#"
text = "t"
applies_from = "now"
[[clause]]
clause = "1"
asks = "a"
artefacts = ["REQ-AAA-001", "p.toml"]
status = "met"
[[clause]]
clause = "2"
asks = "a"
not_applicable = "because"
status = "not applicable"
"#,
    ),
    (
        DEVICE,
        r#"
name = "n"
manufacturer = "m"
udi_di = "none"
intended_use = "i"
users = []
population = "p"
contraindications = []
principle = "p"
mode_max = "demonstration"
class = []
[[claim]]
id = "CLM-001"
text = "c"
endpoints = ["p.toml#E1"]
statements = ["LBL-001"]
"#,
    ),
];

/// The repository, in a folder of its own.
fn whole() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (file, text) in FILES {
        write(folder.path(), file, text);
    }
    // put together here, so that this file's own lines are not taken for tests
    let test = format!("/// Proves: REQ-AAA-001\n{}[test]\nfn a_thing_holds() {{}}\n", '#');
    write(folder.path(), SOURCE, &format!("{test}const C: &str = f(SCT, \"233604007\");\n"));
    folder
}

/// Breaks one thing and expects the one fault that names it.
#[track_caller]
fn breaks(file: &str, from: &str, to: &str, expected: &str) {
    let folder = whole();
    change(folder.path(), file, from, to);
    let faults: Vec<String> = check(folder.path()).iter().map(ToString::to_string).collect();
    assert!(
        faults.iter().any(|fault| fault.contains(expected)),
        "{from} -> {to}: expected {expected}, found {faults:?}"
    );
}

/// Proves: REQ-EVD-001
#[test]
fn a_whole_repository_has_no_fault() {
    assert_eq!(check(whole().path()), []);
}

/// Proves: REQ-EVD-001
#[test]
fn an_id_that_is_there_twice_or_malformed_is_named() {
    breaks(REQUIREMENTS, "REQ-SYS-001", "REQ-AAA-001", "ids are unique");
    breaks(REQUIREMENTS, "REQ-SYS-001", "REQ-S-1", "expected REQ-AREA-NNN");
    breaks(HAZARDS, "\"HAZ-001\"", "\"HAZARD\"", "expected HAZ-NNN");
    breaks(LABEL, "LBL-002", "LBL-001", "expected LBL-NNN, once");
    breaks(REQUIREMENTS, "text = \"A thing holds.\"", "colour = \"red\"\ntext = \"A thing holds.\"", "unknown field");
}

/// Proves: REQ-EVD-002
#[test]
fn tests_and_requirements_name_each_other() {
    breaks(
        SOURCE,
        "/// Proves: REQ-AAA-001",
        "/// Proves: REQ-AAA-009",
        "proves REQ-AAA-009, which no requirements file has",
    );
    breaks(SOURCE, "/// Proves: REQ-AAA-001", "/// Says what.", "a_thing_holds: names no requirement");
    breaks(SOURCE, "/// Proves: REQ-AAA-001", "/// Says what.", "REQ-AAA-001: no test proves it");
    breaks(SOURCE, "/// Proves: REQ-AAA-001", "/// Says what.", "is refined by REQ-AAA-001, which no test proves");
    breaks(REQUIREMENTS, "refined_by = [\"REQ-AAA-001\"]", "", "REQ-SYS-001: no test proves it");
    let ignored = format!("/// Proves: REQ-AAA-001\n{}[ignore]\n", '#');
    breaks(SOURCE, "/// Proves: REQ-AAA-001\n", &ignored, "is ignored");
}

/// Proves: REQ-EVD-003
#[test]
fn soup_equals_manifests_and_lock_file() {
    breaks(SOUP, "1.0.9", "1.0.8", "Cargo.lock has");
    breaks(SOUP, "\"serde\"", "\"serdes\"", "no member depends on it");
    breaks(SOUP, "\"serde\"", "\"serdes\"", "serde: a member depends on it and no row says why");
    breaks(SOUP, "job = \"j\"", "job = \"\"", "job is empty");
    breaks("Cargo.lock", "1.0.9", "1.0.10", "row says 1.0.9");
}

/// Proves: REQ-EVD-004
#[test]
fn hazards_are_controlled_by_requirements() {
    breaks(HAZARDS, "controls = [\"RC-001\"]", "controls = []", "no control");
    breaks(HAZARDS, "controls = [\"RC-001\"]", "controls = []", "RC-001: controls no hazard");
    breaks(HAZARDS, "controls = [\"RC-001\"]", "controls = [\"RC-009\"]", "names control RC-009");
    breaks(HAZARDS, "REQ-AAA-001", "REQ-AAA-009", "points to REQ-AAA-009");
    breaks(HAZARDS, "p_after = 2", "p_after = 3", "red zone");
    breaks(HAZARDS, "p_after = 2", "p_after = 5", "rises with its controls");
    breaks(HAZARDS, "severity = 4", "severity = 6", "expected 1 to 5");
    breaks(HAZARDS, "kind = \"design\"", "kind = \"information\"", "information alone");
    breaks(HAZARDS, "residual = \"why\"", "residual = \"\"", "say why");
}

/// Proves: REQ-EVD-005
#[test]
fn claims_and_labels_refer_to_endpoints() {
    breaks(DEVICE, "p.toml#E1", "p.toml#E9", "which no protocol has");
    breaks(DEVICE, "[\"LBL-001\"]", "[\"LBL-009\"]", "which no label has");
    breaks(DEVICE, "[\"LBL-001\"]", "[]", "needs an endpoint and a label statement");
    breaks(LABEL, "AUC {verdict:E1.estimate}", "AUC .99", "typed figure");
    breaks(LABEL, "E1.estimate", "E7.estimate", "which its protocol lacks");
    breaks(LABEL, "p.toml", "q.toml", "has no endpoint");
}

/// Proves: REQ-EVD-006
#[test]
fn a_code_that_the_table_lacks_is_named_where_it_is_used() {
    breaks(SOURCE, "233604007", "4855003", "code of http://snomed.info/sct is not in terminology.toml");
    let term = r#"
[[term]]
system = "s"
code = "1"
display = "d"
source_1 = "a"
source_2 = "b"
date = "2026-11-23"
"#;
    Terminology::parse(term).unwrap();
    assert!(Terminology::parse(&term.repeat(2)).unwrap_err().to_string().contains("s 1 is there twice"));
    assert!(Terminology::parse(&format!("{term}colour = \"red\"\n")).is_err());
    let table = terminology().unwrap();
    assert_eq!(table.display("http://snomed.info/sct", "233604007"), Some("Pneumonia"));
    assert_eq!(table.display("http://snomed.info/sct", "168734001"), None, "chest X-ray abnormal is not in use");
}

/// Proves: REQ-EVD-007
#[test]
fn a_clause_has_an_artefact_that_exists_or_a_reason() {
    breaks(CROSSWALK, "\"p.toml\"", "\"q.toml\"", "neither an id nor a file");
    breaks(CROSSWALK, "artefacts = [\"REQ-AAA-001\", \"p.toml\"]", "artefacts = []", "by no artefact");
    breaks(CROSSWALK, "not_applicable = \"because\"", "", "say why");
    breaks(CROSSWALK, "\"met\"", "\"done\"", "expected met, partly, open or not applicable");
}

/// Proves: REQ-EVD-001
#[test]
fn a_missing_or_broken_file_is_a_fault_and_not_a_pass() {
    for file in [HAZARDS, SOUP, DEVICE] {
        let folder = whole();
        fs::remove_file(folder.path().join(file)).unwrap();
        assert!(check(folder.path()).iter().any(|fault| fault.file == file), "{file}");
    }
    breaks(HAZARDS, "severity = 4", "severity = ", "hazards.toml: line 7");
}
