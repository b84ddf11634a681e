//! Which system calls are refused. A list of what is refused rather than of what is allowed: programs of every kind run
//! in here, and what a list of allowed calls leaves out breaks them without closing more; the calls that matter are
//! those that reach beyond the process, and these are below by what they reach. What is newer than the list does not
//! exist for the program, so a new kernel opens nothing.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use crate::{
    Tier,
    control::Control,
    wire::{Fault, Order},
};

#[cfg(target_arch = "x86_64")]
const MACHINE: (TargetArch, u32) = (TargetArch::x86_64, 0xC000_003E);
#[cfg(target_arch = "aarch64")]
const MACHINE: (TargetArch, u32) = (TargetArch::aarch64, 0xC000_00B7);

/// The newest call this list was written against (Linux 6.10).
const NEWEST: c_long = libc::SYS_mseal;

/// Numbers from here on are the x32 interface to the same calls, which no rule below would match.
const X32: u32 = 0x4000_0000;

/// Bits of `clone` and `unshare` that make namespaces.
const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    0x80, // CLONE_NEWTIME, only for unshare: clone has its exit signal there
];

/// Refused whatever the arguments are.
const REFUSED: &[(Control, &[c_long])] = &[
    (
        Control::Tracing,
        &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_process_madvise,
            libc::SYS_process_mrelease,
            libc::SYS_kcmp,
        ],
    ),
    (Control::Keyrings, &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl]),
    (Control::NewNamespaces, &[libc::SYS_setns]),
    (
        Control::Mounting,
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            457, // statmount
            458, // listmount
        ],
    ),
    (
        Control::KernelSurface,
        &[
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_memfd_secret,
            libc::SYS_fanotify_init,
            libc::SYS_fanotify_mark,
            libc::SYS_move_pages,
            libc::SYS_migrate_pages,
            libc::SYS_lookup_dcookie,
            libc::SYS_nfsservctl,
            libc::SYS_remap_file_pages,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_modify_ldt,
        ],
    ),
    (
        Control::Administration,
        &[
            libc::SYS_reboot,
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_acct,
            libc::SYS_syslog,
            libc::SYS_vhangup,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
            libc::SYS_adjtimex,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_iopl,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_ioperm,
        ],
    ),
    (Control::FileHandles, &[libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at]),
];

/// Refused in the restricted tier, where no namespace stands in between.
const REFUSED_ON_THE_HOST: &[(Control, &[c_long])] = &[
    // The guard kills the program's process group; nothing may leave it.
    (Control::Sessions, &[libc::SYS_setsid, libc::SYS_setpgid]),
    // Landlock does not see the names of sockets, so nothing gets one or calls one by it.
    (
        Control::SocketNames,
        &[libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4],
    ),
    (
        Control::SharedIpc,
        &[
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_semget,
            libc::SYS_semctl,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_msgget,
            libc::SYS_msgctl,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_mq_open,
            libc::SYS_mq_unlink,
        ],
    ),
    // Landlock sees neither of these; through a descriptor, which it did see being opened, they stay possible.
    (
        Control::Metadata,
        &[
            libc::SYS_fchmodat,
            libc::SYS_fchmodat2,
            libc::SYS_fchownat,
            libc::SYS_setxattr,
            libc::SYS_lsetxattr,
            libc::SYS_removexattr,
            libc::SYS_lremovexattr,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chmod,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_utime,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_utimes,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_futimesat,
        ],
    ),
];

/// Calls that change another process of the same account without a signal, and which argument says whom; 0 is the
/// caller itself. Landlock does not see them.
const NEIGHBOURS: &[(c_long, u8)] = &[
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
];

