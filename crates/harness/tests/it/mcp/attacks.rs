//! What breaks an approval, a secret or a server at the worst moment (C131, C134, C150): whatever changes between the
//! question and the answer, what each side would like to have of the other, and servers that end or fall silent in the
//! middle of a write.

use std::fs;

use serde_json::{Value, json};

use super::{
    Pipe, Speaks,
    front::{Front, text},
    run_of,
    served::Served,
};
use crate::support::{Ran, files, holds};

/// A secret that the server is shown, and nobody else.
const CANARY: &str = "c4nary-upstream-0123456789";

/// A call that waits for a person, in a proxy that holds none.
fn asked(front: &Front, what: &str) -> (Pipe, String) {
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    let asked = pipe.call("note", text(what));
    assert_eq!(asked["_meta"]["harness/state"], "pending_approval", "{asked:#}");
    (pipe, run_of(&asked))
}

/// Where a run stands, in full.
fn of(front: &Front, run: &str) -> Value {
    front.json(&["run", "get", run]).exits(0).document()
}

/// What the call of a run came to, as its client is told.
fn told(pipe: &mut Pipe, run: &str) -> (String, Value) {
    loop {
        let told = pipe.call("harness_wait", json!({ "run": run }));
        let state = told["_meta"]["harness/state"].as_str().unwrap_or_default().to_owned();
        if state != "pending_approval" {
            return (state, told);
        }
        std::thread::yield_now();
    }
}

/// The bodies of events of one kind.
fn bodies(front: &Front, run: &str, kind: &str) -> Vec<Value> {
    let events = front.events(run);
    let all = events["items"].as_array().unwrap().iter();
    all.filter(|event| event["kind"] == kind).map(|event| event["body"].clone()).collect()
}

fn approve_as(front: &Front, person: &str, (approval, digest): (&str, &str)) -> Ran {
    front.json(&["--as", person, "approval", "approve", approval, "--digest", digest])
}

/// Invariant 1. The attack: the tool that acts says something else of itself, or takes something else, once a person was asked
/// about it. The answer counts, the tool is quarantined, nothing reaches it, and the receipt says so.
#[test]
fn a_tool_that_changes_once_a_person_was_asked_is_not_called() {
    for how in ["note_says_more", "note_takes_more"] {
        let front = Front::open("enforce");
        let (mut pipe, run) = asked(&front, "pay 10");
        front.misbehave(how);
        let _answered = front.approve(&run);
        assert_eq!(front.notes(), "", "{how}: nothing was written");
        let ended = of(&front, &run);
        assert_eq!(ended["run"]["status"], "failed", "{how}: {ended:#}");
        let trouble = &ended["troubles"][0];
        assert_eq!((&trouble["class"], &trouble["landed"]), (&json!("permission"), &json!("no")));
        assert!(trouble["said"].as_str().unwrap().contains("quarantined"), "{trouble:#}");
        assert_eq!(bodies(&front, &run, "answered").len(), 1, "it was answered");
        let (state, told) = told(&mut pipe, &run);
        assert_eq!((&*state, &told["isError"]), ("failed", &json!(true)), "{told:#}");
        // The same call again is another, and is asked about no more than the tool is offered.
        let again = pipe.call("note", text("pay 10"));
        assert_ne!(run_of(&again), run);
        assert!(!pipe.tools().iter().any(|tool| tool["name"] == "note"), "{how}");
        assert_eq!(front.notes(), "");
    }
}

/// Invariant 1. The attack: a yes to what policy forbids meanwhile. The rule that is in force when the call would be made
/// holds.
#[test]
fn a_rule_that_came_meanwhile_is_stronger_than_the_answer() {
    let front = Front::open("enforce");
    let (pipe, run) = asked(&front, "pay 10");
    assert_eq!(pipe.end(), 0);
    let card = front.card(&run);
    let policy = fs::read_to_string(front.project().join("operator.cedar")).unwrap();
    let closed = "\n@id(\"shop.closed\") @reason(\"Closed since this morning.\")\n\
                  forbid (principal, action == Action::\"notes.note\", resource);\n";
    fs::write(front.project().join("operator.cedar"), policy + closed).unwrap();
    let _answered = approve_as(&front, "mira", (&card.0, &card.1));
    assert_eq!(front.notes(), "");
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    let (state, told) = told(&mut pipe, &run);
    assert_eq!(state, "denied", "{told:#}");
    assert!(told.to_string().contains("shop.closed"), "{told:#}");
    assert!(bodies(&front, &run, "dispatched").is_empty(), "nothing was on its way");
    assert_eq!(front.notes(), "");
}

