//! The agent's own tools: what it looks into, loads, asks a person and has a person endorse.

use std::sync::Arc;

use kernel::{
    Label, LabelMap,
    action::Proposal,
    id::OperationId,
    kept::{KEPT_READ, Kept, part, read_path},
    label::Trust,
    planning::{Labelled, Mark, Question},
    playbook::call_path,
};
use serde_json::{Value, json};

use super::{
    super::desk::Desk,
    Frame,
    calls::{At, HANDLE, Wanted, Wrong, numbered, told, told_error, told_piece},
    code::{ASK_PERSON, ENDORSE},
    talk::{Piece, head},
};

/// How long a question of an agent stays open, in milliseconds.
const QUESTION_EXPIRES_MS: i64 = 24 * 3_600_000;

/// Longest value that a person is asked to endorse, as JSON: what nobody reads, nobody can vouch for.
const ENDORSED_MAX_BYTES: usize = 4_096;

/// The answers to whether a value is endorsed.
const YES: &str = "yes";
const NO: &str = "no";

/// Longest pointer that a part of a result is called by, in bytes.
const POINTER_MAX_BYTES: usize = 100;

/// What a part of a result is called.
fn name_of(handle: &str, at: &str) -> String {
    match at {
        "" => format!("`{handle}`"),
        at if at.len() <= POINTER_MAX_BYTES => format!("`{handle}` at `{at}`"),
        _ => format!("`{handle}`, where you looked"),
    }
}

/// What a check of an own tool comes to: where the call stands, its step, and whether it is a read.
pub(super) type Checked = (At, String, bool);

impl Frame {
    /// Opens a handle: from here on the agent has seen what is in it.
    pub(super) fn look(&mut self, args: &Value) -> Checked {
        let refuse = |problem: String| (told_error(problem), String::new(), true);
        let handle = args.get("result").and_then(Value::as_str).unwrap_or_default();
        let at = args.get("at").and_then(Value::as_str).unwrap_or_default();
        let from = args.get("from").and_then(Value::as_u64).unwrap_or_default();
        let found = self.kept(handle).map(|kept| match kept.value.pointer(at) {
            Some(part) => (Some(self.shown(part)), kept.labels.at(at), self.large(part)),
            None => (None, kept.labels.join_all(), None),
        });
        let (text, label, large) = match found {
            Ok(found) => found,
            Err(problem) => return refuse(problem),
        };
        self.seen.join_from(&label);
        if let Some(large) = large {
            return self.read_on((handle, at), &large, from);
        }
        let Some(text) = text else {
            return refuse(format!("`{handle}` holds nothing at `{at}`"));
        };
        let mut start = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
        while !text.is_char_boundary(start) {
            start = start.saturating_sub(1);
        }
        let rest = text.get(start..).unwrap_or_default();
        let part = head(rest, self.result_bytes_max());
        let to = start.saturating_add(part.len());
        let of = if self.machine < 5 { String::new() } else { name_of(handle, at) };
        let piece = Piece { of, from: start, to, whole: text.len() };
        let more = match rest.len().saturating_sub(part.len()) {
            0 => String::new(),
            left if self.machine < 5 => format!("\n[{left} bytes follow, from {to}]"),
            _ => piece.mark(),
        };
        (told_piece(format!("{part}{more}"), piece), String::new(), true)
    }

    /// What is not here because it is too large, where a value stands for that.
    pub(super) fn large(&self, value: &Value) -> Option<Kept> {
        Kept::of(value).filter(|_| self.machine >= 5)
    }

    /// Reads a part of a large result: what is not in the journal is an action like any other.
    fn read_on(&self, (handle, at): (&str, &str), large: &Kept, from: u64) -> Checked {
        let Ok(operation) = KEPT_READ.parse::<OperationId>() else {
            return (told_error(format!("`{handle}` cannot be read")), String::new(), true);
        };
        let step = numbered(&read_path(&self.path), self.spent.calls);
        let proposal = Proposal {
            step: step.clone(),
            operation,
            args: Arc::new(part(large, from.min(large.bytes), self.result_bytes_max())),
            arg_labels: LabelMap::uniform(self.seen.clone()),
            existence: self.governing.join(&self.seen),
            attempt: 1,
            proposer: self.proposer.clone(),
        };
        (At::Waiting(Box::new(Wanted::Part(proposal, name_of(handle, at)))), step, true)
    }

