//! What a batch must satisfy before any store looks at it, and what all stores derive from it.

use kernel::{
    event::{Body, Record},
    id::{At, Digest, OperationId, ReceiptId, RunId, Seq},
    port::{Batch, JournalError},
    project::Change,
};

/// Largest blob, in bytes.
pub const BLOB_BYTES_MAX: usize = 256 << 20;

/// Most inbox items one run may have waiting.
pub const INBOX_MAX: u64 = 1_000;

/// Checks that a batch's records belong to its run, are numbered from `expected_seq` and chain.
pub(crate) fn check(batch: &Batch) -> Result<(), JournalError> {
    let mut previous: Option<Digest> = None;
    for (seq, record) in (batch.expected_seq..).zip(&batch.records) {
        let wrong = |problem| Err(tampered(&batch.run, seq, problem));
        if record.event.run != batch.run {
            return wrong("it belongs to another run");
        }
        if record.event.seq != seq {
            return wrong("it carries another sequence number");
        }
        if Digest::of(&record.bytes) != record.hash {
            return wrong("its hash does not match its bytes");
        }
        if previous.is_some_and(|hash| hash != record.event.prev_hash) {
            return wrong("it does not follow the event before it");
        }
        previous = Some(record.hash);
    }
    crate::halts::check_says(batch)
}

/// Checks that the first record follows the stored head.
pub(crate) fn check_follows(batch: &Batch, head: &Digest) -> Result<(), JournalError> {
    match batch.records.first() {
        Some(first) if first.event.prev_hash != *head => {
            Err(tampered(&batch.run, batch.expected_seq, "it does not follow the stored head"))
        }
        _ => Ok(()),
    }
}

/// Sequence number and hash of the head once the batch is in.
pub(crate) fn head_after(batch: &Batch, head: Digest) -> (Seq, Digest) {
    let next = batch.expected_seq + batch.records.len() as Seq;
    (next, batch.records.last().map_or(head, |record| record.hash))
}

/// When a receipt was made: as its projection change says, else at the batch's last event.
pub(crate) fn receipt_at(batch: &Batch, receipt: &ReceiptId) -> At {
    let said = batch.changes.iter().find_map(|change| match change {
        Change::Receipt { id, at, .. } if id == receipt => Some(*at),
        _ => None,
    });
    said.or_else(|| batch.records.last().map(|record| record.event.at)).unwrap_or_default()
}

/// The operation an event proposes.
pub(crate) fn proposed(record: &Record) -> Option<&OperationId> {
    match &record.event.body {
        Body::Proposed { operation, .. } => Some(operation),
        _ => None,
    }
}

/// RFC 6962 leaf hash of an envelope.
pub(crate) fn leaf_hash(envelope: &[u8]) -> Digest {
    let mut leaf = Vec::with_capacity(envelope.len() + 1);
    leaf.push(0);
    leaf.extend_from_slice(envelope);
    Digest::of(&leaf)
}

/// An event that is not what was written.
pub(crate) fn tampered(run: &RunId, seq: Seq, problem: impl std::fmt::Display) -> JournalError {
    JournalError::Tampered(format!("run {run}, event {seq}: {problem}"))
}

/// Refuses a blob above the limit.
pub(crate) fn check_blob(bytes: &[u8]) -> Result<(), JournalError> {
    if bytes.len() > BLOB_BYTES_MAX {
        let problem =
            format!("a blob of {} bytes is above the limit of {BLOB_BYTES_MAX}", bytes.len());
        return Err(JournalError::Medium(problem));
    }
    Ok(())
}

/// What a post beyond [`INBOX_MAX`] meets.
pub(crate) fn inbox_full(run: &RunId) -> JournalError {
    JournalError::Medium(format!("the inbox of run {run} holds {INBOX_MAX} items: drain it first"))
}

/// Merges timers and inboxes by turns, so that neither starves the other.
pub(crate) fn interleave<T: PartialEq>(first: Vec<T>, second: Vec<T>, limit: usize) -> Vec<T> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut merged: Vec<T> = Vec::new();
    while merged.len() < limit {
        let pair = [first.next(), second.next()];
        if pair.iter().all(Option::is_none) {
            break;
        }
        merged.extend(pair.into_iter().flatten());
    }
    merged.truncate(limit);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_takes_turns_and_stops_at_the_limit() {
        assert_eq!(interleave(vec![1, 2, 3], vec![10], 3), [1, 10, 2]);
        assert_eq!(interleave(vec![], vec![10, 11], 9), [10, 11]);
    }

    #[test]
    fn a_leaf_is_domain_separated_from_inner_nodes() {
        assert_eq!(leaf_hash(b""), Digest::of(&[0]));
    }
}
