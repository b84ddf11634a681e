//! What passes between an agent and whoever prompts it, in words of our own.

use std::{fmt, path::PathBuf, time::Duration};

use agent_client_protocol::v1::schema::{
    PermissionOption, PermissionOptionId, PermissionOptionKind, StopReason, ToolCallStatus,
    ToolKind,
};
use futures_util::future::BoxFuture;
use serde_json::Value;

/// A prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Its words.
    pub text: String,
    /// The folder that the agent works in, as the agent sees it; absolute.
    pub cwd: PathBuf,
    /// How long it may take until it has a session.
    pub within: Duration,
}

/// Who prompts.
pub trait Side: Send + Sync + fmt::Debug {
    /// Just before the prompt is sent: whether it still may be. From then on the agent may act.
    fn leaves(&self) -> bool;

    /// Whether the agent may use a tool of its own, this once. Whoever gives up waiting drops it.
    fn judge(&self, used: Use) -> BoxFuture<'_, Answer>;

    /// The agent says that a use of a tool is over.
    fn over(&self, over: Over);

    /// Ends when the agent is to stop.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Nobody prompts.
#[derive(Debug)]
pub(super) struct Nobody;

impl Side for Nobody {
    fn leaves(&self) -> bool {
        false
    }

    fn judge(&self, _: Use) -> BoxFuture<'_, Answer> {
        Box::pin(std::future::ready(Answer::Reject))
    }

    fn over(&self, _: Over) {}

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// A use of a tool, as the agent describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// What the agent calls it.
    pub id: String,
    /// For people.
    pub title: String,
    /// The tool's own name, where the agent says it.
    pub name: Option<String>,
    /// What sort of use it is.
    pub kind: Kind,
    /// What the tool is given; null where the agent does not say.
    pub input: Value,
    /// The files that it names.
    pub paths: Vec<String>,
    /// Whether it shows how a file is going to change, whatever its kind says.
    pub changes: bool,
}

/// What sort of use it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads.
    Read,
    /// Changes something.
    Edit,
    /// Removes something.
    Delete,
    /// Moves something.
    Move,
    /// Searches.
    Search,
    /// Runs something.
    Execute,
    /// Thinks.
    Think,
    /// Fetches something from elsewhere.
    Fetch,
    /// Works otherwise from now on.
    SwitchMode,
    /// Anything else, and what is not known.
    Other,
}

impl Kind {
    /// As the protocol spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::Move => "move",
            Self::Search => "search",
            Self::Execute => "execute",
            Self::Think => "think",
            Self::Fetch => "fetch",
            Self::SwitchMode => "switch_mode",
            Self::Other => "other",
        }
    }

    pub(super) fn of(kind: ToolKind) -> Self {
        match kind {
            ToolKind::Read => Self::Read,
            ToolKind::Edit => Self::Edit,
            ToolKind::Delete => Self::Delete,
            ToolKind::Move => Self::Move,
            ToolKind::Search => Self::Search,
            ToolKind::Execute => Self::Execute,
            ToolKind::Think => Self::Think,
            ToolKind::Fetch => Self::Fetch,
            ToolKind::SwitchMode => Self::SwitchMode,
            _ => Self::Other,
        }
    }
}

/// Whether a use may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This once.
    Allow,
    /// No.
    Reject,
    /// The prompt is being ended; nobody decides any more.
    Cancelled,
}

/// A use of a tool that is over, in its agent's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub id: String,
    /// Whether the agent says that it went well.
    pub well: bool,
    /// What came of it.
    pub text: String,
}

/// Where a use stands, in its agent's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has not begun.
    Pending,
    /// It is under way.
    InProgress,
    /// It went well.
    Completed,
    /// It did not.
    Failed,
}

impl Status {
    /// As the protocol spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    pub(super) fn of(status: ToolCallStatus) -> Self {
        match status {
            ToolCallStatus::InProgress => Self::InProgress,
            ToolCallStatus::Completed => Self::Completed,
            ToolCallStatus::Failed => Self::Failed,
            _ => Self::Pending,
        }
    }
}

