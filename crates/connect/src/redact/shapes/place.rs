//! Whether a text has a shape where one begins.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use super::{Look, PEM_BYTES_MAX, Part, Set, Shape, alnum, base64, contains, find_bytes, token68};

/// Longest key of any other shape, in bytes. Signed tokens may be long.
const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// Longest key whose beginning says little, in bytes: looked at from each such beginning on.
const RANDOM_BYTES_MAX: usize = 256;

/// How evenly the characters of a key are spread, in bits a character, where its beginning says little.
const ENTROPY_MIN: f64 = 3.5;

/// The same where a name beside it says that it is a credential.
const ENTROPY_NAMED_MIN: f64 = 3.0;

/// Shortest text behind a name of a credential, in bytes.
const NAMED_BYTES_MIN: usize = 8;

/// Longest text behind such a name, in bytes.
const NAMED_BYTES_MAX: usize = 256;

/// Where something begins.
pub(super) struct Place<'t> {
    pub(super) text: &'t [u8],
    /// Where the beginning is.
    pub(super) from: usize,
    /// Where what follows it is.
    pub(super) behind: usize,
    /// What stands before it.
    pub(super) last: Option<u8>,
}

impl Place<'_> {
    /// What to take out, when the text has the shape.
    pub(super) fn hold(&self, shape: &Shape, start: &str) -> Option<(usize, usize)> {
        let is_written = || self.text.get(self.from..self.behind) == Some(start.as_bytes());
        let is_apart = || !self.last.is_some_and(alnum);
        match shape.look {
            Look::Parts(parts) if is_written() && is_apart() => {
                self.parts(parts).map(|end| (self.from, end))
            }
            Look::Random(set, min) if is_written() && is_apart() => {
                let end = run(self.text, self.behind, set, RANDOM_BYTES_MAX);
                let run = self.text.get(self.behind..end)?;
                (run.len() >= min && is_random(run, ENTROPY_MIN)).then_some((self.from, end))
            }
            Look::Pem => self.pem().map(|end| (self.from, end)),
            Look::Address => self.address(),
            Look::Header if is_apart() => self.header(),
            Look::Named => self.named(),
            Look::Parts(_) | Look::Random(..) | Look::Header => None,
        }
    }

    fn parts(&self, parts: &[Part]) -> Option<usize> {
        let mut at = self.behind;
        let mut last: Option<Set> = None;
        for part in parts {
            match part {
                Part::Run(set, min, max) => {
                    let end = run(self.text, at, *set, *max);
                    if end.saturating_sub(at) < *min {
                        return None;
                    }
                    (at, last) = (end, Some(*set));
                }
                Part::Text(text) => {
                    let end = at.saturating_add(text.len());
                    if self.text.get(at..end) != Some(text.as_bytes()) {
                        return None;
                    }
                    (at, last) = (end, None);
                }
            }
        }
        // What goes on is another text.
        let goes_on =
            last.is_some_and(|set| self.text.get(at).is_some_and(|b| set(*b) && alnum(*b)));
        (!goes_on).then_some(at)
    }

    fn pem(&self) -> Option<usize> {
        const LABEL_BYTES_MAX: usize = 64;
        let rest = self.text.get(self.behind..)?;
        let label = rest.get(..rest.len().min(LABEL_BYTES_MAX))?;
        let is_key =
            contains(label, b"PRIVATE KEY-----") || contains(label, b"PRIVATE KEY BLOCK-----");
        if !is_key {
            return None;
        }
        let limit = self.text.len().min(self.from.saturating_add(PEM_BYTES_MAX));
        let block = self.text.get(self.behind..limit)?;
        // Its end; where that is missing or too far, as far as it looks like one.
        let end = find_bytes(block, b"-----END ").and_then(|end| {
            let tail = block.get(end..)?;
            let line = find_bytes(tail.get(9..)?, b"-----")?;
            (line < LABEL_BYTES_MAX).then_some(end.saturating_add(9 + 5).saturating_add(line))
        });
        let within = |b: &&u8| base64(**b) || b" \t\r\n\\-:,".contains(b);
        let end = end.unwrap_or_else(|| block.iter().take_while(within).count());
        Some(self.behind.saturating_add(end))
    }

    /// `scheme://user:password@host`: the password alone.
    fn address(&self) -> Option<(usize, usize)> {
        let is_part = |b: u8| b.is_ascii_graphic() && !b"/?#@\"'<>\\:".contains(&b);
        let colon = run(self.text, self.behind, is_part, NAMED_BYTES_MAX);
        (self.last.is_some_and(alnum) && self.text.get(colon) == Some(&b':')).then_some(())?;
        let start = colon.saturating_add(1);
        let is_part = |b: u8| b.is_ascii_graphic() && !b"/?#@\"'<>\\".contains(&b);
        let end = run(self.text, start, is_part, NAMED_BYTES_MAX);
        let is_there = end > start && self.text.get(end) == Some(&b'@');
        (is_there && !is_placeholder(self.text.get(start..end)?)).then_some((start, end))
    }

    /// `Bearer` and a token, or `Basic` and what is a pair when it is unpacked.
    fn header(&self) -> Option<(usize, usize)> {
        let end = run(self.text, self.behind, token68, TOKEN_BYTES_MAX);
        let token = self.text.get(self.behind..end)?;
        let is_bearer = self.behind.saturating_sub(self.from) == "bearer ".len();
        let is_credential = if is_bearer {
            token.len() >= 20 && is_random(token, ENTROPY_NAMED_MIN)
        } else {
            let bare = token.split(|b| *b == b'=').next().unwrap_or_default();
            token.len() >= 12 && STANDARD_NO_PAD.decode(bare).is_ok_and(|pair| pair.contains(&b':'))
        };
        is_credential.then_some((self.behind, end))
    }

    /// A name, `=` or `:`, and what is assigned.
    fn named(&self) -> Option<(usize, usize)> {
        const BETWEEN_BYTES_MAX: usize = 8;
        if self.last.is_some_and(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let is_between = |b: u8| b" \t\"'\\=:>".contains(&b);
        let start = run(self.text, self.behind, is_between, BETWEEN_BYTES_MAX);
        let between = self.text.get(self.behind..start)?;
        between.iter().any(|b| b"=:".contains(b)).then_some(())?;
        let is_value = |b: u8| b.is_ascii_graphic() && !b"\"'`,;<>\\(){}[]&".contains(&b);
        let end = run(self.text, start, is_value, NAMED_BYTES_MAX.saturating_add(1));
        let value = self.text.get(start..end)?;
        (is_assigned(value) && is_random(value, ENTROPY_MIN)).then_some((start, end))
    }
}

