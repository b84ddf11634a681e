//! `[serve]`: where the server listens, what it is called, how much it takes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Network;
use crate::app::problem::Problem;

/// Where it listens when nothing is said.
const LISTEN: &str = "127.0.0.1:7411";

/// How long one answer waits when nothing is said, in ms, and at most.
const ANSWER_WITHIN_MS: u32 = 45_000;
/// See [`ANSWER_WITHIN_MS`].
const ANSWER_WITHIN_MAX_MS: u32 = 60_000;

/// Names of this machine that lead nowhere else.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// `[serve]`, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeFile {
    /// Address and port, such as `127.0.0.1:7411`.
    pub listen: Option<String>,
    /// How people reach it, such as `https://harness.example.com`: what stands in front speaks TLS.
    pub public_url: Option<String>,
    /// Further names it answers to, such as the name of the service inside a cluster.
    pub hosts: Vec<String>,
    /// Addresses and networks of proxies in front, such as `127.0.0.1` or `10.0.0.0/8`: what they say in
    /// `X-Forwarded-For` is believed. By default none is.
    pub trusted_proxies: Vec<String>,
    /// The address of this machine at which jobs are reached that somebody exposes; by default 127.0.0.1. What is said
    /// there is not encrypted.
    pub expose: Option<IpAddr>,
    /// Requests a second of one token or session; twice as many at once. By default 200.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests a second from one address without a valid credential. By default 20.
    pub strangers_per_second: Option<NonZeroU32>,
    /// Event streams that one person, agent or service may have open. By default 64.
    pub streams_per_principal: Option<NonZeroU32>,
    /// Longest that one answer of the API waits for a run, in milliseconds, at most 60,000: less than a proxy in front
    /// waits. Whoever wants to wait longer looks again. By default 45,000.
    pub answer_within_ms: Option<NonZeroU32>,
}

/// The server, as configured.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How people reach it, without a slash at the end.
    pub public_url: Option<String>,
    /// Further names it answers to, in lower case.
    further_hosts: Vec<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// At which address exposed jobs are reached.
    pub expose: IpAddr,
    /// Requests a second of one token or session.
    pub requests_per_second: NonZeroU32,
    /// Requests a second from one address without a valid credential.
    pub strangers_per_second: NonZeroU32,
    /// Event streams of one principal.
    pub streams_per_principal: NonZeroU32,
    /// Longest that one answer of the API waits for a run, in ms.
    pub answer_within_ms: NonZeroU32,
}

impl Serve {
    pub(super) fn of(file: &ServeFile) -> Result<Self, Problem> {
        let listen = parse_listen(file.listen.as_deref().unwrap_or(LISTEN))?;
        let public_url = file.public_url.as_deref().map(parse_url).transpose()?;
        let further_hosts =
            file.hosts.iter().map(|name| parse_host(name)).collect::<Result<_, _>>()?;
        let named = |problem: Problem| {
            let detail = format!("serve.trusted_proxies: {}", problem.detail);
            Problem { detail, ..problem }
        };
        let proxies = file.trusted_proxies.iter().map(|text| text.parse().map_err(named));
        let trusted_proxies = proxies.collect::<Result<_, _>>()?;
        let count = |given: Option<NonZeroU32>, usual: u32| {
            given.or(NonZeroU32::new(usual)).unwrap_or(NonZeroU32::MIN)
        };
        Ok(Self {
            listen,
            public_url,
            further_hosts,
            trusted_proxies,
            expose: file.expose.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            requests_per_second: count(file.requests_per_second, 200),
            strangers_per_second: count(file.strangers_per_second, 20),
            streams_per_principal: count(file.streams_per_principal, 64),
            answer_within_ms: answer_within(file.answer_within_ms)?,
        })
    }

    /// Names this server answers to, in lower case.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let own = self.public_url.as_deref().and_then(host_of);
        let loopback = LOOPBACK.iter().map(|name| (*name).to_owned());
        loopback.chain(own).chain(self.further_hosts.iter().cloned()).collect()
    }

    /// Whether people reach it over TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}

fn answer_within(given: Option<NonZeroU32>) -> Result<NonZeroU32, Problem> {
    let usual = NonZeroU32::new(ANSWER_WITHIN_MS).unwrap_or(NonZeroU32::MIN);
    let within = given.unwrap_or(usual);
    if within.get() > ANSWER_WITHIN_MAX_MS {
        let detail =
            format!("serve.answer_within_ms: at most {ANSWER_WITHIN_MAX_MS}, not {within}");
        return Err(Problem::usage("bad-answer-within", detail)
            .next("whoever waits longer asks again by themselves"));
    }
    Ok(within)
}

/// Reads an address to listen at.
///
/// # Errors
/// When it is none.
pub fn parse_listen(text: &str) -> Result<SocketAddr, Problem> {
    let text = text.replace("localhost", "127.0.0.1");
    text.parse().map_err(|_| {
        Problem::usage("bad-listen", format!("`{text}` is no address with a port"))
            .next("write it as 127.0.0.1:7411")
    })
}

fn parse_url(text: &str) -> Result<String, Problem> {
    let url = text.trim_end_matches('/');
    let fits = host_of(url).is_some_and(|host| !host.is_empty())
        && url.split("://").nth(1).is_some_and(|rest| !rest.contains(['/', '?', '#', '@']));
    if fits {
        return Ok(url.to_owned());
    }
    Err(Problem::usage("bad-public-url", format!("`{text}` is not the address of a server"))
        .next("write it as https://harness.example.com"))
}

fn parse_host(text: &str) -> Result<String, Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    let port = text.rsplit_once(':').is_some() && !text.ends_with(']');
    if !text.is_empty() && text.bytes().all(fits) && !port {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Problem::usage("bad-host", format!("serve.hosts: `{text}` is not the name of a host"))
        .next("write it without scheme and port, as harness.internal"))
}

fn host_of(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let name = match rest.rfind(':') {
        Some(at) if !rest.ends_with(']') => rest.get(..at)?,
        _ => rest,
    };
    Some(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(public_url: &str) -> Result<Serve, Problem> {
        Serve::of(&ServeFile { public_url: Some(public_url.to_owned()), ..ServeFile::default() })
    }

    #[test]
    fn a_public_address_is_a_scheme_and_a_host() {
        let serve = of("https://Harness.example.com:8443/").unwrap();
        assert!(serve.has_tls());
        assert!(serve.hosts().contains(&"harness.example.com".to_owned()), "{:?}", serve.hosts());
        assert!(!of("http://harness.local").unwrap().has_tls());
        for wrong in
            ["", "harness.example.com", "https://", "https://a/b", "https://u@h", "ftp://a"]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn further_names_are_names_alone() {
        let of = |name: &str| {
            Serve::of(&ServeFile { hosts: vec![name.to_owned()], ..ServeFile::default() })
        };
        for name in ["Harness.Internal", "10.0.0.7", "[::1]"] {
            let hosts = of(name).unwrap().hosts();
            assert!(hosts.contains(&name.to_ascii_lowercase()), "{hosts:?}");
        }
        for wrong in ["", "https://harness.internal", "harness.internal:7411", "a/b", "*"] {
            assert_eq!(&*of(wrong).unwrap_err().code, "bad-host", "{wrong}");
        }
    }
}