/// Invariant 1. The attack: the name of the server leads elsewhere once a person was asked, to one that describes its tools in
/// the same words. The approval is refused and reaches neither; where the name leads back, it is the old one again.
#[test]
fn an_approval_is_for_the_server_that_was_asked_about() {
    let front = Front::open("enforce");
    let elsewhere = Front::open("enforce");
    let (pipe, run) = asked(&front, "pay 10");
    assert_eq!(pipe.end(), 0);
    front.edit("harness.toml", front.upstream(), elsewhere.upstream());
    let (approval, digest) = front.card(&run);
    let refused = approve_as(&front, "mira", (&approval, &digest)).exits(5).problem();
    assert_eq!(refused["code"], "server-moved", "{refused}");
    assert_eq!((front.notes(), elsewhere.notes()), (String::new(), String::new()));
    assert_eq!(of(&front, &run)["run"]["status"], "asking", "nobody has answered it");
    front.edit("harness.toml", elsewhere.upstream(), front.upstream());
    approve_as(&front, "mira", (&approval, &digest)).exits(0);
    assert_eq!((front.notes(), elsewhere.notes()), ("pay 10\n".to_owned(), String::new()));
    // One that is asked about there is approved for there, and another configuration in its receipt.
    front.edit("harness.toml", front.upstream(), elsewhere.upstream());
    let (pipe, second) = asked(&front, "pay 10");
    assert_eq!(pipe.end(), 0);
    front.approve(&second).exits(0);
    assert_eq!((front.notes(), elsewhere.notes()), ("pay 10\n".to_owned(), "pay 10\n".to_owned()));
    assert_ne!(predicate(&front, &run)["config"], predicate(&front, &second)["config"]);
}

/// Invariant 1. The attack: a yes that comes too late.
#[test]
fn an_answer_to_an_ask_that_is_over_is_none() {
    let front = Front::open("enforce");
    let (from, to) = ("approvals.terminal", "approvals.expires_ms = 1500\napprovals.terminal");
    front.edit("harness.toml", from, to);
    let (mut pipe, run) = asked(&front, "too late");
    let (state, told) = told(&mut pipe, &run);
    assert_eq!(state, "denied", "{told:#}");
    let ask = &bodies(&front, &run, "asked")[0];
    let ask = (ask["approval"].as_str().unwrap(), ask["digest"].as_str().unwrap());
    let late = approve_as(&front, "mira", ask);
    assert_ne!(late.code, 0, "{late:?}");
    assert_eq!(bodies(&front, &run, "answered").len(), 0);
    assert_eq!(of(&front, &run)["run"]["status"], "failed");
    assert_eq!(front.notes(), "");
}

/// Invariant 1. The attack: a yes of the one it is for, of the agent itself, and one that was given for another agent's call of
/// the same words.
#[test]
fn an_approval_is_for_one_agent_and_no_agents_to_give() {
    let front = Front::open("enforce");
    let token = |name: &str| {
        let words =
            ["--as", "ulla", "token", "create", "a test", "--agent", name, "--owner", "ulla"];
        front.json(&words).exits(0).document()["token"].as_str().unwrap().to_owned()
    };
    let tokens = [token("coder"), token("writer")];
    let runs = tokens.each_ref().map(|token| {
        let mut command = front.command(&["-q", "mcp", "proxy", "--hold", "0s"]);
        command.env("HARNESS_TOKEN", token);
        let mut pipe = Pipe::with(command, Speaks::Now);
        let run = run_of(&pipe.call("note", text("the same")));
        assert_eq!(pipe.end(), 0);
        run
    });
    let cards = runs.each_ref().map(|run| front.card(run));
    let [one, two] = &cards;
    assert_ne!(one.1, two.1, "what is approved is bound to who asks");
    let crossed = approve_as(&front, "mira", (&two.0, &one.1));
    assert_ne!(crossed.code, 0, "{crossed:?}");
    let own = approve_as(&front, "ulla", (&one.0, &one.1));
    assert_ne!(own.code, 0, "it acts for her: {own:?}");
    for token in &tokens {
        let words = ["-o", "json", "approval", "approve", &one.0, "--digest", &one.1];
        let mut command = front.command(&words);
        command.env("HARNESS_TOKEN", token);
        let refused = Ran::of(&words, command.output().unwrap());
        assert_ne!(refused.code, 0, "an agent approves nothing: {refused:?}");
    }
    assert_eq!(front.notes(), "");
    for run in &runs {
        assert_eq!(of(&front, run)["run"]["status"], "asking");
    }
    approve_as(&front, "mira", (&one.0, &one.1)).exits(0);
    assert_eq!(front.notes(), "the same\n");
    assert_eq!(of(&front, &runs[1])["run"]["status"], "asking", "nothing was said about that one");
}

