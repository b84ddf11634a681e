//! A model-driven agent at work inside a step: reason, decide, execute, observe, again.
//!
//! It is a fold like every other step. A model call is a proposal of `model.<role>`; what the model
//! wants becomes proposals, questions or playbooks in this run, which the gate judges one by one; what
//! came of them is what it is told next. Reads run side by side, writes one after the other in the order
//! in which the model wrote them.
//!
//! # Labels
//!
//! Whatever the model could see decided what it wants: `seen` is the join of the labels of everything
//! that was put before it, and it only grows. Every proposal of the agent exists because of it, and every
//! argument that the model wrote itself carries it. An argument that refers to a result by its handle
//! carries that value's own label, because the model never saw it. A handle is opened by `look` alone.

mod answer;
mod calls;
mod claims;
mod code;
mod context;
mod extract;
mod hooks;
mod nearest;
mod notes;
mod own;
mod room;
mod say;
mod sense;
mod shown;
mod skills;
mod stuck;
mod talk;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kernel::{
    Digest, Label, LabelMap,
    action::Proposal,
    agent::StopReason,
    conversation::{CONTEXT_TOO_LONG, Item, Segment, Source, Stop, Usage},
    exception::Class,
    hook::Moment,
    id::At,
    planning::{Labelled, Mark, Move, Settled, Wait},
};
use serde::Deserialize;
use serde_json::Value;

pub(super) use code::AgentCode;

use self::{
    calls::Open,
    code::think_step,
    context::State,
    hooks::{Looking, SentOn, Then},
    sense::{Landed, Sensing},
    stuck::Circles,
    talk::{Talk, message},
};
use super::{
    desk::{Desk, Kind},
    flow::{Event, Stimulus},
    formula::Unknown,
    recovery::{Again, Failure},
    scope::Link,
};

/// Tries of one model call beyond the first.
const MODEL_RETRIES_MAX: u32 = 4;

/// First pause before a model call is tried again, in milliseconds.
const MODEL_PAUSE_MS: i64 = 500;

/// How far an agent got.
#[derive(Debug)]
pub(super) enum Progress {
    /// It waits for the outside.
    Blocked,
    /// It gave an answer that was accepted.
    Answered(Labelled),
    /// It stopped without one.
    Failed(Failure),
    /// A playbook that it called ended the run.
    Stopped { step: String, class: Class },
}

/// What an agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Its model.
    Thinking,
    /// The end of the pause before its model is asked again.
    Pausing,
    /// A model that sums up what no longer fits.
    Summing,
    /// What it called.
    Calling,
    /// What looks at a result or an answer.
    Sensing,
    /// What is remembered.
    Recalling,
    /// What hooks say.
    Looking,
}

/// What it has used.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    turns: u32,
    calls: u32,
    usage: Usage,
}

/// How often in a row something went wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Streaks {
    /// Answers that could not be used.
    unusable: u32,
    /// Turns in which nothing but unknown tools was called.
    unknown: u32,
    /// Turns in which everything was refused.
    refused: u32,
    /// Times it was told that it goes round in circles.
    circles: u32,
}

