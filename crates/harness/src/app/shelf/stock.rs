//! Packs and policies in force at one moment.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use kernel::{
    Digest,
    catalogue::Catalogue,
    id::{OperationId, Tenant},
    operation::Operation,
    plan::Plan,
};
use pack::{Pack, Router, Schemas};
use policy::{Bundle, Finding, Layer, Source};

use super::{
    super::{config::Config, models, packs::Publishers, problem::Problem},
    lock, read_folder, unexpected,
};

/// How a pack came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `packs` of the configuration names its folder.
    Configured,
    /// Somebody installed it: the store holds its files.
    Installed,
}

impl Origin {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Installed => "installed",
        }
    }
}

/// Whether a pack takes new work. Its runs in flight go on either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// It does.
    On,
    /// It was switched off.
    Off,
}

/// A sound pack as it was brought.
#[derive(Clone, Debug)]
pub struct Brought {
    /// The pack.
    pub pack: Pack,
    /// Its files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What its author should look at.
    pub warnings: Vec<String>,
    /// How it came.
    pub origin: Origin,
    /// Whether it takes new work.
    pub serves: Serves,
}

impl Brought {
    /// Loads a pack from its files.
    ///
    /// # Errors
    /// Everything wrong with it, with file, line and column.
    pub fn load(
        files: BTreeMap<String, Vec<u8>>,
        origin: Origin,
    ) -> Result<Self, Vec<pack::Problem>> {
        let loaded = Pack::load(files.clone())?;
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        Ok(Self { pack: loaded.pack, files, warnings, origin, serves: Serves::On })
    }

    /// With the operator's models among its operations, as far as it asks for them.
    pub(in super::super) fn with_models(self, models: &[Operation]) -> Result<Self, Problem> {
        let pack = self.pack.with_models(models.iter().cloned()).map_err(unexpected)?;
        Ok(Self { pack, ..self })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.pack.manifest.name
    }
}

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
    /// How it came.
    pub origin: Origin,
    /// Whether it takes new work.
    pub serves: Serves,
    /// Who signed it, in words.
    pub signature: String,
    /// The same for runs that make one call, by their intent and the operation.
    pub(in super::super) single: Singles,
    /// The plan that all calls of this share, where they do.
    pub(in super::super) shared: Mutex<Option<Arc<Planned>>>,
}

/// A plan, and what keeps it.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its hash.
    pub digest: Digest,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// Most of them kept; beyond it they are made again.
const SINGLES_MAX: usize = 64;

pub(in super::super) type Singles = Mutex<BTreeMap<(&'static str, OperationId), Arc<Shelved>>>;

impl Shelved {
    /// The same once more: what is shared stays shared.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            pack: self.pack.clone(),
            files: self.files.clone(),
            catalogue: Arc::clone(&self.catalogue),
            schemas: Arc::clone(&self.schemas),
            bundle: Arc::clone(&self.bundle),
            findings: self.findings.clone(),
            warnings: self.warnings.clone(),
            origin: self.origin,
            serves: self.serves,
            signature: self.signature.clone(),
            single: Singles::default(),
            shared: Mutex::default(),
        }
    }

    /// The same for runs of this intent, which make one call of this operation: made once.
    ///
    /// # Errors
    /// Whatever making it fails with.
    pub fn single<E>(
        &self,
        (intent, operation): (&'static str, &OperationId),
        make: impl FnOnce() -> Result<Self, E>,
    ) -> Result<Arc<Self>, E> {
        let (mut single, place) = (lock(&self.single), (intent, operation.clone()));
        if let Some(known) = single.get(&place) {
            return Ok(Arc::clone(known));
        }
        if single.len() >= SINGLES_MAX {
            single.clear();
        }
        let made = Arc::new(make()?);
        single.insert(place, Arc::clone(&made));
        Ok(made)
    }

    /// The plan of its runs under this policy and configuration, where all of them share it: made once.
    ///
    /// # Errors
    /// Whatever making it fails with.
    pub fn shared_plan<E>(
        &self,
        pins: (Digest, Digest),
        make: impl FnOnce() -> Result<Planned, E>,
    ) -> Result<Arc<Planned>, E> {
        let mut shared = lock(&self.shared);
        let is_it =
            |known: &&Arc<Planned>| (known.plan.policy_digest, known.plan.config_digest) == pins;
        if let Some(known) = shared.as_ref().filter(is_it) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(make()?);
        *shared = Some(Arc::clone(&made));
        Ok(made)
    }

    /// As it was brought.
    #[must_use]
    pub fn brought(&self) -> Brought {
        Brought {
            pack: self.pack.clone(),
            files: self.files.clone(),
            warnings: self.warnings.clone(),
            origin: self.origin,
            serves: self.serves,
        }
    }
}

