//! What each wire makes of its provider's documented answers: tools, calls side by side, reasoning and usage on the
//! wires of OpenAI (C135), Anthropic (C136) and Gemini (C137).

use std::{fs, path::PathBuf};

use kernel::conversation::{Item, Reply, Stop, Usage};
use models::{ApiKind, Contents, Http, Key, Model, Provider, Streaming};
use serde_json::{Value, json};

use crate::{
    server::{Answer, Server},
    talk::{ask, client, client_of, hear, opening, prompt, provider, result, say, user},
};

pub(crate) fn fixture(api: ApiKind, name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let path = folder.join(api.name()).join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What the server's answer becomes, and the request that asks on after it.
async fn turn(api: ApiKind, raw: &str) -> (Reply, Value) {
    let streaming = if raw.starts_with('{') { Streaming::Off } else { Streaming::On };
    let server = Server::script(vec![Answer::of(raw)]).await;
    let client = client(api, &server.url, streaming);
    let thread = say(None, 1, &opening());
    let reply = client.ask(ask(&thread)).await.unwrap();
    let call = reply.items.iter().find_map(|item| match item {
        Item::Call { id, name, .. } => Some((id.clone(), name.clone())),
        _ => None,
    });
    let next = match call {
        Some((id, name)) => prompt(1, vec![result(&id, &name, "3")]),
        None => prompt(1, vec![user("Sure?")]),
    };
    let thread = say(Some(hear(thread, &reply)), 2, &next);
    client.ask(ask(&thread)).await.unwrap();
    assert_eq!(
        client.request_bytes(&thread, &Contents::default()).unwrap(),
        server.asked()[1].body
    );
    (reply, server.asked()[1].json())
}

fn usage(input: u64, cached: u64, cache_written: u64, output: u64, reasoning: u64) -> Usage {
    Usage { input, cached, cache_written, output, reasoning }
}

fn text(text: &str) -> Item {
    Item::Text { text: text.to_owned() }
}

fn reasoning(text: &str) -> Item {
    Item::Reasoning { text: text.to_owned() }
}

fn call(id: &str, name: &str, arguments: Value) -> Item {
    let (id, name) = (id.to_owned(), name.to_owned());
    Item::Call { id, name, arguments: Some(arguments.into()), malformed: None }
}

fn malformed(item: &Item) -> (&str, &str) {
    match item {
        Item::Call { malformed: Some(malformed), arguments: None, .. } => {
            (&malformed.text, &malformed.problem)
        }
        other => panic!("not malformed: {other:?}"),
    }
}

/// C294: tokens read, cached, written and thought, as each provider counts them.
#[tokio::test]
async fn a_plain_answer_is_read_on_every_wire() {
    let thought = reasoning("One and two.");
    let said = text("1 + 2 is 3.");
    for (api, model, items, used) in [
        (ApiKind::OpenAi, "gpt-5.1-2025-11-13", vec![said.clone()], usage(1_117, 1_024, 0, 46, 40)),
        (
            ApiKind::OpenAiResponses,
            "gpt-5.1-2025-11-13",
            vec![thought.clone(), said.clone()],
            usage(328, 256, 0, 52, 40),
        ),
        (
            ApiKind::Anthropic,
            "claude-sonnet-4-5-20250929",
            vec![said.clone()],
            usage(21 + 188 + 1_024, 1_024, 188, 12, 0),
        ),
        (
            ApiKind::Gemini,
            "gemini-3-pro-preview",
            vec![thought.clone(), said.clone()],
            usage(40, 32, 0, 20, 12),
        ),
    ] {
        let raw = fixture(api, "plain.json");
        let (reply, _) = turn(api, &raw).await;
        let told = Reply {
            provider: "p".to_owned(),
            model: model.to_owned(),
            wire: api.name().to_owned(),
            items,
            stop: Stop::End,
            usage: used,
            raw,
        };
        assert_eq!(reply, told);
    }
}

#[tokio::test]
async fn calls_at_once_are_told_apart_and_bad_arguments_are_kept_as_written() {
    for api in ApiKind::ALL {
        let (reply, _) = turn(api, &fixture(api, "calls.json")).await;
        assert_eq!(reply.stop, Stop::Tools, "{api}");
        let calls: Vec<&Item> =
            reply.items.iter().filter(|item| matches!(item, Item::Call { .. })).collect();
        let first = match (api, calls[0]) {
            (ApiKind::Anthropic, _) => "toolu_a",
            (ApiKind::Gemini, Item::Call { id, .. }) => id,
            _ => "call_a",
        };
        assert_eq!(*calls[0], call(first, "add", json!({"a": 1, "b": 2})), "{api}");
        let (written, problem) = malformed(calls[1]);
        assert!(written.contains("9007199254740993") || written.contains("1e400"), "{api}");
        assert!(problem.contains("does not survive"), "{api}: {problem}");
    }
    let (reply, _) = turn(ApiKind::OpenAi, &fixture(ApiKind::OpenAi, "calls.json")).await;
    assert_eq!(malformed(&reply.items[2]).0, "{\"a\":");
}

#[tokio::test]
async fn refusals_are_refusals_on_every_wire() {
    for (api, items) in [
        (ApiKind::OpenAi, vec![Item::Refusal { text: "I cannot help with that.".to_owned() }]),
        (
            ApiKind::OpenAiResponses,
            vec![Item::Refusal { text: "I cannot help with that.".to_owned() }],
        ),
        (ApiKind::Anthropic, vec![Item::Refusal { text: "This was refused.".to_owned() }]),
        (ApiKind::Gemini, vec![]),
    ] {
        let (reply, next) = turn(api, &fixture(api, "refusal.json")).await;
        assert_eq!((reply.stop, reply.items), (Stop::Refusal, items), "{api}");
        assert!(next.to_string().contains("Sure?"), "{api}");
    }
}

/// C136, C137: thinking blocks and thought signatures too.
#[tokio::test]
async fn reasoning_goes_back_exactly_as_it_came() {
    let (_, next) = turn(ApiKind::Anthropic, &fixture(ApiKind::Anthropic, "calls.json")).await;
    let came: Value = serde_json::from_str(&fixture(ApiKind::Anthropic, "calls.json")).unwrap();
    assert_eq!(next["messages"][1]["content"], came["content"]);

    let (_, next) = turn(ApiKind::Anthropic, &fixture(ApiKind::Anthropic, "stream.sse")).await;
    assert_eq!(
        next["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "Größe 🙂", "signature": "EqQBCkYI=="},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_a", "name": "add", "input": {"a": 1, "b": 2}},
            {"type": "tool_use", "id": "toolu_b", "name": "look_up", "input": {}},
        ])
    );

    let api = ApiKind::OpenAiResponses;
    let (_, next) = turn(api, &fixture(api, "calls.json")).await;
    let came: Value = serde_json::from_str(&fixture(api, "calls.json")).unwrap();
    let input = next["input"].as_array().unwrap();
    assert_eq!(input[1], came["output"][0]);
    assert!(!next["input"].to_string().contains("rs_3"), "neither sealed nor open");
    assert_eq!(input[2], came["output"][2]);
    assert_eq!((&input[3], &input[4]["arguments"]), (&came["output"][3], &json!("{\"a\":1e400}")));

    let (_, next) = turn(ApiKind::Gemini, &fixture(ApiKind::Gemini, "calls.json")).await;
    let came: Value = serde_json::from_str(&fixture(ApiKind::Gemini, "calls.json")).unwrap();
    assert_eq!(next["contents"][1]["parts"], came["candidates"][0]["content"]["parts"]);
    let answer = &next["contents"][2]["parts"][0]["functionResponse"];
    assert_eq!(*answer, json!({"name": "add", "response": {"output": "3"}}), "no id of ours");

    let (_, next) = turn(ApiKind::Gemini, &fixture(ApiKind::Gemini, "stream.sse")).await;
    assert_eq!(
        next["contents"][1]["parts"],
        json!([
            {"text": "Größe 🙂", "thought": true},
            {"text": "Let me see."},
            {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}},
                "thoughtSignature": "CpIBAdHtim8="},
            {"text": "", "thoughtSignature": "EjQKMgEMxA=="},
        ])
    );

    let (reply, next) = turn(ApiKind::OpenAi, &fixture(ApiKind::OpenAi, "reasoning.json")).await;
    assert_eq!(reply.items, [reasoning("One and two."), text("3")]);
    assert_eq!(reply.usage, usage(10, 8, 0, 9, 0));
    assert_eq!(
        next["messages"][2],
        json!({"role": "assistant", "content": "3", "reasoning_content": "One and two.",
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "b64==", "format": "x",
                "index": 0}]})
    );
}

