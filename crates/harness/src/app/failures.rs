//! What failed last in a pack so that a person was needed.

use kernel::id::RunId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Query as _;

use super::{
    App, Caller, Right,
    exceptions::{self, ExceptionView, ListExceptions},
    parse_id,
    problem::Problem,
};

/// Exceptions looked at.
const LOOK_BACK: usize = 100;

/// Failures told.
const TOLD: usize = 8;

/// The last failures of a pack.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// Newest first.
    pub items: Vec<FailureLine>,
    /// Exceptions that were looked through.
    pub looked_at: usize,
}

/// One failure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FailureLine {
    /// The exception it became.
    pub exception: ExceptionView,
    /// The intent.
    pub intent: String,
}

/// Lists the last failures of a pack.
///
/// # Errors
/// When the store does not answer.
pub async fn list(app: &App, caller: &Caller, pack: &str) -> Result<Failures, Problem> {
    caller.needs(&[Right::Read])?;
    let wanted = ListExceptions { all: true, limit: Some(LOOK_BACK), ..ListExceptions::default() };
    let listed = exceptions::list(app, caller, wanted).await?;
    let looked_at = listed.items.len();
    let mut items = Vec::new();
    for exception in listed.items {
        let id: RunId = parse_id(&exception.run)?;
        let row = app.store.run(caller.tenant(), &id).await?.and_then(|entry| entry.row);
        let Some(row) = row else { continue };
        if row.pack.split('@').next() == Some(pack) {
            items.push(FailureLine { exception, intent: row.intent });
        }
        if items.len() >= TOLD {
            break;
        }
    }
    Ok(Failures { items, looked_at })
}
