//! The one facade: composes pack, policy, planner, engine, store, connectors and receipts. Surfaces call
//! nothing else. Every operation is one function `(app, caller, request) -> response`, one line in
//! [`ops`], and so the same whether it is called in this process, through the owner's socket, or later
//! over HTTP.

pub mod agents;
pub mod answers;
pub mod approvals;
pub mod artifacts;
pub mod attachments;
pub mod backups;
pub mod bench;
pub mod caller;
pub mod checks;
pub mod claims;
pub mod coder;
pub mod config;
pub mod contexts;
pub mod demo;
pub mod desk;
pub mod doctor;
pub mod drill;
pub mod egress;
pub mod exceptions;
pub mod explain;
pub mod export;
pub mod failures;
pub mod feed;
mod followed;
pub mod gate;
pub mod halts;
mod header;
pub mod hearing;
pub mod host;
pub mod identity;
pub mod imports;
pub mod inbox;
pub mod intents;
mod kept;
pub mod kit;
pub mod kpis;
pub mod lanes;
pub mod leases;
pub mod ledger;
pub mod lock;
pub mod migration;
pub mod models;
pub mod notify;
mod novelty;
pub mod ops;
pub mod packs;
pub mod peers;
mod plans;
pub mod policies;
pub mod previews;
pub mod problem;
mod queues;
pub mod receipts;
pub mod requests;
pub mod reveals;
pub mod rollbacks;
pub mod runs;
pub mod sandbox;
pub mod sbom;
pub mod secrets;
pub mod servers;
pub mod shelf;
pub mod sinks;
pub mod snapshots;
pub mod socket;
pub mod speak;
pub mod speech;
pub mod timeline;
pub mod todo;
pub mod tools;
pub mod trouble;
pub mod turns;
pub mod value;
mod whole;
pub mod work;
pub mod workers;

use std::{path::Path, sync::Arc};

use ::receipts::key::Signer;
use ::secrets::Safe;
use connect::{Connectors, Host, Secrets};
use engine::{Engine, Options, OsEntropy};
use kernel::{
    id::RunId,
    port::{Blobs, Validate},
    run::Run,
};
use pack::Schemas;
use store::{Documents as _, Query, Sqlite};

use backups::{DATABASE, POLICIES};
use config::Config;
use feed::{Feed, Watched};
use followed::Followed;
use host::{Lock, Sealer, SystemClock};
use models::Doors;
use problem::{Kind, Problem};
use shelf::Shelf;
use speech::Speech;
use tools::people::OtherEnds;
use whole::Whole;

pub use caller::{Caller, Right};

/// How often what has expired beside the journal is forgotten.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// Runs driven at a time in one process.
const RUNS_MAX: usize = 256;

/// The composed product over one store.
#[derive(Debug)]
pub struct App {
    config: Arc<Config>,
    store: Arc<Sqlite>,
    engine: Arc<Engine>,
    shelf: Arc<Shelf>,
    connectors: Arc<Connectors>,
    models: Arc<::models::Models>,
    packs: packs::Installing,
    novelty: novelty::Novelty,
    identity: identity::Known,
    feed: Arc<Feed>,
    followed: Arc<Followed>,
    speech: Arc<Speech>,
    clock: Arc<dyn engine::Clock>,
    notifier: notify::Notifier,
    provider: Option<identity::Provider>,
    signer: Arc<Signer>,
    egress: Arc<egress::Ledger>,
    leases: leases::Leases,
    ends: Arc<tools::ends::Ends>,
    /// Where its pages are served, once they are.
    pages: std::sync::OnceLock<String>,
    _lock: Lock,
}

impl App {
    /// Opens a store that nobody else owns.
    ///
    /// # Errors
    /// What is wrong with configuration, packs, policies, key or store, with its place.
    pub async fn open(config: Config, lock: Lock) -> Result<Arc<Self>, Problem> {
        Self::open_at(config, lock, Arc::new(SystemClock)).await
    }

