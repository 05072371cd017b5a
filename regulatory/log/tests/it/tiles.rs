//! Tiles and bundles: names, widths, edges.

use proptest::prelude::*;
use vidimus_log::{
    leaf_hash,
    tile::{self, Edge, Name},
    tree,
};

/// Proves: REQ-LOG-008
#[test]
fn names_of_tiles_are_those_of_the_specification() {
    assert_eq!(tile::path(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(tile::path(1, 0, 3), "tile/1/000.p/3");
    assert_eq!(tile::bundle_path(1_000, 256), "tile/entries/x001/000");
    for text in [
        "tile/0/1",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/03",
        "tile/8/000",
        "tile/00/000",
        "tile/0/x000/000",
        "tile/0/../000",
        "tile/entries/",
        "tile/0/001/000",
        "checkpoint",
    ] {
        assert_eq!(Name::parse(text), None, "{text}");
    }
}

/// Proves: REQ-LOG-008
#[test]
fn a_bundle_that_cannot_be_cut_is_an_error() {
    let mut bundle = Vec::new();
    tile::push_entry(&mut bundle, b"one");
    tile::push_entry(&mut bundle, b"two");
    let cut = |bytes: &[u8]| tile::entries(bytes).map(|entry| entry.map(<[u8]>::to_vec)).collect::<Result<Vec<_>, _>>();
    assert_eq!(cut(&bundle).unwrap(), [b"one", b"two"]);
    assert!(cut(&bundle[..9]).is_err() && cut(&bundle[..6]).is_err() && cut(&[0, 0]).is_err());
}

proptest! {
    /// Proves: REQ-LOG-008
    #[test]
    fn a_name_reads_back(level in 0..tile::LEVELS_MAX, index in 0..u64::MAX / 1000, width in 1..=256_u64) {
        let name = Name::Tile { level, index, width };
        prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
        let name = Name::Bundle { index, width };
        prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
    }
}

/// Proves: REQ-LOG-008
#[test]
fn full_tiles_appear_when_filled_and_their_roots_are_hashes_of_the_level_above() {
    let mut edge = Edge::default();
    let mut filled = Vec::new();
    let leaves: Vec<_> = (0_u64..65_536 + 257).map(|index| leaf_hash(&index.to_be_bytes())).collect();
    for leaf in &leaves {
        filled.extend(edge.push(*leaf));
    }
    let level = |level| filled.iter().filter(move |tile| tile.level == level).collect::<Vec<_>>();
    assert_eq!((level(0).len(), level(1).len(), level(2).len()), (257, 1, 0));
    assert_eq!((edge.partial(0).len(), edge.partial(1).len(), edge.partial(2).len()), (1, 1, 1));
    assert_eq!(level(1)[0].root, tree::root(&leaves[..65_536]));
    assert_eq!(edge.partial(2), [level(1)[0].root]);
    assert_eq!(tile::hashes(&level(1)[0].data).unwrap()[255], level(0)[255].root);
}
