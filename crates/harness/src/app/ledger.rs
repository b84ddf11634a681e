//! Receipts as people look for them: run by run, the newest first, each with what it is about.

use ::receipts::statement::Stated;
use kernel::{event::Body, id::RunId, operation::Effect, receipt::Predicate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Query as _;

use super::{
    App, Caller, Right, header_of, parse_id,
    problem::Problem,
    receipts,
    runs::{self, ListRuns, RunView, rfc3339},
    value::summarise,
};

/// Receipts told of one run in a list of runs.
const PER_RUN: usize = 12;

/// Runs on one page.
const RUNS: usize = 15;

/// Which receipts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListLedger {
    /// Only this run, and all of its receipts.
    pub run: Option<String>,
    /// Of runs of this intent.
    pub intent: Option<String>,
    /// Of runs by this agent.
    pub agent: Option<String>,
    /// Of runs of this pack: `customer-ops`, or `customer-ops@1.0.0`.
    pub pack: Option<String>,
    /// Of calls of this operation alone, reads too, such as `billing.create_refund`.
    pub operation: Option<String>,
    /// Of runs about this customer.
    pub customer: Option<String>,
    /// Of runs about this account.
    pub account: Option<String>,
    /// Of runs begun at or after: RFC 3339, or a date in UTC.
    pub since: Option<String>,
    /// Of runs begun before: RFC 3339, or a date in UTC.
    pub until: Option<String>,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// Receipts, run by run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Newest run first.
    pub items: Vec<LedgerRun>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// Receipts in the log.
    pub log_size: u64,
}

/// A run's receipts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LedgerRun {
    /// The run.
    pub run: RunView,
    /// In order; of a list of runs only writes, and the first of them.
    pub items: Vec<LedgerLine>,
    /// Receipts of the run.
    pub total: usize,
}

/// What a receipt is about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LedgerLine {
    /// The receipt.
    pub receipt: String,
    /// Position in the log.
    pub log_index: u64,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// `read`, `write` or `close`.
    pub sort: String,
    /// The step.
    pub step: String,
    /// One sentence.
    pub summary: String,
    /// The operation.
    pub operation: String,
    /// `done` or `failed: <class>`.
    pub outcome: String,
    /// Who approved it.
    pub approved_by: Vec<String>,
}

/// Which receipts of a run are told.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    All,
    Writes,
    /// Of one operation.
    Of(String),
}

impl Shown {
    fn has(&self, told: &Predicate) -> bool {
        match self {
            Self::All => true,
            Self::Writes => told.facts.effect == Effect::Write,
            Self::Of(operation) => told.operation.as_str() == operation,
        }
    }
}

/// Lists receipts run by run, or all of one run.
///
/// # Errors
/// When there is no such run, or a cursor makes no sense.
pub async fn list(app: &App, caller: &Caller, request: ListLedger) -> Result<Ledger, Problem> {
    caller.needs(&[Right::Read])?;
    use store::Log as _;
    let log_size = app.store.log_size(caller.tenant()).await?;
    if let Some(run) = request.run {
        let view = runs::view_of(app, caller, &parse_id(&run)?).await?;
        let item = of_run(app, caller, view, &Shown::All).await?;
        return Ok(Ledger { items: vec![item], next: None, log_size });
    }
    let shown = match request.operation.clone() {
        Some(operation) => Shown::Of(operation),
        None => Shown::Writes,
    };
    let wanted = ListRuns {
        intent: request.intent,
        agent: request.agent,
        pack: request.pack,
        operation: request.operation,
        customer: request.customer,
        account: request.account,
        since: request.since,
        until: request.until,
        after: request.after,
        limit: Some(RUNS),
        ..ListRuns::default()
    };
    let listed = runs::list(app, caller, wanted).await?;
    let mut items = Vec::new();
    for view in listed.items {
        items.push(of_run(app, caller, view, &shown).await?);
    }
    Ok(Ledger { items, next: listed.next, log_size })
}

async fn of_run(
    app: &App,
    caller: &Caller,
    run: RunView,
    shown: &Shown,
) -> Result<LedgerRun, Problem> {
    let id: RunId = parse_id(&run.id)?;
    let entries = receipts::entries(app, caller, &id).await?;
    let total = entries.len();
    let first = app.store.events(caller.tenant(), &id, 0, 1).await?;
    let header = first.first().and_then(header_of);
    let loaded = match header {
        Some(header) => app.shelf.pins(&id, header).await.ok(),
        None => None,
    };
    let mut items = Vec::new();
    for entry in entries {
        if items.len() >= PER_RUN && *shown != Shown::All {
            break;
        }
        let line = match receipts::stated(app, caller, &entry.id).await? {
            Stated::Receipt(told) if shown.has(&told) => {
                let catalogue = loaded.as_ref().map(|loaded| &loaded.pins.catalogue);
                let known = catalogue.and_then(|known| known.get(&told.operation));
                let template = known.map(|known| known.operation.summary.clone());
                let args = args_of(app, caller, &id, told.action).await?;
                of_receipt(&entry, &told, summarise(&template.unwrap_or_default(), &args))
            }
            Stated::Receipt(_) => continue,
            Stated::Close(_) if *shown == Shown::All => of_close(&entry),
            Stated::Close(_) => continue,
        };
        items.push(line);
    }
    Ok(LedgerRun { run, items, total })
}

/// The arguments of an action; null when they were erased.
async fn args_of(
    app: &App,
    caller: &Caller,
    run: &RunId,
    action: u64,
) -> Result<serde_json::Value, Problem> {
    let found = app.store.events(caller.tenant(), run, action, 1).await?;
    Ok(match found.first().map(|record| &record.event.body) {
        Some(Body::Proposed { args, .. }) => (*args.value()).clone(),
        _ => serde_json::Value::Null,
    })
}

fn of_receipt(entry: &store::ReceiptEntry, told: &Predicate, summary: String) -> LedgerLine {
    let outcome = match told.class {
        Some(class) => format!("failed: {}", class.name()),
        None => "done".to_owned(),
    };
    LedgerLine {
        receipt: entry.id.to_string(),
        log_index: entry.log_index,
        at: rfc3339(entry.at),
        sort: if told.facts.effect == Effect::Write { "write" } else { "read" }.to_owned(),
        step: told.step.clone(),
        summary,
        operation: told.operation.to_string(),
        outcome,
        approved_by: told.approvals.iter().map(|approval| approval.by.to_string()).collect(),
    }
}

fn of_close(entry: &store::ReceiptEntry) -> LedgerLine {
    LedgerLine {
        receipt: entry.id.to_string(),
        log_index: entry.log_index,
        at: rfc3339(entry.at),
        sort: "close".to_owned(),
        step: String::new(),
        summary: "The run's receipts are complete up to here".to_owned(),
        operation: String::new(),
        outcome: "done".to_owned(),
        approved_by: Vec::new(),
    }
}
