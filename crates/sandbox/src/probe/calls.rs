//! Calls that must not reach the kernel's own code. Each is made with arguments at which the kernel answers something
//! else than the filter does, before it looks at privileges, and without changing anything.

use std::io;

use libc::{EFAULT, ENOSYS, EPERM, c_long};

use super::{Attempt, Tried};
use crate::{control::Control, sys::raw};

/// No memory of this process lies there.
const NOWHERE: usize = 1;
/// No descriptor.
const NONE: usize = usize::MAX;
/// No flag.
const WRONG: usize = 0x7fff_0000;

struct Call {
    name: &'static str,
    number: c_long,
    arguments: [usize; 6],
    held_by: &'static [Control],
}

const fn call(
    name: &'static str,
    number: c_long,
    arguments: [usize; 3],
    held_by: &'static [Control],
) -> Call {
    let [a, b, c] = arguments;
    Call { name, number, arguments: [a, b, c, WRONG, WRONG, WRONG], held_by }
}

const TRACING: &[Control] = &[Control::Tracing];
const KEYRINGS: &[Control] = &[Control::Keyrings];
const SURFACE: &[Control] = &[Control::KernelSurface];
const ADMINISTRATION: &[Control] = &[Control::Administration];
const MOUNTING: &[Control] = &[Control::Mounting];
const NAMESPACES: &[Control] = &[Control::NewNamespaces];
const TERMINAL: &[Control] = &[Control::TerminalInput];
/// The kernel looks at privileges first, of which there are none, or was built without it.
const LAYERS: &[Control] = &[];

