//! The lines of an agent, with an end to how long and how many they are.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{Sink, Stream, sink, stream};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::{ALL_MAX_BYTES, Error, LINE_MAX_BYTES, LINES_MAX};

/// Why the lines ended, where they did not end by themselves.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<Error>>);

impl Trouble {
    fn is(&self, error: Error) -> io::Error {
        let told = io::Error::other(error.to_string());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        told
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Reading<R> {
    from: BufReader<R>,
    bytes: usize,
    lines: usize,
    trouble: Arc<Trouble>,
}

/// What an agent writes, line by line, until it has written too much.
pub(super) fn incoming<R>(
    from: R,
    trouble: Arc<Trouble>,
) -> impl Stream<Item = io::Result<String>> + Send + 'static
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let reading = Reading { from: BufReader::new(from), bytes: 0, lines: 0, trouble };
    Box::pin(stream::unfold(Some(reading), async |reading| {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(line)) => {
                // Whoever reads them takes each before the next is read: what is not read yet stays with the agent.
                tokio::task::yield_now().await;
                Some((Ok(line), Some(reading)))
            }
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl<R: AsyncRead + Unpin> Reading<R> {
    async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            self.lines += 1;
            if self.lines > LINES_MAX {
                let error = Error::TooMuch { what: "lines", most: LINES_MAX };
                return Err(self.trouble.is(error));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return match String::from_utf8(line) {
                Ok(line) => Ok(Some(line)),
                Err(_) => Err(self.trouble.is(Error::NoText)),
            };
        }
    }

    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let there = self.from.fill_buf().await?;
            if there.is_empty() {
                // Half of a line is none.
                return Ok(None);
            }
            let ends = there.iter().position(|byte| *byte == b'\n');
            let taken = ends.map_or(there.len(), |at| at + 1);
            let part = there.get(..ends.unwrap_or(taken)).unwrap_or_default();
            self.bytes += taken;
            let too_much = match () {
                () if line.len() + part.len() > LINE_MAX_BYTES => {
                    Some(("bytes in one line", LINE_MAX_BYTES))
                }
                () if self.bytes > ALL_MAX_BYTES => Some(("bytes", ALL_MAX_BYTES)),
                () => None,
            };
            if let Some((what, most)) = too_much {
                return Err(self.trouble.is(Error::TooMuch { what, most }));
            }
            line.extend_from_slice(part);
            self.from.consume(taken);
            if ends.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

/// What is written to an agent, line by line. One that does not read any more may have said all it has to say: what it said
/// is read nevertheless, and how its lines end says how it ended.
pub(super) fn outgoing<W>(to: W) -> impl Sink<String, Error = io::Error> + Send + 'static
where
    W: AsyncWrite + Send + Unpin + 'static,
{
    Box::pin(sink::unfold(Some(to), async |to: Option<W>, line: String| {
        let Some(mut to) = to else { return Ok(None) };
        let mut bytes = line.into_bytes();
        bytes.push(b'\n');
        let written = async {
            to.write_all(&bytes).await?;
            to.flush().await
        };
        let is_read = written.await.is_ok();
        Ok(is_read.then_some(to))
    }))
}
