//! The main job over HTTP: submit, look, decide, prove, take back (C007–C010).

use std::thread;

use serde_json::{Value, json};

use super::Api;
use crate::support::id_of;

fn change(account: &str, days: u32) -> Value {
    json!({"intent": "contract_field_change", "inputs": {
        "account": account, "field": "PaymentTermsDays", "value": days.to_string(),
        "reason": "as agreed in the call"}, "wait_ms": 20_000})
}

#[test]
fn an_intent_is_submitted_decided_proven_and_taken_back() {
    let api = Api::open();
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    let before = api.office.world.hash();
    let asked = [("Idempotency-Key", "one")].map(|(k, v)| format!("{k}: {v}"));
    let submit = || api.ask(&ulla, ("POST", "/v1/intents"), &change("ACC-0007", 45), &[&asked[0]]);
    let first = submit().ok();
    let run = id_of(&first);
    assert_eq!(
        (&first["new"], &first["run"]["status"]),
        (&json!(true), &json!("asking")),
        "{first}"
    );
    let again = submit().ok();
    assert_eq!((&again["new"], id_of(&again)), (&json!(false), run.clone()));
    let other = api.ask(&ulla, ("POST", "/v1/intents"), &change("ACC-0007", 46), &[&asked[0]]);
    assert_eq!(other.refused(409), "idempotency-key-reused");

    let waiting = api.get(&mira, "/v1/approvals").ok();
    let approval = waiting["items"][0]["id"].as_str().unwrap().to_owned();
    let shown = format!("/v1/approvals/{approval}");
    let card = api.get(&mira, &shown).ok();
    let digest = json!({"digest": card["digest"], "wait_ms": 20_000});
    // Without the version, with a stale one, without the right, and by whoever it acts for: no.
    let approve = format!("{shown}/approve");
    assert_eq!(api.post(&mira, &approve, &digest).refused(428), "no-version");
    let stale = api.ask(&mira, ("POST", &approve), &digest, &["If-Match: \"0123\""]);
    assert_eq!(stale.refused(412), "changed-meanwhile");
    let ada = api.token("ada", &[]);
    assert_eq!(api.decide(&ada, &shown, "approve", &digest).refused(403), "not-allowed");
    assert_eq!(api.decide(&ulla, &shown, "approve", &digest).refused(403), "refused");
    let other = json!({"digest": format!("sha256:{}", "0".repeat(64))});
    assert_eq!(api.decide(&mira, &shown, "approve", &other).refused(409), "refused");
    assert_eq!(api.office.world.hash(), before, "nothing happened yet");

    // A refusal is not what the key stands for: corrected, the same request is done.
    let stale = ["If-Match: \"0123\"", "Idempotency-Key: yes"];
    for _ in 0..2 {
        let refused = api.ask(&mira, ("POST", &approve), &digest, &stale);
        assert_eq!(refused.refused(412), "changed-meanwhile");
        assert_eq!(refused.header("idempotency-replayed"), None);
    }
    let tag = api.get(&mira, &shown).header("etag").unwrap().to_owned();
    let headers = [format!("If-Match: {tag}"), "Idempotency-Key: yes".to_owned()];
    let headers = [&*headers[0], &*headers[1]];
    let approved = api.ask(&mira, ("POST", &approve), &digest, &headers);
    assert_eq!(approved.ok()["status"], "succeeded", "{approved:?}");
    let repeated = api.ask(&mira, ("POST", &approve), &digest, &headers);
    assert_eq!(repeated.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeated.body, approved.body, "double approval is one approval");
    let other = json!({"digest": card["digest"], "wait_ms": 1});
    let reused = api.ask(&mira, ("POST", &approve), &other, &headers);
    assert_eq!(reused.refused(422), "idempotency-key-reused");

    let detail = api.get(&ulla, &format!("/v1/runs/{run}")).ok();
    let receipts = api.get(&ulla, &format!("/v1/runs/{run}/receipts")).ok();
    let receipt = receipts["items"].as_array().unwrap().iter().find_map(|r| r["id"].as_str());
    let told = api.get(&ulla, &format!("/v1/explanations/{}", receipt.unwrap())).ok();
    assert!(told.to_string().contains("person:mira") || told.to_string().contains(&run), "{told}");
    let verified = api.post(&ulla, &format!("/v1/runs/{run}/verify"), &Value::Null).ok();
    assert_eq!(verified["verdict"], "verified", "{verified}");
    let bundle = api.post(&ulla, &format!("/v1/runs/{run}/export"), &json!({})).ok();
    assert!(bundle["bundle"].as_str().unwrap().contains(&run));
    let replayed = api.post(&ulla, &format!("/v1/runs/{run}/replay"), &json!({})).ok();
    assert_eq!(replayed["identical"], true, "{replayed}");
    let events = api.get(&ulla, &format!("/v1/runs/{run}/events?after=2")).ok();
    assert_eq!(events["items"][0]["seq"], 2, "{events}");
    assert_eq!(detail["run"]["events"], json!(2 + events["items"].as_array().unwrap().len()));

    let token = detail["tokens"][0].clone();
    assert!(token.is_string(), "{detail:#}");
    let back = api.post(&ulla, &format!("/v1/runs/{run}/rollback"), &json!({})).ok();
    assert_eq!(back["run"]["status"], "rolled_back", "{back}");
    assert_eq!(api.office.world.hash(), before, "the world is what it was");
    api.office.world.performed_nothing_twice();
}

