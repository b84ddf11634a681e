//! What each address shows: asks `app` and hands the answers to the pages. Operations are asked for by
//! name, so that rights are looked at in one place for every surface; what only pages compose (the inbox,
//! lanes, previews) is read by functions of `app` that look themselves.

use maud::Markup;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    pages::{self, approvals::Named, rollback::May, runs::Steps},
    shell::{self, Frame},
};
use crate::app::{
    App, Caller,
    approvals::{GetApproval, ListApprovals},
    artifacts::ArtifactList,
    desk::Desk,
    exceptions::{ExceptionDetail, ExceptionList, GetException, ListExceptions},
    explain::Explanations,
    failures::Failures,
    inbox,
    kpis::KpiReport,
    lanes::{self, ListLanes},
    ledger::{Ledger, ListLedger},
    ops,
    packs::{PackDetail, PackList, PackStatusList},
    previews::RollbackPreview,
    problem::{Kind, Problem},
    receipts::{ReceiptVerified, ReceiptView, Verified},
    runs::{ListRuns, RunDetail, RunList},
    timeline::EventList,
};

/// Steps on one page.
const STEPS: usize = 100;

/// Steps told beside an ask.
const STEPS_BRIEF: usize = 40;

/// Events on one page.
const EVENTS: usize = 200;

/// Asks on one page of the inbox: each costs the folding of its run.
const ASKS: usize = 50;

/// Whoever looks, and what their forms carry.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Who.
    pub caller: Caller,
    /// What every form of this session carries.
    pub form_token: String,
    /// What was just done, as a word of a closed set.
    pub said: Option<String>,
    /// What was wrong with what was just sent.
    pub wrong: Option<String>,
    /// The page that a refused form stands on; its own address takes forms only.
    pub here: Option<String>,
    /// The operation that a refused form asked for.
    pub asked: Option<&'static str>,
}

/// Asks for one operation.
pub(crate) async fn ask<T: DeserializeOwned>(
    app: &App,
    caller: &Caller,
    (op, body): (&str, Value),
) -> Result<T, Problem> {
    let answer = ops::call(app, caller, op, body).await?;
    serde_json::from_value(answer)
        .map_err(|error| Problem::new(Kind::Unexpected, "unreadable", format!("{op}: {error}")))
}

async fn frame(app: &App, visitor: &Visitor) -> Result<Frame, Problem> {
    let waiting = inbox::waiting(app, &visitor.caller).await?;
    let principal = visitor.caller.principal();
    Ok(Frame {
        me: principal.id.to_string(),
        roles: principal.roles.iter().cloned().collect(),
        form_token: visitor.form_token.clone(),
        waiting,
        now: app.now(),
        said: visitor.said.clone(),
        here: visitor.here.clone(),
    })
}

/// The inbox, with one ask opened.
///
/// # Errors
/// When there is no such ask.
pub async fn approvals(
    app: &App,
    visitor: &Visitor,
    (id, asked): (Option<&str>, ListApprovals),
) -> Result<Markup, Problem> {
    let caller = &visitor.caller;
    let wanted = ListApprovals { all: false, limit: Some(ASKS), ..asked.clone() };
    let mut desk = Desk::default();
    let inbox = inbox::inbox(app, caller, (wanted, &mut desk)).await?;
    let frame = frame(app, visitor).await?;
    let first = inbox.items.iter().find(|line| line.approval.claim.aside_by.is_none());
    let first = first.or(inbox.items.first()).map(|line| line.approval.id.as_str());
    let named = if id.is_some() { Named::Ask } else { Named::List };
    let Some(opened) = id.or(first) else {
        let shown = pages::approvals::Shown { inbox: &inbox, opened: None, named, asked: &asked };
        return Ok(pages::approvals::page(&frame, &shown));
    };
    let wanted = GetApproval { approval: opened.to_owned() };
    let seen = inbox::open(app, caller, (wanted, &mut desk)).await?;
    let of_card = seen.card.as_ref().map(|card| card.run.clone());
    let run = of_card.or(seen.ended.as_ref().map(|ended| ended.run.clone())).unwrap_or_default();
    let wanted = ListLanes { run, after: None, limit: Some(STEPS_BRIEF) };
    let (detail, lanes) = lanes::with_run(app, caller, (wanted, &mut desk)).await?;
    let opened = pages::approvals::Opened {
        id: opened,
        ask: &seen,
        run: &detail.run,
        lanes: &lanes,
        wrong: visitor.wrong.as_deref(),
        asked: visitor.asked,
    };
    let shown =
        pages::approvals::Shown { inbox: &inbox, opened: Some(opened), named, asked: &asked };
    Ok(pages::approvals::page(&frame, &shown))
}

