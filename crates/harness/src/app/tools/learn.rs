//! What clients of the proxy did, as a draft of what they may: one rule for each tool that was used, and what is still to be
//! said about it. What was not used is not in it, and nothing that changes something is allowed without a person.

use std::collections::BTreeMap;

use kernel::{
    event::{Body, Ended, Record},
    id::{At, OperationId},
    operation::Effect,
};
use policy::{Bundle, Layer, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Page, Query as _, RunFilter};

use super::would;
use crate::app::{
    App, Caller,
    problem::{Kind, Problem},
    shelf::Stock,
    value::{at, counted},
};

/// Most calls that are looked at, the newest first.
const CALLS_MAX: usize = 5_000;

/// How far back is looked where nothing is said, in ms.
const BACK_MS: i64 = 30 * 24 * 3_600_000;

/// From when on calls are looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Learn {
    /// How far back, in ms: 30 days when nothing is said.
    #[serde(default)]
    pub back_ms: Option<i64>,
}

/// What was learned.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Learned {
    /// Calls that were looked at.
    pub calls: u64,
    /// Whether there were more than are looked at.
    pub more: bool,
    /// Each tool that was used.
    pub tools: Vec<LearnedTool>,
    /// A policy of the operator, in Cedar, that permits as much and no more. A draft: read it before it is in force.
    pub policy: String,
    /// What is to be said about each tool in its connector's file, as lines for it. Nothing of it is in force.
    pub classification: String,
}

/// How one tool was used.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LearnedTool {
    /// The operation.
    pub operation: String,
    /// `read` or `write`, as it is classified now.
    pub effect: String,
    /// How often it was called.
    pub calls: u64,
    /// How often it was done.
    pub done: u64,
    /// How often it failed, was refused, or nobody knows.
    pub other: u64,
    /// How often policy said each of `allow`, `ask` and `deny`, or would have.
    pub verdicts: BTreeMap<String, u64>,
    /// What somebody should decide about it.
    pub decide: Vec<String>,
}

/// Looks at what clients of the proxy did, and drafts what they may.
///
/// # Errors
/// When nothing was called, or the journal cannot be read.
pub async fn learn(app: &App, caller: &Caller, request: Learn) -> Result<Learned, Problem> {
    let from = app.now().saturating_sub(request.back_ms.unwrap_or(BACK_MS).max(0));
    let mut used: BTreeMap<OperationId, LearnedTool> = BTreeMap::new();
    let (mut calls, mut more) = (0, false);
    for intent in pack::OWN_INTENTS {
        let (seen, left) = looked_at(app, caller, (intent, from), &mut used).await?;
        (calls, more) = (calls + seen, more || left);
    }
    if used.is_empty() {
        return Err(Problem::new(Kind::NotFound, "nothing-learned", "no client called anything")
            .next("let clients work through `harness mcp proxy --mode observe` for a while, then ask again"));
    }
    let stock = app.shelf.stock();
    let mut classification = String::new();
    for (id, tool) in &mut used {
        let entry = stock.everything().get(id);
        let operation = entry.map(|entry| &entry.operation);
        let is_read = operation.is_some_and(|operation| operation.facts.effect == Effect::Read);
        let name = if is_read { "read" } else { "write" };
        name.clone_into(&mut tool.effect);
        decide(tool, (is_read, claims_to_read(&stock, id)));
        classification.push_str(&lines(id, tool));
    }
    let policy = drafted(&used);
    // A draft that does not load would be no help.
    let source =
        Source { layer: Layer::Operator, name: "learned.cedar".to_owned(), text: policy.clone() };
    Bundle::load(stock.everything(), &[source]).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        Problem::new(Kind::Unexpected, "draft-invalid", first).next(
            "a tool that was used is in no pack any more: put its pack back, or look less far back",
        )
    })?;
    Ok(Learned {
        calls: u64::try_from(calls).unwrap_or(u64::MAX),
        more,
        tools: used.into_values().collect(),
        policy,
        classification,
    })
}

