//! The program `vidimus-verify` from outside: verdicts by exit code, reasons by `--json`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;
use vidimus_log::tile;

use crate::common::{self, Log, key};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vidimus-verify")).args(arguments).output().unwrap()
}

/// Exit code and reason.
fn verdict(arguments: &[&str]) -> (i32, String) {
    let output = run(&[arguments, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let object: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let reason = object["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!(object["verified"] == Value::Bool(true), output.status.code() == Some(0), "{text}");
    (output.status.code().unwrap(), reason)
}

struct Site {
    dir: TempDir,
    log: Log,
}

impl Site {
    fn of_size(size: u64) -> Self {
        let site = Self { dir: TempDir::new().unwrap(), log: Log::of_size(size) };
        site.publish();
        fs::write(site.dir.path().join("log.vkey"), format!("{}\n", key().text())).unwrap();
        site
    }

    fn publish(&self) {
        for (path, bytes) in self.log.publish().0 {
            let path = self.dir.path().join("tiles").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.dir.path().join(name), bytes).unwrap();
        self.path(name)
    }

    fn log(&self) -> (i32, String) {
        verdict(&["log", &self.path("tiles"), "--key", &self.path("log.vkey")])
    }

    fn receipt(&self, bytes: &[u8]) -> (i32, String) {
        verdict(&["receipt", &self.write("r.tlog-proof", bytes), "--key", &self.path("log.vkey")])
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Proves: REQ-LOG-018
#[test]
fn a_good_log_and_its_receipts_are_verified_with_exit_code_0() {
    let site = Site::of_size(300);
    assert_eq!(site.log(), (0, String::new()));
    assert_eq!(site.receipt(site.log.receipt(299).to_tlog_proof().as_bytes()).0, 0);
    let output = run(&["log", &site.path("tiles"), "--key", &site.path("log.vkey")]);
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("verified: 300 entries of log"));
    let (entry, proof) = (site.log.entries[7].clone(), site.log.receipt(7).to_detached_proof());
    let (entry, proof) = (site.write("e.json", &entry), site.write("d.tlog-proof", proof.as_bytes()));
    assert_eq!(verdict(&["receipt", &proof, "--entry", &entry, "--key", &site.path("log.vkey")]).0, 0);
    assert_eq!(verdict(&["entry", &entry, "--proof", &proof, "--key", &site.path("log.vkey")]).0, 0);
    assert_eq!(verdict(&["entry", &entry]).0, 0);
    assert_eq!(verdict(&["checkpoint", &site.path("tiles/checkpoint"), "--key", &site.path("log.vkey")]).0, 0);
}

/// Proves: REQ-LOG-018
#[test]
fn a_changed_byte_of_a_receipt_is_exit_code_1() {
    let site = Site::of_size(30);
    let text = site.log.receipt(17).to_tlog_proof();
    for at in (0..text.len()).step_by(41) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let (code, reason) = site.receipt(&bytes);
        assert_eq!(code, 1, "byte {at}");
        assert!(["tampered", "unreadable", "signature"].contains(&reason.as_str()), "byte {at}: {reason}");
    }
}

/// Proves: REQ-LOG-018
#[test]
fn each_fault_has_its_reason() {
    let site = Site::of_size(300);
    for (path, at, reason) in [
        (tile::bundle_path(0, 256), 900, "tampered"),
        (tile::bundle_path(0, 256), 1, "tampered"),
        (tile::path(0, 1, 44), 5, "tampered"),
        (tile::path(1, 0, 1), 31, "tampered"),
        ("checkpoint".to_owned(), 28, "signature"),
    ] {
        flip(&site.dir.path().join("tiles").join(&path), at);
        assert_eq!(site.log(), (1, reason.to_owned()), "{path}");
        site.publish();
    }
    fs::remove_file(site.dir.path().join("tiles").join(tile::path(0, 0, 256))).unwrap();
    assert_eq!(site.log(), (1, "unreadable".to_owned()));
    assert_eq!(verdict(&["log", "no-such-folder", "--key", &site.path("log.vkey")]), (1, "unreadable".to_owned()));
    assert_eq!(verdict(&["receipt", "no-such-file", "--key", &site.path("log.vkey")]), (1, "unreadable".to_owned()));
    assert_eq!(verdict(&["log", &site.path("tiles"), "--key", "no-such-key"]), (1, "unreadable".to_owned()));
}

/// Proves: REQ-LOG-018
#[test]
fn an_insiders_entry_is_schema() {
    let mut site = Site::of_size(4);
    let model = site.log.model();
    site.log.outcome(&common::related(&model, "intent"));
    site.publish();
    assert_eq!(site.log(), (1, "schema".to_owned()));
    let entry = site.write("e.json", b"{\"v\":1}");
    assert_eq!(verdict(&["entry", &entry]), (1, "schema".to_owned()));
}

/// Proves: REQ-LOG-015
#[test]
fn a_release_by_one_person_is_schema_and_by_two_is_verified() {
    for (second, expected) in [(1, 1), (2, 0)] {
        let mut site = Site::of_size(3);
        let model = site.log.model();
        let evaluation = site.log.evaluation(&model);
        let signers = [1, second].map(|number| site.log.sign_off(common::person(number), &evaluation).leaf);
        site.log.decision(&model, &evaluation, signers.to_vec());
        site.log.intent(&model);
        site.publish();
        assert_eq!(site.log().0, expected, "signed by 1 and {second}");
    }
}

/// Proves: REQ-LOG-019
#[test]
fn an_older_checkpoint_is_consistent_with_the_grown_log_and_another_history_is_a_fork() {
    let site = Site::of_size(300);
    let (key, tiles, new) = (site.path("log.vkey"), site.path("tiles"), site.path("tiles/checkpoint"));
    for size in [1, 255, 256, 257, 300] {
        let old = site.write("old", Log::of_size(size).note().as_bytes());
        assert_eq!(verdict(&["consistency", &old, &new, "--tiles", &tiles, "--key", &key]).0, 0, "{size}");
    }
    let mut other = Log::of_size(100);
    other.incident("another_history");
    let old = site.write("old", other.note().as_bytes());
    assert_eq!(verdict(&["consistency", &old, &new, "--tiles", &tiles, "--key", &key]), (1, "fork".to_owned()));
    assert_eq!(verdict(&["consistency", &new, &old, "--tiles", &tiles, "--key", &key]), (1, "fork".to_owned()));
}

/// Proves: REQ-LOG-018
#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [&[][..], &["receipt"], &["log", "x"], &["nothing"], &["entry", "x", "--proof", "y"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}
