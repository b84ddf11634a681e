//! Coding agents that are not ours, at tools of their own: what their hooks say is turned into calls of the gate, and
//! what the gate says into a hook's answer. Silence, doubt and what nobody knows deny.

pub(super) mod judging;
mod kinds;
mod own;
mod table;

use kernel::{Digest, id::RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Document, Documents as _, Expected};
use tokio::time::{Duration, Instant};

use super::{
    App, Caller,
    gate::{self, GateCall, GateOutcome, GateReport, GateTake, GateVerdict, GateView},
    parse_id,
    problem::{Kind, Problem},
    tools::About,
    value,
};
use table::{Agent, Use};

/// The pack that says what is decided.
const PACK: &str = "coding-agent";

/// The kind of document that leads from a use of a tool to its run.
const USE: &str = "tool-use";

/// How long a use is remembered, in ms: longer than any tool takes.
const KEPT_MS: i64 = 24 * 3_600_000;

/// Longest that one answer waits, in ms.
const WAIT_MAX_MS: u64 = 45_000;

/// Longest part of a tool's answer that is kept, in characters.
const ANSWER_MAX_CHARS: usize = 16_384;

/// Longest id that a host gives a session or a call, in bytes.
const ID_MAX_BYTES: usize = 512;

/// What a hook of a coding agent was told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookEvent {
    /// The agent's host: `claude-code` or `codex`.
    pub agent: String,
    /// The event as the host wrote it.
    pub event: Value,
    /// How long to wait for a person, in ms: 0 when nothing is said, at most 45,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What the hook answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookSays {
    /// Nothing against it.
    Pass,
    /// No.
    Deny,
    /// Not yet: a person is asked.
    Ask,
}

/// What the hook answers, and why.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HookVerdict {
    /// What it answers.
    pub says: HookSays,
    /// Why, for the agent and its person.
    pub reason: String,
    /// The run of the use, where there is one.
    #[serde(default)]
    pub run: Option<String>,
    /// Open asks.
    #[serde(default)]
    pub approvals: Vec<String>,
}

impl HookVerdict {
    fn pass(run: &str) -> Self {
        Self::of(HookSays::Pass, String::new(), Some(run.to_owned()))
    }

    fn of(says: HookSays, reason: impl Into<String>, run: Option<String>) -> Self {
        Self { says, reason: reason.into(), run, approvals: Vec::new() }
    }
}

/// An event, read.
#[derive(Debug)]
struct Seen {
    session: String,
    use_id: Option<String>,
    tool: String,
    input: Value,
    cwd: String,
}

/// Judges and records what a coding agent is about to do, or did, with a tool of its own.
///
/// # Errors
/// When the event makes no sense, or the pack that decides is not there.
pub async fn hook(app: &App, caller: &Caller, request: HookEvent) -> Result<HookVerdict, Problem> {
    let agent = Agent::of(&request.agent)?;
    let name = text(&request.event, "hook_event_name", ID_MAX_BYTES)?;
    let seen = Seen::read(&request.event)?;
    match name.as_str() {
        "PreToolUse" => before(app, caller, (agent, &seen), request.wait_ms).await,
        "PermissionRequest" => permission(app, caller, (agent, &seen)).await,
        "PostToolUse" => {
            after(app, caller, &seen, ("well", value::at(&request.event, "/tool_response"))).await
        }
        "PostToolUseFailure" => {
            after(app, caller, &seen, ("badly", value::at(&request.event, "/error"))).await
        }
        other => {
            let shown: String = other.chars().take(60).collect();
            Err(Problem::usage("unknown-event", format!("`{shown}` is no event that is judged"))
                .next(
                    "hook PreToolUse, PermissionRequest, PostToolUse and PostToolUseFailure alone",
                ))
        }
    }
}

impl Seen {
    fn read(event: &Value) -> Result<Self, Problem> {
        let use_id = match event.get("tool_use_id") {
            None | Some(Value::Null) => None,
            Some(_) => Some(text(event, "tool_use_id", ID_MAX_BYTES)?),
        };
        let input = event.get("tool_input").cloned().unwrap_or_default();
        if !input.is_object() {
            return Err(Problem::usage("bad-event", "`tool_input` is not an object")
                .next("send the event as the host wrote it"));
        }
        Ok(Self {
            session: text(event, "session_id", ID_MAX_BYTES)?,
            use_id,
            tool: text(event, "tool_name", 200)?,
            input,
            cwd: text(event, "cwd", 4_096)?,
        })
    }
}

fn text(event: &Value, name: &str, bytes_max: usize) -> Result<String, Problem> {
    let found = event.get(name).and_then(Value::as_str);
    let fits = found.filter(|text| !text.is_empty() && text.len() <= bytes_max);
    fits.map(str::to_owned).ok_or_else(|| {
        let detail = format!("`{name}` is not a text of 1 to {bytes_max} bytes");
        Problem::usage("bad-event", detail).next("send the event as the host wrote it")
    })
}

