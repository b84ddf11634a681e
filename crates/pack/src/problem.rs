//! What is wrong with a pack: where, what, and what to do about it.

use std::{cell::RefCell, fmt};

use serde::Serialize;

/// Most problems reported at once; what is beyond is counted by the last one.
pub(crate) const PROBLEMS_MAX: usize = 100;

/// A position in a file, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One mistake, with its place and the next step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
pub struct Problem {
    /// Path inside the pack.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Problem {
    /// A problem at a place.
    #[must_use]
    pub fn new(
        file: &str,
        place: Place,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (message, fix) = (message.into(), fix.into());
        Self { file: file.to_owned(), line: place.line, column: place.column, message, fix }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

/// Collects problems while the reading goes on, so that several are reported at once.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: RefCell<Vec<Problem>>,
}

impl Problems {
    pub(crate) fn add(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Everything found, in file and line order, without repeats, at most [`PROBLEMS_MAX`].
    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        if found.len() > PROBLEMS_MAX {
            let more = found.len() - PROBLEMS_MAX;
            found.truncate(PROBLEMS_MAX);
            if let Some(last) = found.last_mut() {
                last.fix = format!("{} (and {more} more problems)", last.fix);
            }
        }
        found
    }
}

/// The known name nearest to a mistaken one, when it is near enough to be meant.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = name.to_lowercase();
    let scored = known.into_iter().map(|candidate| {
        let candidate_lower = candidate.to_lowercase();
        (strsim::damerau_levenshtein(&lower, &candidate_lower), candidate)
    });
    let (distance, candidate) = scored.min()?;
    (distance <= 1 + name.chars().count() / 3).then_some(candidate)
}

/// ``did you mean `x`?``, or the list of what is known.
pub(crate) fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    /// Names listed when none is near.
    const LISTED_MAX: usize = 16;
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(name, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if known.is_empty() {
        return "none is declared: leave it out, or declare it".to_owned();
    }
    let listed: Vec<&str> = known.iter().take(LISTED_MAX).copied().collect();
    let more = if known.len() > LISTED_MAX { ", …" } else { "" };
    format!("known: {}{more}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        assert_eq!(nearest("timeout", ["timeout_ms", "undo"]), Some("timeout_ms"));
        assert_eq!(nearest("timout_ms", ["timeout_ms", "undo"]), Some("timeout_ms"));
        assert_eq!(nearest("xyzzy", ["timeout_ms", "undo"]), None);
        assert_eq!(did_you_mean("xyzzy", ["b", "a"]), "known: b, a");
    }
}
