//! Targets of the log's parsers: what a stranger hands to the verifier. Beyond "no panic" each holds a law of its format: what is read prints
//! back to the same bytes, for a second spelling would be a second meaning.

use vidimus_log::{
    Entry, Receipt, canonical,
    note::{SignedCheckpoint, VerifyingKey},
    tile,
};

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A receipt file.
pub fn receipt(bytes: &[u8]) {
    if let Some(Ok(receipt)) = text(bytes).map(Receipt::parse_tlog_proof) {
        assert_eq!(receipt.to_tlog_proof().as_bytes(), bytes, "a receipt has one spelling");
    }
}

/// A signed checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    if let Some(Ok(signed)) = text(bytes).map(SignedCheckpoint::parse) {
        assert_eq!(signed.note().as_bytes(), bytes, "a checkpoint has one spelling");
    }
}

/// A public key.
pub fn vkey(bytes: &[u8]) {
    if let Some(Ok(key)) = text(bytes).map(VerifyingKey::parse) {
        assert_eq!(key.text().as_bytes(), bytes, "a key has one spelling");
    }
}

/// An entry's bytes: the streaming checker and the writer agree on what is canonical.
pub fn entry(bytes: &[u8]) {
    if canonical::check(bytes).is_ok() {
        let value = serde_json::from_slice(bytes).ok();
        let printed = value.as_ref().and_then(|value| canonical::to_bytes(value).ok());
        assert_eq!(printed.as_deref(), Some(bytes), "what is canonical prints back");
    }
    if let Ok(entry) = Entry::parse(bytes) {
        assert_eq!(entry.to_bytes().ok().as_deref(), Some(bytes), "an entry has one spelling");
    }
}

/// An entry bundle.
pub fn bundle(bytes: &[u8]) {
    let mut again = Vec::new();
    for entry in tile::entries(bytes) {
        let Ok(entry) = entry else { return };
        tile::push_entry(&mut again, entry);
    }
    assert_eq!(again, bytes, "a bundle is its entries");
}

/// The path of a tile.
pub fn tile_path(bytes: &[u8]) {
    let _ = text(bytes).map(tile::Name::parse);
}
