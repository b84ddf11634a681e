//! What can be wrong with keys, envelopes, notes and bundles.

/// Why something was refused. Every message says what to do or where to look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than anything honest.
    #[error("the {what} is {bytes} bytes long; the limit is {max}")]
    TooLong {
        /// What.
        what: &'static str,
        /// How long.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A key file that is none.
    #[error("not a key: {0}")]
    Key(&'static str),
    /// An envelope that is not exactly one of ours.
    #[error("not an envelope: {0}")]
    Envelope(String),
    /// Signed by somebody we were not told to trust.
    #[error("signed by key {0}, which is not among the trusted keys; give the signer's public key")]
    UnknownKey(String),
    /// The signature is not over these bytes.
    #[error("the signature of key {0} does not fit: the signed bytes were changed")]
    BadSignature(String),
    /// A signed payload that is not a statement this build knows.
    #[error("not a statement: {0}")]
    Statement(String),
    /// A checkpoint that is none, or that nobody trusted signed.
    #[error("not a checkpoint: {0}")]
    Checkpoint(String),
    /// A proof that does not lead to the root.
    #[error("the proof does not hold: {0}")]
    Proof(&'static str),
    /// A bundle that cannot be read.
    #[error("not a bundle: {0}")]
    Bundle(String),
    /// JSON without a canonical form.
    #[error(transparent)]
    Canonical(#[from] kernel::canon::Error),
}

impl Error {
    /// Refuses what is longer than `max` bytes.
    pub(crate) fn check_length(what: &'static str, bytes: usize, max: usize) -> Result<(), Self> {
        if bytes > max { Err(Self::TooLong { what, bytes, max }) } else { Ok(()) }
    }
}
