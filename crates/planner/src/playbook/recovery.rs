//! What a step does about its own failure: the remedies of its class, in order, until one works.
//!
//! A failure belongs to the step in which it happened. When its remedies are used up the run stops;
//! a step around it is not asked, so that nothing is ever half-repeated.

use std::collections::BTreeSet;

use kernel::{
    Label,
    exception::Class,
    id::OperationId,
    label::Confidentiality,
    planning::{Labelled, Mark, Move, Resolution, Wait},
};

use super::{
    desk::{Desk, Retries},
    flow::Flow,
    formula::Unknown,
    labels,
    program::Remedy,
    scope::Link,
    task::{Phase, Task, null},
};

/// Most tries of one step beyond the first, whatever its playbook says.
const RETRIES_MAX: u32 = 20;

/// Times a step asks a person to take over before its next remedy is due.
pub const ESCALATIONS_MAX: u32 = 10;

/// What a result says about a step that a person skipped.
const SKIPPED: &str = "a person decided to go on without this step";

/// Whether the step may run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// By itself.
    Yes,
    /// Only because a person says so: an effect is already there.
    ByPerson,
    /// It would fail in the same way, or do twice what is inside it.
    Never,
}

/// How a step failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    /// The label of whatever made it fail.
    pub(super) label: Label,
    /// How long the target asked us to wait, in milliseconds.
    pub(super) retry_after_ms: Option<i64>,
    pub(super) again: Again,
}

impl Failure {
    /// An expression had no result: the data has another shape than its author thought.
    pub(super) fn of_evaluation(unknown: Unknown) -> Self {
        Self {
            class: Class::UnexpectedShape,
            label: unknown.label,
            retry_after_ms: None,
            again: Again::Never,
        }
    }
}

/// How far a list of remedies is used up.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    at: usize,
    /// Times the remedy at `at` was used.
    used: u32,
}

impl Cursor {
    /// Whether a remedy after the one at work goes on.
    fn leaves_a_way(&self, remedies: &[Remedy]) -> bool {
        remedies.iter().skip(self.at.saturating_add(1)).any(Remedy::goes_on)
    }

    /// The next remedy for this failure and how often it was used before.
    fn next<'a>(
        &mut self,
        remedies: &'a [Remedy],
        failure: &Failure,
        retries: Retries,
    ) -> Option<(&'a Remedy, u32)> {
        loop {
            let remedy = remedies.get(self.at)?;
            let times = match remedy {
                Remedy::Retry { .. } if !may_retry(failure) || retries == Retries::UsedUp => 0,
                Remedy::Retry { times, .. } => (*times).min(RETRIES_MAX),
                Remedy::Escalate { .. } => ESCALATIONS_MAX,
                Remedy::Fallback { .. }
                | Remedy::Partial { .. }
                | Remedy::Clarify { .. }
                | Remedy::Stop
                | Remedy::Log { .. } => 1,
            };
            if self.used < times {
                self.used = self.used.saturating_add(1);
                return Some((remedy, self.used));
            }
            self.at = self.at.saturating_add(1);
            self.used = 0;
        }
    }
}

/// A retry is refused where it cannot help and where an effect may be there already.
fn may_retry(failure: &Failure) -> bool {
    failure.again == Again::Yes && failure.class.may_pass()
}

impl Task {
    /// The step failed, or the recovery at work did: takes the next remedy.
    pub(super) fn fail(&mut self, desk: &mut Desk, link: Link<'_>, failure: Failure) -> Flow {
        self.because.join_from(&failure.label);
        self.caveat = None;
        let trouble = self.trouble.take().unwrap_or(failure);
        let code = self.code.clone();
        let remedies = code.remedies.get(&trouble.class).map(|list| &**list).unwrap_or_default();
        loop {
            let cursor = self.cursors.entry(trouble.class).or_default();
            let Some((remedy, used)) = cursor.next(remedies, &trouble, desk.retries()) else {
                return self.stop(trouble.class);
            };
            match self.apply(desk, link, remedy, (&trouble, used)) {
                Ok(flow) => return flow,
                // The remedy failed itself: the next one is due.
                Err(unknown) => self.because.join_from(&unknown.label),
            }
        }
    }

