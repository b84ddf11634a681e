//! What the harness itself costs, each figure beside its floor, measured in the same run.
//!
//! Development only. It measures the crates that ship as they are; it must not be a dependency of
//! any of them, and no test here has a time limit: verdicts are printed, and only `--check` turns a
//! missed goal into an exit code.
//!
//! Reading order: this file (what is measured, in order), `report` (figures, goals, the table),
//! `world` (the one run everything measures), then one file per question: `flow` (engine and
//! SQLite), `action` (one action through the gate), `bytes`, `process`, `parked`, `service` and `reads` (a server
//! over its own wire, `served`), `agent` (turns against a `model` that answers at once), `hands` (files, sandboxes and the
//! way out), `gates` (the proxy in front of an `upstream`), `micro`. `floor` holds the
//! bare versions that figures are compared with. `docs/benchmarks.md` says how to read the table.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads clocks and lets processes settle")]

mod action;
mod agent;
mod bytes;
mod error;
mod floor;
mod flow;
mod gates;
mod hands;
mod line;
mod micro;
mod model;
mod options;
mod parked;
mod policies;
mod process;
mod reads;
mod report;
mod served;
mod service;
mod spread;
mod upstream;
mod world;

use std::{io::Write as _, process::ExitCode};

/// As in the binary that ships; the floors get it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use error::{Broken, Doing as _};
use options::{Options, Output};
use report::Report;

fn main() -> ExitCode {
    // It starts itself for every program in a sandbox.
    sandbox::launcher::main_if_asked();
    let mut stderr = std::io::stderr();
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            drop(writeln!(stderr, "{problem}\n\n{}", options::USAGE));
            return ExitCode::from(2);
        }
    };
    match measure(&options) {
        Ok(report) if options.fails_on(report.missed()) => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(broken) => {
            drop(writeln!(stderr, "{broken}"));
            ExitCode::from(2)
        }
    }
}

/// One question: its name for `--only`, and who answers it.
type Question = (&'static str, fn(&Options, &mut Report) -> Result<(), Broken>);

/// Everything measured, in the order of the table.
const QUESTIONS: [Question; 12] = [
    ("flow", flow::measure),
    ("action", action::measure),
    ("judge", action::measure_judge),
    ("process", process::measure),
    ("bytes", bytes::measure),
    ("parked", parked::measure),
    ("service", service::measure),
    ("reads", reads::measure),
    ("agent", agent::measure),
    ("hands", hands::measure),
    ("gates", gates::measure),
    ("micro", micro::measure),
];

fn measure(options: &Options) -> Result<Report, Broken> {
    let mut report = Report::default();
    for (name, question) in QUESTIONS {
        if options.wants(name) {
            question(options, &mut report)?;
        }
    }
    let text = match options.output {
        Output::Table => report.table(),
        Output::Json => report.json()?,
    };
    std::io::stdout().write_all(text.as_bytes()).doing("write the report")?;
    Ok(report)
}
