//! Digests and plans: equal in, equal out; anything else shows.

use std::collections::BTreeSet;

use kernel::{
    Digest,
    exception::Class,
    operation::{Effect, Operation},
    plan::{Asks, Plan},
    playbook::{Recovery, Work, visit_steps},
};
use pack::{Pack, Pins, Schemas};
use serde_json::{Value, json};

use crate::support::{Files, customer_ops, edit, load, shipped, show, small};

fn forecast(operation: &Operation) -> Asks {
    match operation.facts.effect {
        Effect::Read => Asks::No,
        Effect::Write => {
            Asks::Always { approvals: [("approver".to_owned(), 1)].into(), rules: vec!["r".into()] }
        }
    }
}

fn pins() -> Pins {
    Pins { policy_digest: Digest::of(b"policy"), config_digest: Digest::of(b"config") }
}

fn pack(files: &Files) -> Pack {
    load(files).unwrap_or_else(|problems| panic!("\n{}", show(&problems))).pack
}

fn plan(pack: &Pack, intent: &str, inputs: &Value) -> Plan {
    pack.compile(intent, inputs, pins(), (&Schemas::new(), &forecast)).unwrap()
}

fn rows(plan: &Plan) -> Vec<(&str, &str, u64, bool)> {
    plan.steps
        .iter()
        .map(|s| (s.path.as_str(), s.operation.as_str(), s.times_max, s.conditional))
        .collect()
}

#[test]
fn the_digest_is_that_of_names_and_bytes() {
    let digest = |files: &Files| pack(files).digest;
    assert_eq!(digest(&small()), digest(&small()));
    // Held against an independent computation: canonical JSON of path and SHA-256, sorted.
    let listing: Vec<Value> = small()
        .iter()
        .map(|(path, bytes)| json!({"path": path, "sha256": Digest::of(bytes).hex()}))
        .collect();
    assert_eq!(digest(&small()), kernel::canon::digest(&listing).unwrap());
    let mut other = small();
    other.insert("README.md".to_owned(), b"x".to_vec());
    assert_ne!(digest(&other), digest(&small()));
    let mut renamed = small();
    let bytes = renamed.remove("playbooks/check.yaml").unwrap();
    renamed.insert("playbooks/other.yaml".to_owned(), bytes);
    assert_ne!(digest(&renamed), digest(&small()));
}

/// C099: the digest of a plan tells another pack, policy or configuration.
#[test]
fn equal_inputs_give_an_equal_plan_and_anything_else_another() {
    let one = pack(&small());
    let inputs = json!({"account": "A", "note": "n"});
    let hash = |pack: &Pack, inputs: &Value, pins: Pins| {
        pack.compile("check", inputs, pins, (&Schemas::new(), &forecast)).unwrap().digest().unwrap()
    };
    let base = hash(&one, &inputs, pins());
    assert_eq!(
        base,
        hash(&pack(&small()), &json!({"note": "n", "account": "A"}), pins()),
        "field order"
    );
    let mut seen = BTreeSet::from([base]);
    let mut another =
        |what: &str, digest: Digest| assert!(seen.insert(digest), "{what} does not show");
    another("an input", hash(&one, &json!({"account": "B", "note": "n"}), pins()));
    another("a missing input", hash(&one, &json!({"account": "A"}), pins()));
    another("policy", hash(&one, &inputs, Pins { policy_digest: Digest::of(b"x"), ..pins() }));
    another(
        "configuration",
        hash(&one, &inputs, Pins { config_digest: Digest::of(b"x"), ..pins() }),
    );
    for (file, from, to) in [
        ("pack.yaml", "limit: 5", "limit: 6"),
        ("pack.yaml", "owner: tests", "owner: others"),
        ("playbooks/check.yaml", "max: 10\n", "max: 11\n"),
        ("connectors/crm.yaml", "summary: List", "summary: Lists"),
        ("exceptions.yaml", "times: 3", "times: 4"),
        ("kpis.yaml", "window: 30d", "window: 31d"),
    ] {
        let mut files = small();
        edit(&mut files, file, from, to);
        another(file, hash(&pack(&files), &inputs, pins()));
    }
}

#[test]
fn a_plan_lists_every_call_with_its_worst_case() {
    let plan = plan(&pack(&small()), "check", &json!({"account": "A"}));
    assert_eq!(
        rows(&plan),
        [
            // Once, and three retries from exceptions.yaml.
            ("first", "crm.get", 4, false),
            // Two retries of its own; it has a condition.
            ("second", "crm.set", 3, true),
            ("second!before", "crm.get", 1, true),
            ("second!undo", "crm.set", 1, true),
            ("second!undo!before", "crm.get", 1, true),
            ("third[]/inner", "crm.list", 10, true),
        ]
    );
    let second = &plan.steps[1];
    assert_eq!(second.cost_max.unwrap().to_string(), "EUR 0.09");
    assert!(matches!(second.asks, Asks::Always { .. }));
    assert_eq!(plan.steps[0].asks, Asks::No);
    assert_eq!(plan.schema, "harness.plan/v1");
    assert_eq!(plan.constants, json!({"limit": 5}));
}

