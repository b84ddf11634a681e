//! Plays one run on the stage from its first event to its rest: the real run machine, planner, policies,
//! receipts and the store in RAM, with a world, people, a clock and salts that do as a script says.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use kernel::{
    Digest,
    decision::{Decision, Question},
    event::{Body, Record, Role},
    exception::{Exception, Need},
    gate::Permit,
    id::{At, Epoch, OperationId, RunId, Seq, Tenant},
    input::{Answer, Input, Now, OnConflict, Scope, Settlement},
    plan::Plan,
    planning::Wait,
    playbook::static_path,
    port::{Batch, Journal as _, JournalError, Judge, Salts, SignedReceipt, Task},
    run::{AskView, Fault as Defect, Pending, Ports, Run, Status},
    sealed::Salt,
};
use serde_json::{Value, json};
use store::{Log as _, Page, Query as _, Ram};

use super::{
    script::{Crash, People, Script, Target, Then, Times},
    setting::Setting,
    stage::{Stage, person},
    world::{How, World},
};

/// Most inputs handed to one run.
const INPUTS_MAX: usize = 5_000;
/// When every run begins: a Monday morning.
const BEGIN_AT: At = 1_767_603_630_000;
/// How long the world takes to answer, in milliseconds.
const ANSWER_MS: i64 = 5;
/// How long nobody looks after a crash, in milliseconds.
const CRASH_MS: i64 = 1_000;
/// After how long no call of whatever operation can be on its way any more.
const SENT_BY_MS: i64 = kernel::gate::DISPATCH_WINDOW_MS + kernel::operation::TIMEOUT_MAX_MS as i64;

/// An action's place in the story.
#[derive(Clone, Debug)]
pub(super) struct Acted {
    pub(super) step: String,
    pub(super) role: Role,
}

/// One run, told to its end.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) records: Vec<Record>,
    pub(super) world: World,
    pub(super) status: Status,
    /// Why it came to no rest.
    pub(super) stuck: Option<String>,
    /// Events there were after each append.
    pub(super) appends: Vec<usize>,
    /// Receipt ids and payloads of envelopes in the store's log, in its order.
    pub(super) log: Vec<(String, Vec<u8>)>,
    /// What became of answers that came twice.
    pub(super) echoes: Vec<bool>,
    /// What the store said when the same intent came again under the same key.
    pub(super) resubmitted: Option<JournalError>,
    /// What it was allowed to do.
    pub(super) plan: Arc<Plan>,
}

/// Salts that count: tests are the same every time.
#[derive(Clone, Copy, Debug, Default)]
struct Counted(u128);

impl Salts for Counted {
    fn salt(&mut self) -> Salt {
        self.0 += 1;
        self.0.to_be_bytes()
    }
}

/// The policies of the stage, and one refusal more.
#[derive(Debug)]
struct Refusing<'a> {
    judge: &'a dyn Judge,
    deny: Option<&'a (OperationId, Value)>,
}

impl Judge for Refusing<'_> {
    fn judge(&self, question: &Question<'_>) -> Decision {
        let hit = |(id, args): &&(OperationId, Value)| {
            *id == question.operation.id && args == question.args
        };
        match self.deny.filter(hit) {
            Some(_) => Decision::denied("pack-test", "the kit lets policy refuse this"),
            None => self.judge.judge(question),
        }
    }
}

/// A run while it is played.
struct Bench<'s> {
    stage: &'s Stage,
    setting: Arc<Setting>,
    script: &'s Script,
    plan: Arc<Plan>,
    id: RunId,
    ram: Ram,
    run: Run,
    world: World,
    epoch: Epoch,
    at: At,
    salts: Counted,
    in_flight: Vec<Permit>,
    acted: BTreeMap<Seq, Acted>,
    waits: Vec<(String, String)>,
    appends: Vec<usize>,
    events: usize,
    struck: Vec<usize>,
    crashed: bool,
    rolled_back: bool,
    echoes: Vec<bool>,
}

/// Why a run cannot be played on.
type Stop = String;

