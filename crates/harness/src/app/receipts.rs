//! Receipts: list, show, verify, checkpoints.

mod single;

use std::{io::Read as _, path::Path};

use ::receipts::{
    bundle::Bundle,
    checkpoint::Checkpoint,
    key::Keys,
    merkle::{Head, Tree},
    statement::{self, Stated},
    verify::{self, Verdict},
};
use kernel::{
    event::{Body, Record, Stage},
    id::{ReceiptId, RunId},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{LEAVES_MAX, Log, Page, Query};

use super::{
    App, Caller,
    intents::Nothing,
    parse_id,
    problem::{Kind, Problem},
    runs::{NamedRun, rfc3339},
};

pub use single::{
    ExportReceipts, ExportedReceipt, ReceiptExport, ReceiptVerified, VerifyReceipt,
    export as export_range, verify as verify_one,
};

/// Longest file of keys or checkpoint that is read, in bytes.
const TEXT_BYTES_MAX: u64 = 256 * 1024;

/// Largest bundle that is read, in bytes.
const BUNDLE_BYTES_MAX: u64 = 256 << 20;

/// Name of the receipt log in checkpoints: one log per tenant.
const ORIGIN: &str = "harness.local/receipts";

/// A receipt as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptLine {
    /// Its id.
    pub id: String,
    /// The run.
    pub run: String,
    /// Position among the run's receipts.
    pub index: u64,
    /// The action; none for a close record.
    pub action: Option<u64>,
    /// Position in the log.
    pub log_index: u64,
    /// When.
    pub at: String,
}

/// Receipts of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptList {
    /// In order.
    pub items: Vec<ReceiptLine>,
}

/// A receipt by id.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetReceipt {
    /// Which.
    pub receipt: String,
}

/// A receipt in full.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptView {
    /// Its id.
    pub id: String,
    /// The run.
    pub run: String,
    /// Position in the log.
    pub log_index: u64,
    /// The signed statement.
    pub statement: Value,
    /// The DSSE envelope, exactly as logged.
    pub envelope: String,
    /// Whether the signature holds under this store's key.
    pub signature: String,
    /// What people changed about the call before it was made, in order: the statement's commitment is to the last.
    #[serde(default)]
    pub edits: Vec<EditView>,
}

/// A call that a person replaced by another one, which walked the whole gate again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EditView {
    /// Who.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The arguments that were proposed; null where they were erased.
    pub before: Value,
    /// The arguments that took their place.
    pub after: Value,
    /// The commitment to those that were proposed, as the journal has it.
    pub before_root: String,
    /// The commitment to those that took their place.
    pub after_root: String,
}

/// What to verify, and what against. Keys and checkpoints come as text: whoever asks has read their own
/// files, and no path of theirs means anything here.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// A run of this store.
    pub run: Option<String>,
    /// The public keys to trust, as a key file holds them; absent = this store's own.
    #[schemars(length(max = 262_144))]
    pub key: Option<String>,
    /// An earlier checkpoint that the log must contain, as it was written.
    #[schemars(length(max = 262_144))]
    pub since: Option<String>,
}

/// What verification found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// `verified`, `open` or `failed`.
    pub verdict: String,
    /// The first failure, or why it is open.
    pub reason: String,
    /// Each check, in order.
    pub checks: Vec<CheckView>,
}

/// One check and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckView {
    /// What was checked.
    pub check: String,
    /// `ok`, `failed` or `not_possible`.
    pub outcome: String,
    /// What exactly, or where and why not.
    pub detail: String,
}

/// A signed checkpoint of the log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointView {
    /// Leaves in the log.
    pub size: u64,
    /// Its root.
    pub root: String,
    /// The signed note: keep it elsewhere.
    pub note: String,
    /// The public key that verifies it, as a key file holds it.
    pub public_key: String,
}

/// Lists the receipts of a run.
///
/// # Errors
/// When there is no such run.
pub async fn list(app: &App, caller: &Caller, request: NamedRun) -> Result<ReceiptList, Problem> {
    let id: RunId = parse_id(&request.run)?;
    super::runs::view_of(app, caller, &id).await?;
    let entries = entries(app, caller, &id).await?;
    let items = entries.iter().map(|entry| ReceiptLine {
        id: entry.id.to_string(),
        run: entry.run.to_string(),
        index: entry.index,
        action: entry.action,
        log_index: entry.log_index,
        at: rfc3339(entry.at),
    });
    Ok(ReceiptList { items: items.collect() })
}

/// Every receipt of a run.
pub(crate) async fn entries(
    app: &App,
    caller: &Caller,
    id: &RunId,
) -> Result<Vec<store::ReceiptEntry>, Problem> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: store::PAGE_MAX };
        let listed = app.store.receipts(caller.tenant(), id, page).await?;
        entries.extend(listed.items);
        after = listed.next;
        if after.is_none() {
            return Ok(entries);
        }
    }
}

