//! One step at work.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    Label, LabelMap,
    action::Proposal,
    exception::Class,
    planning::{Labelled, Move, Question, Settled, Wait},
};
use serde_json::Value;

use super::{
    agent::{Frame, Progress},
    desk::{Desk, Kind},
    flow::{Event, Flow, Stimulus},
    formula::{Formula, Unknown},
    labels,
    nested::Nested,
    program::{Call, Code, Form, Job},
    recovery::{Again, Cursor, Failure},
    scope::Link,
};

/// What a step waits for.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing yet.
    New,
    /// Its action, or the one that stands in for it.
    Acting,
    /// The answer to its question.
    Asking,
    /// The end of the pause before another try.
    Pausing,
    /// Time.
    Sleeping,
    /// A signal.
    Awaiting,
    /// A person.
    Escalated,
    /// The steps inside it.
    Nested(Box<Nested>),
    /// The agent inside it.
    Agent(Box<Frame>),
}

/// Whether a step holds one of the places for steps at work outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    None,
    Held,
}

/// A running step.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) code: Arc<Code>,
    pub(super) path: String,
    /// Everything that decided that this step runs.
    pub(super) governing: Label,
    /// Its own condition: whether it ran at all shows in its output.
    pub(super) condition: Label,
    /// The failures that its recoveries react to.
    pub(super) because: Label,
    /// What decided that the steps after it run.
    pub(super) raise: Label,
    pub(super) args: Option<(Arc<Value>, LabelMap)>,
    pub(super) attempt: u32,
    pub(super) phase: Phase,
    place: Place,
    /// How far the recoveries of each class are used up.
    pub(super) cursors: BTreeMap<Class, Cursor>,
    /// The failure whose recovery is at work.
    pub(super) trouble: Option<Failure>,
    /// Said once the recovery at work has worked.
    pub(super) caveat: Option<(Class, String)>,
}

impl Task {
    /// A step about to run.
    pub(super) fn new(code: Arc<Code>, path: String, governing: Label) -> Self {
        Self {
            code,
            path,
            governing,
            condition: Label::bottom(),
            because: Label::bottom(),
            raise: Label::bottom(),
            args: None,
            attempt: 0,
            phase: Phase::New,
            place: Place::None,
            cursors: BTreeMap::new(),
            trouble: None,
            caveat: None,
        }
    }

    /// Starts the step, or skips it.
    pub(super) fn begin(&mut self, desk: &mut Desk, link: Link<'_>) -> Flow {
        let code = self.code.clone();
        if let Some(when) = &code.when {
            let judged = when.is_true(&desk.scene(link, None));
            let (Ok((_, label)) | Err(Unknown { label })) = &judged;
            self.condition.join_from(label);
            self.governing.join_from(label);
            match judged {
                Ok((true, _)) => {}
                Ok((false, _)) => return self.skip(desk),
                Err(unknown) => return self.fail(desk, link, Failure::of_evaluation(unknown)),
            }
        }
        match self.work(desk, link) {
            Ok(flow) => flow,
            Err(unknown) => self.fail(desk, link, Failure::of_evaluation(unknown)),
        }
    }

    /// Goes on after something happened.
    pub(super) fn take(&mut self, desk: &mut Desk, link: Link<'_>, stimulus: Stimulus<'_>) -> Flow {
        if !stimulus.concerns(&self.path) {
            return Flow::Blocked;
        }
        match (&mut self.phase, stimulus) {
            (Phase::Nested(_), _) => self.go_on_inside(desk, link, stimulus),
            (Phase::Agent(_), _) => self.go_on_with_agent(desk, link, stimulus),
            (_, Stimulus::At { path, event }) if path == self.path => self.meet(desk, link, event),
            _ => Flow::Blocked,
        }
    }

