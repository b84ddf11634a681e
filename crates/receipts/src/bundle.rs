//! One run, as another machine can verify and replay it: a JSON file that holds every hashed or
//! signed byte exactly, as text.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{
    Digest, RunId,
    event::{Event, Record},
    id::Tenant,
    pointer,
    sealed::{Commitment, Opening},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// What a bundle's `schema` says.
pub const SCHEMA: &str = "harness.bundle/v1";

/// Longest bundle read, in bytes.
pub const BUNDLE_BYTES_MAX: usize = 512 << 20;

/// Most consistency proofs in a bundle.
pub const CONSISTENCY_MAX: usize = 64;

/// A run with its receipts, their proofs, and what is not withheld of its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Whose run.
    pub tenant: Tenant,
    /// Which run.
    pub run: RunId,
    /// Ids of the keys that signed: a hint which public keys to ask for, never evidence.
    pub keys: BTreeSet<String>,
    /// The journal, from its first event.
    pub events: Vec<Entry>,
    /// The run's statements in order, close records included.
    pub receipts: Vec<Logged>,
    /// Signed checkpoint of the log that holds them.
    pub checkpoint: String,
    /// Proofs that the log at the checkpoint begins with earlier ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consistency: Vec<Earlier>,
    /// Plan, pack, policies and other content by digest, in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blobs: BTreeMap<Digest, String>,
}

/// One event and what opens its commitments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The canonical bytes that were hashed, as text.
    pub event: String,
    /// JSON pointer to a commitment in the event → its opening. Absent = withheld or erased.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub openings: BTreeMap<String, Opening>,
}

/// One envelope and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    /// The DSSE envelope, exactly as logged.
    pub envelope: String,
    /// Its leaf index.
    pub leaf: u64,
    /// Inclusion proof against the checkpoint, from the leaf up.
    pub inclusion: Vec<Digest>,
}

/// Consistency of the checkpoint with an earlier size of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// The earlier size.
    pub from: u64,
    /// The proof.
    pub proof: Vec<Digest>,
}

impl Bundle {
    /// Reads a bundle; what it claims is not verified yet.
    ///
    /// # Errors
    /// When it is too long, no JSON, of another schema, or holds an unknown field.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        Error::check_length("bundle", bytes.len(), BUNDLE_BYTES_MAX)?;
        let bundle: Self =
            serde_json::from_slice(bytes).map_err(|e| Error::Bundle(e.to_string()))?;
        if bundle.schema != SCHEMA {
            return Err(Error::Bundle(format!("its schema is not {SCHEMA}")));
        }
        if bundle.consistency.len() > CONSISTENCY_MAX {
            return Err(Error::Bundle(format!("more than {CONSISTENCY_MAX} consistency proofs")));
        }
        Ok(bundle)
    }

    /// The file's bytes: indented, one event or receipt after the other.
    ///
    /// # Errors
    /// When a value inside cannot be written as JSON.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|e| Error::Bundle(e.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Adds content under its digest.
    pub fn add_blob(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest, STANDARD.encode(bytes));
        digest
    }

    /// Takes every opening out: what is left proves the same and shows no value from outside.
    pub fn withhold_openings(&mut self) {
        for entry in &mut self.events {
            entry.openings.clear();
        }
    }

    /// The journal's records with their openings, for replay. Checks the openings, not the chain:
    /// verify first.
    ///
    /// # Errors
    /// When an event cannot be read or a value does not open its commitment.
    pub fn records(&self) -> Result<Vec<Record>, Error> {
        let read = |(seq, entry): (usize, &Entry)| entry.record(seq as u64);
        self.events.iter().enumerate().map(read).collect()
    }
}

impl Entry {
    /// The event of a record with the openings it still has.
    ///
    /// # Errors
    /// When the record's bytes are not the text of its event.
    pub fn of(record: &Record) -> Result<Self, Error> {
        let event = String::from_utf8(record.bytes.clone())
            .map_err(|_| Error::Bundle("an event is not text".to_owned()))?;
        let mut places = commitments(&parse(&event)?);
        let mut openings = BTreeMap::new();
        let mut body = record.event.body.clone();
        for sealed in body.sealed_mut() {
            let Some(opening) = sealed.opening() else {
                continue;
            };
            let at = places.iter().position(|(_, commitment)| commitment == sealed.commitment());
            if let Some(at) = at {
                openings.insert(places.swap_remove(at).0, opening.clone());
            }
        }
        Ok(Self { event, openings })
    }

    /// The event as a record; openings that are absent stay closed.
    fn record(&self, seq: u64) -> Result<Record, Error> {
        let damaged = |e: kernel::event::Damage| Error::Bundle(e.to_string());
        let closed = Record::read(seq, self.event.clone().into_bytes(), Vec::new());
        let mut body = closed.map_err(damaged)?.event.body;
        let value = parse(&self.event)?;
        let mut known: Vec<(Commitment, &Opening)> = Vec::new();
        for (place, opening) in &self.openings {
            let commitment = commitment_at(&value, place).ok_or_else(|| {
                Error::Bundle(format!("event {seq}: nothing at {place} could be opened"))
            })?;
            known.push((commitment, opening));
        }
        let mut openings = Vec::new();
        for sealed in body.sealed_mut() {
            let opening = known.iter().find(|(commitment, _)| commitment == sealed.commitment());
            openings.push(opening.map(|(_, opening)| (*opening).clone()));
        }
        Record::read(seq, self.event.clone().into_bytes(), openings).map_err(damaged)
    }
}

/// Parses the text of an event, which is JSON of this form: see [`Event`].
pub(crate) fn parse(event: &str) -> Result<Value, Error> {
    serde_json::from_str(event)
        .map_err(|e| Error::Bundle(format!("not an event ({e}): {:.60}", event)))
}

/// Reads an event from its text.
pub(crate) fn read_event(value: &Value) -> Result<Event, Error> {
    Event::deserialize(value).map_err(|e| Error::Bundle(e.to_string()))
}

/// The commitment that stands at this place of an event.
pub(crate) fn commitment_at(event: &Value, place: &str) -> Option<Commitment> {
    Commitment::deserialize(event.pointer(place)?).ok()
}

/// Every commitment in an event with the pointer to it.
pub(crate) fn commitments(event: &Value) -> Vec<(String, Commitment)> {
    let mut found = Vec::new();
    collect(event, &mut String::new(), &mut found);
    found
}

fn collect(value: &Value, at: &mut String, found: &mut Vec<(String, Commitment)>) {
    let length = at.len();
    match value {
        Value::Object(map) => {
            if let Ok(commitment) = Commitment::deserialize(value) {
                found.push((at.clone(), commitment));
                return;
            }
            for (key, child) in map {
                at.push('/');
                at.push_str(&pointer::escape(key));
                collect(child, at, found);
                at.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                collect(child, at, found);
                at.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
