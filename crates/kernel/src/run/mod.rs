//! The run machine: `decide` an input into events, `apply` events into state, yield what is `next`.
//!
//! Reading order: this file (the surface), `state` (what events fold to), `apply` (how), `propose`
//! (the gate, in order), `settle` (outcomes and receipts), `people` (answers and the clock), `hooks` (who
//! looks at calls), `elicit` (what servers ask in the middle of them),
//! `exceptions` (what people decide about them), `unwind` (taking back), `replay`.
//!
//! State is only ever the fold of events; whatever `decide` concludes is emitted as an event first.
//! Nothing leaves the process before [`Run::committed`] acknowledges the batch of [`Run::take`].

mod apply;
mod apply_exceptions;
mod apply_waits;
mod companions;
mod elicit;
mod emit;
mod exceptions;
mod faults;
mod hooks;
mod kept;
mod people;
mod propose;
mod replay;
mod settle;
mod state;
mod unwind;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use elicit::{ELICITED_MAX, ELICITED_MAX_BYTES, RELAYED_MAX, RELAYED_MAX_BYTES};
pub use exceptions::verbs;
pub use faults::{Fault, Refused};
pub use propose::{PREVIEWED, PREVIEWED_ASK, UNUSUAL_RULE};
pub use replay::{Divergence, Replayed, replay, replay_under};
pub use view::{ActionView, AskView, QuestionView};

use crate::{
    catalogue::{Catalogue, Entry},
    event::{Body, Header, MACHINE, Purpose, Record, check_chain},
    gate::{DISPATCH_WINDOW_MS, Permit},
    halt::Reach,
    id::{At, Digest, OperationId, RunId, Seq, Tenant},
    input::{Input, Now},
    label::LabelMap,
    operation::Companion,
    plan::Plan,
    planning::{Labelled, Planner},
    playbook::visit_steps,
    port::{Judge, Salts, Validate},
    project::{Change, RunRow},
    receipt::Draft,
    sealed::Sealed,
};
use state::{Phase, State};

/// Most actions of one run that may be unfinished at a time.
pub const ACTIONS_OPEN_MAX: usize = 64;
/// Most planner moves taken in for one input: a loop of skipped turns wants one each.
pub const MOVES_MAX: usize = 250_000;
/// Signals kept for steps that do not wait for them yet.
pub const EARLY_SIGNALS_MAX: usize = 64;
/// Longest thing a person may say to whoever plans a run, in bytes.
pub const STEERING_MAX_BYTES: usize = 16_384;
/// Times a person is asked again because what was shown has moved.
pub const ASKS_MAX: u32 = 3;
/// Calls made for one effect under one key before a person is needed.
pub const ATTEMPTS_MAX: u32 = 3;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Something is in flight.
    Running,
    /// Parked on a timer or a signal.
    Waiting,
    /// Parked on a person's answer.
    Asking,
    /// Held by a person.
    Paused,
    /// Held by a halt.
    Halted,
    /// An exception is open.
    NeedsPerson,
    /// Effects are being taken back.
    RollingBack,
    /// Ended well.
    Succeeded,
    /// Ended with caveats.
    Partial,
    /// Ended by a failure.
    Failed,
    /// Ended by a person.
    Cancelled,
    /// Everything was taken back.
    RolledBack,
    /// Some was taken back, some was not.
    PartlyRolledBack,
}

impl Status {
    /// The word used in journals, lists and receipts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Asking => "asking",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::NeedsPerson => "needs_person",
            Self::RollingBack => "rolling_back",
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
            Self::PartlyRolledBack => "partly_rolled_back",
        }
    }

    /// Whether nothing more happens without a new request.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Running
            | Self::Waiting
            | Self::Asking
            | Self::Paused
            | Self::Halted
            | Self::NeedsPerson
            | Self::RollingBack => false,
            Self::Succeeded
            | Self::Partial
            | Self::Failed
            | Self::Cancelled
            | Self::RolledBack
            | Self::PartlyRolledBack => true,
        }
    }
}

