//! A list of what is to be done, as an agent or a playbook keeps it: written whole each time, checked, and counted. What
//! was written last stands in the run's journal like every answer, so that it comes back after a crash and in a replay.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most items of a list.
pub const ITEMS_MAX: usize = 100;

/// Longest text of an item, in characters.
pub const TEXT_CHARS_MAX: usize = 300;

/// Longest name of an item, in characters.
pub const ID_CHARS_MAX: usize = 40;

/// How an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has begun.
    Open,
    /// It is being done; one at a time.
    Doing,
    /// It is done.
    Done,
    /// It will not be done.
    Dropped,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name; its place in the list where none is said.
    #[serde(default)]
    pub id: Option<String>,
    /// What is to be done.
    pub text: String,
    /// How it stands.
    #[serde(default = "open")]
    pub state: State,
}

fn open() -> State {
    State::Open
}

/// Checks a list and counts it: `{items, open, doing, done, dropped, is_over}`, the same for the same list.
///
/// # Errors
/// What is wrong with the list, with the item's place.
pub(crate) fn write(args: &Value) -> Result<Value, String> {
    let items = args.get("items").cloned().unwrap_or_default();
    let items: Vec<Item> = serde_json::from_value(items).map_err(|error| {
        format!("`items` is a list of {{id, text, state}}, and a state is open, doing, done or dropped: {error}")
    })?;
    if items.len() > ITEMS_MAX {
        return Err(format!("the list has {} items, more than {ITEMS_MAX}", items.len()));
    }
    let (mut named, mut ids) = (Vec::with_capacity(items.len()), BTreeSet::new());
    for (place, item) in items.into_iter().enumerate() {
        let number = place.saturating_add(1);
        let id = item.id.unwrap_or_else(|| number.to_string());
        check_text(&id, ID_CHARS_MAX)
            .map_err(|problem| format!("item {number}: its id {problem}"))?;
        check_text(&item.text, TEXT_CHARS_MAX)
            .map_err(|problem| format!("item {number}: its text {problem}"))?;
        if !ids.insert(id.clone()) {
            return Err(format!("item {number}: another one is called `{id}` too"));
        }
        named.push(Item { id: Some(id), text: item.text, state: item.state });
    }
    let of = |state: State| named.iter().filter(|item| item.state == state).count();
    let (open, doing) = (of(State::Open), of(State::Doing));
    if doing > 1 {
        return Err(format!("{doing} items are `doing`; one is done at a time"));
    }
    Ok(json!({
        "items": named, "open": open, "doing": doing, "done": of(State::Done), "dropped": of(State::Dropped),
        "is_over": open == 0 && doing == 0,
    }))
}

fn check_text(text: &str, most: usize) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().count() > most {
        return Err(format!("is longer than {most} characters"));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err("holds control characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_named_counted_and_the_same_each_time() {
        let list = json!({"items": [
            {"text": "read the ticket", "state": "done"},
            {"id": "reply", "text": "write a reply", "state": "doing"},
            {"text": "close it"},
            {"text": "call", "state": "dropped"},
        ]});
        let written = write(&list).unwrap();
        assert_eq!(
            written,
            json!({"items": [
                {"id": "1", "text": "read the ticket", "state": "done"},
                {"id": "reply", "text": "write a reply", "state": "doing"},
                {"id": "3", "text": "close it", "state": "open"},
                {"id": "4", "text": "call", "state": "dropped"},
            ], "open": 1, "doing": 1, "done": 1, "dropped": 1, "is_over": false})
        );
        // What was answered can be written again.
        assert_eq!(write(&json!({"items": written["items"]})).unwrap(), written);
        assert_eq!(write(&json!({"items": []})).unwrap()["is_over"], true);
    }

    #[test]
    fn what_is_no_list_is_refused_at_its_place() {
        let long = "x".repeat(TEXT_CHARS_MAX + 1);
        for (items, said) in [
            (json!("all of it"), "`items` is a list"),
            (json!([{"text": "a", "state": "later"}]), "a state is open, doing, done or dropped"),
            (json!([{"text": "a", "due": "now"}]), "unknown field"),
            (json!([{"text": "a"}, {"text": " "}]), "item 2: its text is empty"),
            (json!([{"text": long}]), "longer than 300 characters"),
            (json!([{"text": "a\u{1b}[2J"}]), "control characters"),
            (json!([{"id": "2", "text": "a"}, {"text": "b"}]), "item 2: another one is called `2`"),
            (
                json!([{"text": "a", "state": "doing"}, {"text": "b", "state": "doing"}]),
                "one is done",
            ),
        ] {
            let problem = write(&json!({ "items": items })).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
        let many: Vec<Value> = (0..=ITEMS_MAX).map(|n| json!({"text": n.to_string()})).collect();
        assert!(write(&json!({ "items": many })).unwrap_err().contains("more than 100"));
    }
}
