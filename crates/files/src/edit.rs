use serde::{Deserialize, Serialize};

use crate::{
    change::{Expect, Written},
    error::{Error, Expected, Near, State},
    hash::Hash,
    place::Place,
    read,
    root::Root,
};

/// Most lines that a refused edit names.
pub const NEAR_MAX: usize = 5;

/// Most edits at once.
pub const EDITS_MAX: usize = 200;

/// Most characters of such a line.
const NEAR_CHARS: usize = 200;

/// Most lines that are compared to find those that an edit may have meant.
const COMPARED_MAX: usize = 20_000;

/// How alike a line is that an edit may have meant, from 0 to 1.
const ALIKE: f64 = 0.6;

/// A replacement of exact text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The text that is there, byte for byte; not empty.
    pub old: String,
    /// The text that takes its place.
    pub new: String,
    /// How often it is there.
    #[serde(default)]
    pub count: Count,
}

/// How often the text of an edit is to be there; each of them is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// This often, neither more nor less.
    Exactly(usize),
    /// At least once.
    All,
}

impl Default for Count {
    fn default() -> Self {
        Self::Exactly(1)
    }
}

impl Edit {
    /// A replacement of text that is there once.
    #[must_use]
    pub fn once(old: impl Into<String>, new: impl Into<String>) -> Self {
        Self { old: old.into(), new: new.into(), count: Count::default() }
    }
}

impl Root {
    /// Replaces text in a file: each edit in what the one before it left. All of them or none. What is replaced is what
    /// was read: a change by others in between is a conflict, also with [`Expect::Any`]. At most [`EDITS_MAX`] at once.
    ///
    /// # Errors
    ///
    /// [`Error::Edit`] where a text is not there as often as was said; [`Error::Binary`]; otherwise as [`Root::write`].
    pub fn edit(&self, path: &str, edits: &[Edit], expect: Expect) -> Result<Written, Error> {
        let place = Place::below(path)?;
        if edits.len() > EDITS_MAX {
            let (what, size, most) = ("a list of edits", edits.len() as u64, EDITS_MAX as u64);
            return Err(Error::TooLarge { path: path.to_owned(), what, size, most });
        }
        let most = self.limits().file_bytes;
        let (mut file, _) = self.open_file(place)?;
        let content = read::whole(path, &mut file, most)?;
        let hash = Hash::of(&content);
        let expected = match expect {
            Expect::Any => None,
            Expect::Hash(hash) => Some(Expected::Hash(hash)),
            Expect::Absent => Some(Expected::Absent),
        };
        if let Some(expected) = expected
            && expected != Expected::Hash(hash)
        {
            let found = State::Hash(hash);
            return Err(Error::Conflict { path: path.to_owned(), expected, found });
        }
        let mut text =
            String::from_utf8(content).map_err(|_| Error::Binary { path: path.to_owned() })?;
        for (at, edit) in edits.iter().enumerate() {
            text = replace(path, &text, (at + 1, edit), most)?;
        }
        self.put(place, text.as_bytes(), None, Expect::Hash(hash))
    }
}

fn replace(
    path: &str,
    text: &str,
    (number, edit): (usize, &Edit),
    most: u64,
) -> Result<String, Error> {
    if edit.old.is_empty() {
        return Err(Error::Pattern {
            what: "the text of an edit",
            text: String::new(),
            problem: "it is empty; to write a whole file, write it".to_owned(),
        });
    }
    let found = text.matches(&edit.old).count();
    let (is_right, wanted) = match edit.count {
        Count::Exactly(count) => (found == count, format!("{count} times")),
        Count::All => (found > 0, "at least once".to_owned()),
    };
    if is_right {
        // Looked at before it is made: a short text replaced a million times by a long one takes all memory.
        let kept = text.len().saturating_sub(found.saturating_mul(edit.old.len()));
        let size = kept.saturating_add(found.saturating_mul(edit.new.len())) as u64;
        if size > most {
            let what = "a file in bytes";
            return Err(Error::TooLarge { path: path.to_owned(), what, size, most });
        }
        return Ok(text.replace(&edit.old, &edit.new));
    }
    let near = if found == 0 { alike(text, &edit.old) } else { places(text, &edit.old) };
    Err(Error::Edit { path: path.to_owned(), edit: number, found, wanted, near })
}

/// The lines on which a text begins.
fn places(text: &str, old: &str) -> Vec<Near> {
    let mut near = Vec::new();
    let (mut line, mut seen) = (1, 0);
    for (at, _) in text.match_indices(old).take(NEAR_MAX) {
        line += text.get(seen..at).unwrap_or_default().matches('\n').count();
        seen = at;
        let start = text.get(..at).unwrap_or_default().rfind('\n').map_or(0, |before| before + 1);
        let whole = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        near.push(Near { line, text: short(whole) });
    }
    near
}

/// The lines that are most like the first one of a text that says something, in their order.
fn alike(text: &str, old: &str) -> Vec<Near> {
    let Some(first) = old.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return Vec::new();
    };
    let first = short(first);
    let mut scored: Vec<(f64, Near)> = Vec::new();
    for (at, whole) in text.lines().take(COMPARED_MAX).enumerate() {
        let line = short(whole.trim());
        let score = if line.contains(&first) { 1.0 } else { strsim::sorensen_dice(&line, &first) };
        if score >= ALIKE {
            scored.push((score, Near { line: at + 1, text: short(whole) }));
        }
    }
    scored.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.line.cmp(&other.1.line)));
    scored.truncate(NEAR_MAX);
    let mut near: Vec<Near> = scored.into_iter().map(|(_, near)| near).collect();
    near.sort_by_key(|near| near.line);
    near
}

fn short(line: &str) -> String {
    line.chars().take(NEAR_CHARS).collect()
}
