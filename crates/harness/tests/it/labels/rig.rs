//! One run of the real machine: kernel, playbook planner, Cedar, schemas and ingest, over a world that
//! answers as it is told. Only the calls themselves and the store are missing.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use connect::{
    ingest::{Pick, Received, Rules, ingest},
    redact::Redactor,
};
use kernel::{
    Digest, Label, LabelMap, RunId, Seq,
    budget::Budget,
    catalogue::Catalogue,
    decision::{Autonomy, Decision, Mode},
    event::{Answered, Body, Ended, Header, MACHINE, Record, Role, Stage},
    exception::{Class, Exception, Landed, Need},
    gate::Permit,
    id::{At, OperationId, Tenant},
    input::{Answer, Input, Now, Settlement},
    label::{Confidentiality, Trust},
    operation::Operation,
    plan::{Asks, Plan, PlanStep},
    planning::{Labelled, Planner, Wait},
    playbook::{Playbook, Recovery, Step, Work, visit_steps},
    port::{Failure, Judge, Outcome},
    principal::{Chain, Grant, Kind, Principal},
    receipt::{Draft, Predicate, Statement},
    run::{AskView, Genesis, Pins, Ports, QuestionView, Refused, Run},
};
use pack::Schemas;
use policy::{Bundle, Layer, Source};
use serde_json::{Value, json};
use testkit::{Salted, person};

/// How long whoever was told that it is too early waits before asking again, in milliseconds.
const LOOK_AGAIN_MS: i64 = 10_000;

/// Most inputs handed to one run.
const INPUTS_MAX: usize = 4_000;

/// Permits whatever there is, so that only the kernel's own floor holds.
pub(crate) const ALL: &str =
    "@id(\"all\") @reason(\"a test\") permit (principal, action, resource);\n";

/// Compiles every schema once.
pub(crate) fn schemas() -> &'static Schemas {
    static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::new);
    &SCHEMAS
}

pub(crate) fn label(trust: Trust) -> Label {
    Label::new(trust, Confidentiality::Internal)
}

pub(crate) fn labelled(value: Value, trust: Trust, untrusted: &[&str]) -> Labelled {
    let mut labels = LabelMap::uniform(label(trust));
    for part in untrusted {
        labels.parts.insert((*part).to_owned(), label(Trust::Untrusted));
    }
    Labelled { value: Arc::new(value), labels }
}

pub(crate) fn agent(id: &str, roles: &[&str]) -> Principal {
    Principal { kind: Kind::Agent, ..person(id, roles) }
}

