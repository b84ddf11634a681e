//! `harness run expose`, `harness run leases`, `harness run unexpose`

use clap::Args;
use serde_json::{Value, json};

use super::{Asked, duration_ms, render, whole_number};
use crate::cli::screen::Screen;

/// Which job, and for how long.
#[derive(Debug, Args)]
pub(super) struct Expose {
    /// The run that started the job
    run: String,
    /// The number of the job, as `shell.start` told it
    #[arg(long, value_name = "N", value_parser = whole_number::<u64>, allow_negative_numbers = true)]
    job: u64,
    /// The folder's system, where the run has such a job in several
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// How long it lasts, such as 10m; at most a day
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
    ttl: u64,
}

impl Expose {
    /// What the command comes to.
    pub(super) fn asked(self) -> Asked {
        let body = json!({
            "run": self.run, "job": self.job, "system": self.system, "ttl_ms": self.ttl,
        });
        Asked::new("lease.create", body, made)
    }
}

pub(super) fn list() -> Asked {
    Asked::new("lease.list", json!({}), listed)
}

pub(super) fn end(lease: &str) -> Asked {
    Asked::new("lease.end", json!({ "lease": lease }), |answer, screen| {
        screen.line(&format!("{} is over.", render::text(answer, "/lease")));
    })
}

fn made(answer: &Value, screen: &mut Screen) {
    let text = |pointer: &str| render::text(answer, pointer);
    screen.heading(&text("/lease"));
    screen.field("job", &format!("{} of {} in {}", text("/job"), text("/run"), text("/system")));
    screen.field("url", &text("/url"));
    screen.field("token", &text("/token"));
    screen.field("until", &render::short_time(&text("/expires_at")));
    screen.field(
        "try it",
        &format!("curl -H 'Authorization: Bearer {}' {}", text("/token"), text("/url")),
    );
}

fn listed(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen
            .line("No job is reached from outside. `harness run expose RUN --job N` opens a way.");
        return;
    }
    let row = |item: &Value| {
        let text = |at: &str| render::text(item, at);
        let job = format!("{} of {}", text("/job"), text("/run"));
        vec![
            text("/lease"),
            job,
            text("/url"),
            text("/by"),
            text("/requests"),
            render::short_time(&text("/expires_at")),
        ]
    };
    let rows: Vec<Vec<String>> = items.into_iter().map(row).collect();
    screen.table(&["lease", "job", "url", "by", "requests", "until"], &rows);
}
