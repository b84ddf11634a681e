//! Exceptions: the queue of runs that need someone, and what that someone may decide.

mod detail;

use std::sync::Arc;

use kernel::{
    event::{Body, Record, Settled},
    exception::{Class, Exception, Need},
    id::{ExceptionId, PrincipalId, RunId},
    input::{Input, Settlement},
    run::verbs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use store::{ExceptionFilter, Page, Query, State, Thing};

pub use detail::{ExceptionDetail, GetException, StepBack, VerbView, get};

use super::{
    App, Caller,
    claims::Claim,
    parse_id,
    problem::{Kind, Problem},
    queues::{About, Item, PAGES_MAX},
    runs::{self, ListRuns, RunView, rfc3339},
};

/// An exception as the queue shows it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExceptionView {
    /// Its id.
    pub id: String,
    /// The run.
    pub run: String,
    /// Why someone is needed.
    pub need: String,
    /// The failure class.
    pub class: String,
    /// The step.
    pub step: String,
    /// The action, if it concerns one.
    pub action: Option<u64>,
    /// Who owns it.
    pub owner: String,
    /// Since when.
    pub opened_at: String,
    /// For how long it has waited, or did until it was settled, in ms.
    pub age_ms: i64,
    /// How often this happened in the run.
    pub count: u32,
    /// `open` or `settled`.
    pub state: String,
    /// What may be decided.
    pub verbs: Vec<String>,
    /// Who looks after it; only where a list shows it.
    #[serde(flatten)]
    pub claim: Option<Claim>,
}

/// A page of the queue.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExceptionList {
    /// Oldest first; with `all`, newest first.
    pub items: Vec<ExceptionView>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// Which exceptions.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListExceptions {
    /// Settled ones too.
    pub all: bool,
    /// Of this run.
    pub run: Option<String>,
    /// Of this failure class.
    pub class: Option<String>,
    /// That need this: `in_doubt`, `escalated`, `undo_failed`, `conflict`, `unplanned` or `defect`.
    pub need: Option<String>,
    /// Owned by this role or person.
    pub owner: Option<String>,
    /// Open for at least so long, in ms.
    pub older_than_ms: Option<i64>,
    /// Of runs of this intent.
    pub intent: Option<String>,
    /// Of runs by this agent.
    pub agent: Option<String>,
    /// Of runs of this pack: `customer-ops`, or `customer-ops@1.0.0`.
    pub pack: Option<String>,
    /// About a call of this operation, such as `billing.create_refund`.
    pub operation: Option<String>,
    /// Of runs about this customer.
    pub customer: Option<String>,
    /// Of runs about this account.
    pub account: Option<String>,
    /// Opened at or after: RFC 3339, or a date in UTC.
    pub since: Option<String>,
    /// Opened before: RFC 3339, or a date in UTC.
    pub until: Option<String>,
    /// Where the page before ended.
    pub after: Option<String>,
    /// How many at most; of what is filtered there may be fewer on a page that has a next one.
    pub limit: Option<usize>,
}

impl ListExceptions {
    /// What is asked of their runs.
    fn runs(&self) -> ListRuns {
        ListRuns {
            intent: self.intent.clone(),
            agent: self.agent.clone(),
            pack: self.pack.clone(),
            operation: self.operation.clone(),
            customer: self.customer.clone(),
            account: self.account.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            ..ListRuns::default()
        }
    }
}

/// A decision about an exception.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// Which.
    pub exception: String,
    /// `happened`, `did_not_happen`, `retry`, `use`, `skip`, `stop`, `rollback` or `close`.
    pub verb: String,
    /// The step's output, for `use`.
    #[serde(default)]
    pub value: Value,
    /// How you know, or why you decide so.
    pub evidence: String,
}

