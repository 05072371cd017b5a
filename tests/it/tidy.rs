//! The rules of the house that a compiler does not know: arrows between crates, licences, bans, heads of files, links
//! of documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use vidimus_tests::root;

/// The straight line: a crate may import only crates further left.
const LINE: &[&str] = &[
    "vidimus-log",
    "vidimus-store",
    "vidimus-imaging",
    "vidimus-engine",
    "vidimus-networks",
    "vidimus-reader",
    "vidimus-validation",
    "vidimus-evidence",
    "vidimus",
];

/// Crates beside the line, and what they may import of it.
const BESIDE: &[(&str, &[&str])] = &[
    ("vidimus-verify", &["vidimus-log"]),
    ("vidimus-fuzz", &["vidimus-log", "vidimus-imaging", "vidimus-networks", "vidimus-reader"]),
    ("vidimus-tests", &["vidimus-evidence", "vidimus-imaging", "vidimus-log", "vidimus-store"]),
];

/// Licences that a dependency may have; each `OR` side counts, each `AND` side must.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "0BSD",
    "IJG",
    "BSL-1.0",
    "MIT-0",
    "CDLA-Permissive-2.0",
];

/// Crates that may not be named by a manifest of ours, and what to use.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "rustls"),
    ("ring", "aws-lc-rs, through rustls"),
    ("chrono", "time"),
    ("tokenizers", "nothing: it comes with candle-core and has no use in an image product"),
    ("log", "tracing"),
    ("once_cell", "std::sync::OnceLock"),
    ("lazy_static", "std::sync::LazyLock"),
];

/// Every package of the build for this machine, as cargo knows it.
fn packages() -> Vec<Value> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Our own packages with the names of their dependencies (normal and build, without tests').
fn ours() -> BTreeMap<String, BTreeSet<String>> {
    packages()
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let names = dependencies
                .iter()
                .filter(|dependency| dependency["kind"] != "dev" || package["name"] == "vidimus-tests")
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

/// Proves: REQ-SYS-001
#[test]
fn arrows_between_crates_point_left() {
    for (name, dependencies) in ours() {
        let allowed: BTreeSet<&str> = match LINE.iter().position(|known| *known == name) {
            Some(place) => LINE[..place].iter().copied().collect(),
            None => {
                let (_, allowed) = BESIDE.iter().find(|(known, _)| *known == name).unwrap_or_else(|| {
                    panic!("{name} has no place: put it into the straight line, or beside it, in this test and in ARCHITECTURE.md")
                });
                allowed.iter().copied().collect()
            }
        };
        for dependency in dependencies.iter().filter(|dependency| dependency.starts_with("vidimus")) {
            assert!(allowed.contains(dependency.as_str()), "{name} may not import {dependency}");
        }
    }
}

/// Proves: REQ-SYS-002
#[test]
fn licences_are_permissive() {
    let allowed = |term: &str| LICENCES.contains(&term.trim());
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let text = package["license"].as_str().unwrap_or_default().replace('/', " OR ").replace(['(', ')'], "");
        let fits = text.split(" AND ").all(|part| part.split(" OR ").any(allowed))
            || text.split(" OR ").any(|part| part.split(" AND ").all(allowed));
        assert!(fits, "{name}: licence {text:?} is not in the list");
    }
}

/// Proves: REQ-SYS-002
#[test]
fn banned_crates_are_not_named() {
    for (name, dependencies) in ours() {
        for (banned, instead) in BANNED {
            assert!(!dependencies.contains(*banned), "{name} names {banned}; use {instead}");
        }
    }
}

/// Files that git knows or would take, below the root.
fn files(suffix: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    listing
        .lines()
        .filter(|line| line.ends_with(suffix))
        .map(|line| root().join(line))
        .filter(|path| path.is_file())
        .collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Proves: REQ-SYS-003
#[test]
fn sources_keep_the_rules() {
    let sources = files(".rs");
    assert!(sources.len() > 50, "the listing of sources is broken: {} files", sources.len());
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let name = shown(&path);
        let head = text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
        assert!(head.starts_with("//!"), "{name}: the first line says what the room is for (//! ...)");
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            // A sentence or a table's row inside a literal is not cut for the line's sake.
            let limit = if line.contains('"') { 160 } else { 120 };
            assert!(line.chars().count() <= limit, "{name}:{number}: line over {limit} characters");
            assert!(!line.contains('\t'), "{name}:{number}: tab");
            if name != "tests/it/tidy.rs" {
                for banned in ["dbg!(", "todo!(", "unimplemented!(", "FIXME", "#[ignore"] {
                    assert!(!line.contains(banned), "{name}:{number}: {banned}");
                }
            }
        }
    }
}

/// Proves: REQ-SYS-004
#[test]
fn unsafe_code_lives_in_the_engine_only() {
    for manifest in files("Cargo.toml") {
        let name = shown(&manifest);
        let text: toml::Table = fs::read_to_string(&manifest).unwrap().parse().unwrap();
        if text.contains_key("package") && name != "models/engine/Cargo.toml" {
            let inherits = text.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
            assert_eq!(inherits, Some(true), "{name}: [lints] workspace = true forbids unsafe code");
        }
    }
    let text: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(text["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}

/// Proves: REQ-SYS-003
#[test]
fn links_of_documents_resolve() {
    for path in files(".md") {
        let text = fs::read_to_string(&path).unwrap();
        for (place, _) in text.match_indices("](") {
            let target = text[place + 2..].split(')').next().unwrap_or_default();
            if target.is_empty() || target.starts_with('#') || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let file = path.parent().unwrap().join(target.split('#').next().unwrap_or_default());
            assert!(file.exists(), "{}: link to {target} leads nowhere", shown(&path));
        }
    }
}

/// Proves: REQ-SYS-005
#[test]
fn evidence_is_whole() {
    let faults = vidimus_evidence::check(&root());
    assert!(faults.is_empty(), "{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}
