//! `harness mcp learn`

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::{Asked, Outcome, duration_ms, render};
use crate::{
    app::problem::{Kind, Problem},
    cli::{
        Context,
        client::Client,
        print,
        screen::{Screen, write_err},
    },
};

/// `harness mcp learn`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// How far back [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    back: Option<u64>,
    /// Write the drafts into this folder: learned.cedar and learned.yaml; nothing is overwritten
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

impl Args {
    /// What the command comes to.
    pub(super) fn outcome(self, context: &Context) -> Outcome {
        let context = context.clone();
        Outcome::Async(Box::pin(async move { self.run(&context).await }))
    }

    async fn run(self, context: &Context) -> Result<u8, Problem> {
        let asked = Asked::new("proxy.learn", json!({ "back_ms": self.back }), shown);
        let client = Client::open(&context.overrides).await?;
        let learned = client.call("proxy.learn", json!({ "back_ms": self.back })).await;
        client.close().await?;
        let learned = learned?;
        if let Some(folder) = &self.to {
            keep(&learned, folder)?;
        }
        print(&learned, &asked, context)
    }
}

/// The drafts, and what of an answer each holds.
const DRAFTS: [(&str, &str); 2] =
    [("learned.cedar", "/policy"), ("learned.yaml", "/classification")];

fn keep(learned: &Value, folder: &Path) -> Result<(), Problem> {
    DRAFTS
        .iter()
        .try_for_each(|(name, part)| write_new(&folder.join(name), &render::text(learned, part)))
}

/// That a folder has no drafts yet: whoever observes for an hour should not hear of it afterwards.
pub(super) fn check_free(folder: &Path) -> Result<(), Problem> {
    match DRAFTS.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists()) {
        None => Ok(()),
        Some(there) => Err(Problem::new(Kind::Conflict, "draft-there", "a draft is there already")
            .at(there.display().to_string())
            .next("name another folder with --learn, or move it away")),
    }
}

/// Writes what clients did in so many milliseconds; where they did nothing, that is said.
pub(super) async fn draft(context: &Context, back_ms: u64, folder: &Path) -> Result<(), Problem> {
    let client = Client::open(&context.overrides).await?;
    let learned = client.call("proxy.learn", json!({ "back_ms": back_ms })).await;
    client.close().await?;
    match learned {
        Ok(learned) => {
            keep(&learned, folder)?;
            write_err(&format!(
                "learned from {} calls: {} has a policy and what is still to be said about each tool. Drafts: read them, then \
                 name the policy under `policy.operator` and set `proxy_mode = \"enforce\"`",
                render::text(&learned, "/calls"),
                folder.display()
            ));
            Ok(())
        }
        Err(problem) if &*problem.code == "nothing-learned" => {
            write_err(
                "no client called anything: there is nothing to learn, and no draft was written",
            );
            Ok(())
        }
        Err(problem) => Err(problem),
    }
}

fn shown(learned: &Value, screen: &mut Screen) {
    screen.heading(&format!("learned from {} calls", render::text(learned, "/calls")));
    let row = |tool: &Value| {
        let text = |at: &str| render::text(tool, at);
        vec![text("/operation"), text("/effect"), text("/calls"), text("/done"), text("/other")]
    };
    let rows: Vec<Vec<String>> = render::list(learned, "/tools").into_iter().map(row).collect();
    screen.table(&["tool", "classified as", "calls", "done", "other"], &rows);
    for part in ["/policy", "/classification"] {
        screen.gap();
        for line in render::text(learned, part).lines() {
            screen.line(line);
        }
    }
    screen.gap();
    screen.line("A draft: read it. Then name it under `policy.operator`, and set `proxy_mode = \"enforce\"`.");
}

fn write_new(path: &Path, text: &str) -> Result<(), Problem> {
    if let Some(folder) = path.parent() {
        drop(fs::create_dir_all(folder));
    }
    let written = File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let kind = if there { Kind::Conflict } else { Kind::Usage };
        Problem::new(kind, "not-written", format!("it cannot be written: {error}"))
            .at(path.display().to_string())
            .next("name another folder with --to")
    })
}
