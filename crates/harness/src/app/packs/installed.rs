//! Packs that were installed: the store holds their files, every version and every change.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use connect::Connectors;
use kernel::{id::Tenant, port::Blobs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Document, Documents as _, Expected, Kept, Sqlite};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    super::{
        App, Caller,
        config::Config,
        problem::{Kind, Problem},
        shelf,
    },
    record::{Did, PackDetail, PackRemoved, Record, Version, conflict, detail},
    review::{Drafted, PackFiles},
};
use shelf::{Brought, Operator, Origin, Serves, Stock};

/// The kind of document an installed pack is kept as.
const KIND: &str = "pack";

/// Most installed packs.
const PACKS_MAX: usize = 200;

/// Names that routes of the API have.
const TAKEN: [&str; 1] = ["status"];

/// Installs a pack, or replaces it by a newer version.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BringPack {
    /// Path from the folder that holds `pack.yaml` → text.
    pub files: BTreeMap<String, String>,
    /// `accept` of the review that was looked at.
    #[serde(default)]
    pub accept: String,
}

/// Which pack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedPack {
    /// Its name.
    pub pack: String,
}

/// Replaces an installed pack by a newer version.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradePack {
    /// Its name.
    pub pack: String,
    /// Path from the folder that holds `pack.yaml` → text.
    pub files: BTreeMap<String, String>,
    /// `accept` of the review that was looked at.
    #[serde(default)]
    pub accept: String,
}

/// Puts an earlier version in force again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBackPack {
    /// Its name.
    pub pack: String,
    /// Which version; the one before when nothing is said.
    #[serde(default)]
    pub to: Option<String>,
}

/// One change at a time, and installed packs that could not be put in force.
#[derive(Debug)]
pub struct Installing {
    lost: Mutex<BTreeMap<String, String>>,
    one: tokio::sync::Mutex<()>,
}

impl Installing {
    /// With what could not be put in force when the store was opened: name → why.
    #[must_use]
    pub fn new(lost: BTreeMap<String, String>) -> Self {
        Self { lost: Mutex::new(lost), one: tokio::sync::Mutex::default() }
    }

    /// Installed packs that are not in force, and why.
    #[must_use]
    pub fn lost(&self) -> BTreeMap<String, String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn found(&self, name: &str) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// The packs of the configuration, and what they are in force as while no other is installed.
#[derive(Debug)]
pub struct Configured {
    operator: Operator,
    brought: Vec<Brought>,
    /// Rules of the operator may name what only an installed pack brings.
    alone: Result<Stock, Problem>,
}

impl Configured {
    /// Begins to read and compile them: that takes as long as everything else takes to open.
    #[must_use]
    pub fn begin(config: &Arc<Config>) -> JoinHandle<Result<Self, Problem>> {
        let config = Arc::clone(config);
        spawn_blocking(move || Self::of(&config))
    }

