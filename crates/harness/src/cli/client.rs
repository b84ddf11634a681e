//! The way to the facade: in this process when nobody owns the store, else through the owner's socket.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::OnceCell, task::JoinHandle};
use tracing::debug;

use super::typed;
use crate::app::{
    App, Caller,
    config::{Config, Overrides},
    host::Lock,
    identity::TOKEN_NEEDED,
    ops,
    problem::{Kind, Problem},
    requests, socket,
};
use crate::service::Elsewhere;

/// Who answers.
#[derive(Debug)]
pub enum Client {
    /// This process owns the store.
    Local(Local),
    /// Another process does.
    Owner(Box<Beside>),
    /// A server does, over the network.
    Server(Elsewhere),
}

/// The store, opened in this process.
#[derive(Debug)]
pub struct Local {
    /// The facade.
    pub app: Arc<App>,
    /// Who calls.
    caller: Caller,
    /// What lets commands beside this one in, while it works.
    door: Door,
}

/// Next to another process that owns the store, until that one ends: then this one owns it.
#[derive(Debug)]
pub struct Beside {
    config: Config,
    since: OnceCell<Local>,
}

/// The owner's socket while a command works: whoever works in another terminal meanwhile can look at its run, decide and
/// cancel. A command that only passes by is waited for instead, so that nobody's work hangs on it.
#[derive(Debug)]
struct Door(JoinHandle<()>);

/// How long a command has worked when it lets others in.
const DOOR_AFTER: Duration = Duration::from_millis(500);

/// How often, and how many times, an owner is looked for that lets nobody in: about 5 s, more than it takes to begin.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS: u32 = 250;

impl Door {
    fn open(app: &Arc<App>) -> Self {
        let app = Arc::clone(app);
        Self(tokio::spawn(async move {
            tokio::time::sleep(DOOR_AFTER).await;
            // It cannot be opened in a folder whose path is too long for a socket: the command itself does not need it.
            match socket::bind(&app) {
                Ok(listener) => socket::answer_all(app, listener).await,
                Err(problem) => debug!(%problem, "no door"),
            }
        }))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Local {
    async fn open(config: Config, lock: Lock) -> Result<Self, Problem> {
        let caller = Caller::person(&config, &config.me)?;
        let app = App::open(config, lock).await?;
        let door = Door::open(&app);
        Ok(Self { app, caller, door })
    }

    async fn call(&self, token: Option<String>, op: &str, body: Value) -> Result<Value, Problem> {
        match token {
            None => ops::call(&self.app, &self.caller, op, body).await,
            Some(token) => {
                let caller = self.app.typed(&self.app.config().me, &token).await?;
                ops::call(&self.app, &caller, op, body).await
            }
        }
    }

    async fn close(self) -> Result<(), Problem> {
        drop(self.door);
        self.app.shut_down().await
    }
}

impl Beside {
    /// Asks the owner. Where it has ended, this process takes its place; what was asked is asked again only where nothing
    /// was heard of it, or where twice is the same as once.
    async fn call(
        &self,
        token: Option<String>,
        op: &str,
        mut body: Value,
    ) -> Result<Value, Problem> {
        let keyed = requests::takes_key(op);
        if let Some(fields) = body.as_object_mut().filter(|_| keyed) {
            let key = fields.entry("idempotency_key").or_insert(Value::Null);
            if key.is_null() {
                *key = Value::from(uuid::Uuid::now_v7().to_string());
            }
        }
        for _ in 0..LOOKS {
            if let Some(local) = self.since.get() {
                return local.call(token, op, body).await;
            }
            let whose = (self.config.me.as_str(), token.clone());
            let refused = match socket::ask(&self.config.store, whose, op, body.clone()).await {
                Err(problem) => problem,
                answer => return answer,
            };
            let again = match &*refused.code {
                socket::NOT_HEARD => true,
                socket::NOT_ANSWERED => keyed || GOES_ON.contains(&op),
                _ => false,
            };
            if !again {
                return Err(refused);
            }
            match Lock::take(&self.config.store)? {
                Some(lock) => {
                    let local = Local::open(self.config.clone(), lock).await?;
                    // Nobody else can have set it: there is one lock.
                    let _own = self.since.set(local);
                }
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        Err(unreachable(&self.config))
    }
}

/// Requests that wait for what goes on anyway: asked again they come to the same.
const GOES_ON: [&str; 3] = ["run.get", "run.list", "run.resume"];

fn unreachable(config: &Config) -> Problem {
    let detail = format!("another process owns {} and does not answer", config.store.display());
    Problem::new(Kind::TryAgain, "owner-unreachable", detail).next("wait for it to end, or end it")
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
    /// As [`Client::open`], and where the owner lets nobody in.
    pub async fn of(config: Config) -> Result<Self, Problem> {
        // A name that nobody declared is an error on either way.
        Caller::person(&config, &config.me)?;
        for _ in 0..LOOKS {
            if let Some(lock) = Lock::take(&config.store)? {
                return Ok(Self::Local(Local::open(config, lock).await?));
            }
            if socket::is_open(&config.store).await {
                return Ok(Self::Owner(Box::new(Beside { config, since: OnceCell::new() })));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(unreachable(&config))
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
        match self {
            Self::Local(local) => local.call(token, op, body).await,
            Self::Owner(beside) => beside.call(token, op, body).await,
            Self::Server(elsewhere) => elsewhere.call(op, body).await,
        }
    }

    /// Whether a command must wait for its run, because nobody else would drive it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Owner(beside) => beside.since.get().is_some(),
            Self::Server(_) => false,
        }
    }

    /// Lets calls in flight end and closes the store, when it is ours.
    ///
    /// # Errors
    /// When the store cannot be closed.
    pub async fn close(self) -> Result<(), Problem> {
        match self {
            Self::Local(local) => local.close().await,
            Self::Owner(beside) => match beside.since.into_inner() {
                Some(local) => local.close().await,
                None => Ok(()),
            },
            Self::Server(_) => Ok(()),
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
