//! Every operation of the facade, by name: one line each. What the socket, the command line and later
//! the HTTP API can ask for is exactly this table.

use kernel::{canon, port::Task};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    App, Caller, Right, agents, approvals, artifacts, attachments, backups, checks, claims, coder,
    config, contexts,
    demo::Told,
    doctor, drill, egress, exceptions, explain, export, failures, gate, halts, hearing, identity,
    imports, intents, kit, kpis, leases, ledger, lock, migration, packs, policies, previews,
    problem::{Kind, Problem},
    receipts, reveals, rollbacks, runs, sandbox, secrets, servers, sinks, snapshots, timeline,
    tools, work, workers,
};

/// Deepest nesting of a request: what is accepted from outside at all.
pub const DEPTH_MAX: usize = canon::DEPTH_MAX;

/// Kinds of documents that have a schema.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SchemaList {
    /// In name order.
    pub items: Vec<SchemaKind>,
}

/// A kind.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SchemaKind {
    /// What `harness schema` calls it.
    pub name: String,
}

type Call = for<'a> fn(&'a App, &'a Caller, Value) -> Task<'a, Result<Value, Problem>>;

/// One operation of the facade.
#[derive(Clone, Copy)]
pub struct Op {
    /// Its name, such as `run.get`.
    pub name: &'static str,
    /// Whoever calls it holds one of these rights; empty for nobody in particular.
    pub needs: &'static [Right],
    /// Schema id of its answer, such as `harness.run/v1`.
    pub document: &'static str,
    /// JSON Schema of its request.
    pub request: fn() -> Schema,
    /// JSON Schema of its answer.
    pub response: fn() -> Schema,
    call: Call,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which rights an operation asks for: one of those listed.
mod need {
    #![allow(non_upper_case_globals, reason = "the table reads as words")]
    use super::Right;

