//! `harness intent`

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Asked, Outcome, attach::Files, duration_ms, json_argument, render};
use crate::{app::problem::Problem, cli::Context};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// What can be asked for
    List,
    /// Show what would be done, without doing it
    Plan(Request),
    /// Ask for it
    Submit(Submit),
}

/// What is wanted.
#[derive(Debug, Args)]
pub struct Request {
    /// The intent (`name` or `pack/name`), or the request in words
    intent: String,
    /// One input, as KEY=VALUE; VALUE is JSON or else text
    #[arg(short, long = "input", value_name = "KEY=VALUE")]
    inputs: Vec<String>,
    /// All inputs, as JSON or @FILE
    #[arg(long, value_name = "JSON", conflicts_with = "inputs")]
    json: Option<String>,
    #[command(flatten)]
    files: Files,
}

/// A submission.
#[derive(Debug, Args)]
pub struct Submit {
    #[command(flatten)]
    request: Request,
    /// The same key is the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Wait until the run parks or ends (always, when nobody serves the store)
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
    timeout: u64,
}

impl Request {
    fn body(&self) -> Result<Map<String, Value>, Problem> {
        let inputs = match &self.json {
            Some(text) => json_argument(text)?,
            None => {
                let pairs = self.inputs.iter().map(|pair| input(pair));
                Value::Object(pairs.collect::<Result<_, _>>()?)
            }
        };
        // A single word is a name; anything with a space in it is a request in words.
        let key = if self.intent.contains(char::is_whitespace) { "text" } else { "intent" };
        let fields = [(key.to_owned(), json!(self.intent)), ("inputs".to_owned(), inputs)];
        Ok(fields.into_iter().chain(self.files.to_fields()?).collect())
    }
}

fn input(pair: &str) -> Result<(String, Value), Problem> {
    let (key, value) = pair.split_once('=').ok_or_else(|| {
        Problem::usage("bad-input", format!("`{pair}` is not KEY=VALUE"))
            .next("write --input account=ACC-0042")
    })?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// Inputs that cannot be read.
    pub fn outcome(self, _: &Context) -> Result<Outcome, Problem> {
        match self {
            Self::List => {
                let render = |answer: &Value, screen: &mut crate::cli::screen::Screen| {
                    render::columns(answer, screen, &["pack", "name", "title"]);
                };
                Ok(Outcome::Ask(Asked::new("intent.list", json!({}), render)))
            }
            Self::Plan(request) => plan(&request),
            Self::Submit(submit) if submit.dry_run => plan(&submit.request),
            Self::Submit(submit) => {
                let mut body = submit.request.body()?;
                if let Some(key) = submit.idempotency_key {
                    body.insert("idempotency_key".to_owned(), json!(key));
                }
                // Waiting costs nothing when the owner serves; alone, nobody else would drive the run.
                body.insert("wait_ms".to_owned(), json!(submit.timeout));
                let asked = Asked::new("intent.submit", Value::Object(body), render::run);
                Ok(Outcome::Ask(if submit.wait { asked.by_status() } else { asked }))
            }
        }
    }
}

fn plan(request: &Request) -> Result<Outcome, Problem> {
    Ok(Outcome::Ask(Asked::new("intent.plan", Value::Object(request.body()?), render::plan)))
}
