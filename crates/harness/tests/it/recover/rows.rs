//! One behaviour of failures and recoveries each, where the table of pairs does not show it.

use serde_json::{Value, json};
use world::{Fault, FaultKind, System};

use super::{
    matrix::{Failure, Recovery, pack},
    rig::{Rig, customer_ops, edit},
};

const REVIEW: &str = "renewal_risk_review";

fn account() -> Value {
    json!({"account": "ACC-0042"})
}

/// Everything a system is asked fails.
fn down(system: System) -> Fault {
    Fault::new(system, "*", FaultKind::ServerError)
}

fn troubles<'a>(detail: &'a Value, step: &str) -> Vec<&'a Value> {
    let all = detail["troubles"].as_array().unwrap();
    all.iter().filter(|trouble| trouble["step"].as_str().unwrap().ends_with(step)).collect()
}

/// C199, C345: without billing the rest is summarised, and no renewal can be recommended.
#[tokio::test]
async fn without_billing_usage_and_support_are_summarised_and_no_renewal_is_recommended() {
    let rig = Rig::open(&customer_ops(), vec![down(System::Billing)]).await.unwrap();
    let run = rig.submit(REVIEW, account(), "billing down").await;
    let ended = rig.approve_all(&run).await;
    assert_eq!(ended["run"]["status"], "partial", "{ended:#}");
    let output = &ended["output"];
    assert_eq!(output["signals"]["usage_change_pct"], -40, "{output:#}");
    assert_eq!(output["signals"]["pressing_tickets"], 2, "{output:#}");
    assert_eq!(output["signals"]["overdue_minor"], Value::Null);
    assert_eq!(output["recommended_forecast"], Value::Null);
    assert_eq!(output["forecast_changed"], false);
    // A program can tell: which step, which class, what is switched off, in whose words.
    let billing = troubles(&ended, "/customer").pop().unwrap();
    assert_eq!(
        (&billing["class"], &billing["recovery"]),
        (&json!("unavailable"), &json!("partial"))
    );
    assert_eq!(billing["forbids"], json!(["crm.update_forecast"]));
    assert_eq!(ended["switched_off"], json!(["crm.update_forecast"]));
    assert_eq!(ended["caveats"], json!([billing["caveat"]]));
    let forecast = rig.world_get("/crm/opportunities/OPP-0042").await;
    assert_eq!(forecast["Category"], "commit", "{forecast}");
    rig.effects().await;
}

/// C202, C346, C169: a person is asked what was agreed; until then nothing is drafted, sent or marked.
#[tokio::test]
async fn without_contract_terms_a_person_is_asked_and_nothing_is_sent() {
    let rig = Rig::open(&customer_ops(), vec![no_terms()]).await.unwrap();
    let untouched = rig.hash().await;
    let run = rig.submit(REVIEW, account(), "no terms").await;
    let asking = rig.run(&run).await;
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    let terms = troubles(&asking, "terms").pop().unwrap();
    assert_eq!((&terms["class"], &terms["owner"]), (&json!("missing_field"), &json!("approver")));
    let question = asking["waiting_for"][0].clone();
    let card = rig.ok("mira", "approval.get", json!({"approval": question})).await;
    let shown = card.to_string();
    assert!(shown.contains("names no notice period") && shown.contains("Northwind"), "{shown}");
    assert_eq!(rig.hash().await, untouched, "nothing happens before the answer");
    assert_eq!(rig.effects().await.len(), 0);
    // The answer is typed: one of another shape does not count.
    let wrong = json!({"approval": question, "verb": "reply", "value": {"NoticePeriodDays": "30"}});
    assert!(rig.call("mira", "approval.decide", wrong).await.is_err());
    let role = json!({"approval": question, "verb": "reply",
        "value": {"NoticePeriodDays": 30, "AutoRenew": false}});
    assert!(rig.call("ulla", "approval.decide", role).await.is_err(), "only the declared role");
    rig.reply(&run, json!({"NoticePeriodDays": 30, "AutoRenew": false})).await;
    let ended = rig.approve_all(&run).await;
    assert_eq!(ended["output"]["notice_period_days"], 30, "{ended:#}");
    assert_eq!(ended["output"]["outreach_sent"], true);
    let told = rig.explain(&run).await;
    let terms = troubles(&told, "terms").pop().unwrap();
    assert!(terms["decided"].as_str().unwrap().starts_with("person:mira answered"), "{terms}");
}

