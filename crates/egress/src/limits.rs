use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Smallest room for a head, in bytes.
pub const HEAD_BYTES_MIN: usize = 8 * 1024;

/// Longest of all times, in milliseconds: one day.
pub const TIME_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// How much one proxy does at all, whatever its rules say. Sizes are bytes, times milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at one time; more wait in the socket's queue.
    pub connections_max: usize,
    /// Requests and tunnels over the proxy's life.
    pub requests_max: u64,
    /// The head of a request, and of an answer: request line and headers.
    pub head_bytes_max: usize,
    /// Headers of a request, and of an answer.
    pub headers_max: usize,
    /// From a connection's first moment, or the end of an answer, to the end of the next head; and in a tunnel to the
    /// end of the greeting.
    pub head_ms: u64,
    /// Name look-up, connecting and TLS together.
    pub connect_ms: u64,
    /// Without a byte of the request's body, to the head of the answer.
    pub answer_ms: u64,
    /// Without a byte of an answer's body, or either way in a tunnel.
    pub idle_ms: u64,
    /// One request or tunnel from its head to the last byte of the answer.
    pub total_ms: u64,
    /// Bytes of bodies and tunnels to the outside over the proxy's life.
    pub bytes_out_max: u64,
    /// Bytes of bodies and tunnels from the outside over the proxy's life.
    pub bytes_in_max: u64,
    /// What is under way may take so long to end when the proxy is stopped.
    pub stop_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            requests_max: 100_000,
            head_bytes_max: 64 * 1024,
            headers_max: 100,
            head_ms: 30_000,
            connect_ms: 10_000,
            answer_ms: 120_000,
            idle_ms: 60_000,
            total_ms: 600_000,
            bytes_out_max: 1024 * 1024 * 1024,
            bytes_in_max: 4 * 1024 * 1024 * 1024,
            stop_ms: 5_000,
        }
    }
}

impl Limits {
    /// Whether each can be held.
    ///
    /// # Errors
    /// [`Error::Limit`] for the first that cannot.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |field, problem: String| Err(Error::Limit { field, problem });
        if !(1..=4096).contains(&self.connections_max) {
            return wrong("connections_max", "it is from 1 to 4096".to_owned());
        }
        if !(HEAD_BYTES_MIN..=1024 * 1024).contains(&self.head_bytes_max) {
            return wrong(
                "head_bytes_max",
                format!("it is from {HEAD_BYTES_MIN} to 1048576 bytes"),
            );
        }
        if !(1..=1000).contains(&self.headers_max) {
            return wrong("headers_max", "it is from 1 to 1000".to_owned());
        }
        for (field, ms) in [
            ("head_ms", self.head_ms),
            ("connect_ms", self.connect_ms),
            ("answer_ms", self.answer_ms),
            ("idle_ms", self.idle_ms),
            ("total_ms", self.total_ms),
        ] {
            if !(1..=TIME_MAX_MS).contains(&ms) {
                return wrong(field, format!("it is from 1 to {TIME_MAX_MS} ms"));
            }
        }
        if self.stop_ms > TIME_MAX_MS {
            return wrong("stop_ms", format!("it is at most {TIME_MAX_MS} ms"));
        }
        Ok(())
    }
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
