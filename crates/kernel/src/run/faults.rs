//! What the machine says when it does not go on.

use crate::{
    approval::Refusal,
    canon,
    event::{Damage, MACHINE},
    id::{Digest, Seq},
};

/// Why an input was not taken. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// An answer that does not count.
    #[error(transparent)]
    Answer(#[from] Refusal),
    /// The answer has the wrong shape.
    #[error("the answer does not fit: {at}: {problem}")]
    Shape {
        /// Pointer into the answer.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// The input comes too late or twice.
    #[error("nothing waits for this: {0}")]
    Late(&'static str),
    /// Somebody else decides about this.
    #[error("only {owner} or an operator decides about this exception")]
    NotYours {
        /// The role or person who owns it.
        owner: String,
    },
    /// The input makes no sense now.
    #[error("{0}")]
    NotNow(&'static str),
}

/// A defect of ours or a damaged journal. The run in memory must be dropped and folded again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something has no canonical form.
    #[error(transparent)]
    Canon(#[from] canon::Error),
    /// The journal cannot be folded.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// This build does not know the run's machine version.
    #[error("the run needs machine version {needed}; this build knows {MACHINE}")]
    Machine {
        /// What it needs.
        needed: u32,
    },
    /// The pins given are not those of the header.
    #[error("the plan given is {given}, the run is pinned to {pinned}")]
    Pins {
        /// Digest of what was given.
        given: Digest,
        /// Digest in the header.
        pinned: Digest,
    },
    /// An event that cannot follow.
    #[error("illegal at event {seq}: {problem}")]
    Illegal {
        /// Where.
        seq: Seq,
        /// What.
        problem: &'static str,
    },
}