/// C169: a question has a deadline; when nobody answers, the run stops and nothing was sent.
#[tokio::test]
async fn a_question_nobody_answers_stops_the_run_and_nothing_is_sent() {
    let mut files = customer_ops();
    edit(&mut files, "playbooks/renewal_risk_review.yaml", "expires: 2d", "expires: 1ms");
    let rig = Rig::open(&files, vec![no_terms()]).await.unwrap();
    let untouched = rig.hash().await;
    let run = rig.submit(REVIEW, account(), "silence").await;
    rig.ok("ulla", "run.resume", json!({"run": run})).await;
    let ended = rig.run(&run).await;
    assert_eq!(ended["run"]["status"], "failed", "{ended:#}");
    let terms = troubles(&ended, "terms");
    let decided = terms[0]["decided"].as_str().unwrap();
    assert!(decided.starts_with("nobody answered until"), "{terms:#?}");
    assert_eq!((rig.hash().await, rig.effects().await.len()), (untouched, 0));
}

fn no_terms() -> Fault {
    let mut fault = Fault::new(System::Crm, "crm.get_contract", FaultKind::MissingField);
    fault.field = Some("/Terms/NoticePeriodDays".to_owned());
    fault
}

/// C210: each system off in turn; the run ends in a declared state, and never by accident.
#[tokio::test]
async fn each_system_off_in_turn_ends_in_a_declared_state() {
    let patient = "[circuit]\nopen_after = 100\n";
    for (system, status) in [
        (System::Crm, "failed"),
        (System::Desk, "partial"),
        (System::Billing, "partial"),
        (System::Usage, "partial"),
        (System::Mail, "needs_person"),
    ] {
        let rig = Rig::open_with(&customer_ops(), vec![down(system)], patient).await.unwrap();
        let run = rig.submit(REVIEW, account(), "off").await;
        let ended = rig.approve_all(&run).await;
        assert_eq!(ended["run"]["status"], status, "{system:?}: {ended:#}");
        let troubles = ended["troubles"].as_array().unwrap();
        assert!(!troubles.is_empty(), "{system:?}");
        for trouble in troubles {
            // A failure without a recovery is one that a person has to settle.
            let dealt_with = trouble["recovery"].is_string() || trouble["owner"].is_string();
            assert!(dealt_with, "{system:?}: {trouble:#}");
        }
        rig.effects().await;
    }
}

/// C191: two companies under one reference prove nothing; neither is acted on.
#[tokio::test]
async fn two_records_where_one_was_promised_are_both_left_alone() {
    let rig = Rig::open(&customer_ops(), vec![]).await.unwrap();
    let run = rig.submit(REVIEW, json!({"account": "ACC-0200"}), "twice").await;
    let ended = rig.approve_all(&run).await;
    let company = troubles(&ended, "/company").pop().unwrap();
    assert_eq!((&company["class"], &company["recovery"]), (&json!("duplicate"), &json!("partial")));
    assert_eq!(company["sample"]["evidence"]["records"], 2, "{company:#}");
    assert_eq!(ended["output"]["signals"]["desk_company"], Value::Null, "{ended:#}");
    assert_eq!(ended["switched_off"], json!(["crm.update_forecast"]));
}

/// C196: the help desk spells names its own way, in several scripts; the same company is still the same.
#[tokio::test]
async fn names_in_another_spelling_and_script_still_match() {
    let rig = Rig::open(&customer_ops(), vec![]).await.unwrap();
    for account in ["ACC-0042", "ACC-0064", "ACC-0065"] {
        let run = rig.submit("churn_risk_read", json!({"account": account}), account).await;
        let ended = rig.run(&run).await;
        let (name, desk) = (&ended["output"]["name"], &ended["output"]["signals"]["desk_company"]);
        assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
        assert_ne!(name, desk, "spelled differently, or this shows nothing");
        assert!(desk.is_string() && troubles(&ended, "/company").is_empty(), "{ended:#}");
    }
}

