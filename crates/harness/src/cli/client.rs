//! The way to the facade: in this process when nobody owns the store, else through the owner's socket.

use std::{path::PathBuf, sync::Arc};

use serde_json::Value;
use tokio::task::JoinHandle;
use tracing::debug;

use super::typed;
use crate::app::{
    App, Caller,
    config::{Config, Overrides},
    host::Lock,
    identity::TOKEN_NEEDED,
    ops,
    problem::{Kind, Problem},
    socket,
};
use crate::service::Elsewhere;

/// Who answers.
#[derive(Debug)]
pub enum Client {
    /// This process owns the store.
    Local {
        /// The facade.
        app: Arc<App>,
        /// Who calls.
        caller: Caller,
        /// What lets commands beside this one in, while it works.
        door: Option<Door>,
    },
    /// Another process does.
    Owner {
        /// The store's folder.
        store: PathBuf,
        /// Who calls, by name.
        person: String,
    },
    /// A server does, over the network.
    Server(Elsewhere),
}

/// The owner's socket for as long as a command runs: whoever works in another terminal meanwhile can look at its run,
/// decide and cancel.
#[derive(Debug)]
pub struct Door(JoinHandle<()>);

impl Door {
    /// None where it cannot be opened, such as in a folder whose path is too long for a socket: the command itself
    /// does not need it.
    fn open(app: &Arc<App>) -> Option<Self> {
        let listener = socket::bind(app).inspect_err(|problem| debug!(%problem, "no door")).ok()?;
        let app = Arc::clone(app);
        Some(Self(tokio::spawn(async move {
            if let Err(problem) = socket::answer_all(app, listener).await {
                debug!(%problem, "the door is closed");
            }
        })))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The variable that holds the token for `--server`: a secret is never an argument.
const TOKEN: &str = "HARNESS_TOKEN";

impl Client {
    /// Opens the store, or finds its owner.
    ///
    /// # Errors
    /// What is wrong with the configuration or the store.
    pub async fn open(overrides: &Overrides) -> Result<Self, Problem> {
        if let Some(url) = &overrides.server {
            let token = std::env::var(TOKEN).map_err(|_| {
                let detail = format!("{TOKEN} holds no token for {url}");
                Problem::new(Kind::NotSignedIn, "no-token", detail)
                    .next("make one there with `harness token create`, and set the variable")
            })?;
            return Ok(Self::Server(Elsewhere::new(url, token)?));
        }
        Self::of(load(overrides)?).await
    }

    /// As [`Client::open`], for a configuration at hand.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn of(config: Config) -> Result<Self, Problem> {
        let person = config.me.clone();
        // A name that nobody declared is an error on either way.
        let caller = Caller::person(&config, &person)?;
        match Lock::take(&config.store)? {
            Some(lock) => {
                let app = App::open(config, lock).await?;
                let door = Door::open(&app);
                Ok(Self::Local { app, caller, door })
            }
            None => Ok(Self::Owner { store: config.store, person }),
        }
    }

    /// Calls one operation of the facade. Where that needs a token of whoever calls and they are at a
    /// terminal, they are asked for it, and it is called again.
    ///
    /// # Errors
    /// What it refused.
    pub async fn call(&self, op: &str, body: Value) -> Result<Value, Problem> {
        let refused = match self.call_with(None, op, body.clone()).await {
            Err(problem) if &*problem.code == TOKEN_NEEDED => problem,
            answered => return answered,
        };
        match typed::token() {
            Some(token) => self.call_with(Some(token), op, body).await,
            None => Err(refused),
        }
    }

    async fn call_with(
        &self,
        token: Option<String>,
        op: &str,
        body: Value,
    ) -> Result<Value, Problem> {
        match (self, token) {
            (Self::Local { app, caller, .. }, None) => ops::call(app, caller, op, body).await,
            (Self::Local { app, .. }, Some(token)) => {
                let caller = app.typed(&app.config().me, &token).await?;
                ops::call(app, &caller, op, body).await
            }
            (Self::Owner { store, person }, token) => {
                socket::ask(store, (person, token), op, body).await
            }
            (Self::Server(elsewhere), _) => elsewhere.call(op, body).await,
        }
    }

    /// Whether a command must wait for its run, because nobody else would drive it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local { .. })
    }

    /// Lets calls in flight end and closes the store, when it is ours.
    ///
    /// # Errors
    /// When the store cannot be closed.
    pub async fn close(self) -> Result<(), Problem> {
        match self {
            Self::Local { app, door, .. } => {
                drop(door);
                app.shut_down().await
            }
            Self::Owner { .. } | Self::Server(_) => Ok(()),
        }
    }
}

/// The configuration in force here.
///
/// # Errors
/// As [`Config::load`].
pub fn load(overrides: &Overrides) -> Result<Config, Problem> {
    let working = std::env::current_dir().map_err(|e| {
        Problem::usage("no-working-folder", format!("the working folder is gone: {e}"))
            .next("change to a folder that is there")
    })?;
    Config::load(overrides, &working)
}

/// As [`load`], for what works on the files of this machine alone; `why` is told to whoever asks a server.
///
/// # Errors
/// As [`load`], and where a server is named.
pub fn load_here(overrides: &Overrides, why: &str) -> Result<Config, Problem> {
    if overrides.server.is_some() {
        return Err(
            Problem::usage("not-over-the-network", why).next("run this there, without --server")
        );
    }
    load(overrides)
}
