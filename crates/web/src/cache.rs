//! Pages that were read lately, as RFC 9111 has it for a cache that several share: bounded, in memory, and gone with
//! the process.

use std::{collections::BTreeMap, sync::Arc};

use hyper::{
    HeaderMap,
    header::{
        AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        LAST_MODIFIED, VARY,
    },
};

use crate::{page::Page, wire::date_ms};

/// Longest that a page counts as fresh, whatever its host says, in milliseconds: a day.
const FRESH_MAX_MS: i64 = 86_400_000;

/// A page whose host only says when it last changed counts as fresh for this part of its age then, in percent.
const GUESS_PERCENT: i64 = 10;

/// What a page takes beside its text, in bytes.
const OVERHEAD_BYTES: usize = 1_024;

/// How much it may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) entries: usize,
}

#[derive(Debug)]
pub(crate) struct Cache {
    bounds: Bounds,
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    /// Counts uses, so that what was used longest ago goes first.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    page: Arc<Page>,
    validators: Vec<(HeaderName, String)>,
    fresh_until_ms: i64,
    used: u64,
    bytes: usize,
}

/// What is known of a page.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It may be used as it is.
    Fresh(Arc<Page>),
    /// Its host is asked whether it still holds, with these headers.
    Stale(Arc<Page>, Vec<(HeaderName, String)>),
    Unknown,
}

impl Cache {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: BTreeMap::new(), bytes: 0, clock: 0 }
    }

    pub(crate) fn look(&mut self, url: &str, now_ms: i64) -> Known {
        self.clock = self.clock.saturating_add(1);
        let Some(entry) = self.entries.get_mut(url) else { return Known::Unknown };
        entry.used = self.clock;
        if now_ms < entry.fresh_until_ms {
            return Known::Fresh(Arc::clone(&entry.page));
        }
        match entry.validators.is_empty() {
            true => Known::Unknown,
            false => Known::Stale(Arc::clone(&entry.page), entry.validators.clone()),
        }
    }

    /// Keeps a page, where its host allows it, or lets go of what was kept.
    pub(crate) fn keep(&mut self, url: &str, page: &Arc<Page>, headers: &HeaderMap, now_ms: i64) {
        self.forget(url);
        let validators = validators(headers);
        let bytes = page.text.len().saturating_add(url.len()).saturating_add(OVERHEAD_BYTES);
        let fresh_ms = fresh_ms(headers, now_ms);
        let is_useless = fresh_ms <= 0 && validators.is_empty();
        // One page does not push out all others.
        let is_large = bytes > self.bounds.bytes / 4;
        if !may_be_kept(headers) || is_useless || is_large || self.bounds.entries == 0 {
            return;
        }
        self.clock = self.clock.saturating_add(1);
        let fresh_until_ms = now_ms.saturating_add(fresh_ms);
        let entry =
            Entry { page: Arc::clone(page), validators, fresh_until_ms, used: self.clock, bytes };
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.insert(url.to_owned(), entry);
        while self.bytes > self.bounds.bytes || self.entries.len() > self.bounds.entries {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(url, _)| url.clone()) else { break };
            self.forget(&oldest);
        }
    }

    /// Its host says that it still holds; what it says about freshness now counts.
    pub(crate) fn renew(&mut self, url: &str, headers: &HeaderMap, now_ms: i64) {
        if !may_be_kept(headers) {
            return self.forget(url);
        }
        if let Some(entry) = self.entries.get_mut(url) {
            entry.fresh_until_ms = now_ms.saturating_add(fresh_ms(headers, now_ms));
            let newer = validators(headers);
            if !newer.is_empty() {
                entry.validators = newer;
            }
        }
    }

    fn forget(&mut self, url: &str) {
        if let Some(entry) = self.entries.remove(url) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The directives of all `Cache-Control` headers, in small letters.
fn directives(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|one| one.trim().to_ascii_lowercase()).collect()
}

fn may_be_kept(headers: &HeaderMap) -> bool {
    let is_closed =
        |one: &String| one == "no-store" || one == "private" || one.starts_with("private=");
    let varies = headers.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*'));
    !varies && !directives(headers).iter().any(is_closed)
}

/// How long it may be used without asking, from now on.
fn fresh_ms(headers: &HeaderMap, now_ms: i64) -> i64 {
    let directives = directives(headers);
    if directives.iter().any(|one| one == "no-cache" || one.starts_with("no-cache=")) {
        return 0;
    }
    let seconds = |name: &str| {
        let mut values = directives.iter().filter_map(|one| one.strip_prefix(name));
        values.next().map(|value| value.trim_matches('"').parse::<i64>().unwrap_or(0))
    };
    let date = text(headers, &DATE).and_then(date_ms).unwrap_or(now_ms);
    let life =
        seconds("s-maxage=").or_else(|| seconds("max-age=")).map(|s| s.saturating_mul(1_000));
    let life = life.unwrap_or_else(|| match text(headers, &EXPIRES) {
        // A date that cannot be read is long past.
        Some(expires) => date_ms(expires).map_or(0, |expires| expires.saturating_sub(date)),
        None => {
            let changed = text(headers, &LAST_MODIFIED).and_then(date_ms);
            changed.map_or(0, |changed| date.saturating_sub(changed) / 100 * GUESS_PERCENT)
        }
    });
    let age = text(headers, &AGE).and_then(|age| age.trim().parse::<i64>().ok()).unwrap_or(0);
    life.saturating_sub(age.saturating_mul(1_000)).clamp(0, FRESH_MAX_MS)
}

