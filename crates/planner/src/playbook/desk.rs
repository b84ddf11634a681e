//! What all running steps share: the queue of wanted moves, limits, caveats and constants.

use std::{
    cell::Cell,
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use kernel::{
    Digest, RunId,
    event::MACHINE,
    exception::Class,
    id::At,
    planning::{Caveat, Labelled, Mark, Move},
    playbook::static_path,
    port::{Validate, Violation},
};
use serde_json::Value;

use super::{formula::Scene, scope::Link};

/// Most moves that wait to enter the journal; more are planned when these have.
pub const WANTED_MAX: usize = 64;

/// Most steps at work side by side, each with at most one proposal, question or wait outstanding.
pub const ACTIVE_MAX: usize = 64;

/// Most loop turns of one run, over all loops.
pub const TURNS_MAX: u64 = 100_000;

/// Most caveats that name the exact loop turn they come from; later ones name the step alone.
pub const CAVEATS_MAX: usize = 200;

/// Longest pause of our own choosing between two tries, in milliseconds.
pub const PAUSE_MAX_MS: i64 = 3_600_000;

/// Longest pause that a target may ask for, in milliseconds: a day.
const RETRY_AFTER_MAX_MS: i64 = 86_400_000;

/// The kinds of move that wait to enter the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Propose,
    Ask,
    Wait,
    Mark,
    Escalate,
}

/// Whether the run may still retry at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retries {
    Left,
    UsedUp,
}

/// Shared by all running steps of a run.
#[derive(Debug)]
pub(super) struct Desk {
    run_id: RunId,
    pub(super) run: Labelled,
    pub(super) pack: Labelled,
    wanted: VecDeque<Move>,
    active: usize,
    /// Set when a step could not start for want of room.
    starved: bool,
    turns: u64,
    retried: u64,
    caveats: Vec<Caveat>,
    known: BTreeSet<Caveat>,
    work: Cell<u64>,
    now: At,
    machine: u32,
    schemas: Option<Arc<dyn Validate>>,
}

impl Desk {
    pub(super) fn new(run_id: RunId, run: Labelled, pack: Labelled) -> Self {
        Self {
            run_id,
            run,
            pack,
            wanted: VecDeque::new(),
            active: 0,
            starved: false,
            turns: 0,
            retried: 0,
            caveats: Vec::new(),
            known: BTreeSet::new(),
            work: Cell::new(0),
            now: 0,
            machine: MACHINE,
            schemas: None,
        }
    }

