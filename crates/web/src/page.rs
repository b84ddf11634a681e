//! A page that was read, and a part of it.

use std::sync::Arc;

use crate::{
    content::Format,
    error::{Failed, Why},
};

/// Most characters that are handed on at a time.
pub const CHARS_MAX: usize = 40_000;

/// How many are handed on where it is not said.
pub const CHARS_DEFAULT: usize = 20_000;

/// What was made of an answer; as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its title, where it has one.
    pub title: Option<String>,
    /// All of its text.
    pub text: String,
    /// What it was.
    pub format: Format,
    /// Whether there was more than was read.
    pub is_cut: bool,
    /// When it was read, or last known to hold, in milliseconds since the Unix epoch.
    pub fetched_at_ms: i64,
}

/// Which part of a page is wanted, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// How many are passed over.
    pub offset: usize,
    /// Most that are wanted.
    pub limit: usize,
}

impl Default for Range {
    fn default() -> Self {
        Self { offset: 0, limit: CHARS_DEFAULT }
    }
}

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its text.
    pub text: String,
    /// How many characters all of it has.
    pub chars: usize,
    /// How many stand behind this part.
    pub remains: usize,
    /// Where the next part begins; absent = this was the last one.
    pub next: Option<usize>,
}

/// A page as it is handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it stands, after all redirects.
    pub url: String,
    /// The addresses that led there, in order.
    pub hops: Vec<String>,
    /// The page.
    pub page: Arc<Page>,
    /// How it was had.
    pub from: Source,
}

/// How a page was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its host sent it now.
    Host,
    /// It was kept, and its host said that it still holds.
    Confirmed,
    /// It was kept, and is fresh.
    Kept,
}

impl Source {
    /// Its name in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Confirmed => "confirmed",
            Self::Kept => "kept",
        }
    }
}

impl Page {
    /// A part of its text.
    ///
    /// # Errors
    /// A range that begins behind the end.
    pub fn part(&self, range: Range) -> Result<Part, Failed> {
        let chars = self.text.chars().count();
        if range.offset > chars {
            let message = format!(
                "the page has {chars} characters, and none from {} on; begin earlier",
                range.offset
            );
            return Err(Failed::new(Why::Asked, message));
        }
        let limit = range.limit.clamp(1, CHARS_MAX);
        let text: String = self.text.chars().skip(range.offset).take(limit).collect();
        let end = range.offset.saturating_add(limit).min(chars);
        let remains = chars.saturating_sub(end);
        Ok(Part { text, chars, remains, next: (remains > 0).then_some(end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_a_row_are_the_whole() {
        let text: String = ('a'..='z').chain("äöü€🦀".chars()).cycle().take(1_000).collect();
        let page = Page {
            title: None,
            text: text.clone(),
            format: Format::Text,
            is_cut: false,
            fetched_at_ms: 0,
        };
        let (mut read, mut at) = (String::new(), Some(0));
        while let Some(offset) = at {
            let part = page.part(Range { offset, limit: 77 }).unwrap();
            assert_eq!(part.chars, 1_000);
            assert_eq!(part.remains, 1_000 - (offset + 77).min(1_000));
            read.push_str(&part.text);
            at = part.next;
        }
        assert_eq!(read, text);
        assert_eq!(page.part(Range { offset: 1_000, limit: 1 }).unwrap().text, "");
        assert_eq!(page.part(Range { offset: 1_001, limit: 1 }).unwrap_err().why, Why::Asked);
        assert_eq!(page.part(Range { offset: 0, limit: usize::MAX }).unwrap().remains, 0);
    }
}
