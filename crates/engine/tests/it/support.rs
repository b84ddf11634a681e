//! A scripted connector, a manual clock, and a journal that counts, waits and fails when told to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use engine::{Clock, Engine, Entropy, Loaded, Loader, Options, OsEntropy, Seal};
use kernel::{
    action::Proposal,
    approval::ApproverRule,
    budget::Budget,
    catalogue::Catalogue,
    decision::{Autonomy, Mode},
    event::{Header, MACHINE, Record},
    exception::{Class, Landed},
    gate::Permit,
    id::{At, Digest, RunId, Tenant},
    input::Now,
    label::LabelMap,
    operation::{Effect, Operation, Retry, Undo},
    plan::Plan,
    planning::Labelled,
    port::{Batch, Connector, Journal, JournalError, Loaded as Stored, Outcome, Posted, Task},
    principal::{Chain, Grant, Kind, Principal},
    run::{Genesis, Pins, replay},
};
use serde_json::json;
use store::{Query, Ram, Sqlite, Store};
use testkit::{
    LinePlanner, NoSchemas, Rules, clean, failure, operation, person, plan_of, proposal, returned,
};
use tokio::sync::{Notify, Semaphore};

/// A clock that stands still until moved.
#[derive(Debug)]
pub(crate) struct Manual(AtomicI64);

impl Manual {
    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Now {
        let at = self.0.load(Ordering::SeqCst);
        Now { at, boot_ms: at.unsigned_abs() }
    }
}

/// What the scripted target does with the next call of an operation.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Panic,
    /// Waits at the gate until the test lets it through.
    Wait,
    /// Fails before anything happened.
    Fail,
}

/// A target that counts calls and effects.
#[derive(Debug)]
pub(crate) struct Target {
    script: Mutex<BTreeMap<String, VecDeque<Deed>>>,
    pub(crate) calls: Mutex<BTreeMap<String, usize>>,
    /// Effect key → times.
    pub(crate) effects: Mutex<BTreeMap<String, usize>>,
    pub(crate) gate: Semaphore,
    pub(crate) arrived: Arc<Notify>,
    pub(crate) waiting: AtomicUsize,
}

impl Target {
    pub(crate) fn script(&self, operation: &str, deeds: Vec<Deed>) {
        self.script.lock().unwrap().insert(operation.to_owned(), deeds.into());
    }

    pub(crate) fn calls(&self, operation: &str) -> usize {
        self.calls.lock().unwrap().get(operation).copied().unwrap_or_default()
    }

    pub(crate) fn effects(&self) -> Vec<usize> {
        self.effects.lock().unwrap().values().copied().collect()
    }

    /// Returns once this many calls stand at the gate.
    pub(crate) async fn at_gate(&self, count: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.waiting.load(Ordering::SeqCst) >= count {
                return;
            }
            arrived.await;
        }
    }
}

impl Connector for Target {
    fn call(&self, permit: Permit) -> Task<'_, Outcome> {
        let id = permit.operation().id.to_string();
        *self.calls.lock().unwrap().entry(id.clone()).or_default() += 1;
        let deed = self.script.lock().unwrap().get_mut(&id).and_then(VecDeque::pop_front);
        Box::pin(async move {
            let outcome = match deed {
                None => Ok(returned(json!({}))),
                Some(Deed::Panic) => panic!("scripted"),
                Some(Deed::Fail) => failure(Class::Unavailable, Landed::No),
                Some(Deed::Wait) => {
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                    self.arrived.notify_waiters();
                    self.gate.acquire().await.unwrap().forget();
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    Ok(returned(json!({})))
                }
            };
            if permit.operation().is_write() && outcome.is_ok() {
                *self.effects.lock().unwrap().entry(permit.key().to_string()).or_default() += 1;
            }
            outcome
        })
    }
}

