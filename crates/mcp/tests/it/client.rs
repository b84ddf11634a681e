//! The client against a sound server: both generations of the protocol, over pipes and over HTTP.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use mcp::client::{
    Answer, Answering, Client, Error, Generation, Http, Limits, Person, Question, Setup,
};
use rmcp::{ServiceExt as _, transport::async_rw::AsyncRwTransport};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::fixture::{self, Fixture};

pub(crate) fn args(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(crate) fn setup(generation: Generation) -> Setup {
    Setup { generation, ..Setup::default() }
}

/// A client of a server that serves in this process, over pipes.
pub(crate) async fn over_pipes(folder: Option<&Path>, setup: Setup) -> Client {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (from, to) = tokio::io::split(far);
    let fixture = Fixture::new(folder.map(Path::to_owned));
    tokio::spawn(async move {
        let serving = fixture.serve(AsyncRwTransport::new_server(from, to)).await.unwrap();
        serving.waiting().await.unwrap();
    });
    let (from, to) = tokio::io::split(near);
    Client::over_pipes(from, to, setup).await.unwrap()
}

/// A client of a server that serves in this process, over HTTP.
pub(crate) async fn over_http(folder: Option<&Path>, setup: Setup) -> Client {
    let (address, _serving) = fixture::http(Fixture::new(folder.map(Path::to_owned))).await;
    let to = Http { url: format!("http://{address}/mcp"), headers: Vec::new() };
    Client::over_http(&to, setup).await.unwrap()
}

async fn each(folder: Option<&Path>) -> Vec<(&'static str, Client)> {
    let (sessions, stateless) = (setup(Generation::Sessions), setup(Generation::Stateless));
    vec![
        ("2025-11-25", over_pipes(folder, sessions).await),
        ("2026-07-28", over_pipes(folder, stateless).await),
        ("2025-11-25", over_http(folder, sessions).await),
        ("2026-07-28", over_http(folder, stateless).await),
    ]
}

/// C130, C132: tools over several pages, structured results, resources, templates, prompts and instructions, in both
/// generations and over both transports.
#[tokio::test]
async fn everything_a_server_offers_is_there_in_both_generations() {
    for (revision, client) in each(None).await {
        let server = client.server();
        assert_eq!((&*server.name, &*server.version), ("fixture", "1.2.3"));
        assert_eq!(server.revision, revision);
        assert_eq!(server.instructions.as_deref(), Some("Use it in tests"));
        assert_eq!(server.offers, ["tools", "resources", "prompts"]);
        let tools = client.tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let all = [
            "add", "note", "route", "lies", "fail", "big", "ask", "slow", "crash", "image", "echo",
        ];
        assert_eq!(names, all, "{revision}");
        assert!(tools[0].claims_to_read() && tools[0].output.is_some());
        assert!(!tools[1].claims_to_read() && tools[1].output.is_none());
        let added = client.call("add", args(json!({"a": 2, "b": 40}))).await.unwrap();
        assert_eq!(added.structured, Some(json!({"sum": 42})), "{revision}");
        assert!(!added.is_error && added.declined.is_empty());
        let echoed = client.call("echo", args(json!({"text": "hello"}))).await.unwrap();
        assert_eq!(echoed.text(), "hello");
        let image = client.call("image", Map::new()).await.unwrap();
        assert_eq!(image.content[1]["mimeType"], "image/png");
        let failed = client.call("fail", args(json!({"text": "no room"}))).await.unwrap();
        assert!(failed.is_error);
        assert_eq!(failed.text(), "no room");
        assert_eq!(client.resources().await.unwrap().len(), 7);
        assert_eq!(client.templates().await.unwrap()[0].uri, "note://{n}");
        let read = client.read("note://3").await.unwrap().contents;
        assert_eq!(read[0]["text"], "this is note://3");
        let prompts = client.prompts().await.unwrap();
        assert_eq!(prompts[0].arguments, [("who".to_owned(), true)]);
        let prompt = client.prompt("greet", args(json!({"who": "Ada"}))).await.unwrap();
        assert_eq!(prompt.messages[0]["content"]["text"], "Greet Ada");
    }
}

/// C130: without being told, the newer generation is spoken where the server knows it.
#[tokio::test]
async fn the_generation_is_found_by_asking() {
    let client = over_pipes(None, Setup::default()).await;
    assert_eq!(client.server().revision, "2026-07-28");
    let client = over_http(None, Setup::default()).await;
    assert_eq!(client.server().revision, "2026-07-28");
}

/// C132: whatever a server asks of us is declined or refused and remembered, in both generations; it gets no answer of a
/// person, no model and no folders, and where a page of its own leads is not repeated.
#[tokio::test]
async fn what_a_server_asks_of_its_client_is_refused_and_remembered() {
    for (revision, client) in each(None).await {
        for (kind, told, heard) in [
            ("form", "an answer of a person: Your session has expired", "decline"),
            ("url", "a person at a page of its own: Your session has expired", "decline"),
            ("sampling", "a model's answer (sampling)", "not offered"),
            ("roots", "a list of folders (roots)", "not offered"),
        ] {
            let asked = client.call("ask", args(json!({"kind": kind}))).await;
            let declined = match asked {
                Ok(result) => {
                    let text = result.text();
                    // A server of sessions may be told by its own library that nobody listens.
                    assert!(!text.contains("password"), "{revision} {kind}: {text}");
                    let refused = text.contains(heard) || text.contains("not support");
                    assert!(refused, "{revision} {kind}: {text}");
                    result.declined
                }
                Err(error) => {
                    assert!(error.to_string().contains(heard), "{revision} {kind}: {error}");
                    client.told()
                }
            };
            let shown = declined.join(" ");
            assert!(!shown.contains("example.evil"), "{shown}");
            if revision == "2026-07-28" {
                assert!(shown.contains(told), "{kind}: {shown}");
            }
        }
    }
}

/// Fills in what a form suggests and opens no page; remembers what it was asked.
#[derive(Default)]
struct Clerk(Mutex<Vec<Question>>);

impl Person for Clerk {
    fn answer(&self, question: Question) -> Answering<'_> {
        let answer = match &question {
            Question::Form { .. } => {
                let mut filled = question.defaults();
                filled.insert("password".to_owned(), json!("none of yours"));
                Answer::Accept(filled)
            }
            Question::Page { .. } => Answer::Cancel,
        };
        self.0.lock().unwrap().push(question);
        Box::pin(std::future::ready(answer))
    }
}

