//! Taking the step back fails, or meets a world that somebody else has changed.

use kernel::{
    event::Undone,
    exception::{Class, Need},
    operation::Undo,
    run::Status,
};

use super::{Case, Probe, unless};
use crate::app::kit::{
    drive::Story,
    law::Finding,
    rehearse::{Rehearsal, Row, Sort, plain_script},
    script::{Fault, Script, Target, Then, Times},
    told,
    world::{How, Truth},
};

pub(super) const PROBE: Probe =
    Probe { name: "undo", what: "taking it back fails, or meets a changed world", cases };

/// How an undo fails.
const FAILURES: [(&str, Class, Truth); 4] = [
    ("unavailable", Class::Unavailable, Truth::Refused),
    ("permission", Class::Permission, Truth::Refused),
    ("lost-before", Class::Timeout, Truth::LostBefore),
    ("lost-after", Class::Timeout, Truth::LostAfter),
];

fn cases(rehearsal: &Rehearsal, row: &Row) -> Vec<Case> {
    let (Sort::Do(id), Some(act), Some(reached)) = (&row.sort, row.act(), &row.reached) else {
        return Vec::new();
    };
    let effect = reached.story.world.effects.iter().position(|effect| effect.action == act.seq);
    let taken_back = effect.is_some_and(|index| {
        reached.story.world.effects.iter().any(|other| other.undoes == Some(index))
    });
    let Some(operation) = rehearsal.stage.operation(id).filter(|_| taken_back) else {
        return Vec::new();
    };
    let failing = FAILURES.map(|(name, class, truth)| {
        let target = Target::UndoOf(row.path.clone());
        let faults = vec![Fault { target, how: How::Fail(class, truth), times: Times::Always }];
        Case::new(name, Script { faults, ..plain_script() }, move |story, _| partial(story))
    });
    let mut cases = Vec::from(failing);
    if operation.facts.undo == Undo::Restore {
        let script = Script { then: Then::MeddleAndRollBack, ..Script::default() };
        cases.push(Case::new("moved", script, |story, _| conflict(story)));
    }
    cases
}

/// A failed undo is seen by somebody and is never called success.
fn partial(story: &Story) -> Vec<Finding> {
    let failed = told::undone(&story.records).any(|undone| !undone.is_back());
    let seen = [Need::UndoFailed, Need::Conflict, Need::InDoubt];
    let seen = seen.into_iter().any(|need| told::raised(&story.records, need));
    let mut found = unless(
        seen.into(),
        "the undo failed and nobody was told",
        "an undo that fails raises an exception",
    );
    let word = story.status.word().replace('_', " ");
    let honest = !failed || story.status != Status::RolledBack;
    found.extend(unless(honest.into(), format!("the run is {word}"), "partial is called partial"));
    found
}

/// What somebody else has changed since is not overwritten.
fn conflict(story: &Story) -> Vec<Finding> {
    let refused = !story.world.meddled
        || told::undone(&story.records).any(|u| matches!(u, Undone::Conflict { .. }));
    unless(
        refused.into(),
        "the rollback did not see that somebody else had changed what it takes back",
        "it refuses, and shows the difference; `before.image` must name what the undo restores",
    )
}
