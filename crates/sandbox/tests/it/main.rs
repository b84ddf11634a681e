//! The tiers as a caller meets them, on this machine's kernel: as root, where the tests run as root, and as an ordinary
//! user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking; shared steps are not marked as tests"
)]

mod abuse;
mod bridge;
mod containers;
mod corpus;
mod endings;
mod neighbours;
mod profiles;
mod served;
mod snapshots;
mod trees;
mod workspaces;
mod worktrees;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process,
};

use sandbox::{Child, Command, Error, Feature, Finished, Local, Profile, Sandbox, Tier};

/// The tiers that run on this machine as this user; a test says which ones it leaves out.
fn tiers() -> Vec<Tier> {
    [Tier::Restricted, Tier::Isolated].into_iter().filter(|tier| runs(*tier)).collect()
}

/// Whether a tier runs here. Only what the kernel does not offer is a reason why not.
fn runs(tier: Tier) -> bool {
    let tried = local(tier).spawn(&Profile::default(), Command::new("/usr/bin/true"));
    match tried {
        Ok(_) => true,
        Err(Error::Unenforceable { feature, why }) if feature != Feature::Launcher => {
            skip(tier, &format!("{} missing: {why}", feature.name()));
            false
        }
        Err(error) => panic!("{}: {error}", tier.name()),
    }
}

/// The account that stands for an ordinary user where the tests run as root.
const ORDINARY: u32 = 65534;

/// The program that carries the guard and the probe.
fn launcher() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_sandbox-probe"))
}

fn local(tier: Tier) -> Local {
    Local::with_launcher(tier, launcher())
}

fn run(tier: Tier, profile: &Profile, command: Command) -> Finished {
    local(tier).spawn(profile, command).and_then(Child::wait).unwrap()
}

/// Says what is left out; an error where the machine is said to hold everything (`HARNESS_TEST_SANDBOX=all`).
fn skip(tier: Tier, why: &str) {
    left_out(tier.name(), why);
}

fn left_out(what: &str, why: &str) {
    assert_ne!(std::env::var("HARNESS_TEST_SANDBOX").as_deref(), Ok("all"), "{what}: {why}");
    println!("skipped: {what}: {why}");
}

/// A shell script, with the default profile or what the test made of it.
fn sh(tier: Tier, profile: &Profile, script: &str) -> Finished {
    run(tier, profile, Command::new("/bin/sh").arguments(["-c", script]))
}

/// The probe by its hidden argument, with the profile it needs to be found.
fn probe(words: &[&str]) -> Command {
    let hidden = "--harness-sandbox-probe";
    Command::new(launcher()).arguments([hidden].iter().chain(words))
}

fn with_probe(mut profile: Profile) -> Profile {
    profile.paths.read.push(launcher());
    profile
}

fn text(finished: &Finished) -> String {
    format!("{}{}", finished.output.text(), finished.errors.text())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder that everybody can reach.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("sandbox-test-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Starts a program as an ordinary user; none on a machine that lets only root open `/dev/null`.
fn as_ordinary_user(copy: &Path) -> Option<process::Command> {
    let ordinary = |program: &Path| {
        let mut command = process::Command::new(program);
        if is_root() {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command
    };
    let tried = ordinary(Path::new("/bin/sh")).args(["-c", ": </dev/null >/dev/null"]).status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(ordinary(copy));
    }
    left_out("an ordinary user", "only root opens /dev/null here");
    None
}

/// The launcher, where an ordinary user can reach it.
fn reachable_launcher(folder: &Path) -> PathBuf {
    let copy = folder.join("launcher");
    fs::copy(launcher(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}
