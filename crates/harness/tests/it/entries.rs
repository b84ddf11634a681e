//! C003 through every entry point: whatever is asked for, by whichever door, nothing is handed to a connector that no stored
//! decision allows. `HARNESS_ENTRIES` says how many calls are made; what is tried is the same each time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    api::Api,
    mcp::{Front, Speaks, post, served},
    support::{Office, copy, root},
};

/// Calls of a plain test run; `./proof` makes ten thousand.
const SAMPLE: usize = 360;

/// Most calls of one server: the next ones go to another, with a store of its own.
const OF_ONE_MAX: usize = 2_000;

/// Of how many calls one is made through the proxy: each is a call over the network more.
const PROXIED: usize = 4;

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
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
    pub(crate) fn arguments(&mut self, schema: &Value) -> Value {
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
                _ if field["type"] == "array" => json!([]),
                (_, "own", _) => json!(["", "", "the store"][self.roll(3)]),
                _ => json!(["45", "60", "true", "some reason of mine"][self.roll(4)]),
            };
        }
        if self.roll(12) == 0 {
            arguments["operation"] = json!("billing.create_refund");
        }
        arguments
    }
}

/// How many actions of a run were handed to a connector: before each of them stands the decision that allows it, and of two
/// decisions about one the later one counts.
pub(crate) fn handed_out(run: &str, events: &[Value]) -> usize {
    let (mut decided, mut count) = (BTreeMap::new(), 0);
    for event in events {
        let action = event["body"]["action"].as_u64();
        match event["kind"].as_str().unwrap() {
            "judged" => {
                decided.extend(action.map(|action| (action, allows(&event["body"]["decision"]))));
            }
            "dispatched" => {
                count += 1;
                let decision = decided.get(&action.unwrap());
                assert_eq!(decision, Some(&true), "{run}: {event} is not allowed: {events:#?}");
            }
            _ => {}
        }
    }
    count
}

fn allows(decision: &Value) -> bool {
    let said = decision.get("outcome").or(decision.get("verdict")).unwrap_or(decision);
    said == "allow" || said["verdict"] == "allow"
}

/// The ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    Submit,
    Tool,
    Mcp,
    A2a,
    Gate,
    Hook,
}

const DOORS: [Door; 6] = [Door::Submit, Door::Tool, Door::Mcp, Door::A2a, Door::Gate, Door::Hook];

/// A server with everything open that can be.
struct House {
    api: Api,
    agent: String,
    ulla: String,
    intents: Vec<Value>,
    tools: Vec<Value>,
}

impl House {
    fn open() -> Self {
        let office = Office::open();
        copy(&root().join("packs/coding-agent"), &office.path("packs/coding-agent"));
        office.reconfigure(
            "packs = [\"packs/customer-ops\"]",
            "packs = [\"packs/customer-ops\", \"packs/coding-agent\"]",
        );
        let config = std::fs::read_to_string(office.config()).unwrap();
        let more = "[mcp]\nhold_ms = 0\noperations = [\"crm.*\", \"billing.*\", \"desk.*\", \"usage.*\", \"mail.*\"]\n\
                    [serve]\nrequests_per_second = 100000\n";
        std::fs::write(office.config(), config + more).unwrap();
        let api = Api::of(office);
        let agent = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
        let ulla = api.token("ulla", &[]);
        let list = |path: &str| {
            let listed = api.get(&agent, path).ok();
            listed["items"].as_array().unwrap().clone()
        };
        let (intents, tools) = (list("/v1/intents"), list("/v1/tools"));
        assert!(intents.len() > 10 && tools.len() > 20, "{} {}", intents.len(), tools.len());
        Self { api, agent, ulla, intents, tools }
    }