/// What a run's first receipt states.
fn predicate(front: &Front, run: &str) -> Value {
    let list = front.json(&["receipt", "list", run]).exits(0).document();
    let id = list["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{list:#}"));
    front.json(&["receipt", "get", id]).exits(0).document()["statement"]["predicate"].clone()
}

/// Invariant 5. The attack: a key among what is to be approved, of ours or of anybody, and an approver who was shown something
/// else. Neither key is on the card; the card as it was shown, and the call that it was about, stand by their digests in
/// the answer and in the receipt; the call itself is what was asked for.
#[test]
fn a_card_shows_no_key_and_its_digest_stands_in_event_and_receipt() {
    const KEY: &str = "ghp_9aQ2wE4rT6yU8iO0pA1sD3fG5hJ7kL9zX1cV";
    let front = Front::open("enforce");
    front.shows(CANARY);
    let (_pipe, run) = asked(&front, &format!("log in with {KEY}, not with {CANARY}"));
    let (approval, digest) = front.card(&run);
    let get = ["approval", "get", &approval];
    let shown = front.json(&get).exits(0);
    let seen = [
        shown.stdout.clone(),
        Ran::of(&get, front.command(&get).output().unwrap()).exits(0).stdout,
        front.json(&["approval", "list"]).exits(0).stdout,
    ];
    for text in &seen {
        assert!(!text.contains(KEY) && !text.contains(CANARY), "{text}");
    }
    let card = shown.document();
    let masked = "log in with [token:github], not with [secret:notes]";
    assert_eq!(card["args"]["text"], masked, "{card:#}");
    assert_eq!(front.json(&get).exits(0).stdout, shown.stdout, "shown twice, it is the same");
    approve_as(&front, "mira", (&approval, &digest)).exits(0);
    let mut body = card.clone();
    body.as_object_mut().unwrap().remove("schema");
    let as_shown = kernel::canon::digest(&body).unwrap().to_string();
    let answer = &bodies(&front, &run, "answered")[0];
    assert_eq!((&answer["shown"], &answer["digest"]), (&json!(as_shown), &json!(digest)));
    let stated = predicate(&front, &run);
    assert_eq!(stated["action_digest"], digest.as_str(), "{stated:#}");
    let approved = &stated["approvals"][0];
    assert_eq!((&approved["shown"], &approved["action"]), (&json!(as_shown), &json!(digest)));
    // What is not shown is sent as it was asked for; what is live of ours never came in.
    assert_eq!(front.notes(), format!("log in with {KEY}, not with [secret:notes]\n"));
}

