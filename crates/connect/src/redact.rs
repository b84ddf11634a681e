//! Finding live secrets in what comes back, in the spellings a system may echo, and taking them out.

use std::{collections::BTreeMap, fmt, sync::Arc};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use kernel::id::hex;
use serde_json::Value;

/// Shortest spelling worth looking for: shorter ones would hit ordinary text.
const PATTERN_MIN_BYTES: usize = 6;

/// Replaces every spelling of every live secret by `[secret:NAME]`.
pub struct Redactor {
    matcher: Option<AhoCorasick>,
    replacements: Vec<String>,
    longest: usize,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor")
            .field("spellings", &self.replacements.len())
            .finish_non_exhaustive()
    }
}

impl Redactor {
    /// Looks for these `(name, value)` pairs.
    ///
    /// # Errors
    /// When the spellings do not fit into one automaton; says so without a value.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut patterns = BTreeMap::new();
        for (name, value) in secrets {
            for spelling in spellings(value) {
                if spelling.len() >= PATTERN_MIN_BYTES {
                    patterns.entry(spelling).or_insert_with(|| format!("[secret:{name}]"));
                }
            }
        }
        let longest = patterns.keys().map(Vec::len).max().unwrap_or(0);
        let (spellings, replacements): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
        let matcher = if spellings.is_empty() {
            None
        } else {
            let built =
                AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&spellings);
            Some(
                built
                    .map_err(|_| "there are too many or too long secrets to look for".to_owned())?,
            )
        };
        Ok(Self { matcher, replacements, longest })
    }

    /// The text without secrets.
    #[must_use]
    pub fn scrub_text(&self, text: &str) -> String {
        match &self.matcher {
            Some(matcher) if matcher.is_match(text) => {
                matcher.replace_all(text, &self.replacements)
            }
            _ => text.to_owned(),
        }
    }

    /// Takes secrets out of every string, key and number of a value.
    pub fn scrub_value(&self, value: &mut Value) {
        let Some(matcher) = &self.matcher else { return };
        match value {
            Value::String(text) => {
                if matcher.is_match(text.as_str()) {
                    *text = matcher.replace_all(text, &self.replacements);
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                if matcher.is_match(&text) {
                    *value = Value::String(matcher.replace_all(&text, &self.replacements));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub_value(item)),
            Value::Object(map) => {
                map.values_mut().for_each(|item| self.scrub_value(item));
                if map.keys().any(|key| matcher.is_match(key.as_str())) {
                    let renamed = std::mem::take(map).into_iter();
                    *map = renamed.map(|(key, item)| (self.scrub_text(&key), item)).collect();
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// Redacts a stream; holds back just enough to see a secret that is split between two pieces.
pub(crate) struct Scrubber {
    redactor: Arc<Redactor>,
    carry: Vec<u8>,
}

impl Scrubber {
    pub(crate) fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, carry: Vec::new() }
    }

    /// What is certainly clean after these bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.carry.extend_from_slice(bytes);
        let safe = self.carry.len().saturating_sub(self.redactor.longest.saturating_sub(1));
        self.emit(safe)
    }

    /// The rest.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.emit(self.carry.len())
    }

    /// Emits everything that begins before `safe`; a match that begins there has come in whole.
    fn emit(&mut self, safe: usize) -> Vec<u8> {
        let mut clean = Vec::with_capacity(safe);
        let mut done = 0;
        if let Some(matcher) = &self.redactor.matcher {
            for found in matcher.find_iter(&self.carry) {
                if found.start() >= safe {
                    break;
                }
                clean.extend_from_slice(self.carry.get(done..found.start()).unwrap_or_default());
                let replacement = self.redactor.replacements.get(found.pattern().as_usize());
                clean.extend_from_slice(replacement.map_or(&b"[secret]"[..], String::as_bytes));
                done = found.end();
            }
        }
        if done < safe {
            clean.extend_from_slice(self.carry.get(done..safe).unwrap_or_default());
            done = safe;
        }
        self.carry.drain(..done.min(self.carry.len()));
        clean
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    const CANARY: &str = "c4nary/+ \"Z9:xyz";

    fn redactor() -> Arc<Redactor> {
        Arc::new(Redactor::new([("crm", CANARY), ("pin", "8271940")]).unwrap())
    }

    fn every_spelling() -> Vec<String> {
        let hexed = hex(CANARY.as_bytes());
        vec![
            CANARY.to_owned(),
            STANDARD.encode(CANARY),
            STANDARD.encode(format!("u:{CANARY}")),
            STANDARD.encode(format!("user:{CANARY}:tail")),
            base64::engine::general_purpose::URL_SAFE.encode(format!("x{CANARY}")),
            hexed.to_uppercase(),
            hexed,
            "c4nary%2F%2B%20%22Z9%3Axyz".to_owned(),
            "c4nary%2f%2b%20%22Z9%3axyz".to_owned(),
            "c4nary%2F%2B+%22Z9%3Axyz".to_owned(),
            "c4nary/+ \\\"Z9:xyz".to_owned(),
        ]
    }

    /// C150: Base64, hex, percent signs and JSON escapes too.
    #[test]
    fn every_spelling_is_taken_out_of_text_keys_and_values() {
        for spelling in every_spelling() {
            let text = redactor().scrub_text(&format!("before {spelling} after"));
            assert!(
                text.contains("[secret:crm]") && !text.contains(&spelling),
                "{spelling} -> {text}"
            );
            let mut value = json!({"a": [{ spelling.clone(): spelling }]});
            redactor().scrub_value(&mut value);
            assert!(
                !value.to_string().contains(&spelling)
                    && value.to_string().contains("[secret:crm]")
            );
        }
        let mut value = json!({"n": 8_271_940, "m": 12});
        redactor().scrub_value(&mut value);
        assert_eq!(value, json!({"n": "[secret:pin]", "m": 12}));
    }

    /// C150: in pieces too.
    #[test]
    fn a_stream_is_clean_wherever_it_is_cut() {
        let text = format!("aa{CANARY}bb{}cc", STANDARD.encode(CANARY));
        let whole = redactor().scrub_text(&text);
        for size in 1..text.len() {
            let mut scrubber = Scrubber::new(redactor());
            let mut clean = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                clean.extend(scrubber.push(piece));
            }
            clean.extend(scrubber.finish());
            assert_eq!(String::from_utf8(clean).unwrap(), whole, "cut every {size}");
        }
    }
}
