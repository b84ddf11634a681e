//! Who is at the other end: the peer of the connection, or whom a proxy that is trusted speaks for.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};

use super::Web;
use crate::app::config::Network;

/// Most hops that are looked at: whoever writes more is believed no further.
const HOPS_MAX: usize = 16;

/// The address somebody asks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    pub(super) fn of(parts: &Parts, web: &Web) -> Self {
        let found = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = found.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(address)| address.ip());
        let proxies = &web.app.config().serve.trusted_proxies;
        Self(behind(peer.to_canonical(), &parts.headers, proxies))
    }
}

impl FromRequestParts<Arc<Web>> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Infallible> {
        Ok(Self::of(parts, web))
    }
}

/// The right-most address that is no proxy of ours: what stands left of it, anybody can have written.
fn behind(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let trusted = |address: &IpAddr| proxies.iter().any(|network| network.holds(*address));
    let mut client = peer;
    let told = headers.get_all("x-forwarded-for").iter().rev();
    let hops = told.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !trusted(&client) {
            break;
        }
        // A proxy of ours that says nothing readable is itself all that is known.
        let Some(address) = address_of(hop) else { break };
        client = address;
    }
    client
}

/// `203.0.113.9`, `203.0.113.9:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
fn address_of(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let plain = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let found = plain.parse().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()));
    found.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let proxies: Vec<Network> = proxies.iter().map(|one| one.parse().unwrap()).collect();
        behind(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        assert_eq!(client("10.0.0.1", &["203.0.113.9"], &[]), "10.0.0.1");
        assert_eq!(client("198.51.100.7", &["203.0.113.9"], &["10.0.0.0/8"]), "198.51.100.7");
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_counts() {
        let ours = ["10.0.0.0/8", "::1"];
        assert_eq!(client("10.0.0.1", &["203.0.113.9"], &ours), "203.0.113.9");
        // What a client wrote itself stands further left.
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], &ours), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "203.0.113.9"], &ours), "203.0.113.9");
        assert_eq!(client("::1", &["[2001:db8::1]:4711"], &ours), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9:4711"], &ours), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["::ffff:203.0.113.9"], &ours), "203.0.113.9");
        // All of them ours, nothing readable, nothing said.
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &ours), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown"], &ours), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[], &ours), "10.0.0.1");
        let many = vec!["10.0.0.2"; 100].join(",");
        assert_eq!(client("10.0.0.1", &[&format!("203.0.113.9,{many}")], &ours), "10.0.0.2");
    }
}
