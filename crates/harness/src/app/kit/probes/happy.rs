//! As it should be: every answer fits, everybody approves.

use super::{Case, Probe};
use crate::app::kit::rehearse::{Rehearsal, Row, plain_script};

pub(super) const PROBE: Probe =
    Probe { name: "happy", what: "every answer fits and everybody approves", cases };

fn cases(rehearsal: &Rehearsal, row: &Row) -> Vec<Case> {
    let mut cases = vec![Case::new("plain", plain_script(), |_, _| Vec::new())];
    // What was odd in other settings is told once, by the first step.
    if rehearsal.rows.first().is_some_and(|first| first.path == row.path) {
        cases.extend(rehearsal.odd.iter().map(|(setting, plan)| {
            let name = format!("setting-{}", setting.number);
            let case = Case::new(name, plain_script(), |_, _| Vec::new());
            Case { setting: Some((setting.clone(), plan.clone())), ..case }
        }));
    }
    cases
}