/// Invariant 10. The attack: a server that tells whoever calls what it was shown, and a client that shows its own token in
/// every place. The server saw the secret that it was declared with and nothing of the client's; the client, the journal,
/// the receipts, the store and the log at its loudest saw neither.
#[test]
fn no_credential_crosses_the_proxy_in_either_direction() {
    let front = Front::met_as("observe", &["tells", "hears"]);
    front.classify(&["credential"]);
    front.shows(CANARY);
    let log = front.dir().join("proxy.log");
    let served = Served::logging(front, &log);
    let token = served.agent("coder", "ulla");
    let told = served.call(&token, "credential", json!({}));
    assert_eq!(told["content"][0]["text"], "Bearer [secret:notes]", "{told:#}");
    assert_eq!(told["_meta"]["harness/state"], "done", "{told:#}");
    let more = [
        format!("Cookie: session={token}"),
        format!("X-Api-Key: {token}"),
        format!("X-Forwarded-Authorization: Bearer {token}"),
        format!("Proxy-Authorization: Bearer {token}"),
    ];
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let params = json!({"name": "credential", "arguments": {}, "_meta": {"authorization": token}});
    let again = served.post(&token, ("tools/call", params), &more);
    assert_eq!(again.status, 200, "{again:?}");
    assert!(again.body.contains("[secret:notes]"), "{again:?}");

    let front = &served.front;
    let heard = fs::read_to_string(front.dir().join("state/headers")).unwrap();
    let shown: Vec<&str> =
        heard.lines().filter(|line| line.starts_with("authorization:")).collect();
    let ours = format!("authorization: Bearer {CANARY}");
    assert!(shown.len() >= 2 && shown.iter().all(|line| *line == ours), "{shown:?}");
    assert!(!heard.contains("hns_"), "{heard}");

    let runs = front.runs();
    assert_eq!(runs.len(), 2, "{runs:#?}");
    let mut seen = vec![("answers".to_owned(), format!("{told}{}", again.body).into_bytes())];
    let look = |words: &[&str]| {
        let ran = front.json(words).exits(0);
        (words.join(" "), (ran.stdout + &ran.stderr).into_bytes())
    };
    for run in &runs {
        let run = run["id"].as_str().unwrap();
        let list = front.json(&["receipt", "list", run]).exits(0).document();
        let receipt = list["items"][0]["id"].as_str().unwrap();
        let to = front.dir().join(format!("{run}.bundle")).display().to_string();
        seen.push(look(&["run", "get", run]));
        seen.push(look(&["run", "events", run]));
        seen.push(look(&["run", "context", run]));
        seen.push(look(&["run", "export", run, "--to", &to]));
        seen.push(look(&["receipt", "get", receipt]));
        seen.push(look(&["explain", receipt]));
        seen.push((to.clone(), fs::read(&to).unwrap()));
    }
    let store = files(&front.project().join(".harness"));
    assert!(store.len() > 1, "{store:?}");
    seen.extend(store.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)));
    let said = fs::read(&log).unwrap();
    assert!(holds(&said, "notes.credential"), "it was loud: {}", String::from_utf8_lossy(&said));
    seen.push(("log".to_owned(), said));
    for (place, bytes) in &seen {
        assert!(!holds(bytes, CANARY), "{place} holds the server's secret");
        assert!(!holds(bytes, &token), "{place} holds the client's token");
    }
    // What holds none because nothing came by shows nothing.
    let kept = seen.iter().filter(|(_, bytes)| holds(bytes, "[secret:notes]"));
    assert!(kept.count() > 2, "the mark is where the secret would be");
}

/// Invariant 3. The attack: a server that acts and ends before it answers, and a client that repeats itself: to the server while
/// it is down, and once it is up again.
#[test]
fn a_write_of_a_server_that_dies_is_unknown_and_made_once() {
    let mut front = Front::open("observe");
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let first = pipe.call("crash", json!({}));
    assert_eq!(front.notes(), "crash began\n", "it acted: {first:#}");
    assert_eq!(first["_meta"]["harness/state"], "unknown", "{first:#}");
    let down = pipe.call("crash", json!({}));
    assert_eq!(run_of(&down), run_of(&first), "it is the same call");
    front.start_anew();
    // Nothing but what is known here keeps it from being made again: the server would take it.
    assert_eq!(pipe.call("echo", text("up"))["content"][0]["text"], "up");
    for _ in 0..2 {
        let again = pipe.call("crash", json!({}));
        assert_eq!(run_of(&again), run_of(&first));
        assert_eq!(again["_meta"]["harness/state"], "unknown", "{again:#}");
    }
    assert_eq!(pipe.end(), 0);
    // Nor does whoever takes over after the process.
    let mut pipe = front.pipe(Speaks::Now, &[]);
    assert_eq!(told(&mut pipe, &run_of(&first)).0, "unknown");
    assert_eq!(pipe.call("echo", text("up"))["content"][0]["text"], "up");
    assert_eq!(front.notes(), "crash began\n", "it was made once");
    is_in_doubt(&front, &run_of(&first));
}

