//! An agent over one recording, run twice and killed at every append: what is durable is never done again,
//! equal inputs give equal bytes, and nothing is asked that was not recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use embed::{Agent, Answer, Outcome, Tool, World, person};
use engine::{Clock, Entropy};
use kernel::{
    Digest,
    conversation::{Reply, Thread},
    event::{Body, Record},
    id::{At, RunId, Tenant},
    input::{self, Input, Now},
    operation::{Effect, Facts, Retry},
    port::{Batch, Journal, JournalError, Loaded, Posted, Task},
    run::Status,
};
use models::{Ask, Cassette, Client, Contents, Embedded, Http, Model, Order, Terms};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use store::Ram;
use tempfile::TempDir;

use crate::support::{Server, answers, calls};

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now { at: 1_800_000_000_000, boot_ms: 1_000_000 }
    }
}

impl models::clock::Clock for Still {
    fn boot_ms(&self) -> u64 {
        Clock::now(self).boot_ms
    }

    fn now_ms(&self) -> At {
        Clock::now(self).at
    }
}

/// Bytes that follow from how many were drawn.
#[derive(Debug, Default)]
struct Counted(Mutex<u64>);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), String> {
        let mut drawn = self.0.lock().unwrap();
        for chunk in buffer.chunks_mut(32) {
            *drawn += 1;
            let bytes = Digest::of(&drawn.to_be_bytes()).0;
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

/// When a process dies: as its n-th append is made, before it is durable or right after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Before(usize),
    After(usize),
}

/// A store whose process dies: nothing comes back from it.
#[derive(Debug)]
struct Dying {
    store: Arc<Ram>,
    death: Death,
    appends: AtomicUsize,
    died: Arc<tokio::sync::Notify>,
}

impl Dying {
    async fn die_at(&self, point: Death) {
        if self.death == point {
            self.died.notify_one();
            pending::<()>().await;
        }
    }
}

impl Journal for Dying {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let n = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
            self.die_at(Death::Before(n)).await;
            self.store.append(batch).await?;
            self.die_at(Death::After(n)).await;
            Ok(())
        })
    }

    fn post(
        &self,
        tenant: Tenant,
        run: RunId,
        posted: Posted,
    ) -> Task<'_, Result<(), JournalError>> {
        self.store.post(tenant, run, posted)
    }

    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Loaded, JournalError>> {
        self.store.claim(tenant, run)
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        self.store.due(now, limit)
    }
}

/// A shop that outlives every process: an order under a key that it knows changes nothing more.
#[derive(Debug, Default)]
struct Shop {
    looked: AtomicUsize,
    ordering: AtomicUsize,
    orders: Mutex<BTreeMap<String, String>>,
}

#[derive(Deserialize, JsonSchema)]
struct Goods {
    goods: String,
}

fn count(shop: &Arc<Shop>) -> Tool {
    let shop = Arc::clone(shop);
    let count = Tool::new("count", "Counts what is left.", move |goods: Goods| {
        shop.looked.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, String>(goods.goods.len()) }
    });
    count.reads().verified()
}

fn order(shop: &Arc<Shop>) -> Tool {
    let shop = Arc::clone(shop);
    let schemas = (embed::schema_of::<Goods>(), embed::schema_of::<bool>());
    let body = move |context: embed::Context| -> Task<'static, Result<Value, embed::Failed>> {
        shop.ordering.fetch_add(1, Ordering::SeqCst);
        let ordered = context.argument::<String>("goods").map(|goods| {
            let mut orders = shop.orders.lock().unwrap();
            json!(orders.insert(context.key().to_string(), goods).is_none())
        });
        Box::pin(std::future::ready(ordered))
    };
    let facts =
        Facts { effect: Effect::Write, retry: Retry::Keyed, egress: false, ..embed::strictest() };
    Tool::made("order", "Orders goods.", schemas, embed::Body::Async(Arc::new(body))).facts(facts)
}

/// A model that counts what is asked of it, by the digest of the exact bytes.
#[derive(Debug)]
struct Paid {
    model: Arc<dyn Model>,
    asked: Arc<Mutex<Vec<Digest>>>,
}

impl Model for Paid {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn ask(&self, ask: Ask) -> Task<'_, Result<Reply, models::Error>> {
        let bytes = self.request_bytes(&ask.thread, &Contents::default()).unwrap();
        self.asked.lock().unwrap().push(Digest::of(&bytes));
        self.model.ask(ask)
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        ask: &'a Ask,
    ) -> Task<'a, Result<Embedded, models::Error>> {
        self.model.embed(texts, ask)
    }

    fn request_bytes(
        &self,
        thread: &Arc<Thread>,
        files: &Contents,
    ) -> Result<Vec<u8>, models::Error> {
        self.model.request_bytes(thread, files)
    }
}

