//! Turns as they should be.

use std::sync::Arc;

use acp::client::{Answer, Error, Kind, Status, Stop};
use serde_json::{Value, json};

use crate::peer::{Peer, Prompter, options, prompted};

fn edit() -> Value {
    json!({
        "toolCallId": "t1", "title": "Edit a.txt", "kind": "edit", "status": "pending",
        "rawInput": {"path": "/desk/a.txt"}, "locations": [{"path": "/desk/a.txt"}],
    })
}

fn call(mut update: Value, sort: &str) -> Value {
    update["sessionUpdate"] = json!(sort);
    update
}

fn chunk(text: &str, message: &str) -> Value {
    json!({
        "sessionUpdate": "agent_message_chunk", "messageId": message,
        "content": {"type": "text", "text": text},
    })
}

/// Nothing is offered but the prompt; what the agent says is told; its uses are judged with all that is known of them, and
/// permitted this once.
#[tokio::test]
async fn a_turn_is_prompted_judged_and_told() {
    let side = Arc::new(Prompter::new(Some(Answer::Allow)));
    let ended = prompted(&side, async |peer: &mut Peer| {
        let (prompt, hello) = peer.opens().await;
        let can = &hello["params"]["clientCapabilities"];
        assert_ne!(can["fs"]["readTextFile"], true, "{can}");
        assert_ne!(can["fs"]["writeTextFile"], true, "{can}");
        assert_ne!(can["terminal"], true, "{can}");
        assert_eq!(prompt["params"]["prompt"], json!([{"type": "text", "text": "Do it."}]));
        peer.updates(chunk("I will ", "a")).await;
        peer.updates(chunk("see.", "a")).await;
        peer.updates(call(edit(), "tool_call")).await;
        let chosen = peer.asks("s", json!({"toolCallId": "t1"}), options()).await;
        assert_eq!(chosen, json!({"outcome": "selected", "optionId": "once"}));
        let done = json!({
            "toolCallId": "t1", "status": "completed",
            "content": [{"type": "content", "content": {"type": "text", "text": "edited"}}],
        });
        peer.updates(call(done, "tool_call_update")).await;
        peer.updates(chunk("Done.", "b")).await;
        peer.ends(&prompt).await;
    })
    .await
    .unwrap();
    assert_eq!(
        (ended.stop, &*ended.text, ended.cut),
        (Stop::EndTurn, "I will see.\n\nDone.", false)
    );
    assert_eq!(ended.agent.unwrap().name, "scripted");
    let [used] = &ended.uses[..] else { panic!("{:?}", ended.uses) };
    assert_eq!((&*used.id, used.kind, used.status), ("t1", Kind::Edit, Status::Completed));
    let judged = side.judged.lock().unwrap();
    let [judged] = &judged[..] else { panic!("{judged:?}") };
    assert_eq!(judged.title, "Edit a.txt", "what was said before is known when it asks");
    assert_eq!((judged.kind, &*judged.paths), (Kind::Edit, &["/desk/a.txt".to_owned()][..]));
    assert_eq!(judged.input, json!({"path": "/desk/a.txt"}));
    let over = side.over.lock().unwrap();
    let [over] = &over[..] else { panic!("{over:?}") };
    assert_eq!((&*over.id, over.well, &*over.text), ("t1", true, "edited"));
}

/// C133: a yes is a yes for once, whatever else is offered, and where no option says that clearly it is a no.
#[tokio::test]
async fn a_yes_is_never_for_longer_and_what_is_not_clear_is_a_no() {
    let only = |kinds: &[(&str, &str)]| {
        let options =
            kinds.iter().map(|(id, kind)| json!({"optionId": id, "name": "x", "kind": kind}));
        Value::Array(options.collect())
    };
    let chosen = |id: &str| json!({"outcome": "selected", "optionId": id});
    let none = json!({"outcome": "cancelled"});
    for (verdict, offered, outcome) in [
        (Answer::Allow, options(), chosen("once")),
        (Answer::Reject, options(), chosen("no")),
        (Answer::Cancelled, options(), none.clone()),
        // Only for ever: no.
        (Answer::Allow, only(&[("a", "allow_always"), ("r", "reject_once")]), chosen("r")),
        (Answer::Allow, only(&[("a", "allow_always")]), none.clone()),
        (Answer::Allow, json!([]), none.clone()),
        (Answer::Reject, only(&[("a", "allow_once")]), none.clone()),
        (Answer::Reject, only(&[("a", "allow_once"), ("n", "reject_always")]), chosen("n")),
        // Two options of one name: nobody can tell which is meant.
        (
            Answer::Allow,
            only(&[("x", "allow_once"), ("x", "allow_always"), ("r", "reject_once")]),
            chosen("r"),
        ),
        (Answer::Reject, only(&[("x", "reject_once"), ("x", "allow_once")]), none.clone()),
    ] {
        let side = Arc::new(Prompter::new(Some(verdict)));
        prompted(&side, async |peer: &mut Peer| {
            let (prompt, _) = peer.opens().await;
            let told = peer.asks("s", edit(), offered.clone()).await;
            assert_eq!(told, outcome, "{verdict:?} of {offered}");
            peer.ends(&prompt).await;
        })
        .await
        .unwrap();
    }
}

/// Told to stop, it hears `session/cancel`, and whatever it waits for is cancelled.
#[tokio::test]
async fn an_agent_is_told_to_stop_and_what_it_asks_is_cancelled() {
    for confirms in [true, false] {
        let side = Arc::new(Prompter::new(None));
        let told = Arc::clone(&side);
        let ended = prompted(&side, async move |peer: &mut Peer| {
            let (prompt, _) = peer.opens().await;
            let params = json!({"sessionId": "s", "toolCall": edit(), "options": options()});
            let method = "session/request_permission";
            peer.says(json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params})).await;
            while told.judged.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            told.stop.send_replace(true);
            let (mut cancelled, mut answered) = (false, false);
            while !(cancelled && answered) {
                let message = peer.reads().await;
                match message["method"].as_str() {
                    Some("session/cancel") => {
                        assert_eq!(message["params"]["sessionId"], "s");
                        cancelled = true;
                    }
                    None => {
                        assert_eq!(message["result"]["outcome"], json!({"outcome": "cancelled"}));
                        answered = true;
                    }
                    other => panic!("{other:?}"),
                }
            }
            // From then on nothing is permitted, and nobody is asked.
            let late = json!({"toolCallId": "t2", "title": "late"});
            assert_eq!(peer.asks("s", late, options()).await["optionId"], "no");
            if confirms {
                peer.answers(&prompt, json!({"stopReason": "cancelled"})).await;
            }
        })
        .await;
        assert_eq!(ended, Err(Error::Stopped { confirmed: confirms }));
        assert_eq!(side.judged.lock().unwrap().len(), 1);
    }
}

/// Who may not be sent the prompt any more is not.
#[tokio::test]
async fn a_prompt_that_may_not_leave_stays_here() {
    let side = Arc::new(Prompter { leaves: false, ..Prompter::new(None) });
    let ended = prompted(&side, async |peer: &mut Peer| {
        let hello = peer.takes("initialize").await;
        peer.answers(&hello, json!({"protocolVersion": 1})).await;
        let opened = peer.takes("session/new").await;
        assert_eq!(opened["params"]["cwd"], "/desk");
        peer.answers(&opened, json!({"sessionId": "s"})).await;
    })
    .await;
    assert_eq!(ended, Err(Error::NotSent));
}