/// C193, C206: a long wait is a timer in the journal and a row in the store, and holds for every run.
#[tokio::test]
async fn a_long_retry_after_parks_the_run_and_pauses_the_system_for_all() {
    let mut fault = Fault::new(System::Desk, "desk.find_company", FaultKind::RateLimit).on_call(1);
    fault.retry_after_s = Some(3_600);
    let rig = Rig::open(&pack(Failure::RateLimit, Recovery::Retry), vec![fault]).await.unwrap();
    let first = rig.submit("look", account(), "first").await;
    let second = rig.submit("look", account(), "second").await;
    for (run, said) in [(&first, "429"), (&second, "asked for a pause until")] {
        let waiting = rig.run(run).await;
        assert_eq!(waiting["run"]["status"], "waiting", "{waiting:#}");
        let trouble = &waiting["troubles"][0];
        assert_eq!((&trouble["class"], &trouble["landed"]), (&json!("rate_limit"), &json!("no")));
        assert!(trouble["said"].as_str().unwrap().contains(said), "{trouble:#}");
        assert!(until(&rig, run).await >= 3_590_000, "never before the target said");
    }
    let status = rig.ok("ulla", "pack.status", json!({})).await;
    let systems = status["items"][0]["systems"].as_array().unwrap();
    let desk = systems.iter().find(|system| system["system"] == "desk").unwrap();
    assert_eq!(desk["state"], "paused", "{status:#}");
    assert!(doctor(&rig).await.contains("desk asked for a pause until"), "doctor says so too");
    // The wait is the journal's, not this process's.
    let before = until(&rig, &first).await;
    let rig = rig.reopen().await;
    rig.ok("ulla", "run.resume", json!({"run": first})).await;
    assert_eq!(rig.run(&first).await["run"]["status"], "waiting");
    assert_eq!(until(&rig, &first).await, before);
}

/// How far the last wait of a run reaches, in milliseconds from when it began.
async fn until(rig: &Rig, run: &str) -> i64 {
    let events = rig.ok("ulla", "run.events", json!({"run": run})).await;
    let events = events["items"].as_array().unwrap();
    let last = events.iter().rfind(|event| event["kind"] == "waiting").unwrap();
    last["body"]["wait"]["ms"].as_i64().unwrap()
}

async fn doctor(rig: &Rig) -> String {
    let diagnosis = rig.ok("ulla", "doctor", json!({})).await;
    assert_eq!(diagnosis["healthy"], true, "a system that is down is not ours to repair");
    let checks = diagnosis["checks"].as_array().unwrap();
    let circuits = checks.iter().find(|check| check["id"] == "circuits").unwrap();
    format!("{}: {}", circuits["result"].as_str().unwrap(), circuits["found"].as_str().unwrap())
}

/// C206: how often was tried survives a crash and a restart.
#[tokio::test]
async fn tries_are_counted_across_crashes_and_restarts() {
    let mut files = pack(Failure::Timeout, Recovery::Retry);
    let delay = ("retry: {times: 2, delay: 0ms}", "retry: {times: 2, delay: 1ms}");
    edit(&mut files, "playbooks/look.yaml", delay.0, delay.1);
    edit(&mut files, "playbooks/look.yaml", "      timeout:", "      unavailable:");
    let fault = Fault::new(System::Desk, "desk.find_company", FaultKind::ServerError);
    let mut rig = Rig::open(&files, vec![fault]).await.unwrap();
    let run = rig.submit("look", account(), "restarts").await;
    for tries in 1..3_usize {
        let waiting = rig.run(&run).await;
        assert_eq!(waiting["run"]["status"], "waiting", "{waiting:#}");
        assert_eq!(troubles(&waiting, "company").len(), tries);
        rig = if tries == 1 { rig.crash().await } else { rig.reopen().await };
        rig.ok("ulla", "run.resume", json!({"run": run})).await;
    }
    let ended = rig.run(&run).await;
    assert_eq!(ended["run"]["status"], "rolled_back", "{ended:#}");
    let tries: Vec<u64> =
        troubles(&ended, "company").iter().filter_map(|t| t["attempt"].as_u64()).collect();
    assert_eq!(tries, [1, 2, 3], "one and two more, whoever counted");
    rig.effects().await;
}

