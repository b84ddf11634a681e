//! What an agent cannot do to us.

use std::sync::Arc;

use acp::client::{ALL_MAX_BYTES, Answer, Error, LINE_MAX_BYTES, LINES_MAX, Stop};
use serde_json::{Value, json};

use crate::peer::{Peer, Prompter, options, prompted};

fn allowing() -> Arc<Prompter> {
    Arc::new(Prompter::new(Some(Answer::Allow)))
}

/// A line without end, lines without end, bytes without end, and bytes that are no text: each ends the turn by its name.
#[tokio::test]
async fn lines_have_an_end() {
    let long = vec![b'x'; 1 << 20];
    let notice = |bytes: usize| {
        let text = "y".repeat(bytes);
        let update = json!({"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": text}});
        let params = json!({"sessionId": "s", "update": update});
        format!("{}\n", json!({"jsonrpc": "2.0", "method": "session/update", "params": params}))
    };
    let too_much = |what, most| Error::TooMuch { what, most };
    let cases: Vec<(Vec<u8>, Error)> = vec![
        (long, too_much("bytes in one line", LINE_MAX_BYTES)),
        (b"\n".to_vec(), too_much("lines", LINES_MAX)),
        (notice(2 << 20).into_bytes(), too_much("bytes", ALL_MAX_BYTES)),
        (b"\xff\xfe\n".to_vec(), Error::NoText),
    ];
    for (bytes, error) in cases {
        let ended = prompted(&allowing(), async |peer: &mut Peer| {
            peer.opens().await;
            while peer.writes(&bytes).await {}
        })
        .await;
        assert_eq!(ended, Err(error));
    }
}

/// Whatever ends before its time, or is no agent of this protocol, says so by its name.
#[tokio::test]
async fn an_agent_that_goes_is_no_agent_that_answered() {
    let side = allowing();
    assert_eq!(prompted(&side, async |_: &mut Peer| {}).await, Err(Error::Over));
    let dies = prompted(&side, async |peer: &mut Peer| {
        peer.opens().await;
        peer.writes(b"{\"jsonrpc\": \"2.0\", \"id\": 3, \"resu").await;
    });
    assert_eq!(dies.await, Err(Error::Over));
    let other = prompted(&side, async |peer: &mut Peer| {
        let hello = peer.takes("initialize").await;
        peer.answers(&hello, json!({"protocolVersion": 9})).await;
    });
    let told = other.await.unwrap_err().to_string();
    assert!(told.contains("version 9"), "{told}");
    let login = prompted(&side, async |peer: &mut Peer| {
        let hello = peer.takes("initialize").await;
        let methods = json!([{"id": "web", "name": "In a browser"}]);
        peer.answers(&hello, json!({"protocolVersion": 1, "authMethods": methods})).await;
        let opened = peer.takes("session/new").await;
        let error = json!({"code": -32000, "message": "Authentication required"});
        peer.says(json!({"jsonrpc": "2.0", "id": opened["id"], "error": error})).await;
    });
    assert_eq!(login.await, Err(Error::WantsLogin { logins: "In a browser".to_owned() }));
    let fails = prompted(&side, async |peer: &mut Peer| {
        let (prompt, _) = peer.opens().await;
        let error = json!({"code": -32603, "message": "my model is gone"});
        peer.says(json!({"jsonrpc": "2.0", "id": prompt["id"], "error": error})).await;
    });
    let said = "my model is gone".to_owned();
    assert_eq!(fails.await, Err(Error::Refused { code: -32603, message: said }));
    let name = "n".repeat(600);
    let named = prompted(&side, async |peer: &mut Peer| {
        let hello = peer.takes("initialize").await;
        peer.answers(&hello, json!({"protocolVersion": 1})).await;
        let opened = peer.takes("session/new").await;
        peer.answers(&opened, json!({"sessionId": name})).await;
    });
    assert_eq!(named.await, Err(Error::BadSession));
}

