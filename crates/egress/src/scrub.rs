//! Takes secrets out of what comes back: as they are, and in the forms that programs put texts into.

use std::{fmt, ops::Range, sync::Arc};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What stands where a secret stood.
pub const MARK: &str = "[secret]";

/// Finds all forms of a set of secrets, in capitals or not.
pub(crate) struct Scrubber {
    finder: AhoCorasick,
    /// In small letters, each once.
    forms: Vec<Zeroizing<Vec<u8>>>,
    /// Longest form, in bytes.
    longest: usize,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("forms", &self.forms.len()).finish_non_exhaustive()
    }
}

impl Scrubber {
    /// `None` when there is nothing to look for or the search cannot be built.
    pub(crate) fn new(secrets: &[Secret]) -> Option<Self> {
        let mut forms: Vec<Vec<u8>> =
            secrets.iter().flat_map(|secret| forms(secret.expose().as_bytes())).collect();
        for form in &mut forms {
            form.make_ascii_lowercase();
        }
        forms.sort();
        forms.dedup();
        let longest = forms.iter().map(Vec::len).max()?;
        let finder = AhoCorasick::builder()
            // What is faster takes hundreds of times the memory of long secrets.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(&forms)
            .ok()?;
        Some(Self { finder, forms: forms.into_iter().map(Zeroizing::new).collect(), longest })
    }

    /// A text without the secrets; `None` when none was in it.
    pub(crate) fn scrub(&self, text: &[u8]) -> Option<Vec<u8>> {
        let spots = self.spots(text, 0);
        if spots.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(text.len());
        let mut from = 0;
        for spot in spots {
            out.extend_from_slice(text.get(from..spot.start).unwrap_or_default());
            out.extend_from_slice(MARK.as_bytes());
            from = spot.end;
        }
        out.extend_from_slice(text.get(from..).unwrap_or_default());
        Some(out)
    }

    /// Where secrets are, joined where they overlap; the first `covered` bytes are known to belong to one.
    fn spots(&self, text: &[u8], covered: usize) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if covered > 0 {
            found.push(0..covered);
        }
        if let Ok(matches) = self.finder.try_find_overlapping_iter(text) {
            found.extend(matches.map(|one| one.range()));
        }
        found.sort_by_key(|spot| (spot.start, spot.end));
        let mut joined: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for spot in found {
            match joined.last_mut() {
                Some(last) if spot.start < last.end => last.end = last.end.max(spot.end),
                _ => joined.push(spot),
            }
        }
        joined
    }

    /// How many of the last bytes may be the beginning of a secret.
    fn open_end(&self, text: &[u8]) -> usize {
        let most = self.longest.saturating_sub(1).min(text.len());
        let begins = |length: &usize| {
            let tail = text.get(text.len().saturating_sub(*length)..).unwrap_or_default();
            let fits = |form: &[u8]| {
                form.len() > tail.len()
                    && form.get(..tail.len()).is_some_and(|head| head.eq_ignore_ascii_case(tail))
            };
            self.forms.iter().any(|form| fits(form))
        };
        (1..=most).rev().find(begins).unwrap_or(0)
    }
}

/// A text that comes in pieces. What it lets go does not depend on where they are cut.
#[derive(Debug)]
pub(crate) struct Stream {
    scrubber: Arc<Scrubber>,
    held: Vec<u8>,
    /// How many bytes of `held` belong to a secret whose mark was already let go.
    covered: usize,
}

impl Stream {
    pub(crate) fn new(scrubber: Arc<Scrubber>) -> Self {
        Self { scrubber, held: Vec::new(), covered: 0 }
    }

    /// Takes a piece, and lets go what can no longer be part of a secret.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let upto = self.held.len().saturating_sub(self.scrubber.open_end(&self.held));
        self.release(upto)
    }

    /// Lets go the rest.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    fn release(&mut self, upto: usize) -> Vec<u8> {
        let spots = self.scrubber.spots(&self.held, self.covered);
        let mut out = Vec::with_capacity(upto);
        let mut from = 0;
        let mut covered = self.covered.saturating_sub(upto);
        for spot in spots {
            if spot.start >= upto {
                break;
            }
            out.extend_from_slice(self.held.get(from..spot.start).unwrap_or_default());
            let is_marked = spot.start == 0 && self.covered > 0;
            if !is_marked {
                out.extend_from_slice(MARK.as_bytes());
            }
            covered = covered.max(spot.end.saturating_sub(upto));
            from = spot.end.min(upto);
        }
        out.extend_from_slice(self.held.get(from..upto).unwrap_or_default());
        self.held.drain(..upto);
        self.covered = covered;
        out
    }
}

