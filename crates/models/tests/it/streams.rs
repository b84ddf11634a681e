//! Streams cut at every byte, cut short, hung and abandoned, on every wire (C135, C136, C137).

use std::sync::Arc;

use kernel::conversation::{Item, Reply, Stop};
use models::{ApiKind, Ask, Contents, Delta, Error, Model, Progress, Speaking, Streaming};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    server::{Answer, Ending, Server},
    talk::{Heard, ask, client, hear, opening, prompt, result, say, user},
    wires::fixture,
};

/// What a recorded stream comes to, and what is heard of it: the same wherever it is cut.
async fn cut_everywhere(api: ApiKind, name: &str) -> (Reply, String) {
    let raw = fixture(api, name);
    let bytes = raw.as_bytes();
    let mut answers = vec![Answer::of(&raw)];
    for at in 1..bytes.len() {
        let (left, right) = bytes.split_at(at);
        answers.push(Answer::stream(vec![left.to_vec(), right.to_vec()]));
    }
    answers.push(Answer::stream(bytes.chunks(1).map(<[u8]>::to_vec).collect()));
    let count = answers.len();
    let server = Server::script(answers).await;
    let client = client(api, &server.url, Streaming::On);
    let thread = say(None, 1, &opening());
    let mut known = None;
    for n in 0..count {
        let heard = Arc::new(Heard::default());
        let listened = Ask { progress: Some(Arc::clone(&heard) as _), ..ask(&thread) };
        let reply = client.ask(listened).await.unwrap();
        let heard = heard.0.lock().unwrap().join("|");
        let whole = known.get_or_insert_with(|| (reply.clone(), heard.clone()));
        assert_eq!(*whole, (reply, heard), "{api}: cut {n}");
    }
    let (reply, heard) = known.unwrap();
    assert_eq!(reply.raw, raw);
    (reply, heard)
}

/// C104: usage is recorded of a stream, too.
#[tokio::test]
async fn a_stream_reads_the_same_wherever_it_is_cut() {
    for api in ApiKind::ALL {
        let (reply, heard) = cut_everywhere(api, "stream.sse").await;
        assert_eq!(reply.stop, Stop::Tools);
        assert!(reply.usage.output > 0, "{api}: usage is recorded in streams too");
        assert!(heard.contains("call:add") && heard.contains('🙂'), "{api}: {heard}");
    }
}

fn call(id: &str, name: &str, arguments: Value) -> Item {
    let (id, name) = (id.to_owned(), name.to_owned());
    Item::Call { id, name, arguments: Some(arguments.into()), malformed: None }
}

/// C135, C137: calls side by side whose pieces come mixed are told apart, and go back as they came, each with its
/// result.
#[tokio::test]
async fn calls_that_are_streamed_side_by_side_are_told_apart() {
    let api = ApiKind::OpenAiResponses;
    let (reply, heard) = cut_everywhere(api, "calls.sse").await;
    let (one, two) = (json!({"a": 1, "b": 2}), json!({"a": 3, "b": 4}));
    let calls = [call("call_a", "add", one.clone()), call("call_b", "look_up", two.clone())];
    assert_eq!((&reply.items[..], reply.stop), (&calls[..], Stop::Tools));
    assert_eq!(heard, "call:add|call:look_up");
    let next = after(api, &reply).await;
    let said: Vec<_> = next["input"].as_array().unwrap()[1..]
        .iter()
        .map(|item| json!([item["type"], item["call_id"], item["arguments"], item["output"]]))
        .collect();
    let sent = |id: &str, args: &str| json!(["function_call", id, args, null]);
    let came = |id: &str, output: &str| json!(["function_call_output", id, null, output]);
    assert_eq!(
        said,
        [
            sent("call_a", "{\"a\":1,\"b\":2}"),
            sent("call_b", "{\"a\":3,\"b\":4}"),
            came("call_a", "result 0"),
            came("call_b", "result 1"),
        ]
    );

    let api = ApiKind::Gemini;
    let (reply, heard) = cut_everywhere(api, "calls.sse").await;
    let ids: Vec<&str> = reply.items.iter().map(id_of).collect();
    let three = json!({"a": 5, "b": 6});
    let calls =
        [call(ids[0], "add", one), call("given", "look_up", two), call(ids[2], "add", three)];
    assert_eq!((&reply.items[..], reply.stop), (&calls[..], Stop::Tools));
    assert_ne!(ids[0], ids[2], "each has an id of its own where the provider gives none");
    assert_eq!(heard, "call:add|call:look_up|call:add");
    let next = after(api, &reply).await;
    assert_eq!(
        next["contents"][1]["parts"],
        json!([
            {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}},
                "thoughtSignature": "CpIBAdHtim8="},
            {"functionCall": {"id": "given", "name": "look_up", "args": {"a": 3, "b": 4}}},
            {"functionCall": {"name": "add", "args": {"b": 6, "a": 5}}},
        ])
    );
    let answer =
        |name: &str, n: usize| json!({"name": name, "response": {"output": format!("result {n}")}});
    let mut given = answer("look_up", 1);
    given["id"] = json!("given");
    assert_eq!(
        next["contents"][2]["parts"],
        json!([{"functionResponse": answer("add", 0)}, {"functionResponse": given},
            {"functionResponse": answer("add", 2)}])
    );
}

