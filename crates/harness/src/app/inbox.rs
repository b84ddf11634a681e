//! What waits for people, as they open it: the inbox with one sentence per ask, and one ask with whether
//! this caller may answer it, or with how it ended and who ended it.

use kernel::{
    approval::{Refusal, check_approver},
    event::{Answered, Body, Record, Settled},
    id::{ApprovalId, ExceptionId, RunId},
    principal::Kind as Actor,
    run::Run,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Query as _;

use super::{
    App, Caller, Right,
    approvals::{self, ApprovalView, Card, GetApproval, ListApprovals},
    claims::Claim,
    desk::Desk,
    exceptions::GetException,
    parse_id,
    problem::Problem,
    runs::rfc3339,
    value::visible,
};

/// How far back an empty inbox looks for the last decision, in asks.
const LOOK_BACK: usize = 20;

/// How much waits for people.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Open asks.
    pub approvals: u64,
    /// Open exceptions.
    pub exceptions: u64,
}

/// An ask with the sentence it is about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InboxLine {
    /// The ask.
    pub approval: ApprovalView,
    /// One sentence, from the operation's manifest and typed arguments.
    pub summary: String,
    /// Who asks.
    pub agent: String,
    /// Pack and version.
    pub pack: String,
    /// `high`, `moderate` or `low`; empty for questions.
    pub risk: String,
}

/// A page of the inbox, with sentences.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Inbox {
    /// Soonest expiry first.
    pub items: Vec<InboxLine>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// When an ask was last closed, RFC 3339 UTC.
    pub last_closed_at: Option<String>,
}

/// One ask as this caller sees it: open with its card, or how it ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OpenedAsk {
    /// The card, while it is open.
    pub card: Option<Card>,
    /// How it ended.
    pub ended: Option<EndedAsk>,
    /// Whether this caller's answer would count.
    pub may_decide: bool,
    /// Why not.
    pub because: String,
    /// Who looks after it.
    #[serde(default)]
    pub claim: Claim,
    /// What the run asks at the same time, this one included; empty when it asks nothing else.
    #[serde(default)]
    pub together: Vec<AskedTogether>,
}

/// One of several actions that a run asks about at the same time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AskedTogether {
    /// The ask.
    pub approval: String,
    /// One sentence.
    pub summary: String,
    /// Digest that the answer binds to.
    pub digest: String,
    /// `high`, `moderate` or `low`.
    pub risk: String,
    /// Whether this caller's answer would count.
    pub may_decide: bool,
}

/// How an ask ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EndedAsk {
    /// The ask.
    pub approval: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// `approved`, `denied`, `edited`, `answered`, `expired`, `void` or `stopped`.
    pub state: String,
    /// When.
    pub at: String,
    /// Who.
    pub by: Option<String>,
    /// Why, for a denial.
    pub reason: Option<String>,
    /// The receipt of what was done.
    pub receipt: Option<String>,
    /// The card as it was when it was answered, from the journal up to then.
    #[serde(default)]
    pub shown: Option<Card>,
    /// Whether that card has the digest which the answer carries: it is exactly what was shown.
    #[serde(default)]
    pub shown_matches: bool,
}

/// How an exception was settled.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SettledView {
    /// The verb.
    pub verb: String,
    /// Who.
    pub by: String,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// How they know, or why.
    pub evidence: String,
}

/// Whether this caller may settle an exception, and how it was settled.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExceptionStanding {
    /// Whether this caller's decision would count.
    pub may_settle: bool,
    /// Why not.
    pub because: String,
    /// The last decision about it.
    pub settled: Option<SettledView>,
    /// Who looks after it.
    #[serde(default)]
    pub claim: Claim,
}

/// How much waits for people.
///
/// # Errors
/// When the store does not answer.
pub async fn waiting(app: &App, caller: &Caller) -> Result<Waiting, Problem> {
    caller.needs(&[Right::Read])?;
    let store::Waiting { approvals, exceptions } = app.store.waiting(caller.tenant()).await?;
    Ok(Waiting { approvals, exceptions })
}

/// Lists open asks, each with its sentence.
///
/// # Errors
/// A cursor that makes no sense.
pub async fn inbox(
    app: &App,
    caller: &Caller,
    (request, desk): (ListApprovals, &mut Desk),
) -> Result<Inbox, Problem> {
    caller.needs(&[Right::Read])?;
    let listed =
        approvals::list(app, caller, ListApprovals { all: false, ..request.clone() }).await?;
    let mut items = Vec::new();
    for approval in listed.items {
        let id: RunId = parse_id(&approval.run)?;
        // The asks of a damaged journal show without a sentence.
        let known = desk.try_fold(app, (caller, &id)).await;
        let card = known.and_then(|known| known.card(&parse_id(&approval.id).ok()?).ok());
        items.push(line(approval, card));
    }
    let last_closed_at = match items.is_empty() {
        true => last_closed(app, caller).await?,
        false => None,
    };
    Ok(Inbox { items, next: listed.next, last_closed_at })
}

