//! Where many bytes of one set stand together: found without looking at most of a text.

use std::ops::Range;

/// A set of bytes.
pub(super) struct Bytes([bool; 256]);

impl Bytes {
    /// Of those that this says yes to.
    pub(super) fn of(has: impl Fn(u8) -> bool) -> Self {
        let mut set = [false; 256];
        for (place, byte) in set.iter_mut().zip(0..=u8::MAX) {
            *place = has(byte);
        }
        Self(set)
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or(false)
    }
}

/// The runs of bytes of a set that are at least so long, each as long as it goes, in order.
pub(super) struct Runs<'t> {
    text: &'t [u8],
    set: &'t Bytes,
    least: usize,
    /// Where the next run may begin: behind a byte that is not of the set.
    at: usize,
}

impl<'t> Runs<'t> {
    pub(super) fn new(text: &'t [u8], set: &'t Bytes, least: usize) -> Self {
        Self { text, set, least: least.max(1), at: 0 }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        // What is known to be of the set, from `at` on.
        let mut known = self.at;
        loop {
            // A run that begins here or a little further on covers the last of these: looked at from there back, what
            // is not of the set rules out all that stand before it.
            let end = self.at.checked_add(self.least)?;
            let unknown = self.text.get(known..end)?;
            let Some(place) = unknown.iter().rposition(|byte| !self.set.has(*byte)) else {
                let rest = self.text.get(end..)?;
                let more = rest.iter().take_while(|byte| self.set.has(**byte)).count();
                let run = self.at..end.saturating_add(more);
                self.at = run.end;
                return Some(run);
            };
            self.at = known.saturating_add(place).saturating_add(1);
            known = end;
        }
    }
}
