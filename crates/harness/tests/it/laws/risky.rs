//! The shipped pack: six risky actions ask (C177), and the churn-risk agent only reads (C161, C343).

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, LazyLock},
};

use kernel::{
    catalogue::Catalogue,
    event::Stage,
    exception::{Class, Landed},
    gate::Permit,
    input::Answer,
    plan::Asks,
    port::Outcome,
    principal::Chain,
    run::AskView,
};
use pack::Pack;
use planner::PlaybookPlanner;
use policy::{Bundle, INHERITED, Layer, STARTER};
use serde_json::{Map, Value, json};
use testkit::person;

use super::gate::{One, first};
use crate::labels::rig::{
    ALL, Outside, Rig, Setup, agent, bundle, failed, labelled, run_id, taken_in,
};

const SIX: [(&str, &str); 6] = [
    ("mail.send", "approver"),
    ("crm.update_contract", "approver"),
    ("desk.create_escalation", "approver"),
    ("crm.update_forecast", "approver"),
    ("billing.create_refund", "finance"),
    ("crm.mark_churn_risk", "approver"),
];

fn shipped() -> &'static Pack {
    static PACK: LazyLock<Pack> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/customer-ops");
        let files = harness::app::shelf::read_folder(&root).unwrap();
        Pack::load(files).unwrap_or_else(|problems| panic!("{problems:#?}")).pack
    });
    &PACK
}

fn catalogue() -> &'static Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> =
        LazyLock::new(|| Arc::new(shipped().catalogue.clone()));
    &CATALOGUE
}

/// An operator who permits everything and inherits what everybody does, over the pack's own rules.
fn generous() -> Arc<Bundle> {
    let operator = format!("{ALL}{INHERITED}");
    let mut layers = vec![(Layer::Operator, operator.as_str())];
    layers.extend(shipped().policies.iter().map(|text| (Layer::Pack, text.text.as_str())));
    Arc::new(bundle(catalogue(), &layers))
}

fn chain(id: &str) -> Chain {
    Chain {
        agent: agent(id, &[]),
        on_behalf_of: person("person:mira", &["requester"]),
        tenant: Default::default(),
    }
}

/// The arguments that the pack's own policy cases use.
fn args(operation: &str) -> Value {
    let mut cases = shipped().policy_cases.iter();
    cases.find(|case| case.operation.as_str() == operation).unwrap().args.clone()
}

/// The smallest value that fits a schema, as far as these schemas go.
pub(crate) fn sample(schema: &Value) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values[0].clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds[0].as_str(),
        other => other.and_then(Value::as_str),
    };
    let number = || schema.get("minimum").cloned().unwrap_or_else(|| json!(1));
    match kind {
        Some("string") if schema.get("format") == Some(&json!("date-time")) => {
            json!("1970-01-01T00:00:01Z")
        }
        Some("string") if schema.get("format") == Some(&json!("date")) => json!("1970-01-01"),
        Some("string") if schema.get("format") == Some(&json!("decimal")) => json!("1.0"),
        Some("string") => json!("something"),
        Some("integer" | "number") => number(),
        Some("boolean") => json!(true),
        Some("array") => json!([sample(&schema["items"])]),
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array);
            let names = required.into_iter().flatten().filter_map(Value::as_str);
            let fields: Map<String, Value> =
                names.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect();
            Value::Object(fields)
        }
        _ => Value::Null,
    }
}

/// Answers as the schemas say; people say yes where `approves`.
struct Systems {
    approves: bool,
    called: BTreeSet<String>,
}

impl Systems {
    fn silent() -> Self {
        Self { approves: false, called: BTreeSet::new() }
    }

    fn approving() -> Self {
        Self { approves: true, ..Self::silent() }
    }
}

impl Outside for Systems {
    fn call(&mut self, permit: &Permit) -> Outcome {
        self.called.insert(permit.operation().id.to_string());
        let mut answer = sample(&permit.operation().output);
        let freshness = permit.operation().contract.freshness.as_ref();
        if let Some(at) = freshness.and_then(|fresh| answer.pointer_mut(&fresh.at)) {
            *at = json!("1970-01-01T00:00:01Z");
        }
        let outcome = taken_in(permit, answer);
        outcome.or_else(|_| failed(Class::Unavailable, Landed::No))
    }

    fn approve(&mut self, _: &AskView) -> Option<Answer> {
        self.approves.then_some(Answer::Approve)
    }
}

/// C177: mail to a customer, a contract field, an escalation, the forecast, a refund and the churn mark
/// wait for a person even where the operator permits everything.
#[test]
fn each_of_the_six_risky_actions_asks() {
    let judge = generous();
    for (operation, role) in SIX {
        let entry = catalogue().get(&operation.parse().unwrap()).unwrap();
        match judge.forecast(&entry.operation) {
            Asks::Always { approvals, .. } | Asks::Maybe { approvals, .. } => {
                assert!(approvals.contains_key(role), "{operation}: {approvals:?}");
            }
            other => panic!("{operation}: {other:?}"),
        }
        let one = One {
            catalogue: catalogue(),
            args: args(operation),
            agent: "agent:renewals",
            ..One::of("crm.get", judge.clone())
        };
        let one = One { operation, ..one };
        let silent = first(&one.walk(&mut Systems::silent()));
        assert!(silent.asked && silent.dispatches.is_empty(), "{operation}: {:?}", silent.rejected);
        assert!(silent.decisions.iter().any(|d| d.rules.iter().any(|rule| rule.layer == "pack")));
        let rig = one.walk(&mut Systems::approving());
        let act = first(&rig);
        assert!(
            !act.went_unasked() && act.dispatches.len() == 1,
            "{operation}: {:?}",
            act.rejected
        );
        let receipt = rig.receipts().into_iter().find(|r| r.action == act.seq).unwrap();
        assert!(receipt.approvals.iter().any(|given| given.roles.contains(role)), "{operation}");
    }
}

