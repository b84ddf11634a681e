//! What runs are pinned to: operations of every kind, and the plan of a scenario.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use kernel::{
    approval::ApproverRule,
    budget::Budget,
    catalogue::Catalogue,
    decision::{Autonomy, Mode},
    event::{Header, MACHINE},
    id::{Digest, RunId, Tenant},
    label::LabelMap,
    operation::{Binding, Companion, Effect, Facts, Operation, Probe, ResourceRule, Retry, Undo},
    plan::{Asks, Plan, PlanStep},
    planning::Labelled,
    playbook::{Playbook, Step, Work, visit_steps},
    principal::{Chain, Grant, Kind, Principal},
    run::{Genesis, Pins},
};
use planner::Program;
use serde_json::{Value, json};
use testkit::{Rules, clean, operation, person};

use crate::scenario::{Again, Person, Remedy, Scenario, Shape, Undo2};

/// After how long a negative probe is final.
const CONCLUSIVE_AFTER_MS: u64 = 2_000;
/// How long a step waits for its signal and a question for its answer.
const PATIENCE_MS: i64 = 3_600_000;
/// How long a call of any operation here may take, in milliseconds: the test kit's.
pub(crate) const TIMEOUT_MS: i64 = 1_000;
/// The role that answers.
pub(crate) const ROLE: &str = "approver";
/// The one signal.
pub(crate) const SIGNAL: &str = "go";

/// Everything a run of one scenario is pinned to.
#[derive(Debug)]
pub(crate) struct Company {
    catalogue: Arc<Catalogue>,
    program: Program,
    header: Header,
    /// Who is asked about what.
    pub(crate) rules: Rules,
}

/// What decides the plan of a scenario.
type Sort = (Shape, Undo2, Again, Remedy, bool);

thread_local! {
    static CATALOGUE: Arc<Catalogue> =
        Arc::new(Catalogue::new(operations()).expect("distinct operations"));
    static COMPANIES: RefCell<HashMap<Sort, Arc<Company>>> = RefCell::default();
}

/// The operation a scenario's writes use.
pub(crate) fn write_operation(undo: Undo2, again: Again) -> String {
    format!("t.{}_{}", undo.word(), again.word())
}

fn take_back_operation(undo: Undo2, again: Again) -> String {
    format!("t.un_{}_{}", undo.word(), again.word())
}

fn from(pointer: &str) -> Binding {
    Binding::From(pointer.to_owned())
}

fn companion(operation: &str, with: &[(&str, &str)], image: &[&str]) -> Companion {
    Companion {
        operation: operation.parse().expect("an operation id"),
        with: with.iter().map(|(name, at)| ((*name).to_owned(), from(at))).collect(),
        image: image.iter().map(|at| (*at).to_owned()).collect(),
    }
}

fn probe(again: Again) -> Option<Probe> {
    let conclusive_after_ms = match again {
        Again::Keyed | Again::Never => return None,
        Again::Probed => Some(CONCLUSIVE_AFTER_MS),
        Again::Glimpsed => None,
    };
    let call = companion("t.find", &[("key", "/key")], &[]);
    Some(Probe { call, happened: "/found".to_owned(), conclusive_after_ms })
}

fn operations() -> Vec<Operation> {
    let mut all = vec![
        operation("t.get", Effect::Read, Undo::None, Retry::Keyed),
        operation("t.find", Effect::Read, Undo::None, Retry::Keyed),
    ];
    for undo in Undo2::ALL {
        for again in Again::ALL {
            let id = write_operation(undo, again);
            let mut write = operation(&id, Effect::Write, undo.undo(), again.retry());
            write.resource = Some(ResourceRule { kind: "Record".into(), id: "/id".into() });
            write.companions.probe = probe(again);
            if undo == Undo2::None {
                all.push(write);
                continue;
            }
            let back_id = take_back_operation(undo, again);
            let mut back = operation(&back_id, Effect::Write, Undo::None, again.retry());
            back.companions.probe = probe(again);
            let mut with = vec![("id", "/args/id"), ("of", "/key")];
            if undo == Undo2::Restore {
                with.push(("value", "/before/value"));
                let before = companion("t.get", &[("id", "/args/id")], &["/value"]);
                write.companions.before = Some(before);
                // The undo of a restore reads back what is there then.
                back.companions.before =
                    Some(companion("t.get", &[("id", "/args/id")], &["/value"]));
            }
            write.companions.undo_with = Some(companion(&back_id, &with, &[]));
            all.extend([write, back]);
        }
    }
    all
}

fn recoveries(remedy: Remedy) -> Value {
    let list = match remedy {
        Remedy::Stop => return json!({}),
        Remedy::Retry => {
            json!([{"recovery": "retry", "times": 1, "delay_ms": 100}, {"recovery": "stop"}])
        }
        Remedy::Escalate => json!([{"recovery": "escalate", "owner": "ops"}]),
    };
    json!({"unavailable": list, "timeout": list, "stale": list})
}

