//! Policy: nothing without a permit, typos are load errors, and a big answer is no crash.

use std::fs;

use serde_json::json;

use crate::support::{Office, PERMIT_ALL, change, id_of};

#[test]
fn without_a_policy_nothing_is_written() {
    let office = Office::with_policy(None);
    let before = office.world.hash();
    let words = change("ACC-0007", 45, "no policy");
    let ran = office.json(&[&words.each()[..], &["--wait"]].concat());
    let run = id_of(&ran.document());
    let detail = office.json(&["run", "get", &run]).exits(0).document();
    let actions = detail["actions"].as_array().unwrap();
    let write = actions.iter().find(|a| a["operation"] == "crm.update_contract");
    let write = write.unwrap_or_else(|| panic!("{detail:#}"));
    assert_eq!((&write["verdict"], &write["receipt"]), (&"deny".into(), &json!(null)), "{write}");
    assert_ne!(detail["run"]["status"], "succeeded");
    assert_eq!(ran.code, 6, "the run failed, because its write was denied: {ran:#?}");
    assert_eq!(ran.document()["run"]["ended_by"]["class"], "policy_error", "{ran:#?}");
    assert!(office.writes().is_empty());
    assert_eq!(office.world.hash(), before);
    // Reads need nobody; every write of the matrix is denied.
    let read = ["intent", "submit", "churn_risk_read", "--input", "account=ACC-0007", "--wait"];
    assert_eq!(office.json(&read).exits(0).document()["run"]["status"], "succeeded");
    let matrix = office.json(&["policy", "matrix"]).exits(0).document();
    let rows = matrix["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["effect"] == "write"));
    for row in rows.iter().filter(|row| row["effect"] == "write") {
        assert_eq!(row["asks"], "denied", "{row}");
    }
    let words =
        ["policy", "explain", "crm.update_contract", "--args", r#"{"contract":"CTR-0042"}"#];
    let denied = office.json(&words).exits(6).document();
    assert_eq!(denied["verdict"], "deny", "{denied}");
}

#[test]
fn a_typo_in_a_policy_is_a_load_error_with_its_line() {
    let office = Office::open();
    for (wrong, named) in [
        (
            "action == Action::\"billing.create_refund\", resource)\nwhen { context.args.ammount > 1 };",
            "ammount",
        ),
        ("action == Action::\"billing.create_refnd\", resource);", "billing.create_refnd"),
        (
            "action == Action::\"billing.create_refund\", resource)\nwhen { context.agrs.amount > 1 };",
            "agrs",
        ),
        ("action == Action::\"billing.create_refund\", resource", "operator.cedar"),
    ] {
        let text = format!("{PERMIT_ALL}@id(\"x\")\n@reason(\"x\")\nforbid (principal, {wrong}\n");
        fs::write(office.path("operator.cedar"), &text).unwrap();
        let problem = office.json(&["policy", "check"]).exits(2).problem();
        assert_eq!(problem["code"], "policy-invalid", "{problem}");
        assert!(problem.to_string().contains(named), "{named}: {problem}");
        let place = problem["at"][0].as_str().unwrap();
        let line = place.split("operator.cedar:").nth(1).and_then(|l| l.split(':').next());
        let line: usize = line.unwrap_or_else(|| panic!("{place}")).parse().unwrap();
        let first = PERMIT_ALL.lines().count() + 1;
        assert!((first..=text.lines().count() + 1).contains(&line), "{line}: {problem}");
    }
}

#[test]
fn the_shipped_policies_check_explain_and_tabulate() {
    let office = Office::served();
    let checked = office.json(&["policy", "check"]).exits(0).document();
    let pack = &checked["packs"][0];
    assert_eq!(pack["failed"], json!([]), "{checked:#}");
    assert!(pack["passed"].as_u64().unwrap() >= 5, "{checked:#}");

    let explain = |words: &[&str]| office.json(&[&["policy", "explain"], words].concat());
    let refund = r#"{"invoice":"in_000042_1","amount":50000,"currency":"eur","reason":"goodwill"}"#;
    let asks = explain(&["billing.create_refund", "--args", refund]).exits(0).document();
    assert_eq!(asks["verdict"], "ask", "{asks:#}");
    assert!(asks["needs"].to_string().contains("finance"), "{asks:#}");
    let reads = explain(&["crm.get_account", "--args", r#"{"account":"ACC-0042"}"#]).exits(0);
    assert_eq!(reads.document()["verdict"], "allow");
    let churn = ["crm.mark_churn_risk", "--agent", "agent:churn-risk"];
    assert_eq!(explain(&churn).exits(6).document()["verdict"], "deny");
    assert_eq!(explain(&["crm.sing"]).exits(3).problem()["code"], "operation-not-found");

    let matrix = office.json(&["policy", "matrix", "agent:churn-risk"]).exits(0).document();
    let rows = matrix["rows"].as_array().unwrap();
    let asks = |effect: &str| {
        rows.iter().filter(|r| r["effect"] == effect).map(|r| r["asks"].clone()).collect::<Vec<_>>()
    };
    assert!(asks("read").iter().all(|a| a == "no"), "it reads everything: {matrix:#}");
    assert!(asks("write").iter().all(|a| a == "denied"), "it writes nothing: {matrix:#}");
}

/// 100 MB of answer to a write: the effect is recorded, the answer is a reference with a preview, and
/// the run goes on.
#[test]
fn a_huge_answer_becomes_a_reference_and_the_run_goes_on() {
    let office = Office::served();
    // How long 100 MB take is the machine's to say, and not what this is about.
    let connector = office.path("packs/customer-ops/connectors/crm.yaml");
    let text = fs::read_to_string(&connector).unwrap();
    fs::write(&connector, text.replace("timeout_ms: 8000", "timeout_ms: 300000")).unwrap();
    office.world.fault(&json!({
        "system": "crm", "operation": "crm.update_contract", "kind": "huge", "megabytes": 100,
    }));
    let run = id_of(&office.submit_change("ACC-0007", 45, "huge"));
    let (approval, digest) = office.card(&run);
    let words = ["approval", "approve", &approval, "--digest", &digest];
    office.json_as("mira", &words).exits(0);
    // The same key again: this run, and this time with patience.
    let again = crate::support::change("ACC-0007", 45, "huge");
    let words = [&again.each()[..], &["--wait", "--timeout", "30m"]].concat();
    let ended = office.json(&words).exits(0).document();
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 45);
    office.world.performed_nothing_twice();

    let events = office.json(&["run", "events", &run]).exits(0);
    assert!(events.stdout.len() < 1_000_000, "the journal took the bytes in");
    let bundle = office.path("huge.bundle");
    office.json(&["run", "export", &run, "--to", bundle.to_str().unwrap()]).exits(0);
    let bundle = fs::read_to_string(bundle).unwrap();
    assert!(bundle.contains("$blob"), "the answer is a reference");
    assert!(bundle.len() < 5_000_000, "nor did the bundle: {}", bundle.len());
    office.json(&["receipt", "verify", &run]).exits(0);
}

/// An answer that nobody can hold to what the operation promises is not kept for later either.
#[test]
fn a_huge_answer_that_must_be_checked_is_a_failure_with_a_way_out() {
    let office = Office::served();
    office.world.fault(&json!({
        "system": "usage", "operation": "usage.get_usage", "kind": "huge", "megabytes": 100,
    }));
    let words = ["intent", "submit", "churn_risk_read", "--input", "account=ACC-0042", "--wait"];
    let ran = office.json(&words);
    let run = id_of(&ran.document());
    let detail = office.json(&["run", "get", &run]).exits(0).document();
    let actions = detail["actions"].as_array().unwrap();
    let read = actions.iter().find(|a| a["operation"] == "usage.get_usage").unwrap();
    assert!(read["receipt"].is_string(), "it was recorded: {read}");
    assert_eq!(read["outcome"], "failed:unexpected_shape", "{read}");
    assert_eq!(detail["run"]["status"], "partial", "{detail:#}");
}

/// C214: the case nobody foresaw gets less autonomy and is shown for review.
#[test]
fn inputs_unlike_those_before_ask_even_where_policy_does_not() {
    let office = Office::open();
    let permits = PERMIT_ALL.replace("office.all", "pack.all");
    let policies = office.path("packs/customer-ops/policies");
    fs::write(policies.join("customer-ops.cedar"), permits).unwrap();
    fs::remove_file(policies.join("customer-ops.test.yaml")).unwrap();
    let config = fs::read_to_string(office.config()).unwrap();
    fs::write(office.config(), config + "[unusual]\nafter = 5\n").unwrap();
    let submit = |account: &str, days: u32, key: &str| {
        let words = change(account, days, key);
        office.json(&[&words.each()[..], &["--wait"]].concat())
    };
    for n in 1..=5 {
        let done =
            submit(&format!("ACC-000{n}"), 30 + n, &format!("usual {n}")).exits(0).document();
        assert_eq!(done["run"]["status"], "succeeded", "{done:#}");
        assert_eq!(done["run"]["unusual"], json!([]), "{done:#}");
    }
    let like = submit("ACC-0019", 40, "another account").exits(0).document();
    assert_eq!(like["run"]["status"], "succeeded", "{like:#}");

    let before = office.world.hash();
    let far = submit("ACC-0012", 150, "a slip of the finger").exits(7).document();
    assert_eq!(far["run"]["status"], "asking", "{far:#}");
    assert_eq!(far["run"]["unusual"], json!(["`/value` is far outside the range it had"]));
    assert_eq!(office.world.hash(), before);
    let run = id_of(&far);
    let (approval, _) = office.card(&run);
    let card = office.json(&["approval", "get", &approval]).exits(0).document();
    let why = card["why"].as_array().unwrap();
    let why = why.iter().find(|why| why["rule"] == "kernel/unusual-input");
    let why = why.unwrap_or_else(|| panic!("{card:#}"));
    assert!(why["reason"].as_str().unwrap().contains("`/value`"), "{card:#}");
    let shown = office.run(&["run", "get", &run]).exits(0).stdout;
    assert!(shown.contains("`/value` is far outside the range it had"), "{shown}");
    assert_eq!(office.approve(&run).exits(0).document()["status"], "succeeded");
    let replayed = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed}");
}
