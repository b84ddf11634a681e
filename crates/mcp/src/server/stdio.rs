//! A server on a pair of streams, such as a program's standard input and output: one message a line.
//!
//! What cannot be read is answered, as JSON-RPC wants it. The library's own transport says nothing to it, so that two
//! programs cannot answer each other's noise for ever; here that ends with the connection.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rmcp::{
    RoleServer,
    model::{ErrorCode, ErrorData},
    service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage, serve_server},
    transport::Transport,
};
use serde_json::{Value, error::Category};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::{mpsc, oneshot, watch},
};

use super::{About, Desk, LINE_BYTES_MAX, wall::Wall};

/// Most lines of one connection that cannot be read: after that, whoever is there is no client.
const NOISE_MAX: usize = 100;

/// Most lines that wait to be written.
const WAITING_MAX: usize = 64;

/// Why a connection ended otherwise than by its client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection ended: {0}")]
pub struct Failed(String);

/// Answers one client until it goes.
///
/// # Errors
/// When what it says is not the protocol.
pub async fn serve<R, W>(
    about: About,
    desk: Arc<dyn Desk>,
    (read, write): (R, W),
) -> Result<(), Failed>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let lines = Lines::of(read, write);
    let (noise, ends) = (Arc::clone(&lines.noise), lines.over.subscribe());
    let too_much = || Failed(format!("{NOISE_MAX} lines came that cannot be read"));
    let running = match serve_server(Wall::of(about, desk, ends), lines).await {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_)) if is_noise(&noise) => {
            return Err(too_much());
        }
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(Failed(error.to_string())),
    };
    match running.waiting().await {
        Ok(_) if is_noise(&noise) => Err(too_much()),
        Ok(_) => Ok(()),
        Err(error) => Err(Failed(error.to_string())),
    }
}

fn is_noise(noise: &AtomicUsize) -> bool {
    noise.load(Ordering::Relaxed) >= NOISE_MAX
}

/// A line to be written, and who waits for that.
type Waiting = (Vec<u8>, Option<oneshot::Sender<io::Result<()>>>);

/// One message a line, in both directions.
struct Lines<R> {
    read: BufReader<R>,
    line: Vec<u8>,
    /// Whether the rest of a line that is too long still comes.
    flooded: bool,
    write: Option<mpsc::Sender<Waiting>>,
    noise: Arc<AtomicUsize>,
    /// Tells that nothing more comes. Whoever merely listens is let go of then: what was asked is still answered, and that is
    /// waited for.
    over: watch::Sender<bool>,
}

impl<R: AsyncRead + Send + Unpin + 'static> Lines<R> {
    fn of<W: AsyncWrite + Send + Unpin + 'static>(read: R, write: W) -> Self {
        let (to, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(written(write, waiting));
        Self {
            read: BufReader::new(read),
            line: Vec::new(),
            flooded: false,
            write: Some(to),
            noise: Arc::default(),
            over: watch::Sender::default(),
        }
    }

    /// Waits for the end of a line; nothing at the end of everything. Whoever stops waiting has lost nothing.
    async fn whole(&mut self) -> Option<Result<(), TooLong>> {
        loop {
            let some = self.read.fill_buf().await.ok().filter(|some| !some.is_empty())?;
            let end = some.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(some.len(), |end| end.saturating_add(1));
            let fits = self.line.len().saturating_add(taken) <= LINE_BYTES_MAX;
            if !fits {
                self.flooded = true;
                self.line.clear();
            }
            if !self.flooded {
                self.line.extend_from_slice(some.get(..taken).unwrap_or_default());
            }
            self.read.consume(taken);
            if end.is_some() {
                return Some(if std::mem::take(&mut self.flooded) { Err(TooLong) } else { Ok(()) });
            }
        }
    }

    /// Says that a line could not be read; whether one goes on.
    fn complain(&self, error: ErrorData) -> bool {
        let told = TxJsonRpcMessage::<RoleServer>::error(error, None);
        if let (Some(write), Ok(mut line)) = (&self.write, serde_json::to_vec(&told)) {
            line.push(b'\n');
            // Who does not read what is written is told no more.
            let _full = write.try_send((line, None));
        }
        self.noise.fetch_add(1, Ordering::Relaxed).saturating_add(1) < NOISE_MAX
    }
}

struct TooLong;

/// Writes what waits, one line after the other, until nobody sends any more.
async fn written<W: AsyncWrite + Unpin>(mut write: W, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some((line, told)) = waiting.recv().await {
        let done = async {
            write.write_all(&line).await?;
            write.flush().await
        };
        let done = done.await;
        let failed = done.is_err();
        if let Some(told) = told {
            // Who has gone does not wait for it.
            let _gone = told.send(done);
        }
        if failed {
            return;
        }
    }
    let _gone = write.shutdown().await;
}

/// What a line says; nothing where it is empty, or a word of another program that needs no answer.
fn read(line: &[u8]) -> Result<Option<RxJsonRpcMessage<RoleServer>>, ErrorData> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    if matches!(error.classify(), Category::Syntax | Category::Eof | Category::Io) {
        let text = "this line is no JSON: one message stands on one line";
        return Err(ErrorData::new(ErrorCode::PARSE_ERROR, text, None));
    }
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    if value.get("method").is_some() && value.get("id").is_none() {
        return Ok(None);
    }
    let text = "this line is JSON, and no message of JSON-RPC 2.0";
    Err(ErrorData::new(ErrorCode::INVALID_REQUEST, text, None))
}

impl<R: AsyncRead + Send + Unpin + 'static> Transport<RoleServer> for Lines<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let write = self.write.clone();
        async move {
            let closed = || io::Error::new(io::ErrorKind::NotConnected, "nobody reads any more");
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let (tell, told) = oneshot::channel();
            let write = write.ok_or_else(closed)?;
            write.send((line, Some(tell))).await.map_err(|_| closed())?;
            told.await.map_err(|_| closed())?
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        let message = self.next().await;
        if message.is_none() {
            self.over.send_replace(true);
        }
        message
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.write = None;
        Ok(())
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> Lines<R> {
    /// The next message; none at the end, or where nothing else comes than noise.
    async fn next(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let said = match self.whole().await? {
                Ok(()) => {
                    let said = read(&self.line);
                    self.line.clear();
                    said
                }
                Err(TooLong) => {
                    let text = format!("a line may have {LINE_BYTES_MAX} bytes");
                    Err(ErrorData::new(ErrorCode::INVALID_REQUEST, text, None))
                }
            };
            match said {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(error) if self.complain(error.clone()) => {}
                Err(_) => return None,
            }
        }
    }
}