    /// Whoever is known.
    pub(super) const Any: &[Right] = &[];
    pub(super) const Read: &[Right] = &[Right::Read];
    /// Of one's own runs also those who only propose; the operation looks whose run it is.
    pub(super) const Own: &[Right] = &[Right::Read, Right::Propose];
    pub(super) const Propose: &[Right] = &[Right::Propose];
    pub(super) const Operate: &[Right] = &[Right::Operate];
    pub(super) const Decide: &[Right] = &[Right::Decide];
    /// Operators, and those who own what they settle; the core looks who owns it.
    pub(super) const Handle: &[Right] = &[Right::Operate, Right::Decide];
    pub(super) const Manage: &[Right] = &[Right::Admin];
    /// The operation looks closer where people may do it for themselves.
    pub(super) const Admin: &[Right] = &[Right::Admin, Right::Read];
}

macro_rules! ops {
    ($($need:ident $name:literal, $document:literal => $path:path: $request:ty => $response:ty;)*) => {
        /// The table.
        pub const OPS: &[Op] = &[$(Op {
            name: $name,
            needs: need::$need,
            document: $document,
            request: || schema_for!($request),
            response: || schema_for!($response),
            call: |app, caller, body| Box::pin(async move {
                let response: $response = $path(app, caller, read::<$request>(body)?).await?;
                document($document, &response)
            }),
        }),*];
    };
}

ops! {
    Any "intent.list", "harness.intent-list/v1" => intents::list: intents::Nothing => intents::IntentList;
    Propose "intent.plan", "harness.plan-view/v1" => intents::plan: intents::Submit => intents::PlanView;
    Propose "intent.submit", "harness.submitted/v1" => intents::submit: intents::Submit => intents::Submitted;
    Propose "gate.call", "harness.gate/v1" => gate::call: gate::GateCall => gate::GateView;
    Propose "gate.take", "harness.gate/v1" => gate::take: gate::GateTake => gate::GateView;
    Propose "gate.report", "harness.gate/v1" => gate::report: gate::GateReport => gate::GateView;
    Propose "gate.hook", "harness.hook-verdict/v1" => coder::hook: coder::HookEvent => coder::HookVerdict;
    Propose "tool.list", "harness.tool-list/v1" => tools::list: intents::Nothing => tools::ToolList;
    Propose "tool.call", "harness.tool-call/v1" => tools::call: tools::CallTool => tools::ToolCall;
    Propose "tool.wait", "harness.tool-call/v1" => tools::wait: tools::WaitTool => tools::ToolCall;
    Propose "tool.answer", "harness.tool-call/v1" => tools::answer: tools::AnswerTool => tools::ToolCall;
    Propose "tool.leave", "harness.tool-call/v1" => tools::leave: tools::LeaveTool => tools::ToolCall;
    Propose "tool.watch", "harness.list-changes/v1" => tools::changes::watch_lists: tools::changes::WatchLists => tools::changes::ListChanges;
    Propose "proxy.list", "harness.proxied-list/v1" => tools::proxy::list: tools::proxy::ListProxied => tools::proxy::ProxiedList;
    Propose "proxy.call", "harness.tool-call/v1" => tools::proxy::call: tools::proxy::CallProxied => tools::ToolCall;
    Propose "proxy.complete", "harness.proxied-completion/v1" => tools::proxy::complete: tools::proxy::CompleteProxied => tools::proxy::ProxiedCompletion;
    Propose "proxy.watch", "harness.proxied-changes/v1" => tools::changes::watch: tools::changes::WatchProxied => tools::changes::ProxiedChanges;
    Read "proxy.learn", "harness.proxy-learned/v1" => tools::learn::learn: tools::learn::Learn => tools::learn::Learned;
    Any "worker.lease", "harness.worker-lease/v1" => workers::lease: workers::LeaseJob => workers::WorkerLease;
    Any "worker.heartbeat", "harness.worker-heartbeat/v1" => workers::heartbeat: workers::WorkerBeat => workers::WorkerHeard;
    Any "worker.commit", "harness.worker-commit/v1" => workers::commit: workers::CommitJob => workers::WorkerCommitted;
    Read "plan.get", "harness.plan-view/v1" => intents::get_plan: intents::GetPlan => intents::PlanView;
    Read "run.list", "harness.run-list/v1" => runs::list: runs::ListRuns => runs::RunList;
    Own "run.get", "harness.run-detail/v1" => runs::get: runs::NamedRun => runs::RunDetail;
    Own "run.events", "harness.event-list/v1" => timeline::events: timeline::ListEvents => timeline::EventList;
    Propose "run.start", "harness.agent-run/v1" => agents::start: agents::StartAgent => agents::AgentRun;
    Own "run.speech", "harness.speech/v1" => hearing::hear: hearing::HearRun => hearing::HeardView;
    Own "run.context", "harness.context/v1" => contexts::context: contexts::GetContext => contexts::ContextView;
    Own "run.artifacts", "harness.artifact-list/v1" => artifacts::list: runs::NamedRun => artifacts::ArtifactList;
    Own "run.artifact", "harness.artifact/v1" => artifacts::get: artifacts::GetArtifact => artifacts::ArtifactPiece;
    Own "run.egress", "harness.egress-list/v1" => egress::list: egress::ListEgress => egress::EgressList;
    Own "run.attachment", "harness.attachment/v1" => attachments::get: attachments::GetAttachment => attachments::AttachmentView;
    Operate "lease.create", "harness.lease-made/v1" => leases::create: leases::ExposeJob => leases::LeaseMade;
    Operate "lease.list", "harness.lease-list/v1" => leases::list: intents::Nothing => leases::LeaseList;
    Operate "lease.end", "harness.lease/v1" => leases::end: leases::NamedLease => leases::LeaseView;
    Operate "run.resume", "harness.run/v1" => runs::resume: runs::NamedRun => runs::RunView;
    Operate "run.steer", "harness.run/v1" => runs::steer: runs::Steer => runs::RunView;
    Handle "run.rollback", "harness.rolled-back/v1" => rollbacks::rollback: rollbacks::RollBack => rollbacks::RolledBack;
    Read "run.rollback-preview", "harness.rollback-preview/v1" => previews::preview: previews::PreviewRollback => previews::RollbackPreview;
    Read "run.replay", "harness.replay/v1" => runs::replay: runs::ReplayRun => runs::ReplayView;
    Operate "run.export", "harness.exported/v1" => export::export: export::Export => export::Exported;
    Read "work.list", "harness.work-list/v1" => work::list: intents::Nothing => work::WorkList;
    Own "work.preview", "harness.work-preview/v1" => work::preview: work::LookAtWork => work::WorkPreview;
    Propose "work.merge", "harness.submitted/v1" => work::merge: work::MergeWork => intents::Submitted;
    Operate "work.drop", "harness.work-dropped/v1" => work::discard: work::DropWork => work::WorkDropped;
    Read "approval.list", "harness.approval-list/v1" => approvals::list: approvals::ListApprovals => approvals::ApprovalList;
    Read "approval.get", "harness.approval/v1" => approvals::get: approvals::GetApproval => approvals::Card;
    Decide "approval.decide", "harness.run/v1" => approvals::decide: approvals::Decide => runs::RunView;
    Decide "approval.decide-batch", "harness.decided-batch/v1" => approvals::decide_batch: approvals::DecideBatch => approvals::DecidedBatch;
    Handle "approval.claim", "harness.claim/v1" => claims::approval: claims::ClaimApproval => claims::ClaimView;
    Read "exception.list", "harness.exception-list/v1" => exceptions::list: exceptions::ListExceptions => exceptions::ExceptionList;
    Read "exception.get", "harness.exception/v1" => exceptions::get: exceptions::GetException => exceptions::ExceptionDetail;
    Handle "exception.settle", "harness.run/v1" => exceptions::settle: exceptions::Settle => runs::RunView;
    Handle "exception.claim", "harness.claim/v1" => claims::exception: claims::ClaimException => claims::ClaimView;
    Operate "halt.set", "harness.halt/v1" => halts::halt: halts::Halt => halts::HaltView;
    Operate "halt.lift", "harness.halt/v1" => halts::lift: halts::LiftHalt => halts::HaltView;
    Read "halt.list", "harness.halt-list/v1" => halts::list: halts::ListHalts => halts::HaltList;
    Read "receipt.list", "harness.receipt-list/v1" => receipts::list: runs::NamedRun => receipts::ReceiptList;
    Read "receipt.get", "harness.receipt/v1" => receipts::get: receipts::GetReceipt => receipts::ReceiptView;
    Read "run.verify", "harness.verified/v1" => receipts::verify_run: receipts::Verify => receipts::Verified;
    Read "receipt.verify", "harness.receipt-verified/v1" => receipts::verify_one: receipts::VerifyReceipt => receipts::ReceiptVerified;
    Read "receipt.ledger", "harness.receipt-ledger/v1" => ledger::list: ledger::ListLedger => ledger::Ledger;
    Read "receipt.export", "harness.receipt-export/v1" => receipts::export_range: receipts::ExportReceipts => receipts::ReceiptExport;
    Read "receipt.checkpoint", "harness.checkpoint/v1" => receipts::checkpoint: intents::Nothing => receipts::CheckpointView;
    Read "explain", "harness.explanations/v1" => explain::explain: explain::Explain => explain::Explanations;
    Read "kpi.report", "harness.kpi-report/v1" => kpis::report: kpis::ReportKpis => kpis::KpiReport;
    Read "pack.list", "harness.pack-list/v1" => packs::list: intents::Nothing => packs::PackList;
    Read "pack.get", "harness.pack/v1" => packs::get: packs::NamedPack => packs::PackDetail;
    Read "pack.review", "harness.pack-review/v1" => packs::review: packs::PackFiles => packs::PackReview;
    Manage "pack.install", "harness.pack/v1" => packs::install: packs::BringPack => packs::PackDetail;
    Manage "pack.upgrade", "harness.pack/v1" => packs::upgrade: packs::UpgradePack => packs::PackDetail;
    Manage "pack.enable", "harness.pack/v1" => packs::enable: packs::NamedPack => packs::PackDetail;
    Manage "pack.disable", "harness.pack/v1" => packs::disable: packs::NamedPack => packs::PackDetail;
    Manage "pack.rollback", "harness.pack/v1" => packs::rollback: packs::RollBackPack => packs::PackDetail;
    Manage "pack.remove", "harness.pack-removed/v1" => packs::remove: packs::NamedPack => packs::PackRemoved;
    Read "pack.status", "harness.pack-status/v1" => packs::status: intents::Nothing => packs::PackStatusList;
    Read "pack.failures", "harness.pack-failures/v1" => failures::list: packs::NamedPack => failures::Failures;
    Read "policy.check", "harness.policy-check/v1" => policies::check: intents::Nothing => policies::PolicyCheck;
    Read "policy.matrix", "harness.policy-matrix/v1" => policies::matrix: policies::GetMatrix => policies::Matrix;
    Read "policy.explain", "harness.policy-explained/v1" => policies::explain: policies::Ask => policies::Explained;
    Operate "backup.create", "harness.backup/v1" => backups::create: backups::CreateBackup => backups::Backup;
    Operate "store.check", "harness.store-checked/v1" => checks::check: intents::Nothing => checks::StoreChecked;
    Admin "token.create", "harness.token-made/v1" => identity::create_token: identity::MakeToken => identity::TokenMade;
    Admin "token.list", "harness.token-list/v1" => identity::list_tokens: intents::Nothing => identity::TokenList;
    Admin "token.revoke", "harness.token/v1" => identity::revoke_token: identity::RevokeToken => identity::TokenView;
    Read "token.link", "harness.sign-in-link/v1" => identity::link: identity::MakeLink => identity::LinkView;
    Operate "doctor", "harness.diagnosis/v1" => doctor::diagnose: intents::Nothing => doctor::Diagnosis;
}

fn find(name: &str) -> Result<&'static Op, Problem> {
    OPS.iter().find(|op| op.name == name).ok_or_else(|| {
        Problem::new(Kind::NotFound, "no-such-operation", format!("there is no operation `{name}`"))
            .next("the owner of the store runs another version; use the same one")
    })
}

