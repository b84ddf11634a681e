//! Rollbacks: asking for one, and what the journal tells of the last.

use kernel::{
    canon,
    event::{Body, Record, Undone},
    id::{RunId, TokenId},
    input::{Input, OnConflict, Scope},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    App, Caller, parse_id,
    problem::{Kind, Problem},
    runs::{RunView, hand_in, view_of},
};

/// A rollback as the journal tells it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RollbackView {
    /// `complete`, `partial`, `refused`, or `waiting` while it is under way.
    pub result: String,
    /// Each effect: how taking it back ended.
    pub effects: Vec<UndoneView>,
    /// Stands for the differences it shows, where it met any: whoever accepts them says it.
    #[serde(default)]
    pub conflict: Option<String>,
}

/// Asks to roll back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// The run.
    pub run: String,
    /// Only this token.
    #[serde(default)]
    pub token: Option<String>,
    /// `conflict` of the rollback whose differences were looked at: overwrite what they show, and nothing
    /// that moved since.
    #[serde(default)]
    pub accept_conflict: Option<String>,
}

/// How a rollback ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RolledBack {
    /// The run.
    pub run: RunView,
    /// How the rollback ended.
    #[serde(flatten)]
    pub rollback: RollbackView,
}

/// How taking one effect back ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UndoneView {
    /// The token; none for what has no way back.
    pub token: Option<String>,
    /// The action.
    pub action: u64,
    /// The operation.
    pub operation: String,
    /// `restored`, `compensated`, `conflict`, `failed`, `irreversible`, `expired`, `in_doubt`.
    pub result: String,
    /// `{before, after, now}` of a conflict.
    pub difference: Option<Value>,
}

/// Takes effects back.
///
/// # Errors
/// When the run is not over, or a token was used.
pub async fn rollback(
    app: &App,
    caller: &Caller,
    request: RollBack,
) -> Result<RolledBack, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let scope = match &request.token {
        Some(token) => Scope::Token { token: parse_id::<TokenId>(token)? },
        None => Scope::Run,
    };
    let on_conflict = match &request.accept_conflict {
        Some(seen) => accepted(app, caller, &id, seen).await?,
        None => OnConflict::Refuse,
    };
    let by = caller.principal().clone();
    hand_in(app, caller, &id, Input::Rollback { by, scope, on_conflict }).await?;
    app.engine.settled(caller.tenant(), &id).await;
    let records = app.records(caller, &id).await?;
    let rollback = rollback_of(&records)
        .unwrap_or_else(|| RollbackView { result: "waiting".to_owned(), ..Default::default() });
    Ok(RolledBack { run: view_of(app, caller, &id).await?, rollback })
}

/// The differences that somebody has seen: those of the last rollback, if it is the one they name.
async fn accepted(
    app: &App,
    caller: &Caller,
    id: &RunId,
    seen: &str,
) -> Result<OnConflict, Problem> {
    let records = app.own_records(caller, id).await?;
    let run = app.fold(id, &records).await?;
    let last = rollback_of(&records).filter(|last| last.conflict.as_deref() == Some(seen));
    let Some(last) = last else {
        let detail = "this is not the difference that the last rollback of the run shows";
        return Err(Problem::new(Kind::Conflict, "other-difference", detail)
            .next("`harness run get` shows it; look at it, then accept its `conflict`"));
    };
    let images = last.effects.iter().filter_map(|effect| {
        let token: TokenId = effect.token.as_ref()?.parse().ok()?;
        run.token_by_id(&token)?.seen(effect.difference.as_ref()?.get("now")?)
    });
    Ok(OnConflict::Seen { images: images.collect() })
}

/// One digest for all differences that a rollback shows.
fn conflict_of(effects: &[UndoneView]) -> Option<String> {
    let shown = |effect: &UndoneView| Some((effect.token.clone()?, effect.difference.clone()?));
    let shown: Vec<(String, Value)> = effects.iter().filter_map(shown).collect();
    let digest = canon::digest(&serde_json::to_value(&shown).unwrap_or_default()).ok();
    digest.filter(|_| !shown.is_empty()).map(|digest| digest.to_string())
}

/// The last rollback a journal tells of.
pub(crate) fn rollback_of(records: &[Record]) -> Option<RollbackView> {
    let begins = |record: &Record| matches!(record.event.body, Body::Unwinding { .. });
    let from = records.iter().rposition(begins)?;
    let word = |value: Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let operation_of = |action: u64| {
        records.iter().find_map(|record| match &record.event.body {
            Body::Proposed { operation, .. } if record.event.seq == action => {
                Some(operation.to_string())
            }
            _ => None,
        })
    };
    let armed = |id: &TokenId| {
        records.iter().find_map(|record| match &record.event.body {
            Body::Armed { action, token, .. } if token == id => Some(*action),
            _ => None,
        })
    };
    let mut result = "waiting".to_owned();
    let mut effects = Vec::new();
    for record in records.iter().skip(from) {
        match &record.event.body {
            Body::Unwinding { irreversible, .. } => {
                effects.extend(irreversible.iter().map(|action| UndoneView {
                    token: None,
                    action: *action,
                    operation: operation_of(*action).unwrap_or_default(),
                    result: "irreversible".to_owned(),
                    difference: None,
                }));
            }
            Body::Redeemed { token, undone } => {
                let action = armed(token).unwrap_or_default();
                let difference = match undone {
                    Undone::Conflict { difference } => Some((*difference.value()).clone()),
                    _ => None,
                };
                let value = serde_json::to_value(undone).unwrap_or_default();
                effects.push(UndoneView {
                    token: Some(token.to_string()),
                    action,
                    operation: operation_of(action).unwrap_or_default(),
                    result: word(value, "result").unwrap_or_default(),
                    difference,
                });
            }
            Body::Unwound { unwound } => {
                let value = serde_json::to_value(unwound).unwrap_or_default();
                result = value.as_str().unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }
    // One effect was asked for and is back: that is all of it, though the run is only partly back.
    let one = records.iter().take(from).rev().find_map(|record| match &record.event.body {
        Body::RollbackRequested { scope, .. } => Some(matches!(scope, Scope::Token { .. })),
        _ => None,
    });
    let back = |effect: &UndoneView| matches!(effect.result.as_str(), "restored" | "compensated");
    if one == Some(true) && result == "partial" && effects.iter().all(back) {
        result = "complete".to_owned();
    }
    let conflict = conflict_of(&effects);
    Some(RollbackView { result, effects, conflict })
}
