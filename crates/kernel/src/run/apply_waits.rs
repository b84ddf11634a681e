//! The fold, continued: questions, waits and signals.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Run,
    apply::labelled,
    state::{OpenQuestion, OpenWait},
};
use crate::{
    event::Body,
    planning::{Observation, Wait},
};

impl Run {
    pub(super) fn on_question(&mut self, body: &Body) -> Result<(), &'static str> {
        match body {
            Body::Questioned { step, question, role, answer, expires_at, .. } => {
                let (role, answer) = (role.clone(), Arc::new(answer.clone()));
                let (step_asks, expires_at) = (step.clone(), *expires_at);
                let open = OpenQuestion { step: step_asks, action: None, role, answer, expires_at };
                self.state.questions.insert(question.clone(), open);
                self.observe(Observation::Asked { step });
            }
            Body::Elicited { action, nth, question, role, answer, expires_at, .. } => {
                let act = self.act(*action)?;
                act.elicited.insert(*nth);
                let (step, role, action) = (act.step.clone(), role.clone(), Some(*action));
                // Nothing fits where it was erased.
                let erased = || Arc::new(Value::Bool(false));
                let answer = answer.opening().map_or_else(erased, |told| Arc::clone(&told.value));
                let expires_at = *expires_at;
                let open = OpenQuestion { step, action, role, answer, expires_at };
                self.state.questions.insert(question.clone(), open);
            }
            Body::Replied { question, value, .. } => {
                let open = self.state.questions.remove(question).ok_or("no such question")?;
                // What a server asked is not the planner's: it hears what the call comes to.
                if open.action.is_none() {
                    let value = labelled(value);
                    self.observe(Observation::Answered { step: &open.step, answer: Some(&value) });
                }
            }
            Body::Lapsed { question } => {
                let open = self.state.questions.remove(question).ok_or("no such question")?;
                if open.action.is_none() {
                    self.observe(Observation::Answered { step: &open.step, answer: None });
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn on_wait(&mut self, body: &Body) {
        match body {
            Body::Waiting { step, wait, until } => {
                let signal = match wait {
                    Wait::Sleep { .. } => None,
                    Wait::Signal { name, .. } => Some(name.clone()),
                };
                self.observe(Observation::Waiting { step });
                if let Some(early) = signal.as_ref().and_then(|name| self.state.early.remove(name))
                {
                    let value = labelled(&early);
                    self.observe(Observation::Woken { step, signal: Some(&value) });
                } else {
                    self.state.waits.insert(step.clone(), OpenWait { signal, until: *until });
                }
            }
            Body::Woken { step } => {
                self.state.waits.remove(step);
                self.observe(Observation::Woken { step, signal: None });
            }
            Body::Signalled { name, body } => {
                let waits = self.state.waits.iter();
                let found = waits.filter(|(_, wait)| wait.signal.as_ref() == Some(name));
                let steps: Vec<String> = found.map(|(step, _)| step.clone()).collect();
                if steps.is_empty() {
                    self.state.early.insert(name.clone(), body.clone());
                }
                let value = labelled(body);
                for step in steps {
                    self.state.waits.remove(&step);
                    self.observe(Observation::Woken { step: &step, signal: Some(&value) });
                }
            }
            _ => {}
        }
    }
}
