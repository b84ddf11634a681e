//! Addresses where nobody is led, and ways to write them. Other crates hold what is theirs against it, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egress::Kind;

/// The first, a middle and the last address of each range that is not public, and what it is.
pub(crate) fn forbidden() -> Vec<(IpAddr, Kind)> {
    let listed: [(&[&str], Kind); 14] = [
        (&["127.0.0.1", "127.1.2.3", "127.255.255.255", "::1"], Kind::Loopback),
        (
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.0",
                "192.168.255.255",
            ],
            Kind::Private,
        ),
        (&["fc00::", "fd00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], Kind::UniqueLocal),
        (&["100.64.0.0", "100.127.255.255"], Kind::CarrierGrade),
        (&["198.18.0.0", "198.19.255.255", "2001:2::1"], Kind::Benchmarking),
        (
            &[
                "192.0.2.1",
                "198.51.100.255",
                "203.0.113.0",
                "2001:db8::1",
                "2001:db8:ffff::",
                "3fff::1",
            ],
            Kind::Documentation,
        ),
        (&["169.254.0.0", "169.254.255.255", "fe80::1", "febf::1", "fec0::1"], Kind::LinkLocal),
        (
            &[
                "169.254.169.254",
                "169.254.170.2",
                "100.100.100.200",
                "192.0.0.192",
                "168.63.129.16",
                "fd00:ec2::254",
            ],
            Kind::Metadata,
        ),
        (&["0.0.0.0", "0.0.0.1", "0.255.255.255", "::"], Kind::Unspecified),
        (&["224.0.0.0", "239.255.255.255", "ff00::1", "ff02::1", "ffff::"], Kind::Multicast),
        (&["255.255.255.255"], Kind::Broadcast),
        (
            &[
                "64:ff9b::1",
                "64:ff9b:1::a00:1",
                "2001::1",
                "2001:0:ffff::",
                "2002:a00:1::1",
                "::a00:1",
                "::ffff:0:a00:1",
                "2606::5efe:a00:1",
                "2606::200:5efe:a00:1",
                "192.88.99.1",
            ],
            Kind::Tunnel,
        ),
        (
            &["240.0.0.0", "255.255.255.254", "192.0.0.1", "2001:1::1", "2001:10::1", "2001:20::1"],
            Kind::Reserved,
        ),
        (&["100::1", "1::", "4000::", "5f00::1", "fe00::", "3fff:1000::"], Kind::Reserved),
    ];
    let read = |(texts, kind): (&'static [&'static str], Kind)| {
        texts.iter().map(move |text| (text.parse().unwrap(), kind))
    };
    listed.into_iter().flat_map(read).collect()
}

/// IPv6 addresses that carry an IPv4 one.
pub(crate) fn carriers(ip: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        ip.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, 1, 2, 0, 0, !high, !low),
        Ipv6Addr::new(0x2606, 1, 2, 3, 0, 0x5efe, high, low),
    ]
}

/// Ways in which programs have been told an IPv4 address; only the first is one.
pub(crate) fn spellings(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let number = u32::from(ip);
    let rest = number & 0x00ff_ffff;
    let full: String = ip.to_string().chars().map(|c| if c == '.' { '。' } else { c }).collect();
    let wide = |c: char| c.to_digit(10).map_or(c, |digit| char::from_u32(0xff10 + digit).unwrap());
    vec![
        ip.to_string(),
        format!("{ip}."),
        number.to_string(),
        format!("{number:#x}"),
        format!("0X{number:X}"),
        format!("0{number:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.{b}.{c}.{d}"),
        format!("{a}.{rest}"),
        format!("{a}.{b}.{}", number & 0xffff),
        format!("{a:#x}.{rest:#o}").replace("0o", "0"),
        format!("0{a}.0{b}.0{c}.0{d}"),
        format!("{a}.{b}.{c}.{d}.."),
        format!("{a}.{b}.{c}.{d}%00"),
        format!("{a}%2e{b}%2e{c}%2e{d}"),
        format!("%3{}.{b}.{c}.{d}", a % 10),
        format!("[{ip}]"),
        format!("[::ffff:{ip}]"),
        format!("[::ffff:{ip}%25eth0]"),
        format!("[::{ip}]"),
        format!("[64:ff9b::{ip}]"),
        format!("{a}.{b}.{c}.{d}@93.184.216.34"),
        format!("93.184.216.34@{ip}"),
        format!("public.example@{ip}"),
        format!("public.example:x@{ip}"),
        format!("public.example%40{ip}"),
        format!("{ip}\\@public.example"),
        format!("public.example\\@{ip}"),
        format!("public.example#@{ip}"),
        format!("{ip}\t"),
        format!("{ip}%0d%0a"),
        full,
        ip.to_string().chars().map(wide).collect(),
    ]
}
