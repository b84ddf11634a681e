//! The web as a connector: pages, and what a search engine finds.
//!
//! The operator declares which hosts may be asked and who is asked when something is searched for; a pack names the
//! system. Everything here is a read: nothing that is sent has an effect. What comes back is the word of whoever wrote it,
//! and an operation that labels it otherwise does not load.

use ::web::{
    CHARS_DEFAULT, CHARS_MAX, Failed, Fetched, Found, Others, Part, Places, Query, RESULTS_DEFAULT,
    Range, Reach, Searcher, Trip, Ways, Web, Why,
};
use jiff::Timestamp;
use kernel::{
    exception::{Class, Landed},
    operation::Operation,
    port::Failure,
};
use secrets::Use;
use serde_json::{Value, json};

use crate::{
    call::{Call, Departure, fail, refuse},
    error::{Error, hint},
    read::Reader,
    secret::Vault,
    system::WebSystem,
};

/// What can be asked of the web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    /// The page at any address that the system allows: the caller chooses the host.
    Fetch,
    /// The page at an address of a host that the operator listed.
    Read,
    /// What a search engine finds.
    Search,
}

/// Every errand by its name in packs; the shipped `web` uses each.
const ERRANDS: [(&str, Errand); 3] =
    [("fetch", Errand::Fetch), ("read", Errand::Read), ("search", Errand::Search)];

/// An errand to a declared system.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) system: String,
    errand: Errand,
}

impl Runner {
    pub(crate) fn compile(binding: &Reader<'_>, operation: &Operation) -> Result<Self, Error> {
        binding.only(&["kind", "system", "do"])?;
        let wanted = binding.text("do")?;
        let found = ERRANDS.iter().find(|(known, _)| *known == wanted).map(|(_, errand)| *errand);
        let known = ERRANDS.iter().map(|(known, _)| *known);
        let errand = found.ok_or_else(|| {
            let text =
                format!("nothing called `{wanted}` is asked of the web{}", hint(wanted, known));
            binding.error("do", text)
        })?;
        if operation.is_write() {
            let text = format!("`{wanted}` changes nothing; say `effect: read`");
            return Err(binding.error("do", text));
        }
        // Facts decide who is asked: an address can carry out whatever whoever chose it knows.
        if errand == Errand::Fetch && !operation.facts.egress {
            let text = "whoever calls it chooses the host; say `egress: true`, or use `do: read`";
            return Err(binding.error("do", text));
        }
        let labels = &operation.labels;
        if labels.parts.values().chain([&labels.whole]).any(|label| !label.is_tainted()) {
            let text = "what the web says is nobody's word; say `labels: {trust: untrusted}`";
            return Err(binding.error("do", text));
        }
        Ok(Self { system: binding.text("system")?.to_owned(), errand })
    }

    /// Whether one party answers all of it. Where many hosts do, what one of them does says nothing about the others.
    pub(crate) fn has_one_target(&self) -> bool {
        self.errand == Errand::Search
    }
}

/// A declared web.
#[derive(Debug)]
pub(crate) struct Pages {
    name: String,
    web: Web,
    search: Option<Engaged>,
}

/// A search engine, and the secret that proves who asks.
#[derive(Debug)]
struct Engaged {
    searcher: Searcher,
    key: Option<String>,
}

