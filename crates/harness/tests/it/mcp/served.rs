//! The proxy over HTTP (C131): many clients at one address, each who its token stands for, and none of them in another's
//! session.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    Speaks,
    client::post_to,
    front::{Front, text},
    run_of,
};
use crate::{
    api::{Answer, send},
    support::Serving,
};

/// A proxy that serves over HTTP, until its value goes.
pub(super) struct Served {
    pub(super) front: Front,
    pub(super) host: String,
    pub(super) path: &'static str,
    _serving: Serving,
}

impl Served {
    /// `harness mcp proxy --http`.
    pub(super) fn open(front: Front) -> Self {
        let words = ["mcp", "proxy", "--hold", "0s", "--http", "127.0.0.1:0"];
        Self::with(front, &words, "/mcp")
    }

    /// The same with everything it has to say, in a file.
    pub(super) fn logging(front: Front, log: &Path) -> Self {
        let words = ["mcp", "proxy", "--hold", "0s", "--http", "127.0.0.1:0"];
        let (serving, host) = Serving::logging_of(front.command(&words), "trace", log);
        Self { front, host, path: "/mcp", _serving: serving }
    }

    pub(super) fn with(front: Front, words: &[&str], path: &'static str) -> Self {
        let (serving, line) = Serving::of(front.command(words));
        let (_, place) = line.split_once(" at http://").unwrap_or_else(|| panic!("{line}"));
        let host = place.split(';').next().unwrap().to_owned();
        Self { front, host, path, _serving: serving }
    }