/// Whether a text beside a name of a credential is one.
pub(super) fn is_assigned(text: &[u8]) -> bool {
    (NAMED_BYTES_MIN..=NAMED_BYTES_MAX).contains(&text.len())
        && text.iter().all(u8::is_ascii_graphic)
        && !is_placeholder(text)
        && is_random(text, ENTROPY_NAMED_MIN)
}

/// What stands for a value that is somewhere else, a mark of ours included.
fn is_placeholder(text: &[u8]) -> bool {
    text.first().is_some_and(|b| b"[<${%*".contains(b)) || text.contains(&b'$')
}

/// Whether letters and digits are mixed, and as evenly spread as chance spreads them.
fn is_random(text: &[u8], bits_min: f64) -> bool {
    text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_alphabetic)
        && entropy(text) >= bits_min
}

/// Shannon's measure of a text, in bits a character.
#[expect(clippy::cast_precision_loss, reason = "texts are short")]
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_usize; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let share = |count: &usize| {
        let share = *count as f64 / text.len() as f64;
        -share * share.log2()
    };
    counts.iter().filter(|count| **count > 0).map(share).sum()
}

/// Where a run of a set that begins at a place ends.
fn run(text: &[u8], at: usize, set: impl Fn(u8) -> bool, max: usize) -> usize {
    let run = text.iter().skip(at).take(max).take_while(|b| set(**b)).count();
    at.saturating_add(run)
}
