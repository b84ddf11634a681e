//! Approvals: the inbox, the card, and answers bound to exactly what the card showed.

mod batch;
mod command;
mod facts;
mod queue;
mod seen;

use std::sync::Arc;

use kernel::{
    Digest, canon,
    catalogue::Catalogue,
    event::{Body, Record, Role},
    id::{ApprovalId, RunId},
    input::{Answer, Input},
    operation::Operation,
    plan::Plan,
    run::{AskView, Run},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Query, Thing};

use super::{
    App, Caller, parse_id,
    problem::{Kind, Problem},
    runs::{self, RunView, rfc3339},
    value::{at, plain, summarise, visible},
};

/// Most of a hook's own words on a card, in characters.
const HOOK_SAID_MAX_CHARS: usize = 500;

pub use batch::{DecideBatch, DecidedBatch, NotCounted, OneAnswer, OneDecided, decide_batch};
pub use command::{CommandRead, ProgramRead};
pub use queue::{ApprovalList, ApprovalView, ListApprovals, list};

/// An approval by id.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetApproval {
    /// The ask.
    pub approval: String,
}

/// What an approver is shown. Every text comes from the operation's manifest and typed arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Card {
    /// The ask.
    pub approval: String,
    /// The run.
    pub run: String,
    /// One sentence.
    pub summary: String,
    /// Who asks.
    pub agent: String,
    /// For whom.
    pub on_behalf_of: String,
    /// Who handed the run in, where that is somebody else: an agent of its own, with its own credential.
    #[serde(default)]
    pub submitted_by: Option<String>,
    /// Pack and version.
    pub pack: String,
    /// The step.
    pub step: String,
    /// Its number and how many there are.
    pub step_of: (usize, usize),
    /// Money it moves, if any.
    pub moves_money: Option<String>,
    /// What it touches.
    pub touches: String,
    /// Whether something leaves the company's declared systems, or what data classes it carries.
    pub leaves: Vec<String>,
    /// Whether it can be undone, and how.
    pub undo: String,
    /// Until when an answer counts; then it is denied.
    pub expires_at: String,
    /// Why you are asked: rule and reason.
    pub why: Vec<Why>,
    /// Roles and numbers needed.
    pub needs: Vec<String>,
    /// Approvals given so far.
    pub given: Vec<String>,
    /// Field, now, after.
    pub changes: Vec<Change>,
    /// Operation id.
    pub operation: String,
    /// Digest that the answer binds to.
    pub digest: String,
    /// The arguments.
    pub args: Value,
    /// Whether an untrusted input had a part in it.
    pub untrusted: bool,
    /// The text of a typed question, for questions.
    pub question: Option<Question>,
    /// When it was asked, RFC 3339 UTC.
    #[serde(default)]
    pub asked_at: String,
    /// `high`, `moderate` or `low`, from the operation's declared facts; empty for questions.
    #[serde(default)]
    pub risk: String,
    /// Which fact makes it so.
    #[serde(default)]
    pub risk_because: String,
    /// What an approval lets happen, as verb and object, such as `create refund`.
    #[serde(default)]
    pub does: String,
    /// What happens when nobody answers.
    #[serde(default)]
    pub if_nobody: String,
    /// Digest of the policies that ask.
    #[serde(default)]
    pub policy: String,
    /// What the run has seen so far, each with who says it.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// What the command may run and do, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandRead>,
}

/// Something the run has seen before it asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// `system` for what a declared system answered, `model` for a model's words, `person` for an answer.
    pub source: String,
    /// One sentence.
    pub text: String,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// Whether people outside could have written what it says.
    pub untrusted: bool,
    /// Its receipt.
    pub receipt: Option<String>,
}

/// A rule that asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// Layer and id.
    pub rule: String,
    /// Its reason.
    pub reason: String,
}

/// A line of what will change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The field.
    pub field: String,
    /// As it is.
    pub now: String,
    /// As it will be.
    pub after: String,
}

/// A typed question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// The text.
    pub text: String,
    /// JSON Schema of the answer.
    pub answer: Value,
    /// Role that may answer.
    pub role: String,
    /// The server that asks in the middle of a call; absent = a step asks. Text and schema are its words, the answer goes
    /// to it, and `null` declines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// The ask.
    pub approval: String,
    /// The digest that was shown; needed to approve or edit an action.
    #[serde(default)]
    pub digest: Option<String>,
    /// `approve`, `deny`, `edit` or `reply`.
    pub verb: String,
    /// Why, for deny.
    #[serde(default)]
    pub reason: String,
    /// The arguments to use instead, for edit; the typed answer, for reply.
    #[serde(default)]
    pub value: Value,
    /// How long to wait for the run to park, in ms.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