    /// What a page shows to the person of the project.
    pub(super) fn page(&self, path: &str) -> String {
        let host = &self.host;
        let link = self.front.json(&["token", "link"]).exits(0).document();
        let secret = link["path"].as_str().unwrap().split("link=").nth(1).unwrap();
        let body = format!("link={secret}&to=%2Fruns");
        let signed = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: http://{host}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let signed = send(host, signed.as_bytes());
        let cookie = signed.header("set-cookie").unwrap_or_else(|| panic!("{signed:?}"));
        let cookie = cookie.split(';').next().unwrap();
        let get = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        let answer = send(host, get.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// A token of an agent that acts for somebody.
    pub(super) fn agent(&self, name: &str, owner: &str) -> String {
        self.token(&["--agent", name, "--owner", owner])["token"].as_str().unwrap().to_owned()
    }

    pub(super) fn token(&self, words: &[&str]) -> Value {
        let all = [&["token", "create", "a test"], words].concat();
        self.front.json(&all).exits(0).document()
    }

    pub(super) fn post(
        &self,
        token: &str,
        (method, params): (&str, Value),
        extra: &[&str],
    ) -> Answer {
        post_to((&self.host, self.path), (token, Speaks::Now), (method, params), extra)
    }

    pub(super) fn ask(&self, who: (&str, Speaks), what: (&str, Value)) -> Value {
        let session = who.1.has_sessions().then(|| self.session(who));
        let extra: Vec<&str> = session.iter().map(String::as_str).collect();
        let answer = post_to((&self.host, self.path), who, what, &extra);
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut data = answer.body.lines().filter_map(|line| line.strip_prefix("data:"));
        let last = data.rfind(|data| data.contains("\"id\"")).unwrap_or(&answer.body);
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
    }

    /// The header that names a session of this client's own.
    pub(super) fn session(&self, who: (&str, Speaks)) -> String {
        let hello = json!({
            "protocolVersion": who.1.version(), "capabilities": who.1.can(),
            "clientInfo": {"name": "person:mira", "version": "1"},
        });
        let welcome = post_to((&self.host, self.path), who, ("initialize", hello), &[]);
        format!("Mcp-Session-Id: {}", welcome.header("mcp-session-id").unwrap())
    }

    #[track_caller]
    pub(super) fn call(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let said = self.ask((token, Speaks::Now), ("tools/call", params));
        assert!(said["result"].is_object(), "{said}");
        said["result"].clone()
    }

    pub(super) fn names(&self, who: (&str, Speaks)) -> Vec<String> {
        let listed = self.ask(who, ("tools/list", json!({})));
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}

pub(super) fn state(result: &Value) -> &str {
    result["_meta"]["harness/state"].as_str().unwrap_or_default()
}

/// C003, C131: two clients of one person at one address: the same call is a call of each, asked about for each, and what a
/// person says about one is said about that one alone. Neither waits for the other's, joins it, or cancels it.
#[test]
fn two_clients_at_one_address_have_calls_and_approvals_of_their_own() {
    let served = Served::open(Front::open("enforce"));
    let (one, two) = (served.agent("coder", "ulla"), served.agent("writer", "ulla"));
    for speaks in [Speaks::Before, Speaks::Now] {
        let names = served.names((&one, speaks));
        assert!(
            names.contains(&"note".to_owned()) && names.contains(&"echo".to_owned()),
            "{names:?}"
        );
        assert_eq!(names, served.names((&two, speaks)));
    }
    let read = served.call(&one, "echo", text("hello"));
    assert_eq!((&read["content"][0]["text"], state(&read)), (&json!("hello"), "done"));
    let first = served.call(&one, "note", text("once"));
    let second = served.call(&two, "note", text("once"));
    assert_eq!((state(&first), state(&second)), ("pending_approval", "pending_approval"));
    assert_ne!(run_of(&first), run_of(&second), "the same call of another is another");
    assert_eq!(
        run_of(&served.call(&one, "note", text("once"))),
        run_of(&first),
        "a retry attaches"
    );
    for (stranger, run) in [(&two, run_of(&first)), (&one, run_of(&second))] {
        let none = served.call(stranger, "harness_wait", json!({"run": run}));
        assert_eq!(none["_meta"]["harness/stands"]["code"], "call-not-found", "{none:#}");
    }
    served.front.approve(&run_of(&first)).exits(0);
    assert_eq!(served.front.notes(), "once\n");
    let done = served.call(&one, "harness_wait", json!({"run": run_of(&first)}));
    assert_eq!((&done["content"][0]["text"], state(&done)), (&json!("noted"), "done"));
    let waits = served.call(&two, "harness_wait", json!({"run": run_of(&second)}));
    assert_eq!(state(&waits), "pending_approval", "nobody said anything about it: {waits:#}");
    let (approval, _) = served.front.card(&run_of(&second));
    let deny = ["--as", "mira", "approval", "deny", &approval, "--reason", "not twice"];
    let denied = served.front.json(&deny);
    assert!([0, 6].contains(&denied.code), "{denied:?}");
    let denied = served.call(&two, "harness_wait", json!({"run": run_of(&second)}));
    assert_eq!(state(&denied), "denied", "{denied:#}");
    assert_eq!(served.front.notes(), "once\n");
    // Who a call is from is the token, whatever the client calls itself.
    let events = served.front.events(&run_of(&first)).to_string();
    assert!(events.contains("agent:coder") && !events.contains("agent:writer"), "{events}");
}

/// C131: over HTTP, too, a held call tells how far it is before it tells where it stands.
#[test]
fn a_held_call_over_http_tells_how_far_it_is_before_its_answer() {
    let words = ["mcp", "proxy", "--hold", "1s", "--http", "127.0.0.1:0"];
    let served = Served::with(Front::open("enforce"), &words, "/mcp");
    let agent = served.agent("coder", "ulla");
    for speaks in [Speaks::Before, Speaks::Now] {
        let session = speaks.has_sessions().then(|| served.session((&agent, speaks)));
        let extra: Vec<&str> = session.iter().map(String::as_str).collect();
        let params =
            json!({"name": "note", "arguments": text("held"), "_meta": {"progressToken": 7}});
        let at = (served.host.as_str(), served.path);
        let answer = post_to(at, (&agent, speaks), ("tools/call", params), &extra);
        let said = answer.body.lines().filter_map(|line| line.strip_prefix("data:"));
        let said = said.filter_map(|data| serde_json::from_str(data).ok());
        let mut said: Vec<Value> = said.collect();
        let last = said.pop().unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!(state(&last["result"]), "pending_approval", "{last:#}");
        assert!(!said.is_empty(), "{speaks:?}: nothing was told meanwhile: {answer:?}");
        for told in said {
            assert_eq!(told["method"], "notifications/progress", "{told}");
            assert_eq!(told["params"]["progressToken"], 7, "{told}");
        }
        let run = run_of(&last["result"]);
        served.front.approve(&run).exits(0);
        let done = served.call(&agent, "harness_wait", json!({ "run": run }));
        assert_eq!((&done["content"][0]["text"], state(&done)), (&json!("noted"), "done"));
    }
}

/// C131: a state that was given to one caller opens nothing for another, nor for other arguments.
#[test]
fn a_state_is_its_callers_and_for_its_call_alone() {
    let served = Served::open(Front::open("enforce"));
    let (one, two) = (served.agent("coder", "ulla"), served.agent("writer", "ulla"));
    let params = json!({"name": "note", "arguments": text("mine")});
    let who = (one.as_str(), Speaks::NowWithPages);
    let opened = served.ask(who, ("tools/call", params.clone()))["result"].clone();
    let state = opened["requestState"].as_str().unwrap_or_else(|| panic!("{opened:#}")).to_owned();
    let url = opened["inputRequests"].to_string();
    assert!(url.contains(&format!("http://{}/approvals/", served.host)), "{opened:#}");
    let again = |token: &str, arguments: Value| {
        let params = json!({"name": "note", "arguments": arguments, "requestState": state});
        served.ask((token, Speaks::Now), ("tools/call", params))
    };
    for refused in [again(&two, text("mine")), again(&one, text("something else"))] {
        assert!(refused["error"]["message"].as_str().unwrap().contains("state"), "{refused}");
    }
    let same = again(&one, text("mine"))["result"].clone();
    assert_eq!(same["_meta"]["harness/state"], "pending_approval", "{same:#}");
    assert_eq!(served.front.notes(), "");
}

/// From now on the server is reached with a secret of one person's.
pub(super) fn keeps_a_secret_of(front: &Front, person: &str) {
    let file = front.project().canonicalize().unwrap().join("secret");
    fs::write(&file, "c4nary-upstream-0123456789").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, private).unwrap();
    let path = front.project().join("harness.toml");
    let config = fs::read_to_string(&path).unwrap();
    let declared = format!(
        "{config}headers = {{ authorization = {{ secret = \"notes\", prefix = \"Bearer \" }} }}\nof = [\"{person}\"]\n\
         [secrets]\nnotes = \"file:{}\"\n",
        file.display()
    );
    fs::write(&path, declared).unwrap();
}

/// C131: secrets of a server are those of whom the operator named: the client of another person does not even see its tools.
#[test]
fn a_client_reaches_no_server_with_secrets_of_somebody_else() {
    let front = Front::open("observe");
    keeps_a_secret_of(&front, "mira");
    let served = Served::open(front);
    let (theirs, others) = (served.agent("coder", "mira"), served.agent("coder", "ulla"));
    assert_eq!(served.names((&others, Speaks::Now)), ["harness_wait"]);
    let refused = served.call(&others, "echo", text("x"));
    assert_eq!(refused["_meta"]["harness/stands"]["code"], "not-your-secrets", "{refused:#}");
    assert!(served.names((&theirs, Speaks::Now)).contains(&"echo".to_owned()));
    let read = served.call(&theirs, "echo", text("x"));
    assert_eq!(read["content"][0]["text"], "x", "{read:#}");
    assert!(!read.to_string().contains("c4nary"), "{read}");
}

/// C131: without a token nobody is answered, with a wrong or an ended one neither, and one that may not propose calls
/// nothing; another host, another origin and another site's page reach nothing with the best of tokens.
#[test]
fn wrong_tokens_hosts_and_origins_reach_nothing() {
    let served = Served::open(Front::open("observe"));
    let made = served.token(&["--agent", "coder", "--owner", "ulla"]);
    let good = made["token"].as_str().unwrap();
    let note = || ("tools/call", json!({"name": "note", "arguments": text("x")}));
    let last = if good.ends_with('0') { '1' } else { '0' };
    let typo = format!("{}{last}", &good[..good.len() - 1]);
    for wrong in ["", "x", "hns_0123456789abcdef_wrong", &typo, &"x".repeat(5_000)] {
        for what in [note(), ("tools/list", json!({})), ("initialize", json!({}))] {
            let refused = served.post(wrong, what, &[]);
            assert_eq!(refused.status, 401, "{wrong}: {refused:?}");
            assert!(
                refused.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer"))
            );
        }
    }
    for wrong in [
        "Host: evil.example",
        "Host: 127.0.0.1.evil.example",
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        let refused = served.post(good, note(), &[wrong]);
        assert!([400, 403, 421].contains(&refused.status), "{wrong}: {refused:?}");
    }
    let looks = served.token(&["--scope", "read"]);
    let refused = served.post(looks["token"].as_str().unwrap(), note(), &[]);
    assert!(refused.body.contains("not-allowed") || refused.body.contains("error"), "{refused:?}");
    assert_eq!(served.front.notes(), "", "nothing got through");
    assert_eq!(served.front.runs().len(), 0);
    let own = format!("Origin: http://{}", served.host);
    assert_eq!(served.post(good, note(), &[&own]).status, 200);
    assert_eq!(served.front.notes(), "x\n");
    served.front.json(&["token", "revoke", made["kept"]["id"].as_str().unwrap()]).exits(0);
    assert_eq!(served.post(good, note(), &[]).status, 401, "it ended");
}

/// C131: a server that has both faces keeps them apart: tools of ours at one address, those behind us at the other.
#[test]
fn the_proxy_of_a_server_stands_beside_its_own_tools() {
    let words = ["serve", "--listen", "127.0.0.1:0"];
    let served = Served::with(Front::open("observe"), &words, "/mcp/proxy");
    let agent = served.agent("coder", "ulla");
    assert!(served.names((&agent, Speaks::Now)).contains(&"note".to_owned()));
    let done = served.call(&agent, "note", text("through the proxy"));
    assert_eq!(state(&done), "done", "{done:#}");
    assert_eq!(served.front.notes(), "through the proxy\n");
    let own = Served { path: "/mcp", ..served };
    assert_eq!(own.names((&agent, Speaks::Now)), ["harness_wait"], "no pack offers an intent here");
    let params = json!({"name": "note", "arguments": text("x")});
    let none = own.ask((&agent, Speaks::Now), ("tools/call", params));
    assert_eq!(none["error"]["code"], -32602, "{none}");
}
