//! `harness exception`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Asked, Outcome, about::About, duration_ms, json_argument, render, whole_number};
use crate::{app::problem::Problem, cli::screen::Screen};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Runs that need someone, oldest first
    List(Box<List>),
    /// One exception: what happened, what was tried, what is safe to do next
    Get {
        /// The exception
        exception: String,
    },
    /// Try it again: the step, or taking back
    Retry(Decision),
    /// Go on with your answer as the step's output
    Answer {
        /// The exception
        exception: String,
        /// The answer, as JSON or @FILE; it must fit the step's schema
        value: String,
        /// Why you decide so
        #[arg(long)]
        reason: String,
    },
    /// Say how a doubt ended: happened or did-not-happen; stop ends an escalated run
    Settle {
        /// The exception
        exception: String,
        /// What you decide
        verb: String,
        /// How you know
        #[arg(long)]
        evidence: String,
    },
    /// Go on without the step
    Skip(Decision),
    /// End the run and take back what it did
    Rollback(Decision),
    /// Take it off the queue: it needs nothing more
    Close(Decision),
    /// Look after it yourself: others see that
    Claim {
        /// The exception
        exception: String,
    },
    /// Have somebody look after it
    Assign(Assign),
    /// Nobody looks after it any more
    Release {
        /// The exception
        exception: String,
    },
    /// Move it to the end of everybody's list; nothing is decided
    SetAside {
        /// The exception
        exception: String,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Move it back to its place
    TakeUp {
        /// The exception
        exception: String,
    },
}

/// Who looks after something.
#[derive(Debug, Args)]
pub struct Assign {
    /// The exception
    exception: String,
    /// The person, as `people` declares them
    #[arg(long, value_name = "PERSON")]
    to: String,
    /// What they should know
    #[arg(long, default_value = "")]
    note: String,
}

/// Which exceptions.
#[derive(Debug, Args)]
pub struct List {
    /// Settled ones too
    #[arg(long)]
    all: bool,
    /// Of this run
    #[arg(long)]
    run: Option<String>,
    /// Of this failure class, such as timeout
    #[arg(long)]
    class: Option<String>,
    /// That need this: in-doubt, escalated, undo-failed, conflict, unplanned or defect
    #[arg(long)]
    need: Option<String>,
    /// Owned by this role or person
    #[arg(long)]
    owner: Option<String>,
    /// Open for at least so long, such as 2h
    #[arg(long, value_name = "TIME", value_parser = duration_ms, allow_hyphen_values = true)]
    older_than: Option<u64>,
    #[command(flatten)]
    about: About,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = whole_number::<usize>, allow_negative_numbers = true)]
    limit: usize,
}

/// A decision and its reason.
#[derive(Debug, Args)]
pub struct Decision {
    /// The exception
    exception: String,
    /// Why you decide so
    #[arg(long)]
    reason: String,
}

impl Decision {
    fn asked(self, verb: &str) -> Outcome {
        decide(json!({ "exception": self.exception, "verb": verb, "evidence": self.reason }))
    }
}

fn decide(body: Value) -> Outcome {
    Outcome::Ask(Asked::new("exception.settle", body, render::run).by_status())
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// A value that is not JSON.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        Ok(match self {
            Self::List(list) => {
                let list = *list;
                let body = list.about.with(json!({
                    "all": list.all, "run": list.run, "class": list.class, "need": list.need,
                    "owner": list.owner, "older_than_ms": list.older_than, "limit": list.limit,
                }));
                Outcome::Ask(Asked::new("exception.list", body, exceptions))
            }
            Self::Get { exception } => {
                let body = json!({ "exception": exception });
                Outcome::Ask(Asked::new("exception.get", body, detail))
            }
            Self::Claim { exception } => claim(&exception, "claim", Value::Null),
            Self::Assign(Assign { exception, to, note }) => {
                claim(&exception, "assign", json!({ "to": to, "note": note }))
            }
            Self::Release { exception } => claim(&exception, "release", Value::Null),
            Self::SetAside { exception, note } => {
                claim(&exception, "set_aside", json!({ "note": note }))
            }
            Self::TakeUp { exception } => claim(&exception, "take_up", Value::Null),
            Self::Retry(decision) => decision.asked("retry"),
            Self::Skip(decision) => decision.asked("skip"),
            Self::Rollback(decision) => decision.asked("rollback"),
            Self::Close(decision) => decision.asked("close"),
            Self::Answer { exception, value, reason } => {
                let value = json_argument(&value)?;
                decide(json!({
                    "exception": exception, "verb": "use", "value": value, "evidence": reason,
                }))
            }
            Self::Settle { exception, verb, evidence } => {
                let verb = verb.replace('-', "_");
                decide(json!({ "exception": exception, "verb": verb, "evidence": evidence }))
            }
        })
    }
}

