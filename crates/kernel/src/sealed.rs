//! Values from outside, and the salted commitments that stand for them in hashed bodies.
//!
//! A hashed body never holds a customer's address, only a commitment to it. Value and salt travel
//! beside the body and are stored where they can be erased; after that every chain still verifies.
//!
//! Construction, with every part prefixed by its length as in [`Digest::of_parts`]: each leaf is `SHA-256("harness/leaf/v1" ‖ leaf salt ‖ pointer ‖ canonical value)` with
//! leaf salt = `SHA-256("harness/salt/v1" ‖ value salt ‖ pointer)`; the root is the RFC 6962 Merkle
//! hash of the leaves in pointer order, followed by the hash of the labels where parts have their own.
//! One leaf can be disclosed without the others.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{
    canon,
    id::{Digest, hex, unhex},
    label::{Label, LabelMap},
    pointer,
};

/// Random bytes from the operating system, recorded beside the value they protect.
pub type Salt = [u8; 16];

/// What stands in a hashed body in place of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Merkle root over the salted leaves.
    pub root: Digest,
    /// Length of the canonical value in bytes.
    pub bytes: u64,
    /// The join of every label inside.
    pub label: Label,
}

/// A value, its labels and its salt: the erasable half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The salt the commitment was made with.
    #[serde(with = "salt_hex")]
    pub salt: Salt,
    /// The value itself.
    pub value: Arc<Value>,
    /// Labels of the value and its parts.
    pub labels: LabelMap,
}

/// A commitment, with its opening unless that was erased. Serialises as the commitment alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    commitment: Commitment,
    opening: Option<Opening>,
}

impl Sealed {
    /// Commits to a value.
    ///
    /// # Errors
    /// When the value has no canonical JSON.
    pub fn new(value: Arc<Value>, labels: LabelMap, salt: Salt) -> Result<Self, canon::Error> {
        let opening = Opening { salt, value, labels };
        let commitment = commit(&opening)?;
        Ok(Self { commitment, opening: Some(opening) })
    }

    /// The half that stands in hashed bodies.
    #[must_use]
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    /// The value, salt and labels, unless erased.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// The value, or JSON null once erased.
    #[must_use]
    pub fn value(&self) -> Arc<Value> {
        self.opening.as_ref().map_or_else(|| Arc::new(Value::Null), |o| Arc::clone(&o.value))
    }

    /// The labels of its parts; once erased, the committed join for everything.
    #[must_use]
    pub fn labels(&self) -> LabelMap {
        let joined = || LabelMap::uniform(self.commitment.label.clone());
        self.opening.as_ref().map_or_else(joined, |o| o.labels.clone())
    }

    /// Forgets value and salt.
    pub fn erase(&mut self) {
        self.opening = None;
    }

    /// Puts an opening back after loading, if it opens exactly this commitment.
    ///
    /// # Errors
    /// [`Mismatch`] when it does not: somebody changed the store.
    pub fn reopen(&mut self, opening: Opening) -> Result<(), Mismatch> {
        match commit(&opening) {
            Ok(commitment) if commitment == self.commitment => {
                self.opening = Some(opening);
                Ok(())
            }
            _ => Err(Mismatch),
        }
    }
}

/// A stored value that is not the one the journal committed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored value does not open its commitment: the store was changed behind the journal")]
pub struct Mismatch;

fn commit(opening: &Opening) -> Result<Commitment, canon::Error> {
    let mut leaves = Vec::new();
    let mut failed = None;
    pointer::visit_leaves(&opening.value, &mut |path, leaf| match canon::bytes(leaf) {
        Ok(bytes) => {
            let hash = leaf_hash(&leaf_salt(&opening.salt, path), path, &bytes);
            leaves.push((path.to_owned(), hash));
        }
        Err(error) => failed = Some(error),
    });
    if let Some(error) = failed {
        return Err(error);
    }
    // By pointer bytes, whatever order the map type keeps.
    leaves.sort();
    let mut leaves: Vec<Digest> = leaves.into_iter().map(|(_, hash)| hash).collect();
    if !opening.labels.parts.is_empty() {
        // Which part carries which label is a fact too: moving a label must not go unnoticed.
        leaves.push(labels_hash(&opening.salt, &canon::bytes(&opening.labels)?));
    }
    let bytes = canon::bytes(&*opening.value)?.len() as u64;
    Ok(Commitment { root: merkle_root(&leaves), bytes, label: opening.labels.join_all() })
}