impl Engaged {
    /// What is done with the secret of the engine, for the place that every search goes to; `None` without one.
    fn with_key<T>(
        &self,
        system: &str,
        done: impl FnOnce(&str, &Use<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(secret) = &self.key else { return Ok(None) };
        let (method, host, port, path) = self.searcher.goes_to();
        let asked = Use {
            host: Some(&host),
            port: Some(port),
            method: Some(method.as_str()),
            path: Some(path),
            ..Use::by(system)
        };
        done(secret, &asked).map(Some)
    }
}

impl Pages {
    pub(crate) fn new(name: &str, declared: &WebSystem, vault: &Vault) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: name.to_owned(), problem };
        let others = if declared.any { Others::Public } else { Others::Refused };
        let places = Places::new(&declared.hosts, &declared.private, others);
        let places = places.map_err(|error| wrong(error.to_string()))?;
        let ways = Ways::default();
        let web = Web::new(places, declared.limits, &ways);
        let web = web.map_err(|error| wrong(error.to_string()))?;
        let engage = |search: &crate::system::Search| {
            if search.engine.needs_key() && search.key.is_none() {
                let problem = format!(
                    "search.key: {} answers nobody without one; name a secret",
                    search.engine.name()
                );
                return Err(wrong(problem));
            }
            let searcher = Searcher::new(search.engine, search.url.as_deref(), &ways);
            let searcher = searcher.map_err(|error| wrong(error.to_string()))?;
            let engaged = Engaged { searcher, key: search.key.clone() };
            engaged.with_key(name, |secret, asked| vault.check(secret, asked))?;
            Ok(engaged)
        };
        let search = declared.search.as_ref().map(engage).transpose()?;
        Ok(Self { name: name.to_owned(), web, search })
    }

    /// Makes one call. The caller bounds the time.
    pub(crate) async fn call(
        &self,
        runner: &Runner,
        (call, vault): (&Call, &Vault),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let leave = || departure.leave().is_ok();
        let trip = Trip { now_ms: departure.now_ms(), leave: &leave };
        match runner.errand {
            Errand::Fetch => self.fetch(call, Reach::All, &trip).await,
            Errand::Read => self.fetch(call, Reach::Listed, &trip).await,
            Errand::Search => self.find(call, vault, &trip).await,
        }
    }

    async fn fetch(&self, call: &Call, reach: Reach, trip: &Trip<'_>) -> Result<Value, Failure> {
        let url = text(call, "url")?;
        let range = Range {
            offset: number(call, "offset", 0)?,
            limit: number(call, "limit", CHARS_DEFAULT)?.min(CHARS_MAX),
        };
        let fetched = self.web.fetch(url, reach, trip).await.map_err(failure)?;
        let part = fetched.page.part(range).map_err(failure)?;
        Ok(told(&fetched, part, range))
    }

    async fn find(&self, call: &Call, vault: &Vault, trip: &Trip<'_>) -> Result<Value, Failure> {
        let Some(engaged) = &self.search else {
            let message = format!(
                "nobody is declared who searches; the operator can add [systems.{}.search]",
                self.name
            );
            return Err(fail(Class::Permission, Landed::No, message));
        };
        let query = Query {
            text: text(call, "query")?.to_owned(),
            results: number(call, "results", RESULTS_DEFAULT)?,
        };
        let key = engaged.with_key(&self.name, |secret, asked| vault.resolve(secret, asked));
        let key = key.map_err(|error| fail(Class::Permission, Landed::No, error.to_string()))?;
        let key = key.as_ref().map(|key| key.expose());
        let found = engaged.searcher.search(&query, key, trip).await.map_err(failure)?;
        Ok(listed(&found))
    }
}

fn told(fetched: &Fetched, part: Part, range: Range) -> Value {
    let page = &fetched.page;
    json!({
        "url": fetched.url,
        "title": page.title,
        "format": page.format.name(),
        "text": part.text,
        "offset": range.offset,
        "chars": part.chars,
        "remains": part.remains,
        "next": part.next,
        "cut": page.is_cut,
        "from": fetched.from.name(),
        "fetched_at": Timestamp::from_millisecond(page.fetched_at_ms).map(|at| at.to_string()).ok(),
        "hops": fetched.hops,
    })
}

fn listed(found: &Found) -> Value {
    let hits = found.hits.iter().map(
        |hit| json!({ "title": hit.title, "url": hit.url, "snippet": hit.snippet, "age": hit.age }),
    );
    let results: Vec<Value> = hits.collect();
    json!({ "engine": found.engine, "results": results, "left_out": found.left_out })
}

/// None of them leaves an effect behind.
fn failure(failed: Failed) -> Failure {
    let class = match failed.why {
        Why::Asked => Class::InvalidArguments,
        Why::Refused => Class::Permission,
        Why::Often => Class::RateLimit,
        Why::Away => Class::Unavailable,
        Why::Late => Class::Timeout,
        Why::Shape => Class::UnexpectedShape,
    };
    Failure { retry_after_ms: failed.retry_after_ms, ..fail(class, Landed::No, failed.message) }
}

fn text<'a>(call: &'a Call, name: &str) -> Result<&'a str, Failure> {
    let value = call.args.get(name).and_then(Value::as_str);
    value.ok_or_else(|| refuse(format!("the argument `{name}` must be text")))
}

fn number(call: &Call, name: &str, absent: usize) -> Result<usize, Failure> {
    let Some(value) = call.args.get(name).filter(|value| !value.is_null()) else {
        return Ok(absent);
    };
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| refuse(format!("the argument `{name}` must be a whole number from 0")))
}

#[cfg(test)]
mod tests;
