//! An address of the web in its one spelling. What programs read in more than one way is refused, not repaired: the
//! host that is judged is the host that is looked up.

use std::{fmt, net::IpAddr};

use egress::{Host, Scheme, Spelling, Target};
use url::Url;

/// Longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 4_096;

/// Why a text is no address of the web. The text is not repeated: it may hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not say how the place is spoken to, or says something else than the web does.
    #[error("an address begins with https:// or http://")]
    Scheme,
    /// It is longer than it may be.
    #[error("an address has at most {ADDRESS_BYTES_MAX} bytes")]
    Long,
    /// It holds something that stands in no address.
    #[error("an address holds no space, control character or backslash; write them packed, as %20")]
    Character,
    /// The host is written in a way that may be read differently.
    #[error("{0}")]
    Host(Spelling),
    /// It cannot be read otherwise.
    #[error("it is not written as addresses are")]
    Form,
}

/// A place on the web: scheme, host, port, path and query. What stands behind `#` is no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: Url,
    scheme: Scheme,
    host: Host,
    port: u16,
}

impl Address {
    /// Reads a whole address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        check_text(text)?;
        let (_, rest) = split_scheme(text).ok_or(Unreadable::Scheme)?;
        Self::read(Url::parse(text).map_err(|_| Unreadable::Form)?, Some(rest))
    }

    /// Reads what a page or a redirect of this place points to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn join(&self, text: &str) -> Result<Self, Unreadable> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        check_text(text)?;
        let rest = match split_scheme(text) {
            Some((_, rest)) => Some(rest),
            // Something else than the web, or `https:host`, which programs read differently.
            None if has_scheme(text) => return Err(Unreadable::Scheme),
            None => text.strip_prefix("//"),
        };
        Self::read(self.url.join(text).map_err(|_| Unreadable::Form)?, rest)
    }

    /// `rest` is what was written behind `//`; absent = the host of the place before.
    fn read(mut url: Url, rest: Option<&str>) -> Result<Self, Unreadable> {
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(Unreadable::Scheme),
        };
        url.set_fragment(None);
        let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        if authority.is_some_and(str::is_empty) {
            return Err(Unreadable::Host(Spelling::Empty));
        }
        if authority.is_some_and(|text| text.contains('@')) || !url.username().is_empty() {
            return Err(Unreadable::Host(Spelling::Credentials));
        }
        // A percent sign in a host is unpacked by some and not by others.
        if authority.is_some_and(|text| text.contains('%')) {
            return Err(Unreadable::Host(Spelling::Character));
        }
        let text = url.host_str().ok_or(Unreadable::Host(Spelling::Empty))?;
        let host = Host::parse(text).map_err(Unreadable::Host)?;
        if let (Host::Address(IpAddr::V4(ip)), Some(authority)) = (&host, authority) {
            // Numbers in other bases, with fewer parts or in other scripts come out as four decimal ones.
            let written = authority.split(':').next().unwrap_or_default();
            if written != ip.to_string() {
                return Err(Unreadable::Host(Spelling::Number));
            }
        }
        if url.as_str().len() > ADDRESS_BYTES_MAX {
            return Err(Unreadable::Long);
        }
        let port = match url.port() {
            Some(0) => return Err(Unreadable::Host(Spelling::Port)),
            Some(port) => port,
            None => scheme.port(),
        };
        Ok(Self { url, scheme, host, port })
    }

    /// As it is written everywhere.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it has the port that its scheme has where none is written.
    /// The path, without the query.
    pub(crate) fn path(&self) -> &str {
        self.url.path()
    }

    pub(crate) fn is_usual_port(&self) -> bool {
        self.port == self.scheme.port()
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target { scheme: self.scheme, host: &self.host, port: self.port }
    }

    /// Path and query, as they stand in a request.
    pub(crate) fn path_and_query(&self) -> String {
        let path = self.url.path();
        self.url.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
    }

    /// Host and port, as they stand in a request.
    pub(crate) fn authority(&self) -> String {
        let host = self.host.to_string();
        if self.is_usual_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Scheme, host and port: what one `robots.txt` speaks for.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}:{}", self.scheme.name(), self.host, self.port)
    }

    /// Another place at the same host.
    pub(crate) fn at(&self, path: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        Self { url, ..self.clone() }
    }

    /// With these pairs as its query.
    pub(crate) fn asking(&self, pairs: &[(&str, &str)]) -> Self {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        Self { url, ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn check_text(text: &str) -> Result<(), Unreadable> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(Unreadable::Long);
    }
    let is_wrong = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if text.contains(is_wrong) { Err(Unreadable::Character) } else { Ok(()) }
}

/// The scheme and what stands behind `://`.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    is_web.then_some((scheme, rest))
}

/// Whether a colon stands before any slash.
fn has_scheme(text: &str) -> bool {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    text.get(..end).is_some_and(|head| head.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Unreadable> {
        Address::parse(text).map(|address| address.to_string())
    }

    #[test]
    fn an_address_has_one_spelling() {
        for (text, plain) in [
            ("HTTPS://Example.ORG", "https://example.org/"),
            ("https://example.org:443/a/../b?c=d#e", "https://example.org/b?c=d"),
            ("http://example.org:80/", "http://example.org/"),
            ("https://example.org:8443/", "https://example.org:8443/"),
            ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
            ("https://93.184.216.34/", "https://93.184.216.34/"),
            ("https://[2606:2800:220:1::1]/", "https://[2606:2800:220:1::1]/"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(plain), "{text}");
        }
    }

    #[test]
    fn what_may_be_read_differently_is_refused() {
        for text in [
            "",
            "example.org",
            "//example.org",
            "ftp://example.org/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "https:example.org",
            "https:/example.org",
            "https://",
            "https:///etc",
            "https://user@example.org/",
            "https://a:b@example.org/",
            "https://@example.org/",
            "https://good.example\\@evil.example/",
            "https://a b/",
            "https://exam%70le.org/",
            "https://example.org\t/",
            "https://exam\nple.org/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://127.0.0.1./",
            "https://127。0。0。1/",
            "https://①②⑦.0.0.1/",
            "https://１２７.0.0.1/",
            "https://example.org:0/",
            "https://example.org:99999/",
            "https://[::1%25lo]/",
            "https://[127.0.0.1]/",
            "https://-a.org/",
        ] {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
        assert_eq!(
            read(&format!("https://a.org/{}", "a".repeat(ADDRESS_BYTES_MAX))),
            Err(Unreadable::Long)
        );
    }

    #[test]
    fn what_a_page_points_to_is_read_from_where_it_stands() {
        let base = Address::parse("https://example.org/a/b").unwrap();
        for (text, plain) in [
            ("c", "https://example.org/a/c"),
            (" /d ", "https://example.org/d"),
            ("?q=a:b", "https://example.org/a/b?q=a:b"),
            ("//other.example/x", "https://other.example/x"),
            ("http://other.example", "http://other.example/"),
        ] {
            assert_eq!(base.join(text).map(|a| a.to_string()).as_deref(), Ok(plain), "{text}");
        }
        for text in [
            "//2130706433/",
            "//a@b.example/",
            "https:b.example",
            "mailto:a@b.example",
            "javascript:x",
            "/\\evil.example",
            "\\\\evil.example",
            "//127.1/",
            "///evil.example",
            "https:///evil.example",
        ] {
            assert!(base.join(text).is_err(), "{text}");
        }
        let inside = Address::parse("http://127.0.0.1:8080/").unwrap();
        assert_eq!(inside.join("/x").unwrap().as_str(), "http://127.0.0.1:8080/x");
    }
}
