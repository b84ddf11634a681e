//! Tools as clients of the Model Context Protocol meet them. A call is held while a person decides, and no longer than
//! its client has patience for; then it is answered with where it stands, and can be waited for.

mod kept;
mod offered;
mod told;

use std::{fmt, sync::Arc};

use mcp::server::{
    About, Answer, Answers, Asked, Asking, Asks, Call, Desk, Ended, Fetch, Has, Keeps, Kept, Line,
    List, Open, Refusal, Refused, Sort, Told, Tool, fits,
};
pub use mcp::server::{Http, Routed, Task, serve as over_lines};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant};

use super::{
    App, Caller,
    config::mcp::Face,
    ops,
    problem::{Kind, Problem},
    tools::{
        RoutedTools, ToolAsk, ToolCall, ToolList, ToolState,
        changes::{ListChanges, ProxiedChanges},
        ends::{SaidAbout, ToolQuestion, ToolQuestionPart},
        proxy::{Offered, ProxiedCompletion, ProxiedList, ProxiedTool},
    },
};
use offered::{hears, list, offered, passed_on, passed_said, tool, under, waiting};
pub(super) use told::meta;
use told::{beside, sentence, told};

/// The tool that waits for a call.
pub const WAIT: &str = super::tools::proxy::WAIT;

/// How long a call that nobody is asked about is held at least, in ms: most are over by then.
const FLOOR_MS: u64 = 10_000;

/// How long a call waits before anybody hears which run it is: most are over by then. Nobody cancels it meanwhile.
const FIRST_MS: u64 = 250;

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
    /// Of this face, where nobody says more: whoever calls is one session.
    #[must_use]
    pub fn of(face: Face) -> Self {
        match face {
            Face::Own => Self::Own,
            Face::Proxy => Self::Proxy { servers: Vec::new(), session: String::new() },
        }
    }
}