    /// Reads and compiles them.
    ///
    /// # Errors
    /// What is wrong with a configured pack.
    fn of(config: &Config) -> Result<Self, Problem> {
        let brought = shelf::configured(config)?;
        let operator = Operator::of(config)?;
        let alone = Stock::new(operator.clone(), brought.clone());
        Ok(Self { operator, brought, alone })
    }
}

/// Configured and installed packs as a store is opened, and the installed ones that cannot be put in force:
/// a pack that does not load any more must not keep the others from working.
///
/// # Errors
/// What is wrong with the policies, or that the store cannot be read.
pub async fn stock(
    configured: JoinHandle<Result<Configured, Problem>>,
    tenant: &Tenant,
    store: &Sqlite,
) -> Result<(Stock, BTreeMap<String, String>), Problem> {
    let Configured { operator, mut brought, alone } = configured.await.map_err(|error| {
        Problem::new(Kind::Unexpected, "packs-unread", format!("packs were not read: {error}"))
    })??;
    let own: Vec<String> = brought.iter().map(|one| one.name().to_owned()).collect();
    let (mut installed, mut lost) = (Vec::new(), BTreeMap::new());
    for kept in store.documents(tenant, KIND, (None, PACKS_MAX)).await? {
        let found = match own.contains(&kept.id) {
            true => Err("`packs` of the configuration names a folder that holds it".to_owned()),
            false => load(tenant, store, &kept).await,
        };
        match found {
            Ok(one) => installed.push(one),
            Err(why) => drop(lost.insert(kept.id, why)),
        }
    }
    if installed.is_empty() {
        return Ok((alone?, lost));
    }
    let all = || brought.iter().chain(&installed).cloned().collect();
    if let Ok(stock) = Stock::new(operator.clone(), all()) {
        return Ok((stock, lost));
    }
    // One of them does not fit the others: those that do, one by one.
    for one in installed {
        brought.push(one.clone());
        if let Err(problem) = Stock::new(operator.clone(), brought.clone()) {
            brought.pop();
            lost.insert(one.name().to_owned(), problem.detail);
        }
    }
    Ok((Stock::new(operator, brought)?, lost))
}

async fn load(tenant: &Tenant, store: &Sqlite, kept: &Kept) -> Result<Brought, String> {
    let record: Record = serde_json::from_slice(&kept.body).map_err(|e| e.to_string())?;
    let files = shelf::read_files(store as &dyn Blobs, tenant, record.digest).await?;
    let brought = Brought::load(files, Origin::Installed);
    let mut brought = brought.map_err(|problems| {
        problems.first().map_or_else(|| "it does not load".to_owned(), ToString::to_string)
    })?;
    brought.serves = if record.serves { Serves::On } else { Serves::Off };
    Ok(brought)
}

/// Every operation of a stock must have its system.
///
/// # Errors
/// The first that has none.
pub fn check_systems(connectors: &Connectors, stock: &Stock) -> Result<(), Problem> {
    for (_, entry) in stock.all().flat_map(|shelved| shelved.catalogue.iter()) {
        check_system(connectors, &entry.operation).map_err(|error| {
            Problem::usage("connector-invalid", error.to_string())
                .next("correct [systems] and [secrets] in harness.toml")
        })?;
    }
    Ok(())
}

/// Whether there is a way for one operation: models have theirs once they are configured at all.
pub(super) fn check_system(
    connectors: &Connectors,
    operation: &kernel::operation::Operation,
) -> Result<(), connect::Error> {
    if operation.is_model_call() { Ok(()) } else { connectors.check(operation) }
}

/// One pack, with its versions and what was done to it.
///
/// # Errors
/// When there is no such pack.
pub async fn get(app: &App, caller: &Caller, request: NamedPack) -> Result<PackDetail, Problem> {
    let record = app.installed(caller, &request.pack).await?.map(|(record, _)| record);
    detail(app, &request.pack, record)
}

/// Installs a pack that is not there yet; it takes work from then on.
///
/// # Errors
/// When it does not load, is not covered by the operator's policy, is there already, or something else than
/// what was looked at would be installed.
pub async fn install(
    app: &App,
    caller: &Caller,
    request: BringPack,
) -> Result<PackDetail, Problem> {
    let BringPack { files, accept } = request;
    let bring = Bring { named: None, files: PackFiles { files }, accept };
    app.bring(caller, bring, Did::Installed).await
}

/// Replaces an installed pack by a newer version. Runs in flight stay with the version they began with.
///
/// # Errors
/// As [`install`], and when it is not newer.
pub async fn upgrade(
    app: &App,
    caller: &Caller,
    request: UpgradePack,
) -> Result<PackDetail, Problem> {
    let UpgradePack { pack, files, accept } = request;
    app.installed_here(caller, &pack).await?;
    let bring = Bring { named: Some(pack), files: PackFiles { files }, accept };
    app.bring(caller, bring, Did::Upgraded).await
}

/// Files to put in force.
struct Bring {
    /// The pack that is to be replaced.
    named: Option<String>,
    files: PackFiles,
    accept: String,
}

/// What is written down about a pack that comes, and what must be there already.
fn record_for(
    there: Option<(Record, u64)>,
    (name, new): (&str, &Version),
    did: Did,
) -> Result<(Record, Expected), Problem> {
    match (there, did) {
        (None, Did::Installed) if TAKEN.contains(&name) => {
            let detail = format!("no pack may be called `{name}`");
            Err(Problem::usage("pack-name-taken", detail).next("give it another name"))
        }
        (None, Did::Installed) => {
            let (versions, changes) = (Vec::new(), Vec::new());
            let record = Record { serves: true, digest: new.digest, versions, changes };
            Ok((record, Expected::Absent))
        }
        (Some(_), Did::Installed) => {
            let detail = format!("the pack `{name}` is installed already");
            Err(conflict("pack-there", detail).next("`harness pack upgrade` replaces it"))
        }
        (Some((record, at)), _) => {
            record.check_newer(new)?;
            Ok((record, Expected::Version(at)))
        }
        (None, _) => Err(Problem::not_found("pack", name)),
    }
}

/// The installer has seen exactly this, and nothing stands against it.
fn check_accepted(refused: &[String], (given, shown): (&str, &str)) -> Result<(), Problem> {
    if let Some(first) = refused.first() {
        let more = refused.len().saturating_sub(1);
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let mut problem = Problem::new(Kind::Denied, "pack-refused", format!("{first}{more}"));
        problem.at = refused.to_vec();
        return Err(problem.next(
            "permit its operations in the operator's policy, and declare its systems and secrets",
        ));
    }
    if given != shown {
        let detail = match given.is_empty() {
            true => "nobody has accepted what this pack asks for".to_owned(),
            false => "what this pack asks for is not what was accepted".to_owned(),
        };
        return Err(conflict("pack-not-accepted", detail)
            .next("look at the review of these files, and send its `accept` along"));
    }
    Ok(())
}

/// Lets a pack take work again.
///
/// # Errors
/// When it was not installed.
pub async fn enable(app: &App, caller: &Caller, request: NamedPack) -> Result<PackDetail, Problem> {
    switch(app, caller, &request.pack, (Serves::On, Did::Enabled)).await
}

/// Lets a pack take no new work; its runs in flight go on. `harness halt` stops those too.
///
/// # Errors
/// When it was not installed.
pub async fn disable(
    app: &App,
    caller: &Caller,
    request: NamedPack,
) -> Result<PackDetail, Problem> {
    switch(app, caller, &request.pack, (Serves::Off, Did::Disabled)).await
}

async fn switch(
    app: &App,
    caller: &Caller,
    name: &str,
    (serves, did): (Serves, Did),
) -> Result<PackDetail, Problem> {
    let _one = app.packs.one.lock().await;
    let (mut record, at) = app.installed_here(caller, name).await?;
    if record.serves == (serves == Serves::On) && !app.packs.lost().contains_key(name) {
        return detail(app, name, Some(record));
    }
    record.serves = serves == Serves::On;
    let now = app.shelf.stock();
    let stock = match now.switched(name, serves) {
        Some(stock) => stock?,
        None => app.with_version(caller, name, &record).await?,
    };
    app.keep_pack(caller, (name, record), (did, Expected::Version(at)), stock).await
}

/// Puts an earlier version in force again. Runs in flight stay with the version they began with.
///
/// # Errors
/// When there is no such version, or it does not fit policy and configuration any more.
pub async fn rollback(
    app: &App,
    caller: &Caller,
    request: RollBackPack,
) -> Result<PackDetail, Problem> {
    let _one = app.packs.one.lock().await;
    let (mut record, at) = app.installed_here(caller, &request.pack).await?;
    let target = match &request.to {
        Some(to) => record.versions.iter().find(|known| known.version == *to),
        None => record.before(),
    };
    let Some(target) = target.cloned() else {
        let known: Vec<&str> = record.versions.iter().map(|v| v.version.as_str()).collect();
        let detail = format!("there is no such version of `{}`", request.pack);
        return Err(Problem::new(Kind::NotFound, "pack-version-not-found", detail)
            .next(format!("known are: {}", known.join(", "))));
    };
    if target.digest == record.digest {
        return detail(app, &request.pack, Some(record));
    }
    record.digest = target.digest;
    let stock = app.with_version(caller, &request.pack, &record).await?;
    let change = (Did::RolledBack, Expected::Version(at));
    app.keep_pack(caller, (&request.pack, record), change, stock).await
}

/// Removes a pack: it takes no new work, and is shown no more. Its runs stay, and those in flight go on.
///
/// # Errors
/// When it was not installed, or a policy still names its operations.
pub async fn remove(
    app: &App,
    caller: &Caller,
    request: NamedPack,
) -> Result<PackRemoved, Problem> {
    let _one = app.packs.one.lock().await;
    let (record, _) = app.installed_here(caller, &request.pack).await?;
    let mut rest: Vec<Brought> = app.shelf.stock().all().map(|one| one.brought()).collect();
    rest.retain(|one| one.name() != request.pack);
    let operator = Operator::of(&app.config)?;
    let stock = Stock::new(operator, rest)?;
    app.store.discard(caller.tenant(), KIND, &request.pack).await?;
    let by = caller.principal().id.as_str();
    tracing::info!(pack = request.pack, by, "a pack was removed");
    app.shelf.restock(stock);
    app.packs.found(&request.pack);
    let (version, digest) = (record.current().to_owned(), record.digest.to_string());
    Ok(PackRemoved { name: request.pack, version, digest })
}

impl App {
    async fn installed(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Option<(Record, u64)>, Problem> {
        let Some(kept) = self.store.document(caller.tenant(), KIND, name).await? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&kept.body).map_err(|error| {
            Problem::new(Kind::Unexpected, "pack-record", format!("{name}: {error}"))
                .next("the store was written by another version; use that one")
        })?;
        Ok(Some((record, kept.version)))
    }