    fn work(&mut self, desk: &mut Desk, link: Link<'_>) -> Result<Flow, Unknown> {
        let code = self.code.clone();
        match &code.job {
            Job::Do(call) => {
                let args = call.with.eval(&desk.scene(link, None))?;
                self.outlive(desk, link, &call.with);
                self.args = Some((args.value, args.labels));
                self.propose(desk, call);
            }
            Job::Ask(form) => self.ask(desk, link, form)?,
            Job::Agent(agent) => {
                let why = self.governing.join(&self.because);
                let (frame, progress) = Frame::begin(agent, (&self.path, &why), desk, link)?;
                self.wait_in(desk, Phase::Agent(Box::new(frame)));
                return Ok(self.follow(desk, link, progress));
            }
            Job::Sleep { ms } => {
                desk.want(Move::Wait { step: self.path.clone(), wait: Wait::Sleep { ms: *ms } });
                self.wait_in(desk, Phase::Sleeping);
            }
            Job::Await { .. } => self.listen(desk, link)?,
            Job::Return(value) => {
                let value = value.eval(&desk.scene(link, None))?;
                return Ok(self.complete(desk, link, value));
            }
            Job::Playbook { .. } | Job::Parallel { .. } | Job::ForEach(_) => {
                if let Job::Playbook { with, .. } = &code.job {
                    self.outlive(desk, link, with);
                }
                match Nested::open(self, desk, link) {
                    Ok(nested) => self.phase = Phase::Nested(Box::new(nested)),
                    Err(failure) => return Ok(self.fail(desk, link, failure)),
                }
                return Ok(self.go_on_inside(desk, link, Stimulus::Poll));
            }
        }
        Ok(Flow::Blocked)
    }

    /// Where the run goes on without a result of `formula`, what that reads decides what happens here.
    fn outlive(&mut self, desk: &Desk, link: Link<'_>, formula: &Formula) {
        if self.code.outlives_evaluation {
            self.governing.join_from(&formula.reads_label(&desk.scene(link, None)));
        }
    }

    /// Tries once more what failed: the same operation with the same arguments, the same question, the
    /// same signal.
    pub(super) fn repeat(&mut self, desk: &mut Desk, link: Link<'_>) -> Flow {
        let code = self.code.clone();
        let repeated = match &code.job {
            Job::Do(call) => {
                self.propose(desk, call);
                Ok(())
            }
            Job::Ask(form) => self.ask(desk, link, form),
            Job::Await { .. } => self.listen(desk, link),
            Job::Playbook { .. }
            | Job::Agent(_)
            | Job::Parallel { .. }
            | Job::ForEach(_)
            | Job::Sleep { .. }
            | Job::Return(_) => Err(Unknown { label: self.because.clone() }),
        };
        match repeated {
            Ok(()) => Flow::Blocked,
            Err(unknown) => self.fail(desk, link, Failure::of_evaluation(unknown)),
        }
    }

    fn propose(&mut self, desk: &mut Desk, call: &Call) {
        let Some((args, arg_labels)) = self.args.clone() else {
            return;
        };
        self.attempt = self.attempt.saturating_add(1);
        self.propose_as(desk, call, Labelled { value: args, labels: arg_labels }, self.attempt);
    }

    /// Wants an operation used; it exists because of what governs the step and what failed before.
    pub(super) fn propose_as(
        &mut self,
        desk: &mut Desk,
        call: &Call,
        args: Labelled,
        attempt: u32,
    ) {
        desk.want(Move::Propose(Proposal {
            step: self.path.clone(),
            operation: call.operation.clone(),
            args: args.value,
            arg_labels: args.labels,
            existence: self.governing.join(&self.because),
            attempt,
            proposer: None,
        }));
        self.wait_in(desk, Phase::Acting);
    }

    /// Wants a question asked.
    pub(super) fn ask(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        form: &Form,
    ) -> Result<(), Unknown> {
        let text = form.question.text(&desk.scene(link, None))?;
        desk.want(Move::Ask(Question {
            step: self.path.clone(),
            text,
            answer: form.answer.clone(),
            role: form.role.clone(),
            expires_ms: form.expires_ms,
        }));
        self.wait_in(desk, Phase::Asking);
        Ok(())
    }