    /// As [`App::open`], by another clock for runs and timers: a rehearsal of a month takes seconds. What a
    /// call may take is measured by the machine's own, so its boot time must be this machine's.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_at(
        config: Config,
        lock: Lock,
        clock: Arc<dyn engine::Clock>,
    ) -> Result<Arc<Self>, Problem> {
        let config = Arc::new(config);
        let packs = packs::Configured::begin(&config);
        let signer = Arc::new(host::signing_key(&config.receipt_key)?);
        let store = open_store(&config.store)?;
        let blobs = Arc::clone(&store) as Arc<dyn Blobs>;
        let safe = secrets::safe(&config)?;
        let speech = Arc::new(Speech::default());
        let egress = Arc::new(egress::Ledger::new(Arc::clone(&store), config.tenant.clone()));
        let around = (Arc::clone(&store), Arc::clone(&clock), Arc::clone(&egress));
        let (ends, whole) = <(Arc<tools::ends::Ends>, Arc<Whole>)>::default();
        let connectors = open_connectors((&config, &signer), Arc::clone(&safe), around, &speech)?;
        let connectors = connectors.judged_by(coder::judging::Judging::of(&whole) as _);
        let connectors = Arc::new(connectors.passing_to(OtherEnds::of(&ends, &whole) as _));
        speech.withhold(&connectors);
        sinks::watch(&connectors);
        let files = Arc::new(attachments::Kept(Arc::clone(&blobs)));
        let models = Arc::new(models::open(&config, &safe, (Arc::clone(&speech) as _, files))?);
        let (stock, lost) = packs::stock(packs, &config.tenant, &store).await?;
        packs::check_systems(&connectors, &stock)?;
        let shelf = Arc::new(Shelf::new(&config, stock, blobs));
        let (at, followed) = (clock.now().at.unsigned_abs(), Arc::<Followed>::default());
        let feed = Arc::new(Feed::new(at));
        let watched = Watched {
            journal: Arc::clone(&store),
            feed: Arc::clone(&feed),
            followed: Arc::clone(&followed),
            connectors: Arc::clone(&connectors),
        };
        let engine = Engine::new(Options {
            journal: Arc::new(watched),
            connector: Arc::new(Doors {
                models: Arc::clone(&models),
                connectors: Arc::clone(&connectors),
                speech: Arc::clone(&speech),
                blobs: Arc::clone(&store) as Arc<dyn Blobs>,
            }),
            loader: Arc::clone(&shelf) as Arc<dyn engine::Loader>,
            seal: Arc::new(Sealer(Arc::clone(&signer))),
            clock: Arc::clone(&clock),
            entropy: Arc::new(OsEntropy),
            runs_max: RUNS_MAX,
        });
        let notifier = notify::Notifier::new(&config, &safe, &connectors)?;
        let app = Arc::new(Self {
            provider: identity::Provider::new(config.oidc.as_ref(), &safe)?,
            config,
            store,
            engine,
            shelf,
            connectors,
            models,
            packs: packs::Installing::new(lost),
            novelty: novelty::Novelty::default(),
            identity: identity::Known::default(),
            feed,
            followed,
            speech,
            clock,
            notifier,
            signer,
            egress,
            leases: leases::Leases::default(),
            ends,
            pages: std::sync::OnceLock::new(),
            _lock: lock,
        });
        whole.is(&app);
        Ok(app)
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What changes, as it changes.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// What models say while they say it.
    #[must_use]
    pub fn speech(&self) -> &Arc<Speech> {
        &self.speech
    }

    /// Says where pages are served from now on: what waits for a person is told with its address.
    pub fn serves_pages_at(&self, url: String) {
        // The first listener stays; there is one.
        drop(self.pages.set(url));
    }

    /// Where it is reached, where it serves.
    pub(crate) fn served_at(&self) -> Option<&str> {
        self.pages.get().map(String::as_str)
    }

    /// The page of something, where pages are served.
    pub(crate) fn page_of(&self, place: &str, id: &str) -> Option<String> {
        self.pages.get().map(|url| format!("{url}/{place}/{id}"))
    }

    /// The address of something of ours, where pages are served: as the configuration says that people reach it, or as
    /// it is bound. Never as a request calls it.
    pub(crate) fn address_of(&self, path: &str) -> Option<String> {
        self.pages.get().map(|url| format!("{url}{path}"))
    }

    /// The wall clock, in ms.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().at
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn check_readable(&self) -> Result<(), Problem> {
        self.store.due_documents(answers::KIND, 0, 1).await?;
        Ok(())
    }

    /// Figures of the store for whoever watches it: name, meaning, value.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn figures(&self) -> Result<Vec<(&'static str, &'static str, u64)>, Problem> {
        let stats = self.store.stats(&self.config.tenant).await?;
        Ok(vec![
            ("harness_runs", "Runs in the store.", stats.runs),
            ("harness_events", "Events in the store.", stats.events),
            ("harness_receipts", "Receipts in the log.", stats.receipts),
            ("harness_approvals_open", "Asks that wait for a person.", stats.approvals_open),
            ("harness_exceptions_open", "Exceptions that need a person.", stats.exceptions_open),
            ("harness_operations_below_goal", "Operations below their goal.", self.below_goal()),
            ("harness_store_writes", "Writes acknowledged since the start.", stats.writes),
            ("harness_store_commits", "Commits since the start.", stats.commits),
            ("harness_store_bytes", "Size of the database file.", stats.file_bytes),
        ])
    }

    fn below_goal(&self) -> u64 {
        let health = self.connectors.health();
        let operations = health.iter().flat_map(|system| &system.operations);
        operations.filter(|operation| packs::misses_goal(self, operation)).count() as u64
    }

    /// Drives what is due until [`App::shut_down`].
    pub async fn serve(self: Arc<Self>) {
        let engine = Arc::clone(&self.engine).serve();
        let sweep = async {
            loop {
                self.sweep_credentials().await;
                self.sweep_notices().await;
                self.sweep_claims().await;
                self.sweep_tools().await;
                self.sweep_tasks().await;
                self.sweep_uses().await;
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        };
        tokio::select! {
            () = engine => {}
            () = sweep => {}
            () = self.notify() => {}
        }
    }

    /// Stops taking work, lets calls in flight end, and closes the store.
    ///
    /// # Errors
    /// When the store cannot be closed; what was acknowledged is durable all the same.
    pub async fn shut_down(&self) -> Result<(), Problem> {
        self.engine.drain().await;
        self.egress.settled().await;
        self.store.close().await?;
        Ok(())
    }

    /// Folds a run for reading: nobody is disturbed, nothing is written.
    pub(crate) async fn fold(
        &self,
        run: &RunId,
        records: &[kernel::event::Record],
    ) -> Result<Run, Problem> {
        let header = records
            .first()
            .and_then(header_of)
            .ok_or_else(|| Problem::not_found("run", run.as_str()))?;
        let loaded = self.shelf.pins(run, header).await.map_err(|problem| {
            Problem::new(Kind::Unexpected, "run-not-loadable", problem)
                .next("install the pack the run is pinned to")
        })?;
        fold_under(records, loaded.pins)
    }

    /// Every event of a run, verified.
    pub(crate) async fn records(
        &self,
        caller: &Caller,
        run: &RunId,
    ) -> Result<Vec<kernel::event::Record>, Problem> {
        let mut records = Vec::new();
        loop {
            let from = records.len() as u64;
            let page = self.store.events(caller.tenant(), run, from, store::PAGE_MAX).await?;
            let full = page.len() == store::PAGE_MAX;
            records.extend(page);
            if !full {
                break;
            }
        }
        if records.is_empty() {
            return Err(Problem::not_found("run", run.as_str()));
        }
        Ok(records)
    }

    /// As [`App::records`], for callers who may see their own runs only: to them others do not exist.
    pub(crate) async fn own_records(
        &self,
        caller: &Caller,
        run: &RunId,
    ) -> Result<Vec<kernel::event::Record>, Problem> {
        let records = self.records(caller, run).await?;
        let header = records.first().and_then(header_of).filter(|header| caller.may_see(header));
        header.is_some().then_some(records).ok_or_else(|| Problem::not_found("run", run.as_str()))
    }

    /// At most so many events from a place on, for callers as those of [`App::own_records`].
    pub(crate) async fn own_page(
        &self,
        caller: &Caller,
        run: &RunId,
        (from, limit): (u64, usize),
    ) -> Result<Vec<kernel::event::Record>, Problem> {
        self.check_own(caller, run).await?;
        Ok(self.store.events(caller.tenant(), run, from, limit).await?)
    }

    pub(crate) async fn check_own(&self, caller: &Caller, run: &RunId) -> Result<(), Problem> {
        self.own_header(caller, run).await.map(drop)
    }

    /// What a run was begun with, for callers as those of [`App::own_records`].
    pub(crate) async fn own_header(
        &self,
        caller: &Caller,
        run: &RunId,
    ) -> Result<kernel::event::Header, Problem> {
        let first = self.store.events(caller.tenant(), run, 0, 1).await?;
        let header = first.first().and_then(header_of).filter(|header| caller.may_see(header));
        header.cloned().ok_or_else(|| Problem::not_found("run", run.as_str()))
    }
}

