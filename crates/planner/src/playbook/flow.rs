//! What goes into running steps and what comes out of them.

use kernel::{
    Label,
    exception::Class,
    planning::{Labelled, Resolution, Settled},
};

/// Something that happened to one step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    Settled(&'a Settled),
    /// A hook has something to say about its action, which has not ended yet.
    Told(&'a Labelled),
    Answered(Option<&'a Labelled>),
    Woken(Option<&'a Labelled>),
    Resolved(&'a Resolution),
}

/// Why a block is asked to go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stimulus<'a> {
    /// There may be room to start what could not start before.
    Poll,
    /// Something happened to the step at this path.
    At { path: &'a str, event: Event<'a> },
    /// A person said something to whoever plans.
    Told { text: &'a Labelled },
}

impl Stimulus<'_> {
    /// Whether it may concern the step at `path` or one inside it.
    pub(super) fn concerns(&self, path: &str) -> bool {
        match self {
            Self::Poll | Self::Told { .. } => true,
            Self::At { path: at, .. } => at
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '['])),
        }
    }
}

/// A step or block at its end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) output: Labelled,
    /// What decided that the steps after it run.
    pub(super) raise: Label,
}

/// How far a step or block got.
#[derive(Debug)]
pub(super) enum Flow {
    /// It waits for the outside.
    Blocked,
    /// It is done.
    Ended(Ended),
    /// The playbook around ends with this value.
    Returned { value: Labelled, raise: Label },
    /// The run ends here.
    Stopped { step: String, class: Class },
}
