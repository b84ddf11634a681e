//! `harness demo-world`

use std::{net::SocketAddr, path::PathBuf};

use clap::Args as ClapArgs;

use super::{serve::Ends, whole_number};
use crate::{
    app::{
        demo::{WorldOptions, run_world},
        problem::Problem,
    },
    cli::screen::write_out,
};

/// Options.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where the HTTP systems listen; loopback only
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the mail sink listens; loopback only
    #[arg(long, default_value = "127.0.0.1:0")]
    smtp_listen: SocketAddr,
    /// Keep the data in this file
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// What the data grow from
    #[arg(long, default_value_t = 42, value_parser = whole_number::<u64>, allow_negative_numbers = true)]
    seed: u64,
    /// End by itself after so many minutes
    #[arg(long, value_parser = whole_number::<u64>, allow_negative_numbers = true)]
    minutes: Option<u64>,
    /// Whose time its data are of: this machine's (`wall`), or its own, which stands still (`world`)
    #[arg(long, value_name = "CLOCK")]
    as_of: Option<String>,
}

/// Plays the companies until told to end.
///
/// # Errors
/// When it cannot start.
pub(crate) async fn run(args: Args) -> Result<u8, Problem> {
    let Args { listen, smtp_listen, db, seed, minutes, as_of } = args;
    let mut ends = Ends::new()?;
    let options = WorldOptions { listen, smtp_listen, db, seed, minutes, as_of };
    let ready = |place: &crate::app::demo::Place| {
        let line = serde_json::to_string(place).unwrap_or_default() + "\n";
        // Whoever started it may have gone; the world plays on.
        let _gone = write_out(line.as_bytes());
    };
    run_world(options, ready, ends.wait()).await?;
    Ok(0)
}
