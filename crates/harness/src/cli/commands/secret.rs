//! `harness secret`

use std::io::{IsTerminal as _, Read as _};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::{Asked, Outcome, render};
use crate::{
    app::{
        ops,
        problem::Problem,
        reveals,
        secrets::{self, Granting},
    },
    cli::{Context, client, screen::Screen, typed},
};

/// Most that is read of a value, in bytes: more than any may have, so that one that is too long is refused, not cut.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Keep a value under a name; it is typed unseen, or read from standard input
    Set(Valued),
    /// Secrets that are kept, and who may use them; never their values
    List,
    /// Let a system use a secret, everywhere or for one host, method and path
    Grant(Grant),
    /// Take back what was granted to a system
    Revoke {
        /// Its name
        name: String,
        /// The system
        #[arg(long)]
        system: String,
    },
    /// Give a secret another value; the earlier one is never used again, and still kept out of answers
    Rotate(Valued),
    /// Forget a secret
    Remove {
        /// Its name
        name: String,
    },
    /// Have back what was taken out of an answer and kept, with the key it was sealed for; it is recorded who had it
    Reveal(Reveal),
    /// Who had back what was taken out of answers
    Reveals,
}

/// What somebody wants back.
#[derive(Debug, Args)]
pub struct Reveal {
    /// The mark that stands in its place, such as '[card:1111#0123456789abcdef0123]', or what stands behind its `#`
    mark: String,
    /// The file of the private key, as `age-keygen` makes it; absent = it is read from standard input
    #[arg(long, value_name = "FILE")]
    key: Option<std::path::PathBuf>,
}

impl Reveal {
    fn holder(&self) -> Result<secrets::Holder, Problem> {
        match &self.key {
            Some(path) => secrets::holder_of_file(path),
            None => secrets::holder_of_text(&value("The private key (it is not shown): ")?),
        }
    }
}

/// A secret whose value is read.
#[derive(Debug, Args)]
pub struct Valued {
    /// Its name
    name: String,
    /// Caught so that it is refused without being repeated.
    #[arg(hide = true)]
    value: Vec<String>,
}

/// What is granted.
#[derive(Debug, Args)]
pub struct Grant {
    /// Its name
    name: String,
    /// The system, `provider:NAME`, `harness:notify` or `harness:sign-in`
    #[arg(long)]
    system: String,
    /// Only there, such as api.example.com, api.example.com:8443 or *.example.com
    #[arg(long)]
    host: Option<String>,
    /// Only with this method, such as GET
    #[arg(long)]
    method: Option<String>,
    /// Only there, such as '/v1/accounts/*' or '/v1/**'
    #[arg(long)]
    path: Option<String>,
}

impl Verb {
    /// What the command comes to: it works on the files of this machine, whoever owns the store.
    ///
    /// # Errors
    /// What is wrong with the name, the value or the file.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let why = "secrets are kept on the machine that holds the store, and do not travel";
        let config = client::load_here(&context.overrides, why)?;
        match self {
            Self::Set(valued) => {
                let (name, value) = valued.read()?;
                one(&secrets::set(&config, &name, &value)?)
            }
            Self::Rotate(valued) => {
                let (name, value) = valued.read()?;
                one(&secrets::rotate(&config, &name, &value)?)
            }
            Self::Grant(Grant { name, system, host, method, path }) => {
                let granting = Granting { system, host, method, path };
                one(&secrets::grant(&config, &name, granting)?)
            }
            Self::Revoke { name, system } => one(&secrets::revoke(&config, &name, &system)?),
            Self::Remove { name } => {
                let removed = secrets::remove(&config, &name)?;
                document("harness.secret-removed/v1", &removed, |answer, screen| {
                    screen.line(&format!("{} is forgotten.", render::text(answer, "/name")));
                    for name in render::list(answer, "/declared_as") {
                        let name = name.as_str().unwrap_or_default();
                        screen.line(&format!("[secrets] {name} leads nowhere now."));
                    }
                })
            }
            Self::Reveal(asked) => {
                let revealed = reveals::reveal(&config, &asked.mark, &asked.holder()?)?;
                document("harness.secret-revealed/v1", &revealed, |answer, screen| {
                    screen.line(&render::text(answer, "/value"));
                })
            }
            Self::Reveals => {
                document("harness.secret-reveal-list/v1", &reveals::list(&config)?, revealed)
            }
            Self::List => document("harness.secret-list/v1", &secrets::list(&config)?, listed),
        }
    }
}

