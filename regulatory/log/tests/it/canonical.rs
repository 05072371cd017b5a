//! Canonical JSON: one text for each value, and a checker that accepts exactly what the writer prints.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use vidimus_log::canonical::{check, to_bytes};

fn refused(text: &str) {
    assert!(check(text.as_bytes()).is_err(), "accepted: {text}");
}

/// Proves: REQ-LOG-003
#[test]
fn texts_that_are_not_in_their_one_form_are_refused() {
    for text in [
        "",
        " ",
        "null",
        "1.0",
        "1e3",
        "-0",
        "01",
        "+1",
        "9007199254740992",
        "-9007199254740992",
        "{ }",
        "[1, 2]",
        "[1,]",
        "{\"a\":1,}",
        "{\"b\":1,\"a\":2}",
        "{\"a\":1,\"a\":2}",
        "{\"A\":1}",
        "{\"\":1}",
        "{\"a\\u0062\":1}",
        "{\"a b\":1}",
        "\"\\u0041\"",
        "\"\\u001F\"",
        "\"\\u0008\"",
        "\"\\u000a\"",
        "\"\\/\"",
        "\"\t\"",
        "\"\\ud800\"",
        "\"a",
        "{\"a\"}",
        "\u{feff}1",
        "1\n",
        "tru",
        "truefalse",
        "\"\u{ffff}\"",
        "\"\u{fffe}\"",
        "[[[[[[[[[1]]]]]]]]]",
        "1 2",
        "{\"a\":1}}",
    ] {
        refused(text);
    }
    refused(&format!("{{\"{}\":1}}", "a".repeat(65)));
    refused(&format!("[{}1]", "1,".repeat(1_024)));
    assert!(check(b"\xff").is_err());
}

/// Proves: REQ-LOG-003
#[test]
fn texts_in_canonical_form_are_accepted_up_to_each_bound() {
    for text in [
        "true",
        "0",
        "-1",
        "9007199254740991",
        "-9007199254740991",
        "{}",
        "[]",
        "\"\"",
        "{\"a\":1,\"a0\":2,\"a_\":3,\"b\":[]}",
        "\"\\b\\t\\n\\f\\r\\\"\\\\\\u0000\\u001f/\u{7f}\u{2028}\u{1f600}\u{fffd}\"",
        "[[[[[[[[1]]]]]]]]",
    ] {
        check(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(to_bytes(&value).unwrap(), text.as_bytes(), "{text}");
    }
    assert!(check(format!("{{\"{}\":1}}", "a".repeat(64)).as_bytes()).is_ok());
    assert!(check(format!("[{}1]", "1,".repeat(1_023)).as_bytes()).is_ok());
}

/// Proves: REQ-LOG-003
#[test]
fn what_has_no_canonical_form_is_not_written() {
    for value in [json!(null), json!(1.5), json!({"A": 1}), json!(9_007_199_254_740_992_u64), json!("\u{ffff}")] {
        assert!(to_bytes(&value).is_err(), "{value}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
        any::<String>().prop_map(|text| Value::from(text.replace(['\u{fffe}', '\u{ffff}'], ""))),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[a-z][a-z0-9_]{0,8}", inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    /// Proves: REQ-LOG-003
    #[test]
    fn what_is_written_is_canonical_and_reads_back(value in values()) {
        let bytes = to_bytes(&value).unwrap();
        let node = check(&bytes).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value.clone());
        if let (Some(members), Some(object)) = (node.members(), value.as_object()) {
            let keys: Vec<&str> = members.map(|(key, _)| key).collect();
            prop_assert_eq!(keys, object.keys().map(String::as_str).collect::<Vec<_>>());
        }
    }

    /// Proves: REQ-LOG-003
    #[test]
    fn whatever_the_checker_accepts_the_writer_prints_again(
        value in values(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = to_bytes(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if check(&bytes).is_ok() {
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(to_bytes(&value).unwrap(), bytes);
        }
    }

    /// Proves: REQ-LOG-003
    #[test]
    fn no_bytes_make_the_checker_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = check(&bytes);
    }
}
