//! Which addresses are public, and what the others are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is, as far as it matters to whether a program may be led there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Given out to the public, and nothing else.
    Public,
    /// This very machine.
    Loopback,
    /// A private network (RFC 1918).
    Private,
    /// A private network of IPv6.
    UniqueLocal,
    /// A provider's own network behind its translators.
    CarrierGrade,
    /// Networks for measuring equipment.
    Benchmarking,
    /// Addresses for examples in texts.
    Documentation,
    /// The same wire.
    LinkLocal,
    /// Where clouds hand out credentials.
    Metadata,
    /// No address, or "here".
    Unspecified,
    /// Many at once.
    Multicast,
    /// Everybody on the wire.
    Broadcast,
    /// An IPv4 address carried in an IPv6 one through a translator or a tunnel.
    Tunnel,
    /// Set aside for other or later use.
    Reserved,
}

impl Kind {
    /// What `ip` is. An IPv4-mapped IPv6 address is what its IPv4 address is.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match plain(ip) {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    /// Whether a rule that writes the address out may lead there. Nothing opens the rest.
    #[must_use]
    pub fn may_be_opened(self) -> bool {
        match self {
            Self::Public
            | Self::Loopback
            | Self::Private
            | Self::UniqueLocal
            | Self::CarrierGrade
            | Self::Benchmarking
            | Self::Documentation => true,
            Self::LinkLocal
            | Self::Metadata
            | Self::Unspecified
            | Self::Multicast
            | Self::Broadcast
            | Self::Tunnel
            | Self::Reserved => false,
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "this machine",
            Self::Private => "a private network",
            Self::UniqueLocal => "a private network (unique-local)",
            Self::CarrierGrade => "a provider's own network",
            Self::Benchmarking => "a benchmarking network",
            Self::Documentation => "an address for documentation",
            Self::LinkLocal => "link-local",
            Self::Metadata => "a cloud's metadata service",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Tunnel => "an IPv4 address in the clothes of an IPv6 one",
            Self::Reserved => "reserved",
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        match ip.octets() {
            [255, 255, 255, 255] => Self::Broadcast,
            // AWS and most others; AWS for containers; Alibaba; Oracle; Azure, which is a public address.
            [169, 254, 169, 254]
            | [169, 254, 170, 2]
            | [100, 100, 100, 200]
            | [192, 0, 0, 192]
            | [168, 63, 129, 16] => Self::Metadata,
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [169, 254, ..] => Self::LinkLocal,
            [100, 64..=127, ..] => Self::CarrierGrade,
            [198, 18..=19, ..] => Self::Benchmarking,
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Self::Documentation,
            // The relays of 6to4.
            [192, 88, 99, _] => Self::Tunnel,
            [192, 0, 0, _] => Self::Reserved,
            [224..=239, ..] => Self::Multicast,
            [240..=255, ..] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Self::Metadata,
            // IPv4-compatible, IPv4-translated, NAT64 (global and local), Teredo, 6to4.
            [0, 0, 0, 0, 0, 0, _, _]
            | [0, 0, 0, 0, 0xffff, 0, _, _]
            | [0x64, 0xff9b, ..]
            | [0x2001, 0, ..]
            | [0x2002, ..]
            // ISATAP, below any prefix.
            | [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => Self::Tunnel,
            [0x2001, 0x0002, 0, ..] => Self::Benchmarking,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Self::Documentation,
            // Protocols, not hosts.
            [0x2001, 0x0001..=0x01ff, ..] => Self::Reserved,
            [0xfc00..=0xfdff, ..] => Self::UniqueLocal,
            // Site-local counts with it: both mean "near".
            [0xfe80..=0xfeff, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            [0x2000..=0x3ffe, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }
}

/// An IPv4-mapped IPv6 address is its IPv4 address: the system connects to that one.
#[must_use]
pub(crate) fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
