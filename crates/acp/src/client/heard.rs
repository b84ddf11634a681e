//! What an agent has said so far in its session, and what it wants judged.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agent_client_protocol::v1::schema::{
    ContentBlock, RequestPermissionRequest, SessionId, SessionNotification, SessionUpdate,
    ToolCall, ToolCallContent, ToolCallUpdate, ToolCallUpdateFields,
};
use serde_json::Value;
use tokio::sync::watch;

use super::{Ended, Error, Is, Kind, Over, Reported, Side, Status, Stop, Use, said::clip};

/// Longest name that an agent may give a session or a use, in bytes.
pub(super) const ID_MAX_BYTES: usize = 512;

/// How much of an agent's words is kept, in bytes.
pub(super) const TEXT_MAX_BYTES: usize = 1 << 20;

/// Most uses of tools that are kept.
const USES_MAX: usize = 1_000;

/// Most files that one use may name.
const PATHS_MAX: usize = 256;

/// How much of a use's title, and of its tool's name, is kept, in characters.
const TITLE_MAX_CHARS: usize = 500;

/// How much is kept of what came of a use, in characters.
const RESULT_MAX_CHARS: usize = 16_384;

/// Most uses that are judged at a time; one more is rejected.
const PENDING_MAX: usize = 8;

/// Most uses that are judged in one session.
const ASKED_MAX: usize = 500;

/// What is to be done about a request for permission.
pub(super) enum Asked {
    /// It is rejected at once.
    No,
    /// It is judged.
    Judge(Box<Use>),
}

pub(super) struct Heard {
    side: Arc<dyn Side>,
    so_far: Mutex<SoFar>,
    stopped: watch::Sender<bool>,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct SoFar {
    session: Option<SessionId>,
    /// Whether the prompt is sent, and its turn not over.
    is_on: bool,
    text: String,
    message: Option<String>,
    uses: Vec<Known>,
    cut: bool,
    asked: usize,
    pending: usize,
}

struct Known {
    used: Use,
    status: Status,
    result: String,
}

impl Heard {
    pub(super) fn new(side: Arc<dyn Side>) -> Self {
        Self { side, so_far: Mutex::default(), stopped: watch::Sender::new(false) }
    }

    pub(super) fn side(&self) -> &dyn Side {
        &*self.side
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opens(&self, session: SessionId) -> Result<(), Error> {
        if !is_name(&session.0) {
            return Err(Error::BadSession);
        }
        self.so_far().session = Some(session);
        Ok(())
    }

    /// The prompt is sent.
    pub(super) fn begins(&self) {
        self.so_far().is_on = true;
    }

    /// From now on nothing is permitted.
    pub(super) fn stops(&self) {
        self.stopped.send_replace(true);
    }

    /// Ends once nothing is permitted any more.
    pub(super) async fn is_stopped(&self) {
        // The sender is ours, so it is there.
        let mut stopped = self.stopped.subscribe();
        let _stopped = stopped.wait_for(|stopped| *stopped).await;
    }

    /// The turn is over.
    pub(super) fn ends(&self, (agent, stop): (Option<Is>, Stop)) -> Result<Ended, Error> {
        self.stops();
        let mut so_far = self.so_far();
        so_far.is_on = false;
        let reported = |known: &Known| Reported {
            id: known.used.id.clone(),
            title: known.used.title.clone(),
            kind: known.used.kind,
            status: known.status,
        };
        Ok(Ended {
            stop,
            text: std::mem::take(&mut so_far.text),
            uses: so_far.uses.iter().map(reported).collect(),
            cut: so_far.cut,
            agent,
        })
    }

    /// An agent says something in a session; what it says in another one, or before it was asked, is nobody's.
    pub(super) fn hear(&self, said: SessionNotification) {
        let mut so_far = self.so_far();
        if !so_far.is_on || so_far.session.as_ref() != Some(&said.session_id) {
            return;
        }
        let over = match said.update {
            SessionUpdate::AgentMessageChunk(chunk) => {
                let message = chunk.message_id.map(|id| id.to_string());
                so_far.says(&chunk.content, message);
                None
            }
            SessionUpdate::ToolCall(call) => so_far.told(call),
            SessionUpdate::ToolCallUpdate(update) => so_far.updated(update),
            _ => None,
        };
        drop(so_far);
        if let Some(over) = over {
            self.side.over(over);
        }
    }

    /// An agent wants to use a tool.
    pub(super) fn asked(&self, request: RequestPermissionRequest) -> Asked {
        let mut so_far = self.so_far();
        let is_ours = so_far.is_on && so_far.session.as_ref() == Some(&request.session_id);
        let is_too_much = so_far.pending >= PENDING_MAX || so_far.asked >= ASKED_MAX;
        if !is_ours || is_too_much || *self.stopped.borrow() {
            return Asked::No;
        }
        let id = request.tool_call.tool_call_id.to_string();
        so_far.updated(request.tool_call);
        // One that is over is not to be permitted, and of one that is not known nobody can tell what it is.
        let known = so_far.uses.iter().find(|known| known.used.id == id);
        let known = known.filter(|known| !is_over(known.status));
        let Some(used) = known.map(|known| known.used.clone()) else { return Asked::No };
        so_far.asked += 1;
        so_far.pending += 1;
        Asked::Judge(Box::new(used))
    }

    /// A request for permission is answered.
    pub(super) fn answered(&self) {
        let mut so_far = self.so_far();
        so_far.pending = so_far.pending.saturating_sub(1);
    }
}

impl SoFar {
    fn says(&mut self, content: &ContentBlock, message: Option<String>) {
        let ContentBlock::Text(words) = content else { return };
        if self.message != message && !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.message = message;
        let room = TEXT_MAX_BYTES.saturating_sub(self.text.len());
        let fits = words.text.floor_char_boundary(room);
        self.cut |= fits < words.text.len();
        self.text.push_str(words.text.get(..fits).unwrap_or_default());
    }