/// Whether somebody may ask for an operation at all: what a surface offers is what the operation takes.
///
/// # Errors
/// Says which right is missing.
pub fn check(caller: &Caller, name: &str) -> Result<(), Problem> {
    let op = find(name)?;
    if op.needs.is_empty() { Ok(()) } else { caller.needs(op.needs) }
}

/// Calls an operation by name.
///
/// # Errors
/// What the operation refused, or that there is no such operation.
pub async fn call(app: &App, caller: &Caller, name: &str, body: Value) -> Result<Value, Problem> {
    let op = find(name)?;
    if canon::check_depth(&body).is_err() {
        discard(body);
        let detail = format!("the request of `{name}` is nested deeper than {DEPTH_MAX} levels");
        return Err(Problem::usage("too-deep", detail)
            .next("make it flatter, or put the inner part in as text"));
    }
    check(caller, name)?;
    identity::check_typed(app, caller, op.name).await?;
    let body = sinks::said(app, name, body);
    let answered = (op.call)(app, caller, body).await;
    sinks::told(app, name, answered)
}

/// Drops a value without recursion: dropping it as it is would take the stack that reading it would.
fn discard(body: Value) {
    let mut rest = vec![body];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(map) => rest.extend(map.into_iter().map(|(_, inner)| inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    let body = if body.is_null() { Value::Object(Default::default()) } else { body };
    serde_json::from_value(body).map_err(|error| {
        Problem::usage("bad-request", error.to_string())
            .next("send the fields that the request's schema names, each of its type")
    })
}

/// The answer as a document that names its schema.
///
/// # Errors
/// When it cannot be serialised.
pub fn document<T: Serialize>(schema: &str, response: &T) -> Result<Value, Problem> {
    let value = serde_json::to_value(response)
        .map_err(|e| Problem::new(Kind::Unexpected, "unserialisable", e.to_string()))?;
    let mut object = serde_json::Map::new();
    object.insert("schema".to_owned(), Value::String(schema.to_owned()));
    match value {
        Value::Object(fields) => object.extend(fields),
        other => {
            object.insert("value".to_owned(), other);
        }
    }
    Ok(Value::Object(object))
}

/// The published schema of a document: the answer's own plus the `schema` field that names it.
#[must_use]
pub fn published<T: JsonSchema>(name: &str) -> Value {
    publish(name, schema_for!(T))
}

/// As [`published`], for a schema at hand.
#[must_use]
pub fn publish(name: &str, schema: Schema) -> Value {
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$id".to_owned(), Value::String(format!("urn:{}", name.replace('/', ":"))));
        let properties =
            object.entry("properties").or_insert_with(|| Value::Object(Default::default()));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("schema".to_owned(), serde_json::json!({ "const": name }));
        }
        let required = object.entry("required").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(required) = required.as_array_mut() {
            let schema = Value::String("schema".to_owned());
            if !required.contains(&schema) {
                required.push(schema);
            }
        }
    }
    schema
}

