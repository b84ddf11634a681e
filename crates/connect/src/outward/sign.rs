//! Signatures under a shared secret.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What a key for webhooks must be.
pub(super) const WEBHOOK_KEY: &str = "a webhook's secret is `whsec_` and the base64 of 24 to 64 bytes; make one with: \
     echo whsec_$(head -c 32 /dev/urandom | base64)";

/// The key in a `whsec_…`.
pub(super) fn webhook_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok().map(Zeroizing::new)?;
    (24..=64).contains(&key.len()).then_some(key)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    // An HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}

/// HMAC-SHA256 over the parts, one after the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    mac(key, parts).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

/// Compares without telling by time how much was right.
pub(super) fn is_hmac(key: &[u8], parts: &[&[u8]], given: &[u8]) -> bool {
    mac(key, parts).is_some_and(|mac| mac.verify_slice(given).is_ok())
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

pub(super) fn sha256_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}
