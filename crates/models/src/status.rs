//! What a provider's refusal means: by its own words first, then by its status.

use crate::{
    error::{Error, clip},
    json::{error_message, error_words},
};

/// Longest wait that is passed on, in milliseconds: a provider that says more is not believed.
const RETRY_AFTER_MAX_MS: i64 = 3_600_000;

/// An answer whose status is not 2xx.
pub(crate) fn refused(status: u16, body: &str, retry_after_ms: Option<i64>) -> Error {
    let said = error_message(body);
    let message = if said.is_empty() { format!("status {status}") } else { said };
    if (300..400).contains(&status) {
        return Error::NotFound(format!("status {status}: redirects are not followed"));
    }
    let refusal = Refusal { status, words: error_words(body), message, retry_after_ms };
    refusal.by_words().unwrap_or_else(|| refusal.by_status())
}

/// An error inside of an answer whose status was good, such as in the middle of a stream.
pub(crate) fn inside(body: &str) -> Error {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let code = value.pointer("/error/code").and_then(serde_json::Value::as_u64);
    let status = code.and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
    refused(status, body, None)
}

struct Refusal {
    status: u16,
    words: String,
    message: String,
    retry_after_ms: Option<i64>,
}

impl Refusal {
    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.words.contains(word))
    }

    fn tells(&self, phrases: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }

    fn is_too_long(&self) -> bool {
        let is_refusal = matches!(self.status, 400 | 413 | 422 | 500);
        self.says(&["context_length_exceeded", "request_too_large"])
            || is_refusal
                && self.tells(&[
                    "prompt is too long",
                    "maximum context length",
                    "context length",
                    "context window",
                    "exceeds the maximum number of tokens",
                    "input is too long",
                ])
    }

    fn by_words(&self) -> Option<Error> {
        let (message, retry_after_ms) = (self.message.clone(), self.retry_after_ms);
        let error = if self.is_too_long() {
            Error::ContextTooLong(message)
        } else if self.says(&["content_filter", "content_policy", "invalid_prompt", "bio_policy"]) {
            Error::ContentFilter(message)
        } else if self.says(&["insufficient_quota", "billing", "insufficient_balance"]) {
            Error::Quota(message)
        } else if self.says(&["authentication", "invalid_api_key", "unauthenticated"])
            || self.tells(&["api key not valid", "invalid api key"])
        {
            Error::Auth(message)
        } else if self.says(&["permission"]) {
            Error::Permission(message)
        } else if self.says(&["not_found"]) {
            Error::NotFound(message)
        } else if self.says(&["rate_limit", "resource_exhausted"]) {
            Error::RateLimit { message, retry_after_ms }
        } else if self.says(&["overloaded"]) || self.status == 503 && self.tells(&["overloaded"]) {
            Error::Overloaded { message, retry_after_ms }
        } else if self.says(&["timeout", "deadline_exceeded"]) {
            Error::Timeout(message)
        } else if self.says(&["cancelled"]) {
            Error::Cancelled(message)
        } else if self.status >= 500 && self.says(&["invalid_request", "invalid_argument"]) {
            Error::BadRequest(message)
        } else {
            return None;
        };
        Some(error)
    }

    fn by_status(self) -> Error {
        let Self { status, message, retry_after_ms, .. } = self;
        match status {
            401 => Error::Auth(message),
            402 => Error::Quota(message),
            403 => Error::Permission(message),
            404 | 405 | 410 => Error::NotFound(message),
            408 | 504 => Error::Timeout(message),
            413 => Error::ContextTooLong(message),
            429 => Error::RateLimit { message, retry_after_ms },
            499 => Error::Cancelled(message),
            529 => Error::Overloaded { message, retry_after_ms },
            409 | 500.. => Error::Unavailable { message, retry_after_ms },
            _ => Error::BadRequest(message),
        }
    }
}

/// How long `retry-after-ms` or `retry-after` asks to wait: milliseconds, seconds or a date.
pub(crate) fn retry_after(millis: Option<&str>, seconds: Option<&str>, now_ms: i64) -> Option<i64> {
    let exact = millis.and_then(|text| text.trim().parse::<f64>().ok());
    let counted = || seconds.and_then(|text| Some(text.trim().parse::<f64>().ok()? * 1_000.0));
    let number = exact.or_else(counted).filter(|ms| ms.is_finite() && *ms >= 0.0);
    if let Some(ms) = number {
        let capped = ms.ceil().min(RETRY_AFTER_MAX_MS as f64);
        return Some(capped as i64);
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(seconds?.trim()).ok()?;
    Some(date.as_millisecond().saturating_sub(now_ms).clamp(0, RETRY_AFTER_MAX_MS))
}

/// What a connection met, in words that hold nothing but its own.
pub(crate) fn broken(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source.filter(|_| words.len() < 4) {
        words.push(error.to_string());
        source = error.source();
    }
    words.dedup();
    clip(&words.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_in_all_three_forms() {
        let now = 784_111_777_000;
        assert_eq!(retry_after(None, Some("3"), now), Some(3_000));
        assert_eq!(retry_after(None, Some("0.5"), now), Some(500));
        assert_eq!(retry_after(Some("1500.2"), Some("9"), now), Some(1_501));
        assert_eq!(retry_after(None, Some("Sun, 06 Nov 1994 08:49:47 GMT"), now), Some(10_000));
        assert_eq!(retry_after(None, Some("Sun, 06 Nov 1994 08:49:07 GMT"), now), Some(0));
        assert_eq!(retry_after(None, Some("999999999"), now), Some(RETRY_AFTER_MAX_MS));
        for bad in ["soon", "-1", "NaN", "inf", ""] {
            assert_eq!(retry_after(None, Some(bad), now), None, "{bad}");
        }
        assert_eq!(retry_after(None, None, now), None);
    }
}
