//! Inputs unlike those of earlier runs. The run remembers where and how they differ, never the values; the
//! gate then lets no change pass that nobody approved.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One difference between a run's inputs and those of earlier runs of its intent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unusual {
    /// JSON Pointer into the inputs. `*` stands for every item of a list, and for every key that the
    /// intent's schema does not name: such keys may tell who somebody is.
    pub at: String,
    /// What is unlike.
    pub how: Unlike,
}

/// How a part of the inputs differs from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlike {
    /// It was never there.
    NewPart,
    /// It was always there.
    MissingPart,
    /// It was never of this JSON type.
    OtherType,
    /// A number, or a count of items, far outside of what it was.
    OutOfRange,
    /// One of few values before, and none of those now.
    NewValue,
    /// A text much longer than any before.
    LongText,
    /// A text with kinds of characters that none had before.
    OtherCharacters,
}

impl Unlike {
    /// In words, after the place.
    fn told(self) -> &'static str {
        match self {
            Self::NewPart => "was never given before",
            Self::MissingPart => "was always given before",
            Self::OtherType => "is of a type it never had",
            Self::OutOfRange => "is far outside the range it had",
            Self::NewValue => "is none of the few values it had",
            Self::LongText => "is much longer than it ever was",
            Self::OtherCharacters => "has kinds of characters it never had",
        }
    }
}

impl fmt::Display for Unusual {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` {}", self.at, self.how.told())
    }
}
