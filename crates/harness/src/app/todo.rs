//! What a run still has to do, by its own list: the one that was written last.

use std::collections::BTreeSet;

use connect::writes_todo;
use kernel::{
    event::{Body, Ended, Record},
    run::Run,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runs::rfc3339;

/// A list of what is to be done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TodoList {
    /// The step that wrote it last.
    pub step: String,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// In order.
    pub items: Vec<TodoItem>,
}

/// Something to be done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TodoItem {
    /// Its name in the list.
    pub id: String,
    /// What is to be done.
    pub text: String,
    /// `open`, `doing`, `done` or `dropped`.
    pub state: String,
}

/// The list as it stands, from the journal alone; none where the run keeps none, or where it was erased.
pub(super) fn todo_of(run: &Run, records: &[Record]) -> Option<TodoList> {
    let mut lists = BTreeSet::new();
    let mut last = None;
    for record in records {
        match &record.event.body {
            Body::Proposed { step, operation, .. }
                if run.operation(operation).is_some_and(writes_todo) =>
            {
                lists.insert((record.event.seq, step.as_str()));
            }
            Body::Returned { action, ended: Ended::Done { output, .. }, .. } => {
                let step = lists.iter().find(|(seq, _)| seq == action).map(|(_, step)| *step);
                last = step.map(|step| (step, record.event.at, output.value())).or(last);
            }
            _ => {}
        }
    }
    let (step, at, output) = last?;
    let items = output.get("items").and_then(Value::as_array)?;
    let items = items.iter().filter_map(|item| serde_json::from_value(item.clone()).ok());
    Some(TodoList { step: step.to_owned(), at: rfc3339(at), items: items.collect() })
}
