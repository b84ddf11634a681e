//! Hooks at the moments of an agent: when it begins, before its model is told what a person says, and when
//! it gives an answer that would stand.
//!
//! Each look is a proposal like every other, one after the other in the order of the plan, and each is
//! shown as much as the agent has seen: so what it says is trusted no further. What it was taken for is
//! marked. A hook that is asked about a person's words or about an answer and says nothing that counts is
//! against them; one that is asked when an agent begins has nothing to say then.

use std::{collections::VecDeque, sync::Arc};

use kernel::{
    LabelMap,
    action::Proposal,
    agent::StopReason,
    conversation::{Item, Source},
    exception::Class,
    hook::{Moment, Opinion},
    id::OperationId,
    planning::{Labelled, Mark, Move, Settled},
    playbook::look_path,
};
use serde_json::{Value, json};

use super::{
    super::{
        desk::{Desk, Kind},
        flow::{Event, Stimulus},
        scope::Link,
    },
    Frame, Mode, Progress,
    calls::{At, numbered},
    say,
    talk::message,
};

/// Times that hooks send an agent on since a person last said something; after that no answer is taken.
const SENT_ON_MAX: u32 = 8;

/// Times in a row that an agent goes on because a hook could not look at its answer: it can put nothing
/// right about that.
const UNSEEN_MAX: u32 = 1;

/// Hooks at work.
#[derive(Debug)]
pub(super) struct Looking {
    on: Moment,
    /// What is looked at: what is told to the model, or its answer.
    text: String,
    todo: VecDeque<OperationId>,
    now: OperationId,
    step: String,
    /// What hooks say beside it.
    beside: Vec<Labelled>,
    then: Then,
}

/// What follows once all have looked.
#[derive(Debug)]
pub(super) enum Then {
    /// The task is looked at.
    Begin(String),
    /// What is remembered is asked for.
    Recall,
    /// The model is told.
    Think,
    /// What the model answered is read, unless it is told more.
    Answer(Arc<[Item]>),
    /// The answer stands, unless the model is told more or a hook sends it on.
    Stand(Box<(Labelled, String)>),
    /// The answer stands, unless the model is told more.
    Accept(Box<(Labelled, String)>),
}

/// How often hooks sent the agent on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SentOn {
    /// Since a person last said something.
    times: u32,
    /// In a row, for want of a look.
    unseen: u32,
}

impl Frame {
    /// Has hooks look at the beginning and at the task, then recalls.
    pub(super) fn set_out(&mut self, desk: &mut Desk, link: Link<'_>, task: String) -> Progress {
        if self.is_looked_at(Moment::Start) {
            return self.consult(desk, Moment::Start, (String::new(), Then::Begin(task)));
        }
        self.go_on(desk, link, Then::Begin(task))
    }

    pub(super) fn is_looked_at(&self, on: Moment) -> bool {
        self.code.hooks.iter().any(|hook| hook.on == on)
    }

    /// Tells the model what people said, each only once hooks looked at it.
    pub(super) fn hear_people(&mut self, desk: &mut Desk, then: Then) -> Progress {
        if !self.is_looked_at(Moment::Prompt) {
            return self.think(desk);
        }
        let text = self.steering.pop_front().unwrap_or_default();
        self.consult(desk, Moment::Prompt, (text, then))
    }

    /// Has every hook of this moment look, one after the other.
    pub(super) fn consult(
        &mut self,
        desk: &mut Desk,
        on: Moment,
        (text, then): (String, Then),
    ) -> Progress {
        let hooks = self.code.hooks.iter().filter(|hook| hook.on == on);
        let mut todo: VecDeque<_> = hooks.map(|hook| hook.operation.id.clone()).collect();
        let Some(now) = todo.pop_front() else { return Progress::Blocked };
        let (step, beside) = (String::new(), Vec::new());
        self.look_on(desk, Looking { on, text, todo, now, step, beside, then })
    }

    /// Proposes the look of the hook whose turn it is.
    fn look_on(&mut self, desk: &mut Desk, mut looking: Looking) -> Progress {
        self.looks = self.looks.saturating_add(1);
        looking.step = numbered(&look_path(&self.path), self.looks);
        let agent = &self.code.spec.name;
        let shown = match looking.on {
            Moment::Prompt => json!({ "agent": agent, "prompt": looking.text }),
            Moment::Stop => {
                let active = self.sent_on.times > 0;
                json!({ "agent": agent, "answer": looking.text, "active": active })
            }
            Moment::Start | Moment::Before | Moment::After | Moment::Failure => {
                json!({ "agent": agent })
            }
        };
        let existence = self.governing.join(&self.seen);
        desk.want(Move::Propose(Proposal {
            step: looking.step.clone(),
            operation: looking.now.clone(),
            args: Arc::new(shown),
            arg_labels: LabelMap::uniform(existence.clone()),
            existence,
            attempt: 1,
            proposer: None,
        }));
        self.mode = Mode::Looking;
        self.looking = Some(Box::new(looking));
        Progress::Blocked
    }