impl Behalf {
    /// In this session of its caller.
    #[must_use]
    pub fn in_session(self, name: &str) -> Self {
        match self {
            Self::Own => Self::Own,
            Self::Proxy { servers, .. } => Self::Proxy { servers, session: name.to_owned() },
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
    let (instructions, has) = match behalf {
        Behalf::Own => (INSTRUCTIONS, Has::Tools),
        Behalf::Proxy { .. } => (PROXY_INSTRUCTIONS, Has::Everything),
    };
    About {
        name: "harness".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instructions: instructions.to_owned(),
        has,
    }
}

/// What is known of arguments that requests repeat in their headers.
#[must_use]
pub fn routed(app: &Arc<App>, face: Face) -> Routed {
    match face {
        // None of our own tools asks for that.
        Face::Own => Routed::by(|_| None),
        Face::Proxy => {
            let (app, known) = (Arc::clone(app), RoutedTools::default());
            Routed::by(move |tool| known.schema(&app, tool))
        }
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

    fn call_of(&self, call: &Call, line: &Line) -> (&'static str, Value) {
        let Call { name, arguments, state, .. } = call;
        let mut body = json!({
            "tool": name, "arguments": arguments, "state": state, "wait_ms": FIRST_MS,
        });
        let Behalf::Proxy { servers, session } = &self.behalf else { return ("tool.call", body) };
        for (key, value) in [
            ("servers", json!(servers)),
            ("session", json!(session)),
            ("hears", json!(hears(line))),
        ] {
            body.as_object_mut().map(|body| body.insert(key.to_owned(), value));
        }
        ("proxy.call", body)
    }

    /// Asks a client over its session, as long as the server still waits for that.
    async fn asked(
        &self,
        seen: ToolCall,
        question: ToolQuestion,
        line: &Line,
    ) -> Result<ToolCall, Problem> {
        let asking = line.ask(parts(question.clone()));
        tokio::pin!(asking);
        loop {
            tokio::select! {
                answers = &mut asking => {
                    return self.answer(&seen, answers.map(|all| all.into_iter().collect())).await;
                }
                () = tokio::time::sleep(Duration::from_millis(STEP_MS)) => {}
            }
            let now: ToolCall = self.ask("tool.wait", json!({ "run": seen.run })).await?;
            if now.question.as_ref() != Some(&question) {
                return Ok(now);
            }
        }
    }

    async fn listed(&self) -> Result<Vec<Tool>, Problem> {
        match &self.behalf {
            Behalf::Own => {
                let listed: ToolList = self.ask("tool.list", json!({})).await?;
                Ok(listed.items.into_iter().map(tool).collect())
            }
            Behalf::Proxy { .. } => {
                Ok(self.proxied(Offered::Tool).await?.into_iter().map(passed_on).collect())
            }
        }
    }

    /// What servers behind us have of a sort.
    async fn proxied(&self, what: Offered) -> Result<Vec<ProxiedTool>, Problem> {
        let Behalf::Proxy { servers, .. } = &self.behalf else { return Ok(Vec::new()) };
        let body = json!({ "what": what, "servers": servers });
        Ok(self.ask::<ProxiedList>("proxy.list", body).await?.items)
    }

    /// Reads a resource, or has a prompt filled: a run like a call.
    async fn fetched(&self, fetch: Fetch, line: &Line) -> Result<Answer, Problem> {
        let Behalf::Proxy { servers, session } = &self.behalf else {
            let detail = format!("there is no resource {}", fetch.name);
            return Err(Problem::new(Kind::NotFound, "resource-not-found", detail)
                .next("there are tools alone here: call one of those"));
        };
        let body = json!({
            "tool": fetch.name, "what": offered(fetch.sort), "arguments": fetch.arguments,
            "servers": servers, "session": session, "hears": hears(line), "state": fetch.state,
            "wait_ms": FIRST_MS,
        });
        let seen: ToolCall = self.ask("proxy.call", body).await?;
        let resume = seen.resume.clone();
        let seen = self.answered(seen, fetch.answers).await?;
        let seen = self.hold(seen, (line, self.hold_ms, Until::Decided)).await?;
        Ok(match asks_client(&seen, resume) {
            Some(asking) => Answer::Asks(asking),
            None => there(&seen).unwrap_or_else(|| Answer::Told(told(&seen))),
        })
    }

    /// Hands on what a client says to what it was asked. What is left out of it is asked again.
    async fn answered(
        &self,
        seen: ToolCall,
        answers: Option<Answers>,
    ) -> Result<ToolCall, Problem> {
        let (Some(question), Some(answers)) = (&seen.question, answers) else { return Ok(seen) };
        if question.parts.iter().any(|part| !answers.contains_key(&part.key)) {
            return Ok(seen);
        }
        let unfit = question
            .parts
            .iter()
            .find(|part| answers.get(&part.key).is_some_and(|answer| !fits(&part.method, answer)));
        if let Some(part) = unfit {
            let detail =
                format!("`{}` is answered by what is no result of {}", part.key, part.method);
            return Err(Problem::usage("answers-invalid", detail)
                .next("send the result that the protocol has for it"));
        }
        let named = question.parts.iter().map(|part| part.key.as_str());
        let answers: Map<String, Value> = named
            .filter_map(|key| answers.get(key).map(|answer| (key.to_owned(), answer.clone())))
            .collect();
        self.answer(&seen, Some(answers)).await
    }

    async fn answer(
        &self,
        seen: &ToolCall,
        answers: Option<Map<String, Value>>,
    ) -> Result<ToolCall, Problem> {
        let question = seen.question.as_ref().map(|question| &question.id);
        let body = json!({ "run": seen.run, "question": question, "answers": answers });
        self.ask("tool.answer", body).await
    }

    async fn ask<T: DeserializeOwned>(&self, op: &'static str, body: Value) -> Result<T, Problem> {
        let answer = self.asked.ask(op, body).await?;
        serde_json::from_value(answer).map_err(|error| {
            Problem::new(Kind::Unexpected, "other-version", error.to_string())
                .next("use the same version as the owner of the store")
        })
    }

    async fn begin(&self, call: Call, line: &Line) -> Result<Answer, Problem> {
        let (op, body) = self.call_of(&call, line);
        let Call { name, state, asks, answers, keeps, .. } = call;
        let comes_back = state.is_some();
        let seen: ToolCall = self.ask(op, body).await?;
        let (resume, promises) = (seen.resume.clone(), seen.promises);
        let seen = self.answered(seen, answers).await?;
        // Whoever comes back was at the page already: now it is waited for them.
        let by_url = asks == Asks::ByUrl && !comes_back;
        let until = match (by_url, keeps) {
            (_, Keeps::Tasks) if !comes_back => Until::Asked,
            (true, _) => Until::Page,
            (false, _) => Until::Decided,
        };
        let held = self.hold(seen, (line, self.hold_ms, until)).await?;
        // Whoever waits is not told what only the call knows.
        let seen = ToolCall { promises, ..held };
        if let Some(asking) = asks_client(&seen, resume.clone()) {
            return Ok(Answer::Asks(asking));
        }
        if let Some(refused) = there(&seen) {
            return Ok(refused);
        }
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
            _ if keeps == Keeps::Tasks && seen.state.is_open() => {
                Ok(Answer::Kept(Box::new(kept::kept(&seen, (&self.behalf, line)))))
            }
            _ => Ok(Answer::Told(told(&seen))),
        }
    }

    async fn come_back(&self, id: &str) -> Result<ToolCall, Problem> {
        self.ask("tool.wait", json!({ "run": id })).await
    }

    async fn wait(&self, arguments: &Map<String, Value>, line: &Line) -> Result<Answer, Problem> {
        let Some(run) = arguments.get("run").and_then(Value::as_str) else {
            return Err(Problem::usage("inputs-invalid", "`run` is needed: the run of the call")
                .next("copy it from the result that said pending_approval"));
        };
        let seconds = arguments.get("wait_seconds").and_then(Value::as_u64);
        let hold_ms = seconds.map_or(self.hold_ms, |seconds| seconds.saturating_mul(1_000));
        let seen: ToolCall = self.ask("tool.wait", json!({ "run": run })).await?;
        let held = self.hold(seen, (line, hold_ms.min(self.hold_ms), Until::Decided)).await?;
        Ok(Answer::Told(told(&held)))
    }

    /// Holds a call until it is over, a person is asked whom the client can be sent to, or the time is up.
    async fn hold(
        &self,
        mut seen: ToolCall,
        (line, hold_ms, until_what): (&Line, u64, Until),
    ) -> Result<ToolCall, Problem> {
        let began = Instant::now();
        let until = began + Duration::from_millis(hold_ms);
        let floor = began + Duration::from_millis(hold_ms.max(FLOOR_MS));
        let (mut step, mut is_told) = (0_u32, false);
        loop {
            for said in std::mem::take(&mut seen.said) {
                is_told |= said.about == SaidAbout::Progress;
                line.pass_on(passed_said(said)).await;
            }
            if let Some(question) = seen.question.clone() {
                let able = question.parts.iter().all(|part| line.able().can(&part.method));
                if able && line.repeats() {
                    return Ok(seen);
                }
                seen = match able {
                    true => self.asked(seen, question, line).await?,
                    // One that cannot be asked says so by saying nothing.
                    false => self.answer(&seen, None).await?,
                };
                continue;
            }
            let is_asked = match until_what {
                Until::Decided => false,
                Until::Page => seen.asks.iter().any(|ask| ask.url.is_some()),
                Until::Asked => !seen.asks.is_empty(),
            };
            // Patience is for people; what only runs is worth a moment.
            let patience = if seen.state == ToolState::Running { floor } else { until };
            let left = patience.saturating_duration_since(Instant::now());
            if !seen.state.is_open() || is_asked || left.is_zero() {
                return Ok(seen);
            }
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(STEP_MS).clamp(1, STEP_MS);
            let body = json!({ "run": seen.run, "wait_ms": wait_ms, "through_asks": until_what == Until::Decided && Instant::now() < until });
            tokio::select! {
                () = line.cancelled() => {
                    return self.ask("tool.leave", json!({ "run": seen.run })).await;
                }
                next = self.ask::<ToolCall>("tool.wait", body) => seen = next?,
            }
            let is_news = !seen.said.is_empty() || seen.question.is_some();
            step = step.saturating_add(1);
            // Of how far it is, the server itself knows better.
            if seen.state.is_open() && !is_news && !is_told {
                line.tell(step, sentence(&seen)).await;
            }
        }
    }
}

/// Until when a call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// It is over.
    Decided,
    /// Or a person is asked at a page that its client can be sent to.
    Page,
    /// Or a person is asked.
    Asked,
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

    fn offers(&self, sort: Sort) -> Task<'_, Result<Vec<Value>, Refusal>> {
        Box::pin(async move {
            let items = self.proxied(offered(sort)).await.map_err(refusal)?;
            Ok(items.into_iter().map(|item| under(item, sort)).collect())
        })
    }

