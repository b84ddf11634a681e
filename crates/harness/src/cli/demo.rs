//! `harness demo`: the whole story once, on a world of its own.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
    sync::Arc,
};

use clap::Args as ClapArgs;
use serde_json::{Map, Value, json};

use super::{
    Context, Format,
    client::load,
    commands::{card, serve::Ends, views},
    screen::{Screen, Tone, write_err, write_out},
};
use crate::app::{
    App, Caller,
    config::{Config, Overrides},
    demo::{ACCOUNT, Home, KEY, Place, world_hash},
    host::Lock,
    ops,
    problem::{Kind, Problem},
};

/// Most questions one demo asks: a run that asks for more is not this demo.
const ASKS_MAX: usize = 12;

/// Options.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Answer every approval as the demo approver, who exists only in a demo's store
    #[arg(short, long)]
    yes: bool,
    /// Where the demo lives [default: the user's data folder]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

/// Runs the demo, or goes on with one that was cut off.
///
/// # Errors
/// What went wrong, with what to do next.
pub async fn run(args: Args, context: Context) -> Result<u8, Problem> {
    let home = Home::at(&args.home.clone().unwrap_or_else(Home::default_dir));
    let mut ends = Ends::new()?;
    let mut story = Story::begin(&home, &args, &context).await?;
    let app = Arc::clone(&story.app);
    let told = tokio::select! {
        told = story.tell(&home) => told,
        () = ends.wait() => {
            let next = format!("harness demo goes on where it was; so does harness --config {} run resume", home.config().display());
            Err(Problem::new(Kind::Interrupted, "interrupted", "stopped; nothing is lost").next(next))
        }
    };
    let closed = app.shut_down().await;
    let code = told?;
    closed?;
    Ok(code)
}

/// The demo as it is told.
struct Story {
    app: Arc<App>,
    user: Caller,
    approver: Caller,
    place: Place,
    screen: Screen,
    format: Format,
    quiet: bool,
    yes: bool,
    resumed: bool,
    chapter: usize,
    report: Map<String, Value>,
}

fn config_of(home: &Home) -> Result<Config, Problem> {
    load(&Overrides { config: Some(home.config()), ..Overrides::default() })
}

async fn open(home: &Home) -> Result<Arc<App>, Problem> {
    let config = config_of(home)?;
    let lock = Lock::take(&config.store)?.ok_or_else(|| {
        Problem::new(Kind::TryAgain, "store-owned", "another demo is running here")
            .next("wait for it, or name another folder with --home")
    })?;
    App::open(config, lock).await
}

impl Story {
    /// Prepares a fresh home, or opens one whose run was cut off.
    async fn begin(home: &Home, args: &Args, context: &Context) -> Result<Self, Problem> {
        let unfinished = home.exists() && has_unfinished(home).await;
        if !unfinished {
            home.stop_world();
            home.wipe()?;
        }
        let place = match home.living_world() {
            Some(place) => place,
            None => home.start_world()?,
        };
        home.write(&place)?;
        let app = open(home).await?;
        let user = Caller::person(app.config(), "demo-user")?;
        let approver = Caller::person(app.config(), "demo-approver")?;
        let _serving = tokio::spawn(Arc::clone(&app).serve());
        Ok(Self {
            app,
            user,
            approver,
            place,
            screen: Screen::new(context.color),
            format: context.format,
            quiet: context.quiet,
            yes: args.yes,
            resumed: unfinished,
            chapter: 0,
            report: Map::new(),
        })
    }

    async fn call(&self, op: &str, body: Value) -> Result<Value, Problem> {
        ops::call(&self.app, &self.user, op, body).await
    }

    /// Shows what has gathered, in the format for people.
    fn show(&mut self) -> Result<(), Problem> {
        if self.format != Format::Table || self.quiet {
            self.screen = Screen::new(super::ColorWhen::Never);
            return Ok(());
        }
        self.screen.flush().map_err(unwritable)
    }

    fn title(&mut self, text: &str) {
        self.chapter += 1;
        self.screen.gap();
        self.screen.heading(&format!("{}. {text}", self.chapter));
    }

    async fn tell(&mut self, home: &Home) -> Result<u8, Problem> {
        let before = home.hash_at_start(&world_hash(&self.place)?)?;
        self.introduce(home)?;
        let run = self.submit().await?;
        self.decide_all(&run).await?;
        self.report_run(&run).await?;
        self.verify(&run).await?;
        self.explain(&run).await?;
        self.roll_back(&run, &before).await?;
        self.kpis().await?;
        self.replay(&run, home).await?;
        self.farewell(&run, home)
    }

