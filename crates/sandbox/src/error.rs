use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What a profile may need of the machine, named in refusals and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Landlock rules for files, TCP, abstract sockets and signals (ABI 6, Linux 6.12).
    Landlock,
    /// Filters over system calls.
    Seccomp,
    /// User namespaces that this user may make.
    UserNamespace,
    /// Mount, process, network, IPC, host name and cgroup namespaces.
    Namespaces,
    /// A fresh `/proc` inside of a process namespace.
    Proc,
    /// A control group that counts processes.
    PidsCgroup,
    /// `overlay` mounts.
    Overlay,
    /// Running as another account, which only root may.
    RunAs,
    /// A Unix socket that is the only one reachable.
    ProxySocket,
    /// A port at which the program may listen, and who holds it connects to.
    ServePort,
    /// The program that starts sandboxes.
    Launcher,
    /// A container engine without privileges that holds limits.
    Engine,
    /// Virtual machines.
    MicroVm,
}

impl Feature {
    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::UserNamespace => "user namespaces",
            Self::Namespaces => "namespaces",
            Self::Proc => "a fresh /proc",
            Self::PidsCgroup => "a pids control group",
            Self::Overlay => "overlay mounts",
            Self::RunAs => "running as another account",
            Self::ProxySocket => "a proxy socket",
            Self::ServePort => "a port to listen at",
            Self::Launcher => "the launcher",
            Self::Engine => "a rootless container engine",
            Self::MicroVm => "virtual machines",
        }
    }
}

/// Why nothing was run, or why what ran is not known to have ended well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile contradicts itself, or asks for something that has no meaning.
    #[error("profile: {field}: {problem}")]
    Profile {
        /// The field, as it is written in the profile.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The paths of a profile say something that this tier cannot hold.
    #[error(
        "profile: {inner} may do less than {outer} around it, which the {tier} tier cannot enforce"
    )]
    Inexpressible {
        /// The path with the narrower access.
        inner: PathBuf,
        /// The path with the wider access that it lies in.
        outer: PathBuf,
        /// The tier that was asked.
        tier: &'static str,
    },
    /// The machine lacks what the profile needs: nothing was run.
    #[error("this machine cannot enforce the profile: {} missing: {why}", feature.name())]
    Unenforceable {
        /// What is missing.
        feature: Feature,
        /// How that showed.
        why: String,
    },
    /// A step of the set-up failed: the program was not started.
    #[error("the sandbox could not be set up at `{step}`: {problem}")]
    Setup {
        /// The step that failed.
        step: String,
        /// What the system said.
        problem: String,
    },
    /// The program itself could not be executed inside.
    #[error("{program}: cannot be executed inside of the sandbox: {source}")]
    Exec {
        /// The program as it was named.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The guard of a sandbox ended without saying how the program ended. What it guarded was killed.
    #[error("the guard of the sandbox ended before its program did; the program was killed")]
    GuardLost,
    /// A tree of files cannot be kept, or what was asked of it has no meaning.
    #[error("{}: {problem}", path.display())]
    Tree {
        /// Where: in the tree, or on the host.
        path: PathBuf,
        /// What is wrong there.
        problem: String,
    },
    /// What was kept is not what was put there.
    #[error("{}: damaged: {problem}", path.display())]
    Damaged {
        /// The file that is damaged.
        path: PathBuf,
        /// How that showed.
        problem: String,
    },
    /// `git` refused a step, or said what it never says.
    #[error("git could not do `{step}`: {problem}")]
    Git {
        /// The step that failed.
        step: &'static str,
        /// What it said, or what is the matter.
        problem: String,
    },
    /// Changes cannot be brought into a branch as it is now. Nothing was changed.
    #[error("branch `{branch}`: {problem}")]
    Branch {
        /// The branch.
        branch: String,
        /// Why not.
        problem: String,
    },
    /// A file or a folder of the host could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Talking to the guard, or reading what the program wrote, failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Profile { .. } => "sandbox.profile",
            Self::Inexpressible { .. } => "sandbox.inexpressible",
            Self::Unenforceable { .. } => "sandbox.unenforceable",
            Self::Setup { .. } => "sandbox.setup",
            Self::Exec { .. } => "sandbox.exec",
            Self::GuardLost => "sandbox.guard_lost",
            Self::Tree { .. } => "sandbox.tree",
            Self::Damaged { .. } => "sandbox.damaged",
            Self::Git { .. } => "sandbox.git",
            Self::Branch { .. } => "sandbox.branch",
            Self::File { .. } => "sandbox.file",
            Self::Io { .. } => "sandbox.io",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Profile { .. } => "correct that field of the profile",
            Self::Inexpressible { .. } => {
                "use the isolated tier, or name the folders beside it instead of the one around it"
            }
            Self::Unenforceable { feature, .. } => match feature {
                Feature::Landlock => {
                    "run on Linux 6.12 or newer with landlock among its security modules"
                }
                Feature::Seccomp => "run on a kernel built with CONFIG_SECCOMP_FILTER",
                Feature::UserNamespace | Feature::Namespaces => {
                    "allow user namespaces for this user, or use the restricted tier"
                }
                Feature::Proc => "run where /proc is not masked, or use the restricted tier",
                Feature::PidsCgroup => {
                    "name an account in `run_as`, or mount a writable pids control group"
                }
                Feature::Overlay => "put `upper` on a file system that overlayfs can write to",
                Feature::RunAs => "run as root, or leave `run_as` out",
                Feature::ProxySocket => "use the isolated tier for what needs the proxy",
                Feature::ServePort => "use the isolated tier for what listens",
                Feature::Engine => {
                    "set up rootless podman or docker on control groups v2, and pull the image"
                }
                Feature::MicroVm => "use the isolated tier",
                Feature::Launcher => "call `sandbox::launcher::main_if_asked` first in `main`",
            },
            Self::Setup { .. } => "run the self-test to see what this machine enforces",
            Self::Exec { .. } => {
                "check that the program and its interpreter are readable by the profile"
            }
            Self::GuardLost => "look for the out-of-memory killer, then try again",
            Self::Tree { .. } => "take away or rename what is named, or raise the bound it names",
            Self::Damaged { .. } => "restore that file from a backup, or use another snapshot",
            Self::Git { .. } => {
                "check the repository with `git fsck`, and that `git` is 2.38 or newer"
            }
            Self::Branch { .. } => "look at the preview again, or name another branch",
            Self::File { .. } => "check that the path is there and may be used",
            Self::Io { .. } => "try again",
        }
    }

    pub(crate) fn profile(field: &str, problem: impl Into<String>) -> Self {
        Self::Profile { field: field.to_owned(), problem: problem.into() }
    }

    pub(crate) fn tree(path: &Path, problem: impl Into<String>) -> Self {
        Self::Tree { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn git(step: &'static str, problem: impl Into<String>) -> Self {
        Self::Git { step, problem: problem.into() }
    }

    pub(crate) fn file<E: Into<io::Error>>(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn lacking(feature: Feature, why: impl ToString) -> Self {
        Self::Unenforceable { feature, why: why.to_string() }
    }

    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