    /// A part of a large result, as the agent is told it.
    pub(super) fn tell_part(&mut self, of: &str, output: &Labelled) -> At {
        self.seen.join_from(&output.labels.join_all());
        let number = |name: &str| {
            let number = output.value.get(name).and_then(Value::as_u64).unwrap_or_default();
            usize::try_from(number).unwrap_or(usize::MAX)
        };
        let (from, to, whole) = (number("from"), number("to"), number("whole"));
        let text = self.shown(output.value.get("text").unwrap_or(&Value::Null));
        let piece = Piece { of: of.to_owned(), from, to, whole };
        told_piece(format!("{text}{}", piece.mark()), piece)
    }

    pub(super) fn question(&self, args: &Value) -> (At, String, bool) {
        let text = args.get("question").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            return (told_error("`question` is missing".to_owned()), String::new(), true);
        }
        let step = numbered(&call_path(&self.path, ASK_PERSON), self.spent.calls);
        let labels = LabelMap::uniform(self.seen.clone());
        let question = Question {
            step: step.clone(),
            text: Labelled { value: Arc::new(Value::String(text.to_owned())), labels },
            answer: Arc::new(json!({ "type": "string", "minLength": 1, "maxLength": 16_384 })),
            role: self.code.spec.asks.clone().unwrap_or_default(),
            expires_ms: QUESTION_EXPIRES_MS,
        };
        (At::Waiting(Box::new(Wanted::Question(question))), step, false)
    }

    /// A person is asked whether exactly this value may be trusted.
    pub(super) fn endorsement(&mut self, args: &Value) -> Checked {
        let refuse = |problem: String| (told_error(problem), String::new(), true);
        let why = args.get("why").and_then(Value::as_str).unwrap_or_default().trim();
        if why.is_empty() {
            return refuse("`why` is missing: a person wants to know what it is for".to_owned());
        }
        if self.seen.is_tainted() {
            // It decides by what it has read: a trusted value would not keep a person from being asked.
            return refuse("you have read untrusted text: each change asks a person anyway".into());
        }
        let (value, labels) = match self.by_handle(args.get("value")) {
            Ok(found) => found,
            Err(Wrong { problem, tells }) => {
                self.seen.join_from(&tells);
                return refuse(problem);
            }
        };
        let exact = value.to_string();
        if exact.len() > ENDORSED_MAX_BYTES {
            // How long it is was up to whoever wrote it.
            self.seen.join_from(&labels.join_all());
            return refuse(format!(
                "it is longer than {ENDORSED_MAX_BYTES} bytes: take a part of it"
            ));
        }
        let text = format!(
            "May this value be trusted as if you had written it yourself?\n\n{exact}\n\nWhat it is for, \
             in the agent's words: {why}"
        );
        let step = numbered(&call_path(&self.path, ENDORSE), self.spent.calls);
        let asked = LabelMap::uniform(self.seen.join(&labels.join_all()));
        let question = Question {
            step: step.clone(),
            text: Labelled { value: Arc::new(Value::String(text)), labels: asked },
            answer: Arc::new(json!({ "type": "string", "enum": [YES, NO] })),
            role: self.code.spec.asks.clone().unwrap_or_default(),
            expires_ms: QUESTION_EXPIRES_MS,
        };
        let value = Labelled { value: Arc::new(value), labels };
        (At::Waiting(Box::new(Wanted::Endorsement(question, value))), step, false)
    }

    /// A person said whether the value may be trusted; yes makes a handle to it that may.
    pub(super) fn endorsed(
        &mut self,
        desk: &mut Desk,
        step: &str,
        (value, answer): (Labelled, Option<&Labelled>),
    ) -> At {
        let said = answer.map(|answer| {
            self.seen.join_from(&answer.labels.join_all());
            answer.value.as_str() == Some(YES)
        });
        let no = match said {
            Some(true) => None,
            Some(false) => Some("a person looked at it and does not vouch for it"),
            None => Some("nobody answered in time"),
        };
        if let Some(no) = no {
            let content = no.to_owned();
            return At::Told { content, is_error: true, refused: true, piece: None };
        }
        let before = value.labels.join_all();
        let after = Label { trust: before.trust.max(Trust::User), ..before.clone() };
        desk.mark(step, Mark::Endorsed { before, after: after.clone() });
        self.kept.push(Labelled { value: value.value, labels: LabelMap::uniform(after) });
        let handle = format!("r{}", self.kept.len());
        // A handle alone: a person vouched for the value, not for what a model would make of it.
        told(json!({ HANDLE: handle }).to_string())
    }

    /// The value behind an argument that must be a handle, with its labels.
    pub(super) fn by_handle(&self, given: Option<&Value>) -> Result<(Value, LabelMap), Wrong> {
        let fields = given.and_then(Value::as_object).filter(|fields| fields.contains_key(HANDLE));
        let wrong = || Wrong::plain(format!("give it a handle: {{\"{HANDLE}\": \"r1\"}}"));
        self.referred(fields.ok_or_else(wrong)?)
    }
}
