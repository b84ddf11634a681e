//! What must hold in every story, whatever went wrong in it: the journal and the receipts are held
//! against the world's own account.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    Digest,
    event::{Body, Record, Role, Stage as GateStage},
    exception::Landed,
    id::{EffectKey, Seq},
    operation::Retry,
    run::Status,
};

use super::{
    drive::Story,
    reaction,
    stage::Stage,
    told::{self, Act},
    world::{Call, Effect, Truth},
};
use crate::app::value::counted;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) happened: String,
    pub(super) expected: String,
}

impl Finding {
    pub(super) fn new(happened: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { happened: happened.into(), expected: expected.into() }
    }
}

/// Everything in a story that must not be.
pub(super) fn findings(stage: &Stage, story: &Story) -> Vec<Finding> {
    let acts = told::acts(&story.records);
    let mut found = Vec::new();
    if let Some(stuck) = &story.stuck {
        found.push(Finding::new(stuck.clone(), "the run comes to a declared end"));
    }
    found.extend(check_chain(&story.records));
    found.extend(check_end(story));
    found.extend(check_effects(story));
    found.extend(check_receipts(stage, story, &acts));
    found.extend(check_approvals(&acts));
    found.extend(check_undoing(story));
    found.extend(reaction::findings(stage, story, &acts));
    found
}

fn check_chain(records: &[Record]) -> Option<Finding> {
    let mut head = Digest::default();
    for (place, record) in records.iter().enumerate() {
        let follows = record.event.prev_hash == head || place == 0;
        if record.event.seq != place as Seq || !follows {
            let happened = format!("event {place} does not follow the one before it");
            return Some(Finding::new(happened, "the journal has no gap"));
        }
        head = record.hash;
    }
    None
}

/// Nothing is wanted after the end, and the end is one.
fn check_end(story: &Story) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut finished = false;
    for record in &story.records {
        match &record.event.body {
            Body::Finished { .. } if finished => {
                found.push(Finding::new("the run finished twice", "it finishes once"));
            }
            Body::Finished { .. } => finished = true,
            Body::Proposed { step, because: Role::Step, .. } if finished => {
                let happened = format!("`{step}` wanted something after the run had finished");
                found.push(Finding::new(happened, "nothing is wanted after the end"));
            }
            _ => {}
        }
    }
    if story.stuck.is_none() && !story.status.is_over() {
        let happened = format!("the run is {}", story.status.word().replace('_', " "));
        found.push(Finding::new(happened, "the run comes to a declared end"));
    }
    found
}

/// At most one effect a key, and at most one call a key where nothing deduplicates: a call that the
/// target turned away for certain is none.
fn check_effects(story: &Story) -> Vec<Finding> {
    let mut calls: BTreeMap<&EffectKey, usize> = BTreeMap::new();
    let mut found = Vec::new();
    let may_be_there = |call: &&Call| call.write && call.truth != Some(Truth::Refused);
    for call in story.world.calls.iter().filter(may_be_there) {
        let count = calls.entry(&call.key).or_default();
        *count += 1;
        if call.retry == Retry::Never && *count == 2 {
            let happened = format!("{} was called twice under one key", call.operation);
            found.push(Finding::new(happened, "an operation with `retry: never` is called once"));
        }
    }
    let mut effects: BTreeMap<&EffectKey, usize> = BTreeMap::new();
    for effect in &story.world.effects {
        let count = effects.entry(&effect.key).or_default();
        *count += 1;
        if *count == 2 {
            let happened = format!("{} changed the world twice under one key", effect.operation);
            found.push(Finding::new(happened, "one key changes the world at most once"));
        }
    }
    found
}

