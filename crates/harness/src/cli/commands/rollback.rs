//! `harness run rollback`

use clap::Args;
use serde_json::{Value, json};

use super::{Asked, render};
use crate::{
    app::{problem::Kind, value::counted},
    cli::screen::{Screen, Tone},
};

/// What to take back.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The run
    run: String,
    /// Only this effect
    #[arg(long)]
    token: Option<String>,
    /// Overwrite what the last rollback's difference shows: its `conflict`, once you have looked at it
    #[arg(long, value_name = "DIGEST", conflicts_with = "dry_run")]
    accept_conflict: Option<String>,
    /// Only say what would be taken back, and what would stay
    #[arg(long)]
    dry_run: bool,
}

impl Rollback {
    /// The call it comes to.
    pub(super) fn asked(self) -> Asked {
        if self.dry_run {
            let body = json!({ "run": self.run, "token": self.token });
            return Asked::new("run.rollback-preview", body, preview);
        }
        let body = json!({
            "run": self.run, "token": self.token, "accept_conflict": self.accept_conflict,
        });
        let mut asked = Asked::new("run.rollback", body, render::rolled_back);
        asked.exit = |answer| match render::text(answer, "/result").as_str() {
            "complete" => 0,
            "waiting" => Kind::WaitingForApproval.exit_code(),
            _ => Kind::NeedsPerson.exit_code(),
        };
        asked
    }
}

/// What a rollback would do: what stays first, then what comes back, in that order.
fn preview(answer: &Value, screen: &mut Screen) {
    let (stays, effects) = (render::list(answer, "/stays"), render::list(answer, "/effects"));
    let back = counted(effects.len(), "effect");
    screen.line(&format!("Would take back {back}; {} would stay", stays.len()));
    if answer.get("possible").and_then(Value::as_bool) != Some(true) {
        screen.field("not now", &render::text(answer, "/because"));
    }
    for effect in stays {
        let because = screen.tone(Tone::Warn, &render::text(effect, "/because"));
        screen.gap();
        screen.heading(&render::text(effect, "/summary"));
        screen.field("stays", &because);
    }
    for effect in effects {
        screen.gap();
        screen.heading(&render::text(effect, "/summary"));
        let (how, operation) = (render::text(effect, "/how"), render::text(effect, "/operation"));
        screen.field(&how, &format!("by {operation}"));
        screen.field("until", &render::short_time(&render::text(effect, "/expires_at")));
        screen.field("token", &render::text(effect, "/token"));
        for change in render::list(effect, "/changes") {
            let text = |at: &str| render::text(change, at);
            screen.field(&text("/field"), &format!("{} → {}", text("/now"), text("/after")));
        }
    }
}
