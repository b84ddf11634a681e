//! Streams that stay open: what changes, as it changes, as Server-Sent Events. They carry ids, kinds and
//! versions, never values, and end with the credential they were opened with.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _, stream::unfold};

use super::{Bearer, Web, limits::Place, metrics::Listening};
use crate::app::{
    Caller, Right,
    feed::{Changed, Heard},
    identity::Signed,
};

/// How often a quiet stream says that it is there.
const BEAT: Duration = Duration::from_secs(15);

/// How long a client waits before it comes back, in milliseconds.
const RETRY: Duration = Duration::from_secs(2);

/// How often it is looked whether the listener may still listen.
const LOOK: Duration = Duration::from_secs(5);

/// Changes handed over at a time.
const BATCH: usize = 256;

/// What keeps a stream open: it is looked at again and again.
#[derive(Debug)]
pub(crate) enum Held {
    /// A bearer token.
    Token(String),
    /// A session's cookie.
    Session(String),
}

/// A stream of a tenant's changes after a mark, for as long as its credential is valid.
pub(crate) fn listen(
    web: Arc<Web>,
    (signed, held): (Signed, Held),
    after: Option<String>,
    run: Option<String>,
) -> Response {
    let place = match web.limits.stream(signed.caller.principal().id.as_str()) {
        Ok(place) => place,
        Err(told) => return told.into_response(),
    };
    let feed = web.app.feed();
    let (position, missed) = match after.as_deref().map(|mark| feed.position(mark)) {
        Some(Some(position)) => (position, false),
        // A mark of a process that has ended since.
        Some(None) => (feed.head(), true),
        None => (feed.head(), false),
    };
    let mut waiting = VecDeque::new();
    // The first event is the mark itself: whoever loses the connection at once loses nothing.
    let kind = if missed { "reset" } else { "ready" };
    waiting.push_back(Event::default().event(kind).id(feed.mark(position)).data("{}").retry(RETRY));
    let listener = Listener {
        _counted: (Listening::new(&web), place),
        heads: feed.watch(),
        caller: signed.caller,
        held,
        position,
        run,
        waiting,
        looked: tokio::time::Instant::now(),
        web,
    };
    Sse::new(listener.events()).keep_alive(KeepAlive::new().interval(BEAT)).into_response()
}

struct Listener {
    web: Arc<Web>,
    heads: tokio::sync::watch::Receiver<u64>,
    caller: Caller,
    held: Held,
    position: u64,
    run: Option<String>,
    waiting: VecDeque<Event>,
    looked: tokio::time::Instant,
    /// Let go when the stream ends.
    _counted: (Listening, Place),
}

impl Listener {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(self, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
    }

    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if *self.web.ends.borrow() || !self.may_listen().await {
                return None;
            }
            let feed = Arc::clone(self.web.app.feed());
            self.heads.borrow_and_update();
            let (position, heard) = feed.after(self.caller.tenant(), self.position, BATCH);
            self.position = position;
            match heard {
                Heard::Missed(head) => {
                    let event = Event::default().event("reset").id(feed.mark(head)).data("{}");
                    self.waiting.push_back(event);
                    continue;
                }
                Heard::Changes(changes) => {
                    let wanted = changes.iter().filter(|(_, changed)| self.wants(changed));
                    let events: Vec<Event> = wanted
                        .map(|(at, changed)| {
                            let data = serde_json::to_string(&**changed).unwrap_or_default();
                            Event::default().event("run").id(feed.mark(*at)).data(data)
                        })
                        .collect();
                    self.waiting.extend(events);
                    if !self.waiting.is_empty() || position < feed.head() {
                        continue;
                    }
                }
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        let mut ends = self.web.ends.clone();
        tokio::select! {
            _ = self.heads.changed() => {}
            _ = ends.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }

    fn wants(&self, changed: &Changed) -> bool {
        self.run.as_ref().is_none_or(|run| changed.run.as_str() == run)
    }

    /// Expiry and revocation count for streams that are open, too.
    async fn may_listen(&mut self) -> bool {
        if self.looked.elapsed() < LOOK {
            return true;
        }
        self.looked = tokio::time::Instant::now();
        let signed = match &self.held {
            Held::Token(token) => self.web.app.bearer(token).await,
            Held::Session(secret) => self.web.app.session(secret).await,
        };
        signed.is_ok_and(|signed| signed.caller.may(Right::Read))
    }
}

/// Events that somebody else makes, as they are: for as long as the credential is valid that they were asked for with.
pub(crate) fn relay<E>(web: Arc<Web>, bearer: Bearer, events: E) -> Response
where
    E: Stream<Item = Bytes> + Send + Unpin + 'static,
{
    let place = match web.limits.stream(bearer.signed.caller.principal().id.as_str()) {
        Ok(place) => place,
        Err(told) => return told.into_response(),
    };
    let now = tokio::time::Instant::now();
    let relay = Relay {
        _counted: (Listening::new(&web), place),
        token: bearer.token,
        events,
        looked: now,
        said: now,
        web,
    };
    let bytes = unfold(relay, |mut relay| async move {
        let bytes = relay.next().await?;
        Some((Ok::<_, Infallible>(bytes), relay))
    });
    let mut response = Body::from_stream(bytes).into_response();
    let events = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, events);
    response
}

struct Relay<E> {
    web: Arc<Web>,
    token: String,
    events: E,
    looked: tokio::time::Instant,
    said: tokio::time::Instant,
    /// Let go when the stream ends.
    _counted: (Listening, Place),
}

impl<E: Stream<Item = Bytes> + Unpin> Relay<E> {
    /// The next bytes; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        let mut ends = self.web.ends.clone();
        loop {
            if *ends.borrow() {
                return None;
            }
            let heard = tokio::select! {
                heard = self.events.next() => Some(heard?),
                _ = ends.changed() => None,
                () = tokio::time::sleep(LOOK) => None,
            };
            // Expiry and revocation count for streams that are open, too.
            if self.looked.elapsed() >= LOOK {
                self.looked = tokio::time::Instant::now();
                let signed = self.web.app.bearer(&self.token).await;
                if !signed.is_ok_and(|signed| signed.caller.may(Right::Propose)) {
                    return None;
                }
            }
            if heard.is_none() && self.said.elapsed() < BEAT {
                continue;
            }
            self.said = tokio::time::Instant::now();
            return Some(heard.unwrap_or_else(|| Bytes::from_static(b":\n\n")));
        }
    }
}