pub(super) async fn run_of(
    app: &App,
    caller: &Caller,
    approval: &ApprovalId,
) -> Result<RunId, Problem> {
    let found = app.store.find_run(caller.tenant(), &Thing::Approval(approval.clone())).await?;
    found.ok_or_else(|| Problem::not_found("approval", approval.as_str()))
}

/// The run of an ask, open or not.
///
/// # Errors
/// When there is no such ask.
pub(super) async fn run_of_approval(
    app: &App,
    caller: &Caller,
    approval: &str,
) -> Result<String, Problem> {
    run_of(app, caller, &parse_id(approval)?).await.map(|run| run.to_string())
}

/// Shows the card of an open ask.
///
/// # Errors
/// When it is not open any more.
pub async fn get(app: &App, caller: &Caller, request: GetApproval) -> Result<Card, Problem> {
    let approval: ApprovalId = parse_id(&request.approval)?;
    let id = run_of(app, caller, &approval).await?;
    card(app, caller, &id, &approval).await
}

async fn card(
    app: &App,
    caller: &Caller,
    id: &RunId,
    approval: &ApprovalId,
) -> Result<Card, Problem> {
    fold(app, caller, id).await?.card(approval)
}

/// A run folded for its cards.
#[derive(Debug)]
pub(super) struct Folded {
    pub(super) run: Run,
    pub(super) records: Vec<Record>,
    pub(super) plan: Arc<Plan>,
    pub(super) catalogue: Arc<Catalogue>,
}

impl Folded {
    /// The card of an open ask.
    pub(super) fn card(&self, approval: &ApprovalId) -> Result<Card, Problem> {
        let card = card_of(&self.run, (&self.plan, &self.records), approval)?;
        let asked_at = facts::asked_at(&self.records, approval).map(rfc3339).unwrap_or_default();
        let evidence = facts::evidence(&self.records, &self.catalogue);
        Ok(Card { asked_at, evidence, ..card })
    }
}

pub(super) async fn fold(app: &App, caller: &Caller, id: &RunId) -> Result<Folded, Problem> {
    fold_records(app, app.records(caller, id).await?).await
}

/// Folds a journal, or the beginning of one.
pub(super) async fn fold_records(app: &App, records: Vec<Record>) -> Result<Folded, Problem> {
    let first = records.first();
    let id = first.map(|record| record.event.run.clone());
    let (Some(id), Some(header)) = (&id, first.and_then(super::header_of)) else {
        return Err(Problem::not_found("run", id.as_ref().map_or("", |id| id.as_str())));
    };
    let plan = app.shelf.plan(&header.chain.tenant, header.plan).await;
    let plan = plan.map_err(|e| Problem::new(Kind::Unexpected, "plan-gone", e))?;
    let loaded = app.shelf.pins(id, header).await;
    let loaded = loaded.map_err(|e| Problem::new(Kind::Unexpected, "run-not-loadable", e))?;
    let catalogue = Arc::clone(&loaded.pins.catalogue);
    let run = super::fold_under(&records, loaded.pins)?;
    Ok(Folded { run, records, plan, catalogue })
}

fn card_of(
    run: &Run,
    (plan, records): (&Plan, &[Record]),
    approval: &ApprovalId,
) -> Result<Card, Problem> {
    let paths: Vec<&str> =
        plan.steps.iter().map(|s| s.path.as_str()).filter(|p| !p.contains('!')).collect();
    let place = |step: &str| {
        let path = kernel::playbook::static_path(step);
        (paths.iter().position(|p| *p == path).map_or(0, |n| n + 1), paths.len())
    };
    if let Some(ask) = run.asks().into_iter().find(|ask| ask.id == *approval) {
        return Ok(action_card(run, &ask, place(&ask.action.step)));
    }
    let open = run.questions().into_iter().find(|question| question.id == *approval);
    let Some(question) = open else {
        return Err(Problem::new(
            Kind::Conflict,
            "approval-closed",
            format!("{approval} is not open any more"),
        )
        .next("`harness approval list --all` shows how it ended"));
    };
    let text = question_text(records, approval);
    let mut card = empty_card(run, approval, &question.step, place(&question.step));
    card.summary = visible(&text);
    card.expires_at = rfc3339(question.expires_at);
    card.needs = vec![format!("1 × {}", question.role)];
    let asked_by = question.action.map(|action| server_of(run, action));
    card.untrusted = asked_by.is_some();
    card.if_nobody = match asked_by {
        Some(_) => "the server is told that nobody answered, and its call goes on",
        None => "the step fails, and the run does what is declared for that",
    }
    .to_owned();
    let (answer, role) = ((*question.answer).clone(), question.role);
    card.question = Some(Question { text, answer, role, asked_by });
    Ok(card)
}

