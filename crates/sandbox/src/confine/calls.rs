//! Which system calls are refused. A list of what is refused rather than of what is allowed: programs of every kind run
//! in here, and what a list of allowed calls leaves out breaks them without closing more; the calls that matter are
//! those that reach beyond the process, and these are below by what they reach. What is newer than the list does not
//! exist for the program, so a new kernel opens nothing.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::apply_filter;

use super::filter::{Check, Filter, Test};
use crate::{
    Tier,
    control::Control,
    wire::{Fault, Order},
};

/// The newest call this list was written against (Linux 6.10).
const NEWEST: c_long = libc::SYS_mseal;

/// Bits of `clone` and `unshare` that make namespaces.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// CLONE_NEWTIME, only for `unshare`: `clone` has its exit signal there.
const TIME_NAMESPACE: i32 = 0x80;

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

/// Installs the filter. It stays for everything that this process starts.
pub(super) fn filter(order: &Order) -> Result<(), Fault> {
    let kept = |control| order.omitted.keeps(control);
    let mut filter = Filter::default();
    if kept(Control::ForeignCalls) {
        filter.newest = Some(NEWEST);
    }
    // What glibc falls back from must look absent, not forbidden.
    if kept(Control::NewNamespaces) {
        filter.absent.push(libc::SYS_clone3);
    }
    if kept(Control::SetIdFiles) {
        filter.absent.push(libc::SYS_openat2); // its mode stands in memory
    }
    let on_the_host = match order.tier {
        Tier::Restricted => REFUSED_ON_THE_HOST,
        _ => &[],
    };
    for (_, calls) in REFUSED.iter().chain(on_the_host).filter(|(control, _)| kept(*control)) {
        filter.refused.extend(*calls);
    }
    // Memory that belongs to no address space is held by nothing but a control group.
    if kept(Control::Memory) && order.groups.memory.is_none() {
        filter.refused.extend([libc::SYS_memfd_create, libc::SYS_shmget]);
    }
    filter.refused_if = refused_by_argument(order);
    if filter.is_empty() {
        return Ok(());
    }
    let program = filter.compile().map_err(|call| {
        Fault::new("seccomp", format!("the rules about call {call} are too long"))
    })?;
    apply_filter(&program).map_err(|error| Fault::new("seccomp", error))
}

/// Call → the rules of which one must match; a rule is checks of which all must.
type Rules = BTreeMap<c_long, Vec<Vec<Check>>>;

fn refused_by_argument(order: &Order) -> Rules {
    let kept = |control| order.omitted.keeps(control);
    let on_the_host = order.tier == Tier::Restricted;
    let mut rules = Rules::new();
    let mut add = |call: c_long, checks: &[Check]| {
        rules.entry(call).or_default().push(checks.to_vec());
    };
    if kept(Control::NewNamespaces) {
        add(libc::SYS_unshare, &[Check(0, Test::AnyBit(word(NAMESPACES | TIME_NAMESPACE)))]);
        add(libc::SYS_clone, &[Check(0, Test::AnyBit(word(NAMESPACES)))]);
    }
    if kept(Control::TerminalInput) {
        for request in [0x5412, 0x541C] {
            add(libc::SYS_ioctl, &[Check(1, Test::Is(request))]); // TIOCSTI, TIOCLINUX
        }
    }
    if kept(Control::Personality) {
        // 0 is what it has, and all ones asks for it.
        let others = [Check(0, Test::IsNot(0)), Check(0, Test::IsNot(u32::MAX))];
        add(libc::SYS_personality, &others);
    }
    if kept(Control::SetIdFiles) {
        add_set_id(&mut add);
    }
    let unix = word(libc::AF_UNIX);
    if kept(Control::Sockets) {
        add(libc::SYS_socketpair, &[Check(0, Test::IsNot(unix))]);
        let asks = order.proxy.is_some() && order.proxy_port.is_some();
        if order.tier == Tier::Isolated && (asks || order.serve_port.is_some()) {
            add_tcp(&mut add);
        } else {
            add(libc::SYS_socket, &[Check(0, Test::IsNot(unix))]);
        }
    }
    if on_the_host && kept(Control::SocketNames) {
        // A stream pair is connected for good; a datagram one can still send to any name.
        add(libc::SYS_socket, &[Check(0, Test::Is(unix))]);
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            add(libc::SYS_socketpair, &[Check(1, Test::Masked(0xf, word(kind)))]);
        }
    }
    if on_the_host && kept(Control::Neighbours) {
        for (call, whom) in NEIGHBOURS {
            add(*call, &[Check(*whom, Test::IsNot(0))]);
        }
    }
    // Times by path; by descriptor the path is a null pointer.
    if on_the_host && kept(Control::Metadata) {
        add(libc::SYS_utimensat, &[Check(1, Test::IsNoNull)]);
    }
    rules
}

/// TCP of the old kind as well, and nothing else: no datagrams, no raw sockets, no other protocol over streams.
fn add_tcp(add: &mut impl FnMut(c_long, &[Check])) {
    let (unix, inet) = (word(libc::AF_UNIX), word(libc::AF_INET));
    add(libc::SYS_socket, &[Check(0, Test::IsNot(unix)), Check(0, Test::IsNot(inet))]);
    let stream = Test::NotMasked(0xf, word(libc::SOCK_STREAM));
    add(libc::SYS_socket, &[Check(0, Test::Is(inet)), Check(1, stream)]);
    let others = [Check(2, Test::IsNot(0)), Check(2, Test::IsNot(word(libc::IPPROTO_TCP)))];
    add(libc::SYS_socket, &[&[Check(0, Test::Is(inet))], &others[..]].concat());
}

/// Bits of a mode that make a file run as its owner or group, wherever a call takes a mode.
fn add_set_id(add: &mut impl FnMut(c_long, &[Check])) {
    let modes: &[(c_long, u8)] = &[
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (libc::SYS_fchmodat2, 2),
        (libc::SYS_mkdirat, 2),
        (libc::SYS_mknodat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_chmod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_creat, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mkdir, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mknod, 1),
    ];
    let set_id = Test::AnyBit(libc::S_ISUID | libc::S_ISGID);
    for (call, mode) in modes {
        add(*call, &[Check(*mode, set_id)]);
    }
    // The mode of an open that makes no file is whatever the register held.
    let makes = Test::AnyBit(word(libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)));
    add(libc::SYS_openat, &[Check(2, makes), Check(3, set_id)]);
    #[cfg(target_arch = "x86_64")]
    add(libc::SYS_open, &[Check(1, makes), Check(2, set_id)]);
}

fn word(bits: i32) -> u32 {
    bits.cast_unsigned()
}
