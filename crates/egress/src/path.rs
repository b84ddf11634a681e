//! How a path is written, and which ones a rule names.

use crate::refusal::Refusal;

/// Longest path with its query, in bytes.
pub const PATH_BYTES_MAX: usize = 8 * 1024;

/// A path that servers read alike as far as its parts go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spelled<'a> {
    path: &'a str,
    /// Whether it holds a percent sign or a slash that some servers unpack once more.
    is_plain: bool,
}

/// Refuses what leads elsewhere once it is cleaned up: dot segments in any dress, backslashes, control characters.
pub(crate) fn check(path: &str) -> Result<Spelled<'_>, Refusal> {
    let is_text = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !path.starts_with('/') || path.len() > PATH_BYTES_MAX || !is_text {
        return Err(Refusal::Path);
    }
    let unpacked = unpack(path).ok_or(Refusal::Path)?;
    if unpacked.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\') {
        return Err(Refusal::Path);
    }
    // A part ends at a slash however it is written; what follows a semicolon is dropped by some servers.
    let is_dots = |part: &[u8]| {
        let part = part.split(|byte| *byte == b';').next().unwrap_or_default();
        part == b"." || part == b".."
    };
    if unpacked.split(|byte| *byte == b'/').any(is_dots) {
        return Err(Refusal::Path);
    }
    let lower = path.to_ascii_lowercase();
    let is_plain = !lower.contains("%2f") && !lower.contains("%25");
    Ok(Spelled { path, is_plain })
}

/// Percent signs unpacked once; `None` when one is not followed by two digits.
fn unpack(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut out = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(high.checked_mul(16)?.checked_add(low)?);
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Paths that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
    /// Whether anything may follow.
    is_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Exact(String),
    Any,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |problem: &str| Err(format!("{text:?}: {problem}"));
        if text.contains(['?', '#']) {
            return wrong("a path has no query; leave it out");
        }
        let Some(rest) = text.strip_prefix('/') else {
            return wrong("a path begins with a slash");
        };
        match check(text) {
            Ok(spelled) if spelled.is_plain => {}
            _ => {
                return wrong(
                    "a path has no dot segments, packed slashes, spaces or letters beyond ASCII",
                );
            }
        }
        let (rest, is_open) = match rest.strip_suffix("**") {
            Some("") => ("", true),
            Some(before) => match before.strip_suffix('/') {
                Some(before) => (before, true),
                None => return wrong("** stands alone as the last part"),
            },
            None => (rest, false),
        };
        let read = |part: &str| match part {
            "*" => Ok(Part::Any),
            _ if part.contains('*') => {
                Err(format!("{text:?}: * stands for a whole part, ** for the end"))
            }
            _ => Ok(Part::Exact(part.to_owned())),
        };
        if rest.is_empty() && is_open {
            return Ok(Self { parts: Vec::new(), is_open });
        }
        Ok(Self { parts: rest.split('/').map(read).collect::<Result<_, String>>()?, is_open })
    }

    /// Whether it names a path, byte by byte: servers differ in what else they take for the same.
    pub(crate) fn holds(&self, spelled: Spelled<'_>) -> bool {
        if self.is_open && self.parts.is_empty() {
            return true;
        }
        let Some(rest) = spelled.path.strip_prefix('/').filter(|_| spelled.is_plain) else {
            return false;
        };
        let mut given = rest.split('/');
        let fits = |part: &Part| match (part, given.next()) {
            (_, None) => false,
            (Part::Any, Some(given)) => !given.is_empty(),
            (Part::Exact(part), Some(given)) => part == given,
        };
        let begins = self.parts.iter().all(fits);
        begins && (given.next().is_some() == self.is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pattern: &str, path: &str) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        check(path).is_ok_and(|spelled| pattern.holds(spelled))
    }

    #[test]
    fn a_pattern_names_what_it_says_and_nothing_beside_it() {
        for (pattern, path) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/*", "/a/b"),
            ("/a/*/c", "/a/b/c"),
            ("/a/**", "/a/"),
            ("/a/**", "/a/b/c"),
            ("/**", "/"),
            ("/**", "/a%2Fb/%25"),
        ] {
            assert!(holds(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/", "/a"),
            ("/a", "/a/"),
            ("/a", "/A"),
            ("/a", "/%61"),
            ("/a", "/ab"),
            ("/a/*", "/a/"),
            ("/a/*", "/a/b/c"),
            ("/a/*", "/a/b%2fc"),
            ("/a/*", "/a/b%252fc"),
            ("/a/**", "/a"),
            ("/a/**", "/ab"),
            ("/a/**", "/a/../b"),
            ("/a/**", "/a/%2e%2E/b"),
            ("/a/**", "/a/.%2e/b"),
            ("/a/**", "/a/..;x/b"),
            ("/a/**", "/a/x%2f..%2fb"),
            ("/a/**", "/a/..%5cb"),
            ("/a/**", "/a/%252e%252e/b"),
            ("/a/**", "//a/b"),
        ] {
            assert!(!holds(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_path_that_may_be_read_differently_is_refused_whatever_the_rule_says() {
        for path in [
            "", "a", "/a b", "/a\\b", "/%5c", "/%00", "/%0d%0a", "/%", "/%2", "/%zz", "/é", "/.",
            "/a/..",
        ] {
            assert!(check(path).is_err(), "{path}");
        }
        assert!(check(&format!("/{}", "a".repeat(PATH_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_pattern_that_cannot_be_held_is_refused() {
        for wrong in
            ["", "a", "/a?b", "/a#b", "/a*", "/a/b**", "/**/a", "/a/../b", "/a%2fb", "/a b"]
        {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