    fn fetch<'a>(&'a self, fetch: Fetch, line: &'a Line) -> Task<'a, Result<Answer, Refusal>> {
        Box::pin(async move {
            match self.fetched(fetch, line).await.map_err(refusal)? {
                // There is no result that could say where it stands.
                Answer::Told(Told { passed: None, text, meta, .. }) => {
                    Err(Refusal { kind: Refused::Here, message: text, data: Value::Object(meta) })
                }
                answer => Ok(answer),
            }
        })
    }

    fn watch(
        &self,
        uris: Vec<String>,
        since: Option<u64>,
    ) -> Task<'_, Result<(Vec<String>, u64), Refusal>> {
        Box::pin(async move {
            let Behalf::Proxy { servers, .. } = &self.behalf else {
                return Err(Refusal::none(Sort::Resource));
            };
            let body =
                json!({ "uris": uris, "servers": servers, "since": since, "wait_ms": STEP_MS });
            let seen: ProxiedChanges = self.ask("proxy.watch", body).await.map_err(refusal)?;
            Ok((seen.changed, seen.since))
        })
    }

    fn relisted(&self, since: Option<Value>) -> Task<'_, Result<(Vec<List>, Value), Refusal>> {
        Box::pin(async move {
            let servers = match &self.behalf {
                Behalf::Own => None,
                Behalf::Proxy { servers, .. } => Some(servers),
            };
            let body = json!({
                "proxied": servers.is_some(), "servers": servers.map_or(&[][..], Vec::as_slice),
                "since": since, "wait_ms": STEP_MS,
            });
            let seen: ListChanges = self.ask("tool.watch", body).await.map_err(refusal)?;
            let since = serde_json::to_value(&seen.since).unwrap_or_default();
            Ok((seen.changed.into_iter().map(list).collect(), since))
        })
    }

    fn kept<'a>(&'a self, id: String, line: &'a Line) -> Task<'a, Result<Kept, Refusal>> {
        Box::pin(async move {
            let mut seen = self.come_back(&id).await.map_err(refusal)?;
            let unable = |part: &ToolQuestionPart| !line.able().can(&part.method);
            if seen.question.as_ref().is_some_and(|one| one.parts.iter().any(unable)) {
                seen = self.answer(&seen, None).await.map_err(refusal)?;
            }
            Ok(kept::kept(&seen, (&self.behalf, line)))
        })
    }

    fn hear<'a>(
        &'a self,
        id: String,
        answers: Answers,
        _: &'a Line,
    ) -> Task<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let seen = self.come_back(&id).await.map_err(refusal)?;
            self.answered(seen, Some(answers)).await.map_err(refusal)?;
            Ok(())
        })
    }

    fn leave(&self, id: String) -> Task<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let _left: ToolCall =
                self.ask("tool.leave", json!({ "run": id })).await.map_err(refusal)?;
            Ok(())
        })
    }

    fn complete(&self, params: Value) -> Task<'_, Result<Value, Refusal>> {
        Box::pin(async move {
            let Behalf::Proxy { servers, .. } = &self.behalf else {
                return Err(Refusal::none(Sort::Prompt));
            };
            let body = json!({ "params": params, "servers": servers });
            let found: ProxiedCompletion =
                self.ask("proxy.complete", body).await.map_err(refusal)?;
            Ok(found.result)
        })
    }
}