/// Whoever lost the line comes back under the same key: it was done once, and is answered.
#[test]
fn a_request_whose_line_is_lost_is_done_once_and_answered_later() {
    use std::{io::Write as _, net::TcpStream};
    let api = Api::open();
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    id_of(&api.post(&ulla, "/v1/intents", &change("ACC-0007", 45)).ok());
    let waiting = api.get(&mira, "/v1/approvals").ok();
    let shown = format!("/v1/approvals/{}", waiting["items"][0]["id"].as_str().unwrap());
    let card = api.get(&mira, &shown);
    let body = json!({"digest": card.json()["digest"], "wait_ms": 20_000});
    let tag = format!("If-Match: {}", card.header("etag").unwrap());
    let headers = [&*tag, "Idempotency-Key: lost"];
    // The CRM dawdles with its answer, so that the line is lost in the middle.
    api.office.world.fault(&json!({"system": "crm", "operation": "crm.update_contract",
        "kind": "slow_drip", "delay_ms": 20}));
    let path = format!("{shown}/approve");
    let bytes = super::request(&api.host, &mira, ("POST", &path), &body, &headers);
    let mut line = TcpStream::connect(&api.host).unwrap();
    line.write_all(bytes.as_bytes()).unwrap();
    while api.office.writes().is_empty() {
        thread::yield_now();
    }
    drop(line);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let answer = loop {
        let again = api.ask(&mira, ("POST", &path), &body, &headers);
        if again.status != 409 {
            break again;
        }
        assert!(std::time::Instant::now() < until, "it is never answered: {again:?}");
        thread::yield_now();
    };
    assert_eq!(answer.ok()["status"], "succeeded", "{answer:?}");
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    api.office.world.performed_nothing_twice();
}

#[test]
fn the_same_key_at_once_is_one_run() {
    let api = Api::with("[serve]\nrequests_per_second = 5000\n");
    let ulla = api.token("ulla", &[]);
    let ask = || {
        let body = json!({"intent": "churn_risk_read", "inputs": {"account": "ACC-0007"}});
        api.ask(&ulla, ("POST", "/v1/intents"), &body, &["Idempotency-Key: storm"]).ok()
    };
    let runs: Vec<Value> = thread::scope(|scope| {
        let all: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let first = id_of(&runs[0]);
    assert!(runs.iter().all(|run| id_of(run) == first), "{runs:?}");
    assert_eq!(runs.iter().filter(|run| run["new"] == true).count(), 1);
}

#[test]
fn lists_are_paged_filtered_and_cached() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    for n in 1..=5 {
        let body = json!({"intent": "churn_risk_read", "inputs": {"account": format!("ACC-000{n}")},
            "wait_ms": 20_000});
        assert_eq!(api.post(&ulla, "/v1/intents", &body).ok()["run"]["status"], "succeeded");
    }
    let page = api.get(&ulla, "/v1/runs?limit=2").ok();
    let next = page["next"].as_str().unwrap().to_owned();
    // A run that begins meanwhile moves nothing.
    let body = json!({"intent": "churn_risk_read", "inputs": {"account": "ACC-0006"}});
    api.post(&ulla, "/v1/intents", &body).ok();
    let rest = api.get(&ulla, &format!("/v1/runs?limit=9&after={next}")).ok();
    let ids = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut all = [ids(&page), ids(&rest)].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5, "each once");
    let one = api.get(&ulla, "/v1/runs?subject=customer%3DACC-0003&status=succeeded").ok();
    assert_eq!(ids(&one).len(), 1, "{one}");
    for (query, expected) in [
        ("agent=agent:nobody", 0),
        ("agent=agent:churn-risk&pack=customer-ops", 6),
        ("pack=customer-ops@9.9.9", 0),
        ("operation=crm.get_account&customer=ACC-0002&status=succeeded", 1),
        ("operation=crm.get_account&customer=ACC-0003", 1),
        ("operation=billing.create_refund", 0),
        ("customer=ACC-0003&account=ACC-0003", 0),
        ("since=2020-01-01&until=2020-01-02T00:00:00Z", 0),
        ("since=2020-01-01&until=2999-01-01", 6),
    ] {
        let listed = api.get(&ulla, &format!("/v1/runs?{query}")).ok();
        assert_eq!(ids(&listed).len(), expected, "{query}");
    }
    assert_eq!(api.get(&ulla, "/v1/runs?since=yesterday").refused(422), "bad-time");

    let path = format!("/v1/runs/{}", all[0]);
    let seen = api.get(&ulla, &path);
    let tag = format!("If-None-Match: {}", seen.header("etag").unwrap());
    let known = api.ask(&ulla, ("GET", &path), &Value::Null, &[&tag]);
    assert_eq!((known.status, &*known.body), (304, ""));
}

#[test]
fn decisions_survive_a_restart_of_the_server() {
    let mut api = Api::open();
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    let run = id_of(&api.post(&ulla, "/v1/intents", &change("ACC-0011", 45)).ok());
    api.serving.take().unwrap().end("KILL");
    let (serving, host) = crate::support::Serving::listening(&api.office);
    (api.serving, api.host) = (Some(serving), host);
    let waiting = api.get(&mira, "/v1/approvals").ok();
    let item =
        waiting["items"].as_array().unwrap().iter().find(|item| item["run"] == *run).unwrap();
    let shown = format!("/v1/approvals/{}", item["id"].as_str().unwrap());
    let digest = api.get(&mira, &shown).ok()["digest"].clone();
    let no = json!({"reason": "not today", "wait_ms": 20_000, "digest": digest});
    api.decide(&mira, &shown, "deny", &no).ok();
    assert_eq!(api.get(&mira, &shown).refused(409), "approval-closed");
    let detail = api.get(&ulla, &format!("/v1/runs/{run}")).ok();
    assert_ne!(detail["run"]["status"], "succeeded");
    assert!(api.office.writes().is_empty());
}
