//! Fetches a page: every hop by the same rules, its host's word first, what is kept before what is sent for.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use egress::{Direct, Resolver, Trust};
use hyper::header::{CONTENT_TYPE, LOCATION};
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    cache::{Bounds, Cache, Known},
    content::{self, Format},
    error::{Failed, Why, Wrong},
    hosts::{Hosts, Word},
    html,
    page::{Fetched, Page, Source},
    places::{Opening, Places, Reach},
    robots::{ROBOTS_BYTES_MAX, Robots},
    wire::{Answer, Asking, PAUSE_MAX_MS, Trip, ask},
};

/// Most redirects of a page, and of a `robots.txt`.
pub const REDIRECTS_MAX: usize = 5;

/// What is read of a page, and of an answer of a search engine, in bytes; the most an operator can allow.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest cache that an operator can allow, in bytes.
pub const CACHE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most pages that an operator can allow to be kept.
pub const CACHE_PAGES_MAX: usize = 10_000;

/// A host that says "too often" without saying how long is left alone so long, in milliseconds.
const PAUSE_MS: i64 = 60_000;

const PAGE: &str = "text/html, application/xhtml+xml, text/markdown, text/plain, application/json, application/xml;q=0.9, */*;q=0.1";

/// How much is read and kept. Sizes are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// What is read of a page, unpacked; the rest is cut off.
    pub body_bytes_max: usize,
    /// What the texts of kept pages take together; 0 = none is kept.
    pub cache_bytes_max: usize,
    /// How many pages are kept.
    pub cache_pages_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 2 * 1024 * 1024,
            cache_bytes_max: 16 * 1024 * 1024,
            cache_pages_max: 256,
        }
    }
}

impl Limits {
    fn check(self) -> Result<Self, Wrong> {
        let wrong = |field, most: usize, least: usize| {
            Err(Wrong { field, problem: format!("it is from {least} to {most}") })
        };
        if !(1_024..=BODY_BYTES_MAX).contains(&self.body_bytes_max) {
            return wrong("limits.body_bytes_max", BODY_BYTES_MAX, 1_024);
        }
        if self.cache_bytes_max > CACHE_BYTES_MAX {
            return wrong("limits.cache_bytes_max", CACHE_BYTES_MAX, 0);
        }
        if self.cache_pages_max > CACHE_PAGES_MAX {
            return wrong("limits.cache_pages_max", CACHE_PAGES_MAX, 0);
        }
        Ok(self)
    }
}

/// How the outside is reached; in tests, names and certificates of their own.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Who knows the addresses of names.
    pub resolver: Arc<dyn Resolver>,
    /// What certificates are checked against.
    pub trust: Trust,
}

impl Default for Ways {
    fn default() -> Self {
        Self { resolver: Arc::new(egress::System), trust: Trust::System }
    }
}

impl Ways {
    pub(crate) fn direct(&self) -> Result<Direct, Wrong> {
        let open = |trust: &Trust| {
            Direct::new(Arc::clone(&self.resolver), trust, egress::Limits::default())
        };
        // A machine without certificates trusts nobody: https fails when it is asked, and all else works.
        let direct = open(&self.trust).or_else(|_| open(&Trust::Roots(Vec::new())));
        direct.map_err(|error| Wrong { field: "kind", problem: error.to_string() })
    }
}

/// Pages of the web, as far as an operator lets anybody read them.
#[derive(Debug)]
pub struct Web {
    places: Places,
    limits: Limits,
    direct: Direct,
    cache: Mutex<Cache>,
    hosts: Hosts,
}

impl Web {
    /// # Errors
    /// A limit that cannot be held, and certificates that cannot be checked.
    pub fn new(places: Places, limits: Limits, ways: &Ways) -> Result<Self, Wrong> {
        let limits = limits.check()?;
        let bounds = Bounds { bytes: limits.cache_bytes_max, entries: limits.cache_pages_max };
        let cache = Mutex::new(Cache::new(bounds));
        Ok(Self { places, limits, direct: ways.direct()?, cache, hosts: Hosts::default() })
    }

    /// Whether hosts are asked that nobody listed.
    #[must_use]
    pub fn reaches_others(&self) -> bool {
        self.places.reach_others()
    }

