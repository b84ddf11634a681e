//! The service from outside, over its own wire, client included: reads, durable submissions, listeners.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Goal, Report},
    served::{Asked, CONNECTIONS, Served, Storm, storm, submission},
    spread::Spread,
};

/// Runs that lists and reads look at.
const RUNS: usize = 500;

/// A pack whose one playbook waits: what is measured is the way in, not the work.
const PACK: [(&str, &str); 3] = [
    (
        "pack.yaml",
        "schema: harness.pack/v1\nname: waits\nversion: 1.0.0\nowner: bench\ndescription: It waits.\n\
         harness: \">=0.1\"\nasks: {operations: [], secrets: [], egress: []}\nroles: []\n",
    ),
    (
        "intents/park.yaml",
        "schema: harness.intent/v1\nname: park\ntitle: Wait for a day\nagent: agent:waits\n\
         playbook: park\ninput:\n  type: object\n  additionalProperties: false\n  properties:\n    \
         n: {type: integer}\n",
    ),
    (
        "playbooks/park.yaml",
        "schema: harness.playbook/v1\nname: park\nsteps:\n  - id: later\n    wait: 1d\n",
    ),
];

/// Item 8.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let Some(served) = Served::start(options, folder.path(), (&PACK, ""))? else {
        let why = format!("{} does not serve here", options.binary.display());
        report.add(Figure::unmeasured("authenticated reads", "1/s", (Goal::AtLeast(2_000.0), why)));
        return Ok(());
    };
    for n in 0..options.pick(RUNS, 20) {
        served.ask(&parked(&format!("seed {n}"), n)).doing("submit")?;
    }
    let asked = options.pick(300, 10);
    let reads = storm(&served, asked, &|_, _| Asked::get("/v1/runs?limit=20"))?;
    tell(report, "authenticated reads (a page of 20 runs)", &reads, 2_000.0);
    let submissions = storm(&served, asked, &|c, n| parked(&format!("storm {c} {n}"), n))?;
    tell(report, "durable submissions", &submissions, 1_000.0);
    let expected = options.pick(RUNS, 20) + CONNECTIONS * asked;
    let counted = served.figure("harness_runs")?;
    if counted != expected as u64 {
        let problem = format!("{expected} were acknowledged, {counted} are there");
        return Err(Broken::new("find every run again", problem));
    }
    listeners(options, &served, report)
}

fn parked(key: &str, n: usize) -> Asked {
    submission(key, ("park", json!({ "n": n })))
}

fn tell(report: &mut Report, what: &str, storm: &Storm, least: f64) {
    let rate = Spread::of(vec![storm.per_second]);
    report.add(Figure::new(what, (rate, "1/s"), None, Goal::AtLeast(least)));
    let name = format!("{what}, 99th percentile of {CONNECTIONS} connections");
    report.add(Figure::new(
        name,
        (Spread::of(vec![storm.p99_ms]), "ms"),
        None,
        Goal::AtMost(100.0),
    ));
}

/// Many listeners at once: what they cost, and that each hears everything.
fn listeners(options: &Options, served: &Served, report: &mut Report) -> Result<(), Broken> {
    let (count, submissions) = (options.pick(1_000, 50), options.pick(20, 3));
    let before = served.resident_mib().unwrap_or_default();
    let mut lines = Vec::new();
    for _ in 0..count {
        let mut line = served.connect().doing("listen")?;
        line.get_mut().set_read_timeout(Some(Duration::from_secs(60))).doing("listen")?;
        let text = served.text(&Asked::get("/v1/events"));
        line.get_mut().write_all(text.as_bytes()).doing("listen")?;
        read_until(&mut line, "event: ready").doing("listen")?;
        lines.push(line);
    }
    let grown = served.resident_mib().unwrap_or_default() - before;
    let name = format!("memory of {count} listeners");
    report.add(Figure::new(name, (Spread::of(vec![grown]), "MiB"), None, Goal::AtMost(100.0)));
    let heard = thread::scope(|scope| {
        let lines: Vec<_> = lines.iter_mut().collect();
        let per = lines.len().div_ceil(8);
        let mut lines = lines.into_iter();
        let mut all = Vec::new();
        loop {
            let share: Vec<_> = lines.by_ref().take(per).collect();
            if share.is_empty() {
                break;
            }
            all.push(scope.spawn(move || {
                share.into_iter().try_for_each(|line| {
                    (0..submissions).try_for_each(|_| read_until(line, "\"opened\""))
                })
            }));
        }
        for n in 0..submissions {
            served.ask(&parked(&format!("heard {n}"), n))?;
        }
        all.into_iter().try_for_each(|one| {
            one.join().map_err(|_| std::io::Error::other("a listener panicked"))?
        })
    });
    heard.doing("hear everything")
}

fn read_until(line: &mut BufReader<TcpStream>, wanted: &str) -> std::io::Result<()> {
    loop {
        let mut text = String::new();
        if line.read_line(&mut text)? == 0 {
            return Err(std::io::Error::other("the stream ended"));
        }
        if text.contains(wanted) {
            return Ok(());
        }
    }
}
