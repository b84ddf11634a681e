//! What a turn of an agent costs: the built binary against a model that answers at once.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    error::{Broken, Doing as _},
    floor::bare_log,
    model::{Model, floor},
    options::Options,
    process::resident_kib,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, millis, wall},
};

/// Rounds of each figure.
const ROUNDS: usize = 5;
/// Tool turns measured in one round of one agent.
const TURNS: usize = 4_000;
/// Processor time of a turn in a short and in a long conversation, in ms.
const SHORT_MS: f64 = 0.15;
const LONG_MS: f64 = 0.20;
/// Turns a second of 64 agents in memory.
const MANY: f64 = 8_000.0;
/// And on a disk: times a bare writer of the same bytes.
const DURABLE: f64 = 0.4;
/// What the better of two durable peers takes for a turn of 10 and of 400, times a bare loop of the same turns, as it was measured
/// beside it (2.0 and 3.5 ms, 0.011 ms): a tenth of that is asked.
const DURABLE_SHORT: f64 = 2.0 / 0.011 / 10.0;
const DURABLE_LONG: f64 = 3.5 / 0.011 / 10.0;
/// Seven times the turns a second of 64 runs of the same peer (467).
const DURABLE_RATE: f64 = 7.0 * 467.0;
/// Agents at once.
const AGENTS: usize = 64;
/// What streaming may add, in ms.
const STREAMED_MS: f64 = 0.25;
/// What telling a turn in the log may add, in µs.
const TRACED_US: f64 = 10.0;
/// Flushes to the disk of a turn, 64 agents at once.
const COMMITS: f64 = 0.1;
/// What a turn of a run of 400 may leave in the store, times what one of a run of 10 does.
const LONG_STORE: f64 = 1.1;

/// From the process's start to the first request, in ms.
const START_MS: f64 = 10.0;
/// Memory of the process with one agent, and of each agent beyond it: 20 MB and 40 kB.
const BASE_MIB: f64 = 19.0;
const EACH_KIB: f64 = 39.0;

/// One line of `harness bench agent`.
#[derive(Debug, Deserialize)]
struct Measured {
    turns: f64,
    wall_s: f64,
    cpu_s: f64,
    #[serde(default)]
    commits: Option<f64>,
    #[serde(default)]
    writes: Option<f64>,
}

impl Measured {
    /// Processor time of one turn, in ms.
    fn turn_ms(&self) -> f64 {
        self.cpu_s * 1e3 / self.turns
    }
}

/// Item 10.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let model = Model::start()?;
    let rounds = options.pick(ROUNDS, 1);
    for (turns, goal) in [(10, SHORT_MS), (100, SHORT_MS), (400, LONG_MS)] {
        let convs = options.pick(TURNS, 400) / turns;
        let bare =
            Spread::of((0..rounds).map(|_| floor(&model, turns, convs)).collect::<Result<_, _>>()?);
        let bare = Floor { name: "a bare loop", value: bare };
        let asked = |_| run(options, &model, (turns, 1, convs), &[]).map(|m| m.turn_ms());
        let cost = Spread::of((0..rounds).map(asked).collect::<Result<_, _>>()?);
        let name = format!("a turn of {turns}, cpu");
        report.add(Figure::new(name, (cost, "ms"), Some(bare), Goal::AtMost(goal)));
    }
    let streamed = |_| {
        run(options, &model, (100, 1, options.pick(TURNS, 400) / 100), &["--stream"])
            .map(|m| m.turn_ms())
    };
    let cost = Spread::of((0..rounds).map(streamed).collect::<Result<_, _>>()?);
    report.add(Figure::new(
        "a streamed turn of 100, cpu",
        (cost, "ms"),
        None,
        Goal::AtMost(STREAMED_MS),
    ));
    durable(options, &model, report)?;
    traced(options, &model, report)?;
    many(options, &model, report)?;
    lengths(options, &model, report)?;
    started(options, &model, report)?;
    waiting(options, &model, report)
}

/// Processor time of a turn whose every batch is flushed to a disk.
fn durable(options: &Options, model: &Model, report: &mut Report) -> Result<(), Broken> {
    let rounds = options.pick(ROUNDS, 1);
    for (turns, goal) in [(10, DURABLE_SHORT), (400, DURABLE_LONG)] {
        let convs = options.pick(TURNS / 4, 400) / turns;
        let (mut bare, mut cost) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bare.push(floor(model, turns, convs)?);
            let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
            let path = folder.path().join("store").display().to_string();
            cost.push(run(options, model, (turns, 1, convs), &["--store", &path])?.turn_ms());
        }
        let bare = Floor { name: "a bare loop", value: Spread::of(bare) };
        let cost = (Spread::of(cost), "ms");
        let name = format!("a turn of {turns}, SQLite, cpu");
        report.add(Figure::new(name, cost, Some(bare), Goal::RatioAtMost(goal)));
    }
    Ok(())
}