/// A secret as it is, in base64 at each of its three offsets, in hex, for addresses, and in JSON and HTML.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(secret);
    let mut all = vec![secret.to_vec(), hex(secret, "")];
    for alphabet in [&alphabet::STANDARD, &alphabet::URL_SAFE] {
        all.extend((0..3).map(|offset| base64(secret, offset, alphabet)));
    }
    all.push(hex(secret, "%"));
    // What is left as it is differs: RFC 3986, JavaScript, forms, and those that keep slashes.
    for kept in ["-._~", "-._~!*'()", "*-._", "-._~/"] {
        let packed = percent(secret, kept);
        all.push(packed.replace("%20", "+").into_bytes());
        all.push(packed.into_bytes());
    }
    let json = serde_json::to_string(&text).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    all.push(json.replace('/', "\\/").into_bytes());
    all.push(json.into_bytes());
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let html = html.replace('"', "&quot;");
    all.push(html.replace('\'', "&#39;").into_bytes());
    all.push(html.into_bytes());
    all.retain(|form| !form.is_empty());
    all
}

fn hex(bytes: &[u8], before: &str) -> Vec<u8> {
    bytes.iter().map(|byte| format!("{before}{byte:02x}")).collect::<String>().into_bytes()
}

fn percent(bytes: &[u8], kept: &str) -> String {
    let pack = |byte: &u8| match char::from(*byte) {
        kept_char if byte.is_ascii_alphanumeric() || kept.contains(kept_char) => {
            kept_char.to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(pack).collect()
}

/// The characters that come of the secret alone, when `offset` other bytes stand before it and any after it.
fn base64(secret: &[u8], offset: usize, alphabet: &alphabet::Alphabet) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(secret);
    let packed = GeneralPurpose::new(alphabet, NO_PAD).encode(&bytes).into_bytes();
    // Six bits a character: those that share bits with a neighbour are not the secret's own.
    let first = offset.saturating_mul(8).div_ceil(6);
    let last = bytes.len().saturating_mul(8) / 6;
    packed.get(first..last).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3cr3t/+key \"q\" & more";

    fn scrubber(secrets: &[&str]) -> Arc<Scrubber> {
        let secrets: Vec<Secret> =
            secrets.iter().map(|text| Secret::new((*text).to_owned())).collect();
        Arc::new(Scrubber::new(&secrets).unwrap())
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let scrubber = scrubber(&[SECRET]);
        let mut echoes = vec![
            SECRET.to_owned(),
            SECRET.to_uppercase(),
            String::from_utf8(hex(SECRET.as_bytes(), "")).unwrap().to_uppercase(),
            percent(SECRET.as_bytes(), "-._~"),
            percent(SECRET.as_bytes(), "-._~").to_lowercase(),
            percent(SECRET.as_bytes(), "*-._").replace("%20", "+"),
            serde_json::to_string(SECRET).unwrap(),
            "s3cr3t\\/+key \\\"q\\\" & more".to_owned(),
            "s3cr3t/+key &quot;q&quot; &amp; more".to_owned(),
        ];
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "x", "xy"] {
                let text = format!("{before}{SECRET}{after}");
                echoes.push(STANDARD.encode(&text));
                echoes.push(URL_SAFE.encode(&text));
            }
        }
        for echo in echoes {
            let told = scrubber.scrub(format!("before {echo} after").as_bytes());
            let told =
                String::from_utf8(told.unwrap_or_else(|| panic!("{echo} came back"))).unwrap();
            assert!(
                told.contains(MARK) && told.starts_with("before ") && told.ends_with(" after"),
                "{told}"
            );
        }
        assert_eq!(scrubber.scrub(b"s3cr3t/+key"), None);
    }

    #[test]
    fn what_cannot_be_the_beginning_of_a_secret_is_not_held_back() {
        let mut stream = Stream::new(scrubber(&["abcdefgh"]));
        assert_eq!(stream.push(b"data: 1\n\n"), b"data: 1\n\n");
        assert_eq!(stream.push(b"abc"), b"");
        assert_eq!(stream.push(b"x"), b"abcx");
        assert_eq!(stream.push(b"abcdefg"), b"");
        assert_eq!(stream.finish(), b"abcdefg");
    }

    proptest! {
        #[test]
        fn where_a_text_is_cut_does_not_matter(
            parts in proptest::collection::vec(
                prop_oneof!["[a-d]{0,4}", Just("abcabcab".to_owned()), Just("cabcabdd".to_owned()), Just("abcabcabcabc".to_owned())],
                0..12,
            ),
            cuts in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let scrubber = scrubber(&["abcabcab", "cabcabdd", "abcabcabcabc"]);
            let text = parts.concat().into_bytes();
            let whole = scrubber.scrub(&text).unwrap_or_else(|| text.clone());
            let mut stream = Stream::new(Arc::clone(&scrubber));
            let mut told = Vec::new();
            let mut rest = text.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                told.extend(stream.push(piece));
                rest = left;
            }
            told.extend(stream.finish());
            prop_assert_eq!(String::from_utf8(told).unwrap(), String::from_utf8(whole).unwrap());
        }
    }
}
