//! The step is done again: its answer is lost with the process, or comes twice. The first step also
//! answers for the whole run: it is submitted again.

use kernel::{exception::Need, operation::Retry, port::JournalError};

use super::{Case, Holds, Probe, unless};
use crate::app::{
    kit::{
        drive::Story,
        law::Finding,
        rehearse::{Reached, Rehearsal, Row, Sort, plain_script},
        script::{Crash, Script, Then},
        told,
    },
    value::counted,
};

pub(super) const PROBE: Probe =
    Probe { name: "again", what: "its answer is lost with the process, or comes twice", cases };

fn cases(rehearsal: &Rehearsal, row: &Row) -> Vec<Case> {
    let (Sort::Do(id), Some(_)) = (&row.sort, row.act()) else { return Vec::new() };
    let Some(operation) = rehearsal.stage.operation(id) else { return Vec::new() };
    let known = !operation.is_write() || operation.facts.retry == Retry::Keyed;
    let must_ask = operation.is_write() && operation.facts.retry == Retry::Never;
    let path = row.path.clone();
    let lost = move |story: &Story, reached: &Reached| {
        let asked = told::raised(&story.records, Need::InDoubt);
        if asked {
            let happened = format!("a person was asked what became of `{path}`");
            return unless((!known).into(), happened, "it can be done again under the same key");
        }
        if must_ask {
            let happened = format!("the answer of `{path}` was lost and nobody was asked");
            return unless(Holds::No, happened, "a person settles what nobody knows");
        }
        // What a probe settles has no answer: what needs it later may fail, and says so.
        if known { same_end(story, reached) } else { Vec::new() }
    };
    let path = row.path.clone();
    let twice = move |story: &Story, _: &Reached| {
        let counted = story.echoes.iter().any(|counted| *counted);
        let happened = format!("the second answer of `{path}` counted");
        let mut found = unless((!counted).into(), happened, "an answer counts once");
        let heard = !story.echoes.is_empty();
        found.extend(unless(
            heard.into(),
            "the step was never called",
            "the run goes the same way",
        ));
        found
    };
    let crash = Crash::AfterCall(row.path.clone());
    let mut cases = vec![
        Case::new("lost", Script { crash, ..plain_script() }, lost),
        Case::new("twice", Script { echo: Some(row.path.clone()), ..plain_script() }, twice),
    ];
    if rehearsal.rows.first().is_some_and(|first| first.path == row.path) {
        let script = Script { then: Then::SubmitAgain, ..Script::default() };
        cases.push(Case::new("submitted", script, |story, _| submitted(story)));
    }
    cases
}

/// The same intent under the same key is the same run.
fn submitted(story: &Story) -> Vec<Finding> {
    let lost = matches!(story.resubmitted, Some(JournalError::Lost { .. }));
    unless(lost.into(), "the same key began a second run", "one key is one run")
}

/// The same end as if nothing had happened: status, result and effects.
pub(super) fn same_end(story: &Story, reached: &Reached) -> Vec<Finding> {
    let first = &reached.story;
    let mut found = Vec::new();
    if story.status != first.status {
        let word = |story: &Story| story.status.word().replace('_', " ");
        found.push(Finding::new(
            format!("the run ended as {}", word(story)),
            format!("{}, as without it", word(first)),
        ));
    }
    if told::result(&story.records) != told::result(&first.records) {
        found.push(Finding::new("the run's result differs", "the same result as without it"));
    }
    let effects = |story: &Story| {
        let mut all: Vec<_> = story.world.effects.iter().map(|e| e.operation.clone()).collect();
        all.sort();
        all
    };
    if effects(story) != effects(first) {
        found.push(Finding::new(
            counted(story.world.effects.len(), "effect"),
            format!("{}, as without it", counted(first.world.effects.len(), "effect")),
        ));
    }
    found
}