/// Whether the server claimed that a tool only reads, when somebody accepted it: its file says so.
fn claims_to_read(stock: &Stock, id: &OperationId) -> bool {
    let own = id.as_str().split_once('.').map(|(_, own)| own).unwrap_or_default();
    let place = format!("/operations/{own}/request/described/hints/readOnlyHint");
    let files = stock.packs().flat_map(|shelved| shelved.files.iter());
    let mut connectors = files
        .filter(|(path, _)| path.starts_with("connectors/"))
        .filter_map(|(path, bytes)| pack::yaml_value(path, bytes).ok());
    connectors.any(|file| *at(&file, "/name") == id.connector() && *at(&file, &place) == true)
}

async fn looked_at(
    app: &App,
    caller: &Caller,
    (intent, from): (&str, At),
    used: &mut BTreeMap<OperationId, LearnedTool>,
) -> Result<(usize, bool), Problem> {
    let filter =
        RunFilter { intent: Some(intent.to_owned()), from: Some(from), ..RunFilter::default() };
    let (mut page, mut calls) = (Page::default(), 0);
    loop {
        let listed = app.store.runs(caller.tenant(), filter.clone(), page.clone()).await?;
        for entry in &listed.items {
            if calls >= CALLS_MAX {
                return Ok((calls, true));
            }
            let records = app.store.events(caller.tenant(), &entry.run, 0, store::PAGE_MAX).await?;
            if let Some(id) = operation_of(&records) {
                calls += 1;
                count(used.entry(id.clone()).or_default(), id, &records);
            }
        }
        match listed.next {
            Some(next) => page.after = Some(next),
            None => return Ok((calls, false)),
        }
    }
}

fn operation_of(records: &[Record]) -> Option<&OperationId> {
    records.iter().find_map(|record| match &record.event.body {
        Body::Proposed { operation, .. } => Some(operation),
        _ => None,
    })
}

fn count(tool: &mut LearnedTool, id: &OperationId, records: &[Record]) {
    tool.operation = id.to_string();
    tool.calls += 1;
    let done = records
        .iter()
        .any(|r| matches!(&r.event.body, Body::Returned { ended: Ended::Done { .. }, .. }));
    if done {
        tool.done += 1;
    } else {
        tool.other += 1;
    }
    if let Some(would) = would::recorded(records) {
        *tool.verdicts.entry(would.verdict).or_default() += 1;
    }
}

/// What somebody should decide: what is observed says how a tool is used, and never what it does.
fn decide(tool: &mut LearnedTool, (is_read, claims_to_read): (bool, bool)) {
    if !is_read && claims_to_read {
        tool.decide.push(
            "its server claims that it only reads: say `effect: read` if you know that it is so"
                .to_owned(),
        );
    } else if !is_read {
        tool.decide.push("whether something takes it back: `undo` with `undo_with`, and what of its arguments is `critical`".to_owned());
    }
    if tool.other > 0 && !is_read {
        tool.decide.push(
            "whether its own failure means that nothing happened: `landed_on_error`".to_owned(),
        );
    }
}

fn lines(id: &OperationId, tool: &LearnedTool) -> String {
    let mut text = format!("# {id}: {}, {} of them done\n", counted(tool.calls, "call"), tool.done);
    for one in &tool.decide {
        text.push_str(&format!("#   {one}\n"));
    }
    text
}

fn drafted(used: &BTreeMap<OperationId, LearnedTool>) -> String {
    let mut text =
        "// Drafted from what clients of the proxy did. What is not named here is denied.\n"
            .to_owned();
    for (id, tool) in used {
        let calls = counted(tool.calls, "call");
        let (reason, when) = match tool.effect.as_str() {
            "read" => (format!("Clients read here ({calls})."), ""),
            _ => (
                format!("Clients change something here ({calls}); a person decides each time."),
                "\nwhen { context.evidence.approvals.approver >= 1 }",
            ),
        };
        text.push_str(&format!(
            "\n@id(\"learned.{id}\")\n@reason(\"{reason}\")\npermit (principal, action == Action::\"{id}\", resource){when};\n"
        ));
    }
    text
}
