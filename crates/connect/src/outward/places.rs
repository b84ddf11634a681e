//! Where the harness may go by itself.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 64;

/// What is allowed beyond public addresses.
#[derive(Debug)]
pub(super) struct Places {
    private_hosts: BTreeSet<String>,
}

impl Places {
    pub(super) fn new(private_hosts: &[String]) -> Self {
        Self { private_hosts: private_hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Reads an address that may be asked.
    pub(super) fn check(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|e| format!("the address cannot be read: {e}"))?;
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the address holds credentials; declare a secret instead".to_owned());
        }
        match url.scheme() {
            "https" if !host.is_empty() => {}
            "http" if is_this_machine(&host) => {}
            _ => return Err("the address must begin with https://".to_owned()),
        }
        // An address that is no name is never resolved: it is checked here.
        match literal(&host) {
            Some(ip) => self.admit(&host, ip).map(|()| url),
            None => Ok(url),
        }
    }

    /// Whether a host may lead to this address.
    pub(super) fn admit(&self, host: &str, ip: IpAddr) -> Result<(), String> {
        let ip = plain(ip);
        if is_public(ip) || self.private_hosts.contains(host) {
            return Ok(());
        }
        // Named as what it is: no name that somebody else may change leads here.
        if ip.is_loopback() && is_this_machine(host) {
            return Ok(());
        }
        Err(format!(
            "{host} leads into a private network; list it under private_hosts if it should"
        ))
    }
}

/// Resolves names, and hands out only addresses that may be connected to.
pub(super) struct Guarded(pub(super) Arc<Places>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let places = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let all: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
            // One that leads inside makes the whole name suspect.
            for address in &all {
                places.admit(&host, address.ip())?;
            }
            Ok(Box::new(all.into_iter()) as Addrs)
        })
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || literal(host).is_some_and(|ip| plain(ip).is_loopback())
}

/// An IPv4 address in the clothes of an IPv6 one is that IPv4 address.
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // NAT64, 6to4, and the form that nobody uses any more.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => four(high, low),
        [0x2002, high, low, ..] => four(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        _ => ip,
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        // Where clouds keep credentials.
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    // Only what is given out to the public; tunnels, benchmarks and documentation lie in it and are not.
    let [first, second, ..] = ip.segments();
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
        && first != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_inside_are_refused_however_they_are_written() {
        let places = Places::new(&[]);
        for inside in [
            "https://10.0.0.1/",
            "https://172.16.3.4/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.100.100.200/",
            "https://0.0.0.0/",
            "https://0x0a000001/",
            "https://167772161/",
            "https://012.0.0.1/",
            "https://255.255.255.255/",
            "https://224.0.0.1/",
            "https://[::]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:a00:1::1]/",
            "https://[::10.0.0.1]/",
            "https://[2001::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
        ] {
            let refused = places.check(inside).unwrap_err();
            assert!(refused.contains("private_hosts"), "{inside}: {refused}");
        }
        for outside in ["https://93.184.216.34/", "https://[2606:2800:220:1::1]/x?y=1"] {
            places.check(outside).unwrap();
        }
    }

    #[test]
    fn only_tls_leaves_this_machine_and_no_credentials_stand_in_an_address() {
        let places = Places::new(&[]);
        for wrong in [
            "http://example.org/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://u:p@example.org/",
            "https://u@example.org/",
            "example.org",
            "",
            "http://10.0.0.1/",
            "http://localhost.example.org/",
        ] {
            assert!(places.check(wrong).is_err(), "{wrong}");
        }
        for fine in
            ["http://127.0.0.1:7/", "http://localhost:7/", "http://[::1]:7/", "https://example.org"]
        {
            assert!(places.check(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_name_may_lead_inside_only_when_the_operator_listed_it() {
        let inside: [IpAddr; 3] =
            ["10.1.2.3", "127.0.0.1", "::ffff:127.0.0.1"].map(|ip| ip.parse().unwrap());
        let places = Places::new(&["Hooks.Internal".to_owned()]);
        for ip in inside {
            assert!(places.admit("hooks.internal", ip).is_ok());
            assert!(places.admit("hooks.example.org", ip).is_err(), "{ip}");
        }
        assert!(places.admit("localhost", inside[1]).is_ok());
        assert!(places.admit("localhost", inside[0]).is_err());
    }

    #[tokio::test]
    async fn a_resolved_name_is_checked_when_it_is_connected_to() {
        let guarded = |hosts: &[String]| Guarded(Arc::new(Places::new(hosts)));
        // Names that a resolver knows without asking anybody: `localhost` is ours alone, a number in
        // another dress is what it leads to.
        let found = guarded(&[]).resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.count() > 0);
        for name in ["0x7f.1", "2130706433"] {
            let refused = guarded(&[]).resolve(name.parse().unwrap()).await.err();
            let told = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(told.contains("leads into a private network"), "{name}: {told}");
            let wanted = guarded(&[name.to_owned()]).resolve(name.parse().unwrap()).await;
            assert!(wanted.is_ok(), "{name} leads there when the operator says so");
        }
    }
}
