//! Packs: list, check, status; review, install, upgrade, roll back, switch off and on, remove.

mod installed;
mod record;
mod review;
mod signing;

use std::{collections::BTreeSet, path::PathBuf};

use connect::{Health, OperationHealth, Recent};
use pack::Pack;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{App, Caller, intents::Nothing, problem::Problem, runs::rfc3339, shelf};
use shelf::{Serves, Shelved};

pub use installed::{
    BringPack, Configured, Installing, NamedPack, RollBackPack, UpgradePack, check_systems,
    disable, enable, get, install, remove, rollback, stock, upgrade,
};
pub use record::{Did, PackDetail, PackDone, PackRemoved, PackVersion};
pub use review::{OperationAsk, PackChange, PackFiles, PackReview, review};
pub use signing::{Needed, PackSigned, Publishers, sign};

/// A pack as lists show it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PackView {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    pub description: String,
    /// Digest of its files.
    pub digest: String,
    /// Who signed it: `signed by NAME`, `unsigned`, or by a key that nobody declared.
    #[serde(default)]
    pub signature: String,
    /// Intents it serves.
    pub intents: Vec<String>,
    /// Operations it asks for.
    pub operations: Vec<String>,
    /// Secrets it asks for, by name.
    pub secrets: Vec<String>,
    /// Places data may leave to.
    pub egress: Vec<String>,
    /// What its author should look at; why it is broken.
    pub warnings: Vec<String>,
    /// `configured` when the configuration names its folder, `installed` when the store holds it, `checked`
    /// when it was only looked at.
    pub origin: String,
    /// `on`, `off` when it takes no new work, `broken` when it cannot be put in force.
    pub state: String,
}

/// Packs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackList {
    /// In name order.
    pub items: Vec<PackView>,
}

/// How a pack's systems stand, as far as the store's owner has called them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackStatus {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The systems its connectors use.
    pub systems: Vec<SystemStatus>,
}

/// How a system stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SystemStatus {
    /// Its name.
    pub system: String,
    /// `ok`, `paused` when it asked for that, `impaired` when an operation's circuit is not closed, `degraded` when one
    /// misses what is expected of it.
    pub state: String,
    /// Until when it asked not to be called, RFC 3339 UTC.
    pub paused_until: Option<String>,
    /// Its operations that were called.
    pub operations: Vec<CircuitStatus>,
    /// Its jobs and who comes for them, where workers do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<super::workers::WorkersStatus>,
}

/// How an operation stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CircuitStatus {
    /// Which.
    pub operation: String,
    /// `closed`, `open` or `half_open`.
    pub circuit: String,
    /// Calls in a row that nobody answered.
    pub failures: u32,
    /// Until when nothing is sent, RFC 3339 UTC.
    pub open_until: Option<String>,
    /// How its calls of the last hour went; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloStatus>,
}

/// How the calls of an operation went against what is expected of it: those of the last hour, at most 256, since this
/// process began.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SloStatus {
    /// How many were made.
    pub calls: u32,
    /// Share of them that the system did well, 0 to 1. What it rightly refuses is done well.
    pub success: f64,
    /// Half of them took no longer, in milliseconds.
    pub p50_ms: u64,
    /// 95 of 100 took no longer, in milliseconds.
    pub p95_ms: u64,
    /// What `success` should not fall below.
    pub goal_success: f64,
    /// What `p95_ms` should not exceed, where something is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal_p95_ms: Option<u64>,
    /// `met`, `missed`, or `unknown` below 20 calls.
    pub verdict: String,
}

/// How every configured pack stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackStatusList {
    /// In name order.
    pub items: Vec<PackStatus>,
}

/// Which folder to check.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckPack {
    /// The folder that holds `pack.yaml`.
    pub folder: PathBuf,
}

/// Lists configured and installed packs, also those that are switched off or broken.
///
/// # Errors
/// None.
pub async fn list(app: &App, _: &Caller, _: Nothing) -> Result<PackList, Problem> {
    let stock = app.shelf.stock();
    let lost = app.packs.lost().into_iter().filter(|(name, _)| {
        // A configured pack of the same name stands in the list already.
        !stock.all().any(|shelved| shelved.pack.manifest.name == *name)
    });
    let lost = lost.map(|(name, why)| record::lost_view(&name, "", why));
    let mut items: Vec<PackView> =
        stock.all().map(|shelved| view_of(shelved)).chain(lost).collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(PackList { items })
}