    /// Asks for something through a door; nobody minds being refused.
    fn knock(&self, door: Door, at: usize, dice: &mut Dice) {
        let intent = &self.intents[dice.roll(self.intents.len())];
        let tool = &self.tools[dice.roll(self.tools.len())];
        let (called, takes) = (tool["name"].as_str().unwrap(), &tool["input"]);
        let send = |path: &str, body: &Value| self.api.post(&self.agent, path, body);
        let answer = match door {
            Door::Submit => {
                let inputs = dice.arguments(&intent["input"]);
                send("/v1/intents", &json!({"intent": intent["name"], "inputs": inputs}))
            }
            Door::Tool => {
                let body = json!({"arguments": dice.arguments(takes), "wait_ms": 1_000});
                send(&format!("/v1/tools/{called}/call"), &body)
            }
            Door::Mcp => {
                let params = json!({"name": called, "arguments": dice.arguments(takes)});
                let who = (&*self.agent, Speaks::Now);
                post(&self.api.host, who, ("tools/call", params), &[])
            }
            Door::A2a => {
                let message = json!({
                    "messageId": format!("m-{at}"), "role": "ROLE_USER",
                    "parts": [{"data": dice.arguments(&intent["input"])}],
                    "metadata": {"skill": intent["name"]},
                });
                let params = json!({ "message": message });
                let body =
                    json!({"jsonrpc": "2.0", "id": at, "method": "SendMessage", "params": params});
                self.api.ask(&self.agent, ("POST", "/a2a"), &body, &["A2A-Version: 1.0"])
            }
            Door::Gate => {
                let (tool, arguments) = (&intent["name"], dice.arguments(&intent["input"]));
                let body = json!({"tool": tool, "arguments": arguments, "wait_ms": 1_000});
                let asked = send("/v1/gate/tool-call", &body);
                let run = (asked.status == 200).then(|| asked.json()["run"].clone());
                if let Some(run) = run.as_ref().and_then(Value::as_str) {
                    // It takes what it may, and also what it may not.
                    let path = format!("/v1/gate/tool-call/{run}/take");
                    send(&path, &json!({"wait_ms": 1}));
                    let path = format!("/v1/gate/tool-call/{run}/report");
                    send(&path, &json!({"outcome": "done", "result": {}}));
                }
                asked
            }
            Door::Hook => {
                let name = ["Bash", "Read", "Write", "WebFetch", "mcp__x__y"][dice.roll(5)];
                let command = ["ls", "rm -rf /", "harness approval approve"][dice.roll(3)];
                let path = ["/etc/passwd", "src/lib.rs"][dice.roll(2)];
                let input = json!({
                    "command": command, "file_path": path, "url": "https://example.com",
                    "content": dice.value(1),
                });
                let event = json!({
                    "session_id": "s-1", "transcript_path": "", "cwd": self.api.office.dir(),
                    "permission_mode": "default", "hook_event_name": "PreToolUse",
                    "tool_name": name, "tool_input": input, "tool_use_id": format!("u-{at}"),
                });
                send("/v1/gate/hook", &json!({"agent": "claude-code", "event": event}))
            }
        };
        assert!(answer.status < 500, "{door:?}: {answer:?}");
    }

    /// Runs that there are, by what they are for.
    fn runs(&self) -> BTreeMap<String, String> {
        let (mut runs, mut next) = (BTreeMap::new(), String::new());
        loop {
            let page = self.api.get(&self.ulla, &format!("/v1/runs?limit=100{next}")).ok();
            for run in page["items"].as_array().unwrap() {
                let text = |name: &str| run[name].as_str().unwrap().to_owned();
                runs.insert(text("id"), text("intent"));
            }
            match page["next"].as_str() {
                Some(cursor) => next = format!("&after={cursor}"),
                None => return runs,
            }
        }
    }
}

