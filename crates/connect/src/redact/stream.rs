//! A text that comes in pieces. What it lets go does not depend on where they are cut.

use std::sync::Arc;

use super::Redactor;

/// How many times what is held back is looked at as one: what is held is looked at again, however small the pieces are.
pub(super) const LOOKED_AT_ONCE: usize = 8;

/// How much of a text that somebody watches as it comes is held back, in bytes, where no secret is longer.
const WATCHED_BYTES: usize = 256;

/// Longest word that such a text is not cut in, in bytes: keys have no spaces.
const WORD_BYTES_MAX: usize = 4 * 1024;

/// How far behind it lags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lag {
    /// So far that nothing is missed.
    Pages,
    /// A few words.
    Words,
    /// The line that is being written.
    Line,
}

/// Redacts a stream; holds back just enough to see a secret that is split between two pieces.
#[derive(Debug)]
pub struct Scrubber {
    redactor: Arc<Redactor>,
    lag: Lag,
    held: Vec<u8>,
    /// The last byte that was let go.
    before: Option<u8>,
    /// How many bytes of `held` belong to something whose mark was let go already.
    covered: usize,
}

impl Scrubber {
    pub(crate) fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, lag: Lag::Pages, held: Vec::new(), before: None, covered: 0 }
    }

    /// For a text that somebody watches as it comes: it lags a few words behind instead of a few pages. Only a key that
    /// is longer than any service's, or has spaces in it, could be seen in part.
    #[must_use]
    pub fn watched(redactor: Arc<Redactor>) -> Self {
        Self { lag: Lag::Words, ..Self::new(redactor) }
    }

    /// For what a program writes while somebody waits for it: whole lines, as they come. Of what it writes over
    /// several lines private keys and known secrets are seen, and no other shape.
    pub(crate) fn lines(redactor: Arc<Redactor>) -> Self {
        Self { lag: Lag::Line, ..Self::new(redactor) }
    }

    /// What is certainly clean after these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let upto = match self.lag {
            Lag::Pages => 0,
            Lag::Words => self.watched_upto(),
            Lag::Line => self.lines_upto(),
        };
        if upto > 0 || self.lag == Lag::Words {
            return self.release(upto);
        }
        let hold = self.redactor.held_bytes();
        if self.held.len() < hold.saturating_mul(LOOKED_AT_ONCE) {
            return Vec::new();
        }
        self.release(self.held.len().saturating_sub(hold))
    }

    /// The rest.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    /// How far a text that is watched may be told: to the end of a word, and to the beginning of a private key.
    fn watched_upto(&self) -> usize {
        let hold = self.redactor.exact.longest.max(WATCHED_BYTES);
        let upto = self.held.len().saturating_sub(hold);
        let told = self.held.get(..upto).unwrap_or_default();
        let word = told.iter().rev().take_while(|b| !b.is_ascii_whitespace()).count();
        let upto = if word > WORD_BYTES_MAX { upto } else { upto.saturating_sub(word) };
        let begun = super::shapes::open_block(&self.held);
        begun.map_or(upto, |begun| upto.min(begun))
    }

    /// How far whole lines may be told: to the beginning of a private key, and of a known secret that has lines.
    fn lines_upto(&self) -> usize {
        let line = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let exact = &self.redactor.exact;
        let hold = if exact.has_lines { exact.longest } else { 0 };
        // Whole lines of it: one that ends a key ends it when all of that line is there.
        let whole = self.held.get(..line).unwrap_or_default();
        let begun = super::shapes::open_block(whole).unwrap_or(usize::MAX);
        line.min(self.held.len().saturating_sub(hold)).min(begun)
    }

    /// Lets go what stands before `upto`; whatever begins there has come in whole.
    fn release(&mut self, upto: usize) -> Vec<u8> {
        let spans = self.redactor.spans(&self.held, self.before);
        // What shows that something follows is kept until that has come.
        let is_cut = |from: usize, start: usize| from < upto && start >= upto;
        let cut = spans.iter().filter(|span| is_cut(span.from, span.start)).map(|span| span.from);
        let upto = cut.min().unwrap_or(upto);
        let mut out = Vec::with_capacity(upto);
        let mut from = self.covered.min(upto);
        let mut covered = self.covered.saturating_sub(upto);
        for span in spans.iter().take_while(|span| span.start < upto) {
            if span.start >= from || span.start >= self.covered {
                out.extend_from_slice(self.held.get(from..span.start).unwrap_or_default());
                let whole = self.held.get(span.start..span.end).unwrap_or_default();
                out.extend_from_slice(self.redactor.mark_of(span, whole).as_bytes());
            }
            covered = covered.max(span.end.saturating_sub(upto));
            from = from.max(span.end.min(upto));
        }
        out.extend_from_slice(self.held.get(from..upto).unwrap_or_default());
        if let Some(last) = upto.checked_sub(1).and_then(|last| self.held.get(last)) {
            self.before = Some(*last);
        }
        self.held.drain(..upto);
        self.covered = covered;
        out
    }
}