/// A running agent.
#[derive(Debug)]
pub(super) struct Frame {
    code: Arc<AgentCode>,
    path: String,
    /// Version of the machine's behaviour that the run keeps to.
    machine: u32,
    governing: Label,
    seen: Label,
    mode: Mode,
    spent: Spent,
    streaks: Streaks,
    began_at: At,
    talk: Talk,
    /// Tokens that a conversation may have: as many as declared, fewer once the model found them too many.
    window: u64,
    /// How often in a row the model found the conversation too long.
    squeezed: u32,
    /// The provider whose model answered last.
    proposer: Option<Arc<str>>,
    /// What was asked last: the same again when the model has to be asked again.
    asked: Option<(Arc<Value>, u32)>,
    /// Prompts so far, summaries included: each is a step of its own.
    prompts: u32,
    open: Vec<Open>,
    /// Questions asked about what the agent does not see, those asked again included.
    extractions: u32,
    /// Results of this turn, for those sensors that watch their operations.
    landed: Vec<Landed>,
    sensing: Option<Box<Sensing>>,
    state: State,
    /// How often a sensor looked.
    sensed: u32,
    /// What was told last, by sensor and call.
    told_by_sensors: BTreeMap<Digest, Digest>,
    /// Findings for which a fix was proposed.
    fixed: BTreeSet<Digest>,
    /// The label of what questions and judges took: how much that was may tell about what the agent does not see.
    unseen: Label,
    /// What people said since the model was asked.
    steering: VecDeque<String>,
    /// How often hooks looked.
    looks: u32,
    looking: Option<Box<Looking>>,
    /// What hooks let through, and what they said beside it, since the model was asked.
    admitted: Vec<Segment>,
    sent_on: SentOn,
    /// What the reader of an answer must know if no hook is against it.
    caveats: Vec<String>,
    /// Results, by handle.
    kept: Vec<Labelled>,
    circles: Circles,
    /// Operations that changed something.
    changed: BTreeSet<String>,
    /// Reads that failed, and have not worked since.
    missing: BTreeMap<String, Class>,
}

/// What the fold reads of a reply.
#[derive(Deserialize)]
struct Heard {
    provider: Arc<str>,
    items: Vec<Item>,
    stop: Stop,
    usage: Usage,
}

impl Frame {
    /// An agent about to think for the first time.
    pub(super) fn begin(
        code: &Arc<AgentCode>,
        (path, governing): (&str, &Label),
        desk: &mut Desk,
        link: Link<'_>,
    ) -> Result<(Self, Progress), Unknown> {
        let task = code.task.eval(&desk.scene(link, None))?;
        let pinned = say::beginning(code, &task.value);
        let seen = governing.join(&task.labels.join_all());
        let mut frame = Self {
            code: Arc::clone(code),
            path: path.to_owned(),
            machine: desk.machine(),
            governing: governing.clone(),
            seen,
            mode: Mode::Thinking,
            spent: Spent::default(),
            streaks: Streaks::default(),
            began_at: desk.now(),
            talk: Talk::new((path.to_owned(), desk.machine()), pinned, room::base(code)),
            window: code.spec.limits.context_tokens_max.into(),
            squeezed: 0,
            proposer: None,
            asked: None,
            prompts: 0,
            open: Vec::new(),
            extractions: 0,
            unseen: Label::bottom(),
            landed: Vec::new(),
            sensing: None,
            state: State::default(),
            sensed: 0,
            told_by_sensors: BTreeMap::new(),
            fixed: BTreeSet::new(),
            steering: VecDeque::new(),
            looks: 0,
            looking: None,
            admitted: Vec::new(),
            sent_on: SentOn::default(),
            caveats: Vec::new(),
            kept: Vec::new(),
            circles: Circles::default(),
            changed: BTreeSet::new(),
            missing: BTreeMap::new(),
        };
        frame.look_at_state(desk, link);
        let progress = frame.set_out(desk, link, say::prompt_text(&task.value));
        Ok((frame, progress))
    }

    /// Takes in what happened.
    pub(super) fn take(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        stimulus: Stimulus<'_>,
    ) -> Progress {
        if !self.code.state.is_empty() {
            self.look_at_state(desk, link);
        }
        match stimulus {
            Stimulus::Told { text } => {
                self.seen.join_from(&text.labels.join_all());
                self.steering.extend(text.value.as_str().map(str::to_owned));
                Progress::Blocked
            }
            Stimulus::At { path, event } if path == self.think_step() => {
                self.meet(desk, link, event)
            }
            _ if self.mode == Mode::Looking => self.meet_look(desk, link, stimulus),
            _ if self.mode == Mode::Recalling => self.meet_memory(desk, stimulus),
            _ if self.mode == Mode::Sensing => self.meet_sensor(desk, link, stimulus),
            Stimulus::Poll | Stimulus::At { .. } => self.meet_call(desk, link, stimulus),
        }
    }

