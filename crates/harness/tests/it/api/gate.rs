//! The gate for agents that are not ours (C174): what they are about to do is judged, asked about and recorded
//! like everything else, and left to them only while it is permitted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Api,
    packs::{accepted, bare},
};

/// Tools of another agent: one that reads, one that changes something, one that nobody may use, and one whose
/// time is short.
fn tools() -> BTreeMap<String, String> {
    let intent = |name: &str| {
        format!(
            "schema: harness.intent/v1\nname: {name}\ntitle: Use {name}\nplaybook: {name}\n\
             agent: agent:coder\ntriggers: [use {name}]\n\
             input: {{type: object, required: [command], additionalProperties: false, \
             properties: {{command: {{type: string}}}}}}\n"
        )
    };
    let playbook = |name: &str| {
        format!(
            "schema: harness.playbook/v1\nname: {name}\nsteps:\n  - id: call\n    do: tools.{name}\n    \
             with: {{command: \"${{{{ intent.command }}}}\"}}\n  - {{id: result, return: \
             {{answer: \"${{{{ steps.call.output }}}}\"}}}}\n"
        )
    };
    let operation = |name: &str, facts: &str| {
        format!(
            "  {name}:\n    {facts}\n    summary: \"Run {{/command}}.\"\n    input: {{type: object, \
             required: [command], additionalProperties: false, properties: {{command: {{type: \
             string}}}}}}\n    output: {{type: object, properties: {{text: {{type: string}}}}}}\n"
        )
    };
    let names = ["look", "change", "never", "brief"];
    let mut files = BTreeMap::new();
    let mut connector =
        "schema: harness.connector/v1\nname: tools\nkind: outside\ndefaults: {labels: \
                         {trust: untrusted, confidentiality: internal}, clearance: \
                         {confidentiality: internal}}\noperations:\n"
            .to_owned();
    for name in names {
        files.insert(format!("intents/{name}.yaml"), intent(name));
        files.insert(format!("playbooks/{name}.yaml"), playbook(name));
        connector += &match name {
            "look" => operation(name, "effect: read\n    egress: false"),
            "brief" => operation(name, "effect: write\n    timeout_ms: 1000"),
            _ => operation(name, "effect: write"),
        };
    }
    files.insert("connectors/tools.yaml".to_owned(), connector);
    let all: Vec<String> = names.iter().map(|name| format!("tools.{name}")).collect();
    files.insert(
        "pack.yaml".to_owned(),
        format!(
            "schema: harness.pack/v1\nname: coder-tools\nversion: 0.1.0\nowner: engineering\n\
             description: Tools of an agent that is not ours.\nharness: \">=0.1\"\nasks: {{operations: \
             [{}]}}\nroles: [approver]\n",
            all.join(", ")
        ),
    );
    files.insert(
        "policies/tools.cedar".to_owned(),
        "@id(\"tools.all\") @reason(\"The agent may ask.\") permit (principal, action, resource);\n\
         @id(\"tools.never\") @reason(\"Nobody does that.\") forbid (principal, action == \
         Action::\"tools.never\", resource);\n\
         @id(\"tools.asks\") @reason(\"A person looks first.\") forbid (principal, action in \
         [Action::\"tools.change\", Action::\"tools.brief\"], resource) unless { \
         context.evidence.approvals.approver >= 1 };\n"
            .to_owned(),
    );
    files
}

struct Desk {
    api: Api,
    agent: String,
    mira: String,
}

impl Desk {
    fn open() -> Self {
        let api = bare();
        let ada = api.token("ada", &[]);
        api.post(&ada, "/v1/packs", &accepted(&api, &ada, &tools())).ok();
        let agent = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
        let mira = api.token("mira", &[]);
        Self { api, agent, mira }
    }

    fn call(&self, tool: &str, command: &str) -> Value {
        let body = json!({"tool": tool, "arguments": {"command": command}, "wait_ms": 20_000});
        self.api.post(&self.agent, "/v1/gate/tool-call", &body).ok()
    }

