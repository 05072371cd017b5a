//! Proofs for every leaf of every tree up to a few hundred, held against the definition of RFC 6962.

use proptest::prelude::*;
use vidimus_log::{Digest, leaf_hash, tree};

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

/// RFC 6962 2.1, word for word.
fn textbook_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            tree::node_hash(&textbook_root(&leaves[..split]), &textbook_root(&leaves[split..]))
        }
    }
}

/// Proves: REQ-LOG-001
#[test]
fn roots_and_frontiers_agree_with_the_definition() {
    let mut frontier = tree::Frontier::default();
    let all = leaves(300);
    for (size, leaf) in all.iter().enumerate() {
        assert_eq!(frontier.root(), textbook_root(&all[..size]), "size {size}");
        let parts = tree::Frontier::from_parts(frontier.size(), frontier.hashes().to_vec()).unwrap();
        assert_eq!(parts, frontier);
        frontier.push(*leaf);
    }
}

/// Proves: REQ-LOG-006
#[test]
fn inclusion_is_proved_for_every_leaf_of_every_tree_and_for_no_other_place() {
    let all = leaves(260);
    for size in 1..=260 {
        let tree = &all[..usize::try_from(size).unwrap()];
        let root = tree::root(tree);
        for index in 0..size {
            let leaf = &all[usize::try_from(index).unwrap()];
            let mut proof = tree::inclusion_proof(&mut { tree }, index, size).unwrap();
            assert!(tree::verify_inclusion(leaf, index, size, &proof, &root), "{index} of {size}");
            assert!(!tree::verify_inclusion(leaf, index + 1, size, &proof, &root), "{index} + 1 of {size}");
            assert!(!tree::verify_inclusion(&leaf_hash(b"other"), index, size, &proof, &root));
            proof.push(root);
            assert!(!tree::verify_inclusion(leaf, index, size, &proof, &root), "a longer proof");
        }
    }
}

/// Proves: REQ-LOG-007
#[test]
fn consistency_is_proved_for_every_pair_of_sizes_and_refused_for_another_history() {
    let all = leaves(100);
    let mut other = all.clone();
    other[0] = leaf_hash(b"other");
    for new in 1..=100_u64 {
        let tree = &all[..usize::try_from(new).unwrap()];
        let new_root = tree::root(tree);
        for old in 0..=new {
            let part = ..usize::try_from(old).unwrap();
            let proof = tree::consistency_proof(&mut { tree }, old, new).unwrap();
            let old_root = tree::root(&all[part]);
            assert!(tree::verify_consistency(old, &old_root, new, &new_root, &proof), "{old} in {new}");
            if old > 0 {
                let forged = tree::root(&other[part]);
                assert!(!tree::verify_consistency(old, &forged, new, &new_root, &proof), "forged {old} in {new}");
            }
        }
    }
}

proptest! {
    /// Proves: REQ-LOG-006
    #[test]
    fn a_changed_hash_of_a_proof_is_refused(
        size in 2_u64..600,
        index in any::<u64>(),
        at in any::<usize>(),
        bit in 0..256_usize,
    ) {
        let all = leaves(size);
        let index = index % size;
        let mut proof = tree::inclusion_proof(&mut all.as_slice(), index, size).unwrap();
        let at = at % proof.len();
        let mut bytes = *proof[at].as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        proof[at] = Digest::from_bytes(bytes);
        let leaf = &all[usize::try_from(index).unwrap()];
        prop_assert!(!tree::verify_inclusion(leaf, index, size, &proof, &tree::root(&all)));
    }
}
