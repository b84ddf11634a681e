//! The file itself, the log's checkpoint and proofs, and content by digest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::Digest;

use super::{Found, report::Outcome};
use crate::{
    bundle::{Bundle, SCHEMA},
    checkpoint::Checkpoint,
    key::Keys,
    merkle,
};

pub(super) fn check_format(bundle: &Bundle) -> Outcome {
    if bundle.schema == SCHEMA {
        return Outcome::ok(SCHEMA);
    }
    Outcome::Failed { reason: format!("the schema is not {SCHEMA}") }
}

pub(super) fn open_checkpoint(bundle: &Bundle, keys: &Keys) -> Found<Checkpoint> {
    let checkpoint =
        Checkpoint::open(&bundle.checkpoint, keys).map_err(|e| format!("checkpoint: {e}"))?;
    let detail = format!("log {} at {} leaves", checkpoint.origin, checkpoint.head.size);
    Ok((checkpoint, detail))
}

/// Every envelope stands in the log, one after the other.
pub(super) fn check_inclusion(bundle: &Bundle, checkpoint: &Checkpoint) -> Outcome {
    let merkle::Head { size, root } = checkpoint.head;
    let mut previous = None;
    for (index, logged) in bundle.receipts.iter().enumerate() {
        if previous.is_some_and(|p| p >= logged.leaf) {
            let reason = format!("receipt {index}: it stands in the log before the one it follows");
            return Outcome::Failed { reason };
        }
        previous = Some(logged.leaf);
        let leaf = merkle::leaf_hash(logged.envelope.as_bytes());
        let proof = &logged.inclusion;
        if let Err(error) = merkle::check_inclusion(&leaf, logged.leaf, size, proof, &root) {
            let reason =
                format!("receipt {index}: it is not leaf {} of the log: {error}", logged.leaf);
            return Outcome::Failed { reason };
        }
    }
    Outcome::ok(format!("{} envelopes stand in the log", bundle.receipts.len()))
}

/// The log begins with the one that was seen earlier. A check that was asked for and cannot be made
/// has failed.
pub(super) fn check_since(bundle: &Bundle, now: &Checkpoint, since: &Checkpoint) -> Outcome {
    let found = if now.origin != since.origin {
        Err(format!("the earlier checkpoint is of another log, {}", since.origin))
    } else if since.head.size > now.head.size {
        Err(format!(
            "the log had {} leaves before and has {} here: it was cut, or the bundle is older",
            since.head.size, now.head.size
        ))
    } else {
        let needs_none = since.head.size == 0 || since.head.size == now.head.size;
        let found = bundle.consistency.iter().find(|e| e.from == since.head.size);
        match (found, needs_none) {
            (Some(earlier), _) => Ok(earlier.proof.as_slice()),
            (None, true) => Ok(&[][..]),
            (None, false) => Err(format!(
                "the bundle proves nothing about the log at {} leaves; export it again with that checkpoint",
                since.head.size
            )),
        }
    };
    Outcome::of(found.and_then(|proof| {
        merkle::check_consistency(&since.head, &now.head, proof)
            .map(|()| format!("the log still begins with its first {} leaves", since.head.size))
            .map_err(|e| format!("earlier checkpoint: {e}"))
    }))
}

pub(super) fn check_blobs(bundle: &Bundle) -> Outcome {
    for (digest, encoded) in &bundle.blobs {
        if !STANDARD.decode(encoded).is_ok_and(|bytes| Digest::of(&bytes) == *digest) {
            return Outcome::Failed { reason: format!("blob {digest}: its content is another") };
        }
    }
    match bundle.blobs.len() {
        0 => Outcome::not_possible("the bundle holds no content"),
        count => Outcome::ok(format!("{count} blobs are what their digests say")),
    }
}