    /// What expressions see from `link`.
    pub(super) fn scene<'a>(&'a self, link: Link<'a>, result: Option<&'a Labelled>) -> Scene<'a> {
        Scene { link, run: &self.run, pack: &self.pack, result, more: &[], work: &self.work }
    }

    /// The time of the last observation.
    pub(super) fn now(&self) -> At {
        self.now
    }

    /// Takes in the time of an observation.
    pub(super) fn set_now(&mut self, at: At) {
        self.now = at;
    }

    /// Keeps to what a version of the machine does.
    pub(super) fn set_machine(&mut self, machine: u32) {
        self.machine = machine;
    }

    /// The version of the machine's behaviour that the run is pinned to.
    pub(super) fn machine(&self) -> u32 {
        self.machine
    }

    /// Whether the run is pinned to this version of the machine or a later one.
    pub(super) fn is_machine(&self, version: u32) -> bool {
        self.machine >= version
    }

    /// From here on answers and arguments of agents are checked.
    pub(super) fn set_schemas(&mut self, schemas: Arc<dyn Validate>) {
        self.schemas = Some(schemas);
    }

    /// What is wrong with a value; without schemas nothing can be said to fit.
    pub(super) fn violation(&self, schema: &Arc<Value>, value: &Value) -> Option<Violation> {
        match &self.schemas {
            Some(schemas) => schemas.violation(schema, value),
            None => Some(Violation {
                at: String::new(),
                problem: "there is nothing here that could check it".to_owned(),
                class: Class::InvalidArguments,
            }),
        }
    }

    /// Steps of evaluation spent so far.
    pub(super) fn work(&self) -> u64 {
        self.work.get()
    }

    /// Queues a move.
    pub(super) fn want(&mut self, wanted: Move) {
        self.wanted.push_back(wanted);
    }

    /// Queues a mark.
    pub(super) fn mark(&mut self, step: &str, mark: Mark) {
        self.want(Move::Mark { step: step.to_owned(), mark });
    }

    /// The head of the queue.
    pub(super) fn head(&self) -> Option<&Move> {
        self.wanted.front()
    }

    /// Drops what is wanted: nothing more will be done. Why an agent stopped is still told.
    pub(super) fn clear(&mut self) {
        let tells = |mark: &Mark| matches!(mark, Mark::Concluded { .. } | Mark::Looked { .. });
        let told = |wanted: &Move| matches!(wanted, Move::Mark { mark, .. } if tells(mark));
        self.wanted.retain(told);
    }

    /// A move entered the journal: it is wanted no more.
    pub(super) fn entered(&mut self, kind: Kind, step: &str) {
        if let Some(at) = self.position(kind, step) {
            self.wanted.remove(at);
        }
    }

    /// Whether such a move has not entered the journal yet.
    pub(super) fn is_wanted(&self, kind: Kind, step: &str) -> bool {
        self.position(kind, step).is_some()
    }

    fn position(&self, kind: Kind, step: &str) -> Option<usize> {
        self.wanted.iter().position(|wanted| match wanted {
            Move::Propose(proposal) => kind == Kind::Propose && proposal.step == step,
            Move::Ask(question) => kind == Kind::Ask && question.step == step,
            Move::Wait { step: of, .. } => kind == Kind::Wait && of == step,
            Move::Mark { step: of, .. } => kind == Kind::Mark && of == step,
            Move::Escalate { step: of, .. } => kind == Kind::Escalate && of == step,
            Move::Finish { .. } | Move::Abandon { .. } => false,
        })
    }

    /// Whether no further step may start now.
    pub(super) fn is_full(&self) -> bool {
        self.active >= ACTIVE_MAX || self.wanted.len() >= WANTED_MAX
    }

    /// Remembers that a step could not start.
    pub(super) fn starve(&mut self) {
        self.starved = true;
    }

    /// Whether a step that could not start may start now; forgets it.
    pub(super) fn has_room_for_the_starved(&mut self) -> bool {
        let ready = self.starved && !self.is_full();
        if ready {
            self.starved = false;
        }
        ready
    }

    /// A step is at work outside.
    pub(super) fn enter(&mut self) {
        self.active = self.active.saturating_add(1);
    }

    /// A step is at work no more.
    pub(super) fn leave(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// Counts a loop turn; `None` when the run has had too many.
    pub(super) fn take_turn(&mut self) -> Option<()> {
        self.turns = self.turns.saturating_add(1);
        (self.turns <= TURNS_MAX).then_some(())
    }

    /// Whether the run's budget has room for one more retry, whatever its steps say.
    pub(super) fn retries(&self) -> Retries {
        let retries_max = self.run.value.get("retries_max").and_then(Value::as_u64);
        match retries_max {
            Some(retries_max) if self.retried >= retries_max => Retries::UsedUp,
            Some(_) | None => Retries::Left,
        }
    }

    /// Counts a retry.
    pub(super) fn take_retry(&mut self) {
        self.retried = self.retried.saturating_add(1);
    }

    /// Notes what the reader of the result must know.
    pub(super) fn note(&mut self, step: &str, class: Option<Class>, text: &str) {
        let exact = self.caveats.len() < CAVEATS_MAX;
        let step = if exact { step.to_owned() } else { static_path(step) };
        let caveat = Caveat { step, class, text: text.to_owned() };
        if self.known.insert(caveat.clone()) {
            self.caveats.push(caveat);
        }
    }

    /// All caveats, in the order in which they came up.
    pub(super) fn caveats(&self) -> &[Caveat] {
        &self.caveats
    }

    /// The pause before try `next` of a step: doubled each time, with up to a quarter of jitter that
    /// follows from the run id, and never shorter than the target asked for.
    pub(super) fn pause_ms(
        &self,
        step: &str,
        retry: u32,
        delay_ms: i64,
        asked: Option<i64>,
    ) -> i64 {
        let doublings = retry.saturating_sub(1).min(32);
        let plain = delay_ms.max(0).saturating_mul(1_i64 << doublings).min(PAUSE_MAX_MS);
        let parts = [self.run_id.as_str().as_bytes(), step.as_bytes(), &retry.to_be_bytes()];
        let draw = Digest::of_parts("harness/pause/v1", &parts).0;
        let share = draw.first().map_or(0, |byte| i64::from(*byte));
        let jitter = (plain / 4).saturating_mul(share) / 256;
        let own = plain.saturating_add(jitter).min(PAUSE_MAX_MS);
        own.max(asked.unwrap_or(0).clamp(0, RETRY_AFTER_MAX_MS))
    }
}