/// The queue of exceptions.
///
/// # Errors
/// A filter that makes no sense.
pub async fn exceptions(
    app: &App,
    visitor: &Visitor,
    asked: ListExceptions,
) -> Result<Markup, Problem> {
    let queue: ExceptionList = ask(app, &visitor.caller, ("exception.list", json!(asked))).await?;
    Ok(pages::exceptions::list(&frame(app, visitor).await?, &queue, &asked))
}

/// One exception.
///
/// # Errors
/// When there is no such exception.
pub async fn exception(app: &App, visitor: &Visitor, id: &str) -> Result<Markup, Problem> {
    let (caller, wanted) = (&visitor.caller, json!({ "exception": id }));
    let detail: ExceptionDetail = ask(app, caller, ("exception.get", wanted)).await?;
    let wanted = GetException { exception: id.to_owned() };
    let standing = inbox::exception_standing(app, caller, wanted).await?;
    let frame = frame(app, visitor).await?;
    Ok(pages::exceptions::detail(&frame, (&detail, &standing), visitor.wrong.as_deref()))
}

/// Runs.
///
/// # Errors
/// A filter that makes no sense.
pub async fn runs(app: &App, visitor: &Visitor, asked: ListRuns) -> Result<Markup, Problem> {
    let runs: RunList = ask(app, &visitor.caller, ("run.list", json!(asked))).await?;
    Ok(pages::runs::list(&frame(app, visitor).await?, &runs, &asked))
}

/// One run: its steps as a timeline, as a table, or its journal.
///
/// # Errors
/// When there is no such run.
pub async fn run(
    app: &App,
    visitor: &Visitor,
    (id, view, after): (&str, &str, Option<u64>),
) -> Result<Markup, Problem> {
    let caller = &visitor.caller;
    let frame = frame(app, visitor).await?;
    let artifacts: ArtifactList = ask(app, caller, ("run.artifacts", json!({ "run": id }))).await?;
    let hand = pages::runs::Hand {
        artifacts: &artifacts.items,
        refused: ops::check(caller, "run.steer").err().map(|problem| problem.detail),
        wrong: visitor.wrong.as_deref(),
    };
    if view == "events" {
        let detail: RunDetail = ask(app, caller, ("run.get", json!({ "run": id }))).await?;
        let wanted = json!({ "run": id, "after": after.unwrap_or(0), "limit": EVENTS });
        let list: EventList = ask(app, caller, ("run.events", wanted)).await?;
        let steps = Steps::Events { list: &list, total: detail.run.events };
        return Ok(pages::runs::detail(&frame, &detail, (&steps, &hand)));
    }
    let after = after.filter(|after| *after > 0);
    let wanted = ListLanes { run: id.to_owned(), after, limit: Some(STEPS) };
    let (detail, lanes) = lanes::with_run(app, caller, (wanted, &mut Desk::default())).await?;
    let steps = match view {
        "table" => Steps::Table(&lanes),
        _ => Steps::Timeline(&lanes),
    };
    Ok(pages::runs::detail(&frame, &detail, (&steps, &hand)))
}

