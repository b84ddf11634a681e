//! Texts that have the shape of a key: what services document of theirs, and what stands where keys stand.
//!
//! First it is looked for how they begin; only where one does, its shape is held against the text.

mod place;
mod starts;

use memchr::memmem;

use super::Span;
use place::Place;
use starts::{Begun, STARTS};

/// Longest key in PEM that is taken out as one, in bytes; an RSA key of 8192 bits takes 6400.
pub(super) const PEM_BYTES_MAX: usize = 8 * 1024;

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

/// Whether a field of this name and content is a credential.
pub(super) fn is_credential(name: &str, text: &str) -> bool {
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let names = |known: &&str| {
        let known = known.bytes().filter(u8::is_ascii_alphanumeric);
        folded.bytes().map(|b| b.to_ascii_lowercase()).eq(known)
    };
    NAMES.iter().any(names) && place::is_assigned(text.as_bytes())
}

pub(super) fn find(text: &[u8], before: Option<u8>, spans: &mut Vec<Span>) {
    hold(text, before, &STARTS.begun(text), spans);
}

/// The same, looked for at every place of the text.
#[cfg(test)]
pub(super) fn find_slowly(text: &[u8], before: Option<u8>, spans: &mut Vec<Span>) {
    hold(text, before, &STARTS.begun_slowly(text), spans);
}

/// Holds shapes against a text where they begin in it, in the order of where these beginnings end.
fn hold(text: &[u8], before: Option<u8>, begun: &[Begun], spans: &mut Vec<Span>) {
    // Blocks are long: one that begins within another is not looked at again.
    let mut block_end = 0;
    for Begun { shape, start, from, behind } in begun {
        let last = from.checked_sub(1).map_or(before, |last| text.get(last).copied());
        let is_block = matches!(shape.look, Look::Pem);
        if is_block && *from < block_end {
            continue;
        }
        let place = Place { text, from: *from, behind: *behind, last };
        if let Some((start, end)) = place.hold(shape, start) {
            block_end = if is_block { end } else { block_end };
            spans.push(Span {
                from: *from,
                start,
                end,
                mark: format!("[token:{}]", shape.kind),
                kind: None,
            });
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

fn contains(text: &[u8], what: &[u8]) -> bool {
    find_bytes(text, what).is_some()
}

fn find_bytes(text: &[u8], what: &[u8]) -> Option<usize> {
    memmem::find(text, what)
}