    /// Fetches the page at an address.
    ///
    /// # Errors
    /// Why there is none. Nothing that was sent has an effect.
    pub async fn fetch(&self, url: &str, reach: Reach, trip: &Trip<'_>) -> Result<Fetched, Failed> {
        let mut at = Address::parse(url).map_err(Failed::unreadable)?;
        let mut hops = Vec::new();
        loop {
            let opening = self.allow(&at, reach)?;
            // What is not read under today's rules is not taken from what was read before either.
            self.ask_robots(&at, trip).await?;
            let known = self.cache().look(at.as_str(), trip.now_ms);
            let stale = match known {
                Known::Fresh(page) => {
                    return Ok(Fetched { url: at.to_string(), hops, page, from: Source::Kept });
                }
                Known::Stale(page, asked) => Some((page, asked)),
                Known::Unknown => None,
            };
            let mut asking = Asking::get(PAGE);
            if let Some((_, asked)) = &stale {
                asking.headers.clone_from(asked);
            }
            let answer =
                self.send((&at, opening), &asking, (trip, self.limits.body_bytes_max)).await?;
            let to = match (answer.status, stale) {
                (200..=299, _) => {
                    let page = self.take(&at, answer, trip).await?;
                    return Ok(Fetched { url: at.to_string(), hops, page, from: Source::Host });
                }
                (304, Some((page, _))) => {
                    self.cache().renew(at.as_str(), &answer.headers, trip.now_ms);
                    return Ok(Fetched {
                        url: at.to_string(),
                        hops,
                        page,
                        from: Source::Confirmed,
                    });
                }
                (301 | 302 | 303 | 307 | 308, _) => follow(&at, &answer)?,
                _ => return Err(self.refused(&at, &answer, trip)),
            };
            if hops.len() >= REDIRECTS_MAX {
                let message =
                    format!("more than {REDIRECTS_MAX} redirects; fetch what they lead to");
                return Err(Failed::new(Why::Shape, message));
            }
            hops.push(std::mem::replace(&mut at, to).to_string());
        }
    }

    fn allow<'a>(&'a self, at: &'a Address, reach: Reach) -> Result<Opening<'a>, Failed> {
        self.places.allow(at, reach).map_err(|why| Failed::unlisted(at.host(), why))
    }

