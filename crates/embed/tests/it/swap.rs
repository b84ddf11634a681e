//! Another model, nothing else: the same decisions, the same receipts.

use embed::{Agent, Answer, Builder, Outcome, Tool, tool};
use kernel::{decision::Verdict, event::Body};
use models::{Line, ScriptedModel};
use receipts::statement::Stated;
use serde_json::{Value, json};

use crate::support::{Server, answers, calls as said};

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

/// What a server says to the same end, in other words.
fn turns() -> Vec<Value> {
    let [get, cancel] = calls();
    vec![said("1", &[get]), said("2", &[cancel]), answers("B says it is done.")]
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
    let server = Server::start(turns()).await;
    let b = run(Agent::builder().model(server.client())).await;
    assert_eq!((a.text(), b.text()), ("A says done.", "B says it is done."));
    assert_eq!(trace(&a), trace(&b));
    assert_eq!((a.stop, a.status, a.spent.calls), (b.stop, b.status, b.spent.calls));
    assert_eq!(a.receipts.len(), 3, "two calls and the close");
}
