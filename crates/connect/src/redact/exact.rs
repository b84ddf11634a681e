//! Live secrets, exactly, in the spellings a system may echo.

use std::{collections::BTreeMap, fmt};

use aho_corasick::{
    AhoCorasick, AhoCorasickKind, Anchored, Input, MatchKind, StartKind,
    automaton::OverlappingState,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use kernel::id::hex;

use super::{Span, skip::Skip};

/// Shortest spelling worth looking for: shorter ones would hit ordinary text.
const PATTERN_MIN_BYTES: usize = 6;

/// From this length on spellings are looked for apart from shorter ones, in bytes: the longer the shortest is, the longer
/// are the strides over a text.
const LONG_BYTES: usize = 16;

/// Finds every spelling of every live secret.
pub(super) struct Exact {
    /// The short spellings and the long ones, where there are such.
    groups: Vec<Group>,
    /// Longest spelling, in bytes.
    pub(super) longest: usize,
    /// Whether one of them goes over several lines.
    pub(super) has_lines: bool,
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spellings: usize = self.groups.iter().map(|group| group.marks.len()).sum();
        f.debug_struct("Exact").field("spellings", &spellings).finish_non_exhaustive()
    }
}

impl Exact {
    pub(super) fn new<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let mut patterns = BTreeMap::new();
        for (name, value) in secrets {
            for spelling in spellings(value) {
                if spelling.len() >= PATTERN_MIN_BYTES {
                    patterns.entry(spelling).or_insert_with(|| format!("[secret:{name}]"));
                }
            }
        }
        let longest = patterns.keys().map(Vec::len).max().unwrap_or(0);
        let has_lines = patterns.keys().any(|spelling| spelling.contains(&b'\n'));
        let (long, short): (Patterns, Patterns) =
            patterns.into_iter().partition(|(spelling, _)| spelling.len() >= LONG_BYTES);
        let filled = [short, long].into_iter().filter(|patterns| !patterns.is_empty());
        let groups = filled.map(Group::new).collect::<Result<_, _>>()?;
        Ok(Self { groups, longest, has_lines })
    }

    /// What is looked for, with what is put in its place.
    #[cfg(test)]
    pub(super) fn spellings(&self) -> impl Iterator<Item = (&[u8], &str)> {
        let all = self.groups.iter().flat_map(|group| group.spellings.iter().zip(&group.marks));
        all.map(|(spelling, mark)| (spelling.as_slice(), mark.as_str()))
    }

    pub(super) fn find(&self, text: &[u8], spans: &mut Vec<Span>) {
        for group in &self.groups {
            group.find(text, spans);
        }
    }
}

/// Spellings with their marks.
type Patterns = BTreeMap<Vec<u8>, String>;

/// Spellings that are looked for together.
struct Group {
    skip: Skip,
    /// Says which of them begin at a place.
    matcher: AhoCorasick,
    marks: Vec<String>,
    #[cfg(test)]
    spellings: Vec<Vec<u8>>,
}

impl Group {
    fn new(patterns: Patterns) -> Result<Self, String> {
        let (spellings, marks): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
        let matcher = AhoCorasick::builder()
            // What is faster takes hundreds of times the memory of long secrets.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .start_kind(StartKind::Anchored)
            // Secrets may overlap: all of them are found, not the first of them.
            .match_kind(MatchKind::Standard)
            .build(&spellings)
            .map_err(|_| "there are too many or too long secrets to look for".to_owned())?;
        Ok(Self {
            skip: Skip::new(&spellings),
            matcher,
            marks,
            #[cfg(test)]
            spellings,
        })
    }

    fn find(&self, text: &[u8], spans: &mut Vec<Span>) {
        for place in self.skip.places(text) {
            let from_here = Input::new(text).range(place..).anchored(Anchored::Yes);
            let mut state = OverlappingState::start();
            // The automaton goes no further than one of them goes.
            while self.matcher.try_find_overlapping(from_here.clone(), &mut state).is_ok() {
                let Some(one) = state.get_match() else { break };
                spans.push(Span {
                    from: one.start(),
                    start: one.start(),
                    end: one.end(),
                    mark: self.marks.get(one.pattern().as_usize()).cloned().unwrap_or_default(),
                    kind: None,
                });
            }
        }
    }
}

/// The ways a value may be spelled in an answer.
fn spellings(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let lower = hex(bytes);
    let mut all = vec![bytes.to_vec(), lower.to_uppercase().into_bytes(), lower.into_bytes()];
    let reserved = |byte: u8| !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let everything = |_: u8| true;
    for encoded in [percent(bytes, reserved), percent(bytes, everything)] {
        for spelled in [lower_escapes(&encoded), encoded] {
            all.push(spelled.replace("%20", "+").into_bytes());
            all.push(spelled.into_bytes());
        }
    }
    if let Ok(quoted) = serde_json::to_string(value) {
        all.push(quoted.trim_matches('"').as_bytes().to_vec());
    }
    // Inside a longer text its Base64 starts at one of three places within a group.
    for shift in 0..3_usize {
        let shifted = [vec![0; shift], bytes.to_vec()].concat();
        let whole_chars = shifted.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let skip = (shift * 8).div_ceil(6);
            all.push(text.bytes().skip(skip).collect());
            all.push(text.bytes().take(whole_chars).skip(skip).collect());
        }
    }
    all
}

fn percent(bytes: &[u8], encode: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if encode(*byte) {
            text.push_str(&format!("%{byte:02X}"));
        } else {
            text.push(char::from(*byte));
        }
    }
    text
}

/// `%2F` as `%2f`; everything else as it is.
fn lower_escapes(encoded: &str) -> String {
    let mut escape = 0_u8;
    let lower = |c: char| {
        let lowered = if escape > 0 { c.to_ascii_lowercase() } else { c };
        escape = if c == '%' { 2 } else { escape.saturating_sub(1) };
        lowered
    };
    encoded.chars().map(lower).collect()
}
