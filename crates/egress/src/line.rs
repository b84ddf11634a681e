//! One connection from the inside: what came on it, and how long what is under way may still take.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::{Instant, sleep_until},
};

use crate::{event::Trace, refusal::Refusal, tunnel::Tunnel};

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    /// Whether bytes came that no request is known of.
    is_fresh: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// When the last request began, and what is told of it.
    last: Option<(Instant, Weak<Trace>)>,
    tunnel: Option<Tunnel>,
}

impl Line {
    /// A request begins; the one before it is over, because one follows the other.
    pub(crate) fn begin(&self, trace: &Arc<Trace>) {
        self.is_fresh.store(false, Ordering::Relaxed);
        self.lock().last = Some((Instant::now(), Arc::downgrade(trace)));
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::Relaxed)
    }

    /// Keeps a tunnel until the connection is handed over.
    pub(crate) fn hand_over(&self, tunnel: Tunnel) {
        self.lock().tunnel = Some(tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.lock().tunnel.take()
    }

    /// Waits until the last request began `total` ago, whoever it is that does not come to an end, and says so.
    pub(crate) async fn overdue(&self, total: Duration) {
        loop {
            let now = Instant::now();
            let began = self.lock().last.as_ref().map(|(began, _)| *began);
            // A request that begins meanwhile is due later than this.
            let Some(until) = began.unwrap_or(now).checked_add(total) else { return };
            if until <= now {
                break;
            }
            sleep_until(until).await;
        }
        let trace = self.lock().last.as_ref().and_then(|(_, trace)| trace.upgrade());
        if let Some(trace) = trace {
            trace.refuse(Refusal::Timeout);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection itself, which tells its line that something came.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) stream: UnixStream,
    pub(crate) line: Arc<Line>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.line.is_fresh.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
