use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Highest number of paths, mounts or variables in a profile.
pub const ENTRIES_MAX: usize = 1024;

/// Lowest port that needs no right of its own.
const PORT_MIN: u16 = 1024;

/// Longest deadline, in milliseconds: a week.
pub const DEADLINE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

/// What a program may reach, fixed before it starts. What is not named is not there.
///
/// No host is reachable at all; the one way out is the Unix socket in `proxy`. The default reads the system's
/// libraries, writes a private temporary folder that is empty at the start and gone at the end, and has neither
/// network nor home. It reads and writes as JSON and TOML; a field that is not known is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Files and folders of the host.
    pub paths: Paths,
    /// A Unix socket outside that is the only way out. Inside its path stands in `HARNESS_PROXY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<PathBuf>,
    /// A port of the loopback inside at which the same proxy is reached, for programs that know `HTTPS_PROXY` and no socket;
    /// it stands in `HTTP_PROXY`, `HTTPS_PROXY` and their small spellings. Without it there is no TCP inside at all. For
    /// the isolated tier only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_port: Option<u16>,
    /// A port of the loopback inside at which the program may listen. Who holds the [`crate::Child`] reaches it by a
    /// [`crate::Door`], and nobody else does. Without it nothing inside can listen. For the isolated tier only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve_port: Option<u16>,
    /// How much it may use.
    pub limits: Limits,
    /// Every variable it sees; nothing is inherited. `TMPDIR` is added where it is not named.
    pub environment: BTreeMap<String, String>,
    /// Where it starts; the private temporary folder where nothing is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// What else appears in its tree; for the isolated tier only.
    pub mounts: Mounts,
    /// The account it runs as; only root can name one. Without it the account is the caller's, without privileges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as: Option<Account>,
}

impl Default for Profile {
    fn default() -> Self {
        let variable = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            paths: Paths::default(),
            proxy: None,
            proxy_port: None,
            serve_port: None,
            limits: Limits::default(),
            environment: [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")].map(variable).into(),
            folder: None,
            mounts: Mounts::default(),
            run_as: None,
        }
    }
}

/// Files and folders of the host, by what may be done with them. A path counts for all that is below it; the most
/// specific one wins, and of two for the same path the narrower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// Which part of the system is readable.
    pub system: System,
    /// May be read and executed. In the isolated tier a Unix socket that lies in there can be connected to: name no
    /// folder of sockets.
    pub read: Vec<PathBuf>,
    /// May be read, executed, written, made and removed.
    pub write: Vec<PathBuf>,
    /// Must stay closed, whatever is open around it.
    pub none: Vec<PathBuf>,
}

/// Which part of the system is readable without being named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// Programs, libraries, certificates and the time zone.
    #[default]
    Libraries,
    /// Nothing: every file it needs, its loader too, is named in `read`.
    Nothing,
}

/// How much may be used. Every number is above zero: there is no "without limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of all its processes, in bytes. Where there is no control group it is the address space of each one, and
    /// memory outside of address spaces (`memfd_create`, System V segments) is refused.
    pub memory_bytes: u64,
    /// Processor time of each process, in seconds.
    pub cpu_seconds: u64,
    /// Size of one file it writes, in bytes. How many it writes into folders of the host is not limited.
    pub file_bytes: u64,
    /// Size of its private temporary folder, in bytes; in memory it holds about one file for each 4 KiB of it.
    pub scratch_bytes: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Processes and threads at one time.
    pub processes: u64,
    /// Time until all of it is killed, in milliseconds.
    pub deadline_ms: u64,
    /// Bytes of its output, and of its errors, that are kept; the rest is counted and dropped.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            cpu_seconds: 300,
            file_bytes: 256 << 20,
            scratch_bytes: 256 << 20,
            open_files: 256,
            processes: 64,
            deadline_ms: 600_000,
            output_bytes: 1 << 20,
        }
    }
}

/// What appears in the tree beside paths of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mounts {
    /// Folders or files of the host under another path, read-only.
    pub read: Vec<Bind>,
    /// Empty folders in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// A folder whose changes are kept apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
}

impl Mounts {
    pub(crate) fn is_empty(&self) -> bool {
        self.read.is_empty() && self.tmpfs.is_empty() && self.workspace.is_none()
    }
}

/// A file or folder of the host under another path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Its path on the host.
    pub from: PathBuf,
    /// Its path inside.
    pub at: PathBuf,
}

/// An empty folder in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Its path inside.
    pub at: PathBuf,
    /// What it can hold, in bytes.
    pub bytes: u64,
}

