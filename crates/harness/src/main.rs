//! The composition root: one binary, one surface so far.

use std::process::ExitCode;

/// Records are made by the drivers' threads and freed by the store's writer: the C library's allocator
/// spends a tenth of the time of an action on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: it may have been started to guard a sandbox, and has one thread and no secrets then.
    sandbox::launcher::main_if_asked();
    // A huge page is two megabytes for whoever needs a few bytes of it: 14 MB of a process with one agent,
    // against a twentieth of the processor's time. Where it cannot be said, the system's choice stands.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    harness::cli::run(std::env::args_os())
}