fn validators(headers: &HeaderMap) -> Vec<(HeaderName, String)> {
    let pairs = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    let found = pairs
        .into_iter()
        .filter_map(|(said, asked)| text(headers, &said).map(|value| (asked, value.to_owned())));
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Format;

    const NOW: i64 = 1_795_165_200_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn page(bytes: usize) -> Arc<Page> {
        Arc::new(Page {
            title: None,
            text: "x".repeat(bytes),
            format: Format::Text,
            is_cut: false,
            fetched_at_ms: NOW,
        })
    }

    fn cache(bytes: usize, entries: usize) -> Cache {
        Cache::new(Bounds { bytes, entries })
    }

    #[test]
    fn freshness_is_what_the_host_says() {
        for (pairs, ms) in [
            (&[("cache-control", "max-age=60")][..], 60_000),
            (&[("cache-control", "public, MAX-AGE=60"), ("age", "20")], 40_000),
            (&[("cache-control", "max-age=60, no-cache")], 0),
            (&[("cache-control", "max-age=60, s-maxage=5")], 5_000),
            (&[("cache-control", "max-age=x")], 0),
            (&[("cache-control", "max-age=999999999999")], FRESH_MAX_MS),
            (&[("expires", "0")], 0),
            (
                &[
                    ("date", "Fri, 20 Nov 2026 10:00:00 GMT"),
                    ("expires", "Fri, 20 Nov 2026 10:01:00 GMT"),
                ],
                60_000,
            ),
            (
                &[
                    ("date", "Fri, 20 Nov 2026 10:00:00 GMT"),
                    ("last-modified", "Fri, 20 Nov 2026 09:00:00 GMT"),
                ],
                360_000,
            ),
            (&[], 0),
        ] {
            assert_eq!(fresh_ms(&headers(pairs), NOW), ms, "{pairs:?}");
        }
    }

    #[test]
    fn what_may_not_be_kept_is_not() {
        for closed in ["no-store", "private", "max-age=60, PRIVATE"] {
            let mut cache = cache(1 << 20, 10);
            cache.keep(
                "u",
                &page(1),
                &headers(&[("cache-control", closed), ("etag", "\"a\"")]),
                NOW,
            );
            assert!(matches!(cache.look("u", NOW), Known::Unknown), "{closed}");
        }
        let mut cache = cache(1 << 20, 10);
        cache.keep("u", &page(1), &headers(&[("cache-control", "max-age=60"), ("vary", "*")]), NOW);
        assert!(matches!(cache.look("u", NOW), Known::Unknown));
    }

    #[test]
    fn what_is_stale_is_asked_about_and_renewed() {
        let mut cache = cache(1 << 20, 10);
        let said = headers(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
        cache.keep("u", &page(1), &said, NOW);
        assert!(matches!(cache.look("u", NOW + 59_999), Known::Fresh(_)));
        let Known::Stale(_, asked) = cache.look("u", NOW + 60_000) else { panic!("not stale") };
        assert_eq!(asked, [(IF_NONE_MATCH, "\"a\"".to_owned())]);
        cache.renew("u", &said, NOW + 60_000);
        assert!(matches!(cache.look("u", NOW + 100_000), Known::Fresh(_)));
        cache.renew("u", &headers(&[("cache-control", "no-store")]), NOW);
        assert!(matches!(cache.look("u", NOW), Known::Unknown));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_what_was_used_longest_ago_goes_first() {
        let said = headers(&[("cache-control", "max-age=60")]);
        let mut few = cache(1 << 20, 2);
        for url in ["a", "b"] {
            few.keep(url, &page(1), &said, NOW);
        }
        let _ = few.look("a", NOW);
        few.keep("c", &page(1), &said, NOW);
        assert!(matches!(few.look("a", NOW), Known::Fresh(_)));
        assert!(matches!(few.look("b", NOW), Known::Unknown));
        let mut small = cache(10_000, 100);
        for number in 0..50 {
            small.keep(&number.to_string(), &page(1_000), &said, NOW);
            assert!(small.bytes <= 10_000, "{}", small.bytes);
        }
        assert!(!small.entries.is_empty());
        small.keep("large", &page(5_000), &said, NOW);
        assert!(matches!(small.look("large", NOW), Known::Unknown));
    }
}
