//! SearXNG: `GET /search?format=json` of an instance.

use hyper::Method;
use serde_json::Value;

use super::{Asked, Hit, Provider, Query, Reply, hits};
use crate::error::Why;

/// The words of SearXNG.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Searxng;

impl Provider for Searxng {
    fn name(&self) -> &'static str {
        "searxng"
    }

    fn ask(&self, query: &Query, _: Option<&str>) -> Asked {
        let query = vec![
            ("q", query.text.clone()),
            ("format", "json".to_owned()),
            ("pageno", "1".to_owned()),
        ];
        Asked { method: Method::GET, query, headers: Vec::new(), body: None }
    }

    fn read(&self, body: &Value) -> Option<Vec<Hit>> {
        hits(body, "/results", ("content", "publishedDate"))
    }

    fn explain(&self, reply: Reply<'_>) -> Option<(Why, Option<i64>)> {
        // An instance that does not allow `json` says "forbidden".
        (reply.status == 403).then_some((Why::Shape, None))
    }
}