    fn introduce(&mut self, home: &Home) -> Result<(), Problem> {
        let text = "A renewal risk review, end to end: four companies' systems and a mail server on \
                    loopback, one playbook, policy on every step, a person where policy wants one. \
                    No model, no key, no set-up.";
        self.screen.wrapped("", "", text);
        if self.resumed {
            let line = self.screen.tone(Tone::Warn, "Going on with the run that was cut off.");
            self.screen.line(&line);
        }
        self.title("The world");
        let (url, smtp) = (self.place.url.clone(), self.place.smtp.clone());
        self.screen.field("systems", &format!("CRM, support desk, billing, usage at {url}"));
        self.screen.field("mail", &format!("SMTP at {smtp}"));
        self.screen.field("home", &home.dir().display().to_string());
        self.show()
    }

    async fn submit(&mut self) -> Result<String, Problem> {
        let wanted = json!({ "intent": "renewal_risk_review", "inputs": { "account": ACCOUNT } });
        let plan = self.call("intent.plan", wanted.clone()).await?;
        self.title("The plan: what may happen, stored and hashed before anything does");
        views::plan(&plan, &mut self.screen);
        self.report.insert("plan".to_owned(), plan);
        self.show()?;
        let mut request = wanted;
        if let Value::Object(request) = &mut request {
            request.insert("idempotency_key".to_owned(), json!(KEY));
            request.insert("wait_ms".to_owned(), json!(60_000));
        }
        let submitted = self.call("intent.submit", request).await?;
        let run = views::text(&submitted, "/run/id");
        if self.resumed {
            self.call("run.resume", json!({ "run": run })).await?;
        }
        self.title("The run");
        let detail = self.call("run.get", json!({ "run": run })).await?;
        views::run_detail(&detail, &mut self.screen);
        self.show()?;
        Ok(run)
    }

    /// Answers what the run asks until it asks nothing more.
    async fn decide_all(&mut self, run: &str) -> Result<(), Problem> {
        let mut decisions = Vec::new();
        for _ in 0..ASKS_MAX {
            let detail = self.call("run.get", json!({ "run": run })).await?;
            let waiting =
                detail.pointer("/waiting_for/0").and_then(Value::as_str).map(str::to_owned);
            let status = views::text(&detail, "/run/status");
            if status == "needs_person" {
                return Err(Problem::new(
                    Kind::NeedsPerson,
                    "needs-person",
                    "the run needs a person",
                )
                .next("harness exception list shows what happened and what may be decided"));
            }
            let Some(approval) = waiting else { break };
            let shown = self.call("approval.get", json!({ "approval": approval })).await?;
            self.title("A person decides");
            card(&shown, &mut self.screen);
            self.show()?;
            let answer = self.ask(&shown)?;
            let body = match answer {
                Answer::Yes => json!({
                    "approval": approval, "digest": shown.get("digest"), "verb": "approve", "wait_ms": 60_000,
                }),
                Answer::No => json!({
                    "approval": approval, "verb": "deny", "reason": "denied in the demo", "wait_ms": 60_000,
                }),
            };
            let verb = if answer == Answer::Yes { "approved" } else { "denied" };
            ops::call(&self.app, &self.approver, "approval.decide", body).await?;
            let line = self.screen.tone(Tone::Strong, verb);
            self.screen.line(&format!("person:demo-approver {line} exactly this."));
            decisions.push(
                json!({ "approval": approval, "summary": shown.get("summary"), "decision": verb }),
            );
        }
        self.report.insert("decisions".to_owned(), Value::Array(decisions));
        self.show()
    }