/// What outlives the processes of a run.
#[derive(Debug, Default)]
struct Left {
    store: Arc<Ram>,
    shop: Arc<Shop>,
    asked: Arc<Mutex<Vec<Digest>>>,
}

impl Left {
    fn world(&self) -> World {
        let mut world = World::over(Arc::clone(&self.store));
        world.clock = Arc::new(Still);
        world.entropy = Arc::new(Counted::default());
        world
    }

    fn agent(&self, world: World, model: Cassette) -> Agent {
        let paid = Paid { model: Arc::new(model), asked: Arc::clone(&self.asked) };
        Agent::builder()
            .model_on(Arc::new(paid), Terms::own())
            .tool(count(&self.shop))
            .tool(order(&self.shop))
            .policy("@id(\"all\") permit (principal, action, resource);")
            .approver(|_| async { Answer::approve() })
            .world(world)
            .build()
            .unwrap()
    }

    /// What was asked of models: how often, and how many different requests.
    fn asked(&self) -> (usize, usize) {
        let asked = self.asked.lock().unwrap();
        (asked.len(), asked.iter().collect::<BTreeSet<_>>().len())
    }

    /// How often the shop heard of an order, and how many it took.
    fn orders(&self) -> (usize, usize) {
        let taken = self.shop.orders.lock().unwrap().len();
        (self.shop.ordering.load(Ordering::SeqCst), taken)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A recording, and who could be asked if anybody were: a client of a server that is gone.
struct Recording {
    folder: TempDir,
    server: Server,
    first: Outcome,
}

impl Recording {
    /// Two reads side by side, a write that a person approves and whose target knows its key, an answer: over a
    /// real connection, once.
    fn make() -> Self {
        let turns = vec![
            calls(
                "1",
                &[("count", json!({"goods": "figs"})), ("count", json!({"goods": "pears"}))],
            ),
            calls("2", &[("order", json!({"goods": "figs"}))]),
            answers("They are ordered."),
        ];
        let folder = tempfile::tempdir().unwrap();
        let (server, first) = runtime().block_on(async {
            let server = Server::start(turns).await;
            let path = tape(&folder);
            let recorder = Cassette::record(Arc::new(client(&server)), &path).unwrap();
            let left = Left::default();
            let first = left.agent(left.world(), recorder).run(TASK).await.unwrap();
            assert_eq!(left.orders(), (1, 1));
            (server, first)
        });
        assert_eq!((first.text(), server.asked()), ("They are ordered.", 3));
        Self { folder, server, first }
    }

    fn play(&self, order: Order) -> Cassette {
        Cassette::replay(Arc::new(client(&self.server)), &tape(&self.folder), order).unwrap()
    }
}

/// Who asks a server, by the clock of the world: what is sent has its time there, too.
fn client(server: &Server) -> Client {
    server.client_by(&Http::new(Arc::new(Still)))
}

const TASK: &str = "Order what we lack";

fn tape(folder: &TempDir) -> PathBuf {
    Path::join(folder.path(), "agent.cassette")
}

fn hashes(outcome: &Outcome) -> Vec<Digest> {
    outcome.records.iter().map(|record| record.hash).collect()
}

/// Where in a journal the n-th event of this kind of an operation stands.
fn places(records: &[Record], operation: &str, kind: &str) -> Vec<usize> {
    let proposed = records.iter().filter(|record| {
        matches!(&record.event.body, Body::Proposed { operation: of, .. } if of.as_str() == operation)
    });
    let actions: BTreeSet<_> = proposed.map(|record| record.event.seq).collect();
    let about = |record: &Record| match &record.event.body {
        Body::Dispatched { action, .. } | Body::Returned { action, .. } => actions.contains(action),
        _ => false,
    };
    let placed = records.iter().enumerate();
    let placed = placed.filter(|(_, record)| about(record) && record.event.body.kind() == kind);
    placed.map(|(place, _)| place).collect()
}

/// C034: two runs of one agent from one recording, under equal clocks and equal chance, give equal hashes,
/// event by event; so did the run that was recorded. Nobody is asked.
#[test]
fn one_recording_gives_the_same_hashes_twice() {
    let recording = Recording::make();
    let once = || {
        let left = Left::default();
        let player = recording.play(Order::Strict);
        let outcome =
            runtime().block_on(async { left.agent(left.world(), player).run(TASK).await.unwrap() });
        assert_eq!(
            (outcome.text(), left.asked(), left.orders()),
            ("They are ordered.", (3, 3), (1, 1))
        );
        outcome
    };
    let (one, two) = (once(), once());
    assert!(one.records.len() > 30, "{} events", one.records.len());
    assert_eq!(hashes(&one), hashes(&two));
    assert_eq!(hashes(&one), hashes(&recording.first));
    assert_eq!(recording.server.asked(), 3, "played, not asked");
    let (sent, came) = (
        places(&one.records, "tool.count", "dispatched"),
        places(&one.records, "tool.count", "returned"),
    );
    assert!(
        sent.len() == 2 && came.len() == 2 && sent[1] < came[0],
        "side by side: {sent:?} {came:?}"
    );
    let asks = one.records.iter().filter(|r| matches!(r.event.body, Body::Asked { .. })).count();
    assert_eq!(asks, 1, "the order was approved");
}

/// Runs until the process dies, and then in the next one to its end; `false` where it ended before.
fn die_and_go_on(recording: &Recording, death: Death, left: &Left) -> bool {
    let died = Arc::new(tokio::sync::Notify::new());
    let dying = Dying {
        store: Arc::clone(&left.store),
        death,
        appends: AtomicUsize::new(0),
        died: Arc::clone(&died),
    };
    let first = runtime();
    let finished = first.block_on(async {
        let mut world = left.world();
        world.journal = Arc::new(dying);
        let agent = left.agent(world, recording.play(Order::ByRequest));
        tokio::select! {
            ended = agent.run(TASK) => Some(ended.unwrap()),
            () = died.notified() => None,
        }
    });
    drop(first);
    if finished.is_some() {
        return false;
    }
    let output = runtime().block_on(async {
        let next = left.agent(left.world(), recording.play(Order::ByRequest));
        tokio::select! {
            () = next.serve() => unreachable!("it serves until dropped"),
            output = over(&left.store) => output,
        }
    });
    assert_eq!(output, json!("They are ordered."), "{death:?}");
    true
}

/// C072: killed right after every append and taken up by the next process: no model call that was answered
/// is made again, the write is made once, and the end is the same.
#[test]
fn an_agent_killed_after_any_append_pays_for_nothing_twice() {
    let recording = Recording::make();
    let mut deaths = 0;
    for at in 1.. {
        let (left, death) = (Left::default(), Death::After(at));
        if !die_and_go_on(&recording, death, &left) {
            break;
        }
        deaths += 1;
        assert_eq!(left.asked(), (3, 3), "model calls, {death:?}");
        assert_eq!(left.orders(), (1, 1), "orders, {death:?}");
    }
    assert!(deaths >= 8, "{deaths} appends");
    assert_eq!(recording.server.asked(), 3, "played, not asked");
}

/// C072: killed while an append is made that never becomes durable: what had left is made again under the
/// same key, so it happened once; of the model only the one answer that nobody kept is asked for again.
#[test]
fn an_agent_killed_before_any_append_changes_nothing_twice() {
    let recording = Recording::make();
    let mut repeated = 0;
    // A run whose first append is not made never was.
    for at in 2.. {
        let (left, death) = (Left::default(), Death::Before(at));
        if !die_and_go_on(&recording, death, &left) {
            break;
        }
        let ((asked, different), (ordering, taken)) = (left.asked(), left.orders());
        assert!(
            different == 3 && asked <= 4,
            "{asked} model calls, {different} different, {death:?}"
        );
        assert_eq!(taken, 1, "orders, {death:?}");
        repeated += ordering - 1;
    }
    assert_eq!(repeated, 1, "the one death in which the order had left and its answer was lost");
}

/// The result of the store's one run, once it is over; whoever is asked on the way says yes.
async fn over(store: &Arc<Ram>) -> Value {
    let (tenant, mut answered) = (Tenant::default(), BTreeSet::new());
    loop {
        tokio::task::yield_now().await;
        let (filter, page) = (store::RunFilter::default(), store::Page::default());
        let runs = store::Query::runs(&**store, &tenant, filter, page).await.unwrap();
        let Some(entry) = runs.items.first() else { continue };
        let status = entry.row.as_ref().map(|row| row.status);
        let stuck = [Status::Failed, Status::NeedsPerson, Status::Cancelled, Status::Halted];
        assert!(!status.is_some_and(|status| stuck.contains(&status)), "{status:?}");
        if ![Some(Status::Succeeded), Some(Status::Asking)].contains(&status) {
            continue;
        }
        let records = store::Query::events(&**store, &tenant, &entry.run, 0, 500).await.unwrap();
        let last = records.iter().rev().find_map(|record| match &record.event.body {
            Body::Finished { output, .. } => Some(Err((*output.value()).clone())),
            Body::Asked { approval, digest, .. } => Some(Ok((approval, digest))),
            _ => None,
        });
        match last {
            Some(Err(output)) => return output,
            Some(Ok((approval, digest))) if answered.insert(approval.clone()) => {
                let by = person("person:mira", &["approver"]).unwrap();
                let posted = Posted {
                    signal_id: format!("yes-{approval}"),
                    by: by.id.clone(),
                    input: Input::Answer {
                        approval: approval.clone(),
                        action: *digest,
                        shown: *digest,
                        by,
                        answer: input::Answer::Approve,
                    },
                };
                store.post(tenant.clone(), entry.run.clone(), posted).await.unwrap();
            }
            _ => {}
        }
    }
}
