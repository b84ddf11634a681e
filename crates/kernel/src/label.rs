//! Labels: how far a value can be trusted and how widely it may travel.
//!
//! Set by construction from the manifest that declared an operation, never by looking at text. Joining
//! only ever loses trust and gains confidentiality; the way back is a recorded endorsement.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::pointer;

/// Whose word a value is. Ordered from least to most trusted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Anybody could have written it: customer text, web pages, undeclared systems.
    #[default]
    Untrusted,
    /// A declared system of record vouches for it.
    Verified,
    /// The person who asked.
    User,
    /// The operator's configuration or an installed pack.
    Operator,
    /// The harness itself.
    System,
}

/// How widely a value may travel. Ordered from widest to narrowest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Confidentiality {
    /// Anyone may see it.
    Public,
    /// The company may see it.
    Internal,
    /// Those who need it.
    Confidential,
    /// Never leaves; what is undeclared counts as this.
    #[default]
    Secret,
}

/// Trust × confidentiality plus data classes (`pii`, `email`, …). Undeclared = untrusted and secret.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Whose word it is.
    pub trust: Trust,
    /// How far it may travel.
    pub confidentiality: Confidentiality,
    /// Declared data classes, such as `pii`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub classes: BTreeSet<String>,
}

impl Label {
    /// The neutral element of [`Label::join`]: says nothing about anyone.
    #[must_use]
    pub fn bottom() -> Self {
        Self::new(Trust::System, Confidentiality::Public)
    }

    /// A label without data classes.
    #[must_use]
    pub fn new(trust: Trust, confidentiality: Confidentiality) -> Self {
        Self { trust, confidentiality, classes: BTreeSet::new() }
    }

    /// The label of something made from both: least trust, most confidentiality, all classes.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.join_from(other);
        joined
    }

    /// Joins `other` into `self`.
    pub fn join_from(&mut self, other: &Self) {
        self.trust = self.trust.min(other.trust);
        self.confidentiality = self.confidentiality.max(other.confidentiality);
        if !other.classes.is_empty() {
            self.classes.extend(other.classes.iter().cloned());
        }
    }

    /// Whether anybody outside could have shaped it.
    #[must_use]
    pub fn is_tainted(&self) -> bool {
        self.trust == Trust::Untrusted
    }
}

/// The labels of one JSON value: one for the whole, and stricter or looser ones for named parts.
///
/// A part's label is that of the longest pattern that covers it; equally long ones join. The label of a whole subtree joins
/// what covers it with every label inside it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelMap {
    /// What holds where no pattern does.
    pub whole: Label,
    /// Pointer pattern (`/items/*/email`) to label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, Label>,
}

impl LabelMap {
    /// One label for everything.
    #[must_use]
    pub fn uniform(whole: Label) -> Self {
        Self { whole, parts: BTreeMap::new() }
    }

    /// The label of the subtree at `pointer`.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Label {
        let covering = self.parts.iter().filter(|(pattern, _)| pointer::covers(pattern, pointer));
        let length = |pattern: &str| pattern.matches('/').count();
        let longest = covering.clone().map(|(pattern, _)| length(pattern)).max();
        // Of two equally long patterns neither wins: both speak.
        let speaking = covering.filter(|(pattern, _)| Some(length(pattern)) == longest);
        let joined = speaking.map(|(_, label)| label.clone()).reduce(|a, b| a.join(&b));
        let mut label = joined.unwrap_or_else(|| self.whole.clone());
        for (pattern, inner) in &self.parts {
            if is_inside(pattern, pointer) {
                label.join_from(inner);
            }
        }
        label
    }

    /// The join of everything in the value.
    #[must_use]
    pub fn join_all(&self) -> Label {
        self.parts.values().fold(self.whole.clone(), |label, part| label.join(part))
    }

    /// Every part joined with `label`: what a value becomes once something else shaped it.
    #[must_use]
    pub fn joined_with(mut self, label: &Label) -> Self {
        self.whole.join_from(label);
        for part in self.parts.values_mut() {
            part.join_from(label);
        }
        self
    }
}

/// Whether `pattern` may name something strictly inside `pointer`.
fn is_inside(pattern: &str, pointer: &str) -> bool {
    let mut pattern_segments = pattern.split('/').skip(1);
    for have in pointer.split('/').skip(1) {
        match pattern_segments.next() {
            Some(want) if want == "*" || want == have || have == "*" => {}
            _ => return false,
        }
    }
    pattern_segments.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(trust: Trust, confidentiality: Confidentiality) -> Label {
        Label::new(trust, confidentiality)
    }

    #[test]
    fn undeclared_is_untrusted_and_secret() {
        assert_eq!(Label::default(), label(Trust::Untrusted, Confidentiality::Secret));
        assert!(Label::default().is_tainted());
    }

    #[test]
    fn join_is_a_semilattice() {
        let trusts = [Trust::Untrusted, Trust::Verified, Trust::System];
        let confs = [Confidentiality::Public, Confidentiality::Internal, Confidentiality::Secret];
        let all: Vec<Label> =
            trusts.iter().flat_map(|t| confs.iter().map(|c| label(*t, *c))).collect();
        for a in &all {
            assert_eq!(&a.join(a), a);
            assert_eq!(&a.join(&Label::bottom()), a);
            for b in &all {
                assert_eq!(a.join(b), b.join(a));
                for c in &all {
                    assert_eq!(a.join(b).join(c), a.join(&b.join(c)));
                }
            }
        }
    }

    #[test]
    fn a_subtree_carries_what_is_inside_it() {
        let mut map = LabelMap::uniform(label(Trust::Verified, Confidentiality::Internal));
        map.parts
            .insert("/notes/*/text".into(), label(Trust::Untrusted, Confidentiality::Internal));
        assert!(!map.at("/name").is_tainted());
        assert!(map.at("/notes/3/text").is_tainted());
        assert!(map.at("/notes/3").is_tainted(), "it holds the text");
        assert!(!map.at("/notes/3/id").is_tainted());
        assert!(map.at("").is_tainted());
    }
}
