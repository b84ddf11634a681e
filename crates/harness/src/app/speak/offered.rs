//! What is offered, in the words of the protocol.

use mcp::server::{Able, Hints, Line, List, Said, Sort, Tool};
use serde_json::{Value, json};

use super::{WAIT, object};
use crate::app::tools::{
    ToolView,
    ends::{SaidAbout, ToolHears, ToolSaid},
    proxy::{Offered, ProxiedTool},
};

/// What a server behind us has, under the name that it is called by here.
pub(super) fn under(item: ProxiedTool, sort: Sort) -> Value {
    let mut whole = item.definition;
    if let Some(name) = whole.get_mut("name").filter(|_| sort == Sort::Prompt) {
        *name = Value::String(item.name);
    }
    whole
}

/// A tool of a server behind us, as it describes it.
pub(super) fn passed_on(tool: ProxiedTool) -> Tool {
    Tool { name: tool.name, passed: Some(tool.definition), ..Tool::default() }
}

pub(super) fn tool(view: ToolView) -> Tool {
    Tool {
        name: view.name,
        title: view.title,
        description: view.description,
        input: object(view.input).unwrap_or_default(),
        output: view.output.and_then(object),
        hints: Hints {
            read_only: view.read_only,
            destructive: view.destructive,
            idempotent: view.idempotent,
            open_world: view.open_world,
        },
        passed: None,
    }
}

/// The tool that waits for a call.
pub(super) fn waiting() -> Tool {
    let input = json!({
        "type": "object",
        "required": ["run"],
        "additionalProperties": false,
        "properties": {
            "run": { "type": "string", "description": "The run of the call, from its result." },
            "wait_seconds": {
                "type": "integer", "minimum": 0,
                "description": "How long to wait; shorter than the server holds calls anyway.",
            },
        },
    });
    Tool {
        name: WAIT.to_owned(),
        title: "Wait for a call".to_owned(),
        description:
            "Waits for a call of yours that needs a person's decision, and tells its outcome."
                .to_owned(),
        input: object(input).unwrap_or_default(),
        output: None,
        hints: Hints { read_only: true, idempotent: true, ..Hints::default() },
        passed: None,
    }
}

pub(super) fn offered(sort: Sort) -> Offered {
    match sort {
        Sort::Resource => Offered::Resource,
        Sort::Template => Offered::Template,
        Sort::Prompt => Offered::Prompt,
    }
}

pub(super) fn list(what: Offered) -> List {
    match what {
        Offered::Tool => List::Tools,
        Offered::Resource | Offered::Template => List::Resources,
        Offered::Prompt => List::Prompts,
    }
}

/// What a client can be asked in the middle of a call.
pub(super) fn hears(line: &Line) -> ToolHears {
    let Able { elicitation, sampling, roots } = line.able();
    ToolHears { elicitation, sampling, roots }
}

pub(super) fn passed_said(ToolSaid { about, params }: ToolSaid) -> Said {
    match about {
        SaidAbout::Progress => Said::Progress(params),
        SaidAbout::Log => Said::Log(params),
    }
}
