//! The agent's own tools: what it looks into, loads, asks a person and has a person endorse.

use std::sync::Arc;

use kernel::{
    Label, LabelMap,
    label::Trust,
    planning::{Labelled, Mark, Question},
    playbook::call_path,
};
use serde_json::{Value, json};

use super::{
    super::desk::Desk,
    Frame,
    calls::{At, HANDLE, Wanted, Wrong, numbered, told_error},
    code::{ASK_PERSON, ENDORSE},
    nearest::nearest,
    talk::head,
};

/// How long a question of an agent stays open, in milliseconds.
const QUESTION_EXPIRES_MS: i64 = 24 * 3_600_000;

/// Longest value that a person is asked to endorse, as JSON: what nobody reads, nobody can vouch for.
const ENDORSED_MAX_BYTES: usize = 4_096;

/// The answers to whether a value is endorsed.
const YES: &str = "yes";
const NO: &str = "no";

/// What a check of an own tool comes to: where the call stands, its step, and whether it is a read.
pub(super) type Checked = (At, String, bool);

impl Frame {
    /// Opens a handle: from here on the agent has seen what is in it.
    pub(super) fn look(&mut self, args: &Value) -> At {
        let handle = args.get("result").and_then(Value::as_str).unwrap_or_default();
        let at = args.get("at").and_then(Value::as_str).unwrap_or_default();
        let from = args.get("from").and_then(Value::as_u64).unwrap_or_default();
        let found = self.kept(handle).map(|kept| match kept.value.pointer(at) {
            Some(part) => (Some(self.shown(part)), kept.labels.at(at)),
            None => (None, kept.labels.join_all()),
        });
        let (text, label) = match found {
            Ok(found) => found,
            Err(problem) => return told_error(problem),
        };
        self.seen.join_from(&label);
        let Some(text) = text else {
            return told_error(format!("`{handle}` holds nothing at `{at}`"));
        };
        let mut start = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
        while !text.is_char_boundary(start) {
            start = start.saturating_sub(1);
        }
        let rest = text.get(start..).unwrap_or_default();
        let part = head(rest, self.result_bytes_max());
        let left = rest.len().saturating_sub(part.len());
        let more = if left == 0 {
            String::new()
        } else {
            format!("\n[{left} bytes follow, from {}]", start.saturating_add(part.len()))
        };
        At::Told { content: format!("{part}{more}"), is_error: false, refused: false }
    }

    pub(super) fn load_skill(&self, args: &Value) -> At {
        let name = args.get("name").and_then(Value::as_str).unwrap_or_default();
        let skills = &self.code.spec.skills;
        match skills.iter().find(|skill| skill.name == name) {
            Some(skill) => {
                At::Told { content: skill.text.clone(), is_error: false, refused: false }
            }
            None => {
                let hint = nearest(name, skills.iter().map(|skill| skill.name.as_str()));
                let hint = hint.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
                told_error(format!("there is no skill `{name}`{hint}"))
            }
        }
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
            return At::Told { content: no.to_owned(), is_error: true, refused: true };
        }
        let before = value.labels.join_all();
        let after = Label { trust: before.trust.max(Trust::User), ..before.clone() };
        desk.mark(step, Mark::Endorsed { before, after: after.clone() });
        self.kept.push(Labelled { value: value.value, labels: LabelMap::uniform(after) });
        let handle = format!("r{}", self.kept.len());
        // A handle alone: a person vouched for the value, not for what a model would make of it.
        let content = json!({ HANDLE: handle }).to_string();
        At::Told { content, is_error: false, refused: false }
    }

    /// The value behind an argument that must be a handle, with its labels.
    pub(super) fn by_handle(&self, given: Option<&Value>) -> Result<(Value, LabelMap), Wrong> {
        let fields = given.and_then(Value::as_object).filter(|fields| fields.contains_key(HANDLE));
        let wrong = || Wrong::plain(format!("give it a handle: {{\"{HANDLE}\": \"r1\"}}"));
        self.referred(fields.ok_or_else(wrong)?)
    }
}
