//! The command line.

use std::path::PathBuf;

/// How to call it.
pub(crate) const USAGE: &str = "\
usage: harness-bench [--quick] [--json] [--check] [--only NAME]... [--dir DIR] [--binary FILE]
  --quick        few rounds and short runs: a smoke test, not a measurement
  --json         the report as JSON instead of a table
  --check        exit 1 when a goal is missed
  --only NAME    flow, action, judge, process, bytes, parked, service, reads, agent, hands, gates or micro; may be repeated
  --dir DIR      where databases are made: a local disk (default: the temporary folder)
  --binary FILE  the binary to start (default: `harness` beside this one)";

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Enough rounds for a median.
    Full,
    /// Once, briefly.
    Quick,
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What a missed goal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missed {
    IsSaid,
    Fails,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) length: Length,
    pub(crate) output: Output,
    missed: Missed,
    only: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) binary: PathBuf,
}

impl Options {
    /// Reads the arguments; a problem is a sentence.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = args;
        let beside = std::env::current_exe().unwrap_or_default().with_file_name("harness");
        let mut options = Self {
            length: Length::Full,
            output: Output::Table,
            missed: Missed::IsSaid,
            only: Vec::new(),
            dir: std::env::temp_dir(),
            binary: beside,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => options.length = Length::Quick,
                "--json" => options.output = Output::Json,
                "--check" => options.missed = Missed::Fails,
                "--only" => options.only.push(value()?),
                "--dir" => options.dir = value()?.into(),
                // It is started from other folders too.
                "--binary" => {
                    let named = std::path::absolute(value()?);
                    options.binary = named.map_err(|e| format!("{arg}: {e}"))?;
                }
                _ => return Err(format!("{arg} is not an option")),
            }
        }
        let known = |name: &&String| !crate::QUESTIONS.iter().any(|(known, _)| known == name);
        match options.only.iter().find(known) {
            Some(name) => Err(format!("there is nothing called {name} to measure")),
            None => Ok(options),
        }
    }

    /// Whether a question is to be answered.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Whether this many missed goals end in a failure.
    pub(crate) fn fails_on(&self, missed: usize) -> bool {
        self.missed == Missed::Fails && missed > 0
    }

    /// One number for a measurement, a smaller one for a smoke test.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        match self.length {
            Length::Full => full,
            Length::Quick => quick,
        }
    }

    /// Rounds of everything that is timed.
    pub(crate) fn rounds(&self) -> usize {
        self.pick(7, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(args.iter().map(|&arg| arg.to_owned()))
    }

    #[test]
    fn only_check_makes_a_missed_goal_fail() {
        assert!(!parse(&["--quick"]).unwrap().fails_on(3));
        assert!(parse(&["--check"]).unwrap().fails_on(1));
        assert!(!parse(&["--check"]).unwrap().fails_on(0));
    }

    #[test]
    fn only_takes_names_that_exist() {
        let one = parse(&["--only", "bytes"]).unwrap();
        assert!(one.wants("bytes") && !one.wants("flow"));
        assert!(parse(&["--only", "lunch"]).is_err());
        assert!(parse(&["--only"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }
}