/// A journal in front of a store: counts appends, and fails those it is told to.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) appends: AtomicUsize,
    pub(crate) tries: AtomicUsize,
    /// How often somebody looked for what is due.
    pub(crate) looks: AtomicUsize,
    pub(crate) fail_at: Mutex<Vec<usize>>,
}

impl Journal for Watched {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        let n = self.tries.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fail_at.lock().unwrap().contains(&n) {
            return Box::pin(async { Err(JournalError::Medium("scripted".into())) });
        }
        Box::pin(async move {
            self.store.append(batch).await?;
            self.appends.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    }

    fn post(&self, t: Tenant, run: RunId, posted: Posted) -> Task<'_, Result<(), JournalError>> {
        self.store.post(t, run, posted)
    }

    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Stored, JournalError>> {
        self.store.claim(tenant, run)
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.store.due(now, limit)
    }
}

/// Random bytes that are there except at one draw.
#[derive(Debug)]
pub(crate) struct DryAt(pub(crate) usize, AtomicUsize);

impl DryAt {
    pub(crate) fn draw(n: usize) -> Arc<Self> {
        Arc::new(Self(n, AtomicUsize::new(0)))
    }
}

impl Entropy for DryAt {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), String> {
        let n = self.1.fetch_add(1, Ordering::SeqCst) + 1;
        buffer.fill(n as u8);
        if n == self.0 { Err("dry".into()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Unsigned;

impl Seal for Unsigned {
    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        payload.to_vec()
    }
}

/// A company: plan, policy, target and store, which outlive every engine.
#[derive(Debug)]
pub(crate) struct Company {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) target: Arc<Target>,
    pub(crate) clock: Arc<Manual>,
    pub(crate) journal: Arc<Watched>,
    /// How long its runs sleep before each step, in milliseconds.
    pub(crate) pause_ms: Option<i64>,
    rules: Rules,
    catalogue: Arc<Catalogue>,
    plan: Arc<Plan>,
    pub(crate) line: Vec<Proposal>,
    header: Header,
    _folder: Option<tempfile::TempDir>,
}

impl Loader for Company {
    fn load<'a>(&'a self, _: &'a RunId, _: &'a Header) -> Task<'a, Result<Loaded, String>> {
        let loaded = Loaded {
            pins: self.pins(),
            judge: Arc::new(self.rules.clone()),
            validate: Arc::new(NoSchemas),
            current_policy: self.header.policy,
        };
        Box::pin(std::future::ready(Ok(loaded)))
    }
}

/// Which store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Memory,
    Disk,
}

fn operations() -> Vec<Operation> {
    vec![
        operation("sys.read", Effect::Read, Undo::None, Retry::Keyed),
        operation("sys.keyed", Effect::Write, Undo::None, Retry::Keyed),
        operation("sys.once", Effect::Write, Undo::None, Retry::Never),
    ]
}

fn header(catalogue: &Catalogue, plan: &Plan) -> Header {
    let agent = Principal {
        id: "agent:test".parse().unwrap(),
        kind: Kind::Agent,
        roles: Default::default(),
    };
    let tenant = Tenant::default();
    Header {
        machine: MACHINE,
        chain: Chain { agent, on_behalf_of: person("person:mira", &[]), tenant },
        intent: "test".into(),
        pack: "test@1.0.0".into(),
        pack_digest: Digest::default(),
        plan: plan.digest().unwrap(),
        policy: Digest::default(),
        config: Digest::default(),
        grant: Grant { operations: catalogue.iter().map(|(id, _)| id.clone()).collect() },
        budget: Budget::default(),
        approvers: ApproverRule::default(),
        autonomy: Autonomy::L2,
        mode: Mode::Live,
        owner: "owner".into(),
        unusual: Vec::new(),
        submitted_by: None,
    }
}

