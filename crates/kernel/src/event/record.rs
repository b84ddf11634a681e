//! Events as they are hashed, chained and read back.

use serde::{Deserialize, Serialize};

use crate::{
    canon,
    id::{At, Digest, RunId, Seq},
    sealed::{Mismatch, Opening},
};

use super::Body;

/// An event as hashed and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Format version.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// Position.
    pub seq: Seq,
    /// When, in ms; never before the previous one.
    pub at: At,
    /// What.
    pub body: Body,
    /// Hash of the previous event; of nothing for the first.
    pub prev_hash: Digest,
}

impl Event {
    /// The event's hash: SHA-256 over its canonical JSON.
    ///
    /// # Errors
    /// When a body has no canonical form.
    pub fn hash(&self) -> Result<Digest, canon::Error> {
        canon::digest(self)
    }
}

/// An event with its hash; sealed values inside may be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event.
    pub event: Event,
    /// Its hash.
    pub hash: Digest,
    /// The canonical bytes that were hashed, exactly as stored.
    pub bytes: Vec<u8>,
}

/// Why stored bytes are not the record they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not an event of a version this build knows.
    #[error("event {seq}: cannot be read: {problem}")]
    Unreadable {
        /// Where.
        seq: Seq,
        /// Why.
        problem: String,
    },
    /// Hash, order or chain is broken.
    #[error("event {seq}: {problem}")]
    Broken {
        /// Where.
        seq: Seq,
        /// Why.
        problem: &'static str,
    },
}

impl Record {
    /// Hashes an event and makes it a record.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn new(event: Event) -> Result<Self, canon::Error> {
        let bytes = canon::bytes(&event)?;
        Ok(Self { event, hash: Digest::of(&bytes), bytes })
    }

    /// Reads stored bytes and puts the openings back, checking each against its commitment.
    /// `None` stands for an erased opening.
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn read(seq: Seq, bytes: Vec<u8>, openings: Vec<Option<Opening>>) -> Result<Self, Damage> {
        let mut event: Event = serde_json::from_slice(&bytes)
            .map_err(|e| Damage::Unreadable { seq, problem: e.to_string() })?;
        if event.seq != seq {
            return Err(Damage::Broken { seq, problem: "it carries another sequence number" });
        }
        let mut sealed = event.body.sealed_mut();
        if !openings.is_empty() && sealed.len() != openings.len() {
            return Err(Damage::Broken { seq, problem: "its values do not match its body" });
        }
        for (sealed, opening) in sealed.iter_mut().zip(openings) {
            if let Some(opening) = opening {
                sealed.reopen(opening).map_err(|Mismatch| Damage::Broken {
                    seq,
                    problem: "a value does not open its commitment",
                })?;
            }
        }
        let hash = Digest::of(&bytes);
        Ok(Self { event, hash, bytes })
    }

    /// The openings in the order of [`Body::sealed_mut`]; `None` for an erased one.
    #[must_use]
    pub fn openings(&self) -> Vec<Option<Opening>> {
        self.event.body.sealed().into_iter().map(|sealed| sealed.opening().cloned()).collect()
    }
}

/// Checks hashes, order and chain of a whole journal.
///
/// # Errors
/// The first break.
pub fn check_chain(records: &[Record]) -> Result<(), Damage> {
    let mut previous: Option<&Record> = None;
    for (index, record) in records.iter().enumerate() {
        let seq = index as Seq;
        let broken = |problem| Damage::Broken { seq, problem };
        if record.event.seq != seq {
            return Err(broken("the sequence has a gap"));
        }
        if Digest::of(&record.bytes) != record.hash {
            return Err(broken("its hash does not match its bytes"));
        }
        let expected = previous.map_or_else(Digest::default, |p| p.hash);
        if record.event.prev_hash != expected {
            return Err(broken("it does not follow the event before it"));
        }
        if previous.is_some_and(|p| p.event.run != record.event.run) {
            return Err(broken("it belongs to another run"));
        }
        previous = Some(record);
    }
    Ok(())
}
