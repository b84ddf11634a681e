//! What an agent is shown of a result: how much of it, under which name, or nothing but the name.

use std::borrow::Cow;

use kernel::{
    conversation::{Source, bytes_of},
    planning::Labelled,
    text::plain,
};
use serde_json::{Value, json};

use super::{
    Frame,
    calls::{At, HANDLE},
    code::Sight,
    say,
    talk::{Piece, head, head_of_weight, message},
};

impl Frame {
    /// Shows a result, or a handle to it where seeing it would taint the agent or it is too long.
    pub(super) fn show(&mut self, output: &Labelled) -> At {
        let label = output.labels.join_all();
        self.kept.push(output.clone());
        let handle = format!("r{}", self.kept.len());
        let taints = label.is_tainted() && !self.seen.is_tainted();
        let text = self.shown(&output.value);
        let of = format!("`{handle}`");
        let (content, piece) = if self.code.sight == Sight::Handles && taints {
            // Nothing else: how long it is would be told by whoever wrote it.
            (json!({ HANDLE: handle }).to_string(), Piece::name(of))
        } else {
            self.seen.join_from(&label);
            self.beginning_of(&output.value, (text, of))
        };
        At::Told { content, is_error: false, refused: false, piece: Some(Box::new(piece)) }
    }

    /// The beginning of a result, and where it goes on; of a large one the text, not what stands for it.
    fn beginning_of(&self, value: &Value, (text, of): (String, String)) -> (String, Piece) {
        let Some(large) = self.large(value) else {
            let part = head(&text, self.result_bytes_max());
            let piece = Piece { of, from: 0, to: part.len(), whole: text.len() };
            return (format!("{part}{}", piece.mark()), piece);
        };
        let whole = usize::try_from(large.bytes).unwrap_or(usize::MAX);
        let text = self.shown(&Value::String(large.preview.clone()));
        let part = head(&text, self.result_bytes_max());
        // Where something was spelled out, places in what is told are none in the result.
        let to = match (part.len() == text.len(), text == large.preview) {
            (true, _) => large.preview.len(),
            (false, true) => part.len(),
            (false, false) => 0,
        };
        let piece = Piece { of, from: 0, to, whole };
        (format!("{part}{}", piece.mark()), piece)
    }

    /// A hook's words about a call, or a handle to them, as for results: what it looked at speaks in them.
    pub(super) fn hear_of(&mut self, name: &str, text: &Labelled) {
        let At::Told { content, .. } = self.show(text) else { return };
        self.talk.add(message(say::of_hook(name, &content), Source::Sensor));
    }

    pub(super) fn result_bytes_max(&self) -> usize {
        usize::try_from(self.code.spec.limits.result_bytes_max).unwrap_or(usize::MAX)
    }

    /// As much of a text as another model is told at once: no more than half of what may be told at all.
    pub(super) fn part_of<'a>(&self, text: &'a str, bytes_max: usize) -> &'a str {
        let half = bytes_of(self.code.spec.limits.context_tokens_max) / 2;
        let weight_max = if self.machine < 5 { usize::MAX } else { half };
        head(head_of_weight(text, weight_max), bytes_max)
    }

    /// A value as the model is shown it: text as it is, everything else as JSON; what does not show is
    /// spelled out. What a handle stands for stays as it came.
    pub(super) fn shown(&self, value: &Value) -> String {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match (self.machine, plain(&text)) {
            // Runs that exist were told it as it came.
            (..4, _) | (_, Cow::Borrowed(_)) => text,
            (_, Cow::Owned(shown)) => shown,
        }
    }
}
