//! How many requests a credential, or an address nobody has signed in from, may make.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::http::StatusCode;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};

use super::Told;
use crate::app::problem::{Kind, Problem};

/// Requests between two looks for keys that nobody uses any more.
const SWEEP_EVERY: u32 = 100_000;

/// The buckets of this process.
#[derive(Debug)]
pub(super) struct Limits {
    credentials: DefaultKeyedRateLimiter<String>,
    strangers: DefaultKeyedRateLimiter<IpAddr>,
    counted: AtomicU32,
}

impl Limits {
    pub(super) fn new(per_credential: NonZeroU32, per_stranger: NonZeroU32) -> Self {
        // A burst of two seconds' worth: a page asks for several things at once.
        let quota = |n: NonZeroU32| Quota::per_second(n).allow_burst(n.saturating_mul(TWO));
        Self {
            credentials: RateLimiter::keyed(quota(per_credential)),
            strangers: RateLimiter::keyed(quota(per_stranger)),
            counted: AtomicU32::new(0),
        }
    }

    /// Counts a request by a credential.
    pub(super) fn count(&self, credential: &str) -> Result<(), Told> {
        self.sweep();
        self.credentials
            .check_key(&credential.to_owned())
            .map_err(|until| told(until.wait_time_from(self.credentials.clock().now())))
    }

    /// Counts a request from an address that showed no valid credential.
    pub(super) fn count_stranger(&self, address: IpAddr) -> Result<(), Told> {
        self.sweep();
        self.strangers
            .check_key(&address)
            .map_err(|until| told(until.wait_time_from(self.strangers.clock().now())))
    }

    fn sweep(&self) {
        if self.counted.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.credentials.retain_recent();
            self.strangers.retain_recent();
        }
    }
}

const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

fn told(wait: std::time::Duration) -> Told {
    let seconds = wait.as_secs() + 1;
    let detail = format!("too many requests: try again in {seconds} s");
    let problem = Problem::new(Kind::TryAgain, "too-many-requests", detail)
        .next("wait, or have `serve.requests_per_second` raised");
    Told::with(StatusCode::TOO_MANY_REQUESTS, problem).after(seconds)
}
