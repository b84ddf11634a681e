//! The command line: parse, call the facade, render. It holds no rule and knows nothing but [`crate::app`].
//!
//! A command is one file under `commands/` and one line in its table [`commands::Noun`].

pub mod client;
pub mod commands;
pub mod demo;
pub mod screen;
mod typed;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum, parser::ValueSource};
use serde_json::Value;

use crate::app::{
    attachments,
    config::Overrides,
    problem::{Kind, Problem},
    sinks::Log,
    value::counted,
};
use client::Client;
use commands::{Asked, Noun, Outcome, Part};
use screen::{ColorWhen, Screen, Tone, write_err, write_out};

/// Exit codes, as printed below every help.
const EXIT_CODES: &str = "Exit codes: 0 ok · 1 unexpected · 2 usage · 3 not found · 4 not allowed · \
5 conflict or stale · 6 denied by policy · 7 waiting for approval · 8 run failed · 9 needs a person · \
10 verification failed · 75 try again · 130 interrupted";

/// Longest message about what was typed, in characters: it repeats a part of it.
const ECHO_MAX_CHARS: usize = 400;

/// How to print answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One document that names its schema.
    Json,
    /// One item a line.
    Ndjson,
    /// Ids only, one a line.
    Id,
}

/// The control plane and runtime for production agents.
#[derive(Debug, Parser)]
#[command(name = "harness", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    /// Store folder [default: the project's .harness/, else the user's data folder]
    #[arg(long, global = true, value_name = "PATH", env = "HARNESS_STORE")]
    store: Option<std::path::PathBuf>,
    /// Configuration file [default: the nearest harness.toml upwards]
    #[arg(long, global = true, value_name = "FILE", env = "HARNESS_CONFIG")]
    config: Option<std::path::PathBuf>,
    /// Ask this server instead, such as https://harness.example.com; the token stands in HARNESS_TOKEN
    #[arg(long, global = true, value_name = "URL", env = "HARNESS_SERVER", conflicts_with_all = ["store", "person"])]
    server: Option<String>,
    /// Act as this declared person instead of `me`
    #[arg(long = "as", global = true, value_name = "PERSON")]
    person: Option<String>,
    /// How to print answers
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        env = "HARNESS_OUTPUT",
        default_value = "table"
    )]
    output: Format,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorWhen,
    /// Print nothing but errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more on standard error; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    noun: Noun,
}

/// What every command gets.
#[derive(Clone, Debug)]
pub struct Context {
    /// What was said about configuration.
    pub overrides: Overrides,
    /// How to print.
    pub format: Format,
    /// When to colour.
    pub color: ColorWhen,
    /// Print nothing but errors.
    pub quiet: bool,
}

/// Runs the command line and says how it ended.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let errors = errors_as(&args);
    let (cli, store_origin) = match parse(args) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, errors),
    };
    start_log(cli.verbose);
    let store = cli.store.map(|path| (path, store_origin));
    let context = Context {
        overrides: Overrides { config: cli.config, store, person: cli.person, server: cli.server },
        format: cli.output,
        color: cli.color,
        quiet: cli.quiet,
    };
    match execute(cli.noun, &context) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            show_problem(&problem, &context);
            ExitCode::from(problem.kind.exit_code())
        }
    }
}

/// What was said, and where `--store` was said.
fn parse(args: Vec<OsString>) -> Result<(Cli, &'static str), clap::Error> {
    let matches = Cli::command().try_get_matches_from(args)?;
    let origin = match matches.value_source("store") {
        Some(ValueSource::EnvVariable) => "environment",
        _ => "flag",
    };
    Ok((Cli::from_arg_matches(&matches)?, origin))
}

/// Reads a command line as [`run`] would, and does nothing.
///
/// # Errors
/// What a program that asked for `-o json` would be told.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<(), Problem> {
    match parse(args.into_iter().collect()) {
        Err(error) if !is_asked_for(&error) => Err(misread(&error)),
        _ => Ok(()),
    }
}

