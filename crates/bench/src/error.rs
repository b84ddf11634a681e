//! What stops a measurement.

use std::fmt;

/// Something could not be measured at all. A missed goal is not an error.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}: {problem}")]
pub(crate) struct Broken {
    doing: &'static str,
    problem: String,
}

impl Broken {
    /// Names what was attempted and what went wrong.
    pub(crate) fn new(doing: &'static str, problem: impl fmt::Debug) -> Self {
        Self { doing, problem: format!("{problem:?}") }
    }
}

/// Names what was attempted.
pub(crate) trait Doing<T> {
    /// The value, or what could not be done and why.
    fn doing(self, doing: &'static str) -> Result<T, Broken>;
}

impl<T, E: fmt::Debug> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Broken> {
        self.map_err(|problem| Broken::new(doing, problem))
    }
}
