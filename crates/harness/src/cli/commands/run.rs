//! `harness run`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Asked, Outcome, Part, attach::Files, duration_ms, json_argument, render, rollback::Rollback,
    whole_number,
};
use crate::{
    app::{
        problem::{Kind, Problem},
        receipts,
        value::{counted, nearest},
    },
    cli::Context,
};

/// A task for an agent, or a verb.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Run {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    start: Start,
}

/// A task for an agent.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// What is to be done, in words: an agent does it, with reads alone unless --write is given
    #[arg(required = true, value_parser = task_in_words)]
    task: Option<String>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    files: Files,
    /// Only show what would be changed: reads are made, changes are judged and not made
    #[arg(long)]
    dry_run: bool,
    /// The same key is the same run
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Longest wait, such as 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
    timeout: u64,
}

/// What an agent that takes a task, or one message of a chat, may do.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// The pack whose operations it may use
    #[arg(long, value_name = "NAME")]
    pack: Option<String>,
    /// An agent of that pack
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The role of the model it thinks with, as `[models]` names it
    #[arg(long, value_name = "ROLE")]
    model: Option<String>,
    /// It may propose changes too; policy and people decide about each
    #[arg(long)]
    write: bool,
    /// It may propose commands for a shell, where the pack has one
    #[arg(long, requires = "write")]
    shell: bool,
    /// Most turns of its model
    #[arg(long, value_parser = whole_number::<u32>, allow_negative_numbers = true)]
    turns: Option<u32>,
    /// Most tokens, read and written
    #[arg(long, value_name = "TOKENS", value_parser = whole_number::<u64>, allow_negative_numbers = true)]
    budget: Option<u64>,
}

