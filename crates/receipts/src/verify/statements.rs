//! The run's statements: signatures, types, their chain, and the record that closes them.

use kernel::{
    Digest, RunId,
    event::{Body, Record},
};

use super::{Events, Found, Proven, report::Outcome};
use crate::{
    bundle::Bundle,
    dsse,
    key::Keys,
    statement::{self, Stated},
};

/// Opens every envelope: its payloads, in order.
pub(super) fn open_all(bundle: &Bundle, keys: &Keys) -> Found<Vec<Vec<u8>>> {
    let mut payloads = Vec::new();
    for (index, logged) in bundle.receipts.iter().enumerate() {
        let payload = dsse::open(logged.envelope.as_bytes(), keys);
        payloads.push(payload.map_err(|e| format!("receipt {index}: {e}"))?);
    }
    let detail = format!("{} envelopes are signed by trusted keys", payloads.len());
    Ok((payloads, detail))
}

/// Reads every payload.
pub(super) fn read_all(payloads: Vec<Vec<u8>>) -> Found<Vec<Proven>> {
    let mut proven = Vec::new();
    for (index, payload) in payloads.into_iter().enumerate() {
        let stated = statement::read(&payload).map_err(|e| format!("receipt {index}: {e}"))?;
        proven.push(Proven { digest: Digest::of(&payload), stated });
    }
    let closes = proven.iter().filter(|p| matches!(p.stated, Stated::Close(_))).count();
    let detail = format!("{} receipts and {closes} close records", proven.len() - closes);
    Ok((proven, detail))
}

/// Each statement names its place and the one before it.
pub(super) fn check_chain(run: &RunId, proven: &[Proven]) -> Outcome {
    let mut previous = Digest::default();
    for (index, one) in proven.iter().enumerate() {
        let (place, prev) = one.stated.place();
        let problem = if one.stated.run() != run {
            format!("it belongs to {}", one.stated.run())
        } else if place != index as u64 {
            format!("it says it is number {place}: one is missing, added or moved")
        } else if prev != previous {
            "it does not follow the one before it".to_owned()
        } else {
            previous = one.digest;
            continue;
        };
        return Outcome::Failed { reason: format!("receipt {index}: {problem}") };
    }
    Outcome::ok(format!("{} statements follow one another", proven.len()))
}

/// Each close record covers the journal before it, and the last one all of it.
pub(super) fn check_close(events: &Events, proven: &[Proven]) -> Outcome {
    for (index, one) in proven.iter().enumerate() {
        let Stated::Close(close) = &one.stated else {
            continue;
        };
        let failed =
            |problem: &str| Outcome::Failed { reason: format!("receipt {index}: {problem}") };
        let at = usize::try_from(close.events).unwrap_or(usize::MAX);
        let closes = |r: &Record| matches!(&r.event.body, Body::Closed { statement, .. } if *statement == one.digest);
        if !events.get(at).is_some_and(closes) {
            return failed("the event after those it counts does not name it");
        }
        let head = at.checked_sub(1).and_then(|last| events.get(last));
        if head.is_none_or(|r| r.hash != close.journal_head) {
            return failed("the journal before it has another head: an event was changed");
        }
    }
    let (statements, count) = (proven.len(), events.len());
    match (proven.last().map(|p| &p.stated), events.last().map(|r| &r.event.body)) {
        (Some(Stated::Close(close)), Some(Body::Closed { .. })) => Outcome::ok(format!(
            "{} {} with {statements} statements over {count} events, complete up to its close record",
            close.run, close.status
        )),
        (Some(Stated::Close(_)), _) => Outcome::not_possible(
            "the run went on after its last close record: its tail could be cut or changed",
        ),
        _ => {
            Outcome::not_possible("no close record ends the run: its tail could be cut or changed")
        }
    }
}