/// Layers of Cedar text over a catalogue.
pub(crate) fn bundle(catalogue: &Catalogue, layers: &[(Layer, &str)]) -> Bundle {
    let source = |(layer, text): &(Layer, &str)| Source {
        layer: *layer,
        name: format!("{layer}.cedar"),
        text: (*text).to_owned(),
    };
    let sources: Vec<Source> = layers.iter().map(source).collect();
    match Bundle::load(catalogue, &sources) {
        Ok(loaded) => loaded.bundle,
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// A plan that holds exactly what these steps may use.
pub(crate) fn plan(catalogue: &Catalogue, steps: Vec<Step>) -> Plan {
    let mut rows = Vec::new();
    visit_steps(&steps, &mut |path, step| {
        let own = match &step.work {
            Work::Do { operation, .. } => Some(operation),
            _ => None,
        };
        let fallbacks = step.on_failure.values().flatten().filter_map(|recovery| match recovery {
            Recovery::Fallback { operation, .. } => Some(operation),
            _ => None,
        });
        rows.extend(own.into_iter().chain(fallbacks).map(|id| row(catalogue, path, id)));
    });
    Plan {
        schema: pack::PLAN_SCHEMA.into(),
        intent: "test".into(),
        inputs: Some(Digest::default()),
        pack: "test".into(),
        pack_version: "1.0.0".into(),
        pack_digest: Digest::default(),
        policy_digest: Digest::default(),
        config_digest: Digest::default(),
        servers: Default::default(),
        steps: rows,
        playbook: Playbook { name: "test".into(), steps },
        constants: json!({}),
        hooks: Vec::new(),
    }
}

pub(crate) fn row(catalogue: &Catalogue, path: &str, id: &OperationId) -> PlanStep {
    let entry = catalogue.get(id).unwrap();
    PlanStep {
        path: path.to_owned(),
        operation: id.clone(),
        definition: entry.digest,
        facts: entry.operation.facts.clone(),
        times_max: 1,
        cost_max: None,
        conditional: false,
        asks: Asks::No,
    }
}

/// What a run is made of.
pub(crate) struct Setup {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) planner: Box<dyn Planner>,
    pub(crate) intent: Labelled,
    pub(crate) budget: Budget,
    pub(crate) agent: Principal,
    pub(crate) policy: Digest,
}

pub(crate) fn run_id() -> RunId {
    RunId::of_intent(&Tenant::default(), "test", "1")
}

/// The other side of every port, and the people.
pub(crate) trait Outside {
    /// Answers a call.
    fn call(&mut self, permit: &Permit) -> Outcome;

    /// Which of several calls in flight ends first.
    fn first(&mut self, _in_flight: usize) -> usize {
        0
    }

    /// Whether to approve; `None` leaves the ask open.
    fn approve(&mut self, _ask: &AskView) -> Option<Answer> {
        None
    }

    fn reply(&mut self, _question: &QuestionView) -> Option<Value> {
        None
    }

    fn signal(&mut self, _step: &str) -> Option<Value> {
        None
    }

    fn settle(&mut self, exception: &Exception) -> Option<Settlement> {
        match exception.need {
            Need::InDoubt => Some(Settlement::DidNotHappen),
            Need::Escalated => Some(Settlement::Stop),
            Need::UndoFailed | Need::Conflict | Need::Unplanned | Need::Defect => {
                Some(Settlement::Close)
            }
        }
    }
}

/// A call that left.
pub(crate) struct Called {
    pub(crate) action: Seq,
    pub(crate) operation: Arc<Operation>,
    pub(crate) masks: BTreeSet<String>,
    pub(crate) landed: Landed,
    pub(crate) outcome: Outcome,
}

/// A run with everything it has written and everything that has left.
pub(crate) struct Rig {
    pub(crate) run: Run,
    pub(crate) records: Vec<Record>,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) calls: Vec<Called>,
    pub(crate) judge: Arc<dyn Judge>,
    salts: Salted,
    at: At,
    in_flight: Vec<Permit>,
    waits: Vec<(String, String)>,
    scanned: usize,
}

impl Rig {
    pub(crate) fn open(setup: Setup) -> Self {
        let Setup { catalogue, judge, plan, planner, intent, budget, agent, policy } = setup;
        let on_behalf_of = person("person:mira", &["requester"]);
        let header = Header {
            machine: MACHINE,
            chain: Chain { agent, on_behalf_of, tenant: Tenant::default() },
            intent: "test".into(),
            pack: "test@1.0.0".into(),
            pack_digest: Digest::default(),
            plan: plan.digest().unwrap(),
            policy,
            config: Digest::default(),
            grant: Grant { operations: catalogue.iter().map(|(id, _)| id.clone()).collect() },
            budget,
            approvers: Default::default(),
            autonomy: Autonomy::L2,
            mode: Mode::Live,
            owner: "owner".into(),
            unusual: Vec::new(),
            submitted_by: None,
        };
        let genesis = Genesis { header, id: run_id(), intent, subjects: vec![] };
        let (mut salts, at) = (Salted::default(), 1_000);
        let now = Now { at, boot_ms: 1_000 };
        let mut ports = Ports { judge: &*judge, validate: schemas(), salts: &mut salts };
        let run = Run::open(genesis, Pins { plan, catalogue, planner }, now, &mut ports).unwrap();
        Self {
            run,
            records: Vec::new(),
            drafts: Vec::new(),
            calls: Vec::new(),
            judge,
            salts,
            at,
            in_flight: Vec::new(),
            waits: Vec::new(),
            scanned: 0,
        }
    }

    /// Hands inputs in until nothing more happens by itself, or for ever is too long.
    pub(crate) fn drive(&mut self, outside: &mut dyn Outside) {
        let mut last = String::new();
        for _ in 0..INPUTS_MAX {
            self.flush();
            let Some(input) = self.next_input(outside) else { return };
            // Late and repeated inputs are refused without a trace.
            let shown = format!("{input:?}");
            let settled = match &input {
                Input::Settle { exception, by, .. } => Some((exception.clone(), by.clone())),
                _ => None,
            };
            let taken = self.hand_in(input);
            if let (Err(Refused::Shape { .. }), Some((exception, by))) = (&taken, settled) {
                // A value that the step cannot have: whoever offered it gives up.
                let (settlement, evidence) = (Settlement::Stop, "a test".to_owned());
                let _ = self.hand_in(Input::Settle { exception, by, settlement, evidence });
            }
            if matches!(taken, Err(Refused::NotNow(_))) {
                // Too early: whoever asks again does so later.
                self.at += LOOK_AGAIN_MS;
            }
            last = format!("{shown:.300}: {taken:?}");
        }
        let kinds: Vec<String> =
            self.records.iter().map(|r| r.event.body.kind().to_owned()).collect();
        let tail = &kinds[kinds.len().saturating_sub(12)..];
        panic!("no end after {INPUTS_MAX} inputs: {:?} {tail:?}, {last}", self.run.status());
    }