impl Terms {
    /// As the facade names them.
    pub(super) fn into_fields(self) -> Map<String, Value> {
        let fields = [
            ("pack", json!(self.pack)),
            ("agent", json!(self.agent)),
            ("model", json!(self.model)),
            ("write", json!(self.write)),
            ("shell", json!(self.shell)),
            ("turns", json!(self.turns)),
            ("tokens", json!(self.budget)),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

/// One word is a verb with a typo far more often than a task.
fn task_in_words(text: &str) -> Result<String, String> {
    if text.trim().contains(char::is_whitespace) {
        return Ok(text.to_owned());
    }
    let verbs = Verb::augment_subcommands(clap::Command::new("run"));
    let names: Vec<&str> = verbs.get_subcommands().map(clap::Command::get_name).collect();
    let hint = nearest(text, names.iter().copied());
    let hint = hint.map(|verb| format!("; did you mean `{verb}`?")).unwrap_or_default();
    Err(format!("a task is said in a sentence, and this is no verb{hint}"))
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Hand a task in words to an agent: the same as `harness run "…"`
    Start(Start),
    /// What each model call saw: by source, with its tokens and its answer
    Context {
        /// The run
        run: String,
        /// The model call, counted from 1: shows everything it saw
        #[arg(long, value_parser = whole_number::<u32>, allow_negative_numbers = true)]
        turn: Option<u32>,
        /// The exact request as well, built again from the journal
        #[arg(long, requires = "turn")]
        request: bool,
    },
    /// A file that was attached: what it is, and its text
    Attachment {
        /// The run
        run: String,
        /// What the file is called
        name: String,
        /// The file to write it to
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Tell whoever plans something: it lands at the next boundary
    Tell {
        /// The run
        run: String,
        /// What
        text: String,
    },
    /// Runs, newest first
    List(List),
    /// One run: what was done, its result, what it waits for
    Get {
        /// The run
        run: String,
    },
    /// The journal, as hashed
    Events {
        /// The run
        run: String,
        /// From this position on
        #[arg(long, default_value_t = 0, value_parser = whole_number::<u64>, allow_negative_numbers = true)]
        after: u64,
    },
    /// Go on where it was: after a crash, a pause, or when nobody serves
    Resume {
        /// The run
        run: String,
    },
    /// Stop: nothing new is done, what is done stays done
    Cancel {
        /// The run
        run: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Hold until resumed
    Pause {
        /// The run
        run: String,
    },
    /// Wake what waits for a named signal
    Signal {
        /// The run
        run: String,
        /// The signal
        name: String,
        /// Its body, as JSON or @FILE
        #[arg(long, default_value = "null")]
        body: String,
    },
    /// Take effects back, newest first
    Rollback(Rollback),
    /// Replay from the journal: no effect is possible
    Replay {
        /// The run
        run: String,
        /// Under the pack as it is now: would it do the same tomorrow?
        #[arg(long)]
        current: bool,
    },
    /// What its programs asked of the outside, what was refused included
    Egress {
        /// The run
        run: String,
        /// Where the page before ended
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Files that it published as results
    Artifacts {
        /// The run
        run: String,
    },
    /// Write a file that it published, checked against its digest
    Artifact(super::artifact::Fetch),
    /// Work that runs did in folders of their own: look at it, merge it, drop it
    #[command(subcommand)]
    Work(super::work::Verb),
    /// Let the port at which a job listens be reached from outside, by an address with a token, for a while
    Expose(super::lease::Expose),
    /// Jobs that are reached from outside
    Leases,
    /// End a lease: nobody reaches the job by it any more
    Unexpose {
        /// The lease
        lease: String,
    },
    /// Write one file that another machine can verify and replay
    Export(Export),
}

/// Which runs.
#[derive(Debug, Args)]
pub(super) struct List {
    /// In this state
    #[arg(long)]
    status: Option<String>,
    /// Of this intent
    #[arg(long)]
    intent: Option<String>,
    /// By this agent
    #[arg(long)]
    agent: Option<String>,
    /// Of this pack, in every version or in this one
    #[arg(long, value_name = "NAME[@VERSION]")]
    pack: Option<String>,
    /// Begun at or after, such as 2026-11-24 or 2026-11-24T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Begun before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// In which this operation was proposed, such as billing.create_refund
    #[arg(long)]
    operation: Option<String>,
    /// About this customer
    #[arg(long)]
    customer: Option<String>,
    /// About this account
    #[arg(long)]
    account: Option<String>,
    /// About this subject, such as customer=ACC-0042
    #[arg(long, value_name = "KIND=VALUE")]
    subject: Option<String>,
    /// Where the page before ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = whole_number::<usize>, allow_negative_numbers = true)]
    limit: usize,
}

/// What to export.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The run
    run: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Leave the values out: commitments only
    #[arg(long)]
    withhold: bool,
    /// An earlier checkpoint to prove consistency with
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

fn steer(run: &str, verb: &str, more: Value) -> Outcome {
    let mut body = json!({ "run": run, "verb": verb });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    Outcome::Ask(Asked::new("run.steer", body, render::run))
}

impl Run {
    /// What the command comes to.
    ///
    /// # Errors
    /// A body that is not JSON, a word that is neither a verb nor a task.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        match self.verb {
            Some(verb) => verb.outcome(context),
            None => self.start.outcome(context),
        }
    }
}

impl Start {
    fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let mut body = self.terms.into_fields();
        body.extend(self.files.to_fields()?);
        body.insert("dry_run".to_owned(), json!(self.dry_run));
        body.insert("task".to_owned(), json!(self.task.unwrap_or_default()));
        body.insert("idempotency_key".to_owned(), json!(self.idempotency_key));
        body.insert("wait_ms".to_owned(), json!(self.timeout));
        Ok(Outcome::Async(Box::pin(super::agent::run(body, context.clone()))))
    }
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// A body that is not JSON.
    fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let ask = |asked| Ok(Outcome::Ask(asked));
        match self {
            Self::List(list) => {
                let body = json!({
                    "status": list.status, "intent": list.intent, "agent": list.agent,
                    "pack": list.pack, "since": list.since, "until": list.until,
                    "operation": list.operation, "customer": list.customer,
                    "account": list.account, "subject": list.subject, "after": list.after, "limit": list.limit,
                });
                ask(Asked::new("run.list", body, render::run_list))
            }
            Self::Start(start) => start.outcome(context),
            Self::Context { run, turn, request } => {
                let body = json!({ "run": run, "turn": turn, "request": request });
                ask(Asked::new("run.context", body, super::agent::context))
            }
            Self::Attachment { run, name, out } => {
                let body = json!({ "run": run, "name": name });
                let mut asked = Asked::new("run.attachment", body, super::attach::shown);
                asked.save = out.map(|path| (Part::Bytes("data"), path));
                ask(asked)
            }
            Self::Tell { run, text } => Ok(steer(&run, "tell", json!({ "text": text }))),
            Self::Get { run } => {
                ask(Asked::new("run.get", json!({ "run": run }), render::run_detail))
            }
            Self::Events { run, after } => {
                ask(Asked::new("run.events", json!({ "run": run, "after": after }), render::events))
            }
            Self::Resume { run } => {
                ask(Asked::new("run.resume", json!({ "run": run }), render::run).by_status())
            }
            Self::Cancel { run, reason } => Ok(steer(&run, "cancel", json!({ "reason": reason }))),
            Self::Pause { run } => Ok(steer(&run, "pause", json!({}))),
            Self::Signal { run, name, body } => {
                let body = json_argument(&body)?;
                Ok(steer(
                    &run,
                    "signal",
                    json!({ "signal": name, "body": body, "wait_ms": duration_ms("10m").unwrap_or(0) }),
                ))
            }
            Self::Rollback(args) => ask(args.asked()),
            Self::Egress { run, after } => {
                let body = json!({ "run": run, "after": after });
                ask(Asked::new("run.egress", body, egress))
            }
            Self::Artifacts { run } => ask(super::artifact::list(&run)),
            Self::Artifact(fetch) => Ok(fetch.outcome(context)),
            Self::Work(verb) => ask(verb.asked()),
            Self::Expose(expose) => ask(expose.asked()),
            Self::Leases => ask(super::lease::list()),
            Self::Unexpose { lease } => ask(super::lease::end(&lease)),
            Self::Replay { run, current } => {
                let body = json!({ "run": run, "current": current });
                let mut asked = Asked::new("run.replay", body, render::replay);
                asked.exit = |answer| match answer.get("identical").and_then(Value::as_bool) {
                    Some(true) => 0,
                    _ => Kind::VerificationFailed.exit_code(),
                };
                ask(asked)
            }
            Self::Export(args) => {
                let since = args.since.as_deref().map(receipts::read_text).transpose()?;
                let body = json!({ "run": args.run, "withhold": args.withhold, "since": since });
                let mut asked = Asked::new("run.export", body, exported);
                asked.save = Some((Part::Text("bundle"), args.to));
                ask(asked)
            }
        }
    }
}

fn egress(answer: &Value, screen: &mut crate::cli::screen::Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("Its programs asked nothing of the outside.");
    }
    for item in items {
        let text = |pointer: &str| render::text(item, pointer);
        let asked =
            format!("{} {}:{}{}", text("/method"), text("/host"), text("/port"), text("/path"));
        let came = match text("/refused") {
            none if none.is_empty() => format!("{}, {} back", text("/status"), text("/bytes_in")),
            refused => format!("refused: {refused}"),
        };
        screen.field(&text("/operation"), &format!("{asked} → {came}"));
    }
    if answer.get("next").is_some_and(Value::is_string) {
        screen.field("more", &format!("--after {}", render::text(answer, "/next")));
    }
}

fn exported(answer: &Value, screen: &mut crate::cli::screen::Screen) {
    let count = |at, noun| counted(render::text(answer, at), noun);
    let (events, receipts) = (count("/events", "event"), count("/receipts", "receipt"));
    screen.line(&format!("{events} and {receipts} exported."));
    screen.field("public key", &render::text(answer, "/public_key"));
    screen.field("verify", "harness receipt verify --bundle FILE --key PUBLIC-KEY-FILE");
}
