//! One receipt, verified byte by byte; and receipts by their place in the log, each with its proof.

use ::receipts::{
    checkpoint::Checkpoint,
    merkle::{Tree, check_inclusion, leaf_hash},
    statement,
};
use kernel::{Digest, id::ReceiptId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Log as _, PAGE_MAX, StoredReceipt};

use super::{CheckView, CheckpointView, checkpoint_of, own_keys, parse_keys, tree};
use crate::app::{App, Caller, export::unexpected, parse_id, problem::Problem};

/// Which receipt to verify, and with which keys.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyReceipt {
    /// Which.
    pub receipt: String,
    /// The public keys to trust, as a key file holds them; absent = this store's own.
    #[serde(default)]
    #[schemars(length(max = 262_144))]
    pub key: Option<String>,
}

/// What verifying one receipt found, and of exactly which bytes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptVerified {
    /// The receipt.
    pub receipt: String,
    /// Its run: what the receipts of a run say together is verified with the run.
    pub run: String,
    /// `verified` or `failed`.
    pub verdict: String,
    /// The first failure.
    pub reason: String,
    /// SHA-256 of the envelope, exactly as it is logged.
    pub envelope_sha256: String,
    /// Length of the envelope, in bytes.
    pub envelope_bytes: usize,
    /// Its place in the log.
    pub leaf_index: u64,
    /// The leaf hash of these bytes.
    pub leaf: String,
    /// Leaves of the log in which it was looked for.
    pub size: u64,
    /// The root of that log.
    pub root: String,
    /// The signed checkpoint that says so.
    pub checkpoint: String,
    /// Each check, in order.
    pub checks: Vec<CheckView>,
}

/// Which part of the log to export.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExportReceipts {
    /// The first place in the log; 0 when nothing is said.
    pub from: u64,
    /// The place behind the last one; the end of the log when nothing is said.
    pub to: Option<u64>,
}

/// A part of the log: with a public key and the checkpoint it verifies elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptExport {
    /// In the order of the log, at most 200.
    pub items: Vec<ExportedReceipt>,
    /// The place to go on at, when there are more.
    pub next: Option<u64>,
    /// The log that the proofs lead to.
    pub checkpoint: CheckpointView,
}

/// A receipt as it is logged, with the proof that it stands there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExportedReceipt {
    /// The receipt.
    pub receipt: String,
    /// Its run.
    pub run: String,
    /// Its place in the log.
    pub leaf_index: u64,
    /// The DSSE envelope, exactly as logged.
    pub envelope: String,
    /// Hashes beside the way from its leaf to the root of the checkpoint, from below.
    pub inclusion: Vec<String>,
}

/// Verifies one receipt: its signature, and that the log holds exactly these bytes.
///
/// # Errors
/// When there is no such receipt. A verification that fails is an answer.
pub async fn verify(
    app: &App,
    caller: &Caller,
    request: VerifyReceipt,
) -> Result<ReceiptVerified, Problem> {
    let id: ReceiptId = parse_id(&request.receipt)?;
    let stored = app.store.receipt(caller.tenant(), &id).await?;
    let stored = stored.ok_or_else(|| Problem::not_found("receipt", &request.receipt))?;
    let keys = match &request.key {
        Some(text) => parse_keys(text, "the public key")?,
        None => own_keys(app),
    };
    let tree = tree(app, caller).await?;
    let signed = checkpoint_of(app, caller, &tree).await?;
    let (leaf, place) = (leaf_hash(&stored.envelope), stored.entry.log_index);
    let (sha256, bytes) = (Digest::of(&stored.envelope).to_string(), stored.envelope.len());
    let statement = statement::verify_receipt(&stored.envelope, &keys);
    let is_named = statement.as_ref().is_ok_and(|stated| *stated.receipt() == id);
    let about = is_named.then(|| format!("it is about {id}")).ok_or("it is about another receipt");
    let signature = statement.map(|_| format!("{bytes} bytes, {sha256}, signed by a trusted key"));
    let opened = Checkpoint::open(&signed.note, &keys);
    let note = opened.map(|note| format!("{} leaves, root {}", note.head.size, note.head.root));
    let checks = vec![
        check("signature", signature),
        check("statement", about),
        check("checkpoint", note),
        check("inclusion", included(&tree, place, &leaf)),
    ];
    let failed = checks.iter().find(|check| check.outcome != "ok");
    let reason = failed.map(|check| format!("{}: {}", check.check, check.detail));
    Ok(ReceiptVerified {
        receipt: request.receipt,
        run: stored.entry.run.to_string(),
        verdict: if reason.is_none() { "verified" } else { "failed" }.to_owned(),
        reason: reason.unwrap_or_default(),
        envelope_sha256: sha256,
        envelope_bytes: bytes,
        leaf_index: place,
        leaf: leaf.to_string(),
        size: signed.size,
        root: signed.root,
        checkpoint: signed.note,
        checks,
    })
}

fn check(name: &str, found: Result<String, impl std::fmt::Display>) -> CheckView {
    let (outcome, detail) = match found {
        Ok(detail) => ("ok", detail),
        Err(error) => ("failed", error.to_string()),
    };
    CheckView { check: name.to_owned(), outcome: outcome.to_owned(), detail }
}

/// Whether the log leads from this leaf, at this place, to its root.
fn included(tree: &Tree, place: u64, leaf: &Digest) -> Result<String, String> {
    let size = tree.size();
    let root = tree.root(size).ok_or("the log has no root")?;
    let proof = tree.prove_inclusion(place, size).ok_or("the log is shorter than its receipts")?;
    check_inclusion(leaf, place, size, &proof, &root).map_err(|error| error.to_string())?;
    Ok(format!("leaf {leaf} stands at {place} of {size}, under root {root}"))
}

/// Exports a part of the log.
///
/// # Errors
/// When the log contradicts an earlier checkpoint.
pub async fn export(
    app: &App,
    caller: &Caller,
    request: ExportReceipts,
) -> Result<ReceiptExport, Problem> {
    let tree = tree(app, caller).await?;
    let checkpoint = checkpoint_of(app, caller, &tree).await?;
    let to = request.to.unwrap_or(tree.size()).min(tree.size());
    let wanted = usize::try_from(to.saturating_sub(request.from)).unwrap_or(PAGE_MAX);
    let found = app.store.logged(caller.tenant(), request.from, wanted.min(PAGE_MAX)).await?;
    let next = found.last().map(|last| last.entry.log_index + 1).filter(|next| *next < to);
    let items = found.into_iter().map(|stored| exported(&tree, stored));
    let items: Option<Vec<ExportedReceipt>> = items.collect();
    let items = items.ok_or_else(|| unexpected("the log is shorter than its receipts"))?;
    Ok(ReceiptExport { items, next, checkpoint })
}

fn exported(tree: &Tree, stored: StoredReceipt) -> Option<ExportedReceipt> {
    let inclusion = tree.prove_inclusion(stored.entry.log_index, tree.size())?;
    Some(ExportedReceipt {
        receipt: stored.entry.id.to_string(),
        run: stored.entry.run.to_string(),
        leaf_index: stored.entry.log_index,
        envelope: String::from_utf8_lossy(&stored.envelope).into_owned(),
        inclusion: inclusion.iter().map(ToString::to_string).collect(),
    })
}
