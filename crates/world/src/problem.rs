//! Refusals: one closed set of problems, spoken by each system in its own shape.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One of the world's systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// Customer relationship management, `/crm`.
    Crm,
    /// Support desk, `/desk`.
    Desk,
    /// Billing, `/billing`.
    Billing,
    /// Product usage, `/usage`.
    Usage,
    /// The mail sink.
    Mail,
}

impl System {
    /// The lower-case name, also the prefix of paths and operations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crm => "crm",
            Self::Desk => "desk",
            Self::Billing => "billing",
            Self::Usage => "usage",
            Self::Mail => "mail",
        }
    }

    /// Whether the system reads the `Idempotency-Key` header.
    pub(crate) fn honours_keys(self) -> bool {
        matches!(self, Self::Crm | Self::Desk | Self::Billing)
    }
}

/// What can be wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    NoToken,
    ReadOnly,
    NotFound,
    WrongMethod,
    Moved,
    BadParameter,
    Malformed,
    TooLarge,
    KeyReused,
    Conflict,
    AmountTooLarge,
    RateLimited,
    /// The server's own trouble, with its 5xx status.
    Unavailable(u16),
}

impl Problem {
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::NoToken => 401,
            Self::ReadOnly => 403,
            Self::NotFound => 404,
            Self::WrongMethod => 405,
            Self::Moved => 412,
            Self::BadParameter | Self::Malformed | Self::AmountTooLarge => 400,
            Self::TooLarge => 413,
            Self::KeyReused => 422,
            Self::Conflict => 409,
            Self::RateLimited => 429,
            Self::Unavailable(status) => status,
        }
    }
}

/// A request turned down.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) message: String,
    pub(crate) field: Option<String>,
}

impl Refusal {
    pub(crate) fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self { problem, message: message.into(), field: None }
    }

    pub(crate) fn on(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(crate) fn not_found(noun: &str, id: &str) -> Self {
        Self::new(Problem::NotFound, format!("no {noun} {id}")).on("id")
    }

    /// The body of the answer, as `system` words it.
    pub(crate) fn render(&self, system: System) -> Value {
        match system {
            System::Crm => json!([{
                "errorCode": crm_code(self.problem),
                "message": self.message,
                "fields": self.field.iter().collect::<Vec<_>>(),
            }]),
            System::Desk => json!({
                "type": "error.list",
                "errors": [{
                    "code": desk_code(self.problem),
                    "message": self.message,
                    "field": self.field,
                }],
            }),
            System::Billing => json!({"error": {
                "type": billing_type(self.problem),
                "code": billing_code(self.problem),
                "message": self.message,
                "param": self.field,
            }}),
            System::Usage | System::Mail => json!({
                "status": "error",
                "reason": usage_code(self.problem),
                "detail": self.message,
            }),
        }
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        Self::new(Problem::Unavailable(500), error.to_string())
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        crate::Error::from(error).into()
    }
}

fn crm_code(problem: Problem) -> &'static str {
    match problem {
        Problem::NoToken => "INVALID_SESSION_ID",
        Problem::ReadOnly => "INSUFFICIENT_ACCESS",
        Problem::NotFound => "NOT_FOUND",
        Problem::WrongMethod => "METHOD_NOT_ALLOWED",
        Problem::Moved | Problem::Conflict => "ENTITY_IS_MOVED",
        Problem::BadParameter | Problem::AmountTooLarge => "INVALID_FIELD",
        Problem::Malformed => "MALFORMED",
        Problem::TooLarge => "TOO_LARGE",
        Problem::KeyReused => "IDEMPOTENCY_MISMATCH",
        Problem::RateLimited => "REQUEST_LIMIT_EXCEEDED",
        Problem::Unavailable(_) => "SERVER_UNAVAILABLE",
    }
}

fn desk_code(problem: Problem) -> &'static str {
    match problem {
        Problem::NoToken => "unauthorized",
        Problem::ReadOnly => "forbidden",
        Problem::NotFound => "not_found",
        Problem::WrongMethod => "method_not_allowed",
        Problem::Moved | Problem::Conflict => "conflict",
        Problem::BadParameter | Problem::AmountTooLarge => "parameter_invalid",
        Problem::Malformed => "malformed",
        Problem::TooLarge => "too_large",
        Problem::KeyReused => "idempotency_conflict",
        Problem::RateLimited => "rate_limit_exceeded",
        Problem::Unavailable(_) => "server_error",
    }
}

fn billing_type(problem: Problem) -> &'static str {
    match problem {
        Problem::NoToken => "authentication_error",
        Problem::ReadOnly => "permission_error",
        Problem::KeyReused => "idempotency_error",
        Problem::RateLimited => "rate_limit_error",
        Problem::Unavailable(_) => "api_error",
        Problem::NotFound
        | Problem::WrongMethod
        | Problem::Moved
        | Problem::BadParameter
        | Problem::Malformed
        | Problem::TooLarge
        | Problem::Conflict
        | Problem::AmountTooLarge => "invalid_request_error",
    }
}

fn billing_code(problem: Problem) -> &'static str {
    match problem {
        Problem::NoToken => "token_invalid",
        Problem::ReadOnly => "not_permitted",
        Problem::NotFound => "resource_missing",
        Problem::WrongMethod => "method_not_allowed",
        Problem::Moved | Problem::Conflict => "refund_not_cancelable",
        Problem::BadParameter => "parameter_invalid",
        Problem::Malformed => "malformed",
        Problem::TooLarge => "body_too_large",
        Problem::KeyReused => "idempotency_key_in_use",
        Problem::AmountTooLarge => "amount_too_large",
        Problem::RateLimited => "rate_limit",
        Problem::Unavailable(_) => "unavailable",
    }
}

fn usage_code(problem: Problem) -> &'static str {
    match problem {
        Problem::NoToken => "no_token",
        Problem::ReadOnly => "read_only_token",
        Problem::NotFound => "not_found",
        Problem::WrongMethod => "method_not_allowed",
        Problem::Moved | Problem::Conflict | Problem::KeyReused => "conflict",
        Problem::BadParameter | Problem::AmountTooLarge => "bad_parameter",
        Problem::Malformed => "bad_json",
        Problem::TooLarge => "too_large",
        Problem::RateLimited => "slow_down",
        Problem::Unavailable(_) => "down",
    }
}
