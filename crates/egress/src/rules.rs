//! What may pass: a list of rules, and how a request is held against it. What no rule allows does not pass.

use std::net::IpAddr;

use hyper::{Method, header::HeaderName};
use serde::{Deserialize, Serialize};

use crate::{
    address::{self, Kind},
    error::Error,
    host::Host,
    path::{self, Pattern},
    refusal::Refusal,
};

/// Most rules of one proxy.
pub const RULES_MAX: usize = 256;

/// Most entries of any list within a rule.
pub const ENTRIES_MAX: usize = 64;

/// What every rule allows to be sent in one request where it does not say, in bytes.
const REQUEST_BYTES: u64 = 1024 * 1024;

/// What every rule allows to come back in one answer where it does not say, in bytes.
const RESPONSE_BYTES: u64 = 16 * 1024 * 1024;

/// All that may pass. The default lets nothing through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(pub Vec<Rule>);

/// One kind of request that may pass, or with `tunnel` one place that may be reached unseen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A name, an address (IPv6 in brackets), or `*.` and a name: everything below it, not the name itself.
    pub host: String,
    /// How the proxy speaks to the host. The inside never speaks TLS to the proxy but in a tunnel.
    #[serde(default)]
    pub scheme: Scheme,
    /// 443 for https and 80 for http where it is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Each in capital letters. None is allowed that is not named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths, in which a part `*` stands for one part and `**` at the end for anything below. `/**` is every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Most bytes of one request's body, or into one tunnel.
    #[serde(default = "request_bytes")]
    pub request_bytes_max: u64,
    /// Most bytes of one answer's body, or out of one tunnel.
    #[serde(default = "response_bytes")]
    pub response_bytes_max: u64,
    /// Lets `CONNECT` through instead of requests: method, path and content cannot be seen then.
    #[serde(default, skip_serializing_if = "is_no")]
    pub tunnel: bool,
    /// Addresses that are not public and that this host may nevertheless lead to, each written out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<IpAddr>,
    /// Headers that are added outside, so that the inside never sees their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inject: Vec<Injection>,
}

/// How the proxy speaks to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// TLS, with the certificate checked.
    #[default]
    Https,
    /// In the clear.
    Http,
}

impl Scheme {
    /// The port where none is written.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }

    /// As it stands in a URL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// A header that the proxy adds. What the inside sends under that name is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// Its name, such as `authorization`.
    pub header: String,
    /// What stands before the secret, such as `Bearer ` with its space; it is not secret itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The name under which the value is kept.
    pub secret: String,
}

fn request_bytes() -> u64 {
    REQUEST_BYTES
}

fn response_bytes() -> u64 {
    RESPONSE_BYTES
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_no(value: &bool) -> bool {
    !*value
}

/// A request as far as rules look at it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// What a rule let through.
#[derive(Clone, Debug)]
pub(crate) struct Allowed<'a> {
    pub(crate) rule: &'a Checked,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// A rule whose parts are read.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Its place in the list, from zero.
    pub(crate) index: usize,
    hosts: Hosts,
    scheme: Scheme,
    port: u16,
    methods: Vec<Method>,
    paths: Vec<Pattern>,
    tunnel: bool,
    private: Vec<IpAddr>,
    pub(crate) request_bytes_max: u64,
    pub(crate) response_bytes_max: u64,
    pub(crate) inject: Vec<Added>,
    /// Whether a secret is sent to this host by some rule, so that its answers must be readable.
    pub(crate) guarded: bool,
}

/// An [`Injection`] whose name is read.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    pub(crate) header: HeaderName,
    pub(crate) prefix: String,
    pub(crate) secret: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    One(Host),
    /// Below this name; the text begins with a dot.
    Below(String),
}

impl Hosts {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(base) = text.strip_prefix("*.") else {
            return Host::parse(text).map(Self::One).map_err(|why| why.to_string());
        };
        match Host::parse(base).map_err(|why| why.to_string())? {
            Host::Name(name) if name.contains('.') => Ok(Self::Below(format!(".{name}"))),
            _ => Err("`*.` stands before a name of at least two parts".to_owned()),
        }
    }

    fn holds(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::One(one), host) => one == host,
            (Self::Below(base), Host::Name(name)) => name.ends_with(base.as_str()),
            (Self::Below(_), Host::Address(_)) => false,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(host), hosts) | (hosts, Self::One(host)) => hosts.holds(host),
            (Self::Below(one), Self::Below(two)) => {
                one.ends_with(two.as_str()) || two.ends_with(one.as_str())
            }
        }
    }
}