/// Plays a plan by a script.
///
/// # Errors
/// When it cannot even begin.
pub(super) fn play(
    stage: &Arc<Stage>,
    (setting, plan): (&Arc<Setting>, &Arc<Plan>),
    script: &Script,
) -> Result<Story, Stop> {
    let genesis = stage.genesis(plan, &setting.inputs, script.budget.clone())?;
    let id = genesis.id.clone();
    let pins = stage.pins(plan, &id)?;
    let mut salts = Counted::default();
    let judge = Refusing { judge: &*stage.shelved.bundle, deny: script.deny.as_ref() };
    let mut ports = Ports { judge: &judge, validate: &*stage.schemas, salts: &mut salts };
    let now = Now { at: BEGIN_AT, boot_ms: BEGIN_AT.unsigned_abs() };
    let run = Run::open(genesis, pins, now, &mut ports).map_err(|e| e.to_string())?;
    let mut bench = Bench {
        stage,
        setting: Arc::clone(setting),
        script,
        plan: Arc::clone(plan),
        id,
        ram: Ram::new(),
        run,
        world: World::new(Arc::clone(stage), Arc::clone(setting)),
        epoch: 0,
        at: BEGIN_AT,
        salts,
        in_flight: Vec::new(),
        acted: BTreeMap::new(),
        waits: Vec::new(),
        appends: Vec::new(),
        events: 0,
        struck: vec![0; script.faults.len()],
        crashed: false,
        rolled_back: false,
        echoes: Vec::new(),
    };
    let stuck = bench.drive().err();
    bench.tell(stuck)
}

