//! What an evaluation reads from and what it gives back: values with labels.

use std::collections::BTreeMap;

use serde_json::Value;

/// A join-semilattice. `join` must be associative, commutative and idempotent, with `bottom` neutral.
pub trait Join: Clone {
    /// The least label that is at least both.
    fn join(&self, other: &Self) -> Self;
    /// The label of a constant.
    fn bottom() -> Self;
}

/// One step of a path into a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// A field of an object.
    Field(&'a str),
    /// An index into a list, from 0.
    Index(usize),
}

/// The root variables an expression may read, and the labels of everything in them.
pub trait Env {
    /// The labels of this environment.
    type Label: Join;

    /// The value of a root variable, or none if there is no such variable.
    fn value(&self, root: &str) -> Option<&Value>;

    /// The join over the whole subtree at `path`: of every leaf in it, and of its shape (which fields
    /// are there, how long lists are). An empty list or object is a leaf.
    ///
    /// It is also asked for a path that is absent; the answer is then the label of its absence: what
    /// the path would carry if it were there or, where that is not known, the label of the nearest
    /// container that is there.
    fn label(&self, root: &str, path: &[Key<'_>]) -> Self::Label;
}

/// A result with the label of each of its leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<L> {
    /// The JSON value.
    pub value: Value,
    /// For each leaf, by JSON pointer into `value`: the join of everything it was computed from. A
    /// leaf is a scalar, or an empty list or object. The control flow around a leaf is part of it.
    pub leaves: BTreeMap<String, L>,
    /// The join of all `leaves`.
    pub label: L,
}

impl<L: Join> Labelled<L> {
    pub(crate) fn new(value: Value, leaves: BTreeMap<String, L>) -> Self {
        let label = leaves.values().fold(L::bottom(), |all, one| all.join(one));
        Self { value, leaves, label }
    }
}

/// `pointer` with one more token, escaped as RFC 6901 says.
pub(crate) fn push_token(pointer: &str, key: &str) -> String {
    let escaped = key.replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{escaped}")
}