/// One receipt for every action that reached the world, none for others, each signed and in the log, and
/// none that says of an effect what is not so.
fn check_receipts(stage: &Stage, story: &Story, acts: &BTreeMap<Seq, Act>) -> Vec<Finding> {
    let mut found = Vec::new();
    let called: BTreeSet<Seq> = story.world.calls.iter().map(|call| call.action).collect();
    let log: BTreeMap<&str, &[u8]> =
        story.log.iter().map(|(id, envelope)| (id.as_str(), envelope.as_slice())).collect();
    for act in acts.values() {
        let name = format!("{} in `{}`", act.operation, act.step);
        let wanted = usize::from(!act.dispatches.is_empty());
        if story.stuck.is_none() && act.receipts.len() != wanted {
            let happened = format!("{name} has {}", counted(act.receipts.len(), "receipt"));
            found.push(Finding::new(happened, format!("{wanted}, one for what was dispatched")));
        }
        if called.contains(&act.seq) && act.dispatches.is_empty() {
            let happened = format!("{name} reached the world without a dispatch");
            found.push(Finding::new(happened, "a dispatch is written down before it happens"));
        }
        for receipt in &act.receipts {
            let envelope = log.get(receipt.id.as_str());
            if envelope.and_then(|e| stage.open(e)) != Some(receipt.statement) {
                let happened = format!("the receipt of {name} is not in the log as signed");
                found.push(Finding::new(happened, "every receipt is signed and logged"));
            }
            found.extend(check_truth(story, act, (receipt.landed, &name)));
        }
    }
    found
}

fn check_truth(story: &Story, act: &Act, (landed, name): (Landed, &str)) -> Option<Finding> {
    let (_, key) = act.dispatches.first()?;
    let mut writes = story.world.calls.iter();
    writes.find(|call| call.write && call.key == *key)?;
    // Another try of the same effect has another receipt: this one answers for its own calls.
    let mine = story.world.effects.iter().any(|effect| effect.action == act.seq);
    let there = story.world.effects.iter().any(|effect| effect.key == *key);
    let happened = match (landed, if landed == Landed::No { mine } else { there }) {
        (Landed::Yes, false) => format!("the receipt says {name} happened, and it did not"),
        (Landed::No, true) => format!("the receipt says {name} did not happen, and it did"),
        _ => return None,
    };
    Some(Finding::new(happened, "a receipt says what is so"))
}

/// A dispatch that was asked about has every yes it needs, for exactly itself; a no dispatches nothing.
fn check_approvals(acts: &BTreeMap<Seq, Act>) -> Vec<Finding> {
    let mut found = Vec::new();
    for act in acts.values() {
        let name = format!("{} in `{}`", act.operation, act.step);
        let refused = act.rejected.as_ref().is_some_and(|(stage, _, _)| {
            matches!(stage, GateStage::Refused | GateStage::Expired | GateStage::Policy)
        });
        let Some((first, _)) = act.dispatches.first() else { continue };
        if refused {
            let happened = format!("{name} was refused, and was dispatched");
            found.push(Finding::new(happened, "what is refused is not done"));
        }
        for (role, needed) in act.asked.iter().flatten() {
            let counts = |(at, digest, roles): &&(Seq, Digest, Vec<String>)| {
                at < first && Some(*digest) == act.judged && roles.contains(role)
            };
            let given = act.approved.iter().filter(counts).count();
            if given < usize::try_from(*needed).unwrap_or(usize::MAX) {
                let happened =
                    format!("{name} was dispatched with {} of {role}", counted(given, "approval"));
                found.push(Finding::new(happened, format!("{needed} for exactly this action")));
            }
        }
    }
    found
}