/// C094: what a provider's own tools did stands in the reply, which is journaled, beside calls that are left to us.
#[tokio::test]
async fn what_a_provider_runs_itself_is_shown_and_goes_back() {
    let raw = fixture(ApiKind::Anthropic, "provided.json");
    let (reply, next) = turn(ApiKind::Anthropic, &raw).await;
    assert_eq!(reply.stop, Stop::Pause);
    let names: Vec<&str> = reply
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Provided { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["web_search", "web_search_tool_result"]);
    let came: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(next["messages"][1]["content"], came["content"]);

    let api = ApiKind::OpenAiResponses;
    let (reply, _) = turn(api, &fixture(api, "calls.json")).await;
    let provided = reply.items.iter().find(|item| matches!(item, Item::Provided { .. }));
    let Some(Item::Provided { name, detail }) = provided else { panic!("none") };
    assert_eq!(
        (name.as_str(), &detail["action"]["query"]),
        ("web_search_call", &json!("one and two"))
    );
}

#[tokio::test]
async fn a_blocked_prompt_is_a_filters_doing() {
    let server = Server::script(vec![Answer::of(&fixture(ApiKind::Gemini, "blocked.json"))]).await;
    let client = client(ApiKind::Gemini, &server.url, Streaming::Off);
    let error = client.ask(ask(&say(None, 1, &opening()))).await.unwrap_err();
    assert_eq!(error.code(), "model_content_filter");
}