const CALLS: &[Call] = &[
    call("ptrace", libc::SYS_ptrace, [0, 0, 0], TRACING),
    call("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0], TRACING),
    call("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0], TRACING),
    call("pidfd_getfd", libc::SYS_pidfd_getfd, [NONE, 0, 1], TRACING),
    call("process_madvise", libc::SYS_process_madvise, [NONE, 0, 0], TRACING),
    call("process_mrelease", libc::SYS_process_mrelease, [NONE, 1, 0], TRACING),
    call("add_key", libc::SYS_add_key, [NOWHERE, NOWHERE, 0], KEYRINGS),
    call("request_key", libc::SYS_request_key, [NOWHERE, NOWHERE, 0], KEYRINGS),
    call("keyctl", libc::SYS_keyctl, [9999, 0, 0], KEYRINGS),
    call("bpf", libc::SYS_bpf, [0, NOWHERE, 1 << 20], SURFACE),
    call("io_uring_setup", libc::SYS_io_uring_setup, [1, NOWHERE, 0], SURFACE),
    call("io_uring_enter", libc::SYS_io_uring_enter, [NONE, 0, 0], SURFACE),
    call("io_uring_register", libc::SYS_io_uring_register, [NONE, 0, 0], SURFACE),
    call("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0], SURFACE),
    call("perf_event_open", libc::SYS_perf_event_open, [NOWHERE, 0, 0], LAYERS),
    call("memfd_secret", libc::SYS_memfd_secret, [WRONG, 0, 0], LAYERS),
    call("fanotify_init", libc::SYS_fanotify_init, [0x200, 0, 0], LAYERS),
    call("move_pages", libc::SYS_move_pages, [0, 0, 0], LAYERS),
    call("remap_file_pages", libc::SYS_remap_file_pages, [1, 1, 1], SURFACE),
    #[cfg(target_arch = "x86_64")]
    call("modify_ldt", libc::SYS_modify_ldt, [0, 0, 0], SURFACE),
    call("mount", libc::SYS_mount, [NOWHERE, NOWHERE, NOWHERE], MOUNTING),
    call("umount", libc::SYS_umount2, [NOWHERE, WRONG, 0], MOUNTING),
    call("open_tree", libc::SYS_open_tree, [NONE, NOWHERE, WRONG], MOUNTING),
    call("mount_setattr", libc::SYS_mount_setattr, [NONE, NOWHERE, WRONG], MOUNTING),
    call("fsconfig", libc::SYS_fsconfig, [NONE, 0, 0], MOUNTING),
    call("fsopen", libc::SYS_fsopen, [NOWHERE, 0, 0], LAYERS),
    call("fsmount", libc::SYS_fsmount, [NONE, 0, 0], LAYERS),
    call("fspick", libc::SYS_fspick, [NONE, NOWHERE, 0], LAYERS),
    call("move_mount", libc::SYS_move_mount, [NONE, NOWHERE, NONE], LAYERS),
    call("pivot_root", libc::SYS_pivot_root, [NOWHERE, NOWHERE, 0], LAYERS),
    call("chroot", libc::SYS_chroot, [NOWHERE, 0, 0], MOUNTING),
    call("setns", libc::SYS_setns, [NONE, 0, 0], NAMESPACES),
    call("clone3", libc::SYS_clone3, [NOWHERE, 0, 0], NAMESPACES),
    call("reboot", libc::SYS_reboot, [0, 0, 0], LAYERS),
    call("kexec_load", libc::SYS_kexec_load, [0, 0, 0], LAYERS),
    call("kexec_file_load", libc::SYS_kexec_file_load, [NONE, NONE, 0], LAYERS),
    call("init_module", libc::SYS_init_module, [NOWHERE, 0, NOWHERE], LAYERS),
    call("finit_module", libc::SYS_finit_module, [NONE, NOWHERE, 0], LAYERS),
    call("delete_module", libc::SYS_delete_module, [NOWHERE, 0, 0], LAYERS),
    call("swapon", libc::SYS_swapon, [NOWHERE, 0, 0], LAYERS),
    call("swapoff", libc::SYS_swapoff, [NOWHERE, 0, 0], LAYERS),
    call("quotactl", libc::SYS_quotactl, [WRONG, NOWHERE, 0], LAYERS),
    call("quotactl_fd", libc::SYS_quotactl_fd, [NONE, 0, 0], LAYERS),
    call("acct", libc::SYS_acct, [NOWHERE, 0, 0], LAYERS),
    call("syslog", libc::SYS_syslog, [3, 0, 0], LAYERS),
    call("vhangup", libc::SYS_vhangup, [0, 0, 0], LAYERS),
    call("sethostname", libc::SYS_sethostname, [NOWHERE, 1, 0], LAYERS),
    call("setdomainname", libc::SYS_setdomainname, [NOWHERE, 1, 0], LAYERS),
    call("settimeofday", libc::SYS_settimeofday, [NOWHERE, 0, 0], ADMINISTRATION),
    call("clock_settime", libc::SYS_clock_settime, [0, NOWHERE, 0], ADMINISTRATION),
    call("clock_adjtime", libc::SYS_clock_adjtime, [0, NOWHERE, 0], ADMINISTRATION),
    call("adjtimex", libc::SYS_adjtimex, [NOWHERE, 0, 0], ADMINISTRATION),
    #[cfg(target_arch = "x86_64")]
    call("iopl", libc::SYS_iopl, [99, 0, 0], LAYERS),
    #[cfg(target_arch = "x86_64")]
    call("ioperm", libc::SYS_ioperm, [1 << 20, 1, 1], LAYERS),
    call(
        "name_to_handle_at",
        libc::SYS_name_to_handle_at,
        [NONE, NOWHERE, NOWHERE],
        &[Control::FileHandles],
    ),
    call("open_by_handle_at", libc::SYS_open_by_handle_at, [NONE, NOWHERE, 0], LAYERS),
    // On what is no terminal the kernel says so, the filter does not.
    call("tiocsti", libc::SYS_ioctl, [0, 0x5412, NOWHERE], TERMINAL),
    call("tioclinux", libc::SYS_ioctl, [0, 0x541C, NOWHERE], TERMINAL),
    call("tiocsti-high-bits", libc::SYS_ioctl, [0, 0x5412 | (1 << 33), NOWHERE], TERMINAL),
    call("personality", libc::SYS_personality, [0x0004_0000, 0, 0], &[Control::Personality]),
    // file_getattr, of Linux 6.17: newer than the list.
    call("newer-than-the-list", 468, [NONE, NOWHERE, NOWHERE], &[Control::ForeignCalls]),
];

/// The attempts of the table.
pub(super) fn attempts() -> impl Iterator<Item = Attempt> {
    // One function has to serve all of them; the name says which call is meant.
    CALLS.iter().map(|call| Attempt {
        name: call.name,
        restricted: Some(call.held_by),
        isolated: Some(call.held_by),
        run: |_| Tried::Held("not made".to_owned()),
    })
}

/// Makes the call of a name, if it is one of the table.
pub(super) fn make(name: &str) -> Option<Tried> {
    let call = CALLS.iter().find(|call| call.name == name)?;
    Some(match raw(call.number, call.arguments) {
        Ok(done) => Tried::Reached(format!("it returned {done}")),
        Err(EPERM) => Tried::Held("forbidden".to_owned()),
        Err(ENOSYS) => Tried::Held("absent".to_owned()),
        Err(EFAULT) => Tried::Reached("it looked at the arguments".to_owned()),
        Err(error) => Tried::Reached(io::Error::from_raw_os_error(error).to_string()),
    })
}
