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

/// A repository in which every rule holds.
fn whole() -> TempDir {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let attribute = format!("{}[test]", '#');
    write(
        root,
        SOURCE,
        &format!(
            "/// Proves: REQ-AAA-001\n{attribute}\nfn a_thing_holds() {{}}\nconst C: &str = f(SCT, \"233604007\");\n"
        ),
    );
    write(root, "Cargo.toml", "[workspace]\nmembers = [\"crate\"]\n[workspace.dependencies]\nserde = \"1.0.2\"\n");
    write(root, "crate/Cargo.toml", "[dependencies]\nserde.workspace = true\nown = { path = \"own\" }\n");
    write(root, "Cargo.lock", "[[package]]\nname = \"serde\"\nversion = \"1.0.9\"\n");
    write(
        root,
        REQUIREMENTS,
        "[[requirement]]\nid = \"REQ-AAA-001\"\ntext = \"A thing holds.\"\nkind = \"software\"\n\
         [[requirement]]\nid = \"REQ-SYS-001\"\ntext = \"All holds.\"\nkind = \"system\"\nrefined_by = [\"REQ-AAA-001\"]\n",
    );
    write(
        root,
        HAZARDS,
        "[[hazard]]\nid = \"HAZ-001\"\nhazard = \"h\"\nsequence = \"s\"\nharm = \"h\"\nseverity = 4\np_before = 4\np_after = 2\n\
         controls = [\"RC-001\"]\nai_cause = \"none\"\nresidual = \"why\"\n\
         [[control]]\nid = \"RC-001\"\ntext = \"c\"\nkind = \"design\"\nrequirement = \"REQ-AAA-001\"\nnew_risk = \"none\"\n",
    );
    write(
        root,
        SOUP,
        "[[soup]]\nname = \"serde\"\nversion = \"1.0.9\"\nlicence = \"MIT\"\njob = \"j\"\nif_wrong = \"w\"\nchecked_by = \"c\"\n",
    );
    write(root, "p.toml", "[[endpoint]]\nid = \"E1\"\n");
    write(
        root,
        LABEL,
        "id = \"IU-1\"\nversion = \"1\"\nfamily = \"f\"\nintended_use = \"i\"\nprotocol = \"p.toml\"\nlimit = []\nwarning = []\n\
         [[statement]]\nid = \"LBL-001\"\ntext = \"s\"\n[[performance]]\nid = \"LBL-002\"\ntext = \"AUC {verdict:E1.estimate}\"\n",
    );
    write(
        root,
        CROSSWALK,
        "text = \"t\"\napplies_from = \"now\"\n[[clause]]\nclause = \"1\"\nasks = \"a\"\nartefacts = [\"REQ-AAA-001\", \"p.toml\"]\n\
         status = \"met\"\n[[clause]]\nclause = \"2\"\nasks = \"a\"\nnot_applicable = \"because\"\nstatus = \"not applicable\"\n",
    );
    write(
        root,
        DEVICE,
        "name = \"n\"\nmanufacturer = \"m\"\nudi_di = \"none\"\nintended_use = \"i\"\nusers = []\npopulation = \"p\"\n\
         contraindications = []\nprinciple = \"p\"\nmode_max = \"demonstration\"\nclass = []\n\
         [[claim]]\nid = \"CLM-001\"\ntext = \"c\"\nendpoints = [\"p.toml#E1\"]\nstatements = [\"LBL-001\"]\n",
    );
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
    breaks(SOURCE, "/// Proves: REQ-AAA-001\n", "/// Proves: REQ-AAA-001\n#[ignore]\n", "is ignored");
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
    let term = "[[term]]\nsystem = \"s\"\ncode = \"1\"\ndisplay = \"d\"\nsource_1 = \"a\"\nsource_2 = \"b\"\ndate = \"2026-11-23\"\n";
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
    breaks(HAZARDS, "severity = 4", "severity = ", "hazards.toml: line 6");
}
