//! What taking a run back would do, before anybody asks for it: what has no way back first, then each
//! effect with the difference its undo makes, newest first. From the journal alone: nothing is called.

use kernel::{
    event::{Body, Record},
    id::{RunId, TokenId},
    operation::Undo,
    rollback::{State as TokenState, Token},
    run::Run,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    App, Caller,
    approvals::Change,
    parse_id,
    problem::{Kind, Problem},
    rollbacks::{RollbackView, rollback_of},
    runs::{RunView, rfc3339, view_of},
    value::{plain, summarise},
};

/// Most lines of one difference.
const LINES_MAX: usize = 50;

/// Asks what a rollback would do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRollback {
    /// The run.
    pub run: String,
    /// Only this token.
    #[serde(default)]
    pub token: Option<String>,
}

/// What a rollback of a run would do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RollbackPreview {
    /// The run.
    pub run: RunView,
    /// Whether it can be asked for now.
    pub possible: bool,
    /// Why not.
    pub because: String,
    /// Effects without a way back: they stay whatever is done.
    pub stays: Vec<Stays>,
    /// Effects that would be taken back, in that order: newest first.
    pub effects: Vec<Reversal>,
    /// The last rollback, if there was one.
    pub last: Option<RollbackView>,
}

/// An effect that stays.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stays {
    /// The action.
    pub action: u64,
    /// The step.
    pub step: String,
    /// One sentence about what was done.
    pub summary: String,
    /// Why it stays.
    pub because: String,
}

/// An effect that would be taken back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reversal {
    /// The token that allows it, once.
    pub token: String,
    /// The action.
    pub action: u64,
    /// The step.
    pub step: String,
    /// One sentence about what was done.
    pub summary: String,
    /// `restore` or `compensate`.
    pub how: String,
    /// The operation that takes it back.
    pub operation: String,
    /// Until when, RFC 3339 UTC.
    pub expires_at: String,
    /// Each field as the run left it, and as it will be.
    pub changes: Vec<Change>,
}

/// Says what a rollback would do.
///
/// # Errors
/// When there is no such run, or it armed no such token.
pub async fn preview(
    app: &App,
    caller: &Caller,
    request: PreviewRollback,
) -> Result<RollbackPreview, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let only = request.token.as_deref().map(parse_id::<TokenId>).transpose()?;
    let folded = super::approvals::fold(app, caller, &id).await?;
    let (run, now) = (&folded.run, app.now());
    let mut stays = Vec::new();
    let mut effects = Vec::new();
    if let Some(token) = only.as_ref().filter(|token| run.token_by_id(token).is_none()) {
        let detail = format!("run {id} armed no rollback token {token}");
        return Err(Problem::new(Kind::NotFound, "rollback-token-not-found", detail)
            .next(format!("`harness run get {id}` lists those it can use")));
    }
    for (action, token) in run.effects() {
        // Of one token alone, the rest is not asked about.
        if only.is_some() && token != only {
            continue;
        }
        let (step, summary) = folded.told(action);
        let token = token.as_ref().and_then(|token| run.token_by_id(token));
        let held = |token| spent(token, now).or_else(|| doubted(run, token));
        match token.map(|token| (token, held(token))) {
            None => {
                let because = "it cannot be taken back".to_owned();
                stays.push(Stays { action, step, summary, because });
            }
            Some((_, Some(because))) => stays.push(Stays { action, step, summary, because }),
            Some((token, None)) => effects.push(reversal(token, (step, summary))),
        }
    }
    let over = run.status().is_over();
    let because = match (over, effects.is_empty()) {
        (false, _) => "the run is not over: it can be taken back once it has ended",
        (true, true) => "there is nothing that can be taken back",
        (true, false) => "",
    };
    let last = rollback_of(&folded.records);
    Ok(RollbackPreview {
        run: view_of(app, caller, &id).await?,
        possible: because.is_empty(),
        because: because.to_owned(),
        stays,
        effects,
        last,
    })
}

fn spent(token: &Token, now: i64) -> Option<String> {
    match token.state {
        TokenState::Spent => Some("its way back was used".to_owned()),
        TokenState::Redeeming => Some("it is being taken back now".to_owned()),
        TokenState::Armed if token.expires_at <= now => {
            Some(format!("its way back ended at {}", rfc3339(token.expires_at)))
        }
        TokenState::Armed => None,
    }
}

/// What the core will not take back before a doubt is settled.
fn doubted(run: &Run, token: &Token) -> Option<String> {
    let action = run.doubt_over(token)?;
    Some(format!("nobody knows whether the later action {action} happened; settle that first"))
}

fn reversal(token: &Token, (step, summary): (String, String)) -> Reversal {
    let mut changes = Vec::new();
    if let (Some(before), Some(after)) = (&token.before_image, &token.after_image) {
        differences("", after, before, &mut changes);
    }
    changes.truncate(LINES_MAX);
    Reversal {
        token: token.id.to_string(),
        action: token.action,
        step,
        summary,
        how: if token.undo == Undo::Restore { "restore" } else { "compensate" }.to_owned(),
        operation: token.undo_with.operation.to_string(),
        expires_at: rfc3339(token.expires_at),
        changes,
    }
}

fn differences(at: &str, now: &Value, after: &Value, lines: &mut Vec<Change>) {
    if let (Value::Object(old), Value::Object(new)) = (now, after) {
        let gone = new.iter().filter(|(key, _)| !old.contains_key(*key));
        for (key, value) in old.iter().chain(gone) {
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            let before = old.get(key).unwrap_or(&Value::Null);
            let after = new.get(key).unwrap_or(&Value::Null);
            let _ = value;
            differences(&path, before, after, lines);
        }
    } else if now != after {
        lines.push(Change { field: at.to_owned(), now: plain(now), after: plain(after) });
    }
}

impl super::approvals::Folded {
    /// The step of an action, and one sentence about it.
    fn told(&self, action: u64) -> (String, String) {
        let proposed = usize::try_from(action).ok().and_then(|at| self.records.get(at));
        let Some(Record { event, .. }) = proposed else { return Default::default() };
        let Body::Proposed { step, operation, args, .. } = &event.body else {
            return Default::default();
        };
        let known = self.catalogue.get(operation);
        let summary = known.map(|entry| entry.operation.summary.clone()).unwrap_or_default();
        (step.clone(), summarise(&summary, &args.value()))
    }
}
