//! The process ends right after each append that the step had a part in, and another takes over.

use kernel::exception::Need;

use super::{Case, Probe, again::same_end};
use crate::app::kit::{
    drive::Story,
    rehearse::{Reached, Rehearsal, Row, plain_script},
    script::{Crash, Script},
    told,
};

pub(super) const PROBE: Probe =
    Probe { name: "crash", what: "the process ends after each append, another takes over", cases };

fn cases(rehearsal: &Rehearsal, row: &Row) -> Vec<Case> {
    let Some(reached) = &row.reached else { return Vec::new() };
    let appends = appends_of(rehearsal, row, reached).into_iter();
    let case = |append: usize| {
        let crash = Crash::AfterAppend(append);
        let check = |story: &Story, reached: &Reached| {
            // Where nobody knows whether something happened, a person decides and the end may differ.
            if told::raised(&story.records, Need::InDoubt) {
                return Vec::new();
            }
            same_end(story, reached)
        };
        Case::new(append.to_string(), Script { crash, ..plain_script() }, check)
    };
    appends.map(case).collect()
}

/// The appends that are this row's: those whose last event about a step is about it. The first row of a
/// run also answers for the appends that are about none.
fn appends_of(rehearsal: &Rehearsal, row: &Row, reached: &Reached) -> Vec<usize> {
    let number = reached.setting.number;
    let here = |row: &&Row| row.reached.as_ref().is_some_and(|r| r.setting.number == number);
    let rows: Vec<&Row> = rehearsal.rows.iter().filter(here).collect();
    let first = rows.first().is_some_and(|first| first.path == row.path);
    let mut from = 0;
    let mut own = Vec::new();
    for (index, to) in reached.story.appends.iter().enumerate() {
        let events = reached.story.records.get(from..*to).unwrap_or_default();
        from = *to;
        let steps = events.iter().rev().filter_map(|e| told::step_of(e, &reached.acts));
        let mut steps = steps.filter(|step| rows.iter().any(|row| row.path == *step));
        let mine = match steps.next() {
            Some(step) => step == row.path,
            None => first,
        };
        if mine {
            own.push(index + 1);
        }
    }
    own
}
