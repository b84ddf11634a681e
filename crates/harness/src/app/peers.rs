//! Tasks as agents of other people meet them, by the Agent2Agent protocol: a message begins a run, and what a run waits for
//! is what its task waits for. Nobody decides here who may not decide elsewhere.

use std::sync::Arc;

pub use a2a::{
    CARD_PATH,
    server::{Answer, Http, Request},
};
use a2a::{
    State,
    server::{
        About, Desk, Later, Note, Page, Patience, Refusal, Refused, Said, Skill, Task as Told,
        Wanted,
    },
};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant};

use super::{
    App, Caller, ops,
    problem::{Kind, Problem},
    speak,
    tools::{
        ToolCall, ToolKind, ToolState, ToolView,
        tasks::{self, Order, Task, TaskLine},
    },
};

/// How long a message is held at most until its task is over or waits for somebody, in ms: an answer begins within a
/// minute, or not at all.
const HOLD_MS: u64 = 45_000;

/// How long one look for a change lasts, in ms; whoever follows a task looks again.
const LOOK_MS: u64 = 3_600_000;

/// What an answer to an ask may say.
const ANSWER: [&str; 5] = ["approval", "verb", "digest", "reason", "value"];

/// Who this agent is.
#[must_use]
pub fn about(app: &App, at: &str) -> About {
    About {
        name: "harness".to_owned(),
        description: "Governed work: each task becomes a recorded run, policy decides whether it may, and a person may be \
            asked first. What it can do is in the extended card, for whoever has a token."
            .to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: format!("{}{at}", app.served_at().unwrap_or_default()),
    }
}

/// Answers one caller.
#[derive(Clone, Debug)]
pub struct Peer {
    app: Arc<App>,
    caller: Caller,
}

impl Peer {
    /// For whoever a credential stands for.
    #[must_use]
    pub fn new(app: Arc<App>, caller: Caller) -> Self {
        Self { app, caller }
    }

    async fn take(&self, said: Said, patience: Patience) -> Result<Told, Refusal> {
        let task = match said.task.clone() {
            None => tasks::send(&self.app, &self.caller, order(said)).await.map_err(refusal)?,
            Some(id) => self.hear(&id, said).await?,
        };
        let is_settled = |task: &Task| {
            let state = state_of(task.call.state);
            state.is_over() || state.waits()
        };
        if patience == Patience::None || is_settled(&task) {
            return Ok(self.told(&task));
        }
        let late = Instant::now() + Duration::from_millis(HOLD_MS);
        let run = (&*task.call.run, late);
        let task = tasks::until(&self.app, &self.caller, run, is_settled).await;
        task.map(|task| self.told(&task)).map_err(refusal)
    }

    /// A message about a task that is there already. It can answer what the task asks, as far as its sender may answer.
    async fn hear(&self, id: &str, said: Said) -> Result<Task, Refusal> {
        let task = tasks::get(&self.app, &self.caller, id).await.map_err(refusal)?;
        if said.context.as_ref().is_some_and(|context| *context != task.context) {
            let message = "the task belongs to another context than the message says";
            return Err(Refusal::new(Refused::Params, "context-mismatch", message)
                .next("leave the context out, or send the task's own"));
        }
        if state_of(task.call.state).is_over() {
            let message = format!("{id} is over, and hears nothing more");
            return Err(Refusal::new(Refused::Unsupported, "task-over", message)
                .next("send a message without a task to begin another"));
        }
        let Some(data) = said.data else {
            let message = format!("{id} does not listen to words: {}", self.sentence(&task.call));
            return Err(Refusal::new(Refused::Unsupported, "not-heard", message)
                .next("whoever may decide sends one data part with `approval` and `verb`"));
        };
        self.decide(&task, data).await?;
        tasks::get(&self.app, &self.caller, id).await.map_err(refusal)
    }

