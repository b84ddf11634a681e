//! Packs and policies in force, and everything runs are pinned to, by digest.

mod passing;
mod stock;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use kernel::{
    Digest, canon,
    catalogue::Catalogue,
    decision::{Decision, Question},
    event::Header,
    id::Tenant,
    plan::Plan,
    port::{Blobs, Judge, Task, Validate},
    run::Pins,
};
use pack::{Pack, Schemas};
use planner::Program;
use policy::{Bundle, Layer, Pair, Source};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{config::Config, problem::Problem};

pub use stock::{
    Brought, Operator, Origin, Planned, Read, Serves, Shelved, Stock, configured, pack_problems,
    read_configured,
};
pub(super) use stock::{shelve, union};

/// One file of a pack's listing; the digest of the listing is the pack's.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    path: String,
    sha256: String,
}

/// One policy file, as pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    layer: Layer,
    name: String,
    text: String,
}

/// Whether runs under this policy are what the proxy let pass.
#[must_use]
pub fn is_let_pass(policy: Digest) -> bool {
    policy == passing::digest()
}

/// Packs and policies in force, and the loader of what runs are pinned to.
pub struct Shelf {
    stock: RwLock<Arc<Stock>>,
    /// Rings whenever another stock is in force.
    restocked: watch::Sender<()>,
    /// Whether the proxy lets calls pass: what was begun so goes on so only as long as it does.
    lets_pass: bool,
    /// The policy of what is let pass over the operations of packs, by their digests.
    passing: Mutex<HashMap<Digest, Arc<Bundle>>>,
    policies: PathBuf,
    blobs: Arc<dyn Blobs>,
    /// Pinned packs and policies that were loaded before, by digest, under the stock that is in force.
    loaded: Mutex<HashMap<(Digest, Digest), Arc<Held>>>,
    plans: Mutex<HashMap<Digest, Kept>>,
    /// Packs and policies that were kept for a tenant by this process. One at a time is kept.
    kept: tokio::sync::Mutex<HashSet<(Tenant, Digest, Digest)>>,
}

/// Most pinned plans kept in memory.
const PLANS_MAX: usize = 1_024;

/// A pinned plan, and its playbook once a run of it was driven.
#[derive(Clone, Debug)]
struct Kept {
    plan: Arc<Plan>,
    program: Option<Arc<Program>>,
}

impl Kept {
    /// Whether somebody has it in hand besides the shelf.
    fn is_needed(&self) -> bool {
        match &self.program {
            Some(program) => Arc::strong_count(program) > 1,
            None => Arc::strong_count(&self.plan) > 1,
        }
    }
}

/// A pinned pack under one policy.
#[derive(Debug)]
struct Held {
    catalogue: Arc<Catalogue>,
    schemas: Arc<Schemas>,
    pinned: Arc<Bundle>,
    current: Arc<Bundle>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("stock", &self.stock()).finish_non_exhaustive()
    }
}

impl Shelf {
    /// A shelf with this stock in force.
    #[must_use]
    pub fn new(config: &Config, stock: Stock, blobs: Arc<dyn Blobs>) -> Self {
        let (loaded, plans, kept) = (Mutex::default(), Mutex::default(), Default::default());
        let policies = config.store.join("policies");
        let (stock, lets_pass) = (RwLock::new(Arc::new(stock)), config.mcp.proxy_mode.lets_pass());
        let (passing, restocked) = (Mutex::default(), watch::Sender::new(()));
        Self { stock, restocked, lets_pass, passing, policies, blobs, loaded, plans, kept }
    }

