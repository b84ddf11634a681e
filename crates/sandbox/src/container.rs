//! Programs in containers of a rootless engine, on the tree of an image that is pinned by its digest.
//!
//! The engine is asked with one list of arguments, made from the profile; a guard of its own holds the deadline and takes
//! the container away, as the guard of the other tiers does. The engine keeps a container alive by itself: what is left
//! when guard and supervisor are killed together is found by its label.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{getegid, geteuid};
use serde::{Deserialize, Serialize};

use crate::{
    Sandbox, Tier,
    cgroup::Groups,
    child::Child,
    control::Omitted,
    error::{Error, Feature},
    launcher,
    local::{Command, Enforcement, Holder, fresh_id, launch},
    paths::Rules,
    profile::{Account, Mounts, Profile},
    step,
    wire::{Order, OwnUserNamespace},
};

mod arguments;

/// How long an engine may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// How much of an engine's answer is read, in bytes.
const ANSWER_MAX: u64 = 4 << 20;

/// The label of containers whose guard lives where we see its number: which process numbers those are.
const SPACE: &str = "harness.sandbox.space";

/// The label that says which process guards a container.
const GUARD: &str = "harness.sandbox.guard";

/// The longest name of an image.
const IMAGE_MAX: usize = 512;

/// What an engine finds its own files and its service by. Where it is a socket, only one of this machine is taken.
const VARIABLES: [&str; 3] = ["HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST"];

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Podman.
    Podman,
    /// Docker, in its rootless form.
    Docker,
}

impl Engine {
    /// Where its program usually is.
    #[must_use]
    pub fn usual_program(self) -> PathBuf {
        let found = step::find(self.program());
        found.unwrap_or_else(|| Path::new("/usr/bin").join(self.program()))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// Sandboxes made by a container engine. An image is never fetched; what is in it is not ours to judge, so it is named
/// by its digest.
///
/// The outcome knows no processor time and no peak of memory, and the statuses 125 to 127 may be the engine's: it
/// failed, the program could not be executed, or it was not found.
#[derive(Clone, Debug)]
pub struct Container {
    asking: Asking,
    image: String,
    launcher: PathBuf,
}

/// How an engine is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asking {
    engine: Engine,
    program: PathBuf,
    variables: BTreeMap<String, OsString>,
}

/// One container, for the guard that keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    asking: Asking,
    name: String,
    /// What `create` is told behind the name and the labels.
    arguments: Vec<OsString>,
}

/// The image of a container, and the engine that runs it, which is looked for when it is first needed: what is declared
/// can be read on a machine that has none.
#[derive(Clone, Debug)]
pub struct Pinned {
    image: String,
    engine: Option<(Engine, PathBuf)>,
    found: Arc<Mutex<Option<Container>>>,
}

impl Pinned {
    /// Takes an image by its digest, and an engine by its program where one is named.
    ///
    /// # Errors
    ///
    /// [`Error::Profile`] for an image without a digest.
    pub fn new(image: &str, engine: Option<(Engine, PathBuf)>) -> Result<Self, Error> {
        check_image(image)?;
        Ok(Self { image: image.to_owned(), engine, found: Arc::default() })
    }

    /// The image, by its digest.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    fn container(&self) -> Result<Container, Error> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = &*found {
            return Ok(container.clone());
        }
        let container = match &self.engine {
            Some((engine, program)) => Container::with_engine(*engine, program, &self.image),
            None => Container::find(&self.image),
        }?;
        *found = Some(container.clone());
        Ok(container)
    }
}

impl Sandbox for Pinned {
    fn tier(&self) -> Tier {
        Tier::Container
    }

    fn check(&self, profile: &Profile) -> Result<Enforcement, Error> {
        self.container()?.check(profile)
    }

    fn spawn(&self, profile: &Profile, command: Command) -> Result<Child, Error> {
        self.container()?.spawn(profile, command)
    }
}

impl Container {
    /// Takes the engine of this machine: podman, or docker where that is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Profile`] for an image without a digest; [`Error::Unenforceable`] where there is no engine, it has
    /// privileges, or it does not hold limits.
    pub fn find(image: &str) -> Result<Self, Error> {
        let mut found = [Engine::Podman, Engine::Docker].into_iter();
        let found = found.find_map(|engine| Some((engine, step::find(engine.program())?)));
        let (engine, program) = found.ok_or_else(|| {
            let why = format!("neither podman nor docker is in {}", step::PATHS.join(", "));
            Error::lacking(Feature::Engine, why)
        })?;
        Self::with_engine(engine, program, image)
    }

