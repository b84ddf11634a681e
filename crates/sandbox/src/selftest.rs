//! What this machine really holds: a probe of ours is started in each tier and tries to get out.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{TcpListener, UdpSocket},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::{DirBuilderExt, PermissionsExt},
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child as Process, Stdio},
};

use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

use crate::{
    Command, Enforcement, Error, Local, Profile, Sandbox, Tier,
    child::Finished,
    launcher::PROBE,
    local::fresh_id,
    probe::{Attempt, Fixture, Said, Tried, attempts},
    profile::Limits,
    scratch,
    sys::{self, Segment},
};

/// What the probe may use: little, so that reaching it takes no time.
const LIMITS: Limits = Limits {
    memory_bytes: 192 << 20,
    cpu_seconds: 60,
    file_bytes: 1 << 20,
    scratch_bytes: 8 << 20,
    open_files: 128,
    processes: 24,
    deadline_ms: 120_000,
    output_bytes: 1 << 20,
};

/// What a machine holds, by tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// The version of Landlock it offers; 0 where it has none.
    pub landlock: u32,
    /// The user that this was tried as.
    pub uid: u32,
    /// One for each tier.
    pub tiers: Vec<TierReport>,
}

/// What one tier holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierReport {
    /// The tier.
    pub tier: Tier,
    /// Why it runs nothing here, with what to do about it. Nothing else is known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// How far limits reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// One for each attempt of the probe.
    pub claims: Vec<Claim>,
}

/// An error of [`Sandbox::spawn`] as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// [`Error::code`].
    pub code: String,
    /// What it says.
    pub message: String,
    /// [`Error::next_step`].
    pub next_step: String,
}

/// Whether one way out is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The attempt.
    pub name: String,
    /// What was found.
    pub state: State,
    /// How that showed.
    pub why: String,
}

/// What was found about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was tried and held.
    Proven,
    /// This tier does not claim it, whether it was held this time or not.
    Absent,
    /// It is claimed, and it was not held or could not be tried.
    Broken,
}

impl Report {
    /// Whether everything that is claimed was proven, in every tier that runs here.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut claims = self.tiers.iter().flat_map(|tier| &tier.claims);
        claims.all(|claim| claim.state != State::Broken)
    }

    /// What was found about a tier.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> Option<&TierReport> {
        self.tiers.iter().find(|report| report.tier == tier)
    }
}

/// Tries to get out of each tier, and reports. It takes about a second; the result holds until the machine starts again,
/// or this process changes its account.
///
/// `launcher` is a program that calls [`crate::launcher::main_if_asked`] first in its `main`; this one, where it does:
/// `std::env::current_exe()`.
///
/// # Errors
///
/// [`Error::Io`] where what the probe is to reach for cannot be made. A tier that refuses to run is in the report.
pub fn selftest(launcher: &Path) -> Result<Report, Error> {
    let ground = Ground::make(launcher)?;
    let tiers = [Tier::Restricted, Tier::Isolated];
    let tiers = tiers.map(|tier| ground.report(&Local::with_launcher(tier, launcher)));
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let uid = rustix::process::geteuid().as_raw();
    let landlock = sys::landlock_abi().unwrap_or(0);
    Ok(Report { kernel, landlock, uid, tiers: tiers.into() })
}

/// What stands outside for the probe to reach for. Gone when it is dropped.
#[doc(hidden)]
#[derive(Debug)]
pub struct Ground {
    fixture: Fixture,
    program: PathBuf,
    folder: PathBuf,
    victim: Process,
    _sockets: (TcpListener, UdpSocket, [UnixListener; 3], UnixDatagram),
    _leaked: File,
    _segment: Segment,
}

impl Ground {
    /// Makes it, for a probe that is a program which calls `main_if_asked`.
    ///
    /// # Errors
    ///
    /// Whatever cannot be made.
    pub fn make(launcher: &Path) -> Result<Self, Error> {
        let id = fresh_id()?;
        let base = std::env::temp_dir().canonicalize();
        let base = base.map_err(Error::io("finding the folder for temporary files"))?;
        let folder = base.join(format!("harness-sandbox-ground-{id}"));
        let made = Self::fill(launcher, &folder, &id);
        if made.is_err() {
            scratch::remove(&folder);
        }
        made.map_err(Error::io("making what the probe reaches for"))
    }

