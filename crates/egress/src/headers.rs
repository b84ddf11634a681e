//! Which headers belong to one hop and never pass.

use hyper::{
    HeaderMap,
    header::{self, HeaderName},
};

/// Headers that say something about one connection (RFC 9110, 7.6.1), or that the proxy answers for itself.
const HOP: [&str; 9] = [
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// Headers that the proxy sets besides.
const SET: [&str; 5] = ["accept-encoding", "content-length", "host", "if-range", "range"];

/// Whether no rule may add it.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    is_hop(name.as_str()) || SET.contains(&name.as_str())
}

fn is_hop(name: &str) -> bool {
    HOP.contains(&name) || name.starts_with("proxy-")
}

/// Removes what belongs to the hop it came over, and what its `Connection` header names.
pub(crate) fn strip_hop(headers: &mut HeaderMap) {
    let mut gone: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let names = value.to_str().unwrap_or_default().split(',');
        gone.extend(names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()));
    }
    gone.extend(headers.keys().filter(|name| is_hop(name.as_str())).cloned());
    for name in gone {
        // The length is not the hop's to name: without it a body would end elsewhere.
        if name != header::CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}
