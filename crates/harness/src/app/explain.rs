//! `explain`: one page that answers who, why, under which rules, what changed, and how to take it back.

use kernel::{
    event::{Answered, Body, Ended, Purpose, Record},
    id::{ExceptionId, ReceiptId, RunId},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Query as _, Thing};

use super::{
    App, Caller, header_of, parse_id,
    problem::Problem,
    receipts,
    runs::rfc3339,
    trouble::{TroubleView, troubles},
    value::{plain, summarise},
};

/// What to explain.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// A receipt id, a run id for all its writes, or an exception id.
    pub id: String,
}

/// One action explained. Each of the six questions has an answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The receipt.
    pub receipt: String,
    /// One sentence.
    pub summary: String,
    /// What was planned.
    pub planned: String,
    /// What it touched.
    pub touched: String,
    /// Which rules allowed it.
    pub rules: Vec<String>,
    /// Who approved it, when, and what they saw.
    pub approved_by: Vec<String>,
    /// What changed.
    pub changed: Vec<String>,
    /// How to replay it.
    pub replay: String,
    /// How to take it back.
    pub take_back: String,
    /// Whether it touched sensitive data.
    pub sensitive: String,
    /// How it ended.
    pub outcome: String,
    /// Asks that were answered about it: their cards as they were shown can be opened again.
    #[serde(default)]
    pub asks: Vec<String>,
}

/// Explanations of a run's writes, or of one receipt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explanations {
    /// The run.
    pub run: String,
    /// Who asked for what.
    pub intent: String,
    /// In order.
    pub items: Vec<Explanation>,
    /// What went wrong, and what was done about it: in the whole run, or in the step asked about.
    pub troubles: Vec<TroubleView>,
}

/// What is asked about: all of a run, one receipt, or the step of an exception.
struct About {
    run: RunId,
    receipt: Option<ReceiptId>,
    exception: Option<ExceptionId>,
}

async fn about(app: &App, caller: &Caller, id: &str) -> Result<About, Problem> {
    let (thing, noun) = if id.starts_with("rct_") {
        (Thing::Receipt(parse_id(id)?), "receipt")
    } else if id.starts_with("exc_") {
        (Thing::Exception(parse_id(id)?), "exception")
    } else {
        return Ok(About { run: parse_id(id)?, receipt: None, exception: None });
    };
    let found = app.store.find_run(caller.tenant(), &thing).await?;
    let run = found.ok_or_else(|| Problem::not_found(noun, id))?;
    let (receipt, exception) = match thing {
        Thing::Receipt(receipt) => (Some(receipt), None),
        Thing::Exception(exception) => (None, Some(exception)),
        Thing::Approval(_) | Thing::Token(_) => (None, None),
    };
    Ok(About { run, receipt, exception })
}

/// The step an exception was raised in.
fn step_of(records: &[Record], wanted: &ExceptionId) -> Option<String> {
    records.iter().find_map(|record| match &record.event.body {
        Body::Raised { exception, .. } if exception.id == *wanted => Some(exception.step.clone()),
        _ => None,
    })
}

/// Explains a receipt, an exception, or the writes of a run.
///
/// # Errors
/// When there is no such thing.
pub async fn explain(
    app: &App,
    caller: &Caller,
    request: Explain,
) -> Result<Explanations, Problem> {
    let About { run, receipt: only, exception } = about(app, caller, &request.id).await?;
    let records = app.records(caller, &run).await?;
    let header = records
        .first()
        .and_then(header_of)
        .ok_or_else(|| Problem::not_found("run", run.as_str()))?;
    let intent =
        format!("{} asked for {} ({})", header.chain.on_behalf_of.id, header.intent, header.pack);
    let mut step = exception.as_ref().and_then(|exception| step_of(&records, exception));
    let mut items = Vec::new();
    for record in &records {
        let Body::Receipted { receipt, .. } = &record.event.body else { continue };
        if only.as_ref().is_some_and(|wanted| wanted != receipt) {
            continue;
        }
        let stated = receipts::stated(app, caller, receipt).await?;
        let ::receipts::statement::Stated::Receipt(predicate) = stated else { continue };
        let is_write = predicate.facts.effect == kernel::operation::Effect::Write;
        if only.is_some() {
            step = Some(predicate.step.clone());
        }
        let elsewhere = step.as_ref().is_some_and(|step| *step != predicate.step);
        if (only.is_some() || is_write) && !elsewhere {
            items.push(one(app, caller, &run, &records, &predicate).await?);
        }
    }
    let concerns = |trouble: &TroubleView| step.as_ref().is_none_or(|step| *step == trouble.step);
    let folded = app.fold(&run, &records).await.ok();
    let troubles = troubles(&records, folded.as_ref()).into_iter().filter(concerns).collect();
    Ok(Explanations { run: run.to_string(), intent, items, troubles })
}

type Predicate = kernel::receipt::Predicate;

