//! What a status that is no success means.

use jiff::fmt::rfc2822;
use kernel::{
    exception::{Class, Landed},
    id::At,
};
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::route::ErrorRule;

/// Longest wait a target may ask for, in milliseconds: a day.
const RETRY_AFTER_MAX_MS: i64 = 86_400_000;

/// Class and whether the effect may have landed. `unknown` is what holds while nobody knows: `No` for
/// reads, `Unknown` for writes that have left.
pub(super) fn classify(status: u16, rules: &[ErrorRule], unknown: Landed) -> (Class, Landed) {
    let (class, landed) = usual(status, unknown);
    match rules.iter().find(|rule| rule.status == status) {
        Some(rule) => (rule.class, rule.landed.unwrap_or(landed)),
        None => (class, landed),
    }
}

fn usual(status: u16, unknown: Landed) -> (Class, Landed) {
    match status {
        401 | 403 | 407 => (Class::Permission, Landed::No),
        // A proxy says 408 about a target that may have heard everything.
        408 => (Class::Timeout, unknown),
        412 => (Class::Stale, Landed::No),
        429 => (Class::RateLimit, Landed::No),
        400..=499 => (Class::InvalidArguments, Landed::No),
        500..=599 => (Class::Unavailable, unknown),
        // A redirect is not followed: nobody declared its target. It may follow a success.
        _ => (Class::UnexpectedShape, unknown),
    }
}

/// `Retry-After` as seconds or as an HTTP date.
pub(crate) fn retry_after_ms(headers: &HeaderMap, now: At) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait_ms = match text.parse::<i64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => rfc2822::parse(text).ok()?.timestamp().as_millisecond().saturating_sub(now),
    };
    Some(wait_ms.clamp(0, RETRY_AFTER_MAX_MS))
}
