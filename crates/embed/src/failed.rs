//! How a tool says that it failed, and whether its effect may have happened.

use std::fmt;

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};

/// Longest message kept, in characters.
pub const MESSAGE_MAX_CHARS: usize = 2_000;

/// A call that failed.
///
/// Any error with a `Display` becomes one. It says nothing about the effect, so after a write the
/// strictest is assumed: nobody knows whether it happened, and a person looks into it. A tool that knows
/// better says so with [`Failed::nothing_happened`] or [`Failed::happened`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    class: Class,
    landed: Option<Landed>,
    message: String,
}

impl Failed {
    /// It failed before anything changed.
    #[must_use]
    pub fn nothing_happened(class: Class, message: impl fmt::Display) -> Self {
        Self::new(class, Some(Landed::No), message)
    }

    /// It changed what it should, and failed after that.
    #[must_use]
    pub fn happened(class: Class, message: impl fmt::Display) -> Self {
        Self::new(class, Some(Landed::Yes), message)
    }

    /// It failed; of a write nobody knows whether it happened.
    #[must_use]
    pub fn unknown(class: Class, message: impl fmt::Display) -> Self {
        Self::new(class, None, message)
    }

    fn new(class: Class, landed: Option<Landed>, message: impl fmt::Display) -> Self {
        let message = message.to_string().chars().take(MESSAGE_MAX_CHARS).collect();
        Self { class, landed, message }
    }

    /// What the kernel hears. A read leaves nothing behind, whatever it says.
    pub(crate) fn into_failure(self, is_write: bool) -> Failure {
        let landed = match (is_write, self.landed) {
            (false, _) => Landed::No,
            (true, landed) => landed.unwrap_or(Landed::Unknown),
        };
        Failure {
            class: self.class,
            landed,
            message: self.message,
            retry_after_ms: None,
            sample: None,
        }
    }
}

/// What a tool may return as its error: [`Failed`], or anything with a `Display`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a tool",
    note = "implement `std::fmt::Display` for it, or return `embed::Failed`"
)]
pub trait IntoFailed {
    /// As a failure.
    fn into_failed(self) -> Failed;
}

impl IntoFailed for Failed {
    fn into_failed(self) -> Failed {
        self
    }
}

impl<E: fmt::Display> IntoFailed for E {
    fn into_failed(self) -> Failed {
        Failed::unknown(Class::Unavailable, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_write_left_behind_is_unknown_unless_it_says_so() {
        let landed = |failed: Failed, is_write| failed.into_failure(is_write).landed;
        assert_eq!(landed("x".into_failed(), true), Landed::Unknown);
        assert_eq!(landed("x".into_failed(), false), Landed::No);
        let no = Failed::nothing_happened(Class::Permission, "x");
        assert_eq!(landed(no.clone().into_failed(), true), Landed::No);
        assert_eq!(no.into_failure(true).class, Class::Permission);
        assert_eq!(landed(Failed::happened(Class::Timeout, "x"), true), Landed::Yes);
        assert_eq!(landed(Failed::happened(Class::Timeout, "x"), false), Landed::No);
    }
}
