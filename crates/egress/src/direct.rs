//! Connections for whoever asks for itself: the same look-up, the same checks of every address and of certificates as
//! behind a proxy, without one.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};

use crate::{
    error::Error,
    host::Host,
    limits::Limits,
    refusal::Refusal,
    resolve::Resolver,
    rules::Scheme,
    upstream::{Opened, Outside, Trust, in_time},
};

/// Opens connections to places whose every address is public, or opened by whoever asks.
#[derive(Debug)]
pub struct Direct {
    outside: Outside,
    limits: Limits,
}

/// Where to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Its one spelling.
    pub host: &'a Host,
    /// Its port.
    pub port: u16,
}

impl Direct {
    /// With these names, certificates and limits; of the limits those for heads and connecting count.
    ///
    /// # Errors
    /// Limits that cannot be held, and certificates that cannot be read.
    pub fn new(resolver: Arc<dyn Resolver>, trust: &Trust, limits: Limits) -> Result<Self, Error> {
        limits.check()?;
        Ok(Self { outside: Outside::new(resolver, trust)?, limits })
    }

    /// Looks the host up once, and connects to one of the addresses that were checked. `opens` is asked about
    /// addresses that are not public; link-local ones, metadata services and the like it is not even asked about.
    ///
    /// # Errors
    /// Why there is no connection; nothing but a TLS greeting was sent then.
    pub async fn open(
        &self,
        target: Target<'_>,
        opens: &(dyn Fn(IpAddr) -> bool + Send + Sync),
    ) -> Result<Connection, Refusal> {
        let Target { scheme, host, port } = target;
        in_time(&self.limits, async {
            let (stream, address) = self.outside.reach((host, port), opens, &self.limits).await?;
            let opened = self.outside.open(stream, (scheme, host), &self.limits).await?;
            Ok(Connection { opened, address })
        })
        .await
    }
}

/// A connection for one request; it ends when this is dropped.
pub struct Connection {
    opened: Opened<Full<Bytes>>,
    address: SocketAddr,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    /// What it is connected to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request. The connection has to be kept until the answer's body was read.
    ///
    /// # Errors
    /// [`Refusal::Upstream`] where no HTTP/1.1 comes back.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Refusal> {
        self.opened.sender.send_request(request).await.map_err(|_| Refusal::Upstream)
    }
}
