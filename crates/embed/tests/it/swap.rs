//! Another model, nothing else: the same decisions, the same receipts.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use embed::{Agent, Answer, Builder, Outcome, Tool, tool};
use kernel::{decision::Verdict, event::Body, label::Confidentiality};
use models::{ApiKind, Client, Http, Key, Line, Provider, ScriptedModel};
use receipts::statement::Stated;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Looks an order up.
#[tool(effect = "read", egress = false, confidentiality = "internal")]
async fn get_order(id: String) -> String {
    format!("order {id}: shipped")
}

/// Cancels an order.
#[tool(egress = false, confidentiality = "internal")]
async fn cancel_order(id: String) -> String {
    id
}

const POLICY: &str = r#"
@id("orders.read") permit (principal, action == Action::"tool.get_order", resource);
@id("orders.cancel") permit (principal, action == Action::"tool.cancel_order", resource);
"#;

/// What both models do; only the words of the answer differ.
fn calls() -> [(&'static str, Value); 2] {
    [("get_order", json!({ "id": "7" })), ("cancel_order", json!({ "id": "7" }))]
}

fn scripted() -> ScriptedModel {
    let [(get, of), (cancel, with)] = calls();
    let lines =
        vec![Line::call("1", get, of), Line::call("2", cancel, with), Line::text("A says done.")];
    ScriptedModel::lines("a", lines)
}

/// A server that speaks the Chat wire and says the same in other words.
async fn server() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                while read_request(&mut stream).await.is_some() {
                    let body = reply(asked.fetch_add(1, Ordering::SeqCst)).to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.write_all(body.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let provider = Provider {
        clearance: Confidentiality::Internal,
        ..Provider::new("b", ApiKind::OpenAi, &url, "model-b")
    };
    Client::new(provider, Key::new("key".to_owned()), &Http::default()).unwrap()
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<Value> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        text.extend_from_slice(&buffer[..n]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((_, body)) = whole.split_once("\r\n\r\n") else { continue };
        // Whatever the framing, the body is whole once it is JSON.
        let json = body.find('{').zip(body.rfind('}')).and_then(|(from, to)| body.get(from..=to));
        if let Some(value) = json.and_then(|json| serde_json::from_str(json).ok()) {
            return Some(value);
        }
    }
}

fn reply(n: usize) -> Value {
    let message = match calls().get(n) {
        Some((name, args)) => json!({ "role": "assistant", "content": null, "tool_calls": [{
            "id": format!("call_{n}"), "type": "function",
            "function": { "name": name, "arguments": args.to_string() },
        }] }),
        None => json!({ "role": "assistant", "content": "B says it is done." }),
    };
    let finish = if n < 2 { "tool_calls" } else { "stop" };
    json!({
        "id": "x", "object": "chat.completion", "created": 0, "model": "model-b",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14 },
    })
}

async fn run(with_model: Builder) -> Outcome {
    let builder = with_model.tool(Tool::of::<get_order>()).tool(Tool::of::<cancel_order>());
    let builder = builder.policy(POLICY).approver(|_| async { Answer::approve() });
    let agent = builder.build().unwrap();
    let outcome = agent.run("Cancel order 7").await.unwrap();
    let report = agent.verify(&outcome).await.unwrap();
    assert_eq!(report.verdict, receipts::verify::Verdict::Verified, "{report:?}");
    agent.replay(&outcome.records).await.unwrap();
    outcome
}

/// What was decided, in order, and which receipts there are.
fn trace(outcome: &Outcome) -> Vec<String> {
    let decided = outcome.records.iter().map(|record| match &record.event.body {
        Body::Proposed { operation, .. } => format!("proposed {operation}"),
        Body::Judged { decision, .. } => match &decision.verdict {
            Verdict::Allow => "allow".to_owned(),
            Verdict::Ask(needed) => format!("ask {:?}", needed.approvals),
            Verdict::Deny => "deny".to_owned(),
        },
        other => other.kind().to_owned(),
    });
    let receipts = outcome.receipts.iter().map(|receipt| match &receipt.says {
        Stated::Receipt(says) => format!(
            "{} {:?} {:?} {:?} {}",
            says.operation,
            says.facts,
            says.landed,
            says.decision.verdict,
            says.approvals.len()
        ),
        Stated::Close(_) => "close".to_owned(),
    });
    decided.chain(receipts).collect()
}

#[tokio::test]
async fn another_model_changes_words_and_nothing_else() {
    let a = run(Agent::builder().model(scripted())).await;
    let b = run(Agent::builder().model(server().await)).await;
    assert_eq!((a.text(), b.text()), ("A says done.", "B says it is done."));
    assert_eq!(trace(&a), trace(&b));
    assert_eq!((a.stop, a.status, a.spent.calls), (b.stop, b.status, b.spent.calls));
    assert_eq!(a.receipts.len(), 3, "two calls and the close");
}
