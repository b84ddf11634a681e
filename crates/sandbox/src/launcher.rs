//! The part of the host program that starts sandboxes, and the one that tries to get out of them.
//!
//! Both run in processes of their own: the host program executes itself with a hidden argument. A process that was
//! just executed has one thread and no secrets in memory, so what happens between fork and exec may allocate, and
//! what guards a program has nothing that the program could want. See docs/adr/0030.

mod bridge;
mod guard;
mod init;
mod keeper;
mod payload;
mod reaper;
mod root;

use std::{ffi::OsStr, process::exit};

pub(crate) use keeper::ENGINE;
pub(crate) use payload::EXEC;
pub(crate) use root::OVERLAY;

/// The argument that makes the host program the guard of one sandbox.
pub(crate) const GUARD: &str = "--harness-sandbox-guard";

/// The argument that makes the host program the probe of a sandbox.
pub(crate) const PROBE: &str = "--harness-sandbox-probe";

/// Turns this process into the guard of a sandbox, or into the probe inside one, if it was started as such. It does not
/// return then.
///
/// The host program calls it first in `main`, before it starts a thread or reads anything.
pub fn main_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(first) = arguments.next() else {
        return;
    };
    if first == OsStr::new(GUARD) {
        // What the host program decided for its own memory is no rule for the programs it starts.
        let _ = rustix::thread::disable_transparent_huge_pages(false);
        exit(guard::run());
    }
    if first == OsStr::new(PROBE) {
        exit(crate::probe::run(arguments.collect()));
    }
}
