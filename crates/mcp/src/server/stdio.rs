//! A server on a pair of streams, such as a program's standard input and output.

use std::sync::Arc;

use rmcp::{
    RoleServer,
    service::{ServerInitializeError, serve_server},
    transport::async_rw::AsyncRwTransport,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{About, Desk, LINE_BYTES_MAX, wall::Wall};

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
    let line = AsyncRwTransport::<RoleServer, R, W>::new(read, write);
    let line = line.with_max_line_length(LINE_BYTES_MAX);
    let running = match serve_server(Wall::of(about, desk), line).await {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(Failed(error.to_string())),
    };
    match running.waiting().await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failed(error.to_string())),
    }
}