    /// What is in force now. Whoever asks twice may be answered differently.
    #[must_use]
    pub fn stock(&self) -> Arc<Stock> {
        Arc::clone(&self.stock.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another stock in force; runs stay with what they are pinned to.
    pub fn restock(&self, stock: Stock) {
        *self.stock.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(stock);
        lock(&self.loaded).clear();
        lock(&self.passing).clear();
        self.restocked.send_replace(());
    }

    /// Rings whenever another stock is in force.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.restocked.subscribe()
    }

    /// A pack under the policy of what the proxy lets pass.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn let_pass(&self, shelved: &Shelved) -> Result<Shelved, String> {
        let known = lock(&self.passing).get(&shelved.pack.digest).cloned();
        let bundle = match known {
            Some(bundle) => bundle,
            None => {
                let bundle = Arc::new(passing::bundle(&shelved.catalogue)?);
                lock(&self.passing).insert(shelved.pack.digest, Arc::clone(&bundle));
                bundle
            }
        };
        Ok(Shelved { bundle, ..shelved.again() })
    }

    /// One pack that takes work, by name.
    ///
    /// # Errors
    /// When there is no such pack.
    pub fn pack(&self, name: &str) -> Result<Arc<Shelved>, Problem> {
        self.stock().pack(name).cloned()
    }

