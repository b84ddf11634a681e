//! `run export`: one file that another machine can verify and replay.

use std::collections::BTreeMap;

use ::receipts::{
    bundle::{Bundle, Earlier, Entry, Logged, SCHEMA},
    checkpoint::Checkpoint,
};
use kernel::{Digest, canon, id::RunId, port::Blobs as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Log as _;

use super::{
    App, Caller, header_of, parse_id,
    problem::{Kind, Problem},
    receipts,
};

/// Asks for a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The run.
    pub run: String,
    /// Leave the values out: commitments only.
    #[serde(default)]
    pub withhold: bool,
    /// An earlier checkpoint to prove consistency with, as it was written.
    #[serde(default)]
    #[schemars(length(max = 262_144))]
    pub since: Option<String>,
}

/// A bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    /// The run.
    pub run: String,
    /// Events in it.
    pub events: usize,
    /// Receipts in it.
    pub receipts: usize,
    /// The bundle file's text.
    pub bundle: String,
    /// The public key that verifies it.
    pub public_key: String,
}

pub(super) fn unexpected(error: impl std::fmt::Display) -> Problem {
    Problem::new(Kind::Unexpected, "export", error.to_string())
}

/// Exports one run.
///
/// # Errors
/// When there is no such run, or what it is pinned to is gone.
pub async fn export(app: &App, caller: &Caller, request: Export) -> Result<Exported, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let mut bundle = bundle(app, caller, &id, request.since.as_deref()).await?;
    if request.withhold {
        bundle.withhold_openings();
    }
    let text = bundle.write().map_err(unexpected)?;
    Ok(Exported {
        run: request.run,
        events: bundle.events.len(),
        receipts: bundle.receipts.len(),
        bundle: String::from_utf8_lossy(&text).into_owned(),
        public_key: app.signer.public().to_string(),
    })
}

/// Builds the bundle of a run against a fresh checkpoint.
pub(crate) async fn bundle(
    app: &App,
    caller: &Caller,
    id: &RunId,
    since: Option<&str>,
) -> Result<Bundle, Problem> {
    let records = app.records(caller, id).await?;
    let tree = receipts::tree(app, caller).await?;
    let checkpoint = receipts::checkpoint_of(app, caller, &tree).await?;
    let mut logged = Vec::new();
    for entry in receipts::entries(app, caller, id).await? {
        let stored = app.store.receipt(caller.tenant(), &entry.id).await?;
        let stored = stored.ok_or_else(|| Problem::not_found("receipt", entry.id.as_str()))?;
        let inclusion = tree.prove_inclusion(entry.log_index, tree.size());
        logged.push(Logged {
            envelope: String::from_utf8(stored.envelope).map_err(unexpected)?,
            leaf: entry.log_index,
            inclusion: inclusion
                .ok_or_else(|| unexpected("the log is shorter than its receipts"))?,
        });
    }
    let mut consistency = Vec::new();
    if let Some(note) = since {
        let earlier = Checkpoint::open(note, &receipts::own_keys(app)).map_err(|e| {
            Problem::usage("checkpoint-invalid", format!("the earlier checkpoint: {e}"))
                .next("name a note that `harness receipt checkpoint` wrote")
        })?;
        let from = earlier.head.size;
        if let Some(proof) = tree.prove_consistency(from, tree.size()) {
            consistency.push(Earlier { from, proof });
        }
    }
    let mut bundle = Bundle {
        schema: SCHEMA.to_owned(),
        tenant: caller.tenant().clone(),
        run: id.clone(),
        keys: [app.signer.public().id()].into(),
        events: records.iter().map(Entry::of).collect::<Result<_, _>>().map_err(unexpected)?,
        receipts: logged,
        checkpoint: checkpoint.note,
        consistency,
        blobs: BTreeMap::new(),
    };
    add_pins(app, caller, &records, &mut bundle).await?;
    Ok(bundle)
}

/// Plan, pack listing and pack files: what a replay elsewhere needs.
async fn add_pins(
    app: &App,
    caller: &Caller,
    records: &[kernel::event::Record],
    bundle: &mut Bundle,
) -> Result<(), Problem> {
    let header = records.first().and_then(header_of).ok_or_else(|| unexpected("no header"))?;
    let plan = app.store.get(caller.tenant().clone(), header.plan).await?;
    bundle.add_blob(&plan.ok_or_else(|| unexpected("the plan is gone"))?);
    let files =
        app.shelf.pinned_files(caller.tenant(), header.pack_digest).await.map_err(unexpected)?;
    #[derive(Serialize)]
    struct Listed<'a> {
        path: &'a str,
        sha256: String,
    }
    let listing: Vec<Listed<'_>> = files
        .iter()
        .map(|(path, bytes)| Listed { path, sha256: Digest::of(bytes).hex() })
        .collect();
    bundle.add_blob(&canon::bytes(&listing).map_err(unexpected)?);
    for bytes in files.values() {
        bundle.add_blob(bytes);
    }
    Ok(())
}
