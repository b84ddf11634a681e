//! What failed last in a pack so that a person was needed.

use kernel::id::RunId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Query as _;

use super::{
    App, Caller,
    exceptions::{self, ExceptionView, ListExceptions},
    packs::{self, NamedPack},
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
/// When there is no such pack.
pub async fn list(app: &App, caller: &Caller, request: NamedPack) -> Result<Failures, Problem> {
    let pack = packs::get(app, caller, request).await?.pack.name;
    let wanted = ListExceptions { all: true, limit: Some(LOOK_BACK), ..ListExceptions::default() };
    let listed = exceptions::list(app, caller, wanted).await?;
    let looked_at = listed.items.len();
    let mut items = Vec::new();
    for exception in listed.items {
        let id: RunId = parse_id(&exception.run)?;
        let row = app.store.run(caller.tenant(), &id).await?.and_then(|entry| entry.row);
        let Some(row) = row else { continue };
        if row.pack.split('@').next() == Some(pack.as_str()) {
            items.push(FailureLine { exception, intent: row.intent });
        }
        if items.len() >= TOLD {
            break;
        }
    }
    Ok(Failures { items, looked_at })
}
