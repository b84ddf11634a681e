//! The system calls that no crate wraps safely: the only `unsafe` there is.
#![allow(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

use rustix::process::Pid;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Parent(Pid),
    Child,
}

/// Forks, into new namespaces where `namespaces` (bits of `CLONE_NEW…`) says so.
///
/// Only a launcher may call this: it has one thread, so the child may allocate and take locks.
pub(crate) fn fork(namespaces: libc::c_int) -> io::Result<Side> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is `fork`: the child goes on with a copy of the memory.
    // The caller is single-threaded, so no lock is held by a thread that the child does not have.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw).map_or(Side::Child, Side::Parent))
}

/// Closes the descriptors from `first` to `last`, both included, or marks them to be closed on exec.
pub(crate) fn close_range(first: u32, last: u32, how: Closing) -> io::Result<()> {
    let flags = match how {
        Closing::Now => 0,
        Closing::OnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: no memory is passed. The launcher owns no value whose descriptor lies in the ranges it closes at once:
    // it gives the gaps between those it owns.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// When [`close_range`] takes effect.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Closing {
    Now,
    OnExec,
}

/// Sets attributes (`MOUNT_ATTR_…`) on a mount and all mounts below it.
pub(crate) fn set_mount_attributes(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    set_attributes(mount, set, libc::AT_RECURSIVE)
}

/// Sets attributes (`MOUNT_ATTR_…`) on one mount and not on those below it.
pub(crate) fn set_one_mounts_attributes(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    set_attributes(mount, set, 0)
}

fn set_attributes(mount: BorrowedFd<'_>, set: u64, depth: libc::c_int) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | depth;
    // SAFETY: the path is a terminated string and the attributes live until the call returns; their size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The version of Landlock that the kernel offers.
pub(crate) fn landlock_abi() -> io::Result<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no memory: a null pointer and the size 0 are what it asks for.
    let abi =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, VERSION) };
    u32::try_from(abi).map_err(|_| io::Error::last_os_error())
}

/// Processor time of the children that were waited for, in milliseconds, and the most memory one of them held at a
/// time, in bytes.
pub(crate) fn children_usage() -> (u64, u64) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes a whole `rusage` to the pointer it is given.
    let done = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    if done < 0 {
        return (0, 0);
    }
    // SAFETY: all zeros is a valid `rusage`, and the kernel filled it in.
    let usage = unsafe { usage.assume_init() };
    let millis = |time: libc::timeval| time.tv_sec.max(0) * 1000 + time.tv_usec.max(0) / 1000;
    let spent = millis(usage.ru_utime) + millis(usage.ru_stime);
    let held = usage.ru_maxrss.max(0).saturating_mul(1024);
    (u64::try_from(spent).unwrap_or(0), u64::try_from(held).unwrap_or(0))
}

/// Takes the loopback of this process's network into use.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: all zeros is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is whole, names a device and sets its flags, and lives until the call returns.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A system call by number, for the probe: it does what a hostile program would. Gives the result or the error.
///
/// Each argument is a plain number, or a pointer into a buffer that the caller keeps alive for the call. It is not an
/// `unsafe fn` only because its one use is to be called many times with numbers; nothing but the probe may use it.
pub(crate) fn raw(number: libc::c_long, arguments: [usize; 6]) -> Result<i64, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: only the probe calls this, with calls that at most write to buffers which the caller holds, or that
    // act on other processes and files. None of them unmaps or moves memory of the probe.
    let done = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if done < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(done) }
}

/// A segment of shared memory, to be found or not. Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Segment {
    key: i32,
    id: usize,
}

impl Segment {
    pub(crate) fn make() -> io::Result<Self> {
        let mut bytes = [0; 4];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        // 0 would be a private one, which has no key.
        let key = i32::from_le_bytes(bytes) & 0x7fff_ffff | 1;
        let flags = 0o666 | usize::try_from(libc::IPC_CREAT | libc::IPC_EXCL).unwrap_or(0);
        let numbered = usize::try_from(key).unwrap_or(1);
        let made = raw(libc::SYS_shmget, [numbered, 4096, flags, 0, 0, 0]);
        let id = made.map_err(io::Error::from_raw_os_error)?;
        Ok(Self { key, id: usize::try_from(id).unwrap_or(0) })
    }

    pub(crate) fn key(&self) -> i32 {
        self.key
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // IPC_RMID is 0.
        let _gone = raw(libc::SYS_shmctl, [self.id, 0, 0, 0, 0, 0]);
    }
}

/// Whether a descriptor number is open.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag of the descriptor table and touches nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// The number of this process, asked for by the calls of 32-bit programs. Nothing where the machine has no such thing.
pub(crate) fn getpid_of_another_architecture() -> Option<i32> {
    #[cfg(target_arch = "x86_64")]
    {
        let mut answer: i64 = 20; // getpid of i386
        // SAFETY: the call takes no arguments and writes no memory. The kernel clears r8 to r11, which is declared.
        unsafe {
            std::arch::asm!("int 0x80", inout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        i32::try_from(answer).ok().filter(|pid| *pid > 0)
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}
