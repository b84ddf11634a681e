//! Connections to the outside: only to addresses that were checked, and with certificates that were.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hyper::{
    body::Body,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use rustls_platform_verifier::Verifier;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    body::Driver,
    error::Error,
    host::Host,
    limits::{Limits, ms},
    refusal::Refusal,
    resolve::{Opens, Resolver, resolve},
    rules::Scheme,
};

/// How many addresses of a name are tried, one after the other.
const TRIES_MAX: usize = 4;

/// What certificates are checked against.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// What the machine trusts.
    #[default]
    System,
    /// Only these root certificates, each in DER.
    Roots(Vec<Vec<u8>>),
}

/// Makes connections to the outside.
pub(crate) struct Outside {
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

/// A connection on which one request is sent.
pub(crate) struct Opened<B> {
    pub(crate) sender: SendRequest<B>,
    pub(crate) driver: Driver,
}

impl Outside {
    pub(crate) fn new(resolver: Arc<dyn Resolver>, trust: &Trust) -> Result<Self, Error> {
        Ok(Self { resolver, tls: TlsConnector::from(Arc::new(client_config(trust)?)) })
    }

    /// Looks the host up once, and connects to one of the addresses that were checked.
    pub(crate) async fn reach(
        &self,
        (host, port): (&Host, u16),
        opens: Opens<'_>,
        limits: &Limits,
    ) -> Result<(TcpStream, SocketAddr), Refusal> {
        let addresses = resolve(self.resolver.as_ref(), (host, port), opens).await?;
        let tries = u32::try_from(addresses.len().min(TRIES_MAX)).unwrap_or(1);
        // One that swallows everything leaves time for the others.
        let share = ms(limits.connect_ms).checked_div(tries).unwrap_or_default();
        for address in addresses.into_iter().take(TRIES_MAX) {
            if let Ok(Ok(stream)) = timeout(share, TcpStream::connect(address)).await {
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
        }
        Err(Refusal::Unreachable)
    }

    /// Makes a connection ready for one request.
    pub(crate) async fn open<B>(
        &self,
        stream: TcpStream,
        (scheme, host): (Scheme, &Host),
        limits: &Limits,
    ) -> Result<Opened<B>, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut http = http1::Builder::new();
        http.max_buf_size(limits.head_bytes_max).max_headers(limits.headers_max);
        if scheme == Scheme::Http {
            let (sender, connection) =
                http.handshake(TokioIo::new(stream)).await.map_err(|_| Refusal::Upstream)?;
            let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
            return Ok(Opened { sender, driver });
        }
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Refusal::Tls)?,
            Host::Address(ip) => ServerName::from(*ip),
        };
        let stream = self.tls.connect(name, stream).await.map_err(|_| Refusal::Tls)?;
        let (sender, connection) =
            http.handshake(TokioIo::new(stream)).await.map_err(|_| Refusal::Upstream)?;
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        Ok(Opened { sender, driver })
    }
}

/// Gives up after `connect_ms`.
pub(crate) async fn in_time<T>(
    limits: &Limits,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    timeout(ms(limits.connect_ms), work).await.unwrap_or(Err(Refusal::Timeout))
}

fn client_config(trust: &Trust) -> Result<ClientConfig, Error> {
    let broken = |error: rustls::Error| Error::Trust(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(broken)?;
    let mut config = match trust {
        Trust::System => {
            let verifier = Verifier::new(provider).map_err(broken)?;
            // The platform's verifier is the stricter one: it only is given this way.
            let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
            builder.with_no_client_auth()
        }
        Trust::Roots(certificates) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates {
                roots.add(CertificateDer::from(certificate.as_slice())).map_err(broken)?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
