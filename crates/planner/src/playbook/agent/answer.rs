//! The answer of an agent: what it must look like, what must hold of it, and what it may claim.

use std::sync::Arc;

use kernel::{
    LabelMap,
    agent::{Gaps, StopReason},
    conversation::{Item, Source},
    hook::Moment,
    planning::Labelled,
};
use serde_json::Value;

use super::{
    super::{desk::Desk, scope::Link},
    Frame, Progress, claims,
    hooks::Then,
    say,
    talk::message,
};

/// Said with an answer that claims what no receipt shows.
const UNPROVEN: &str = "the answer claims effects that no receipt shows";

/// Most of these words that are kept.
const FENCE: &str = "```";

impl Frame {
    /// The model answered: the answer stands, or the model is told why it does not.
    pub(super) fn answer(&mut self, desk: &mut Desk, link: Link<'_>, items: &[Item]) -> Progress {
        if !self.steering.is_empty() {
            // Somebody said something while it was answering: it answers to that too.
            return self.hear_people(desk, Then::Answer(items.into()));
        }
        let text = text_of(items);
        if text.trim().is_empty() {
            return self.send_back(desk, say::EMPTY.to_owned(), StopReason::InvalidModelOutput);
        }
        let value = match &self.code.spec.output {
            None => Value::String(text.clone()),
            Some(schema) => match self.read(desk, &text, schema) {
                Ok(value) => value,
                Err(why) => {
                    return self.send_back(desk, why, StopReason::InvalidModelOutput);
                }
            },
        };
        let labels = LabelMap::uniform(self.governing.join(&self.seen));
        let answer = Labelled { value: Arc::new(value), labels };
        if let Some(why) = self.objection(desk, link, &answer) {
            return self.send_back(desk, why, StopReason::InvalidModelOutput);
        }
        self.sense_answer(desk, link, (answer, text))
    }

    /// The answer stands, unless a hook has something against it.
    pub(super) fn stand(&mut self, desk: &mut Desk, answer: Labelled, text: &str) -> Progress {
        if !self.steering.is_empty() {
            // Somebody said something while sensors looked.
            return self.hear_people(desk, Then::Stand(Box::new((answer, text.to_owned()))));
        }
        if self.is_looked_at(Moment::Stop) {
            let then = Then::Accept(Box::new((answer, text.to_owned())));
            return self.consult(desk, Moment::Stop, (text.to_owned(), then));
        }
        self.accept(desk, answer, text)
    }

    /// The answer stands; what it is without is said with it.
    pub(super) fn accept(&mut self, desk: &mut Desk, answer: Labelled, text: &str) -> Progress {
        for text in std::mem::take(&mut self.caveats) {
            desk.note(&self.path, None, &text);
        }
        let unproven = claims::unproven(text, &self.changed);
        if !unproven.is_empty() {
            desk.note(&self.path, None, UNPROVEN);
        }
        if self.code.spec.gaps == Gaps::Told {
            for (name, class) in &self.missing {
                let failed = class.name().replace('_', " ");
                let text = format!("`{name}` failed ({failed}): the answer is without it");
                desk.note(&self.path, Some(*class), &text);
            }
        }
        let count = u32::try_from(unproven.len()).unwrap_or(u32::MAX);
        self.mark(desk, StopReason::Done, count);
        Progress::Answered(answer)
    }

    /// Reads an answer that must be JSON.
    fn read(&self, desk: &Desk, text: &str, schema: &Arc<Value>) -> Result<Value, String> {
        let value = kernel::canon::parse(unfenced(text).as_bytes())
            .map_err(|e| format!("Your answer must be JSON and nothing else: {e}."))?;
        match desk.violation(schema, &value) {
            None => Ok(value),
            Some(wrong) => {
                let at = if wrong.at.is_empty() { "the top" } else { wrong.at.as_str() };
                Err(format!("Your answer does not fit its schema at {at}: {}.", wrong.problem))
            }
        }
    }

    /// What an acceptance check has against an answer. The model learns what to do, never the check.
    fn objection(&mut self, desk: &Desk, link: Link<'_>, answer: &Labelled) -> Option<String> {
        let code = Arc::clone(&self.code);
        for (that, say) in &code.accept {
            let judged = that.is_true(&desk.scene(link, Some(answer)));
            match judged {
                Ok((true, label)) => self.seen.join_from(&label),
                Ok((false, label)) => {
                    self.seen.join_from(&label);
                    return Some(format!("Your answer was not accepted: {say}"));
                }
                Err(unknown) => {
                    self.seen.join_from(&unknown.label);
                    return Some(format!("Your answer was not accepted: {say}"));
                }
            }
        }
        None
    }

    /// Tells the model, once, that it goes round in circles; the second time it stops.
    pub(super) fn in_circles(&mut self, desk: &mut Desk) -> Option<Progress> {
        self.streaks.circles = self.streaks.circles.saturating_add(1);
        if self.streaks.circles > 1 {
            return Some(self.conclude(desk, StopReason::Stuck, self.seen.clone()));
        }
        self.circles.forget();
        self.talk.add(message(say::CIRCLES, Source::Sensor));
        None
    }
}

/// The text of what a model said.
pub(super) fn text_of(items: &[Item]) -> String {
    let texts = items.iter().filter_map(|item| match item {
        Item::Text { text } => Some(text.as_str()),
        Item::Reasoning { .. }
        | Item::Refusal { .. }
        | Item::Call { .. }
        | Item::Provided { .. } => None,
    });
    texts.collect()
}

/// A text without the fence that models like to put around JSON.
pub(super) fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix(FENCE).and_then(|rest| rest.strip_suffix(FENCE));
    match inside {
        Some(inside) => inside.strip_prefix("json").unwrap_or(inside).trim(),
        None => text,
    }
}