/// C197: one run retries only so often, whatever its steps declare.
#[tokio::test]
async fn the_operator_limits_the_retries_of_a_run() {
    let mut files = pack(Failure::Timeout, Recovery::Retry);
    let declared = "        - retry: {times: 2, delay: 0ms}\n";
    let both = format!("{declared}        - log: {{caveat: Not now.}}\n");
    edit(&mut files, "playbooks/look.yaml", declared, &both);
    edit(&mut files, "playbooks/look.yaml", "      timeout:", "      unavailable:");
    let budget =
        "[budget]\ncalls_max = 100\nwrites_max = 10\nwall_max_ms = 3600000\nretries_max = 1\n";
    let fault = Fault::new(System::Desk, "desk.find_company", FaultKind::ServerError);
    let rig = Rig::open_with(&files, vec![fault], budget).await.unwrap();
    let run = rig.submit("look", account(), "budget").await;
    let ended = rig.run(&run).await;
    let taken: Vec<&str> =
        troubles(&ended, "company").iter().filter_map(|t| t["recovery"].as_str()).collect();
    assert_eq!(taken, ["retry", "log"], "{ended:#}");
}

/// C129, C194, C211: an operation nobody answers is not called any more, and everybody can see that.
#[tokio::test]
async fn an_open_circuit_shows_in_the_run_in_status_and_in_doctor() {
    let mut files = pack(Failure::Timeout, Recovery::Log);
    edit(&mut files, "playbooks/look.yaml", "      timeout:", "      unavailable:");
    let fault = Fault::new(System::Desk, "desk.find_company", FaultKind::ServerError);
    let config = "[circuit]\nopen_after = 2\ncooldown_ms = 300000\n";
    let rig = Rig::open_with(&files, vec![fault], config).await.unwrap();
    assert!(doctor(&rig).await.starts_with("ok: "));
    let mut said = Vec::new();
    for key in ["one", "two", "three"] {
        let run = rig.submit("look", account(), key).await;
        let ended = rig.run(&run).await;
        assert_eq!(ended["run"]["status"], "partial", "{ended:#}");
        let trouble = troubles(&ended, "company").pop().unwrap();
        assert_eq!((&trouble["class"], &trouble["landed"]), (&json!("unavailable"), &json!("no")));
        said.push(trouble["said"].as_str().unwrap().to_owned());
    }
    assert!(said[1].contains("503") && !said[1].contains("circuit"), "{said:?}");
    assert!(said[2].contains("the circuit of `desk.find_company` is open until 20"), "{said:?}");
    let status = rig.ok("ulla", "pack.status", json!({})).await;
    let systems = status["items"][0]["systems"].as_array().unwrap();
    let desk = systems.iter().find(|system| system["system"] == "desk").unwrap();
    assert_eq!(desk["state"], "impaired", "{status:#}");
    let line = &desk["operations"][0];
    assert_eq!((&line["circuit"], &line["failures"]), (&json!("open"), &json!(2)), "{line}");
    assert!(doctor(&rig).await.contains("desk.find_company is open until 20"));
}

/// C129: what an operation's last calls came to stands beside what is expected of it, and whoever misses it is named.
#[tokio::test]
async fn an_operation_that_misses_its_goal_shows_in_status_and_in_doctor() {
    let mut files = pack(Failure::Timeout, Recovery::Log);
    edit(&mut files, "playbooks/look.yaml", "      timeout:", "      unavailable:");
    let fault = Fault::new(System::Desk, "desk.find_company", FaultKind::ServerError);
    let config = "[circuit]\nopen_after = 1000\n[slo]\nsuccess = 0.9\n[slo.operations.\"crm.get_account\"]\np95_ms = 3600000\n";
    let rig = Rig::open_with(&files, vec![fault], config).await.unwrap();
    let of = |status: &Value, system: &str| {
        let systems = status["items"][0]["systems"].as_array().unwrap();
        systems.iter().find(|one| one["system"] == system).unwrap().clone()
    };
    for count in 1..=20 {
        let run = rig.submit("look", account(), &format!("call {count}")).await;
        rig.run(&run).await;
        let desk = of(&rig.ok("ulla", "pack.status", json!({})).await, "desk");
        let slo = &desk["operations"][0]["slo"];
        assert_eq!((&slo["calls"], &slo["success"]), (&json!(count), &json!(0.0)), "{desk:#}");
        let (state, verdict) = if count < 20 { ("ok", "unknown") } else { ("degraded", "missed") };
        assert_eq!((&desk["state"], &slo["verdict"]), (&json!(state), &json!(verdict)), "{desk:#}");
    }
    let status = rig.ok("ulla", "pack.status", json!({})).await;
    let crm = of(&status, "crm");
    let read = crm["operations"].as_array().unwrap().iter();
    let read = read.clone().find(|line| line["operation"] == "crm.get_account").unwrap();
    assert_eq!((&read["slo"]["verdict"], &read["slo"]["success"]), (&json!("met"), &json!(1.0)));
    assert_eq!(read["slo"]["goal_p95_ms"], 3_600_000, "{read:#}");
    assert_eq!(crm["state"], "ok", "{crm:#}");
    let report = rig.ok("ulla", "doctor", json!({})).await;
    let checks = report["checks"].as_array().unwrap();
    let slo = checks.iter().find(|check| check["id"] == "slo").unwrap();
    let found = slo["found"].as_str().unwrap();
    assert!(found.contains("desk.find_company did 0 of 20 calls well"), "{found}");
    assert!(!found.contains("crm."), "{found}");
}