    /// Keeps what a run of this pack is pinned to: listing, files and policy texts.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep(&self, tenant: &Tenant, shelved: &Shelved) -> Result<(), Problem> {
        self.keep_under(tenant, shelved, &self.stock()).await
    }

    /// As [`Shelf::keep`], for a pack of a stock that is not in force yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_under(
        &self,
        tenant: &Tenant,
        shelved: &Shelved,
        stock: &Stock,
    ) -> Result<(), Problem> {
        let place = (tenant.clone(), shelved.pack.digest, shelved.bundle.digest());
        let mut kept = self.kept.lock().await;
        if kept.contains(&place) {
            return Ok(());
        }
        let listing: Vec<Listed> = shelved
            .files
            .iter()
            .map(|(path, bytes)| Listed { path: path.clone(), sha256: Digest::of(bytes).hex() })
            .collect();
        let listing = canon::bytes(&listing).map_err(unexpected)?;
        if self.blobs.get(tenant.clone(), Digest::of(&listing)).await?.is_none() {
            for bytes in shelved.files.values() {
                self.blobs.put(tenant.clone(), bytes.clone()).await?;
            }
            self.blobs.put(tenant.clone(), listing).await?;
        }
        let sources = match passing::is_of(&shelved.bundle) {
            true => passing::sources(),
            false => stock.sources(&shelved.pack),
        };
        self.keep_policies(&shelved.bundle, &sources)?;
        kept.insert(place);
        Ok(())
    }

    /// Keeps a plan; returns its hash.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_plan(&self, tenant: &Tenant, plan: &Arc<Plan>) -> Result<Digest, Problem> {
        let Planned { digest, bytes, .. } = self.planned(Arc::clone(plan))?;
        self.blobs.put(tenant.clone(), bytes).await?;
        Ok(digest)
    }

    /// A plan with its hash and its bytes, which the caller keeps.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn planned(&self, plan: Arc<Plan>) -> Result<Planned, Problem> {
        let bytes = canon::bytes(&plan).map_err(unexpected)?;
        let digest = Digest::of(&bytes);
        self.remember(digest, Arc::clone(&plan));
        Ok(Planned { plan, digest, bytes })
    }

    /// Has a plan at hand: whoever drives its run needs it next.
    pub fn remember(&self, digest: Digest, plan: Arc<Plan>) {
        let mut plans = lock(&self.plans);
        if plans.len() >= PLANS_MAX {
            // What somebody needs now may not be in the store yet.
            plans.retain(|_, kept| kept.is_needed());
        }
        plans.entry(digest).or_insert(Kept { plan, program: None });
    }

    fn policy_path(&self, digest: &Digest) -> PathBuf {
        self.policies.join(format!("{}.json", digest.hex()))
    }

    fn keep_policies(&self, bundle: &Bundle, sources: &[Source]) -> Result<(), Problem> {
        let path = self.policy_path(&bundle.digest());
        if path.exists() {
            return Ok(());
        }
        let pinned: Vec<Pinned> = sources
            .iter()
            .map(|s| Pinned { layer: s.layer, name: s.name.clone(), text: s.text.clone() })
            .collect();
        let bytes = serde_json::to_vec(&pinned).map_err(unexpected)?;
        super::host::make_private_dir(&self.policies).map_err(unexpected)?;
        // Written beside, flushed and renamed: a crash leaves no half of it, and no run without it.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, bytes).map_err(unexpected)?;
        std::fs::File::open(&draft).and_then(|file| file.sync_all()).map_err(unexpected)?;
        std::fs::rename(&draft, &path).map_err(unexpected)?;
        let folder = std::fs::File::open(&self.policies).map_err(unexpected)?;
        folder.sync_all().map_err(unexpected)
    }

    fn read_policies(&self, digest: &Digest, catalogue: &Catalogue) -> Result<Bundle, String> {
        let path = self.policy_path(digest);
        let bytes = std::fs::read(&path).map_err(|e| format!("policies {digest}: {e}"))?;
        let pinned: Vec<Pinned> =
            serde_json::from_slice(&bytes).map_err(|e| format!("policies {digest}: {e}"))?;
        let sources: Vec<Source> = pinned
            .into_iter()
            .map(|p| Source { layer: p.layer, name: p.name, text: p.text })
            .collect();
        let loaded = Bundle::load(catalogue, &sources).map_err(first_problem)?;
        if loaded.bundle.digest() != *digest {
            return Err(format!("policies {digest} were changed behind the store"));
        }
        Ok(loaded.bundle)
    }

    /// The files of a pinned pack, from the shelf or from the store, checked against its digest.
    ///
    /// # Errors
    /// A sentence for a person.
    pub async fn pinned_files(
        &self,
        tenant: &Tenant,
        digest: Digest,
    ) -> Result<BTreeMap<String, Vec<u8>>, String> {
        if let Some(shelved) = self.stock().of_digest(&digest) {
            return Ok(shelved.files.clone());
        }
        read_files(&*self.blobs, tenant, digest).await
    }

    async fn held(&self, header: &Header) -> Result<Arc<Held>, String> {
        let key = (header.pack_digest, header.policy);
        if let Some(held) = lock(&self.loaded).get(&key) {
            return Ok(Arc::clone(held));
        }
        let stock = self.stock();
        let (pack, catalogue, schemas) = match stock.of_digest(&header.pack_digest) {
            Some(s) => (s.pack.clone(), Arc::clone(&s.catalogue), Arc::clone(&s.schemas)),
            None => {
                let files = self.pinned_files(&header.chain.tenant, header.pack_digest).await?;
                let pack = Pack::load(files).map_err(first_pack_problem)?.pack;
                let models = stock.operator().models.iter().cloned();
                let pack = pack.with_models(models).map_err(|e| e.to_string())?;
                let catalogue = Arc::new(pack.catalogue.clone());
                (pack, catalogue, Arc::new(Schemas::new()))
            }
        };
        let sources = stock.sources(&pack);
        let known = with_pinned(&catalogue, stock.everything());
        let sources = match self.lets_pass && header.policy == passing::digest() {
            true => passing::sources(),
            false => sources,
        };
        let current = Arc::new(Bundle::load(&known, &sources).map_err(first_problem)?.bundle);
        self.keep_policies(&current, &sources).map_err(|p| p.detail)?;
        let pinned = if current.digest() == header.policy {
            Arc::clone(&current)
        } else {
            Arc::new(self.read_policies(&header.policy, &known)?)
        };
        let held = Arc::new(Held { catalogue, schemas, pinned, current });
        let mut loaded = lock(&self.loaded);
        // Another stock may have come into force meanwhile; what was read under the old one is not kept.
        if Arc::ptr_eq(&stock, &self.stock()) {
            loaded.insert(key, Arc::clone(&held));
        }
        Ok(held)
    }

    /// The stored plan of a run.
    ///
    /// # Errors
    /// A sentence for a person.
    pub async fn plan(&self, tenant: &Tenant, digest: Digest) -> Result<Arc<Plan>, String> {
        if let Some(kept) = lock(&self.plans).get(&digest) {
            return Ok(Arc::clone(&kept.plan));
        }
        let bytes = self.blobs.get(tenant.clone(), digest).await.map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("plan {digest} is not in the store"))?;
        let plan: Plan =
            serde_json::from_slice(&bytes).map_err(|e| format!("plan {digest}: {e}"))?;
        let plan = Arc::new(plan);
        self.remember(digest, Arc::clone(&plan));
        Ok(plan)
    }

    /// The compiled playbook of a run.
    async fn program(&self, tenant: &Tenant, digest: Digest) -> Result<Arc<Program>, String> {
        let kept = lock(&self.plans).get(&digest).and_then(|kept| kept.program.clone());
        if let Some(program) = kept {
            return Ok(program);
        }
        let plan = self.plan(tenant, digest).await?;
        let program = Arc::new(Program::compile(plan).map_err(|e| e.to_string())?);
        if let Some(kept) = lock(&self.plans).get_mut(&digest) {
            kept.program = Some(Arc::clone(&program));
        }
        Ok(program)
    }

    /// Everything a header pins, for driving a run.
    ///
    /// # Errors
    /// A sentence for a person.
    pub async fn pins(
        &self,
        run: &kernel::RunId,
        header: &Header,
    ) -> Result<engine::Loaded, String> {
        let held = self.held(header).await?;
        let program = self.program(&header.chain.tenant, header.plan).await?;
        let schemas = Arc::clone(&held.schemas) as Arc<dyn Validate>;
        let planner = program.planner(run).with_schemas(schemas);
        let plan = Arc::clone(program.plan());
        let pins =
            Pins { plan, catalogue: Arc::clone(&held.catalogue), planner: Box::new(planner) };
        let current_policy = held.current.digest();
        let judge: Arc<dyn Judge> = if held.pinned.digest() == current_policy {
            Arc::clone(&held.pinned) as Arc<dyn Judge>
        } else {
            let (pinned, current) = (Arc::clone(&held.pinned), Arc::clone(&held.current));
            Arc::new(Since { pinned, current })
        };
        let validate = Arc::clone(&held.schemas) as Arc<dyn Validate>;
        Ok(engine::Loaded { pins, judge, validate, current_policy })
    }

    /// A judge that knows every policy a journal names: for replay.
    ///
    /// # Errors
    /// A sentence for a person.
    pub async fn recorded_judge(
        &self,
        header: &Header,
        named: &[Digest],
    ) -> Result<Recorded, String> {
        let held = self.held(header).await?;
        let stock = self.stock();
        let mut others = BTreeMap::new();
        for digest in named {
            let known = with_pinned(&held.catalogue, stock.everything());
            others.insert(*digest, Arc::new(self.read_policies(digest, &known)?));
        }
        Ok(Recorded { pinned: Arc::clone(&held.pinned), others })
    }
}