/// Whether what clap calls an error is the help or the version that was asked for.
fn is_asked_for(error: &clap::Error) -> bool {
    use clap::error::ErrorKind;
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// The problem that a command line nobody can read is.
fn misread(error: &clap::Error) -> Problem {
    let text = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return unfinished(&text);
    }
    // Up to the first empty line: what is missing is named below the sentence that says so.
    let said: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    let said = said.trim_start_matches("error: ").chars().take(ECHO_MAX_CHARS).collect::<String>();
    Problem::usage("usage", said).next(next_of(&text))
}

/// A command without its verb, for which clap has only the whole help.
fn unfinished(help: &str) -> Problem {
    let listed = help.lines().skip_while(|line| line.trim() != "Commands:").skip(1);
    let verbs: Vec<&str> = listed
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|verb| !verb.is_empty())
        .collect();
    let command = command_of(help);
    Problem::usage("usage", format!("`{command}` is not a whole command"))
        .next(format!("add one of {}; `{command} --help` says more", verbs.join(", ")))
}

/// What clap suggests, else the help of the command that was meant.
fn next_of(text: &str) -> String {
    match text.lines().find_map(|line| line.trim().strip_prefix("tip: ")) {
        Some(tip) => tip.chars().take(ECHO_MAX_CHARS).collect(),
        None => format!("`{} --help` lists what can be said", command_of(text)),
    }
}

/// The words of the command whose usage clap shows.
fn command_of(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let words: Vec<&str> = usage.unwrap_or("harness").split(' ').take_while(is_name).collect();
    words.join(" ")
}

/// How errors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errors {
    /// One problem object.
    Json,
    /// For people.
    Text,
}

/// How errors must be written, even when the arguments cannot be parsed.
fn errors_as(args: &[OsString]) -> Errors {
    let machine = |text: &str| matches!(text, "json" | "ndjson");
    let flags = args.iter().zip(args.iter().skip(1));
    let by_flag = flags.filter(|(flag, _)| *flag == "-o" || *flag == "--output");
    let by_flag = by_flag.filter_map(|(_, value)| value.to_str()).any(machine);
    let joined = args.iter().filter_map(|arg| arg.to_str());
    let joined = joined.filter_map(|arg| arg.strip_prefix("--output=").or(arg.strip_prefix("-o")));
    let by_joined = joined.map(|v| v.trim_start_matches('=')).any(machine);
    let by_environment = || std::env::var("HARNESS_OUTPUT").is_ok_and(|v| machine(&v));
    if by_flag || by_joined || by_environment() { Errors::Json } else { Errors::Text }
}

