//! Identifiers: hashes and names with a type prefix, so that one kind never passes for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

/// Position of an event in its run, from 0, without gaps.
pub type Seq = u64;

/// Milliseconds since the Unix epoch, UTC. Enters the core as an input, never read here.
pub type At = i64;

/// Ownership epoch of a run: grows by one with every new driver, fences off the old one.
pub type Epoch = u64;

/// What digests are written after.
const DIGEST_PREFIX: &str = "sha256:";

/// A SHA-256 digest, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

/// Bytes hashed at a time by [`Digest::of_stream`].
const STREAM_BYTES: usize = 1 << 18;

impl Digest {
    /// Hashes bytes exactly as given.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes what `fill` puts into the buffer it is given, until it puts nothing; says how much it was.
    ///
    /// # Errors
    /// What `fill` met.
    pub fn of_stream<E>(
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(Self, u64), E> {
        let (mut hasher, mut total) = (Sha256::new(), 0);
        let mut buffer = vec![0; STREAM_BYTES];
        loop {
            let count = fill(&mut buffer)?;
            let Some(filled) = buffer.get(..count).filter(|filled| !filled.is_empty()) else {
                return Ok((Self(hasher.finalize().into()), total));
            };
            hasher.update(filled);
            total += count as u64;
        }
    }

    /// Hashes several parts under a domain, each length-prefixed, so that no two lists collide.
    #[must_use]
    pub fn of_parts(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((domain.len() as u64).to_be_bytes());
        hasher.update(domain.as_bytes());
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The 64 hex digits without the prefix.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// As it is written, without an allocation: an event holds ten of them.
    #[must_use]
    pub fn ascii(self) -> [u8; 71] {
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        let digits = text.iter_mut().skip(DIGEST_PREFIX.len());
        digits.zip(hex_digits(&self.0)).for_each(|(place, digit)| *place = digit);
        text
    }

    /// The first 12 hex digits: enough for people to tell two apart.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Lower-case hex of any bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    String::from_utf8(hex_digits(bytes).collect()).unwrap_or_default()
}

fn hex_digits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
    bytes.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

/// Bytes of lower-case hex; `None` for anything else: one value has one spelling.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: char| c.to_digit(16).filter(|_| !c.is_ascii_uppercase()).map(|d| d as u8);
    let digits: Vec<u8> = text.chars().map(digit).collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.ascii()).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}…", self.short())
    }
}

/// Text that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct BadId {
    /// What was given, cut to 80 characters.
    pub text: String,
    /// What was expected, in words.
    pub expected: &'static str,
}

