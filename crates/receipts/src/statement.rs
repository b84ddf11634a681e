//! Reads signed payloads back: an action's receipt or a run's close record, and nothing else.

use kernel::{
    Digest, canon,
    id::{ReceiptId, RunId},
    receipt::{CLOSE_TYPE, Close, Predicate, RECEIPT_TYPE, STATEMENT_TYPE, Statement, Subject},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, dsse, key::Keys};

/// The version of both predicates this build reads.
pub const PREDICATE_VERSION: u32 = 1;

/// What a signed payload says.
#[derive(Clone, Debug, PartialEq)]
pub enum Stated {
    /// One action was dealt with.
    Receipt(Box<Predicate>),
    /// A run's receipts are complete up to here.
    Close(Close),
}

impl Stated {
    /// Its receipt id.
    #[must_use]
    pub fn receipt(&self) -> &ReceiptId {
        match self {
            Self::Receipt(predicate) => &predicate.receipt,
            Self::Close(close) => &close.receipt,
        }
    }

    /// The run it belongs to.
    #[must_use]
    pub fn run(&self) -> &RunId {
        match self {
            Self::Receipt(predicate) => &predicate.run,
            Self::Close(close) => &close.run,
        }
    }

    /// Its place among the run's statements, and the digest of the one before.
    #[must_use]
    pub fn place(&self) -> (u64, Digest) {
        match self {
            Self::Receipt(predicate) => (predicate.index, predicate.prev),
            Self::Close(close) => (close.index, close.prev),
        }
    }
}

/// Checks one envelope by itself: signature, type, version, subject. Says nothing about its run.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_receipt(envelope: &[u8], keys: &Keys) -> Result<Stated, Error> {
    read(&dsse::open(envelope, keys)?)
}

/// Reads a payload that was signed.
///
/// # Errors
/// When it is not a canonical statement of a type and version this build knows.
pub fn read(payload: &[u8]) -> Result<Stated, Error> {
    let refuse = |problem: &str| Error::Statement(problem.to_owned());
    let value = canon::parse(payload)?;
    if canon::bytes(&value)? != payload {
        return Err(refuse("it is not written canonically"));
    }
    match value.get("predicateType").and_then(Value::as_str) {
        Some(RECEIPT_TYPE) => {
            let statement: Statement<Predicate> = typed(value)?;
            let predicate = &statement.predicate;
            check_version(predicate.v)?;
            check_subject(&statement, predicate.receipt.as_str(), &predicate.action_digest)?;
            Ok(Stated::Receipt(Box::new(statement.predicate)))
        }
        Some(CLOSE_TYPE) => {
            let statement: Statement<Close> = typed(value)?;
            let close = &statement.predicate;
            check_version(close.v)?;
            check_subject(&statement, close.run.as_str(), &close.journal_head)?;
            Ok(Stated::Close(statement.predicate))
        }
        _ => Err(refuse("its predicate type is neither a receipt nor a close record")),
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|e| Error::Statement(e.to_string()))
}

fn check_version(version: u32) -> Result<(), Error> {
    if version == PREDICATE_VERSION {
        return Ok(());
    }
    Err(Error::Statement(format!("it has format version {version}; this build reads 1")))
}

fn check_subject<P>(statement: &Statement<P>, name: &str, digest: &Digest) -> Result<(), Error> {
    let refuse = |problem: &str| Err(Error::Statement(problem.to_owned()));
    if statement.kind != STATEMENT_TYPE {
        return refuse("its type is not an in-toto statement v1");
    }
    let [Subject { name: named, digest: digests }] = statement.subject.as_slice() else {
        return refuse("it must have exactly one subject");
    };
    let is_it = digests.len() == 1 && digests.get("sha256").is_some_and(|d| *d == digest.hex());
    if named == name && is_it {
        Ok(())
    } else {
        refuse("its subject is not what its predicate says")
    }
}
