//! Why a server gave no sound answer.

use std::{error::Error as StdError, io, time::Duration};

use rmcp::{
    model::ErrorData,
    service::{ClientInitializeError, ServiceError},
    transport::streamable_http_client::{
        AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpError,
    },
};
use serde_json::Value;

/// What a server says that refuses whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// What is missing.
    pub why: &'static str,
    /// Its challenge (`WWW-Authenticate`), in its own words; empty where it gave none.
    pub challenge: String,
    /// Whether the credential is good, and does not reach far enough.
    pub too_narrow: bool,
}

/// No sound answer. Texts of the server stand in it as they came: whoever shows them cuts and redacts them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An address or a header that cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// Nothing came back when the connection was made.
    #[error("it did not answer the first message within {} ms", .0.as_millis())]
    Late(Duration),
    /// The connection is over.
    #[error("the connection ended before the answer came")]
    Over,
    /// There is no connection: nothing was sent.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// It wants to know who asks, or that one may not.
    #[error("it refuses who asks: {0}")]
    Refused(Refusal),
    /// A status of HTTP.
    #[error("it answered HTTP {status}")]
    Status {
        /// Which.
        status: u16,
        /// How long it wants to be left alone, in its own words.
        retry_after: Option<String>,
    },
    /// An error of the protocol.
    #[error("it answered with error {code}: {message}")]
    Answer {
        /// Which; -32602 for arguments, -32601 for a method or tool that is not there.
        code: i32,
        /// What it says.
        message: String,
        /// The same for programs.
        data: Option<Value>,
    },
    /// A list that is longer than it may be.
    #[error("its list of {what} has more than {most} {of}")]
    TooMany {
        /// What is listed.
        what: &'static str,
        /// How much is read.
        most: usize,
        /// Of what.
        of: &'static str,
    },
    /// A list whose pages lead back to themselves.
    #[error("its list of {what} leads back to the page it is on")]
    Circle {
        /// What is listed.
        what: &'static str,
    },
    /// One message that is longer than it may be.
    #[error("one message of it is longer than {most} bytes")]
    TooLarge {
        /// How much is read.
        most: usize,
    },
    /// It goes on asking for something instead of answering.
    #[error("it asked again and again for something that it is not given")]
    Insists,
    /// An answer that is none.
    #[error("its answer is none of this protocol: {0}")]
    NoAnswer(String),
}

impl Error {
    pub(super) fn of(error: ServiceError) -> Self {
        match error {
            ServiceError::McpError(data) => Self::of_data(data),
            ServiceError::TransportClosed | ServiceError::Cancelled { .. } => Self::Over,
            ServiceError::InputRequiredRoundsExceeded { .. } => Self::Insists,
            ServiceError::TransportSend(error) => Self::of_wire(&*error.error),
            ServiceError::UnexpectedResponse => {
                Self::NoAnswer("another sort of answer than was asked for".to_owned())
            }
            other => Self::NoAnswer(other.to_string()),
        }
    }

    pub(super) fn of_start(error: ClientInitializeError) -> Self {
        match error {
            ClientInitializeError::JsonRpcError(data) => Self::of_data(data),
            ClientInitializeError::ConnectionClosed(_) => Self::Over,
            ClientInitializeError::TransportError { error, .. } => Self::of_wire(&*error.error),
            ClientInitializeError::LegacyFallbackFailed { fallback, .. } => {
                Self::of_start(*fallback)
            }
            ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
                let theirs: Vec<_> = server_supported.iter().map(ToString::to_string).collect();
                Self::NoAnswer(format!("it speaks only {}", theirs.join(", ")))
            }
            other => Self::NoAnswer(other.to_string()),
        }
    }

    fn of_data(data: ErrorData) -> Self {
        let (code, message) = (data.code.0, data.message.into_owned());
        Self::Answer { code, message, data: data.data }
    }

    /// What the transport says lies somewhere in its chain of causes.
    fn of_wire(error: &(dyn StdError + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(current) = cause {
            if let Some(wanted) = current.downcast_ref::<AuthRequiredError>() {
                let challenge = wanted.www_authenticate_header.clone();
                let why = "it wants a credential, or another one";
                return Self::Refused(Refusal { why, challenge, too_narrow: false });
            }
            if let Some(wanted) = current.downcast_ref::<InsufficientScopeError>() {
                let challenge = wanted.www_authenticate_header.clone();
                let why = "the credential does not reach that far";
                return Self::Refused(Refusal { why, challenge, too_narrow: true });
            }
            if let Some(error) = current.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
                match error {
                    StreamableHttpError::ResponseBodyTooLarge { max_size } => {
                        return Self::TooLarge { most: *max_size };
                    }
                    // It stands for its cause, and is passed over among causes.
                    StreamableHttpError::HttpStatus(HttpStatusError {
                        status,
                        retry_after,
                        ..
                    }) => {
                        return Self::Status { status: *status, retry_after: retry_after.clone() };
                    }
                    StreamableHttpError::Client(error) => return Self::of_client(error),
                    StreamableHttpError::SessionExpired => return Self::Over,
                    _ => {}
                }
            }
            cause = current.source();
        }
        Self::NoAnswer(error.to_string())
    }
}

impl Error {
    /// Without its address: that is the operator's to know.
    fn of_client(error: &reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            return Self::Unreachable(root(error));
        }
        if has_ended(error) {
            return Self::Over;
        }
        if error.is_redirect() {
            return Self::NoAnswer("it leads elsewhere, which is not followed".to_owned());
        }
        Self::NoAnswer(root(error))
    }
}

/// Whether the other side hung up: in the middle of a body, or before it had said anything.
fn has_ended(error: &reqwest::Error) -> bool {
    const ENDS: [io::ErrorKind; 5] = [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::NotConnected,
        io::ErrorKind::UnexpectedEof,
    ];
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        let ended = current.downcast_ref::<io::Error>().is_some_and(|e| ENDS.contains(&e.kind()));
        let silent = current.downcast_ref::<hyper::Error>().is_some_and(|error| {
            error.is_incomplete_message() || error.is_closed() || error.is_canceled()
        });
        if ended || silent {
            return true;
        }
        cause = current.source();
    }
    false
}

/// The last cause of an error: the one that says what was wrong.
fn root(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}