    /// As far as a person is needed, or to the end; time does not pass.
    pub(crate) fn drive_until_asked(&mut self, outside: &mut dyn Outside) {
        self.flush();
        while !self.in_flight.is_empty() {
            let permit = self.in_flight.remove(0);
            let input = self.call(&permit, outside);
            let _ = self.hand_in(input);
            self.flush();
        }
    }

    pub(crate) fn hand_in(&mut self, input: Input) -> Result<(), Refused> {
        let now = Now { at: self.at, boot_ms: self.at.unsigned_abs() };
        let mut ports = Ports { judge: &*self.judge, validate: schemas(), salts: &mut self.salts };
        self.run.decide(input, now, &mut ports).unwrap()
    }

    /// Appends what is pending and takes the permits that follow.
    pub(crate) fn flush(&mut self) {
        if self.run.has_pending() {
            let pending = self.run.take();
            self.records.extend(pending.records);
            self.drafts.extend(pending.drafts);
            self.run.committed();
        }
        self.in_flight.extend(self.run.next(self.at.unsigned_abs()));
        for record in &self.records[self.scanned..] {
            match &record.event.body {
                Body::Waiting { step, wait: Wait::Signal { name, .. }, .. } => {
                    self.waits.push((step.clone(), name.clone()));
                }
                Body::Woken { step } => self.waits.retain(|(waiting, _)| waiting != step),
                Body::Signalled { name, .. } => self.waits.retain(|(_, n)| n != name),
                _ => {}
            }
        }
        self.scanned = self.records.len();
    }

    fn next_input(&mut self, outside: &mut dyn Outside) -> Option<Input> {
        if !self.in_flight.is_empty() {
            let first = outside.first(self.in_flight.len());
            let permit = self.in_flight.remove(first);
            return Some(self.call(&permit, outside));
        }
        if self.run.status().is_over() {
            return None;
        }
        // The newest first: an action that is approved may wait for a read that asks as well.
        for ask in self.run.asks().into_iter().rev() {
            if let Some(answer) = outside.approve(&ask) {
                return Some(answer_of(&ask, answer));
            }
        }
        for question in self.run.questions() {
            if let Some(value) = outside.reply(&question) {
                let by = person("person:eve", &[&question.role]);
                let value = Arc::new(value);
                return Some(Input::Reply { question: question.id, by, value });
            }
        }
        for open in self.run.exceptions() {
            let by = person("person:owner", &["operator"]);
            if let Some(settlement) = outside.settle(&open) {
                let evidence = "a test".to_owned();
                return Some(Input::Settle { exception: open.id, by, settlement, evidence });
            }
        }
        for (step, name) in self.waits.clone() {
            if let Some(body) = outside.signal(&step) {
                return Some(Input::Signal { name, body: Arc::new(body) });
            }
        }
        self.at = self.at.max(self.run.wake_at()?);
        Some(Input::Tick)
    }

    fn call(&mut self, permit: &Permit, outside: &mut dyn Outside) -> Input {
        let outcome = outside.call(permit);
        let landed = match &outcome {
            Ok(_) => Landed::Yes,
            Err(failure) => failure.landed,
        };
        self.calls.push(Called {
            action: permit.action(),
            operation: Arc::clone(permit.operation()),
            masks: permit.masks().clone(),
            landed,
            outcome: outcome.clone(),
        });
        Input::Outcome { action: permit.action(), attempt: permit.attempt(), outcome }
    }

    /// Every action in the journal, by its proposal's place.
    pub(crate) fn acts(&self) -> Vec<Act> {
        let mut acts: Vec<Act> = Vec::new();
        for record in &self.records {
            let seq = record.event.seq;
            if let Body::Proposed { step, operation, args, existence, attempt, because, .. } =
                &record.event.body
            {
                let (step, operation) = (step.clone(), operation.clone());
                let (args, labels) = (args.value(), args.labels());
                let (existence, attempt, role) = (existence.clone(), *attempt, because.clone());
                acts.push(Act {
                    seq,
                    step,
                    operation,
                    args,
                    labels,
                    existence,
                    attempt,
                    role,
                    decisions: Vec::new(),
                    digests: Vec::new(),
                    approved: Vec::new(),
                    asked: false,
                    dispatches: Vec::new(),
                    rejected: None,
                    ended: None,
                    receipts: Vec::new(),
                });
                continue;
            }
            let Some((action, body)) = about(&record.event.body) else { continue };
            let act = acts.iter_mut().find(|act| act.seq == action).unwrap();
            act.note(seq, body);
        }
        acts
    }