    async fn installed_here(&self, caller: &Caller, name: &str) -> Result<(Record, u64), Problem> {
        let found = self.installed(caller, name).await?;
        found.ok_or_else(|| {
            let configured = self.shelf.stock().all().any(|one| one.pack.manifest.name == name);
            match configured {
                false => Problem::not_found("pack", name),
                true => conflict("pack-configured", format!("`{name}` is a configured pack"))
                    .next("change its folder, or `packs` in harness.toml, and start again"),
            }
        })
    }

    async fn bring(&self, caller: &Caller, bring: Bring, did: Did) -> Result<PackDetail, Problem> {
        let _one = self.packs.one.lock().await;
        let Drafted { stock, review } = Drafted::of(self, &bring.files)?;
        let name = review.name.clone();
        if let Some(named) = bring.named.filter(|named| *named != name) {
            let detail = format!("these are the files of `{name}`, not of `{named}`");
            return Err(conflict("pack-other", detail).next("send the files of the pack you name"));
        }
        check_accepted(&review.refused, (&bring.accept, &review.accept))?;
        let shelved = stock.pack(&name)?;
        let version = Version { version: review.version, digest: shelved.pack.digest };
        let there = self.installed(caller, &name).await?;
        let (mut record, expected) = record_for(there, (&name, &version), did)?;
        record.serves = true;
        record.digest = version.digest;
        record.versions.push(version);
        // Everything a run will be pinned to is there before the pack is.
        self.shelf.keep_under(caller.tenant(), shelved, &stock).await?;
        self.keep_pack(caller, (&name, record), (did, expected), stock).await
    }