impl Checked {
    fn holds(&self, place: &Place) -> bool {
        self.hosts.holds(&place.host) && self.port == place.port
    }

    /// Whether the rule writes out an address that is not public.
    pub(crate) fn opens(&self, ip: IpAddr) -> bool {
        self.private.contains(&ip)
    }
}

impl Rules {
    /// Whether every rule says something that can be held.
    ///
    /// # Errors
    /// [`Error::Rule`] for the first that does not, by its place and field.
    pub fn check(&self) -> Result<(), Error> {
        Book::read(self).map(drop)
    }
}

/// The list as requests are held against it.
#[derive(Clone, Debug)]
pub(crate) struct Book(Vec<Checked>);

impl Book {
    pub(crate) fn read(rules: &Rules) -> Result<Self, Error> {
        if rules.0.len() > RULES_MAX {
            let problem = format!("more than {RULES_MAX} rules; join some");
            return Err(Error::Rule { index: RULES_MAX, field: "", problem });
        }
        let read = rules.0.iter().enumerate().map(|(index, rule)| {
            read(index, rule).map_err(|(field, problem)| Error::Rule { index, field, problem })
        });
        let mut all = read.collect::<Result<Vec<Checked>, Error>>()?;
        let holders: Vec<Hosts> = all
            .iter()
            .filter(|rule| !rule.inject.is_empty())
            .map(|rule| rule.hosts.clone())
            .collect();
        for rule in &mut all {
            rule.guarded = holders.iter().any(|hosts| hosts.meets(&rule.hosts));
            // What comes back through a tunnel cannot be looked at.
            if rule.tunnel && rule.guarded {
                let problem = "a host that is sent a secret by another rule cannot have a tunnel; drop one of them";
                let (index, field) = (rule.index, "tunnel");
                return Err(Error::Rule { index, field, problem: problem.to_owned() });
            }
        }
        Ok(Self(all))
    }

    /// The names of all secrets that may be asked for.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|rule| &rule.inject).map(|added| added.secret.as_str())
    }

    /// The first rule that allows a request; otherwise what the nearest one lacks.
    pub(crate) fn request(
        &self,
        place: &Place,
        method: &Method,
        path: &str,
    ) -> Result<Allowed<'_>, Refusal> {
        let spelled = path::check(path)?;
        let mut nearest = Refusal::NoRule;
        for rule in &self.0 {
            if rule.tunnel || rule.scheme != place.scheme || !rule.holds(place) {
                continue;
            }
            if !rule.methods.contains(method) {
                if nearest == Refusal::NoRule {
                    nearest = Refusal::NoMethod;
                }
            } else if !rule.paths.iter().any(|pattern| pattern.holds(spelled)) {
                nearest = Refusal::NoPath;
            } else {
                return Ok(Allowed { rule, host: place.host.clone(), port: place.port });
            }
        }
        Err(nearest)
    }

    /// The first rule that allows a tunnel.
    pub(crate) fn tunnel(&self, place: &Place) -> Result<Allowed<'_>, Refusal> {
        let rule = self.0.iter().find(|rule| rule.tunnel && rule.holds(place));
        let is_known = self.0.iter().any(|rule| rule.holds(place));
        let refusal = if is_known { Refusal::NoTunnel } else { Refusal::NoRule };
        let allow = |rule| Allowed { rule, host: place.host.clone(), port: place.port };
        rule.map(allow).ok_or(refusal)
    }
}

