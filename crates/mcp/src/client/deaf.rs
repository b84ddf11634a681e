//! What a server may ask of whoever calls it: nothing is given, and what was asked is remembered.

#![expect(deprecated, reason = "servers of the older generation still ask for it, and are refused")]

use std::sync::{Mutex, PoisonError};

use rmcp::{
    ClientHandler, ErrorData,
    model::{
        ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
        ElicitRequestParams, ElicitResult, ElicitationAction, ErrorCode, Implementation,
        ListRootsResult, ProtocolVersion,
    },
    service::{RequestContext, RoleClient},
};

/// Most refusals that are remembered.
const TOLD_MAX: usize = 20;

/// Longest part of a question that is remembered, in characters.
const QUESTION_MAX_CHARS: usize = 200;

/// The client's own side of a connection.
#[derive(Debug, Default)]
pub(super) struct Deaf {
    told: Mutex<Vec<String>>,
}

impl Deaf {
    /// What was refused since this was asked last.
    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, what: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX {
            told.push(what);
        }
    }

    fn refuse(&self, what: &str) -> ErrorData {
        self.note(what.to_owned());
        ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("refused: {what} is not offered"), None)
    }
}

/// A question as somebody may be shown it: short, and in one line.
fn short(question: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    question.chars().take(QUESTION_MAX_CHARS).map(clean).collect()
}

impl ClientHandler for Deaf {
    fn create_message(
        &self,
        _params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> impl Future<Output = Result<CreateMessageResult, ErrorData>> + Send + '_ {
        std::future::ready(Err(self.refuse("a model's answer (sampling)")))
    }

    fn list_roots(
        &self,
        _context: RequestContext<RoleClient>,
    ) -> impl Future<Output = Result<ListRootsResult, ErrorData>> + Send + '_ {
        std::future::ready(Err(self.refuse("a list of folders (roots)")))
    }

    fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> impl Future<Output = Result<ElicitResult, ErrorData>> + Send + '_ {
        let question = match &params {
            ElicitRequestParams::FormElicitationParams { message, .. } => {
                format!("an answer of a person: {}", short(message))
            }
            // Where it leads is not repeated: nobody is to follow it.
            ElicitRequestParams::UrlElicitationParams { message, .. } => {
                format!("a person at a page of its own: {}", short(message))
            }
            _ => "something of a person".to_owned(),
        };
        self.note(question);
        std::future::ready(Ok(ElicitResult::new(ElicitationAction::Decline)))
    }

    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new("harness", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), own)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}
