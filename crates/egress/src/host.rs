//! How a place is written. One function reads a host for rules and requests alike, and what could be read in two ways
//! is refused: the name that is judged is the name that is looked up.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Longest name, in bytes (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// Longest part of a name between two dots, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A host in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name in lower case, without a dot at its end.
    Name(String),
    /// An address, written as one.
    Address(IpAddr),
}

/// Why a text is no host. The text is not repeated: it may hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Spelling {
    /// Nothing is there.
    #[error("the host is empty")]
    Empty,
    /// A name or one of its parts is too long.
    #[error(
        "the name has more than {NAME_BYTES_MAX} bytes, or a part of it more than {LABEL_BYTES_MAX}"
    )]
    Long,
    /// A part of the name is empty, or begins or ends with a hyphen.
    #[error("a part of the name is empty or begins or ends with a hyphen")]
    Label,
    /// Something that does not stand in a name: a percent sign, a space, a backslash, a letter beyond ASCII.
    #[error("the host holds a character that no name has; write names beyond ASCII as xn--…")]
    Character,
    /// A number that some programs read as an address.
    #[error(
        "the host is a number; write an IPv4 address as four decimal numbers without leading zeros"
    )]
    Number,
    /// Brackets without an IPv6 address in them; one with a zone is none.
    #[error("brackets hold an IPv6 address without a zone, and nothing stands after them")]
    Brackets,
    /// Credentials before the host.
    #[error("credentials do not stand in an address")]
    Credentials,
    /// A port that is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
}

impl Host {
    /// Reads a host. Letters become lower case, one dot at the end goes; addresses have one spelling each.
    ///
    /// # Errors
    /// Whatever else programs read in more than one way.
    pub fn parse(text: &str) -> Result<Self, Spelling> {
        if text.is_empty() {
            return Err(Spelling::Empty);
        }
        if text.starts_with('[') || text.ends_with(']') {
            let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let ip: Option<Ipv6Addr> = inner.and_then(|inner| inner.parse().ok());
            return ip.map(|ip| Self::Address(IpAddr::V6(ip))).ok_or(Spelling::Brackets);
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !text.bytes().all(fits) {
            return Err(Spelling::Character);
        }
        if let Some(ip) = decimal(text) {
            return Ok(Self::Address(IpAddr::V4(ip)));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.len() > NAME_BYTES_MAX {
            return Err(Spelling::Long);
        }
        name.split('.').try_for_each(check_label)?;
        match name.rsplit('.').next() {
            Some(last) if is_number(last) => Err(Spelling::Number),
            _ => Ok(Self::Name(name)),
        }
    }

    /// Reads `host` or `host:port`; the port is `None` where none is written.
    ///
    /// # Errors
    /// What [`Host::parse`] refuses, credentials, and ports that are none.
    pub fn parse_with_port(text: &str) -> Result<(Self, Option<u16>), Spelling> {
        if text.contains('@') {
            return Err(Spelling::Credentials);
        }
        let (host, rest) = match text.find(']') {
            Some(end) => text.split_at(end.saturating_add(1)),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        if rest.is_empty() {
            return Ok((Self::parse(host)?, None));
        }
        let host = Self::parse(host)?;
        let digits = rest.strip_prefix(':').ok_or(Spelling::Port)?;
        // `parse` alone would take a plus sign.
        let is_plain = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.parse().ok().filter(|port| is_plain && *port != 0);
        port.map(|port| (host, Some(port))).ok_or(Spelling::Port)
    }
}

/// As it stands in a URL.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// The one spelling of an IPv4 address that everybody reads alike.
fn decimal(text: &str) -> Option<Ipv4Addr> {
    let ip: Ipv4Addr = text.parse().ok()?;
    (ip.to_string() == text).then_some(ip)
}

fn check_label(label: &str) -> Result<(), Spelling> {
    if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
        return Err(Spelling::Label);
    }
    if label.len() > LABEL_BYTES_MAX { Err(Spelling::Long) } else { Ok(()) }
}

/// Whether resolvers read a name that ends so as an address. No top-level domain does.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling_and_everything_else_is_refused() {
        for (text, plain) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a_b.example", "a_b.example"),
            ("93.184.216.34", "93.184.216.34"),
            ("[2606:2800:0220:0001:0::1]", "[2606:2800:220:1::1]"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), plain, "{text}");
        }
        for (text, why) in [
            ("", Spelling::Empty),
            (".", Spelling::Label),
            ("example..org", Spelling::Label),
            ("example.org..", Spelling::Label),
            ("-a.org", Spelling::Label),
            ("2130706433", Spelling::Number),
            ("127.1", Spelling::Number),
            ("0x7f.1", Spelling::Number),
            ("0x7f000001", Spelling::Number),
            ("0x", Spelling::Number),
            ("017700000001", Spelling::Number),
            ("0177.0.0.1", Spelling::Number),
            ("127.0.0.01", Spelling::Number),
            ("127.0.0.1.", Spelling::Number),
            ("1.2.3.4.5", Spelling::Number),
            ("256.1.1.1", Spelling::Number),
            ("foo.0x1", Spelling::Number),
            ("[127.0.0.1]", Spelling::Brackets),
            ("[fe80::1%25eth0]", Spelling::Brackets),
            ("[::1", Spelling::Brackets),
            ("::1]", Spelling::Brackets),
            ("::1", Spelling::Character),
            ("exam%70le.org", Spelling::Character),
            ("127%2e0.0.1", Spelling::Character),
            ("bücher.example", Spelling::Character),
            ("127。0。0。1", Spelling::Character),
            ("①②⑦.0.0.1", Spelling::Character),
            ("a b", Spelling::Character),
            ("a\tb", Spelling::Character),
            ("a\\b", Spelling::Character),
            ("a/b", Spelling::Character),
            ("a#b", Spelling::Character),
        ] {
            assert_eq!(Host::parse(text), Err(why), "{text}");
        }
        let long = format!("{}.org", "a".repeat(64));
        assert_eq!(Host::parse(&long), Err(Spelling::Long));
        assert_eq!(Host::parse(&"a.".repeat(140)), Err(Spelling::Long));
    }

    #[test]
    fn a_port_is_a_plain_number_and_credentials_are_refused() {
        let read =
            |text: &str| Host::parse_with_port(text).map(|(host, port)| (host.to_string(), port));
        assert_eq!(read("a.org:8080"), Ok(("a.org".to_owned(), Some(8080))));
        assert_eq!(read("[::1]:1"), Ok(("[::1]".to_owned(), Some(1))));
        assert_eq!(read("a.org"), Ok(("a.org".to_owned(), None)));
        for wrong in
            ["a.org:", "a.org:0", "a.org:+80", "a.org:65536", "a.org:080808", "a:1:2", "[::1]1"]
        {
            assert_eq!(read(wrong), Err(Spelling::Port), "{wrong}");
        }
        assert_eq!(read("good@evil"), Err(Spelling::Credentials));
        assert_eq!(read("good:80@evil:80"), Err(Spelling::Credentials));
    }
}
