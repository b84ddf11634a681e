//! What runs cost that only wait: space, time to open their store, and waking many at once; and how long
//! a long run takes to fold.

use std::{path::Path, sync::Arc};

use engine::{Clock, Engine, OsEntropy};
use futures_util::future::join_all;
use kernel::{
    id::{At, Tenant},
    input::Now,
    port::{Batch, Connector, Journal},
    run::{Pending, Ports, Run, Status},
};
use store::{Query as _, Sqlite};

use crate::{
    error::{Broken, Doing as _},
    line::{Line, Sink, Written},
    options::Options,
    process,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, micros, millis, process_cpu, wall},
    world::{Deed, OsSalts, World},
};

/// When most runs park.
const PARKED_AT: At = 1_800_000_000_000;
/// When those park that are due first.
const EARLIER_AT: At = PARKED_AT - 86_400_000;
/// Appends handed in at a time.
const APPENDS: usize = 256;

/// A clock that stands at one moment.
#[derive(Debug)]
struct Standing(At);

impl Clock for Standing {
    fn now(&self) -> Now {
        Now { at: self.0, boot_ms: 1_000_000 }
    }
}

/// Everything about waiting.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.doing("start a runtime")?;
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let store = folder.path().join("store");
    let path = store.join("harness.db");
    let (parked, due) = (options.pick(100_000, 2_000), options.pick(1_000, 100));
    let world = World::asking()?;
    let own = runtime.block_on(fill(&path, &world, (parked, due)))?;
    space(&path, (parked, own), report)?;
    open(options, &path, report)?;
    let held = process::serving_mib(options, &store)?;
    report.add(process::serving(format!("memory of `harness serve` over {parked} of them"), held));
    runtime.block_on(wake(&path, &world, due, report))?;
    fold(options, report)
}

/// Parks runs on an ask; the bytes of their own events and values.
async fn fill(
    path: &Path,
    world: &Arc<World>,
    (parked, due): (usize, usize),
) -> Result<usize, Broken> {
    let store = Sqlite::open(path, store::Options::default()).doing("open the store")?;
    let mut own = 0;
    let numbers: Vec<usize> = (0..parked).collect();
    for group in numbers.chunks(APPENDS) {
        let mut appends = Vec::with_capacity(group.len());
        for n in group {
            let at = if *n < due { EARLIER_AT } else { PARKED_AT };
            let batch = park(world, *n, at)?;
            own += Written::of(&batch.records, &[]).total();
            appends.push(store.append(batch));
        }
        for appended in join_all(appends).await {
            appended.doing("park a run")?;
        }
    }
    store.close().await.doing("close the store")?;
    Ok(own)
}

fn park(world: &Arc<World>, n: usize, at: At) -> Result<Batch, Broken> {
    let mut salts = OsSalts::default();
    let (judge, validate) = (&*world.judge, &*world.validate);
    let mut ports = Ports { judge, validate, salts: &mut salts };
    let genesis = world.genesis(&format!("parked-{n}"));
    let run = Run::open(genesis, world.pins(), Now { at, boot_ms: 1 }, &mut ports);
    let mut run = run.doing("open a run")?;
    if run.status() != Status::Asking {
        return Err(Broken::new("park a run", run.status()));
    }
    let Pending { expected_seq, records, changes, wake_at, reach, .. } = run.take();
    Ok(Batch {
        tenant: Tenant::default(),
        run: run.id().clone(),
        expected_seq,
        epoch: 0,
        records,
        receipts: Vec::new(),
        changes,
        consumed: Vec::new(),
        wake_at,
        reach,
    })
}

/// Whole pages, as SQLite counts them; the events and the index that finds them are the runs' own.
fn space(path: &Path, (parked, own): (usize, usize), report: &mut Report) -> Result<(), Broken> {
    let conn = rusqlite::Connection::open(path).doing("look at the database")?;
    let sum = "SELECT sum(pgsize) FROM dbstat WHERE name NOT LIKE '%batches%'";
    let bytes: i64 = conn.query_row(sum, [], |row| row.get(0)).doing("count its pages")?;
    let each = |bytes: f64| bytes / parked as f64;
    let beyond = Spread::of(vec![each(bytes as f64)]);
    let floor = Floor { name: "its events and values", value: Spread::of(vec![each(own as f64)]) };
    let name = format!("database of a parked run beyond its events, of {parked}");
    report.add(Figure::new(name, (beyond, "bytes"), Some(floor), Goal::AtMost(1_000.0)));
    Ok(())
}

/// Opening, and seeing whether something is due.
fn open(options: &Options, path: &Path, report: &mut Report) -> Result<(), Broken> {
    let mut opened = Vec::new();
    for _ in 0..options.rounds() {
        let (took, store) = wall(|| Sqlite::open(path, store::Options::default()));
        drop(store.doing("open the store")?);
        opened.push(millis(took));
    }
    let value = (Spread::of(opened), "ms");
    report.add(Figure::new("open a store of parked runs", value, None, Goal::AtMost(50.0)));
    Ok(())
}

/// Every run that is due is claimed, folded, told the time, ended and signed off.
async fn wake(
    path: &Path,
    world: &Arc<World>,
    count: usize,
    report: &mut Report,
) -> Result<(), Broken> {
    let store = Sqlite::open(path, store::Options::default()).doing("open the store")?;
    let tenant = Tenant::default();
    let at = EARLIER_AT + kernel::approval::ASK_EXPIRES_MS;
    let engine = Engine::new(engine::Options {
        journal: Arc::clone(&store) as Arc<dyn Journal>,
        connector: Arc::clone(world) as Arc<dyn Connector>,
        loader: Arc::clone(world) as Arc<dyn engine::Loader>,
        seal: Arc::clone(world) as Arc<dyn engine::Seal>,
        clock: Arc::new(Standing(at)),
        entropy: Arc::new(OsEntropy),
        runs_max: 256,
    });
    let before = process_cpu();
    let due = store.due(at, count).await.doing("ask what is due")?;
    due.iter().for_each(|key| engine.wake(key.clone()));
    for (tenant, run) in &due {
        engine.settled(tenant, run).await;
    }
    let took = process_cpu() - before;
    if due.len() != count {
        return Err(Broken::new("wake what is due", due.len()));
    }
    for (_, run) in due.iter().step_by(97) {
        let entry = store.run(&tenant, run).await.doing("look at a run")?;
        let status = entry.and_then(|entry| entry.row).map(|row| row.status);
        if status != Some(Status::Failed) {
            return Err(Broken::new("wake what is due", status));
        }
    }
    store.close().await.doing("close the store")?;
    let each = Spread::of(vec![micros(took) / 1_000.0 / count as f64]);
    let name = format!("wake one of {count} runs due at once");
    report.add(Figure::new(name, (each, "ms CPU"), None, Goal::AtMost(1.0)));
    Ok(())
}

fn fold(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let actions = options.pick(10_000, 500);
    let world = World::real(Deed::Write, actions)?;
    let mut line = Line::open(&world, Sink::Records(Vec::new()))?;
    line.finish()?;
    let Sink::Records(records) = &line.sink else {
        return Err(Broken::new("keep the journal", "it is elsewhere"));
    };
    let mut folded = Vec::new();
    for _ in 0..options.rounds() {
        let pins = world.pins();
        let (took, run) = wall(|| Run::fold(records, pins));
        run.doing("fold the run")?;
        folded.push(millis(took));
    }
    let name = format!("fold a run of {actions} actions, {} events", records.len());
    let value = (Spread::of(folded), "ms");
    report.add(Figure::new(name, value, None, Goal::AtMost(150.0)));
    Ok(())
}