#[tokio::test]
async fn each_wire_asks_at_its_own_address_with_its_own_headers() {
    for (api, streaming, path, header) in [
        (ApiKind::OpenAi, Streaming::Off, "/v1/chat/completions", "authorization"),
        (ApiKind::OpenAiResponses, Streaming::Off, "/v1/responses", "authorization"),
        (ApiKind::Anthropic, Streaming::Off, "/v1/messages", "x-api-key"),
        (ApiKind::Gemini, Streaming::Off, "/v1/models/model-1:generateContent", "x-goog-api-key"),
        (
            ApiKind::Gemini,
            Streaming::On,
            "/v1/models/model-1:streamGenerateContent?alt=sse",
            "x-goog-api-key",
        ),
    ] {
        let server = Server::script(vec![Answer::of(&fixture(api, "plain.json"))]).await;
        client(api, &server.url, streaming).ask(ask(&say(None, 1, &opening()))).await.unwrap();
        let asked = &server.asked()[0];
        assert_eq!(asked.path, path);
        assert!(asked.headers[header].contains(crate::talk::CANARY), "{api}");
        assert_eq!(asked.headers["content-type"], "application/json");
        assert_eq!(asked.headers.contains_key("anthropic-version"), api == ApiKind::Anthropic);
    }
}

