//! Packs and policies in force, and everything runs are pinned to, by digest.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
use planner::PlaybookPlanner;
use policy::{Bundle, Finding, Layer, Pair, Source};
use serde::{Deserialize, Serialize};

use super::{config::Config, problem::Problem};

/// A pack that can serve intents, with the policies in force for it.
#[derive(Debug)]
pub struct Shelved {
    /// The pack.
    pub pack: Pack,
    /// Its files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Every operation.
    pub catalogue: Arc<Catalogue>,
    /// Its schemas, compiled as they are needed.
    pub schemas: Arc<Schemas>,
    /// The policies in force now: operator and pack layers.
    pub bundle: Arc<Bundle>,
    /// Rules that look wrong although they are valid.
    pub findings: Vec<Finding>,
    /// What its author should look at.
    pub warnings: Vec<String>,
}

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

/// Packs by name, policies, and the loader of what runs are pinned to.
pub struct Shelf {
    packs: BTreeMap<String, Arc<Shelved>>,
    /// The operations of all packs: what an operator's policy may name.
    everything: Catalogue,
    operator: Vec<Source>,
    policies: PathBuf,
    blobs: Arc<dyn Blobs>,
    /// Pinned packs and policies that were loaded before, by digest.
    loaded: Mutex<HashMap<(Digest, Digest), Arc<Held>>>,
    plans: Mutex<HashMap<Digest, Arc<Plan>>>,
    /// Packs and policies that were kept for a tenant by this process. One at a time is kept.
    kept: tokio::sync::Mutex<HashSet<(Tenant, Digest, Digest)>>,
}

/// Most pinned plans kept in memory.
const PLANS_MAX: usize = 1_024;

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
        f.debug_struct("Shelf").field("packs", &self.packs.keys()).finish_non_exhaustive()
    }
}

impl Shelf {
    /// Loads every configured pack and policy, or says everything that is wrong with them.
    ///
    /// # Errors
    /// All problems, each with file, line and column.
    pub fn open(config: &Config, blobs: Arc<dyn Blobs>) -> Result<Self, Problem> {
        let operator = operator_layer(&config.operator_policies)?;
        let mut read = BTreeMap::new();
        for folder in &config.packs {
            let files = read_folder(folder)?;
            let loaded =
                Pack::load(files.clone()).map_err(|problems| pack_problems(folder, &problems))?;
            let name = loaded.pack.manifest.name.clone();
            if read.insert(name.clone(), (loaded, files)).is_some() {
                return Err(Problem::usage(
                    "pack-twice",
                    format!("two pack folders hold `{name}`"),
                )
                .next("remove one of them from `packs`"));
            }
        }
        let everything = union(read.values().map(|(loaded, _)| &loaded.pack.catalogue))?;
        let mut packs = BTreeMap::new();
        for (name, (loaded, files)) in read {
            let shelved = shelve(loaded, files, (&everything, &operator))?;
            packs.insert(name, Arc::new(shelved));
        }
        let policies = config.store.join("policies");
        let (loaded, plans, kept) = (Mutex::default(), Mutex::default(), Default::default());
        Ok(Self { packs, everything, operator, policies, blobs, loaded, plans, kept })
    }

    /// Packs in name order.
    pub fn packs(&self) -> impl Iterator<Item = &Arc<Shelved>> {
        self.packs.values()
    }

    /// One pack by name.
    ///
    /// # Errors
    /// When no such pack is configured.
    pub fn pack(&self, name: &str) -> Result<&Arc<Shelved>, Problem> {
        self.packs.get(name).ok_or_else(|| Problem::not_found("pack", name))
    }

