//! `harness chat`: a conversation at the terminal. Each message is a run of its own, governed as a task of
//! `harness run` is and handed what was said before; what is typed while a run waits for a person is told to it.

use std::{
    io::{BufRead as _, IsTerminal as _, Read as _, Write as _},
    path::Path,
    thread,
};

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{Asked, Outcome, agent, duration_ms, render, run::Terms};
use crate::{
    app::{
        attachments::Attach,
        problem::{Kind, Problem},
        value::visible,
    },
    cli::{Context, Format, client::Client, print, screen::Screen, show_problem},
};

/// Longest message, in bytes; a longer one is no message that anybody typed.
const MESSAGE_MAX_BYTES: u64 = 65_536;

/// How long a run that was told something or cancelled is listened to, in ms.
const AFTERWARDS_MS: u64 = 10_000;

const HELP: &str =
    "/attach FILE  a file or a picture for the next message; what stands in it is untrusted
/context      what the model saw in the last turn
/help         this list
/quit         end; so does the end of the input
An empty line looks again at a turn that waits. Ctrl-C stops a turn, not the chat.";

/// Options.
#[derive(Debug, Args)]
pub struct Chat {
    #[command(flatten)]
    terms: Terms,
    /// Go on after this run, the last one of an earlier chat; what it may do is said again
    #[arg(long, value_name = "RUN")]
    resume: Option<String>,
    /// Longest wait for an answer, such as 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
    timeout: u64,
}

impl Chat {
    /// What the command comes to.
    ///
    /// # Errors
    /// Where answers could not be printed as asked.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        if context.format == Format::Json {
            let detail = "a chat has an answer for each message, and -o json is one document";
            return Err(
                Problem::usage("one-document", detail).next("use -o ndjson: one document a line")
            );
        }
        Ok(Outcome::Async(Box::pin(talk(self, context.clone()))))
    }
}

/// The last turn.
struct Turn {
    run: String,
    /// It has not ended: what is typed next is told to it.
    open: bool,
}

struct Talk {
    context: Context,
    /// What every message of the chat is sent with.
    terms: Map<String, Value>,
    timeout_ms: u64,
    last: Option<Turn>,
    /// What goes with the next message that begins a turn.
    files: Vec<Attach>,
    interrupts: Signal,
    code: u8,
}

/// Takes one line after the other until there is none.
async fn talk(chat: Chat, context: Context) -> Result<u8, Problem> {
    let mut talk = Talk::begin(chat, context).await?;
    let mut lines = lines();
    loop {
        talk.prompt();
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = talk.interrupts.recv() => {
                talk.note("No turn is under way; /quit ends the chat.");
                continue;
            }
        };
        let Some(line) = line else { break };
        let line = line?;
        let went = match line.trim() {
            "/quit" => break,
            "/help" => {
                talk.note(HELP);
                Ok(())
            }
            "/context" => talk.show_context().await,
            "" => talk.look().await,
            word if word.split_whitespace().next() == Some("/attach") => talk.attach(word),
            word if word.starts_with('/') && !word.contains(char::is_whitespace) => {
                talk.note(&format!("`{}` is no command here; /help lists them.", visible(word)));
                Ok(())
            }
            text => talk.say(text).await,
        };
        // At a terminal somebody can say it again in another way; a program is told, and that is all.
        match went {
            Err(problem) if std::io::stdin().is_terminal() => show_problem(&problem, &talk.context),
            other => other?,
        }
    }
    Ok(talk.code)
}

impl Talk {
    async fn begin(chat: Chat, context: Context) -> Result<Self, Problem> {
        let interrupts = signal(SignalKind::interrupt()).map_err(|e| {
            Problem::new(Kind::Unexpected, "signals", format!("cannot listen for signals: {e}"))
        })?;
        let terms = chat.terms.into_fields();
        let timeout_ms = chat.timeout;
        let (last, files) = (None, Vec::new());
        let mut talk = Self { context, terms, timeout_ms, last, files, interrupts, code: 0 };
        if let Some(run) = chat.resume {
            talk.resume(run).await?;
        }
        Ok(talk)
    }

