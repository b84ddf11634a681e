//! What is appended is what would be built: byte for byte, whatever happened before.

use std::sync::Arc;

use kernel::conversation::{Item, Prompt, Reply, Segment, Thread};
use models::{ApiKind, Client, Contents, Model, Streaming};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    server::{Answer, Server},
    talk::{ask, client, hear, opening, prompt, provider, reply, result, say, system, tool, user},
    wires::fixture,
};

/// What happens next in a conversation.
#[derive(Clone, Debug)]
enum Step {
    /// A prompt that is answered by this fixture.
    Turn(Prompt, usize),
    /// A prompt whose call fails; another one is said in its place.
    Failed(Prompt),
    /// Somebody else answers.
    Foreign(Prompt),
    /// The process restarts: whatever was kept is lost.
    Restart,
}

const ANSWERS: [&str; 4] = ["plain.json", "calls.json", "stream.sse", "refusal.json"];

fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![
        ".{0,12}".prop_map(|text| user(&text)),
        ".{0,12}".prop_map(|text| result("call_a", "add", &text)),
        ".{0,6}".prop_map(|text| Segment::Said { items: vec![Item::Text { text }] }),
        Just(Segment::User {
            parts: vec![
                kernel::conversation::Part::Image {
                    media_type: "image/png".to_owned(),
                    data: "aGk=".to_owned(),
                },
                kernel::conversation::Part::File {
                    name: "a.pdf".to_owned(),
                    media_type: "application/pdf".to_owned(),
                    data: "aGk=".to_owned(),
                },
            ],
            source: kernel::conversation::Source::User,
        }),
    ]
}

