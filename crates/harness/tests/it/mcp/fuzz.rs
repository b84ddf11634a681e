//! C003 through MCP: whatever is called, nothing is handed out that no stored decision allows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Pipe, Speaks};
use crate::support::Office;

/// How many calls are tried.
const CALLS: u64 = 320;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }

    fn value(&mut self, deep: usize) -> Value {
        match self.roll(if deep == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.roll(100_000)),
            2 => json!("ACC-0042"),
            3 => {
                json!(["PaymentTermsDays", "', '); --", "../../etc", "\u{202e}x", ""][self.roll(5)])
            }
            4 => json!(self.roll(2) == 0),
            5 => json!([self.value(deep - 1)]),
            _ => json!({"account": self.value(deep - 1)}),
        }
    }

    /// Arguments that fit more often than chance would have it.
    fn arguments(&mut self, schema: &Value) -> Value {
        let mut arguments = json!({});
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            arguments[name] = match (self.roll(20), name.as_str(), field["enum"].as_array()) {
                (0, ..) => continue,
                (1, ..) => self.value(2),
                (_, _, Some(one_of)) => one_of[self.roll(one_of.len())].clone(),
                (_, "account" | "customer", _) => {
                    json!(["ACC-0042", "ACC-0007", "ACC-9999"][self.roll(3)])
                }
                _ if field["type"] == "integer" => json!(self.roll(500)),
                _ => json!(["45", "60", "true", "some reason of mine"][self.roll(4)]),
            };
        }
        if self.roll(12) == 0 {
            arguments["operation"] = json!("billing.create_refund");
        }
        arguments
    }
}

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
    let mut handed_out = 0;
    for run in &runs {
        let events = office.json(&["run", "events", run]).exits(0).document();
        let events = events["items"].as_array().unwrap().clone();
        let mut allowed = BTreeSet::new();
        for event in &events {
            let action = event["body"]["action"].as_u64();
            match event["kind"].as_str().unwrap() {
                "judged" if allows(&event["body"]["decision"]) => {
                    allowed.extend(action);
                }
                "dispatched" => {
                    handed_out += 1;
                    assert!(
                        allowed.contains(&action.unwrap()),
                        "{run}: {event} without a decision: {events:#?}"
                    );
                }
                _ => {}
            }
        }
    }
    assert!(handed_out > 40, "{handed_out} calls were handed out");
    // Nobody approved anything, and every word of it was a client's: the world is as it was.
    assert_eq!(office.writes(), Vec::<Value>::new());
    assert_eq!(pipe.end(), 0);
}

fn allows(decision: &Value) -> bool {
    let said = decision.get("outcome").or(decision.get("verdict")).unwrap_or(decision);
    said == "allow" || said["verdict"] == "allow"
}
