//! One deliberate defect at a time, to show that the checker is alive.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing.
    None,
    /// The journal appends whatever comes, whoever owns the run.
    UnfencedJournal,
    /// The journal says yes to the third append and keeps nothing.
    LostAppend,
    /// The journal loses its last batch when it is claimed.
    TornTail,
    /// The journal writes the second event of a batch over.
    ChangedByte,
    /// The journal keeps no receipts.
    NoReceipts,
    /// The journal writes the last event of an ended run again.
    Afterthought,
    /// The queue of exceptions keeps nothing.
    BlindQueue,
    /// Nothing is ever due.
    NoSweep,
    /// A call leaves however late it is.
    OpenWindow,
    /// The target does a keyed call again.
    Forgetful,
    /// The target says no to every probe.
    LyingProbe,
    /// The target takes an undo for done and does nothing.
    LazyUndo,
    /// The judge asks nobody after a restart.
    CarelessJudge,
    /// A surface says that an input was taken before it is durable.
    EagerSurface,
    /// A process that leaves does so while a call is under way, and tells nobody.
    RudeDeploy,
}
