use std::{
    ffi::{OsStr, OsString},
    io::{self, BufReader},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{self, Stdio},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
    process::{getegid, geteuid},
};
use serde::{Deserialize, Serialize};

use crate::{
    Sandbox, Tier,
    capture::Reading,
    cgroup::Groups,
    child::Child,
    control::{Control, Omitted},
    door::Door,
    error::{Error, Feature},
    launcher::{self, ENGINE, EXEC, OVERLAY},
    paths::{Rules, resolve},
    profile::{Account, Mounts, Profile},
    sys,
    wire::{Fault, Order, OwnUserNamespace, Word, hear, send_order},
};

/// The version of Landlock that the restricted tier stands on: from here on it scopes signals and abstract sockets.
pub(crate) const LANDLOCK_MIN: u32 = 6;

/// Places of an isolated tree that are made, and cannot be something else.
const MADE: [&str; 5] = ["/tmp", "/proc", "/dev", "/dev/shm", "/run/harness"];

/// A program, what it is told, and where its streams go.
#[derive(Debug)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    input: Input,
    output: Output,
    errors: Output,
}

/// Where a program reads from.
#[derive(Debug, Default)]
pub enum Input {
    /// There is nothing to read.
    #[default]
    Nothing,
    /// From a descriptor of the caller's.
    From(OwnedFd),
}

/// Where a program writes to.
#[derive(Debug, Default)]
pub enum Output {
    /// Nobody reads it.
    Nothing,
    /// Kept up to `output_bytes`, and handed over when it has ended.
    #[default]
    Capture,
    /// To a descriptor of the caller's, who limits it.
    To(OwnedFd),
}

impl Command {
    /// A program by its path inside, or by a name that the `PATH` of the profile finds.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            input: Input::default(),
            output: Output::default(),
            errors: Output::default(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Says where it reads from.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// Says where it writes to.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Says where its errors go.
    #[must_use]
    pub fn errors(mut self, errors: Output) -> Self {
        self.errors = errors;
        self
    }
}

/// How far limits reach on this machine, where that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// What holds `memory_bytes`.
    pub memory: Holder,
    /// What holds `processes`.
    pub processes: Holder,
    /// What holds `scratch_bytes`.
    pub scratch: Holder,
    /// The version of Landlock.
    pub landlock: u32,
}

/// What holds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A control group, for all processes together.
    ControlGroup,
    /// A resource limit, for each process by itself.
    EachProcess,
    /// A resource limit, for all processes together: they have a user namespace, or an account, of their own.
    Account,
    /// A resource limit over all processes of the account, those outside included: as many as were there, and these.
    SharedAccount,
    /// The size of a file system in memory.
    FileSystem,
    /// The guard, which looks several times a second: more can be used until it did.
    Watched,
}

/// Sandboxes made by this kernel, of one tier.
#[derive(Clone, Debug)]
pub struct Local {
    tier: Tier,
    launcher: PathBuf,
    omitted: Omitted,
}

impl Local {
    /// Sandboxes that this program starts by executing itself: it calls [`crate::launcher::main_if_asked`] first in its
    /// `main`.
    #[must_use]
    pub fn new(tier: Tier) -> Self {
        Self::with_launcher(tier, "/proc/self/exe")
    }

    /// Sandboxes started by another program that calls [`crate::launcher::main_if_asked`] first in its `main`.
    #[must_use]
    pub fn with_launcher(tier: Tier, launcher: impl Into<PathBuf>) -> Self {
        Self { tier, launcher: launcher.into(), omitted: Omitted::default() }
    }

    /// Leaves controls out, to show that they are what holds. Only a debug build heeds it.
    #[doc(hidden)]
    #[must_use]
    pub fn without(mut self, controls: &[Control]) -> Self {
        self.omitted = Omitted::new(controls);
        self
    }

    fn enforcement(&self, profile: &Profile, groups: &Groups) -> Result<Enforcement, Error> {
        if ![Tier::Restricted, Tier::Isolated].contains(&self.tier) {
            let why = "this launcher makes the restricted and the isolated tier";
            return Err(Error::lacking(Feature::Launcher, why));
        }
        let landlock = sys::landlock_abi().unwrap_or(0);
        if self.tier == Tier::Restricted && landlock < LANDLOCK_MIN {
            let why = format!("the kernel offers version {landlock}, {LANDLOCK_MIN} is needed");
            return Err(Error::lacking(Feature::Landlock, why));
        }
        let root = geteuid().is_root();
        if profile.run_as.is_some() && !root {
            return Err(Error::lacking(Feature::RunAs, "this process is not root"));
        }
        // The kernel does not hold root to a number of processes.
        if root && profile.run_as.is_none() && groups.pids.is_none() {
            return Err(Error::lacking(
                Feature::PidsCgroup,
                "resource limits do not count the processes of root",
            ));
        }
        let grouped = |group: &Option<_>, floor| match group {
            Some(_) => Holder::ControlGroup,
            None => floor,
        };
        Ok(Enforcement {
            memory: grouped(&groups.memory, Holder::EachProcess),
            processes: match &groups.pids {
                Some(_) => Holder::ControlGroup,
                None => Holder::Account,
            },
            scratch: match self.tier {
                Tier::Restricted => Holder::Watched,
                _ => Holder::FileSystem,
            },
            landlock,
        })
    }