    /// The receipts so far, without the close records.
    pub(crate) fn receipts(&self) -> Vec<Predicate> {
        let drafts = self.drafts.iter().filter(|draft| draft.action.is_some());
        let read = |draft: &Draft| {
            serde_json::from_slice::<Statement<Predicate>>(&draft.payload).unwrap().predicate
        };
        drafts.map(read).collect()
    }
}

/// An answer by somebody who holds every role that is asked for.
pub(crate) fn answer_of(ask: &AskView, answer: Answer) -> Input {
    let roles: Vec<&str> = ask.requirement.approvals.keys().map(String::as_str).collect();
    let by = person(&format!("person:p{}", ask.action.approvals.len()), &roles);
    Input::Answer {
        approval: ask.id.clone(),
        action: ask.action.digest.unwrap(),
        shown: Digest::default(),
        by,
        answer,
    }
}

/// One action and what became of it.
pub(crate) struct Act {
    pub(crate) seq: Seq,
    pub(crate) step: String,
    pub(crate) operation: OperationId,
    pub(crate) args: Arc<Value>,
    pub(crate) labels: LabelMap,
    pub(crate) existence: Label,
    pub(crate) attempt: u32,
    pub(crate) role: Role,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) digests: Vec<Digest>,
    /// Digests of what was approved, and where.
    pub(crate) approved: Vec<(Seq, Digest)>,
    pub(crate) asked: bool,
    pub(crate) dispatches: Vec<Seq>,
    pub(crate) rejected: Option<(Stage, Class)>,
    pub(crate) ended: Option<Ended>,
    pub(crate) receipts: Vec<Landed>,
}

impl Act {
    fn note(&mut self, seq: Seq, body: &Body) {
        match body {
            Body::Judged { digest, decision, .. } => {
                self.digests.push(*digest);
                self.decisions.push(decision.clone());
            }
            Body::Asked { .. } => self.asked = true,
            Body::Answered { digest, answer: Answered::Approved, .. } => {
                self.approved.push((seq, *digest));
            }
            Body::Voided { .. } => self.approved.clear(),
            Body::Dispatched { .. } => self.dispatches.push(seq),
            Body::Rejected { stage, class, .. } => self.rejected = Some((*stage, *class)),
            Body::Returned { ended, .. } => self.ended = Some(ended.clone()),
            Body::Receipted { landed, .. } => self.receipts.push(*landed),
            _ => {}
        }
    }

    /// Left without anybody having approved it.
    pub(crate) fn went_unasked(&self) -> bool {
        let first = self.dispatches.first();
        first.is_some_and(|left| !self.approved.iter().any(|(at, _)| at < left))
    }

    pub(crate) fn was_stopped_by_the_floor(&self) -> bool {
        let mut rules = self.decisions.iter().flat_map(|decision| &decision.rules);
        rules.any(|rule| rule.layer == "kernel" && rule.id == "untrusted-input")
    }
}

fn about(body: &Body) -> Option<(Seq, &Body)> {
    match body {
        Body::Rejected { action, .. }
        | Body::Judged { action, .. }
        | Body::Asked { action, .. }
        | Body::Answered { action, .. }
        | Body::Voided { action, .. }
        | Body::Dispatched { action, .. }
        | Body::Returned { action, .. }
        | Body::Receipted { action, .. } => Some((*action, body)),
        _ => None,
    }
}

/// What the connectors make of an answer from outside: decoded, checked, masked, labelled.
pub(crate) fn taken_in(permit: &Permit, answer: Value) -> Outcome {
    let redactor = Redactor::new([("none", "a-secret-that-stands-nowhere")]).unwrap();
    let rules = Rules {
        operation: permit.operation(),
        args: permit.args(),
        masks: permit.masks(),
        redactor: &redactor,
        validate: schemas(),
        now: 1_000,
        pick: Pick::default(),
    };
    ingest(Received::Bytes(serde_json::to_vec(&answer).unwrap()), &rules)
}

pub(crate) fn failed(class: Class, landed: Landed) -> Outcome {
    Err(Failure { class, landed, message: "scripted".into(), retry_after_ms: None, sample: None })
}
