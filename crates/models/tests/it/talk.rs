//! What tests say to models, and permits for it from a real run.

use std::sync::Arc;

use kernel::{
    conversation::{Part, Prompt, Reply, Said, Segment, Source, Thread, Tool, ToolChoice},
    gate::Permit,
    id::{EffectKey, RunId, Tenant},
    input::{Input, Now},
    label::{Label, LabelMap},
    operation::Operation,
    planning::Labelled,
    port::Outcome,
    run::{Genesis, Ports, Run},
};
use models::{ApiKind, Ask, Client, Delta, Http, Key, Progress, Provider, Speaking, Streaming};
use serde_json::{Value, json};
use std::sync::Mutex;
use testkit::{self as parts, Bench};

pub(crate) const CANARY: &str = "sk-c4nary-7731-do-not-show";

pub(crate) fn system(text: &str) -> Segment {
    Segment::System { text: text.to_owned(), source: Source::System }
}

pub(crate) fn user(text: &str) -> Segment {
    let parts = vec![Part::Text { text: text.to_owned() }];
    Segment::User { parts, source: Source::User }
}

pub(crate) fn result(call: &str, name: &str, content: &str) -> Segment {
    let (call, name, content) = (call.to_owned(), name.to_owned(), content.to_owned());
    Segment::Result { call, name, content, is_error: false }
}

pub(crate) fn tool(name: &str) -> Tool {
    let input = json!({
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"], "additionalProperties": false,
    });
    Tool { name: name.to_owned(), description: format!("The tool {name}"), input: Arc::new(input) }
}

pub(crate) fn prompt(turn: u32, segments: Vec<Segment>) -> Prompt {
    Prompt {
        conversation: "talk#1".to_owned(),
        turn,
        segments,
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        output: None,
        output_tokens_max: 1_000,
        temperature_milli: None,
    }
}

pub(crate) fn opening() -> Prompt {
    Prompt {
        tools: vec![tool("add"), tool("look_up")],
        ..prompt(0, vec![system("Be brief."), user("What is 1 + 2?")])
    }
}

pub(crate) fn say(prev: Option<Arc<Thread>>, seq: u64, prompt: &Prompt) -> Arc<Thread> {
    Thread::after(prev, seq, Said::Prompt(Arc::new(serde_json::to_value(prompt).unwrap()).into()))
}

pub(crate) fn hear(prev: Arc<Thread>, reply: &Reply) -> Arc<Thread> {
    let seq = prev.seq();
    Thread::after(
        Some(prev),
        seq,
        Said::Reply(Arc::new(serde_json::to_value(reply).unwrap()).into()),
    )
}

pub(crate) fn run_id() -> RunId {
    RunId::of_intent(&Tenant::default(), "test", "key")
}

pub(crate) fn ask(thread: &Arc<Thread>) -> Ask {
    let tenant = Tenant::default();
    Ask {
        key: EffectKey::of(&tenant, &run_id(), thread.seq()),
        tenant,
        run: run_id(),
        conversation: "talk#1".to_owned(),
        thread: Arc::clone(thread),
        timeout_ms: 10_000,
        dispatch_by_boot_ms: u64::MAX,
        progress: None,
        files: None,
    }
}

pub(crate) fn provider(api: ApiKind, url: &str, streaming: Streaming) -> Provider {
    Provider { streaming, ..Provider::new("p", api, url, "model-1") }
}

pub(crate) fn client(api: ApiKind, url: &str, streaming: Streaming) -> Client {
    client_of(provider(api, url, streaming))
}

pub(crate) fn client_of(provider: Provider) -> Client {
    Client::new(provider, Key::new(CANARY.to_owned()), &Http::default()).unwrap()
}

/// A reply as a wire would have read it from `raw`.
pub(crate) fn reply(api: ApiKind, raw: &str) -> Reply {
    Reply {
        provider: "p".to_owned(),
        model: "model-1".to_owned(),
        wire: api.name().to_owned(),
        items: Vec::new(),
        stop: kernel::conversation::Stop::End,
        usage: kernel::conversation::Usage::default(),
        raw: raw.to_owned(),
    }
}

/// Remembers what it is told.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<String>>);

impl Progress for Heard {
    fn tell(&self, speaking: &Speaking<'_>, delta: Delta<'_>) {
        let (kind, text) = match delta {
            Delta::Text(text) => ("text", text),
            Delta::Reasoning(text) => ("reasoning", text),
            Delta::Call(text) => ("call", text),
        };
        assert_eq!(speaking.conversation, "talk#1");
        self.0.lock().unwrap().push(format!("{kind}:{text}"));
    }
}

/// A real run that proposes model calls one after the other.
pub(crate) struct Session {
    run: Run,
    salts: parts::Salted,
    rules: parts::Rules,
    boot_ms: u64,
}

impl Session {
    pub(crate) fn new(operation: &Operation, args: Vec<Value>, label: Label, boot_ms: u64) -> Self {
        let id = operation.id.to_string();
        let proposals = args.into_iter().enumerate().map(|(n, args)| kernel::action::Proposal {
            arg_labels: LabelMap::uniform(label.clone()),
            ..parts::proposal(&format!("s{n}"), &id, args)
        });
        let rules = parts::Rules::default();
        let mut bench = Bench::new(vec![operation.clone()], proposals.collect(), rules.clone());
        bench.goes_on = true;
        let genesis = Genesis {
            header: bench.header_mut().clone(),
            id: run_id(),
            intent: Labelled {
                value: Arc::new(json!({})),
                labels: LabelMap::uniform(parts::clean()),
            },
            subjects: vec![],
        };
        let mut salts = parts::Salted::default();
        let mut ports = Ports { judge: &rules, validate: &parts::NoSchemas, salts: &mut salts };
        let now = Now { at: 1_000, boot_ms };
        let run = Run::open(genesis, bench.pins(), now, &mut ports).unwrap();
        Self { run, salts, rules, boot_ms }
    }

    pub(crate) fn permit(&mut self) -> Permit {
        if self.run.has_pending() {
            self.run.take();
            self.run.committed();
        }
        self.run.next(self.boot_ms).pop().expect("a permit")
    }

    pub(crate) fn settle(&mut self, action: u64, attempt: u32, outcome: Outcome) {
        let mut ports =
            Ports { judge: &self.rules, validate: &parts::NoSchemas, salts: &mut self.salts };
        let now = Now { at: 2_000, boot_ms: self.boot_ms };
        self.run
            .decide(Input::Outcome { action, attempt, outcome }, now, &mut ports)
            .unwrap()
            .unwrap();
    }
}
