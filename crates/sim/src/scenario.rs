//! What a schedule is about: the steps, what the target does, what people do.

use kernel::operation::{Retry, Undo};

use crate::dice::Dice;

/// How the steps stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One write.
    Single,
    /// A read, a write, another write.
    Line,
    /// Two writes side by side, then one more.
    Parallel,
    /// A write for each of two items.
    Each,
    /// A write, a signal waited for, a question, another write.
    Waits,
}

/// Whether an unknown outcome may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Again {
    /// The target deduplicates.
    Keyed,
    /// It can be asked, and a no is final after a while.
    Probed,
    /// It can be asked, and a no is never final.
    Glimpsed,
    /// Never.
    Never,
}

impl Again {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Keyed, Self::Probed, Self::Glimpsed, Self::Never];

    /// As the kernel declares it.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self {
            Self::Keyed => Retry::Keyed,
            Self::Probed | Self::Glimpsed => Retry::Probe,
            Self::Never => Retry::Never,
        }
    }

    /// The word in operation ids.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Keyed => "keyed",
            Self::Probed => "probed",
            Self::Glimpsed => "glimpsed",
            Self::Never => "never",
        }
    }
}

/// What a target does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// It does it and says so.
    Do,
    /// It does it, and no answer comes back.
    DoUnheard,
    /// Nothing arrives, and nobody can tell.
    Lose,
    /// It says no.
    Refuse,
    /// It does it and gives an answer that breaks the contract.
    DoBadly,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Do, Self::DoUnheard, Self::Lose, Self::Refuse, Self::DoBadly];
}

/// The declared recovery of a failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Take back and end.
    Stop,
    /// Once more, then stop.
    Retry,
    /// A person decides: once more first, then stop.
    Escalate,
}

/// What a person answers when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Person {
    /// Nobody is asked.
    NotAsked,
    /// Yes.
    Approves,
    /// No.
    Denies,
    /// With other arguments.
    Edits,
    /// Nothing, until it is too late.
    Sleeps,
}

/// What people ask for besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// Nothing.
    Nothing,
    /// Everything taken back once it is over.
    TakeBack,
    /// Each effect by its token, newest first, each asked for twice.
    TakeBackEach,
    /// That it ends, as soon as it parks.
    Cancel,
    /// That it ends while a call is under way, then everything taken back.
    CancelInFlight,
    /// A pause when it parks, then on.
    Pause,
}

/// How signals arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signals {
    /// When they are waited for.
    InTime,
    /// Each twice, under the same id and under another.
    Twice,
    /// Before anybody waits, and again after the end.
    EarlyAndLate,
}

/// One scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scenario {
    /// The steps.
    pub shape: Shape,
    /// How the writes are taken back.
    pub undo: Undo2,
    /// Whether they may be repeated.
    pub again: Again,
    /// What the target does with the first write call; later ones are done.
    pub deed: Deed,
    /// What it does with the first undo call.
    pub undo_deed: Deed,
    /// The declared recovery.
    pub remedy: Remedy,
    /// What people answer.
    pub person: Person,
    /// What people want.
    pub wish: Wish,
    /// How signals arrive.
    pub signals: Signals,
    /// Somebody else changes the records after the run.
    pub meddles: bool,
}

/// [`Undo`], hashable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undo2 {
    /// Irreversible.
    None,
    /// An inverse.
    Compensate,
    /// The before-image.
    Restore,
}

impl Undo2 {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Compensate, Self::Restore];

    /// As the kernel declares it.
    #[must_use]
    pub fn undo(self) -> Undo {
        match self {
            Self::None => Undo::None,
            Self::Compensate => Undo::Compensate,
            Self::Restore => Undo::Restore,
        }
    }

    /// The word in operation ids.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Compensate => "compensate",
            Self::Restore => "restore",
        }
    }
}

impl Scenario {
    /// The plainest: one write that is done, nobody is asked.
    #[must_use]
    pub fn plain(undo: Undo2, again: Again) -> Self {
        Self {
            shape: Shape::Single,
            undo,
            again,
            deed: Deed::Do,
            undo_deed: Deed::Do,
            remedy: Remedy::Stop,
            person: Person::NotAsked,
            wish: Wish::Nothing,
            signals: Signals::InTime,
            meddles: false,
        }
    }

    /// Any.
    #[must_use]
    pub fn random(dice: &mut Dice) -> Self {
        use Shape::{Each, Line, Parallel, Single, Waits};
        Self {
            shape: dice.pick(&[Single, Line, Parallel, Parallel, Each, Waits]),
            undo: dice.pick(&Undo2::ALL),
            again: dice.pick(&Again::ALL),
            deed: dice.pick(&Deed::ALL),
            undo_deed: dice.pick(&Deed::ALL),
            remedy: dice.pick(&[Remedy::Stop, Remedy::Retry, Remedy::Escalate]),
            person: dice.pick(&[
                Person::NotAsked,
                Person::NotAsked,
                Person::Approves,
                Person::Approves,
                Person::Denies,
                Person::Edits,
                Person::Sleeps,
            ]),
            wish: dice.pick(&[
                Wish::Nothing,
                Wish::TakeBack,
                Wish::TakeBack,
                Wish::TakeBackEach,
                Wish::Cancel,
                Wish::CancelInFlight,
                Wish::Pause,
            ]),
            signals: dice.pick(&[Signals::InTime, Signals::Twice, Signals::EarlyAndLate]),
            meddles: dice.once_in(6),
        }
    }
}