impl Company {
    /// A company whose runs use these operations, one after the other.
    pub(crate) fn new(place: Place, line: &[&str], rules: Rules) -> Self {
        let (store, folder): (Arc<dyn Store>, _) = match place {
            Place::Memory => (Arc::new(Ram::new()), None),
            Place::Disk => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("store.db");
                let options = store::Options { pages_max: None };
                (Sqlite::open(&path, options).unwrap(), Some(folder))
            }
        };
        let line = line.iter().enumerate();
        let line: Vec<Proposal> =
            line.map(|(n, id)| proposal(&format!("s{n}"), id, json!({ "n": n }))).collect();
        let plan = Arc::new(plan_of(&line));
        let catalogue = Arc::new(Catalogue::new(operations()).unwrap());
        let header = header(&catalogue, &plan);
        let target = Target {
            script: Mutex::default(),
            calls: Mutex::default(),
            effects: Mutex::default(),
            gate: Semaphore::new(0),
            arrived: Arc::new(Notify::new()),
            waiting: AtomicUsize::new(0),
        };
        let journal = Watched {
            store: Arc::clone(&store),
            appends: AtomicUsize::new(0),
            tries: AtomicUsize::new(0),
            looks: AtomicUsize::default(),
            fail_at: Mutex::default(),
        };
        Self {
            store,
            target: Arc::new(target),
            clock: Arc::new(Manual(AtomicI64::new(1_000))),
            journal: Arc::new(journal),
            pause_ms: None,
            rules,
            catalogue,
            plan,
            line,
            header,
            _folder: folder,
        }
    }

    pub(crate) fn pins(&self) -> Pins {
        let mut planner = LinePlanner::new(&self.line);
        // Who sleeps between steps tries again.
        (planner.pause_ms, planner.goes_on) = (self.pause_ms, self.pause_ms.is_some());
        Pins {
            plan: Arc::clone(&self.plan),
            catalogue: Arc::clone(&self.catalogue),
            planner: Box::new(planner),
        }
    }

    pub(crate) fn genesis(&self, key: &str) -> Genesis {
        Genesis {
            id: RunId::of_intent(&Tenant::default(), "test", key),
            header: self.header.clone(),
            intent: Labelled { value: Arc::new(json!({})), labels: LabelMap::uniform(clean()) },
            subjects: vec![],
        }
    }

    /// A new process over the same store.
    pub(crate) fn engine(self: &Arc<Self>, entropy: Arc<dyn Entropy>) -> Arc<Engine> {
        Engine::new(Options {
            journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
            connector: Arc::clone(&self.target) as Arc<dyn Connector>,
            loader: Arc::clone(self) as Arc<dyn Loader>,
            seal: Arc::new(Unsigned),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy,
            runs_max: 16,
        })
    }

    pub(crate) fn now(&self) -> At {
        self.clock.now().at
    }

    pub(crate) fn plain_engine(self: &Arc<Self>) -> Arc<Engine> {
        self.engine(Arc::new(OsEntropy))
    }

    /// The journal of a run, whole.
    pub(crate) async fn records(&self, run: &RunId) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let from = records.len() as u64;
            let page = Query::events(&*self.store, &Tenant::default(), run, from, 200).await;
            let page = page.unwrap();
            if page.is_empty() {
                return records;
            }
            records.extend(page);
        }
    }

    pub(crate) async fn kinds(&self, run: &RunId) -> Vec<String> {
        self.records(run).await.iter().map(|r| r.event.body.kind().to_owned()).collect()
    }

    /// Replays a run from its journal alone.
    pub(crate) async fn check_replay(&self, run: &RunId) {
        let records = self.records(run).await;
        replay(&records, self.pins(), (&self.rules, &NoSchemas)).unwrap();
    }
}

/// The default tenant's key of a run.
pub(crate) fn at(run: &RunId) -> (Tenant, RunId) {
    (Tenant::default(), run.clone())
}

/// Who posts.
pub(crate) fn lena(signal: &str) -> (String, kernel::id::PrincipalId) {
    (signal.to_owned(), "person:lena".parse().unwrap())
}
