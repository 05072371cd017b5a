//! The published vectors of AUDIT_LOG section 5, byte for byte.

use vidimus_log::{
    Digest, leaf_hash,
    note::{Checkpoint, SignedCheckpoint, VerifyingKey},
    tree,
};

const LOG_KEY: &str = "hospital.example/vidimus/site-1+ec6aed81+AT8D+vTUws/7W1gOqSGbdDXrrmt3jPAqTrHAstWiE4z5";
const WITNESS_KEY: &str = "witness.example/w1+586d0b9a+BBQzA22TUGQjImRLTPJOCPRp+BAYPvXYTpf05YEMg813";
const NOTE: &str = concat!(
    "hospital.example/vidimus/site-1\n257\naCIUH6ED4pALM+sjflRi8c3A/oI4ui/kBMpGKne3qkU=\n\n",
    "\u{2014} hospital.example/vidimus/site-1 ",
    "7GrtgdDWcbYHJrn7OgaTClhP08xyFFUF/OmT4ll3CjdJntVMxo4spU2JpBanbt344uXnhEg8m6PU7aqT5H6ljNHNgA4=\n",
    "\u{2014} witness.example/w1 ",
    "WG0LmgAAAABpQwWAbOxG1H/JJ2WieGFbFMfwn1iFwfiefkckrMdbr76PLp+oEVRAgeSgtdETMV7cCmza3oVnovR+A5m+i67GroeRAA==\n",
);

fn leaf(index: u64) -> Digest {
    let t_ms = 1_766_000_000_000 + index;
    let entry = format!(r#"{{"entry_id":"{index:032x}","kind":"read_outcome","site":"s1","t_ms":{t_ms},"v":1}}"#);
    leaf_hash(entry.as_bytes())
}

fn root_text(size: u64) -> String {
    let leaves: Vec<Digest> = (0..size).map(leaf).collect();
    let text = Checkpoint { origin: "o".to_owned(), size, root: tree::root(&leaves) }.text();
    text.lines().nth(2).unwrap().to_owned()
}

/// Proves: REQ-LOG-001
#[test]
fn leaves_and_roots_are_those_of_the_published_vectors() {
    assert_eq!(leaf(0).hex(), "cd5c90fc9aed43b63743261a6e1a4e189b2e2afb3bbf239784faa0eab94c69a9");
    for (size, root) in [
        (1, "zVyQ/JrtQ7Y3QyYabhpOGJsuKvs7vyOXhPqg6rlMaak="),
        (255, "cB+mirewDbwZFu4MMIbR8hBXzm2/Ty4UZtHf1UgdeeE="),
        (256, "cYaypOtMVC0n2BK0oqRJYIjsWe3thB1tMUJx1upG4c0="),
        (257, "aCIUH6ED4pALM+sjflRi8c3A/oI4ui/kBMpGKne3qkU="),
        (1000, "4ufwV0b2+qZeTQnvctqWa/+VN78S4rsA2mevw2DVN6E="),
    ] {
        assert_eq!(root_text(size), root, "root of {size}");
    }
}

/// Proves: REQ-LOG-005
#[test]
fn the_published_note_verifies_under_the_logs_and_the_witnesss_key() {
    let signed = SignedCheckpoint::parse(NOTE).unwrap();
    let (log, witness) = (VerifyingKey::parse(LOG_KEY).unwrap(), VerifyingKey::parse(WITNESS_KEY).unwrap());
    assert_eq!((log.text().as_str(), witness.text().as_str()), (LOG_KEY, WITNESS_KEY));
    assert_eq!(signed.verify(&log).unwrap(), ["witness.example/w1"]);
    assert_eq!(signed.verify_cosignature(&witness).unwrap(), 1_766_000_000);
    assert_eq!(signed.checkpoint.size, 257);
    assert!(signed.verify(&witness).is_err() && signed.verify_cosignature(&log).is_err());
}

/// Proves: REQ-LOG-005
#[test]
fn one_changed_byte_anywhere_in_a_note_is_refused_by_the_key_that_it_concerns() {
    let (log, witness) = (VerifyingKey::parse(LOG_KEY).unwrap(), VerifyingKey::parse(WITNESS_KEY).unwrap());
    for index in 0..NOTE.len() {
        for bit in 0..8 {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[index] ^= 1 << bit;
            let signed = std::str::from_utf8(&bytes).ok().and_then(|note| SignedCheckpoint::parse(note).ok());
            let both =
                signed.is_some_and(|note| note.verify(&log).is_ok() && note.verify_cosignature(&witness).is_ok());
            assert!(!both, "byte {index} bit {bit}");
        }
    }
}

/// Proves: REQ-LOG-005
#[test]
fn keys_and_checkpoints_have_one_spelling() {
    for text in [
        "",
        "hospital.example/vidimus/site-1+ec6aed82+AT8D+vTUws/7W1gOqSGbdDXrrmt3jPAqTrHAstWiE4z5",
        "hospital.example/vidimus/site-2+ec6aed81+AT8D+vTUws/7W1gOqSGbdDXrrmt3jPAqTrHAstWiE4z5",
        "hospital.example/vidimus/site-1+EC6AED81+AT8D+vTUws/7W1gOqSGbdDXrrmt3jPAqTrHAstWiE4z5",
    ] {
        assert!(VerifyingKey::parse(text).is_err(), "{text}");
    }
    let root = "aCIUH6ED4pALM+sjflRi8c3A/oI4ui/kBMpGKne3qkU=";
    assert!(Checkpoint::parse(&format!("o\n1\n{root}\n")).is_ok());
    for text in [
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n1\n{root}"),
        format!("o\n1\n{root}\nextension\n"),
        format!("o\n1\n{}\n", root.replace("kU=", "kV=")),
        format!("\n1\n{root}\n"),
        format!("a b\n1\n{root}\n"),
        format!("a+b\n1\n{root}\n"),
        format!("o\n1\n{root}\n").replace('\n', "\r\n"),
    ] {
        assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
    }
}