    fn listen(&mut self, desk: &mut Desk, link: Link<'_>) -> Result<(), Unknown> {
        let code = self.code.clone();
        let Job::Await { signal, timeout_ms } = &code.job else {
            return Ok(());
        };
        let name = signal.text(&desk.scene(link, None))?;
        self.raise_by(&name.labels.join_all());
        let name = name.value.as_str().unwrap_or_default().to_owned();
        let wait = Wait::Signal { name, timeout_ms: *timeout_ms };
        desk.want(Move::Wait { step: self.path.clone(), wait });
        self.wait_in(desk, Phase::Awaiting);
        Ok(())
    }

    /// Waits for the outside in this phase.
    pub(super) fn wait_in(&mut self, desk: &mut Desk, phase: Phase) {
        self.phase = phase;
        if self.place == Place::None {
            self.place = Place::Held;
            desk.enter();
        }
    }

    /// Is at work outside no more.
    pub(super) fn leave(&mut self, desk: &mut Desk) {
        if self.place == Place::Held {
            self.place = Place::None;
            desk.leave();
        }
    }

    fn meet(&mut self, desk: &mut Desk, link: Link<'_>, event: Event<'_>) -> Flow {
        let entered = |kind| !desk.is_wanted(kind, &self.path);
        match (&self.phase, event) {
            (Phase::Acting, Event::Settled(settled)) if entered(Kind::Propose) => match settled {
                Settled::Done(answer) => {
                    let answer = self.heed_soundness(desk, answer.clone());
                    self.complete(desk, link, answer)
                }
                Settled::Failed { class, retry_after_ms, label, .. } => {
                    let failure = Failure {
                        class: *class,
                        label: label.clone(),
                        retry_after_ms: *retry_after_ms,
                        again: Again::Yes,
                    };
                    self.fail(desk, link, failure)
                }
            },
            (Phase::Asking, Event::Answered(answer)) if entered(Kind::Ask) => {
                self.hear(desk, link, answer, labels::of_person())
            }
            (Phase::Awaiting, Event::Woken(signal)) if entered(Kind::Wait) => {
                self.hear(desk, link, signal, labels::of_silence())
            }
            (Phase::Sleeping, Event::Woken(_)) if entered(Kind::Wait) => {
                self.complete(desk, link, null())
            }
            (Phase::Pausing, Event::Woken(_)) if entered(Kind::Wait) => self.repeat(desk, link),
            (Phase::Escalated, Event::Resolved(resolution)) if entered(Kind::Escalate) => {
                self.resolve(desk, link, resolution)
            }
            _ => Flow::Blocked,
        }
    }

    fn go_on_with_agent(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        stimulus: Stimulus<'_>,
    ) -> Flow {
        let Phase::Agent(frame) = &mut self.phase else {
            return Flow::Blocked;
        };
        let progress = frame.take(desk, link, stimulus);
        self.follow(desk, link, progress)
    }

    /// What follows from how far the agent got. That it came to an answer at all was decided by what it
    /// saw, and so is everything after it.
    fn follow(&mut self, desk: &mut Desk, link: Link<'_>, progress: Progress) -> Flow {
        match progress {
            Progress::Blocked => Flow::Blocked,
            Progress::Answered(answer) => {
                self.phase = Phase::New;
                self.raise_by(&answer.labels.join_all());
                self.complete(desk, link, answer)
            }
            Progress::Failed(failure) => {
                self.phase = Phase::New;
                self.fail(desk, link, failure)
            }
            Progress::Stopped { step, class } => Flow::Stopped { step, class },
        }
    }

    fn go_on_inside(&mut self, desk: &mut Desk, link: Link<'_>, stimulus: Stimulus<'_>) -> Flow {
        let Phase::Nested(nested) = &mut self.phase else {
            return Flow::Blocked;
        };
        match nested.step(desk, link, stimulus) {
            Ok(Flow::Ended(ended)) => {
                self.raise.join_from(&ended.raise);
                self.phase = Phase::New;
                self.complete(desk, link, ended.output)
            }
            Ok(flow) => flow,
            Err((failure, raise)) => {
                self.raise.join_from(&raise);
                self.fail(desk, link, failure)
            }
        }
    }
}

/// Nothing, said by nobody.
pub(super) fn null() -> Labelled {
    Labelled { value: Value::Null.into(), labels: LabelMap::uniform(Label::bottom()) }
}
