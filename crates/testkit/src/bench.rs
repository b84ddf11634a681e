#![allow(clippy::expect_used, reason = "development only: a broken script should stop its test")]
//! A drive loop in RAM over a scripted world, which can stop after any append.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    action::Proposal,
    agent::Agent,
    approval::ApproverRule,
    budget::Budget,
    canon,
    catalogue::Catalogue,
    decision::{Autonomy, Mode},
    event::{Header, MACHINE, Record},
    exception::{Class, Landed},
    gate::Permit,
    hook::Hook,
    id::{At, Digest, Seq, Tenant},
    input::{Input, Now},
    label::LabelMap,
    operation::Operation,
    plan::Plan,
    planning::Labelled,
    playbook::{Step, Work},
    port::{Failure, Outcome, Returned},
    principal::{Chain, Grant, Kind, Principal},
    project::Change,
    receipt::Draft,
    run::{Fault, Genesis, Pins, Ports, Refused, Run},
};
use serde_json::{Value, json};

use crate::parts::{LinePlanner, NoSchemas, Rules, Salted, clean, person, plan_of};

/// Where a crash is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Never.
    Never,
    /// Right after the n-th append, before anything leaves.
    AfterAppend(usize),
    /// Right after the n-th call's effect, before its outcome is taken in.
    AfterCall(usize),
}

/// A scripted world: how often each effect key really took effect, and the answers to give.
#[derive(Debug, Default)]
pub struct World {
    /// Operation → answers in order; the last one repeats. Absent: an empty object.
    pub answers: BTreeMap<String, Vec<Outcome>>,
    /// Calls so far, per operation.
    pub calls: BTreeMap<String, usize>,
    /// Effect key → times it took effect. Keyed targets deduplicate.
    pub effects: BTreeMap<String, usize>,
    /// For each model call, how many prompts and replies its conversation held, its own prompt included.
    pub threads: Vec<usize>,
    /// A record that `set`-like operations write and `get`-like ones read.
    pub record: Value,
}

/// One run, its pins, its world and its journal.
#[derive(Debug)]
pub struct Bench {
    /// The run in memory.
    pub run: Option<Run>,
    /// The journal.
    pub records: Vec<Record>,
    /// What was to change in the projections so far.
    pub changes: Vec<Change>,
    /// Who takes over a failed step; `None` abandons the run.
    pub escalates_to: Option<String>,
    /// Statements drafted so far.
    pub drafts: Vec<Draft>,
    /// The world.
    pub world: World,
    /// The clock.
    pub at: At,
    /// Policy.
    pub rules: Rules,
    /// A failed step does not end the run: the next proposal is made.
    pub goes_on: bool,
    /// Operations whose calls stay on their way until [`Bench::land`].
    pub hangs: BTreeSet<String>,
    /// Calls on their way: the action, and which call of it.
    pub flying: Vec<(Seq, u32)>,
    catalogue: Arc<Catalogue>,
    plan: Arc<Plan>,
    proposals: Vec<Proposal>,
    header: Header,
    salts: Salted,
    epoch: u64,
    appends: usize,
    calls: usize,
}

impl Bench {
    /// A bench for a line of proposals over these operations.
    #[must_use]
    pub fn new(operations: Vec<Operation>, proposals: Vec<Proposal>, rules: Rules) -> Self {
        let plan = Arc::new(plan_of(&proposals));
        let catalogue = Arc::new(Catalogue::new(operations).expect("distinct operations"));
        let agent = Principal {
            id: "agent:test".parse().expect("an id"),
            kind: Kind::Agent,
            roles: Default::default(),
        };
        let tenant = Tenant::default();
        let chain = Chain { agent, on_behalf_of: person("person:mira", &["requester"]), tenant };
        let header = Header {
            machine: MACHINE,
            chain,
            intent: "test".into(),
            pack: "test@1.0.0".into(),
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
        };
        Self {
            run: None,
            records: Vec::new(),
            changes: Vec::new(),
            escalates_to: None,
            drafts: Vec::new(),
            world: World::default(),
            at: 1_000,
            rules,
            goes_on: false,
            hangs: BTreeSet::new(),
            flying: Vec::new(),
            catalogue,
            plan,
            proposals,
            header,
            salts: Salted::default(),
            epoch: 0,
            appends: 0,
            calls: 0,
        }
    }

    /// Has these look at its calls; before the first `open`.
    pub fn look(&mut self, hooks: Vec<Hook>) {
        let plan = Plan { hooks, ..(*self.plan).clone() };
        self.header.plan = plan.digest().expect("a plan");
        self.plan = Arc::new(plan);
    }

    /// With an agent of this name at this step of its plan; before the first `open`.
    pub fn with_agent(&mut self, step: &str, name: &str) {
        let agent = Box::new(Agent::named(name.to_owned()));
        let step = Step {
            id: step.to_owned(),
            work: Work::Agent { agent, with: Value::Null },
            when: None,
            expect: Vec::new(),
            on_failure: BTreeMap::new(),
            undo: None,
            caveat: None,
        };
        let mut plan = (*self.plan).clone();
        plan.playbook.steps.push(step);
        self.header.plan = plan.digest().expect("a plan");
        self.plan = Arc::new(plan);
    }

    /// The header, to change before the first `open`.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// Fresh pins, as a new process would load them.
    #[must_use]
    pub fn pins(&self) -> Pins {
        let mut planner = LinePlanner::new(&self.proposals);
        planner.escalates_to.clone_from(&self.escalates_to);
        planner.goes_on = self.goes_on;
        Pins {
            plan: Arc::clone(&self.plan),
            catalogue: Arc::clone(&self.catalogue),
            planner: Box::new(planner),
        }
    }