/// The salt of one leaf; disclosing it discloses nothing about other leaves.
#[must_use]
pub fn leaf_salt(salt: &Salt, path: &str) -> Digest {
    Digest::of_parts("harness/salt/v1", &[salt, path.as_bytes()])
}

/// The hash of one leaf, from its own salt, pointer and canonical bytes.
#[must_use]
pub fn leaf_hash(salt: &Digest, path: &str, canonical: &[u8]) -> Digest {
    Digest::of_parts("harness/leaf/v1", &[&salt.0, path.as_bytes(), canonical])
}

/// The hash of the labels of a value's parts, from the value's salt and their canonical bytes.
#[must_use]
pub fn labels_hash(salt: &Salt, canonical: &[u8]) -> Digest {
    Digest::of_parts("harness/labels/v1", &[salt, canonical])
}

/// RFC 6962 tree hash over already hashed leaves (inner nodes only; leaf hashes carry their domain).
#[must_use]
pub fn merkle_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [only] => *only,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            inner_hash(&merkle_root(left), &merkle_root(right))
        }
    }
}

fn inner_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [0_u8; 65];
    let (tag, rest) = bytes.split_at_mut(1);
    tag.fill(1);
    let (first, second) = rest.split_at_mut(32);
    first.copy_from_slice(&left.0);
    second.copy_from_slice(&right.0);
    Digest::of(&bytes)
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.commitment.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Commitment::deserialize(deserializer).map(|commitment| Self { commitment, opening: None })
    }
}

mod salt_hex {
    use super::{Deserialize, Deserializer, Salt, Serializer, hex, unhex};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(salt: &Salt, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(salt))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Salt, D::Error> {
        let bytes = unhex(&String::deserialize(deserializer)?);
        let salt = bytes.and_then(|bytes| Salt::try_from(bytes).ok());
        salt.ok_or_else(|| D::Error::custom("a salt is 32 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sealed(value: Value, salt: u8) -> Sealed {
        Sealed::new(Arc::new(value), LabelMap::default(), [salt; 16]).unwrap()
    }

    #[test]
    fn the_body_shows_nothing_and_depends_on_the_salt() {
        let one = sealed(json!({"to": "ana@example.org"}), 1);
        let text = serde_json::to_string(&one).unwrap();
        assert!(!text.contains("ana"));
        assert_ne!(one.commitment(), sealed(json!({"to": "ana@example.org"}), 2).commitment());
        assert_ne!(one.commitment(), sealed(json!({"to": "bob@example.org"}), 1).commitment());
    }

    #[test]
    fn shape_is_committed_too() {
        assert_ne!(
            sealed(json!({"a": {}}), 1).commitment(),
            sealed(json!({"a": []}), 1).commitment()
        );
        assert_ne!(sealed(json!(["a"]), 1).commitment(), sealed(json!({"1": "a"}), 1).commitment());
    }

    #[test]
    fn moving_a_label_to_another_part_does_not_open() {
        let tainted = Label::default();
        let labels = |pointer: &str| LabelMap {
            whole: Label::bottom(),
            parts: [(pointer.to_owned(), tainted.clone())].into(),
        };
        let value = Arc::new(json!({"a": 1, "b": 2}));
        let mut one = Sealed::new(Arc::clone(&value), labels("/a"), [1; 16]).unwrap();
        let mut moved = one.opening().unwrap().clone();
        moved.labels = labels("/b");
        assert_eq!(one.reopen(moved), Err(Mismatch));
    }

    #[test]
    fn only_the_right_opening_opens() {
        let one = sealed(json!({"to": "ana"}), 1);
        let mut closed: Sealed =
            serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!(*closed.value(), Value::Null);
        let mut forged = one.opening().unwrap().clone();
        forged.value = Arc::new(json!({"to": "eve"}));
        assert_eq!(closed.reopen(forged), Err(Mismatch));
        closed.reopen(one.opening().unwrap().clone()).unwrap();
        assert_eq!(*closed.value(), json!({"to": "ana"}));
    }
}
