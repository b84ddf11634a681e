//! `harness run artifacts` and `harness run artifact`: files that runs published.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::{
    app::{
        artifacts,
        problem::{Kind, Problem},
        value::counted,
    },
    cli::{Context, client::Client, print, screen::Screen},
};

/// Which file to fetch, and where to.
#[derive(Debug, Args)]
pub(super) struct Fetch {
    /// The run that published it
    run: String,
    /// Its `artifact`, or its name
    artifact: String,
    /// The file to write; nothing may be there
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// What a run published.
pub(super) fn list(run: &str) -> Asked {
    Asked::new("run.artifacts", json!({ "run": run }), listed)
}

impl Fetch {
    /// What the command comes to.
    pub(super) fn outcome(self, context: &Context) -> Outcome {
        Outcome::Async(Box::pin(fetch(self, context.clone())))
    }
}

async fn fetch(wanted: Fetch, context: Context) -> Result<u8, Problem> {
    let client = Client::open(&context.overrides).await?;
    let fetched = pieces(&client, &wanted).await;
    let closed = client.close().await;
    let told = fetched?;
    closed?;
    let asked = Asked::new("run.artifact", Value::Null, fetched_as);
    print(&told, &asked, &context)
}

/// All of it, checked against its digest, then written: whole, or not at all.
async fn pieces(client: &Client, wanted: &Fetch) -> Result<Value, Problem> {
    let mut bytes = Vec::new();
    let mut from = 0;
    loop {
        let body = json!({ "run": wanted.run, "artifact": wanted.artifact, "from": from });
        let mut piece = client.call("run.artifact", body).await?;
        let content = piece.get("content").and_then(Value::as_str).unwrap_or_default();
        bytes.extend(STANDARD.decode(content).map_err(|_| damaged())?);
        match piece.get("next").and_then(Value::as_u64).filter(|next| *next > from) {
            Some(next) => from = next,
            None => {
                if render::text(&piece, "/artifact") != artifacts::name_of(&bytes) {
                    return Err(damaged());
                }
                write(&wanted.to, &bytes)?;
                if let Some(fields) = piece.as_object_mut() {
                    fields.insert("content".to_owned(), json!(""));
                    fields.insert("from".to_owned(), json!(bytes.len()));
                }
                return Ok(piece);
            }
        }
    }
}

fn damaged() -> Problem {
    let detail = "what came is not what the run published";
    Problem::new(Kind::VerificationFailed, "artifact-damaged", detail)
        .next("`harness store check` looks for damage")
}

fn write(to: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let refuse = |error: std::io::Error| {
        Problem::usage("artifact-file", format!("{}: {error}", to.display()))
            .next("name a file that is not there yet, in a folder that may be written")
    };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(to).map_err(refuse)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| {
        fs::remove_file(to).unwrap_or(());
        refuse(error)
    })
}

fn listed(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("It published no file.");
    }
    for item in items {
        let text = |pointer: &str| render::text(item, pointer);
        screen.heading(&text("/name"));
        screen.field("artifact", &text("/artifact"));
        screen.field("from", &format!("{}, {}", text("/path"), counted(text("/size"), "byte")));
        screen.field("receipt", &text("/receipt"));
    }
}

fn fetched_as(answer: &Value, screen: &mut Screen) {
    let text = |pointer: &str| render::text(answer, pointer);
    screen.line(&format!("{} is there, as it was published.", text("/name")));
    screen.field("artifact", &text("/artifact"));
}
