//! `harness pack install` and `upgrade`: look at what a pack asks for, accept exactly that, install it.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::{
    app::{
        packs,
        problem::{Kind, Problem},
        shelf,
    },
    cli::{
        Context, Format,
        client::Client,
        print,
        screen::{Screen, Tone, write_err},
    },
};

/// A folder to install.
#[derive(Debug, Args)]
pub struct Install {
    /// The folder that holds pack.yaml
    folder: PathBuf,
    /// Show what the pack asks for and what would be different; install nothing
    #[arg(long)]
    dry_run: bool,
    /// Accept what the review with this digest showed
    #[arg(long, value_name = "DIGEST", conflicts_with = "dry_run")]
    accept: Option<String>,
    /// Accept whatever the pack asks for
    #[arg(long, conflicts_with_all = ["accept", "dry_run"])]
    yes: bool,
}

/// Whether a pack comes or is replaced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Install,
    Upgrade,
}

impl Install {
    /// What the command comes to.
    pub(super) fn outcome(self, way: Way, context: Context) -> Outcome {
        Outcome::Async(Box::pin(async move { self.run(way, &context).await }))
    }

    async fn run(self, way: Way, context: &Context) -> Result<u8, Problem> {
        let files = text_files(&self.folder)?;
        let client = Client::open(&context.overrides).await?;
        let done = self.bring(way, &client, (files, context)).await;
        let closed = client.close().await;
        let code = done?;
        closed?;
        Ok(code)
    }

    async fn bring(
        &self,
        way: Way,
        client: &Client,
        (files, context): (BTreeMap<String, String>, &Context),
    ) -> Result<u8, Problem> {
        let accept = match &self.accept {
            Some(accept) => accept.clone(),
            None => {
                let asked = Asked::new("pack.review", json!({ "files": files }), review);
                let shown = client.call(asked.op, asked.body.clone()).await?;
                if self.dry_run {
                    return print(&shown, &asked, context);
                }
                self.ask(&shown, context)?;
                render::text(&shown, "/accept")
            }
        };
        let (op, mut body) = match way {
            Way::Install => ("pack.install", json!({})),
            Way::Upgrade => ("pack.upgrade", json!({ "pack": self.name()? })),
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("files".to_owned(), json!(files));
            body.insert("accept".to_owned(), json!(accept));
        }
        let asked = Asked::new(op, body, one);
        let answer = client.call(asked.op, asked.body.clone()).await?;
        print(&answer, &asked, context)
    }

    /// The name a pack gives itself; everything else about it is for the store's owner to check.
    fn name(&self) -> Result<String, Problem> {
        Ok(packs::check(&packs::CheckPack { folder: self.folder.clone() })?.name)
    }

    /// Lets a person at the terminal look at the review; without one, nobody has accepted it.
    fn ask(&self, shown: &Value, context: &Context) -> Result<(), Problem> {
        let unprintable = |error: io::Error| {
            Problem::new(Kind::Unexpected, "terminal", format!("cannot ask: {error}"))
        };
        if self.yes || !render::list(shown, "/refused").is_empty() {
            return Ok(());
        }
        let folder = self.folder.display();
        let later = || {
            let detail = "nobody has accepted what this pack asks for".to_owned();
            let accept = render::text(shown, "/accept");
            Problem::new(Kind::Conflict, "pack-not-accepted", detail).next(format!(
                "look at it with `harness pack install --dry-run {folder}`, then add --accept {accept}"
            ))
        };
        if context.format != Format::Table || !io::stdin().is_terminal() {
            return Err(later());
        }
        let mut screen = Screen::new(context.color);
        review(shown, &mut screen);
        screen.flush().map_err(unprintable)?;
        write_err("Install exactly this? Type yes or no:");
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(unprintable)?;
        match line.trim().to_lowercase().as_str() {
            "yes" | "y" => Ok(()),
            _ => Err(later()),
        }
    }
}

/// The files of a folder as text.
fn text_files(folder: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let files = shelf::read_folder(folder)?.into_iter().map(|(path, bytes)| {
        let text = String::from_utf8(bytes).map_err(|_| {
            let detail = format!("{} is no text", folder.join(&path).display());
            Problem::usage("pack-no-text", detail)
                .next("a pack holds text files only: leave it out")
        })?;
        Ok((path, text))
    });
    files.collect()
}

/// Shows what a pack asks for.
fn review(answer: &Value, screen: &mut Screen) {
    let text = |at: &str| render::text(answer, at);
    let replaces = match text("/replaces") {
        old if old.is_empty() => String::new(),
        old => format!(", in place of {old}"),
    };
    screen.heading(&format!("{} {}{replaces}", text("/name"), text("/version")));
    screen.field("owner", &text("/owner"));
    screen.field("for", &text("/description"));
    screen.field("digest", &render::short_digest(&text("/digest")));
    screen.field("intents", &render::joined(answer, "/intents"));
    screen.field("secrets", &render::joined(answer, "/secrets"));
    screen.field("egress", &render::joined(answer, "/egress"));
    let rows: Vec<Vec<String>> = render::list(answer, "/operations")
        .into_iter()
        .map(|item| {
            let text = |at: &str| render::text(item, at);
            vec![text("/operation"), text("/effect"), text("/undo"), text("/retry"), text("/asks")]
        })
        .collect();
    screen.gap();
    screen.table(&["asks for", "effect", "undo", "retry", "asks a person"], &rows);
    for change in render::list(answer, "/changes") {
        let sort = render::text(change, "/sort");
        let tone =
            if ["loosened", "breaks"].contains(&sort.as_str()) { Tone::Bad } else { Tone::Quiet };
        screen.field(&screen.tone(tone, &sort), &render::text(change, "/what"));
    }
    for line in render::list(answer, "/refused") {
        screen.field(&screen.tone(Tone::Bad, "refused"), line.as_str().unwrap_or_default());
    }
    for line in render::list(answer, "/warnings") {
        screen.field("warning", line.as_str().unwrap_or_default());
    }
    screen.gap();
    screen.field("accept", &text("/accept"));
}

/// Shows a pack with what was done to it.
pub(super) fn one(answer: &Value, screen: &mut Screen) {
    let text = |at: &str| render::text(answer, at);
    screen.heading(&format!("{} {}", text("/name"), text("/version")));
    screen.field("state", &screen.status(&text("/state")));
    screen.field("origin", &text("/origin"));
    screen.field("owner", &text("/owner"));
    screen.field("digest", &render::short_digest(&text("/digest")));
    screen.field("intents", &render::joined(answer, "/intents"));
    screen.field("asks for", &render::joined(answer, "/operations"));
    screen.field("secrets", &render::joined(answer, "/secrets"));
    screen.field("egress", &render::joined(answer, "/egress"));
    for warning in render::list(answer, "/warnings") {
        screen.field("warning", warning.as_str().unwrap_or_default());
    }
    let rows: Vec<Vec<String>> = render::list(answer, "/changes")
        .into_iter()
        .map(|item| {
            let text = |at: &str| render::text(item, at);
            let digest = render::short_digest(&text("/digest"));
            vec![
                render::short_time(&text("/at")),
                text("/did"),
                text("/version"),
                digest,
                text("/by"),
            ]
        })
        .collect();
    if !rows.is_empty() {
        screen.gap();
        screen.table(&["at", "did", "version", "digest", "by"], &rows);
    }
}
