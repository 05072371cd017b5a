//! The source tree as the checker sees it: which tests there are, which requirements they prove, which codes are used.
//! A test is a line `#[test]`; its requirements stand in the doc lines above it, as `Proves: REQ-AREA-NNN`.
//! Walked: every `.rs` file below the root but hidden folders, build folders and shared data.

use std::{fs, path::Path};

use crate::Fault;

/// One test.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) proves: Vec<String>,
    pub(crate) ignored: bool,
}

/// A code named in the source beside its system's constant.
#[derive(Debug, Clone)]
pub(crate) struct UsedCode {
    pub(crate) file: String,
    pub(crate) system: &'static str,
    pub(crate) code: String,
}

/// What the sources say.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) tests: Vec<Test>,
    pub(crate) codes: Vec<UsedCode>,
}

/// Folders that hold no source of ours.
const SKIPPED: &[&str] = &["target", "shared", "node_modules"];

/// Constants that stand for a code system in the source, and the system.
const SYSTEMS: &[(&str, &str)] = &[
    ("SCT", "http://snomed.info/sct"),
    ("DCM", "http://dicom.nema.org/resources/ontology/DCM"),
    ("LOINC", "http://loinc.org"),
];

/// Walks the tree.
pub(crate) fn walk(root: &Path) -> Result<Sources, Fault> {
    let mut sources = Sources::default();
    visit(root, root, &mut sources)?;
    Ok(sources)
}

fn visit(root: &Path, folder: &Path, sources: &mut Sources) -> Result<(), Fault> {
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    let fault = |error: std::io::Error| Fault::new(shown(folder), "folder", format!("cannot be read: {error}"));
    let mut entries: Vec<_> = fs::read_dir(folder).map_err(fault)?.collect::<Result<_, _>>().map_err(fault)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().map_err(fault)?;
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
            visit(root, &path, sources)?;
        } else if kind.is_file() && name.ends_with(".rs") {
            let text = fs::read_to_string(&path)
                .map_err(|error| Fault::new(shown(&path), "file", format!("cannot be read: {error}")))?;
            read(&shown(&path), &text, sources);
        }
    }
    Ok(())
}

fn read(file: &str, text: &str, sources: &mut Sources) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate() {
        if *line == "#[test]" {
            sources.tests.push(test(file, &lines, at));
        }
        for (constant, system) in SYSTEMS {
            sources.codes.extend(codes(line, constant).map(|code| UsedCode { file: file.to_owned(), system, code }));
        }
    }
}

/// The test whose attribute stands at line `at`: attributes and doc lines around it belong to it.
fn test(file: &str, lines: &[&str], at: usize) -> Test {
    let belongs = |line: &&str| line.starts_with("///") || line.starts_with("#[");
    let above = lines[..at].iter().rev().take_while(|line| belongs(line)).count();
    let below = lines[at..].iter().take_while(|line| belongs(line)).count();
    let around = &lines[at - above..at + below];
    let name = lines[at + below..].iter().take(2).find_map(|line| {
        let rest = line.split_once("fn ")?.1;
        Some(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?.to_owned())
    });
    Test {
        file: file.to_owned(),
        name: name.unwrap_or_else(|| format!("line {}", at + 1)),
        proves: around.iter().filter(|line| line.starts_with("///")).flat_map(|line| ids(line)).collect(),
        ignored: around.iter().any(|line| line.strip_prefix("#[").is_some_and(|rest| rest.starts_with("ignore"))),
    }
}

/// Requirement ids after `Proves:` in a doc line.
fn ids(line: &str) -> Vec<String> {
    let Some((_, list)) = line.split_once("Proves:") else { return Vec::new() };
    list.split([',', ' ', ';'])
        .map(|id| id.trim_end_matches('.'))
        .filter(|id| id.starts_with("REQ-"))
        .map(str::to_owned)
        .collect()
}

/// Codes in `CONSTANT, "code"` within a line.
fn codes<'a>(line: &'a str, constant: &'a str) -> impl Iterator<Item = String> + 'a {
    let pattern = format!("{constant}, \"");
    let starts: Vec<usize> = line.match_indices(&pattern).map(|(at, _)| at).collect();
    let length = pattern.len();
    starts.into_iter().filter_map(move |at| {
        let before = line[..at].chars().next_back();
        let whole_word = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let code = line[at + length..].split('"').next()?;
        let is_code = !code.is_empty() && code.chars().all(|c| c.is_ascii_digit() || c == '-');
        (whole_word && is_code).then(|| code.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-EVD-002
    #[test]
    fn a_tests_requirements_stand_in_its_own_doc_lines() {
        let (hash, ignored) = ("#", "ignore");
        let first =
            "/// Proves: REQ-AAA-001\nfn no_test() {}\n\n/// Says what.\n/// Proves: REQ-AAA-002, REQ-AAA-003.\n";
        let text =
            format!("{first}{hash}[test]\n{hash}[{ignored}]\nfn a_thing_holds() {{}}\n{hash}[test]\nfn bare() {{}}\n");
        let mut sources = Sources::default();
        read("a.rs", &text, &mut sources);
        let [first, second] = &sources.tests[..] else { panic!("{:?}", sources.tests) };
        assert_eq!((first.name.as_str(), first.ignored), ("a_thing_holds", true));
        assert_eq!(first.proves, ["REQ-AAA-002", "REQ-AAA-003"]);
        assert_eq!((second.name.as_str(), second.proves.len()), ("bare", 0));
    }

    /// Proves: REQ-EVD-006
    #[test]
    fn codes_are_found_beside_their_systems_constant() {
        let line = "coding(SCT, \"233604007\"), f(XSCT, \"1\"), (LOINC, \"18748-4\")";
        assert_eq!(codes(line, "SCT").collect::<Vec<_>>(), ["233604007"]);
        assert_eq!(codes(line, "LOINC").collect::<Vec<_>>(), ["18748-4"]);
    }
}