    fn order(&self, profile: &Profile, command: &Command) -> Result<Order, Error> {
        profile.check()?;
        let groups = Groups::detect();
        self.enforcement(profile, &groups)?;
        self.check_tier(profile)?;
        let rules = Rules::compile(&profile.paths, self.tier)?;
        let own = Account { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let id = fresh_id()?;
        let scratch = match self.tier {
            Tier::Restricted => {
                let base = std::env::temp_dir().canonicalize();
                let base = base.map_err(Error::io("finding the folder for temporary files"))?;
                Some(base.join(format!("harness-sandbox-{id}")))
            }
            _ => None,
        };
        let counted = groups.pids.is_some() || profile.run_as.is_some();
        let own_user_namespace = match counted {
            true => OwnUserNamespace::No,
            false => OwnUserNamespace::Yes,
        };
        Ok(Order {
            tier: self.tier,
            id,
            program: command.program.clone(),
            arguments: command.arguments.clone(),
            environment: profile.environment.clone(),
            folder: profile.folder.clone(),
            rules,
            mounts: resolve_mounts(&profile.mounts)?,
            proxy: profile.proxy.as_deref().map(|path| resolve("proxy", path)).transpose()?,
            proxy_port: profile.proxy_port,
            serve_port: profile.serve_port,
            limits: profile.limits,
            run_as: profile.run_as,
            account: profile.run_as.unwrap_or(own),
            scratch,
            groups,
            own_user_namespace,
            counted_besides: 0,
            omitted: self.omitted.clone(),
            container: None,
        })
    }

    /// What the fields mean in this tier.
    fn check_tier(&self, profile: &Profile) -> Result<(), Error> {
        if self.tier == Tier::Restricted {
            if !profile.mounts.is_empty() {
                return Err(Error::lacking(
                    Feature::Namespaces,
                    "`mounts` need a tree of their own, which the restricted tier does not have",
                ));
            }
            if profile.proxy.is_some() || profile.proxy_port.is_some() {
                return Err(Error::lacking(
                    Feature::ProxySocket,
                    "this version of landlock cannot open one socket and leave the others closed",
                ));
            }
            if profile.serve_port.is_some() {
                let why = "a port of its own needs a network of its own; use the isolated tier";
                return Err(Error::lacking(Feature::ServePort, why));
            }
            return Ok(());
        }
        let mounts = &profile.mounts;
        let made = mounts.read.iter().map(|bind| &bind.at);
        let made = made.chain(mounts.tmpfs.iter().map(|tmpfs| &tmpfs.at));
        let made = made.chain(mounts.workspace.iter().map(|workspace| &workspace.at));
        for path in profile.paths.read.iter().chain(&profile.paths.write).chain(made.clone()) {
            let taken = MADE.iter().any(|made| path == Path::new(made));
            if taken || path.starts_with("/proc") {
                let problem = format!("{} is made anew in this tier", path.display());
                return Err(Error::profile("paths or mounts", problem));
            }
        }
        // A place to mount at is never made in a folder of the host's.
        for path in made {
            let named = profile.paths.read.iter().chain(&profile.paths.write);
            let on_host = named.into_iter().any(|folder| path.starts_with(folder))
                || path.starts_with("/usr");
            if on_host && !path.exists() {
                let problem = format!("{} does not exist in the folder around it", path.display());
                return Err(Error::profile("mounts", problem));
            }
        }
        Ok(())
    }

    fn start_guard(&self, there: OwnedFd) -> Result<process::Child, Error> {
        let mut guard = process::Command::new(&self.launcher);
        guard.arg(launcher::GUARD).current_dir("/");
        if self.omitted.keeps(Control::Environment) {
            guard.env_clear();
        }
        guard.stdin(Stdio::from(there)).stdout(Stdio::null()).stderr(Stdio::null());
        guard.spawn().map_err(|error| {
            Error::lacking(Feature::Launcher, format!("{}: {error}", self.launcher.display()))
        })
    }
}

impl Sandbox for Local {
    fn tier(&self) -> Tier {
        self.tier
    }

    fn check(&self, profile: &Profile) -> Result<Enforcement, Error> {
        profile.check()?;
        self.check_tier(profile)?;
        Rules::compile(&profile.paths, self.tier)?;
        resolve_mounts(&profile.mounts)?;
        self.enforcement(profile, &Groups::detect())
    }

