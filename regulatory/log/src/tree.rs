//! The Merkle tree of RFC 6962: roots, inclusion and consistency proofs, and the frontier by which a log grows.
//! `leaf = SHA-256(0x00 || entry)`, `node = SHA-256(0x01 || left || right)`, the empty tree is `SHA-256("")`.
//! Proofs are made from hashes of perfect subtrees ([`Nodes`]), wherever they are kept, and checked from nothing.
//! Errors: those of the source of hashes; a check answers `bool`. Source: RFC 6962 2.1, RFC 9162 2.1.3 and 2.1.4.

use crate::{Digest, limits::PROOF_HASHES_MAX};

/// Hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts([&[0x01][..], left.as_bytes(), right.as_bytes()])
}

/// Root of the tree without leaves.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// Where hashes of perfect subtrees come from.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;
    /// Hash of the subtree over the leaves `index * 2^level .. (index + 1) * 2^level`.
    fn node(&mut self, level: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// All leaves in memory.
impl Nodes for &[Digest] {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u32, index: u64) -> Result<Digest, Self::Error> {
        let start = usize::try_from(index << level).unwrap_or(usize::MAX);
        let end = usize::try_from((index + 1) << level).unwrap_or(usize::MAX);
        Ok(root(self.get(start..end).unwrap_or_default()))
    }
}

/// Root over `leaves`, in one pass.
pub fn root(leaves: &[Digest]) -> Digest {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// The roots of the perfect subtrees of a growing tree, largest first: all that is needed to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Digest>,
}

impl Frontier {
    /// The frontier of `size` leaves; `None` unless there is one hash for each set bit of `size`.
    pub fn from_parts(size: u64, hashes: Vec<Digest>) -> Option<Self> {
        (u64::try_from(hashes.len()) == Ok(u64::from(size.count_ones()))).then_some(Self { size, hashes })
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            if let Some(left) = self.hashes.pop() {
                hash = node_hash(&left, &hash);
            }
            size >>= 1;
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// One hash for each set bit of the size, high to low.
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// Root of the tree.
    pub fn root(&self) -> Digest {
        let mut hashes = self.hashes.iter().rev();
        let last = hashes.next().copied();
        last.map_or_else(empty_root, |last| hashes.fold(last, |right, left| node_hash(left, &right)))
    }
}

/// The largest power of two below `n`, for n >= 2.
fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// Root of the leaves `start .. start + count`, a range as proofs cut them; of the whole tree with `start` 0.
pub fn range_root<N: Nodes>(nodes: &mut N, start: u64, count: u64) -> Result<Digest, N::Error> {
    match count {
        0 => Ok(empty_root()),
        n if n.is_power_of_two() => nodes.node(n.trailing_zeros(), start / n),
        n => {
            let left = split(n);
            Ok(node_hash(&range_root(nodes, start, left)?, &range_root(nodes, start + left, n - left)?))
        }
    }
}

/// Proof that leaf `index` is in the tree of `size` leaves; empty for an index outside it.
pub fn inclusion_proof<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Digest>, N::Error> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut start, mut count) = (0, size);
    while count > 1 {
        let left = split(count);
        if index < start + left {
            proof.push(range_root(nodes, start + left, count - left)?);
            count = left;
        } else {
            proof.push(range_root(nodes, start, left)?);
            start += left;
            count -= left;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is leaf `index` of the tree of `size` leaves with this root.
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, proof: &[Digest], root: &Digest) -> bool {
    if index >= size || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Proof that the tree of `old` leaves is a prefix of the tree of `new` leaves; empty where there is nothing to prove.
pub fn consistency_proof<N: Nodes>(nodes: &mut N, old: u64, new: u64) -> Result<Vec<Digest>, N::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut start, mut count, mut whole) = (0, new, true);
    let mut rest = old;
    while rest != count {
        let left = split(count);
        if rest <= left {
            proof.push(range_root(nodes, start + left, count - left)?);
            count = left;
        } else {
            proof.push(range_root(nodes, start, left)?);
            start += left;
            rest -= left;
            count -= left;
            whole = false;
        }
    }
    if !whole {
        proof.push(range_root(nodes, start, count)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that the tree (`old`, `old_root`) is a prefix of the tree (`new`, `new_root`).
pub fn verify_consistency(old: u64, old_root: &Digest, new: u64, new_root: &Digest, proof: &[Digest]) -> bool {
    if old > new || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut proof = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { proof.next() };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut before, mut after) = (*first, *first);
    for hash in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            before = node_hash(hash, &before);
            after = node_hash(hash, &after);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *new_root
}
