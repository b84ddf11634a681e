//! Packs: list, check.

use std::path::PathBuf;

use pack::Pack;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{App, Caller, intents::Nothing, problem::Problem, shelf};

/// A pack as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// Intents it serves.
    pub intents: Vec<String>,
    /// Operations it asks for.
    pub operations: Vec<String>,
    /// Secrets it asks for, by name.
    pub secrets: Vec<String>,
    /// Places data may leave to.
    pub egress: Vec<String>,
    /// What its author should look at.
    pub warnings: Vec<String>,
}

/// Packs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackList {
    /// In name order.
    pub items: Vec<PackView>,
}

/// Which folder to check.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckPack {
    /// The folder that holds `pack.yaml`.
    pub folder: PathBuf,
}

/// Lists configured packs.
///
/// # Errors
/// None.
pub async fn list(app: &App, _: &Caller, _: Nothing) -> Result<PackList, Problem> {
    let items = app.shelf.packs().map(|shelved| view(&shelved.pack, shelved.warnings.clone()));
    Ok(PackList { items: items.collect() })
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
        intents: pack.intents.keys().cloned().collect(),
        operations: manifest.asks.operations.iter().map(ToString::to_string).collect(),
        secrets: manifest.asks.secrets.iter().cloned().collect(),
        egress: manifest.asks.egress.iter().cloned().collect(),
        warnings,
    }
}
