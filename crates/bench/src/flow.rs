//! Whole runs on the engine and SQLite with full sync: commits, time outside of them, throughput.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use engine::{Engine, OsEntropy};
use kernel::{
    RunId,
    id::{At, Tenant},
    port::{Batch, Journal, JournalError, Loaded, Posted, Task},
    project::Change,
    run::Status,
};
use store::{Query as _, Sqlite};

use crate::{
    error::{Broken, Doing as _},
    floor,
    line::Written,
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, millis, process_cpu},
    world::{Deed, WallClock, World},
};

/// Runs at a time.
const CONCURRENT: usize = 64;

/// A journal that is timed.
#[derive(Debug)]
struct Timed {
    inner: Arc<Sqlite>,
    nanos: AtomicU64,
    succeeded: AtomicUsize,
    /// Size of each batch, when asked to look.
    sizes: Option<Mutex<Vec<Written>>>,
}

impl Timed {
    fn new(inner: Arc<Sqlite>, sizes: Option<Mutex<Vec<Written>>>) -> Arc<Self> {
        let (nanos, succeeded) = (AtomicU64::new(0), AtomicUsize::new(0));
        Arc::new(Self { inner, nanos, succeeded, sizes })
    }

    fn look_at(&self, batch: &Batch) {
        if let Some(sizes) = &self.sizes {
            let mut sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
            sizes.push(Written::of(&batch.records, &batch.receipts));
        }
        let ended =
            |change: &Change| matches!(change, Change::Run(row) if row.status == Status::Succeeded);
        if batch.changes.iter().any(ended) {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Journal for Timed {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        self.look_at(&batch);
        Box::pin(async move {
            let before = Instant::now();
            let appended = self.inner.append(batch).await;
            let took = u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.nanos.fetch_add(took, Ordering::Relaxed);
            appended
        })
    }

    fn post(
        &self,
        tenant: Tenant,
        run: RunId,
        posted: Posted,
    ) -> Task<'_, Result<(), JournalError>> {
        self.inner.post(tenant, run, posted)
    }

    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Loaded, JournalError>> {
        self.inner.claim(tenant, run)
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        self.inner.due(now, limit)
    }
}

/// What some runs side by side took.
#[derive(Debug)]
struct Took {
    wall: Duration,
    in_append: Duration,
    cpu: Duration,
    commits: u64,
    sizes: Vec<Written>,
}

/// Opens a fresh store, drives `runs` runs of the world's line side by side to their ends.
async fn drive(dir: &Path, world: &Arc<World>, runs: usize) -> Result<Took, Broken> {
    let folder = tempfile::tempdir_in(dir).doing("make a folder")?;
    let path = folder.path().join("store.db");
    let store = Sqlite::open(&path, store::Options::default()).doing("open the store")?;
    let sizes = (runs == 1).then(Mutex::default);
    let journal = Timed::new(Arc::clone(&store), sizes);
    let engine = Engine::new(engine::Options {
        journal: Arc::clone(&journal) as Arc<dyn Journal>,
        connector: Arc::clone(world) as _,
        loader: Arc::clone(world) as _,
        seal: Arc::clone(world) as _,
        clock: Arc::new(WallClock::new()),
        entropy: Arc::new(OsEntropy),
        runs_max: runs,
    });
    let tenant = Tenant::default();
    let stats = || async { store.stats(&Tenant::default()).await.doing("read the store's counts") };
    let (commits, cpu, before) = (stats().await?.commits, process_cpu(), Instant::now());
    let genesis = (0..runs).map(|n| world.genesis(&n.to_string()));
    let submitted = genesis.map(|genesis| {
        let (engine, tenant) = (Arc::clone(&engine), tenant.clone());
        tokio::spawn(async move {
            let run = engine.submit(genesis).await.doing("submit a run")?;
            engine.settled(&tenant, run.run()).await;
            Ok(())
        })
    });
    let submitted: Vec<_> = submitted.collect();
    for run in submitted {
        run.await.doing("join a run")??;
    }
    let (wall, cpu) = (before.elapsed(), process_cpu().saturating_sub(cpu));
    let commits = stats().await?.commits.saturating_sub(commits);
    let succeeded = journal.succeeded.load(Ordering::Relaxed);
    if succeeded != runs {
        return Err(Broken::new("drive every run to its end", format!("{succeeded} of {runs}")));
    }
    let in_append = Duration::from_nanos(journal.nanos.load(Ordering::Relaxed));
    let sizes = journal
        .sizes
        .as_ref()
        .map(|sizes| sizes.lock().unwrap_or_else(PoisonError::into_inner).clone());
    Ok(Took { wall, in_append, cpu, commits, sizes: sizes.unwrap_or_default() })
}

/// Items 1 to 3.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.doing("start a runtime")?;
    runtime.block_on(async {
        count_commits(options, report).await?;
        time_alone(options, report).await?;
        time_together(options, report).await
    })
}

