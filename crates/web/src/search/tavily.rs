//! Tavily: `POST /search`, proven by a bearer token.

use hyper::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{Asked, Hit, Provider, Query, Reply, hits};
use crate::error::Why;

/// The words of Tavily.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tavily;

impl Provider for Tavily {
    fn name(&self) -> &'static str {
        "tavily"
    }

    fn ask(&self, query: &Query, key: Option<&str>) -> Asked {
        // Its own answer is not asked for: whoever asks reads the sources.
        let body = json!({
            "query": query.text,
            "max_results": query.results,
            "search_depth": "basic",
            "include_answer": false,
            "include_raw_content": false,
            "include_images": false,
        });
        Asked {
            method: Method::POST,
            query: Vec::new(),
            headers: key.map(|key| (AUTHORIZATION, format!("Bearer {key}"))).into_iter().collect(),
            body: Some(body),
        }
    }

    fn read(&self, body: &Value) -> Option<Vec<Hit>> {
        hits(body, "/results", ("content", "published_date"))
    }

    fn explain(&self, reply: Reply<'_>) -> Option<(Why, Option<i64>)> {
        match reply.status {
            // The plan, or what was paid for, is used up: no waiting helps.
            432 | 433 => Some((Why::Refused, None)),
            _ => None,
        }
    }
}
