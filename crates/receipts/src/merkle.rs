//! The log: a Merkle tree after RFC 6962 (proofs as RFC 9162 checks them), one leaf per envelope.
//!
//! Writers keep a [`Frontier`] (a few hashes, whatever the size). Provers look up complete subtrees by
//! level and index, from a [`Tree`] in memory or from wherever they are stored. Verifiers need neither.

use kernel::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Most leaves a log may have: what every JSON reader still counts exactly.
pub const LOG_SIZE_MAX: u64 = kernel::canon::INTEGER_MAX;

/// Most hashes in a proof: a path down a tree of [`LOG_SIZE_MAX`] leaves, and one more.
pub const PROOF_HASHES_MAX: usize = 64;

/// Looks up the root of the complete subtree of `2^level` leaves that begins at leaf
/// `index · 2^level`; `None` when it is not there.
pub type Nodes<'a> = dyn Fn(u32, u64) -> Option<Digest> + 'a;

/// The hash of a leaf: SHA-256 over 0x00 and the envelope's bytes.
#[must_use]
pub fn leaf_hash(envelope: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(envelope);
    Digest(hasher.finalize().into())
}

/// The hash of an inner node: SHA-256 over 0x01 and its two children.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left.0);
    hasher.update(right.0);
    Digest(hasher.finalize().into())
}

/// The root of a log without leaves.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The right edge of a log: all one needs to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Edge")]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, largest first: one for every bit set in `size`.
    peaks: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    size: u64,
    peaks: Vec<Digest>,
}

impl TryFrom<Edge> for Frontier {
    type Error = &'static str;

    fn try_from(edge: Edge) -> Result<Self, Self::Error> {
        if edge.size > LOG_SIZE_MAX || edge.peaks.len() != edge.size.count_ones() as usize {
            return Err("a frontier holds one peak for every bit set in its size");
        }
        Ok(Self { size: edge.size, peaks: edge.peaks })
    }
}

impl Frontier {
    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash and returns its index.
    pub fn append(&mut self, leaf: Digest) -> u64 {
        let index = self.size;
        let mut node = leaf;
        for _ in 0..index.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
        index
    }

    /// The root of everything so far.
    #[must_use]
    pub fn root(&self) -> Digest {
        let joined =
            self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }
}

/// All complete subtrees of a log, in memory: what proofs are made from.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Appends a leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut carried = Some(leaf);
        for level in &mut self.levels {
            let Some(node) = carried.take() else { return };
            level.push(node);
            if let (0, [.., left, right]) = (level.len() % 2, level.as_slice()) {
                carried = Some(node_hash(left, right));
            }
        }
        if let Some(node) = carried {
            self.levels.push(vec![node]);
        }
    }

    /// The root when the log had `size` leaves; `None` when it never had.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Digest> {
        root(&|level, index| self.node(level, index), size)
    }

    /// See [`prove_inclusion`].
    #[must_use]
    pub fn prove_inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        prove_inclusion(&|level, index| self.node(level, index), index, size)
    }

    /// See [`prove_consistency`].
    #[must_use]
    pub fn prove_consistency(&self, from: u64, to: u64) -> Option<Vec<Digest>> {
        prove_consistency(&|level, index| self.node(level, index), from, to)
    }

    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        self.levels.get(level as usize)?.get(usize::try_from(index).ok()?).copied()
    }
}

impl FromIterator<Digest> for Tree {
    fn from_iter<I: IntoIterator<Item = Digest>>(leaves: I) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|leaf| tree.append(leaf));
        tree
    }
}

/// The root of the first `size` leaves; `None` when a subtree is missing.
#[must_use]
pub fn root(nodes: &Nodes<'_>, size: u64) -> Option<Digest> {
    match size {
        0 => Some(empty_root()),
        1..=LOG_SIZE_MAX => subtree_root(nodes, 0, size),
        _ => None,
    }
}