#[tokio::test]
async fn another_server_on_a_known_wire_is_only_configuration() {
    let server = Server::script(vec![Answer::of(&fixture(ApiKind::OpenAi, "plain.json"))]).await;
    let configured = json!({
        "name": "azure", "api": "openai", "url": server.url, "model": "m",
        "path": "/deployments/m/chat/completions?api-version=2025-01-01",
        "auth": {"header": "api-key"}, "headers": {"x-team": "ops"},
        "idempotency_header": "idempotency-key", "streaming": "off",
        "quirks": {"max_tokens": "max_tokens", "system_role": "developer", "schema": "json",
            "temperature": "omitted", "echo": {"only": []}},
        "body": {"reasoning_effort": "low"}, "tier": "contracted", "clearance": "internal",
    });
    let provider: Provider = serde_json::from_value(configured.clone()).unwrap();
    let mut opening = opening();
    opening.output = Some(json!({"type": "object"}).into());
    opening.temperature_milli = Some(700);
    let client = client_of(provider);
    client.ask(ask(&say(None, 1, &opening))).await.unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "/v1/deployments/m/chat/completions?api-version=2025-01-01");
    assert_eq!(asked.headers["api-key"], crate::talk::CANARY);
    assert!(!asked.headers.contains_key("authorization"));
    assert_eq!(asked.headers["x-team"], "ops");
    assert!(asked.headers["idempotency-key"].starts_with("key_"));
    let body = asked.json();
    assert_eq!(body["max_tokens"], 1_000);
    assert_eq!(body["messages"][0]["role"], "developer");
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    assert_eq!((body.get("temperature"), &body["reasoning_effort"]), (None, &json!("low")));
    assert!(body["messages"][1]["content"].as_str().unwrap().contains("JSON Schema"));
    let mut typo = configured;
    typo["strem"] = json!("off");
    assert!(serde_json::from_value::<Provider>(typo).is_err());
}

