//! What a journal tells: every action with what became of it, and what steps did about failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    event::{Answered, Body, End, Ended, Record, Role, Stage, Undone},
    exception::{Class, Landed, Need},
    id::{Digest, EffectKey, OperationId, Seq},
    planning::Mark,
    playbook::{static_path, visit_steps},
};
use serde_json::Value;

use super::drive::Story;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Back,
    Failed(Class, Landed),
}

/// One receipt as the journal names it.
#[derive(Clone, Debug)]
pub(super) struct Receipted {
    pub(super) id: String,
    pub(super) statement: Digest,
    pub(super) landed: Landed,
    pub(super) class: Option<Class>,
}

/// One action and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) seq: Seq,
    /// Path of its step, loop turns included.
    pub(super) path: String,
    /// Static path of its step.
    pub(super) step: String,
    pub(super) operation: OperationId,
    pub(super) args: Arc<Value>,
    pub(super) role: Role,
    pub(super) rejected: Option<(Stage, Class, String)>,
    pub(super) came: Vec<Came>,
    pub(super) receipts: Vec<Receipted>,
    pub(super) dispatches: Vec<(Seq, EffectKey)>,
    /// Roles and numbers that were asked for last.
    pub(super) asked: Option<BTreeMap<String, u32>>,
    /// Digest and roles of every yes.
    pub(super) approved: Vec<(Seq, Digest, Vec<String>)>,
    pub(super) judged: Option<Digest>,
    /// What came back last.
    pub(super) output: Option<Arc<Value>>,
}

impl Act {
    pub(super) fn is_step(&self) -> bool {
        self.role == Role::Step
    }

    /// Whether it ended well.
    pub(super) fn is_done(&self) -> bool {
        self.receipts.last().is_some_and(|receipt| receipt.class.is_none())
    }
}

/// Every action of a journal, by its proposal's place.
pub(super) fn acts(records: &[Record]) -> BTreeMap<Seq, Act> {
    let mut acts = BTreeMap::new();
    for record in records {
        let seq = record.event.seq;
        if let Body::Proposed { step, operation, args, because, .. } = &record.event.body {
            let act = Act {
                seq,
                path: step.clone(),
                step: static_path(step),
                operation: operation.clone(),
                args: args.value(),
                role: because.clone(),
                rejected: None,
                came: Vec::new(),
                receipts: Vec::new(),
                dispatches: Vec::new(),
                asked: None,
                approved: Vec::new(),
                judged: None,
                output: None,
            };
            acts.insert(seq, act);
            continue;
        }
        note(&mut acts, seq, &record.event.body);
    }
    acts
}

fn note(acts: &mut BTreeMap<Seq, Act>, seq: Seq, body: &Body) {
    match body {
        Body::Rejected { action, stage, class, code } => {
            if let Some(act) = acts.get_mut(action) {
                act.rejected = Some((*stage, *class, code.clone()));
            }
        }
        Body::Judged { action, digest, .. } => {
            if let Some(act) = acts.get_mut(action) {
                act.judged = Some(*digest);
            }
        }
        Body::Asked { action, requirement, .. } => {
            if let Some(act) = acts.get_mut(action) {
                act.asked = Some(requirement.approvals.clone());
            }
        }
        Body::Answered { action, digest, by, answer: Answered::Approved, .. } => {
            if let Some(act) = acts.get_mut(action) {
                act.approved.push((seq, *digest, by.roles.iter().cloned().collect()));
            }
        }
        Body::Voided { action, .. } => {
            if let Some(act) = acts.get_mut(action) {
                act.approved.clear();
            }
        }
        Body::Dispatched { action, key, .. } => {
            if let Some(act) = acts.get_mut(action) {
                act.dispatches.push((seq, key.clone()));
            }
        }
        Body::Returned { action, ended, .. } => {
            if let Some(act) = acts.get_mut(action) {
                if let Ended::Done { output, .. } = ended {
                    act.output = Some(output.value());
                }
                act.came.push(match ended {
                    Ended::Done { .. } => Came::Back,
                    Ended::Failed { class, landed, .. } => Came::Failed(*class, *landed),
                });
            }
        }
        Body::Receipted { action, receipt, statement, landed, class } => {
            if let Some(act) = acts.get_mut(action) {
                act.receipts.push(Receipted {
                    id: receipt.to_string(),
                    statement: *statement,
                    landed: *landed,
                    class: *class,
                });
            }
        }
        _ => {}
    }
}

/// Whether a run got to its end without giving up.
pub(super) fn ended_well(records: &[Record]) -> bool {
    records.iter().any(|record| {
        matches!(record.event.body, Body::Finished { end: End::Succeeded | End::Partial, .. })
    })
}

/// The result of a run that ended well.
pub(super) fn result(records: &[Record]) -> Option<Arc<Value>> {
    records.iter().find_map(|record| match &record.event.body {
        Body::Finished { output, .. } => Some(output.value()),
        _ => None,
    })
}

/// Whether somebody was needed for this.
pub(super) fn raised(records: &[Record], need: Need) -> bool {
    records.iter().any(|record| {
        matches!(&record.event.body, Body::Raised { exception, .. } if exception.need == need)
    })
}

/// Steps whose expressions had no result: no action of theirs failed, no check of theirs did, and they
/// found the shape of the data unexpected all the same.
pub(super) fn unevaluated(story: &Story, acts: &BTreeMap<Seq, Act>) -> Vec<String> {
    let mut checked = BTreeSet::new();
    visit_steps(&story.plan.playbook.steps, &mut |path, step| {
        if step.expect.iter().any(|check| check.class == Class::UnexpectedShape) {
            checked.insert(path.to_owned());
        }
    });
    let by_action = |path: &str| {
        let failed = |act: &&Act| act.path == path && act.is_step() && !act.is_done();
        acts.values().any(|act| failed(&act))
    };
    let found = story.records.iter().filter_map(|record| match &record.event.body {
        Body::Abandoned { step, class: Class::UnexpectedShape } => Some(step),
        Body::Marked { step, mark: Mark::Recovered { class: Class::UnexpectedShape, .. } } => {
            Some(step)
        }
        _ => None,
    });
    let found = found.filter(|step| !by_action(step)).map(|step| static_path(step));
    found.filter(|step| !checked.contains(step)).collect()
}

/// How every redeemed token came out.
pub(super) fn undone(records: &[Record]) -> impl Iterator<Item = &Undone> {
    records.iter().filter_map(|record| match &record.event.body {
        Body::Redeemed { undone, .. } => Some(undone),
        _ => None,
    })
}

/// The step that an event is about, as a static path.
pub(super) fn step_of(record: &Record, acts: &BTreeMap<Seq, Act>) -> Option<String> {
    let action = match &record.event.body {
        Body::Proposed { .. } => Some(record.event.seq),
        Body::Rejected { action, .. }
        | Body::Judged { action, .. }
        | Body::Captured { action, .. }
        | Body::Asked { action, .. }
        | Body::Answered { action, .. }
        | Body::Armed { action, .. }
        | Body::Dispatched { action, .. }
        | Body::Returned { action, .. }
        | Body::Elicited { action, .. }
        | Body::Relayed { action, .. }
        | Body::Receipted { action, .. } => Some(*action),
        Body::Questioned { step, .. } | Body::Waiting { step, .. } | Body::Woken { step } => {
            return Some(static_path(step));
        }
        _ => None,
    };
    let mut act = acts.get(&action?)?;
    if let Role::Companion { of, .. } = &act.role {
        act = acts.get(of)?;
    }
    (!matches!(act.role, Role::Undo { .. })).then(|| act.step.clone())
}
