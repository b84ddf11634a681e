//! Servers as connectors, on a scripted server: what may leave when, and what each sort of no says about the effect.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ::mcp::client::CONNECT_WITHIN;
use kernel::{
    exception::{Class, Landed},
    port::{Failure, Outcome},
};
use serde_json::{Value, json};

use super::definition_digest;
use crate::{
    McpSystem, System,
    call::Call,
    read::Reader,
    system::McpHeader,
    testing::{CANARY, DISPATCH_BY, Reply, Server, Trial},
};

fn tool(description: &str) -> Value {
    json!({"name": "save", "description": description, "inputSchema": {"type": "object"}})
}

/// The digest of the tool as this client reads it.
fn digest(description: &str) -> String {
    let tool = ::mcp::client::Tool {
        name: "save".to_owned(),
        title: None,
        description: Some(description.to_owned()),
        input: json!({"type": "object"}),
        output: None,
        hints: None,
    };
    definition_digest(&tool).unwrap().to_string()
}

/// Answers as a server of the generation without sessions, whose tool answers with this.
fn answering(called: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&str) -> Reply {
    move |request: &str| {
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let result = match asked["method"].as_str() {
            Some("server/discover") => json!({
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "ttlMs": 0, "cacheScope": "private", "resultType": "complete",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "0"}},
            }),
            Some("tools/list") => {
                json!({
                    "tools": [tool("Saves")], "ttlMs": 0, "cacheScope": "private", "resultType": "complete",
                })
            }
            Some("tools/call") => return called_with(called(), &asked["id"]),
            _ => return Reply::status(202, "", ""),
        };
        answer(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
    }
}

fn answer(message: &Value) -> Reply {
    Reply::status(200, "Content-Type: application/json\r\n", &message.to_string())
}

/// The id of the request in place of `ID`.
fn called_with(reply: Reply, id: &Value) -> Reply {
    match reply {
        Reply::Bytes(bytes) => {
            let text = String::from_utf8(bytes).unwrap();
            match text.split_once("\r\n\r\n") {
                Some((_, body)) if body.contains("\"ID\"") => {
                    let message = body.replace("\"ID\"", &id.to_string());
                    Reply::status(200, "Content-Type: application/json\r\n", &message)
                }
                _ => Reply::Bytes(text.into_bytes()),
            }
        }
        other => other,
    }
}

fn text(words: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": "ID", "result": {
        "content": [{"type": "text", "text": words}], "isError": false, "resultType": "complete",
    }})
}

fn failing(words: &str) -> Value {
    let mut failing = text(words);
    failing["result"]["isError"] = json!(true);
    failing
}

fn system(server: &Server) -> System {
    let secret = McpHeader { secret: "token".to_owned(), prefix: "Bearer ".to_owned() };
    let headers = [("authorization".to_owned(), secret)].into();
    System::Mcp(Box::new(McpSystem { headers, ..McpSystem::at(server.url.clone()) }))
}

fn binding(more: Value) -> Value {
    let mut binding = json!({
        "kind": "mcp", "system": "sys", "tool": "save", "definition": digest("Saves"),
    });
    binding.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    binding
}

/// The call, with time enough left to connect: where the clock of these trials stands, none is left.
fn in_time(trial: &Trial) -> Call {
    let window_ms = u64::try_from(2 * CONNECT_WITHIN.as_millis()).unwrap();
    Call { dispatch_by_boot_ms: DISPATCH_BY + window_ms, ..trial.call() }
}

async fn run(trial: &Trial) -> Outcome {
    let connectors = trial.connectors();
    connectors.check(&trial.operation).unwrap();
    connectors.run(in_time(trial)).await
}

async fn output(server: &Server) -> Value {
    let done = run(&Trial::write(system(server), binding(json!({})))).await.unwrap();
    (*done.output).clone()
}

async fn failed(server: &Server, more: Value) -> Failure {
    run(&Trial::write(system(server), binding(more))).await.unwrap_err()
}

fn calls(server: &Server) -> usize {
    server.seen().iter().filter(|request| request.contains("\"tools/call\"")).count()
}

#[tokio::test]
async fn a_tool_is_called_once_with_its_credential() {
    let server = Server::start(answering(|| answer(&text("saved")))).await;
    let output = output(&server).await;
    assert_eq!(output, json!({"text": "saved"}));
    assert_eq!(calls(&server), 1);
    let bearer = format!("authorization: Bearer {CANARY}").to_lowercase();
    assert!(server.seen().iter().all(|request| request.to_lowercase().contains(&bearer)));
}

