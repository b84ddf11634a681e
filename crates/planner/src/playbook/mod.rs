//! The playbook planner: a pure fold from observations to moves.
//!
//! # How it works
//!
//! Every observation is taken in at once and the playbook runs on as far as it can without the outside;
//! what it wants on the way joins an ordered queue. `next` shows the head of the queue, and the
//! observation that the move entered the journal takes it off. The state is a tree that mirrors the
//! playbook: a block runs steps one after the other, a step may hold blocks. An observation finds its
//! step by the path, so it costs what is new, never the length of the history.
//!
//! # How labels follow control
//!
//! An action's *existence* label is the join of everything that decided that it exists. Two labels make
//! it: what a block runs because of, and what was *raised* since by steps before it in the same block.
//!
//! | what | governs | because |
//! | --- | --- | --- |
//! | `when` | its step, its output, and all inside it | whether the step runs, and so whether its output is null, follows from it |
//! | `for_each` list | the whole body; the length of what is collected | whether a turn runs follows from it |
//! | `expect`, passed or not | every later step | they run only because the check passed, or because a recovery took over |
//! | an `expect` that did not pass | the recovery: as a failure, with the label of the whole result and of the checks before | had there been no result, another recovery would have run |
//! | a failure that a recovery took | the recovery, the output, every later step | without the failure neither the recovery nor its stand-in would be |
//! | an answer, a signal, a signal's name | every later step | whoever sent it decided that the run goes on |
//! | a signal that did not come | as a failure; untrusted | anybody could have held it back |
//! | a `return` that may be taken, taken or not | every later step; the playbook's output | they run only because it was not taken |
//! | an expression that has no result | as a failure, with the label of all it reads | that it failed tells about what was read |
//! | an expression that has one, in a step whose recovery goes on without | its step and all inside it | the recovery would have run instead |
//!
//! Whatever raises is joined with what governs the step in which it happened, for it would not have
//! happened otherwise. What was raised inside a block is raised for what comes after the step around
//! it, up to the top: a step is never sure that the one before it would have let it run. Branches of
//! `parallel` do not govern each other, because they do not wait for each other; what comes after all
//! of them does.
//!
//! A plain success raises nothing. That an action succeeded can tell about its arguments only by the
//! run having *stopped* otherwise, or by a recovery, which raises. So untrusted input can stop a run
//! and can make it ask more; it can not make it do something else. That is the claim, tested over
//! random playbooks: change any untrusted input, and the proposals whose existence and arguments were
//! fixed by trusted input stay the same, in the same order, as far as the run gets.

mod agent;
mod defaults;
mod desk;
mod flow;
mod formula;
mod labels;
mod nested;
mod outcome;
mod program;
mod recovery;
mod scope;
mod seq;
mod task;

use std::sync::Arc;

use kernel::{
    Label, LabelMap, RunId,
    id::At,
    plan::Plan,
    planning::{Labelled, Move, Observation, Planner},
    port::Validate,
};

pub use desk::{ACTIVE_MAX, CAVEATS_MAX, PAUSE_MAX_MS, TURNS_MAX, WANTED_MAX};
pub use formula::EVALUATION_COST_MAX;
pub use nested::COLLECT_COST_MAX;
pub use program::Error;
pub use recovery::ESCALATIONS_MAX;

use desk::{Desk, Kind};
use flow::{Event, Flow, Stimulus};
use program::Block;
use scope::Scope;
use seq::Sequence;

/// The playbook of one plan, compiled: every expression once, for all of its runs.
#[derive(Debug)]
pub struct Program {
    plan: Arc<Plan>,
    block: Block,
    /// The pack's constants.
    pack: Labelled,
}

impl Program {
    /// Compiles the plan's playbook.
    ///
    /// # Errors
    /// When the playbook cannot be run; see [`Error`].
    pub fn compile(plan: Arc<Plan>) -> Result<Self, Error> {
        let block = program::compile(&plan)?;
        let pack = Labelled {
            value: Arc::new(plan.constants.clone()),
            labels: LabelMap::uniform(labels::of_pack()),
        };
        Ok(Self { plan, block, pack })
    }

    /// What it was compiled from.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// A planner for one run, at its beginning.
    #[must_use]
    pub fn planner(&self, run_id: &RunId) -> PlaybookPlanner {
        let desk = Desk::new(run_id.clone(), task::null(), self.pack.clone());
        PlaybookPlanner { program: Arc::clone(&self.block), desk, root: None, end: None }
    }
}