/// A folder that the program sees and changes, while the changes go to another folder: see [`crate::diff`]. How much
/// it changes is limited only by `file_bytes` and by the file system that `upper` is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// The folder on the host as it is before; never written to.
    pub lower: PathBuf,
    /// An existing folder of the caller's that receives `diff`, the changes, and while it runs `work`.
    pub upper: PathBuf,
    /// Where the program sees it.
    pub at: PathBuf,
}

/// An account by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Profile {
    /// Whether it makes sense by itself, whatever the machine can do.
    ///
    /// # Errors
    ///
    /// [`Error::Profile`] names the first field that does not.
    pub fn check(&self) -> Result<(), Error> {
        self.limits.check()?;
        for (name, value) in &self.environment {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Error::profile(
                    "environment",
                    format!("`{}` is no name of a variable", name.escape_debug()),
                ));
            }
        }
        let paths = &self.paths;
        let entries = paths.read.len() + paths.write.len() + paths.none.len();
        let mounts = self.mounts.read.len() + self.mounts.tmpfs.len();
        if entries > ENTRIES_MAX || mounts > ENTRIES_MAX || self.environment.len() > ENTRIES_MAX {
            let problem = format!("more than {ENTRIES_MAX} entries in one list");
            return Err(Error::profile("paths, mounts or environment", problem));
        }
        let named = [("paths.read", &paths.read), ("paths.write", &paths.write)];
        for (field, list) in named.into_iter().chain([("paths.none", &paths.none)]) {
            list.iter().try_for_each(|path| check_path(field, path))?;
        }
        for bind in &self.mounts.read {
            check_path("mounts.read.from", &bind.from)?;
            check_path("mounts.read.at", &bind.at)?;
        }
        for tmpfs in &self.mounts.tmpfs {
            check_path("mounts.tmpfs.at", &tmpfs.at)?;
            check_amount("mounts.tmpfs.bytes", tmpfs.bytes, i64::MAX as u64)?;
        }
        if let Some(workspace) = &self.mounts.workspace {
            check_path("mounts.workspace.lower", &workspace.lower)?;
            check_path("mounts.workspace.upper", &workspace.upper)?;
            check_path("mounts.workspace.at", &workspace.at)?;
        }
        if self.run_as.is_some_and(|account| account.uid == 0 || account.gid == 0) {
            return Err(Error::profile("run_as", "root is what it is there to avoid"));
        }
        for (field, port) in [("proxy_port", self.proxy_port), ("serve_port", self.serve_port)] {
            if port.is_some_and(|port| port < PORT_MIN) {
                let problem = format!("a port below {PORT_MIN} belongs to the system");
                return Err(Error::profile(field, problem));
            }
        }
        if self.serve_port.is_some() && self.serve_port == self.proxy_port {
            return Err(Error::profile("serve_port", "it is the port of the proxy already"));
        }
        self.folder.iter().try_for_each(|path| check_path("folder", path))?;
        self.proxy.iter().try_for_each(|path| check_path("proxy", path))
    }
}

impl Limits {
    fn check(&self) -> Result<(), Error> {
        let most = i64::MAX as u64;
        check_amount("limits.memory_bytes", self.memory_bytes, most)?;
        check_amount("limits.cpu_seconds", self.cpu_seconds, u64::from(u32::MAX))?;
        check_amount("limits.file_bytes", self.file_bytes, most)?;
        check_amount("limits.scratch_bytes", self.scratch_bytes, most)?;
        check_amount("limits.open_files", self.open_files, 1 << 20)?;
        check_amount("limits.processes", self.processes, 1 << 22)?;
        check_amount("limits.deadline_ms", self.deadline_ms, DEADLINE_MAX_MS)?;
        check_amount("limits.output_bytes", self.output_bytes, 1 << 30)
    }
}

fn check_amount(field: &str, amount: u64, most: u64) -> Result<(), Error> {
    if (1..=most).contains(&amount) {
        return Ok(());
    }
    Err(Error::profile(field, format!("{amount} is not between 1 and {most}")))
}

/// Absolute, in one spelling, and text: what is compared must not have two forms.
fn check_path(field: &str, path: &Path) -> Result<(), Error> {
    let Some(text) = path.to_str() else {
        return Err(Error::profile(field, "a path that is no UTF-8"));
    };
    let plain = text.starts_with('/')
        && text.len() > 1
        && !text.contains('\0')
        && text.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part));
    if plain {
        return Ok(());
    }
    let problem = format!(
        "`{}` is no absolute path below `/` in its plain form: without `.`, `..`, `//` and a `/` at its end",
        text.escape_debug()
    );
    Err(Error::profile(field, problem))
}