    /// Takes an engine by its program.
    ///
    /// # Errors
    ///
    /// As [`Container::find`].
    pub fn with_engine(
        engine: Engine,
        program: impl Into<PathBuf>,
        image: &str,
    ) -> Result<Self, Error> {
        check_image(image)?;
        let asking = Asking { engine, program: program.into(), variables: variables(engine) };
        asking.is_fit()?;
        Ok(Self { asking, image: image.to_owned(), launcher: "/proc/self/exe".into() })
    }

    /// Uses another program that calls [`crate::launcher::main_if_asked`] first in its `main`.
    #[must_use]
    pub fn with_launcher(mut self, launcher: impl Into<PathBuf>) -> Self {
        self.launcher = launcher.into();
        self
    }

    /// Takes away containers whose guard is gone, and gives their names. Those of other process namespaces stay.
    ///
    /// # Errors
    ///
    /// [`Error::Unenforceable`] where the engine does not answer or cannot take one away.
    pub fn prune(&self) -> Result<Vec<String>, Error> {
        let filter = format!("label={SPACE}={}", space());
        let listed =
            self.asking.ask(["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])?;
        let mut gone = Vec::new();
        for name in listed.lines().map(str::trim).filter(|name| !name.is_empty()) {
            let label = format!("{{{{index .Config.Labels \"{GUARD}\"}}}}");
            let guard = self.asking.ask(["inspect", "--format", &label, name])?;
            if lives(guard.trim()) {
                continue;
            }
            self.asking.remove(name)?;
            gone.push(name.to_owned());
        }
        Ok(gone)
    }

    fn order(&self, profile: &Profile, command: &Command) -> Result<Order, Error> {
        let id = fresh_id()?;
        let arguments = arguments::create(self.asking.engine, &self.image, profile, command)?;
        let run =
            Run { asking: self.asking.clone(), name: format!("harness-sandbox-{id}"), arguments };
        Ok(Order {
            // To whoever holds it, it is a process that dies with its guard, as in that tier.
            tier: Tier::Isolated,
            id,
            program: command.program.clone(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            folder: None,
            rules: Rules::default(),
            mounts: Mounts::default(),
            proxy: None,
            proxy_port: None,
            serve_port: None,
            limits: profile.limits,
            run_as: None,
            account: Account { uid: geteuid().as_raw(), gid: getegid().as_raw() },
            scratch: None,
            groups: Groups::default(),
            own_user_namespace: OwnUserNamespace::No,
            counted_besides: 0,
            omitted: Omitted::default(),
            container: Some(run),
        })
    }
}

impl Sandbox for Container {
    fn tier(&self) -> Tier {
        Tier::Container
    }

    fn check(&self, profile: &Profile) -> Result<Enforcement, Error> {
        arguments::create(self.asking.engine, &self.image, profile, &Command::new("true"))?;
        Ok(Enforcement {
            memory: Holder::ControlGroup,
            processes: Holder::ControlGroup,
            scratch: Holder::FileSystem,
            landlock: 0,
        })
    }

    fn spawn(&self, profile: &Profile, command: Command) -> Result<Child, Error> {
        let order = self.order(profile, &command)?;
        launch(order, command, |there: OwnedFd| {
            let mut guard = process::Command::new(&self.launcher);
            guard.arg(launcher::GUARD).current_dir("/").env_clear();
            guard.stdin(Stdio::from(there)).stdout(Stdio::null()).stderr(Stdio::null());
            guard.spawn().map_err(|error| {
                Error::lacking(Feature::Launcher, format!("{}: {error}", self.launcher.display()))
            })
        })
    }
}

impl Asking {
    fn command(&self) -> process::Command {
        let mut command = process::Command::new(&self.program);
        command.env_clear().envs(&self.variables).current_dir("/");
        command
    }

    fn ask<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Result<String, Error> {
        let mut command = self.command();
        let answer = step::ask(command.args(words), ANSWER_WITHIN, ANSWER_MAX);
        let failed = |why: String| Error::lacking(Feature::Engine, why);
        let (status, output, errors) =
            answer.map_err(|error| failed(format!("{}: {error}", self.program.display())))?;
        if status.success() {
            return Ok(output.text());
        }
        Err(failed(format!("{}: {}", self.engine.program(), errors.text().trim().escape_debug())))
    }

    /// Whether it runs without privileges and holds limits: some take them and hold nothing.
    fn is_fit(&self) -> Result<(), Error> {
        let answer = self.ask(["info", "--format", "{{json .}}"])?;
        let facts: serde_json::Value = serde_json::from_str(&answer)
            .map_err(|error| Error::lacking(Feature::Engine, format!("its facts: {error}")))?;
        let is =
            |path: &str| facts.pointer(path).and_then(serde_json::Value::as_bool) == Some(true);
        let has = |path: &str, word: &str| {
            let listed = facts.pointer(path).and_then(serde_json::Value::as_array);
            listed.into_iter().flatten().filter_map(serde_json::Value::as_str).any(|text| {
                text == word || text.split(',').any(|part| part.trim_start_matches("name=") == word)
            })
        };
        let says = |path: &str, text: &str| {
            facts.pointer(path).and_then(serde_json::Value::as_str) == Some(text)
        };
        let (rootless, seccomp, limits) = match self.engine {
            Engine::Podman => (
                is("/host/security/rootless"),
                is("/host/security/seccompEnabled"),
                says("/host/cgroupVersion", "v2")
                    && has("/host/cgroupControllers", "memory")
                    && has("/host/cgroupControllers", "pids"),
            ),
            Engine::Docker => (
                has("/SecurityOptions", "rootless"),
                has("/SecurityOptions", "seccomp"),
                says("/CgroupVersion", "2") && is("/MemoryLimit") && is("/PidsLimit"),
            ),
        };
        for (is_so, why) in [
            (rootless, "it runs with the privileges of root"),
            (seccomp, "it filters no system calls"),
            (limits, "it does not hold memory and processes by control groups v2"),
        ] {
            if !is_so {
                return Err(Error::lacking(
                    Feature::Engine,
                    format!("{}: {why}", self.engine.program()),
                ));
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        // It may have ended; what counts is that it is gone.
        self.ask(["kill", "--signal", "KILL", name]).map(drop).unwrap_or(());
        self.ask(["rm", "--force", "--volumes", name]).map(drop)
    }
}

impl Run {
    /// Makes the container, which does not run yet; `guard` is the process that keeps it.
    pub(crate) fn create(&self, guard: u32) -> Result<(), Error> {
        let started = started(guard).unwrap_or_default();
        let labels =
            [format!("--label={SPACE}={}", space()), format!("--label={GUARD}={guard}.{started}")];
        let mut words = vec![OsString::from("create"), format!("--name={}", self.name).into()];
        words.extend(labels.map(OsString::from));
        words.extend(self.arguments.iter().cloned());
        self.asking.ask(words).map(drop)
    }

    /// What runs it, with its streams; it ends when the container does.
    pub(crate) fn start(
        &self,
        [input, output, errors]: [OwnedFd; 3],
    ) -> io::Result<process::Child> {
        let mut command = self.asking.command();
        command.args(["start", "--attach", "--interactive", &self.name]);
        command.stdin(input).stdout(output).stderr(errors);
        command.spawn()
    }

    /// Whether it ran out of memory.
    pub(crate) fn hit_memory(&self) -> bool {
        let said = self.asking.ask(["inspect", "--format", "{{.State.OOMKilled}}", &self.name]);
        said.is_ok_and(|said| said.trim() == "true")
    }

    /// Ends it and takes it away.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        self.asking.remove(&self.name)
    }
}

/// A name and the digest of what it stands for: what is pulled under a name tomorrow is something else.
fn check_image(image: &str) -> Result<(), Error> {
    let refused = |problem: &str| {
        let image = image.escape_debug();
        Err(Error::profile("image", format!("`{image}` {problem}: write NAME@sha256:DIGEST")))
    };
    let Some((name, digest)) = image.split_once("@sha256:") else {
        return refused("is not pinned by a digest");
    };
    if digest.parse::<crate::tree::Digest>().is_err() {
        return refused("has no digest of 64 digits in lower case");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./:_-".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if image.len() > IMAGE_MAX || !first || !name.bytes().all(plain) {
        return refused("is no name of an image");
    }
    Ok(())
}

/// What the engine sees: nothing that would change what is asked of it.
fn variables(engine: Engine) -> BTreeMap<String, OsString> {
    let named = VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), env::var_os(name)?)));
    let mut variables: BTreeMap<String, OsString> = named.collect();
    variables.retain(|name, value| {
        name != "DOCKER_HOST" || value.to_str().is_some_and(|value| value.starts_with("unix://"))
    });
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.into());
    set("PATH", path);
    // Settings of the account may add mounts, variables and devices to every container.
    match engine {
        Engine::Podman => set("CONTAINERS_CONF", "/dev/null"),
        Engine::Docker => set("DOCKER_CONFIG", "/dev/null"),
    };
    variables
}

/// Which process numbers are ours.
fn space() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

/// When a process was started, as the kernel counts: with its number it is that process and no later one.
fn started(process: u32) -> Option<String> {
    let stat =
        fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    // The name in brackets may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut rest = rest.split_whitespace();
    // A zombie has ended.
    rest.next().filter(|state| *state != "Z")?;
    rest.nth(18).map(str::to_owned)
}

/// Whether the guard that a label names is there.
fn lives(label: &str) -> bool {
    let found = label.split_once('.').and_then(|(process, at)| Some((process.parse().ok()?, at)));
    found.is_some_and(|(process, at): (u32, &str)| started(process).as_deref() == Some(at))
}
