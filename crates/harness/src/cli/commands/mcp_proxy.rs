//! `harness mcp proxy`

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{
    Outcome, duration_ms,
    mcp::{Wish, speak},
};
use crate::{
    app::{
        config::mcp::ProxyMode,
        problem::Problem,
        servers::first::{self, First},
    },
    cli::{Context, screen::write_err},
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
        let Self { http, listen, hold, mode, .. } = self;
        let mut wish = Wish { http, listen, hold, mode, ..Wish::default() };
        let server = match self.url {
            Some(url) => vec![url],
            None => self.program,
        };
        if server.is_empty() {
            wish.proxy = Some(self.servers);
            return speak(wish, context).await;
        }
        let (name, read, write) = (self.name, self.read, self.write);
        let wanted = First { name, server, read, write, folder: self.project, mode };
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
        speak(wish, context).await
    }
}
