//! Random lines of operations, outcomes, answers and crashes: what must hold whatever happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    action::Proposal,
    approval::ApproverRule,
    budget::Budget,
    catalogue::Catalogue,
    decision::{Autonomy, Decision, Mode, Question, Requirement, Rule, Verdict},
    event::{Answered, Body, Ended, Header, MACHINE, Purpose, Record, Role, check_chain},
    exception::{Class, Landed, Need},
    gate::Permit,
    hook::{Hook, Moment},
    id::{Digest, RunId, Tenant},
    input::{Answer, Elicitation, Input, Now, OnConflict, Scope, Settlement},
    label::LabelMap,
    operation::{Binding, Companion, Effect, Operation, Probe, Retry, Undo},
    plan::Plan,
    planning::{
        Labelled, Move, Observation, Planner, Question as Typed, Resolution, Settled, Wait,
    },
    port::{Failure, Judge, Outcome, Returned},
    principal::{Chain, Grant, Kind, Principal},
    run::{Genesis, Pins, Ports, Run, replay},
};
use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Value, json};
use testkit::{NoSchemas, Salted, clean, hook, operation, person, plan_of, proposal, returned};

/// What a lane does when an action of it fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OnFailure {
    Abandon,
    Retry,
    Skip,
    Escalate,
}

#[derive(Clone, Debug)]
enum Job {
    Do(Proposal),
    Ask,
    Sleep,
    Signal,
}

/// Steps one after the other; several lanes run side by side.
#[derive(Clone, Debug)]
struct Lane {
    jobs: Vec<(String, Job)>,
    on_failure: OnFailure,
    done: usize,
    tries: u32,
    out: bool,
    failed: Option<Class>,
}

/// A planner of parallel lanes that retries, skips, escalates or abandons.
#[derive(Clone, Debug)]
struct Lanes {
    lanes: Vec<Lane>,
    opened: bool,
}

impl Lanes {
    fn lane(&mut self, step: &str) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|l| l.jobs.get(l.done).is_some_and(|(id, _)| id == step))
    }
}

