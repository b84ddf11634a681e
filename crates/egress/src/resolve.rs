//! From a name to addresses that may be connected to.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use crate::{
    address::{self, Kind},
    host::Host,
    refusal::Refusal,
};

/// Most addresses of one name; a name that has more is refused, because not all were looked at.
pub const ADDRESSES_MAX: usize = 64;

/// What a look-up comes to.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Finds the addresses of a name. It is asked once a request, and only for names that a rule allows.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// All addresses of `name`, which is in lower case and has no dot at its end.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// What the machine itself knows: its hosts file and its name servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Resolver for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).take(ADDRESSES_MAX.saturating_add(1)).collect())
        })
    }
}

/// Whether an address that is not public may be connected to nevertheless. What nothing opens is not even asked about.
pub(crate) type Opens<'a> = &'a (dyn Fn(IpAddr) -> bool + Send + Sync);

/// The addresses to connect to, every one of them checked. One that may not be reached makes the whole name suspect.
pub(crate) async fn resolve(
    resolver: &dyn Resolver,
    (host, port): (&Host, u16),
    opens: Opens<'_>,
) -> Result<Vec<SocketAddr>, Refusal> {
    let found = match host {
        Host::Address(ip) => vec![*ip],
        Host::Name(name) => resolver.resolve(name).await.map_err(|_| Refusal::Resolve)?,
    };
    if found.is_empty() || found.len() > ADDRESSES_MAX {
        return Err(Refusal::Resolve);
    }
    let check = |ip: IpAddr| {
        let (ip, kind) = (address::plain(ip), Kind::of(ip));
        let is_open = kind == Kind::Public || (kind.may_be_opened() && opens(ip));
        if is_open { Ok(SocketAddr::new(ip, port)) } else { Err(Refusal::Address(kind)) }
    };
    found.into_iter().map(check).collect()
}