/// Folds a run under what it is pinned to.
pub(crate) fn fold_under(
    records: &[kernel::event::Record],
    pins: kernel::run::Pins,
) -> Result<Run, Problem> {
    Run::fold(records, pins).map_err(|fault| {
        Problem::new(Kind::VerificationFailed, "journal-damaged", fault.to_string())
            .next("nothing was sent; restore the store from a backup and run `harness doctor`")
    })
}

/// The pinned world of a run, from its first event.
pub(crate) fn header_of(record: &kernel::event::Record) -> Option<&kernel::event::Header> {
    match &record.event.body {
        kernel::event::Body::Opened { header, .. } => Some(header),
        _ => None,
    }
}

/// Reads an id, or says what it should look like.
pub(crate) fn parse_id<T: std::str::FromStr<Err = kernel::id::BadId>>(
    text: &str,
) -> Result<T, Problem> {
    text.parse().map_err(|error: kernel::id::BadId| {
        Problem::usage("bad-id", error.to_string())
            .next("copy the whole id from a list, such as `harness run list -o id`")
    })
}

/// Opens the database of a store. An empty one is a new store only where there was none: the folder of
/// policies is made once a database is there, and shows it.
fn open_store(folder: &Path) -> Result<Arc<Sqlite>, Problem> {
    let (file, policies) = (folder.join(DATABASE), folder.join(POLICIES));
    let bytes = std::fs::metadata(&file).map_or(0, |found| found.len());
    if bytes == 0 && policies.exists() {
        let detail = format!(
            "{} is empty, but {} shows that it was not",
            file.display(),
            policies.display()
        );
        return Err(Problem::new(Kind::VerificationFailed, "store-lost", detail).next(
            "`harness backup restore` brings a backup back; to begin anew, move the folder away",
        ));
    }
    let store = Sqlite::open(&file, store::Options::default())?;
    host::make_private_dir(&policies).map_err(|error| {
        let detail = format!("{}: {error}", policies.display());
        Problem::new(Kind::TryAgain, "store-unusable", detail)
            .next("check that its folder can be written; then try again")
    })?;
    if let Some(found) = store.migrated_from() {
        let known = store::VERSION;
        tracing::warn!(found, known, "the store was brought forward from an older version");
    }
    Ok(store)
}