/// A rollback is whole only when everything is back.
fn check_undoing(story: &Story) -> Vec<Finding> {
    let mut found = Vec::new();
    // What changed nothing that anybody can see is back already.
    let stands = |effect: &&Effect| effect.undoes.is_none() && !effect.undone && effect.changed;
    let standing = story.world.effects.iter().filter(stands);
    let standing: Vec<String> = standing.map(|effect| effect.operation.to_string()).collect();
    if story.status == Status::RolledBack && !standing.is_empty() {
        let happened = format!("the run says rolled back while {} stands", standing.join(", "));
        found.push(Finding::new(happened, "partial is called partial"));
    }
    let failed = told::undone(&story.records).filter(|undone| !undone.is_back()).count();
    if failed > 0 && story.status == Status::RolledBack {
        let happened = format!("the run says rolled back though {failed} effects are not");
        found.push(Finding::new(happened, "partial is called partial"));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernel::{operation::Retry, playbook::Recovery};

    use super::*;
    use crate::app::kit::{
        drive::play,
        rehearse::{plain_script, rehearse},
        script::{Fault, Script, Target, Times},
        tests::new_stage,
        world::How,
    };

    /// A story of a new pack, as it should be.
    fn story(script: &Script) -> (Arc<Stage>, Story) {
        let stage = new_stage();
        let intent = stage.shelved.pack.intents.values().next().unwrap().clone();
        let rehearsal = rehearse(&stage, &intent, 0);
        let reached = rehearsal
            .rows
            .iter()
            .find_map(|row| row.reached.clone().filter(|_| row.path == "move"));
        let reached = reached.unwrap();
        let story = play(&stage, (&reached.setting, &reached.plan), script).unwrap();
        (stage, story)
    }

    #[track_caller]
    fn breaks(stage: &Stage, story: &Story, wanted: &str) {
        let found = findings(stage, story);
        assert!(found.iter().any(|f| f.happened.contains(wanted)), "`{wanted}` in {found:#?}");
    }

    #[test]
    fn a_story_as_it_should_be_breaks_no_law() {
        let (stage, story) = story(&plain_script());
        assert_eq!(findings(&stage, &story), vec![]);
        assert_eq!(story.status, Status::RolledBack);
        assert_eq!(story.world.effects.len(), 2, "the move and its undo");
    }

    #[test]
    fn a_second_effect_or_call_under_one_key_is_seen() {
        let (stage, mut twice) = story(&plain_script());
        let again = twice.world.effects.first().unwrap().clone();
        twice.world.effects.push(again);
        breaks(&stage, &twice, "changed the world twice under one key");
        let (stage, mut called) = story(&plain_script());
        let write = called.world.calls.iter().find(|call| call.write).unwrap().clone();
        called.world.calls.extend([
            Call { retry: Retry::Never, ..write.clone() },
            Call { retry: Retry::Never, ..write },
        ]);
        breaks(&stage, &called, "was called twice under one key");
    }

    #[test]
    fn a_receipt_that_is_gone_or_lies_is_seen() {
        let (stage, mut gone) = story(&plain_script());
        gone.log.pop();
        gone.log.pop();
        breaks(&stage, &gone, "is not in the log as signed");
        let (stage, mut forged) = story(&plain_script());
        for (_, envelope) in &mut forged.log {
            let last = envelope.len() - 10;
            envelope[last] ^= 1;
        }
        breaks(&stage, &forged, "is not in the log as signed");
        let (stage, mut lies) = story(&plain_script());
        lies.world.effects.clear();
        breaks(&stage, &lies, "happened, and it did not");
    }

    #[test]
    fn gaps_and_what_follows_the_end_are_seen() {
        let (stage, mut gap) = story(&plain_script());
        gap.records.remove(3);
        breaks(&stage, &gap, "event 3 does not follow");
        let (stage, mut late) = story(&plain_script());
        let proposed =
            |r: &&Record| matches!(&r.event.body, Body::Proposed { because: Role::Step, .. });
        let proposed = late.records.iter().find(proposed).unwrap().clone();
        late.records.push(proposed);
        breaks(&stage, &late, "wanted something after the run had finished");
    }

    #[test]
    fn a_dispatch_without_its_approval_is_seen() {
        let (stage, mut unasked) = story(&plain_script());
        unasked.records.retain(|r| !matches!(r.event.body, Body::Answered { .. }));
        breaks(&stage, &unasked, "was dispatched with 0 approvals of approver");
    }

    #[test]
    fn partial_called_success_is_seen() {
        let (stage, mut stands) = story(&plain_script());
        for effect in &mut stands.world.effects {
            effect.undone = false;
        }
        breaks(&stage, &stands, "rolled back while bookings.move_booking stands");
    }

    #[test]
    fn a_reaction_that_is_not_the_declared_one_is_seen() {
        let target = Target::Step("booking".to_owned(), "bookings.get_booking".parse().unwrap());
        let how = How::Fail(kernel::exception::Class::Permission, Truth::Refused);
        let faults = vec![Fault { target, how, times: Times::Always }];
        let (stage, mut story) = story(&Script { faults, ..Script::default() });
        assert_eq!(findings(&stage, &story), vec![]);
        // The same journal under a plan that declares something else.
        let mut plan = (*story.plan).clone();
        let caveat = "x".to_owned();
        let class = kernel::exception::Class::Permission;
        plan.playbook.steps[0].on_failure.insert(class, vec![Recovery::Log { caveat }]);
        story.plan = Arc::new(plan);
        breaks(&stage, &story, "`booking` failed with permission and did: stop");
        // And one in which nothing followed.
        story.records.retain(|r| !matches!(r.event.body, Body::Abandoned { .. }));
        breaks(&stage, &story, "failed with permission and nothing followed");
    }
}
