//! Receipts: one file, one key; one changed byte anywhere is refused.

use proptest::prelude::*;
use vidimus_log::{
    Receipt,
    note::{SignedCheckpoint, VerifyingKey},
};

use crate::common::{Log, key};

fn accepted(bytes: &[u8], key: &VerifyingKey) -> bool {
    let text = std::str::from_utf8(bytes).ok();
    let receipt = text.and_then(|text| Receipt::parse_tlog_proof(text).ok());
    receipt.is_some_and(|receipt| receipt.verify(key).is_ok())
}

/// Proves: REQ-LOG-010
#[test]
fn a_receipt_reads_back_and_verifies_at_every_size_around_a_tile() {
    for size in [2, 3, 255, 256, 257] {
        let log = Log::of_size(size);
        for index in [0, 1, size / 2, size - 1] {
            let receipt = log.receipt(index);
            let read = Receipt::parse_tlog_proof(&receipt.to_tlog_proof()).unwrap();
            assert_eq!(read, receipt);
            let verified = read.verify(&key()).unwrap();
            assert_eq!((verified.index, verified.unchecked.len()), (index, 0));
            let detached = Receipt::parse_detached_proof(&receipt.to_detached_proof(), &receipt.entry).unwrap();
            assert_eq!(detached, receipt);
        }
    }
}

/// Proves: REQ-LOG-011
#[test]
fn one_changed_bit_anywhere_in_a_receipt_is_refused() {
    let text = Log::of_size(21).receipt(13).to_tlog_proof();
    assert!(accepted(text.as_bytes(), &key()));
    for index in 0..text.len() {
        for bit in 0..8 {
            let mut changed = text.clone().into_bytes();
            changed[index] ^= 1 << bit;
            assert!(!accepted(&changed, &key()), "byte {index} bit {bit}");
        }
    }
}

/// Proves: REQ-LOG-011
#[test]
fn a_receipt_cut_lengthened_or_of_another_log_is_refused() {
    let text = Log::of_size(9).receipt(4).to_tlog_proof();
    for length in 0..text.len() {
        assert!(!accepted(&text.as_bytes()[..length], &key()), "cut at {length}");
    }
    assert!(!accepted(format!("{text}\n").as_bytes(), &key()));
    assert!(!accepted(text.replace('\n', "\r\n").as_bytes(), &key()));
    let other = zeroize::Zeroizing::new([8; 32]);
    let other = vidimus_log::note::SigningKey::from_seed(key().name(), &other).unwrap();
    assert!(!accepted(text.as_bytes(), &other.verifying_key()));
}

/// Proves: REQ-LOG-010
#[test]
fn the_signature_of_a_key_that_was_not_given_is_named_as_unchecked() {
    let mut receipt = Log::of_size(5).receipt(3);
    receipt.checkpoint.push_str("\u{2014} witness.example/w1 WG0LmgAAAABpQwWA\n");
    let read = Receipt::parse_tlog_proof(&receipt.to_tlog_proof()).unwrap();
    assert_eq!(read.verify(&key()).unwrap().unchecked, ["witness.example/w1"]);
}

proptest! {
    /// Proves: REQ-LOG-011
    #[test]
    fn no_text_makes_the_parsers_panic_and_what_they_accept_prints_again(
        at in any::<prop::sample::Index>(),
        insert in "[\\x00-\\x7f\u{2014}]{0,12}",
        cut in 0..40_usize,
    ) {
        let text = Log::of_size(9).receipt(4).to_tlog_proof();
        let mut changed: Vec<char> = text.chars().collect();
        let start = at.index(changed.len());
        let end = (start + cut).min(changed.len());
        changed.splice(start..end, insert.chars());
        let changed: String = changed.into_iter().collect();
        if let Ok(receipt) = Receipt::parse_tlog_proof(&changed) {
            prop_assert_eq!(receipt.to_tlog_proof(), changed.clone());
            prop_assert!(changed == text || receipt.verify(&key()).is_err());
        }
        if let Some((_, note)) = changed.split_once("\n\n")
            && let Ok(signed) = SignedCheckpoint::parse(note)
        {
            prop_assert_eq!(signed.note(), note);
        }
        let _ = vidimus_log::note::VerifyingKey::parse(&changed);
        let _ = vidimus_log::tile::Name::parse(&changed);
        let _ = vidimus_log::tile::entries(changed.as_bytes()).count();
    }
}
