//! What is offered: intents, agents of packs, and the operations that the operator named.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    Digest,
    agent::Does,
    conversation::MODEL_CONNECTOR,
    id::OperationId,
    operation::{Effect, Operation, Undo},
    plan::Asks,
    playbook::{Step, Work, visit_steps},
};
use serde_json::{Value, json};

use super::{ToolKind, ToolView};
use crate::app::{
    App,
    problem::{Kind, Problem},
    shelf::{Shelved, Stock},
};

/// Longest name of a tool that clients take, in characters.
const NAME_MAX: usize = 64;

/// What a tool stands for.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// An intent of the pack.
    Intent(String),
    /// An agent of the pack.
    Agent(String),
    /// One operation of the pack.
    Operation(OperationId),
}

/// A tool and what it stands for.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) view: ToolView,
    pub(super) what: What,
    pub(super) shelved: Arc<Shelved>,
}

/// Everything that is offered now, by name. A name that two would have is given to neither, but told with the pack.
pub(super) fn offers(app: &App) -> BTreeMap<String, Offer> {
    let stock = app.shelf.stock();
    let all = all(app, &stock);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for offer in &all {
        *times.entry(offer.view.name.clone()).or_default() += 1;
    }
    let mut named = BTreeMap::new();
    let mut twice = Vec::new();
    for mut offer in all {
        if times.get(&offer.view.name).is_some_and(|times| *times > 1) {
            let pack = &offer.shelved.pack.manifest.name;
            offer.view.name = fitting(&format!("{pack}__{}", offer.view.name));
        }
        let name = offer.view.name.clone();
        if named.insert(name.clone(), offer).is_some() {
            twice.push(name);
        }
    }
    for name in twice {
        named.remove(&name);
    }
    named
}

/// The tool of a name.
pub(super) fn offer(app: &App, name: &str) -> Result<Offer, Problem> {
    let mut all = offers(app);
    all.remove(name).ok_or_else(|| {
        let shown: String = name.chars().take(NAME_MAX).collect();
        let near = crate::app::value::nearest(name, all.keys().map(String::as_str));
        let next = match near {
            Some(near) => format!("did you mean `{near}`? The list of tools has all of them"),
            None => "the list of tools has all of them".to_owned(),
        };
        Problem::new(Kind::NotFound, "tool-not-found", format!("there is no tool `{shown}`"))
            .next(next)
    })
}

fn all(app: &App, stock: &Stock) -> Vec<Offer> {
    let mut all = Vec::new();
    for shelved in stock.packs() {
        let pack = &shelved.pack;
        let of = |what, view| Offer { what, view, shelved: Arc::clone(shelved) };
        for name in pack.intents.keys() {
            all.extend(intent(shelved, name).map(|view| of(What::Intent(name.clone()), view)));
        }
        for name in pack.agents.keys() {
            all.extend(agent(shelved, name).map(|view| of(What::Agent(name.clone()), view)));
        }
        for id in &pack.manifest.asks.operations {
            let is_meant = app.config.mcp.operations.iter().any(|pick| pick.takes(id));
            let view = is_meant.then(|| operation(shelved, id)).flatten();
            all.extend(view.map(|view| of(What::Operation(id.clone()), view)));
        }
    }
    all
}

fn intent(shelved: &Shelved, name: &str) -> Option<ToolView> {
    let intent = shelved.pack.intents.get(name)?;
    let playbook = shelved.pack.playbook_of(name).ok()?;
    let mut said = intent.title.clone();
    if let Some(example) = intent.examples.first() {
        said.push_str(&format!(". For requests such as: {example}"));
    }
    Some(ToolView {
        name: fitting(name),
        title: intent.title.clone(),
        description: said,
        kind: ToolKind::Intent,
        of: format!("{}/{name}", shelved.pack.manifest.name),
        input: (*intent.input).clone(),
        output: None,
        ..facts(shelved, &playbook.steps)
    })
}

/// An agent is offered where the model it thinks with is one that the operator configured.
fn agent(shelved: &Shelved, name: &str) -> Option<ToolView> {
    let agent = shelved.pack.agents.get(name)?;
    let model: OperationId = format!("{MODEL_CONNECTOR}.{}", agent.role).parse().ok()?;
    shelved.catalogue.get(&model)?;
    let title = agent.title.clone().unwrap_or_else(|| format!("Hand a task to {name}"));
    Some(ToolView {
        name: fitting(&format!("agent__{name}")),
        description: format!(
            "{title}. A governed agent: it answers in words or data, and may ask a person."
        ),
        title,
        kind: ToolKind::Agent,
        of: format!("{}/{name}", shelved.pack.manifest.name),
        input: json!({
            "type": "object",
            "required": ["task"],
            "additionalProperties": false,
            "properties": {
                "task": { "type": "string", "minLength": 1, "description": "What is to be done, in words." },
                "write": {
                    "type": "boolean", "default": false,
                    "description": "Whether it may propose changes; without it, it has reads alone.",
                },
            },
        }),
        output: None,
        ..strictest()
    })
}