fn usage(error: &clap::Error, errors: Errors) -> ExitCode {
    if is_asked_for(error) {
        let _closed = write_out(error.render().to_string().as_bytes());
        return ExitCode::SUCCESS;
    }
    if errors == Errors::Json {
        write_err(&serde_json::to_string(&misread(error)).unwrap_or_default());
    } else {
        write_err(error.render().to_string().trim_end());
    }
    ExitCode::from(Kind::Usage.exit_code())
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("HARNESS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // It repeats what servers said, which is nobody's word but theirs; what matters of it is told as a failure.
    let filter = match "rmcp=off".parse() {
        Ok(quiet) => filter.add_directive(quiet),
        Err(_) => filter,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    let log = log.with_writer(|| Log::new(std::io::stderr()));
    // A second start in one process keeps the first.
    let _already = log.try_init();
}

fn execute(noun: Noun, context: &Context) -> Result<u8, Problem> {
    match noun.outcome(context)? {
        Outcome::Printed(code) => Ok(code),
        Outcome::Document { document, asked } => print(&document, &asked, context),
        Outcome::Ask(asked) => runtime()?.block_on(ask(asked, context)),
        Outcome::Async(task) => runtime()?.block_on(task),
    }
}

/// The runtime of one command.
///
/// # Errors
/// When the system gives no threads or no handles.
pub fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    let build =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    handles_are_there().and_then(|()| build()).map_err(|e| {
        Problem::new(Kind::Unexpected, "runtime", format!("cannot start: {e}"))
            .next("allow more open files and threads (`ulimit -n`, `ulimit -u`), then try again")
    })
}

/// Tokio opens a socket for signals on first use and panics when it gets none: as many handles as a
/// runtime takes are asked for beforehand.
fn handles_are_there() -> std::io::Result<()> {
    const HANDLES_OF_A_RUNTIME: usize = 8;
    let open = |_| std::fs::File::open("/dev/null");
    (0..HANDLES_OF_A_RUNTIME).map(open).collect::<Result<Vec<_>, _>>().map(drop)
}

async fn ask(asked: Asked, context: &Context) -> Result<u8, Problem> {
    let client = Client::open(&context.overrides).await?;
    let answer = client.call(asked.op, asked.body.clone()).await;
    let closed = client.close().await;
    let answer = answer?;
    closed?;
    print(&answer, &asked, context)
}

fn print(answer: &Value, asked: &Asked, context: &Context) -> Result<u8, Problem> {
    let unwritable = |e: std::io::Error| {
        Problem::new(Kind::Unexpected, "output", format!("cannot write the answer: {e}"))
    };
    if let Some(path) = &asked.save {
        save(answer, path)?;
    }
    if !context.quiet {
        match context.format {
            Format::Json => write_out(line(answer).as_bytes()).map_err(unwritable)?,
            Format::Ndjson => {
                let text: String = items(answer).into_iter().map(line).collect();
                write_out(text.as_bytes()).map_err(unwritable)?;
            }
            Format::Id => {
                let text: String =
                    items(answer).into_iter().filter_map(id_of).map(|id| id + "\n").collect();
                write_out(text.as_bytes()).map_err(unwritable)?;
            }
            Format::Table => {
                let mut screen = Screen::new(context.color);
                (asked.render)(answer, &mut screen);
                screen.flush().map_err(unwritable)?;
            }
        }
    }
    Ok((asked.exit)(answer))
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

fn items(answer: &Value) -> Vec<&Value> {
    match answer.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![answer],
    }
}

fn id_of(item: &Value) -> Option<String> {
    let own = ["id", "approval", "receipt", "name", "digest"].iter().find_map(|key| item.get(*key));
    let run = || item.get("run").and_then(|run| run.get("id").or(Some(run)));
    own.or_else(run).and_then(Value::as_str).map(str::to_owned)
}

/// Writes a document's file part beside a temporary name, then renames it: never half a file.
fn save(answer: &Value, (part, path): &(Part, std::path::PathBuf)) -> Result<(), Problem> {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    let bytes = match part {
        Part::Text(key) => text(key).as_bytes().to_vec(),
        Part::Bytes(key) => attachments::bytes_of(text(key)),
    };
    let refuse = |e: std::io::Error| {
        Problem::usage("file-unwritable", format!("cannot write {}: {e}", path.display()))
            .next("name a file in a folder that can be written")
    };
    let draft = path.with_extension("draft");
    std::fs::write(&draft, bytes).map_err(refuse)?;
    std::fs::rename(&draft, path).map_err(refuse)
}

fn show_problem(problem: &Problem, context: &Context) {
    if context.format != Format::Table {
        write_err(&serde_json::to_string(problem).unwrap_or_default());
        return;
    }
    let screen = Screen::new(context.color);
    let mut text = format!("{} {}", screen.tone(Tone::Bad, "error:"), problem.detail);
    for place in problem.at.iter().take(20) {
        text.push_str(&format!("\n   at: {place}"));
    }
    if problem.at.len() > 20 {
        text.push_str(&format!("\n   and {}", counted(problem.at.len() - 20, "more place")));
    }
    if let Some(next) = &problem.next {
        text.push_str(&format!("\n next: {next}"));
    }
    write_err(&text);
}

/// The command line's own definition: for completions, the manual and tests.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}
