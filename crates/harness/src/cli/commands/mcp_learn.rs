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
    cli::{Context, client::Client, print, screen::Screen},
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
            for (name, part) in [("learned.cedar", "/policy"), ("learned.yaml", "/classification")]
            {
                write_new(&folder.join(name), &render::text(&learned, part))?;
            }
        }
        print(&learned, &asked, context)
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