/// An operation that policy denies whatever the evidence is not offered.
fn operation(shelved: &Shelved, id: &OperationId) -> Option<ToolView> {
    let operation = &shelved.catalogue.get(id)?.operation;
    if operation.is_model_call()
        || matches!(shelved.bundle.forecast(operation), Asks::Denied { .. })
    {
        return None;
    }
    let step = single(id);
    Some(ToolView {
        name: fitting(&id.to_string().replace('.', "__")),
        title: id.to_string(),
        description: told(operation),
        kind: ToolKind::Operation,
        of: id.to_string(),
        input: (*operation.input).clone(),
        output: Some(answers(&operation.output)),
        ..facts(shelved, &step)
    })
}

/// The steps of a run that makes one call. The arguments are the run's inputs, so that they keep their label.
pub(super) fn single(id: &OperationId) -> Vec<Step> {
    let step = |id: &str, work| Step {
        id: id.to_owned(),
        work,
        when: None,
        expect: Vec::new(),
        on_failure: BTreeMap::new(),
        undo: None,
        caveat: None,
    };
    let with = Value::String("${{ intent }}".to_owned());
    let output = Value::String("${{ steps.call.output }}".to_owned());
    vec![
        step("call", Work::Do { operation: id.clone(), with }),
        step("result", Work::Return { value: output }),
    ]
}

/// What a person would approve, as a description: the sentence with its places named.
fn told(operation: &Operation) -> String {
    let sentence = operation.summary.replace("{/", "{");
    let after = match (operation.facts.effect, operation.facts.undo) {
        (Effect::Read, _) => "Changes nothing.",
        (Effect::Write, Undo::Restore) => "Can be taken back.",
        (Effect::Write, Undo::Compensate) => "Can be made good by a second call.",
        (Effect::Write, Undo::None) => "Cannot be taken back.",
    };
    format!("{sentence} {after}")
}

/// The operation's own schema, or where the call stands: both are answers.
fn answers(output: &Value) -> Value {
    let is_object = output.get("type").and_then(Value::as_str) == Some("object");
    let own = match is_object {
        true => output.clone(),
        false => {
            json!({ "type": "object", "required": ["result"], "properties": { "result": {} } })
        }
    };
    let stands = json!({
        "type": "object", "required": ["state", "run"],
        "properties": { "state": { "type": "string" }, "run": { "type": "string" } },
    });
    json!({ "type": "object", "anyOf": [own, stands] })
}

/// What steps can do at most.
fn facts(shelved: &Shelved, steps: &[Step]) -> ToolView {
    let mut ids: Vec<&OperationId> = Vec::new();
    visit_steps(steps, &mut |_, step| match &step.work {
        Work::Do { operation, .. } => ids.push(operation),
        Work::Agent { agent, .. } => {
            ids.extend(agent.tools.iter().filter_map(|tool| match &tool.does {
                Does::Operation { operation, .. } => Some(operation),
                Does::Playbook { .. } => None,
            }))
        }
        _ => {}
    });
    let mut facts = ToolView { read_only: true, idempotent: true, ..ToolView::default() };
    for id in ids {
        let Some(entry) = shelved.catalogue.get(id) else { return strictest() };
        let of = &entry.operation.facts;
        facts.open_world |= of.egress;
        if of.effect == Effect::Write {
            // The same call twice is two runs, whatever the system makes of a key.
            (facts.read_only, facts.idempotent) = (false, false);
            facts.destructive |= of.undo != Undo::Restore;
        }
    }
    facts
}

/// What is said where nothing is known.
fn strictest() -> ToolView {
    ToolView { destructive: true, open_world: true, ..ToolView::default() }
}

/// A name that every client takes; one that is too long is cut, and keeps a mark of the whole.
fn fitting(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    let fits: String = name.chars().map(plain).collect();
    if fits.len() <= NAME_MAX && fits == name {
        return fits;
    }
    let mark = Digest::of(name.as_bytes()).hex();
    let head: String = fits.chars().take(NAME_MAX - 9).collect();
    format!("{head}_{}", mark.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_every_client_and_two_names_stay_two() {
        assert_eq!(fitting("churn_risk_read"), "churn_risk_read");
        let (long, other) = ("a".repeat(90), "a".repeat(91));
        for name in [&*long, "crm/get account", "ä"] {
            let fits = fitting(name);
            assert!(fits.len() <= NAME_MAX, "{fits}");
            assert!(fits.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{fits}");
        }
        assert_ne!(fitting(&long), fitting(&other));
    }
}
