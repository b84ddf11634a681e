//! Why there is no page, and why nothing was found.

use egress::{Host, Refusal};

use crate::{address::Unreadable, places::Unlisted};

/// Something an operator wrote that cannot be held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Wrong {
    /// The field, as it is written.
    pub field: &'static str,
    /// What is wrong with it and what to write instead.
    pub problem: String,
}

/// A failure: what sort it is, in words, and when to come again where somebody said so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    /// What sort of failure it is.
    pub why: Why,
    /// The place and the next step. Words of the other side are not in it.
    pub message: String,
    /// How long the other side wants to be left alone, in milliseconds.
    pub retry_after_ms: Option<i64>,
}

/// Sorts of failures. None leaves an effect behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What was asked for cannot be asked: an address that is none, a range beyond the end, nothing there.
    Asked,
    /// It is not allowed: by the operator, by what the host says in `robots.txt`, or by the host itself.
    Refused,
    /// Too often.
    Often,
    /// Nobody answers, or with a failure of their own.
    Away,
    /// It took too long, or the moment to send has passed.
    Late,
    /// What came cannot be used: another type, too long, broken.
    Shape,
}

impl Failed {
    pub(crate) fn new(why: Why, message: impl Into<String>) -> Self {
        Self { why, message: message.into(), retry_after_ms: None }
    }

    /// Too late for anything to leave.
    pub(crate) fn late() -> Self {
        Self::new(Why::Late, "too late to send: the dispatch window has passed, nothing more left")
    }

    pub(crate) fn unreadable(why: Unreadable) -> Self {
        Self::new(Why::Asked, format!("the address cannot be used: {why}"))
    }

    pub(crate) fn unlisted(host: &Host, why: Unlisted) -> Self {
        let message = match why {
            Unlisted::Host => format!(
                "`{host}` is no host that may be asked; the operator can list it under `hosts` of the system"
            ),
            Unlisted::Reach => format!(
                "`{host}` is not among the listed hosts, and this operation reaches no others; use one that reaches every public host, or have it listed"
            ),
            Unlisted::Port => format!(
                "`{host}` is only asked at the usual ports; the operator can list it with its port"
            ),
            Unlisted::Address(kind) => format!(
                "`{host}` is {}, and is not listed; the operator can write it out under `hosts` where it may be asked",
                kind.name()
            ),
        };
        Self::new(Why::Refused, message)
    }

    /// Why there is no connection.
    pub(crate) fn unreached(host: &Host, refusal: Refusal) -> Self {
        let why = match refusal {
            Refusal::Address(_) => Why::Refused,
            Refusal::Timeout => Why::Late,
            _ => Why::Away,
        };
        let next = match refusal {
            Refusal::Address(_) => {
                "the operator can list the address under `private` of the system if it should go there"
            }
            other => other.next(),
        };
        Self::new(why, format!("`{host}`: {}; {next}", refusal.problem()))
    }
}
