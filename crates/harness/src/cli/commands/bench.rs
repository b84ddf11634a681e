//! `harness bench`

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::whole_number;
use crate::{
    app::{bench, problem::Problem},
    cli::screen::write_out,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Agents against a model server that you name: prints one JSON line of turns and seconds
    ///
    /// The journal is in memory, or in the folder that --store names; `--store none` is memory too.
    Agent(Agent),
}

/// Options.
#[derive(Debug, ClapArgs)]
pub struct Agent {
    /// Base address of a server on OpenAI's Chat wire, such as http://127.0.0.1:8000/v1
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// The model to name
    #[arg(long, default_value = "bench")]
    model: String,
    /// Agents at a time
    #[arg(long, default_value_t = 1, value_parser = whole_number::<u32>, allow_negative_numbers = true)]
    agents: u32,
    /// Conversations of each agent, one after the other
    #[arg(long, default_value_t = 1, value_parser = whole_number::<u32>, allow_negative_numbers = true)]
    convs: u32,
    /// Ask for answers as streams
    #[arg(long)]
    stream: bool,
}

/// Runs the conversations and prints what they cost.
///
/// # Errors
/// When a conversation does not end with an answer.
pub(crate) async fn run(verb: Verb, store: Option<PathBuf>) -> Result<u8, Problem> {
    let Verb::Agent(Agent { base_url, model, agents, convs, stream }) = verb;
    let measured = bench::agent(bench::Options {
        base_url,
        model,
        agents,
        convs,
        answers: if stream { bench::Answers::Streamed } else { bench::Answers::Whole },
        store: store.filter(|path| path.as_os_str() != "none"),
    })
    .await?;
    let line = serde_json::to_string(&measured).unwrap_or_default() + "\n";
    // Whoever reads it may have gone.
    let _gone = write_out(line.as_bytes());
    Ok(0)
}
