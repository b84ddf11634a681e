//! Receipts, bundles and replays.

use embed::{Answer, Tool, tool};
use kernel::{event::Body, run::Divergence};
use models::Line;
use receipts::{bundle::Bundle, key::Signer, statement::Stated, verify};
use serde_json::json;

use crate::support::{agent, call_and_answer};

/// Paints a wall.
#[tool(egress = false)]
async fn paint(colour: String) -> String {
    colour
}

const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

#[tokio::test]
async fn every_receipt_verifies_and_so_does_the_run() {
    let signer = Signer::from_seed(&[7; 32]);
    let public = *signer.public();
    let (builder, _) = agent(call_and_answer("paint", json!({ "colour": "red" })));
    let builder = builder.tool(Tool::of::<paint>()).policy(ALL).signer(signer);
    let agent = builder.approver(|_| async { Answer::approve() }).build().unwrap();
    let outcome = agent.run("Paint it").await.unwrap();
    let keys = std::iter::once(public).collect();
    let [paint, close] = outcome.receipts.as_slice() else { panic!("{:?}", outcome.receipts) };
    let Stated::Receipt(says) = &paint.says else { panic!("{paint:?}") };
    assert_eq!((says.operation.as_str(), says.approvals.len()), ("tool.paint", 1));
    assert!(matches!(&close.says, Stated::Close(_)));
    for receipt in &outcome.receipts {
        receipts::statement::verify_receipt(&receipt.envelope, &keys).unwrap();
    }
    let report = agent.verify(&outcome).await.unwrap();
    assert_eq!(report.verdict, verify::Verdict::Verified, "{report:?}");
    // Anyone else needs the bundle and the public key, nothing of this process.
    let bytes = agent.bundle(&outcome).await.unwrap().write().unwrap();
    let report = verify::verify_bytes(&bytes, &keys, None);
    assert_eq!(report.verdict, verify::Verdict::Verified, "{report:?}");
    let records = Bundle::read(&bytes).unwrap().records().unwrap();
    assert_eq!(records, outcome.records);
}

#[tokio::test]
async fn another_key_or_a_changed_receipt_does_not_verify() {
    let (builder, _) = agent(vec![Line::text("Done.")]);
    let agent = builder.build().unwrap();
    let mut outcome = agent.run("Do nothing").await.unwrap();
    let (other, _) = crate::support::agent(vec![]);
    let stranger = other.build().unwrap().keys();
    let bundle = agent.bundle(&outcome).await.unwrap();
    assert_eq!(verify::verify(&bundle, &stranger, None).verdict, verify::Verdict::Failed);
    outcome.records.pop();
    assert_ne!(agent.verify(&outcome).await.unwrap().verdict, verify::Verdict::Verified);
}

#[tokio::test]
async fn a_replay_asks_no_model_and_calls_no_tool() {
    let (builder, told) = agent(call_and_answer("paint", json!({ "colour": "blue" })));
    let builder = builder.tool(Tool::of::<paint>()).policy(ALL);
    let agent = builder.approver(|_| async { Answer::approve() }).build().unwrap();
    let outcome = agent.run("Paint it").await.unwrap();
    let before = told.text();
    let replayed = agent.replay(&outcome.records).await.unwrap();
    assert_eq!(replayed.events, outcome.records.len() as u64);
    assert_eq!(told.text(), before);
}

#[tokio::test]
async fn a_replay_under_another_policy_is_refused_and_under_another_hook_differs() {
    let build = |policy: &str, deny: bool| {
        let (builder, _) = agent(call_and_answer("paint", json!({ "colour": "green" })));
        let builder = builder.tool(Tool::of::<paint>()).policy(policy);
        let hook = embed::Hook::new("same", move |_| match deny {
            true => embed::Verdict::Deny("no".to_owned()),
            false => embed::Verdict::Pass,
        });
        builder.hook(hook).approver(|_| async { Answer::approve() })
    };
    let store = std::sync::Arc::new(store::Ram::new());
    let agent = build(ALL, false).store(store.clone()).build().unwrap();
    let outcome = agent.run("Paint it").await.unwrap();
    let other = build("@id(\"other\") permit (principal, action, resource);", false);
    let other = other.store(store.clone()).build().unwrap();
    let error = other.replay(&outcome.records).await.unwrap_err().to_string();
    assert!(error.contains("another policy"), "{error}");
    let stricter = build(ALL, true).store(store).build().unwrap();
    let error = stricter.replay(&outcome.records).await.unwrap_err();
    assert!(matches!(error, embed::Error::Diverged(Divergence::Differs { .. })), "{error}");
}

#[tokio::test]
async fn the_plan_holds_what_may_be_called_and_nothing_else() {
    let lines = vec![Line::call("1", "rob", json!({})), Line::text("Sorry.")];
    let (builder, told) = agent(lines);
    let agent = builder.tool(Tool::of::<paint>()).build().unwrap();
    let outcome = agent.run("Rob it").await.unwrap();
    assert!(told.results()[0].0.contains("there is no tool `rob`"));
    let proposed = outcome.records.iter().filter_map(|record| match &record.event.body {
        Body::Proposed { operation, .. } => Some(operation.as_str().to_owned()),
        _ => None,
    });
    assert_eq!(proposed.collect::<Vec<_>>(), ["model.main", "model.main"]);
}
