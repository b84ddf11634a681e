//! The composition root: one binary, one surface so far.

use std::process::ExitCode;

/// Records are made by the drivers' threads and freed by the store's writer: the C library's allocator
/// spends a tenth of the time of an action on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: it may have been started to guard a sandbox, and has one thread and no secrets then.
    sandbox::launcher::main_if_asked();
    harness::cli::run(std::env::args_os())
}
