//! A world's life: started from a configuration, reachable, shut down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock;
use crate::config::{Error, MAX_ACCOUNTS, MIN_ACCOUNTS, Tokens, WorldConfig};
use crate::db::Db;
use crate::fault::Faults;
use crate::route::{self, HTTP_SYSTEMS, MAIL_OPERATION};
use crate::serve::{self, Shared};
use crate::smtp;
use crate::wire::{Door, Peer};

/// How long open connections may finish at shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// A running world. Dropping it ends it at once; [`World::shutdown`] lets answers finish.
#[derive(Debug)]
pub struct World {
    http_addr: SocketAddr,
    smtp_addr: SocketAddr,
    tokens: Tokens,
    closing: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl World {
    /// Opens or grows the database and begins to listen.
    ///
    /// # Errors
    /// When the configuration is out of bounds, the database belongs to another world, or a
    /// listener cannot be bound.
    pub async fn start(config: WorldConfig) -> Result<Self, Error> {
        check(&config)?;
        let faults = Faults::default();
        for fault in &config.faults {
            faults.add(fault.clone())?;
        }
        let db = open(config.db, config.seed, config.accounts).await?;
        let http = bind(config.listen).await?;
        let mail = bind(config.smtp_listen).await?;
        let (http_addr, smtp_addr) = (address(&http)?, address(&mail)?);
        let tokens = config.tokens.unwrap_or_else(|| Tokens::from_seed(config.seed));
        let (closing, closed) = watch::channel(false);
        let shared = Arc::new(Shared {
            db,
            faults,
            about: describe((config.seed, config.accounts), smtp_addr, &tokens),
            tokens: tokens.clone(),
            as_of: config.as_of,
            closing: closed.clone(),
        });
        let tasks = vec![
            tokio::spawn(serve_http(http, Arc::clone(&shared), closed)),
            tokio::spawn(smtp::serve(mail, shared)),
        ];
        Ok(Self { http_addr, smtp_addr, tokens, closing, tasks })
    }

    /// Where the HTTP systems are, `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.http_addr)
    }

    /// Where the HTTP systems listen.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where the mail sink listens.
    #[must_use]
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp_addr
    }

    /// The tokens the systems accept.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Stops listening, wakes what hangs, and lets open answers finish for two seconds.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        for mut task in std::mem::take(&mut self.tasks) {
            if tokio::time::timeout(GRACE, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn check(config: &WorldConfig) -> Result<(), Error> {
    if !(MIN_ACCOUNTS..=MAX_ACCOUNTS).contains(&config.accounts) {
        return Err(Error::Accounts(config.accounts));
    }
    for address in [config.listen, config.smtp_listen] {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
    }
    Ok(())
}

async fn open(path: Option<PathBuf>, seed: u64, accounts: u32) -> Result<Db, Error> {
    let opening = tokio::task::spawn_blocking(move || Db::open(path.as_deref(), seed, accounts));
    opening.await.unwrap_or(Err(Error::Closing))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Error::Io { place: "binding a listener", source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener
        .local_addr()
        .map_err(|source| Error::Io { place: "reading a listener's address", source })
}

fn describe((seed, accounts): (u64, u32), smtp: SocketAddr, tokens: &Tokens) -> Value {
    let systems = HTTP_SYSTEMS.into_iter().flat_map(|system| route::table(system));
    let mut operations: Vec<&str> = systems.map(|route| route.operation).collect();
    operations.push(MAIL_OPERATION);
    json!({
        "seed": seed,
        "accounts": accounts,
        "today": clock::date(clock::TODAY_DAYS),
        "smtp": smtp.to_string(),
        "tokens": tokens,
        "operations": operations,
    })
}

async fn serve_http(listener: TcpListener, shared: Arc<Shared>, mut closed: watch::Receiver<bool>) {
    let router = Router::new().fallback(serve::answer).with_state(shared);
    let service = router.into_make_service_with_connect_info::<Peer>();
    let stop = async move {
        // An error means that the world itself is gone, which is a reason to stop, too.
        let _ = closed.wait_for(|closed| *closed).await;
    };
    // `serve` ends without an error: accepting never gives up (see `Door`).
    let _ = axum::serve(Door::new(listener), service).with_graceful_shutdown(stop).await;
}
