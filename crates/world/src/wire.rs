//! Connections that can be reset on purpose, and bodies that come slowly or without end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The most HTTP connections open at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const DRIP_BYTES: usize = 16;
const HUGE_CHUNK_BYTES: usize = 64 * 1024;

/// The HTTP listener.
pub(crate) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

/// One connection, and whether it is to be reset.
pub(crate) struct Line {
    stream: TcpStream,
    broken: Arc<AtomicBool>,
    _place: Option<OwnedSemaphorePermit>,
}

/// The other end of a connection, as a request sees it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    broken: Arc<AtomicBool>,
}

impl Peer {
    /// Resets the connection at the next write.
    pub(crate) fn reset(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Listener for Door {
    type Io = Line;
    type Addr = Peer;

    async fn accept(&mut self) -> (Line, Peer) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let broken = Arc::new(AtomicBool::new(false));
                    let peer = Peer { broken: Arc::clone(&broken) };
                    return (Line { stream, broken, _place: place }, peer);
                }
                // Out of descriptors, or the client left: wait, then listen on.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let _: SocketAddr = self.listener.local_addr()?;
        Ok(Peer { broken: Arc::new(AtomicBool::new(false)) })
    }
}

impl Line {
    fn check(&self) -> io::Result<()> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        // With no linger, closing sends RST instead of FIN.
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A body that comes a few bytes at a time, and breaks off when `closing` turns true.
pub(crate) fn drip(bytes: Vec<u8>, pause: Duration, closing: watch::Receiver<bool>) -> Body {
    let start = (Bytes::from(bytes), closing);
    Body::from_stream(stream::unfold(start, move |(mut left, mut closing)| async move {
        if left.is_empty() {
            return None;
        }
        let piece = tokio::select! {
            () = tokio::time::sleep(pause) => Ok(left.split_to(left.len().min(DRIP_BYTES))),
            _ = closing.wait_for(|closing| *closing) => {
                left.clear();
                Err(io::Error::from(io::ErrorKind::ConnectionAborted))
            }
        };
        Some((piece, (left, closing)))
    }))
}

/// A JSON body of a little more than `bytes` bytes, made as it is read.
pub(crate) fn huge(bytes: usize) -> Body {
    let chunks = bytes.div_ceil(HUGE_CHUNK_BYTES);
    let padding = Bytes::from(vec![b'x'; HUGE_CHUNK_BYTES]);
    Body::from_stream(stream::unfold(0, move |at| {
        let padding = padding.clone();
        async move {
            let piece = match at {
                0 => Bytes::from_static(b"{\"padding\":\""),
                at if at <= chunks => padding,
                at if at == chunks + 1 => Bytes::from_static(b"\"}"),
                _ => return None,
            };
            Some((Ok::<_, Infallible>(piece), at + 1))
        }
    }))
}