/// What a run is pinned to, looked up by the digests of its header.
#[derive(Debug)]
pub struct Pins {
    /// What it may do.
    pub plan: Arc<Plan>,
    /// The operations it may name.
    pub catalogue: Arc<Catalogue>,
    /// A planner that has observed nothing yet.
    pub planner: Box<dyn Planner>,
}

/// The pure ports a decision may consult.
pub struct Ports<'a> {
    /// Policy.
    pub judge: &'a dyn Judge,
    /// Schemas.
    pub validate: &'a dyn Validate,
    /// Salts for commitments.
    pub salts: &'a mut dyn Salts,
}

impl fmt::Debug for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("judge", self.judge).finish_non_exhaustive()
    }
}

/// How a run begins.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The run's id: [`RunId::of_intent`], so that the same key is the same run.
    pub id: RunId,
    /// The pinned world.
    pub header: Header,
    /// The intent's inputs, validated and labelled.
    pub intent: Labelled,
    /// Opaque subjects.
    pub subjects: Vec<String>,
}

/// Everything a batch makes durable, before signing.
#[derive(Debug, Default)]
pub struct Pending {
    /// The sequence number of the first record.
    pub expected_seq: Seq,
    /// The events.
    pub records: Vec<Record>,
    /// Statements to sign.
    pub drafts: Vec<Draft>,
    /// Projection changes.
    pub changes: Vec<Change>,
    /// When time alone will change something.
    pub wake_at: Option<At>,
    /// What its dispatches touch; `None` when it holds none.
    pub reach: Option<Reach>,
}

/// One execution of one intent.
#[derive(Debug)]
pub struct Run {
    id: RunId,
    tenant: Tenant,
    pins: Pins,
    undo_overrides: BTreeMap<String, Companion>,
    /// The hooks of the plan as operations, by name.
    hooks: BTreeMap<OperationId, Entry>,
    state: State,
    pending: Pending,
    committed: Seq,
    issued: BTreeSet<Seq>,
    /// The boot-time clock at the last decision.
    boot_ms: u64,
    /// Dispatch → the boot-time clock when it was decided, until it is handed out.
    decided: BTreeMap<Seq, u64>,
    /// Companions rejected within this decision whose parents have not heard of it yet.
    pending_companions: Vec<(Seq, Purpose)>,
}

impl Run {
    /// Begins a run and runs ahead until the outside is needed.
    ///
    /// # Errors
    /// [`Fault`] when the header does not match the pins or something has no canonical form.
    pub fn open(
        genesis: Genesis,
        pins: Pins,
        now: Now,
        ports: &mut Ports<'_>,
    ) -> Result<Self, Fault> {
        check_pins(&pins, &genesis.header)?;
        Self::open_under(genesis, pins, now, ports)
    }

    /// As [`Run::open`], whatever plan the header pins: only a replay asks what another would have done.
    fn open_under(
        genesis: Genesis,
        pins: Pins,
        now: Now,
        ports: &mut Ports<'_>,
    ) -> Result<Self, Fault> {
        let id = genesis.id;
        let Labelled { value, labels } = genesis.intent;
        let intent = Sealed::new(value, labels, ports.salts.salt())?;
        let body =
            Body::Opened { header: Box::new(genesis.header), intent, subjects: genesis.subjects };
        let mut run = Self::unopened(id, pins, &body, now.at)?;
        run.state.at = now.at;
        run.boot_ms = now.boot_ms;
        run.emit(body)?;
        run.go_on(ports)?;
        run.finish_batch();
        Ok(run)
    }

    /// Folds a stored journal: what a new owner does, and what every reader does.
    ///
    /// # Errors
    /// [`Fault::Damage`] names the first event that is not what was written.
    pub fn fold(records: &[Record], pins: Pins) -> Result<Self, Fault> {
        check_chain(records)?;
        let Some(first) = records.first() else {
            return Err(Fault::Illegal { seq: 0, problem: "the journal is empty" });
        };
        if let Body::Opened { header, .. } = &first.event.body {
            check_pins(&pins, header)?;
        }
        let id = first.event.run.clone();
        let mut run = Self::unopened(id, pins, &first.event.body, first.event.at)?;
        for record in records {
            run.apply(record)?;
        }
        run.committed = run.state.next_seq;
        run.pending.expected_seq = run.state.next_seq;
        // Calls of earlier owners have no caller here: only `Claimed` decides what becomes of them.
        run.issued = run.dispatched_seqs();
        Ok(run)
    }