fn claim(exception: &str, verb: &str, more: Value) -> Outcome {
    let mut body = more.as_object().cloned().unwrap_or_default();
    body.insert("exception".to_owned(), json!(exception));
    body.insert("verb".to_owned(), json!(verb));
    Outcome::Ask(Asked::new("exception.claim", Value::Object(body), render::claim))
}

/// Milliseconds as people say them.
fn age(text: &str) -> String {
    let seconds = text.parse::<i64>().unwrap_or_default() / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn needs(row: &Value) -> String {
    let (need, class) = (render::text(row, "/need"), render::text(row, "/class"));
    let count = row.get("count").and_then(Value::as_u64).unwrap_or(1);
    let times = if count > 1 { format!(", {count} times") } else { String::new() };
    format!("{} ({class}){times}", need.replace('_', " "))
}

fn row(row: &Value, screen: &mut Screen) {
    screen.heading(&render::text(row, "/id"));
    let state = screen.status(&render::text(row, "/state"));
    let waited = age(&render::text(row, "/age_ms"));
    screen.field("state", &format!("{state}, {waited}"));
    screen.field("needs", &needs(row));
    let (run, step) = (render::text(row, "/run"), render::text(row, "/step"));
    screen.field("run", &if step.is_empty() { run } else { format!("{run}, step {step}") });
    let since = render::short_time(&render::text(row, "/opened_at"));
    screen.field("owner", &format!("{}, since {since}", render::text(row, "/owner")));
}

/// The queue.
fn exceptions(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("No run needs anyone.");
        return;
    }
    for item in items {
        row(item, screen);
        screen.field("verbs", &render::joined(item, "/verbs"));
    }
    render::more(answer, screen);
}

/// One exception in full.
fn detail(answer: &Value, screen: &mut Screen) {
    let Some(exception) = answer.get("exception") else { return };
    row(exception, screen);
    let run = screen.status(&render::text(answer, "/run/status"));
    screen.field("run is", &run);
    screen.field("what", &render::text(answer, "/summary"));
    let said = render::text(answer, "/said");
    if !said.is_empty() {
        screen.field("it said", &said);
    }
    if let Some(sample) = answer.get("sample").filter(|sample| !sample.is_null()) {
        screen.field("sample", &sample.to_string());
    }
    for line in render::list(answer, "/tried") {
        let outcome = screen.status(&render::text(line, "/outcome"));
        let (action, operation) = (render::text(line, "/action"), render::text(line, "/operation"));
        let rules = render::joined(line, "/rules");
        let by = if rules.is_empty() { String::new() } else { format!(", by {rules}") };
        let verdict = render::text(line, "/verdict");
        screen.field("tried", &format!("#{action} {operation}: {outcome} ({verdict}{by})"));
    }
    for step in render::list(answer, "/steps_back") {
        let (by, why) = (render::text(step, "/by"), render::text(step, "/why"));
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let at = render::short_time(&render::text(step, "/at"));
        screen.field("then", &format!("{}{by}, {at}{why}", render::text(step, "/what")));
    }
    for verb in render::list(answer, "/safe") {
        screen.gap();
        screen.line(&format!("  {}", render::text(verb, "/command")));
        screen.field("does", &render::text(verb, "/does"));
        screen.field("but", &render::text(verb, "/why"));
    }
}