/// How the systems of configured packs stand: pauses and circuits, over all runs.
///
/// # Errors
/// None.
pub async fn status(app: &App, _: &Caller, _: Nothing) -> Result<PackStatusList, Problem> {
    let health = app.connectors.health();
    let stock = app.shelf.stock();
    let items = stock.all().map(|shelved| {
        let used: BTreeSet<&str> =
            shelved.pack.connectors.values().filter_map(|c| c.system.as_deref()).collect();
        let own = health.iter().filter(|system| used.contains(system.system.as_str()));
        PackStatus {
            name: shelved.pack.manifest.name.clone(),
            version: shelved.pack.manifest.version.clone(),
            systems: own.map(|system| system_status(app, system)).collect(),
        }
    });
    Ok(PackStatusList { items: items.collect() })
}

fn system_status(app: &App, health: &Health) -> SystemStatus {
    let operations: Vec<CircuitStatus> = health
        .operations
        .iter()
        .map(|operation| CircuitStatus {
            operation: operation.operation.to_string(),
            circuit: operation.circuit.to_owned(),
            failures: operation.failures,
            open_until: operation.open_until.map(rfc3339),
            slo: operation.recent.map(|recent| slo_status(app, operation, &recent)),
        })
        .collect();
    let broken = operations.iter().any(|operation| operation.circuit != "closed");
    let state = match health.paused_until {
        Some(_) => "paused",
        None if broken => "impaired",
        None if health.operations.iter().any(|operation| misses_goal(app, operation)) => "degraded",
        None => "ok",
    };
    SystemStatus {
        system: health.system.clone(),
        state: state.to_owned(),
        paused_until: health.paused_until.map(rfc3339),
        operations,
        workers: super::workers::status(app, &health.system),
    }
}

/// Whether less came of an operation than is expected of it.
pub(crate) fn misses_goal(app: &App, operation: &OperationHealth) -> bool {
    let goal = app.config.goals.of_operation(operation.operation.as_str());
    operation.recent.is_some_and(|recent| goal.verdict(&recent) == "missed")
}

fn slo_status(app: &App, operation: &OperationHealth, recent: &Recent) -> SloStatus {
    let goal = app.config.goals.of_operation(operation.operation.as_str());
    SloStatus {
        calls: recent.calls,
        success: f64::from(recent.well) / f64::from(recent.calls),
        p50_ms: recent.p50_ms,
        p95_ms: recent.p95_ms,
        goal_success: goal.success,
        goal_p95_ms: goal.p95_ms,
        verdict: goal.verdict(recent).to_owned(),
    }
}

/// Checks a folder without a store: needs no app.
///
/// # Errors
/// Every problem, with file, line, column and a fix.
pub fn check(request: &CheckPack) -> Result<PackView, Problem> {
    let files = shelf::read_folder(&request.folder)?;
    let loaded =
        Pack::load(files).map_err(|problems| shelf::pack_problems(&request.folder, &problems))?;
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    Ok(view(&loaded.pack, warnings))
}

fn view(pack: &Pack, warnings: Vec<String>) -> PackView {
    let manifest = &pack.manifest;
    PackView {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        owner: manifest.owner.clone(),
        description: manifest.description.clone(),
        digest: pack.digest.to_string(),
        signature: if pack.signature.is_some() { "signed" } else { "unsigned" }.to_owned(),
        intents: pack.intents.keys().cloned().collect(),
        operations: manifest.asks.operations.iter().map(ToString::to_string).collect(),
        secrets: manifest.asks.secrets.iter().cloned().collect(),
        egress: manifest.asks.egress.iter().cloned().collect(),
        warnings,
        origin: "checked".to_owned(),
        state: "on".to_owned(),
    }
}

fn view_of(shelved: &Shelved) -> PackView {
    let state = match shelved.serves {
        Serves::On => "on",
        Serves::Off => "off",
    };
    PackView {
        origin: shelved.origin.word().to_owned(),
        state: state.to_owned(),
        signature: shelved.signature.clone(),
        ..view(&shelved.pack, shelved.warnings.clone())
    }
}
