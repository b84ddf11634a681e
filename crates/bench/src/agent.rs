//! What a turn of an agent costs: the built binary against a model that answers at once.

use std::process::Command;

use serde::Deserialize;

use crate::{
    error::{Broken, Doing as _},
    model::{Model, floor},
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::Spread,
};

/// Rounds of each figure.
const ROUNDS: usize = 5;
/// Tool turns measured in one round of one agent.
const TURNS: usize = 4_000;
/// Processor time of a turn in a short and in a long conversation, in ms.
const SHORT_MS: f64 = 0.15;
const LONG_MS: f64 = 0.20;
/// Turns a second of 64 agents in memory, and on a disk.
const MANY: f64 = 8_000.0;
const DURABLE: f64 = 3_500.0;
/// What streaming may add, in ms.
const STREAMED_MS: f64 = 0.25;

/// One line of `harness bench agent`.
#[derive(Debug, Deserialize)]
struct Measured {
    turns: f64,
    wall_s: f64,
    cpu_s: f64,
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
        let asked =
            |_| run(options, &model, (turns, 1, convs), &[]).map(|m| m.cpu_s * 1e3 / m.turns);
        let cost = Spread::of((0..rounds).map(asked).collect::<Result<_, _>>()?);
        let name = format!("a turn of {turns}, cpu");
        report.add(Figure::new(name, (cost, "ms"), Some(bare), Goal::AtMost(goal)));
    }
    let streamed = |_| {
        run(options, &model, (100, 1, options.pick(TURNS, 400) / 100), &["--stream"])
            .map(|m| m.cpu_s * 1e3 / m.turns)
    };
    let cost = Spread::of((0..rounds).map(streamed).collect::<Result<_, _>>()?);
    report.add(Figure::new(
        "a streamed turn of 100, cpu",
        (cost, "ms"),
        None,
        Goal::AtMost(STREAMED_MS),
    ));
    many(options, &model, report)
}

fn many(options: &Options, model: &Model, report: &mut Report) -> Result<(), Broken> {
    let rounds = options.pick(ROUNDS, 1);
    let convs = options.pick(20, 2);
    let fast = |_| run(options, model, (10, 64, convs), &[]).map(|m| m.turns / m.wall_s);
    let rate = Spread::of((0..rounds).map(fast).collect::<Result<_, _>>()?);
    report.add(Figure::new("turns of 64 agents", (rate, "1/s"), None, Goal::AtLeast(MANY)));
    let durable = |_| {
        let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
        let path = folder.path().join("store").display().to_string();
        let measured = run(options, model, (10, 64, convs), &["--store", &path])?;
        let file = std::fs::metadata(folder.path().join("store/harness.db")).doing("look at it")?;
        #[expect(clippy::cast_precision_loss, reason = "the size of one file fits")]
        let bytes = file.len() as f64;
        Ok::<_, Broken>((measured.turns / measured.wall_s, bytes / measured.turns))
    };
    let both: Vec<(f64, f64)> = (0..rounds).map(durable).collect::<Result<_, _>>()?;
    let rates = Spread::of(both.iter().map(|(rate, _)| *rate).collect());
    report.add(Figure::new(
        "turns of 64 agents, SQLite",
        (rates, "1/s"),
        None,
        Goal::AtLeast(DURABLE),
    ));
    let bytes = Spread::of(both.iter().map(|(_, bytes)| *bytes).collect());
    report.add(Figure::new("store of a turn", (bytes, "bytes"), None, Goal::AtMost(3_072.0)));
    Ok(())
}

/// Runs the binary: tool turns a conversation, agents, conversations of each.
fn run(
    options: &Options,
    model: &Model,
    (turns, agents, convs): (usize, usize, usize),
    more: &[&str],
) -> Result<Measured, Broken> {
    let output = Command::new(&options.binary)
        .args(["bench", "agent", "--base-url", &model.url(turns), "--model", "bench"])
        .args(["--agents", &agents.to_string(), "--convs", &convs.to_string()])
        .args(more)
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