/// C209: an operation that says nothing of a way back has none, and then a person decides before it is
/// done, under an operator whose rules permit everything; with its way back it is just done.
#[tokio::test]
async fn what_declares_no_way_back_asks_by_default() {
    let declared = pack(Failure::Timeout, Recovery::Log);
    let rig = Rig::open(&declared, vec![]).await.unwrap();
    let run = rig.submit("look", account(), "way back").await;
    assert_eq!(rig.run(&run).await["run"]["status"], "succeeded");

    let mut silent = declared;
    let (_, crm) = silent.iter_mut().find(|(path, _)| path == "connectors/crm.yaml").unwrap();
    let begins = crm.find("  mark_churn_risk:").unwrap();
    let (head, mark) = crm.split_at(begins);
    let (from, to) = (mark.find("    before:").unwrap(), mark.find("    input:").unwrap());
    let undone = format!("{}{}", &mark[..from], &mark[to..]).replacen("    undo: restore\n", "", 1);
    *crm = format!("{head}{undone}");
    edit(&mut silent, "pack.yaml", "    - crm.get_churn_risk\n", "");
    let rig = Rig::open(&silent, vec![]).await.unwrap();
    let run = rig.submit("look", account(), "no way back").await;
    let asking = rig.run(&run).await;
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    let action = asking["actions"].as_array().unwrap().last().unwrap();
    assert_eq!(action["operation"], "crm.mark_churn_risk", "{asking:#}");
    let rules = action["rules"].to_string();
    assert!(rules.contains("inherited.irreversible"), "{rules}");
    assert_eq!(rig.effects().await, Vec::<Value>::new(), "nothing is done before the answer");
}

/// C189, C201: an escalation carries what its owner needs: the class, the answer, the operation, the try.
#[tokio::test]
async fn an_escalation_carries_everything_its_owner_needs() {
    let files = pack(Failure::Permission, Recovery::Escalate);
    let fault = Fault::new(System::Desk, "desk.find_company", FaultKind::Forbidden);
    let rig = Rig::open(&files, vec![fault]).await.unwrap();
    let run = rig.submit("look", account(), "escalate").await;
    let parked = rig.run(&run).await;
    let listed = rig.ok("mira", "exception.list", json!({})).await;
    let exception = &listed["items"][0];
    assert_eq!(
        (&exception["owner"], &exception["class"]),
        (&json!("approver"), &json!("permission"))
    );
    assert_eq!(exception["verbs"], json!(["retry", "use", "skip", "stop", "rollback"]));
    let told = rig.explain(parked["exceptions"][0].as_str().unwrap()).await;
    let [trouble] = &told["troubles"].as_array().unwrap()[..] else { panic!("{told:#}") };
    assert_eq!(trouble["operation"], "desk.find_company");
    assert!(trouble["said"].as_str().unwrap().contains("403"), "{trouble:#}");
    // A person may give the value, and says how they know.
    let ended = rig.settle(&run, "use", json!({"companies": [], "refreshed_at": 0})).await;
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let decided = troubles(&ended, "company")[0]["decided"].as_str().unwrap().to_owned();
    assert!(decided.contains("person:mira") && decided.contains("seen by a test"), "{decided}");
}