#[test]
fn the_nearest_recovery_wins() {
    let mut files = small();
    let rules = "- where: check\n    class: timeout\n    recover: [stop]\n  - where: \"*\"\n    class: [timeout";
    edit(&mut files, "exceptions.yaml", "- where: \"*\"\n    class: [timeout", rules);
    let plan = plan(&pack(&files), "check", &json!({"account": "A"}));
    let at = |path: &str, class: Class| {
        let mut found = None;
        visit_steps(&plan.playbook.steps, &mut |at, step| {
            if at == path {
                found = step.on_failure.get(&class).cloned();
            }
        });
        found
    };
    assert_eq!(
        at("first", Class::Timeout),
        Some(vec![Recovery::Stop]),
        "playbook before operation"
    );
    assert_eq!(at("third[]/inner", Class::Timeout), Some(vec![Recovery::Stop]));
    let escalate = Recovery::Escalate { owner: "approver".to_owned() };
    assert_eq!(
        at("third[]/inner", Class::Unavailable),
        Some(vec![escalate]),
        "everywhere comes last"
    );
    let own = at("second", Class::RateLimit).unwrap();
    assert_eq!(own[0], Recovery::Retry { times: 2, delay_ms: 1_000 }, "the step before all");
}

#[test]
fn shared_retries_never_reach_a_write_that_must_not_be_repeated() {
    let pack = customer_ops();
    let inputs = json!({"account": "ACC-0042"});
    let plan = plan(&pack, "renewal_risk_review", &inputs);
    visit_steps(&plan.playbook.steps, &mut |path, step| {
        let Work::Do { operation, .. } = &step.work else { return };
        for class in [Class::Timeout, Class::Unavailable, Class::InDoubt] {
            let recoveries = step.on_failure.get(&class).into_iter().flatten();
            let retries = recoveries.filter(|r| matches!(r, Recovery::Retry { .. })).count();
            assert!(operation.as_str() != "mail.send" || retries == 0, "{path} {class:?}");
        }
    });
}

#[test]
fn shipped_intents_compile_and_inline_other_playbooks() {
    let pack = customer_ops();
    let account = json!({"account": "ACC-0042"});
    let review = plan(&pack, "renewal_risk_review", &account);
    let paths: Vec<&str> = review.steps.iter().map(|step| step.path.as_str()).collect();
    for path in [
        "account",
        "signals/sources/usage",
        "signals/balance",
        "churn",
        "churn!before",
        "forecast",
        "forecast!undo",
        "outreach",
    ] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    let systems: BTreeSet<&str> =
        review.steps.iter().map(|step| step.operation.connector()).collect();
    assert_eq!(
        systems.into_iter().collect::<Vec<_>>(),
        ["billing", "crm", "desk", "mail", "usage"]
    );
    let read_only = plan(&pack, "churn_risk_read", &account);
    assert!(read_only.steps.iter().all(|step| step.facts.effect == Effect::Read));
    plan(&pack, "support_escalation", &json!({"account": "ACC-0042", "ticket": 7_000_421}));
    let change = json!({"account": "ACC-0042", "field": "NoticePeriodDays", "value": "60", "reason": "agreed"});
    plan(&pack, "contract_field_change", &change);
    let refund =
        json!({"invoice": "in_000042_1", "amount": 500, "currency": "eur", "reason": "outage"});
    plan(&pack, "goodwill_refund", &refund);
}

#[test]
fn inputs_are_checked_before_anything_is_planned() {
    let pack = customer_ops();
    let said = |intent: &str, inputs: Value| {
        pack.compile(intent, &inputs, pins(), (&Schemas::new(), &forecast)).unwrap_err().to_string()
    };
    assert!(said("renewal_risk_reviw", json!({})).contains("did you mean `renewal_risk_review`?"));
    assert!(said("renewal_risk_review", json!({})).contains("`account` is required"));
    assert!(
        said("renewal_risk_review", json!({"acount": "ACC-0042"}))
            .contains("did you mean `account`?")
    );
    let secret = said("renewal_risk_review", json!({"account": "hunter2"}));
    assert!(secret.contains("/account") && !secret.contains("hunter2"), "{secret}");
}

#[test]
fn nothing_a_plan_may_call_is_beyond_what_the_pack_asks_for() {
    let pack = pack(&shipped("customer-ops"));
    for (intent, inputs) in [
        ("renewal_risk_review", json!({"account": "ACC-0042"})),
        ("support_escalation", json!({"account": "ACC-0042", "ticket": 7_000_421})),
    ] {
        for step in plan(&pack, intent, &inputs).steps {
            assert!(pack.manifest.asks.operations.contains(&step.operation), "{}", step.operation);
        }
    }
}
