//! The answer of the step changes shape: a field goes, a type is another.

use std::sync::Arc;

use kernel::{exception::Class, operation::Operation, pointer, port::Validate as _};
use serde_json::{Value, json};

use super::{Case, Probe, unless};
use crate::app::kit::{
    drive::Story,
    law::Finding,
    rehearse::{Reached, Rehearsal, Row, Sort},
    relation,
    script::{Fault, Script, Target, Times},
    stage::Stage,
    told::{self, Act, Came},
    world::{self, How},
};

pub(super) const PROBE: Probe =
    Probe { name: "drift", what: "fields of its answer go, or change their type", cases };

/// Most places of one answer that are changed.
const PLACES_MAX: usize = 80;

fn cases(rehearsal: &Rehearsal, row: &Row) -> Vec<Case> {
    let (Sort::Do(id), Some(act)) = (&row.sort, row.act()) else { return Vec::new() };
    let (Some(operation), Some(answer)) = (rehearsal.stage.operation(id), &act.output) else {
        return Vec::new();
    };
    let mut places = Vec::new();
    walk(answer, String::new(), &mut places);
    places.truncate(PLACES_MAX);
    let mut cases = Vec::new();
    for place in places {
        let mut without = (**answer).clone();
        world::remove(&mut without, &place);
        if without != **answer {
            let how = How::Without(place.clone());
            let seen = violation(&rehearsal.stage, operation, &without);
            cases.push(case((row, act), (format!("without={place}"), how), seen));
        }
        let wrong = wrong_for(answer.pointer(&place).unwrap_or(&Value::Null));
        let mut with = (**answer).clone();
        relation::set(&mut with, &place, |_| wrong.clone());
        if let Some(seen) = violation(&rehearsal.stage, operation, &with) {
            let how = How::With(place.clone(), wrong);
            cases.push(case((row, act), (format!("type={place}"), how), Some(seen)));
        }
    }
    cases
}

/// Every place of an answer; of a list only the first item.
fn walk(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                walk(field, format!("{at}/{}", pointer::escape(name)), places);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                walk(first, format!("{at}/0"), places);
            }
        }
        _ => {}
    }
    let removable_item = at.ends_with("/0");
    if !removable_item {
        places.push(at);
    }
}

fn wrong_for(value: &Value) -> Value {
    match value {
        Value::Object(_) | Value::Number(_) | Value::Bool(_) => json!("drifted"),
        Value::String(_) | Value::Array(_) | Value::Null => json!({ "drifted": true }),
    }
}

/// The class a changed answer must be seen as; `None` when its schema allows it.
fn violation(stage: &Stage, operation: &Operation, answer: &Value) -> Option<Class> {
    let violation = stage.schemas.violation(&operation.output, answer)?;
    Some(match violation.class {
        Class::MissingField => Class::MissingField,
        _ => Class::UnexpectedShape,
    })
}

fn case((row, act): (&Row, &Act), (name, how): (String, How), seen: Option<Class>) -> Case {
    let target = Target::Step(row.path.clone(), act.operation.clone());
    let faults = vec![Fault { target, how, times: Times::Always }];
    let path = row.path.clone();
    let operation = act.operation.to_string();
    let check = move |story: &Story, _: &Reached| match seen {
        Some(class) => detected(story, &path, class),
        None => not_needed(story, (&path, &operation)),
    };
    Case::new(name, Script { faults, ..Script::default() }, check)
}

/// The change was seen for what it is before the step had a result.
fn detected(story: &Story, path: &str, class: Class) -> Vec<Finding> {
    let acts = told::acts(&story.records);
    let own = |act: &&Act| act.is_step() && act.step == path;
    let seen = acts.values().filter(own).flat_map(|act| &act.came).next().copied();
    let happened = match seen {
        None => format!("`{path}` was never called"),
        Some(Came::Back) => format!("`{path}` took the changed answer as its result"),
        Some(Came::Failed(other, _)) => format!("`{path}` failed with {}", other.name()),
    };
    let right = matches!(seen, Some(Came::Failed(found, _)) if found == class);
    unless(right.into(), happened, format!("{} before anything uses it", class.name()))
}

/// Nothing breaks over a field that nobody promised.
fn not_needed(story: &Story, (path, operation): (&str, &str)) -> Vec<Finding> {
    let acts = Arc::new(told::acts(&story.records));
    let broken = told::unevaluated(story, &acts);
    let happened = format!("`{}` had no result without it", broken.join("`, `"));
    let expected = format!(
        "the output schema of {operation} requires what later steps of `{path}` read, or they do \
         without it"
    );
    unless(broken.is_empty().into(), happened, expected)
}