fn playbook(sort: Sort) -> Vec<Step> {
    let (shape, undo, again, remedy, _) = sort;
    let write = |id: &str, record: &str| {
        let with = json!({"id": record, "value": format!("new {id}")});
        json!({
            "id": id, "on_failure": recoveries(remedy),
            "work": {"kind": "do", "operation": write_operation(undo, again), "with": with},
        })
    };
    let read = json!({
        "id": "read", "work": {"kind": "do", "operation": "t.get", "with": {"id": "r1"}},
    });
    let steps = match shape {
        Shape::Single => json!([write("a", "r1")]),
        Shape::Line => json!([read, write("a", "r1"), write("b", "r1")]),
        Shape::Parallel => {
            let branches = [write("a", "r1"), write("b", "r2")];
            json!([{"id": "p", "work": {"kind": "parallel", "branches": branches}}, write("c", "r1")])
        }
        Shape::Each => {
            let with = json!({"id": "${{ item }}", "value": "new"});
            let body = json!([{
                "id": "w", "on_failure": recoveries(remedy),
                "work": {"kind": "do", "operation": write_operation(undo, again), "with": with},
            }]);
            let turns = json!({
                "kind": "for_each", "items": "intent.items", "var": "item", "max": 3, "steps": body,
            });
            json!([{"id": "e", "work": turns}])
        }
        Shape::Waits => {
            let wait = json!({"kind": "await", "signal": SIGNAL, "timeout_ms": PATIENCE_MS});
            let ask = json!({
                "kind": "ask", "question": "go on?", "answer": {"type": "boolean"}, "role": ROLE,
                "expires_ms": PATIENCE_MS,
            });
            json!([
                write("a", "r1"), {"id": "s", "work": wait}, {"id": "q", "work": ask},
                write("b", "r2"),
            ])
        }
    };
    serde_json::from_value(steps).expect("steps")
}

fn plan_of(steps: Vec<Step>) -> Plan {
    let mut held = Vec::new();
    visit_steps(&steps, &mut |path, step| {
        let Work::Do { operation, .. } = &step.work else { return };
        let effect = if operation.as_str() == "t.get" { Effect::Read } else { Effect::Write };
        held.push(PlanStep {
            path: path.to_owned(),
            operation: operation.clone(),
            definition: Digest::default(),
            facts: Facts { effect, ..Facts::default() },
            times_max: 3,
            cost_max: None,
            conditional: false,
            asks: Asks::No,
        });
    });
    Plan {
        schema: "harness.plan/v1".into(),
        intent: "sim".into(),
        inputs: Some(Digest::default()),
        pack: "sim".into(),
        pack_version: "1.0.0".into(),
        pack_digest: Digest::default(),
        policy_digest: Digest::default(),
        config_digest: Digest::default(),
        servers: Default::default(),
        steps: held,
        playbook: Playbook { name: "sim".into(), steps },
        constants: json!({}),
        hooks: Vec::new(),
    }
}

fn header(catalogue: &Catalogue, plan: &Plan) -> Header {
    let agent = Principal {
        id: "agent:sim".parse().expect("an id"),
        kind: Kind::Agent,
        roles: Default::default(),
    };
    let chain =
        Chain { agent, on_behalf_of: person("person:mira", &[]), tenant: Tenant::default() };
    Header {
        machine: MACHINE,
        chain,
        intent: "sim".into(),
        pack: "sim@1.0.0".into(),
        pack_digest: Digest::default(),
        plan: plan.digest().expect("a plan"),
        policy: Digest::default(),
        config: Digest::default(),
        grant: Grant { operations: catalogue.iter().map(|(id, _)| id.clone()).collect() },
        budget: Budget::default(),
        approvers: ApproverRule::default(),
        autonomy: Autonomy::L2,
        mode: Mode::Live,
        owner: "owner".into(),
        unusual: Vec::new(),
        submitted_by: None,
    }
}

impl Company {
    /// The company of a scenario; made once per thread and sort.
    pub(crate) fn of(scenario: &Scenario) -> Arc<Self> {
        let asks = scenario.person != Person::NotAsked;
        let sort = (scenario.shape, scenario.undo, scenario.again, scenario.remedy, asks);
        COMPANIES.with_borrow_mut(|known| {
            Arc::clone(known.entry(sort).or_insert_with(|| Arc::new(Self::new(sort))))
        })
    }

    fn new(sort: Sort) -> Self {
        let catalogue = CATALOGUE.with(Arc::clone);
        let program = Program::compile(Arc::new(plan_of(playbook(sort)))).expect("a playbook");
        let header = header(&catalogue, program.plan());
        let (_, undo, again, _, asks) = sort;
        let rules = Rules::default();
        let rules = if asks { rules.ask(&write_operation(undo, again), ROLE, 1) } else { rules };
        Self { catalogue, program, header, rules }
    }

    pub(crate) fn pins(&self, run: &RunId) -> Pins {
        let (plan, catalogue) = (Arc::clone(self.program.plan()), Arc::clone(&self.catalogue));
        Pins { plan, catalogue, planner: Box::new(self.program.planner(run)) }
    }

    pub(crate) fn genesis(&self) -> Genesis {
        let intent = json!({"items": ["r1", "r2"]});
        Genesis {
            id: RunId::of_intent(&Tenant::default(), "sim", "key"),
            header: self.header.clone(),
            intent: Labelled { value: Arc::new(intent), labels: LabelMap::uniform(clean()) },
            subjects: vec![],
        }
    }
}