    fn spawn(&self, profile: &Profile, command: Command) -> Result<Child, Error> {
        let order = self.order(profile, &command)?;
        launch(order, command, |there| self.start_guard(there))
    }
}

/// Starts a guard and gives it its order; what the program writes is read from here on.
pub(crate) fn launch(
    order: Order,
    command: Command,
    start_guard: impl FnOnce(OwnedFd) -> Result<process::Child, Error>,
) -> Result<Child, Error> {
    let most = order.limits.output_bytes;
    let input = match command.input {
        Input::From(descriptor) => descriptor,
        Input::Nothing => null(NullFor::Reading)?,
    };
    let (output, output_there) = open_output(command.output)?;
    let (errors, errors_there) = open_output(command.errors)?;
    let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (here, there) = pair.map_err(io::Error::from).map_err(Error::io("a pair of sockets"))?;
    let (door, door_there) = Door::open(&order)?.unzip();
    let mut guard = start_guard(there)?;
    let socket = UnixStream::from(here);
    let told = send_order(&socket, &order, [input, output_there, errors_there], door_there);
    let mut socket = BufReader::new(socket);
    let word = match told {
        Ok(()) => hear::<Word>(&mut socket),
        Err(error) => Err(error),
    };
    let started = match word {
        Ok(Some(Word::Started(started))) => started,
        answer => {
            drop(socket);
            guard.wait().map_err(Error::io("waiting for the guard"))?;
            return Err(refusal(answer, &command.program));
        }
    };
    // From here on dropping it clears up.
    let outcome = None;
    let mut child =
        Child { socket, guard, started, order, door, output: None, errors: None, outcome };
    let read =
        |from: OwnedFd| Reading::start(from, most).map_err(Error::io("a thread that reads output"));
    child.output = output.map(read).transpose()?;
    child.errors = errors.map(read).transpose()?;
    Ok(child)
}

/// Mounts with the paths they come from as they are now.
fn resolve_mounts(mounts: &Mounts) -> Result<Mounts, Error> {
    let mut mounts = mounts.clone();
    for bind in &mut mounts.read {
        bind.from = resolve("mounts.read.from", &bind.from)?;
    }
    if let Some(workspace) = &mut mounts.workspace {
        workspace.lower = resolve("mounts.workspace.lower", &workspace.lower)?;
        workspace.upper = resolve("mounts.workspace.upper", &workspace.upper)?;
        if workspace.upper.starts_with(&workspace.lower) {
            let problem = "lies in `lower`, which would change with it";
            return Err(Error::profile("mounts.workspace.upper", problem));
        }
    }
    Ok(mounts)
}

/// What the guard's answer means, if it is not that the program runs.
fn refusal(answer: io::Result<Option<Word>>, program: &OsStr) -> Error {
    let fault = match answer {
        Ok(Some(Word::Failed(fault))) => fault,
        Ok(_) => {
            let why = "the program that was started is no guard, or it was killed";
            return Error::lacking(Feature::Launcher, why);
        }
        Err(error)
            if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset]
                .contains(&error.kind()) =>
        {
            return Error::lacking(Feature::Launcher, "the program that was started is no guard");
        }
        Err(source) => return Error::Io { what: "talking to the guard", source },
    };
    let Fault { step, errno, problem } = fault;
    let feature = match step.as_str() {
        EXEC => {
            let program = program.to_string_lossy().into_owned();
            let source = io::Error::from_raw_os_error(errno);
            return Error::Exec { program, source };
        }
        "namespaces" => Feature::Namespaces,
        ENGINE => Feature::Engine,
        "account map" => Feature::UserNamespace,
        "mounting /proc" => Feature::Proc,
        "seccomp" => Feature::Seccomp,
        OVERLAY => Feature::Overlay,
        // A rule that cannot be made is about its path.
        "landlock" => Feature::Landlock,
        _ => return Error::Setup { step, problem },
    };
    Error::lacking(feature, format!("{step}: {problem}"))
}

enum NullFor {
    Reading,
    Writing,
}

fn null(purpose: NullFor) -> Result<OwnedFd, Error> {
    let mut options = std::fs::OpenOptions::new();
    let options = match purpose {
        NullFor::Reading => options.read(true),
        NullFor::Writing => options.write(true),
    };
    options.open("/dev/null").map(OwnedFd::from).map_err(Error::io("opening /dev/null"))
}

/// Our end where there is one, and the program's.
fn open_output(output: Output) -> Result<(Option<OwnedFd>, OwnedFd), Error> {
    match output {
        Output::To(descriptor) => Ok((None, descriptor)),
        Output::Nothing => Ok((None, null(NullFor::Writing)?)),
        Output::Capture => {
            let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from);
            let (here, there) = pipe.map_err(Error::io("a pipe for output"))?;
            Ok((Some(here), there))
        }
    }
}

/// Nobody can guess it, so nobody can have made what it names.
pub(crate) fn fresh_id() -> Result<String, Error> {
    let mut bytes = [0; 8];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    drawn.map_err(io::Error::from).map_err(Error::io("drawing an id"))?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}
