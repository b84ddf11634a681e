//! Streams cut at every byte, cut short, hung and abandoned, on every wire (C135, C136, C137).

use std::sync::Arc;

use kernel::conversation::Stop;
use models::{ApiKind, Ask, Contents, Error, Model, Streaming};

use crate::{
    server::{Answer, Ending, Server},
    talk::{Heard, ask, client, hear, opening, prompt, say, user},
    wires::fixture,
};

/// C104: usage is recorded of a stream, too.
#[tokio::test]
async fn a_stream_reads_the_same_wherever_it_is_cut() {
    for api in ApiKind::ALL {
        let raw = fixture(api, "stream.sse");
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
        let whole = client.ask(ask(&thread)).await.unwrap();
        assert_eq!(whole.raw, raw);
        assert_eq!(whole.stop, Stop::Tools);
        assert!(whole.usage.output > 0, "{api}: usage is recorded in streams too");
        for n in 1..count {
            let heard = Arc::new(Heard::default());
            let listened = Ask { progress: Some(Arc::clone(&heard) as _), ..ask(&thread) };
            assert_eq!(client.ask(listened).await.unwrap(), whole, "{api}: cut {n}");
            let heard = heard.0.lock().unwrap().concat();
            assert!(heard.contains("call:add"), "{api}: {heard}");
            assert!(heard.contains('🙂'), "{api}: {heard}");
        }
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
