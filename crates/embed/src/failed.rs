//! How a tool says that it failed, and whether its effect may have happened.

use std::fmt;

use kernel::{
    exception::{Class, Landed},
    operation::Effect,
    port::Failure,
};

/// Longest message kept, in characters.
pub const MESSAGE_MAX_CHARS: usize = 2_000;

/// A call that failed.
///
/// Any error with a `Display` becomes one. It says nothing about the effect, so after a write the
/// strictest is assumed: nobody knows whether it happened, and a person looks into it. A tool that knows
/// better says so with [`Failed::nothing_happened`] or [`Failed::happened`].
///
/// The message is journaled for people. The model is told the class alone: what it should read is a
/// result, not an error.
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
    pub(crate) fn into_failure(self, effect: Effect) -> Failure {
        let landed = match effect {
            Effect::Read => Landed::No,
            Effect::Write => self.landed.unwrap_or(Landed::Unknown),
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
        let (read, write) = (Effect::Read, Effect::Write);
        let landed = |failed: Failed, effect| failed.into_failure(effect).landed;
        assert_eq!(landed("x".into_failed(), write), Landed::Unknown);
        assert_eq!(landed("x".into_failed(), read), Landed::No);
        let no = Failed::nothing_happened(Class::Permission, "x");
        assert_eq!(landed(no.clone().into_failed(), write), Landed::No);
        assert_eq!(no.into_failure(write).class, Class::Permission);
        assert_eq!(landed(Failed::happened(Class::Timeout, "x"), write), Landed::Yes);
        assert_eq!(landed(Failed::happened(Class::Timeout, "x"), read), Landed::No);
    }
}