    fn now(&self) -> Now {
        Now { at: self.at, boot_ms: self.at.unsigned_abs() }
    }

    /// Opens the run and drives it until it parks, ends or crashes. True when it went to the end.
    pub fn start(&mut self, crash: Crash) -> bool {
        let genesis = Genesis {
            header: self.header.clone(),
            id: kernel::id::RunId::of_intent(&kernel::id::Tenant::default(), "test", "key"),
            intent: Labelled { value: Arc::new(json!({})), labels: LabelMap::uniform(clean()) },
            subjects: vec![],
        };
        let (rules, now, pins) = (self.rules.clone(), self.now(), self.pins());
        let mut ports = Ports { judge: &rules, validate: &NoSchemas, salts: &mut self.salts };
        self.run = Some(Run::open(genesis, pins, now, &mut ports).expect("opens"));
        self.drive(crash)
    }

    /// Hands one input in and drives on.
    ///
    /// # Errors
    /// Why the run refused it.
    pub fn input(&mut self, input: Input) -> Result<(), Refused> {
        self.decide(input)?;
        self.drive(Crash::Never);
        Ok(())
    }

    /// Hands one input in and appends nothing yet: the next one joins its batch.
    ///
    /// # Errors
    /// Why the run refused it.
    pub fn decide(&mut self, input: Input) -> Result<(), Refused> {
        let (rules, now) = (self.rules.clone(), self.now());
        let mut ports = Ports { judge: &rules, validate: &NoSchemas, salts: &mut self.salts };
        let run = self.run.as_mut().expect("a run");
        run.decide(input, now, &mut ports).expect("no fault")
    }

    /// A new process: folds the journal and claims the run.
    ///
    /// # Errors
    /// When the journal does not fold.
    pub fn recover(&mut self, crash: Crash) -> Result<bool, Fault> {
        self.run = Some(Run::fold(&self.records, self.pins())?);
        // Who made them is gone.
        self.flying.clear();
        self.epoch += 1;
        let epoch = self.epoch;
        self.decide(Input::Claimed { epoch }).expect("claims");
        Ok(self.drive(crash))
    }

    /// The call on its way that began first ends well, with this.
    ///
    /// # Errors
    /// Why the run refused it.
    pub fn land(&mut self, output: Value) -> Result<(), Refused> {
        let (action, attempt) = self.flying.remove(0);
        self.input(Input::Outcome { action, attempt, outcome: Ok(returned(output)) })
    }

    fn drive(&mut self, crash: Crash) -> bool {
        loop {
            let at = self.at.unsigned_abs();
            let run = self.run.as_mut().expect("a run");
            if run.has_pending() {
                let pending = run.take();
                assert_eq!(pending.expected_seq, self.records.len() as u64, "no gap, no overlap");
                self.records.extend(pending.records);
                self.drafts.extend(pending.drafts);
                self.changes.extend(pending.changes);
                self.appends += 1;
                if crash == Crash::AfterAppend(self.appends) {
                    self.run = None;
                    return false;
                }
                run.committed();
            }
            let permits = run.next(at);
            if permits.is_empty() {
                return true;
            }
            for permit in permits {
                let (action, attempt) = (permit.action(), permit.attempt());
                if self.hangs.contains(permit.operation().id.as_str()) {
                    self.flying.push((action, attempt));
                    continue;
                }
                let outcome = self.world.call(&permit);
                self.calls += 1;
                if crash == Crash::AfterCall(self.calls) {
                    self.run = None;
                    return false;
                }
                let _late = self.decide(Input::Outcome { action, attempt, outcome });
            }
        }
    }

    /// The journal as canonical text, one event a line.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.records.iter().map(|r| String::from_utf8_lossy(&r.bytes).into_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The kinds of all events, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        self.records.iter().map(|r| r.event.body.kind().to_owned()).collect()
    }
}

impl World {
    /// Answers the next calls of an operation in order; the last answer repeats.
    pub fn script(&mut self, operation: &str, answers: Vec<Outcome>) {
        self.answers.insert(operation.to_owned(), answers);
    }

    fn call(&mut self, permit: &Permit) -> Outcome {
        self.threads.extend(permit.thread().map(|thread| thread.since(|_| false).len()));
        let id = permit.operation().id.to_string();
        let count = self.calls.entry(id.clone()).or_default();
        let index = *count;
        *count += 1;
        let outcome = self.answers.get(&id).and_then(|a| a.get(index).or(a.last())).cloned();
        let outcome = outcome.unwrap_or_else(|| Ok(returned(json!({}))));
        let landed = match &outcome {
            Ok(_) => true,
            Err(failure) => failure.landed == Landed::Yes,
        };
        if permit.operation().is_write() && landed {
            let key = permit.key().to_string();
            let seen = self.effects.contains_key(&key);
            let dedups = permit.operation().facts.retry == kernel::operation::Retry::Keyed;
            if !(seen && dedups) {
                *self.effects.entry(key).or_default() += 1;
            }
        }
        if let Some(value) = permit.args().get("value") {
            self.record = value.clone();
        }
        match outcome {
            Ok(answer) if *answer.output == json!("record") => {
                Ok(returned(json!({ "value": self.record })))
            }
            other => other,
        }
    }
}

/// A plain answer.
#[must_use]
pub fn returned(output: Value) -> Returned {
    let received = canon::digest(&output).unwrap_or_default();
    let labels = LabelMap::uniform(clean());
    Returned { output: Arc::new(output), labels, external_ref: None, cost: None, received }
}

/// A failure.
pub fn failure(class: Class, landed: Landed) -> Outcome {
    Err(Failure { class, landed, message: "scripted".into(), retry_after_ms: None, sample: None })
}
