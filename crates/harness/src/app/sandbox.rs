//! What this machine holds a program to, and one program run that way: no store, no journal.
//!
//! A person who tries a profile at the terminal is who it is for. What agents and connectors run goes through the
//! pipeline.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use ::sandbox::{
    Captured, Child, Command, End, Error, Holder, Input, Limit, Local, Output, Profile,
    Sandbox as _, State, Tier,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::{Kind, Problem};

/// Largest profile that is read, in bytes.
const PROFILE_MAX_BYTES: u64 = 256 * 1024;

/// How much stands between a program and the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Walls {
    /// On the host's tree, confined by Landlock, seccomp and limits.
    Restricted,
    /// In namespaces of its own besides, where only what it was given exists.
    Isolated,
}

impl From<Walls> for Tier {
    fn from(walls: Walls) -> Self {
        match walls {
            Walls::Restricted => Self::Restricted,
            Walls::Isolated => Self::Isolated,
        }
    }
}

/// What this machine enforces, shown by a probe that tried to get out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Proven {
    /// Whether everything that is claimed held, in every tier that runs here.
    pub sound: bool,
    /// The kernel's release.
    pub kernel: String,
    /// The version of Landlock it offers; 0 where it has none.
    pub landlock: u32,
    /// The user that this was tried as.
    pub uid: u32,
    /// Each tier.
    pub tiers: Vec<TierProven>,
}

/// What one tier enforces.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TierProven {
    /// `restricted` or `isolated`.
    pub tier: String,
    /// Why it runs nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What to do about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What holds its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<HeldBy>,
    /// Each attempt of the probe.
    pub claims: Vec<ClaimProven>,
}

/// What holds limits that not every machine holds alike.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeldBy {
    /// Memory.
    pub memory: String,
    /// Processes.
    pub processes: String,
    /// The private temporary folder.
    pub scratch: String,
}

/// Whether one way out is closed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimProven {
    /// The attempt.
    pub name: String,
    /// `proven`, `absent` (this tier does not claim it) or `broken`.
    pub state: String,
    /// How that showed.
    pub why: String,
}

/// What a program would be held to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// `restricted` or `isolated`.
    pub tier: String,
    /// The profile in full, as it could be written in a file.
    pub profile: serde_json::Value,
    /// What holds its limits here.
    pub limits: HeldBy,
}

/// How a program in a sandbox ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// `exit` or `signal`.
    pub end: String,
    /// The status or the signal.
    pub number: i32,
    /// Limits it ran into; the first is why it ended, if it did not end by itself.
    pub limits: Vec<String>,
    /// From its start to its end, in milliseconds.
    pub wall_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that one of its processes held at a time, in bytes.
    pub peak_memory_bytes: u64,
    /// What it wrote, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What it wrote to its errors, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<String>,
}

impl Ended {
    /// The exit code that passes it on, as a shell would: the program's own, or 128 and the signal.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let code = match self.end.as_str() {
            "exit" => self.number,
            _ => self.number.saturating_add(128),
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

/// Where a program's streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// They are this process's.
    Ours,
    /// It reads nothing, and what it writes is kept.
    Kept,
}

/// Tries to get out of each tier, and says what held.
///
/// # Errors
/// When the probe cannot be made.
pub fn prove() -> Result<Proven, Problem> {
    let report = ::sandbox::selftest(Path::new("/proc/self/exe")).map_err(problem)?;
    let sound = report.is_sound();
    let tiers = report.tiers.into_iter().map(|tier| TierProven {
        tier: tier.tier.name().to_owned(),
        fix: tier.refused.as_ref().map(|refused| refused.next_step.clone()),
        refused: tier.refused.map(|refused| refused.message),
        limits: tier.enforcement.map(held_by),
        claims: tier.claims.into_iter().map(claim).collect(),
    });
    Ok(Proven {
        sound,
        kernel: report.kernel,
        landlock: report.landlock,
        uid: report.uid,
        tiers: tiers.collect(),
    })
}

fn claim(claim: ::sandbox::Claim) -> ClaimProven {
    let state = match claim.state {
        State::Proven => "proven",
        State::Absent => "absent",
        State::Broken => "broken",
    };
    ClaimProven { name: claim.name, state: state.to_owned(), why: claim.why }
}

fn held_by(enforcement: ::sandbox::Enforcement) -> HeldBy {
    HeldBy {
        memory: holder(enforcement.memory).to_owned(),
        processes: holder(enforcement.processes).to_owned(),
        scratch: holder(enforcement.scratch).to_owned(),
    }
}

