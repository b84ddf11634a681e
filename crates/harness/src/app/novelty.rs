//! Whether a submission looks like those before it. Nobody evaluated the case that nobody foresaw, so it
//! gets less autonomy: every change of such a run is approved by a person (see `kernel::novelty`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kernel::{
    decision::Mode,
    event::Body,
    id::{At, Tenant},
    novelty::Unusual,
    run::Status,
};
use pack::{Intent, Usual};
use serde_json::Value;
use store::{Page, Query as _, RunFilter};

use super::{App, Caller, problem::Problem, shelf::Shelved};

/// How far back runs are looked at, in milliseconds: what was usual a year ago may not be now.
const WINDOW_MS: i64 = 180 * 24 * 3_600_000;

/// How long what was learned is used before it is learned again, in milliseconds.
const FRESH_MS: i64 = 60_000;

/// What is usual for each intent of each pack, learned in this process.
#[derive(Debug, Default)]
pub(crate) struct Novelty {
    learned: Mutex<HashMap<Key, (At, Arc<Usual>)>>,
}

/// Tenant, pack and intent.
type Key = (Tenant, String, String);

/// What about these inputs no earlier run of the intent had; nothing while there are too few to compare.
///
/// # Errors
/// When earlier runs cannot be read.
pub(crate) async fn unusual(
    app: &App,
    caller: &Caller,
    (shelved, intent): (&Shelved, &Intent),
    inputs: &Value,
) -> Result<Vec<Unusual>, Problem> {
    let after = app.config.unusual_after;
    if after == 0 {
        return Ok(Vec::new());
    }
    let pack = &shelved.pack.manifest.name;
    let key = (caller.tenant().clone(), pack.clone(), intent.name.clone());
    let now = app.now();
    let known = {
        let learned = app.novelty.learned.lock().unwrap_or_else(PoisonError::into_inner);
        // Too little to judge by may be enough a run later.
        let fresh = |(at, usual): &&(At, Arc<Usual>)| {
            (now - at).abs() < FRESH_MS && usual.runs() >= after as usize
        };
        learned.get(&key).filter(fresh).map(|(_, usual)| Arc::clone(usual))
    };
    let usual = match known {
        Some(usual) => usual,
        None => {
            let usual = Arc::new(learn(app, caller, (pack, intent), now).await?);
            let mut learned = app.novelty.learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.insert(key, (now, Arc::clone(&usual)));
            usual
        }
    };
    if usual.runs() < after as usize {
        return Ok(Vec::new());
    }
    Ok(usual.unlike(intent, inputs))
}

/// From the newest runs that ended well. Inputs that were erased are not learned from.
async fn learn(
    app: &App,
    caller: &Caller,
    (pack, intent): (&str, &Intent),
    now: At,
) -> Result<Usual, Problem> {
    let filter = RunFilter {
        status: Some(Status::Succeeded),
        intent: Some(intent.name.clone()),
        pack: Some(pack.to_owned()),
        from: Some(now.saturating_sub(WINDOW_MS)),
        ..RunFilter::default()
    };
    let listed = app.store.runs(caller.tenant(), filter, Page::default()).await?;
    let mut inputs = Vec::new();
    for entry in &listed.items {
        let first = app.store.events(caller.tenant(), &entry.run, 0, 1).await?;
        let opened = first.first().map(|record| &record.event.body);
        if let Some(Body::Opened { header, intent, .. }) = opened
            && header.mode == Mode::Live
            && let Some(opening) = intent.opening()
        {
            inputs.push(Arc::clone(&opening.value));
        }
    }
    Ok(Usual::of(intent, inputs.iter().map(AsRef::as_ref)))
}
