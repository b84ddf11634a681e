//! Searching: one way to ask, and an adapter for each engine's words.

mod brave;
mod searxng;
mod tavily;

use std::fmt;

use bytes::Bytes;
use egress::{Direct, Kind};
use hyper::{HeaderMap, Method, header::HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{brave::Brave, searxng::Searxng, tavily::Tavily};
use crate::{
    address::Address,
    error::{Failed, Why, Wrong},
    fetch::Ways,
    html,
    wire::{Answer, Asking, PAUSE_MAX_MS, Trip, ask},
};

/// Longest query, in characters; the shortest of what the engines take.
pub const QUERY_CHARS_MAX: usize = 400;

/// Most results of one search.
pub const RESULTS_MAX: usize = 20;

/// How many results are asked for where it is not said.
pub const RESULTS_DEFAULT: usize = 8;

/// What is read of an engine's answer, in bytes.
const ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Longest title and longest snippet that are handed on, in characters.
const TITLE_CHARS: usize = 200;
const SNIPPET_CHARS: usize = 1_200;

/// An engine that says "too often" without saying how long is left alone so long, in milliseconds.
const PAUSE_MS: i64 = 5_000;

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// In words.
    pub text: String,
    /// Most results that are wanted.
    pub results: usize,
}

/// One result: the engine's word about a page, and the page's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The page's title.
    pub title: String,
    /// Its address, in its one spelling.
    pub url: String,
    /// A piece of it.
    pub snippet: String,
    /// When it was written, in the engine's words.
    pub age: Option<String>,
}

/// What an engine found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who was asked.
    pub engine: &'static str,
    /// In the engine's order.
    pub hits: Vec<Hit>,
    /// Results whose address is none that could be fetched, and that are left out for it.
    pub left_out: usize,
}

/// A request, as a provider words it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: Method,
    /// What stands behind `?`.
    pub query: Vec<(&'static str, String)>,
    /// Headers beside the usual ones.
    pub headers: Vec<(HeaderName, String)>,
    /// JSON; absent = nothing.
    pub body: Option<Value>,
}

/// An answer, as a provider reads it.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body as JSON; `null` where it is none.
    pub body: &'a Value,
}

/// Knows the words of one search engine. It asks nobody itself.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Its name in results and messages.
    fn name(&self) -> &'static str;

    /// Words a query. `key` is what proves who asks, where the engine wants that.
    fn ask(&self, query: &Query, key: Option<&str>) -> Asked;

    /// Reads results from a good answer; `None` where it is not what the engine promises.
    fn read(&self, body: &Value) -> Option<Vec<Hit>>;

    /// What an answer that is no good one means, where that is more than its status says: why, and until when in
    /// milliseconds.
    fn explain(&self, reply: Reply<'_>) -> Option<(Why, Option<i64>)>;
}

/// The engines that are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Brave Search; needs a key.
    Brave,
    /// Tavily; needs a key.
    Tavily,
    /// An instance of SearXNG, whose operator has to allow `json` under `search.formats`.
    Searxng,
}

impl Engine {
    /// Its name, as configuration spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.provider().name()
    }

    /// Where it is asked when nothing else is said; absent = it has no place of its own.
    #[must_use]
    pub fn url(self) -> Option<&'static str> {
        match self {
            Self::Brave => Some("https://api.search.brave.com/res/v1/web/search"),
            Self::Tavily => Some("https://api.tavily.com/search"),
            Self::Searxng => None,
        }
    }

    /// Whether it answers nobody without a key.
    #[must_use]
    pub fn needs_key(self) -> bool {
        matches!(self, Self::Brave | Self::Tavily)
    }

    fn provider(self) -> Box<dyn Provider> {
        match self {
            Self::Brave => Box::new(Brave),
            Self::Tavily => Box::new(Tavily),
            Self::Searxng => Box::new(Searxng),
        }
    }
}

/// Asks one search engine at one address.
#[derive(Debug)]
pub struct Searcher {
    provider: Box<dyn Provider>,
    at: Address,
    direct: Direct,
}

impl Searcher {
    /// Of an engine at the address that an operator wrote; absent = its own.
    ///
    /// # Errors
    /// No address, or one that cannot be used.
    pub fn new(engine: Engine, url: Option<&str>, ways: &Ways) -> Result<Self, Wrong> {
        let wrong = |problem: String| Wrong { field: "search.url", problem };
        let url = url.or(engine.url()).ok_or_else(|| {
            wrong(format!("{} has no address of its own; write yours", engine.name()))
        })?;
        Self::of(engine.provider(), url, ways)
    }

