//! `harness token`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Asked, Outcome, duration_ms, render};
use crate::{app::problem::Problem, cli::screen::Screen};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// A token for yourself, an agent or a service; it is shown this once
    Create(Create),
    /// Tokens, without their secrets
    List,
    /// End a token at once
    Revoke {
        /// Its id, or the whole token
        token: String,
    },
    /// A link that signs you in at the web UI, once, within ten minutes
    Link,
}

/// What a token should be.
#[derive(Debug, Args)]
pub struct Create {
    /// What it is for, in words
    name: String,
    /// For this agent, which may only propose
    #[arg(long, conflicts_with = "service", requires = "owner")]
    agent: Option<String>,
    /// For this service
    #[arg(long)]
    service: Option<String>,
    /// The person an agent acts for: they cannot approve what it proposes
    #[arg(long, value_name = "PERSON")]
    owner: Option<String>,
    /// A role: of yours, or viewer, requester, operator or admin for a service
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Only for this: read, propose, operate, decide or admin
    #[arg(long = "scope", value_name = "RIGHT")]
    scopes: Vec<String>,
    /// How long it is valid [default: 90d, and no longer than what you ask with]
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    valid: Option<u64>,
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// None.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let asked = match self {
            Self::Create(create) => Asked::new("token.create", create.body(), made),
            Self::List => Asked::new("token.list", json!({}), tokens),
            Self::Revoke { token } => {
                Asked::new("token.revoke", json!({ "token": token }), |answer, screen| {
                    one(answer, screen);
                })
            }
            Self::Link => Asked::new("token.link", json!({}), link),
        };
        Ok(Outcome::Ask(asked))
    }
}

impl Create {
    fn body(self) -> Value {
        let (sort, principal) = match (self.agent, self.service) {
            (Some(agent), _) => ("agent", Some(agent)),
            (None, Some(service)) => ("service", Some(service)),
            (None, None) => ("person", None),
        };
        json!({
            "name": self.name, "sort": sort, "principal": principal, "owner": self.owner,
            "roles": self.roles, "scopes": self.scopes, "valid_ms": self.valid,
        })
    }
}

fn made(answer: &Value, screen: &mut Screen) {
    if let Some(kept) = answer.get("kept") {
        one(kept, screen);
    }
    screen.gap();
    screen.line(&render::text(answer, "/token"));
    screen.gap();
    screen.line("Keep it now: nobody can show it again.");
}

fn tokens(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("There are no tokens.");
        return;
    }
    let row = |item: &Value| {
        let text = |at: &str| render::text(item, at);
        let used = text("/used_at");
        let used = if used.is_empty() { "never".to_owned() } else { render::short_time(&used) };
        let state = screen.status(&text("/state"));
        vec![
            text("/id"),
            text("/name"),
            text("/principal"),
            state,
            render::short_time(&text("/expires_at")),
            used,
        ]
    };
    let rows: Vec<Vec<String>> = items.into_iter().map(row).collect();
    screen.table(&["token", "for", "principal", "state", "until", "last used"], &rows);
}

fn one(answer: &Value, screen: &mut Screen) {
    let text = |at: &str| render::text(answer, at);
    let words = |at: &str| {
        let all = render::list(answer, at).into_iter().filter_map(Value::as_str);
        all.collect::<Vec<_>>().join(", ")
    };
    screen.heading(&format!("token {}", text("/id")));
    let state = screen.status(&text("/state"));
    screen.field("state", &state);
    screen.field("for", &text("/name"));
    let owner = text("/owner");
    let whose = if owner.is_empty() { String::new() } else { format!(" for {owner}") };
    screen.field("stands for", &format!("{}{whose}", text("/principal")));
    let roles = words("/roles");
    screen.field("roles", if roles.is_empty() { "none: it may only propose" } else { &roles });
    screen.field("may", &words("/scopes"));
    screen.field("valid until", &render::short_time(&text("/expires_at")));
}

fn link(answer: &Value, screen: &mut Screen) {
    screen.field("open", &render::text(answer, "/path"));
    screen.field("below", "the address that `harness serve --listen` printed");
    screen.field("signs in", &render::text(answer, "/person"));
    screen.field("until", &render::short_time(&render::text(answer, "/expires_at")));
}