    fn fill(launcher: &Path, folder: &Path, id: &str) -> io::Result<Self> {
        let canary = format!("canary-{id}");
        let outside = folder.join("outside");
        let readable = folder.join("readable");
        fs::DirBuilder::new().mode(0o755).create(folder)?;
        for path in [&outside, &readable, &outside.join("folder"), &outside.join("empty")] {
            fs::create_dir(path)?;
        }
        for name in ["secret", "expendable", "movable"] {
            fs::write(outside.join(name), &canary)?;
        }
        File::create(outside.join("long"))?.write_all(&[b'l'; 8192])?;
        fs::write(outside.join("program"), "#!/bin/sh\nexit 0\n")?;
        fs::set_permissions(outside.join("program"), fs::Permissions::from_mode(0o755))?;
        let abstract_name = format!("harness-sandbox-{id}");
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name)?)?;
        let by_path = UnixListener::bind(outside.join("socket"))?;
        let readable_socket = UnixListener::bind(readable.join("socket"))?;
        let datagrams = UnixDatagram::bind(outside.join("datagrams"))?;
        // Inheritable on purpose. It holds nothing but the canary, in case somebody else inherits it.
        let leaked = File::open(outside.join("secret"))?;
        fcntl_setfd(&leaked, FdFlags::empty())?;
        let segment = Segment::make()?;
        let program = launcher.canonicalize()?;
        let mut victim = std::process::Command::new(&program);
        let victim = victim.args([PROBE, "wait"]).stdin(Stdio::piped()).spawn()?;
        let fixture = Fixture {
            only: Vec::new(),
            outside,
            canary,
            tcp_port: tcp.local_addr()?.port(),
            udp_port: udp.local_addr()?.port(),
            abstract_name,
            victim: i32::try_from(victim.id()).unwrap_or(0),
            leaked: leaked.as_raw_fd(),
            segment: segment.key(),
            readable,
            memory_bytes: LIMITS.memory_bytes,
            file_bytes: LIMITS.file_bytes,
            open_files: LIMITS.open_files,
            processes: LIMITS.processes,
            scratch_bytes: LIMITS.scratch_bytes,
            variables: Vec::new(),
        };
        Ok(Self {
            fixture,
            program,
            folder: folder.to_owned(),
            victim,
            _sockets: (tcp, udp, [named, by_path, readable_socket], datagrams),
            _leaked: leaked,
            _segment: segment,
        })
    }

    /// The profile that the probe runs under.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let mut profile = Profile { limits: LIMITS, ..Profile::default() };
        profile.paths.read = vec![self.program.clone(), self.fixture.readable.clone()];
        profile
    }

    /// The program that holds the probe.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Makes attempts, all of them where none is named.
    ///
    /// # Errors
    ///
    /// Why the sandbox did not run.
    pub fn attempt(&self, sandbox: &Local, only: &[&str]) -> Result<(Vec<Said>, Finished), Error> {
        let profile = self.profile();
        let mut fixture = self.fixture.clone();
        fixture.only = only.iter().map(|name| (*name).to_owned()).collect();
        fixture.variables = profile.environment.keys().cloned().collect();
        fixture.variables.push("TMPDIR".to_owned());
        let text = serde_json::to_string(&fixture).map_err(io::Error::from);
        let text = text.map_err(Error::io("writing down what to reach for"))?;
        let command = Command::new(&self.program).arguments([PROBE, "try", &text]);
        let finished = sandbox.spawn(&profile, command)?.wait()?;
        let output = finished.output.text();
        let said = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok((said, finished))
    }

    fn report(&self, sandbox: &Local) -> TierReport {
        let tier = sandbox.tier();
        let refused = |error: &Error| Refused {
            code: error.code().to_owned(),
            message: error.to_string(),
            next_step: error.next_step().to_owned(),
        };
        let none = TierReport { tier, refused: None, enforcement: None, claims: Vec::new() };
        let enforcement = match sandbox.check(&self.profile()) {
            Ok(enforcement) => Some(enforcement),
            Err(error) => return TierReport { refused: Some(refused(&error)), ..none },
        };
        let (said, finished) = match self.attempt(sandbox, &[]) {
            Ok(made) => made,
            Err(error) => return TierReport { refused: Some(refused(&error)), ..none },
        };
        let end = format!("the probe ended before it: {:?}", finished.outcome.end);
        let claims = attempts().iter().map(|attempt| claim(attempt, tier, &said, &end)).collect();
        TierReport { enforcement, claims, ..none }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Its input closes with it, and so it ends.
        drop(self.victim.stdin.take());
        self.victim.wait().map(drop).unwrap_or(());
        scratch::remove(&self.folder);
    }
}

fn claim(attempt: &Attempt, tier: Tier, said: &[Said], end: &str) -> Claim {
    let tried = said.iter().find(|said| said.name == attempt.name).map(|said| &said.tried);
    let (state, why) = match (attempt.held_by(tier), tried) {
        (None, _) => (State::Absent, "this tier does not claim it".to_owned()),
        (Some(_), Some(Tried::Held(why))) => (State::Proven, why.clone()),
        (Some(_), Some(Tried::Reached(why))) => (State::Broken, why.clone()),
        (Some(_), None) => (State::Broken, end.to_owned()),
    };
    Claim { name: attempt.name.to_owned(), state, why }
}