    /// What the projections must say about a stored journal: the same changes, in the same order, that
    /// were made when it was written, the run's own row last.
    ///
    /// # Errors
    /// As [`Run::fold`].
    pub fn project(records: &[Record], pins: Pins) -> Result<Vec<Change>, Fault> {
        check_chain(records)?;
        let Some(first) = records.first() else {
            return Err(Fault::Illegal { seq: 0, problem: "the journal is empty" });
        };
        let id = first.event.run.clone();
        let mut run = Self::unopened(id, pins, &first.event.body, first.event.at)?;
        let mut changes = Vec::new();
        for record in records {
            changes.extend(crate::project::changes(record, &run));
            run.apply(record)?;
        }
        changes.push(Change::Run(Box::new(run.row())));
        Ok(changes)
    }

    fn unopened(id: RunId, pins: Pins, first: &Body, at: At) -> Result<Self, Fault> {
        let Body::Opened { header, intent, .. } = first else {
            return Err(Fault::Illegal { seq: 0, problem: "a journal begins with `opened`" });
        };
        if !(1..=MACHINE).contains(&header.machine) {
            return Err(Fault::Machine { needed: header.machine });
        }
        let mut undo_overrides = BTreeMap::new();
        visit_steps(&pins.plan.playbook.steps, &mut |path, step| {
            if let Some(companion) = &step.undo {
                undo_overrides.insert(path.to_owned(), companion.clone());
            }
        });
        let hooks = hooks::entries(&pins.plan)?;
        let intent = Labelled { value: intent.value(), labels: intent.labels() };
        let tenant = header.chain.tenant.clone();
        let state = State::new((**header).clone(), intent, at);
        Ok(Self {
            id,
            tenant,
            pins,
            undo_overrides,
            hooks,
            state,
            pending: Pending::default(),
            committed: 0,
            issued: BTreeSet::new(),
            boot_ms: 0,
            decided: BTreeMap::new(),
            pending_companions: Vec::new(),
        })
    }

    /// Takes one input in: emits what follows from it, as far as the outside is not needed.
    ///
    /// `Ok(Err(refused))` means the input did not count and nothing changed.
    ///
    /// # Errors
    /// [`Fault`]: drop this run, fold it again, and hand in [`Input::Fault`].
    pub fn decide(
        &mut self,
        input: Input,
        now: Now,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        let (before, events) = (self.state.at, self.state.next_seq);
        self.state.at = before.max(now.at);
        self.boot_ms = now.boot_ms;
        if self.pending.records.is_empty() {
            self.pending.expected_seq = self.state.next_seq;
        }
        let taken = self.take_in(input, ports)?;
        if taken.is_ok() {
            self.go_on(ports)?;
        }
        if self.state.next_seq == events {
            // Time that no event carries has not passed: the fold would not know of it.
            self.state.at = before;
        }
        self.finish_batch();
        Ok(taken)
    }

    /// The events since the last call, to be appended in one transaction.
    pub fn take(&mut self) -> Pending {
        let mut pending = std::mem::take(&mut self.pending);
        pending.wake_at = self.state.wake_at();
        self.pending.expected_seq = self.state.next_seq;
        pending
    }

