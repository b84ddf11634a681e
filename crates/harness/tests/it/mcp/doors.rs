//! `/mcp` over HTTP (C131): a bearer token says who calls, and nothing else does.

use serde_json::{Value, json};

use super::{Speaks, change, client::post, run_of};
use crate::{
    api::{Answer, Api},
    support::Office,
};

fn result(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = match answer.header("content-type") {
        Some("application/json") => answer.json(),
        _ => {
            let mut data = answer.body.lines().filter_map(|line| line.strip_prefix("data:"));
            let last = data.rfind(|data| data.contains("\"id\""));
            serde_json::from_str(last.unwrap_or_else(|| panic!("{answer:?}"))).unwrap()
        }
    };
    assert!(said["result"].is_object(), "{said}");
    said["result"].clone()
}

fn call(api: &Api, token: &str, speaks: Speaks, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    result(&post(&api.host, (token, speaks), ("tools/call", params), &[]))
}

fn open() -> Api {
    Api::with("[mcp]\nhold_ms = 0\noperations = [\"crm.get_account\"]\n")
}

/// Both generations, by a token; without one nobody is answered, whatever the client says it is.
#[test]
fn both_generations_call_over_http_with_a_token_and_nobody_without() {
    let api = open();
    let agent = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
    for speaks in [Speaks::Before, Speaks::Now] {
        let listed = result(&post(&api.host, (&agent, speaks), ("tools/list", json!({})), &[]));
        let names: Vec<&str> = listed["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["name"].as_str().unwrap())
            .collect();
        assert!(
            names.contains(&"churn_risk_read") && names.contains(&"crm__get_account"),
            "{names:?}"
        );
        let risk = call(&api, &agent, speaks, "churn_risk_read", json!({"account": "ACC-0042"}));
        assert_eq!(risk["isError"], false, "{risk}");
        // The run says who handed it in: the credential, not the name that the client gives itself.
        let ulla = api.token("ulla", &[]);
        let events = api.get(&ulla, &format!("/v1/runs/{}/events", run_of(&risk))).ok();
        assert!(events.to_string().contains("agent:coder"), "{events:#}");
        assert!(!events.to_string().contains("person:mira"), "{events:#}");
        for token in ["", "hns_0123456789abcdef_wrong"] {
            let refused = post(&api.host, (token, speaks), ("tools/list", json!({})), &[]);
            assert_eq!(refused.status, 401, "{refused:?}");
            assert!(
                refused.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer"))
            );
        }
        // Who may only look calls nothing.
        let lars = api.token("lars", &[]);
        let refused = post(&api.host, (&lars, speaks), ("tools/list", json!({})), &[]);
        assert!(refused.body.contains("\"error\""), "{refused:?}");
    }
}

/// DNS rebinding: another host, another origin and another site's page reach nothing.
#[test]
fn a_wrong_host_or_origin_is_refused() {
    let api = open();
    let agent = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
    for wrong in [
        "Host: evil.example",
        "Host: 127.0.0.1.evil.example:80",
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        let refused = post(&api.host, (&agent, Speaks::Now), ("tools/list", json!({})), &[wrong]);
        assert!([400, 403, 421].contains(&refused.status), "{wrong}: {refused:?}");
    }
    let own = format!("Origin: http://{}", api.host);
    let fine = post(&api.host, (&agent, Speaks::Now), ("tools/list", json!({})), &[&own]);
    assert_eq!(fine.status, 200, "{fine:?}");
    let large = json!({"name": "churn_risk_read", "arguments": {"account": "x".repeat(1_200_000)}});
    let refused = post(&api.host, (&agent, Speaks::Now), ("tools/call", large), &[]);
    assert_eq!(refused.status, 413, "{refused:?}");
}

/// C131: calls of one are nobody else's, not even of another agent of the same person: not to wait for, not to join,
/// not to cancel.
#[test]
fn a_call_is_its_callers_alone() {
    let api = open();
    let one = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
    let two = api.token("ada", &["--agent", "other", "--owner", "ulla"]);
    let ulla = api.token("ulla", &[]);
    let pending = call(&api, &one, Speaks::Now, "contract_field_change", change(45));
    assert_eq!(pending["structuredContent"]["state"], "pending_approval", "{pending}");
    let run = run_of(&pending);
    for stranger in [&two, &ulla] {
        let none = call(&api, stranger, Speaks::Now, "harness_wait", json!({"run": run}));
        assert_eq!(none["structuredContent"]["code"], "call-not-found", "{none}");
        for verb in ["wait", "leave"] {
            let path = format!("/v1/tool-calls/{run}/{verb}");
            assert_eq!(api.post(stranger, &path, &json!({})).refused(404), "call-not-found");
        }
        let own = call(&api, stranger, Speaks::Now, "contract_field_change", change(45));
        assert_ne!(run_of(&own), run, "the same arguments of somebody else are another call");
    }
    // A state that was given to one opens nothing for another.
    let body = json!({"arguments": change(45)});
    let told = api.post(&one, "/v1/tools/contract_field_change/call", &body).ok();
    assert_eq!(told["run"], run);
    let body = json!({"arguments": change(45), "state": told["resume"]});
    assert_eq!(
        api.post(&two, "/v1/tools/contract_field_change/call", &body).refused(422),
        "state-invalid"
    );
    assert_eq!(api.post(&one, "/v1/tools/contract_field_change/call", &body).ok()["run"], run);
    let mine = call(&api, &one, Speaks::Now, "harness_wait", json!({"run": run}));
    assert_eq!(mine["structuredContent"]["state"], "pending_approval", "{mine}");
}

/// Standard input may be somebody else's than the terminal's: a token in the environment says whose.
#[test]
fn a_token_in_the_environment_says_who_calls_over_standard_input() {
    let office = Office::open();
    let made =
        office.json_as("ada", &["token", "create", "t", "--agent", "coder", "--owner", "ulla"]);
    let made = made.exits(0).document();
    let mut command = office.command(&["-q", "mcp", "serve"]);
    command.env("HARNESS_TOKEN", made["token"].as_str().unwrap());
    let mut pipe = super::Pipe::with(command, Speaks::Before);
    let risk = pipe.call("churn_risk_read", json!({"account": "ACC-0042"}));
    let run = run_of(&risk);
    let events = office.json(&["run", "events", &run]).exits(0).document();
    assert!(events.to_string().contains("agent:coder"), "{events:#}");
    // It ends with the token, in the middle of a connection.
    office.json_as("ada", &["token", "revoke", made["kept"]["id"].as_str().unwrap()]).exits(0);
    let refused = pipe.ask("tools/list", json!({}));
    assert!(refused["error"].is_object(), "{refused}");
}

/// Two clients on one store: the second sits beside the first, and takes its place when it ends.
#[test]
fn a_second_client_takes_the_place_of_the_first() {
    let office = Office::open();
    let mut first = super::Pipe::open(&office, Speaks::Before, &["--hold", "0s"]);
    let mut second = super::Pipe::open(&office, Speaks::Now, &["--hold", "0s"]);
    let pending = first.call("contract_field_change", change(45));
    let run = run_of(&pending);
    assert_eq!(
        run_of(&second.call("contract_field_change", change(45))),
        run,
        "one person, one call"
    );
    assert_eq!(first.end(), 0);
    let mine = second.call("harness_wait", json!({"run": run}));
    assert_eq!(mine["structuredContent"]["state"], "pending_approval", "{mine}");
    office.approve(&run).exits(0);
    let done = second.call("harness_wait", json!({"run": run}));
    assert_eq!(done["_meta"]["harness/state"], "done", "{done}");
}