    fn think_step(&self) -> String {
        think_step(&self.path, self.prompts)
    }

    /// Asks the model, unless a limit is reached.
    fn think(&mut self, desk: &mut Desk) -> Progress {
        if let Some(reason) = self.used_up(desk.now()) {
            let label = self.seen.join(&self.unseen);
            return self.conclude(desk, reason, label);
        }
        if !self.steering.is_empty() && self.is_looked_at(Moment::Prompt) {
            return self.hear_people(desk, Then::Think);
        }
        for text in std::mem::take(&mut self.steering) {
            self.talk.pin(message(text, Source::Steering));
        }
        for segment in std::mem::take(&mut self.admitted) {
            self.talk.pin(segment);
        }
        if let Some(progress) = self.make_room(desk) {
            return progress;
        }
        self.tell_state();
        self.ask_model(desk)
    }

    /// Asks the model what it makes of what it was not told yet.
    fn ask_model(&mut self, desk: &mut Desk) -> Progress {
        let code = Arc::clone(&self.code);
        let mut prompt = self.talk.prompt(&code.offered, code.spec.limits.output_tokens_max);
        prompt.output = code.spec.output.clone();
        self.mode = Mode::Thinking;
        self.ask(desk, &prompt)
    }

    fn ask(&mut self, desk: &mut Desk, prompt: &kernel::conversation::Prompt) -> Progress {
        // A prompt holds strings and values that came through the journal: it is always JSON.
        let args = Arc::new(serde_json::to_value(prompt).unwrap_or_default());
        self.prompts = self.prompts.saturating_add(1);
        self.asked = Some((args, 0));
        self.ask_again(desk);
        Progress::Blocked
    }

    fn ask_again(&mut self, desk: &mut Desk) {
        let step = self.think_step();
        let Some((args, tries)) = &mut self.asked else { return };
        *tries = tries.saturating_add(1);
        let summing = self.mode == Mode::Summing;
        let summary = self.code.summary.as_ref().filter(|_| summing);
        desk.want(Move::Propose(Proposal {
            step,
            operation: summary.unwrap_or(&self.code.model).clone(),
            args: Arc::clone(args),
            arg_labels: LabelMap::uniform(self.seen.clone()),
            existence: self.governing.join(&self.seen),
            attempt: *tries,
            proposer: None,
        }));
    }

    /// Something happened to the model call.
    fn meet(&mut self, desk: &mut Desk, link: Link<'_>, event: Event<'_>) -> Progress {
        let step = self.think_step();
        match (self.mode, event) {
            (Mode::Thinking | Mode::Summing, Event::Settled(settled))
                if !desk.is_wanted(Kind::Propose, &step) =>
            {
                match settled {
                    Settled::Done(reply) => self.hear(desk, link, reply),
                    Settled::Failed { class, code, retry_after_ms, label } => {
                        self.seen.join_from(label);
                        let too_long = code.as_deref() == Some(CONTEXT_TOO_LONG);
                        let progress = too_long.then(|| self.tell_less(desk)).flatten();
                        progress
                            .unwrap_or_else(|| self.model_failed(desk, (*class, *retry_after_ms)))
                    }
                }
            }
            (Mode::Pausing, Event::Woken(_)) if !desk.is_wanted(Kind::Wait, &step) => {
                self.mode = Mode::Thinking;
                self.ask_again(desk);
                Progress::Blocked
            }
            _ => Progress::Blocked,
        }
    }

    fn model_failed(&mut self, desk: &mut Desk, (class, after): (Class, Option<i64>)) -> Progress {
        if self.mode == Mode::Summing {
            return self.go_on_unsummed(desk);
        }
        let tries = self.asked.as_ref().map_or(0, |(_, tries)| *tries);
        if class.may_pass() && tries <= MODEL_RETRIES_MAX {
            let step = self.think_step();
            let ms = desk.pause_ms(&step, tries, MODEL_PAUSE_MS, after).max(1);
            desk.want(Move::Wait { step, wait: Wait::Sleep { ms } });
            self.mode = Mode::Pausing;
            return Progress::Blocked;
        }
        let reason = match class {
            Class::Budget => StopReason::Budget,
            Class::PolicyError => StopReason::PolicyDenied,
            _ => StopReason::ModelFailed,
        };
        self.stop(desk, reason, (class, self.seen.clone()))
    }