/// Another definition: nothing is sent, whatever the tool would do.
#[tokio::test]
async fn another_definition_is_refused_before_anything_is_sent() {
    let server = Server::start(answering(|| answer(&text("saved")))).await;
    let failure = failed(&server, json!({"definition": digest("Saved, once")})).await;
    assert_eq!((failure.class, failure.landed), (Class::Permission, Landed::No));
    assert!(failure.message.contains("is quarantined"), "{}", failure.message);
    let failure = failed(&server, json!({"tool": "saves"})).await;
    assert!(failure.message.contains("has no tool `saves`"), "{}", failure.message);
    assert_eq!(calls(&server), 0);
}

/// What a tool's own failure, an error of the protocol, a status or silence says about a write: nobody knows what it did,
/// but where the file says that its failures do nothing.
#[tokio::test]
async fn a_write_that_failed_is_in_doubt_unless_the_file_says_otherwise() {
    let own = || answer(&failing("the disk is full"));
    let server = Server::start(answering(own)).await;
    let failure = failed(&server, json!({})).await;
    assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::Unknown));
    assert!(failure.message.ends_with("failed: the disk is full"), "{}", failure.message);
    let failure = failed(&server, json!({"landed_on_error": "no"})).await;
    assert_eq!(failure.landed, Landed::No);

    let error = || {
        answer(&json!({"jsonrpc": "2.0", "id": "ID", "error": {"code": -32602, "message": "no"}}))
    };
    let server = Server::start(answering(error)).await;
    let failure = failed(&server, json!({})).await;
    assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::Unknown));

    let busy = || Reply::status(429, "Retry-After: 7\r\n", "");
    let server = Server::start(answering(busy)).await;
    let failure = failed(&server, json!({})).await;
    assert_eq!((failure.class, failure.landed), (Class::RateLimit, Landed::Unknown));
    assert_eq!(failure.retry_after_ms, Some(7_000));
    assert_eq!(calls(&server), 1, "it is not sent again");

    let server = Server::start(answering(|| Reply::Hang)).await;
    let trial = Trial::write(system(&server), binding(json!({})))
        .with(|trial| trial.operation.timeout_ms = 1_500);
    let failure = run(&trial).await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::Unknown));
}

/// A server that says a credential back is not repeated.
#[tokio::test]
async fn a_credential_comes_back_nowhere() {
    let says = || answer(&failing(&format!("your token is {CANARY}")));
    let failure = failed(&Server::start(answering(says)).await, json!({})).await;
    assert!(!failure.message.contains(CANARY), "{}", failure.message);
    let says = || answer(&text(&format!("your token is {CANARY}")));
    let server = Server::start(answering(says)).await;
    let output = output(&server).await;
    assert!(!output.to_string().contains(CANARY), "{output}");
}

/// Nothing is sent once the dispatch window is over.
#[tokio::test]
async fn nothing_is_sent_after_the_dispatch_window() {
    let server = Server::start(answering(|| answer(&text("saved")))).await;
    let late = Trial::write(system(&server), binding(json!({}))).with(|trial| trial.punctual = 0);
    let failure = late.run().await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No));
    assert!(server.seen().is_empty(), "nobody was asked for anything");
    // Nor when what is left of it would be over before there is a connection.
    let trial = Trial::write(system(&server), binding(json!({})));
    let failure = trial.run().await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No));
    assert!(failure.message.contains("does not suffice to connect"), "{}", failure.message);
    assert_eq!(calls(&server), 0);
}