    /// The stock with another version of one installed pack in it.
    async fn with_version(
        &self,
        caller: &Caller,
        name: &str,
        record: &Record,
    ) -> Result<Stock, Problem> {
        let files = shelf::read_files(&*self.store, caller.tenant(), record.digest).await;
        let files = files.map_err(|why| {
            Problem::new(Kind::VerificationFailed, "pack-files", format!("{name}: {why}"))
                .next("restore the store from a backup, or install the version again")
        })?;
        let mut brought = Brought::load(files, Origin::Installed)
            .map_err(|problems| shelf::pack_problems(std::path::Path::new(name), &problems))?;
        brought.serves = if record.serves { Serves::On } else { Serves::Off };
        let mut all: Vec<Brought> = self.shelf.stock().all().map(|one| one.brought()).collect();
        all.retain(|one| one.name() != name);
        all.push(brought);
        let stock = Stock::new(Operator::of(&self.config)?, all)?;
        check_systems(&self.connectors, &stock)?;
        Ok(stock)
    }

    /// Writes down what was done, then puts it in force: a crash between the two is made good at the next
    /// start.
    async fn keep_pack(
        &self,
        caller: &Caller,
        (name, mut record): (&str, Record),
        (did, expected): (Did, Expected),
        stock: Stock,
    ) -> Result<PackDetail, Problem> {
        record.note(did, caller.principal().id.clone(), self.now());
        let body = serde_json::to_vec(&record)
            .map_err(|e| Problem::new(Kind::Unexpected, "pack-record", e.to_string()))?;
        let document = Document { kind: KIND, id: name.to_owned(), due: None, body };
        self.store.keep(caller.tenant(), document, expected).await?;
        self.shelf.restock(stock);
        self.packs.found(name);
        detail(self, name, Some(record))
    }
}
