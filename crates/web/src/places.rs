//! Which hosts may be asked. Nothing is allowed that is not written down; what is not public only where it is written
//! out.

use std::net::IpAddr;

use egress::{Host, Kind};

use crate::{address::Address, error::Wrong};

/// Most hosts, and most addresses, that may be listed.
pub const LISTED_MAX: usize = 1_024;

/// The hosts that may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    listed: Vec<Listed>,
    /// Addresses that are not public and that listed hosts may nevertheless lead to.
    private: Vec<IpAddr>,
    others: Others,
}

/// What holds for hosts that are not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// They are not asked.
    #[default]
    Refused,
    /// Every host that is public is asked, at the usual ports.
    Public,
}

/// How far an operation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whatever [`Places`] allow.
    All,
    /// Hosts that are listed, and no others.
    Listed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    hosts: Hosts,
    /// Absent = the usual ports.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    One(Host),
    /// Below this name; the text begins with a dot.
    Below(String),
}

/// Why a host is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// It is not listed, and others are refused.
    Host,
    /// It is public, and this operation only reaches listed ones.
    Reach,
    /// It is at a port that only a listed host is asked at.
    Port,
    /// It is an address that is not public, and not listed.
    Address(Kind),
}

/// What an allowed host may lead to beside what is public.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    is_listed: bool,
    host: &'a Host,
    private: &'a [IpAddr],
}

impl Opening<'_> {
    pub(crate) fn opens(&self, ip: IpAddr) -> bool {
        let is_named = matches!(self.host, Host::Address(written) if written.to_canonical() == ip);
        self.is_listed && (is_named || self.private.contains(&ip))
    }
}

impl Places {
    /// Reads what an operator wrote: names, `*.` and a name, addresses, each with a port behind a colon or without.
    ///
    /// # Errors
    /// [`Wrong`] for the first that cannot be read.
    pub fn new(hosts: &[String], private: &[IpAddr], others: Others) -> Result<Self, Wrong> {
        if hosts.len() > LISTED_MAX || private.len() > LISTED_MAX {
            let problem = format!("more than {LISTED_MAX} entries; use `*.` and a name");
            return Err(Wrong { field: "hosts", problem });
        }
        let listed = hosts.iter().map(|text| Listed::read(text));
        let closed = private.iter().find(|ip| !Kind::of(**ip).may_be_opened());
        if let Some(ip) = closed {
            let problem = format!("{ip} is {}, where nobody is led", Kind::of(*ip).name());
            return Err(Wrong { field: "private", problem });
        }
        let private = private.iter().map(IpAddr::to_canonical).collect();
        Ok(Self { listed: listed.collect::<Result<_, _>>()?, private, others })
    }

    /// Whether hosts are asked that nobody listed.
    #[must_use]
    pub fn reach_others(&self) -> bool {
        self.others == Others::Public
    }

    pub(crate) fn allow<'a>(
        &'a self,
        address: &'a Address,
        reach: Reach,
    ) -> Result<Opening<'a>, Unlisted> {
        let host = address.host();
        let opening = |is_listed| Opening { is_listed, host, private: &self.private };
        if self.listed.iter().any(|listed| listed.holds(address)) {
            return Ok(opening(true));
        }
        if let Host::Address(ip) = host {
            let kind = Kind::of(*ip);
            if kind != Kind::Public {
                return Err(Unlisted::Address(kind));
            }
        }
        match (self.others, reach) {
            (Others::Refused, _) => Err(Unlisted::Host),
            (Others::Public, Reach::Listed) => Err(Unlisted::Reach),
            (Others::Public, Reach::All) if !address.is_usual_port() => Err(Unlisted::Port),
            (Others::Public, Reach::All) => Ok(opening(false)),
        }
    }
}

impl Listed {
    fn read(text: &str) -> Result<Self, Wrong> {
        let wrong =
            |problem: String| Wrong { field: "hosts", problem: format!("{text:?}: {problem}") };
        let (base, below) = text.strip_prefix("*.").map_or((text, false), |base| (base, true));
        let (host, port) =
            Host::parse_with_port(base).map_err(|spelling| wrong(spelling.to_string()))?;
        let hosts = match (host, below) {
            (host, false) => Hosts::One(host),
            (Host::Name(name), true) if name.contains('.') => Hosts::Below(format!(".{name}")),
            _ => return Err(wrong("`*.` stands before a name of at least two parts".to_owned())),
        };
        if let Hosts::One(Host::Address(ip)) = &hosts
            && !Kind::of(*ip).may_be_opened()
        {
            return Err(wrong(format!("it is {}, where nobody is led", Kind::of(*ip).name())));
        }
        Ok(Self { hosts, port })
    }