impl engine::Loader for Shelf {
    fn load<'a>(
        &'a self,
        run: &'a kernel::RunId,
        header: &'a Header,
    ) -> Task<'a, Result<engine::Loaded, String>> {
        Box::pin(self.pins(run, header))
    }
}

/// The pinned policies alone until the run has noted that others are in force, both from then on.
#[derive(Debug)]
struct Since {
    pinned: Arc<Bundle>,
    current: Arc<Bundle>,
}

impl Judge for Since {
    fn judge(&self, question: &Question<'_>) -> Decision {
        match question.current_policy {
            None => self.pinned.judge(question),
            Some(_) => {
                let (pinned, current) = (Arc::clone(&self.pinned), Arc::clone(&self.current));
                Pair { pinned, current }.judge(question)
            }
        }
    }
}

/// The policies a journal names, as they were.
#[derive(Debug)]
pub struct Recorded {
    pinned: Arc<Bundle>,
    others: BTreeMap<Digest, Arc<Bundle>>,
}

impl Judge for Recorded {
    fn judge(&self, question: &Question<'_>) -> Decision {
        let named = question.current_policy.and_then(|digest| self.others.get(&digest));
        match (question.current_policy, named) {
            (None, _) => self.pinned.judge(question),
            (Some(_), Some(current)) => {
                let (pinned, current) = (Arc::clone(&self.pinned), Arc::clone(current));
                Pair { pinned, current }.judge(question)
            }
            (Some(_), None) => {
                Decision::denied("policy-not-loaded", "the policy named is not loaded")
            }
        }
    }
}