/// C132: where somebody was named who answers, a server's questions reach them and its server hears what they said, in both
/// generations; a model and folders are refused all the same.
#[tokio::test]
async fn a_person_who_was_named_answers() {
    for generation in [Generation::Sessions, Generation::Stateless] {
        let (address, _serving) = fixture::http(Fixture::new(None)).await;
        let to = Http { url: format!("http://{address}/mcp"), headers: Vec::new() };
        let clerk = Arc::new(Clerk::default());
        let named = Arc::clone(&clerk) as Arc<dyn Person>;
        let client = Client::over_http_with(&to, setup(generation), named).await.unwrap();
        let form = client.call("ask", args(json!({"kind": "form"}))).await.unwrap();
        let text = form.text();
        assert!(text.contains("accept") && text.contains("none of yours"), "{text}");
        let page = client.call("ask", args(json!({"kind": "url"}))).await.unwrap();
        assert!(page.text().contains("cancel"), "{}", page.text());
        assert_eq!((form.declined, page.declined), (vec![], vec![]));
        {
            let asked = clerk.0.lock().unwrap();
            assert!(
                matches!(&asked[0], Question::Form { schema, .. } if schema["required"][0] == "password")
            );
            assert!(
                matches!(&asked[1], Question::Page { url, .. } if url.contains("example.evil"))
            );
        }
        for kind in ["sampling", "roots"] {
            let refused = client.call("ask", args(json!({"kind": kind}))).await;
            let said = refused.map_or_else(|error| error.to_string(), |result| result.text());
            assert!(said.contains("not offered") || said.contains("not support"), "{kind}: {said}");
        }
    }
}

/// A call that nobody waits for any more is cancelled at the server.
#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_there() {
    for generation in [Generation::Sessions, Generation::Stateless] {
        let folder = TempDir::new().unwrap();
        let client = over_pipes(Some(folder.path()), setup(generation)).await;
        let notes = || fs::read_to_string(folder.path().join("notes")).unwrap_or_default();
        let mut call = Box::pin(client.call("slow", args(json!({"text": ""}))));
        while !notes().contains("slow began") {
            tokio::select! {
                biased;
                answer = &mut call => panic!("{answer:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(call);
        while !notes().contains("slow was cancelled") {
            tokio::task::yield_now().await;
        }
        // The connection is as good as before.
        assert_eq!(client.call("echo", args(json!({"text": "on"}))).await.unwrap().text(), "on");
    }
}

/// Lists and messages are bounded, and what is too long is refused by name.
#[tokio::test]
async fn lists_and_messages_have_an_end() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("many"), "").unwrap();
    let few = Limits { items: 500, ..Limits::default() };
    let client = over_pipes(Some(folder.path()), Setup { limits: few, ..Setup::default() }).await;
    let pages = client.tools().await.unwrap_err();
    assert_eq!(pages, Error::TooMany { what: "tools", most: 100, of: "pages" });
    let few = Limits { items: 20, ..Limits::default() };
    let client = over_pipes(Some(folder.path()), Setup { limits: few, ..Setup::default() }).await;
    let entries = client.tools().await.unwrap_err();
    assert_eq!(entries, Error::TooMany { what: "tools", most: 20, of: "entries" });
    let few = Limits { list_bytes: 900, ..Limits::default() };
    let client = over_pipes(Some(folder.path()), Setup { limits: few, ..Setup::default() }).await;
    let bytes = client.tools().await.unwrap_err();
    assert_eq!(bytes, Error::TooMany { what: "tools", most: 900, of: "bytes" });

    let circling = TempDir::new().unwrap();
    fs::write(circling.path().join("circle"), "").unwrap();
    let client = over_pipes(Some(circling.path()), Setup::default()).await;
    assert_eq!(client.tools().await.unwrap_err(), Error::Circle { what: "tools" });
}

/// A server that asks again and again instead of answering is left.
#[tokio::test]
async fn a_server_that_insists_gets_no_further() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("insists"), "").unwrap();
    let client = over_pipes(Some(folder.path()), setup(Generation::Stateless)).await;
    let insisted = client.call("ask", args(json!({"kind": "form"}))).await;
    assert_eq!(insisted.unwrap_err(), Error::Insists);
}
