//! `harness-sim`: plays the grid and random seeds, prints what they showed; or plays one case and tells it.

use std::{io::Write as _, process::ExitCode, time::Duration};

use sim::{
    Case, CaseId, Trace, check, play,
    tally::{Tally, Until, seeds, whole_grid},
};

/// As the program has it: a run's life is many small values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How to call it.
const USAGE: &str = "\
usage: harness-sim [--threads N] [--stride N] [--seconds N] [--from SEED] [--only CASE]
  --threads N   threads to play on (default 2)
  --stride N    every N-th scenario of the grid (default 1: all; 0: leave the grid out)
  --seconds N   how long to play random seeds (default 60)
  --from SEED   the first seed (default 1)
  --only CASE   play one case and tell it point by point: seed:N or grid:SCENARIO:POINT:FAULT";

#[derive(Debug)]
struct Options {
    threads: u32,
    stride: u32,
    seconds: u64,
    from: u64,
    only: Option<CaseId>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { threads: 2, stride: 1, seconds: 60, from: 1, only: None };
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} wants a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} wants a number"));
            let small = |n: u64| u32::try_from(n).map_err(|_| format!("{name} is too large"));
            match name.as_str() {
                "--threads" => options.threads = small(number()?)?,
                "--stride" => options.stride = small(number()?)?,
                "--seconds" => options.seconds = number()?,
                "--from" => options.from = number()?,
                "--only" => options.only = Some(value.parse()?),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            drop(writeln!(std::io::stderr(), "{problem}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    let mut out = std::io::stdout().lock();
    let held = match options.only {
        Some(id) => tell(&mut out, id),
        None => play_many(&mut out, &options),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) => ExitCode::from(2),
    }
}

fn play_many(out: &mut impl std::io::Write, options: &Options) -> std::io::Result<bool> {
    let mut held = true;
    if options.stride > 0 {
        held &= report(out, "grid", &whole_grid(options.threads, options.stride))?;
    }
    if options.seconds > 0 {
        let until = Until::Time(Duration::from_secs(options.seconds));
        let tally = seeds(options.threads, options.from, until);
        let name = format!("seeds from {}", options.from);
        held &= report(out, &name, &tally)?;
    }
    Ok(held)
}

fn report(out: &mut impl std::io::Write, name: &str, tally: &Tally) -> std::io::Result<bool> {
    writeln!(
        out,
        "{name}: {} schedules in {:.0} s ({:.0} a minute), {} points, {} faults, {} events, \
         {} effects, {} broken",
        tally.schedules,
        tally.took.as_secs_f64(),
        tally.per_minute(),
        tally.points,
        tally.faults,
        tally.events,
        tally.effects,
        tally.broken,
    )?;
    let ends = tally.ends.iter().map(|(word, count)| format!("{word} {count}"));
    writeln!(out, "  ended: {}", ends.collect::<Vec<_>>().join(", "))?;
    writeln!(out, "  a call left after its window, as documented: {} schedules", tally.late)?;
    for (id, broken) in &tally.kept {
        for one in broken {
            writeln!(out, "  {id}  {one}")?;
        }
        writeln!(out, "    again, point by point: harness-sim --only {id}")?;
    }
    Ok(tally.broken == 0)
}

fn tell(out: &mut impl std::io::Write, id: CaseId) -> std::io::Result<bool> {
    let case = match Case::of(id) {
        Ok(case) => case,
        Err(problem) => {
            writeln!(out, "{problem}")?;
            return Ok(false);
        }
    };
    let story = play(&case, Trace::Kept);
    writeln!(out, "{id}: {:#?}", case.scenario)?;
    for line in &story.trace {
        writeln!(out, "{line}")?;
    }
    let broken = check(&case, &story);
    for one in &broken {
        writeln!(out, "BROKEN {one}")?;
    }
    writeln!(out, "{} points, {} things broken", story.places.len(), broken.len())?;
    Ok(broken.is_empty())
}
