//! `harness sandbox`

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::{Asked, Outcome, render};
use crate::{
    app::{
        ops,
        problem::{Kind, Problem},
        sandbox::{self, Streams, Walls},
    },
    cli::{
        Context, Format,
        screen::{Screen, Tone, write_err},
    },
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Try to get out of each tier, and say what this machine really enforces
    Doctor,
    /// Run a program under a profile; its exit code is passed on
    ///
    /// Without a profile it reads the system's libraries, writes a private temporary folder that is empty at the
    /// start and gone at the end, and has neither network nor home nor environment.
    Run {
        #[command(flatten)]
        held: Held,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Show what a program would be held to, and by what
    Explain {
        #[command(flatten)]
        held: Held,
    },
    /// Keep what a folder holds, and make it again: to go on the next day, or two ways
    #[command(subcommand)]
    Snapshot(super::snapshot::Verb),
}

/// What a program is held to.
#[derive(Debug, Args)]
pub struct Held {
    /// A profile in TOML, or in JSON where the name ends with .json
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// How much stands between it and the host
    #[arg(long, value_name = "TIER", default_value = "isolated")]
    tier: Tier,
}

/// The tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// On the host's tree, confined by Landlock, seccomp and limits
    Restricted,
    /// In namespaces of its own besides
    Isolated,
}

impl From<Tier> for Walls {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Restricted => Self::Restricted,
            Tier::Isolated => Self::Isolated,
        }
    }
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// When the profile cannot be read, or this machine cannot hold it.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        match self {
            Self::Doctor => {
                let document = ops::document("harness.sandbox-proven/v1", &sandbox::prove()?)?;
                let mut asked = Asked::new("sandbox.doctor", Value::Null, proven);
                asked.exit = |answer| match answer.get("sound").and_then(Value::as_bool) {
                    Some(true) => 0,
                    _ => Kind::VerificationFailed.exit_code(),
                };
                Ok(Outcome::Document { document, asked })
            }
            Self::Explain { held } => {
                let explained = sandbox::explain(held.profile.as_deref(), held.tier.into())?;
                let document = ops::document("harness.sandbox-explained/v1", &explained)?;
                let asked = Asked::new("sandbox.explain", Value::Null, explanation);
                Ok(Outcome::Document { document, asked })
            }
            Self::Snapshot(verb) => verb.outcome(context),
            Self::Run { held, command } => run(&held, &command, context),
        }
    }
}

fn run(held: &Held, command: &[OsString], context: &Context) -> Result<Outcome, Problem> {
    let Some(command) = command.split_first() else {
        return Err(Problem::usage("command", "there is nothing to run").next("name it after `--`"));
    };
    let under = (held.profile.as_deref(), held.tier.into());
    if context.format != Format::Table {
        let ended = sandbox::run(under, command, Streams::Kept)?;
        let document = ops::document("harness.sandbox-ended/v1", &ended)?;
        let mut asked = Asked::new("sandbox.run", Value::Null, render::pretty);
        asked.exit = |answer| {
            let ended = serde_json::from_value::<sandbox::Ended>(answer.clone());
            ended.map_or(1, |ended| ended.exit_code())
        };
        return Ok(Outcome::Document { document, asked });
    }
    let ended = sandbox::run(under, command, Streams::Ours)?;
    if let Some(limit) = ended.limits.first().filter(|_| !context.quiet) {
        write_err(&format!("harness: it ran into `{limit}` of its profile\n"));
    }
    Ok(Outcome::Printed(ended.exit_code()))
}

fn proven(answer: &Value, screen: &mut Screen) {
    let text = |pointer: &str| render::text(answer, pointer);
    screen.field("kernel", &format!("{}, Landlock {}", text("/kernel"), text("/landlock")));
    screen.field("tried as", &format!("user {}", text("/uid")));
    for tier in render::list(answer, "/tiers") {
        screen.gap();
        screen.heading(&render::text(tier, "/tier"));
        let refused = render::text(tier, "/refused");
        if !refused.is_empty() {
            screen.field("refused", &screen.tone(Tone::Bad, &refused));
            screen.field("fix", &render::text(tier, "/fix"));
            continue;
        }
        holders(tier, screen);
        claims(&render::list(tier, "/claims"), screen);
    }
}

fn holders(of: &Value, screen: &mut Screen) {
    for limit in ["memory", "processes", "scratch"] {
        screen.field(limit, &render::text(of, &format!("/limits/{limit}")));
    }
}

/// How many held, then each that did not: what is proven needs no reading.
fn claims(claims: &[&Value], screen: &mut Screen) {
    let in_state = |state: &str| {
        let of = claims.iter().filter(|claim| render::text(claim, "/state") == state);
        of.collect::<Vec<_>>()
    };
    let (proven, absent, broken) = (in_state("proven"), in_state("absent"), in_state("broken"));
    let tone = if broken.is_empty() { Tone::Good } else { Tone::Bad };
    let held = format!("{} of {} ways out are closed", proven.len(), proven.len() + broken.len());
    let held = screen.tone(tone, &held);
    screen.field("proven", &held);
    for claim in broken {
        let why = format!("{}: {}", render::text(claim, "/name"), render::text(claim, "/why"));
        screen.field("BROKEN", &screen.tone(Tone::Bad, &why));
    }
    let absent: Vec<String> = absent.into_iter().map(|c| render::text(c, "/name")).collect();
    if !absent.is_empty() {
        screen.field("not claimed", &absent.join(", "));
    }
}

fn explanation(answer: &Value, screen: &mut Screen) {
    screen.heading(&render::text(answer, "/tier"));
    let profile = answer.pointer("/profile").unwrap_or(&Value::Null);
    let paths = |name: &str| {
        let listed = render::list(profile, &format!("/paths/{name}"));
        listed.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    screen.field("system", &render::text(profile, "/paths/system"));
    for (label, name) in [("reads", "read"), ("writes", "write"), ("closed", "none")] {
        let listed = paths(name);
        screen.field(label, if listed.is_empty() { "nothing more" } else { &listed });
    }
    let proxy = render::text(profile, "/proxy");
    let reached = if proxy.is_empty() { "nobody".to_owned() } else { format!("{proxy}, a socket") };
    screen.field("network", &reached);
    let variables = profile.pointer("/environment").and_then(Value::as_object);
    let variables = variables.into_iter().flatten();
    let variables =
        variables.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
    screen.field("environment", &variables.collect::<Vec<_>>().join(" "));
    let limits = profile.pointer("/limits").and_then(Value::as_object);
    for (name, value) in limits.into_iter().flatten() {
        screen.field(name, &value.to_string());
    }
    screen.gap();
    screen.line("held by");
    holders(answer, screen);
}
