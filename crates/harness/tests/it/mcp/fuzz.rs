//! C003 through MCP: whatever is called, nothing is handed out that no stored decision allows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Pipe, Speaks};
use crate::{
    entries::{Dice, handed_out},
    support::Office,
};

/// How many calls are tried.
const CALLS: u64 = 320;

/// C003: 320 calls of everything that is offered, well-formed and not: for every action that was handed to a connector a
/// decision stands in the journal before it, and nothing happened in the world beside.
#[test]
fn nothing_that_is_called_runs_without_a_stored_decision() {
    let office = Office::open();
    let mut pipe = Pipe::open(
        &office,
        Speaks::Now,
        &["--hold", "0s", "--operations", "crm.*,billing.*,desk.*,usage.*,mail.*"],
    );
    let tools = pipe.tools();
    assert!(tools.len() > 20, "{}", tools.len());
    let mut dice = Dice(7);
    let mut runs = BTreeSet::new();
    for _ in 0..CALLS {
        let tool = &tools[dice.roll(tools.len())];
        let params =
            json!({"name": tool["name"], "arguments": dice.arguments(&tool["inputSchema"])});
        let answer = pipe.ask("tools/call", params);
        runs.extend(answer["result"]["_meta"]["harness/run"].as_str().map(str::to_owned));
    }
    assert!(runs.len() > 60, "most calls were refused at the door: {}", runs.len());
    let mut dispatched = 0;
    for run in &runs {
        let events = office.json(&["run", "events", run]).exits(0).document();
        let events = events["items"].as_array().unwrap().clone();
        dispatched += handed_out(run, &events);
    }
    assert!(dispatched > 40, "{dispatched} calls were handed out");
    // Nobody approved anything, and every word of it was a client's: the world is as it was.
    assert_eq!(office.writes(), Vec::<Value>::new());
    assert_eq!(pipe.end(), 0);
}