/// The root over `count` leaves from `start`, which is a multiple of a power of two not below `count`.
fn subtree_root(nodes: &Nodes<'_>, start: u64, count: u64) -> Option<Digest> {
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return nodes(level, start >> level);
    }
    let left = split(count);
    let right = subtree_root(nodes, start + left, count - left)?;
    Some(node_hash(&subtree_root(nodes, start, left)?, &right))
}

/// The largest power of two below `count`, which is at least two.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// Proves that leaf `index` stands in the log of `size` leaves; `None` when it does not.
#[must_use]
pub fn prove_inclusion(nodes: &Nodes<'_>, index: u64, size: u64) -> Option<Vec<Digest>> {
    if index >= size || size > LOG_SIZE_MAX {
        return None;
    }
    let (mut start, mut count, mut path) = (0, size, Vec::new());
    while count > 1 {
        let left = split(count);
        if index < start + left {
            path.push(subtree_root(nodes, start + left, count - left)?);
            count = left;
        } else {
            path.push(subtree_root(nodes, start, left)?);
            (start, count) = (start + left, count - left);
        }
    }
    path.reverse();
    Some(path)
}

/// Proves that the log of `to` leaves begins with the log of `from` leaves; `None` when it cannot.
#[must_use]
pub fn prove_consistency(nodes: &Nodes<'_>, from: u64, to: u64) -> Option<Vec<Digest>> {
    if from > to || to > LOG_SIZE_MAX {
        return None;
    }
    if from == 0 || from == to {
        return Some(Vec::new());
    }
    let (mut start, mut count, mut path) = (0, to, Vec::new());
    while start + count != from {
        let left = split(count);
        if from <= start + left {
            path.push(subtree_root(nodes, start + left, count - left)?);
            count = left;
        } else {
            path.push(subtree_root(nodes, start, left)?);
            (start, count) = (start + left, count - left);
        }
    }
    // The old root itself is known to the verifier.
    if start > 0 {
        path.push(subtree_root(nodes, start, count)?);
    }
    path.reverse();
    Some(path)
}

/// Checks that a leaf stands at `index` of the log of `size` leaves with this root.
///
/// # Errors
/// [`Error::Proof`].
pub fn check_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), Error> {
    if index >= size {
        return Err(Error::Proof("the leaf lies behind the end of the log"));
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(Error::Proof("it is too long"));
        }
        if place % 2 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place % 2 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(Error::Proof("it leads to another root")),
        _ => Err(Error::Proof("it is too short")),
    }
}

/// The head of a log: how many leaves, and their root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: Digest,
}

/// Checks that the log with head `new` begins with the log with head `old`.
///
/// # Errors
/// [`Error::Proof`].
pub fn check_consistency(old: &Head, new: &Head, proof: &[Digest]) -> Result<(), Error> {
    if old.size > new.size {
        return Err(Error::Proof("the log became shorter"));
    }
    if old.size == new.size || old.size == 0 {
        let fits = if old.size == 0 { old.root == empty_root() } else { true };
        let same = old.size != new.size || old.root == new.root;
        return match (proof.is_empty(), fits && same) {
            (true, true) => Ok(()),
            (false, _) => Err(Error::Proof("it is too long")),
            (true, false) => Err(Error::Proof("the same size has another root")),
        };
    }
    let old_is_whole = old.size.is_power_of_two().then_some(old.root);
    let mut path = old_is_whole.iter().chain(proof);
    let (mut place, mut last) = (old.size - 1, new.size - 1);
    while place % 2 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let first = path.next().filter(|_| !proof.is_empty());
    let first = *first.ok_or(Error::Proof("it is too short"))?;
    let (mut old_hash, mut new_hash) = (first, first);
    for hash in path {
        if last == 0 {
            return Err(Error::Proof("it is too long"));
        }
        if place % 2 == 1 || place == last {
            old_hash = node_hash(hash, &old_hash);
            new_hash = node_hash(hash, &new_hash);
            while place % 2 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, hash);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    match (last, old_hash == old.root && new_hash == new.root) {
        (0, true) => Ok(()),
        (0, false) => Err(Error::Proof("it leads to other roots: the log was rewritten")),
        _ => Err(Error::Proof("it is too short")),
    }
}

#[cfg(test)]
mod tests;