    /// Of a provider of one's own.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn of(provider: Box<dyn Provider>, url: &str, ways: &Ways) -> Result<Self, Wrong> {
        let at = Address::parse(url);
        let at = at.map_err(|why| Wrong { field: "search.url", problem: why.to_string() })?;
        Ok(Self { provider, at, direct: ways.direct()? })
    }

    /// Where every search goes: method, host, port and path.
    #[must_use]
    pub fn goes_to(&self) -> (Method, String, u16, &str) {
        let asked = self.provider.ask(&Query { text: String::new(), results: 1 }, None);
        (asked.method, self.at.host().to_string(), self.at.port(), self.at.path())
    }

    /// Searches.
    ///
    /// # Errors
    /// Why nothing was found out. Nothing that was sent has an effect.
    pub async fn search(
        &self,
        query: &Query,
        key: Option<&str>,
        trip: &Trip<'_>,
    ) -> Result<Found, Failed> {
        let chars = query.text.chars().count();
        if query.text.trim().is_empty() || chars > QUERY_CHARS_MAX {
            let message = format!("a query has 1 to {QUERY_CHARS_MAX} characters, not {chars}");
            return Err(Failed::new(Why::Asked, message));
        }
        let wanted = query.results.clamp(1, RESULTS_MAX);
        let asked = self.provider.ask(&Query { results: wanted, ..query.clone() }, key);
        let pairs: Vec<(&str, &str)> =
            asked.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let at = if pairs.is_empty() { self.at.clone() } else { self.at.asking(&pairs) };
        let body = asked.body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let asking = Asking {
            method: asked.method,
            accept: "application/json",
            headers: asked.headers,
            body,
        };
        // The operator wrote this address: it may be near. What nobody is led to stays closed.
        let opens = |ip| Kind::of(ip).may_be_opened();
        let answer = ask(&self.direct, (&at, &opens), &asking, (trip, ANSWER_BYTES)).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if !(200..=299).contains(&answer.status) {
            return Err(self.refused(&answer, &body, trip));
        }
        let hits = self.provider.read(&body).filter(|_| !answer.is_cut).ok_or_else(|| {
            let name = self.provider.name();
            let message =
                format!("the answer of {name} is not what it promises; check `search.url`");
            Failed::new(Why::Shape, message)
        })?;
        let count = hits.len();
        let hits: Vec<Hit> = hits.into_iter().filter_map(clean).collect();
        let left_out = count.saturating_sub(hits.len());
        let hits = hits.into_iter().take(wanted).collect();
        Ok(Found { engine: self.provider.name(), hits, left_out })
    }

    fn refused(&self, answer: &Answer, body: &Value, trip: &Trip<'_>) -> Failed {
        let (name, status) = (self.provider.name(), answer.status);
        let reply = Reply { status, headers: &answer.headers, body };
        let told = self.provider.explain(reply);
        let (why, until_ms) = told.unwrap_or_else(|| (usual(status), None));
        let next = match why {
            Why::Refused => "check the secret that `search.key` names, and what its plan allows",
            Why::Often => "it is asked too often; come back later",
            Why::Away => "try again later",
            Why::Late => "it took too long; try again later",
            Why::Asked => "ask for something else",
            Why::Shape => "check `search.url`",
        };
        let wait = answer.retry_after_ms(trip.now_ms).or(until_ms);
        let retry_after_ms = match why {
            Why::Often => Some(wait.unwrap_or(PAUSE_MS).clamp(0, PAUSE_MAX_MS)),
            Why::Away => wait.map(|ms| ms.clamp(0, PAUSE_MAX_MS)),
            _ => None,
        };
        let message = format!("{name} answered {status}: {next}");
        Failed { retry_after_ms, ..Failed::new(why, message) }
    }
}

fn usual(status: u16) -> Why {
    match status {
        401..=403 | 407 => Why::Refused,
        429 => Why::Often,
        408 | 500..=599 => Why::Away,
        400..=499 => Why::Asked,
        _ => Why::Shape,
    }
}

/// A result as it is handed on: markup out, white space in one spelling, an address that can be fetched.
fn clean(hit: Hit) -> Option<Hit> {
    let url = Address::parse(hit.url.trim()).ok()?;
    let line = |text: &str, most: usize| {
        let plain = html::plain(text, &url);
        plain.chars().take(most).collect::<String>()
    };
    Some(Hit {
        title: line(&hit.title, TITLE_CHARS),
        snippet: line(&hit.snippet, SNIPPET_CHARS),
        age: hit.age.map(|age| line(&age, 60)).filter(|age| !age.is_empty()),
        url: url.to_string(),
    })
}

/// A field that is text; empty where it is none.
fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Results below a pointer, each by its own names of snippet and age.
fn hits(body: &Value, at: &str, (snippet, age): (&str, &str)) -> Option<Vec<Hit>> {
    let results = body.pointer(at)?.as_array()?;
    let read = |one: &Value| Hit {
        title: text(one, "title"),
        url: text(one, "url"),
        snippet: text(one, snippet),
        age: Some(text(one, age)),
    };
    Some(results.iter().map(read).collect())
}
