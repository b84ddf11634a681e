use std::{io, path::PathBuf};

/// Why there is no proxy. What happens to a request later is a [`crate::Refusal`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule contradicts itself or cannot be held.
    #[error("egress[{index}]: {field}: {problem}")]
    Rule {
        /// Its place in the list, from zero.
        index: usize,
        /// The field, as it is written.
        field: &'static str,
        /// What is wrong with it and what to write instead.
        problem: String,
    },
    /// A limit that cannot be held.
    #[error("limits: {field}: {problem}")]
    Limit {
        /// The field, as it is written.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The socket cannot be made.
    #[error(
        "{path}: the proxy's socket cannot be made here: {source}; choose a short path to a folder that may be written"
    )]
    Socket {
        /// Where it should have been.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing is known that certificates could be checked against.
    #[error(
        "trust: certificates cannot be checked: {0}; install the system's root certificates or name some"
    )]
    Trust(String),
    /// It was started where nothing can run it.
    #[error("the proxy has to be started within a tokio runtime")]
    Runtime,
}
