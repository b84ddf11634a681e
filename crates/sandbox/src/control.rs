use serde::{Deserialize, Serialize};

/// One thing that contains a program. Its name stands in reports.
///
/// Every control has an attempt in the probe that it holds back, and a test that the attempt succeeds without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Landlock: files outside of the profile.
    Files,
    /// Landlock: binding and connecting TCP ports.
    Ports,
    /// Landlock: abstract sockets of others.
    AbstractSockets,
    /// Landlock: signals to others.
    Signals,
    /// seccomp: every socket family, or every one but `AF_UNIX`.
    Sockets,
    /// seccomp: naming a socket of others, which Landlock does not see.
    SocketNames,
    /// seccomp: reading and steering other processes.
    Tracing,
    /// seccomp: kernel keyrings.
    Keyrings,
    /// seccomp: new namespaces and entering others.
    NewNamespaces,
    /// seccomp: mounting, and changing the root.
    Mounting,
    /// seccomp: parts of the kernel that programs do not need and attackers do.
    KernelSurface,
    /// seccomp: what only an administrator does.
    Administration,
    /// seccomp: files by handle instead of by path.
    FileHandles,
    /// seccomp: typing into a terminal.
    TerminalInput,
    /// seccomp: another execution domain.
    Personality,
    /// seccomp: making files that run as their owner.
    SetIdFiles,
    /// seccomp: mode, owner, times and attributes by path, which Landlock does not see.
    Metadata,
    /// seccomp: priorities and limits of other processes, which Landlock does not see.
    Neighbours,
    /// seccomp: leaving the process group.
    Sessions,
    /// seccomp: System V and POSIX message queues, semaphores and shared memory of the host.
    SharedIpc,
    /// seccomp: system calls of other architectures, and those newer than this list.
    ForeignCalls,
    /// No privilege is left, and none can come back.
    Capabilities,
    /// Files that run as their owner do not.
    NoNewPrivileges,
    /// The environment is built from empty.
    Environment,
    /// Inherited descriptors are closed.
    Descriptors,
    /// No core dumps.
    CoreDumps,
    /// Limit of memory.
    Memory,
    /// Limit of processor time.
    CpuTime,
    /// Limit of a file's size.
    FileSize,
    /// Limit of open files.
    OpenFiles,
    /// Limit of processes.
    Processes,
    /// Limit of the private temporary folder.
    Scratch,
    /// A tree of its own.
    Root,
    /// Process numbers of its own.
    Pids,
    /// A network of its own, with nothing in it.
    Network,
    /// Message queues, semaphores and shared memory of its own.
    Ipc,
    /// A host name of its own.
    HostName,
    /// Mounts of the host are read-only where the profile says so.
    ReadOnly,
}

impl Control {
    /// Every control there is.
    pub const ALL: [Self; 38] = [
        Self::Files,
        Self::Ports,
        Self::AbstractSockets,
        Self::Signals,
        Self::Sockets,
        Self::SocketNames,
        Self::Tracing,
        Self::Keyrings,
        Self::NewNamespaces,
        Self::Mounting,
        Self::KernelSurface,
        Self::Administration,
        Self::FileHandles,
        Self::TerminalInput,
        Self::Personality,
        Self::SetIdFiles,
        Self::Metadata,
        Self::Neighbours,
        Self::Sessions,
        Self::SharedIpc,
        Self::ForeignCalls,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Environment,
        Self::Descriptors,
        Self::CoreDumps,
        Self::Memory,
        Self::CpuTime,
        Self::FileSize,
        Self::OpenFiles,
        Self::Processes,
        Self::Scratch,
        Self::Root,
        Self::Pids,
        Self::Network,
        Self::Ipc,
        Self::HostName,
        Self::ReadOnly,
    ];
}

/// The controls that are left out. Empty, except in tests of a debug build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Omitted(Vec<Control>);

impl Omitted {
    pub(crate) fn new(controls: &[Control]) -> Self {
        Self(controls.to_vec())
    }

    /// Whether a control is in force. A release build has no way to leave one out.
    pub(crate) fn keeps(&self, control: Control) -> bool {
        !cfg!(debug_assertions) || !self.0.contains(&control)
    }
}
