//! Why something did not pass: a closed list, each with a stable code and what to do next.

use hyper::StatusCode;

use crate::{address::Kind, host::Spelling};

/// Why a request or a tunnel did not pass, or was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is no HTTP/1.1 that everybody reads alike.
    Malformed,
    /// The head is larger than it may be.
    Headers,
    /// The request line names no place.
    Form,
    /// The host is written in a way that may be read differently.
    Host(Spelling),
    /// The path is written in a way that may be read differently.
    Path,
    /// No rule names this host, scheme and port.
    NoRule,
    /// A rule names the place, and not this method.
    NoMethod,
    /// A rule names place and method, and not this path.
    NoPath,
    /// No rule lets a tunnel through to there.
    NoTunnel,
    /// The name leads, with at least one of its addresses, where no program may go.
    Address(Kind),
    /// The name has no addresses, or too many to look at.
    Resolve,
    /// The tunnel did not begin with TLS to the host that it was asked for.
    Sni,
    /// More bytes than the rule or the limits allow.
    Bytes,
    /// More requests than the limits allow.
    Requests,
    /// The value of a secret cannot be had or cannot be used.
    Secret,
    /// The answer is packed although it was asked not to be, so nobody can see whether a secret is in it.
    Encoding,
    /// Nobody answers there.
    Unreachable,
    /// The certificate does not prove that it is that host, or TLS failed otherwise.
    Tls,
    /// What came back is no HTTP/1.1.
    Upstream,
    /// It took longer than it may.
    Timeout,
    /// The inside went away before the end.
    Gone,
    /// The proxy was stopped.
    Stopped,
}

impl Refusal {
    /// Its stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "egress-malformed",
            Self::Headers => "egress-headers",
            Self::Form => "egress-form",
            Self::Host(_) => "egress-host",
            Self::Path => "egress-path-spelling",
            Self::NoRule => "egress-no-rule",
            Self::NoMethod => "egress-method",
            Self::NoPath => "egress-path",
            Self::NoTunnel => "egress-no-tunnel",
            Self::Address(_) => "egress-address",
            Self::Resolve => "egress-resolve",
            Self::Sni => "egress-sni",
            Self::Bytes => "egress-bytes",
            Self::Requests => "egress-requests",
            Self::Secret => "egress-secret",
            Self::Encoding => "egress-encoding",
            Self::Unreachable => "egress-unreachable",
            Self::Tls => "egress-tls",
            Self::Upstream => "egress-upstream",
            Self::Timeout => "egress-timeout",
            Self::Gone => "egress-gone",
            Self::Stopped => "egress-stopped",
        }
    }

    /// The status that the inside is told: 403 for what is not allowed, 502 and 504 for what failed outside.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Resolve | Self::Unreachable | Self::Tls | Self::Upstream => {
                StatusCode::BAD_GATEWAY
            }
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// What is wrong, in a sentence.
    #[must_use]
    pub fn problem(self) -> String {
        let text = match self {
            Self::Malformed => "the request is not HTTP/1.1 that everybody reads alike",
            Self::Headers => "the head of the request is too large",
            Self::Form => "the request line does not name a place",
            Self::Host(spelling) => return spelling.to_string(),
            Self::Path => "the path is written in a way that may be read differently",
            Self::NoRule => "no rule names this scheme, host and port",
            Self::NoMethod => "the rules for this host do not allow this method",
            Self::NoPath => "the rules for this host do not allow this path",
            Self::NoTunnel => "no rule allows a tunnel to this host and port",
            Self::Address(kind) => return format!("the host leads to {}", kind.name()),
            Self::Resolve => "the host has no addresses, or too many",
            Self::Sni => "the tunnel did not begin with TLS that names the same host in the clear",
            Self::Bytes => "more bytes than are allowed",
            Self::Requests => "more requests than are allowed",
            Self::Secret => "a secret for this host cannot be had",
            Self::Encoding => "the answer is compressed although it was asked not to be",
            Self::Unreachable => "nobody answers at this host and port",
            Self::Tls => "no TLS connection that proves the host could be made",
            Self::Upstream => "the answer is not HTTP/1.1",
            Self::Timeout => "it took too long",
            Self::Gone => "the program went away before the end",
            Self::Stopped => "the proxy is stopping",
        };
        text.to_owned()
    }

    /// What to do next, in a sentence.
    #[must_use]
    pub fn next(self) -> &'static str {
        match self {
            Self::Malformed => "send one request at a time as HTTP/1.1 with a single length",
            Self::Headers => {
                "send fewer or shorter headers, or raise head_bytes_max or headers_max"
            }
            Self::Form => {
                "write the whole address in the request line (GET https://host/path), or CONNECT host:port"
            }
            Self::Host(_) => "write the host as a rule would",
            Self::Path => "write the path without dot segments, backslashes and packed separators",
            Self::NoRule => "ask for a rule that names it",
            Self::NoMethod => {
                "use a method that the rule lists, or ask for it to be added to `methods`"
            }
            Self::NoPath => "use a path that the rule lists, or ask for it to be added to `paths`",
            Self::NoTunnel => {
                "send the request with its https address instead, or ask for a rule with `tunnel`"
            }
            Self::Address(_) => {
                "if it should go there, a rule has to list the address under `private`"
            }
            Self::Resolve => "check the name; try again if it should exist",
            Self::Sni => {
                "start TLS at once, with the host of CONNECT as server name and without ECH"
            }
            Self::Bytes => "send or ask for less, or have the limit of the rule raised",
            Self::Requests => "ask for less, or have requests_max raised",
            Self::Secret => "check what the rule names under `inject` where the secrets are kept",
            Self::Encoding => "ask the host's owner to honour Accept-Encoding: identity",
            Self::Unreachable => "check host and port; try again later",
            Self::Tls => "check the host's certificate and that it speaks TLS there",
            Self::Upstream => "check that the host speaks HTTP/1.1 at this port",
            Self::Timeout => "try again later, or ask for less at a time",
            Self::Gone => "nothing: nobody is left to read it",
            Self::Stopped => "nothing: the run is ending",
        }
    }
}