    /// An answer walks the way of every answer: whether it counts is said there.
    async fn decide(&self, task: &Task, data: Map<String, Value>) -> Result<(), Refusal> {
        if let Some(other) = data.keys().find(|key| !ANSWER.contains(&key.as_str())) {
            let message =
                format!("an answer has no `{}`", other.chars().take(64).collect::<String>());
            return Err(Refusal::new(Refused::Params, "answer-invalid", message).next(
                "send approval, verb, and digest, reason or value where the verb needs them",
            ));
        }
        let named = data.get("approval").and_then(Value::as_str).unwrap_or_default();
        if !task.call.asks.iter().any(|ask| ask.approval == named) {
            let message = "the task asks nothing of that id";
            return Err(Refusal::new(Refused::Params, "approval-unknown", message)
                .next("name one of `asks` in the task's status"));
        }
        let body = Value::Object(data);
        let decided = ops::call(&self.app, &self.caller, "approval.decide", body).await;
        decided.map(drop).map_err(refusal)
    }

    async fn listed(&self, wanted: Wanted) -> Result<Page, Refusal> {
        let mut lines = tasks::list(&self.app, &self.caller).await.map_err(refusal)?;
        lines.retain(|line| fits(line, &wanted));
        let total = lines.len();
        if let Some(mark) = &wanted.after {
            let (at, run) = read_mark(mark).ok_or_else(|| {
                Refusal::new(Refused::Params, "page-token-invalid", "no list gave this token")
                    .next("begin again without one")
            })?;
            lines.retain(|line| (line.changed_at, &*line.run) < (at, run));
        }
        let more = lines.len() > wanted.count;
        lines.truncate(wanted.count);
        let next = lines.last().filter(|_| more).map(|line| mark(line.changed_at, &line.run));
        let mut page = Page { tasks: Vec::new(), next, total };
        for line in lines {
            let task = tasks::get(&self.app, &self.caller, &line.run).await.map_err(refusal)?;
            page.tasks.push(self.told(&task));
        }
        Ok(page)
    }

    async fn follow(&self, seen: Told) -> Result<Told, Refusal> {
        loop {
            let late = Instant::now() + Duration::from_millis(LOOK_MS);
            let differs = |task: &Task| {
                let now = self.told(task);
                now.state != seen.state || now.note != seen.note
            };
            let run = (&*seen.id, late);
            let task =
                tasks::until(&self.app, &self.caller, run, differs).await.map_err(refusal)?;
            if differs(&task) {
                return Ok(self.told(&task));
            }
        }
    }

    fn told(&self, task: &Task) -> Told {
        let call = &task.call;
        Told {
            id: call.run.clone(),
            context: task.context.clone(),
            state: state_of(call.state),
            note: self.note(call),
            changed_ms: task.changed_at,
            output: call.output.clone(),
            meta: speak::meta(call),
        }
    }

    fn note(&self, call: &ToolCall) -> Option<Note> {
        let text = match call.state {
            ToolState::Running => return None,
            ToolState::Done if call.caveats.is_empty() => return None,
            ToolState::Done => call.caveats.join("\n"),
            _ => self.sentence(call),
        };
        let data = (!call.asks.is_empty()).then(|| json!({ "asks": call.asks }));
        Some(Note { text, data })
    }

    /// Where a task stands, for a model and whoever reads over its shoulder.
    fn sentence(&self, call: &ToolCall) -> String {
        let run = &call.run;
        let because = call.because.join("; ");
        let place = match self.app.page_of("runs", run) {
            Some(url) => url,
            None => format!("`harness run get {run}`"),
        };
        match call.state {
            ToolState::Running => format!("{run} is under way"),
            ToolState::Held => format!("a person holds {run}: {place}"),
            ToolState::PendingApproval => asked(call),
            ToolState::Done => format!("{run} is done"),
            ToolState::Denied => format!("denied, and nothing more will come of it: {because}"),
            ToolState::Failed => format!("it failed: {because}"),
            ToolState::Cancelled => {
                format!("{run} was ended by a person or by its caller: {because}")
            }
            ToolState::Unknown => format!(
                "whether it happened is not known: {because}; a person finds out at {place}; do not send it again as another message"
            ),
            ToolState::NeedsPerson => {
                format!("it stopped and a person has to look after it at {place}: {because}")
            }
        }
    }
}

fn asked(call: &ToolCall) -> String {
    let Some(ask) = call.asks.first() else { return format!("{} waits for a person", call.run) };
    let place = match &ask.url {
        Some(url) => format!("at {url}"),
        None => format!("with `harness approval get {}`", ask.approval),
    };
    let (needs, until) = (ask.needs.join(", "), &ask.expires_at);
    format!(
        "a person ({needs}) has to decide {place}, until {until}; what is asked about is not done before"
    )
}

