#![allow(clippy::expect_used, reason = "development only: a broken script should stop its test")]
//! The scripted parts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kernel::{
    action::Proposal,
    decision::{Decision, Question, Requirement, Rule, Verdict},
    exception::Class,
    hook::{HOOK_CONNECTOR, Hook, Moment},
    id::{At, Digest},
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Binding, Companion, Effect, Facts, Operation, Retry, Undo},
    plan::{Asks, Plan, PlanStep},
    planning::{Caveat, Labelled, Move, Observation, Planner, Resolution, Settled, Wait},
    playbook::Playbook,
    port::{Judge, Salts, Validate, Violation},
    principal::{Kind, Principal},
    sealed::Salt,
};
use serde_json::{Value, json};

/// A label that is neither tainted nor secret.
#[must_use]
pub fn clean() -> Label {
    Label::new(Trust::Verified, Confidentiality::Internal)
}

/// An operation with the facts given, everything else plain.
#[must_use]
pub fn operation(id: &str, effect: Effect, undo: Undo, retry: Retry) -> Operation {
    let critical = kernel::operation::Critical::All;
    Operation {
        id: id.parse().expect("an operation id"),
        summary: format!("{id} {{/id}}"),
        facts: Facts { effect, undo, retry, egress: false, critical },
        resource: None,
        input: Arc::new(json!({})),
        output: Arc::new(json!({})),
        labels: LabelMap::uniform(clean()),
        clearance: Label::new(Trust::Untrusted, Confidentiality::Secret),
        maskable: Vec::new(),
        contract: Default::default(),
        companions: Default::default(),
        groups: Vec::new(),
        timeout_ms: 1_000,
        cost_max: None,
        rate: None,
        witness: Default::default(),
        binding: Arc::new(Value::Null),
    }
}

/// `crm.set`, whose before-image `crm.get` reads and which it puts back by itself.
#[must_use]
pub fn restorable_set() -> Operation {
    let mut set = operation("crm.set", Effect::Write, Undo::Restore, Retry::Keyed);
    set.companions.before = Some(Companion {
        operation: "crm.get".parse().expect("an operation id"),
        with: Default::default(),
        image: vec!["/value".into()],
    });
    set.companions.undo_with = Some(Companion {
        operation: set.id.clone(),
        with: [("value".to_owned(), Binding::From("/before/value".into()))].into(),
        image: vec![],
    });
    set
}

/// A hook that looks at calls of these operations.
#[must_use]
pub fn hook(name: &str, on: Moment, looks_at: &[&str]) -> Hook {
    let looks_at = looks_at.iter().map(|id| id.parse().expect("an operation id")).collect();
    let id = format!("{HOOK_CONNECTOR}.{name}");
    let operation = Arc::new(operation(&id, Effect::Read, Undo::None, Retry::Keyed));
    Hook { on, looks_at, agents: BTreeSet::new(), operation }
}

/// A hook that looks at moments of these agents.
#[must_use]
pub fn agent_hook(name: &str, on: Moment, agents: &[&str]) -> Hook {
    let agents = agents.iter().map(|name| (*name).to_owned()).collect();
    Hook { agents, ..hook(name, on, &[]) }
}

/// A person holding these roles.
#[must_use]
pub fn person(id: &str, roles: &[&str]) -> Principal {
    Principal {
        id: id.parse().expect("a principal id"),
        kind: Kind::Person,
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
    }
}

/// A clean proposal.
#[must_use]
pub fn proposal(step: &str, operation: &str, args: Value) -> Proposal {
    Proposal {
        step: step.to_owned(),
        operation: operation.parse().expect("an operation id"),
        args: Arc::new(args),
        arg_labels: LabelMap::uniform(clean()),
        existence: clean(),
        attempt: 1,
        proposer: None,
    }
}

/// A plan that allows exactly these proposals.
#[must_use]
pub fn plan_of(proposals: &[Proposal]) -> Plan {
    let steps = proposals.iter().map(|p| PlanStep {
        path: kernel::playbook::static_path(&p.step),
        operation: p.operation.clone(),
        definition: Digest::default(),
        facts: Facts::default(),
        times_max: 1,
        cost_max: None,
        conditional: false,
        asks: Asks::No,
    });
    Plan {
        schema: "harness.plan/v1".into(),
        intent: "test".into(),
        inputs: Some(Digest::default()),
        pack: "test".into(),
        pack_version: "1.0.0".into(),
        pack_digest: Digest::default(),
        policy_digest: Digest::default(),
        config_digest: Digest::default(),
        servers: Default::default(),
        steps: steps.collect(),
        playbook: Playbook { name: "test".into(), steps: Vec::new() },
        constants: Value::Null,
        hooks: Vec::new(),
    }
}

/// Proposes a list of actions one after the other; abandons at the first failure, or hands it over.
#[derive(Clone, Debug)]
pub struct LinePlanner {
    queue: VecDeque<Proposal>,
    current: Option<Proposal>,
    outstanding: bool,
    failed: Option<(String, Class)>,
    last: Arc<Value>,
    finished: bool,
    /// Who takes over a failed step; `None` abandons the run.
    pub escalates_to: Option<String>,
    /// Caveats to finish with.
    pub caveats: Vec<Caveat>,
    /// A failure does not end it: the next proposal is made, such as a second try of the same step.
    pub goes_on: bool,
    /// How long it sleeps before each proposal, in milliseconds.
    pub pause_ms: Option<i64>,
    rested: bool,
}