    /// Something may have happened to what a hook was asked.
    pub(super) fn meet_look(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        stimulus: Stimulus<'_>,
    ) -> Progress {
        let Stimulus::At { path, event: Event::Settled(settled) } = stimulus else {
            return Progress::Blocked;
        };
        let is_met = self.looking.as_deref().is_some_and(|looking| looking.step == path);
        if !is_met || desk.is_wanted(Kind::Propose, path) {
            return Progress::Blocked;
        }
        let Some(mut looking) = self.looking.take() else { return Progress::Blocked };
        let (said, told) = self.heard(settled);
        let (hook, on) = (looking.now.clone(), looking.on);
        desk.mark(&looking.step, Mark::Looked { hook, on, said });
        match (on, said) {
            (Moment::Prompt, Opinion::Ask | Opinion::Deny | Opinion::Failed) => {
                return self.keep_back(desk, link, *looking);
            }
            (Moment::Stop, Opinion::Ask | Opinion::Deny | Opinion::Failed) => {
                return self.send_on(desk, said, told.as_ref());
            }
            (Moment::Start | Moment::Prompt, Opinion::Pass) => looking.beside.extend(told),
            _ => {}
        }
        match looking.todo.pop_front() {
            Some(next) => {
                looking.now = next;
                self.look_on(desk, *looking)
            }
            None => self.all_looked(desk, link, *looking),
        }
    }

    /// What a hook said, and what it has to tell. Whether it is for or against something follows from all
    /// that it was shown.
    fn heard(&mut self, settled: &Settled) -> (Opinion, Option<Labelled>) {
        let answer = match settled {
            Settled::Failed { label, .. } => {
                self.seen.join_from(label);
                return (Opinion::Failed, None);
            }
            Settled::Done(answer) => answer,
        };
        let label = answer.labels.join_all();
        self.seen.join_from(&label);
        let told = answer.value.get("told").and_then(Value::as_str).filter(|told| !told.is_empty());
        let told = told.map(|told| Labelled {
            value: Arc::new(Value::String(told.to_owned())),
            labels: LabelMap::uniform(label),
        });
        (Opinion::read(&answer.value), told)
    }

    /// A hook keeps what a person says from the model: without its task an agent ends.
    fn keep_back(&mut self, desk: &mut Desk, link: Link<'_>, looking: Looking) -> Progress {
        if matches!(looking.then, Then::Recall) {
            return self.stop(
                desk,
                StopReason::PolicyDenied,
                (Class::PolicyError, self.seen.clone()),
            );
        }
        desk.note(&self.path, Some(Class::PolicyError), &say::kept_back(&looking.now));
        self.go_on(desk, link, looking.then)
    }

    /// A hook is against an answer: the model is told why and goes on, unless it was told too often.
    fn send_on(&mut self, desk: &mut Desk, said: Opinion, told: Option<&Labelled>) -> Progress {
        let SentOn { times, unseen } = self.sent_on;
        let unseen = if said == Opinion::Failed { unseen.saturating_add(1) } else { 0 };
        self.sent_on = SentOn { times: times.saturating_add(1), unseen };
        if self.sent_on.times > SENT_ON_MAX || unseen > UNSEEN_MAX {
            return self.conclude(desk, StopReason::PolicyDenied, self.seen.clone());
        }
        let words = told.map(|told| self.words(told));
        let why = say::not_accepted(said, words.as_deref());
        self.talk.add(message(why, Source::Sensor));
        self.think(desk)
    }

    /// No hook is against it.
    fn all_looked(&mut self, desk: &mut Desk, link: Link<'_>, looking: Looking) -> Progress {
        let Looking { on, text, beside, then, .. } = looking;
        let beside: Vec<_> = beside.iter().map(|told| self.words(told)).collect();
        let beside = beside.into_iter().map(|words| message(say::beside(&words), Source::Hook));
        match (on, &then) {
            (Moment::Start, _) => beside.for_each(|segment| self.talk.remember(segment)),
            (_, Then::Recall) => self.admitted.extend(beside),
            (Moment::Prompt, _) => {
                self.admitted.push(message(text, Source::Steering));
                self.admitted.extend(beside);
                self.sent_on = SentOn::default();
            }
            _ => {}
        }
        self.go_on(desk, link, then)
    }

    fn go_on(&mut self, desk: &mut Desk, link: Link<'_>, then: Then) -> Progress {
        match then {
            Then::Begin(task) if self.is_looked_at(Moment::Prompt) => {
                self.consult(desk, Moment::Prompt, (task, Then::Recall))
            }
            Then::Begin(_) | Then::Recall => self.recall(desk, link),
            // Meanwhile somebody said more.
            then if !self.steering.is_empty() => self.hear_people(desk, then),
            Then::Answer(items) if self.admitted.is_empty() => self.answer(desk, link, &items),
            Then::Stand(given) if self.admitted.is_empty() => {
                let (answer, text) = *given;
                self.stand(desk, self.past_hooks(answer), &text)
            }
            Then::Accept(given) if self.admitted.is_empty() => {
                let (answer, text) = *given;
                self.accept(desk, self.past_hooks(answer), &text)
            }
            Then::Think | Then::Answer(_) | Then::Stand(_) | Then::Accept(_) => self.think(desk),
        }
    }

    /// An answer that stands because of what hooks said, or kept back.
    fn past_hooks(&self, answer: Labelled) -> Labelled {
        let Labelled { value, labels } = answer;
        Labelled { value, labels: labels.joined_with(&self.seen) }
    }

    /// A hook's words as the model is told them: as results are, a handle where they would taint it.
    fn words(&mut self, told: &Labelled) -> String {
        match self.show(told) {
            At::Told { content, .. } => content,
            _ => String::new(),
        }
    }
}