fn holder(holder: Holder) -> &'static str {
    match holder {
        Holder::ControlGroup => "a control group, for all of its processes together",
        Holder::EachProcess => "a resource limit, for each process by itself",
        Holder::Account => "a resource limit, for all of its processes together",
        Holder::SharedAccount => "a resource limit over all processes of the account",
        Holder::FileSystem => "the size of a file system in memory",
        Holder::Watched => "the guard, which looks several times a second",
    }
}

/// What a program would be held to under a profile; the default one where no file is named.
///
/// # Errors
/// When the profile cannot be read, or cannot be held here.
pub fn explain(profile: Option<&Path>, walls: Walls) -> Result<Explained, Problem> {
    let profile = read(profile)?;
    let sandbox = Local::new(walls.into());
    let enforcement = sandbox.check(&profile).map_err(problem)?;
    Ok(Explained {
        tier: sandbox.tier().name().to_owned(),
        profile: serde_json::to_value(&profile).unwrap_or_default(),
        limits: held_by(enforcement),
    })
}

/// Runs a program under a profile, and waits for it.
///
/// # Errors
/// When it cannot be run under exactly this profile: then it did not run.
pub fn run(
    (profile, walls): (Option<&Path>, Walls),
    (program, arguments): (&OsString, &[OsString]),
    streams: Streams,
) -> Result<Ended, Problem> {
    let profile = read(profile)?;
    let command = Command::new(program).arguments(arguments);
    let command = match streams {
        Streams::Kept => command,
        Streams::Ours => command
            .input(Input::From(ours(io::stdin())?))
            .output(Output::To(ours(io::stdout())?))
            .errors(Output::To(ours(io::stderr())?)),
    };
    let child = Local::new(walls.into()).spawn(&profile, command).map_err(problem)?;
    let finished = Child::wait(child).map_err(problem)?;
    let (end, number) = match finished.outcome.end {
        End::Exit(status) => ("exit", status),
        End::Signal(signal) => ("signal", signal),
    };
    let kept = |captured: Captured| (streams == Streams::Kept).then(|| captured.text());
    Ok(Ended {
        end: end.to_owned(),
        number,
        limits: finished.outcome.limits.into_iter().map(|limit| named(limit).to_owned()).collect(),
        wall_ms: finished.outcome.wall_ms,
        cpu_ms: finished.outcome.cpu_ms,
        peak_memory_bytes: finished.outcome.peak_memory_bytes,
        output: kept(finished.output),
        errors: kept(finished.errors),
    })
}

/// The field of a profile that says how much.
fn named(limit: Limit) -> &'static str {
    match limit {
        Limit::Deadline => "deadline_ms",
        Limit::Scratch => "scratch_bytes",
        Limit::Memory => "memory_bytes",
        Limit::Processes => "processes",
        Limit::CpuTime => "cpu_seconds",
        Limit::FileSize => "file_bytes",
    }
}

fn ours(stream: impl AsFd) -> Result<OwnedFd, Problem> {
    stream.as_fd().try_clone_to_owned().map_err(|error| {
        Problem::new(Kind::Unexpected, "streams", format!("a stream cannot be passed on: {error}"))
    })
}

fn read(path: Option<&Path>) -> Result<Profile, Problem> {
    let Some(path) = path else { return Ok(Profile::default()) };
    let wrong = |detail: String| {
        Problem::usage("profile", format!("{}: {detail}", path.display()))
            .next("`harness sandbox explain -o json` shows a profile in full")
    };
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > PROFILE_MAX_BYTES {
        return Err(wrong(format!("longer than {PROFILE_MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let is_json = PathBuf::from(path).extension().is_some_and(|ending| ending == "json");
    match is_json {
        true => serde_json::from_str(&text).map_err(|e| wrong(e.to_string())),
        false => toml::from_str(&text).map_err(|e| wrong(e.to_string().trim().to_owned())),
    }
}

pub(super) fn problem(error: Error) -> Problem {
    let kind = match &error {
        Error::Profile { .. }
        | Error::Inexpressible { .. }
        | Error::Exec { .. }
        | Error::Tree { .. }
        | Error::Branch { .. } => Kind::Usage,
        Error::Unenforceable { .. } => Kind::Denied,
        Error::Setup { .. }
        | Error::GuardLost
        | Error::Damaged { .. }
        | Error::Git { .. }
        | Error::File { .. }
        | Error::Io { .. } => Kind::Unexpected,
    };
    Problem::new(kind, error.code(), error.to_string()).next(error.next_step())
}