    fn hear(&mut self, desk: &mut Desk, link: Link<'_>, reply: &Labelled) -> Progress {
        self.seen.join_from(&reply.labels.join_all());
        self.asked = None;
        let Ok(heard) = Heard::deserialize(&*reply.value) else {
            return self.stop(
                desk,
                StopReason::ModelFailed,
                (Class::UnexpectedShape, self.seen.clone()),
            );
        };
        self.spent.usage = self.spent.usage.plus(heard.usage);
        self.proposer = Some(heard.provider).filter(|_| self.machine >= 6);
        if self.mode == Mode::Summing {
            self.talk.replace_old(answer::text_of(&heard.items), self.spent.turns);
            return self.think(desk);
        }
        self.spent.turns = self.spent.turns.saturating_add(1);
        let items: Arc<[Item]> = heard.items.into();
        self.talk.hear(Arc::clone(&items), heard.usage.total());
        self.squeezed = 0;
        let wants_tools = items.iter().any(|item| matches!(item, Item::Call { .. }));
        match heard.stop {
            Stop::Refusal => self.conclude(desk, StopReason::Refused, self.seen.clone()),
            Stop::Pause => self.think(desk),
            Stop::Length if !wants_tools => {
                self.send_back(desk, say::CUT_OFF.to_owned(), StopReason::InvalidModelOutput)
            }
            _ if wants_tools => self.call(desk, link, &items),
            _ => self.answer(desk, link, &items),
        }
    }

    /// The model is told why what it said cannot be used, unless it was told too often.
    fn send_back(&mut self, desk: &mut Desk, why: String, reason: StopReason) -> Progress {
        self.streaks.unusable = self.streaks.unusable.saturating_add(1);
        if self.streaks.unusable > self.code.spec.limits.repairs_max {
            return self.conclude(desk, reason, self.seen.clone());
        }
        self.talk.add(message(why, Source::Sensor));
        self.think(desk)
    }

    /// The limit that is reached, if one is.
    fn used_up(&self, now: At) -> Option<StopReason> {
        let limits = &self.code.spec.limits;
        if self.spent.turns >= limits.turns_max {
            Some(StopReason::MaxIterations)
        } else if self.spent.usage.total() >= limits.tokens_max
            || now.saturating_sub(self.began_at) >= limits.wall_max_ms
        {
            Some(StopReason::Budget)
        } else {
            None
        }
    }

    fn conclude(&mut self, desk: &mut Desk, reason: StopReason, label: Label) -> Progress {
        let class = match reason {
            StopReason::Done | StopReason::InvalidModelOutput => Class::UnexpectedShape,
            StopReason::UnknownTool => Class::UnknownField,
            StopReason::PolicyDenied | StopReason::Refused => Class::PolicyError,
            StopReason::MaxIterations | StopReason::Budget | StopReason::Stuck => Class::Budget,
            StopReason::ModelFailed => Class::Unavailable,
        };
        self.stop(desk, reason, (class, label))
    }

    fn stop(
        &mut self,
        desk: &mut Desk,
        reason: StopReason,
        (class, label): (Class, Label),
    ) -> Progress {
        self.mark(desk, reason, 0);
        let failure = Failure { class, label, retry_after_ms: None, again: Again::Never };
        Progress::Failed(failure)
    }

    fn mark(&self, desk: &mut Desk, reason: StopReason, unproven: u32) {
        let Spent { turns, calls, usage } = self.spent;
        desk.mark(&self.path, Mark::Concluded { reason, turns, calls, usage, unproven });
    }
}
