//! Tools as clients of the Model Context Protocol meet them. A call is held while a person decides, and no longer than
//! its client has patience for; then it is answered with where it stands, and can be waited for.

use std::{fmt, sync::Arc};

use mcp::server::{
    About, Answer, Asks, Call, Desk, Ended, Hints, Line, Open, Refusal, Refused, Told, Tool,
};
pub use mcp::server::{Http, Task, serve as over_lines};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant};

use super::{
    App, Caller,
    config::mcp::{Face, ProxyMode},
    ops,
    problem::{Kind, Problem},
    tools::{
        ToolAsk, ToolCall, ToolList, ToolState, ToolView,
        proxy::{ProxiedList, ProxiedTool},
    },
};

/// The tool that waits for a call.
pub const WAIT: &str = super::tools::proxy::WAIT;

/// How long a call that nobody is asked about is held at least, in ms: most are over by then.
const FLOOR_MS: u64 = 10_000;

/// Longest between two words about how far a call is, in ms.
const STEP_MS: u64 = 10_000;

/// What is in a client's mind while it reads the list of tools.
const INSTRUCTIONS: &str = "Every tool here is governed: a call becomes a recorded run, policy decides whether it may, \
and a person may be asked first. A result with state `pending_approval` is no failure: somebody has to decide. Call \
`harness_wait` with its run to learn the outcome, and do not repeat the call under other arguments. State `unknown` \
means that nobody knows yet whether it happened: do not repeat it.";

/// What is in a client's mind that reaches other servers through here.
const PROXY_INSTRUCTIONS: &str = "These tools are those of other servers, passed on by a governed proxy: a call becomes a \
recorded run, policy decides whether it may, and a person may be asked first. A result with state `pending_approval` is \
no failure: somebody has to decide. Call `harness_wait` with its run to learn the outcome, and do not repeat the call \
under other arguments. State `unknown` means that nobody knows yet whether it happened: do not repeat it.";

/// Whose tools are spoken for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behalf {
    /// Ours.
    #[default]
    Own,
    /// Those of servers behind us.
    Proxy {
        /// Which; none = all that are passed on.
        servers: Vec<String>,
        /// Which session of its caller this is.
        session: String,
    },
}

impl Behalf {
    /// Of this face, where nobody says more. Over HTTP nothing is kept of one caller under an id: whoever the token
    /// stands for is one session.
    #[must_use]
    pub fn of(face: Face) -> Self {
        match face {
            Face::Own => Self::Own,
            Face::Proxy => Self::Proxy { servers: Vec::new(), session: String::new() },
        }
    }
}

/// Who answers operations: this process, the owner of the store, or a server.
pub trait Ask: Send + Sync + fmt::Debug + 'static {
    /// Calls one operation as whoever this is.
    fn ask(&self, op: &'static str, body: Value) -> Task<'_, Result<Value, Problem>>;
}

/// A caller of this process.
#[derive(Clone, Debug)]
pub struct Here {
    /// The facade.
    pub app: Arc<App>,
    /// Who calls.
    pub caller: Caller,
}

impl Ask for Here {
    fn ask(&self, op: &'static str, body: Value) -> Task<'_, Result<Value, Problem>> {
        Box::pin(ops::call(&self.app, &self.caller, op, body))
    }
}

/// Speaks for one caller.
#[derive(Debug)]
pub struct Speaker<A> {
    asked: A,
    hold_ms: u64,
    behalf: Behalf,
}

/// Who this server is.
#[must_use]
pub fn about(behalf: &Behalf) -> About {
    let instructions = match behalf {
        Behalf::Own => INSTRUCTIONS,
        Behalf::Proxy { .. } => PROXY_INSTRUCTIONS,
    };
    About {
        name: "harness".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instructions: instructions.to_owned(),
    }
}

impl<A: Ask> Speaker<A> {
    /// Holds calls for so long at most.
    #[must_use]
    pub fn new(asked: A, hold_ms: u64) -> Self {
        Self { asked, hold_ms, behalf: Behalf::Own }
    }

    /// Speaks for these.
    #[must_use]
    pub fn on_behalf(self, behalf: Behalf) -> Self {
        Self { behalf, ..self }
    }