fn state_of(state: ToolState) -> State {
    match state {
        ToolState::Running | ToolState::Held => State::Working,
        // Whatever waits for a person goes on once one has done something.
        ToolState::PendingApproval | ToolState::Unknown | ToolState::NeedsPerson => {
            State::InputRequired
        }
        ToolState::Done => State::Completed,
        ToolState::Denied => State::Rejected,
        ToolState::Failed => State::Failed,
        ToolState::Cancelled => State::Canceled,
    }
}

fn order(said: Said) -> Order {
    Order {
        message: said.id,
        context: said.context,
        skill: said.skill,
        text: said.text,
        arguments: said.data.map(Value::Object),
    }
}

fn fits(line: &TaskLine, wanted: &Wanted) -> bool {
    wanted.context.as_ref().is_none_or(|context| *context == line.context)
        && wanted.state.is_none_or(|state| state == state_of(line.state))
        && wanted.since_ms.is_none_or(|since| line.changed_at >= since)
}

/// Where a page ended.
fn mark(changed_at: i64, run: &str) -> String {
    format!("{changed_at}.{run}")
}

fn read_mark(mark: &str) -> Option<(i64, &str)> {
    let (at, run) = mark.split_once('.')?;
    Some((at.parse().ok()?, run))
}

fn skill(view: ToolView) -> Skill {
    let (pack, _) = view.of.split_once('/').unwrap_or_default();
    let kind = if view.kind == ToolKind::Agent { "agent" } else { "intent" };
    let changes = match (view.read_only, view.destructive) {
        (true, _) => "Changes nothing.",
        (false, false) => "May change something, which can be taken back.",
        (false, true) => "May change something that does not come back.",
    };
    let tags = [kind, pack, if view.read_only { "read-only" } else { "changes" }];
    Skill {
        id: view.name,
        title: view.title,
        description: format!(
            "{} {changes}",
            view.description.trim_end_matches('.').to_owned() + "."
        ),
        tags: tags.map(str::to_owned).to_vec(),
        input: view.input,
    }
}

fn refusal(problem: Problem) -> Refusal {
    let kind = match (&*problem.code, problem.kind) {
        ("task-not-found", _) => Refused::NoTask,
        ("task-over" | "task-began", _) => Refused::NotCancelable,
        (_, Kind::NotSignedIn | Kind::NotAllowed | Kind::Denied) => Refused::Forbidden,
        (_, Kind::TryAgain | Kind::Interrupted) => Refused::Busy,
        (_, Kind::Unexpected | Kind::VerificationFailed) => Refused::Here,
        _ => Refused::Params,
    };
    let next = problem.next.map(String::from);
    Refusal { kind, code: problem.code.into(), message: problem.detail, next }
}

impl Desk for Peer {
    fn skills(&self) -> Later<'_, Result<Vec<Skill>, Refusal>> {
        Box::pin(async move {
            let all = tasks::skills(&self.app, &self.caller).map_err(refusal)?;
            Ok(all.into_iter().map(skill).collect())
        })
    }

    fn send(&self, said: Said, patience: Patience) -> Later<'_, Result<Told, Refusal>> {
        Box::pin(self.take(said, patience))
    }

    fn task(&self, id: String) -> Later<'_, Result<Told, Refusal>> {
        Box::pin(async move {
            let task = tasks::get(&self.app, &self.caller, &id).await.map_err(refusal)?;
            Ok(self.told(&task))
        })
    }

    fn tasks(&self, wanted: Wanted) -> Later<'_, Result<Page, Refusal>> {
        Box::pin(self.listed(wanted))
    }

    fn cancel(&self, id: String) -> Later<'_, Result<Told, Refusal>> {
        Box::pin(async move {
            let task = tasks::cancel(&self.app, &self.caller, &id).await.map_err(refusal)?;
            Ok(self.told(&task))
        })
    }

    fn next(&self, seen: Told) -> Later<'_, Result<Told, Refusal>> {
        Box::pin(self.follow(seen))
    }
}
