//! The operation catalogue: data, keyed by id, each definition pinned by its digest.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    canon,
    id::{Digest, OperationId},
    operation::Operation,
};

/// An operation with the digest of its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The definition.
    pub operation: Arc<Operation>,
    /// SHA-256 of its canonical JSON.
    pub digest: Digest,
}

/// Every operation a run could name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: BTreeMap<OperationId, Entry>,
}

/// Two definitions under one name, or one that has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name may be defined once.
    #[error("operation {0} is defined twice; rename one of them")]
    Duplicate(OperationId),
    /// The definition cannot be hashed.
    #[error("operation {0} cannot be hashed: {1}")]
    Canon(OperationId, canon::Error),
}

impl Catalogue {
    /// Builds a catalogue, refusing duplicate names.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(operations: impl IntoIterator<Item = Operation>) -> Result<Self, Error> {
        let mut catalogue = Self::default();
        for operation in operations {
            let id = operation.id.clone();
            let digest = canon::digest(&operation).map_err(|e| Error::Canon(id.clone(), e))?;
            let entry = Entry { operation: Arc::new(operation), digest };
            if catalogue.entries.insert(id.clone(), entry).is_some() {
                return Err(Error::Duplicate(id));
            }
        }
        Ok(catalogue)
    }

    /// Looks an operation up by its exact name; there is no fuzzy match.
    #[must_use]
    pub fn get(&self, id: &OperationId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All entries in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&OperationId, &Entry)> {
        self.entries.iter()
    }
}

impl Serialize for Catalogue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries.values().map(|entry| &*entry.operation))
    }
}

impl<'de> Deserialize<'de> for Catalogue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let operations = Vec::<Operation>::deserialize(deserializer)?;
        Self::new(operations).map_err(serde::de::Error::custom)
    }
}
