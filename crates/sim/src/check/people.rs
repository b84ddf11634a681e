//! What people were asked, told and promised.

use std::collections::BTreeSet;

use kernel::{
    event::{Answered, Body, Role},
    exception::Need,
    id::Seq,
};

use super::{Invariant, Seen};
use crate::{
    play::Ack,
    scenario::{Deed, Person},
};

pub(super) fn approvals(seen: &mut Seen<'_>) {
    let mut problems = Vec::new();
    if seen.case.scenario.person != Person::NotAsked {
        for (action, deal) in &seen.deals {
            if deal.role == Role::Step && deal.is_write() && !deal.sent.is_empty() {
                problems.extend(unapproved(seen, *action, deal.sent[0].seq));
            }
        }
    }
    for record in &seen.story.shelf.records {
        match &record.event.body {
            Body::Answered { action, answer: Answered::Approved, .. } if seen.is_over() => {
                let deal = seen.deals.get(action);
                if deal.is_none_or(|deal| deal.sent.is_empty() && !deal.rejected) {
                    problems.push(format!("the yes to action {action} led nowhere"));
                }
            }
            Body::Asked { action, approval, .. } => {
                let open = seen.story.shelf.approvals.contains_key(approval);
                if open == closes(seen, record.event.seq, *action) {
                    problems.push(format!("the ask about action {action} is lost or never ends"));
                }
            }
            _ => {}
        }
    }
    problems.into_iter().for_each(|problem| seen.breaks(Invariant::Approvals, problem));
}

/// Whether an ask that stands at `asked` was brought to an end by a later event.
fn closes(seen: &Seen<'_>, asked: Seq, about: Seq) -> bool {
    let later = seen.story.shelf.records.iter().filter(|r| r.event.seq > asked);
    later.map(|record| &record.event.body).any(|body| match body {
        Body::Rejected { action, .. }
        | Body::Voided { action, .. }
        | Body::Dispatched { action, .. } => *action == about,
        _ => false,
    })
}

/// Why a call that needs a yes had none when it was dispatched.
fn unapproved(seen: &Seen<'_>, about: Seq, dispatched: Seq) -> Option<String> {
    let before = seen.story.shelf.records.iter().take_while(|r| r.event.seq < dispatched);
    let (mut judged, mut approved, mut expires) = (None, BTreeSet::new(), None);
    for record in before {
        match &record.event.body {
            Body::Judged { action, digest, .. } if *action == about => judged = Some(*digest),
            Body::Asked { action, expires_at, .. } if *action == about => {
                expires = Some(*expires_at);
            }
            Body::Voided { action, .. } if *action == about => approved.clear(),
            Body::Answered { action, digest, answer: Answered::Approved, .. }
                if *action == about && expires.is_some_and(|at| record.event.at < at) =>
            {
                approved.insert(*digest);
            }
            _ => {}
        }
    }
    let covered = judged.is_some_and(|digest| approved.contains(&digest));
    (!covered).then(|| format!("action {about} was dispatched without a yes to exactly it"))
}

pub(super) fn promises(seen: &mut Seen<'_>) {
    let records = &seen.story.shelf.records;
    let holds = |of: &dyn Fn(&Body) -> bool| records.iter().any(|r| of(&r.event.body));
    let mut problems = Vec::new();
    if seen.story.submitted && records.is_empty() {
        problems.push("a submission was acknowledged and is not there".to_owned());
    }
    for ack in &seen.story.acks {
        let held = match ack {
            Ack::Answered(id) => {
                holds(&|body| matches!(body, Body::Answered { approval, .. } if approval == id))
            }
            Ack::Replied(id) => {
                holds(&|body| matches!(body, Body::Replied { question, .. } if question == id))
            }
            Ack::Settled(id) => {
                holds(&|body| matches!(body, Body::Settled { exception, .. } if exception == id))
            }
            Ack::Signalled => holds(&|body| matches!(body, Body::Signalled { .. })),
            Ack::Cancelled => holds(&|body| matches!(body, Body::Cancelled { .. })),
            Ack::Paused => holds(&|body| matches!(body, Body::Paused { .. })),
            Ack::Resumed => holds(&|body| matches!(body, Body::Resumed { .. })),
            Ack::TakenBack => holds(&|body| matches!(body, Body::RollbackRequested { .. })),
        };
        if !held {
            problems.push(format!("{ack:?} was said yes to and is not in the journal"));
        }
    }
    problems.into_iter().for_each(|problem| seen.breaks(Invariant::Promises, problem));
}

pub(super) fn doubts(seen: &mut Seen<'_>) {
    let mut problems = Vec::new();
    let shelf = &seen.story.shelf;
    for record in &shelf.records {
        match &record.event.body {
            Body::Doubted { action } => {
                let settled = seen.deals.get(action).is_some_and(|deal| {
                    let sent_again = deal.sent.last().is_some_and(|s| s.seq > record.event.seq);
                    !deal.receipts.is_empty() || sent_again
                });
                let open = shelf.exceptions.values().any(|e| e.action == Some(*action));
                if !settled && (seen.is_over() || !open && shelf.wake_at.is_none()) {
                    problems.push(format!("action {action} is in doubt and nobody is asked"));
                }
            }
            Body::Raised { exception, .. } => {
                let closed = shelf.records.iter().any(|later| match &later.event.body {
                    Body::Settled { exception: id, .. } => *id == exception.id,
                    Body::Receipted { action, .. } => {
                        exception.need == Need::InDoubt
                            && exception.action == Some(*action)
                            && later.event.seq > record.event.seq
                    }
                    // Nobody decides how a run goes on that does not.
                    Body::Abandoned { .. } | Body::Cancelled { .. } => {
                        exception.need == Need::Escalated && later.event.seq > record.event.seq
                    }
                    _ => false,
                });
                if closed == shelf.exceptions.contains_key(&exception.id) {
                    let id = &exception.id;
                    problems.push(format!("exception {id} is not in the queue, or stays in it"));
                }
            }
            _ => {}
        }
    }
    problems.into_iter().for_each(|problem| seen.breaks(Invariant::Doubts, problem));
}

pub(super) fn progress(seen: &mut Seen<'_>) {
    if let Some(stuck) = seen.story.stuck {
        let problem = format!("{stuck}: {:?}", seen.story.shelf.status());
        seen.breaks(Invariant::Progress, problem);
    }
}

pub(super) fn deploys(seen: &mut Seen<'_>) {
    let scenario = &seen.case.scenario;
    let heard = |deed| !matches!(deed, Deed::DoUnheard | Deed::Lose);
    if seen.story.faults > 0 || !heard(scenario.deed) || !heard(scenario.undo_deed) {
        return;
    }
    let doubted = |body: &Body| matches!(body, Body::Doubted { .. });
    if seen.story.shelf.records.iter().any(|record| doubted(&record.event.body)) {
        seen.breaks(Invariant::Deploys, "nothing went wrong, and an effect is in doubt");
    }
}
