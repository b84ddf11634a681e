//! What a status that is no success means.

use jiff::fmt::rfc2822;
use kernel::{
    exception::{Class, Landed},
    id::At,
};
use reqwest::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};

use super::route::ErrorRule;

/// Longest wait a target may ask for, in milliseconds: a day.
const RETRY_AFTER_MAX_MS: i64 = 86_400_000;

/// Most of a scope's name that is told.
const SCOPE_MAX_CHARS: usize = 200;

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

/// The scope that a refused call needs, where the target says so as RFC 6750 has it.
pub(super) fn needed_scope(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
    let (_, rest) = text.split_once("scope=\"")?;
    let (scope, _) = rest.split_once('"')?;
    Some(scope.chars().take(SCOPE_MAX_CHARS).collect()).filter(|scope: &String| !scope.is_empty())
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

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn a_needed_scope_is_read_where_a_target_names_one() {
        let scope = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(text));
            needed_scope(&headers)
        };
        let named = "Bearer error=\"insufficient_scope\", scope=\"accounts:read\"";
        assert_eq!(scope(named).as_deref(), Some("accounts:read"));
        for none in ["Bearer", "Bearer scope=\"\"", "Bearer scope=\"open", "Basic realm=\"x\""] {
            assert_eq!(scope(none), None, "{none}");
        }
        assert_eq!(needed_scope(&HeaderMap::new()), None);
    }
}