    fn apply(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        remedy: &Remedy,
        (trouble, used): (&Failure, u32),
    ) -> Result<Flow, Unknown> {
        let class = trouble.class;
        let flow = match remedy {
            Remedy::Retry { delay_ms, .. } => {
                desk.take_retry();
                self.mark(desk, class, "retry", None);
                let ms = desk.pause_ms(&self.path, used, *delay_ms, trouble.retry_after_ms);
                self.pause(desk, link, ms)
            }
            Remedy::Fallback { call, caveat } => {
                let scene = desk.scene(link, None);
                let args = call.with.eval(&scene)?;
                // Without a result the next remedy would have been due.
                self.because.join_from(&call.with.reads_label(&scene));
                self.mark(desk, class, "fallback", Some(caveat));
                self.stand_in(trouble, Some(caveat));
                self.propose_as(desk, call, args, 1);
                Flow::Blocked
            }
            Remedy::Partial { value, caveat, forbid } => {
                let value = value.eval(&desk.scene(link, None))?;
                self.mark_forbidding(desk, class, ("partial", Some(caveat)), forbid);
                self.stand_in(trouble, Some(caveat));
                self.settle(desk, value)
            }
            Remedy::Clarify { form } => {
                // The mark comes first in the journal, the question right after it.
                form.question.text(&desk.scene(link, None))?;
                self.mark(desk, class, "clarify", None);
                self.stand_in(trouble, None);
                self.ask(desk, link, form)?;
                Flow::Blocked
            }
            Remedy::Escalate { owner } => {
                let (step, owner) = (self.path.clone(), owner.clone());
                desk.want(Move::Escalate { step, class, owner });
                self.stand_in(trouble, None);
                self.wait_in(desk, Phase::Escalated);
                Flow::Blocked
            }
            Remedy::Stop => self.stop(class),
            Remedy::Log { caveat } => {
                self.mark(desk, class, "log", Some(caveat));
                self.stand_in(trouble, Some(caveat));
                self.settle(desk, null())
            }
        };
        Ok(flow)
    }

    /// An answer came and its contract holds. Where the run would have gone on with something else if it
    /// had been broken, whoever wrote any part of it chose between the two: all of it says so.
    ///
    /// How confidential each part is stays: that an answer was sound tells next to nothing of it. A retry
    /// does not count: it asks the same target the same thing.
    pub(super) fn heed_soundness(&self, desk: &Desk, answer: Labelled) -> Labelled {
        let goes_on = match &self.trouble {
            None => self.code.outlives_answer,
            Some(trouble) => {
                let remedies = self.code.remedies.get(&trouble.class);
                let cursor = self.cursors.get(&trouble.class);
                remedies.zip(cursor).is_some_and(|(list, cursor)| cursor.leaves_a_way(list))
            }
        };
        if !goes_on || !desk.is_machine(4) {
            return answer;
        }
        let trust = answer.labels.join_all().trust;
        let labels = answer.labels.joined_with(&Label::new(trust, Confidentiality::Public));
        Labelled { value: answer.value, labels }
    }

    /// From here on a recovery is at work: if it fails, the next remedy of the same failure is due.
    fn stand_in(&mut self, trouble: &Failure, caveat: Option<&String>) {
        self.trouble = Some(trouble.clone());
        self.caveat = caveat.map(|text| (trouble.class, text.clone()));
    }

    fn pause(&mut self, desk: &mut Desk, link: Link<'_>, ms: i64) -> Flow {
        if ms <= 0 {
            return self.repeat(desk, link);
        }
        desk.want(Move::Wait { step: self.path.clone(), wait: Wait::Sleep { ms } });
        self.wait_in(desk, Phase::Pausing);
        Flow::Blocked
    }

    fn mark(&self, desk: &mut Desk, class: Class, recovery: &str, caveat: Option<&String>) {
        self.mark_forbidding(desk, class, (recovery, caveat), &BTreeSet::new());
    }

    fn mark_forbidding(
        &self,
        desk: &mut Desk,
        class: Class,
        (recovery, caveat): (&str, Option<&String>),
        forbid: &BTreeSet<OperationId>,
    ) {
        let (recovery, caveat) = (recovery.to_owned(), caveat.cloned());
        let mark = Mark::Recovered { recovery, class, caveat, forbid: forbid.clone() };
        desk.mark(&self.path, mark);
    }

    fn stop(&self, class: Class) -> Flow {
        Flow::Stopped { step: self.path.clone(), class }
    }

    /// A person decided about an escalation.
    pub(super) fn resolve(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        resolution: &Resolution,
    ) -> Flow {
        self.because.join_from(&labels::of_person());
        let Some(trouble) = self.trouble.take() else {
            return Flow::Blocked;
        };
        match resolution {
            Resolution::Retry if trouble.again == Again::Never => self.fail(desk, link, trouble),
            Resolution::Retry => self.repeat(desk, link),
            Resolution::Use(value) => {
                self.raise_by(&value.labels.join_all());
                self.settle(desk, value.clone())
            }
            Resolution::Skip => {
                let caveat = SKIPPED.to_owned();
                self.mark(desk, trouble.class, "skip", Some(&caveat));
                self.stand_in(&trouble, Some(&caveat));
                self.settle(desk, null())
            }
            Resolution::Stop => self.stop(trouble.class),
        }
    }
}
