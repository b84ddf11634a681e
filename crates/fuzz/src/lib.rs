//! Development only: everything that reads bytes from outside, as functions of bytes.
//!
//! [`TARGETS`] is the table: a name and what is done with the bytes. The folder `fuzz/` drives each of
//! them with coverage in sight; `tests/it` replays what it kept, with the stable toolchain. A target
//! panics when what it calls does, or when an answer lacks what every answer must have: a place and a
//! next step.

#[cfg(feature = "answers")]
mod answers;
#[cfg(feature = "arguments")]
mod arguments;
mod expressions;
mod packs;
mod proofs;
#[cfg(feature = "replies")]
mod replies;
#[cfg(feature = "rules")]
mod rules;

/// What is done with bytes from outside.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus folder and of its binary in `fuzz/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("pack", packs::read_pack),
    ("playbook", packs::read_playbook),
    ("expr", expressions::evaluate),
    ("bundle", proofs::verify),
    #[cfg(feature = "answers")]
    ("answer", answers::take_in),
    #[cfg(feature = "arguments")]
    ("arguments", arguments::parse),
    #[cfg(feature = "replies")]
    ("reply", replies::read),
    #[cfg(feature = "rules")]
    ("policy", rules::load),
];

/// Runs one target by name; an unknown name is a mistake of the caller's.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    assert!(target.is_some(), "there is no target `{name}`");
    if let Some((_, target)) = target {
        target(bytes);
    }
}
