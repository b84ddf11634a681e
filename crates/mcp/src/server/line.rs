//! The line that a call came by: its client can be asked and told by it, as far as it can.

#![expect(deprecated, reason = "the older generation is asked for models and told of logs")]

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    RoleServer,
    model::{
        ClientResult, CreateMessageResult, ElicitResult, ListRootsResult, LoggingLevel,
        LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken, ServerRequest,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

use super::{Able, Answers, Asked, Said};

/// Where a client without a session says from which level on it wants to hear of a log.
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// From which level on a session wants to hear of logs; none where it never said.
pub(super) type Level = Arc<Mutex<Option<LoggingLevel>>>;

/// The line that a call came by.
pub struct Line {
    context: RequestContext<RoleServer>,
    token: Option<ProgressToken>,
    level: Level,
    reach: Reach,
}

/// How a client is reached in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its call is answered with what it is asked, and repeated.
    Repeats,
    /// It is asked over its session.
    Session,
    /// Not at all: every request of it stands for itself, and it does not know how to repeat one.
    Nowhere,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn of(context: RequestContext<RoleServer>, (level, reach): (Level, Reach)) -> Self {
        let token = context.meta.get_progress_token();
        Self { context, token, level, reach }
    }

    /// Ends when the client does not want the answer any more.
    pub async fn cancelled(&self) {
        self.context.ct.cancelled().await;
    }

    /// What the client can be asked.
    #[must_use]
    pub fn able(&self) -> Able {
        let can = self.context.client_capabilities().unwrap_or_default();
        match self.reach {
            Reach::Nowhere => Able::default(),
            Reach::Repeats | Reach::Session => Able {
                elicitation: can.elicitation.is_some(),
                sampling: can.sampling.is_some(),
                roots: can.roots.is_some(),
            },
        }
    }

    /// Whether it is asked by an answer to its call.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.reach == Reach::Repeats
    }

    /// Asks a client that has a session, one thing after the other; none where it does not answer.
    pub async fn ask(&self, asked: Vec<Asked>) -> Option<Answers> {
        if self.reach != Reach::Session {
            return None;
        }
        let mut answers = Answers::new();
        for Asked { key, method, params } in asked {
            let request = json!({"method": method, "params": params});
            let request: ServerRequest = serde_json::from_value(request).ok()?;
            let answer = tokio::select! {
                answer = self.context.peer.send_request(request) => answer.ok()?,
                () = self.cancelled() => return None,
            };
            let answer: Option<Value> = match answer {
                ClientResult::EmptyResult(_) => None,
                answer => serde_json::to_value(answer).ok(),
            };
            answers.insert(key, answer?);
        }
        Some(answers)
    }

    /// Tells how far the call is, to a client that wants to hear it. `step` grows from one word to the next.
    pub async fn tell(&self, step: u32, message: String) {
        let mut said = json!({"progress": step, "message": message});
        self.progress(&mut said).await;
    }

    /// Passes on what a server says, to a client that wants to hear it.
    pub async fn pass_on(&self, said: Said) {
        match said {
            Said::Progress(mut params) => self.progress(&mut params).await,
            Said::Log(params) => self.log(params).await,
            // It belongs to no call.
            Said::Updated(_) | Said::Relisted(_) => {}
        }
    }

    async fn progress(&self, params: &mut Value) {
        let Some(token) = &self.token else { return };
        if let (Some(map), Ok(token)) = (params.as_object_mut(), serde_json::to_value(token)) {
            map.insert("progressToken".to_owned(), token);
        }
        let said = serde_json::from_value::<ProgressNotificationParam>(params.take());
        if let Ok(said) = said {
            // Who does not listen any more is told nothing.
            drop(self.context.peer.notify_progress(said).await);
        }
    }

    async fn log(&self, params: Value) {
        let Ok(said) = serde_json::from_value::<LoggingMessageNotificationParam>(params) else {
            return;
        };
        let level = match self.reach {
            // Without a session, who names no level wants no log.
            Reach::Repeats | Reach::Nowhere => {
                let named = self.context.meta.get(LOG_LEVEL).cloned();
                named.and_then(|level| serde_json::from_value(level).ok())
            }
            Reach::Session => {
                let level = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
                Some(level.unwrap_or(LoggingLevel::Debug))
            }
        };
        if level.is_some_and(|level: LoggingLevel| rank(said.level) >= rank(level)) {
            drop(self.context.peer.notify_logging_message(said).await);
        }
    }
}

/// Whether this answers a question of this sort.
#[must_use]
pub fn fits(method: &str, answer: &Value) -> bool {
    let answer = answer.clone();
    match method {
        "elicitation/create" => serde_json::from_value::<ElicitResult>(answer).is_ok(),
        "sampling/createMessage" => serde_json::from_value::<CreateMessageResult>(answer).is_ok(),
        "roots/list" => serde_json::from_value::<ListRootsResult>(answer).is_ok(),
        _ => false,
    }
}

fn rank(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}
