//! `harness mcp`

use std::{io::Read as _, sync::Arc};

use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::{RwLock, watch},
};

use super::{
    Outcome, duration_ms, mcp_client, mcp_install, mcp_learn, mcp_proxy,
    serve::{self, Ends, Listens, Owning},
};
use crate::{
    app::{
        App, Caller,
        config::{
            Config,
            mcp::{Face, ProxyMode, Servers, picks},
            parse_listen,
        },
        host::Lock,
        ops,
        problem::{Kind, Problem},
        speak::{Ask, Behalf, Speaker, Task, about, over_lines},
    },
    cli::{
        Context,
        client::{self, Client},
        screen::{write_err, write_out},
    },
};

/// The variable that holds the token of whoever calls: a secret is never an argument.
const TOKEN: &str = "HARNESS_TOKEN";

/// Bytes between standard input and what reads it.
const PIPE_BYTES: usize = 64 * 1024;

/// How long what was answered may take to be written at the end.
const OUT_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve over standard input and output, or over HTTP
    Serve(Box<Serve>),
    /// Stand in front of servers of MCP: their own tools, and every call of one judged, recorded and receipted
    Proxy(Box<mcp_proxy::Args>),
    /// Draft a policy from what clients of the proxy did
    Learn(mcp_learn::Args),
    /// Lead a client of MCP to the proxy: shows what would be different in its configuration, and writes it with --yes
    Install(mcp_install::Args),
    #[command(flatten)]
    Servers(mcp_client::Verb),
}

/// `harness mcp serve`.
#[derive(Debug, ClapArgs)]
pub struct Serve {
    /// Serve over HTTP at this address instead, such as 127.0.0.1:7411: at /mcp, with bearer tokens
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "", conflicts_with = "listen")]
    http: Option<String>,
    /// Serve pages at this address beside, such as 127.0.0.1:7411: a client that can is sent there to decide
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "")]
    listen: Option<String>,
    /// Offer these operations too, such as crm.get_account or crm.*; otherwise those of `mcp.operations`
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    operations: Vec<String>,
    /// How long a call that waits for a person is held; otherwise `mcp.hold_ms`
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    hold: Option<u64>,
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// As [`mcp_client::Verb::outcome`].
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let args = match self {
            Self::Serve(args) => args,
            Self::Proxy(args) => return args.outcome(context),
            Self::Learn(args) => return Ok(args.outcome(context)),
            Self::Install(args) => return args.outcome(context),
            Self::Servers(verb) => return verb.outcome(context),
        };
        let context = context.clone();
        Ok(Outcome::Async(Box::pin(speak(args.wish(), context))))
    }
}

/// What is to be served, and how.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Over HTTP, at this address; an empty one is the configuration's.
    pub(super) http: Option<String>,
    /// Pages beside, at this address; an empty one is the configuration's.
    pub(super) listen: Option<String>,
    /// Operations that are offered too.
    pub(super) operations: Vec<String>,
    /// How long a call is held.
    pub(super) hold: Option<u64>,
    /// Which servers are passed on, where it is they that are spoken for; none = what the configuration says, or all.
    pub(super) proxy: Option<Vec<String>>,
    /// What is done with what policy thinks of a call.
    pub(super) mode: Option<ProxyMode>,
}

/// Serves.
pub(super) async fn speak(wish: Wish, context: Context) -> Result<u8, Problem> {
    match wish.http.clone() {
        Some(address) => over_http(wish, address, context).await,
        None => over_stdio(wish, context).await,
    }
}

impl Serve {
    fn wish(self) -> Wish {
        let Self { http, listen, operations, hold } = self;
        Wish { http, listen, operations, hold, ..Wish::default() }
    }
}

impl Wish {
    fn configure(&self, config: &mut Config) -> Result<(), Problem> {
        if let Some(address) = self.listen.as_ref().filter(|address| !address.is_empty()) {
            config.serve.listen = parse_listen(address)?;
        }
        if !self.operations.is_empty() {
            config.mcp.operations = picks(&self.operations)?;
        }
        if let Some(hold_ms) = self.hold {
            config.mcp.hold_ms = hold_ms.min(crate::app::config::mcp::HOLD_MAX_MS);
        }
        if let Some(servers) = &self.proxy {
            config.mcp.face = Face::Proxy;
            let said = Servers::of(servers).or(config.mcp.proxy.take());
            config.mcp.proxy = Some(said.unwrap_or(Servers::All));
        }
        if let Some(mode) = self.mode {
            config.mcp.proxy_mode = mode;
        }
        Ok(())
    }

