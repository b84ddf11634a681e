//! A tunnel: bytes both ways, once TLS was begun with the host that the tunnel is for.

use std::{sync::Arc, time::Duration};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    body::Most,
    event::Trace,
    hello::{self, HELLO_BYTES_MAX, Hello},
    limits::{Limits, ms},
    refusal::Refusal,
};

/// How much is moved at a time, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// A tunnel that was allowed, before the connection is handed over.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) inside: OnUpgrade,
    pub(crate) outside: TcpStream,
    /// What the server name must be.
    pub(crate) name: String,
    pub(crate) trace: Arc<Trace>,
    pub(crate) most_out: Most,
    pub(crate) most_back: Most,
}

impl Tunnel {
    /// Carries bytes until one side ends or a limit is met. What went wrong stands in the trace.
    pub(crate) async fn run(self, limits: &Limits) {
        let trace = Arc::clone(&self.trace);
        let left = ms(limits.total_ms).saturating_sub(trace.age());
        match timeout(left, self.carry(limits)).await {
            Ok(Ok(())) => trace.end(),
            Ok(Err(refusal)) => trace.refuse(refusal),
            Err(_) => trace.refuse(Refusal::Timeout),
        }
    }

    async fn carry(self, limits: &Limits) -> Result<(), Refusal> {
        let mut inside = TokioIo::new(self.inside.await.map_err(|_| Refusal::Gone)?);
        let greeted = timeout(ms(limits.head_ms), read_hello(&mut inside)).await;
        let (name, first) = greeted.unwrap_or(Err(Refusal::Timeout))?;
        if !name.eq_ignore_ascii_case(&self.name) {
            return Err(Refusal::Sni);
        }
        let (mut from_outside, mut to_outside) = self.outside.into_split();
        let (mut from_inside, mut to_inside) = tokio::io::split(inside);
        let trace = self.trace.as_ref();
        let count_out = |bytes| trace.count_out(bytes, self.most_out.here, self.most_out.in_all);
        let count_back =
            |bytes| trace.count_back(bytes, self.most_back.here, self.most_back.in_all);
        count_out(first.len())?;
        to_outside.write_all(&first).await.map_err(|_| Refusal::Unreachable)?;
        let both = async {
            tokio::try_join!(
                pump(&mut from_inside, &mut to_outside, count_out),
                pump(&mut from_outside, &mut to_inside, count_back),
            )
        };
        tokio::select! {
            ended = both => ended.map(|_| ()),
            () = quiet(trace, ms(limits.idle_ms)) => Err(Refusal::Timeout),
        }
    }
}

/// Reads until it is known to whom TLS is begun.
async fn read_hello(inside: &mut TokioIo<Upgraded>) -> Result<(String, Vec<u8>), Refusal> {
    let mut first = Vec::new();
    let most = u64::try_from(HELLO_BYTES_MAX).unwrap_or(u64::MAX);
    let mut limited = inside.take(most);
    loop {
        let read = limited.read_buf(&mut first).await.map_err(|_| Refusal::Gone)?;
        match hello::read(&first) {
            Hello::For(name) => return Ok((name, first)),
            Hello::Wrong => return Err(Refusal::Sni),
            Hello::More if read == 0 => return Err(Refusal::Sni),
            Hello::More => {}
        }
    }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: impl Fn(usize) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut piece = vec![0; PIECE_BYTES];
    // A side that breaks off has ended; whoever is left is told by the end of the other direction.
    while let Ok(read) = from.read(&mut piece).await {
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        count(read)?;
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    Ok(())
}

/// Ends when no byte moved either way for at least `idle`, and at most twice that.
async fn quiet(trace: &Trace, idle: Duration) {
    let mut before = trace.moved();
    loop {
        sleep(idle).await;
        let now = trace.moved();
        if now == before {
            return;
        }
        before = now;
    }
}