/// From the start of the process to its first request.
fn started(options: &Options, model: &Model, report: &mut Report) -> Result<(), Broken> {
    let (mut took, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..options.pick(31, 3) {
        let (bare, _) = wall(|| Command::new("true").status());
        floor.push(millis(bare));
        let (_, began) = (model.take_first_asked(), Instant::now());
        run(options, model, (1, 1, 1), &[])?;
        let asked = model.take_first_asked();
        took.extend(asked.map(|asked| millis(asked.saturating_duration_since(began))));
    }
    let floor = Floor { name: "starting `true`", value: Spread::of(floor) };
    let took = (Spread::of(took), "ms");
    let name = "start to the first request to a model";
    report.add(Figure::new(name, took, Some(floor), Goal::AtMost(START_MS)));
    Ok(())
}

/// What an agent holds while its model thinks, in the middle of a conversation.
fn waiting(options: &Options, model: &Model, report: &mut Report) -> Result<(), Broken> {
    let one = held(options, model, 1)?;
    let base = (Spread::of(vec![one / 1024.0]), "MiB");
    report.add(Figure::new("memory of one agent", base, None, Goal::AtMost(BASE_MIB)));
    for agents in [64, 1_000] {
        let all = held(options, model, agents)?;
        #[expect(clippy::cast_precision_loss, reason = "a count of agents fits")]
        let each = (all - one) / (agents - 1) as f64;
        let name = format!("memory of each of {agents} agents that wait");
        report.add(Figure::new(
            name,
            (Spread::of(vec![each]), "KiB"),
            None,
            Goal::AtMost(EACH_KIB),
        ));
    }
    Ok(())
}

/// Resident KiB of the binary while so many agents wait for their model; their journals are on a disk.
fn held(options: &Options, model: &Model, agents: usize) -> Result<f64, Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let said = folder.path().join("said");
    let mut child = Command::new(&options.binary)
        .args(["bench", "agent", "--base-url", &model.held_url(10), "--model", "bench"])
        .args(["--agents", &agents.to_string(), "--convs", "1", "--store"])
        .arg(folder.path().join("store"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).doing("make a file")?)
        .spawn()
        .doing("start the binary")?;
    while model.waiting() < agents {
        if child.try_wait().doing("look at it")?.is_some() {
            let said = std::fs::read_to_string(&said).doing("read what it said")?;
            return Err(Broken::new("run agents that wait", said.trim()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let resident = resident_kib(&mut child);
    model.release();
    let ended = child.wait().doing("wait for the binary")?;
    if !ended.success() {
        return Err(Broken::new("run agents that wait", "they did not come to an end"));
    }
    resident.ok_or_else(|| Broken::new("run agents that wait", "their memory cannot be read"))
}

/// What telling every call in the log adds to a turn: by turns with a log that says nothing.
fn traced(options: &Options, model: &Model, report: &mut Report) -> Result<(), Broken> {
    let convs = options.pick(TURNS, 400) / 100;
    let turn = |log| run_logged(options, model, (100, 1, convs), &[], log).map(|m| m.turn_ms());
    let added = |_| Ok::<_, Broken>((turn("debug")? - turn("off")?) * 1e3);
    let rounds = options.pick(2 * ROUNDS + 1, 1);
    let added = Spread::of((0..rounds).map(added).collect::<Result<_, _>>()?);
    let name = "a turn whose calls are told in the log, beyond one";
    report.add(Figure::new(name, (added, "us"), None, Goal::AtMost(TRACED_US)));
    Ok(())
}

/// Sixty-four agents at once, in memory and on a disk.
fn many(options: &Options, model: &Model, report: &mut Report) -> Result<(), Broken> {
    let rounds = options.pick(ROUNDS, 1);
    let convs = options.pick(20, 2);
    let fast = |_| run(options, model, (10, AGENTS, convs), &[]).map(|m| m.turns / m.wall_s);
    let rate = Spread::of((0..rounds).map(fast).collect::<Result<_, _>>()?);
    report.add(Figure::new("turns of 64 agents", (rate, "1/s"), None, Goal::AtLeast(MANY)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.doing("start a runtime")?;
    let (mut stores, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let came_to = stored(options, model, (10, AGENTS, convs))?;
        bare.push(runtime.block_on(bare_rate(options, &came_to))?);
        stores.push(came_to);
    }
    let of = |each: fn(&Stored) -> f64| Spread::of(stores.iter().map(each).collect());
    let bare = Floor { name: "bare group-commit writer", value: Spread::of(bare) };
    let name = "turns of 64 agents, SQLite";
    let rate = (of(|s| s.rate), "1/s");
    report.add(Figure::new(name, rate, Some(bare), Goal::RatioAtLeast(DURABLE)));
    let beside = (of(|s| s.rate), "1/s");
    let name = "turns of 64 agents, SQLite, beside a durable peer";
    report.add(Figure::new(name, beside, None, Goal::AtLeast(DURABLE_RATE)));
    let figures = [
        ("batches of a turn of 64 agents", of(|s| s.writes), "batches", Goal::None),
        ("flushes of a turn of 64 agents", of(|s| s.commits), "commits", Goal::AtMost(COMMITS)),
        ("store of a turn", of(|s| s.bytes), "bytes", Goal::AtMost(3_072.0)),
    ];
    for (name, spread, unit, goal) in figures {
        report.add(Figure::new(name, (spread, unit), None, goal));
    }
    Ok(())
}

/// As many turns in short and in long conversations: what each leaves in the store.
fn lengths(options: &Options, model: &Model, report: &mut Report) -> Result<(), Broken> {
    let agents = options.pick(32, 1);
    let short = stored(options, model, (10, agents, 40))?.bytes;
    let long = stored(options, model, (400, agents, 1))?.bytes;
    let floor = Floor { name: "in a run of 10 turns", value: Spread::of(vec![short]) };
    let (long, goal) = ((Spread::of(vec![long]), "bytes"), Goal::RatioAtMost(LONG_STORE));
    report.add(Figure::new("store of a turn of 400", long, Some(floor), goal));
    Ok(())
}

/// What agents on a disk came to: turns a second, and of a turn its batches, flushes and bytes.
struct Stored {
    turns: f64,
    rate: f64,
    writes: f64,
    commits: f64,
    bytes: f64,
}

/// Turns a second of as many tasks that only write: a turn's bytes, as packed as they lie in the store, in as many batches as
/// a turn has, each waited for, by one thread that commits what waits.
async fn bare_rate(options: &Options, stored: &Stored) -> Result<f64, Broken> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sizes and counts of a measurement, far below a million"
    )]
    let (size, each) = (
        (stored.bytes / stored.writes).round() as usize,
        (stored.turns * stored.writes / AGENTS as f64).round() as usize,
    );
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let sizes = Arc::new(vec![size; each]);
    let took = bare_log(&folder.path().join("bare.db"), (AGENTS, &sizes)).await?;
    Ok(stored.turns / took.as_secs_f64())
}

fn stored(
    options: &Options,
    model: &Model,
    conversations: (usize, usize, usize),
) -> Result<Stored, Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let path = folder.path().join("store").display().to_string();
    let measured = run(options, model, conversations, &["--store", &path])?;
    let file = std::fs::metadata(folder.path().join("store/harness.db")).doing("look at it")?;
    #[expect(clippy::cast_precision_loss, reason = "the size of one file fits")]
    let bytes = file.len() as f64;
    let said = |count: Option<f64>| {
        count.ok_or_else(|| Broken::new("run agents", "it does not say how often it wrote"))
    };
    Ok(Stored {
        turns: measured.turns,
        rate: measured.turns / measured.wall_s,
        writes: said(measured.writes)? / measured.turns,
        commits: said(measured.commits)? / measured.turns,
        bytes: bytes / measured.turns,
    })
}

/// Runs the binary: tool turns a conversation, agents, conversations of each.
fn run(
    options: &Options,
    model: &Model,
    (turns, agents, convs): (usize, usize, usize),
    more: &[&str],
) -> Result<Measured, Broken> {
    run_logged(options, model, (turns, agents, convs), more, "off")
}

fn run_logged(
    options: &Options,
    model: &Model,
    (turns, agents, convs): (usize, usize, usize),
    more: &[&str],
    log: &str,
) -> Result<Measured, Broken> {
    let output = Command::new(&options.binary)
        .args(["bench", "agent", "--base-url", &model.url(turns), "--model", "bench"])
        .args(["--agents", &agents.to_string(), "--convs", &convs.to_string()])
        .args(more)
        .env("HARNESS_LOG", log)
        .output()
        .doing("start the binary")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    if !output.status.success() {
        return Err(Broken::new("run agents", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let measured: Measured = serde_json::from_str(line).doing("read what it measured")?;
    #[expect(clippy::cast_precision_loss, reason = "a count of turns fits")]
    let wanted = (turns * agents * convs) as f64;
    if measured.turns < wanted {
        let short = format!("{} of {wanted} turns", measured.turns);
        return Err(Broken::new("run agents", short));
    }
    Ok(measured)
}
