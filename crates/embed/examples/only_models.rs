//! The models alone: one conversation with a provider, or with a script. No agent, no gate, no store.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use kernel::{
    RunId,
    conversation::{Item, Part, Prompt, Said, Segment, Source, Thread},
    id::{EffectKey, Tenant},
};
use models::{Ask, Line, Model, ScriptedModel};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Behind an API: `ApiKind::OpenAi.build("https://api.openai.com/v1", "a-model", Key::new(key))?`.
    let model: Arc<dyn Model> =
        Arc::new(ScriptedModel::lines("demo", vec![Line::text("Hello, Mira.")]));
    let parts = vec![Part::Text { text: "I am Mira. Say hello.".to_owned() }];
    let prompt = Prompt {
        conversation: "demo".to_owned(),
        turn: 0,
        segments: vec![Segment::User { parts, source: Source::User }],
        tools: Vec::new(),
        tool_choice: Default::default(),
        output: None,
        output_tokens_max: 100,
        temperature_milli: None,
    };
    let prompt = Arc::new(serde_json::to_value(prompt)?);
    let (tenant, run) = (Tenant::default(), RunId::of_intent(&Tenant::default(), "demo", "1"));
    let ask = Ask {
        key: EffectKey::of(&tenant, &run, 0),
        tenant,
        run,
        conversation: "demo".to_owned(),
        thread: Thread::after(None, 0, Said::Prompt(prompt.into())),
        timeout_ms: 60_000,
        dispatch_by_boot_ms: u64::MAX,
        progress: None,
        files: None,
    };
    let reply = model.ask(ask).await?;
    for item in &reply.items {
        if let Item::Text { text } = item {
            println!("{}: {text}", model.name());
        }
    }
    Ok(())
}