    /// Whether it says what only the owner of a store can say.
    fn is_owners(&self) -> bool {
        !self.operations.is_empty() || self.mode.is_some()
    }

    /// Whose tools are spoken for. A connection is a session of its own: nobody else can name it.
    fn behalf(&self) -> Behalf {
        match &self.proxy {
            None => Behalf::Own,
            Some(servers) => Behalf::Proxy {
                servers: servers.clone(),
                session: uuid::Uuid::now_v7().to_string(),
            },
        }
    }
}

async fn over_http(args: Wish, address: String, context: Context) -> Result<u8, Problem> {
    let mut config = client::load_here(&context.overrides, "MCP is served from the store itself")?;
    args.configure(&mut config)?;
    if !address.is_empty() {
        config.serve.listen = parse_listen(&address)?;
    }
    serve::own(config, Listens::Yes, &context).await
}

async fn over_stdio(args: Wish, context: Context) -> Result<u8, Problem> {
    let mut ends = Ends::new()?;
    let (seat, hold_ms) = Seat::take(&args, &context).await?;
    let seat = Arc::new(seat);
    if !context.quiet {
        write_err("serving MCP on standard input and output; it ends with its client");
    }
    let behalf = args.behalf();
    let about = about(&behalf);
    let speaker = Arc::new(Speaker::new(Arc::clone(&seat), hold_ms).on_behalf(behalf));
    let (output, written) = output();
    let answered = tokio::select! {
        () = ends.wait() => Ok(0),
        ended = over_lines(about, speaker, (input()?, output)) => match ended {
            Ok(()) => Ok(0),
            Err(error) => Err(Problem::usage("not-mcp", error.to_string())
                .next("this command is started by a client of MCP; `--http` serves several")),
        },
    };
    // What was answered is out before the store is closed.
    drop(tokio::time::timeout(OUT_WITHIN, written).await);
    seat.leave().await?;
    answered
}

