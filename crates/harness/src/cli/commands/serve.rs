//! `harness serve`

use std::sync::Arc;

use clap::Args as ClapArgs;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    app::{
        App,
        config::parse_listen,
        host::Lock,
        problem::{Kind, Problem},
        socket,
    },
    cli::{Context, client, screen::write_err},
    service::Service,
};

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
    let listens = args.listen.is_some();
    if let Some(address) = args.listen.filter(|address| !address.is_empty()) {
        config.serve.listen = parse_listen(&address)?;
    }
    let store = config.store.display().to_string();
    let Some(lock) = Lock::take(&config.store)? else {
        return Err(Problem::new(
            Kind::TryAgain,
            "store-owned",
            format!("another process owns {store}"),
        )
        .next("stop it first, or use its socket: every other command does"));
    };
    let app = App::open(config, lock).await?;
    let mut ends = Ends::new()?;
    // Bound before anything is announced: whoever reads the line can connect.
    let listener = socket::bind(&app)?;
    let listening = tokio::spawn(socket::answer_all(Arc::clone(&app), listener));
    let (end, ending) = watch::channel(false);
    let service = if listens { Some(Service::open(Arc::clone(&app), ending).await?) } else { None };
    let serving = tokio::spawn(Arc::clone(&app).serve());
    if !context.quiet {
        let at = service.as_ref().map(|s| format!(" at {}", s.url())).unwrap_or_default();
        write_err(&format!("serving {store}{at}; end with SIGTERM or Ctrl-C"));
    }
    let answering = service.map(|service| tokio::spawn(service.answer_all()));
    let ended = tokio::select! {
        () = ends.wait() => Ok(0),
        stopped = listening => Err(match stopped {
            Ok(Err(problem)) => problem,
            _ => Problem::new(Kind::Unexpected, "socket", "the socket stopped answering"),
        }),
    };
    // While the service still answers.
    app.part_from_workers().await;
    end.send_replace(true);
    if let Some(answering) = answering {
        // What was begun is answered while the store still takes it.
        drop(answering.await);
    }
    app.shut_down().await?;
    serving.abort();
    ended
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