fn open_connectors(
    (config, signer): (&Config, &Signer),
    safe: Arc<Safe>,
    (store, clock, egress): (Arc<Sqlite>, Arc<dyn engine::Clock>, Arc<egress::Ledger>),
    speech: &Arc<Speech>,
) -> Result<Connectors, Problem> {
    let declared =
        config.secrets.iter().map(|(name, reference)| (name.as_str(), reference.as_str()));
    let invalid = |error: connect::Error| {
        Problem::usage("connector-invalid", error.to_string())
            .next("correct [systems] and [secrets] in harness.toml")
    };
    let own = config.own_secrets.iter().map(|(name, reference)| (&**name, &**reference));
    let secrets = Secrets::parse(declared).and_then(|secrets| secrets.watching(own));
    let secrets = secrets.map_err(invalid)?.kept_in(safe);
    let people = Arc::new(notify::Bell::new(config, &store, &clock));
    let host = Host {
        clock: Arc::new(host::OneClock(clock)),
        validate: Arc::new(Schemas::new()) as Arc<dyn Validate>,
        blobs: Some(Arc::new(value::StoreSink(store as Arc<dyn Blobs>))),
        circuit: config.circuit,
        traffic: egress,
        listen: Arc::clone(speech) as _,
        kept: Some(config.store.join(work::FOLDER)),
        people,
    };
    let hooks = config.hooks.iter().map(config::hooks::Declared::operation);
    let connectors = Connectors::new(config.systems.clone(), secrets, host).map_err(invalid)?;
    let connectors = connectors.with_hooks(hooks).map_err(invalid)?;
    Ok(match reveals::keeper(config, signer)? {
        Some(keeper) => connectors.keeping(keeper),
        None => connectors,
    })
}