fn later() -> impl Strategy<Value = Prompt> {
    let choice = prop_oneof![
        Just(kernel::conversation::ToolChoice::Auto),
        Just(kernel::conversation::ToolChoice::Required),
        Just(kernel::conversation::ToolChoice::None),
    ];
    let segments = prop::collection::vec(segment(), 0..4);
    (segments, choice, prop::option::of(0..2_000_u32), any::<bool>()).prop_map(
        |(segments, tool_choice, temperature_milli, has_output)| Prompt {
            tool_choice,
            temperature_milli,
            output: has_output.then(|| Arc::new(json!({"type": "object"}))),
            ..prompt(1, segments)
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (later(), 0..ANSWERS.len()).prop_map(|(prompt, answer)| Step::Turn(prompt, answer)),
        1 => later().prop_map(Step::Failed),
        1 => later().prop_map(Step::Foreign),
        1 => Just(Step::Restart),
    ]
}

fn fresh(api: ApiKind, streaming: Streaming, url: &str) -> Client {
    client(api, url, streaming)
}

fn foreign() -> Reply {
    let items = vec![
        Item::Reasoning { text: "hm".to_owned() },
        Item::Text { text: "from elsewhere".to_owned() },
    ];
    Reply { provider: "other".to_owned(), items, ..reply(ApiKind::OpenAi, "x") }
}

/// Asks through a client that keeps what it has, and compares what arrived with what is built anew.
async fn check(client: &Client, server: &Server, thread: &Arc<Thread>) {
    let before = server.asked().len();
    client.ask(ask(thread)).await.unwrap();
    let sent = server.asked()[before].body.clone();
    let built = fresh(client.provider().api, client.provider().streaming, &server.url);
    let built = built.request_bytes(thread, &Contents::default()).unwrap();
    assert_eq!(String::from_utf8(sent.clone()), String::from_utf8(built));
    serde_json::from_slice::<serde_json::Value>(&sent).expect("a request is JSON");
}

async fn converse(api: ApiKind, streaming: Streaming, steps: Vec<Step>) {
    let server = Server::script(vec![Answer::of(&fixture(api, "plain.json"))]).await;
    let mut client = fresh(api, streaming, &server.url);
    let (mut thread, mut seq) = (say(None, 1, &opening()), 1);
    check(&client, &server, &thread).await;
    thread = hear(thread, &reply(api, &fixture(api, "plain.json")));
    for step in steps {
        seq += 10;
        match step {
            Step::Turn(prompt, answer) => {
                let said = say(Some(Arc::clone(&thread)), seq, &prompt);
                check(&client, &server, &said).await;
                check(&client, &server, &said).await;
                thread = hear(said, &reply(api, &fixture(api, ANSWERS[answer])));
            }
            Step::Failed(prompt) => {
                check(&client, &server, &say(Some(Arc::clone(&thread)), seq, &prompt)).await;
            }
            Step::Foreign(prompt) => {
                thread = hear(say(Some(Arc::clone(&thread)), seq, &prompt), &foreign());
            }
            Step::Restart => client = fresh(api, streaming, &server.url),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_appended_is_what_is_built(
        api in prop::sample::select(ApiKind::ALL.to_vec()),
        streaming in prop::sample::select(vec![Streaming::On, Streaming::Off]),
        steps in prop::collection::vec(step(), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(converse(api, streaming, steps));
    }
}

#[tokio::test]
async fn a_conversation_begun_anew_under_its_name_forgets_the_old_one() {
    for api in ApiKind::ALL {
        let server = Server::script(vec![Answer::of(&fixture(api, "plain.json"))]).await;
        let client = fresh(api, Streaming::Off, &server.url);
        check(&client, &server, &say(None, 1, &opening())).await;
        let mut anew = prompt(0, vec![system("Other."), user("Anew.")]);
        anew.tools = vec![tool("add")];
        let anew = say(None, 9, &anew);
        check(&client, &server, &anew).await;
        assert!(!String::from_utf8_lossy(&server.asked()[1].body).contains("Be brief."));
    }
}

/// C136: cache control.
#[tokio::test]
async fn cache_markers_stand_on_the_head_and_at_the_last_two_prompts() {
    let api = ApiKind::Anthropic;
    let server = Server::script(vec![Answer::of(&fixture(api, "plain.json"))]).await;
    let client = fresh(api, Streaming::Off, &server.url);
    let mut thread = say(None, 1, &opening());
    for seq in 2..6 {
        check(&client, &server, &thread).await;
        let heard = hear(thread, &reply(api, &fixture(api, "plain.json")));
        thread = say(Some(heard), seq, &prompt(1, vec![user("and?"), user("really?")]));
    }
    let bodies: Vec<serde_json::Value> = server.asked().iter().map(|asked| asked.json()).collect();
    let marks = |body: &serde_json::Value| {
        let messages = body["messages"].as_array().unwrap().iter().enumerate();
        let marked = messages.filter(|(_, message)| {
            message["content"].as_array().unwrap().last().unwrap().get("cache_control").is_some()
        });
        marked.map(|(index, _)| index).collect::<Vec<_>>()
    };
    assert_eq!(
        bodies.iter().map(marks).collect::<Vec<_>>(),
        [vec![0], vec![0, 2], vec![2, 4], vec![4, 6]]
    );
    for body in &bodies {
        assert!(body["system"][0].get("cache_control").is_some());
        assert!(body.to_string().matches("cache_control").count() <= 4, "the API allows four");
    }
}

/// C091: on every wire the messages of one turn are, byte for byte, the beginning of those of the next. What a request
/// says about its answer comes after them, and a cache marker is put between.
#[tokio::test]
async fn what_was_said_stays_the_beginning_of_every_later_request() {
    const MARKER: &str = r#","cache_control":{"type":"ephemeral"}"#;
    const TAILS: [&str; 4] = [
        r#"],"max_completion_tokens""#,
        r#"],"max_output_tokens""#,
        r#"],"max_tokens""#,
        r#"],"generationConfig""#,
    ];
    for api in ApiKind::ALL {
        let server = Server::script(vec![Answer::of(&fixture(api, "calls.json"))]).await;
        let client = fresh(api, Streaming::Off, &server.url);
        let mut thread = say(None, 1, &opening());
        for seq in 2..9 {
            let answer = client.ask(ask(&thread)).await.unwrap();
            let call = answer.items.iter().find_map(|item| match item {
                Item::Call { id, name, .. } => Some(result(id, name, &format!("result {seq}"))),
                _ => None,
            });
            let told = vec![call.unwrap(), user(&format!("turn {seq}"))];
            thread = say(Some(hear(thread, &answer)), seq, &prompt(1, told));
        }
        let beginnings: Vec<String> = server
            .asked()
            .iter()
            .map(|asked| {
                let body = String::from_utf8(asked.body.clone()).unwrap().replace(MARKER, "");
                let tail = TAILS.iter().filter_map(|tail| body.rfind(tail)).max();
                let tail = tail.unwrap_or_else(|| panic!("{api}: no tail in {body}"));
                // What closes the last message is written when the next one comes.
                body[..tail].trim_end_matches(['}', ']']).to_owned()
            })
            .collect();
        assert_eq!(beginnings.len(), 7);
        for (earlier, later) in beginnings.iter().zip(&beginnings[1..]) {
            assert!(later.len() > earlier.len(), "{api}");
            assert!(later.starts_with(earlier.as_str()), "{api}:\n{earlier}\n{later}");
        }
    }
}

#[tokio::test]
async fn a_thread_that_is_none_is_refused() {
    let client = fresh(ApiKind::OpenAi, Streaming::Off, "http://127.0.0.1:1");
    let thread = hear(say(None, 1, &opening()), &foreign());
    assert_eq!(client.ask(ask(&thread)).await.unwrap_err().code(), "model_thread");
    let broken = serde_json::json!({"conversation": 1});
    let broken =
        Thread::after(None, 1, kernel::conversation::Said::Prompt(Arc::new(broken).into()));
    assert_eq!(
        client.request_bytes(&broken, &Contents::default()).unwrap_err().code(),
        "model_thread"
    );
    assert_eq!(provider(ApiKind::OpenAi, "u", Streaming::Off).endpoint(), "u/chat/completions");
}
