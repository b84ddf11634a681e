//! The pages over a real store: every page of every state is drawn, and says what it must.

use std::{fs, path::PathBuf};

use harness::{
    app::{Caller, ledger::ListLedger, runs::ListRuns},
    ui::{assets, views, views::Visitor},
};
use maud::Markup;
use serde_json::{Value, json};

use crate::recover::rig::{Rig, customer_ops};

/// Where pages are kept for a look, if anywhere.
const KEPT: &str = "HARNESS_UI_PAGES";

fn visitor(rig: &Rig, who: &str) -> Visitor {
    Visitor {
        caller: Caller::person(rig.app.config(), who).unwrap(),
        form_token: "form".to_owned(),
        said: None,
        wrong: None,
        here: None,
        asked: None,
    }
}

/// Keeps a page as a file beside its style, when somebody wants to look.
fn keep(name: &str, page: &Markup) -> String {
    let text = page.0.clone();
    if let Some(dir) = std::env::var_os(KEPT).map(PathBuf::from) {
        fs::create_dir_all(&dir).unwrap();
        let mut shown = text.clone();
        for asset in &assets::ASSETS {
            fs::write(dir.join(asset.name), asset.text).unwrap();
            shown = shown.replace(&assets::address(asset.name), asset.name);
        }
        fs::write(dir.join(format!("{name}.html")), shown).unwrap();
    }
    text
}

#[track_caller]
fn says(page: &str, words: &[&str]) {
    for word in words {
        assert!(page.contains(word), "`{word}` is missing in\n{page}");
    }
}

async fn fault(rig: &Rig, rule: Value) {
    rig.world_ask("POST", "/_world/faults", &rule).await;
}

async fn waiting(rig: &Rig, run: &str) -> String {
    let detail = rig.run(run).await;
    detail["waiting_for"][0].as_str().unwrap_or_else(|| panic!("{detail:#}")).to_owned()
}

async fn refund(rig: &Rig, key: &str) -> String {
    let inputs = json!({
        "invoice": "in_000042_1", "amount": 24_000, "currency": "eur",
        "reason": "The device arrived broken.",
    });
    rig.submit("goodwill_refund", inputs, key).await
}