    fn holds(&self, address: &Address) -> bool {
        let host = match (&self.hosts, address.host()) {
            (Hosts::One(one), host) => one == host,
            (Hosts::Below(base), Host::Name(name)) => name.ends_with(base.as_str()),
            (Hosts::Below(_), Host::Address(_)) => false,
        };
        host && self.port.map_or_else(|| address.is_usual_port(), |port| port == address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(hosts: &[&str], private: &[&str], others: Others) -> Places {
        let hosts: Vec<String> = hosts.iter().map(|&text| text.to_owned()).collect();
        let private: Vec<IpAddr> = private.iter().map(|text| text.parse().unwrap()).collect();
        Places::new(&hosts, &private, others).unwrap()
    }

    fn why(places: &Places, url: &str, reach: Reach) -> Option<Unlisted> {
        places.allow(&Address::parse(url).unwrap(), reach).err()
    }

    #[test]
    fn nothing_is_allowed_that_is_not_written_down() {
        let none = Places::default();
        assert_eq!(why(&none, "https://example.org/", Reach::All), Some(Unlisted::Host));
        let listed =
            places(&["docs.example", "*.wide.example", "a.example:8443"], &[], Others::Refused);
        for url in [
            "https://docs.example/",
            "http://docs.example/",
            "https://x.y.wide.example/",
            "https://a.example:8443/",
        ] {
            assert_eq!(why(&listed, url, Reach::Listed), None, "{url}");
        }
        for url in [
            "https://docs.example:8443/",
            "https://wide.example/",
            "https://xwide.example/",
            "https://a.example/",
            "https://docs.example.evil.example/",
        ] {
            assert_eq!(why(&listed, url, Reach::All), Some(Unlisted::Host), "{url}");
        }
        assert_eq!(
            why(&listed, "https://10.0.0.1/", Reach::All),
            Some(Unlisted::Address(Kind::Private))
        );
    }

    #[test]
    fn others_are_public_hosts_at_the_usual_ports() {
        let open = places(&["docs.example"], &[], Others::Public);
        assert_eq!(why(&open, "https://example.org/", Reach::All), None);
        assert_eq!(why(&open, "https://example.org/", Reach::Listed), Some(Unlisted::Reach));
        assert_eq!(why(&open, "https://example.org:22/", Reach::All), Some(Unlisted::Port));
        assert_eq!(
            why(&open, "http://127.0.0.1/", Reach::All),
            Some(Unlisted::Address(Kind::Loopback))
        );
    }

    #[test]
    fn what_is_not_public_is_open_to_listed_hosts_alone_and_only_where_it_is_written_out() {
        let some = places(&["in.example", "127.0.0.1:80"], &["10.1.2.3"], Others::Public);
        let opens = |url: &str, ip: &str| {
            let address = Address::parse(url).unwrap();
            some.allow(&address, Reach::All).unwrap().opens(ip.parse().unwrap())
        };
        assert!(opens("https://in.example/", "10.1.2.3"));
        assert!(!opens("https://in.example/", "10.1.2.4"));
        assert!(!opens("https://in.example/", "127.0.0.1"));
        assert!(!opens("https://out.example/", "10.1.2.3"));
        assert!(opens("http://127.0.0.1/", "127.0.0.1"));
        assert!(!opens("http://127.0.0.1/", "127.0.0.2"));
    }

    #[test]
    fn what_nothing_opens_cannot_be_written_down() {
        for host in ["169.254.169.254", "[fe80::1]", "0.0.0.0", "*.org", "127.1", "a b", "x@y"] {
            assert!(Places::new(&[host.to_owned()], &[], Others::Refused).is_err(), "{host}");
        }
        let metadata = ["169.254.169.254".parse().unwrap()];
        assert!(Places::new(&[], &metadata, Others::Refused).is_err());
    }
}