/// C133: what is asked for another session, before the prompt, about nothing that is known, or about what is over, is
/// rejected, and nobody is asked.
#[tokio::test]
async fn only_uses_of_this_turn_are_judged() {
    let side = allowing();
    let call = |id: &str| json!({"toolCallId": id, "title": "x", "kind": "execute"});
    let ended = prompted(&side, async |peer: &mut Peer| {
        let hello = peer.takes("initialize").await;
        peer.answers(&hello, json!({"protocolVersion": 1})).await;
        let opened = peer.takes("session/new").await;
        assert_eq!(peer.asks("s", call("early"), options()).await["optionId"], "no");
        peer.answers(&opened, json!({"sessionId": "s"})).await;
        let prompt = peer.takes("session/prompt").await;
        assert_eq!(peer.asks("other", call("t1"), options()).await["optionId"], "no");
        let nameless = "n".repeat(600);
        assert_eq!(peer.asks("s", call(&nameless), options()).await["optionId"], "no");
        let done =
            json!({"sessionUpdate": "tool_call_update", "toolCallId": "t2", "status": "completed"});
        peer.updates(done).await;
        let again = json!({"toolCallId": "t2", "title": "x", "status": "pending"});
        assert_eq!(peer.asks("s", again, options()).await["optionId"], "no");
        peer.ends(&prompt).await;
    })
    .await
    .unwrap();
    assert_eq!(ended.stop, Stop::EndTurn);
    assert!(side.judged.lock().unwrap().is_empty());
}

/// What was never offered is refused; what makes no sense is answered as the protocol says, or not at all; and the turn goes on.
#[tokio::test]
async fn what_was_not_offered_is_refused() {
    let side = allowing();
    let ended = prompted(&side, async |peer: &mut Peer| {
        let (prompt, _) = peer.opens().await;
        for (method, params) in [
            ("fs/read_text_file", json!({"sessionId": "s", "path": "/etc/passwd"})),
            ("fs/write_text_file", json!({"sessionId": "s", "path": "/etc/passwd", "content": ""})),
            ("terminal/create", json!({"sessionId": "s", "command": "sh"})),
            ("terminal/kill", json!({"sessionId": "s", "terminalId": "1"})),
            ("elicitation/create", json!({})),
            ("_own/thing", json!({})),
        ] {
            peer.says(json!({"jsonrpc": "2.0", "id": "q", "method": method, "params": params})).await;
            let answer = peer.reads().await;
            assert_eq!((&answer["id"], answer["error"].is_object()), (&json!("q"), true), "{method}: {answer}");
        }
        // A request for permission that says nothing that can be read.
        let method = "session/request_permission";
        peer.says(json!({"jsonrpc": "2.0", "id": 8, "method": method, "params": {"sessionId": "s"}})).await;
        assert!(peer.reads().await["error"].is_object());
        // Answers to what was never asked.
        for id in [json!(999), json!("x"), Value::Null] {
            peer.says(json!({"jsonrpc": "2.0", "id": id, "result": {"stopReason": "end_turn"}})).await;
        }
        for line in ["[]", "null", "7", "{}", "not json", "{\"jsonrpc\":\"2.0\",\"method\":\"session/update\"}"] {
            peer.writes(format!("{line}\n").as_bytes()).await;
        }
        peer.updates(json!({"sessionUpdate": "a thing of tomorrow"})).await;
        peer.updates(json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "still here"}})).await;
        peer.ends(&prompt).await;
    })
    .await
    .unwrap();
    assert_eq!(ended.text, "still here");
    assert!(side.judged.lock().unwrap().is_empty());
}

/// Of an agent that never stops talking as much is kept as is read by anybody.
#[tokio::test]
async fn what_is_kept_has_an_end() {
    let side = allowing();
    let ended = prompted(&side, async |peer: &mut Peer| {
        let (prompt, _) = peer.opens().await;
        let text = "ä".repeat(400_000);
        for _ in 0..3 {
            let update = json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
            peer.updates(update).await;
        }
        for id in 0..1_100 {
            peer.updates(json!({"sessionUpdate": "tool_call", "toolCallId": format!("t{id}"), "title": "x"})).await;
        }
        peer.ends(&prompt).await;
    })
    .await
    .unwrap();
    assert_eq!((ended.text.len(), ended.uses.len(), ended.cut), (1 << 20, 1_000, true));
}