/// Runs the playbook of one plan.
#[derive(Debug)]
pub struct PlaybookPlanner {
    program: Block,
    desk: Desk,
    root: Option<Sequence>,
    /// Finish or abandon; shown once the queue is empty.
    end: Option<Move>,
}

impl PlaybookPlanner {
    /// A planner for the only run of a plan; many runs share a [`Program`].
    ///
    /// # Errors
    /// When the playbook cannot be run; see [`Error`].
    pub fn new(plan: Arc<Plan>, run_id: &RunId) -> Result<Self, Error> {
        Program::compile(plan).map(|program| program.planner(run_id))
    }

    /// Checks the answers of agents and the arguments of what they call by these schemas. Without them no
    /// agent comes to an answer that must fit one.
    #[must_use]
    pub fn with_schemas(mut self, schemas: Arc<dyn Validate>) -> Self {
        self.desk.set_schemas(schemas);
        self
    }

    /// Evaluation steps spent so far: what planning has cost, in a unit that no machine changes.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.desk.work()
    }

    fn open(&mut self, intent: &Labelled, run: &Labelled) {
        if self.root.is_some() {
            return;
        }
        self.desk.run = run.clone();
        let scope = Scope::of_playbook(Arc::new(intent.clone()));
        let program = self.program.clone();
        self.root = Some(Sequence::new(program, String::new(), scope, Label::bottom()));
        self.advance(Stimulus::Poll);
    }

    fn advance(&mut self, stimulus: Stimulus<'_>) {
        let Some(root) = &mut self.root else { return };
        let output = match root.step(&mut self.desk, None, stimulus) {
            Flow::Blocked => return,
            Flow::Ended(ended) => ended.output,
            Flow::Returned { value, .. } => value,
            Flow::Stopped { step, class } => {
                self.desk.clear();
                self.end = Some(Move::Abandon { step, class });
                return;
            }
        };
        self.end = Some(Move::Finish { output, caveats: self.desk.caveats().to_vec() });
    }
}

impl Planner for PlaybookPlanner {
    fn observe(&mut self, at: At, seen: Observation<'_>) {
        self.desk.set_now(at);
        if self.end.is_none() {
            match stimulus(&seen) {
                Some(stimulus) => self.advance(stimulus),
                None => match seen {
                    Observation::Opened { intent, run, machine } => {
                        self.desk.set_machine(machine);
                        self.open(intent, run);
                    }
                    entered => self.enter(&entered),
                },
            }
        } else {
            self.enter(&seen);
        }
        while self.end.is_none() && self.desk.has_room_for_the_starved() {
            self.advance(Stimulus::Poll);
        }
    }

    fn next(&self) -> Option<Move> {
        self.desk.head().or(self.end.as_ref()).cloned()
    }
}

impl PlaybookPlanner {
    /// A move entered the journal.
    fn enter(&mut self, seen: &Observation<'_>) {
        let (kind, step) = match seen {
            Observation::Proposed { step, .. } => (Kind::Propose, step),
            Observation::Asked { step } => (Kind::Ask, step),
            Observation::Waiting { step } => (Kind::Wait, step),
            Observation::Marked { step } => (Kind::Mark, step),
            Observation::Escalated { step } => (Kind::Escalate, step),
            Observation::Opened { .. }
            | Observation::Settled { .. }
            | Observation::Told { .. }
            | Observation::Answered { .. }
            | Observation::Woken { .. }
            | Observation::Steered { .. }
            | Observation::Resolved { .. } => return,
        };
        self.desk.entered(kind, step);
    }
}

/// What happened to a step, where the observation is of that kind.
fn stimulus<'a>(seen: &Observation<'a>) -> Option<Stimulus<'a>> {
    let (path, event) = match *seen {
        Observation::Steered { text } => return Some(Stimulus::Told { text }),
        Observation::Settled { step, settled } => (step, Event::Settled(settled)),
        Observation::Told { step, text } => (step, Event::Told(text)),
        Observation::Answered { step, answer } => (step, Event::Answered(answer)),
        Observation::Woken { step, signal } => (step, Event::Woken(signal)),
        Observation::Resolved { step, resolution } => (step, Event::Resolved(resolution)),
        Observation::Opened { .. }
        | Observation::Proposed { .. }
        | Observation::Asked { .. }
        | Observation::Waiting { .. }
        | Observation::Marked { .. }
        | Observation::Escalated { .. } => return None,
    };
    Some(Stimulus::At { path, event })
}