/// A use that the agent has told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// What the agent calls it.
    pub id: String,
    /// For people.
    pub title: String,
    /// What sort of use it is.
    pub kind: Kind,
    /// Where it stands.
    pub status: Status,
}

/// Why a turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The agent is through.
    EndTurn,
    /// Its model may say no more.
    MaxTokens,
    /// Its model may be asked no more.
    MaxTurnRequests,
    /// It does not want to.
    Refusal,
    /// Somebody ended it.
    Cancelled,
    /// A reason that is not known.
    Other,
}

impl Stop {
    /// As the protocol spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::MaxTurnRequests => "max_turn_requests",
            Self::Refusal => "refusal",
            Self::Cancelled => "cancelled",
            Self::Other => "other",
        }
    }
}

pub(super) fn stop(reason: StopReason) -> Stop {
    match reason {
        StopReason::EndTurn => Stop::EndTurn,
        StopReason::MaxTokens => Stop::MaxTokens,
        StopReason::MaxTurnRequests => Stop::MaxTurnRequests,
        StopReason::Refusal => Stop::Refusal,
        StopReason::Cancelled => Stop::Cancelled,
        _ => Stop::Other,
    }
}

/// A turn that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub stop: Stop,
    /// What the agent said.
    pub text: String,
    /// The uses of tools that it told of.
    pub uses: Vec<Reported>,
    /// Whether it said, or did, more than is told here.
    pub cut: bool,
    /// Who it says that it is.
    pub agent: Option<Is>,
}

/// Who an agent says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Is {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// An agent that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Who it says that it is.
    pub is: Option<Is>,
    /// How it may be logged in to.
    pub logins: Vec<String>,
    /// What it takes beside text.
    pub able: Vec<&'static str>,
}

/// Why a prompt came to no end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody is logged in to it.
    #[error(
        "it wants somebody to log in to it first ({logins}); a secret in its environment is the way that needs no person"
    )]
    WantsLogin {
        /// How, in its words.
        logins: String,
    },
    /// It has no session in time.
    #[error("it was not ready within {} s", within.as_secs())]
    Late {
        /// How long it had.
        within: Duration,
    },
    /// It gives its session no usable name.
    #[error("the name of its session is no text of 1 to {most} bytes", most = super::heard::ID_MAX_BYTES)]
    BadSession,
    /// It says no.
    #[error("it gave no sound answer ({code}): {message}")]
    Refused {
        /// Its number.
        code: i32,
        /// Its words.
        message: String,
    },
    /// It ended, or closed its output.
    #[error("it ended before its turn was over")]
    Over,
    /// It says more than is read.
    #[error("it sent more than {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is read.
        most: usize,
    },
    /// What it sends is no text.
    #[error("it sent a line that is no text")]
    NoText,
    /// It was not given its prompt.
    #[error("the prompt was not sent")]
    NotSent,
    /// It was told to stop.
    #[error("it was told to stop, and {}", if *confirmed { "did" } else { "did not say that it has" })]
    Stopped {
        /// Whether it said that it has.
        confirmed: bool,
    },
}

/// The option that says this, where one does and no other is called the same.
pub(super) fn choice(options: &[PermissionOption], verdict: Answer) -> Option<PermissionOptionId> {
    use PermissionOptionKind as K;
    let clear = |option: &&PermissionOption| {
        options.iter().filter(|other| other.option_id == option.option_id).count() == 1
    };
    let of = |kind: K| {
        let mut fitting = options.iter().filter(|option| option.kind == kind).filter(clear);
        fitting.next().map(|option| option.option_id.clone())
    };
    let no = || of(K::RejectOnce).or_else(|| of(K::RejectAlways));
    match verdict {
        // One that offers no such choice is told no.
        Answer::Allow => of(K::AllowOnce).or_else(no),
        Answer::Reject => no(),
        Answer::Cancelled => None,
    }
}

/// At most so many characters of a text.
pub(super) fn clip(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
