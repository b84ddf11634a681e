//! Which parts of the context the rules of an action read: nothing else is built.

use std::collections::BTreeMap;

/// A tree of wanted attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// All of it.
    All,
    /// Only these; none when empty.
    Some(BTreeMap<String, Want>),
}

impl Want {
    pub(crate) fn nothing() -> Self {
        Self::Some(BTreeMap::new())
    }

    /// Adds what lies at this path, and all below it.
    pub(crate) fn add<'p>(&mut self, mut path: impl Iterator<Item = &'p str>) {
        match path.next() {
            None => *self = Self::All,
            Some(first) => {
                if let Self::Some(parts) = self {
                    parts.entry(first.to_owned()).or_insert_with(Self::nothing).add(path);
                }
            }
        }
    }

    /// What is wanted of an attribute; `None` = not at all.
    pub(crate) fn of(&self, attribute: &str) -> Option<&Self> {
        match self {
            Self::All => Some(&Self::All),
            Self::Some(parts) => parts.get(attribute),
        }
    }
}