    fn take(&self, run: &Value) -> Value {
        let path = format!("/v1/gate/tool-call/{}/take", run.as_str().unwrap());
        self.api.post(&self.agent, &path, &json!({"wait_ms": 20_000})).ok()
    }

    fn report(&self, run: &Value, body: Value) -> super::Answer {
        let path = format!("/v1/gate/tool-call/{}/report", run.as_str().unwrap());
        self.api.post(&self.agent, &path, &body)
    }

    fn approve(&self, asked: &Value) {
        let shown = format!("/v1/approvals/{}", asked["approvals"][0].as_str().unwrap());
        let card = self.api.get(&self.mira, &shown).ok();
        assert_eq!(card["untrusted"], true, "an agent's words are nobody's: {card}");
        let yes = json!({"digest": card["digest"], "wait_ms": 1});
        self.api.decide(&self.mira, &shown, "approve", &yes).ok();
    }

    /// The run's exceptions, once it is over or needs somebody.
    fn doubts(&self, run: &Value) -> Vec<String> {
        let path = format!("/v1/runs/{}", run.as_str().unwrap());
        loop {
            let detail = self.api.get(&self.mira, &path).ok();
            let status = detail["run"]["status"].as_str().unwrap();
            if !["running", "asking"].contains(&status) {
                let exceptions = self.api.get(&self.mira, "/v1/exceptions").ok();
                let of_run = exceptions["items"].as_array().unwrap().iter();
                let of_run = of_run.filter(|item| item["run"] == *run);
                return of_run.map(|item| item["need"].as_str().unwrap().to_owned()).collect();
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_call_is_left_to_the_agent_once_it_is_permitted_and_ends_with_what_it_reports() {
    let desk = Desk::open();
    let allowed = desk.call("look", "ls -l");
    assert_eq!(allowed["verdict"], "allow", "{allowed}");
    assert_eq!(allowed["arguments"], json!({"command": "ls -l"}));
    let done =
        desk.report(&allowed["run"], json!({"outcome": "done", "result": {"text": "two files"}}));
    assert_eq!(done.ok()["verdict"], "done", "{done:?}");
    // Recorded like every other call.
    let run = allowed["run"].as_str().unwrap();
    let ada = desk.api.token("ulla", &[]);
    let detail = desk.api.get(&ada, &format!("/v1/runs/{run}")).ok();
    assert_eq!(detail["output"]["answer"]["text"], "two files", "{detail}");
    let verified = desk.api.post(&ada, &format!("/v1/runs/{run}/verify"), &json!({})).ok();
    assert_eq!(verified["verdict"], "verified", "{verified}");
    // Its receipt says that it is the agent's word.
    let witnessed = |run: &str| -> Vec<Value> {
        let listed = desk.api.get(&ada, &format!("/v1/runs/{run}/receipts")).ok();
        let actions = listed["items"].as_array().unwrap().iter().filter(|r| !r["action"].is_null());
        let of = |receipt: &Value| {
            let path = format!("/v1/receipts/{}", receipt["id"].as_str().unwrap());
            desk.api.get(&ada, &path).ok()["statement"]["predicate"]["witness"].clone()
        };
        actions.map(of).collect()
    };
    assert_eq!(witnessed(run), [json!("observed")]);
    // It is over: nothing is left to take or to report.
    let late = desk.report(&allowed["run"], json!({"outcome": "done", "result": {}}));
    assert_eq!(late.refused(409), "no-call");
}

#[test]
fn a_change_waits_for_a_person_and_then_for_the_agent_to_take_it() {
    let desk = Desk::open();
    let asked = desk.call("change", "rm -r build");
    assert_eq!(asked["verdict"], "ask", "{asked}");
    // Nothing to report, nothing to take, and no approval by the agent or by whom it acts for.
    assert_eq!(desk.report(&asked["run"], json!({"outcome": "done"})).refused(409), "no-call");
    assert_eq!(desk.take(&asked["run"])["verdict"], "ask");
    let shown = format!("/v1/approvals/{}", asked["approvals"][0].as_str().unwrap());
    let own = desk.api.decide(&desk.agent, &shown, "approve", &json!({}));
    assert_eq!(own.refused(403), "not-allowed");
    desk.approve(&asked);
    let first = desk.take(&asked["run"]);
    assert_eq!(first["verdict"], "allow", "{first}");
    assert_eq!(desk.take(&asked["run"]), first, "an answer that was lost is given again");
    // Another agent is told nothing about it.
    let other = desk.api.token("ada", &["--agent", "other", "--owner", "mira"]);
    let path = format!("/v1/gate/tool-call/{}/take", asked["run"].as_str().unwrap());
    assert_eq!(desk.api.post(&other, &path, &json!({})).refused(404), "run-not-found");
    let done = desk.report(&asked["run"], json!({"outcome": "done", "result": {"text": "gone"}}));
    assert_eq!(done.ok()["verdict"], "done", "{done:?}");
}

/// One key is one call, in the header and in the body, over HTTP and with a command of another machine.
#[test]
fn a_call_asked_for_twice_under_its_key_is_one_call() {
    let desk = Desk::open();
    let call = |key: &str, command: &str| {
        let body = json!({"tool": "look", "arguments": {"command": command}, "wait_ms": 20_000});
        let header = format!("Idempotency-Key: {key}");
        desk.api.ask(&desk.agent, ("POST", "/v1/gate/tool-call"), &body, &[&header])
    };
    let first = call("k-1", "ls").ok();
    assert_eq!(call("k-1", "ls").ok(), first);
    assert_eq!(call("k-1", "rm").refused(409), "idempotency-key-reused");
    let words = ["gate", "call", "look", "--args", "{\"command\": \"ls\"}"];
    let words = [&words[..], &["--idempotency-key", "of a command", "-o", "json"]].concat();
    let by_command = || {
        let mut command = desk.api.office.command(&words);
        command.env("HARNESS_SERVER", format!("http://{}", desk.api.host));
        command.env("HARNESS_TOKEN", &desk.agent);
        crate::support::Ran::of(&words, command.output().unwrap()).exits(0).document()
    };
    let second = by_command();
    assert_eq!(by_command(), second);
    assert_ne!(second["run"], first["run"]);
    let runs = desk.api.get(&desk.mira, "/v1/runs").ok();
    assert_eq!(runs["items"].as_array().unwrap().len(), 2, "{runs}");
}

/// Agents of one person are strangers to each other, and to what that person does themselves; and nobody
/// else says what came of a call.
#[test]
fn a_call_is_taken_and_reported_by_whoever_asked_for_it_alone() {
    let desk = Desk::open();
    let (api, ulla) = (&desk.api, desk.api.token("ulla", &[]));
    let other = api.token("ada", &["--agent", "other", "--owner", "ulla"]);
    let asked = desk.call("change", "rm -r build");
    desk.approve(&asked);
    let run = asked["run"].as_str().unwrap();
    let (take, report) =
        (format!("/v1/gate/tool-call/{run}/take"), format!("/v1/gate/tool-call/{run}/report"));
    let lie = json!({"outcome": "done", "result": {"text": "it went well"}});
    for path in [format!("/v1/runs/{run}"), format!("/v1/runs/{run}/events")] {
        assert_eq!(api.get(&other, &path).refused(404), "run-not-found", "{path}");
    }
    assert_eq!(api.post(&other, &take, &json!({"wait_ms": 1})).refused(404), "run-not-found");
    // Who may see it, and owns the agent, does not make its call for it either.
    assert_eq!(api.post(&ulla, &take, &json!({"wait_ms": 1})).refused(403), "not-your-call");
    assert_eq!(desk.take(&asked["run"])["verdict"], "allow");
    assert_eq!(api.post(&other, &report, &lie).refused(404), "run-not-found");
    assert_eq!(api.post(&ulla, &report, &lie).refused(403), "not-your-call");
    desk.report(&asked["run"], json!({"outcome": "done", "result": {"text": "gone"}})).ok();
    // Nor does an agent look at what its owner asked for.
    let body = json!({"tool": "look", "arguments": {"command": "ls"}, "wait_ms": 20_000,
        "idempotency_key": "of ulla"});
    let own = api.post(&ulla, "/v1/gate/tool-call", &body).ok();
    let path = format!("/v1/runs/{}", own["run"].as_str().unwrap());
    assert_eq!(api.get(&desk.agent, &path).refused(404), "run-not-found");
    let reused = api.post(&desk.agent, "/v1/gate/tool-call", &body);
    assert_eq!(reused.refused(409), "idempotency-key-reused");
}

/// C211: an agent that is not ours is halted by its own name, and no other with it.
#[test]
fn a_halt_holds_what_an_agent_hands_in() {
    let desk = Desk::open();
    let other = desk.api.token("ada", &["--agent", "other", "--owner", "ulla"]);
    let office = &desk.api.office;
    let call = |token: &str, tool: &str| {
        let body = json!({"tool": tool, "arguments": {"command": "ls"}, "wait_ms": 20_000});
        desk.api.post(token, "/v1/gate/tool-call", &body)
    };
    let asked = call(&other, "change").ok();
    office.json(&["halt", "--agent", "agent:nobody"]).exits(3);
    office.json(&["halt", "--agent", "agent:other"]).exits(0);
    desk.approve(&asked);
    let path = format!("/v1/runs/{}", asked["run"].as_str().unwrap());
    let held = desk.api.get(&desk.mira, &path).ok();
    assert_eq!(held["run"]["status"], "halted", "{held:#}");
    assert_eq!(call(&other, "look").refused(503), "halted");
    // Both run as the pack's agent; the halt is of the one that handed in.
    assert_eq!(call(&desk.agent, "look").ok()["verdict"], "allow");
}

#[test]
fn what_policy_forbids_or_the_harness_does_itself_is_not_left_to_anybody() {
    let desk = Desk::open();
    let denied = desk.call("never", "curl evil.example");
    assert_eq!(denied["verdict"], "deny", "{denied}");
    assert_ne!(denied["because"], json!([]));
    assert_eq!(desk.report(&denied["run"], json!({"outcome": "done"})).refused(409), "no-call");
    let ours = Api::open();
    let agent = ours.token("ada", &["--agent", "coder", "--owner", "ulla"]);
    let body = json!({"tool": "churn_risk_read", "arguments": {"account": "ACC-0042"}});
    let refused = ours.post(&agent, "/v1/gate/tool-call", &body);
    assert_eq!(refused.refused(422), "not-outside");
    assert_eq!(
        ours.post(&agent, "/v1/gate/tool-call", &json!({"tool": "nothing"})).refused(404),
        "intent-not-found"
    );
}

#[test]
fn what_was_not_taken_did_not_happen_and_what_was_not_reported_is_in_doubt() {
    let desk = Desk::open();
    // Permitted and never taken.
    let left = desk.call("brief", "one");
    desk.approve(&left);
    assert_eq!(desk.doubts(&left["run"]), Vec::<String>::new(), "nobody took it: nothing happened");
    // Taken and never reported.
    let silent = desk.call("brief", "two");
    desk.approve(&silent);
    let taken = desk.take(&silent["run"]);
    assert_eq!(taken["verdict"], "allow", "{taken}");
    assert_eq!(desk.doubts(&silent["run"]), ["in_doubt"]);
    // Reported as failed: something may have changed. As not made: nothing has.
    let failed = desk.call("change", "three");
    desk.approve(&failed);
    assert_eq!(desk.take(&failed["run"])["verdict"], "allow");
    desk.report(&failed["run"], json!({"outcome": "failed", "message": "it broke"})).ok();
    assert_eq!(desk.doubts(&failed["run"]), ["in_doubt"]);
    let unmade = desk.call("change", "four");
    desk.approve(&unmade);
    assert_eq!(desk.take(&unmade["run"])["verdict"], "allow");
    desk.report(&unmade["run"], json!({"outcome": "not_made", "message": "changed my mind"})).ok();
    assert_eq!(desk.doubts(&unmade["run"]), Vec::<String>::new());
}
