//! What the target's record says about the journal.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    event::{Body, Purpose, Role, Unwound},
    exception::Landed,
    run::Status,
};

use super::{Invariant, Seen};
use crate::{
    company::TIMEOUT_MS,
    scenario::{Again, Undo2},
};

pub(super) fn truth(seen: &mut Seen<'_>) {
    let mut said: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    for deal in seen.deals.values().filter(|deal| deal.is_write()) {
        let (Some(sent), Some((_, landed))) = (deal.sent.last(), deal.receipts.last()) else {
            continue;
        };
        match landed {
            Landed::Yes => said.entry(&sent.key).or_default().insert(true),
            Landed::No => said.entry(&sent.key).or_default().insert(false),
            Landed::Unknown => continue,
        };
    }
    let mut problems = Vec::new();
    for (key, said) in said {
        let happened = seen.story.target.happened(key);
        if said.contains(&true) != happened && !seen.is_excused(key) {
            problems.push(format!("receipts for {key} say {said:?}, it happened: {happened}"));
        }
    }
    problems.into_iter().for_each(|problem| seen.breaks(Invariant::Truth, problem));
}

pub(super) fn once(seen: &mut Seen<'_>) {
    let mut problems = Vec::new();
    let landed = || {
        let arrivals = seen.story.target.arrivals.iter();
        arrivals.filter(|a| a.landed && !seen.is_excused(&a.key))
    };
    let mut by_key: BTreeMap<&str, u32> = BTreeMap::new();
    let mut by_undone: BTreeMap<&str, u32> = BTreeMap::new();
    let mut by_step: BTreeMap<&str, u32> = BTreeMap::new();
    for arrival in landed() {
        *by_key.entry(&arrival.key).or_default() += 1;
        if let Some(of) = &arrival.of {
            *by_undone.entry(of).or_default() += 1;
        }
    }
    for arrival in landed().filter(|arrival| arrival.of.is_none()) {
        let step = seen.deals.values().find(|d| d.sent.iter().any(|s| s.key == arrival.key));
        if let Some(deal) = step.filter(|deal| deal.role == Role::Step) {
            *by_step.entry(&deal.step).or_default() += 1;
        }
    }
    let words = [("key", by_key), ("undo of", by_undone), ("step", by_step)];
    for (what, counts) in words {
        for (name, times) in counts.into_iter().filter(|(_, times)| *times > 1) {
            problems.push(format!("{what} {name} took effect {times} times"));
        }
    }
    problems.extend(repeated(seen));
    problems.into_iter().for_each(|problem| seen.breaks(Invariant::Once, problem));
}

/// Calls under one key that followed another without anybody knowing what became of that.
fn repeated(seen: &Seen<'_>) -> Vec<String> {
    if seen.again() == Again::Keyed {
        return Vec::new();
    }
    let mut by_key: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for (action, deal) in seen.deals.iter().filter(|(_, deal)| deal.is_write()) {
        for sent in &deal.sent {
            by_key.entry(&sent.key).or_default().push((sent.seq, *action));
        }
    }
    let mut problems = Vec::new();
    for (key, mut sent) in by_key {
        sent.sort_unstable();
        for pair in sent.windows(2) {
            let [(first, action), (second, _)] = pair else { continue };
            let receipts = seen.deals.get(action).map(|deal| &deal.receipts);
            let denied = receipts
                .into_iter()
                .flatten()
                .any(|(seq, landed)| (*first..*second).contains(seq) && *landed == Landed::No);
            let asked = seen.again() == Again::Probed
                && seen.deals.range(*first..*second).any(|(_, deal)| {
                    deal.role == (Role::Companion { of: *action, purpose: Purpose::Probe })
                        && !deal.receipts.is_empty()
                });
            if !denied && !asked {
                problems
                    .push(format!("key {key} was called at {first} and at {second}, unknowing"));
            }
        }
    }
    problems
}

pub(super) fn written_first(seen: &mut Seen<'_>) {
    let mut problems = Vec::new();
    for arrival in &seen.story.target.arrivals {
        let sent = seen.deals.values().flat_map(|deal| &deal.sent);
        let sent = sent.filter(|s| s.key == arrival.key && s.attempt == arrival.attempt);
        let last = sent.map(|s| s.dispatch_by).max();
        match last {
            None => problems.push(format!("a call under {} is not in the journal", arrival.key)),
            Some(by) if arrival.at > by + TIMEOUT_MS && !arrival.late => {
                problems.push(format!("a call under {} came after its window", arrival.key));
            }
            Some(_) => {}
        }
    }
    problems.into_iter().for_each(|problem| seen.breaks(Invariant::WrittenFirst, problem));
}

pub(super) fn taken_back(seen: &mut Seen<'_>) {
    if seen.anything_excused() {
        return;
    }
    let story = seen.story;
    let standing = story.target.standing();
    let status = story.shelf.status();
    if status == Some(Status::RolledBack) {
        let compensates = seen.case.scenario.undo != Undo2::Restore;
        if let Some(left) = standing.first().filter(|_| compensates) {
            let problem =
                format!("it says rolled back, and {} of {} stands", left.key, left.record);
            seen.breaks(Invariant::TakenBack, problem);
        }
        let restores = seen.case.scenario.undo == Undo2::Restore && !seen.case.scenario.meddles;
        if restores && story.target.values.values().any(|value| value != "old") {
            seen.breaks(Invariant::TakenBack, "it says rolled back, and a record is not as before");
        }
    }
    let tried = story.shelf.records.iter().any(|record| {
        matches!(record.event.body, Body::Unwound { unwound } if unwound != Unwound::Complete)
    });
    if status == Some(Status::Failed) && !standing.is_empty() && !tried {
        seen.breaks(Invariant::TakenBack, "it failed, its effects stand, and nobody was told");
    }
}