    fn ask(&mut self, shown: &Value) -> Result<Answer, Problem> {
        if self.yes {
            return Ok(Answer::Yes);
        }
        if self.format != Format::Table || !io::stdin().is_terminal() {
            let id = views::text(shown, "/approval");
            return Err(Problem::new(
                Kind::WaitingForApproval,
                "waiting-for-approval",
                format!("{id} waits for a person"),
            )
            .next("run it at a terminal, or `harness demo --yes` to answer as the demo approver"));
        }
        loop {
            write_err("Approve exactly this? Type yes, no, or quit:");
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line).map_err(unwritable)?;
            match line.trim().to_lowercase().as_str() {
                "yes" | "y" => return Ok(Answer::Yes),
                "no" | "n" => return Ok(Answer::No),
                "quit" | "q" => return Err(later()),
                _ if read == 0 => return Err(later()),
                _ => {}
            }
        }
    }

    async fn report_run(&mut self, run: &str) -> Result<(), Problem> {
        let detail = self.call("run.get", json!({ "run": run })).await?;
        self.title("What came of it");
        views::run_detail(&detail, &mut self.screen);
        self.report.insert("run".to_owned(), detail);
        self.show()
    }

    async fn verify(&mut self, run: &str) -> Result<(), Problem> {
        let receipts = self.call("receipt.list", json!({ "run": run })).await?;
        let found = self.call("run.verify", json!({ "run": run })).await?;
        self.title("Receipts: signed, chained, logged");
        let count = views::list(&receipts, "/items").len();
        self.screen.field("receipts", &format!("{count}, the last one closes the run"));
        views::verified(&found, &mut self.screen);
        self.report.insert("verified".to_owned(), found);
        self.show()
    }

    async fn explain(&mut self, run: &str) -> Result<(), Problem> {
        let explained = self.call("explain", json!({ "id": run })).await?;
        self.title("Explain: one write, six answers");
        let items = views::list(&explained, "/items");
        let restorable =
            items.iter().find(|item| views::text(item, "/take_back").contains("restores"));
        if let Some(item) = restorable.or(items.first()) {
            let one = json!({ "intent": explained.get("intent"), "items": [item] });
            views::explanations(&one, &mut self.screen);
        }
        self.report.insert("explained".to_owned(), explained);
        self.show()
    }

    async fn roll_back(&mut self, run: &str, before: &str) -> Result<(), Problem> {
        self.title("Take it back: newest first, compared before, read again after");
        // A demo that was cut off while it took things back has done so by now: a run is asked once.
        let detail = self.call("run.get", json!({ "run": run })).await?;
        let mut undone = match detail.get("rollback").filter(|earlier| earlier.is_object()) {
            Some(earlier) => earlier.clone(),
            None => self.call("run.rollback", json!({ "run": run })).await?,
        };
        if views::text(&undone, "/result") == "waiting" {
            self.show()?;
            self.decide_all(run).await?;
            let detail = self.call("run.get", json!({ "run": run })).await?;
            undone = detail.get("rollback").cloned().unwrap_or_default();
        }
        views::rolled_back(&undone, &mut self.screen);
        let after = world_hash(&self.place)?;
        let (verdict, tone) = match after == before {
            true => ("is what it was", Tone::Good),
            false => ("differs from the start", Tone::Bad),
        };
        let verdict = self.screen.tone(tone, verdict);
        self.screen.field("the world", &format!("its database hash {verdict}"));
        self.screen.field("", "a mail that was sent stays sent: partial is called partial");
        self.report.insert("rolled_back".to_owned(), undone);
        self.report.insert("world_restored".to_owned(), json!(after == before));
        self.show()
    }

    async fn kpis(&mut self) -> Result<(), Problem> {
        let report = self.call("kpi.report", json!({})).await?;
        self.title("KPIs, computed from the journal");
        views::kpis(&report, &mut self.screen);
        self.report.insert("kpis".to_owned(), report);
        self.show()
    }

    async fn replay(&mut self, run: &str, home: &Home) -> Result<(), Problem> {
        home.stop_world();
        let replayed = self.call("run.replay", json!({ "run": run })).await?;
        self.title("Replay, with the world switched off");
        views::replay(&replayed, &mut self.screen);
        self.report.insert("replayed".to_owned(), replayed);
        self.show()
    }

    fn farewell(&mut self, run: &str, home: &Home) -> Result<u8, Problem> {
        self.title("Try next");
        let with = format!("harness --config {}", home.config().display());
        for (what, command) in [
            ("decisions", format!("{with} approval list --all")),
            ("journal", format!("{with} run events {run}")),
            ("rights", format!("{with} policy matrix")),
            ("proof elsewhere", format!("{with} run export {run} --to run.bundle")),
        ] {
            self.screen.field(what, &command);
        }
        self.show()?;
        if self.format != Format::Table && !self.quiet {
            self.report.insert("schema".to_owned(), json!("harness.demo/v1"));
            let line = Value::Object(std::mem::take(&mut self.report)).to_string() + "\n";
            write_out(line.as_bytes()).map_err(unwritable)?;
        }
        Ok(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

fn later() -> Problem {
    Problem::new(Kind::WaitingForApproval, "waiting-for-approval", "the run waits for a person")
        .next("`harness demo` shows the card again")
}

fn unwritable(error: io::Error) -> Problem {
    Problem::new(Kind::Unexpected, "terminal", format!("cannot talk to the terminal: {error}"))
}

/// Whether a run of an earlier demo is not over. A home that cannot be opened is not worth keeping.
async fn has_unfinished(home: &Home) -> bool {
    let Ok(app) = open(home).await else { return false };
    let Ok(user) = Caller::person(app.config(), "demo-user") else { return false };
    let listed = ops::call(&app, &user, "run.list", json!({})).await;
    let over = ["succeeded", "partial", "failed", "cancelled", "rolled_back", "partly_rolled_back"];
    let unfinished = listed.is_ok_and(|listed| {
        let runs = views::list(&listed, "/items");
        runs.iter().any(|run| !over.contains(&views::text(run, "/status").as_str()))
    });
    let closed = app.shut_down().await;
    unfinished && closed.is_ok()
}
