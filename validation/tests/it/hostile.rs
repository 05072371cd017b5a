//! Bytes from outside: whatever they are, a parser answers and does not panic.

use proptest::prelude::*;
use vidimus_validation::{LockedSet, Protocol, Release, Verdict, evaluate, judge, parse_signatures};

use crate::support::{MemoryLog, good_rater, imported, locked, open, protocol, protocol_text, subject};

/// Each text with one byte changed, cut or doubled at a place between 0 and 1.
fn damaged(text: &[u8], place: f64, byte: u8, kind: u8) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place within the text")]
    let at = ((text.len() as f64 * place) as usize).min(text.len() - 1);
    let mut bytes = text.to_vec();
    match kind {
        0 => bytes[at] = byte,
        1 => bytes.truncate(at),
        2 => bytes.insert(at, byte),
        _ => drop(bytes.remove(at)),
    }
    bytes
}

fn parse_all(bytes: &[u8]) {
    let _ = Verdict::parse(bytes);
    let _ = Protocol::parse(bytes);
    let _ = Release::parse(bytes);
    let _ = parse_signatures(&String::from_utf8_lossy(bytes));
}

proptest! {
    /// Proves: REQ-VAL-027
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parse_all(&bytes);
    }
}

/// Proves: REQ-VAL-027
#[test]
fn no_damaged_protocol_or_verdict_makes_a_parser_panic() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    let protocol = protocol(&set, "P1");
    log.add(set.to_body());
    log.add(protocol.to_body());
    let look = open(&log, &set, &protocol, &subject("m"), &[]).unwrap();
    let verdict = judge(&evaluate(&protocol, look, &good_rater).unwrap()).unwrap();
    let texts = [protocol_text(&set, "P1").into_bytes(), verdict.bytes().to_vec()];
    proptest!(|(place in 0.0_f64..1.0, byte: u8, kind in 0_u8..4, which in 0_usize..2)| {
        parse_all(&damaged(&texts[which], place, byte, kind));
    });
}

/// Proves: REQ-VAL-027
#[test]
fn no_damaged_archive_makes_the_set_panic() {
    let folder = tempfile::TempDir::new().unwrap();
    imported(folder.path());
    vidimus_validation::lock(folder.path()).unwrap();
    let path = folder.path().join("images.tar");
    let tar = std::fs::read(&path).unwrap();
    let config = ProptestConfig::with_cases(40);
    proptest!(config, |(place in 0.0_f64..1.0, byte: u8, kind in 0_u8..4)| {
        let damaged = damaged(&tar, place, byte, kind);
        std::fs::write(&path, &damaged).unwrap();
        prop_assert!(damaged == tar || LockedSet::open_manifest(folder.path()).is_err());
    });
}