impl BadId {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

impl FromStr for Digest {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId::new(text, "a digest such as sha256:9f21… with 64 hex digits");
        let bytes = text.strip_prefix("sha256:").and_then(unhex).ok_or_else(bad)?;
        bytes.try_into().map(Self).map_err(|_| bad())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.ascii()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Defines a text identifier that only parses from its prefix plus 1 to 120 safe characters.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The identifier as text, prefix included.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
                match text.strip_prefix($prefix) {
                    Some(rest) if (1..=120).contains(&rest.len()) && rest.chars().all(safe) => {
                        Ok(Self(text.to_owned()))
                    }
                    _ => Err(BadId::new(text, $expected)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

text_id!(
    /// Who data, runs and rights belong to; the first part of every key. `default` when single.
    Tenant, "", "a tenant name (letters, digits, `-`, `_`, `.`, `:`)"
);
text_id!(
    /// One execution of one intent: hash of tenant, intent and idempotency key.
    RunId, "run_", "a run id such as run_1f0c…"
);
text_id!(
    /// One receipt: hash of run and action.
    ReceiptId, "rct_", "a receipt id such as rct_1f0c…"
);
text_id!(
    /// A right to take one effect back, once.
    TokenId, "rbk_", "a rollback token id such as rbk_1f0c…"
);
text_id!(
    /// One request for a person's decision, as it stands in the inbox.
    ApprovalId, "apr_", "an approval id such as apr_1f0c…"
);
text_id!(
    /// A run that needs someone.
    ExceptionId, "exc_", "an exception id such as exc_1f0c…"
);
text_id!(
    /// One halt: hash of tenant and position in the halt log.
    HaltId, "hlt_", "a halt id such as hlt_1f0c…"
);
text_id!(
    /// What a target system deduplicates on; unique across runs and tenants.
    EffectKey, "key_", "an effect key such as key_1f0c…"
);
text_id!(
    /// An opaque person, agent or service, such as `person:mira` or `agent:renewals`.
    PrincipalId, "", "a principal id such as person:mira"
);
text_id!(
    /// One operation of one connector, such as `crm.get_account`.
    OperationId, "", "an operation id such as crm.get_account"
);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl OperationId {
    /// The connector's name: what stands before the first dot.
    #[must_use]
    pub fn connector(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(connector, _)| connector)
    }
}

fn hashed(prefix: &str, domain: &str, parts: &[&[u8]]) -> String {
    let digest = Digest::of_parts(domain, parts);
    format!("{prefix}{}", digest.hex().get(..32).unwrap_or_default())
}

impl RunId {
    /// The run that serves this intent under this key: the same three always name the same run.
    #[must_use]
    pub fn of_intent(tenant: &Tenant, intent: &str, idempotency_key: &str) -> Self {
        let parts = [tenant.0.as_bytes(), intent.as_bytes(), idempotency_key.as_bytes()];
        Self(hashed("run_", "harness/run/v1", &parts))
    }
}

impl EffectKey {
    /// The key of the effect that the proposal at `origin` of this run asks for.
    #[must_use]
    pub fn of(tenant: &Tenant, run: &RunId, origin: Seq) -> Self {
        Self(hashed("key_", "harness/effect/v1", &key_parts(tenant, run, &origin.to_be_bytes())))
    }
}

impl HaltId {
    /// The id of the halt that entry `n` of the tenant's halt log puts up.
    #[must_use]
    pub fn of(tenant: &Tenant, n: u64) -> Self {
        Self(hashed("hlt_", "harness/halt/v1", &[tenant.0.as_bytes(), &n.to_be_bytes()]))
    }
}

macro_rules! seq_id {
    ($name:ident, $prefix:literal, $domain:literal) => {
        impl $name {
            /// The id of what the event at `seq` of this run created.
            #[must_use]
            pub fn of(tenant: &Tenant, run: &RunId, seq: Seq) -> Self {
                Self(hashed($prefix, $domain, &key_parts(tenant, run, &seq.to_be_bytes())))
            }
        }
    };
}

seq_id!(ReceiptId, "rct_", "harness/receipt/v1");
seq_id!(TokenId, "rbk_", "harness/token/v1");
seq_id!(ApprovalId, "apr_", "harness/approval/v1");
seq_id!(ExceptionId, "exc_", "harness/exception/v1");

fn key_parts<'a>(tenant: &'a Tenant, run: &'a RunId, seq: &'a [u8; 8]) -> [&'a [u8]; 3] {
    [tenant.0.as_bytes(), run.0.as_bytes(), seq]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_of_id_never_parses_as_another() {
        let run = RunId::of_intent(&Tenant::default(), "renewal", "k1");
        assert!(run.as_str().parse::<RunId>().is_ok());
        assert!(run.as_str().parse::<ReceiptId>().is_err());
        assert!("run_".parse::<RunId>().is_err());
        assert!("run_a b".parse::<RunId>().is_err());
    }

    #[test]
    fn run_ids_do_not_collide_across_part_borders() {
        let id =
            |tenant: &str, intent: &str| RunId::of_intent(&tenant.parse().unwrap(), intent, "k");
        assert_ne!(id("ab", "c"), id("a", "bc"));
    }

    #[test]
    fn digest_survives_text() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("sha256:zz".parse::<Digest>().is_err());
        assert!("sha256:é".parse::<Digest>().is_err());
    }
}