    /// One request, in its host's turn and unless that wants to be left alone.
    async fn send(
        &self,
        (at, opening): (&Address, Opening<'_>),
        asking: &Asking,
        (trip, room): (&Trip<'_>, usize),
    ) -> Result<Answer, Failed> {
        let host = at.host().to_string();
        let _turn = self.hosts.turn(&host).await;
        self.hosts.check(&host, trip.now_ms)?;
        let opens = |ip: IpAddr| opening.opens(ip);
        let answer = ask(&self.direct, (at, &opens), asking, (trip, room)).await?;
        if matches!(answer.status, 429 | 503) {
            let usual = if answer.status == 429 { PAUSE_MS } else { 0 };
            let wait_ms = answer.retry_after_ms(trip.now_ms).unwrap_or(usual).min(PAUSE_MAX_MS);
            if wait_ms > 0 {
                self.hosts.pause(&host, trip.now_ms, wait_ms);
            }
        }
        Ok(answer)
    }

    /// Whether the host lets itself be read there.
    async fn ask_robots(&self, at: &Address, trip: &Trip<'_>) -> Result<(), Failed> {
        let origin = at.origin();
        let word = match self.hosts.word(&origin, trip.now_ms) {
            Some(word) => word,
            None => {
                let word = self.read_robots(at, trip).await?;
                self.hosts.learn(&origin, &word, trip.now_ms);
                word
            }
        };
        let host = at.host();
        match word {
            Word::Rules(robots) if robots.allows(&at.path_and_query()) => Ok(()),
            Word::Rules(_) => {
                let message = format!(
                    "`{host}` does not let this path be read by programs (robots.txt); look elsewhere"
                );
                Err(Failed::new(Why::Refused, message))
            }
            Word::Away(status) => {
                let message = format!(
                    "`{host}` answered {status} when it was asked what may be read (robots.txt), so nothing is; try again later"
                );
                Err(Failed::new(Why::Away, message))
            }
        }
    }

    async fn read_robots(&self, at: &Address, trip: &Trip<'_>) -> Result<Word, Failed> {
        let mut at = at.at("/robots.txt");
        for _ in 0..=REDIRECTS_MAX {
            let opening = self.allow(&at, Reach::All)?;
            let asking = Asking::get("text/plain");
            let answer = self.send((&at, opening), &asking, (trip, ROBOTS_BYTES_MAX)).await?;
            match answer.status {
                200..=299 => {
                    let text = String::from_utf8_lossy(&answer.body);
                    return Ok(Word::Rules(Arc::new(Robots::parse(&text))));
                }
                301 | 302 | 303 | 307 | 308 => at = follow(&at, &answer)?,
                // RFC 9309 lets whoever is told "too often" read everything; that is not what it means.
                429 => return Ok(Word::Away(429)),
                400..=499 => return Ok(Word::Rules(Arc::default())),
                status => return Ok(Word::Away(status)),
            }
        }
        // As RFC 9309 has it: it counts as none.
        Ok(Word::Rules(Arc::default()))
    }

    /// Makes a page of a good answer, and keeps it where that is allowed.
    async fn take(
        &self,
        at: &Address,
        answer: Answer,
        trip: &Trip<'_>,
    ) -> Result<Arc<Page>, Failed> {
        let host = at.host();
        let unfit = |what: &str| {
            Failed::new(
                Why::Shape,
                format!("what `{host}` has there is {what}; look for a page in HTML or text"),
            )
        };
        let (format, charset) =
            content::read_type(answer.header(&CONTENT_TYPE)).map_err(|what| unfit(&what))?;
        let text = content::decode(&answer.body, format, charset);
        let text = text.ok_or_else(|| unfit("no text, whatever it calls itself"))?;
        let fetched_at_ms = trip.now_ms;
        let is_cut = answer.is_cut;
        let page = if format == Format::Html {
            let address = at.clone();
            let converted = tokio::task::spawn_blocking(move || html::convert(&text, &address));
            let converted = converted.await.map_err(|_| unfit("HTML that cannot be read"))?;
            let is_cut = is_cut || converted.is_cut;
            let (title, text) = (converted.title, converted.markdown);
            Page { title, text, format, is_cut, fetched_at_ms }
        } else {
            Page { title: None, text, format, is_cut, fetched_at_ms }
        };
        let page = Arc::new(page);
        self.cache().keep(at.as_str(), &page, &answer.headers, trip.now_ms);
        Ok(page)
    }

    fn refused(&self, at: &Address, answer: &Answer, trip: &Trip<'_>) -> Failed {
        let (host, status) = (at.host(), answer.status);
        let (why, next) = match status {
            401 | 402 | 403 | 407 | 451 => {
                (Why::Refused, "it is not for everybody; look elsewhere")
            }
            429 => (Why::Often, "it is asked too often; come back later"),
            408 | 500..=599 => (Why::Away, "try again later"),
            404 | 410 => (Why::Asked, "nothing is there; check the address"),
            400..=499 => (Why::Asked, "check the address"),
            _ => (Why::Shape, "that is no answer to what was asked"),
        };
        let retry_after_ms = match why {
            Why::Often => Some(answer.retry_after_ms(trip.now_ms).unwrap_or(PAUSE_MS)),
            Why::Away => answer.retry_after_ms(trip.now_ms),
            _ => None,
        };
        let message = format!("`{host}` answered {status}: {next}");
        Failed { retry_after_ms, ..Failed::new(why, message) }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a redirect leads.
fn follow(at: &Address, answer: &Answer) -> Result<Address, Failed> {
    let host = at.host();
    let wrong = |what: String| Failed::new(Why::Shape, format!("`{host}` redirects {what}"));
    let to = answer.header(&LOCATION).ok_or_else(|| wrong("to nowhere".to_owned()))?;
    let to = at.join(to).map_err(|why| wrong(format!("to what cannot be used: {why}")))?;
    if at.as_str().starts_with("https:") && !to.as_str().starts_with("https:") {
        return Err(wrong("from https to http; nobody can say who answers there".to_owned()));
    }
    Ok(to)
}
