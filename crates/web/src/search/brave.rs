//! Brave Search: `GET /res/v1/web/search`, proven by a header.

use hyper::{Method, header::HeaderName};
use serde_json::Value;

use super::{Asked, Hit, Provider, Query, Reply, hits};
use crate::error::Why;

/// The words of Brave Search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brave;

impl Provider for Brave {
    fn name(&self) -> &'static str {
        "brave"
    }

    fn ask(&self, query: &Query, key: Option<&str>) -> Asked {
        let token = HeaderName::from_static("x-subscription-token");
        Asked {
            method: Method::GET,
            query: vec![
                ("q", query.text.clone()),
                ("count", query.results.to_string()),
                ("text_decorations", "false".to_owned()),
            ],
            headers: key.map(|key| (token, key.to_owned())).into_iter().collect(),
            body: None,
        }
    }

    fn read(&self, body: &Value) -> Option<Vec<Hit>> {
        if body.get("type")?.as_str()? != "search" {
            return None;
        }
        // A search that finds nothing on the web has no such part.
        if body.get("web").is_none_or(Value::is_null) {
            return Some(Vec::new());
        }
        hits(body, "/web/results", ("description", "age"))
    }

    fn explain(&self, reply: Reply<'_>) -> Option<(Why, Option<i64>)> {
        // A wrong key comes as 422, with a code that says so.
        let code = reply.body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
        match (reply.status, code) {
            (422, "SUBSCRIPTION_TOKEN_INVALID") => Some((Why::Refused, None)),
            (429, _) => {
                // Seconds until each window begins again: of the second, and of the month. The first that is used up.
                let list = |name: &str| -> Vec<i64> {
                    let text = reply.headers.get(name).and_then(|value| value.to_str().ok());
                    text.unwrap_or_default()
                        .split(',')
                        .filter_map(|one| one.trim().parse().ok())
                        .collect()
                };
                let left = list("x-ratelimit-remaining");
                let resets = list("x-ratelimit-reset");
                let used_up = left.iter().zip(&resets).filter(|(left, _)| **left <= 0);
                let wait = used_up.map(|(_, reset)| *reset).max();
                Some((Why::Often, wait.map(|seconds| seconds.saturating_mul(1_000))))
            }
            _ => None,
        }
    }
}