impl LinePlanner {
    /// A planner for these proposals, in order.
    #[must_use]
    pub fn new(proposals: &[Proposal]) -> Self {
        Self {
            queue: proposals.iter().cloned().collect(),
            current: None,
            outstanding: false,
            failed: None,
            last: Arc::new(Value::Null),
            finished: false,
            escalates_to: None,
            caveats: Vec::new(),
            goes_on: false,
            pause_ms: None,
            rested: false,
        }
    }
}

impl Planner for LinePlanner {
    fn observe(&mut self, _: At, seen: Observation<'_>) {
        match seen {
            Observation::Proposed { .. } => {
                self.current = self.queue.pop_front();
                (self.outstanding, self.rested) = (true, false);
            }
            Observation::Waiting { .. } => self.outstanding = true,
            // It shows in the end: what hooks had to say, and how far it is to be trusted.
            Observation::Told { step, text } => {
                let told = text.value.as_str().unwrap_or_default();
                let text = format!("{:?}: {told}", text.labels.join_all().trust);
                self.caveats.push(Caveat { step: step.to_owned(), class: None, text });
            }
            // None of its steps asks: whoever hears of an answer would go on by it.
            Observation::Asked { step } | Observation::Answered { step, .. } => {
                let (step, text) = (step.to_owned(), "heard what it never asked".to_owned());
                self.caveats.push(Caveat { step, class: None, text });
            }
            Observation::Woken { .. } => (self.outstanding, self.rested) = (false, true),
            Observation::Settled { step, settled } => {
                self.outstanding = false;
                match settled {
                    Settled::Done(output) => self.last = Arc::clone(&output.value),
                    Settled::Failed { .. } if self.goes_on => {}
                    Settled::Failed { class, .. } => self.failed = Some((step.to_owned(), *class)),
                }
            }
            Observation::Escalated { .. } => self.outstanding = true,
            Observation::Resolved { resolution, .. } => {
                self.outstanding = false;
                let failed = self.failed.take();
                match resolution {
                    Resolution::Retry => {
                        let again = self.current.take();
                        let again = again.map(|p| Proposal { attempt: p.attempt + 1, ..p });
                        self.queue.extend(again);
                        self.queue.rotate_right(1);
                    }
                    Resolution::Use(output) => self.last = Arc::clone(&output.value),
                    Resolution::Skip => self.last = Arc::new(Value::Null),
                    Resolution::Stop => (self.failed, self.escalates_to) = (failed, None),
                }
            }
            _ => {}
        }
    }

    fn next(&self) -> Option<Move> {
        if self.outstanding || self.finished {
            return None;
        }
        if let Some((step, class)) = &self.failed {
            let (step, class) = (step.clone(), *class);
            return Some(match &self.escalates_to {
                Some(owner) => Move::Escalate { step, class, owner: owner.clone() },
                None => Move::Abandon { step, class },
            });
        }
        if let Some(proposal) = self.queue.front() {
            if let Some(ms) = self.pause_ms.filter(|_| !self.rested) {
                let step = proposal.step.clone();
                return Some(Move::Wait { step, wait: Wait::Sleep { ms } });
            }
            return Some(Move::Propose(proposal.clone()));
        }
        let labels = LabelMap::uniform(clean());
        let output = Labelled { value: Arc::clone(&self.last), labels };
        Some(Move::Finish { output, caveats: self.caveats.clone() })
    }
}

/// Judges by a table: operation → role that must approve; `!` denies; absent allows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    asks: BTreeMap<String, (String, u32)>,
    denies: BTreeSet<String>,
}

impl Rules {
    /// Asks `count` people in `role` for an operation.
    #[must_use]
    pub fn ask(mut self, operation: &str, role: &str, count: u32) -> Self {
        self.asks.insert(operation.to_owned(), (role.to_owned(), count));
        self
    }

    /// Denies an operation.
    #[must_use]
    pub fn deny(mut self, operation: &str) -> Self {
        self.denies.insert(operation.to_owned());
        self
    }
}

impl Judge for Rules {
    fn judge(&self, question: &Question<'_>) -> Decision {
        let id = question.operation.id.as_str();
        let rule = |id: &str| Rule { layer: "operator".into(), id: id.into(), reason: id.into() };
        if self.denies.contains(id) {
            return Decision {
                verdict: Verdict::Deny,
                rules: vec![rule("deny")],
                policies: vec![],
            };
        }
        let asked = self.asks.get(id).filter(|_| !question.recoveries.contains("rollback"));
        if let Some((role, count)) = asked {
            let have = question.evidence.approvals.get(role).copied().unwrap_or_default();
            if have < *count {
                let approvals = BTreeMap::from([(role.clone(), *count)]);
                let verdict = Verdict::Ask(Requirement { approvals, ..Default::default() });
                return Decision { verdict, rules: vec![rule("ask")], policies: vec![] };
            }
        }
        Decision { verdict: Verdict::Allow, rules: vec![rule("allow")], policies: vec![] }
    }
}

/// Accepts every value, except what the pattern `{"required": [..]}` misses.
#[derive(Clone, Copy, Debug)]
pub struct NoSchemas;

impl Validate for NoSchemas {
    fn violation(&self, schema: &Arc<Value>, value: &Value) -> Option<Violation> {
        let required = schema.get("required")?.as_array()?;
        let missing = required.iter().filter_map(Value::as_str).find(|k| value.get(k).is_none())?;
        Some(Violation {
            at: format!("/{missing}"),
            problem: "is missing".into(),
            class: Class::MissingField,
        })
    }
}

/// Salts that count up: tests are the same every time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Salted(pub u128);

impl Salts for Salted {
    fn salt(&mut self) -> Salt {
        self.0 += 1;
        self.0.to_be_bytes()
    }
}
