//! `harness serve`

use std::sync::Arc;

use clap::Args as ClapArgs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tracing::debug;

use crate::{
    app::{
        App,
        config::{Config, parse_listen},
        host::Lock,
        problem::{Kind, Problem},
        socket, tools,
    },
    cli::{Context, client, screen::write_err},
    service::Service,
};

/// Most files that an owner opens at a time: far more than all its clients, databases and servers take.
const FILES_MAX: u64 = 65_536;

/// Options.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Serve API and UI at this address too, such as 127.0.0.1:7411
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "")]
    listen: Option<String>,
}

/// Owns the store until told to end, then lets calls in flight finish.
///
/// # Errors
/// When somebody else owns the store, or it cannot be opened.
pub(crate) async fn run(args: Args, context: Context) -> Result<u8, Problem> {
    let mut config = client::load(&context.overrides)?;
    let listens = if args.listen.is_some() { Listens::Yes } else { Listens::No };
    if let Some(address) = args.listen.filter(|address| !address.is_empty()) {
        config.serve.listen = parse_listen(&address)?;
    }
    own(config, listens, &context).await
}

/// Owns a store until told to end.
pub(crate) async fn own(
    config: Config,
    listens: Listens,
    context: &Context,
) -> Result<u8, Problem> {
    let store = config.store.display().to_string();
    let Some(lock) = Lock::take_in_turn(&config.store).await? else {
        return Err(Problem::new(
            Kind::TryAgain,
            "store-owned",
            format!("another process owns {store}"),
        )
        .next("stop it first, or use its socket: every other command does"));
    };
    let mut ends = Ends::new()?;
    let mut owning = Owning::begin(config, lock, listens).await?;
    if !context.quiet {
        let at = owning.url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
        write_err(&format!("serving {store}{at}; end with SIGTERM or Ctrl-C"));
    }
    let ended = tokio::select! {
        () = ends.wait() => Ok(0),
        problem = owning.failed() => Err(problem),
    };
    owning.close().await?;
    ended
}

/// Whether pages and the API are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listens {
    /// At the address of the configuration.
    Yes,
    /// Only the owner's socket is there.
    No,
}

/// A store that this process owns, answers for and drives.
#[derive(Debug)]
pub(crate) struct Owning {
    pub(crate) app: Arc<App>,
    /// Where pages are, when they are served.
    pub(crate) url: Option<String>,
    listening: JoinHandle<()>,
    serving: JoinHandle<()>,
    answering: Option<JoinHandle<()>>,
    end: watch::Sender<bool>,
}

impl Owning {
    /// Opens the store and begins to answer.
    pub(crate) async fn begin(
        config: Config,
        lock: Lock,
        listens: Listens,
    ) -> Result<Self, Problem> {
        let app = App::open(config, lock).await?;
        allow_many_files();
        tools::proxy::check(&app)?;
        // Bound before anything is announced: whoever reads the line can connect.
        let listener = socket::bind(&app)?;
        let listening = tokio::spawn(socket::answer_all(Arc::clone(&app), listener));
        let (end, ending) = watch::channel(false);
        let service = match listens {
            Listens::Yes => Some(Service::open(Arc::clone(&app), ending).await?),
            Listens::No => None,
        };
        let serving = tokio::spawn(Arc::clone(&app).serve());
        let url = service.as_ref().map(Service::url);
        let answering = service.map(|service| tokio::spawn(service.answer_all()));
        Ok(Self { app, url, listening, serving, answering, end })
    }

    /// Ends when the socket does, which it does not by itself.
    async fn failed(&mut self) -> Problem {
        let why = match (&mut self.listening).await {
            Ok(()) => "the socket stopped answering".to_owned(),
            Err(error) => format!("the socket stopped answering: {error}"),
        };
        Problem::new(Kind::Unexpected, "socket", why)
    }

    /// Lets what was begun end, and closes the store.
    pub(crate) async fn close(self) -> Result<(), Problem> {
        // While the service still answers.
        self.app.part_from_workers().await;
        self.end.send_replace(true);
        if let Some(answering) = self.answering {
            // What was begun is answered while the store still takes it.
            drop(answering.await);
        }
        self.app.shut_down().await?;
        self.serving.abort();
        self.listening.abort();
        Ok(())
    }
}

/// Every client is an open file, and the limit that shells and service managers set by default, 1,024, is for programs
/// that never ask for more. What runs in a sandbox has a limit of its own.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(FILES_MAX, |most| most.min(FILES_MAX));
    let more = limit.current.is_some_and(|now| now < most);
    if more && setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }).is_err() {
        debug!("the limit of open files stays where it is");
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct Ends {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Ends {
    pub(crate) fn new() -> Result<Self, Problem> {
        let listen = |kind| {
            signal(kind).map_err(|e| {
                Problem::new(Kind::Unexpected, "signals", format!("cannot listen for signals: {e}"))
            })
        };
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
