//! Somebody says no to the step.

use kernel::event::Stage as GateStage;

use super::{Case, Probe, unless};
use crate::app::kit::{
    drive::Story,
    rehearse::{Reached, Rehearsal, Row},
    script::{People, Script},
    told::{self, Act},
};

pub(super) const PROBE: Probe =
    Probe { name: "refuse", what: "somebody says no to its ask", cases };

fn cases(_: &Rehearsal, row: &Row) -> Vec<Case> {
    if row.act().is_none_or(|act| act.asked.is_none()) {
        return Vec::new();
    }
    let people = People::Refuse(row.path.clone());
    let path = row.path.clone();
    let check = move |story: &Story, _: &Reached| not_done(story, &path, GateStage::Refused);
    vec![Case::new("no", Script { people, ..Script::default() }, check)]
}

/// The step was asked about, was rejected at this stage, and nothing of it was called.
pub(super) fn not_done(
    story: &Story,
    path: &str,
    wanted: GateStage,
) -> Vec<crate::app::kit::law::Finding> {
    let acts = told::acts(&story.records);
    let own: Vec<&Act> = acts.values().filter(|a| a.is_step() && a.step == path).collect();
    let rejected = |act: &&Act| act.rejected.as_ref().is_some_and(|(stage, _, _)| *stage == wanted);
    let asked: Vec<&&Act> = own.iter().filter(|act| act.asked.is_some()).collect();
    let called = asked.iter().any(|act| !act.dispatches.is_empty());
    let mut found = unless(
        (!called).into(),
        format!("`{path}` was called without a yes"),
        "without a yes it is not called",
    );
    let met = own.iter().any(rejected);
    found.extend(unless(
        met.into(),
        format!("`{path}` was not rejected by the missing yes"),
        "the action is rejected, and its failure leads somewhere",
    ));
    found
}
