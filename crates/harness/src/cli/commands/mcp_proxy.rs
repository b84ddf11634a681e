//! `harness mcp proxy`

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args as ClapArgs;

use super::{
    Outcome, duration_ms,
    mcp::{Wish, speak},
    mcp_learn,
};
use crate::{
    app::{
        config::{Config, mcp::ProxyMode},
        problem::Problem,
        servers::first::{self, First},
    },
    cli::{Context, client, screen::write_err},
};

/// `harness mcp proxy`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A program and its arguments after `--`: the first time, a project of its own is made for it, in which nothing of it
    /// is classified yet
    #[arg(value_name = "PROGRAM", last = true, conflicts_with = "servers")]
    program: Vec<String>,
    /// The same for a server at an address
    #[arg(long, value_name = "URL", conflicts_with_all = ["program", "servers"])]
    url: Option<String>,
    /// Connectors that are passed on; may be given several times. Otherwise those of `mcp.proxy`, else all
    #[arg(long = "only", value_name = "NAME")]
    servers: Vec<String>,
    /// observe, warn or enforce; otherwise `mcp.proxy_mode`
    #[arg(long, value_name = "MODE")]
    mode: Option<ProxyMode>,
    /// Let every call pass, as `--mode observe` does, and when it ends write what clients did meanwhile as drafts into this
    /// folder: learned.cedar, a policy, and learned.yaml, what is still to be said about each tool [default: `learned` beside
    /// harness.toml]. As `harness mcp learn`, which looks back whenever it is asked
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, conflicts_with = "mode")]
    learn: Option<Option<PathBuf>>,
    /// Serve over HTTP at this address instead, such as 127.0.0.1:7411: at /mcp, with bearer tokens
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "", conflicts_with = "listen")]
    http: Option<String>,
    /// Serve pages at this address beside, such as 127.0.0.1:7411: a client that can is sent there to decide
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "")]
    listen: Option<String>,
    /// How long a call that waits for a person is held; otherwise `mcp.hold_ms`
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    hold: Option<u64>,
    /// With a program or an address: the connector's name; otherwise made from it
    #[arg(long)]
    name: Option<String>,
    /// With a program: what it may read beside what it is installed in; may be given several times
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// With a program: what it may write; may be given several times
    #[arg(long, value_name = "PATH")]
    write: Vec<PathBuf>,
    /// With a program or an address: the folder of its project; otherwise one of the user's data folder
    #[arg(long, value_name = "FOLDER")]
    project: Option<PathBuf>,
}

impl Args {
    /// What the command comes to.
    ///
    /// # Errors
    /// None.
    pub(super) fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let context = context.clone();
        Ok(Outcome::Async(Box::pin(self.run(context))))
    }

    async fn run(self, mut context: Context) -> Result<u8, Problem> {
        let Self { http, listen, hold, learn, .. } = self;
        let mode = if learn.is_some() { Some(ProxyMode::Observe) } else { self.mode };
        let mut wish = Wish { http, listen, hold, mode, ..Wish::default() };
        let server = match self.url {
            Some(url) => vec![url],
            None => self.program,
        };
        if server.is_empty() {
            wish.proxy = Some(self.servers);
            return learning(learn, wish, context).await;
        }
        let (name, read, write) = (self.name, self.read, self.write);
        // Whoever has no configuration yet has no packs that anything could be taken for.
        let own = Config::load(&context.overrides, Path::new("."));
        let known = own.map(|config| config.packs).unwrap_or_default();
        let wanted = First { name, server, read, write, folder: self.project, mode, known };
        let found = first::project(&wanted).await?;
        if !context.quiet {
            for line in &found.told {
                write_err(line);
            }
        }
        // It stands in the project now, and holds for whoever comes second, too.
        wish.mode = None;
        wish.proxy = Some(Vec::new());
        context.overrides.config = Some(found.config);
        learning(learn, wish, context).await
    }
}

/// Speaks, and says afterwards what was learned, where that is wanted.
async fn learning(
    folder: Option<Option<PathBuf>>,
    wish: Wish,
    context: Context,
) -> Result<u8, Problem> {
    let folder = match folder {
        None => return speak(wish, context).await,
        Some(Some(folder)) => folder,
        Some(None) => beside(&context)?,
    };
    mcp_learn::check_free(&folder)?;
    let began = Instant::now();
    let ended = speak(wish, context.clone()).await;
    // A client that hung up in the middle of a word did something before.
    if ended.as_ref().is_err_and(|problem| &*problem.code != "not-mcp") {
        return ended;
    }
    let back_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    mcp_learn::draft(&context, back_ms.saturating_add(1), &folder).await?;
    ended
}

/// The folder of drafts beside the configuration.
fn beside(context: &Context) -> Result<PathBuf, Problem> {
    let config =
        client::load_here(&context.overrides, "what clients do is learned at the store itself")?;
    let file = config.file.map(PathBuf::from);
    let folder = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(folder.join("learned"))
}
