use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::walk::Walk;

/// Longest command line that is read, in bytes.
pub const TEXT_MAX_BYTES: usize = 64 * 1024;

/// Most programs, paths or unknown things that a reading names; beyond, all of it counts as unknown.
pub const PROGRAMS_MAX: usize = 64;

/// Longest name that a reading shows, in characters.
pub(crate) const NAME_MAX_CHARS: usize = 80;

/// Most programs that the sentence about a command names.
const NAMED_MAX: usize = 8;

/// What a program may do, in rising order of what it can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Looks at files or at the machine, and prints.
    Reads,
    /// Makes or changes files.
    Writes,
    /// Removes files.
    Deletes,
    /// Talks to other machines.
    Network,
    /// Changes how later programs behave, or what already runs.
    Settings,
    /// Runs code that does not stand in the command, such as scripts, builds and hooks.
    RunsCode,
    /// Asks for rights that the caller does not have.
    Privilege,
    /// Nobody can say before it runs.
    Unknown,
}

impl Effect {
    /// Every effect, mildest first.
    pub const ALL: [Self; 8] = [
        Self::Reads,
        Self::Writes,
        Self::Deletes,
        Self::Network,
        Self::Settings,
        Self::RunsCode,
        Self::Privilege,
        Self::Unknown,
    ];

    /// Its name, as policies spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Deletes => "deletes",
            Self::Network => "network",
            Self::Settings => "settings",
            Self::RunsCode => "runs_code",
            Self::Privilege => "privilege",
            Self::Unknown => "unknown",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes files",
            Self::Deletes => "deletes files",
            Self::Network => "talks to other machines",
            Self::Settings => "changes settings",
            Self::RunsCode => "runs code that is not shown",
            Self::Privilege => "asks for more rights",
            Self::Unknown => "may do anything",
        }
    }
}

/// A program that may run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its name as the command has it.
    pub name: String,
    /// What it may do; empty where it only prints what it is told.
    pub effects: BTreeSet<Effect>,
    /// What hands the command on to it, outermost first, such as `sh -c`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<String>,
}

/// What a command line may run and do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Every program that may run, in the order in which they stand there, each once.
    pub programs: Vec<Program>,
    /// Everything that any of it may do.
    pub effects: BTreeSet<Effect>,
    /// Files that it writes, as far as they are named.
    pub writes: Vec<String>,
    /// What cannot be known before it runs, in words.
    pub unknown: Vec<String>,
    /// All of it in a few plain sentences.
    pub summary: String,
}

impl Reading {
    /// Whether all it may do is look and print.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.unknown.is_empty() && self.effects.iter().all(|effect| *effect == Effect::Reads)
    }

    /// The gravest thing that it may do; none where it only prints.
    #[must_use]
    pub fn gravest(&self) -> Option<Effect> {
        self.effects.last().copied()
    }

    pub(crate) fn finish(mut self) -> Self {
        if !self.unknown.is_empty() {
            self.effects.insert(Effect::Unknown);
        }
        self.summary = summarise(&self);
        self
    }
}

/// Reads a command line, as `sh -c` gets it.
#[must_use]
pub fn read(command: &str) -> Reading {
    let mut walk = Walk::default();
    if command.len() > TEXT_MAX_BYTES {
        walk.unknown(format!("what it does: it is longer than {TEXT_MAX_BYTES} bytes"));
    } else {
        walk.text(command);
    }
    walk.reading.finish()
}

/// The reading of source code in another language, which nobody reads for what it does.
#[must_use]
pub fn read_code(interpreter: &str) -> Reading {
    let effects = BTreeSet::from([Effect::RunsCode]);
    let program = Program { name: shown(interpreter), effects, through: Vec::new() };
    let effects = program.effects.clone();
    Reading { programs: vec![program], effects, ..Reading::default() }.finish()
}

/// A text of the command's as people are shown it: on one line, and not too long of it.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(NAME_MAX_CHARS)
        .map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(NAME_MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}

/// What changes the order or the look of the text around it.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
}

fn summarise(reading: &Reading) -> String {
    let mut sentences = Vec::new();
    let told: Vec<String> = reading.programs.iter().take(NAMED_MAX).map(tell).collect();
    let more = reading.programs.len().saturating_sub(NAMED_MAX);
    match (told.is_empty(), more) {
        (true, _) => sentences.push("Runs no program.".to_owned()),
        (false, 0) => sentences.push(format!("Runs {}.", told.join(", "))),
        (false, more) => sentences.push(format!("Runs {} and {more} more.", told.join(", "))),
    }
    if !reading.writes.is_empty() {
        let paths: Vec<String> =
            reading.writes.iter().take(NAMED_MAX).map(|path| format!("`{path}`")).collect();
        let more = reading.writes.len().saturating_sub(NAMED_MAX);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        sentences.push(format!("Writes to {}{rest}.", paths.join(", ")));
    }
    if !reading.unknown.is_empty() {
        let some: Vec<&str> = reading.unknown.iter().take(NAMED_MAX).map(String::as_str).collect();
        sentences.push(format!("Not known before it runs: {}.", some.join("; ")));
    }
    if reading.only_reads() {
        sentences.push("Changes nothing.".to_owned());
    }
    sentences.join(" ")
}

fn tell(program: &Program) -> String {
    let words: Vec<&str> = program.effects.iter().map(|effect| effect.words()).collect();
    let effects = if words.is_empty() { "prints".to_owned() } else { words.join(", ") };
    match program.through.as_slice() {
        [] => format!("`{}` ({effects})", program.name),
        through => format!("`{}` through `{}` ({effects})", program.name, through.join("`, `")),
    }
}