async fn count_commits(options: &Options, report: &mut Report) -> Result<(), Broken> {
    for steps in [4, 50] {
        let world = World::real(Deed::Read, steps)?;
        let took = drive(&options.dir, &world, 1).await?;
        let per_step = Spread::of(vec![took.commits as f64 / steps as f64]);
        let floor = Floor { name: "one commit a step", value: Spread::of(vec![1.0]) };
        let goal = Goal::AtMost(1.0 + 1.0 / steps as f64);
        let name = format!("commits a step, {steps} reads, SQLite full sync");
        report.add(Figure::new(name, (per_step, "commits"), Some(floor), goal));
    }
    Ok(())
}

async fn time_alone(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let steps = options.pick(200, 40);
    let world = World::real(Deed::Read, steps)?;
    // Sizes of the batches, and caches filled, before anything is timed.
    let sizes = batch_sizes(&drive(&options.dir, &world, 1).await?);
    let (mut outside, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        bare.push(millis(bare_wall(&options.dir, (1, &sizes)).await?) / steps as f64);
        let took = drive(&options.dir, &world, 1).await?;
        outside.push(millis(took.wall.saturating_sub(took.in_append)) / steps as f64);
        whole.push(millis(took.wall) / steps as f64);
    }
    let floor =
        || Some(Floor { name: "bare inserts of the same bytes", value: Spread::of(bare.clone()) });
    let name = "one run alone: wall a step outside the commit";
    report.add(Figure::new(name, (Spread::of(outside), "ms"), floor(), Goal::AtMost(0.35)));
    let name = "one run alone: wall a step, commit included";
    report.add(Figure::new(name, (Spread::of(whole), "ms"), floor(), Goal::None));
    Ok(())
}

async fn time_together(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let steps = options.pick(50, 10);
    let world = World::real(Deed::Read, steps)?;
    let sizes = batch_sizes(&drive(&options.dir, &world, 1).await?);
    let all = (CONCURRENT * steps) as f64;
    let (mut rates, mut bare, mut cpu, mut commits) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.rounds() {
        bare.push(all / bare_wall(&options.dir, (CONCURRENT, &sizes)).await?.as_secs_f64());
        let took = drive(&options.dir, &world, CONCURRENT).await?;
        rates.push(all / took.wall.as_secs_f64());
        cpu.push(millis(took.cpu) / all);
        commits.push(took.commits as f64 / all);
    }
    let floor = Floor { name: "bare group-commit writer", value: Spread::of(bare) };
    let name = format!("{CONCURRENT} runs at once");
    let goal = Goal::RatioAtLeast(0.4);
    report.add(Figure::new(name, (Spread::of(rates), "steps/s"), Some(floor), goal));
    let name = format!("{CONCURRENT} runs at once: processor time a step");
    report.add(Figure::new(name, (Spread::of(cpu), "ms"), None, Goal::None));
    let name = format!("{CONCURRENT} runs at once: commits a step");
    report.add(Figure::new(name, (Spread::of(commits), "commits"), None, Goal::None));
    Ok(())
}

fn batch_sizes(took: &Took) -> Arc<Vec<usize>> {
    Arc::new(took.sizes.iter().map(|written| written.total()).collect())
}

async fn bare_wall(dir: &Path, work: (usize, &Arc<Vec<usize>>)) -> Result<Duration, Broken> {
    let folder = tempfile::tempdir_in(dir).doing("make a folder")?;
    floor::bare_log(&folder.path().join("bare.db"), work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n_steps_cost_n_and_one_commits() {
        let world = World::scripted(Deed::Read, 7).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let took = runtime.block_on(drive(&std::env::temp_dir(), &world, 1)).unwrap();
        assert_eq!(took.commits, 8);
        assert_eq!(took.sizes.len(), 8, "each commit is one batch");
    }
}
