//! The listener: as many connections as may be, none that dawdles, and a graceful end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tower::Service as _;
use tracing::{debug, warn};

use super::{Web, patience::Patience};

/// Connections open at a time, listeners to events included.
const CONNECTIONS_MAX: usize = 4_096;

/// How long a connection may take to send the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may take nothing of what is written to it.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// How long answers that were begun may take once the end was told.
const END_WITHIN: Duration = Duration::from_secs(20);

/// Serves until the end is told; then what was begun is answered.
pub(crate) async fn serve(web: Arc<Web>, listener: TcpListener, router: Router) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut ends: watch::Receiver<bool> = web.ends.clone();
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most often: the next may work.
                    warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = ended(&mut ends) => break,
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            web.metrics.note_refused();
            continue;
        };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(address));
            router.clone().call(request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_headers(64)
            .serve_connection(TokioIo::new(Patience::new(stream, TAKEN_WITHIN)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(END_WITHIN, graceful.shutdown()).await.is_err() {
        warn!("some answers were not finished in time");
    }
}

/// Returns once the end was told.
async fn ended(ends: &mut watch::Receiver<bool>) {
    // A sender that is gone has nothing more to tell: that is an end, too.
    let _ = ends.wait_for(|ended| *ended).await;
}