/// Receipts, of all runs or of one.
///
/// # Errors
/// When there is no such run.
pub async fn receipts(app: &App, visitor: &Visitor, asked: ListLedger) -> Result<Markup, Problem> {
    let ledger: Ledger = ask(app, &visitor.caller, ("receipt.ledger", json!(asked))).await?;
    Ok(pages::receipts::list(&frame(app, visitor).await?, &ledger, &asked))
}

/// One receipt.
///
/// # Errors
/// When there is no such receipt.
pub async fn receipt(app: &App, visitor: &Visitor, id: &str) -> Result<Markup, Problem> {
    let caller = &visitor.caller;
    let view: ReceiptView = ask(app, caller, ("receipt.get", json!({ "receipt": id }))).await?;
    let explained: Explanations = ask(app, caller, ("explain", json!({ "id": id }))).await?;
    let checked: ReceiptVerified =
        ask(app, caller, ("receipt.verify", json!({ "receipt": id }))).await?;
    Ok(pages::receipts::detail(&frame(app, visitor).await?, (&view, &explained, &checked)))
}

/// The verification of a run's receipts.
///
/// # Errors
/// When there is no such run.
pub async fn verified(app: &App, visitor: &Visitor, run: &str) -> Result<Markup, Problem> {
    let found: Verified = ask(app, &visitor.caller, ("run.verify", json!({ "run": run }))).await?;
    Ok(pages::receipts::verified(&frame(app, visitor).await?, run, &found))
}

/// What taking a run back would do.
///
/// # Errors
/// When there is no such run.
pub async fn rollback(app: &App, visitor: &Visitor, run: &str) -> Result<Markup, Problem> {
    let wanted = json!({ "run": run });
    let preview: RollbackPreview =
        ask(app, &visitor.caller, ("run.rollback-preview", wanted)).await?;
    let may = match ops::check(&visitor.caller, "run.rollback") {
        Ok(()) => May::RollBack,
        Err(problem) => May::Look { because: problem.detail },
    };
    let frame = frame(app, visitor).await?;
    Ok(pages::rollback::page(&frame, &preview, (may, visitor.wrong.as_deref())))
}

/// Packs.
///
/// # Errors
/// None of its own.
pub async fn packs(app: &App, visitor: &Visitor) -> Result<Markup, Problem> {
    let caller = &visitor.caller;
    let packs: PackList = ask(app, caller, ("pack.list", Value::Null)).await?;
    let status: PackStatusList = ask(app, caller, ("pack.status", Value::Null)).await?;
    Ok(pages::packs::list(&frame(app, visitor).await?, &packs, &status))
}

/// One pack.
///
/// # Errors
/// When there is no such pack.
pub async fn pack(app: &App, visitor: &Visitor, name: &str) -> Result<Markup, Problem> {
    let caller = &visitor.caller;
    let pack: PackDetail = ask(app, caller, ("pack.get", json!({ "pack": name }))).await?;
    let status: PackStatusList = ask(app, caller, ("pack.status", Value::Null)).await?;
    let kpis: KpiReport = ask(app, caller, ("kpi.report", json!({ "pack": name }))).await?;
    let failures: Failures = ask(app, caller, ("pack.failures", json!({ "pack": name }))).await?;
    let status = status.items.iter().find(|status| status.name == name);
    let shown = pages::packs::Shown { pack: &pack, status, kpis: &kpis, failures: &failures };
    Ok(pages::packs::detail(&frame(app, visitor).await?, &shown))
}

/// What is shown instead of a page.
pub async fn trouble(app: &App, visitor: &Visitor, problem: &Problem) -> Markup {
    let title = shell::problem_title(problem);
    let body = shell::problem(problem, Some(visitor.here.as_deref().unwrap_or_default()));
    match frame(app, visitor).await {
        Ok(frame) => {
            let place = shell::Place::Approvals;
            frame.page(&shell::Page { place, title, run: None, layout: "", body })
        }
        Err(_) => shell::door(title, &body),
    }
}