/// What a client without a session is asked, by an answer to its call.
fn asks_client(seen: &ToolCall, resume: Option<String>) -> Option<Asking> {
    let question = seen.question.clone()?;
    Some(Asking { asked: parts(question), state: resume?, meta: meta(seen) })
}

/// The error of the protocol that the server behind us answered with.
fn there(seen: &ToolCall) -> Option<Answer> {
    let refused = seen.refused.as_ref()?;
    let code = refused.get("code").and_then(Value::as_i64)?;
    let message = refused.get("message").and_then(Value::as_str).unwrap_or_default();
    Some(Answer::Refused(Refusal {
        kind: Refused::There(i32::try_from(code).ok()?),
        message: message.to_owned(),
        data: refused.get("data").cloned().unwrap_or_default(),
    }))
}

fn parts(question: ToolQuestion) -> Vec<Asked> {
    let parts = question.parts.into_iter();
    parts.map(|part| Asked { key: part.key, method: part.method, params: part.params }).collect()
}

fn is_of_protocol(problem: &Problem) -> bool {
    let ours =
        ["tool-not-found", "state-invalid", "other-version", "not-proxying", "answers-invalid"];
    ours.contains(&&*problem.code) || problem.kind == Kind::Unexpected
}

fn refusal(problem: Problem) -> Refusal {
    let kind = match problem.kind {
        Kind::Unexpected | Kind::TryAgain => Refused::Here,
        Kind::NotFound if &*problem.code == "resource-not-found" => Refused::Resource,
        _ => Refused::Request,
    };
    Refusal { kind, message: words(&problem), data: Value::Null }
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

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}
