//! Nobody answers the step in time.

use kernel::{
    event::{Body, Stage as GateStage},
    playbook::static_path,
};

use super::{Case, Probe, refuse::not_done, unless};
use crate::app::kit::{
    drive::Story,
    rehearse::{Reached, Rehearsal, Row, Sort},
    script::{People, Script},
};

pub(super) const PROBE: Probe = Probe { name: "expire", what: "nobody answers it in time", cases };

fn cases(_: &Rehearsal, row: &Row) -> Vec<Case> {
    let asks = match row.sort {
        Sort::Do(_) => row.act().is_some_and(|act| act.asked.is_some()),
        Sort::Ask | Sort::Await => row.reached.is_some(),
    };
    if !asks {
        return Vec::new();
    }
    let people = People::Silent(row.path.clone());
    let (path, sort) = (row.path.clone(), row.sort.clone());
    let check = move |story: &Story, _: &Reached| {
        if let Sort::Do(_) = sort {
            return not_done(story, &path, GateStage::Expired);
        }
        let lapsed = story.records.iter().any(|record| match &record.event.body {
            Body::Lapsed { .. } => true,
            Body::Woken { step } => static_path(step) == path,
            _ => false,
        });
        unless(lapsed.into(), format!("`{path}` waits on"), "what nobody answers ends in time")
    };
    vec![Case::new("silence", Script { people, ..Script::default() }, check)]
}