async fn change(rig: &Rig, account: &str, key: &str) -> String {
    let inputs = json!({
        "account": account, "field": "PaymentTermsDays", "value": "45",
        "reason": "Agreed on the phone with their finance.",
    });
    rig.submit("contract_field_change", inputs, key).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_over_a_working_day() {
    let more = "[people.olaf]\nroles = [\"operator\"]\n[people.lars]\nroles = [\"viewer\"]\n";
    let rig = Rig::open_with(&customer_ops(), Vec::new(), more).await.unwrap();
    let mira = visitor(&rig, "mira");
    let empty = views::approvals(&rig.app, &mira, (None, Default::default())).await.unwrap();
    says(&keep("approvals-empty", &empty), &["Nothing waits for you"]);
    let empty = views::exceptions(&rig.app, &mira, Default::default()).await.unwrap();
    says(&keep("exceptions-empty", &empty), &["Nothing needs a person"]);

    // A whole review, approved and done; its world is taken back.
    let done = rig.submit("renewal_risk_review", json!({ "account": "ACC-0042" }), "done").await;
    rig.approve_all(&done).await;
    // A refund that waits, a contract change that waits, a question that waits, an escalation that waits.
    let refunded = refund(&rig, "refund").await;
    let changed = change(&rig, "ACC-0007", "change").await;
    let asked = rig.submit("renewal_risk_review", json!({ "account": "ACC-0113" }), "asked").await;
    let ticket =
        json!({ "account": "ACC-0042", "ticket": 7_000_421, "reason": "They threaten to leave." });
    rig.submit("support_escalation", ticket, "ticket").await;
    let denied = change(&rig, "ACC-0065", "denied").await;
    let closed = waiting(&rig, &denied).await;
    let body = json!({ "approval": closed, "verb": "deny", "reason": "Not agreed in writing.", "wait_ms": 60_000 });
    rig.ok("mira", "approval.decide", body).await;

    approvals(&rig, [&refunded, &changed, &asked], &closed).await;
    runs(&rig, &done, &refunded).await;
    exceptions(&rig).await;
    receipts(&rig, &done).await;

    rollback(&rig, &done).await;

    let page = views::packs(&rig.app, &mira).await.unwrap();
    says(&keep("packs", &page), &["customer-ops"]);
    let page = views::pack(&rig.app, &mira, "customer-ops").await.unwrap();
    says(
        &keep("pack", &page),
        &["Measures", "Meets its target", "Last failures", "What it asks for"],
    );
}

async fn approvals(rig: &Rig, [refunded, changed, asked]: [&str; 3], closed: &str) {
    let mira = visitor(rig, "mira");
    let ask = waiting(rig, refunded).await;
    let page = views::approvals(&rig.app, &mira, (Some(&ask), Default::default())).await.unwrap();
    says(
        &keep("approval-refund", &page),
        &[
            "Moves EUR 240.00",
            "High risk",
            "Why you are asked",
            "Evidence",
            "System",
            "Exactly this call",
            "Approve: create refund",
            "Set aside",
            "Reason (needed to deny)",
        ],
    );
    let wrong = Visitor { wrong: Some("a denial says why".to_owned()), ..mira.clone() };
    let page = views::approvals(&rig.app, &wrong, (Some(&ask), Default::default())).await.unwrap();
    says(&keep("approval-wrong", &page), &["aria-invalid=\"true\"", "a denial says why"]);
    let page = views::approvals(&rig.app, &visitor(rig, "lars"), (Some(&ask), Default::default()))
        .await
        .unwrap();
    let page = keep("approval-not-permitted", &page);
    says(&page, &["You cannot decide this", "None of the roles asked for is held"]);
    assert!(!page.contains("Approve: "), "{page}");
    let page =
        views::approvals(&rig.app, &mira, (Some(&waiting(rig, changed).await), Default::default()))
            .await
            .unwrap();
    says(
        &keep("approval-change", &page),
        &["What will change", "PaymentTermsDays", "<del>", "<ins>45</ins>"],
    );
    let page =
        views::approvals(&rig.app, &mira, (Some(&waiting(rig, asked).await), Default::default()))
            .await
            .unwrap();
    says(&keep("approval-question", &page), &["The playbook asks a person"]);
    let page = views::approvals(&rig.app, &mira, (Some(closed), Default::default())).await.unwrap();
    says(
        &keep("approval-denied", &page),
        &[
            "This ask is closed",
            "Denied",
            "Not agreed in writing.",
            "its digest is the one the answer carries",
        ],
    );
    let set = Visitor { said: Some("aside".to_owned()), ..mira.clone() };
    rig.call("mira", "approval.claim", json!({"approval": ask, "verb": "set_aside"}))
        .await
        .unwrap();
    let page = views::approvals(&rig.app, &set, (None, Default::default())).await.unwrap();
    says(&keep("approvals", &page), &["set aside by you", "soonest expiry first"]);
    // Whoever looks next sees it too, and where it went.
    let page = views::approvals(&rig.app, &visitor(rig, "lars"), (None, Default::default()))
        .await
        .unwrap();
    says(&page.0, &["set aside by person:mira"]);
    rig.call("mira", "approval.claim", json!({"approval": ask, "verb": "claim"})).await.unwrap();
    let page = views::approvals(&rig.app, &mira, (Some(&ask), Default::default())).await.unwrap();
    says(&page.0, &["You look after it", "Release", "Take up again"]);
}

async fn runs(rig: &Rig, done: &str, waiting: &str) {
    let visitor = visitor(rig, "olaf");
    let page = views::runs(&rig.app, &visitor, Default::default()).await.unwrap();
    says(&keep("runs", &page), &["Renewal risk review", "Waiting for a person"]);
    let asked =
        ListRuns { operation: Some("billing.create_refund".to_owned()), ..ListRuns::default() };
    let page = views::runs(&rig.app, &visitor, asked).await.unwrap();
    let page = keep("runs-of-an-operation", &page);
    says(&page, &["Goodwill refund", "name=\"operation\" value=\"billing.create_refund\""]);
    assert!(!page.contains("Renewal risk review"), "{page}");
    let page = views::run(&rig.app, &visitor, (done, "timeline", None)).await.unwrap();
    says(&keep("run", &page), &["<rect class=\"b-executed\"", "What came of it"]);
    let page = views::run(&rig.app, &visitor, (done, "table", None)).await.unwrap();
    says(&keep("run-table", &page), &["<table", "Worked"]);
    let page = views::run(&rig.app, &visitor, (done, "events", None)).await.unwrap();
    says(&keep("run-events", &page), &["dispatched", "commitments"]);
    let page = views::run(&rig.app, &visitor, (waiting, "timeline", None)).await.unwrap();
    says(&keep("run-waiting", &page), &["Open the card", "Hold this run"]);
}

async fn exceptions(rig: &Rig) {
    fault(rig, json!({ "system": "mail", "operation": "*", "kind": "timeout_after" })).await;
    let ticket =
        json!({ "account": "ACC-0007", "ticket": 7_000_422, "reason": "They threaten to leave." });
    let run = rig.submit("renewal_risk_review", json!({ "account": "ACC-0042" }), "doubt").await;
    let _ = ticket;
    let detail = rig.approve_all(&run).await;
    let exception = detail["exceptions"][0].as_str().unwrap_or_else(|| panic!("{detail:#}"));
    let visitor = visitor(rig, "olaf");
    let page = views::exceptions(&rig.app, &visitor, Default::default()).await.unwrap();
    says(&keep("exceptions", &page), &["Nobody knows whether it happened", "In doubt"]);
    let page = views::exception(&rig.app, &visitor, exception).await.unwrap();
    says(&keep("exception", &page), &["It happened", "It did not happen", "How do you know?"]);
    let page = views::run(&rig.app, &visitor, (&run, "timeline", None)).await.unwrap();
    says(&keep("run-doubt", &page), &["Open the exception"]);

    // C349: what a doubt holds up is not promised beforehand.
    let body = json!({ "exception": exception, "verb": "rollback", "evidence": "Take it back." });
    rig.ok("olaf", "exception.settle", body).await;
    let told = rig.ok("olaf", "run.rollback-preview", json!({ "run": run })).await;
    let done = rig.ok("olaf", "run.rollback", json!({ "run": run })).await;
    let back =
        |effect: &&Value| effect["result"] == "restored" || effect["result"] == "compensated";
    let back = done["effects"].as_array().unwrap().iter().filter(back).count();
    assert_eq!(told["effects"].as_array().unwrap().len(), back, "{told:#} {done:#}");
    assert_eq!(told["possible"], false, "{told:#}");
    let page = views::rollback(&rig.app, &visitor, &run).await.unwrap();
    says(&keep("rollback-doubt", &page), &["Nobody knows whether the later action"]);
}

async fn rollback(rig: &Rig, done: &str) {
    let (mira, olaf, lars) = (visitor(rig, "mira"), visitor(rig, "olaf"), visitor(rig, "lars"));
    let page = views::rollback(&rig.app, &olaf, done).await.unwrap();
    says(
        &keep("rollback", &page),
        &["This stays, whatever you do", "It cannot be taken back", "As the run left it"],
    );
    let page = views::rollback(&rig.app, &lars, done).await.unwrap();
    says(&keep("rollback-look", &page), &["You cannot ask for this"]);
    let refused = rig.call("lars", "run.rollback", json!({ "run": done })).await.unwrap_err();
    assert_eq!(&*refused.code, "not-allowed", "what the page says is what the operation says");
    // An approver takes back: the page offers what the operation takes.
    let page = views::rollback(&rig.app, &mira, done).await.unwrap();
    let page = keep("rollback-approver", &page);
    says(&page, &["Take it back"]);
    assert!(!page.contains("You cannot ask for this"), "{page}");
    rig.ok("mira", "run.rollback", json!({ "run": done })).await;
    let page = views::rollback(&rig.app, &olaf, done).await.unwrap();
    says(&keep("rollback-done", &page), &["The last rollback", "Restored"]);
    let page = views::run(&rig.app, &olaf, (done, "timeline", None)).await.unwrap();
    says(&keep("run-rolled-back", &page), &["Taken back"]);
}

async fn receipts(rig: &Rig, done: &str) {
    let visitor = visitor(rig, "mira");
    let page = views::receipts(&rig.app, &visitor, Default::default()).await.unwrap();
    says(&keep("receipts", &page), &["approved by"]);
    let page = views::receipts(
        &rig.app,
        &visitor,
        ListLedger { run: Some(done.to_owned()), ..Default::default() },
    )
    .await
    .unwrap();
    says(&keep("receipts-run", &page), &["close record", "All runs"]);
    let explained = rig.explain(done).await;
    let receipt = explained["items"][0]["receipt"].as_str().unwrap();
    let page = views::receipt(&rig.app, &visitor, receipt).await.unwrap();
    says(
        &keep("receipt", &page),
        &[
            "Signature valid",
            "Who asked",
            "Who approved it, and what they saw",
            "Which rules allowed it",
            "What it touched",
            "What changed",
            "How to take it back",
        ],
    );
    // C017: which bytes were checked, and against which log.
    let found = rig.ok("mira", "receipt.verify", json!({ "receipt": receipt })).await;
    let page = views::receipt(&rig.app, &visitor, receipt).await.unwrap();
    let named = ["envelope_sha256", "leaf", "root"].map(|name| found[name].as_str().unwrap());
    says(&page.0, &named);
    says(&page.0, &["What was verified", "Root of the log"]);
    let page = views::verified(&rig.app, &visitor, done).await.unwrap();
    let page = keep("verified", &page);
    says(&page, &["Verified", "Holds"]);
    // What was checked stands there, for each check.
    let found = rig.ok("mira", "run.verify", json!({ "run": done })).await;
    let checks = found["checks"].as_array().unwrap();
    let details: Vec<&str> = checks.iter().map(|check| check["detail"].as_str().unwrap()).collect();
    assert!(checks.len() > 3, "{found:#}");
    says(&page, &details);
}

/// Places and widths of the bars of these classes, in percent, from left to right.
fn drawn(page: &str, classes: &[&str]) -> Vec<(f64, f64)> {
    let number = |rect: &str, name: &str| -> f64 {
        let (_, rest) = rect.split_once(&format!(" {name}=\"")).unwrap();
        rest.split('%').next().unwrap().parse().unwrap()
    };
    // The legend below the lanes has a bar of each class, too.
    let lanes = page.split("id=\"lanes\"").nth(1).unwrap().split("</ol>").next().unwrap();
    let rects = lanes.split("<rect class=\"b-").skip(1);
    let ours = rects.filter(|rect| classes.contains(&rect.split('"').next().unwrap()));
    let mut bars: Vec<_> = ours.map(|rect| (number(rect, "x"), number(rect, "width"))).collect();
    bars.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    bars
}

/// C016, C293: a bar begins where its call left, and is as long as its answer took, by the journal's own times.
#[tokio::test(flavor = "multi_thread")]
async fn bars_stand_where_their_events_were() {
    let rig = Rig::open(&customer_ops(), Vec::new()).await.unwrap();
    let once =
        json!({ "system": "crm", "operation": "crm.get_account", "kind": "5xx", "on_call": 1 });
    fault(&rig, once).await;
    let run = rig.submit("churn_risk_read", json!({ "account": "ACC-0042" }), "bars").await;
    assert_eq!(rig.run(&run).await["run"]["status"], "succeeded");
    let events = rig.ok("ulla", "run.events", json!({ "run": run, "limit": 500 })).await;
    let mut calls: Vec<(i64, i64)> = Vec::new();
    let items = events["items"].as_array().unwrap();
    let at = |event: &Value| {
        let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
        at.as_millisecond()
    };
    for sent in items.iter().filter(|event| event["kind"] == "dispatched") {
        let same = |event: &&Value| {
            let of = |key: &str| event["body"][key] == sent["body"][key];
            event["kind"] == "returned" && of("action") && of("attempt")
        };
        calls.push((at(sent), at(items.iter().find(same).unwrap())));
    }
    calls.sort_unstable();
    let page =
        views::run(&rig.app, &visitor(&rig, "ulla"), (&run, "timeline", None)).await.unwrap();
    let bars = drawn(&keep("run-bars", &page), &["executed", "failed"]);
    assert_eq!(bars.len(), calls.len(), "{bars:?} {calls:?}");
    // One scale fits all: from the first call's place to the last one's.
    let ((from, _), (to, _)) = (calls[0], calls[calls.len() - 1]);
    let ((left, _), (right, _)) = (bars[0], bars[bars.len() - 1]);
    let scale = (right - left) / (to - from) as f64;
    assert!(calls.len() > 5 && scale > 0.0, "{calls:?}");
    let near = |one: f64, other: f64| (one - other).abs() < 0.05;
    for ((x, width), (sent, answered)) in bars.iter().zip(&calls) {
        assert!(near(*x, left + scale * (sent - from) as f64), "{bars:?} {calls:?}");
        let long = scale * (answered - sent) as f64;
        assert!(near(*width, long.max(0.6)), "{width} for {long}: {bars:?} {calls:?}");
    }
}
