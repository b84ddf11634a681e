//! `connector import acp`: a connector for a declared agent of the Agent Client Protocol. It is started in its sandbox, asked
//! who it is, and ended; it gets no prompt.

use std::path::PathBuf;

use connect::{AcpSystem, System, acp::Met};
use kernel::{exception::Class, operation::TIMEOUT_MAX_MS};
use mcp::client::suspect;
use openapi::write::{self, Node};
use serde_json::json;

use super::{ConnectorDraft, DraftDecision, DraftLeftOut, Drafted, check_name, write as write_all};
use crate::app::{
    config::Config,
    problem::{Kind, Problem},
    servers,
};

/// The one operation.
const PROMPT: &str = "prompt";

/// What is imported.
#[derive(Clone, Debug)]
pub struct WantedWorker {
    /// Name of the system that declares the agent, and of the connector.
    pub name: String,
    /// The folder for the file.
    pub folder: PathBuf,
}

/// Drafts a connector for a declared agent, and writes it; a file that is there is left as it is.
///
/// # Errors
/// No such agent, one that cannot be talked to, a file that is there.
pub async fn acp(config: &Config, wanted: &WantedWorker) -> Result<ConnectorDraft, Problem> {
    let name = &wanted.name;
    check_name(name)?;
    let Some(System::Acp(declared)) = config.systems.get(name) else {
        let detail = format!("no [systems.{name}] of kind acp is declared");
        return Err(Problem::usage("no-agent", detail).next(
            "declare it in harness.toml first: `kind = \"acp\"` and `run`; see docs/acp.md",
        ));
    };
    let connectors = servers::registry(config, name, System::Acp(declared.clone()))?;
    let met = connectors.meet(name).await.map_err(|failure| {
        let at = format!("[systems.{name}]");
        let kind = match failure.class {
            Class::Permission => Kind::Usage,
            _ => Kind::TryAgain,
        };
        Problem::new(kind, "agent-not-heard", failure.message).at(at).next(
            "start it by hand and see what it says; what its program needs to read stands under `profile.paths.read`, and there is no network here",
        )
    })?;
    let who = met.is.as_ref().map_or_else(
        || name.clone(),
        |is| format!("{} {}", suspect::shown(&is.name), suspect::shown(&is.version)),
    );
    let file = Drafted {
        name: name.clone(),
        text: file(name, &who, declared),
        operations: vec![PROMPT.to_owned()],
    };
    let files = write_all(&[file], &wanted.folder)?;
    Ok(ConnectorDraft {
        title: who,
        servers: Vec::new(),
        files,
        decisions: decisions(name, &met),
        left_out: left_out(&met),
        system: None,
    })
}

fn decisions(name: &str, met: &Met) -> Vec<DraftDecision> {
    let about = vec![format!("{name}.{PROMPT}")];
    let mut texts = vec![
        "taken to do what nobody can take back: say `effect: read` where its profile lets it change nothing; \
         `landed_on_error: no` where its own word that it failed means that nothing happened; `unfinished: tell` where a turn \
         that ended early is an answer"
            .to_owned(),
        "what its answers are worth and what may be sent to it: `labels` and `clearance` under `defaults`".to_owned(),
        "what is decided about its tools: the pack coding-agent has to be among `packs`, and the agent set to ask for all of them".to_owned(),
    ];
    if !met.logins.is_empty() {
        let ways: Vec<String> = met.logins.iter().map(|way| suspect::shown(way)).collect();
        texts.push(format!(
            "it knows ways to log in ({}): the one that works here is a secret in its environment",
            ways.join(", ")
        ));
    }
    texts.into_iter().map(|text| DraftDecision { text, about: about.clone() }).collect()
}

fn left_out(met: &Met) -> Vec<DraftLeftOut> {
    let why = "a prompt is text here".to_owned();
    met.able
        .iter()
        .map(|place| DraftLeftOut { place: (*place).to_owned(), why: why.clone() })
        .collect()
}

fn file(name: &str, who: &str, declared: &AcpSystem) -> String {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, text)| ((*key).to_owned(), Node::text(*text)));
        Node::Map(pairs.collect())
    };
    let defaults = Node::Map(vec![
        ("labels".to_owned(), map(&[("trust", "untrusted"), ("confidentiality", "internal")])),
        ("clearance".to_owned(), map(&[("confidentiality", "public")])),
    ]);
    let input = json!({
        "type": "object", "required": ["text"], "additionalProperties": false,
        "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 20_000}},
    });
    let output = json!({
        "type": "object", "required": ["text", "stop", "uses"],
        "properties": {
            "text": {"type": "string"},
            "stop": {"type": "string"},
            "uses": {"type": "array"},
            "cut": {"type": "boolean"},
            "agent": {"type": "object"},
        },
    });
    let mut operation = vec![
        ("timeout_ms".to_owned(), Node::One(json!(TIMEOUT_MAX_MS))),
        ("summary".to_owned(), Node::text(format!("Have {name} do what it is told"))),
        ("input".to_owned(), Node::schema(&input)),
        ("output".to_owned(), Node::schema(&output)),
    ];
    if !declared.egress.0.is_empty() {
        operation.insert(0, ("egress".to_owned(), Node::One(json!(true))));
    }
    let whole = vec![
        ("schema", Node::text("harness.connector/v1")),
        ("name", Node::text(name)),
        ("kind", Node::text("acp")),
        ("system", Node::text(name)),
        ("description", Node::text(format!("{who}, an agent that was met once."))),
        ("defaults", defaults),
        ("operations", Node::Map(vec![(PROMPT.to_owned(), Node::Map(operation))])),
    ];
    let whole: Vec<_> = whole.into_iter().map(|(key, node)| (key.to_owned(), node)).collect();
    let head = "# A draft: nobody has classified it yet. It is taken to do what cannot be taken back, its answer is untrusted, and\n\
         # nothing above public may be sent.\n";
    format!("{head}{}", write::file(&whole))
}