/// The server that a call goes to, as the operator calls it.
fn server_of(run: &Run, action: u64) -> String {
    let open = run.open_actions().into_iter().find(|open| open.seq == action);
    let system = open.map(|open| at(&open.operation.binding, "/system").clone());
    system.as_ref().and_then(Value::as_str).unwrap_or("a server").to_owned()
}

fn question_text(records: &[Record], id: &ApprovalId) -> String {
    let text = records.iter().find_map(|record| match &record.event.body {
        Body::Questioned { question, text, .. } | Body::Elicited { question, text, .. }
            if question == id =>
        {
            Some(text.value())
        }
        _ => None,
    });
    text.as_ref().and_then(|t| t.as_str()).unwrap_or_default().to_owned()
}

fn empty_card(run: &Run, approval: &ApprovalId, step: &str, step_of: (usize, usize)) -> Card {
    let header = run.header();
    Card {
        approval: approval.to_string(),
        run: run.id().to_string(),
        summary: String::new(),
        agent: header.chain.agent.id.to_string(),
        on_behalf_of: header.chain.on_behalf_of.id.to_string(),
        submitted_by: header.submitted_by.as_ref().map(ToString::to_string),
        pack: header.pack.clone(),
        step: step.to_owned(),
        step_of,
        moves_money: None,
        touches: String::new(),
        leaves: Vec::new(),
        undo: String::new(),
        expires_at: String::new(),
        why: Vec::new(),
        needs: Vec::new(),
        given: Vec::new(),
        changes: Vec::new(),
        operation: String::new(),
        digest: String::new(),
        args: Value::Null,
        untrusted: false,
        question: None,
        asked_at: String::new(),
        risk: String::new(),
        risk_because: String::new(),
        does: String::new(),
        if_nobody: String::new(),
        policy: header.policy.to_string(),
        evidence: Vec::new(),
        command: None,
    }
}

fn action_card(run: &Run, ask: &AskView, step_of: (usize, usize)) -> Card {
    let action = &ask.action;
    let operation = &action.operation;
    let label = action.arg_labels.join_all();
    let mut leaves: Vec<String> = Vec::new();
    if operation.facts.egress {
        leaves.push("leaves the company".to_owned());
    }
    leaves.extend(label.classes.iter().cloned());
    let decision = action.decision.as_ref();
    let rules = decision.map(|d| d.rules.as_slice()).unwrap_or_default();
    let unusual: Vec<String> = run.header().unusual.iter().map(ToString::to_string).collect();
    let reason = |rule: &kernel::decision::Rule| {
        let mut reason = visible(&rule.reason);
        if rule.layer == "kernel" && rule.id == kernel::run::UNUSUAL_RULE {
            reason = format!("{reason}: {}", unusual.join("; "));
        }
        let hook = action.hooks.iter().find(|(hook, _)| hook.as_str() == rule.id);
        if let Some(said) = hook.and_then(|(_, why)| why.value.as_str()) {
            let said: String = said.chars().take(HOOK_SAID_MAX_CHARS).collect();
            reason = format!("{reason}: “{}”", visible(&said));
        }
        Why { rule: format!("{}/{}", rule.layer, rule.id), reason }
    };
    let requirement = &ask.requirement.approvals;
    let args = seen::without_keys(&action.args);
    let touched = action.resource.as_ref().map(|r| format!("{} {}", r.kind, visible(&r.id)));
    let touched = touched.map(|touched| seen::text_without_keys(&touched));
    let (risk, risk_because) = facts::risk(action, &label);
    Card {
        summary: summarise(&operation.summary, &args),
        moves_money: facts::money_in(operation, &action.args).map(|m| m.to_string()),
        touches: touched.unwrap_or_else(|| operation.id.connector().to_owned()),
        leaves,
        undo: undo_words(operation, action.undo, &action.role),
        expires_at: rfc3339(ask.expires_at),
        why: rules.iter().map(reason).collect(),
        needs: requirement.iter().map(|(role, n)| format!("{n} × {role}")).collect(),
        given: action.approvals.iter().map(|a| format!("{} at {}", a.by, rfc3339(a.at))).collect(),
        changes: seen::changes_without_keys(changes(
            action.before.as_deref(),
            action.preview.as_deref(),
            &action.args,
        )),
        operation: operation.id.to_string(),
        digest: action.digest.map(|d| d.to_string()).unwrap_or_default(),
        args,
        untrusted: label.is_tainted(),
        risk,
        risk_because,
        does: facts::does(action),
        command: command::of_action(action),
        if_nobody: "it is denied: nothing is sent, and the step fails".to_owned(),
        ..empty_card(run, &ask.id, &action.step, step_of)
    }
}

