//! How many requests a credential, or an address nobody has signed in from, may make.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::http::StatusCode;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};

use super::Told;
use crate::app::{
    config::Serve,
    problem::{Kind, Problem},
};

/// Requests between two looks for keys that nobody uses any more.
const SWEEP_EVERY: u32 = 100_000;

/// When somebody with too many streams may ask for another, in seconds.
const STREAM_AGAIN_S: u64 = 10;

/// The buckets of this process.
#[derive(Debug)]
pub(super) struct Limits {
    credentials: DefaultKeyedRateLimiter<String>,
    strangers: DefaultKeyedRateLimiter<IpAddr>,
    counted: AtomicU32,
    streams: Streams,
    streams_max: NonZeroU32,
}

/// Streams that are open, by who listens.
type Streams = Arc<Mutex<BTreeMap<String, u32>>>;

/// A place among the streams of one principal, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    streams: Streams,
    principal: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        match streams.get_mut(&self.principal) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(streams.remove(&self.principal)),
        }
    }
}

impl Limits {
    pub(super) fn new(serve: &Serve) -> Self {
        // A burst of two seconds' worth: a page asks for several things at once.
        let quota = |n: NonZeroU32| Quota::per_second(n).allow_burst(n.saturating_mul(TWO));
        Self {
            credentials: RateLimiter::keyed(quota(serve.requests_per_second)),
            strangers: RateLimiter::keyed(quota(serve.strangers_per_second)),
            counted: AtomicU32::new(0),
            streams: Streams::default(),
            streams_max: serve.streams_per_principal,
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

    /// Takes a place for one more stream of somebody, whichever credential they use.
    pub(super) fn stream(&self, principal: &str) -> Result<Place, Told> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let open = streams.entry(principal.to_owned()).or_default();
        let most = self.streams_max.get();
        if *open >= most {
            let detail = format!("{principal} has {most} streams open: no more are opened");
            let problem = Problem::new(Kind::TryAgain, "too-many-streams", detail)
                .next("close one, or have `serve.streams_per_principal` raised");
            return Err(Told::with(StatusCode::TOO_MANY_REQUESTS, problem).after(STREAM_AGAIN_S));
        }
        *open += 1;
        Ok(Place { streams: Arc::clone(&self.streams), principal: principal.to_owned() })
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
