//! What the server counts about itself, as Prometheus reads it. Labels come from closed sets only.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::State,
    http::{Method, header},
    response::{IntoResponse, Response},
};

use super::Web;

/// Upper bounds of the buckets of request times, in seconds.
const BOUNDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Counters of the server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, String, u16), Timed>>,
    listeners: AtomicI64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Timed {
    count: u64,
    seconds: f64,
    buckets: [u64; BOUNDS.len()],
}

impl Metrics {
    /// Notes one answered request. `route` is a template such as `/v1/runs/{run}`, never a path.
    pub(super) fn note(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "POST" => "POST",
            "DELETE" => "DELETE",
            _ => "other",
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let timed = requests.entry((method, route.to_owned(), status)).or_default();
        let seconds = took.as_secs_f64();
        timed.count += 1;
        timed.seconds += seconds;
        for (bucket, bound) in timed.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// Notes a connection that was not accepted.
    pub(super) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream that is open; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Listening(Arc<Web>);

impl Listening {
    pub(crate) fn new(web: &Arc<Web>) -> Self {
        web.metrics.listeners.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(web))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.metrics.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(web): State<Arc<Web>>) -> Response {
    let mut text = String::new();
    own(&web.metrics, &mut text);
    // Figures of the store need a look at it; without them the rest is still worth having.
    if let Ok(figures) = web.app.figures().await {
        for (name, help, value) in figures {
            gauge(&mut text, name, help, value);
        }
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn own(metrics: &Metrics, text: &mut String) {
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let name = "harness_http_request_seconds";
    head(text, name, "histogram", "How long requests took to answer, streams not counted.");
    let requests = metrics.requests.lock().unwrap_or_else(PoisonError::into_inner);
    for ((method, route, status), timed) in requests.iter() {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        for (bucket, bound) in timed.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", timed.count);
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", timed.seconds);
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", timed.count);
    }
    drop(requests);
    let listeners = metrics.listeners.load(Ordering::Relaxed);
    gauge(text, "harness_listeners", "Event streams that are open.", listeners);
    let name = "harness_connections_refused_total";
    head(text, name, "counter", "Connections refused because as many as may be were open.");
    let _ = writeln!(text, "{name} {}", metrics.refused.load(Ordering::Relaxed));
}

fn gauge(text: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}