    fn call_of(&self, call: &Call) -> (&'static str, Value) {
        let Call { name, arguments, state, .. } = call;
        let mut body = json!({ "tool": name, "arguments": arguments, "state": state });
        match &self.behalf {
            Behalf::Own => ("tool.call", body),
            Behalf::Proxy { servers, session } => {
                if let Some(map) = body.as_object_mut() {
                    map.insert("servers".to_owned(), json!(servers));
                    map.insert("session".to_owned(), json!(session));
                }
                ("proxy.call", body)
            }
        }
    }

    async fn listed(&self) -> Result<Vec<Tool>, Problem> {
        match &self.behalf {
            Behalf::Own => {
                let listed: ToolList = self.ask("tool.list", json!({})).await?;
                Ok(listed.items.into_iter().map(tool).collect())
            }
            Behalf::Proxy { servers, .. } => {
                let body = json!({ "servers": servers });
                let listed: ProxiedList = self.ask("proxy.list", body).await?;
                Ok(listed.items.into_iter().map(passed_on).collect())
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, op: &'static str, body: Value) -> Result<T, Problem> {
        let answer = self.asked.ask(op, body).await?;
        serde_json::from_value(answer).map_err(|error| {
            Problem::new(Kind::Unexpected, "other-version", error.to_string())
                .next("use the same version as the owner of the store")
        })
    }

    async fn begin(&self, call: Call, line: &Line) -> Result<Answer, Problem> {
        let (op, body) = self.call_of(&call);
        let Call { name, state, asks, .. } = call;
        let comes_back = state.is_some();
        let seen: ToolCall = self.ask(op, body).await?;
        let (resume, promises) = (seen.resume.clone(), seen.promises);
        // Whoever comes back was at the page already: now it is waited for them.
        let by_url = asks == Asks::ByUrl && !comes_back;
        let held = self.hold(seen, (line, self.hold_ms, by_url)).await?;
        // Whoever waits is not told what only the call knows.
        let seen = ToolCall { promises, ..held };
        match (by_url.then(|| seen.asks.first()).flatten(), resume) {
            (Some(ToolAsk { approval, url: Some(url), .. }), Some(state))
                if seen.state.is_open() =>
            {
                Ok(Answer::Open(Open {
                    id: approval.clone(),
                    url: url.clone(),
                    message: format!("A person has to decide about this call of {name} first."),
                    state,
                    meta: meta(&seen),
                }))
            }
            _ => Ok(Answer::Told(told(&seen))),
        }
    }

    async fn wait(&self, arguments: &Map<String, Value>, line: &Line) -> Result<Answer, Problem> {
        let Some(run) = arguments.get("run").and_then(Value::as_str) else {
            return Err(Problem::usage("inputs-invalid", "`run` is needed: the run of the call")
                .next("copy it from the result that said pending_approval"));
        };
        let seconds = arguments.get("wait_seconds").and_then(Value::as_u64);
        let hold_ms = seconds.map_or(self.hold_ms, |seconds| seconds.saturating_mul(1_000));
        let seen: ToolCall = self.ask("tool.wait", json!({ "run": run })).await?;
        let held = self.hold(seen, (line, hold_ms.min(self.hold_ms), false)).await?;
        Ok(Answer::Told(told(&held)))
    }

    /// Holds a call until it is over, a person is asked whom the client can be sent to, or the time is up.
    async fn hold(
        &self,
        mut seen: ToolCall,
        (line, hold_ms, by_url): (&Line, u64, bool),
    ) -> Result<ToolCall, Problem> {
        let began = Instant::now();
        let until = began + Duration::from_millis(hold_ms);
        let floor = began + Duration::from_millis(hold_ms.max(FLOOR_MS));
        let mut step = 0_u32;
        loop {
            let asks_by_url = by_url && seen.asks.iter().any(|ask| ask.url.is_some());
            // Patience is for people; what only runs is worth a moment.
            let patience = if seen.state == ToolState::Running { floor } else { until };
            let left = patience.saturating_duration_since(Instant::now());
            if !seen.state.is_open() || asks_by_url || left.is_zero() {
                return Ok(seen);
            }
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(STEP_MS).clamp(1, STEP_MS);
            let body = json!({ "run": seen.run, "wait_ms": wait_ms, "through_asks": !by_url && Instant::now() < until });
            tokio::select! {
                () = line.cancelled() => {
                    return self.ask("tool.leave", json!({ "run": seen.run })).await;
                }
                next = self.ask::<ToolCall>("tool.wait", body) => seen = next?,
            }
            step = step.saturating_add(1);
            if seen.state.is_open() {
                line.tell(step, sentence(&seen)).await;
            }
        }
    }
}

impl<A: Ask> Desk for Speaker<A> {
    fn tools(&self) -> Task<'_, Result<Vec<Tool>, Refusal>> {
        Box::pin(async move {
            let mut tools = self.listed().await.map_err(refusal)?;
            tools.push(waiting());
            Ok(tools)
        })
    }

    fn call<'a>(&'a self, call: Call, line: &'a Line) -> Task<'a, Result<Answer, Refusal>> {
        Box::pin(async move {
            let answer = match call.name.as_str() {
                WAIT => self.wait(&call.arguments, line).await,
                _ => self.begin(call, line).await,
            };
            // What a model can put right it is shown; the rest is for its client.
            match answer {
                Ok(answer) => Ok(answer),
                Err(problem) if is_of_protocol(&problem) => Err(refusal(problem)),
                Err(problem) if self.behalf == Behalf::Own => Ok(Answer::Told(refused(&problem))),
                Err(problem) => Ok(Answer::Told(beside(refused(&problem)))),
            }
        })
    }
}

fn is_of_protocol(problem: &Problem) -> bool {
    let ours = ["tool-not-found", "state-invalid", "other-version", "not-proxying"];
    ours.contains(&&*problem.code) || problem.kind == Kind::Unexpected
}

fn refusal(problem: Problem) -> Refusal {
    let kind = match problem.kind {
        Kind::Unexpected | Kind::TryAgain => Refused::Here,
        _ => Refused::Request,
    };
    Refusal { kind, message: words(&problem) }
}

fn words(problem: &Problem) -> String {
    match &problem.next {
        Some(next) => format!("{}; {next}", problem.detail),
        None => problem.detail.clone(),
    }
}

fn refused(problem: &Problem) -> Told {
    let structured = json!({
        "state": "refused", "run": "", "code": problem.code, "detail": problem.detail, "next": problem.next,
    });
    Told {
        text: words(problem),
        structured: object(structured),
        ended: Ended::Wrong,
        ..Told::default()
    }
}

/// Where something of ours stands, beside a result: the tool of another server may promise a structured answer that this
/// is none of, and clients hold it to that.
const STANDS: &str = "harness/stands";

fn beside(told: Told) -> Told {
    let Told { structured, mut meta, .. } = told;
    meta.extend(structured.map(|map| (STANDS.to_owned(), Value::Object(map))));
    Told { structured: None, ended: Ended::Wrong, meta, ..told }
}

/// A tool of a server behind us, as it describes it.
fn passed_on(tool: ProxiedTool) -> Tool {
    Tool { name: tool.name, passed: Some(tool.definition), ..Tool::default() }
}

fn tool(view: ToolView) -> Tool {
    Tool {
        name: view.name,
        title: view.title,
        description: view.description,
        input: object(view.input).unwrap_or_default(),
        output: view.output.and_then(object),
        hints: Hints {
            read_only: view.read_only,
            destructive: view.destructive,
            idempotent: view.idempotent,
            open_world: view.open_world,
        },
        passed: None,
    }
}

fn waiting() -> Tool {
    let input = json!({
        "type": "object",
        "required": ["run"],
        "additionalProperties": false,
        "properties": {
            "run": { "type": "string", "description": "The run of the call, from its result." },
            "wait_seconds": {
                "type": "integer", "minimum": 0,
                "description": "How long to wait; shorter than the server holds calls anyway.",
            },
        },
    });
    Tool {
        name: WAIT.to_owned(),
        title: "Wait for a call".to_owned(),
        description:
            "Waits for a call of yours that needs a person's decision, and tells its outcome."
                .to_owned(),
        input: object(input).unwrap_or_default(),
        output: None,
        hints: Hints { read_only: true, idempotent: true, ..Hints::default() },
        passed: None,
    }
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// Beside every answer: the run, where it stands, and what proves it.
pub(super) fn meta(seen: &ToolCall) -> Map<String, Value> {
    let mut meta = Map::new();
    meta.insert("harness/run".to_owned(), json!(seen.run));
    meta.insert("harness/state".to_owned(), json!(seen.state));
    meta.insert("harness/receipts".to_owned(), json!(seen.receipts));
    // What is only recorded is not told: an agent that knew would behave otherwise.
    if let Some(verdict) = seen.verdict.as_ref().filter(|one| one.mode != ProxyMode::Observe) {
        meta.insert("harness/verdict".to_owned(), json!(verdict));
    }
    meta
}

fn told(seen: &ToolCall) -> Told {
    let ended = match seen.state {
        ToolState::Done => Ended::Well,
        state if state.is_open() => Ended::Well,
        _ => Ended::Wrong,
    };
    let (text, structured) = match seen.state {
        ToolState::Done => done(seen),
        _ => (sentence(seen), stands(seen)),
    };
    let mut meta = meta(seen);
    if let Some(passed) = seen.passed.clone() {
        // What the server said is the answer, and is not said twice.
        return Told { text, structured: None, ended, meta, passed: Some(passed) };
    }
    if seen.verdict.is_some() && seen.state != ToolState::Done {
        meta.insert(STANDS.to_owned(), structured.clone());
    }
    let told = Told { text, structured: object(structured), ended, meta, passed: None };
    if seen.promises { beside(told) } else { told }
}

fn done(seen: &ToolCall) -> (String, Value) {
    let output = seen.output.clone().unwrap_or_default();
    let mut text = match &output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for caveat in &seen.caveats {
        text.push_str("\nNote: ");
        text.push_str(caveat);
    }
    match output {
        Value::Object(_) => (text, output),
        other => (text, json!({ "result": other })),
    }
}

fn stands(seen: &ToolCall) -> Value {
    let mut stands = json!({ "state": seen.state, "run": seen.run });
    let Some(map) = stands.as_object_mut() else { return stands };
    if !seen.asks.is_empty() {
        map.insert("approvals".to_owned(), json!(seen.asks));
    }
    if !seen.because.is_empty() {
        map.insert("because".to_owned(), json!(seen.because));
    }
    stands
}

/// Where a call stands, for a model and whoever reads over its shoulder.
fn sentence(seen: &ToolCall) -> String {
    let run = &seen.run;
    let because = seen.because.join("; ");
    match seen.state {
        ToolState::Running => format!("The call is under way as {run}. Call {WAIT} with this run."),
        ToolState::Held => format!("{run} is held by a person. Call {WAIT} with this run later."),
        ToolState::PendingApproval => asked(seen),
        ToolState::Done => format!("{run} is done."),
        ToolState::Denied => format!("Denied, and nothing more will come of it: {because}"),
        ToolState::Failed => format!("It failed: {because}"),
        ToolState::Cancelled => format!("{run} was ended by a person or by its caller: {because}"),
        ToolState::Unknown => format!(
            "Whether it happened is not known: {because}. A person finds out; do not repeat it. \
             Call {WAIT} with run {run} later."
        ),
        ToolState::NeedsPerson => format!(
            "It stopped and a person has to look after it: {because}. Call {WAIT} with run {run} later."
        ),
    }
}

fn asked(seen: &ToolCall) -> String {
    let run = &seen.run;
    let Some(ask) = seen.asks.first() else { return format!("{run} waits for a person.") };
    let place = match &ask.url {
        Some(url) => format!("at {url}"),
        None => format!("with `harness approval get {}`", ask.approval),
    };
    format!(
        "A person ({}) has to decide {place}, until {}; nothing was done yet. Call {WAIT} with run {run} to learn \
         the outcome.",
        ask.needs.join(", "),
        ask.expires_at
    )
}
