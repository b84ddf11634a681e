//! The Monday test (C342): a field changed its shape, the help desk hangs, names do not match, the same
//! action is tried again, and somebody asks why. All of it in one renewal review.

use serde_json::{Value, json};
use world::{Fault, FaultKind, System};

use super::rig::{Rig, customer_ops};

/// What waits on Monday morning.
fn monday() -> Vec<Fault> {
    let mut shape = Fault::new(System::Usage, "usage.get_usage", FaultKind::ChangedShape);
    shape.field = Some("/change_8w_pct".to_owned());
    let hangs = Fault::new(System::Desk, "desk.list_tickets", FaultKind::TimeoutBefore).on_call(2);
    let mut names = Fault::new(System::Desk, "desk.find_company", FaultKind::NameMismatch);
    names.value = Some("Northwind Logistics Holding SE".to_owned());
    // The mark lands, and its answer is lost: the same action is tried again under its key.
    let mut lost =
        Fault::new(System::Crm, "crm.mark_churn_risk", FaultKind::TimeoutAfter).on_call(1);
    lost.delay_ms = Some(50);
    vec![shape, hangs, names, lost]
}

#[tokio::test]
async fn everything_monday_brings_ends_right_explained_and_once() {
    let rig = Rig::open(&customer_ops(), monday()).await.unwrap();
    let untouched = rig.hash().await;
    let inputs = json!({"account": "ACC-0042"});
    let run = rig.submit("renewal_risk_review", inputs.clone(), "monday").await;

    // Somebody presses the button again: the same request is the same run.
    let again =
        json!({"intent": "renewal_risk_review", "inputs": inputs, "idempotency_key": "monday"});
    let again = rig.ok("ulla", "intent.submit", again).await;
    assert_eq!((&again["new"], &again["run"]["id"]), (&json!(false), &json!(run)));

    let ended = decide_everything_twice(&rig, &run).await;
    assert_eq!(ended["run"]["status"], "partial", "{ended:#}");
    assert_ended_right(&rig, &ended).await;
    assert_nothing_twice(&rig).await;
    assert_explained(&rig, &run).await;

    let replayed = rig.ok("ulla", "run.replay", json!({"run": run})).await;
    assert_eq!(replayed["identical"], true, "{replayed:#}");
    let verified = rig.ok("ulla", "run.verify", json!({"run": run})).await;
    assert_eq!(verified["verdict"], "verified", "{verified:#}");

    // What can be taken back is; the mail is told as what it is.
    let back = rig.ok("mira", "run.rollback", json!({"run": run})).await;
    assert_eq!(back["result"], "partial", "{back:#}");
    assert_eq!(rig.hash().await, untouched, "the records are what they were on Sunday");
    let twice = rig.call("mira", "run.rollback", json!({"run": run})).await;
    assert_ne!(twice.map(|body| body["result"].clone()).ok(), Some(json!("complete")));
    assert_nothing_twice(&rig).await;
}

/// Approves whatever is asked; the second click on the same card changes nothing.
async fn decide_everything_twice(rig: &Rig, run: &str) -> Value {
    let mut asked = 0;
    loop {
        let detail = rig.run(run).await;
        let Some(approval) = detail["waiting_for"][0].as_str() else {
            assert_eq!(asked, 2, "the mark and the mail: {detail:#}");
            return detail;
        };
        let card = rig.ok("mira", "approval.get", json!({"approval": approval})).await;
        let yes = json!({
            "approval": approval, "verb": "approve", "digest": card["digest"], "wait_ms": 60_000,
        });
        rig.ok("mira", "approval.decide", yes.clone()).await;
        assert!(rig.call("mira", "approval.decide", yes).await.is_err(), "one yes, one action");
        asked += 1;
    }
}

async fn assert_ended_right(rig: &Rig, ended: &Value) {
    let output = &ended["output"];
    assert_eq!(output["level"], "high", "{output:#}");
    assert_eq!((&output["churn_marked"], &output["outreach_sent"]), (&json!(true), &json!(true)));
    // Names that do not match: nobody moves a forecast on another company's tickets.
    assert_eq!(output["forecast_changed"], false);
    assert_eq!(ended["switched_off"], json!(["crm.update_forecast"]));
    let forecast = rig.world_get("/crm/opportunities/OPP-0042").await;
    assert_eq!(forecast["Category"], "commit");
    let mark = rig.world_get("/crm/accounts/ACC-0042/churn_risk").await;
    assert_eq!(mark["Level"], "high");
    assert_eq!(output["signals"]["usage_change_pct"], Value::Null);
    assert_eq!(output["signals"]["pressing_tickets"], 2, "the hanging call was tried again");
    let caveats = ended["caveats"].to_string();
    for word in ["Usage of this account is not usable", "disagree on which company"] {
        assert!(caveats.contains(word), "{caveats}");
    }
}

async fn assert_nothing_twice(rig: &Rig) {
    let effects = rig.effects().await;
    let mark = effects.iter().find(|effect| effect["operation"] == "crm.mark_churn_risk").unwrap();
    assert_eq!((&mark["times_requested"], &mark["times_performed"]), (&json!(2), &json!(1)));
    let mails = rig.world_get("/_world/mail").await;
    assert_eq!(mails["messages"].as_array().unwrap().len(), 1, "{mails}");
    assert_eq!(mails["messages"][0]["deliveries"], 1);
}

/// Whoever asks why gets an answer: for each thing done and for each thing that went wrong.
async fn assert_explained(rig: &Rig, run: &str) {
    let told = rig.explain(run).await;
    let items = told["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{told:#}");
    for item in items {
        for question in ["summary", "planned", "touched", "replay", "take_back", "sensitive"] {
            assert!(!item[question].as_str().unwrap().is_empty(), "{question}: {item:#}");
        }
        assert!(!item["rules"].as_array().unwrap().is_empty(), "{item:#}");
        let approved = item["approved_by"][0].as_str().unwrap();
        assert!(approved.starts_with("person:mira approved it at"), "{item:#}");
    }
    let of = |class: &str| {
        let all = told["troubles"].as_array().unwrap();
        let found = all.iter().find(|trouble| trouble["class"] == class);
        found.unwrap_or_else(|| panic!("{class}: {told:#}")).clone()
    };
    let shape = of("unexpected_shape");
    assert_eq!(shape["recovery"], "partial");
    assert_eq!(shape["sample"]["answer"]["change_8w_pct"], json!({"value": "-40.0"}), "{shape:#}");
    let hung = of("timeout");
    assert_eq!(
        (&hung["operation"], &hung["recovery"]),
        (&json!("desk.count_tickets"), &json!("retry"))
    );
    let names = of("mismatch");
    let evidence = &names["sample"]["evidence"];
    assert!(evidence["score"].as_u64().unwrap() < 70, "{names:#}");
    assert_eq!(evidence["found"], "Northwind Logistics Holding SE");
    assert_eq!(evidence["shared"], json!(["northwind"]));
    let lost = of("unavailable");
    assert_eq!(
        (&lost["operation"], &lost["landed"]),
        (&json!("crm.mark_churn_risk"), &json!("unknown"))
    );
}
