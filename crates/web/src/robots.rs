//! What a host says about who may read it: `robots.txt` as RFC 9309 has it.

use crate::wire::PRODUCT;

/// Most of a `robots.txt` that is read, in bytes.
pub const ROBOTS_BYTES_MAX: usize = 512 * 1024;

/// Most rules that are kept of one; the first ones.
const RULES_MAX: usize = 10_000;

/// The rules that speak to this product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Robots(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    says: Says,
    /// As it is compared: percent signs in one spelling.
    pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Allow,
    Disallow,
}

/// To whom the lines that are being read speak; both where a group names both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Group {
    everybody: bool,
    us: bool,
}

impl Robots {
    /// Reads one. What it does not understand it passes over, as everybody does.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut ours, mut everybodys) = (Vec::new(), Vec::new());
        let (mut group, mut is_naming, mut is_ours_named) = (Group::default(), false, false);
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "user-agent" => {
                    // Names in a row belong together; after a rule another group begins.
                    let before = if is_naming { group } else { Group::default() };
                    let (everybody, us) = (value.starts_with('*'), is_our_name(value));
                    group = Group { everybody: before.everybody || everybody, us: before.us || us };
                    is_ours_named |= us;
                    is_naming = true;
                }
                key @ ("allow" | "disallow") => {
                    is_naming = false;
                    let says = if key == "allow" { Says::Allow } else { Says::Disallow };
                    let rule = Rule { says, pattern: spelled(value) };
                    for (rules, speaks) in
                        [(&mut ours, group.us), (&mut everybodys, group.everybody)]
                    {
                        if speaks && !value.is_empty() && rules.len() < RULES_MAX {
                            rules.push(rule.clone());
                        }
                    }
                }
                // Other lines end no group.
                _ => {}
            }
        }
        Self(if is_ours_named { ours } else { everybodys })
    }

    /// Whether a path with its query may be read: the longest rule counts, and of equal ones the kinder.
    pub(crate) fn allows(&self, path: &str) -> bool {
        let path = spelled(path);
        let held = self.0.iter().filter(|rule| matches(&rule.pattern, &path));
        let longest =
            held.max_by_key(|rule| (rule.pattern.len(), u8::from(rule.says == Says::Allow)));
        longest.is_none_or(|rule| rule.says == Says::Allow)
    }
}

fn is_our_name(value: &str) -> bool {
    let end = value.find(|c: char| !c.is_ascii_alphabetic() && c != '_' && c != '-');
    value.get(..end.unwrap_or(value.len())).is_some_and(|name| name.eq_ignore_ascii_case(PRODUCT))
}

/// Percent signs in one spelling: what needs none has none, the others have capital letters.
fn spelled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let (byte, is_plain) = match if byte == b'%' { pair(&bytes) } else { None } {
            Some(unpacked) => {
                bytes.next();
                bytes.next();
                (unpacked, unpacked.is_ascii_alphanumeric() || b"-._~".contains(&unpacked))
            }
            None => (byte, byte.is_ascii_graphic()),
        };
        if is_plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn pair(rest: &std::iter::Peekable<std::str::Bytes<'_>>) -> Option<u8> {
    let mut rest = rest.clone();
    let mut digit = || char::from(rest.next()?).to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()
}

/// Whether a path begins as a pattern says; `*` is anything, `$` at its end is the end.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, is_whole) =
        pattern.strip_suffix('$').map_or((pattern, false), |pattern| (pattern, true));
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let last = if is_whole { parts.pop() } else { None };
    for part in &parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default(),
            None => return false,
        }
    }
    match (is_whole, last) {
        (true, Some(last)) => rest.ends_with(last),
        (true, None) => rest.is_empty(),
        (false, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, path: &str) -> bool {
        Robots::parse(text).allows(path)
    }

    #[test]
    fn the_group_that_names_this_product_counts_and_else_everybodys() {
        let text = "User-agent: *\nDisallow: /\n\nUser-Agent: other\nuser-agent: Harness/2.0\nDisallow: /a\n\nUser-agent: HARNESS\nDisallow: /b # too\n";
        for (path, may) in [("/", true), ("/a", false), ("/b/c", false), ("/c", true)] {
            assert_eq!(allows(text, path), may, "{path}");
        }
        assert!(!allows("User-agent: *\nDisallow: /\nUser-agent: harnessed\nAllow: /", "/x"));
        assert!(allows("User-agent: *\nDisallow: /\nUser-agent: harness\nDisallow:\n", "/x"));
        assert!(allows("", "/x") && allows("Disallow: /", "/x") && allows("<html>", "/x"));
        // Lines about other things stand between names and rules.
        assert!(!allows("User-agent: *\nSitemap: https://a/\nCrawl-delay: 9\nDisallow: /x", "/x"));
        assert!(!allows("\u{feff}User-agent: *\r\nDisallow: /x\r\n", "/x"));
    }

    #[test]
    fn the_longest_rule_counts_and_of_equal_ones_the_kinder() {
        let rules = |lines: &str| format!("User-agent: *\n{lines}");
        for (lines, path, may) in [
            // From RFC 9309, 5.2.
            (
                "Allow: /example/page/\nDisallow: /example/page/disallowed.gif",
                "/example/page/disallowed.gif",
                false,
            ),
            (
                "Allow: /example/page/\nDisallow: /example/page/disallowed.gif",
                "/example/page/x",
                true,
            ),
            ("Disallow: /p\nAllow: /p", "/p/q", true),
            ("Disallow: /*.gif$", "/a/b.gif", false),
            ("Disallow: /*.gif$", "/a/b.gif?x", true),
            ("Disallow: /a*b*c", "/axxbyyc/z", false),
            ("Disallow: /a*b*c", "/axxc", true),
            ("Disallow: /*?q=", "/find?q=x", false),
            ("Disallow: /fish$", "/fish", false),
            ("Disallow: /fish$", "/fishes", true),
            ("Disallow: /a$b", "/a$b", false),
            ("Disallow: /A", "/a", true),
            // From RFC 9309, 2.2.2.
            ("Disallow: /foo/bar?baz=http://foo.bar", "/foo/bar?baz=http://foo.bar", false),
            ("Disallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", false),
            ("Disallow: /foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", false),
            ("Disallow: /foo/bar/%62%61%7A", "/foo/bar/baz", false),
            ("Disallow: /a%2Fb", "/a/b", true),
        ] {
            assert_eq!(allows(&rules(lines), path), may, "{lines} {path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_host_writes_breaks_it(text in "(?s).{0,200}", path in "/[ -~]{0,40}") {
            let _ = allows(&format!("User-agent: *\nDisallow: {text}"), &path);
            let _ = allows(&text, &path);
        }
    }
}
