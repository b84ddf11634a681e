//! Verifying a backup, drilling it, and restoring it: all without touching the store in use.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ::receipts::key::Keys;
use kernel::{
    Digest, LabelMap, RunId,
    halt::Covers,
    id::HaltId,
    label::{Confidentiality, Label, Trust},
    plan::Plan,
    planning::Labelled,
    playbook::Playbook,
    principal::{Chain, Kind as ActorKind, Principal},
    run::Genesis,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Log as _, Sqlite};

use super::{
    App, Caller, backups,
    checks::{self, StoreChecked},
    config::Config,
    halts,
    header::pin_header,
    host::Lock,
    problem::{Kind, Problem},
    receipts, runs,
    shelf::Shelved,
    value::counted,
};

/// What a verified backup came to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BackupVerified {
    /// Where it is.
    pub path: String,
    /// When it was made.
    pub made_at: String,
    /// Whether everything held.
    pub sound: bool,
    /// Each check, in order.
    pub checks: Vec<receipts::CheckView>,
    /// What the check of the restored store found.
    pub store: StoreChecked,
}

/// What a restore came to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// The new store.
    pub path: String,
    /// When its backup was made.
    pub made_at: String,
    /// The halt that stands over it until somebody has looked.
    pub halt: String,
    /// Runs in it.
    pub runs: u64,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Files, chains, receipts, log, lists.
    Verify,
    /// And that it takes new work.
    Drill,
}

/// Restores a backup into a folder of its own, checks everything there, and removes it.
///
/// # Errors
/// When it is damaged, or cannot be restored at all. What does not hold inside is an answer.
pub async fn verify(
    config: &Config,
    from: &Path,
    keys: Option<Keys>,
    depth: Depth,
) -> Result<BackupVerified, Problem> {
    let backup = backups::read(from)?;
    check_tenant(config, &backup)?;
    let place = Elsewhere::beside(from);
    backups::unpack(&backup, from, &place.path)?.finish(&place.path)?;
    let (app, caller) = open(config, &place.path).await?;
    let examined = examine(&app, &caller, (&backup, keys), depth).await;
    app.shut_down().await?;
    examined
}

/// A folder that goes with its value.
struct Elsewhere {
    path: PathBuf,
}

impl Elsewhere {
    fn beside(from: &Path) -> Self {
        let mut name = from.file_name().unwrap_or_default().to_owned();
        name.push(format!(".drill-{}", std::process::id()));
        Self { path: from.with_file_name(name) }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.path);
    }
}

async fn open(config: &Config, store: &Path) -> Result<(Arc<App>, Caller), Problem> {
    let config = Config { store: store.to_path_buf(), ..config.clone() };
    let caller = Caller::person(&config, &config.me)?;
    let lock = Lock::take(store)?.ok_or_else(|| {
        Problem::new(
            Kind::TryAgain,
            "store-owned",
            format!("another process owns {}", store.display()),
        )
        .next("stop that process, or wait until it is done; then try again")
    })?;
    Ok((App::open(config, lock).await?, caller))
}

async fn examine(
    app: &App,
    caller: &Caller,
    (backup, keys): (&backups::Backup, Option<Keys>),
    depth: Depth,
) -> Result<BackupVerified, Problem> {
    let files = format!("{}, every digest holds", counted(backup.files.len(), "file"));
    let mut checks = vec![checked("files", None, files)];
    let keys = keys.unwrap_or_else(|| receipts::own_keys(app));
    let store = checks::check_with(app, caller, &keys).await?;
    let first = store.problems.first().cloned();
    let good = format!(
        "{}, {}, {}: chains, signatures and lists hold",
        counted(store.runs, "run"),
        counted(store.events, "event"),
        counted(store.receipts, "receipt")
    );
    checks.push(checked("store", first, good));
    let tree = receipts::tree(app, caller).await?;
    let root = tree.root(backup.log_size).map(|root| root.to_string()).unwrap_or_default();
    let differs = (root != backup.log_root || store.runs < backup.runs)
        .then(|| "it holds less than its manifest says, or something else".to_owned());
    checks.push(checked(
        "log",
        differs,
        format!("{}, root {root}", counted(backup.log_size, "leaf")),
    ));
    if depth == Depth::Drill {
        checks.push(take_new_work(app, caller).await);
    }
    let sound = checks.iter().all(|check| check.outcome != "failed");
    let (path, made_at) = (backup.path.clone(), backup.made_at.clone());
    Ok(BackupVerified { path, made_at, sound, checks, store })
}

fn checked(check: &str, problem: Option<String>, good: String) -> receipts::CheckView {
    let outcome = if problem.is_some() { "failed" } else { "ok" }.to_owned();
    receipts::CheckView { check: check.to_owned(), outcome, detail: problem.unwrap_or(good) }
}

