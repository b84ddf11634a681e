//! Control groups, where this machine lets us make them: version 1 and 2, each controller by itself.
//!
//! They are an addition. What they cannot do here is said in the report; resource limits are the floor.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::{
    control::{Control, Omitted},
    profile::Limits,
};

/// How long killed processes may take to leave a group.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);

/// How often a group is looked at that is not empty yet; the kernel tells nobody when it is.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a group of ours is called, before its id.
const PREFIX: &str = "harness-sandbox-";

/// Folders in which a group for one sandbox can be made; a version 2 group may be both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Groups {
    pub(crate) memory: Option<Parent>,
    pub(crate) pids: Option<Parent>,
}

/// The group that ours is made in: the one this process is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    One,
    Two,
}

impl Groups {
    /// Where this process may make groups. Nothing is changed.
    pub(crate) fn detect() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mine = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let find = |controller: &str| {
            let one = first_version(&mounts, &mine, controller);
            one.or_else(|| second_version(&mounts, &mine, controller))
        };
        Self { memory: find("memory"), pids: find("pids") }
    }

    fn each(&self) -> impl Iterator<Item = &Parent> {
        let pids = self.pids.as_ref().filter(|pids| Some(*pids) != self.memory.as_ref());
        self.memory.iter().chain(pids)
    }

    /// Makes the groups of one sandbox with its limits.
    pub(crate) fn make(&self, id: &str, limits: &Limits, omitted: &Omitted) -> io::Result<()> {
        self.each().try_for_each(|parent| match fs::create_dir(parent.group(id)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        })?;
        if let Some(memory) = self.memory.as_ref().filter(|_| omitted.keeps(Control::Memory)) {
            let group = memory.group(id);
            let bytes = limits.memory_bytes.to_string();
            match memory.version {
                Version::One => {
                    fs::write(group.join("memory.limit_in_bytes"), &bytes)?;
                    // Counting swap is a choice of the kernel's start line.
                    fs::write(group.join("memory.memsw.limit_in_bytes"), &bytes).unwrap_or(());
                }
                Version::Two => {
                    fs::write(group.join("memory.max"), &bytes)?;
                    fs::write(group.join("memory.swap.max"), "0").unwrap_or(());
                }
            }
        }
        if let Some(pids) = self.pids.as_ref().filter(|_| omitted.keeps(Control::Processes)) {
            // One more than the profile says: the first process of a namespace is ours.
            let most = limits.processes.saturating_add(1).to_string();
            fs::write(pids.group(id).join("pids.max"), most)?;
        }
        Ok(())
    }

    /// The places of version 1 groups at which a process can put itself into them. Opened by the guard, which may.
    ///
    /// A single thread that moves itself is the one move for which the kernel does not stop every fork and exit of
    /// the machine for a grace period, which takes ten milliseconds.
    pub(crate) fn doors(&self, id: &str) -> io::Result<Vec<File>> {
        let first = self.each().filter(|parent| parent.version == Version::One);
        first
            .map(|parent| File::options().write(true).open(parent.group(id).join("tasks")))
            .collect()
    }

    /// Puts a process into the version 2 groups; what it starts from now on is in them too.
    pub(crate) fn join(&self, id: &str, process: i32) -> io::Result<()> {
        let mut second = self.each().filter(|parent| parent.version == Version::Two);
        second.try_for_each(|parent| {
            fs::write(parent.group(id).join("cgroup.procs"), process.to_string())
        })
    }

    /// Whether the kernel killed for memory in there.
    pub(crate) fn ran_out_of_memory(&self, id: &str) -> bool {
        let Some(parent) = &self.memory else {
            return false;
        };
        let file = match parent.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(parent.group(id).join(file)).unwrap_or_default();
        let killed = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        killed.filter_map(|count| count.trim().parse::<u64>().ok()).any(|count| count > 0)
    }

    /// Whether a process was refused in there.
    pub(crate) fn ran_out_of_processes(&self, id: &str) -> bool {
        let events = self.pids.iter().map(|parent| parent.group(id).join("pids.events"));
        let texts = events.filter_map(|file| fs::read_to_string(file).ok());
        texts.into_iter().any(|text| {
            let refused = text.lines().filter_map(|line| line.strip_prefix("max "));
            refused.filter_map(|count| count.trim().parse::<u64>().ok()).any(|count| count > 0)
        })
    }

    /// Takes the groups away, as soon as the last of their processes is gone: they have been killed.
    pub(crate) fn remove(&self, id: &str) {
        let until = Instant::now() + EMPTY_WITHIN;
        for parent in self.each() {
            let busy = |error: io::Error| error.kind() == io::ErrorKind::ResourceBusy;
            while fs::remove_dir(parent.group(id)).is_err_and(busy) && Instant::now() < until {
                thread::park_timeout(LOOK_EVERY);
            }
        }
    }
}

impl Parent {
    fn group(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{PREFIX}{id}"))
    }
}

/// Puts this process into the groups behind the doors.
pub(crate) fn enter(doors: Vec<File>) -> io::Result<()> {
    doors.into_iter().try_for_each(|mut door| door.write_all(b"0"))
}

/// `hierarchy:controllers:path`, where the controllers hold the one we look for.
fn first_version(mounts: &str, mine: &str, controller: &str) -> Option<Parent> {
    let names = |list: &str| list.split(',').any(|name| name == controller);
    let own = mine.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        names(controllers).then_some(path)
    })?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (folder, kind, options) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup" && names(options)).then_some(folder)
    })?;
    let folder = below(root, own);
    writable(&folder).then_some(Parent { folder, version: Version::One })
}

fn second_version(mounts: &str, mine: &str, controller: &str) -> Option<Parent> {
    let own = mine.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (folder, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(folder)
    })?;
    let folder = below(root, own);
    // Groups made in there have only the controllers that it hands down.
    let handed = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
    let handed = handed.split_whitespace().any(|name| name == controller);
    (handed && writable(&folder)).then_some(Parent { folder, version: Version::Two })
}

/// The group's folder; the root of the hierarchy where a container shows only its own part of it.
fn below(root: &str, own: &str) -> PathBuf {
    let folder = Path::new(root).join(own.trim_start_matches('/'));
    if folder.is_dir() { folder } else { PathBuf::from(root) }
}

fn writable(folder: &Path) -> bool {
    let procs = folder.join("cgroup.procs");
    access(folder, Access::WRITE_OK).is_ok() && access(procs, Access::WRITE_OK).is_ok()
}