fn line(approval: ApprovalView, card: Option<Card>) -> InboxLine {
    match card {
        Some(card) => InboxLine {
            approval,
            summary: card.summary,
            agent: card.agent,
            pack: card.pack,
            risk: card.risk,
        },
        None => InboxLine {
            summary: format!("step {}", approval.step),
            approval,
            agent: String::new(),
            pack: String::new(),
            risk: String::new(),
        },
    }
}

async fn last_closed(app: &App, caller: &Caller) -> Result<Option<String>, Problem> {
    let page = store::Page { after: None, limit: LOOK_BACK };
    let newest = app.store.approvals(caller.tenant(), store::State::All, page).await?;
    Ok(newest.items.iter().filter_map(|entry| entry.closed_at).max().map(rfc3339))
}

/// Opens one ask.
///
/// # Errors
/// When there is no such ask.
pub async fn open(
    app: &App,
    caller: &Caller,
    (request, desk): (GetApproval, &mut Desk),
) -> Result<OpenedAsk, Problem> {
    caller.needs(&[Right::Read])?;
    let approval: ApprovalId = parse_id(&request.approval)?;
    let id = approvals::run_of(app, caller, &approval).await?;
    let folded = desk.fold(app, (caller, &id)).await?;
    match folded.card(&approval) {
        Ok(card) => {
            let because = standing(&folded.run, &approval, caller);
            let may_decide = because.is_none();
            let because = because.unwrap_or_default();
            let together = together(folded, caller);
            let claim = app.claims(caller, [approval.to_string()]).await?;
            let claim = claim.into_values().next().unwrap_or_default();
            Ok(OpenedAsk { card: Some(card), ended: None, may_decide, because, claim, together })
        }
        Err(closed) => {
            let ended = ended(&folded.records, &approval).ok_or(closed)?;
            let (shown, shown_matches) = as_shown(app, &folded.records, &approval).await;
            let (approval, run) = (request.approval, id.to_string());
            let ended = EndedAsk { approval, run, shown, shown_matches, ..ended };
            let because = "it is decided already".to_owned();
            let (claim, together) = (Claim::default(), Vec::new());
            let ended = Some(ended);
            Ok(OpenedAsk { card: None, ended, may_decide: false, because, claim, together })
        }
    }
}

/// Every action a run asks about now, when there is more than one.
fn together(folded: &approvals::Folded, caller: &Caller) -> Vec<AskedTogether> {
    let asks = folded.run.asks();
    if asks.len() < 2 {
        return Vec::new();
    }
    let one = |id: &ApprovalId| {
        let card = folded.card(id).ok()?;
        Some(AskedTogether {
            approval: card.approval,
            summary: card.summary,
            digest: card.digest,
            risk: card.risk,
            may_decide: standing(&folded.run, id, caller).is_none(),
        })
    };
    asks.iter().filter_map(|ask| one(&ask.id)).collect()
}

/// The card that an answer was given to: the journal is folded up to the answer.
async fn as_shown(app: &App, records: &[Record], approval: &ApprovalId) -> (Option<Card>, bool) {
    let answer = records.iter().enumerate().find_map(|(at, record)| match &record.event.body {
        Body::Answered { approval: id, shown, .. } if id == approval => Some((at, *shown)),
        _ => None,
    });
    let Some((at, shown)) = answer else { return (None, false) };
    let before = records.get(..at).unwrap_or_default().to_vec();
    let folded = approvals::fold_records(app, before).await.ok();
    let card = folded.and_then(|folded| folded.card(approval).ok());
    let digest =
        card.as_ref().and_then(|card| kernel::canon::digest(&serde_json::json!(card)).ok());
    (card, digest == Some(shown))
}

/// Why this caller's answer would not count; the machine says it again when one is given.
fn standing(run: &Run, approval: &ApprovalId, caller: &Caller) -> Option<String> {
    let (by, header) = (caller.principal(), run.header());
    if let Some(ask) = run.asks().into_iter().find(|ask| ask.id == *approval) {
        let required = &ask.requirement.approvals;
        let given = &ask.action.approvals;
        let checked = check_approver(by, &header.chain, &header.approvers, required, given);
        let roles: Vec<&str> = required.keys().map(String::as_str).collect();
        return checked.err().map(|refusal| refused(refusal, &roles));
    }
    let question = run.questions().into_iter().find(|question| question.id == *approval)?;
    let roles = [question.role.as_str()];
    if by.kind != Actor::Person {
        return Some(refused(Refusal::NotAPerson, &roles));
    }
    (!by.roles.contains(&question.role)).then(|| refused(Refusal::NoRole, &roles))
}