fn undo_words(operation: &Operation, undo: kernel::operation::Undo, role: &Role) -> String {
    use kernel::operation::Undo;
    if matches!(role, Role::Undo { .. }) {
        return "this takes an earlier effect back".to_owned();
    }
    match undo {
        Undo::Restore => "yes, for 30 days: the state before is restored".to_owned(),
        Undo::Compensate => "in part, for 30 days: an inverse exists, a trace remains".to_owned(),
        Undo::None if operation.is_write() => "no: it cannot be taken back".to_owned(),
        Undo::None => "nothing changes".to_owned(),
    }
}

/// What will change: arguments that name a field of what is there now. An object changes field by field.
fn changes(before: Option<&Value>, preview: Option<&Value>, args: &Value) -> Vec<Change> {
    let mut lines = Vec::new();
    let (Some(Value::Object(args)), Some(now)) = (Some(args), before.or(preview)) else {
        return lines;
    };
    for (field, after) in args {
        let Some(current) = find_field(now, field) else { continue };
        match (current, after) {
            (Value::Object(current), Value::Object(after)) => {
                for (inner, after) in after {
                    push_change(
                        &mut lines,
                        inner,
                        current.get(inner).unwrap_or(&Value::Null),
                        after,
                    );
                }
            }
            _ => push_change(&mut lines, field, current, after),
        }
    }
    lines
}

fn push_change(lines: &mut Vec<Change>, field: &str, now: &Value, after: &Value) {
    if now != after {
        lines.push(Change { field: visible(field), now: plain(now), after: plain(after) });
    }
}

/// A field of this name at the top or one level below.
fn find_field<'v>(value: &'v Value, field: &str) -> Option<&'v Value> {
    let Value::Object(map) = value else { return None };
    let wanted = normal(field);
    let here = map.iter().find(|(name, _)| normal(name) == wanted).map(|(_, v)| v);
    here.or_else(|| {
        let inner = map.values().filter_map(Value::as_object);
        inner.flat_map(|m| m.iter()).find(|(name, _)| normal(name) == wanted).map(|(_, v)| v)
    })
}

fn normal(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Takes one answer in.
///
/// # Errors
/// When it does not count: somebody else decided, it expired, it answers another version, or the caller
/// may not.
pub async fn decide(app: &App, caller: &Caller, request: Decide) -> Result<RunView, Problem> {
    let approval: ApprovalId = parse_id(&request.approval)?;
    let id = run_of(app, caller, &approval).await?;
    let by = caller.principal().clone();
    let input = if request.verb == "reply" {
        Input::Reply { question: approval, by, value: Arc::new(request.value) }
    } else {
        let folded = fold(app, caller, &id).await?;
        let shown = folded.card(&approval)?;
        let action = match &request.digest {
            Some(digest) => parse_id::<Digest>(digest)?,
            None if request.verb == "deny" => parse_id::<Digest>(&shown.digest)?,
            None => return Err(no_digest(&shown)),
        };
        let answer = seen::meant(answer(&request)?, &folded, (&approval, &shown));
        if !matches!(answer, Answer::Deny { .. }) {
            seen::check_place(app, &folded, &approval)?;
        }
        let shown = canon::digest(&json!(shown)).unwrap_or_default();
        Input::Answer { approval, action, shown, by, answer }
    };
    runs::hand_in(app, caller, &id, input).await?;
    runs::wait(app, caller, &id, request.wait_ms.unwrap_or(10_000)).await;
    runs::view_of(app, caller, &id).await
}

fn no_digest(card: &Card) -> Problem {
    Problem::usage("digest-needed", "an approval binds to the digest of the card you saw")
        .next(format!("harness approval approve {} --digest {}", card.approval, card.digest))
}

fn answer(request: &Decide) -> Result<Answer, Problem> {
    match request.verb.as_str() {
        "approve" => Ok(Answer::Approve),
        "deny" if request.reason.trim().is_empty() => {
            Err(Problem::usage("reason-needed", "a denial says why").next("add --reason '…'"))
        }
        "deny" => Ok(Answer::Deny { reason: request.reason.clone() }),
        "edit" => Ok(Answer::Edit { args: Arc::new(request.value.clone()) }),
        other => Err(Problem::usage("bad-verb", format!("`{other}` is not an answer"))
            .next("use one of approve, deny, edit, reply")),
    }
}
