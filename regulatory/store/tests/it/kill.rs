//! Processes that are killed, or that the system refuses to write for: what was acknowledged is there.
//! The process under test is this test binary, started again with [`CHILD`] naming the site.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use vidimus_log::{Digest, EntryId, RecordError, Recorder as _};
use vidimus_store::ObjectId;

use crate::common::{incident, made, opened};

const CHILD: &str = "VIDIMUS_TEST_CHILD";
/// How many callers append in it at once.
const CALLERS: &str = "VIDIMUS_TEST_CALLERS";
const CHILD_TEST: &str = "kill::the_process_that_the_other_tests_kill";

/// Appends until it is killed or refused, and says each acknowledged entry on standard output. Without [`CHILD`], as in
/// a plain run of all tests, it proves that a process which is not asked to write writes nothing.
/// Proves: REQ-STO-015
#[test]
fn the_process_that_the_other_tests_kill() {
    let Some(dir) = std::env::var_os(CHILD) else {
        let dir = made();
        let before = std::fs::read(dir.path().join("log.db")).unwrap();
        assert_eq!(vidimus_store::Site::open_read(dir.path()).unwrap().size(), 1);
        assert_eq!(std::fs::read(dir.path().join("log.db")).unwrap(), before);
        return;
    };
    let site = opened(Path::new(&dir));
    let callers = std::env::var(CALLERS).map_or(1, |callers| callers.parse().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| append_until_the_end(&site));
        }
    });
}

fn append_until_the_end(site: &vidimus_store::Site) {
    let say = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
    let subject = site.vault().subject(&Digest::of(b"patient")).unwrap();
    for number in 0..100_000 {
        if number % 4 == 3
            && let Ok(object) = site.vault().put(&subject, object_bytes(number).as_bytes())
        {
            say(format!("\nkept {object} {number}\n"));
        }
        match site.record(incident(site.new_id(), &format!("{number} {}", "pad ".repeat(200)))) {
            Ok(receipt) => say(format!("\nack {} {} {}\n", receipt.entry_id, receipt.index, receipt.leaf)),
            Err(error) => {
                let after = site.record(incident(site.new_id(), "after"));
                let fenced = matches!((&error, &after), (RecordError::Fenced(_), Err(RecordError::ReadOnly { .. })));
                say(format!("\nend fenced={fenced} {error}\n"));
                // No destructor: the process ends as one that must not write any more.
                std::process::exit(75);
            }
        }
    }
}

fn object_bytes(number: u32) -> String {
    format!("object {number} ").repeat(100)
}

fn kept(line: &str) -> Option<(ObjectId, u32)> {
    let (object, number) = line.strip_prefix("kept ")?.split_once(' ')?;
    Some((ObjectId::parse(object)?, number.parse().ok()?))
}

struct Acknowledged {
    id: EntryId,
    index: u64,
    leaf: String,
}

fn acknowledged(line: &str) -> Option<Acknowledged> {
    let mut words = line.strip_prefix("ack ")?.split(' ');
    let id = EntryId::parse(words.next()?).ok()?;
    Some(Acknowledged { id, index: words.next()?.parse().ok()?, leaf: words.next()?.to_owned() })
}

fn child(dir: &Path, callers: usize, through: Option<&str>) -> Command {
    let binary = std::env::current_exe().unwrap();
    let arguments = ["--exact", CHILD_TEST, "--nocapture", "--test-threads=1"];
    let mut command = match through {
        None => Command::new(binary),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh"]).arg(binary);
            shell
        }
    };
    command
        .args(arguments)
        .env(CHILD, dir)
        .env(CALLERS, callers.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn check(dir: &Path, ledger: &[Acknowledged], objects: &[(ObjectId, u32)]) {
    let site = opened(dir);
    for (object, number) in objects {
        assert_eq!(site.vault().get(object).unwrap().open(), object_bytes(*number).as_bytes());
    }
    for entry in ledger {
        let receipt = site.receipt(&entry.id).unwrap();
        assert_eq!((receipt.index, receipt.leaf.hex()), (entry.index, entry.leaf.clone()));
    }
    site.verify().unwrap();
}

/// Proves: REQ-STO-015
#[test]
fn every_acknowledged_entry_survives_a_process_killed_at_any_moment() {
    let dir = made();
    let (mut ledger, mut objects) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let callers = if round % 2 == 0 { 16 } else { 1 };
        let mut process = child(dir.path(), callers, None).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let wanted = ledger.len() + 1 + round * 3;
        for line in lines {
            let line = line.unwrap();
            ledger.extend(acknowledged(&line));
            objects.extend(kept(&line));
            if ledger.len() >= wanted {
                // From here on the process runs into the kill; what it still says is read below.
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        assert!(ledger.len() >= wanted, "round {round}");
    }
    assert!(!objects.is_empty());
    check(dir.path(), &ledger, &objects);
}

/// Proves: REQ-STO-016
#[cfg(unix)]
#[test]
fn a_write_that_the_system_refuses_fences_the_log_and_loses_nothing_acknowledged() {
    let dir = made();
    // No file may grow beyond a few hundred kilobytes; the signal that goes with it is ignored, so that write fails.
    let output = child(dir.path(), 1, Some("trap '' XFSZ; ulimit -f 700; exec \"$@\"")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.lines().any(|line| line.starts_with("end fenced=true")), "{text}");
    let ledger: Vec<_> = text.lines().filter_map(acknowledged).collect();
    assert!(!ledger.is_empty());
    let objects: Vec<_> = text.lines().filter_map(kept).collect();
    check(dir.path(), &ledger, &objects);
}

/// Proves: REQ-STO-002
#[test]
fn a_site_held_by_another_process_is_refused_until_it_ends() {
    let dir = made();
    let mut process = child(dir.path(), 1, None).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| acknowledged(&line.unwrap()).is_some()));
    let refused = vidimus_store::Site::open(dir.path(), &crate::common::boot()).err().unwrap();
    assert!(matches!(refused, vidimus_store::SiteError::Locked { .. }), "{refused}");
    process.kill().unwrap();
    process.wait().unwrap();
    opened(dir.path()).verify().unwrap();
}
