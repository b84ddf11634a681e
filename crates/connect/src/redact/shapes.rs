//! Texts that have the shape of a key: what services document of theirs, and what stands where keys stand.
//!
//! One automaton looks for how they begin; only where one does, its shape is held against the text.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use super::Span;

/// Longest key in PEM that is taken out as one, in bytes; an RSA key of 8192 bits takes 6400.
pub(super) const PEM_BYTES_MAX: usize = 8 * 1024;

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

/// What stands for what a field holds by its name.
pub(super) const CREDENTIAL_MARK: &str = "[token:credential]";

/// A set of characters.
type Set = fn(u8) -> bool;

/// A part of a shape behind its beginning.
#[derive(Clone, Copy)]
enum Part {
    /// So many of these, as many as there are.
    Run(Set, usize, usize),
    /// This.
    Text(&'static str),
}

/// How a key looks.
#[derive(Clone, Copy)]
enum Look {
    /// The beginning, then these parts.
    Parts(&'static [Part]),
    /// As [`Look::Parts`] of one run of at least so many, and spread as chance spreads.
    Random(Set, usize),
    /// A private key in PEM.
    Pem,
    /// A password in an address, behind `://`.
    Address,
    /// A header's `Bearer` or `Basic` and what follows.
    Header,
    /// A name of a credential, then what is assigned to it.
    Named,
}

/// A kind of key.
#[derive(Clone, Copy)]
struct Shape {
    kind: &'static str,
    starts: &'static [&'static str],
    look: Look,
}

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn under(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn dotted(byte: u8) -> bool {
    word(byte) || byte == b'.'
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
}

fn token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

use Look::{Parts, Random};
use Part::{Run, Text};

/// Shapes of keys, by what their services say of them.
const SHAPES: &[Shape] = &[
    Shape {
        kind: "aws",
        starts: &["AKIA", "ASIA", "ABIA", "ACCA"],
        look: Parts(&[Run(upper, 16, 16)]),
    },
    Shape {
        kind: "github",
        starts: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        look: Parts(&[Run(alnum, 36, 255)]),
    },
    Shape { kind: "github", starts: &["github_pat_"], look: Parts(&[Run(under, 70, 255)]) },
    Shape {
        kind: "gitlab",
        starts: &["glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glsoat-", "glcbt-", "gloas-"],
        look: Parts(&[Run(dotted, 20, 300)]),
    },
    Shape {
        kind: "slack",
        starts: &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxe.", "xapp-"],
        look: Parts(&[Run(dotted, 20, 300)]),
    },
    Shape {
        kind: "slack",
        starts: &["hooks.slack.com/services/", "hooks.slack.com/workflows/"],
        look: Parts(&[
            Run(alnum, 8, 16),
            Text("/"),
            Run(alnum, 8, 16),
            Text("/"),
            Run(alnum, 16, 64),
        ]),
    },
    Shape {
        kind: "stripe",
        starts: &["sk_live_", "sk_test_", "rk_live_", "rk_test_"],
        look: Parts(&[Run(alnum, 16, 255)]),
    },
    Shape { kind: "webhook", starts: &["whsec_"], look: Parts(&[Run(base64, 24, 128)]) },
    Shape { kind: "anthropic", starts: &["sk-ant-"], look: Parts(&[Run(word, 24, 255)]) },
    Shape {
        kind: "openai",
        starts: &["sk-proj-", "sk-svcacct-", "sk-admin-"],
        look: Parts(&[Run(word, 20, 255)]),
    },
    Shape { kind: "openrouter", starts: &["sk-or-v1-"], look: Parts(&[Run(hex, 64, 64)]) },
    // Many services took this beginning over.
    Shape { kind: "api-key", starts: &["sk-"], look: Random(word, 20) },
    Shape { kind: "google", starts: &["AIza"], look: Parts(&[Run(word, 35, 35)]) },
    Shape { kind: "google", starts: &["ya29."], look: Parts(&[Run(dotted, 20, 1_024)]) },
    Shape { kind: "google", starts: &["GOCSPX-"], look: Parts(&[Run(word, 28, 28)]) },
    Shape {
        kind: "sendgrid",
        starts: &["SG."],
        look: Parts(&[Run(word, 16, 32), Text("."), Run(word, 32, 64)]),
    },
    Shape { kind: "npm", starts: &["npm_"], look: Parts(&[Run(alnum, 36, 36)]) },
    Shape { kind: "pypi", starts: &["pypi-AgE"], look: Parts(&[Run(word, 50, 1_024)]) },
    Shape { kind: "crates", starts: &["cio"], look: Parts(&[Run(alnum, 32, 32)]) },
    Shape { kind: "rubygems", starts: &["rubygems_"], look: Parts(&[Run(hex, 48, 48)]) },
    Shape { kind: "huggingface", starts: &["hf_"], look: Parts(&[Run(alnum, 34, 40)]) },
    Shape {
        kind: "digitalocean",
        starts: &["dop_v1_", "doo_v1_", "dor_v1_"],
        look: Parts(&[Run(hex, 64, 64)]),
    },
    Shape {
        kind: "doppler",
        starts: &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
        look: Parts(&[Run(dotted, 40, 64)]),
    },
    Shape {
        kind: "shopify",
        starts: &["shpat_", "shpca_", "shppa_", "shpss_"],
        look: Parts(&[Run(|b| b.is_ascii_hexdigit(), 32, 32)]),
    },
    Shape { kind: "square", starts: &["sq0atp-", "sq0csp-"], look: Parts(&[Run(word, 22, 64)]) },
    Shape { kind: "databricks", starts: &["dapi"], look: Parts(&[Run(hex, 32, 32)]) },
    Shape { kind: "vault", starts: &["hvs.", "hvb.", "hvr."], look: Parts(&[Run(word, 24, 512)]) },
    Shape {
        kind: "grafana",
        starts: &["glsa_"],
        look: Parts(&[Run(alnum, 32, 32), Text("_"), Run(|b| b.is_ascii_hexdigit(), 8, 8)]),
    },
    Shape { kind: "grafana", starts: &["glc_"], look: Parts(&[Run(base64, 32, 400)]) },
    Shape { kind: "newrelic", starts: &["NRAK-"], look: Parts(&[Run(upper, 27, 27)]) },
    Shape {
        kind: "postman",
        starts: &["PMAK-"],
        look: Parts(&[Run(hex, 24, 24), Text("-"), Run(hex, 34, 34)]),
    },
    Shape { kind: "pulumi", starts: &["pul-"], look: Parts(&[Run(hex, 40, 40)]) },
    Shape { kind: "supabase", starts: &["sbp_"], look: Parts(&[Run(hex, 40, 40)]) },
    Shape {
        kind: "planetscale",
        starts: &["pscale_tkn_", "pscale_pw_", "pscale_oauth_"],
        look: Parts(&[Run(dotted, 32, 64)]),
    },
    Shape {
        kind: "linear",
        starts: &["lin_api_", "lin_oauth_"],
        look: Parts(&[Run(alnum, 40, 64)]),
    },
    Shape { kind: "notion", starts: &["ntn_"], look: Parts(&[Run(alnum, 46, 46)]) },
    Shape { kind: "atlassian", starts: &["ATATT3"], look: Parts(&[Run(token68, 60, 255)]) },
    Shape { kind: "mailgun", starts: &["key-"], look: Parts(&[Run(hex, 32, 32)]) },
    Shape { kind: "azure", starts: &["AccountKey="], look: Parts(&[Run(base64, 86, 88)]) },
    Shape { kind: "age", starts: &["AGE-SECRET-KEY-1"], look: Parts(&[Run(upper, 58, 58)]) },
    Shape {
        kind: "harness",
        starts: &["hns_"],
        look: Parts(&[Run(hex, 16, 16), Text("_"), Run(hex, 64, 80)]),
    },
    Shape {
        kind: "harness",
        starts: &["harness-ed25519-v1:"],
        look: Parts(&[Run(base64, 43, 44)]),
    },
    Shape {
        kind: "jwt",
        starts: &["eyJ"],
        look: Parts(&[
            Run(word, 14, 1_024),
            Text(".eyJ"),
            Run(word, 14, 2_048),
            Text("."),
            Run(word, 16, 1_024),
        ]),
    },
    Shape { kind: "private-key", starts: &["-----BEGIN "], look: Look::Pem },
    Shape { kind: "password", starts: &["://"], look: Look::Address },
    Shape { kind: "header", starts: &["bearer ", "basic "], look: Look::Header },
    Shape { kind: "credential", starts: NAMES, look: Look::Named },
];

/// Names whose value is a credential. Not `token`: what leads to the next page is often called so.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secret_key",
    "secretkey",
    "client_secret",
    "clientsecret",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "accesskey",
    "access_token",
    "accesstoken",
    "refresh_token",
    "refreshtoken",
    "auth_token",
    "authtoken",
    "private_key",
    "privatekey",
];

struct Starts {
    finder: Option<AhoCorasick>,
    /// For each beginning its shape and itself.
    shapes: Vec<(Shape, &'static str)>,
}

static STARTS: LazyLock<Starts> = LazyLock::new(|| {
    let pairs =
        |shape: &Shape| shape.starts.iter().map(|start| (*shape, *start)).collect::<Vec<_>>();
    let shapes: Vec<(Shape, &'static str)> = SHAPES.iter().flat_map(pairs).collect();
    let finder = AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .match_kind(MatchKind::Standard)
        .ascii_case_insensitive(true)
        .build(shapes.iter().map(|(_, start)| start))
        .ok();
    Starts { finder, shapes }
});

/// Whether a field of this name and content is a credential.
pub(super) fn is_credential(name: &str, text: &str) -> bool {
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let names = |known: &&str| {
        let known = known.bytes().filter(u8::is_ascii_alphanumeric);
        folded.bytes().map(|b| b.to_ascii_lowercase()).eq(known)
    };
    NAMES.iter().any(names) && is_assigned(text.as_bytes())
}

pub(super) fn find(text: &[u8], before: Option<u8>, spans: &mut Vec<Span>) {
    let starts = &*STARTS;
    let Some(finder) = &starts.finder else { return };
    let Ok(found) = finder.try_find_overlapping_iter(text) else { return };
    // Blocks are long: one that begins within another is not looked at again.
    let mut block_end = 0;
    for one in found {
        let Some((shape, start)) = starts.shapes.get(one.pattern().as_usize()) else { continue };
        let (from, behind) = (one.start(), one.end());
        let last = from.checked_sub(1).map_or(before, |last| text.get(last).copied());
        let is_block = matches!(shape.look, Look::Pem);
        if is_block && from < block_end {
            continue;
        }
        let place = Place { text, from, behind, last };
        if let Some((start, end)) = place.hold(shape, start) {
            block_end = if is_block { end } else { block_end };
            spans.push(Span { from, start, end, mark: format!("[token:{}]", shape.kind) });
        }
    }
}

/// Where a block of PEM begins whose end has not come yet.
pub(super) fn open_block(text: &[u8]) -> Option<usize> {
    let tail = text.get(text.len().saturating_sub(PEM_BYTES_MAX)..)?;
    let begun = find_bytes(tail, b"-----BEGIN ")?;
    let is_open = !contains(tail.get(begun..)?, b"-----END ");
    is_open.then(|| text.len().saturating_sub(tail.len()).saturating_add(begun))
}

/// Where something begins.
struct Place<'t> {
    text: &'t [u8],
    /// Where the beginning is.
    from: usize,
    /// Where what follows it is.
    behind: usize,
    /// What stands before it.
    last: Option<u8>,
}

impl Place<'_> {
    /// What to take out, when the text has the shape.
    fn hold(&self, shape: &Shape, start: &str) -> Option<(usize, usize)> {
        let is_written = || self.text.get(self.from..self.behind) == Some(start.as_bytes());
        let is_apart = || !self.last.is_some_and(alnum);
        match shape.look {
            Parts(parts) if is_written() && is_apart() => {
                self.parts(parts).map(|end| (self.from, end))
            }
            Random(set, min) if is_written() && is_apart() => {
                let end = run(self.text, self.behind, set, RANDOM_BYTES_MAX);
                let run = self.text.get(self.behind..end)?;
                (run.len() >= min && is_random(run, ENTROPY_MIN)).then_some((self.from, end))
            }
            Look::Pem => self.pem().map(|end| (self.from, end)),
            Look::Address => self.address(),
            Look::Header if is_apart() => self.header(),
            Look::Named => self.named(),
            Parts(_) | Random(..) | Look::Header => None,
        }
    }

    fn parts(&self, parts: &[Part]) -> Option<usize> {
        let mut at = self.behind;
        let mut last: Option<Set> = None;
        for part in parts {
            match part {
                Run(set, min, max) => {
                    let end = run(self.text, at, *set, *max);
                    if end.saturating_sub(at) < *min {
                        return None;
                    }
                    (at, last) = (end, Some(*set));
                }
                Text(text) => {
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
fn is_assigned(text: &[u8]) -> bool {
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

fn contains(text: &[u8], what: &[u8]) -> bool {
    find_bytes(text, what).is_some()
}

fn find_bytes(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