/// Invariant 3. The attack: a server that acts and says nothing until its time is over, and a client that repeats itself.
#[test]
fn a_write_of_a_server_that_falls_silent_is_unknown_and_made_once() {
    let front = Front::open("observe");
    let (from, to) = ("\n  slow:\n", "\n  slow:\n    timeout_ms: 4000\n");
    front.edit("pack/connectors/notes.yaml", from, to);
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let first = pipe.call("slow", text("x"));
    assert_eq!(first["_meta"]["harness/state"], "unknown", "{first:#}");
    let again = pipe.call("slow", text("x"));
    assert_eq!(run_of(&again), run_of(&first));
    assert_eq!(again["_meta"]["harness/state"], "unknown", "{again:#}");
    let began = front.notes().lines().filter(|line| *line == "slow began").count();
    assert_eq!(began, 1, "it was made once: {}", front.notes());
    is_in_doubt(&front, &run_of(&first));
}

/// That nobody knows what a run did, and a person is to find out.
fn is_in_doubt(front: &Front, run: &str) {
    for (kind, times) in [("dispatched", 1), ("doubted", 1), ("receipted", 0)] {
        assert_eq!(bodies(front, run, kind).len(), times, "{kind}: {:#}", front.events(run));
    }
    let open = front.json(&["exception", "list"]).exits(0).document();
    assert_eq!(open["items"].as_array().unwrap().len(), 1, "{open:#}");
}

/// C134: what is suspicious about a server's tools, and what they may be taken for, is said when it is met for the first time.
/// The attack: a description that speaks to whoever reads it, which a client's model would before any person did. That tool is
/// kept back until somebody accepts it: it is neither listed nor called, whatever the mode.
#[test]
fn what_is_suspicious_at_the_first_meeting_is_said_and_kept_back() {
    let front = Front::met_as("observe", &["changed", "passes"]);
    for said in [
        "notes.echo: suspicious: /description speaks to a model: “before you use”",
        "notes.images: passes for `image`",
        "kept back until somebody accepts them: notes.echo",
    ] {
        assert!(front.met.contains(said), "{said}: {}", front.met);
    }
    let names = |pipe: &mut Pipe| -> Vec<Value> {
        pipe.tools().into_iter().map(|tool| tool["name"].clone()).collect()
    };
    let connector = fs::read_to_string(front.project().join("pack/connectors/notes.yaml")).unwrap();
    assert!(!connector.contains("helper"), "nothing of its words is in the pack: {connector}");
    front.json(&["pack", "check", &front.project().join("pack").display().to_string()]).exits(0);
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let offered = names(&mut pipe);
    assert!(!offered.contains(&json!("echo")) && offered.contains(&json!("add")), "{offered:?}");
    let refused = pipe.call("echo", text("x"));
    assert_eq!(refused["isError"], true, "{refused:#}");
    assert!(refused.to_string().contains("nobody has accepted"), "{refused:#}");
    assert_eq!(pipe.end(), 0);
    let differs = front.json(&["mcp", "diff", "notes"]).exits(0).document();
    let echo = &differs["tools"][0];
    assert_eq!((&echo["tool"], &echo["state"]), (&json!("echo"), &json!("changed")), "{differs:#}");
    assert!(echo["suspicious"].to_string().contains("before you use"), "{differs:#}");
    assert!(echo["changes"].to_string().contains("helper"), "a person reads it: {differs:#}");
    front.json(&["mcp", "accept", "notes", "--tool", "echo"]).exits(0);
    let mut pipe = front.pipe(Speaks::Now, &[]);
    assert!(names(&mut pipe).contains(&json!("echo")));
    assert_eq!(pipe.call("echo", text("x"))["content"][0]["text"], "x");
}

/// C134: names that another server's tools have already are said, too, where both stand behind proxies of one user.
#[test]
fn tools_that_shadow_those_of_a_server_beside_are_said() {
    let front = Front::met_as("observe", &["passes"]);
    assert!(!front.met.contains("shadows") && front.met.contains("passes for"), "{}", front.met);
    let words = ["--url", front.upstream(), "--name", "other"];
    let second = front.first_in("beside", &words).exits(0);
    for said in [
        "other.note: shadows: another connector has an operation `note`",
        "other.images: shadows: another connector has an operation `images`",
    ] {
        assert!(second.stderr.contains(said), "{said}: {}", second.stderr);
    }
    assert!(!second.stderr.contains("kept back"), "a name alone is no reason: {}", second.stderr);
}
