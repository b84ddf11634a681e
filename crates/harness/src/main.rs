//! The composition root: one binary, one surface so far.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cli::run(std::env::args_os())
}
