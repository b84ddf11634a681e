//! A model that says what a script says: for tests, demos and examples that run offline.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use kernel::{
    canon,
    conversation::{Item, Prompt, Reply, Said, Stop, Thread, Usage},
    port::Task,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ask::{Ask, Delta, Embedded, Model, Speaking},
    attached::Contents,
    error::Error,
};

/// The wire that scripted replies came over.
pub const SCRIPTED_WIRE: &str = "scripted";

/// What a script answers: items, and why it stops.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it says.
    pub items: Vec<Item>,
    /// Why it stops.
    pub stop: Stop,
    /// What it costs in tokens.
    pub usage: Usage,
}

impl Line {
    /// It says this and is done.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let items = vec![Item::Text { text: text.to_owned() }];
        Self { items, stop: Stop::End, usage: Usage { input: 10, output: 5, ..Usage::default() } }
    }

    /// It calls one tool.
    #[must_use]
    pub fn call(id: &str, name: &str, arguments: Value) -> Self {
        let (id, name) = (id.to_owned(), name.to_owned());
        let item = Item::Call { id, name, arguments: Some(Arc::new(arguments)), malformed: None };
        Self { items: vec![item], stop: Stop::Tools, ..Self::text("") }
    }
}

/// A line as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Its last word: text, or what a schema asks for.
    #[serde(default)]
    says: Option<Value>,
    /// Tools it calls.
    #[serde(default)]
    calls: Vec<WrittenCall>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCall {
    tool: String,
    #[serde(default)]
    with: Option<Arc<Value>>,
}

impl Written {
    /// As the `n`-th answer of a conversation.
    fn line(self, n: usize) -> Line {
        let text = self.says.map(|says| match says {
            Value::String(text) => text,
            other => other.to_string(),
        });
        let calls = (0..).zip(self.calls).map(|(at, call)| Item::Call {
            id: format!("call_{n}_{at}"),
            name: call.tool,
            arguments: Some(call.with.unwrap_or_else(|| Arc::new(json!({})))),
            malformed: None,
        });
        let items: Vec<Item> =
            text.map(|text| Item::Text { text }).into_iter().chain(calls).collect();
        let calls = items.iter().any(|item| matches!(item, Item::Call { .. }));
        Line { items, stop: if calls { Stop::Tools } else { Stop::End }, ..Line::text("") }
    }
}

type Script = dyn Fn(usize, &Prompt) -> Result<Line, Error> + Send + Sync;

/// A model that answers the n-th question as its script says.
pub struct ScriptedModel {
    name: String,
    script: Box<Script>,
    calls: AtomicUsize,
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedModel").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ScriptedModel {
    /// Answers line by line; asked more often, it fails.
    #[must_use]
    pub fn lines(name: &str, lines: Vec<Line>) -> Self {
        let over = |n: usize| Error::Unrecorded(format!("the script has no line {}", n + 1));
        Self::new(name, move |n, _| lines.get(n).cloned().ok_or_else(|| over(n)))
    }

    /// Answers as a file says: a list of `says` (its last word) and `calls` (tools, each with `tool` and
    /// `with`), one item for each turn of a conversation. So every conversation hears the same, whoever
    /// else asks and however often the process began anew.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no such list.
    pub fn written(name: &str, script: Value) -> Result<Self, Error> {
        let told = |error| Error::config(format!("the script of `{name}`: {error}"));
        let written = Vec::<Written>::deserialize(script).map_err(told)?;
        if let Some(n) = written.iter().position(|w| w.says.is_none() && w.calls.is_empty()) {
            let n = n + 1;
            let what = format!("the script of `{name}`: item {n} neither `says` nor `calls`");
            return Err(Error::config(what));
        }
        let lines: Vec<Line> = (0..).zip(written).map(|(n, written)| written.line(n)).collect();
        let over = |n: u32| Error::Unrecorded(format!("the script has no item {}", n + 1));
        Ok(Self::new(name, move |_, prompt| {
            let turn = usize::try_from(prompt.turn).ok();
            turn.and_then(|turn| lines.get(turn)).cloned().ok_or_else(|| over(prompt.turn))
        }))
    }

    /// Answers by a function of how often it was asked before and the prompt.
    #[must_use]
    pub fn new(
        name: &str,
        script: impl Fn(usize, &Prompt) -> Result<Line, Error> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), script: Box::new(script), calls: AtomicUsize::new(0) }
    }

    /// How often it was asked.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn answer(&self, ask: &Ask) -> Result<Reply, Error> {
        let Said::Prompt(word) = ask.thread.said() else {
            return Err(Error::Thread("it does not end with a prompt".to_owned()));
        };
        let prompt =
            Prompt::deserialize(&*word.value()).map_err(|e| Error::Thread(e.to_string()))?;
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let Line { items, stop, usage } = (self.script)(n, &prompt)?;
        if let Some(progress) = &ask.progress {
            let speaking = Speaking {
                tenant: &ask.tenant,
                run: &ask.run,
                conversation: &ask.conversation,
                provider: &self.name,
            };
            for item in &items {
                match item {
                    Item::Text { text } => progress.tell(&speaking, Delta::Text(text)),
                    Item::Reasoning { text } => progress.tell(&speaking, Delta::Reasoning(text)),
                    Item::Call { name, .. } => progress.tell(&speaking, Delta::Call(name)),
                    Item::Refusal { .. } | Item::Provided { .. } => {}
                }
            }
        }
        let raw = json!({"items": items, "stop": stop}).to_string();
        let (provider, model) = (self.name.clone(), SCRIPTED_WIRE.to_owned());
        Ok(Reply { provider, model, wire: SCRIPTED_WIRE.to_owned(), items, stop, usage, raw })
    }
}

impl Model for ScriptedModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn ask(&self, ask: Ask) -> Task<'_, Result<Reply, Error>> {
        Box::pin(async move { self.answer(&ask) })
    }

    /// One number a text: its length. Enough to tell texts apart in a test.
    fn embed<'a>(&'a self, texts: &'a [String], _: &'a Ask) -> Task<'a, Result<Embedded, Error>> {
        #[expect(clippy::cast_precision_loss, reason = "a made-up vector")]
        let vectors = texts.iter().map(|text| vec![text.len() as f32, 1.0]).collect();
        let (provider, model) = (self.name.clone(), SCRIPTED_WIRE.to_owned());
        Box::pin(async move { Ok(Embedded { provider, model, vectors, usage: Usage::default() }) })
    }

    /// The thread as canonical JSON: prompts and the items of replies.
    fn request_bytes(&self, thread: &Arc<Thread>, _: &Contents) -> Result<Vec<u8>, Error> {
        let links = thread.since(|_| false);
        let said = links.iter().map(|link| match link.said() {
            Said::Prompt(prompt) => json!({"prompt": *prompt.value()}),
            Said::Reply(reply) => json!({"items": reply.value().get("items")}),
        });
        let said: Vec<Value> = said.collect();
        canon::bytes(&said).map_err(|e| Error::Thread(e.to_string()))
    }
}