/// Answers as a server of the generation with sessions: it gives each handshake its own, and knows only the last.
fn with_sessions(forgets: &'static AtomicBool) -> impl Fn(&str) -> Reply {
    let rest = answering(|| answer(&text("saved")));
    let sessions = AtomicUsize::new(0);
    move |request: &str| {
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let own = |number: usize| format!("mcp-session-id: s{number}\r\n");
        match asked["method"].as_str() {
            None => return Reply::status(405, "", ""),
            Some("server/discover") => {
                let unknown = json!({"code": -32601, "message": "no such method"});
                return answer(&json!({"jsonrpc": "2.0", "id": asked["id"], "error": unknown}));
            }
            Some("initialize") => {
                let number = sessions.fetch_add(1, Ordering::SeqCst) + 1;
                let hello = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {
                    "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "scripted", "version": "0"},
                }});
                let headers = format!("Content-Type: application/json\r\n{}", own(number));
                return Reply::status(200, &headers, &hello.to_string());
            }
            Some(_) => {}
        }
        if forgets.swap(false, Ordering::SeqCst) {
            sessions.fetch_add(1, Ordering::SeqCst);
        }
        match request.to_lowercase().contains(&own(sessions.load(Ordering::SeqCst))) {
            true => rest(request),
            false => Reply::status(404, "", ""),
        }
    }
}

/// A server that forgot the session is greeted anew, and its tool is called once: nothing but a look met the old session.
#[tokio::test]
async fn a_connection_that_is_over_is_made_anew_before_the_call() {
    static FORGETS: AtomicBool = AtomicBool::new(false);
    let server = Server::start(with_sessions(&FORGETS)).await;
    let handshakes =
        || server.seen().iter().filter(|request| request.contains("\"initialize\"")).count();
    let trial = Trial::write(system(&server), binding(json!({})));
    let connectors = trial.connectors();
    for _ in 0..2 {
        connectors.run(in_time(&trial)).await.unwrap();
    }
    assert_eq!((calls(&server), handshakes()), (2, 1), "a sound connection is kept");
    FORGETS.store(true, Ordering::SeqCst);
    connectors.run(in_time(&trial)).await.unwrap();
    assert_eq!((calls(&server), handshakes()), (3, 2));
}

/// A connection that is cut while the tools are looked at: nothing of the call has left, so it is made anew, once. Where that
/// is cut as well, the call has not left, and says so.
#[tokio::test]
async fn a_look_that_is_cut_off_sends_no_call() {
    static CUTS: AtomicUsize = AtomicUsize::new(0);
    let usual = answering(|| answer(&text("saved")));
    let server = Server::start(move |request: &str| {
        let cut = |left: usize| left.checked_sub(1);
        match request.contains("\"tools/list\"")
            && CUTS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, cut).is_ok()
        {
            true => Reply::Reset,
            false => usual(request),
        }
    })
    .await;
    let trial = Trial::write(system(&server), binding(json!({})));
    let connectors = trial.connectors();
    CUTS.store(2, Ordering::SeqCst);
    let failure = connectors.run(in_time(&trial)).await.unwrap_err();
    assert_eq!((failure.landed, calls(&server)), (Landed::No, 0), "{failure:?}");
    assert_eq!(failure.class, Class::Unavailable, "{failure:?}");
    CUTS.store(1, Ordering::SeqCst);
    connectors.run(in_time(&trial)).await.unwrap();
    assert_eq!(calls(&server), 1);
}

/// A binding and a system that cannot be used are refused at load, by name.
#[test]
fn what_cannot_be_used_is_refused_at_load() {
    for (more, why) in [
        (json!({"definition": "sha256:12"}), "definition"),
        (json!({"do": "delete"}), "none of call, resources, read, prompt"),
        (json!({"answer": "all"}), "none of text, structured, whole"),
        (json!({"landed_on_error": "yes"}), "neither no nor unknown"),
        (json!({"prompt": "x"}), "unknown key"),
    ] {
        let operation = crate::testing::operation(kernel::operation::Effect::Read, binding(more));
        let refused = super::Errand::compile(&Reader::of(&operation).unwrap()).unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let vault = crate::secret::Vault::new(crate::Secrets::default()).unwrap();
    let system = |change: fn(&mut McpSystem)| {
        let mut system = McpSystem::of_program(vec!["/bin/true".to_owned()]);
        change(&mut system);
        super::Servers::new("sys", &system, &vault).map(drop).unwrap_err().to_string()
    };
    assert!(system(|one| one.tier = sandbox::Tier::Restricted).contains("`tier` is \"isolated\""));
    assert!(system(|one| one.url = Some("http://x/mcp".to_owned())).contains("either `run`"));
    assert!(system(|one| one.run.clear()).contains("either `run`"));
    let leads_to_files =
        |one: &mut McpSystem| *one = McpSystem::at("file:///etc/passwd".to_owned());
    assert!(system(leads_to_files).contains("http://"));
}