#[tokio::test]
async fn a_reply_of_another_provider_is_told_from_its_items_without_reasoning() {
    let foreign = Reply {
        provider: "other".to_owned(),
        model: "m".to_owned(),
        wire: "scripted".to_owned(),
        items: vec![
            reasoning("secret thought"),
            text("Let me see."),
            call("call|x", "add", json!({"a": 1, "b": 2})),
        ],
        stop: Stop::Tools,
        usage: Usage::default(),
        raw: "whatever".to_owned(),
    };
    let thread = hear(say(None, 1, &opening()), &foreign);
    let thread = say(Some(thread), 2, &prompt(1, vec![result("call|x", "add", "3")]));
    let told = |api, name: &str| {
        let client = client_of(provider(api, "http://127.0.0.1:1", Streaming::Off));
        let body: Value =
            serde_json::from_slice(&client.request_bytes(&thread, &Contents::default()).unwrap())
                .unwrap();
        assert!(!body.to_string().contains("secret thought"));
        body[name].clone()
    };
    assert_eq!(
        told(ApiKind::Anthropic, "messages")[1]["content"],
        json!([{"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "call_x", "name": "add", "input": {"a": 1, "b": 2}}])
    );
    assert_eq!(told(ApiKind::Anthropic, "messages")[2]["content"][0]["tool_use_id"], "call_x");
    assert_eq!(
        told(ApiKind::OpenAi, "messages")[2],
        json!({"role": "assistant", "content": "Let me see.", "tool_calls": [{"id": "call|x",
            "type": "function", "function": {"name": "add", "arguments": "{\"a\":1,\"b\":2}"}}]})
    );
    assert_eq!(told(ApiKind::OpenAiResponses, "input")[2]["call_id"], "call|x");
    assert_eq!(
        told(ApiKind::Gemini, "contents")[1]["parts"][1],
        json!({"functionCall": {"id": "call|x", "name": "add", "args": {"a": 1, "b": 2}},
            "thoughtSignature": "skip_thought_signature_validator"})
    );
}

#[tokio::test]
async fn texts_become_vectors_in_their_order() {
    let texts = ["a".to_owned(), "b".to_owned()];
    for (api, answer, path) in [
        (
            ApiKind::OpenAi,
            r#"{"object":"list","model":"e-1","data":[{"object":"embedding","index":1,"embedding":[0.5,1]},{"object":"embedding","index":0,"embedding":[-0.25,2e-3]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
            "/v1/embeddings",
        ),
        (
            ApiKind::Gemini,
            r#"{"embeddings":[{"values":[-0.25,2e-3]},{"values":[0.5,1]}]}"#,
            "/v1/models/model-1:batchEmbedContents",
        ),
    ] {
        let server = Server::script(vec![Answer::json(answer)]).await;
        let client = client(api, &server.url, Streaming::On);
        let asking = ask(&say(None, 1, &opening()));
        let embedded = client.embed(&texts, &asking).await.unwrap();
        assert_eq!(embedded.vectors, [vec![-0.25, 0.002], vec![0.5, 1.0]]);
        assert_eq!(server.asked()[0].path, path);
        let one = client.embed(&texts[..1], &asking).await.unwrap_err();
        assert_eq!(one.code(), "model_garbage", "two vectors for one text");
    }
    let nobody = client(ApiKind::Anthropic, "http://127.0.0.1:1", Streaming::On);
    let asking = ask(&say(None, 1, &opening()));
    assert_eq!(nobody.embed(&texts, &asking).await.unwrap_err().code(), "model_config");
}

/// C138: a client from a kind, an address, a model and a key.
#[tokio::test]
async fn one_line_builds_a_client_and_connections_are_kept() {
    let server = Server::script(vec![Answer::of(&fixture(ApiKind::OpenAi, "stream.sse"))]).await;
    let client = ApiKind::OpenAi.build(&server.url, "m", Key::new("k-123456".to_owned())).unwrap();
    for seq in 0..20 {
        client.ask(ask(&say(None, seq, &opening()))).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    for (url, why) in [
        ("http://example.com/v1", "without TLS"),
        ("ftp://example.com", "neither"),
        ("example", "is none"),
        ("https://me:secret@example.com", "password"),
        ("", "no host"),
    ] {
        let error = ApiKind::OpenAi.build(url, "m", Key::none()).unwrap_err();
        assert!(error.to_string().contains(why), "{url}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
    assert!(ApiKind::OpenAi.build("http://[::1]:1/v1", "m", Key::none()).is_ok());
    let mut open = Provider::new("p", ApiKind::OpenAi, "http://example.com", "m");
    open.plaintext = models::Plaintext::Allowed;
    assert!(models::Client::new(open, Key::none(), &Http::default()).is_ok());
}

/// Wire, what the provider says, and what it means.
const STOPS: [(ApiKind, &str, Stop); 16] = [
    (ApiKind::OpenAi, "length", Stop::Length),
    (ApiKind::OpenAi, "content_filter", Stop::Refusal),
    (ApiKind::OpenAi, "stop", Stop::End),
    (ApiKind::OpenAi, "something_new", Stop::Other),
    (ApiKind::OpenAiResponses, "max_output_tokens", Stop::Length),
    (ApiKind::OpenAiResponses, "content_filter", Stop::Refusal),
    (ApiKind::OpenAiResponses, "something_new", Stop::Other),
    (ApiKind::Anthropic, "max_tokens", Stop::Length),
    (ApiKind::Anthropic, "model_context_window_exceeded", Stop::Length),
    (ApiKind::Anthropic, "stop_sequence", Stop::End),
    (ApiKind::Anthropic, "pause_turn", Stop::Pause),
    (ApiKind::Anthropic, "something_new", Stop::Other),
    (ApiKind::Gemini, "MAX_TOKENS", Stop::Length),
    (ApiKind::Gemini, "PROHIBITED_CONTENT", Stop::Refusal),
    (ApiKind::Gemini, "MALFORMED_FUNCTION_CALL", Stop::Other),
    (ApiKind::Gemini, "SOMETHING_NEW", Stop::Other),
];

#[tokio::test]
async fn why_a_model_stopped_is_told_on_every_wire() {
    for (api, reason, stop) in STOPS {
        let raw = match api {
            ApiKind::OpenAi => json!({"choices": [{"finish_reason": reason,
                "message": {"role": "assistant", "content": "x"}}]}),
            ApiKind::OpenAiResponses => json!({"status": "incomplete", "output": [],
                "incomplete_details": {"reason": reason}}),
            ApiKind::Anthropic => json!({"content": [{"type": "text", "text": "x"}],
                "stop_reason": reason}),
            ApiKind::Gemini => json!({"candidates": [{"finishReason": reason,
                "content": {"role": "model", "parts": [{"text": "x"}]}}]}),
        };
        let (reply, _) = turn(api, &raw.to_string()).await;
        assert_eq!((reply.stop, reply.model.as_str()), (stop, "model-1"), "{api} {reason}");
    }
}

#[tokio::test]
async fn what_an_api_would_refuse_to_take_back_does_not_go_back() {
    let raw = json!({"stop_reason": "end_turn", "content": [
        {"type": "text", "text": "\n\n"}, {"type": "text", "text": "x"}, {"type": "text", "text": ""},
        {"type": "tool_use", "id": "t", "name": "add", "input": "no object"}]});
    let (reply, next) = turn(ApiKind::Anthropic, &raw.to_string()).await;
    assert_eq!(
        next["messages"][1]["content"],
        json!([{"type": "text", "text": "x"},
            {"type": "tool_use", "id": "t", "name": "add", "input": {}}])
    );
    assert_eq!(malformed(reply.items.last().unwrap()).0, "no object");

    let raw = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"text": "x"}, {"text": ""}, {"text": "", "thoughtSignature": "AA=="}]}}]});
    let (_, next) = turn(ApiKind::Gemini, &raw.to_string()).await;
    let parts = &next["contents"][1]["parts"];
    assert_eq!(*parts, json!([{"text": "x"}, {"text": "", "thoughtSignature": "AA=="}]));

    let raw = json!({"choices": [{"finish_reason": "tool_calls", "message": {"content": null,
        "tool_calls": [{"id": "", "function": {"name": "add", "arguments": "{"}}]}}]});
    let (reply, next) = turn(ApiKind::OpenAi, &raw.to_string()).await;
    let Item::Call { id, .. } = &reply.items[0] else { panic!("{reply:?}") };
    assert!(id.starts_with("hcall_"), "a call without an id gets one");
    assert_eq!(
        next["messages"][2]["tool_calls"],
        json!([{"id": id, "type": "function", "function": {"name": "add", "arguments": "{}"}}])
    );
    assert_eq!(next["messages"][3]["tool_call_id"], json!(id));
}

