//! Exceptions: runs that need someone, and what that someone may decide.

use std::sync::Arc;

use kernel::{
    id::ExceptionId,
    input::{Input, Settlement},
    run::verbs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Page, Query, State, Thing};

use super::{
    App, Caller, parse_id,
    problem::Problem,
    runs::{self, RunView, rfc3339},
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
    /// `open` or `settled`.
    pub state: String,
    /// What may be decided.
    pub verbs: Vec<String>,
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
    /// Where the page before ended.
    pub after: Option<String>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// A decision about an exception.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// Which.
    pub exception: String,
    /// `happened`, `did_not_happen`, `retry`, `use`, `stop` or `close`.
    pub verb: String,
    /// The step's output, for `use`.
    #[serde(default)]
    pub value: Value,
    /// How you know.
    pub evidence: String,
}

/// Lists exceptions.
///
/// # Errors
/// A cursor that makes no sense.
pub async fn list(
    app: &App,
    caller: &Caller,
    request: ListExceptions,
) -> Result<ExceptionList, Problem> {
    let state = if request.all { State::All } else { State::Open };
    let page = Page { after: request.after, limit: request.limit.unwrap_or(50) };
    let listed = app.store.exceptions(caller.tenant(), state, page).await?;
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed.items.into_iter().map(|entry| ExceptionView {
        id: entry.exception.id.to_string(),
        run: entry.run.to_string(),
        need: word(serde_json::to_value(entry.exception.need).unwrap_or_default()),
        class: entry.exception.class.name().to_owned(),
        step: entry.exception.step.clone(),
        action: entry.exception.action,
        owner: entry.exception.owner.clone(),
        opened_at: rfc3339(entry.exception.at),
        state: if entry.closed_at.is_some() { "settled" } else { "open" }.to_owned(),
        verbs: verbs(entry.exception.need).iter().map(|v| (*v).to_owned()).collect(),
    });
    Ok(ExceptionList { items: items.collect(), next: listed.next })
}

/// Settles an exception.
///
/// # Errors
/// When it is not open, or the verb does not fit it.
pub async fn settle(app: &App, caller: &Caller, request: Settle) -> Result<RunView, Problem> {
    let exception: ExceptionId = parse_id(&request.exception)?;
    if request.evidence.trim().is_empty() {
        return Err(Problem::usage("evidence-needed", "say how you know, with --evidence"));
    }
    let thing = Thing::Exception(exception.clone());
    let found = app.store.find_run(caller.tenant(), &thing).await?;
    let id = found.ok_or_else(|| Problem::not_found("exception", &request.exception))?;
    let settlement = match request.verb.as_str() {
        "happened" => Settlement::Happened,
        "did_not_happen" => Settlement::DidNotHappen,
        "retry" => Settlement::Retry,
        "use" => Settlement::Use { value: Arc::new(request.value) },
        "stop" => Settlement::Stop,
        "close" => Settlement::Close,
        other => return Err(Problem::usage("bad-verb", format!("`{other}` settles nothing"))),
    };
    let by = caller.principal().clone();
    let evidence = request.evidence;
    runs::hand_in(app, caller, &id, Input::Settle { exception, by, settlement, evidence }).await?;
    runs::wait(app, caller, &id, 10_000).await;
    runs::view_of(app, caller, &id).await
}