/// Installs the filters. They stay for everything that this process starts.
pub(super) fn filter(order: &Order) -> Result<(), Fault> {
    let fault = |error: &dyn std::fmt::Display| Fault::new("seccomp", error);
    let kept = |control| order.omitted.keeps(control);
    let mut rules = refused(order).map_err(|error| fault(&error))?;
    // What glibc falls back from must look absent, not forbidden.
    let mut absent = BTreeMap::new();
    if kept(Control::NewNamespaces) {
        absent.insert(libc::SYS_clone3, Vec::new());
    }
    if kept(Control::SetIdFiles) {
        absent.insert(libc::SYS_openat2, Vec::new()); // its mode stands in memory
    }
    rules.retain(|call, _| !absent.contains_key(call));
    for (rules, errno) in [(rules, libc::EPERM), (absent, libc::ENOSYS)] {
        if rules.is_empty() {
            continue;
        }
        let action = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, MACHINE.0);
        let filter = filter.map_err(|error| fault(&error))?;
        let program: Vec<sock_filter> = filter.try_into().map_err(|error| {
            let error: seccompiler::BackendError = error;
            fault(&error)
        })?;
        apply_filter(&program).map_err(|error| fault(&error))?;
    }
    // Last: it is about numbers that the ones above never look at.
    if kept(Control::ForeignCalls) {
        apply_filter(&known_calls()).map_err(|error| fault(&error))?;
    }
    Ok(())
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn refused(order: &Order) -> Result<Rules, seccompiler::BackendError> {
    let kept = |control| order.omitted.keeps(control);
    let mut rules = Rules::new();
    let on_the_host = match order.tier {
        Tier::Restricted => REFUSED_ON_THE_HOST,
        Tier::Isolated => &[],
    };
    for (_, calls) in REFUSED.iter().chain(on_the_host).filter(|(control, _)| kept(*control)) {
        rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    }
    // Memory that belongs to no address space is held by nothing but a control group.
    if kept(Control::Memory) && order.groups.memory.is_none() {
        rules.extend([libc::SYS_memfd_create, libc::SYS_shmget].map(|call| (call, Vec::new())));
    }
    let mut add = |call: c_long, conditions: Vec<SeccompCondition>| {
        let rule = SeccompRule::new(conditions)?;
        // An empty chain refuses whatever the arguments are; a rule in it would narrow that.
        if rules.get(&call).is_none_or(|chain| !chain.is_empty()) {
            rules.entry(call).or_default().push(rule);
        }
        Ok::<(), seccompiler::BackendError>(())
    };
    if kept(Control::NewNamespaces) {
        for bit in NAMESPACES {
            add(libc::SYS_unshare, vec![bits(0, bit)?])?;
        }
        for bit in NAMESPACES.into_iter().filter(|bit| *bit != 0x80) {
            add(libc::SYS_clone, vec![bits(0, bit)?])?;
        }
    }
    if kept(Control::TerminalInput) {
        for request in [libc::TIOCSTI, libc::TIOCLINUX] {
            add(libc::SYS_ioctl, vec![low(1, Op::Eq, request)?])?;
        }
    }
    if kept(Control::Personality) {
        // 0 is what it has, and all ones asks for it.
        let others = vec![low(0, Op::Ne, 0)?, low(0, Op::Ne, u64::from(u32::MAX))?];
        add(libc::SYS_personality, others)?;
    }
    if kept(Control::SetIdFiles) {
        add_set_id(&mut add)?;
    }
    add_sockets(order, &mut add)?;
    if order.tier == Tier::Restricted && kept(Control::Neighbours) {
        for (call, whom) in NEIGHBOURS {
            add(*call, vec![low(*whom, Op::Ne, 0)?])?;
        }
    }
    // Times by path; by descriptor the path is a null pointer.
    if order.tier == Tier::Restricted && kept(Control::Metadata) {
        add(libc::SYS_utimensat, vec![SeccompCondition::new(1, Len::Qword, Op::Ne, 0)?])?;
    }
    Ok(rules)
}

type Add<'a> =
    dyn FnMut(c_long, Vec<SeccompCondition>) -> Result<(), seccompiler::BackendError> + 'a;

fn add_sockets(order: &Order, add: &mut Add<'_>) -> Result<(), seccompiler::BackendError> {
    let kept = |control| order.omitted.keeps(control);
    let unix = u64::from(libc::AF_UNIX.unsigned_abs());
    if kept(Control::Sockets) {
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            add(call, vec![low(0, Op::Ne, unix)?])?;
        }
    }
    if order.tier == Tier::Restricted && kept(Control::SocketNames) {
        // A stream pair is connected for good; a datagram one can still send to any name.
        add(libc::SYS_socket, vec![low(0, Op::Eq, unix)?])?;
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            let kind = u64::from(kind.unsigned_abs());
            add(libc::SYS_socketpair, vec![low(1, Op::MaskedEq(0xf), kind)?])?;
        }
    }
    Ok(())
}

/// Bits of a mode that make a file run as its owner or group, wherever a call takes a mode.
fn add_set_id(add: &mut Add<'_>) -> Result<(), seccompiler::BackendError> {
    let modes: &[(c_long, u8)] = &[
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (libc::SYS_fchmodat2, 2),
        (libc::SYS_openat, 3),
        (libc::SYS_mkdirat, 2),
        (libc::SYS_mknodat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_chmod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_creat, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mkdir, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mknod, 1),
    ];
    for (call, argument) in modes {
        for bit in [libc::S_ISUID, libc::S_ISGID] {
            let bit = u64::from(bit);
            let mut conditions = vec![low(*argument, Op::MaskedEq(bit), bit)?];
            // The mode of an open that makes no file is whatever the register held.
            let flags = match *call {
                libc::SYS_openat => Some(2),
                #[cfg(target_arch = "x86_64")]
                libc::SYS_open => Some(1),
                _ => None,
            };
            if let Some(flags) = flags {
                let creates = u64::from(libc::O_CREAT.unsigned_abs());
                let unnamed = u64::from((libc::O_TMPFILE & !libc::O_DIRECTORY).unsigned_abs());
                let mut other = conditions.clone();
                other.push(low(flags, Op::MaskedEq(unnamed), unnamed)?);
                add(*call, other)?;
                conditions.push(low(flags, Op::MaskedEq(creates), creates)?);
            }
            add(*call, conditions)?;
        }
    }
    Ok(())
}

/// Compares the lower half of an argument: the kernel takes no more of these.
fn low(argument: u8, how: Op, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, Len::Dword, how, value)
}

fn bits(argument: u8, bits: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    let bits = u64::from(bits.unsigned_abs());
    SeccompCondition::new(argument, Len::Qword, Op::MaskedEq(bits), bits)
}

/// Kills calls of another architecture and of the x32 interface; those newer than the list do not exist.
fn known_calls() -> Vec<sock_filter> {
    const LOAD: u16 = 0x20; // a word of `seccomp_data`: the number at 0, the architecture at 4
    const EQUAL: u16 = 0x15;
    const ABOVE: u16 = 0x25;
    const AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let newest = u32::try_from(NEWEST).unwrap_or(0);
    vec![
        step(LOAD, 0, 0, 4),
        step(EQUAL, 1, 0, MACHINE.1),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, 0, 0, 0),
        step(AT_LEAST, 0, 1, X32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(ABOVE, 0, 1, newest),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