type Problem = (&'static str, String);

fn read(index: usize, rule: &Rule) -> Result<Checked, Problem> {
    let hosts = Hosts::parse(&rule.host).map_err(|problem| ("host", problem))?;
    if rule.port == Some(0) {
        return Err(("port", "0 is no port; leave it out for the usual one".to_owned()));
    }
    for (field, length) in [
        ("methods", rule.methods.len()),
        ("paths", rule.paths.len()),
        ("private", rule.private.len()),
        ("inject", rule.inject.len()),
    ] {
        if length > ENTRIES_MAX {
            return Err((field, format!("more than {ENTRIES_MAX} entries; make two rules of it")));
        }
    }
    check_tunnel(rule, &hosts)?;
    let methods = rule.methods.iter().map(|name| read_method(name));
    let paths = rule.paths.iter().map(|text| Pattern::parse(text).map_err(|why| ("paths", why)));
    let inject = rule.inject.iter().map(read_injection);
    let checked = Checked {
        index,
        scheme: rule.scheme,
        port: rule.port.unwrap_or(rule.scheme.port()),
        methods: methods.collect::<Result<_, Problem>>()?,
        paths: paths.collect::<Result<_, Problem>>()?,
        tunnel: rule.tunnel,
        private: read_private(rule, &hosts)?,
        request_bytes_max: rule.request_bytes_max,
        response_bytes_max: rule.response_bytes_max,
        inject: inject.collect::<Result<_, Problem>>()?,
        guarded: false,
        hosts,
    };
    check_injections(&checked)?;
    Ok(checked)
}

fn check_tunnel(rule: &Rule, hosts: &Hosts) -> Result<(), Problem> {
    let wrong = |field, problem: &str| Err((field, problem.to_owned()));
    match (rule.tunnel, rule.methods.is_empty(), rule.paths.is_empty()) {
        (false, true, _) => wrong("methods", "none is allowed; list those that are, such as GET"),
        (false, _, true) => wrong("paths", "none is allowed; list those that are, or /** for all"),
        (false, false, false) => Ok(()),
        (true, false, _) => wrong("methods", "a tunnel hides the method; leave one of them out"),
        (true, _, false) => wrong("paths", "a tunnel hides the path; leave one of them out"),
        (true, true, true) if !rule.inject.is_empty() => {
            wrong("inject", "nothing can be added inside of a tunnel; leave one of them out")
        }
        (true, true, true) if rule.scheme == Scheme::Http => {
            wrong("scheme", "a tunnel carries TLS; leave the scheme out")
        }
        (true, true, true) => match hosts {
            Hosts::One(Host::Address(_)) => {
                wrong("host", "a tunnel is checked by the server name in it; give a name")
            }
            Hosts::One(Host::Name(_)) | Hosts::Below(_) => Ok(()),
        },
    }
}

fn read_method(name: &str) -> Result<Method, Problem> {
    let is_plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    match name {
        "CONNECT" => Err(("methods", "CONNECT is asked for by `tunnel`".to_owned())),
        "TRACE" => Err(("methods", "TRACE sends headers back and is never allowed".to_owned())),
        _ if !is_plain => Err(("methods", "a method is written in capital letters".to_owned())),
        _ => Method::from_bytes(name.as_bytes()).map_err(|why| ("methods", why.to_string())),
    }
}

fn read_private(rule: &Rule, hosts: &Hosts) -> Result<Vec<IpAddr>, Problem> {
    if !rule.private.is_empty() && matches!(hosts, Hosts::Below(_)) {
        let problem =
            "names below one that somebody else may add cannot lead inside; name each host";
        return Err(("private", problem.to_owned()));
    }
    let read = |ip: &IpAddr| match Kind::of(*ip) {
        Kind::Public => Err(("private", format!("{ip} is public and needs no entry"))),
        kind if kind.may_be_opened() => Ok(address::plain(*ip)),
        kind => Err(("private", format!("{ip} is {}, which nothing opens", kind.name()))),
    };
    rule.private.iter().map(read).collect()
}

fn read_injection(injection: &Injection) -> Result<Added, Problem> {
    let wrong = |problem: String| ("inject", problem);
    let header = HeaderName::from_bytes(injection.header.to_ascii_lowercase().as_bytes());
    let header =
        header.map_err(|_| wrong("a header name is letters, digits and hyphens".to_owned()))?;
    if crate::headers::is_ours(&header) {
        return Err(wrong(format!("{header} is set by the proxy itself; use another header")));
    }
    if !injection.prefix.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(wrong("a prefix is plain text".to_owned()));
    }
    if injection.secret.is_empty() {
        return Err(wrong("`secret` names no secret".to_owned()));
    }
    Ok(Added { header, prefix: injection.prefix.clone(), secret: injection.secret.clone() })
}

fn check_injections(rule: &Checked) -> Result<(), Problem> {
    let mut names: Vec<&HeaderName> = rule.inject.iter().map(|added| &added.header).collect();
    names.sort_by_key(|name| name.as_str());
    names.dedup();
    if names.len() != rule.inject.len() {
        return Err(("inject", "one header is added twice; keep one".to_owned()));
    }
    // A name may lead to the public, and then anybody on the way could read it.
    let is_near = match &rule.hosts {
        Hosts::One(Host::Address(ip)) => Kind::of(*ip) != Kind::Public,
        Hosts::One(Host::Name(_)) | Hosts::Below(_) => false,
    };
    if !rule.inject.is_empty() && rule.scheme == Scheme::Http && !is_near {
        return Err(("inject", "a secret does not travel in the clear; use https".to_owned()));
    }
    Ok(())
}
