//! What a search has found so far, by all its threads, kept down to what can still be part of the answer.
//!
//! The answer is the first matches in the order of paths, whichever thread comes first: once enough are known, files
//! behind the last of them need not be looked at.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use grep_searcher::{Searcher, Sink, SinkContext, SinkFinish, SinkMatch};
use serde::{Deserialize, Serialize};

use crate::place::order;

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Files with matches, ordered by path, name by name.
    pub files: Vec<FileHits>,
    /// How many lines match.
    pub matches: usize,
    /// Why there may be more; absent where this is everything.
    pub stopped: Option<Stop>,
    /// What was not looked into. Where the search stopped, what was met until then.
    pub skipped: Skipped,
}

/// Why a search ended before it had seen everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// There are more matches than were asked for; these are the first.
    Matches,
    /// There is more text than was asked for; this is the first of it.
    Bytes,
    /// Time was up; which files were seen is not defined.
    Time,
    /// More entries than [`Limits::walk_entries`](crate::Limits::walk_entries); which were seen is not defined.
    Entries,
}

/// What was not looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Files with a zero byte.
    pub binary: u64,
    /// Files above [`Limits::search_file_bytes`](crate::Limits::search_file_bytes).
    pub large: u64,
    /// Files and folders that could not be read.
    pub unreadable: u64,
    /// Files and folders whose names are not UTF-8.
    pub unnamed: u64,
}

/// The lines of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHits {
    /// Its path from the root.
    pub path: String,
    /// Lines that match and those around them.
    pub lines: Vec<Line>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Whether it matches.
    pub role: Role,
    /// Its text without the line end, at most [`LINE_BYTES_MAX`](crate::LINE_BYTES_MAX) bytes; what is not UTF-8 is
    /// replaced.
    pub text: String,
    /// Whether the text was cut.
    pub is_cut: bool,
}

/// Why a line is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It matches.
    Match,
    /// It is near one that does.
    Context,
}

/// Most lines and bytes of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) matches: usize,
    pub(crate) bytes: usize,
    pub(crate) line_bytes: usize,
}

/// A path, in the order of answers.
#[derive(Debug, PartialEq, Eq)]
struct Key(String);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The lines of one file, while it is searched.
#[derive(Debug)]
pub(crate) struct Lines {
    most: Most,
    lines: Vec<Line>,
    matches: usize,
    bytes: usize,
    pub(crate) is_binary: bool,
}

impl Lines {
    pub(crate) fn new(most: Most) -> Self {
        Self { most, lines: Vec::new(), matches: 0, bytes: 0, is_binary: false }
    }

    /// Whether more than the whole answer may hold is known already.
    fn is_full(&self) -> bool {
        self.matches > self.most.matches || self.bytes > self.most.bytes
    }

    fn push(&mut self, number: Option<u64>, role: Role, bytes: &[u8]) -> bool {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let is_cut = bytes.len() > self.most.line_bytes;
        let shown = bytes.get(..self.most.line_bytes).unwrap_or(bytes);
        let shown = match std::str::from_utf8(shown) {
            // The cut went through a character.
            Err(error) if is_cut && error.error_len().is_none() => {
                shown.get(..error.valid_up_to()).unwrap_or(shown)
            }
            _ => shown,
        };
        let text = String::from_utf8_lossy(shown).into_owned();
        self.bytes += text.len();
        self.matches += usize::from(role == Role::Match);
        self.lines.push(Line { number: number.unwrap_or(0), role, text, is_cut });
        !self.is_full()
    }
}

impl Sink for Lines {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        Ok(self.push(found.line_number(), Role::Match, found.bytes()))
    }

    fn context(&mut self, _: &Searcher, found: &SinkContext<'_>) -> Result<bool, io::Error> {
        Ok(self.push(found.line_number(), Role::Context, found.bytes()))
    }

    fn finish(&mut self, _: &Searcher, end: &SinkFinish) -> Result<(), io::Error> {
        self.is_binary = end.binary_byte_offset().is_some();
        Ok(())
    }
}

/// What all threads found.
#[derive(Debug)]
pub(crate) struct Hits {
    most: Most,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<Key, Lines>,
    matches: usize,
    bytes: usize,
    skipped: Skipped,
    stopped: Option<Stop>,
    /// Nothing behind this path can be part of the answer.
    bound: Option<String>,
}

impl Hits {
    pub(crate) fn new(most: Most) -> Self {
        Self { most, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing behind this path can be part of the answer.
    pub(crate) fn bound(&self) -> Option<String> {
        self.known().bound.clone()
    }

    pub(crate) fn skip(&self, count: impl FnOnce(&mut Skipped)) {
        count(&mut self.known().skipped);
    }

    pub(crate) fn stop(&self, why: Stop) {
        self.known().stopped.get_or_insert(why);
    }

    pub(crate) fn add(&self, path: &str, lines: Lines) {
        if lines.lines.is_empty() {
            return;
        }
        let known = &mut *self.known();
        known.matches += lines.matches;
        known.bytes += lines.bytes;
        known.files.insert(Key(path.to_owned()), lines);
        let is_enough = |matches, bytes| matches > self.most.matches || bytes > self.most.bytes;
        while let Some(last) = known.files.last_entry() {
            let (matches, bytes) =
                (known.matches - last.get().matches, known.bytes - last.get().bytes);
            if !is_enough(matches, bytes) {
                break;
            }
            last.remove();
            (known.matches, known.bytes) = (matches, bytes);
        }
        if is_enough(known.matches, known.bytes) {
            known.bound = known.files.last_key_value().map(|(last, _)| last.0.clone());
        }
    }

    /// The answer: the first lines, cut where one of the limits is reached.
    pub(crate) fn finish(self) -> Found {
        let known = self.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut found =
            Found { stopped: known.stopped, skipped: known.skipped, ..Found::default() };
        let mut bytes = 0;
        'files: for (path, lines) in known.files {
            let mut file = FileHits { path: path.0, lines: Vec::new() };
            let mut cut = None;
            for line in lines.lines {
                if line.role == Role::Match && found.matches == self.most.matches {
                    cut = Some(Stop::Matches);
                    break;
                }
                bytes += line.text.len();
                if bytes > self.most.bytes {
                    cut = Some(Stop::Bytes);
                    break;
                }
                found.matches += usize::from(line.role == Role::Match);
                file.lines.push(line);
            }
            if file.lines.iter().any(|line| line.role == Role::Match) {
                found.files.push(file);
            }
            if cut.is_some() {
                found.stopped = found.stopped.or(cut);
                break 'files;
            }
        }
        found
    }
}