/// Packs by name with the policies in force for them: made whole, and replaced whole.
pub struct Stock {
    packs: BTreeMap<String, Arc<Shelved>>,
    /// The operations of all packs: what an operator's policy may name.
    everything: Catalogue,
    operator: Operator,
    router: Router,
    /// What can change what a run does, apart from packs and policies, by tenant.
    config: Mutex<BTreeMap<Tenant, Digest>>,
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stock").field("packs", &self.packs.keys()).finish_non_exhaustive()
    }
}

impl Stock {
    /// These packs under these policies of the operator.
    ///
    /// # Errors
    /// Everything wrong with the policies, two packs of one name, two definitions of one operation.
    pub fn new(operator: Operator, brought: Vec<Brought>) -> Result<Self, Problem> {
        let mut read = BTreeMap::new();
        for one in brought {
            let one = one.with_models(&operator.models)?;
            let name = one.name().to_owned();
            if read.insert(name.clone(), one).is_some() {
                let detail = format!("two packs are called `{name}`");
                return Err(Problem::usage("pack-twice", detail).next(
                    "leave one of them out of `packs`, or remove the one that was installed",
                ));
            }
        }
        let models = operator.catalogue()?;
        let packs = read.values().map(|one| &one.pack.catalogue);
        let everything = union(packs.chain(std::iter::once(&models)))?;
        let mut packs = BTreeMap::new();
        for (name, one) in read {
            let signature = operator.publishers.check(&one.pack)?;
            let mut shelved = shelve(one, (&everything, &operator.policies))?;
            shelved.signature = signature;
            packs.insert(name, Arc::new(shelved));
        }
        let on = packs.values().filter(|shelved| shelved.serves == Serves::On);
        let router = Router::new(on.map(|shelved: &Arc<Shelved>| &shelved.pack));
        Ok(Self { packs, everything, operator, router, config: Mutex::default() })
    }

    /// The digest of the configuration for a tenant: computed once.
    pub fn config_digest(&self, tenant: &Tenant, compute: impl FnOnce() -> Digest) -> Digest {
        *lock(&self.config).entry(tenant.clone()).or_insert_with(compute)
    }

    /// Every pack, also those that are switched off, in name order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Shelved>> {
        self.packs.values()
    }

    /// Packs that take work, in name order.
    pub fn packs(&self) -> impl Iterator<Item = &Arc<Shelved>> {
        self.packs.values().filter(|shelved| shelved.serves == Serves::On)
    }

    /// One pack that takes work, by name.
    ///
    /// # Errors
    /// When there is no such pack, or it is switched off.
    pub fn pack(&self, name: &str) -> Result<&Arc<Shelved>, Problem> {
        match self.packs.get(name) {
            Some(shelved) if shelved.serves == Serves::On => Ok(shelved),
            Some(_) => {
                let detail = format!("the pack `{name}` is switched off");
                Err(Problem::new(super::super::problem::Kind::Conflict, "pack-off", detail)
                    .next(format!("`harness pack enable {name}` lets it take work again")))
            }
            None => Err(Problem::not_found("pack", name)),
        }
    }

    /// The pack whose files have this digest.
    #[must_use]
    pub fn of_digest(&self, digest: &Digest) -> Option<&Arc<Shelved>> {
        self.packs.values().find(|shelved| shelved.pack.digest == *digest)
    }

    /// The same under the same policies, with one pack switched on or off; none when it is not there.
    ///
    /// # Errors
    /// None that were not met when this stock was made.
    #[must_use]
    pub fn switched(&self, name: &str, serves: Serves) -> Option<Result<Self, Problem>> {
        self.packs.get(name)?;
        let all = self.packs.values().map(|shelved| {
            let serves = if shelved.pack.manifest.name == name { serves } else { shelved.serves };
            Brought { serves, ..shelved.brought() }
        });
        Some(Self::new(self.operator.clone(), all.collect()))
    }

    /// The operations of all packs.
    #[must_use]
    pub fn everything(&self) -> &Catalogue {
        &self.everything
    }

    /// Which intent a request means.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The texts of every policy in force for a pack.
    #[must_use]
    pub fn sources(&self, pack: &Pack) -> Vec<Source> {
        sources(&self.operator.policies, pack)
    }

    /// What the operator decides.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }
}