/// Standard input, read by a thread that nobody waits for: a read that never returns holds up no end.
fn input() -> Result<DuplexStream, Problem> {
    let (mut to, from) = tokio::io::duplex(PIPE_BYTES);
    let runtime = tokio::runtime::Handle::current();
    let read = move || {
        let mut bytes = vec![0; PIPE_BYTES];
        let mut stdin = std::io::stdin().lock();
        while let Ok(count) = stdin.read(&mut bytes) {
            let piece = bytes.get(..count).unwrap_or_default();
            if piece.is_empty() || runtime.block_on(to.write_all(piece)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read).map(drop).map_err(
        |error| {
            Problem::new(Kind::Unexpected, "runtime", format!("cannot start a thread: {error}"))
        },
    )?;
    Ok(from)
}

/// Standard output, written by a task that ends with what writes to it.
fn output() -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (to, mut from) = tokio::io::duplex(PIPE_BYTES);
    let written = tokio::spawn(async move {
        let mut bytes = vec![0; PIPE_BYTES];
        while let Ok(count) = from.read(&mut bytes).await {
            let piece = bytes.get(..count).unwrap_or_default();
            if piece.is_empty() || write_out(piece).is_err() {
                return;
            }
        }
    });
    (to, written)
}

/// A place at the store: its owner, or next to one. Whoever is next to an owner that ends becomes it.
#[derive(Debug)]
struct Seat {
    /// What the store is opened with; none where a server is asked.
    config: Option<Config>,
    listens: Listens,
    token: Option<String>,
    /// Locked for as long as it takes to look, never while something is asked: whoever waits keeps nobody else waiting.
    held: RwLock<Option<Held>>,
    /// Read by whoever asks, for as long as that takes; its writer is the end.
    asking: RwLock<()>,
    /// Whether it is about to be left.
    leaving: watch::Sender<bool>,
}

#[derive(Debug)]
enum Held {
    Own(Owning),
    Beside(Arc<Client>),
}

/// Who answers.
enum Whom {
    Own(Arc<App>),
    Beside(Arc<Client>),
}

impl Seat {
    async fn take(args: &Wish, context: &Context) -> Result<(Self, u64), Problem> {
        let listens = if args.listen.is_some() { Listens::Yes } else { Listens::No };
        if context.overrides.server.is_some() {
            if args.is_owners() || args.listen.is_some() {
                return Err(elsewhere("the server's"));
            }
            let client = Client::open(&context.overrides).await?;
            let seat = Self::of(None, listens);
            *seat.held.write().await = Some(Held::Beside(Arc::new(client)));
            return Ok((seat, args.hold.unwrap_or(crate::app::config::mcp::HOLD_MS)));
        }
        let mut config = client::load(&context.overrides)?;
        args.configure(&mut config)?;
        let hold_ms = config.mcp.hold_ms;
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        let seat = Self { token, ..Self::of(Some(config.clone()), listens) };
        if !args.is_owners() && seat.token.is_none() {
            seat.move_up().await?;
            return Ok((seat, hold_ms));
        }
        // Only an owner can do that, and a command that passes by is waited for.
        match Lock::take_in_turn(&config.store).await? {
            Some(lock) => seat.own(config, lock).await?,
            None if !args.is_owners() => return Err(token_beside()),
            None => return Err(elsewhere("the owner's")),
        }
        Ok((seat, hold_ms))
    }

    fn of(config: Option<Config>, listens: Listens) -> Self {
        let (held, asking) = (RwLock::default(), RwLock::default());
        Self { config, listens, token: None, held, asking, leaving: watch::Sender::default() }
    }

    async fn own(&self, config: Config, lock: Lock) -> Result<(), Problem> {
        let mut held = self.held.write().await;
        *held = Some(Held::Own(Owning::begin(config, lock, self.listens).await?));
        Ok(())
    }

    /// Becomes the owner where there is none, else sits beside it.
    async fn move_up(&self) -> Result<(), Problem> {
        let sits = match &*self.held.read().await {
            Some(Held::Own(_)) => return Ok(()),
            held => held.is_some(),
        };
        let Some(config) = &self.config else { return Ok(()) };
        match Lock::take(&config.store)? {
            Some(lock) => self.own(config.clone(), lock).await,
            None if sits => Ok(()),
            None if self.token.is_some() => Err(token_beside()),
            None => {
                let client = Client::of(config.clone()).await?;
                *self.held.write().await = Some(Held::Beside(Arc::new(client)));
                Ok(())
            }
        }
    }

    /// Whoever calls, looked at again for each call: a token may be revoked meanwhile.
    async fn caller(&self, app: &App) -> Result<Caller, Problem> {
        match &self.token {
            Some(token) => Ok(app.bearer(token).await?.caller),
            None => Caller::person(app.config(), &app.config().me),
        }
    }

    async fn answer(&self, op: &'static str, body: Value) -> Result<Value, Problem> {
        self.move_up().await?;
        let whom = match &*self.held.read().await {
            Some(Held::Own(owning)) => Whom::Own(Arc::clone(&owning.app)),
            Some(Held::Beside(client)) => Whom::Beside(Arc::clone(client)),
            None => return Err(about_to_end()),
        };
        match whom {
            Whom::Own(app) => ops::call(&app, &self.caller(&app).await?, op, body).await,
            Whom::Beside(client) => client.call(op, body).await,
        }
    }

    /// Lets what was begun end, but for who merely waits: a client that has gone kills a server that does not go, too.
    async fn leave(&self) -> Result<(), Problem> {
        self.leaving.send_replace(true);
        let _all_have_ended = self.asking.write().await;
        match self.held.write().await.take() {
            Some(Held::Own(owning)) => owning.close().await,
            Some(Held::Beside(client)) => match Arc::into_inner(client) {
                Some(client) => client.close().await,
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl Ask for Arc<Seat> {
    fn ask(&self, op: &'static str, body: Value) -> Task<'_, Result<Value, Problem>> {
        let waits = body.get("wait_ms").is_some();
        let mut leaving = self.leaving.subscribe();
        Box::pin(async move {
            let _asking = self.asking.read().await;
            if *self.leaving.borrow() {
                return Err(about_to_end());
            }
            tokio::select! {
                _ = leaving.wait_for(|is_leaving| waits && *is_leaving) => Err(about_to_end()),
                answer = self.answer(op, body) => answer,
            }
        })
    }
}

fn about_to_end() -> Problem {
    Problem::new(Kind::TryAgain, "shutting-down", "the process is about to end")
}

fn token_beside() -> Problem {
    let detail = format!("{TOKEN} is set, and another process owns the store");
    Problem::usage("token-beside-owner", detail)
        .next("ask that process with --server, or unset the variable to be `me`")
}

fn elsewhere(whose: &str) -> Problem {
    let detail = format!("what is offered, and how, is {whose} to say");
    Problem::usage("offered-elsewhere", detail)
        .next("say it under [mcp] there: `operations`, `proxy`, `proxy_mode`")
}