    /// Whether there is something to append.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.records.is_empty()
    }

    /// The journal has acknowledged everything taken: its dispatches may leave.
    pub fn committed(&mut self) {
        self.committed = self.pending.expected_seq;
    }

    /// The calls that may be made now, each handed out once. `boot_ms` is the boot-time clock.
    ///
    /// The window of a call opens when it was decided, not when the journal acknowledged it: what a
    /// successor reads in the journal must be the later of the two bounds.
    pub fn next(&mut self, boot_ms: u64) -> Vec<Permit> {
        let dispatched = self.dispatched_seqs();
        let ready: Vec<Seq> = dispatched.difference(&self.issued).copied().collect();
        self.issued.retain(|seq| dispatched.contains(seq));
        self.decided.retain(|seq, _| dispatched.contains(seq));
        let mut permits = Vec::new();
        for (action, act) in &self.state.acts {
            let Some(dispatch) = act.dispatch.as_ref().filter(|d| ready.contains(&d.seq)) else {
                continue;
            };
            if dispatch.seq >= self.committed {
                continue;
            }
            self.issued.insert(dispatch.seq);
            let decided = self.decided.remove(&dispatch.seq).unwrap_or_default().min(boot_ms);
            permits.push(Permit {
                tenant: self.tenant.clone(),
                run: self.id.clone(),
                action: *action,
                attempt: dispatch.attempt,
                operation: Arc::clone(&act.operation),
                args: act.args.value(),
                arg_labels: act.args.labels(),
                key: dispatch.key.clone(),
                masks: masks(&act.transforms),
                dispatch_by_boot_ms: decided.saturating_add(DISPATCH_WINDOW_MS.unsigned_abs()),
                thread: act.operation.is_model_call().then(|| self.state.thread(*action, act)),
            });
        }
        permits
    }

    /// Whether it was cancelled, given up or finished: nothing new is wanted.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.state.is_stopping()
    }

    /// Whether calls may be in flight.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.state.acts.values().any(|act| act.phase == Phase::Dispatched)
    }

    /// Whether somebody must take the run up at once if its owner goes: calls may be in flight, or the
    /// owner held it and left.
    #[must_use]
    pub fn wants_owner(&self) -> bool {
        self.in_flight() || self.state.held
    }

    /// Whether the run is pinned to this machine version or a later one.
    fn is_machine(&self, version: u32) -> bool {
        self.state.header.machine >= version
    }

    fn dispatched_seqs(&self) -> BTreeSet<Seq> {
        let dispatched = self.state.acts.values().filter(|act| act.phase == Phase::Dispatched);
        dispatched.filter_map(|act| act.dispatch.as_ref()).map(|dispatch| dispatch.seq).collect()
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The pinned world.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.state.header
    }

    /// Hash of the last event.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.state.head
    }

    /// Events so far, pending ones included.
    #[must_use]
    pub fn events(&self) -> Seq {
        self.state.next_seq
    }

    fn finish_batch(&mut self) {
        if self.pending.records.is_empty() {
            return;
        }
        let row = self.row();
        self.pending.changes.retain(|change| !matches!(change, Change::Run(_)));
        self.pending.changes.push(Change::Run(Box::new(row)));
    }

    fn row(&self) -> RunRow {
        let header = &self.state.header;
        RunRow {
            status: self.status(),
            intent: header.intent.clone(),
            pack: header.pack.clone(),
            agent: header.chain.agent.id.to_string(),
            on_behalf_of: header.chain.on_behalf_of.id.to_string(),
            subjects: self.state.subjects.clone(),
            opened_at: self.state.opened_at,
            at: self.state.at,
            events: self.state.next_seq,
        }
    }
}

/// Refuses a plan that is not the header's.
fn check_pins(pins: &Pins, header: &Header) -> Result<(), Fault> {
    let given = pins.plan.digest()?;
    if given == header.plan { Ok(()) } else { Err(Fault::Pins { given, pinned: header.plan }) }
}

/// The masks among the transforms applied.
fn masks(transforms: &BTreeSet<String>) -> BTreeSet<String> {
    transforms.iter().filter_map(|t| t.strip_prefix("mask:")).map(str::to_owned).collect()
}

/// A value of our own making.
fn system_text(text: &str) -> (Arc<Value>, LabelMap) {
    use crate::label::{Confidentiality, Label, Trust};
    let label = Label::new(Trust::System, Confidentiality::Confidential);
    (Arc::new(Value::String(text.to_owned())), LabelMap::uniform(label))
}
