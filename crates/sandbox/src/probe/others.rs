//! Other processes, privileges, namespaces, and what was inherited.

use std::io;

use rustix::{
    process::{
        Pid, Resource, Signal, getpriority_process, getrlimit, kill_process, setpriority_process,
    },
    thread::{CapabilitySet, capabilities, capability_is_in_bounding_set, no_new_privs},
};

use super::{Attempt, Fixture, Tried, unless};
use crate::{
    control::Control::{
        self, Capabilities, CoreDumps, Descriptors, Environment, HostName, Ipc, Memory, Neighbours,
        NewNamespaces, Pids, Sessions, SharedIpc, Signals,
    },
    sys::{self, Side, raw},
};

const LAYERS: Option<&[Control]> = Some(&[]);

/// Filters and Landlock need it, so it can only be left out with all of them.
const WITHOUT_NEW_PRIVILEGES: &[Control] = &[
    Control::NoNewPrivileges,
    Control::Sockets,
    Control::SocketNames,
    Control::Tracing,
    Control::Keyrings,
    Control::NewNamespaces,
    Control::Mounting,
    Control::KernelSurface,
    Control::Administration,
    Control::FileHandles,
    Control::TerminalInput,
    Control::Personality,
    Control::SetIdFiles,
    Control::Metadata,
    Control::Neighbours,
    Control::Sessions,
    Control::SharedIpc,
    Control::ForeignCalls,
    Control::Memory,
    Control::Files,
    Control::Ports,
    Control::AbstractSockets,
    Control::Signals,
];

/// Only this one has another one's calls.
const OTHER_ARCHITECTURE: &[Control] =
    if cfg!(target_arch = "x86_64") { &[Control::ForeignCalls] } else { &[] };

type Run = fn(&Fixture) -> Tried;

const fn both(name: &'static str, held_by: &'static [Control], run: Run) -> Attempt {
    Attempt { name, restricted: Some(held_by), isolated: Some(held_by), run }
}