fn asked() -> usize {
    std::env::var("HARNESS_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(SAMPLE)
}

/// C003: calls of everything that is offered, well-formed and not, by the API, as tools, over MCP and A2A, through the gate
/// and the hook of coding agents: for every action that was handed to a connector the decision that allows it stands in the
/// journal before it, and nothing happened in the world beside.
#[test]
fn nothing_is_handed_out_without_a_stored_decision_whichever_way_it_is_asked_for() {
    let (mut dice, mut left) = (Dice(11), asked());
    let (mut runs_of, mut dispatched) = (BTreeMap::new(), 0);
    while left > 0 {
        let calls = left.min(OF_ONE_MAX);
        left -= calls;
        let house = House::open();
        for at in 0..calls {
            house.knock(DOORS[at % DOORS.len()], at, &mut dice);
        }
        for (run, intent) in house.runs() {
            let events = house.api.get(&house.ulla, &format!("/v1/runs/{run}/events")).ok();
            dispatched += handed_out(&run, events["items"].as_array().unwrap());
            *runs_of.entry(intent).or_insert(0_usize) += 1;
        }
        // Nobody approved anything, and every word of it was an agent's: the world is as it was.
        assert_eq!(house.api.office.writes(), Vec::<Value>::new());
    }
    let runs: usize = runs_of.values().sum();
    println!("entries: {} calls, {runs} runs, {dispatched} actions handed out", asked());
    for intent in ["operation", "churn_risk_read", "look", "run", "change"] {
        assert!(runs_of.contains_key(intent), "no run of {intent}: {runs_of:?}");
    }
    assert!(runs * 5 > asked() && dispatched * 10 > asked(), "{runs} {dispatched}: {runs_of:?}");
}

/// What a call costs the store: its beginning, with which call it is and its plan; and what came back. That it was told
/// joins the next one's beginning.
#[test]
fn a_call_that_nobody_is_asked_about_is_two_transactions() {
    const CALLS: u64 = 20;
    let house = House::open();
    let tool = house.tools.iter().find(|tool| tool["of"] == "crm.get_account").unwrap();
    let path = format!("/v1/tools/{}/call", tool["name"].as_str().unwrap());
    let body = json!({"arguments": {"account": "ACC-0042"}, "wait_ms": 45_000});
    let call = || {
        let done = house.api.post(&house.agent, &path, &body).ok();
        assert_eq!(done["state"], "done", "{done:#}");
        assert_eq!(done["receipts"].as_array().unwrap().len(), 1, "{done:#}");
        done["run"].as_str().unwrap().to_owned()
    };
    let commits = || {
        let figures = house.api.get("", "/metrics").body;
        let line = figures.lines().find(|line| line.starts_with("harness_store_commits ")).unwrap();
        line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    // The first one keeps its pack, too.
    call();
    let before = commits();
    let runs: BTreeSet<String> = (0..CALLS).map(|_| call()).collect();
    let spent = commits() - before;
    assert_eq!(runs.len() as u64, CALLS, "each is another: the one before was told");
    // Where the next one is late, what forgets the last is written by itself.
    assert!((CALLS * 2..=CALLS * 3).contains(&spent), "{spent} for {CALLS}");
}

/// C003: the same of calls that the proxy passes on, also where the operator lets everything pass: that is a decision, too.
#[test]
fn nothing_passes_the_proxy_without_a_stored_decision() {
    let calls = asked().div_ceil(PROXIED * 3);
    let mut dice = Dice(13);
    for mode in ["enforce", "warn", "observe"] {
        let front = Front::open(mode);
        let (_serving, host, token) = served(&front);
        let tools = front.direct("tools/list", json!({}));
        // One never answers, and one ends its server.
        let sound = |tool: &&Value| tool["name"] != "slow" && tool["name"] != "crash";
        let tools: Vec<&Value> = tools["tools"].as_array().unwrap().iter().filter(sound).collect();
        for _ in 0..calls {
            let tool = tools[dice.roll(tools.len())];
            let arguments = dice.arguments(&tool["inputSchema"]);
            let params = json!({"name": tool["name"], "arguments": arguments});
            post(&host, (&token, Speaks::Now), ("tools/call", params), &[]);
        }
        let (mut dispatched, mut intents) = (0, BTreeSet::new());
        let mut after = Vec::new();
        loop {
            let words: Vec<&str> = ["run", "list", "--limit", "200"]
                .into_iter()
                .chain(after.iter().map(String::as_str))
                .collect();
            let listed = front.json(&words).exits(0).document();
            for run in listed["items"].as_array().unwrap() {
                let id = run["id"].as_str().unwrap();
                intents.insert(run["intent"].as_str().unwrap().to_owned());
                let events = front.json(&["run", "events", id]).exits(0).document();
                dispatched += handed_out(id, events["items"].as_array().unwrap());
            }
            match listed["next"].as_str() {
                Some(next) => after = vec!["--after".to_owned(), next.to_owned()],
                None => break,
            }
        }
        assert!(dispatched > 0, "{mode}");
        println!("entries: {calls} calls of the proxy in mode {mode}, {dispatched} handed out");
        let wanted = if mode == "enforce" { "proxied" } else { "observed" };
        assert!(intents.contains(wanted), "{mode}: {intents:?}");
    }
}
