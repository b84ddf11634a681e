//! What a provider answers, read: whole, or piece by piece while it comes. No IO: `client.rs` brings the
//! bytes.

use std::borrow::Cow;

use kernel::conversation::Reply;

use crate::{
    ask::Delta,
    error::Error,
    provider::{ApiKind, Provider},
    sse::Events,
    wire::{self, Answer, Listen, Wire},
};

/// Longest answer, in bytes.
pub const BODY_MAX_BYTES: usize = 32 * 1024 * 1024;

/// An answer as it came, and what it says.
pub(crate) struct Received {
    pub(crate) raw: String,
    pub(crate) answer: Answer,
}

impl Received {
    /// Reads an answer that is all there. A server may answer with a stream that was not asked for, or
    /// not say that it does.
    pub(crate) fn read(api: ApiKind, raw: String) -> Result<Self, Error> {
        let wire = wire::of(api);
        let answer = wire.read(&put_together(wire, &raw)?)?;
        Ok(Self { raw, answer })
    }

    pub(crate) fn into_reply(self, provider: &Provider) -> Reply {
        let Self { raw, answer: Answer { model, items, stop, usage } } = self;
        Reply {
            provider: provider.name.clone(),
            model: model.unwrap_or_else(|| provider.model.clone()),
            wire: provider.api.name().to_owned(),
            items,
            stop,
            usage,
            raw,
        }
    }
}

/// A stream while it comes.
pub(crate) struct Hearing {
    events: Events,
    listen: Box<dyn Listen>,
    /// The answer is complete and what follows cannot be read: the rest is passed over.
    is_over: bool,
}

impl Hearing {
    pub(crate) fn new(wire: &dyn Wire) -> Self {
        Self { events: Events::default(), listen: wire.listen(), is_over: false }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.listen.is_done()
    }

    /// Takes a piece in, cut anywhere, and tells what it adds.
    pub(crate) fn hear(
        &mut self,
        piece: &[u8],
        tell: &mut dyn FnMut(Delta<'_>),
    ) -> Result<(), Error> {
        if self.is_over {
            return Ok(());
        }
        let heard = self.events.feed(piece, |event| self.listen.hear(event, tell));
        // What follows a complete answer does not spoil it.
        self.is_over = heard.is_err() && self.is_done();
        if self.is_over { Ok(()) } else { heard }
    }

    /// The answer as it would have come without streaming; `raw` is everything that was heard.
    pub(crate) fn finish(
        mut self,
        raw: &str,
        tell: &mut dyn FnMut(Delta<'_>),
    ) -> Result<String, Error> {
        // It was no stream, whatever it was called.
        if is_whole(raw) {
            return Ok(raw.to_owned());
        }
        // A last event may lack its empty line; one that was cut off in the middle is no event.
        let _ = self.hear(b"\n\n", tell);
        self.listen.finish()
    }
}

/// The answer in `raw`, put together where it came as a stream: what was heard comes to the same when it
/// is read again from the journal.
pub(crate) fn put_together<'a>(wire: &dyn Wire, raw: &'a str) -> Result<Cow<'a, str>, Error> {
    if is_whole(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut hearing = Hearing::new(wire);
    hearing.hear(raw.as_bytes(), &mut |_| ())?;
    hearing.finish(raw, &mut |_| ()).map(Cow::Owned)
}

fn is_whole(raw: &str) -> bool {
    raw.trim_start().starts_with('{')
}

/// Appends what came, within the limit.
pub(crate) fn take(bytes: &mut Vec<u8>, piece: &[u8]) -> Result<(), Error> {
    if bytes.len().saturating_add(piece.len()) > BODY_MAX_BYTES {
        return Err(Error::TooLarge(format!("an answer of more than {BODY_MAX_BYTES} bytes")));
    }
    bytes.extend_from_slice(piece);
    Ok(())
}

pub(crate) fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::garbage("it is not UTF-8"))
}

/// For fuzzing alone: what a client makes of bytes, without a connection.
#[doc(hidden)]
pub mod fuzzing {
    use std::sync::Arc;

    use kernel::conversation::{Reply, Thread};

    use super::{Hearing, Received, text};
    use crate::{attached::Contents, buffer::Buffer, error::Error, provider::Provider, wire};

    /// The bytes are an answer's body.
    ///
    /// # Errors
    /// What a client would say.
    pub fn read(provider: &Provider, body: &[u8]) -> Result<Reply, Error> {
        let received = Received::read(provider.api, text(body.to_vec())?)?;
        Ok(received.into_reply(provider))
    }

    /// The bytes are a stream that comes in pieces of `length` bytes.
    ///
    /// # Errors
    /// What a client would say.
    pub fn hear(provider: &Provider, body: &[u8], length: usize) -> Result<Reply, Error> {
        let wire = wire::of(provider.api);
        let mut hearing = Hearing::new(wire);
        for piece in body.chunks(length.max(1)) {
            hearing.hear(piece, &mut |_| ())?;
        }
        let raw = text(body.to_vec())?;
        let answer = wire.read(&hearing.finish(&raw, &mut |_| ())?)?;
        Ok(Received { raw, answer }.into_reply(provider))
    }

    /// The request at the end of a conversation.
    ///
    /// # Errors
    /// What a client would say.
    pub fn request(provider: &Provider, thread: &Arc<Thread>) -> Result<Vec<u8>, Error> {
        let mut buffer = Buffer::default();
        buffer.follow(provider, thread, &Contents::default())?;
        Ok(buffer.frames(provider).concat())
    }
}