/// Every published schema by kind: answers, problems, and the files people write.
#[must_use]
pub fn schemas() -> std::collections::BTreeMap<String, Value> {
    let kind = |document: &str| {
        let name = document.strip_prefix("harness.").unwrap_or(document);
        name.split('/').next().unwrap_or(name).to_owned()
    };
    let mut all: std::collections::BTreeMap<String, Value> =
        OPS.iter().map(|op| (kind(op.document), publish(op.document, (op.response)()))).collect();
    all.insert("problem".to_owned(), published::<Problem>("harness.problem/v1"));
    // Documents that no operation answers: what a command composes or reads by itself.
    all.insert("demo".to_owned(), published::<Told>("harness.demo/v1"));
    all.insert("schema-list".to_owned(), published::<SchemaList>("harness.schema-list/v1"));
    all.insert("config-show".to_owned(), published::<config::Shown>("harness.config-show/v1"));
    let verified = published::<drill::BackupVerified>("harness.backup-verified/v1");
    all.insert("backup-verified".to_owned(), verified);
    let restored = published::<drill::Restored>("harness.restored/v1");
    all.insert("restored".to_owned(), restored);
    let migrated = published::<migration::Migrated>("harness.store-migrated/v1");
    all.insert("store-migrated".to_owned(), migrated);
    let checked = published::<packs::PackView>("harness.pack-checked/v1");
    all.insert("pack-checked".to_owned(), checked);
    let tested = published::<kit::PackTested>("harness.pack-tested/v1");
    all.insert("pack-tested".to_owned(), tested);
    let made = published::<kit::scaffold::PackMade>("harness.pack-made/v1");
    all.insert("pack-made".to_owned(), made);
    let made = published::<kit::scaffold::PackMade>("harness.project-made/v1");
    all.insert("project-made".to_owned(), made);
    let proven = published::<sandbox::Proven>("harness.sandbox-proven/v1");
    all.insert("sandbox-proven".to_owned(), proven);
    let explained = published::<sandbox::Explained>("harness.sandbox-explained/v1");
    all.insert("sandbox-explained".to_owned(), explained);
    let ended = published::<sandbox::Ended>("harness.sandbox-ended/v1");
    all.insert("sandbox-ended".to_owned(), ended);
    let snapshot = published::<snapshots::SnapshotView>("harness.snapshot/v1");
    all.insert("snapshot".to_owned(), snapshot);
    let listed = published::<snapshots::SnapshotList>("harness.snapshot-list/v1");
    all.insert("snapshot-list".to_owned(), listed);
    let restored = published::<snapshots::SnapshotRestored>("harness.snapshot-restored/v1");
    all.insert("snapshot-restored".to_owned(), restored);
    let removed = published::<snapshots::SnapshotRemoved>("harness.snapshot-removed/v1");
    all.insert("snapshot-removed".to_owned(), removed);
    let secret = published::<secrets::SecretView>("harness.secret/v1");
    all.insert("secret".to_owned(), secret);
    let listed = published::<secrets::SecretList>("harness.secret-list/v1");
    all.insert("secret-list".to_owned(), listed);
    let removed = published::<secrets::SecretRemoved>("harness.secret-removed/v1");
    all.insert("secret-removed".to_owned(), removed);
    let revealed = published::<reveals::Revealed>("harness.secret-revealed/v1");
    all.insert("secret-revealed".to_owned(), revealed);
    let reveals = published::<reveals::RevealList>("harness.secret-reveal-list/v1");
    all.insert("secret-reveal-list".to_owned(), reveals);
    let locked = published::<lock::PackLock>("harness.pack-lock/v1");
    all.insert("pack-lock".to_owned(), locked);
    let drafted = published::<imports::ConnectorDraft>("harness.connector-draft/v1");
    all.insert("connector-draft".to_owned(), drafted);
    let difference = published::<servers::ServerDifference>("harness.mcp-difference/v1");
    all.insert("mcp-difference".to_owned(), difference);
    let login = published::<servers::ServerLogin>("harness.mcp-login/v1");
    all.insert("mcp-login".to_owned(), login);
    let signed = published::<packs::PackSigned>("harness.pack-signed/v1");
    all.insert("pack-signed".to_owned(), signed);
    all.insert("file-harness".to_owned(), schema_for!(config::File).to_value());
    for (name, schema) in pack::schemas() {
        all.insert(format!("file-{name}"), schema);
    }
    all
}