    /// Drives on what was left, shows where it stands, and goes on with the same agent.
    async fn resume(&mut self, run: String) -> Result<(), Problem> {
        let client = Client::open(&self.context.overrides).await?;
        let named = json!({ "run": run });
        let mut detail = client.call("run.get", named.clone()).await;
        if detail.as_ref().is_ok_and(|detail| !is_over(detail)) && client.is_local() {
            client.call("run.resume", named.clone()).await?;
            detail = client.call("run.get", named.clone()).await;
        }
        client.close().await?;
        let detail = detail?;
        let pack = render::text(&detail, "/run/pack");
        let agent = render::text(&detail, "/run/agent");
        self.unless_said("pack", json!(pack.split('@').next()));
        let named = agent.strip_prefix("agent:").filter(|name| *name != "assistant");
        self.unless_said("agent", json!(named));
        self.show(&detail, &run)
    }

    fn unless_said(&mut self, name: &str, value: Value) {
        if self.terms.get(name).is_none_or(Value::is_null) {
            self.terms.insert(name.to_owned(), value);
        }
    }

    /// A message: to the turn that is open, or as the next one.
    async fn say(&mut self, text: &str) -> Result<(), Problem> {
        let Some(Turn { run, open: true }) = &self.last else { return self.start(text).await };
        let run = run.clone();
        let client = Client::open(&self.context.overrides).await?;
        let named = json!({ "run": run });
        let mut detail = client.call("run.get", named.clone()).await?;
        let ended = is_over(&detail);
        if !ended {
            let told = json!({
                "run": run, "verb": "tell", "text": text, "wait_ms": AFTERWARDS_MS,
            });
            client.call("run.steer", told).await?;
            detail = client.call("run.get", named).await?;
        }
        client.close().await?;
        self.show(&detail, &run)?;
        // It ended while nobody looked: what was typed is the next message.
        if ended { self.start(text).await } else { Ok(()) }
    }

    /// The next turn, from its message to where it parks.
    async fn start(&mut self, text: &str) -> Result<(), Problem> {
        let mut body = self.terms.clone();
        body.insert("task".to_owned(), json!(text));
        body.insert("after".to_owned(), json!(self.last.as_ref().map(|turn| &turn.run)));
        let key = uuid::Uuid::now_v7().to_string();
        body.insert("idempotency_key".to_owned(), json!(key));
        if !self.files.is_empty() {
            // One that is refused is not sent again and again.
            body.insert("attachments".to_owned(), json!(std::mem::take(&mut self.files)));
        }
        let client = Client::open(&self.context.overrides).await?;
        let turn = self.turn(&client, body).await;
        client.close().await?;
        let answer = turn?;
        let run = render::text(&answer, "/run/id");
        self.show(&answer, &run)
    }

    async fn turn(&mut self, client: &Client, body: Map<String, Value>) -> Result<Value, Problem> {
        // Begun first and waited for then, so that there is a run to stop.
        let mut begins = body.clone();
        begins.insert("hear".to_owned(), json!(agent::is_watched(&self.context)));
        let begun = client.call("run.start", Value::Object(begins)).await?;
        let run = render::text(&begun, "/run/id");
        let waits = |ms: u64| {
            let mut body = body.clone();
            body.insert("wait_ms".to_owned(), json!(ms));
            Value::Object(body)
        };
        let ends = client.call("run.start", waits(self.timeout_ms));
        tokio::select! {
            answer = agent::overheard(client, &begun, ends) => answer,
            _ = self.interrupts.recv() => {
                let cancel = json!({
                    "run": run, "verb": "cancel", "reason": "stopped at the terminal",
                    "wait_ms": AFTERWARDS_MS,
                });
                client.call("run.steer", cancel).await?;
                client.call("run.start", waits(AFTERWARDS_MS)).await
            }
        }
    }

    /// Takes a file up for the next message.
    fn attach(&mut self, line: &str) -> Result<(), Problem> {
        let path = line.trim_start_matches("/attach").trim();
        if path.is_empty() {
            self.note("Name the file: /attach FILE");
            return Ok(());
        }
        if self.last.as_ref().is_some_and(|turn| turn.open) {
            self.note("A turn is under way, and takes words alone; attach it once that has ended.");
            return Ok(());
        }
        let file = Attach::of_file(Path::new(path))?;
        self.note(&format!("`{}` goes with the next message.", visible(&file.name)));
        self.files.push(file);
        Ok(())
    }