impl Bench<'_> {
    fn drive(&mut self) -> Result<(), Stop> {
        for _ in 0..INPUTS_MAX {
            self.flush()?;
            let Some(input) = self.next_input()? else { return Ok(()) };
            self.hand_in(input)?;
        }
        Err(format!("it comes to no end within {INPUTS_MAX} inputs"))
    }

    /// Hands one input in; what is refused leaves no trace.
    fn hand_in(&mut self, input: Input) -> Result<bool, Stop> {
        let now = Now { at: self.at, boot_ms: self.at.unsigned_abs() };
        let judge =
            Refusing { judge: &*self.stage.shelved.bundle, deny: self.script.deny.as_ref() };
        let validate = &*self.stage.schemas;
        let mut ports = Ports { judge: &judge, validate, salts: &mut self.salts };
        let taken = self.run.decide(input, now, &mut ports);
        taken.map(|taken| taken.is_ok()).map_err(|defect: Defect| format!("a defect: {defect}"))
    }

    /// Makes what was decided durable, ends the process where the script says so, and takes permits.
    fn flush(&mut self) -> Result<(), Stop> {
        if self.run.has_pending() {
            let pending = self.run.take();
            self.append(pending)?;
            if self.script.crash == Crash::AfterAppend(self.appends.len()) && !self.crashed {
                self.take_over()?;
                return self.flush();
            }
            self.run.committed();
        }
        self.in_flight.extend(self.run.next(self.at.unsigned_abs()));
        Ok(())
    }

    fn append(&mut self, pending: Pending) -> Result<(), Stop> {
        let Pending { expected_seq, records, drafts, changes, wake_at, reach } = pending;
        for record in &records {
            self.note(record);
        }
        self.events += records.len();
        let sealed = drafts.into_iter().map(|draft| {
            let envelope = self.stage.seal(&draft.payload);
            SignedReceipt { draft, envelope }
        });
        let batch = Batch {
            tenant: Tenant::default(),
            run: self.id.clone(),
            expected_seq,
            epoch: self.epoch,
            records,
            receipts: sealed.collect(),
            changes,
            consumed: Vec::new(),
            wake_at,
            reach,
        };
        at_once(self.ram.append(batch))?.map_err(|e| e.to_string())?;
        self.appends.push(self.events);
        Ok(())
    }

    fn note(&mut self, record: &Record) {
        match &record.event.body {
            Body::Proposed { step, because, .. } => {
                let acted = Acted { step: static_path(step), role: because.clone() };
                self.acted.insert(record.event.seq, acted);
            }
            Body::Waiting { step, wait: Wait::Signal { name, .. }, .. } => {
                self.waits.push((step.clone(), name.clone()));
            }
            Body::Woken { step } => self.waits.retain(|(waiting, _)| waiting != step),
            Body::Signalled { name, .. } => self.waits.retain(|(_, known)| known != name),
            _ => {}
        }
    }

    /// Another process takes the run over, from what the store holds.
    fn take_over(&mut self) -> Result<(), Stop> {
        self.crashed = true;
        self.in_flight.clear();
        self.at += CRASH_MS;
        let claimed = at_once(self.ram.claim(Tenant::default(), self.id.clone()))?;
        let claimed = claimed.map_err(|e| e.to_string())?;
        let pins = self.stage.pins(&self.plan, &self.id)?;
        self.run = Run::fold(&claimed.records, pins).map_err(|e| e.to_string())?;
        self.epoch = claimed.epoch;
        self.hand_in(Input::Claimed { epoch: claimed.epoch })?;
        self.hand_in(Input::Tick)?;
        Ok(())
    }

    fn next_input(&mut self) -> Result<Option<Input>, Stop> {
        if !self.in_flight.is_empty() {
            let permit = self.in_flight.remove(0);
            return self.call(&permit).map(Some);
        }
        for ask in self.run.asks().into_iter().rev() {
            if let Some(answer) = self.answer(&ask)? {
                return Ok(Some(answer));
            }
        }
        if let Some(reply) = self.reply()? {
            return Ok(Some(reply));
        }
        if let Some(open) = self.run.exceptions().into_iter().next() {
            let settlement = self.settlement(&open);
            if settlement == Settlement::DidNotHappen {
                // A no counts once no call can be on its way any more.
                self.at += SENT_BY_MS;
            }
            let by = person("owner", std::slice::from_ref(&open.owner))?;
            let evidence = "the world's own account".to_owned();
            return Ok(Some(Input::Settle { exception: open.id, by, settlement, evidence }));
        }
        if self.run.status().is_over() {
            return self.afterwards();
        }
        let heard = self.waits.iter().find(|(step, _)| !self.is_silent(step)).cloned();
        if let Some((step, name)) = heard {
            let body = self.setting.said(&step, &json!({ "type": "object" }), &self.stage.fit);
            return Ok(Some(Input::Signal { name, body: Arc::new(body) }));
        }
        let status = self.run.status().word();
        let due = self.run.wake_at().ok_or_else(|| {
            format!("it waits for nothing and has not ended: it is {}", status.replace('_', " "))
        })?;
        self.at = self.at.max(due);
        Ok(Some(Input::Tick))
    }

    fn is_silent(&self, step: &str) -> bool {
        self.script.people == People::Silent(static_path(step))
    }

    fn answer(&self, ask: &AskView) -> Result<Option<Input>, Stop> {
        let step = static_path(&ask.action.step);
        let own = ask.action.role == Role::Step;
        let Some(action) = ask.action.digest else { return Ok(None) };
        let answer = match &self.script.people {
            People::Silent(silent) if own && *silent == step => return Ok(None),
            People::Refuse(refused) if own && *refused == step => {
                Answer::Deny { reason: "the kit refuses this".to_owned() }
            }
            People::Willing | People::Refuse(_) | People::Silent(_) => Answer::Approve,
        };
        let roles: Vec<String> = ask.requirement.approvals.keys().cloned().collect();
        let by = person(&format!("approver-{}", ask.action.approvals.len() + 1), &roles)?;
        let (approval, shown) = (ask.id.clone(), Digest::default());
        Ok(Some(Input::Answer { approval, action, shown, by, answer }))
    }

    fn reply(&self) -> Result<Option<Input>, Stop> {
        let open = self.run.questions().into_iter().find(|asked| !self.is_silent(&asked.step));
        let Some(asked) = open else { return Ok(None) };
        let value = self.setting.said(&static_path(&asked.step), &asked.answer, &self.stage.fit);
        let by = person("answerer", std::slice::from_ref(&asked.role))?;
        Ok(Some(Input::Reply { question: asked.id, by, value: Arc::new(value) }))
    }

    /// What somebody decides who can look into the world.
    fn settlement(&self, open: &Exception) -> Settlement {
        match open.need {
            Need::InDoubt => {
                let happened = |action| self.world.effects.iter().any(|e| Some(e.action) == action);
                if happened(open.action) { Settlement::Happened } else { Settlement::DidNotHappen }
            }
            Need::Escalated => Settlement::Stop,
            Need::UndoFailed | Need::Conflict | Need::Unplanned | Need::Defect => Settlement::Close,
        }
    }

    fn afterwards(&mut self) -> Result<Option<Input>, Stop> {
        let takes_back = matches!(self.script.then, Then::RollBack | Then::MeddleAndRollBack);
        if self.rolled_back || !takes_back || self.run.effects().is_empty() {
            return Ok(None);
        }
        self.rolled_back = true;
        if self.script.then == Then::MeddleAndRollBack {
            self.world.meddle();
        }
        let by = person("operator", &[])?;
        let (scope, on_conflict) = (Scope::Run, OnConflict::Refuse);
        Ok(Some(Input::Rollback { by, scope, on_conflict }))
    }

    fn call(&mut self, permit: &Permit) -> Result<Input, Stop> {
        self.at += ANSWER_MS;
        let (action, attempt) = (permit.action(), permit.attempt());
        let acted = self.acted.get(&action).cloned();
        let fault = acted.as_ref().and_then(|acted| self.fault(acted, permit));
        let outcome = self.world.answer(permit, self.at, fault.as_ref());
        let own =
            |step: &String| acted.as_ref().is_some_and(|a| a.step == *step && a.role == Role::Step);
        match &self.script.crash {
            Crash::AfterCall(step) if own(step) && !self.crashed => {
                self.take_over()?;
                return Ok(Input::Tick);
            }
            _ => {}
        }
        if self.script.echo.as_ref().is_some_and(own) {
            let first = Input::Outcome { action, attempt, outcome: outcome.clone() };
            self.hand_in(first)?;
            let events = self.run.events();
            let taken =
                self.hand_in(Input::Outcome { action, attempt, outcome: outcome.clone() })?;
            self.echoes.push(taken || self.run.events() != events);
        }
        Ok(Input::Outcome { action, attempt, outcome })
    }

    fn fault(&mut self, acted: &Acted, permit: &Permit) -> Option<How> {
        let undone = |token: &kernel::id::TokenId| {
            let token = self.run.token_by_id(token)?;
            self.acted.get(&token.action).map(|acted| acted.step.clone())
        };
        let hits = |target: &Target| match (target, &acted.role) {
            (Target::Step(step, operation), Role::Step) => {
                *step == acted.step && *operation == permit.operation().id
            }
            (Target::Companion(step, wanted), Role::Companion { purpose, of }) => {
                let of = self.acted.get(of).map(|acted| &acted.step);
                of == Some(step) && purpose == wanted
            }
            (Target::UndoOf(step), Role::Undo { token, .. }) => {
                undone(token).as_ref() == Some(step)
            }
            _ => false,
        };
        let faults = self.script.faults.iter().zip(&mut self.struck);
        for (fault, struck) in faults {
            if hits(&fault.target) && (fault.times == Times::Always || *struck == 0) {
                *struck += 1;
                return Some(fault.how.clone());
            }
        }
        None
    }

    fn tell(self, stuck: Option<Stop>) -> Result<Story, Stop> {
        let tenant = Tenant::default();
        let held = at_once(self.ram.claim(tenant.clone(), self.id.clone()))?;
        let records = held.map_err(|e| e.to_string())?.records;
        let log = self.log(&tenant)?;
        let resubmitted = match self.script.then {
            Then::SubmitAgain => self.submit_again()?,
            Then::Rest | Then::RollBack | Then::MeddleAndRollBack => None,
        };
        Ok(Story {
            records,
            world: self.world,
            status: self.run.status(),
            stuck,
            appends: self.appends,
            log,
            echoes: self.echoes,
            resubmitted,
            plan: self.plan,
        })
    }

    /// Begins the same intent under the same key once more: a compare-and-set at the first event.
    fn submit_again(&self) -> Result<Option<JournalError>, Stop> {
        let (inputs, budget) = (&self.setting.inputs, self.script.budget.clone());
        let genesis = self.stage.genesis(&self.plan, inputs, budget)?;
        let (id, mut salts) = (genesis.id.clone(), Counted::default());
        let pins = self.stage.pins(&self.plan, &id)?;
        let judge: &dyn Judge = &*self.stage.shelved.bundle;
        let mut ports = Ports { judge, validate: &*self.stage.schemas, salts: &mut salts };
        let now = Now { at: self.at, boot_ms: self.at.unsigned_abs() };
        let mut run = Run::open(genesis, pins, now, &mut ports).map_err(|e| e.to_string())?;
        let Pending { expected_seq, records, changes, wake_at, reach, .. } = run.take();
        let batch = Batch {
            tenant: Tenant::default(),
            run: id,
            expected_seq,
            epoch: 0,
            records,
            receipts: Vec::new(),
            changes,
            consumed: Vec::new(),
            wake_at,
            reach,
        };
        Ok(at_once(self.ram.append(batch))?.err())
    }

    /// Everything of this run in the store's receipt log.
    fn log(&self, tenant: &Tenant) -> Result<Vec<(String, Vec<u8>)>, Stop> {
        let mut log = Vec::new();
        let mut page = Page::default();
        loop {
            let listed = at_once(self.ram.receipts(tenant, &self.id, page.clone()))?;
            let listed = listed.map_err(|e| e.to_string())?;
            for entry in listed.items {
                let stored = at_once(self.ram.receipt(tenant, &entry.id))?;
                let stored = stored.map_err(|e| e.to_string())?;
                log.extend(stored.map(|stored| (entry.id.to_string(), stored.envelope)));
            }
            match listed.next {
                Some(next) => page.after = Some(next),
                None => return Ok(log),
            }
        }
    }
}

/// What a store in RAM answers: it never waits.
fn at_once<T>(mut task: Task<'_, T>) -> Result<T, Stop> {
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Ok(answer),
        Poll::Pending => Err("the store in RAM let us wait".to_owned()),
    }
}