#[tokio::test]
async fn many_conversations_at_once_do_not_mix() {
    let raw = fixture(ApiKind::OpenAi, "plain.json");
    let server = Server::start(move |asked| {
        let said = asked.json()["messages"][0]["content"].as_str().unwrap().to_owned();
        Answer::json(&raw.replace("1 + 2 is 3.", &said))
    })
    .await;
    let client = std::sync::Arc::new(client(ApiKind::OpenAi, &server.url, Streaming::Off));
    let talks = (0..200).map(|n: u32| {
        let client = std::sync::Arc::clone(&client);
        tokio::spawn(async move {
            let (mut thread, name) = (None, format!("talk {n}"));
            for turn in 0..5 {
                let said = say(thread.take(), u64::from(turn), &prompt(turn, vec![user(&name)]));
                let mut asking = ask(&said);
                asking.conversation.clone_from(&name);
                let reply = client.ask(asking).await.unwrap();
                assert_eq!(reply.items, [text(&name)]);
                thread = Some(hear(said, &reply));
            }
        })
    });
    for talk in talks.collect::<Vec<_>>() {
        talk.await.unwrap();
    }
    assert!(server.connections() <= models::CONNECTIONS_MAX, "{}", server.connections());
    assert_eq!(server.asked().len(), 1_000);
}

#[tokio::test]
async fn a_provider_says_how_many_calls_it_takes_at_a_time() {
    let raw = fixture(ApiKind::OpenAi, "plain.json");
    let server = Server::start(move |_| Answer::json(&raw)).await;
    let mut provider = provider(ApiKind::OpenAi, &server.url, Streaming::Off);
    provider.connections_max = Some(3);
    let client = std::sync::Arc::new(client_of(provider.clone()));
    let talks = (0..40).map(|n: u32| {
        let client = std::sync::Arc::clone(&client);
        tokio::spawn(async move {
            let said = say(None, 0, &prompt(0, vec![user("hello")]));
            let mut asking = ask(&said);
            asking.conversation = format!("talk {n}");
            client.ask(asking).await.unwrap();
        })
    });
    for talk in talks.collect::<Vec<_>>() {
        talk.await.unwrap();
    }
    assert_eq!(server.asked().len(), 40);
    assert!(server.connections() <= 3, "{}", server.connections());
    provider.connections_max = Some(0);
    let refused = models::Client::new(provider, models::Key::none(), &models::Http::default());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("connections_max"), "{refused}");
}