fn id_of(item: &Item) -> &str {
    match item {
        Item::Call { id, .. } => id,
        other => panic!("no call: {other:?}"),
    }
}

/// The request in which every call of a reply has its result.
async fn after(api: ApiKind, reply: &Reply) -> Value {
    let told = reply.items.iter().enumerate().filter_map(|(n, item)| match item {
        Item::Call { id, name, .. } => Some(result(id, name, &format!("result {n}"))),
        _ => None,
    });
    let heard = hear(say(None, 1, &opening()), reply);
    let thread = say(Some(heard), 2, &prompt(1, told.collect()));
    let client = client(api, "http://127.0.0.1:1", Streaming::On);
    let bytes = client.request_bytes(&thread, &Contents::default()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// A refusal that is streamed is one, and is heard where the provider says it in words.
#[tokio::test]
async fn refusals_that_are_streamed_are_refusals() {
    let text = |text: &str| Item::Text { text: text.to_owned() };
    let refusal = |text: &str| Item::Refusal { text: text.to_owned() };
    let words = "text:I cannot |text:help with that.";
    for (api, items, said) in [
        (ApiKind::OpenAi, vec![refusal("I cannot help with that.")], words),
        (ApiKind::OpenAiResponses, vec![refusal("I cannot help with that.")], words),
        (ApiKind::Anthropic, vec![text("Well, "), refusal("This was refused.")], "text:Well, "),
        (ApiKind::Gemini, vec![text("Well, ")], "text:Well, "),
    ] {
        let (reply, heard) = cut_everywhere(api, "refusal.sse").await;
        assert_eq!((reply.stop, reply.items), (Stop::Refusal, items), "{api}");
        assert_eq!(heard, said, "{api}");
    }
}

/// Opens the gate with the first piece that it hears.
#[derive(Debug)]
struct Opens {
    heard: Heard,
    gate: Arc<Semaphore>,
}

impl Progress for Opens {
    fn tell(&self, speaking: &Speaking<'_>, delta: Delta<'_>) {
        self.heard.tell(speaking, delta);
        if self.heard.0.lock().unwrap().len() == 1 {
            self.gate.add_permits(1);
        }
    }
}

/// C104, C150: the first token is told once its event is there: the server says nothing more before it was heard.
#[tokio::test]
async fn the_first_token_is_told_before_anything_more_is_sent() {
    for (api, first) in [
        (ApiKind::OpenAi, "text:Größe "),
        (ApiKind::OpenAiResponses, "reasoning:Größe 🙂"),
        (ApiKind::Anthropic, "reasoning:Größe "),
        (ApiKind::Gemini, "reasoning:Größe 🙂"),
    ] {
        let raw = fixture(api, "stream.sse");
        let token = raw.find("Größe").unwrap();
        let end = token + raw[token..].find("\n\n").unwrap() + 2;
        let (begun, rest) = raw.split_at(end);
        let gate = Arc::new(Semaphore::new(0));
        let pieces = vec![begun.as_bytes().to_vec(), rest.as_bytes().to_vec()];
        let server = Server::script(vec![Answer::stream(pieces).behind(&gate)]).await;
        let opens = Arc::new(Opens { heard: Heard::default(), gate });
        let thread = say(None, 1, &opening());
        let listened = Ask { progress: Some(Arc::clone(&opens) as _), ..ask(&thread) };
        let reply = client(api, &server.url, Streaming::On).ask(listened).await;
        assert_eq!(reply.unwrap().raw, raw, "{api}: the rest came once the first token was heard");
        assert_eq!(opens.heard.0.lock().unwrap()[0], first, "{api}");
    }
}

/// C104: deltas in their order.
#[tokio::test]
async fn what_is_said_is_told_as_soon_as_it_comes() {
    for (api, expected) in [
        (ApiKind::OpenAi, "text:Größe |text:🙂.|call:add|call:look_up"),
        (ApiKind::OpenAiResponses, "reasoning:Größe 🙂|text:Let me see.|call:add"),
        (
            ApiKind::Anthropic,
            "reasoning:Größe |reasoning:🙂|text:Let me |text:see.|call:add|call:look_up",
        ),
        (ApiKind::Gemini, "reasoning:Größe 🙂|text:Let |text:me see.|call:add"),
    ] {
        let server = Server::script(vec![Answer::of(&fixture(api, "stream.sse"))]).await;
        let heard = Arc::new(Heard::default());
        let thread = say(None, 1, &opening());
        let listened = Ask { progress: Some(Arc::clone(&heard) as _), ..ask(&thread) };
        client(api, &server.url, Streaming::On).ask(listened).await.unwrap();
        assert_eq!(heard.0.lock().unwrap().join("|"), expected);
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_the_answer_does_is_no_answer() {
    for api in ApiKind::ALL {
        let raw = fixture(api, "stream.sse");
        let events: Vec<&str> = raw.split_inclusive("\n\n").collect();
        // What is cut off after the reason to stop is given may lack its usage, but is an answer.
        let complete = if api == ApiKind::OpenAi { 3 } else { 1 };
        for ending in [Ending::Whole, Ending::Cut] {
            for count in 0..=events.len() - complete {
                let pieces = vec![events[..count].concat().into_bytes()];
                let answer = Answer::stream(pieces).ending(ending);
                let server = Server::script(vec![answer]).await;
                let client = client(api, &server.url, Streaming::On);
                let error = client.ask(ask(&say(None, 1, &opening()))).await.unwrap_err();
                assert_eq!(error.code(), "model_unavailable", "{api} after {count}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_in_time_and_one_that_only_does_not_hang_up_is_heard() {
    for api in ApiKind::ALL {
        let raw = fixture(api, "stream.sse");
        let (begun, _) = raw.split_at(raw.find("\n\n").unwrap());
        let hung = Answer::stream(vec![begun.as_bytes().to_vec()]).ending(Ending::Hang);
        let lingering = Answer::of(&raw).ending(Ending::Hang);
        let server = Server::script(vec![hung, lingering]).await;
        let client = client(api, &server.url, Streaming::On);
        let thread = say(None, 1, &opening());
        let short = Ask { timeout_ms: 60, ..ask(&thread) };
        assert_eq!(client.ask(short).await.unwrap_err().code(), "model_timeout");
        assert_eq!(client.ask(ask(&thread)).await.unwrap().stop, Stop::Tools);
    }
}

/// C104: cancelled in the middle of an answer.
#[tokio::test]
async fn dropping_the_future_hangs_up_and_the_conversation_goes_on() {
    let api = ApiKind::OpenAi;
    let raw = fixture(api, "stream.sse");
    let begun =
        Answer::stream(vec![raw.split_inclusive("\n\n").take(2).collect::<String>().into_bytes()])
            .ending(Ending::Hang);
    let server = Server::script(vec![begun, Answer::of(&raw)]).await;
    let client = client(api, &server.url, Streaming::On);
    let thread = say(None, 1, &opening());
    let heard = Arc::new(Heard::default());
    let asking = client.ask(Ask { progress: Some(Arc::clone(&heard) as _), ..ask(&thread) });
    let mut asking = Box::pin(asking);
    while heard.0.lock().unwrap().is_empty() {
        tokio::select! {
            _ = &mut asking => panic!("it hangs"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(asking);
    while server.hung_up() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.ask(ask(&thread)).await.unwrap().stop, Stop::Tools);
    let asked = server.asked();
    assert_eq!(asked[0].body, asked[1].body);
}

#[tokio::test]
async fn servers_that_number_calls_their_own_way_are_understood() {
    let chunk = |delta: &str| format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let same_index = [
        chunk(
            r#"{"tool_calls":[{"index":0,"id":"x","function":{"name":"add","arguments":"{}"}}]}"#,
        ),
        chunk(
            r#"{"tool_calls":[{"index":0,"id":"y","function":{"name":"add","arguments":"{}"}}]}"#,
        ),
    ];
    let no_index = [
        chunk(r#"{"tool_calls":[{"id":"x","function":{"name":"add","arguments":"{"}}]}"#),
        chunk(r#"{"tool_calls":[{"function":{"arguments":"}"}}]}"#),
        chunk(r#"{"tool_calls":[{"id":"y","function":{"name":"add","arguments":""}}]}"#),
    ];
    let repeated_id = [
        chunk(
            r#"{"role":"assistant","tool_calls":[{"index":0,"id":"x","function":{"name":"add","arguments":"{"}}]}"#,
        ),
        chunk(
            r#"{"role":"assistant","tool_calls":[{"index":0,"id":"x","function":{"arguments":"}"}}]}"#,
        ),
        chunk(
            r#"{"tool_calls":[{"index":1,"id":"y","function":{"name":"add","arguments":null}}]}"#,
        ),
    ];
    for chunks in [same_index.concat(), no_index.concat(), repeated_id.concat()] {
        let server = Server::script(vec![Answer::of(&(chunks + end))]).await;
        let client = client(ApiKind::OpenAi, &server.url, Streaming::On);
        let reply = client.ask(ask(&say(None, 1, &opening()))).await.unwrap();
        let told: Vec<String> = reply.items.iter().map(|item| format!("{item:?}")).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("\"x\"") && told[1].contains("\"y\""), "{told:?}");
        assert!(told.iter().all(|call| call.contains("malformed: None")), "{told:?}");
        assert_eq!(reply.stop, Stop::Tools, "whatever it says, it called");
    }
}

#[tokio::test]
async fn reasoning_that_is_streamed_beside_the_text_goes_back_whole() {
    let chunk = |delta: &str| format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    let raw = [
        chunk(r#"{"role":"assistant","content":null,"reasoning_content":"One "}"#),
        chunk(r#"{"reasoning_content":"and two."}"#),
        chunk(r#"{"content":"3","reasoning_details":[{"type":"sealed","data":"a"}]}"#),
        chunk(r#"{"content":"!","reasoning_details":[{"type":"sealed","data":"b"}]}"#),
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_owned(),
    ]
    .concat();
    let server = Server::script(vec![Answer::of(&raw)]).await;
    let client = client(ApiKind::OpenAi, &server.url, Streaming::On);
    let thread = say(None, 1, &opening());
    let reply = client.ask(ask(&thread)).await.unwrap();
    let next = prompt(1, vec![user("Sure?")]);
    client.ask(ask(&say(Some(hear(thread, &reply)), 2, &next))).await.unwrap();
    assert_eq!(
        server.asked()[1].json()["messages"][2],
        serde_json::json!({"role": "assistant", "content": "3!",
            "reasoning_content": "One and two.",
            "reasoning_details": [{"type": "sealed", "data": "a"}, {"type": "sealed", "data": "b"}]})
    );
}

#[tokio::test]
async fn what_was_heard_and_what_is_read_again_later_are_the_same() {
    let whole = fixture(ApiKind::OpenAi, "stream.sse");
    let whole = whole.trim_end().trim_end_matches("data: [DONE]");
    let half_an_event = format!("{whole}data: {{\"choi");
    let server = Server::script(vec![Answer::of(&half_an_event)]).await;
    let asked = client(ApiKind::OpenAi, &server.url, Streaming::On);
    let thread = say(None, 1, &opening());
    let reply = asked.ask(ask(&thread)).await.unwrap();
    let thread = say(Some(hear(thread, &reply)), 2, &prompt(1, vec![user("Sure?")]));
    asked.ask(ask(&thread)).await.unwrap();
    // The client still had the answer; whoever has only the journal asks the same.
    let again = asked.request_bytes(&thread, &Contents::default()).unwrap();
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&server.asked()[1].body));

    // What begins like an answer that is all there will be read as one.
    let both = format!("{{\n\n{whole}data: [DONE]\n\n");
    let server = Server::script(vec![Answer::stream(vec![both.into_bytes()])]).await;
    let asked = client(ApiKind::OpenAi, &server.url, Streaming::On);
    let refused = asked.ask(ask(&say(None, 1, &opening()))).await;
    assert!(matches!(refused, Err(Error::Garbage(_))), "{refused:?}");
}

/// What cannot be read after a complete answer ends it for good, however the stream is cut.
#[tokio::test]
async fn nothing_is_heard_behind_what_cannot_be_read() {
    for api in ApiKind::ALL {
        let whole = fixture(api, "stream.sse");
        let raw = format!("{whole}data: no JSON\n\n{whole}");
        let pieces = raw.as_bytes().chunks(1).map(<[u8]>::to_vec).collect();
        let server = Server::script(vec![Answer::of(&raw), Answer::stream(pieces)]).await;
        let client = client(api, &server.url, Streaming::On);
        let thread = say(None, 1, &opening());
        let at_once = client.ask(ask(&thread)).await.unwrap();
        let in_pieces = client.ask(ask(&thread)).await.unwrap();
        assert_eq!(in_pieces.items.len(), at_once.items.len(), "{api}");
        assert_eq!(in_pieces.usage, at_once.usage, "{api}");
    }
}
