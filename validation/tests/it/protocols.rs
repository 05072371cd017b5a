//! Protocols: every field read, unknown and contradictory ones refused, seed and alpha as registered.

use vidimus_log::Digest;
use vidimus_validation::{Protocol, ProtocolError};

use crate::support::{locked, protocol_text};

/// Proves: REQ-VAL-014
#[test]
fn an_unknown_field_is_refused() {
    let (_folder, set) = locked();
    let text = format!("colour = \"red\"\n{}", protocol_text(&set, "P1"));
    let error = Protocol::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(&error, ProtocolError::Form(text) if text.contains("colour")), "{error}");
}

/// Proves: REQ-VAL-014
#[test]
fn contradictory_rules_are_refused_by_field() {
    let (_folder, set) = locked();
    let text = protocol_text(&set, "P1");
    for (from, to, field) in [
        ("order = [\"E1\", \"E2\", \"E3\"]", "order = [\"E2\", \"E1\", \"E3\"]", "order"),
        ("alpha = 0.05 ", "alpha = 0.7 ", "alpha"),
        ("looks = 5", "looks = 0", "looks"),
        ("interval = \"obuchowski\" ", "interval = \"wilson\" ", "endpoint.interval"),
        ("negative_classes = [\"normal\"]", "negative_classes = [\"pneumonia\"]", "positive_classes"),
        ("threshold = 0.5 ", "threshold = 1.5 ", "operating_point.threshold"),
        ("roc_points_max = 60", "roc_points_max = 61", "aggregates.roc_points_max"),
        ("unit = \"patient\"", "unit = \"image\"", "bootstrap.unit"),
        ("seed_rule = \"sha256(protocol||set)[0..8]\"", "seed_rule = \"42\"", "seed_rule"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Protocol::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(&error, ProtocolError::Rule { field: found, .. } if *found == field), "{from}: {error}");
    }
}

/// Proves: REQ-VAL-014
#[test]
fn the_identity_is_the_files_digest_and_the_seed_follows_from_it_and_the_set() {
    let (_folder, set) = locked();
    let text = protocol_text(&set, "P1");
    let protocol = Protocol::parse(text.as_bytes()).unwrap();
    assert_eq!(protocol.digest(), Digest::of(text.as_bytes()));
    let whole = Digest::of_parts([protocol.digest().as_bytes().as_slice(), set.root().as_bytes()]);
    assert_eq!(protocol.seed().as_slice(), &whole.as_bytes()[..8]);
    let respaced = Protocol::parse(format!("{text}\n").as_bytes()).unwrap();
    assert_ne!(respaced.seed(), protocol.seed());
}