const fn split(
    name: &'static str,
    restricted: Option<&'static [Control]>,
    isolated: Option<&'static [Control]>,
    run: Run,
) -> Attempt {
    Attempt { name, restricted, isolated, run }
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    split("signal.victim", Some(&[Signals]), Some(&[Signals, Pids]), |f| {
        with(f.victim, |pid| unless(kill_process(pid, Signal::CONT), "signalled it"))
    }),
    split("signal.guard", Some(&[Signals]), None, |_| {
        let guard = rustix::process::getppid();
        guard.map_or(Tried::Held("no parent".to_owned()), |pid| {
            unless(kill_process(pid, Signal::CONT), "signalled it")
        })
    }),
    split("signal.own-by-descriptor", Some(&[Signals]), None, |f| {
        // SIGIO by way of a descriptor's owner is a signal, too.
        with(f.victim, |pid| {
            let opened = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
            let sent = opened.and_then(|fd| rustix::process::pidfd_send_signal(fd, Signal::CONT));
            unless(sent, "signalled it")
        })
    }),
    split("limits.of-others", Some(&[Neighbours]), Some(&[Pids]), |f| {
        let pid = usize::try_from(f.victim).unwrap_or(0);
        let mut limit = [0_u64; 2];
        let nofile = usize::try_from(libc::RLIMIT_NOFILE).unwrap_or(7);
        let to = limit.as_mut_ptr().addr();
        let read = raw(libc::SYS_prlimit64, [pid, nofile, 0, to, 0, 0]);
        let set = read.and_then(|_| raw(libc::SYS_prlimit64, [pid, nofile, to, 0, 0, 0]));
        unless(set.map_err(io::Error::from_raw_os_error), "set a limit of it")
    }),
    split(
        "priority.of-others",
        Some(&[Neighbours, Capabilities]),
        Some(&[Pids, Capabilities]),
        |f| {
            with(f.victim, |pid| {
                let set = getpriority_process(Some(pid))
                    .and_then(|now| setpriority_process(Some(pid), now));
                unless(set, "set its priority")
            })
        },
    ),
    split(
        "processors.of-others",
        Some(&[Neighbours, Capabilities]),
        Some(&[Pids, Capabilities]),
        |f| {
            with(f.victim, |pid| {
                let set = rustix::thread::sched_getaffinity(Some(pid))
                    .and_then(|now| rustix::thread::sched_setaffinity(Some(pid), &now));
                unless(set, "set its processors")
            })
        },
    ),
    split(
        "disk-priority.of-others",
        Some(&[Neighbours, Capabilities]),
        Some(&[Pids, Capabilities]),
        |f| {
            let pid = usize::try_from(f.victim).unwrap_or(0);
            let done = raw(libc::SYS_ioprio_set, [1, pid, 0, 0, 0, 0]);
            unless(done.map_err(io::Error::from_raw_os_error), "set its disk priority")
        },
    ),
    split("trace.victim", LAYERS, LAYERS, |f| {
        let pid = usize::try_from(f.victim).unwrap_or(0);
        let seize = 0x4206;
        let done = raw(libc::SYS_ptrace, [seize, pid, 0, 0, 0, 0]);
        unless(done.map_err(io::Error::from_raw_os_error), "traces it")
    }),
    split("session.leave", Some(&[Sessions]), None, |_| {
        in_child(|| raw(libc::SYS_setsid, [0; 6]).is_ok(), "left the session")
    }),
    split("group.leave", Some(&[Sessions]), None, |_| {
        in_child(|| raw(libc::SYS_setpgid, [0; 6]).is_ok(), "left the group")
    }),
    both("namespace.user", &[NewNamespaces], |_| unshare(libc::CLONE_NEWUSER)),
    both("namespace.user-and-mounts", &[NewNamespaces], |_| {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
    }),
    both("namespace.user-and-network", &[NewNamespaces], |_| {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)
    }),
    both("namespace.user-and-processes", &[NewNamespaces], |_| {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID)
    }),
    both("namespace.user-and-ipc", &[NewNamespaces], |_| {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWIPC)
    }),
    both("namespace.user-and-time", &[NewNamespaces], |_| unshare(libc::CLONE_NEWUSER | 0x80)),
    both("namespace.by-clone", &[NewNamespaces], |_| match sys::fork(libc::CLONE_NEWUSER) {
        Ok(Side::Child) => std::process::exit(0),
        other => unless(other, "made one"),
    }),
    both("privileges.left", &[Capabilities], |_| {
        let Ok(sets) = capabilities(None) else {
            return Tried::Held("unknown".to_owned());
        };
        let held = sets.effective | sets.permitted | sets.inheritable;
        let bounding = capability_is_in_bounding_set(CapabilitySet::SYS_ADMIN).unwrap_or(true);
        if held.is_empty() && !bounding {
            return Tried::Held("none".to_owned());
        }
        Tried::Reached(format!("{held:?}"))
    }),
    split("privileges.new", Some(WITHOUT_NEW_PRIVILEGES), Some(WITHOUT_NEW_PRIVILEGES), |_| {
        match no_new_privs() {
            Ok(true) => Tried::Held("none can be gained".to_owned()),
            other => Tried::Reached(format!("{other:?}")),
        }
    }),
    both("privileges.become-root", &[], |_| {
        let (root, user) = (rustix::process::Uid::ROOT, rustix::process::getuid());
        if user.is_root() {
            let other = rustix::process::Uid::from_raw(1);
            return unless(rustix::thread::set_thread_uid(other), "took another account");
        }
        unless(rustix::thread::set_thread_uid(root), "became root")
    }),
    both("environment.inherited", &[Environment], |f| {
        let mut names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let foreign = names.find(|name| !f.variables.contains(name));
        foreign.map_or(Tried::Held("only what was named".to_owned()), Tried::Reached)
    }),
    both("descriptor.inherited", &[Descriptors], |f| match sys::is_open(f.leaked) {
        true => Tried::Reached("it is open".to_owned()),
        false => Tried::Held("it is closed".to_owned()),
    }),
    both("descriptors.any", &[Descriptors], |_| {
        let open = (3..1024).find(|number| sys::is_open(*number));
        open.map_or(Tried::Held("none".to_owned()), |n| Tried::Reached(format!("{n} is open")))
    }),
    both("core-dump.limit", &[CoreDumps], |_| {
        let limit = getrlimit(Resource::Core).maximum;
        if limit == Some(1) {
            return Tried::Held("one byte".to_owned());
        }
        Tried::Reached(format!("{limit:?} bytes"))
    }),
    split("host-name", None, Some(&[HostName]), |_| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if name == "sandbox" { Tried::Held(name) } else { Tried::Reached(name) }
    }),
    split("processes.see", None, Some(&[Pids]), |_| {
        let own = std::process::id();
        if own < 10 { Tried::Held(own.to_string()) } else { Tried::Reached(own.to_string()) }
    }),
    split("ipc.shared-memory", Some(&[SharedIpc, Memory]), Some(&[Ipc, Memory]), |f| {
        let key = usize::try_from(f.segment).unwrap_or(0);
        let done = raw(libc::SYS_shmget, [key, 0, 0, 0, 0, 0]);
        unless(done.map_err(io::Error::from_raw_os_error), "found the host's")
    }),
    split("ipc.new-shared-memory", Some(&[SharedIpc, Memory]), None, |_| {
        let done = raw(libc::SYS_shmget, [0, 4096, 0o1600, 0, 0, 0]);
        if let Ok(id) = done {
            // Taken away again: it would outlive this process.
            let id = usize::try_from(id).unwrap_or(0);
            let _gone = raw(libc::SYS_shmctl, [id, 0, 0, 0, 0, 0]);
        }
        unless(done.map_err(io::Error::from_raw_os_error), "made one on the host")
    }),
    split("ipc.message-queues", Some(&[SharedIpc]), None, |_| {
        // One that does not exist: the kernel says so, the filter does not.
        match raw(libc::SYS_msgget, [0x5eed_0001, 0, 0, 0, 0, 0]) {
            Err(libc::EPERM) => Tried::Held("forbidden".to_owned()),
            other => Tried::Reached(format!("{other:?}")),
        }
    }),
    split("ipc.semaphores", Some(&[SharedIpc]), None, |_| {
        match raw(libc::SYS_semget, [0x5eed_0001, 0, 0, 0, 0, 0]) {
            Err(libc::EPERM) => Tried::Held("forbidden".to_owned()),
            other => Tried::Reached(format!("{other:?}")),
        }
    }),
    split("ipc.posix-queues", Some(&[SharedIpc]), None, |_| {
        match raw(libc::SYS_mq_open, [c"harness-none".as_ptr().addr(), 0, 0, 0, 0, 0]) {
            Err(libc::EPERM) => Tried::Held("forbidden".to_owned()),
            other => Tried::Reached(format!("{other:?}")),
        }
    }),
    both("calls.x32", &[], |_| {
        in_child(|| raw(0x4000_0000 | libc::SYS_getpid, [0; 6]).is_ok(), "it was answered")
    }),
    both("calls.other-architecture", OTHER_ARCHITECTURE, |_| {
        in_child(|| sys::getpid_of_another_architecture().is_some(), "it was answered")
    }),
];