/// The files of a pack that was kept, checked against its digest.
///
/// # Errors
/// A sentence for a person.
pub(super) async fn read_files(
    blobs: &dyn Blobs,
    tenant: &Tenant,
    digest: Digest,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let get = |digest| blobs.get(tenant.clone(), digest);
    let listing = get(digest).await.map_err(|e| e.to_string())?;
    let listing = listing.ok_or_else(|| format!("pack {digest} is not in the store"))?;
    let listing: Vec<Listed> = serde_json::from_slice(&listing).map_err(|e| e.to_string())?;
    let mut files = BTreeMap::new();
    for Listed { path, sha256 } in listing {
        let digest: Digest =
            format!("sha256:{sha256}").parse().map_err(|_| "bad listing".to_owned())?;
        let bytes = get(digest).await.map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("file {path} of the pack is gone"))?;
        files.insert(path, bytes);
    }
    Ok(files)
}

/// Reads the files of a folder by relative path.
///
/// # Errors
/// When it cannot be read or is too large.
pub fn read_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    let refuse = |path: &Path, problem: String| {
        Problem::usage("pack-unreadable", format!("cannot read {}: {problem}", path.display()))
            .next("name the folder that holds pack.yaml")
    };
    while let Some(current) = folders.pop() {
        let entries = std::fs::read_dir(&current).map_err(|e| refuse(&current, e.to_string()))?;
        for entry in entries {
            let path = entry.map_err(|e| refuse(&current, e.to_string()))?.path();
            let meta =
                std::fs::symlink_metadata(&path).map_err(|e| refuse(&path, e.to_string()))?;
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() {
                if files.len() >= pack::FILES_MAX || meta.len() > pack::FILE_BYTES_MAX as u64 {
                    return Err(refuse(&path, "a pack has few and small files".to_owned()));
                }
                let bytes = std::fs::read(&path).map_err(|e| refuse(&path, e.to_string()))?;
                let relative = path.strip_prefix(folder).unwrap_or(&path);
                files.insert(relative.to_string_lossy().replace('\\', "/"), bytes);
            } else {
                return Err(refuse(&path, "it is neither a file nor a folder".to_owned()));
            }
        }
    }
    Ok(files)
}

/// A pinned pack's own definitions, and everything else an operator's policy may name.
fn with_pinned(pinned: &Catalogue, everything: &Catalogue) -> Catalogue {
    let others = everything.iter().filter(|(id, _)| pinned.get(id).is_none());
    let all = pinned.iter().chain(others).map(|(_, entry)| (*entry.operation).clone());
    Catalogue::new(all).unwrap_or_default()
}

fn first_problem(problems: Vec<policy::Problem>) -> String {
    problems.first().map_or_else(|| "policies do not load".to_owned(), ToString::to_string)
}

fn first_pack_problem(problems: Vec<pack::Problem>) -> String {
    problems.first().map_or_else(|| "the pack does not load".to_owned(), ToString::to_string)
}

fn unexpected(error: impl fmt::Display) -> Problem {
    Problem::new(super::problem::Kind::Unexpected, "shelf", error.to_string())
        .next("`harness doctor` checks the store and its packs")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