impl Planner for Lanes {
    fn observe(&mut self, _: i64, seen: Observation<'_>) {
        let forward = |lane: &mut Lane| {
            (lane.done, lane.tries, lane.out, lane.failed) = (lane.done + 1, 0, false, None);
        };
        match seen {
            Observation::Opened { .. } => self.opened = true,
            Observation::Proposed { step, .. }
            | Observation::Asked { step }
            | Observation::Waiting { step }
            | Observation::Escalated { step } => {
                let lane = self.lane(step).expect("a lane");
                lane.out = true;
                lane.tries += 1;
                lane.failed = None;
            }
            Observation::Steered { .. } | Observation::Told { .. } => {}
            Observation::Settled { step, settled } => {
                if let Some(lane) = self.lane(step) {
                    match settled {
                        Settled::Done(_) => forward(lane),
                        Settled::Failed { class, .. } => {
                            lane.out = false;
                            lane.failed = Some(*class);
                        }
                    }
                }
            }
            Observation::Answered { step, .. }
            | Observation::Woken { step, .. }
            | Observation::Marked { step } => {
                if let Some(lane) = self.lane(step) {
                    forward(lane);
                }
            }
            Observation::Resolved { step, resolution } => {
                if let Some(lane) = self.lane(step) {
                    match resolution {
                        Resolution::Retry => (lane.out, lane.failed) = (false, None),
                        Resolution::Use(_) | Resolution::Skip => forward(lane),
                        Resolution::Stop => {
                            lane.out = false;
                            lane.failed = Some(Class::Permission);
                            lane.on_failure = OnFailure::Abandon;
                        }
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Move> {
        let text =
            || Labelled { value: Arc::new(json!("why?")), labels: LabelMap::uniform(clean()) };
        let mut all_done = true;
        for lane in &self.lanes {
            let Some((step, job)) = lane.jobs.get(lane.done) else { continue };
            all_done = false;
            if lane.out {
                continue;
            }
            let step = step.clone();
            if let Some(class) = lane.failed {
                match lane.on_failure {
                    OnFailure::Retry if lane.tries < 3 => {}
                    OnFailure::Retry | OnFailure::Abandon => {
                        return Some(Move::Abandon { step, class });
                    }
                    OnFailure::Skip => {
                        let mark = kernel::planning::Mark::Skipped;
                        return Some(Move::Mark { step, mark });
                    }
                    OnFailure::Escalate => {
                        return Some(Move::Escalate { step, class, owner: "owner".into() });
                    }
                }
            }
            return Some(match job {
                Job::Do(p) => Move::Propose(Proposal { attempt: lane.tries + 1, ..p.clone() }),
                Job::Ask => Move::Ask(Typed {
                    step,
                    text: text(),
                    answer: Arc::new(json!({})),
                    role: "approver".into(),
                    expires_ms: 50_000,
                }),
                Job::Sleep => Move::Wait { step, wait: Wait::Sleep { ms: 7_000 } },
                Job::Signal => {
                    let wait = Wait::Signal { name: "go".into(), timeout_ms: 40_000 };
                    Move::Wait { step, wait }
                }
            });
        }
        let end = Move::Finish { output: text(), caveats: vec![] };
        (all_done && self.opened).then_some(end)
    }
}

/// A table: operation → 0 allow, 1 ask one, 2 ask two, 3 deny. A changed policy asks one more.
#[derive(Clone, Debug)]
struct Table(BTreeMap<String, u8>);

impl Judge for Table {
    fn judge(&self, question: &Question<'_>) -> Decision {
        let id = question.operation.id.to_string();
        let known = self.0.get(&id).copied().unwrap_or_default();
        let changed = question.current_policy.is_some() && question.operation.is_write();
        let wants = if known == 3 { 3 } else { (known + u8::from(changed)).min(2) };
        let have = question.evidence.approvals.get("approver").copied().unwrap_or_default();
        let rules = vec![Rule { layer: "operator".into(), id: "t".into(), reason: "t".into() }];
        let verdict = match wants {
            3 => Verdict::Deny,
            n if have >= u32::from(n) => Verdict::Allow,
            n => Verdict::Ask(Requirement {
                approvals: [("approver".to_owned(), n.into())].into(),
                ..Default::default()
            }),
        };
        Decision { verdict, rules, policies: vec![] }
    }
}

/// Facts of one write, chosen at random.
#[derive(Clone, Debug)]
struct Facts {
    undo: u8,
    retry: u8,
    preview: bool,
    before: bool,
    conclusive: bool,
    policy: u8,
    undo_policy: u8,
}

fn companion(operation: &str, with: &[(&str, &str)], image: &[&str]) -> Companion {
    Companion {
        operation: operation.parse().unwrap(),
        with: with.iter().map(|(k, v)| ((*k).to_owned(), Binding::From((*v).to_owned()))).collect(),
        image: image.iter().map(|p| (*p).to_owned()).collect(),
    }
}

fn write_of(n: usize, facts: &Facts) -> Vec<Operation> {
    let undo = [Undo::None, Undo::Compensate, Undo::Restore][usize::from(facts.undo % 3)];
    let retry = [Retry::Never, Retry::Keyed, Retry::Probe][usize::from(facts.retry % 3)];
    let mut op = operation(&format!("sys.write{n}"), Effect::Write, undo, retry);
    op.resource =
        Some(kernel::operation::ResourceRule { kind: "record".into(), id: "/record".into() });
    let record = [("record", "/args/record")];
    if facts.before || undo == Undo::Restore {
        op.companions.before = Some(companion("sys.get", &record, &["/value"]));
    }
    if facts.preview {
        op.companions.preview = Some(companion("sys.preview", &record, &["/value"]));
    }
    op.companions.probe = Some(Probe {
        call: companion("sys.find", &[("key", "/key")], &[]),
        happened: "/found".into(),
        conclusive_after_ms: facts.conclusive.then_some(3_000),
    });
    let back = [("record", "/args/record"), ("value", "/before/value")];
    let back = if op.companions.before.is_some() { &back[..] } else { &back[..1] };
    op.companions.undo_with = Some(companion(&format!("sys.undo{n}"), back, &[]));
    let mut undoes = operation(&format!("sys.undo{n}"), Effect::Write, Undo::None, retry);
    undoes.companions = op.companions.clone();
    undoes.companions.undo_with = None;
    vec![op, undoes]
}

/// Everything random about one story.
#[derive(Clone, Debug)]
struct Story {
    writes: Vec<Facts>,
    reads: [u8; 3],
    lanes: Vec<(Vec<u8>, u8)>,
    budget: Option<u8>,
    outcomes: Vec<u8>,
    happenings: Vec<(u8, u8)>,
    hooks: Vec<u8>,
}

fn facts() -> impl Strategy<Value = Facts> {
    (any::<u8>(), any::<u8>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..8_u8, 0..8_u8)
        .prop_map(|(undo, retry, preview, before, conclusive, policy, undo_policy)| Facts {
            undo,
            retry,
            preview,
            before,
            conclusive,
            policy,
            undo_policy,
        })
}

fn story() -> impl Strategy<Value = Story> {
    let lanes = prop::collection::vec((prop::collection::vec(any::<u8>(), 1..4), 0..4_u8), 1..4);
    (
        prop::collection::vec(facts(), 2),
        [0..12_u8, 0..12_u8, 0..12_u8],
        lanes,
        prop::option::weighted(0.2, 1..12_u8),
        prop::collection::vec(any::<u8>(), 0..30),
        prop::collection::vec((0..19_u8, any::<u8>()), 0..45),
        prop::collection::vec(any::<u8>(), 0..4),
    )
        .prop_map(|(writes, reads, lanes, budget, outcomes, happenings, hooks)| Story {
            writes,
            reads,
            lanes,
            budget,
            outcomes,
            happenings,
            hooks,
        })
}

/// The run, its world and its journal.
struct Stage {
    run: Option<Run>,
    records: Vec<Record>,
    flying: Vec<Permit>,
    handed: BTreeSet<(u64, u32)>,
    effects: BTreeMap<String, (Retry, usize)>,
    record: BTreeMap<String, Value>,
    outcomes: std::vec::IntoIter<u8>,
    table: Table,
    plan: Arc<Plan>,
    catalogue: Arc<Catalogue>,
    planner: Lanes,
    salts: Salted,
    at: i64,
    epoch: u64,
    batches: usize,
}

fn level(policy: u8) -> u8 {
    // Mostly allowed, so that stories get somewhere.
    match policy {
        0..=3 => 0,
        4 | 5 => 1,
        6 => 2,
        _ => 3,
    }
}

fn level_of_read(policy: u8) -> u8 {
    match policy {
        0..=9 => 0,
        10 => 1,
        _ => 3,
    }
}

fn world_of(story: &Story) -> (BTreeMap<String, u8>, Vec<Operation>) {
    let mut table = BTreeMap::new();
    let mut operations = Vec::new();
    for (n, facts) in story.writes.iter().enumerate() {
        table.insert(format!("sys.write{n}"), level(facts.policy));
        table.insert(format!("sys.undo{n}"), level(facts.undo_policy));
        operations.extend(write_of(n, facts));
    }
    for (name, policy) in ["get", "preview", "find"].iter().zip(story.reads) {
        table.insert(format!("sys.{name}"), level_of_read(policy));
        let read = operation(&format!("sys.{name}"), Effect::Read, Undo::None, Retry::Keyed);
        operations.push(read);
    }
    (table, operations)
}

fn lanes_of(story: &Story) -> Vec<Lane> {
    let lanes = story.lanes.iter().enumerate().map(|(l, (bytes, on_failure))| {
        let jobs = bytes.iter().enumerate().map(|(j, byte)| {
            let step = format!("l{l}s{j}");
            let args = json!({ "value": format!("{step}"), "record": format!("r{}", byte % 2) });
            let job = match byte % 10 {
                0 => Job::Ask,
                1 => Job::Sleep,
                2 => Job::Signal,
                3 => Job::Do(proposal(&step, "sys.get", args)),
                n => Job::Do(proposal(&step, &format!("sys.write{}", n % 2), args)),
            };
            (step, job)
        });
        let on_failure =
            [OnFailure::Abandon, OnFailure::Retry, OnFailure::Skip, OnFailure::Escalate]
                [usize::from(*on_failure % 4)];
        Lane { jobs: jobs.collect(), on_failure, done: 0, tries: 0, out: false, failed: None }
    });
    lanes.collect()
}

fn hooks_of(story: &Story) -> Vec<Hook> {
    let hook_of = |(n, byte): (usize, &u8)| {
        let on = [Moment::Before, Moment::Before, Moment::After, Moment::Failure];
        let looks_at: &[&str] = match byte / 4 % 4 {
            0 => &["sys.write0"],
            1 => &["sys.write1", "sys.undo1", "sys.get"],
            2 => &["sys.undo0", "sys.write1"],
            _ => &["sys.get", "sys.preview", "sys.find", "sys.write0"],
        };
        hook(&format!("h{n}"), on[usize::from(byte % 4)], looks_at)
    };
    story.hooks.iter().enumerate().map(hook_of).collect()
}

fn new_stage(story: &Story) -> (Stage, Genesis) {
    let (table, operations) = world_of(story);
    let planner = Lanes { lanes: lanes_of(story), opened: false };
    let proposals: Vec<Proposal> = planner
        .lanes
        .iter()
        .flat_map(|lane| lane.jobs.iter())
        .filter_map(|(_, job)| if let Job::Do(p) = job { Some(p.clone()) } else { None })
        .collect();
    let plan = Arc::new(Plan { hooks: hooks_of(story), ..plan_of(&proposals) });
    let catalogue = Arc::new(Catalogue::new(operations).unwrap());
    let agent = Principal {
        id: "agent:test".parse().unwrap(),
        kind: Kind::Agent,
        roles: Default::default(),
    };
    let calls_max = story.budget.map_or(1_000, u32::from);
    let header = Header {
        machine: MACHINE,
        chain: Chain { agent, on_behalf_of: person("person:mira", &[]), tenant: Tenant::default() },
        intent: "test".into(),
        pack: "test@1.0.0".into(),
        pack_digest: Digest::default(),
        plan: plan.digest().unwrap(),
        policy: Digest::default(),
        config: Digest::default(),
        grant: Grant { operations: catalogue.iter().map(|(id, _)| id.clone()).collect() },
        budget: Budget { calls_max, wall_max_ms: 900_000, ..Budget::default() },
        approvers: ApproverRule { expires_ms: 60_000, ..ApproverRule::default() },
        autonomy: Autonomy::L2,
        mode: Mode::Live,
        owner: "owner".into(),
        unusual: Vec::new(),
        submitted_by: None,
    };
    let genesis = Genesis {
        id: RunId::of_intent(&Tenant::default(), "test", "key"),
        header,
        intent: Labelled { value: Arc::new(json!({})), labels: LabelMap::uniform(clean()) },
        subjects: vec![],
    };
    let stage = Stage {
        run: None,
        records: vec![],
        flying: vec![],
        handed: BTreeSet::new(),
        effects: BTreeMap::new(),
        record: BTreeMap::new(),
        outcomes: story.outcomes.clone().into_iter(),
        table: Table(table),
        plan,
        catalogue,
        planner,
        salts: Salted::default(),
        at: 1_000,
        epoch: 0,
        batches: 0,
    };
    (stage, genesis)
}

impl Stage {
    fn pins(&self) -> Pins {
        Pins {
            plan: Arc::clone(&self.plan),
            catalogue: Arc::clone(&self.catalogue),
            planner: Box::new(self.planner.clone()),
        }
    }

    fn now(&self) -> Now {
        Now { at: self.at, boot_ms: self.at.unsigned_abs() }
    }

    fn run(&self) -> &Run {
        self.run.as_ref().unwrap()
    }

    /// Hands an input in; true when the run took it. Not committed yet.
    fn decide(&mut self, input: Input) -> bool {
        let (table, now) = (self.table.clone(), self.now());
        let (before, pending) = (self.run().events(), self.run().has_pending());
        let mut ports = Ports { judge: &table, validate: &NoSchemas, salts: &mut self.salts };
        let run = self.run.as_mut().unwrap();
        let taken = run.decide(input.clone(), now, &mut ports);
        let taken = taken.unwrap_or_else(|fault| panic!("{fault}: {input:?}\n{}", self.text()));
        if taken.is_err() {
            assert_eq!(self.run().events(), before, "a refused input changes nothing");
            assert_eq!(self.run().has_pending(), pending);
        }
        taken.is_ok()
    }

    fn commit(&mut self) {
        let at = self.at.unsigned_abs();
        let run = self.run.as_mut().unwrap();
        assert!(run.next(at).is_empty(), "nothing leaves before it is durable");
        let pending = run.take();
        assert_eq!(pending.expected_seq, self.records.len() as u64, "no gap, no overlap");
        self.records.extend(pending.records);
        run.committed();
        for permit in run.next(at) {
            let key = (permit.action(), permit.attempt());
            assert!(self.handed.insert(key), "a dispatch is handed out once");
            let dispatched = self.records.iter().any(|r| {
                matches!(&r.event.body, Body::Dispatched { action, attempt, .. }
                    if (*action, *attempt) == key)
            });
            assert!(dispatched, "no permit without a committed dispatch");
            self.flying.push(permit);
        }
        self.batches += 1;
        if self.batches.is_multiple_of(5) || self.records.len() < 60 {
            self.check_fold();
        }
    }

    fn check_fold(&self) {
        let fold = Run::fold(&self.records, self.pins()).unwrap();
        let live = self.run();
        assert_eq!(live.status(), fold.status());
        assert_eq!(live.wake_at(), fold.wake_at());
        assert_eq!(live.wanted(), fold.wanted());
        // Everything at once: asks, questions, exceptions, actions, tokens, planner, head.
        let (live, fold) = (shown(live), shown(&fold));
        if live != fold {
            let at = live.bytes().zip(fold.bytes()).take_while(|(l, f)| l == f).count();
            let near = |text: &str| {
                String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(300)..])
                    .chars()
                    .take(500)
                    .collect::<String>()
            };
            panic!(
                "the fold differs from the live run\nlive: {}\nfold: {}",
                near(&live),
                near(&fold)
            );
        }
    }

    fn input(&mut self, input: Input) -> bool {
        let taken = self.decide(input);
        self.commit();
        taken
    }

    /// A new process; `None` of the old one is left.
    fn recover(&mut self) {
        self.flying.clear();
        self.run = Some(Run::fold(&self.records, self.pins()).unwrap());
        self.epoch += 1;
        let epoch = self.epoch;
        self.input(Input::Claimed { epoch });
    }

    /// Makes the call for real; the outcome says so, says otherwise, or nothing.
    fn call(&mut self, permit: &Permit) -> Outcome {
        let choice = self.outcomes.next().unwrap_or_default();
        let fail = |class, landed| {
            Err(Failure {
                class,
                landed,
                message: "scripted".into(),
                retry_after_ms: None,
                sample: None,
            })
        };
        if !permit.operation().is_write() {
            return match choice % 8 {
                6 => fail(Class::Unavailable, Landed::No),
                7 => fail(Class::Timeout, Landed::Unknown),
                _ if permit.operation().id.connector() == "hook" => {
                    let verdict = match choice % 32 {
                        1 => "ask",
                        2 => "deny",
                        3 => "nonsense",
                        _ => "pass",
                    };
                    Ok(returned(json!({ "verdict": verdict })))
                }
                _ => Ok(self.read(permit)),
            };
        }
        match choice % 10 {
            0..=4 => Ok(self.effect(permit)),
            5 => fail(Class::Permission, Landed::No),
            6 => fail(Class::Unavailable, Landed::No),
            7 => fail(Class::Timeout, Landed::Unknown),
            8 => self.effect_then(permit, fail(Class::Timeout, Landed::Unknown)),
            _ => self.effect_then(permit, fail(Class::UnexpectedShape, Landed::Yes)),
        }
    }

    fn effect_then(&mut self, permit: &Permit, outcome: Outcome) -> Outcome {
        self.effect(permit);
        outcome
    }

    fn effect(&mut self, permit: &Permit) -> Returned {
        let retry = permit.operation().facts.retry;
        let seen = self.effects.entry(permit.key().to_string()).or_insert((retry, 0));
        if seen.1 == 0 || retry != Retry::Keyed {
            seen.1 += 1;
            let record = permit.args().get("record").cloned().unwrap_or_default().to_string();
            let value = permit.args().get("value").cloned().unwrap_or_default();
            self.record.insert(record, value);
        }
        returned(json!({ "id": "x" }))
    }

    fn read(&self, permit: &Permit) -> Returned {
        let args = permit.args();
        if permit.operation().id.as_str() == "sys.find" {
            let found = args["key"].as_str().is_some_and(|k| self.effects.contains_key(k));
            return returned(json!({ "found": found }));
        }
        let record = args.get("record").cloned().unwrap_or_default().to_string();
        returned(json!({ "value": self.record.get(&record) }))
    }

    /// One call ends, whichever `pick` names.
    fn land(&mut self, pick: u8) {
        if self.flying.is_empty() {
            return;
        }
        let permit = self.flying.remove(usize::from(pick) % self.flying.len());
        let outcome = self.call(&permit);
        let (action, attempt) = (permit.action(), permit.attempt());
        self.input(Input::Outcome { action, attempt, outcome });
    }

    fn text(&self) -> String {
        let lines = self.records.iter().map(|r| String::from_utf8_lossy(&r.bytes).into_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn answer(&mut self, pick: u8, answer: Answer) -> bool {
        let asks = self.run().asks();
        let Some(ask) = asks.get(usize::from(pick) % asks.len().max(1)) else { return false };
        let taken = ask.action.approvals.len();
        let by = person(&format!("person:a{taken}"), &["approver"]);
        let (approval, action) = (ask.id.clone(), ask.action.digest.unwrap());
        self.input(Input::Answer { approval, action, shown: Digest::default(), by, answer })
    }

    fn ask_or_reply(&mut self, pick: u8) -> bool {
        if pick.is_multiple_of(3) { self.elicit(pick / 3) } else { self.reply() }
    }

    /// A server asks in the middle of a call.
    fn elicit(&mut self, pick: u8) -> bool {
        let Some(permit) = self.flying.get(usize::from(pick) % self.flying.len().max(1)) else {
            return false;
        };
        let asked = Elicitation {
            action: permit.action(),
            attempt: permit.attempt(),
            nth: u32::from(pick % 3),
            text: "which?".to_owned(),
            answer: Arc::new(json!({})),
            role: "approver".to_owned(),
            expires_ms: 5_000,
        };
        self.input(Input::Elicited { asked: Box::new(asked) })
    }

    fn reply(&mut self) -> bool {
        let questions = self.run().questions();
        let Some(question) = questions.first() else { return false };
        let by = person("person:lena", &["approver"]);
        let (question, value) = (question.id.clone(), Arc::new(json!("because")));
        self.input(Input::Reply { question, by, value })
    }

    /// Settles an exception with what really happened.
    fn settle(&mut self, pick: u8) -> bool {
        let open = self.run().exceptions();
        let Some(exception) = open.get(usize::from(pick) % open.len().max(1)) else {
            return false;
        };
        let settlement = match exception.need {
            Need::InDoubt => {
                let key = key_of(&self.records, exception.action.unwrap());
                let there = self.effects.contains_key(&key);
                if there { Settlement::Happened } else { Settlement::DidNotHappen }
            }
            Need::Escalated => match pick % 5 {
                3 => Settlement::Skip,
                4 => Settlement::Rollback,
                0 => Settlement::Use { value: Arc::new(json!("stands in")) },
                1 => Settlement::Retry,
                _ => Settlement::Stop,
            },
            _ if pick.is_multiple_of(2) && exception.count < 3 => Settlement::Retry,
            _ => Settlement::Close,
        };
        let early = settlement == Settlement::DidNotHappen;
        let by = person("person:lena", &["operator"]);
        let (exception, evidence) = (exception.id.clone(), "looked".to_owned());
        let settle = Input::Settle { exception, by, settlement, evidence };
        let taken = self.input(settle.clone());
        // While a call may be on its way nobody can say no: look again later.
        if !taken && early {
            self.at += 30_000;
            return self.input(settle);
        }
        // What cannot be tried again, such as an undo that happened, can still be closed.
        if let (false, Input::Settle { settlement: Settlement::Retry, .. }) = (taken, &settle) {
            let Input::Settle { exception, by, evidence, .. } = settle else { return false };
            let settlement = Settlement::Close;
            return self.input(Input::Settle { exception, by, settlement, evidence });
        }
        taken
    }

    fn roll_back(&mut self, pick: u8) -> bool {
        let by = person("person:lena", &[]);
        let seen = || OnConflict::Seen { images: Default::default() };
        let on_conflict = match pick % 8 {
            1 | 3 | 5 => OnConflict::Accept,
            7 => seen(),
            _ => OnConflict::Refuse,
        };
        let tokens = self.run().usable_tokens();
        let token = tokens.get(usize::from(pick / 4) % tokens.len().max(1)).map(|t| t.id.clone());
        let scope = match token {
            Some(token) if pick & 2 == 0 => Scope::Token { token },
            _ => Scope::Run,
        };
        self.input(Input::Rollback { by, scope, on_conflict })
    }

    fn tick(&mut self, ms: i64) {
        self.at += ms;
        self.input(Input::Tick);
        let events = self.run().events();
        self.input(Input::Tick);
        assert_eq!(self.run().events(), events, "a tick storm journals nothing");
    }

    fn happen(&mut self, (what, pick): (u8, u8)) {
        let lena = || person("person:lena", &[]);
        match what {
            0..=4 => self.land(pick),
            5 | 6 => drop(self.answer(pick, Answer::Approve)),
            7 => drop(self.answer(pick, Answer::Deny { reason: "no".into() })),
            8 => {
                let args = Arc::new(json!({"value": "edited", "record": "r0"}));
                self.answer(pick, Answer::Edit { args });
            }
            9 => drop(self.ask_or_reply(pick)),
            10 => drop(self.settle(pick)),
            11 => self.tick([100, 4_000, 7_000, 65_000][usize::from(pick % 4)]),
            12 => {
                // A crash: some calls had already arrived.
                for permit in std::mem::take(&mut self.flying) {
                    if pick % 2 == 0 {
                        let _lost = self.call(&permit);
                    }
                }
                self.recover();
            }
            13 => {
                // A crash before the append: whatever was decided never was.
                let reason = "x".to_owned();
                if pick % 3 == 0 {
                    self.decide(Input::Cancel { by: lena(), reason });
                } else if let Some(permit) = self.flying.pop() {
                    let outcome = self.call(&permit);
                    let (action, attempt) = (permit.action(), permit.attempt());
                    self.decide(Input::Outcome { action, attempt, outcome });
                }
                self.recover();
            }
            14 => {
                let taken = if pick % 2 == 0 {
                    Input::Pause { by: lena() }
                } else {
                    Input::Resume { by: lena() }
                };
                self.input(taken);
            }
            15 => {
                // A drain: held, calls in flight end, nothing new leaves.
                self.input(Input::Hold);
                let mut left = self.flying.len();
                while !self.flying.is_empty() {
                    self.land(pick);
                    left -= 1;
                    assert_eq!(self.flying.len(), left, "nothing new leaves while held");
                }
                self.recover();
                let doubts = self.run().exceptions();
                drop(doubts);
            }
            16 => match pick % 4 {
                0 => drop(self.input(Input::Cancel { by: lena(), reason: "enough".into() })),
                1 => drop(self.input(Input::PolicyChanged { digest: Digest::of(&[pick]) })),
                _ => {
                    let body = Arc::new(json!({ "n": pick }));
                    self.input(Input::Signal { name: "go".into(), body });
                }
            },
            17 => drop(self.roll_back(pick)),
            _ => {
                // The clock goes back; a defect is met.
                self.at -= 1_000;
                if pick % 4 == 0 {
                    self.input(Input::Fault { message: "scripted".into() });
                }
            }
        }
    }

    /// People answer until nothing is open.
    fn bring_home(&mut self) {
        for turn in 0..400_u32 {
            let pick = (turn % 251) as u8;
            if !self.flying.is_empty() {
                self.land(pick);
            } else if self.run().wants_owner() {
                self.recover();
            } else if self.input(Input::Resume { by: person("person:lena", &[]) })
                || self.answer(pick, Answer::Approve)
                || self.answer(pick, Answer::Deny { reason: "no".into() })
                || self.reply()
                || self.settle(pick)
            {
            } else if let Some(due) = self.run().wake_at() {
                self.at = self.at.max(due);
                self.tick(0);
            } else {
                return;
            }
        }
        panic!("it never ends: {:?}\n{}", self.run().status(), self.text());
    }

    fn check_end(&mut self) {
        let status = self.run().status();
        assert!(status.is_over(), "stuck: {status:?}\n{}", self.text());
        assert!(self.run().open_actions().is_empty(), "{}", self.text());
        let last = self.records.last().unwrap().event.body.kind();
        assert_eq!(last, "closed", "{}", self.text());
        self.check_fold();
        let events = self.run().events();
        for input in [Input::Tick, Input::Claimed { epoch: 99 }, Input::Hold] {
            self.input(input);
        }
        self.input(Input::PolicyChanged { digest: Digest::of(b"later") });
        assert_eq!(self.run().events(), events, "a run at rest keeps no trace of a visit");
    }

    /// Nothing is written that a hook should have looked at and did not, or that it denied.
    fn check_looked_at(&self, before: &[Record], of: u64) {
        let Body::Proposed { operation: written, .. } = &before[of as usize].event.body else {
            panic!("{of} is no proposal")
        };
        let looks = self.plan.hooks.iter().filter(|hook| hook.on == Moment::Before);
        for hook in looks.filter(|hook| hook.looks_at.contains(written)) {
            let look = before.iter().find(|record| match &record.event.body {
                Body::Proposed {
                    operation, because: Role::Companion { of: served, .. }, ..
                } => *operation == hook.operation.id && *served == of,
                _ => false,
            });
            let look = look.unwrap_or_else(|| panic!("nobody looked at {of}\n{}", self.text()));
            let said = before.iter().find_map(|record| match &record.event.body {
                Body::Returned { action, ended: Ended::Done { output, .. }, .. }
                    if *action == look.event.seq =>
                {
                    Some(output.value()["verdict"].clone())
                }
                _ => None,
            });
            let clear = [Some(json!("pass")), Some(json!("ask"))];
            assert!(clear.contains(&said), "{of} was written over {said:?}\n{}", self.text());
        }
    }

    /// What the journal must show, whatever happened.
    fn check_journal(&self) {
        check_chain(&self.records).unwrap();
        let mut writes = BTreeSet::new();
        for (index, record) in self.records.iter().enumerate() {
            if let Body::Proposed { operation, because, .. } = &record.event.body
                && self.catalogue.get(operation).is_some_and(|entry| entry.operation.is_write())
            {
                assert!(!matches!(because, Role::Companion { .. }));
                writes.insert(index as u64);
            }
            if let Body::Dispatched { action, .. } = &record.event.body
                && writes.contains(action)
            {
                check_allowed(&self.records[..index], *action);
                self.check_looked_at(&self.records[..index], *action);
            }
        }
        for (key, (_, times)) in &self.effects {
            assert_eq!(*times, 1, "{key} happened more than once\n{}", self.text());
            let landed = self.records.iter().any(|r| {
                matches!(&r.event.body, Body::Receipted { action, landed: Landed::Yes, .. }
                    if key_of(&self.records, *action) == *key)
            });
            assert!(landed, "{key} has no receipt\n{}", self.text());
        }
        let replayed = replay(&self.records, self.pins(), (&self.table, &NoSchemas));
        let replayed = replayed.unwrap_or_else(|e| panic!("{e}\n{}", self.text()));
        assert_eq!(replayed.events, self.records.len() as u64);
    }
}

/// A whole run as text, from its state on: what it is pinned to is the same, clocks are no state.
fn shown(run: &Run) -> String {
    let text = format!("{run:?}");
    let planner = text.find("planner: ").unwrap();
    let boot = text.rfind(", boot_ms: ").unwrap();
    let rest = text[boot + 2..].find(',').unwrap();
    format!("{}{}", &text[planner..boot], &text[boot + 2 + rest..])
}

fn key_of(records: &[Record], of: u64) -> String {
    let key = records.iter().find_map(|r| match &r.event.body {
        Body::Dispatched { action, key, .. } if *action == of => Some(key.to_string()),
        _ => None,
    });
    key.unwrap_or_default()
}

/// A write leaves only after an allow on exactly the digest that was approved last.
fn check_allowed(before: &[Record], of: u64) {
    let mut allowed: Option<Digest> = None;
    let mut approved: Option<Digest> = None;
    for record in before {
        match &record.event.body {
            Body::Judged { action, digest, decision } if *action == of => {
                allowed = (decision.verdict == Verdict::Allow).then_some(*digest);
            }
            Body::Answered { action, digest, answer, .. } if *action == of => {
                assert_eq!(*answer, Answered::Approved, "nothing follows another answer");
                (allowed, approved) = (None, Some(*digest));
            }
            Body::Voided { action, .. } if *action == of => (allowed, approved) = (None, None),
            Body::Rewritten { action, .. } if *action == of => allowed = None,
            Body::Captured { action, purpose: Purpose::Before | Purpose::Preview, .. }
                if *action == of =>
            {
                allowed = None;
            }
            _ => {}
        }
    }
    let allowed = allowed.unwrap_or_else(|| {
        let text = before.iter().map(|r| String::from_utf8_lossy(&r.bytes).into_owned());
        let text = text.collect::<Vec<_>>().join("\n");
        panic!("action {of} was not judged and allowed after everything else\n{text}")
    });
    assert!(approved.is_none_or(|approved| approved == allowed), "another digest was approved");
}

fn tell(story: &Story) {
    let (mut stage, genesis) = new_stage(story);
    let (table, now, pins) = (stage.table.clone(), stage.now(), stage.pins());
    let mut ports = Ports { judge: &table, validate: &NoSchemas, salts: &mut stage.salts };
    stage.run = Some(Run::open(genesis, pins, now, &mut ports).unwrap());
    stage.commit();
    for happening in &story.happenings {
        stage.happen(*happening);
    }
    stage.bring_home();
    stage.check_end();
    stage.check_journal();
    for pick in [1, 0, 3] {
        stage.roll_back(pick);
        stage.bring_home();
        stage.check_end();
    }
    stage.check_journal();
}

/// The same stories every time; `PROPTEST_RNG_SEED=n` tells others.
fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    let rng_seed = match given.rng_seed {
        RngSeed::Random => RngSeed::Fixed(2_026),
        fixed => fixed,
    };
    ProptestConfig { cases: 96, failure_persistence: None, rng_seed, ..given }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_the_claims_hold(story in story()) {
        tell(&story);
    }
}

/// Found at random once: an undo that happened but failed cannot be tried again; a doubt beside it, in a run
/// that a person had rolled back, is settled all the same.
#[test]
fn an_undo_that_failed_does_not_hide_a_doubt_beside_it() {
    let facts = |undo, retry| Facts {
        undo,
        retry,
        preview: false,
        before: false,
        conclusive: false,
        policy: 0,
        undo_policy: 0,
    };
    tell(&Story {
        writes: vec![facts(46, 225), facts(232, 142)],
        reads: [0, 0, 0],
        lanes: vec![(vec![4], 3), (vec![220], 0), (vec![5, 14], 0)],
        budget: None,
        outcomes: vec![237, 55, 10, 217, 77, 155, 109],
        happenings: vec![(15, 71), (0, 0), (0, 0), (10, 154), (0, 0), (0, 0), (0, 0)],
        hooks: vec![],
    });
}

/// Found at random once: a companion that the budget refused failed its parent, and the planner's next
/// move waited for an input that had nothing to do with it.
#[test]
fn a_rejected_companion_does_not_leave_the_planner_waiting() {
    let plain = |undo| Facts {
        undo,
        retry: 0,
        preview: false,
        before: false,
        conclusive: false,
        policy: 0,
        undo_policy: 0,
    };
    tell(&Story {
        writes: vec![plain(45), plain(11)],
        reads: [10, 0, 0],
        lanes: vec![(vec![3], 2), (vec![215, 215], 2)],
        budget: Some(1),
        outcomes: vec![],
        happenings: vec![(5, 0), (0, 0), (0, 0), (5, 0), (11, 0)],
        hooks: vec![],
    });
}

/// Found at random once: a run cancelled while it was paused kept a doubt that nobody looked into.
#[test]
fn a_run_cancelled_while_paused_ends() {
    let plain = Facts {
        undo: 0,
        retry: 0,
        preview: false,
        before: false,
        conclusive: false,
        policy: 0,
        undo_policy: 0,
    };
    tell(&Story {
        writes: vec![plain.clone(), plain],
        reads: [0, 0, 0],
        lanes: vec![(vec![110, 4], 0)],
        budget: None,
        outcomes: vec![],
        happenings: vec![(0, 0), (9, 0), (5, 0), (14, 8), (12, 0), (16, 4)],
        hooks: vec![],
    });
}
