//! `harness run work`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Asked, duration_ms, render};
use crate::{
    app::value::counted,
    cli::screen::{Screen, Tone},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// What there is, by the run that did it
    List,
    /// What merging it would come to: paths, conflicts, the difference
    Show {
        #[command(flatten)]
        which: Which,
        /// The branch it would go to; by default harness/ and the run
        #[arg(long, value_name = "NAME")]
        branch: Option<String>,
    },
    /// Merge it into a branch that is checked out nowhere: a run of its own, with a receipt and a way back
    Merge {
        #[command(flatten)]
        which: Which,
        /// The branch; by default harness/ and the run
        #[arg(long, value_name = "NAME")]
        branch: Option<String>,
        /// The commit that `show` showed: anything else is refused
        #[arg(long, value_name = "COMMIT")]
        commit: Option<String>,
        /// Longest wait, such as 10m
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
        timeout: u64,
    },
    /// Drop it, with all that was not merged
    Drop {
        #[command(flatten)]
        which: Which,
    },
}

/// Whose work, and where.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The run that did it
    run: String,
    /// The folder's system, where the run worked in several
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
}

impl Verb {
    /// What the command comes to.
    pub(super) fn asked(self) -> Asked {
        match self {
            Self::List => Asked::new("work.list", json!({}), listed),
            Self::Show { which, branch } => {
                let body = json!({ "run": which.run, "system": which.system, "branch": branch });
                Asked::new("work.preview", body, shown)
            }
            Self::Merge { which, branch, commit, timeout } => {
                let body = json!({
                    "run": which.run, "system": which.system, "branch": branch, "commit": commit,
                    "wait_ms": timeout,
                });
                Asked::new("work.merge", body, merged).by_status()
            }
            Self::Drop { which } => {
                let body = json!({ "run": which.run, "system": which.system });
                Asked::new("work.drop", body, dropped)
            }
        }
    }
}

fn merged(answer: &Value, screen: &mut Screen) {
    render::run(answer.get("run").unwrap_or(answer), screen);
}

fn listed(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("No run left work that is kept apart.");
    }
    for item in items {
        let text = |pointer: &str| render::text(item, pointer);
        screen.field(&text("/run/id"), &format!("{} in {}", text("/run/status"), text("/system")));
    }
}

fn shown(answer: &Value, screen: &mut Screen) {
    let text = |pointer: &str| render::text(answer, pointer);
    screen.heading(&format!("{} into {}", text("/run"), text("/branch")));
    let way = match text("/way").as_str() {
        "nothing" => "the branch has all of it".to_owned(),
        "new_branch" => "the branch would be new".to_owned(),
        "fast_forward" => "on what the branch stands at".to_owned(),
        "three_way" => "with what the branch has got meanwhile".to_owned(),
        _ => screen.tone(Tone::Bad, "both changed the same"),
    };
    screen.field("merge", &way);
    screen.field("commit", &text("/commit"));
    for change in render::list(answer, "/changes") {
        screen.field(&render::text(change, "/kind"), &render::text(change, "/path"));
    }
    for (label, pointer) in [("CONFLICT", "/conflicts"), ("left out", "/left_out")] {
        for path in render::list(answer, pointer) {
            screen.field(label, path.as_str().unwrap_or_default());
        }
    }
    if text("/ignored") != "0" {
        let what = counted(text("/ignored"), "new file");
        screen.field("ignored", &format!("{what} that the tree says to ignore"));
    }
    screen.gap();
    for line in text("/diff").lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Some(Tone::Good),
            Some(b'-') => Some(Tone::Bad),
            _ => None,
        };
        let line = tone.map_or_else(|| line.to_owned(), |tone| screen.tone(tone, line));
        screen.line(&line);
    }
    if text("/diff_cut") != "0" {
        screen.line(&format!("… {} more", counted(text("/diff_cut"), "byte")));
    }
}

fn dropped(answer: &Value, screen: &mut Screen) {
    let text = |pointer: &str| render::text(answer, pointer);
    screen.line(&format!("The work of {} in {} is gone.", text("/run"), text("/system")));
}