impl Valued {
    fn read(self) -> Result<(String, zeroize::Zeroizing<String>), Problem> {
        if !self.value.is_empty() {
            let detail =
                "a value is never an argument: others would see it, and the shell keeps it";
            return Err(Problem::usage("secret-argument", detail).next(
                "give the name alone and type the value, or pipe it in; change the value, since it was seen",
            ));
        }
        Ok((self.name, value("The value (it is not shown): ")?))
    }
}

/// The value: typed unseen at a terminal, else what stands in standard input.
fn value(asked: &str) -> Result<zeroize::Zeroizing<String>, Problem> {
    let refuse = |detail: String| {
        Problem::usage("secret-input", detail)
            .next("pipe it in, such as `harness secret set NAME < FILE`")
    };
    if std::io::stdin().is_terminal() {
        return typed::unseen(asked)
            .ok_or_else(|| refuse("nothing was typed, or more than a terminal takes".to_owned()));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = std::io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| {
        refuse(format!("standard input cannot be read as text: {}", error.kind()))
    })?;
    Ok(text)
}

fn document<T: Serialize>(
    schema: &str,
    answer: &T,
    render: fn(&Value, &mut Screen),
) -> Result<Outcome, Problem> {
    let document = ops::document(schema, answer)?;
    Ok(Outcome::Document { document, asked: Asked::new("secret", Value::Null, render) })
}

fn one(view: &secrets::SecretView) -> Result<Outcome, Problem> {
    document("harness.secret/v1", view, |answer, screen| {
        screen.heading(&render::text(answer, "/name"));
        screen.field("changed", &render::short_time(&render::text(answer, "/rotated_at")));
        let grants = grants(answer);
        if grants.is_empty() {
            screen.field("granted to", "nobody yet: `harness secret grant NAME --system SYSTEM`");
        }
        for grant in grants {
            screen.field("granted to", &grant);
        }
        let declared = render::list(answer, "/declared_as");
        if declared.is_empty() {
            let name = render::text(answer, "/name");
            screen
                .field("to use it", &format!("write `{name} = \"secret:{name}\"` under [secrets]"));
        }
    })
}

/// Each grant in one line.
fn grants(item: &Value) -> Vec<String> {
    let line = |grant: &Value| {
        let text = |at: &str| render::text(grant, at);
        let place = format!("{}{}", text("/host"), text("/path"));
        let bound = [text("/method"), place].join(" ");
        [text("/system"), bound.trim().to_owned()].join(" ").trim().to_owned()
    };
    render::list(item, "/grants").into_iter().map(line).collect()
}

fn listed(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("No secrets are kept. `harness secret set NAME` keeps one.");
        return;
    }
    let row = |item: &Value| {
        let grants = grants(item);
        let grants = if grants.is_empty() { "nobody".to_owned() } else { grants.join(", ") };
        vec![
            render::text(item, "/name"),
            grants,
            render::short_time(&render::text(item, "/created_at")),
            render::short_time(&render::text(item, "/rotated_at")),
        ]
    };
    let rows: Vec<Vec<String>> = items.into_iter().map(row).collect();
    screen.table(&["secret", "granted to", "made", "changed"], &rows);
}

fn revealed(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("Nobody had anything back that was taken out of answers.");
        return;
    }
    let row = |item: &Value| {
        let text = |at: &str| render::text(item, at);
        let opened = item.pointer("/opened").and_then(Value::as_bool).unwrap_or_default();
        let came = if opened { "opened" } else { "refused: another key" };
        let who = format!("{} (account {})", text("/who"), text("/account"));
        vec![render::short_time(&text("/at")), who, text("/kind"), text("/name"), came.to_owned()]
    };
    let rows: Vec<Vec<String>> = items.into_iter().map(row).collect();
    screen.table(&["when", "who", "what", "name", "came to"], &rows);
}
