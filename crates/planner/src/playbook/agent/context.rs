//! What is put before an agent besides its task: values of the run, and what a read remembers.
//!
//! Each has a budget of its own. What was told is never told otherwise: values that changed are told again,
//! after what was said. A value that would taint an agent that gets handles comes as a handle; it is told
//! once, because that it changed would tell something too.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    Label,
    action::Proposal,
    conversation::{Source, bytes_of},
    planning::{Labelled, Move, Settled},
    playbook::memory_path,
    text::plain,
};
use serde_json::json;

use super::{
    super::{
        desk::{Desk, Kind},
        flow::{Event, Stimulus},
        scope::Link,
    },
    Frame, Mode, Progress,
    calls::{HANDLE, numbered},
    code::Sight,
    talk::{head, head_of_weight, message},
};

/// Said where memory could not be read.
const FORGOTTEN: &str = "what was remembered could not be read: the answer is without it";

/// Values of the run, as they are and as they were told.
#[derive(Debug, Default)]
pub(super) struct State {
    values: Vec<(String, Result<Labelled, Label>)>,
    /// Handles of those that would taint.
    handles: BTreeMap<String, String>,
    told: Option<(u32, String)>,
}

impl Frame {
    /// Looks at the declared values again.
    pub(super) fn look_at_state(&mut self, desk: &Desk, link: Link<'_>) {
        let code = Arc::clone(&self.code);
        let values = code.state.iter().map(|(name, value)| {
            let value = value.eval(&desk.scene(link, None)).map_err(|unknown| unknown.label);
            (name.clone(), value)
        });
        self.state.values = values.collect();
    }

    /// Tells the model the declared values, where they are not what it was told.
    pub(super) fn tell_state(&mut self) {
        let Some(spec) = self.code.spec.context.state.as_ref() else { return };
        let tokens_max = spec.tokens_max;
        let mut text = String::from("State of the run:");
        for (name, value) in std::mem::take(&mut self.state.values) {
            let line = match &value {
                Ok(known) => self.state_line(&name, known),
                Err(label) => {
                    self.seen.join_from(label);
                    "not known".to_owned()
                }
            };
            text.push_str(&format!("\n- {name}: {line}"));
            self.state.values.push((name, value));
        }
        let kept = self.within(&text, tokens_max).to_owned();
        let told = (self.talk.number(), kept);
        if self.state.told.as_ref() != Some(&told) {
            self.talk.add(message(told.1.clone(), Source::State));
            self.state.told = Some(told);
        }
    }

    fn state_line(&mut self, name: &str, known: &Labelled) -> String {
        if let Some(handle) = self.state.handles.get(name) {
            return handle.clone();
        }
        if self.taints(known) {
            let handle = self.keep(known);
            self.state.handles.insert(name.to_owned(), handle.clone());
            return handle;
        }
        self.seen.join_from(&known.labels.join_all());
        plain(&known.value.to_string()).into_owned()
    }

    /// As much of a text as fits into so many tokens.
    fn within<'a>(&self, text: &'a str, tokens_max: u32) -> &'a str {
        match self.machine {
            ..5 => head(text, bytes_of(tokens_max)),
            _ => head_of_weight(text, bytes_of(tokens_max)),
        }
    }

    /// Whether seeing a value would taint an agent that gets handles.
    fn taints(&self, known: &Labelled) -> bool {
        self.code.sight == Sight::Handles
            && known.labels.join_all().is_tainted()
            && !self.seen.is_tainted()
    }

    /// Keeps a value and gives the handle to it, as the model is shown it.
    fn keep(&mut self, value: &Labelled) -> String {
        self.kept.push(value.clone());
        json!({ HANDLE: format!("r{}", self.kept.len()) }).to_string()
    }

    /// Asks what is remembered, before anything else; without a memory, thinks at once.
    pub(super) fn recall(&mut self, desk: &mut Desk, link: Link<'_>) -> Progress {
        let code = Arc::clone(&self.code);
        let Some((memory, with)) = code.spec.context.memory.as_ref().zip(code.memory.as_ref())
        else {
            return self.think(desk);
        };
        let args = match with.eval(&desk.scene(link, None)) {
            Ok(args) => args,
            Err(unknown) => {
                self.seen.join_from(&unknown.label);
                desk.note(&self.path, None, FORGOTTEN);
                return self.think(desk);
            }
        };
        desk.want(Move::Propose(Proposal {
            step: numbered(&memory_path(&self.path), 1),
            operation: memory.operation.clone(),
            args: args.value,
            arg_labels: args.labels,
            existence: self.governing.join(&self.seen),
            attempt: 1,
            proposer: None,
        }));
        self.mode = Mode::Recalling;
        Progress::Blocked
    }

    /// What is remembered came, or did not.
    pub(super) fn meet_memory(&mut self, desk: &mut Desk, stimulus: Stimulus<'_>) -> Progress {
        let step = numbered(&memory_path(&self.path), 1);
        let Stimulus::At { path, event: Event::Settled(settled) } = stimulus else {
            return Progress::Blocked;
        };
        if path != step || desk.is_wanted(Kind::Propose, &step) {
            return Progress::Blocked;
        }
        let tokens_max = self.code.spec.context.memory.as_ref().map_or(0, |m| m.tokens_max);
        match settled {
            Settled::Failed { class, label, .. } => {
                self.seen.join_from(label);
                desk.note(&self.path, Some(*class), FORGOTTEN);
            }
            Settled::Done(output) => {
                let text = if self.taints(output) {
                    self.keep(output)
                } else {
                    self.seen.join_from(&output.labels.join_all());
                    self.within(&self.shown(&output.value), tokens_max).to_owned()
                };
                let text = format!("Remembered from before:\n{text}");
                self.talk.remember(message(text, Source::Memory));
            }
        }
        self.think(desk)
    }
}