/// C177: where nothing but the starter set is installed, none of the six can happen at all.
#[test]
fn without_an_operators_policy_none_of_the_six_can_happen() {
    let mut layers = vec![(Layer::Operator, STARTER)];
    layers.extend(shipped().policies.iter().map(|text| (Layer::Pack, text.text.as_str())));
    let judge = Arc::new(bundle(catalogue(), &layers));
    for (operation, _) in SIX {
        let one = One {
            catalogue: catalogue(),
            args: args(operation),
            ..One::of("crm.get", judge.clone())
        };
        let act = first(&One { operation, ..one }.walk(&mut Systems::approving()));
        assert!(act.dispatches.is_empty() && !act.asked, "{operation}");
    }
}

/// What the playbook of the churn-risk agent uses.
fn needed() -> BTreeSet<String> {
    let pins = pack::Pins { policy_digest: Default::default(), config_digest: Default::default() };
    let inputs = json!({"account": "ACC-0042"});
    let plan = shipped()
        .compile("churn_risk_read", &inputs, pins, (&pack::Schemas::new(), &|_| Asks::No))
        .unwrap();
    plan.steps.iter().map(|step| step.operation.to_string()).collect()
}

/// C343, C161: it reads four systems; it may not write mail, forecast, contract or anything else, and no
/// approval changes that. It may read a contract and its history, and not change it.
#[test]
fn the_churn_risk_agent_reads_what_it_needs_and_writes_nothing() {
    assert_eq!(
        shipped().intents["churn_risk_read"].agent.as_ref().map(ToString::to_string),
        Some("agent:churn-risk".to_owned())
    );
    let needed = needed();
    let systems: BTreeSet<&str> = needed.iter().filter_map(|id| id.split('.').next()).collect();
    assert_eq!(systems, BTreeSet::from(["billing", "crm", "desk", "usage"]));
    let judge = generous();
    let rows = judge.matrix(&chain("agent:churn-risk"), catalogue());
    assert_eq!(rows.len(), catalogue().iter().count(), "a row for every operation");
    for row in &rows {
        let entry = catalogue().get(&row.operation).unwrap();
        if entry.operation.is_write() {
            assert!(matches!(row.asks, Asks::Denied { .. }), "{}: {:?}", row.operation, row.asks);
        } else if needed.contains(row.operation.as_str()) {
            assert_eq!(row.asks, Asks::No, "{}", row.operation);
        }
    }
    let asks = |id: &str| &rows.iter().find(|row| row.operation.as_str() == id).unwrap().asks;
    assert_eq!(*asks("crm.get_contract"), Asks::No);
    assert_eq!(*asks("crm.list_contracts"), Asks::No);
    for (operation, _) in SIX {
        let one = One {
            catalogue: catalogue(),
            args: args(operation),
            agent: "agent:churn-risk",
            ..One::of("crm.get", judge.clone())
        };
        let act = first(&One { operation, ..one }.walk(&mut Systems::approving()));
        assert!(act.dispatches.is_empty() && !act.asked, "{operation}");
        assert_eq!(act.rejected.map(|(stage, _)| stage), Some(Stage::Policy), "{operation}");
    }
    // Another agent may be asked for the same things.
    let others = judge.matrix(&chain("agent:renewals"), catalogue());
    let denied = others.iter().filter(|row| matches!(row.asks, Asks::Denied { .. })).count();
    assert_eq!(denied, 0);
}

/// The same through a whole run of its playbook: reads only, nobody asked, nothing written.
#[test]
fn a_run_of_the_churn_risk_agent_only_reads() {
    let judge = generous();
    let pins = pack::Pins { policy_digest: judge.digest(), config_digest: Default::default() };
    let inputs = json!({"account": "ACC-0042"});
    let forecast = |operation: &kernel::operation::Operation| judge.forecast(operation);
    let schemas = pack::Schemas::new();
    let plan = shipped().compile("churn_risk_read", &inputs, pins, (&schemas, &forecast)).unwrap();
    let plan = Arc::new(plan);
    let mut systems = Systems::approving();
    let mut rig = Rig::open(Setup {
        catalogue: Arc::clone(catalogue()),
        policy: judge.digest(),
        judge,
        planner: Box::new(PlaybookPlanner::new(Arc::clone(&plan), &run_id()).unwrap()),
        plan,
        intent: labelled(inputs, kernel::label::Trust::User, &[]),
        budget: Default::default(),
        agent: agent("agent:churn-risk", &[]),
    });
    rig.drive(&mut systems);
    let outcomes: Vec<_> = rig.calls.iter().map(|call| &call.outcome).collect();
    assert!(systems.called.len() >= 2, "{:?} {outcomes:?}", systems.called);
    assert!(rig.calls.iter().all(|call| !call.operation.is_write()));
    assert!(rig.acts().iter().all(|act| !act.asked && act.rejected.is_none()));
}