/// Shows one receipt.
///
/// # Errors
/// When there is no such receipt.
pub async fn get(app: &App, caller: &Caller, request: GetReceipt) -> Result<ReceiptView, Problem> {
    let id: ReceiptId = parse_id(&request.receipt)?;
    let stored = app.store.receipt(caller.tenant(), &id).await?;
    let stored = stored.ok_or_else(|| Problem::not_found("receipt", &request.receipt))?;
    let keys = own_keys(app);
    let signature = match statement::verify_receipt(&stored.envelope, &keys) {
        Ok(_) => "valid".to_owned(),
        Err(error) => format!("invalid: {error}"),
    };
    let envelope = String::from_utf8_lossy(&stored.envelope).into_owned();
    let statement = statement_of(&stored.envelope, &keys);
    let action = statement.pointer("/predicate/action").and_then(Value::as_u64);
    let records = app.records(caller, &stored.entry.run).await?;
    let mut edits = action.map(|action| edits_of(&records, action)).unwrap_or_default();
    let redactor = app.connectors.redactor();
    for edit in &mut edits {
        redactor.scrub_known(&mut edit.before);
        redactor.scrub_known(&mut edit.after);
    }
    Ok(ReceiptView {
        id: request.receipt,
        run: stored.entry.run.to_string(),
        log_index: stored.entry.log_index,
        statement,
        envelope,
        signature,
        edits,
    })
}

/// What was changed about an action before it was made: an edit is journaled as the answer, the end of what was
/// proposed, and the proposal in its place, one after the other.
fn edits_of(records: &[Record], action: u64) -> Vec<EditView> {
    let at = |seq: u64| usize::try_from(seq).ok().and_then(|index| records.get(index));
    let args_of = |seq: u64| match at(seq).map(|record| &record.event.body) {
        Some(Body::Proposed { args, .. }) => Some(args),
        _ => None,
    };
    let (mut edits, mut after) = (Vec::new(), action);
    while let Some(before) = after.checked_sub(1).and_then(at).and_then(edited_of) {
        let answered = after.checked_sub(2).and_then(at);
        let by = answered.and_then(|record| match &record.event.body {
            Body::Answered { by, .. } => Some((by.id.to_string(), record.event.at)),
            _ => None,
        });
        let (Some((by, time)), Some(old), Some(new)) = (by, args_of(before), args_of(after)) else {
            break;
        };
        edits.push(EditView {
            by,
            at: time,
            before: (*old.value()).clone(),
            after: (*new.value()).clone(),
            before_root: old.commitment().root.to_string(),
            after_root: new.commitment().root.to_string(),
        });
        after = before;
    }
    edits.reverse();
    edits
}

/// The action that a record ends because a person replaced it.
fn edited_of(record: &Record) -> Option<u64> {
    match &record.event.body {
        Body::Rejected { action, stage: Stage::Edited, .. } => Some(*action),
        _ => None,
    }
}

/// The statement inside an envelope; null when its signature does not hold.
fn statement_of(envelope: &[u8], keys: &Keys) -> Value {
    let payload = ::receipts::dsse::open(envelope, keys);
    payload.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
}

/// The predicate of a stored receipt.
pub(crate) async fn stated(app: &App, caller: &Caller, id: &ReceiptId) -> Result<Stated, Problem> {
    let stored = app.store.receipt(caller.tenant(), id).await?;
    let stored = stored.ok_or_else(|| Problem::not_found("receipt", id.as_str()))?;
    statement::verify_receipt(&stored.envelope, &own_keys(app)).map_err(|error| {
        Problem::new(Kind::VerificationFailed, "receipt-invalid", error.to_string())
            .next("`harness doctor` checks the store and its keys; restore it from a backup")
    })
}

pub(crate) fn own_keys(app: &App) -> Keys {
    std::iter::once(*app.signer.public()).collect()
}

/// Verifies a run of this store, as anyone could from its bundle.
///
/// # Errors
/// When there is no such run. A verification that fails is an answer.
pub async fn verify_run(app: &App, caller: &Caller, request: Verify) -> Result<Verified, Problem> {
    let run = request.run.as_deref().ok_or_else(|| {
        Problem::usage("no-run", "there is no run to verify")
            .next("name a run, or a file with --bundle")
    })?;
    let id: RunId = parse_id(run)?;
    let since = request.since.as_deref();
    let bundle = super::export::bundle(app, caller, &id, since).await?;
    let keys = match &request.key {
        Some(text) => parse_keys(text, "the public key")?,
        None => own_keys(app),
    };
    Ok(report(&bundle, &keys, since))
}

