//! Runs a program with the default profile: `sandboxed restricted|isolated PROGRAM ARGUMENT…`, with what the caller
//! names in `READ` and `WRITE` (paths, separated by colons) open besides.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{env, path::PathBuf, process::exit};

use sandbox::{Command, Local, Profile, Sandbox, Tier, launcher};

fn main() {
    launcher::main_if_asked();
    let mut arguments = env::args_os().skip(1);
    let tier = match arguments.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("restricted") => Tier::Restricted,
        Some("isolated") => Tier::Isolated,
        _ => return eprintln!("which tier: restricted or isolated?"),
    };
    let Some(program) = arguments.next() else {
        return eprintln!("which program?");
    };
    let mut profile = Profile::default();
    let named = |name: &str| -> Vec<PathBuf> {
        env::var_os(name).iter().flat_map(env::split_paths).collect()
    };
    profile.paths.read = named("READ");
    profile.paths.write = named("WRITE");
    let command = Command::new(program).arguments(arguments);
    let done = Local::new(tier).spawn(&profile, command).and_then(sandbox::Child::wait);
    match done {
        Ok(done) => {
            println!("{}", done.output.text());
            eprintln!("{}{:?}", done.errors.text(), done.outcome);
        }
        Err(error) => {
            eprintln!("{}: {error}; {}", error.code(), error.next_step());
            exit(1);
        }
    }
}
