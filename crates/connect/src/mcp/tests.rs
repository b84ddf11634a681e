//! Servers as connectors, on a scripted server: what may leave when, and what each sort of no says about the effect.

use std::sync::atomic::{AtomicBool, Ordering};

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use serde_json::{Value, json};

use super::definition_digest;
use crate::{
    McpSystem, System,
    read::Reader,
    system::McpHeader,
    testing::{CANARY, Reply, Server, Trial},
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
                "serverInfo": {"name": "scripted", "version": "0"}, "ttlMs": 0, "resultType": "complete",
            }),
            Some("tools/list") => {
                json!({"tools": [tool("Saves")], "ttlMs": 0, "resultType": "complete"})
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

async fn failed(server: &Server, more: Value) -> Failure {
    Trial::write(system(server), binding(more)).run().await.unwrap_err()
}

fn calls(server: &Server) -> usize {
    server.seen().iter().filter(|request| request.contains("\"tools/call\"")).count()
}

#[tokio::test]
#[ignore = "the scripted server's first answer is not taken yet"]
async fn a_tool_is_called_once_with_its_credential() {
    let server = Server::start(answering(|| answer(&text("saved")))).await;
    let output = Trial::write(system(&server), binding(json!({}))).output().await;
    assert_eq!(output, json!({"text": "saved"}));
    assert_eq!(calls(&server), 1);
    let bearer = format!("authorization: Bearer {CANARY}").to_lowercase();
    assert!(server.seen().iter().all(|request| request.to_lowercase().contains(&bearer)));
}

/// Another definition: nothing is sent, whatever the tool would do.
#[tokio::test]
#[ignore = "the scripted server's first answer is not taken yet"]
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
#[ignore = "the scripted server's first answer is not taken yet"]
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
    let failure = trial.run().await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::Unknown));
}

/// A server that says a credential back is not repeated.
#[tokio::test]
#[ignore = "the scripted server's first answer is not taken yet"]
async fn a_credential_comes_back_nowhere() {
    let says = || answer(&failing(&format!("your token is {CANARY}")));
    let failure = failed(&Server::start(answering(says)).await, json!({})).await;
    assert!(!failure.message.contains(CANARY), "{}", failure.message);
    let says = || answer(&text(&format!("your token is {CANARY}")));
    let server = Server::start(answering(says)).await;
    let output = Trial::write(system(&server), binding(json!({}))).output().await;
    assert!(!output.to_string().contains(CANARY), "{output}");
}

/// Nothing is sent once the dispatch window is over.
#[tokio::test]
async fn nothing_is_sent_after_the_dispatch_window() {
    let server = Server::start(answering(|| answer(&text("saved")))).await;
    let late = Trial::write(system(&server), binding(json!({}))).with(|trial| trial.punctual = 0);
    let failure = late.run().await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No));
    assert_eq!(calls(&server), 0);
}

/// A server that forgot the connection is asked anew, and its tool is called once.
#[tokio::test]
#[ignore = "the scripted server's first answer is not taken yet"]
async fn a_connection_that_is_over_is_made_anew_before_the_call() {
    static FORGETS: AtomicBool = AtomicBool::new(false);
    let usual = answering(|| answer(&text("saved")));
    let server = Server::start(move |request: &str| {
        match request.contains("\"tools/list\"") && FORGETS.swap(false, Ordering::SeqCst) {
            true => Reply::Reset,
            false => usual(request),
        }
    })
    .await;
    let trial = Trial::write(system(&server), binding(json!({})));
    let connectors = trial.connectors();
    assert!(connectors.run(trial.call()).await.is_ok());
    FORGETS.store(true, Ordering::SeqCst);
    let again = connectors.run(trial.call()).await;
    assert!(again.is_ok() || again.is_err_and(|failure| failure.landed == Landed::No));
    assert!(connectors.run(trial.call()).await.is_ok());
}

/// A binding and a system that cannot be used are refused at load, by name.
#[test]
fn what_cannot_be_used_is_refused_at_load() {
    for (more, why) in [
        (json!({"definition": "sha256:12"}), "definition"),
        (json!({"do": "delete"}), "none of call, resources, read, prompt"),
        (json!({"answer": "all"}), "neither text nor structured"),
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