/// Lists exceptions.
///
/// # Errors
/// A filter or cursor that makes no sense.
pub async fn list(
    app: &App,
    caller: &Caller,
    request: ListExceptions,
) -> Result<ExceptionList, Problem> {
    let state = if request.all { State::All } else { State::Open };
    let now = app.now();
    let mut about = About::of(caller, None, request.runs())?;
    let filter = ExceptionFilter {
        run: request.run.as_deref().map(parse_id::<RunId>).transpose()?,
        class: request.class.as_deref().map(|text| parse::<Class>("class", text)).transpose()?,
        need: request.need.as_deref().map(|text| parse::<Need>("need", text)).transpose()?,
        owner: request.owner,
        until: request.older_than_ms.map(|ms| now.saturating_sub(ms).saturating_add(1)),
    };
    let limit = Page { after: None, limit: request.limit.unwrap_or(50) }.size();
    let mut after = request.after;
    let mut items: Vec<ExceptionView> = Vec::new();
    for _ in 0..PAGES_MAX {
        let (page, wanted) = (Page { after, limit: limit - items.len() }, filter.clone());
        let listed = app.store.exceptions(caller.tenant(), (state, wanted), page).await?;
        after = listed.next;
        for entry in listed.items {
            let (action, at) = (entry.exception.action, entry.exception.at);
            if about.admits(app, caller, Item { run: &entry.run, action, at }).await? {
                items.push(view(&entry, now));
            }
        }
        if after.is_none() || items.len() >= limit {
            break;
        }
    }
    let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
    let mut claims = app.claims(caller, ids).await?;
    for item in &mut items {
        item.claim = Some(claims.remove(&item.id).unwrap_or_default());
    }
    Ok(ExceptionList { items, next: after })
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Problem> {
    let value = Value::String(text.replace('-', "_"));
    serde_json::from_value(value).map_err(|error| {
        Problem::usage(&format!("bad-{what}"), format!("`{text}` is no {what}: {error}"))
            .next(format!("write one of the words that are a {what}, or leave it out"))
    })
}

/// A word of a closed set, as journals write it.
pub(super) fn word<T: Serialize>(value: T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn view(entry: &store::ExceptionEntry, now: i64) -> ExceptionView {
    let Exception { id, need, class, step, action, owner, at, count } = &entry.exception;
    let offered = if entry.closed_at.is_some() { &[] } else { verbs(*need) };
    ExceptionView {
        id: id.to_string(),
        run: entry.run.to_string(),
        need: word(need),
        class: class.name().to_owned(),
        step: step.clone(),
        action: *action,
        owner: owner.clone(),
        opened_at: rfc3339(*at),
        age_ms: entry.closed_at.unwrap_or(now).saturating_sub(*at).max(0),
        count: *count,
        state: if entry.closed_at.is_some() { "settled" } else { "open" }.to_owned(),
        verbs: offered.iter().map(|v| (*v).to_owned()).collect(),
        claim: None,
    }
}

/// The run an exception belongs to.
pub(super) async fn run_of(
    app: &App,
    caller: &Caller,
    exception: &ExceptionId,
) -> Result<RunId, Problem> {
    let thing = Thing::Exception(exception.clone());
    let found = app.store.find_run(caller.tenant(), &thing).await?;
    found.ok_or_else(|| Problem::not_found("exception", exception.as_str()))
}

/// Decides about an exception. The same decision by the same person again changes nothing.
///
/// # Errors
/// When it is not open, the verb or the value does not fit it, or it is somebody else's.
pub async fn settle(app: &App, caller: &Caller, request: Settle) -> Result<RunView, Problem> {
    let exception: ExceptionId = parse_id(&request.exception)?;
    if request.evidence.trim().is_empty() {
        return Err(Problem::usage("evidence-needed", "say how you know, or why you decide so")
            .next("add --evidence '…'"));
    }
    let id = run_of(app, caller, &exception).await?;
    let settlement = match request.verb.as_str() {
        "happened" => Settlement::Happened,
        "did_not_happen" => Settlement::DidNotHappen,
        "retry" => Settlement::Retry,
        "use" => Settlement::Use { value: Arc::new(request.value) },
        "skip" => Settlement::Skip,
        "stop" => Settlement::Stop,
        "rollback" => Settlement::Rollback,
        "close" => Settlement::Close,
        other => {
            return Err(Problem::usage("bad-verb", format!("`{other}` settles nothing"))
                .next("`harness exception settle --help` lists what does"));
        }
    };
    let by = caller.principal().clone();
    let records = app.records(caller, &id).await?;
    if let Some((who, before)) = settled_before(&records, &exception) {
        let verb = verb_of(before);
        let mut detail =
            format!("{who} settled this exception already: {}", verb.replace('_', " "));
        match (before, &settlement) {
            (Settled::Use { value: kept }, Settlement::Use { value }) if kept.value() != *value => {
                detail.push_str(", with another value");
            }
            _ if *who == by.id && verb == request.verb => {
                return runs::view_of(app, caller, &id).await;
            }
            _ => {}
        }
        return Err(Problem::new(Kind::Conflict, "settled-already", detail)
            .next(format!("`harness exception get {exception}` shows when and why")));
    }
    let run = app.fold(&id, &records).await?;
    let validate = pack::Schemas::new();
    run.check_settlement(&exception, &by, &settlement, &validate)
        .map_err(|refused| runs::refusal(refused).next(next_step(&exception)))?;
    let evidence = request.evidence;
    let input = Input::Settle { exception, by, settlement, evidence };
    runs::hand_in(app, caller, &id, input).await?;
    runs::wait(app, caller, &id, 10_000).await;
    runs::view_of(app, caller, &id).await
}

fn next_step(exception: &ExceptionId) -> String {
    format!("`harness exception get {exception}` shows what fits, and why")
}

/// Who settled it and how; a rollback leaves a doubt open and so settles it only once it is closed.
fn settled_before<'a>(
    records: &'a [Record],
    wanted: &ExceptionId,
) -> Option<(&'a PrincipalId, &'a Settled)> {
    let found = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Settled { exception, by, settled, .. } if exception == wanted => {
            Some((&by.id, settled))
        }
        _ => None,
    });
    let doubt = records.iter().any(|record| match &record.event.body {
        Body::Raised { exception, .. } => {
            exception.id == *wanted && exception.need == Need::InDoubt
        }
        _ => false,
    });
    found.filter(|(_, settled)| !(doubt && **settled == Settled::Rollback))
}

/// The verb of a decision, as journals write it.
fn verb_of(settled: &Settled) -> String {
    let value = serde_json::to_value(settled).unwrap_or_default();
    value.get("verb").and_then(Value::as_str).unwrap_or_default().to_owned()
}
