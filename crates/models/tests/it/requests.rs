//! The requests of representative conversations, as golden files (C091): read by people, and checked against
//! the official SDKs' own types by `tests/sdk/run`.
//!
//! `HARNESS_UPDATE=1` writes them anew.

use std::{fs, path::PathBuf, sync::Arc};

use kernel::conversation::{Item, Part, Prompt, Reply, Segment, Source, Thread, ToolChoice};
use models::{ApiKind, Contents, Model, Provider, SchemaSupport, Streaming};
use serde_json::{Value, json};

use crate::{
    server::{Answer, Server},
    talk::{ask, client_of, hear, opening, prompt, provider, reply, result, say, user},
    wires::fixture,
};

fn schema() -> Arc<Value> {
    Arc::new(json!({
        "type": "object", "properties": {"sum": {"type": "integer"}},
        "required": ["sum"], "additionalProperties": false,
    }))
}

fn first_call(api: ApiKind) -> &'static str {
    match api {
        ApiKind::Anthropic => "toolu_a",
        ApiKind::Gemini => "hcall_0",
        ApiKind::OpenAi | ApiKind::OpenAiResponses => "call_a",
    }
}

fn second_call(api: ApiKind) -> &'static str {
    match api {
        ApiKind::Anthropic => "toolu_b",
        ApiKind::Gemini => "hcall_1",
        ApiKind::OpenAi | ApiKind::OpenAiResponses => "call_b",
    }
}

fn after(api: ApiKind, name: &str, next: &Prompt) -> Arc<Thread> {
    let heard = hear(say(None, 1, &opening()), &reply(api, &fixture(api, name)));
    say(Some(heard), 2, next)
}

fn pictures() -> Prompt {
    let parts = vec![
        Part::Text { text: "What is this?".to_owned() },
        Part::Image { media_type: "image/png".to_owned(), data: "aGVsbG8=".to_owned() },
        Part::File {
            name: "a.pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            data: "JVBERi0=".to_owned(),
        },
        Part::File {
            name: "a.csv".to_owned(),
            media_type: "text/csv".to_owned(),
            data: "YSxiCjEsMgo=".to_owned(),
        },
    ];
    prompt(0, vec![Segment::User { parts, source: Source::User }])
}

fn replaced() -> Prompt {
    let items = vec![
        Item::Text { text: "Let me add.".to_owned() },
        Item::Call {
            id: "call_9".to_owned(),
            name: "add".to_owned(),
            arguments: Some(Arc::new(json!({"a": 1, "b": 2}))),
            malformed: None,
        },
    ];
    let segments =
        vec![user("Add 1 and 2."), Segment::Said { items }, result("call_9", "add", "3")];
    Prompt { tools: opening().tools, ..prompt(0, segments) }
}

/// Name, configuration and conversation.
fn cases(api: ApiKind) -> Vec<(&'static str, Provider, Arc<Thread>)> {
    let plain = || provider(api, "http://127.0.0.1:1", Streaming::Off);
    let streaming = provider(api, "http://127.0.0.1:1", Streaming::On);
    let mut told = plain();
    told.quirks.schema = SchemaSupport::Told;
    let shaped = Prompt {
        output: Some(schema()),
        temperature_milli: Some(700),
        ..prompt(0, vec![user("Add 1 and 2.")])
    };
    let results = prompt(
        1,
        vec![
            result(first_call(api), "add", "3"),
            Segment::Result {
                call: second_call(api).to_owned(),
                name: "look_up".to_owned(),
                content: "not allowed".to_owned(),
                is_error: true,
            },
            user("Go on."),
        ],
    );
    let must = Prompt { tool_choice: ToolChoice::Required, ..opening() };
    let none = Prompt { tool_choice: ToolChoice::None, ..opening() };
    let foreign = Reply {
        provider: "other".to_owned(),
        items: vec![Item::Text { text: "3".to_owned() }],
        ..reply(api, "x")
    };
    let foreign = hear(say(None, 1, &opening()), &foreign);
    vec![
        ("opening", plain(), say(None, 1, &opening())),
        ("streaming", streaming, say(None, 1, &opening())),
        ("required", plain(), say(None, 1, &must)),
        ("none", plain(), say(None, 1, &none)),
        ("shaped", plain(), say(None, 1, &shaped)),
        ("told", told, say(None, 1, &shaped)),
        ("results", plain(), after(api, "calls.json", &results)),
        ("results_of_stream", plain(), after(api, "stream.sse", &results)),
        ("refused", plain(), after(api, "refusal.json", &prompt(1, vec![user("Why?")]))),
        ("pictures", plain(), say(None, 1, &pictures())),
        ("replaced", plain(), say(None, 1, &replaced())),
        ("foreign", plain(), say(Some(foreign), 2, &prompt(1, vec![user("Sure?")]))),
    ]
}

/// Whether a request is the one that is kept; where it is not, the file that keeps it.
fn differs(api: ApiKind, name: &str, sent: &Value) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/requests");
    let path = folder.join(api.name()).join(format!("{name}.json"));
    if std::env::var_os("HARNESS_UPDATE").is_some() {
        let text = serde_json::to_string_pretty(sent).unwrap() + "\n";
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    // Values, not text: other crates of a build may have maps keep their order.
    let kept = fs::read_to_string(&path).unwrap_or_default();
    (serde_json::from_str::<Value>(&kept).ok().as_ref() != Some(sent)).then_some(path)
}

#[test]
fn requests_are_as_they_were() {
    let mut changed = Vec::new();
    for api in ApiKind::ALL {
        for (name, configured, thread) in cases(api) {
            let sent = client_of(configured).request_bytes(&thread, &Contents::default()).unwrap();
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            changed.extend(differs(api, name, &sent));
        }
    }
    assert!(changed.is_empty(), "look, then set HARNESS_UPDATE=1: {changed:#?}");
}

/// Texts to be turned into vectors, as each wire that can is asked: what arrives at the server.
#[tokio::test]
async fn texts_are_sent_as_they_were() {
    let texts = ["Größe 🙂".to_owned(), "b".to_owned()];
    let list = r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}]}"#;
    let batch = r#"{"embeddings":[{"values":[1]},{"values":[2]}]}"#;
    let mut changed = Vec::new();
    for (api, answer) in
        [(ApiKind::OpenAi, list), (ApiKind::OpenAiResponses, list), (ApiKind::Gemini, batch)]
    {
        let server = Server::script(vec![Answer::json(answer)]).await;
        let client = client_of(provider(api, &server.url, Streaming::On));
        let embedded = client.embed(&texts, &ask(&say(None, 1, &opening()))).await.unwrap();
        assert_eq!(embedded.vectors, [vec![1.0], vec![2.0]], "{api}");
        let sent = server.asked()[0].json();
        changed.extend(differs(api, "embed", &sent));
        // What is configured beside it goes along.
        let more = Provider {
            body: [("dimensions".to_owned(), json!(256))].into_iter().collect(),
            ..provider(api, &server.url, Streaming::On)
        };
        client_of(more).embed(&texts, &ask(&say(None, 1, &opening()))).await.unwrap();
        let mut with_more = sent;
        with_more["dimensions"] = json!(256);
        assert_eq!(server.asked()[1].json(), with_more, "{api}");
    }
    assert!(changed.is_empty(), "look, then set HARNESS_UPDATE=1: {changed:#?}");
}