fn refused(refusal: Refusal, roles: &[&str]) -> String {
    match refusal {
        Refusal::NoRole | Refusal::Requester => {
            format!("{refusal}; somebody else who holds {} can", roles.join(" or "))
        }
        _ => refusal.to_string(),
    }
}

/// How an ask ended, from the journal.
fn ended(records: &[Record], approval: &ApprovalId) -> Option<EndedAsk> {
    let asked = records.iter().position(|record| match &record.event.body {
        Body::Asked { approval: id, .. } => id == approval,
        Body::Questioned { question, .. } | Body::Elicited { question, .. } => question == approval,
        _ => false,
    })?;
    let (step, action) = match &records.get(asked)?.event.body {
        Body::Asked { action, .. } => (step_of(records, *action), Some(*action)),
        Body::Questioned { step, .. } => (step.clone(), None),
        Body::Elicited { action, .. } => (step_of(records, *action), None),
        _ => return None,
    };
    let mut ended = EndedAsk { step, state: "stopped".to_owned(), ..EndedAsk::default() };
    for record in records.iter().skip(asked) {
        note(&mut ended, record, (approval, action));
    }
    if ended.at.is_empty() {
        ended.at = records.last().map(|last| rfc3339(last.event.at)).unwrap_or_default();
    }
    Some(ended)
}

fn note(ended: &mut EndedAsk, record: &Record, (wanted, about): (&ApprovalId, Option<u64>)) {
    let at = rfc3339(record.event.at);
    let mut close = |state: &str, by: Option<String>, reason: Option<String>| {
        (ended.state, ended.at, ended.by, ended.reason) =
            (state.to_owned(), at.clone(), by, reason);
    };
    match &record.event.body {
        Body::Answered { approval, by, answer, .. } if approval == wanted => {
            let by = Some(by.id.to_string());
            match answer {
                Answered::Approved => close("approved", by, None),
                Answered::Edited { .. } => close("edited", by, None),
                Answered::Denied { reason } => {
                    close("denied", by, reason.value().as_str().map(visible));
                }
            }
        }
        Body::Replied { question, by, .. } if question == wanted => {
            close("answered", Some(by.id.to_string()), None);
        }
        Body::Voided { approval, .. } if approval == wanted => close("void", None, None),
        Body::Lapsed { question } if question == wanted => close("expired", None, None),
        Body::Rejected { action, stage: kernel::event::Stage::Expired, .. }
            if Some(*action) == about =>
        {
            close("expired", None, None);
        }
        Body::Receipted { action, receipt, .. } if Some(*action) == about => {
            ended.receipt = Some(receipt.to_string());
        }
        _ => {}
    }
}

fn step_of(records: &[Record], action: u64) -> String {
    let proposed = records.iter().find(|record| record.event.seq == action);
    match proposed.map(|record| &record.event.body) {
        Some(Body::Proposed { step, .. }) => step.clone(),
        _ => String::new(),
    }
}

/// Says whether this caller may settle an exception, and how it was settled last.
///
/// # Errors
/// When there is no such exception.
pub async fn exception_standing(
    app: &App,
    caller: &Caller,
    request: GetException,
) -> Result<ExceptionStanding, Problem> {
    caller.needs(&[Right::Read])?;
    let id: ExceptionId = parse_id(&request.exception)?;
    let run = super::exceptions::run_of(app, caller, &id).await?;
    let records = app.records(caller, &run).await?;
    let owner = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Raised { exception, .. } if exception.id == id => Some(exception.owner.clone()),
        _ => None,
    });
    let owner = owner.ok_or_else(|| Problem::not_found("exception", &request.exception))?;
    let settled = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Settled { exception, by, settled, evidence } if *exception == id => {
            Some(SettledView {
                verb: verb_of(settled),
                by: by.id.to_string(),
                at: rfc3339(record.event.at),
                evidence: evidence.value().as_str().map(visible).unwrap_or_default(),
            })
        }
        _ => None,
    });
    let by = caller.principal();
    let own = by.roles.contains(&owner) || by.id.as_str() == owner;
    let operator = by.roles.contains(kernel::exception::OPERATOR_ROLE);
    let may_settle = by.kind == Actor::Person && (own || operator);
    let because = match may_settle {
        true => String::new(),
        false => format!("only {owner} or an operator decides about this exception"),
    };
    let claim = app.claims(caller, [id.to_string()]).await?.into_values().next();
    Ok(ExceptionStanding { may_settle, because, settled, claim: claim.unwrap_or_default() })
}

fn verb_of(settled: &Settled) -> String {
    let value = serde_json::to_value(settled).unwrap_or_default();
    value.get("verb").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}