/// Begins and ends a run without a single call, through the whole engine: admitted, planned, journaled,
/// closed, signed, logged.
async fn take_new_work(app: &App, caller: &Caller) -> receipts::CheckView {
    let stock = app.shelf.stock();
    let Some(shelved) = stock.packs().next() else {
        let problem = "no pack is configured or enabled: nothing shows that it takes new work; drill it \
                       under the configuration it would be used with";
        return checked("new-work", Some(problem.to_owned()), String::new());
    };
    match run_nothing(app, caller, shelved).await {
        Ok(run) => checked("new-work", None, format!("a run without calls succeeded: {run}")),
        Err(problem) => checked("new-work", Some(problem.detail), String::new()),
    }
}

async fn run_nothing(app: &App, caller: &Caller, shelved: &Shelved) -> Result<RunId, Problem> {
    let unexpected = |what: String| Problem::new(Kind::Unexpected, "drill", what);
    let leaves = app.store.log_size(caller.tenant()).await?;
    app.shelf.keep(caller.tenant(), shelved).await?;
    let plan = Arc::new(plan_of_nothing(shelved));
    let digest = app.shelf.keep_plan(caller.tenant(), &plan).await?;
    let genesis = genesis(app, caller, shelved, (&plan, digest))?;
    let run = app.engine.submit(genesis).await?.run().clone();
    app.engine.settled(caller.tenant(), &run).await;
    let status = runs::view_of(app, caller, &run).await?.status;
    if status != "succeeded" {
        return Err(unexpected(format!("a run without calls is {status}")));
    }
    let records = app.records(caller, &run).await?;
    app.fold(&run, &records).await?;
    if app.store.log_size(caller.tenant()).await? != leaves + 1 {
        return Err(unexpected("its close record is not in the receipt log".to_owned()));
    }
    Ok(run)
}

fn plan_of_nothing(shelved: &Shelved) -> Plan {
    let manifest = &shelved.pack.manifest;
    Plan {
        schema: "harness.plan/v1".to_owned(),
        intent: "backup_drill".to_owned(),
        inputs: Some(Digest::default()),
        pack: manifest.name.clone(),
        pack_version: manifest.version.clone(),
        pack_digest: shelved.pack.digest,
        policy_digest: shelved.bundle.digest(),
        config_digest: Digest::default(),
        servers: Default::default(),
        steps: Vec::new(),
        playbook: Playbook { name: "backup_drill".to_owned(), steps: Vec::new() },
        constants: Value::Null,
        hooks: Vec::new(),
    }
}

fn genesis(
    app: &App,
    caller: &Caller,
    shelved: &Shelved,
    (plan, digest): (&Plan, Digest),
) -> Result<Genesis, Problem> {
    let tenant = caller.tenant().clone();
    let agent = super::parse_id("agent:backup-drill")?;
    let agent = Principal { id: agent, kind: ActorKind::Agent, roles: Default::default() };
    let chain = Chain { agent, on_behalf_of: caller.principal().clone(), tenant: tenant.clone() };
    let manifest = &shelved.pack.manifest;
    let limits = (app.config.budget.clone(), app.config.approvers.clone());
    let header = pin_header(chain, manifest, (plan, digest), Default::default(), limits);
    let label = Label::new(Trust::System, Confidentiality::Internal);
    Ok(Genesis {
        id: RunId::of_intent(&tenant, &plan.intent, &uuid::Uuid::now_v7().to_string()),
        header,
        intent: Labelled { value: Arc::new(json!({})), labels: LabelMap::uniform(label) },
        subjects: Vec::new(),
    })
}

/// Restores a backup as a new store. It comes up halted: calls that were made after the backup are not
/// in it, and without a look they would be made again. The halt is written before the store has its name.
///
/// # Errors
/// When the backup is damaged, or the folder exists, or nobody can be held to the halt.
pub async fn restore(config: &Config, from: &Path, to: &Path) -> Result<Restored, Problem> {
    let caller = Caller::person(config, &config.me)?;
    let backup = backups::read(from)?;
    check_tenant(config, &backup)?;
    let draft = backups::unpack(&backup, from, to)?;
    let reason =
        format!("restored from the backup of {}: look what was called since", backup.made_at);
    let halt = halt_all(&draft.path, &caller, &reason).await?;
    draft.finish(to)?;
    Ok(Restored {
        path: to.display().to_string(),
        made_at: backup.made_at,
        halt: halt.to_string(),
        runs: backup.runs,
    })
}

/// Ids, keys of effects, hashes and statements hold the tenant's name: under another nothing would verify.
fn check_tenant(config: &Config, backup: &backups::Backup) -> Result<(), Problem> {
    if backup.tenant == config.tenant.as_str() {
        return Ok(());
    }
    let detail = format!("the backup is of tenant {}, not of {}", backup.tenant, config.tenant);
    Err(Problem::new(Kind::Conflict, "other-tenant", detail)
        .next("use the configuration the backup was made under"))
}

async fn halt_all(folder: &Path, caller: &Caller, reason: &str) -> Result<HaltId, Problem> {
    let store = Sqlite::open(&folder.join(backups::DATABASE), store::Options::default())?;
    let halted = halts::put_up(&store, caller, Covers::Everything, reason).await;
    store.close().await?;
    halted
}
