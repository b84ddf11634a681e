//! Bodies on their way: counted, cut where they are too long or too slow, and scrubbed.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    task::JoinHandle,
    time::{Instant, Sleep, sleep},
};

use crate::{event::Trace, refusal::Refusal, scrub::Stream};

/// Ends a body before its end. The connection is closed then, so that nobody takes a part for the whole.
#[derive(Debug)]
pub(crate) struct Cut(pub(crate) Refusal);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code())
    }
}

impl std::error::Error for Cut {}

/// How much may pass: of this body, and of all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) here: u64,
    pub(crate) in_all: u64,
}

/// What the inside sends.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) body: Incoming,
    pub(crate) trace: Arc<Trace>,
    pub(crate) most: Most,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            let Ok(frame) = frame else {
                self.trace.refuse(Refusal::Gone);
                return Poll::Ready(Some(Err(Cut(Refusal::Gone))));
            };
            // Trailers are headers that nobody looked at: they do not pass.
            let Ok(data) = frame.into_data() else { continue };
            let counted = self.trace.count_out(data.len(), self.most.here, self.most.in_all);
            return Poll::Ready(Some(counted.map(|()| Frame::data(data)).map_err(Cut)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What drives a connection to the outside; it ends with whoever holds it.
#[derive(Debug)]
pub(crate) struct Driver(pub(crate) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What comes back.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    trace: Arc<Trace>,
    most: Most,
    stream: Option<Stream>,
    idle: Duration,
    quiet: Pin<Box<Sleep>>,
    is_over: bool,
    _driver: Driver,
}

impl Answer {
    pub(crate) fn new(
        body: Incoming,
        driver: Driver,
        trace: Arc<Trace>,
        most: Most,
        idle: Duration,
    ) -> Self {
        let quiet = Box::pin(sleep(idle));
        let mut answer =
            Self { body, trace, most, stream: None, idle, quiet, is_over: false, _driver: driver };
        answer.look_at_end();
        answer
    }

    /// Takes secrets out on the way; its length is not known before its end then.
    pub(crate) fn scrubbed(mut self, stream: Option<Stream>) -> Self {
        self.stream = stream.filter(|_| !self.is_over);
        self
    }

    /// Nobody asks for more once the length that was announced is there, so the end is looked for at once.
    fn look_at_end(&mut self) {
        if self.stream.is_none() && self.body.is_end_stream() {
            self.is_over = true;
            self.trace.end();
        }
    }

    fn cut(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.trace.refuse(refusal);
        self.is_over = true;
        Poll::Ready(Some(Err(Cut(refusal))))
    }

    fn take(&mut self, data: Bytes) -> Result<Bytes, Refusal> {
        self.trace.count_back(data.remaining(), self.most.here, self.most.in_all)?;
        Ok(match &mut self.stream {
            Some(stream) => stream.push(&data).into(),
            None => data,
        })
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        while !self.is_over {
            let polled = Pin::new(&mut self.body).poll_frame(context);
            let Poll::Ready(next) = polled else {
                ready!(self.quiet.as_mut().poll(context));
                return self.cut(Refusal::Timeout);
            };
            let deadline = Instant::now().checked_add(self.idle);
            if let Some(deadline) = deadline {
                self.quiet.as_mut().reset(deadline);
            }
            match next {
                Some(Err(_)) => return self.cut(Refusal::Upstream),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match self.take(data) {
                        Err(refusal) => return self.cut(refusal),
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => {
                            self.look_at_end();
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                }
                None => {
                    self.is_over = true;
                    self.trace.end();
                    let rest = self.stream.take().map(|mut stream| stream.finish());
                    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                        return Poll::Ready(Some(Ok(Frame::data(rest.into()))));
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        if self.stream.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
