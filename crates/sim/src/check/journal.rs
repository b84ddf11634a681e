//! What the journal alone must show.

use kernel::event::{Body, Role};
use sha2::{Digest as _, Sha256};

use super::{Invariant, Seen};

pub(super) fn chain(seen: &mut Seen<'_>) {
    let mut before = [0_u8; 32];
    let mut epoch = 0;
    for (index, record) in seen.story.shelf.records.iter().enumerate() {
        let hash: [u8; 32] = Sha256::digest(&record.bytes).into();
        if record.event.seq != index as u64 {
            return seen.breaks(Invariant::Chain, format!("event {index} is {}", record.event.seq));
        }
        if record.event.prev_hash.0 != before || record.hash.0 != hash {
            return seen.breaks(Invariant::Chain, format!("event {index} does not follow"));
        }
        if let Body::Claimed { epoch: claimed } = record.event.body {
            if claimed <= epoch {
                seen.breaks(Invariant::Chain, format!("event {index}: epoch {claimed} again"));
            }
            epoch = claimed;
        }
        before = hash;
    }
}

pub(super) fn after_the_end(seen: &mut Seen<'_>) {
    let (mut finished, mut closed) = (false, false);
    for record in &seen.story.shelf.records {
        let (seq, body) = (record.event.seq, &record.event.body);
        let new = matches!(
            body,
            Body::RollbackRequested { .. } | Body::Settled { .. } | Body::Faulted { .. }
        );
        if closed && !new {
            let problem = format!("event {seq} `{}` follows the close record", body.kind());
            return seen.breaks(Invariant::AfterTheEnd, problem);
        }
        closed = matches!(body, Body::Closed { .. });
        let forward = match body {
            Body::Proposed { because, .. } => *because == Role::Step,
            Body::Dispatched { action, .. } => {
                seen.deals.get(action).is_some_and(|deal| deal.role == Role::Step)
            }
            Body::Finished { .. } => true,
            _ => false,
        };
        if finished && forward {
            let problem = format!("event {seq} `{}` after the run had finished", body.kind());
            return seen.breaks(Invariant::AfterTheEnd, problem);
        }
        finished |= matches!(body, Body::Finished { .. });
    }
    if seen.is_over() && !(finished && closed) {
        seen.breaks(Invariant::AfterTheEnd, "it is over and not closed");
    }
}

pub(super) fn receipts(seen: &mut Seen<'_>) {
    let mut stored = seen.story.shelf.receipts.iter();
    for record in &seen.story.shelf.records {
        let (id, statement) = match &record.event.body {
            Body::Receipted { receipt, statement, .. } => (receipt, statement),
            Body::Closed { receipt, statement } => (receipt, statement),
            _ => continue,
        };
        let found = stored.next();
        let hash = |payload: &[u8]| -> [u8; 32] { Sha256::digest(payload).into() };
        let same = found.is_some_and(|found| {
            found.draft.id == *id && hash(&found.draft.payload) == statement.0
        });
        if !same {
            let problem = format!("event {}: its receipt is not there", record.event.seq);
            return seen.breaks(Invariant::Receipts, problem);
        }
    }
    if stored.next().is_some() {
        seen.breaks(Invariant::Receipts, "a receipt that no event speaks of");
    }
    let over = seen.is_over();
    let mut problems = Vec::new();
    for (action, deal) in &seen.deals {
        let (sent, receipts) = (deal.sent.len(), deal.receipts.len());
        if receipts > 1 || (receipts == 1 && sent == 0) || (over && sent > 0 && receipts == 0) {
            problems.push(format!("action {action}: {sent} calls and {receipts} receipts"));
        }
    }
    problems.into_iter().for_each(|problem| seen.breaks(Invariant::Receipts, problem));
}
