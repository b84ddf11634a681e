//! Done, taken back, compared: what `undo` declares holds only once this is so.

use kernel::{operation::Undo, pointer};
use serde_json::Value;

use super::{Case, Probe};
use crate::app::kit::{
    drive::Story,
    law::Finding,
    rehearse::{Reached, Rehearsal, Row, Sort, plain_script},
    relation::is_counter,
    told,
};

pub(super) const PROBE: Probe =
    Probe { name: "restore", what: "it is done, taken back, and compared", cases };

fn cases(rehearsal: &Rehearsal, row: &Row) -> Vec<Case> {
    let (Sort::Do(id), Some(act)) = (&row.sort, row.act()) else { return Vec::new() };
    let Some(operation) = rehearsal.stage.operation(id) else { return Vec::new() };
    let (path, key) = (row.path.clone(), act.dispatches.first().map(|(_, key)| key.clone()));
    let undo = operation.facts.undo;
    if undo == Undo::None || !operation.is_write() {
        return Vec::new();
    }
    let check = move |story: &Story, _: &Reached| {
        let mut found = Vec::new();
        let effect = story.world.effects.iter().find(|effect| Some(&effect.key) == key.as_ref());
        if effect.is_none_or(|effect| effect.changed && !effect.undone) {
            let why = how_undone(story);
            let happened = format!("nothing took `{path}` back as it was done{why}");
            found.push(Finding::new(happened, "`undo_with` is called for it, with its arguments"));
        }
        if undo == Undo::Restore {
            found.extend(differences(story, &path));
        }
        found
    };
    vec![Case::new("compare", plain_script(), check)]
}

fn how_undone(story: &Story) -> String {
    let words = told::undone(&story.records).map(|undone| {
        let value = serde_json::to_value(undone).unwrap_or_default();
        let word = value.get("result").and_then(Value::as_str).unwrap_or_default().to_owned();
        match value.get("class").and_then(Value::as_str) {
            Some(class) => format!("{word} ({class})"),
            None => word,
        }
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
}

/// What reads otherwise than before in any record the run touched.
fn differences(story: &Story, path: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (key, now) in story.world.touched() {
        let Some(before) = story.world.untouched(&key) else { continue };
        let mut places = Vec::new();
        pointer::visit_leaves(&before, &mut |at, value| {
            if now.pointer(at) != Some(value) {
                places.push(at.to_owned());
            }
        });
        pointer::visit_leaves(&now, &mut |at, _| {
            if before.pointer(at).is_none() {
                places.push(at.to_owned());
            }
        });
        places.retain(|at| !at.rsplit('/').next().is_some_and(is_counter));
        places.sort();
        places.dedup();
        if !places.is_empty() {
            let happened = format!(
                "after `{path}` was taken back, {} differs at {}",
                key.0,
                places.join(", ")
            );
            found
                .push(Finding::new(happened, "`undo: restore` gives the exact earlier state back"));
        }
    }
    found
}