    /// Keeps what a run of this pack is pinned to: listing, files and policy texts.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep(&self, tenant: &Tenant, shelved: &Shelved) -> Result<(), Problem> {
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
        self.keep_policies(&shelved.bundle, &self.sources(&shelved.pack))?;
        kept.insert(place);
        Ok(())
    }

    /// Keeps a plan; returns its hash.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_plan(&self, tenant: &Tenant, plan: &Plan) -> Result<Digest, Problem> {
        let bytes = canon::bytes(plan).map_err(unexpected)?;
        Ok(self.blobs.put(tenant.clone(), bytes).await?)
    }

    fn sources(&self, pack: &Pack) -> Vec<Source> {
        let own = pack.policies.iter().map(|policy| Source {
            layer: Layer::Pack,
            name: format!("{}/{}", pack.manifest.name, policy.file),
            text: policy.text.clone(),
        });
        self.operator.iter().cloned().chain(own).collect()
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
        if let Some(shelved) = self.packs.values().find(|s| s.pack.digest == digest) {
            return Ok(shelved.files.clone());
        }
        let get = |digest| self.blobs.get(tenant.clone(), digest);
        let listing = get(digest).await.map_err(|e| e.to_string())?;
        let listing = listing.ok_or_else(|| format!("pack {digest} is not in the store"))?;
        let listing: Vec<Listed> = serde_json::from_slice(&listing).map_err(|e| e.to_string())?;
        let mut files = BTreeMap::new();
        for Listed { path, sha256 } in listing {
            let digest: Digest =
                format!("sha256:{sha256}").parse().map_err(|_| "bad listing".to_owned())?;
            let bytes = get(digest).await.map_err(|e| e.to_string())?;
            files.insert(
                path.clone(),
                bytes.ok_or_else(|| format!("file {path} of the pack is gone"))?,
            );
        }
        Ok(files)
    }

    async fn held(&self, header: &Header) -> Result<Arc<Held>, String> {
        let key = (header.pack_digest, header.policy);
        if let Some(held) = lock(&self.loaded).get(&key) {
            return Ok(Arc::clone(held));
        }
        let shelved = self.packs.values().find(|s| s.pack.digest == header.pack_digest);
        let (pack, catalogue, schemas) = match shelved {
            Some(s) => (s.pack.clone(), Arc::clone(&s.catalogue), Arc::clone(&s.schemas)),
            None => {
                let files = self.pinned_files(&header.chain.tenant, header.pack_digest).await?;
                let pack = Pack::load(files).map_err(first_pack_problem)?.pack;
                let catalogue = Arc::new(pack.catalogue.clone());
                (pack, catalogue, Arc::new(Schemas::new()))
            }
        };
        let sources = self.sources(&pack);
        let known = with_pinned(&catalogue, &self.everything);
        let current = Arc::new(Bundle::load(&known, &sources).map_err(first_problem)?.bundle);
        self.keep_policies(&current, &sources).map_err(|p| p.detail)?;
        let pinned = if current.digest() == header.policy {
            Arc::clone(&current)
        } else {
            Arc::new(self.read_policies(&header.policy, &known)?)
        };
        let held = Arc::new(Held { catalogue, schemas, pinned, current });
        lock(&self.loaded).insert(key, Arc::clone(&held));
        Ok(held)
    }

    /// The stored plan of a run.
    ///
    /// # Errors
    /// A sentence for a person.
    pub async fn plan(&self, tenant: &Tenant, digest: Digest) -> Result<Arc<Plan>, String> {
        if let Some(plan) = lock(&self.plans).get(&digest) {
            return Ok(Arc::clone(plan));
        }
        let bytes = self.blobs.get(tenant.clone(), digest).await.map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("plan {digest} is not in the store"))?;
        let plan: Plan =
            serde_json::from_slice(&bytes).map_err(|e| format!("plan {digest}: {e}"))?;
        let plan = Arc::new(plan);
        let mut plans = lock(&self.plans);
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(digest, Arc::clone(&plan));
        Ok(plan)
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
        let plan = self.plan(&header.chain.tenant, header.plan).await?;
        let planner = PlaybookPlanner::new(Arc::clone(&plan), run).map_err(|e| e.to_string())?;
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
        let mut others = BTreeMap::new();
        for digest in named {
            let known = with_pinned(&held.catalogue, &self.everything);
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

/// The operator's own policies, or the starter set where there are none.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn operator_layer(files: &[PathBuf]) -> Result<Vec<Source>, Problem> {
    let source =
        |name: &str, text: String| Source { layer: Layer::Operator, name: name.to_owned(), text };
    if files.is_empty() {
        return Ok(vec![source("starter.cedar", policy::STARTER.to_owned())]);
    }
    let mut sources = vec![source("inherited.cedar", policy::INHERITED.to_owned())];
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problem::usage("policy-unreadable", format!("cannot read {}: {error}", path.display()))
                .next("correct policy.operator in harness.toml")
        })?;
        sources.push(source(&path.display().to_string(), text));
    }
    Ok(sources)
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

/// A loaded pack with the policies in force for it.
///
/// # Errors
/// Everything wrong with the policies.
pub(super) fn shelve(
    loaded: pack::Loaded,
    files: BTreeMap<String, Vec<u8>>,
    (everything, operator): (&Catalogue, &[Source]),
) -> Result<Shelved, Problem> {
    let pack = loaded.pack;
    let own = pack.policies.iter().map(|policy| Source {
        layer: Layer::Pack,
        name: format!("{}/{}", pack.manifest.name, policy.file),
        text: policy.text.clone(),
    });
    let sources: Vec<Source> = operator.iter().cloned().chain(own).collect();
    let policies =
        Bundle::load(everything, &sources).map_err(|problems| policy_problems(&problems))?;
    Ok(Shelved {
        files,
        catalogue: Arc::new(pack.catalogue.clone()),
        schemas: Arc::new(Schemas::new()),
        bundle: Arc::new(policies.bundle),
        findings: policies.findings,
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        pack,
    })
}

/// The operations of several packs. The same definition may stand in two; two definitions under one
/// name are a collision.
///
/// # Errors
/// Names the collision.
pub(super) fn union<'c>(
    catalogues: impl Iterator<Item = &'c Catalogue>,
) -> Result<Catalogue, Problem> {
    let mut operations = BTreeMap::new();
    for (id, entry) in catalogues.flat_map(Catalogue::iter) {
        let before = operations.insert(id.clone(), entry.clone());
        if before.is_some_and(|before| before.digest != entry.digest) {
            return Err(Problem::usage(
                "operation-twice",
                format!("two packs define {id} differently"),
            )
            .next("rename the connector in one of them"));
        }
    }
    let operations = operations.into_values().map(|entry| (*entry.operation).clone());
    Catalogue::new(operations).map_err(unexpected)
}

/// A pinned pack's own definitions, and everything else an operator's policy may name.
fn with_pinned(pinned: &Catalogue, everything: &Catalogue) -> Catalogue {
    let others = everything.iter().filter(|(id, _)| pinned.get(id).is_none());
    let all = pinned.iter().chain(others).map(|(_, entry)| (*entry.operation).clone());
    Catalogue::new(all).unwrap_or_default()
}

/// Everything wrong with a pack as one problem.
#[must_use]
pub fn pack_problems(folder: &Path, problems: &[pack::Problem]) -> Problem {
    let count = problems.len();
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
    let mut problem =
        Problem::usage("pack-invalid", format!("{}: {first}{more}", folder.display()));
    problem.at = problems.iter().map(ToString::to_string).collect();
    problem.next("correct the pack; `harness pack check` shows every problem")
}

fn policy_problems(problems: &[policy::Problem]) -> Problem {
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    let mut problem = Problem::usage("policy-invalid", first);
    problem.at = problems.iter().map(ToString::to_string).collect();
    problem.next("correct the policies; `harness policy check` shows every problem")
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