/// Verifies a bundle file with a public key alone: needs no store.
///
/// # Errors
/// When a file cannot be read.
pub fn verify_bundle(
    bundle: &Path,
    key: Option<&Path>,
    since: Option<&Path>,
) -> Result<Verified, Problem> {
    let key = key.ok_or_else(|| {
        Problem::usage("key-needed", "a bundle is verified with a public key from elsewhere")
            .next("name its file with --key; `harness receipt checkpoint` prints this store's")
    })?;
    let keys = read_keys(key)?;
    let since = since.map(read_text).transpose()?;
    let bytes = read_most(bundle, BUNDLE_BYTES_MAX).map_err(|e| {
        Problem::usage("bundle-unreadable", format!("{}: {e}", bundle.display()))
            .next("name a file that `harness run export` wrote")
    })?;
    match Bundle::read(&bytes) {
        Ok(bundle) => Ok(report(&bundle, &keys, since.as_deref())),
        Err(error) => {
            Ok(Verified { verdict: "failed".to_owned(), reason: error.to_string(), checks: vec![] })
        }
    }
}

/// The text of a key file or a checkpoint, for a command that sends it on.
///
/// # Errors
/// When it cannot be read, or is none by its size.
pub fn read_text(path: &Path) -> Result<String, Problem> {
    let read = read_most(path, TEXT_BYTES_MAX).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not text"))
    });
    read.map_err(|e| {
        Problem::usage("file-unreadable", format!("{}: {e}", path.display()))
            .next("name the file of a public key or of a checkpoint")
    })
}

/// A file, unless it is larger than so many bytes.
fn read_most(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// The public keys of a file.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn read_keys(path: &Path) -> Result<Keys, Problem> {
    parse_keys(&read_text(path)?, &path.display().to_string())
}

fn parse_keys(text: &str, from: &str) -> Result<Keys, Problem> {
    Keys::parse(text).map_err(|e| {
        Problem::usage("key-invalid", format!("{from}: {e}"))
            .next("give a public key as `harness receipt checkpoint` prints it")
    })
}

fn report(bundle: &Bundle, keys: &Keys, since: Option<&str>) -> Verified {
    let failed = |reason: String| Verified { verdict: "failed".to_owned(), reason, checks: vec![] };
    let since = match since.map(|note| Checkpoint::open(note, keys)).transpose() {
        Ok(since) => since,
        Err(error) => return failed(format!("the earlier checkpoint: {error}")),
    };
    let report = verify::verify(bundle, keys, since.as_ref());
    let verdict = match report.verdict {
        Verdict::Verified => "verified",
        Verdict::Open => "open",
        Verdict::Failed => "failed",
    };
    let checks = report.checks.iter().map(|checked| {
        let value = serde_json::to_value(checked).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        CheckView {
            check: text("check").unwrap_or_default(),
            outcome: text("outcome").unwrap_or_default(),
            detail: text("detail").or_else(|| text("reason")).unwrap_or_default(),
        }
    });
    Verified {
        verdict: verdict.to_owned(),
        reason: report.reason.clone(),
        checks: checks.collect(),
    }
}

/// Signs a checkpoint of the log as it stands.
///
/// # Errors
/// When the log contradicts an earlier checkpoint.
pub async fn checkpoint(app: &App, caller: &Caller, _: Nothing) -> Result<CheckpointView, Problem> {
    let tree = tree(app, caller).await?;
    checkpoint_of(app, caller, &tree).await
}

/// The whole log as a tree.
pub(crate) async fn tree(app: &App, caller: &Caller) -> Result<Tree, Problem> {
    let mut tree = Tree::default();
    loop {
        let leaves = app.store.leaves(caller.tenant(), tree.size(), LEAVES_MAX).await?;
        let done = leaves.len() < LEAVES_MAX;
        leaves.into_iter().for_each(|leaf| tree.append(leaf));
        if done {
            return Ok(tree);
        }
    }
}

pub(crate) async fn checkpoint_of(
    app: &App,
    caller: &Caller,
    tree: &Tree,
) -> Result<CheckpointView, Problem> {
    let unexpected = |e: String| Problem::new(Kind::Unexpected, "checkpoint", e);
    let size = tree.size();
    let root = tree.root(size).ok_or_else(|| unexpected("the log has no root".to_owned()))?;
    let head = Head { size, root };
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), head };
    let note = checkpoint
        .sign(&*app.signer, app.signer.public())
        .map_err(|e| unexpected(e.to_string()))?;
    let at = engine::Clock::now(&super::host::SystemClock).at;
    let kept = store::Checkpoint { size, root, note: note.clone().into_bytes(), at };
    app.store.put_checkpoint(caller.tenant(), kept).await?;
    let public_key = app.signer.public().to_string();
    Ok(CheckpointView { size, root: root.to_string(), note, public_key })
}