/// Before a tool is used: asked once, and the same use is the same call until it was permitted or denied.
async fn before(
    app: &App,
    caller: &Caller,
    (agent, seen): (Agent, &Seen),
    wait_ms: Option<u64>,
) -> Result<HookVerdict, Problem> {
    let used = table::used(agent, (&seen.tool, &seen.input, &seen.cwd), &app.config)?;
    let about = about(caller, seen, &used)?;
    let call = GateCall {
        tool: format!("{PACK}/{}", used.intent),
        arguments: used.arguments,
        idempotency_key: Some(app.tool_key(caller, &about).await?),
        wait_ms: Some(wait_ms.unwrap_or(0).clamp(1_000, WAIT_MAX_MS)),
    };
    let until = Instant::now() + Duration::from_millis(wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
    let mut view = gate::call(app, caller, call).await?;
    let mut changed = app.feed().watch();
    while matches!(view.verdict, GateVerdict::Ask | GateVerdict::Pending) {
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(until) => return Ok(asked(&view)),
        }
        let take = GateTake { run: view.run.clone(), wait_ms: Some(1_000) };
        view = gate::take(app, caller, take).await?;
    }
    let run: RunId = parse_id(&view.run)?;
    app.tool_told(caller, &run, Some(&about)).await?;
    if view.verdict != GateVerdict::Allow {
        let because = match view.because.is_empty() {
            true => "this use is over; ask again".to_owned(),
            false => view.because.join("; "),
        };
        return Ok(HookVerdict::of(HookSays::Deny, because, Some(view.run)));
    }
    let places = [
        seen.use_id.as_ref().map(|id| place(caller, seen, id)),
        Some(place(caller, seen, &used.digest)),
    ];
    for place in places.into_iter().flatten() {
        remember(app, caller, &place, &run).await?;
    }
    Ok(HookVerdict::pass(&view.run))
}

fn asked(view: &GateView) -> HookVerdict {
    let reason = match view.approvals.first() {
        Some(approval) => format!(
            "A person has to decide first: {approval} (`harness approval get {approval}`). Nothing was done. Try \
             exactly the same again once it is approved."
        ),
        None => "Nothing is decided yet. Nothing was done; try exactly the same again.".to_owned(),
    };
    let run = Some(view.run.clone());
    HookVerdict { says: HookSays::Ask, reason, run, approvals: view.approvals.clone() }
}

/// Its host asks for permission: of what was permitted here, its own person may decide further; the rest is not theirs
/// to permit.
async fn permission(
    app: &App,
    caller: &Caller,
    (agent, seen): (Agent, &Seen),
) -> Result<HookVerdict, Problem> {
    let used = table::used(agent, (&seen.tool, &seen.input, &seen.cwd), &app.config)?;
    let found =
        app.store.document(caller.tenant(), USE, &place(caller, seen, &used.digest)).await?;
    match found {
        Some(found) => Ok(HookVerdict::pass(&String::from_utf8_lossy(&found.body))),
        None => {
            let reason = "this use was not judged before it was asked for; hook PreToolUse too";
            Ok(HookVerdict::of(HookSays::Deny, reason, None))
        }
    }
}

/// After a tool was used: its host's word about it.
async fn after(
    app: &App,
    caller: &Caller,
    seen: &Seen,
    (ended, answer): (&str, &Value),
) -> Result<HookVerdict, Problem> {
    let unknown = || {
        let reason = "this use of a tool was never permitted here";
        HookVerdict::of(HookSays::Deny, reason, None)
    };
    let Some(use_id) = &seen.use_id else { return Ok(unknown()) };
    let place = place(caller, seen, use_id);
    let Some(found) = app.store.document(caller.tenant(), USE, &place).await? else {
        return Ok(unknown());
    };
    let run = String::from_utf8_lossy(&found.body).into_owned();
    let said = match answer {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let said: String = said.chars().take(ANSWER_MAX_CHARS).collect();
    let report = GateReport {
        run: run.clone(),
        outcome: GateOutcome::Done,
        result: json!({ "ended": ended, "text": said }),
        message: String::new(),
    };
    gate::report(app, caller, report).await?;
    app.store.discard(caller.tenant(), USE, &place).await?;
    Ok(HookVerdict::pass(&run))
}

/// What a use is about: in one session, the same tool on the same thing.
fn about(caller: &Caller, seen: &Seen, used: &Use) -> Result<About, Problem> {
    let arguments = json!({ "session": seen.session, "arguments": used.arguments });
    About::of(caller, &format!("{PACK}/{}", used.intent), &arguments)
}

fn place(caller: &Caller, seen: &Seen, id: &str) -> String {
    let by = caller.principal().id.as_str().as_bytes();
    Digest::of_parts("harness/tool-use/v1", &[by, seen.session.as_bytes(), id.as_bytes()]).hex()
}

async fn remember(app: &App, caller: &Caller, place: &str, run: &RunId) -> Result<(), Problem> {
    let body = run.as_str().as_bytes().to_vec();
    let due = Some(app.now() + KEPT_MS);
    let document = Document { kind: USE, id: place.to_owned(), due, body };
    let before = app.store.document(caller.tenant(), USE, place).await?;
    let expected = before.map_or(Expected::Absent, |found| Expected::Version(found.version));
    match app.store.keep(caller.tenant(), document, expected).await {
        Ok(_) => Ok(()),
        Err(store::Error::Stale { .. }) => {
            Err(Problem::new(Kind::TryAgain, "use-busy", "the same use is judged just now")
                .next("try it again"))
        }
        Err(error) => Err(error.into()),
    }
}

impl App {
    /// Forgets uses that nobody reported.
    pub(super) async fn sweep_uses(&self) {
        let Ok(old) = self.store.due_documents(USE, self.now(), 1_000).await else { return };
        for document in old {
            drop(self.store.discard(&document.tenant, USE, &document.id).await);
        }
    }
}
