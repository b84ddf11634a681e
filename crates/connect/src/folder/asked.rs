//! What calls on files are told: their arguments, as packs spell them.

use files::{Count, Edit, Expect, Hash, Image, Range};
use kernel::port::Failure;
use serde::Deserialize;

use crate::call::refuse;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reading {
    pub(super) path: String,
    #[serde(default)]
    pub(super) from_line: Option<u64>,
    #[serde(default)]
    pub(super) lines: Option<u64>,
    #[serde(default)]
    pub(super) from_byte: Option<u64>,
    #[serde(default)]
    pub(super) bytes: Option<u64>,
}

impl Reading {
    pub(super) fn range(&self, bytes: u64) -> Result<Range, Failure> {
        match (self.from_line, self.lines, self.from_byte) {
            (None, None, from) => Ok(Range::Bytes { from: from.unwrap_or(0), bytes }),
            (from, lines, None) => {
                let (from, lines) = (from.unwrap_or(1), lines.unwrap_or(u64::MAX));
                Ok(Range::Lines { from, lines, bytes })
            }
            (_, _, Some(_)) => Err(refuse(
                "read by lines or by bytes: `from_byte` does not go with `from_line` and `lines`",
            )),
        }
    }
}

/// What somebody knows to be at a path: `absent`, `any`, or the SHA-256 that a read gave.
#[derive(Clone, Copy)]
pub(super) struct Was(Expect);

impl<'de> Deserialize<'de> for Was {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "absent" => Ok(Self(Expect::Absent)),
            "any" => Ok(Self(Expect::Any)),
            hash => match hash.parse::<Hash>() {
                Ok(hash) => Ok(Self(Expect::Hash(hash))),
                Err(_) => {
                    let known = "`was` is `absent`, `any`, or the sha256 that a read gave";
                    Err(serde::de::Error::custom(known))
                }
            },
        }
    }
}

pub(super) fn expected(was: Option<Was>, otherwise: Expect) -> Expect {
    was.map_or(otherwise, |was| was.0)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Writing {
    pub(super) path: String,
    pub(super) text: String,
    #[serde(default)]
    pub(super) was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Editing {
    pub(super) path: String,
    pub(super) edits: Vec<OneEdit>,
    #[serde(default)]
    pub(super) was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneEdit {
    pub(super) old: String,
    pub(super) new: String,
    /// How often it is there: a number, or `all`; once where nothing is said.
    #[serde(default)]
    pub(super) times: Option<Times>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Times {
    So(usize),
    Word(AllOfThem),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AllOfThem {
    All,
}

impl From<OneEdit> for Edit {
    fn from(edit: OneEdit) -> Self {
        let count = match edit.times {
            None => Count::default(),
            Some(Times::So(times)) => Count::Exactly(times),
            Some(Times::Word(AllOfThem::All)) => Count::All,
        };
        Self { old: edit.old, new: edit.new, count }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moving {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(default)]
    pub(super) was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Naming {
    pub(super) path: String,
    #[serde(default)]
    pub(super) was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restoring {
    pub(super) path: String,
    pub(super) image: Image,
}