fn with(process: i32, attempt: impl FnOnce(Pid) -> Tried) -> Tried {
    Pid::from_raw(process).map_or(Tried::Held("no such process".to_owned()), attempt)
}

fn unshare(flags: i32) -> Tried {
    in_child(
        || {
            let flags = usize::try_from(flags).unwrap_or(0);
            raw(libc::SYS_unshare, [flags, 0, 0, 0, 0, 0]).is_ok()
        },
        "made one",
    )
}

/// Makes an attempt in a process of its own, which it may change or lose.
pub(super) fn in_child(attempt: impl FnOnce() -> bool, reached: &str) -> Tried {
    match sys::fork(0) {
        Err(error) => Tried::Held(error.to_string()),
        Ok(Side::Child) => std::process::exit(if attempt() { 0 } else { 1 }),
        Ok(Side::Parent(pid)) => {
            let options = rustix::process::WaitOptions::empty();
            match rustix::process::waitpid(Some(pid), options) {
                Ok(Some((_, status))) if status.exit_status() == Some(0) => {
                    Tried::Reached(reached.to_owned())
                }
                Ok(Some((_, status))) => match status.terminating_signal() {
                    Some(signal) => Tried::Held(format!("killed by signal {signal}")),
                    None => Tried::Held("refused".to_owned()),
                },
                other => Tried::Held(format!("{other:?}")),
            }
        }
    }
}
