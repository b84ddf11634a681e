//! One pool of HTTP/1.1 connections for every provider: TLS by rustls with the platform's roots, no
//! proxies, no redirects, no compression.
//!
//! Plain hyper rather than a client on top of it: a turn is two system calls and no copy of the history.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
    vec,
};

use bytes::{Buf, Bytes};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls_platform_verifier::Verifier;

use crate::{
    clock::{Clock, SystemClock},
    error::Error,
    status::broken,
};

/// Most connections to one provider at a time where it does not say; idle ones beyond it are closed.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take to be made, in milliseconds.
const CONNECT_MAX_MS: u64 = 10_000;

/// How long an idle connection is kept, in milliseconds.
const IDLE_MAX_MS: u64 = 90_000;

/// A request whose body leaves as slices, and not too late.
pub(crate) type Sending = Request<Frames>;

type Secure = Client<HttpsConnector<HttpConnector>, Frames>;

/// The connections of this process to model providers. Cheap to clone; the TLS half is only set up when
/// a provider needs it.
#[derive(Clone, Debug)]
pub struct Http {
    pub(crate) clock: Arc<dyn Clock>,
    plain: Client<HttpConnector, Frames>,
    secure: Arc<OnceLock<Result<Secure, Error>>>,
}

impl Default for Http {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl Http {
    /// A pool that goes by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let plain = pool().build(connector());
        Self { clock, plain, secure: Arc::default() }
    }

    pub(crate) async fn send(&self, request: Sending) -> Result<Response<Incoming>, Error> {
        let answer = match request.uri().scheme_str() {
            Some("https") => {
                let client = self.secure.get_or_init(|| Ok(pool().build(secure_connector()?)));
                client.as_ref().map_err(Clone::clone)?.request(request).await
            }
            _ => self.plain.request(request).await,
        };
        answer.map_err(|error| match is_too_late(&error) {
            true => Error::TooLate,
            false => Error::unavailable(broken(&error)),
        })
    }
}

fn pool() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_millis(IDLE_MAX_MS))
        .pool_max_idle_per_host(CONNECTIONS_MAX);
    builder
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_millis(CONNECT_MAX_MS)));
    connector.set_keepalive(Some(Duration::from_secs(60)));
    connector
}

fn secure_connector() -> Result<HttpsConnector<HttpConnector>, Error> {
    let broken = |error: rustls::Error| Error::config(format!("TLS cannot be set up: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new(Arc::clone(&provider)).map_err(broken)?;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .dangerous()
        // The platform's verifier is the stricter one: it only is given this way.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config);
    Ok(builder.https_only().enable_http1().wrap_connector(connector()))
}

#[derive(Debug, thiserror::Error)]
#[error("the dispatch window has passed")]
pub(crate) struct TooLate;

fn is_too_late(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TooLate>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A request body: slices that are shared, not copied. Looks at the clock when the first is asked for,
/// which is right before any byte of the request leaves.
#[derive(Debug)]
pub(crate) struct Frames {
    slices: vec::IntoIter<Bytes>,
    left: u64,
    departs: Option<(Arc<dyn Clock>, u64)>,
}

impl Frames {
    pub(crate) fn new(slices: Vec<Bytes>, clock: Arc<dyn Clock>, by_boot_ms: u64) -> Self {
        let left = slices.iter().map(|slice| slice.remaining() as u64).sum();
        Self { slices: slices.into_iter(), left, departs: Some((clock, by_boot_ms)) }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        if let Some((clock, by_boot_ms)) = self.departs.take()
            && clock.boot_ms() > by_boot_ms
        {
            return Poll::Ready(Some(Err(TooLate)));
        }
        let next = self.slices.find(|slice| !slice.is_empty());
        if let Some(slice) = &next {
            self.left = self.left.saturating_sub(slice.len() as u64);
        }
        Poll::Ready(next.map(|slice| Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
