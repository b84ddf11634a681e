//! How a step ends: its result is checked, labelled and handed on.

use kernel::{
    Label, LabelMap,
    exception::Class,
    operation::Effect,
    planning::{Labelled, Mark},
};
use serde_json::Value;

use super::{
    desk::Desk,
    flow::{Ended, Flow},
    formula::Unknown,
    program::Job,
    recovery::{Again, Failure},
    scope::Link,
    task::Task,
};

impl Task {
    /// An answer or a signal came, or did not in time. Whoever sent it, or held it back, decided that
    /// the steps after this one run now.
    pub(super) fn hear(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        heard: Option<&Labelled>,
        silence: Label,
    ) -> Flow {
        match heard {
            Some(body) => {
                self.raise_by(&body.labels.join_all());
                if self.trouble.is_some() {
                    return self.settle(desk, body.clone());
                }
                self.complete(desk, link, body.clone())
            }
            None => {
                let failure = Failure {
                    class: Class::Timeout,
                    label: silence,
                    retry_after_ms: None,
                    again: Again::Yes,
                };
                self.fail(desk, link, failure)
            }
        }
    }

    /// Whatever decided about going on here decides about every later step.
    pub(super) fn raise_by(&mut self, label: &Label) {
        self.raise.join_from(label);
        self.raise.join_from(&self.governing);
    }

    /// There is a result: checks it. A check fails because there was a result to check, and because the
    /// checks before it passed.
    pub(super) fn complete(&mut self, desk: &mut Desk, link: Link<'_>, output: Labelled) -> Flow {
        let code = self.code.clone();
        let mut reached = Label::bottom();
        for check in &code.checks {
            let judged = check.that.is_true(&desk.scene(link, Some(&output)));
            let (Ok((_, label)) | Err(Unknown { label })) = &judged;
            reached.join_from(label);
            self.raise_by(label);
            let class = match judged {
                Ok((true, _)) => continue,
                Ok((false, _)) => check.class,
                Err(_) => Class::UnexpectedShape,
            };
            let (label, again) =
                (reached.join(&output.labels.join_all()), self.again_after_check());
            return self.fail(desk, link, Failure { class, label, retry_after_ms: None, again });
        }
        self.settle(desk, output)
    }

    /// Whether a step whose result is not good enough may run again: a write has already happened.
    fn again_after_check(&self) -> Again {
        match &self.code.job {
            Job::Do(call) if call.effect == Effect::Read => Again::Yes,
            Job::Ask(_) | Job::Await { .. } => Again::Yes,
            Job::Do(_) => Again::ByPerson,
            Job::Playbook { .. }
            | Job::Agent(_)
            | Job::Parallel { .. }
            | Job::ForEach(_)
            | Job::Sleep { .. }
            | Job::Return(_) => Again::Never,
        }
    }

    /// The output stands: its own, or what a recovery put in its place.
    pub(super) fn settle(&mut self, desk: &mut Desk, output: Labelled) -> Flow {
        if let Some((class, text)) = self.caveat.take() {
            desk.note(&self.path, Some(class), &text);
        }
        if let Some(text) = &self.code.caveat {
            desk.note(&self.code.site, None, text);
        }
        if !self.cursors.is_empty() {
            let because = self.because.clone();
            self.raise_by(&because);
        }
        if self.code.may_return {
            self.raise_by(&Label::bottom());
        }
        self.leave(desk);
        let shown = self.condition.join(&self.because);
        if matches!(self.code.job, Job::Return(_)) {
            let labels = output.labels.joined_with(&shown.join(&self.governing));
            let value = Labelled { value: output.value, labels };
            return Flow::Returned { value, raise: self.raise.clone() };
        }
        let labels = output.labels.joined_with(&shown);
        let output = Labelled { value: output.value, labels };
        Flow::Ended(Ended { output, raise: self.raise.clone() })
    }

    /// The condition is false. Where running could have ended the playbook, later steps run because of
    /// that.
    pub(super) fn skip(&mut self, desk: &mut Desk) -> Flow {
        desk.mark(&self.path, Mark::Skipped);
        if self.code.may_return {
            self.raise_by(&Label::bottom());
        }
        let labels = LabelMap::uniform(self.condition.clone());
        let output = Labelled { value: Value::Null.into(), labels };
        Flow::Ended(Ended { output, raise: self.raise.clone() })
    }
}
