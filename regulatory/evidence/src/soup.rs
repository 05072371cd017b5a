//! Direct dependencies of the workspace's members, from the manifests and the lock file, against `soup.toml`.
//! Every dependency that a member names (tests' included) needs a row with the version that is locked; a row that no
//! member names is an orphan. Source: IEC 62304 clauses on SOUP, by number 5.3.3, 5.3.4, 7.1.2, 8.1.2.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{Fault, data::Soup};

const FILE: &str = "regulatory/evidence/soup.toml";

/// Compares rows and workspace.
pub(crate) fn check(root: &Path, rows: &[Soup]) -> Result<Vec<Fault>, Fault> {
    let direct = direct(root)?;
    let locked = locked(root)?;
    let mut faults = Vec::new();
    let mut named = BTreeSet::new();
    for row in rows {
        let mut fault = |rule: String| faults.push(Fault::new(FILE, &row.name, rule));
        if !named.insert(row.name.as_str()) {
            fault("is there twice".to_owned());
        }
        for (field, text) in
            [("licence", &row.licence), ("job", &row.job), ("if_wrong", &row.if_wrong), ("checked_by", &row.checked_by)]
        {
            if text.trim().is_empty() {
                fault(format!("{field} is empty"));
            }
        }
        match direct.get(&row.name) {
            None => fault("no member depends on it: remove the row".to_owned()),
            Some(requirement) => {
                let versions = locked.get(&row.name).cloned().unwrap_or_default();
                let fitting: Vec<&String> = versions.iter().filter(|version| fits(version, requirement)).collect();
                if !fitting.iter().any(|version| **version == row.version) {
                    fault(format!(
                        "row says {}, Cargo.lock has {fitting:?}: review the change, then update",
                        row.version
                    ));
                }
            }
        }
    }
    for name in direct.keys().filter(|name| !named.contains(name.as_str())) {
        faults.push(Fault::new(FILE, name, "a member depends on it and no row says why: add one"));
    }
    Ok(faults)
}

/// Names of outside crates that members depend on, and the version that the workspace requires.
fn direct(root: &Path) -> Result<BTreeMap<String, String>, Fault> {
    let workspace = manifest(root, "Cargo.toml")?;
    let workspace = workspace.get("workspace");
    let members = workspace.and_then(|w| w.get("members")).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let shared = workspace.and_then(|w| w.get("dependencies")).cloned();
    let mut direct = BTreeMap::new();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let manifest = manifest(root, &format!("{member}/Cargo.toml"))?;
        for table in tables(&manifest) {
            for (name, own) in table {
                let inherited = own.get("workspace").is_some().then(|| shared.as_ref()?.get(name)).flatten();
                let dependency = inherited.unwrap_or(own);
                if dependency.get("path").is_some() {
                    continue;
                }
                let version = dependency.as_str().or_else(|| dependency.get("version")?.as_str()).unwrap_or("");
                let name = dependency.get("package").and_then(toml::Value::as_str).unwrap_or(name);
                direct.insert(name.to_owned(), version.to_owned());
            }
        }
    }
    Ok(direct)
}

/// Dependency tables of a manifest, those of targets included.
fn tables(manifest: &toml::Value) -> Vec<&toml::Table> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    std::iter::once(manifest)
        .chain(targets)
        .flat_map(|holder| kinds.iter().filter_map(|kind| holder.get(kind)?.as_table()))
        .collect()
}

/// Versions in the lock file by name.
fn locked(root: &Path) -> Result<BTreeMap<String, Vec<String>>, Fault> {
    let lock = manifest(root, "Cargo.lock")?;
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for package in lock.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        if let (Some(name), Some(version)) =
            (package.get("name").and_then(toml::Value::as_str), package.get("version").and_then(toml::Value::as_str))
        {
            versions.entry(name.to_owned()).or_default().push(version.to_owned());
        }
    }
    Ok(versions)
}

/// Whether a locked version is of the generation that a requirement such as `0.11.1` or `1` asks for.
fn fits(version: &str, requirement: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        text.trim_start_matches(['=', '^', '~', ' '])
            .split(['.', '+', '-'])
            .map_while(|part| part.parse().ok())
            .collect()
    };
    let (have, want) = (numbers(version), numbers(requirement));
    // up to and including the first number that is not 0
    let significant = want.iter().position(|n| *n != 0).map_or(want.len(), |at| at + 1);
    have.iter().zip(&want).take(significant).all(|(a, b)| a == b)
}

fn manifest(root: &Path, file: &str) -> Result<toml::Value, Fault> {
    let text = fs::read_to_string(root.join(file))
        .map_err(|error| Fault::new(file, "file", format!("cannot be read: {error}")))?;
    toml::from_str(&text).map_err(|error| Fault::new(file, "file", error.message().to_owned()))
}

#[cfg(test)]
mod tests {
    /// Proves: REQ-EVD-003
    #[test]
    fn a_locked_version_fits_its_generation_only() {
        for (version, requirement, expected) in [
            ("0.11.1", "0.11.1", true),
            ("0.11.9", "0.11", true),
            ("0.10.1", "0.11", false),
            ("2.3.14", "2", true),
            ("3.0.0", "2.3", false),
            ("0.10.1", "=0.10.1", true),
        ] {
            assert_eq!(super::fits(version, requirement), expected, "{version} {requirement}");
        }
    }
}