    /// Looks again at a turn that waits.
    async fn look(&mut self) -> Result<(), Problem> {
        let Some(Turn { run, open: true }) = &self.last else { return Ok(()) };
        let run = run.clone();
        let detail = self.ask("run.get", json!({ "run": run })).await?;
        self.show(&detail, &run)
    }

    async fn show_context(&mut self) -> Result<(), Problem> {
        let Some(Turn { run, .. }) = &self.last else {
            self.note("Nothing was said yet.");
            return Ok(());
        };
        let body = json!({ "run": run });
        let seen = self.ask("run.context", body.clone()).await?;
        print(&seen, &Asked::new("run.context", body, agent::context), &self.context).map(drop)
    }

    async fn ask(&self, op: &'static str, body: Value) -> Result<Value, Problem> {
        let client = Client::open(&self.context.overrides).await?;
        let answer = client.call(op, body).await;
        client.close().await?;
        answer
    }

    /// Prints where a turn stands. The store is nobody's meanwhile, so that others can decide about it.
    fn show(&mut self, answer: &Value, run: &str) -> Result<(), Problem> {
        self.last = Some(Turn { run: run.to_owned(), open: !is_over(answer) });
        let asked = Asked::new("run.start", Value::Null, told).by_status();
        self.code = print(answer, &asked, &self.context)?;
        Ok(())
    }

    fn prompt(&self) {
        if std::io::stdin().is_terminal() && !self.context.quiet {
            let mut stderr = std::io::stderr();
            // Whoever watched may have gone.
            let _gone = stderr.write_all(b"> ").and_then(|()| stderr.flush());
        }
    }

    fn note(&self, text: &str) {
        if !self.context.quiet && self.context.format == Format::Table {
            let mut stderr = std::io::stderr();
            let _gone = stderr.write_all(format!("{text}\n").as_bytes());
        }
    }
}

fn is_over(answer: &Value) -> bool {
    matches!(
        render::text(answer, "/run/status").as_str(),
        "succeeded" | "partial" | "failed" | "cancelled" | "rolled_back" | "partly_rolled_back"
    )
}

/// What it said, what is missing from it, and what it waits for.
fn told(answer: &Value, screen: &mut Screen) {
    match answer.get("output") {
        Some(Value::String(text)) => text.lines().for_each(|line| screen.line(&visible(line))),
        None | Some(Value::Null) => {}
        Some(other) => screen.line(&visible(&format!("{other:#}"))),
    }
    for caveat in render::list(answer, "/caveats") {
        screen.field("caveat", &visible(caveat.as_str().unwrap_or_default()));
    }
    for stopped in render::list(answer, "/agents") {
        let reason = render::text(stopped, "/stopped");
        if reason != "done" {
            screen.field("stopped", &reason);
        }
    }
    for ask in render::list(answer, "/waiting_for") {
        let ask = ask.as_str().unwrap_or_default();
        screen.field("waits", &format!("a person decides: harness approval get {ask}"));
    }
    for exception in render::list(answer, "/exceptions") {
        let exception = exception.as_str().unwrap_or_default();
        screen.field("needs", &format!("a person: harness exception get {exception}"));
    }
    let status = render::text(answer, "/run/status");
    screen.field("run", &format!("{} {status}", render::text(answer, "/run/id")));
}

/// Lines of the input, as they come. A thread of its own: a read that waits must not hold up the end.
fn lines() -> mpsc::Receiver<Result<String, Problem>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(MESSAGE_MAX_BYTES + 1).read_until(b'\n', &mut line);
            let message = match read {
                Ok(0) => return,
                Ok(_) => message(line),
                Err(error) => Err(Problem::usage("input-unreadable", error.to_string())
                    .next("check what is piped in")),
            };
            let is_last = message.is_err();
            if sender.blocking_send(message).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn message(line: Vec<u8>) -> Result<String, Problem> {
    let too_long = u64::try_from(line.len()).unwrap_or(u64::MAX) > MESSAGE_MAX_BYTES;
    match String::from_utf8(line) {
        Ok(text) if !too_long => Ok(text),
        _ if too_long => {
            let detail = format!("a message has at most {MESSAGE_MAX_BYTES} bytes");
            Err(Problem::usage("message-too-long", detail)
                .next("put the long part where an operation can read it"))
        }
        _ => Err(Problem::usage("not-utf-8", "a message that is no UTF-8 text").next("send UTF-8")),
    }
}