    fn told(&mut self, call: ToolCall) -> Option<Over> {
        let fields = ToolCallUpdateFields::new()
            .kind(call.kind)
            .status(call.status)
            .title(call.title)
            .name(call.name)
            .content(call.content)
            .locations(call.locations)
            .raw_input(call.raw_input)
            .raw_output(call.raw_output);
        self.updated(ToolCallUpdate::new(call.tool_call_id, fields))
    }

    /// What is known of a use now; that it is over, where this says so for the first time.
    fn updated(&mut self, update: ToolCallUpdate) -> Option<Over> {
        let (id, fields) = (update.tool_call_id.to_string(), update.fields);
        let at = self.uses.iter().position(|known| known.used.id == id);
        let at = match at {
            Some(at) => at,
            None if is_name(&id) && self.uses.len() < USES_MAX => {
                self.uses.push(Known::new(id));
                self.uses.len() - 1
            }
            None => {
                self.cut = true;
                return None;
            }
        };
        let known = self.uses.get_mut(at)?;
        let was_over = is_over(known.status);
        known.take(fields);
        (!was_over && is_over(known.status)).then(|| Over {
            id: known.used.id.clone(),
            well: known.status == Status::Completed,
            text: known.result.clone(),
        })
    }
}

impl Known {
    fn new(id: String) -> Self {
        let used = Use {
            id,
            title: String::new(),
            name: None,
            kind: Kind::Other,
            input: Value::Null,
            paths: Vec::new(),
            changes: false,
        };
        Self { used, status: Status::Pending, result: String::new() }
    }

    fn take(&mut self, fields: ToolCallUpdateFields) {
        if let Some(title) = fields.title {
            self.used.title = clip(&title, TITLE_MAX_CHARS);
        }
        if let Some(name) = fields.name {
            self.used.name = Some(clip(&name, TITLE_MAX_CHARS));
        }
        if let Some(kind) = fields.kind {
            self.used.kind = Kind::of(kind);
        }
        if let Some(input) = fields.raw_input {
            self.used.input = input;
        }
        let mut paths: Vec<String> = Vec::new();
        let places = fields.locations.unwrap_or_default();
        paths.extend(places.iter().map(|place| place.path.display().to_string()));
        let content = fields.content.unwrap_or_default();
        for part in &content {
            match part {
                ToolCallContent::Diff(diff) => {
                    self.used.changes = true;
                    paths.push(diff.path.display().to_string());
                }
                ToolCallContent::Content(content) => {
                    if let ContentBlock::Text(words) = &content.content {
                        self.result = clip(&words.text, RESULT_MAX_CHARS);
                    }
                }
                _ => {}
            }
        }
        // A file that was named once is not unnamed.
        for path in paths {
            if !self.used.paths.contains(&path) && self.used.paths.len() <= PATHS_MAX {
                self.used.paths.push(path);
            }
        }
        if content.is_empty()
            && let Some(output) = fields.raw_output
        {
            let text = match output {
                Value::String(text) => text,
                other => other.to_string(),
            };
            self.result = clip(&text, RESULT_MAX_CHARS);
        }
        if let Some(status) = fields.status.filter(|_| !is_over(self.status)) {
            self.status = Status::of(status);
        }
    }
}

fn is_over(status: Status) -> bool {
    matches!(status, Status::Completed | Status::Failed)
}

fn is_name(id: &str) -> bool {
    (1..=ID_MAX_BYTES).contains(&id.len())
}
