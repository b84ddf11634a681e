//! Results of runs that are files: what a run published, and what such a file holds. Whether an action published
//! something follows from its operation's binding, never from what its result says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{
    Digest,
    catalogue::Catalogue,
    event::{Body, Ended, Record},
    id::RunId,
    port::Blobs as _,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    App, Caller, header_of, parse_id,
    problem::{Kind, Problem},
    runs::NamedRun,
};

/// Most bytes of a file that one answer holds.
const PIECE_MAX_BYTES: usize = 1 << 20;

/// Most results of a run that are listed.
const LISTED_MAX: usize = 1_000;

/// A file that a run published.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactView {
    /// `sha256:` and the digest of what it holds: its receipt names it so.
    pub artifact: String,
    /// What the run calls it.
    pub name: String,
    /// Where it was.
    pub path: String,
    /// Its length, in bytes.
    pub size: u64,
    /// `text` or `binary`.
    pub kind: String,
    /// The action that published it, by its place in the journal.
    pub action: u64,
    /// The receipt of that.
    pub receipt: Option<String>,
}

/// What a run published.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactList {
    /// The run.
    pub run: String,
    /// In order.
    pub items: Vec<ArtifactView>,
}

/// Asks for what a published file holds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetArtifact {
    /// The run that published it.
    pub run: String,
    /// Its `artifact`, or its name where the run published one of that name.
    pub artifact: String,
    /// From this byte on.
    #[serde(default)]
    pub from: u64,
}

/// Part of a published file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactPiece {
    /// Which it is.
    #[serde(flatten)]
    pub artifact: ArtifactView,
    /// Where this begins.
    pub from: u64,
    /// What stands there, as base64: at most 1 MiB.
    pub content: String,
    /// Where to go on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What these bytes would be named by, were they published.
#[must_use]
pub fn name_of(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// Lists what a run published.
///
/// # Errors
/// When there is no such run.
pub async fn list(app: &App, caller: &Caller, request: NamedRun) -> Result<ArtifactList, Problem> {
    let id: RunId = parse_id(&request.run)?;
    Ok(ArtifactList { items: of_run(app, caller, &id).await?, run: request.run })
}

/// What a published file holds, piece by piece.
///
/// # Errors
/// When the run published no such file, it was erased, or it holds what is known to be a secret by now.
pub async fn get(
    app: &App,
    caller: &Caller,
    request: GetArtifact,
) -> Result<ArtifactPiece, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let all = of_run(app, caller, &id).await?;
    let artifact = named(&all, &request.artifact)?.clone();
    let digest: Digest = parse_id(&artifact.artifact)?;
    let bytes = app.store.get(caller.tenant().clone(), digest).await?.ok_or_else(|| {
        Problem::new(Kind::Gone, "artifact-gone", format!("{} was erased", artifact.artifact))
            .next("its receipt still says what it was")
    })?;
    if let Some((mark, at)) = app.connectors.redactor().first_in(&bytes) {
        let detail = format!("it holds {mark} at byte {at}, which was not known when it was kept");
        return Err(Problem::new(Kind::NotAllowed, "artifact-secret", detail)
            .next("have the file published again without it"));
    }
    let from = usize::try_from(request.from).unwrap_or(usize::MAX).min(bytes.len());
    let to = from.saturating_add(PIECE_MAX_BYTES).min(bytes.len());
    let content = STANDARD.encode(bytes.get(from..to).unwrap_or_default());
    let next = (to < bytes.len()).then_some(to as u64);
    Ok(ArtifactPiece { artifact, from: from as u64, content, next })
}

fn named<'a>(all: &'a [ArtifactView], wanted: &str) -> Result<&'a ArtifactView, Problem> {
    if let Some(found) = all.iter().find(|one| one.artifact == wanted) {
        return Ok(found);
    }
    // The last of a name is what the run came to.
    all.iter().rev().find(|one| one.name == wanted).ok_or_else(|| {
        Problem::not_found("artifact", wanted)
            .next("`harness run artifacts` lists what it published")
    })
}

async fn of_run(app: &App, caller: &Caller, id: &RunId) -> Result<Vec<ArtifactView>, Problem> {
    let records = app.own_records(caller, id).await?;
    let header = records
        .first()
        .and_then(header_of)
        .ok_or_else(|| Problem::not_found("run", id.as_str()))?;
    let loaded = app.shelf.pins(id, header).await.map_err(|problem| {
        Problem::new(Kind::Unexpected, "run-not-loadable", problem)
            .next("install the pack the run is pinned to")
    })?;
    Ok(published(&records, &loaded.pins.catalogue))
}

/// What these events tell of files that were published.
fn published(records: &[Record], catalogue: &Catalogue) -> Vec<ArtifactView> {
    let publishes = |operation: &kernel::id::OperationId| {
        catalogue.get(operation).is_some_and(|entry| {
            let binding = &entry.operation.binding;
            binding["kind"] == "folder" && binding["do"] == "publish"
        })
    };
    let mut proposed = std::collections::BTreeSet::new();
    let mut found: Vec<ArtifactView> = Vec::new();
    for record in records {
        match &record.event.body {
            Body::Proposed { operation, .. } if publishes(operation) => {
                proposed.insert(record.event.seq);
            }
            Body::Returned { action, ended: Ended::Done { output, .. }, .. }
                if proposed.contains(action) && found.len() < LISTED_MAX =>
            {
                found.extend(view(*action, &output.value()));
            }
            Body::Receipted { action, receipt, .. } => {
                if let Some(one) = found.iter_mut().find(|one| one.action == *action) {
                    one.receipt = Some(receipt.to_string());
                }
            }
            _ => {}
        }
    }
    found
}

/// `None` where the result was erased.
fn view(action: u64, output: &Value) -> Option<ArtifactView> {
    let text = |name: &str| output.get(name)?.as_str().map(str::to_owned);
    Some(ArtifactView {
        artifact: text("artifact")?,
        name: text("name")?,
        path: text("path")?,
        size: output.get("size")?.as_u64()?,
        kind: text("kind")?,
        action,
        receipt: None,
    })
}