async fn one(
    app: &App,
    caller: &Caller,
    run: &RunId,
    records: &[Record],
    predicate: &Predicate,
) -> Result<Explanation, Problem> {
    let args = records.iter().find_map(|record| match &record.event.body {
        Body::Proposed { args, .. } if record.event.seq == predicate.action => Some(args.value()),
        _ => None,
    });
    let args = args.unwrap_or_default();
    let template = summary_template(app, caller, records, predicate).await;
    let rules =
        predicate.decision.rules.iter().map(|r| format!("{}/{}: {}", r.layer, r.id, r.reason));
    let classes: Vec<&str> = predicate.classes.iter().map(String::as_str).collect();
    let outcome = match predicate.class {
        Some(class) => format!("failed: {}", class.name()),
        None => "done".to_owned(),
    };
    Ok(Explanation {
        receipt: predicate.receipt.to_string(),
        summary: summarise(&template, &args),
        planned: format!("step `{}` of plan {}", predicate.step, predicate.plan),
        touched: format!("{} with {}", predicate.operation, plain(&args)),
        rules: rules.collect(),
        approved_by: approvals(records, predicate),
        changed: changed(records, predicate),
        replay: format!("harness run replay {run}"),
        take_back: take_back(run, predicate),
        sensitive: match classes.is_empty() {
            true => "no declared data class".to_owned(),
            false => format!("yes: {}", classes.join(", ")),
        },
        outcome,
        asks: asks(records, predicate),
    })
}

fn asks(records: &[Record], predicate: &Predicate) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for record in records {
        match &record.event.body {
            Body::Answered { action, approval, .. } if *action == predicate.action => {
                found.push(approval.to_string());
            }
            _ => {}
        }
    }
    found.dedup();
    found
}

async fn summary_template(
    app: &App,
    caller: &Caller,
    records: &[Record],
    predicate: &Predicate,
) -> String {
    let header = records.first().and_then(header_of);
    let Some(header) = header else { return predicate.operation.to_string() };
    let loaded = app.shelf.pins(&predicate.run, header).await;
    let summary = loaded.ok().and_then(|loaded| {
        let entry = loaded.pins.catalogue.get(&predicate.operation)?;
        Some(entry.operation.summary.clone())
    });
    let _ = caller;
    summary.filter(|s| !s.is_empty()).unwrap_or_else(|| predicate.operation.to_string())
}

fn approvals(records: &[Record], predicate: &Predicate) -> Vec<String> {
    let mut lines = Vec::new();
    for record in records {
        let Body::Answered { action, by, shown, self_approved, answer, .. } = &record.event.body
        else {
            continue;
        };
        if *action != predicate.action {
            continue;
        }
        let verb = match answer {
            Answered::Approved => "approved",
            Answered::Denied { .. } => "denied",
            Answered::Edited { .. } => "edited",
        };
        let own = if *self_approved { ", acting for themselves" } else { "" };
        let at = rfc3339(record.event.at);
        lines.push(format!("{} {verb} it at {at}{own}; the card shown was {shown}", by.id));
    }
    if lines.is_empty() {
        lines.push("nobody: policy did not ask".to_owned());
    }
    lines
}

fn changed(records: &[Record], predicate: &Predicate) -> Vec<String> {
    let image = |wanted: Purpose| {
        records.iter().rev().find_map(|record| match &record.event.body {
            Body::Captured { action, purpose, image }
                if *action == predicate.action && *purpose == wanted =>
            {
                Some(image.value())
            }
            _ => None,
        })
    };
    if let (Some(before), Some(after)) = (image(Purpose::Before), image(Purpose::After)) {
        let mut lines = Vec::new();
        difference("", &before, &after, &mut lines);
        if !lines.is_empty() {
            return lines;
        }
    }
    let output = records.iter().find_map(|record| match &record.event.body {
        Body::Returned { action, ended: Ended::Done { output, .. }, .. }
            if *action == predicate.action =>
        {
            Some(output.value())
        }
        _ => None,
    });
    match output {
        Some(output) => vec![format!("the system answered {}", cut(&plain(&output)))],
        None => vec!["nothing is known to have changed".to_owned()],
    }
}

/// Longest value shown in a line.
const SHOWN_MAX: usize = 160;

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn difference(at: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        for (key, old) in old {
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            difference(&path, old, new.get(key).unwrap_or(&Value::Null), lines);
        }
    } else if before != after {
        lines.push(format!("{at}: {} → {}", cut(&plain(before)), cut(&plain(after))));
    }
}

fn take_back(run: &RunId, predicate: &Predicate) -> String {
    match (&predicate.token, predicate.undo) {
        (Some(token), kernel::operation::Undo::Restore) => {
            format!("harness run rollback {run} --token {token} (restores the state before)")
        }
        (Some(token), _) => {
            format!("harness run rollback {run} --token {token} (an inverse; a trace remains)")
        }
        (None, _) if predicate.facts.effect == kernel::operation::Effect::Read => {
            "nothing to take back: it was a read".to_owned()
        }
        (None, _) => "it cannot be taken back".to_owned(),
    }
}