/// The packs whose folders the configuration names.
///
/// # Errors
/// All problems, each with file, line and column.
pub fn configured(config: &Config) -> Result<Vec<Brought>, Problem> {
    let read = read_configured(config)?;
    super::super::lock::check(config, &read)?;
    let folders = read.into_iter().map(|(folder, files)| {
        Brought::load(files, Origin::Configured)
            .map_err(|problems| pack_problems(&folder, &problems))
    });
    folders.collect()
}

/// A folder, and its files by their paths in it.
pub type Read = (PathBuf, BTreeMap<String, Vec<u8>>);

/// The files of packs, by the folder that the configuration names.
///
/// # Errors
/// When one cannot be read or is too large.
pub fn read_configured(config: &Config) -> Result<Vec<Read>, Problem> {
    let folders = config.packs.iter();
    folders.map(|folder| Ok((folder.clone(), read_folder(folder)?))).collect()
}

/// What the operator decides about every pack: policies, and the models that agents may think with.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// Texts of the operator's layer.
    pub policies: Vec<Source>,
    /// One operation a role.
    pub models: Vec<Operation>,
    /// Whose packs are trusted.
    pub publishers: Publishers,
}

impl Operator {
    /// As the configuration says now; the policies are read again.
    ///
    /// # Errors
    /// When a policy cannot be read, or what is wrong with the models.
    pub fn of(config: &Config) -> Result<Self, Problem> {
        let policies = operator_layer(&config.operator_policies)?;
        let publishers = Publishers::of(config)?;
        Ok(Self { policies, models: models::operations(config)?, publishers })
    }

    fn catalogue(&self) -> Result<Catalogue, Problem> {
        Catalogue::new(self.models.iter().cloned()).map_err(unexpected)
    }
}

/// The operator's own policies, or the starter set where there are none.
///
/// # Errors
/// When a file cannot be read.
fn operator_layer(files: &[PathBuf]) -> Result<Vec<Source>, Problem> {
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

/// A pack with the policies in force for it.
pub(in super::super) fn shelve(
    one: Brought,
    (everything, operator): (&Catalogue, &[Source]),
) -> Result<Shelved, Problem> {
    let policies = Bundle::load(everything, &sources(operator, &one.pack))
        .map_err(|problems| policy_problems(&problems))?;
    Ok(Shelved {
        files: one.files,
        catalogue: Arc::new(one.pack.catalogue.clone()),
        schemas: Arc::new(Schemas::new()),
        bundle: Arc::new(policies.bundle),
        findings: policies.findings,
        warnings: one.warnings,
        origin: one.origin,
        serves: one.serves,
        signature: String::new(),
        single: Singles::default(),
        shared: Mutex::default(),
        pack: one.pack,
    })
}

fn sources(operator: &[Source], pack: &Pack) -> Vec<Source> {
    let own = pack.policies.iter().map(|policy| Source {
        layer: Layer::Pack,
        name: format!("{}/{}", pack.manifest.name, policy.file),
        text: policy.text.clone(),
    });
    operator.iter().cloned().chain(own).collect()
}

/// The operations of several packs. The same definition may stand in two; two definitions under one
/// name are a collision.
///
/// # Errors
/// Names the collision.
pub(in super::super) fn union<'c>(
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
