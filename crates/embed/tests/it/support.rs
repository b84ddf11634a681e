//! Models that say what a test wants and remember what they were told.

use std::sync::{Arc, Mutex};

use embed::{Agent, Builder};
use kernel::conversation::{Part, Prompt, Segment};
use models::{Line, ScriptedModel};

/// What a model was told, prompt by prompt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Prompt>>>);

impl Told {
    /// Every prompt as text, one a line.
    pub(crate) fn text(&self) -> String {
        let prompts = self.0.lock().unwrap();
        let segments = prompts.iter().flat_map(|prompt| &prompt.segments);
        segments.map(line).collect::<Vec<_>>().join("\n")
    }

    /// Names and descriptions of the tools that were offered first.
    pub(crate) fn offered(&self) -> Vec<(String, String)> {
        let prompts = self.0.lock().unwrap();
        let tools = prompts.first().map(|prompt| prompt.tools.clone()).unwrap_or_default();
        tools.into_iter().map(|tool| (tool.name, tool.description)).collect()
    }

    /// The results that it was told, with whether each is an error.
    pub(crate) fn results(&self) -> Vec<(String, bool)> {
        let prompts = self.0.lock().unwrap();
        let segments = prompts.iter().flat_map(|prompt| prompt.segments.clone());
        let results = segments.filter_map(|segment| match segment {
            Segment::Result { content, is_error, .. } => Some((content, is_error)),
            _ => None,
        });
        results.collect()
    }
}

fn line(segment: &Segment) -> String {
    match segment {
        Segment::System { text, .. } => text.clone(),
        Segment::User { parts, .. } => {
            let texts = parts.iter().filter_map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                _ => None,
            });
            texts.collect()
        }
        Segment::Result { content, .. } => content.clone(),
        Segment::Said { .. } => String::new(),
    }
}

/// A model that says these lines and remembers what it was told.
pub(crate) fn script(lines: Vec<Line>) -> (ScriptedModel, Told) {
    let told = Told::default();
    let heard = told.clone();
    let model = ScriptedModel::new("script", move |n, prompt| {
        heard.0.lock().unwrap().push(prompt.clone());
        let over = || models::Error::Unrecorded(format!("line {n}"));
        lines.get(n).cloned().ok_or_else(over)
    });
    (model, told)
}

/// An agent that says these lines, to be given tools.
pub(crate) fn agent(lines: Vec<Line>) -> (Builder, Told) {
    let (model, told) = script(lines);
    (Agent::builder().model(model), told)
}

/// One call, then an answer.
pub(crate) fn call_and_answer(tool: &str, args: serde_json::Value) -> Vec<Line> {
    vec![Line::call("1", tool, args), Line::text("Finished.")]
}
