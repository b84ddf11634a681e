//! The tree of an isolated program: a folder in memory in which only what the profile names is mounted.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, mkdirat, open},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen, mount, mount_change, move_mount, open_tree, unmount,
    },
    process::pivot_root,
};

use super::payload::PROXY;
use crate::{
    control::Control,
    paths::Access,
    profile::Workspace,
    sys::set_mount_attributes,
    wire::{At, Fault, Order},
    workspace::{DIFF, WORK},
};

/// Where the tree is put together, on the host's own tree but in mounts of our own. Every system has it.
const BASE: &str = "/tmp";

/// What the tree itself may take, in bytes: it only holds places to mount at.
const TREE_BYTES: u64 = 4 << 20;

/// A folder in memory may hold a file for as many bytes of its size, and some more.
const BYTES_PER_FILE: u64 = 4096;
const FILES_MIN: u64 = 1024;

const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// One thing to mount. What comes from the host is opened before anything covers it.
enum Layer {
    Host { tree: OwnedFd, is_folder: bool },
    Memory { bytes: u64, mode: &'static str },
    Closed { is_folder: bool },
    Overlay { lower: OwnedFd, upper: OwnedFd },
    Processes,
}

/// The step at which overlay mounts are what is missing.
pub(crate) const OVERLAY: &str = "overlay";

/// Leaves this process with a root of its own, in its own mount namespace.
pub(super) fn build(order: &Order) -> Result<(), Fault> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).at("mounts of its own")?;
    let mut layers = collect(order)?;
    // What is around is mounted before what is inside; of two at one place the last named stays on top.
    layers.sort_by(|(a, _), (b, _)| a.cmp(b));
    let base = Path::new(BASE);
    attach(&memory(TREE_BYTES, "0755").at("root")?, base).at("root")?;
    let places: Vec<PathBuf> = layers.iter().map(|(path, _)| path.clone()).collect();
    for (path, layer) in layers {
        let at = format!("mounting {}", path.display());
        put(base, &path, layer, &places).map_err(|fault| match fault.step.as_str() {
            "" => Fault { step: at, ..fault },
            _ => fault,
        })?;
    }
    let aliases = order.rules.aliases.iter().map(|(path, real)| (path.as_path(), real.as_path()));
    let links = LINKS.iter().map(|(path, real)| (Path::new(*path), Path::new(*real)));
    for (path, real) in links.chain(aliases) {
        link(base, path, real).at(&format!("linking {}", path.display()))?;
    }
    enter(base).at("changing the root")
}

fn collect(order: &Order) -> Result<Vec<(PathBuf, Layer)>, Fault> {
    let held = order.omitted.keeps(Control::Scratch);
    let scratch = if held { order.limits.scratch_bytes } else { 0 }; // 0 is without limit
    let mut layers = vec![
        ("/tmp".into(), Layer::Memory { bytes: scratch, mode: "0700" }),
        ("/dev/shm".into(), Layer::Memory { bytes: scratch, mode: "0700" }),
        ("/proc".into(), processes(order)?),
    ];
    let writable = MountAttrFlags::empty();
    let readable = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let device = Protection { attributes: writable, devices: Devices::Work };
    for path in DEVICES {
        layers.push((path.into(), host(Path::new(path), device)?));
    }
    let files = |attributes| Protection { attributes, devices: Devices::Dead };
    let kept = order.omitted.keeps(Control::ReadOnly);
    let read = files(if kept { readable } else { writable });
    for rule in &order.rules.rules {
        let layer = match rule.access {
            Access::Read => host(&rule.path, read)?,
            Access::Write => host(&rule.path, files(writable))?,
            Access::None => Layer::Closed { is_folder: rule.path.is_dir() },
        };
        layers.push((rule.path.clone(), layer));
    }
    for bind in &order.mounts.read {
        layers.push((bind.at.clone(), host(&bind.from, read)?));
    }
    for tmpfs in &order.mounts.tmpfs {
        layers.push((tmpfs.at.clone(), Layer::Memory { bytes: tmpfs.bytes, mode: "0700" }));
    }
    if let Some(workspace) = &order.mounts.workspace {
        layers.push((workspace.at.clone(), overlay(workspace)?));
    }
    if let Some(proxy) = &order.proxy {
        layers.push((PROXY.into(), host(proxy, files(writable))?));
    }
    Ok(layers)
}

/// Without numbers of its own there is no fresh `/proc`: a test that leaves them out sees the host's.
fn processes(order: &Order) -> Result<Layer, Fault> {
    if order.omitted.keeps(Control::Pids) {
        return Ok(Layer::Processes);
    }
    let protection = Protection { attributes: MountAttrFlags::empty(), devices: Devices::Work };
    host(Path::new("/proc"), protection)
}

#[derive(Clone, Copy)]
struct Protection {
    attributes: MountAttrFlags,
    devices: Devices,
}

#[derive(Clone, Copy)]
enum Devices {
    Work,
    Dead,
}

/// A copy of a part of the host's tree with all that is mounted below it, protected before it is anywhere.
fn host(path: &Path, protection: Protection) -> Result<Layer, Fault> {
    let step = format!("opening {}", path.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, flags).at(&step)?;
    let mut attributes = protection.attributes | MountAttrFlags::MOUNT_ATTR_NOSUID;
    if matches!(protection.devices, Devices::Dead) {
        attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    set_mount_attributes(tree.as_fd(), u64::from(attributes.bits())).at(&step)?;
    let is_folder = fs::metadata(path).at(&step)?.is_dir();
    Ok(Layer::Host { tree, is_folder })
}

fn overlay(workspace: &Workspace) -> Result<Layer, Fault> {
    for name in [DIFF, WORK] {
        match fs::create_dir(workspace.upper.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).at(OVERLAY);
            }
            _ => {}
        }
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lower = open(&workspace.lower, flags, Mode::empty()).at(OVERLAY)?;
    let upper = open(&workspace.upper, flags, Mode::empty()).at(OVERLAY)?;
    Ok(Layer::Overlay { lower, upper })
}

fn put(base: &Path, path: &Path, layer: Layer, places: &[PathBuf]) -> Result<(), Fault> {
    let at = under(base, path);
    let make = |is_folder: bool| if is_folder { make_folder(&at) } else { make_file(&at) };
    match layer {
        Layer::Host { tree, is_folder } => {
            make(is_folder).at("")?;
            attach(&tree, &at).at("")
        }
        Layer::Memory { bytes, mode } => {
            make(true).at("")?;
            attach(&memory(bytes, mode).at("")?, &at).at("")
        }
        Layer::Closed { is_folder: true } => {
            make(true).at("")?;
            attach(&closed_folder(path, places).at("")?, &at).at("")
        }
        Layer::Closed { is_folder: false } => attach(&closed_file(base).at("")?, &at).at(""),
        Layer::Overlay { lower, upper } => {
            make(true).at("")?;
            let at_number = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
            let (lower, upper) = (at_number(&lower), at_number(&upper));
            let options = format!(
                "lowerdir={lower},upperdir={upper}/{DIFF},workdir={upper}/{WORK},userxattr"
            );
            let options = std::ffi::CString::new(options).map_err(io::Error::from).at(OVERLAY)?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("overlay", &at, "overlay", flags, Some(options.as_c_str())).at(OVERLAY)
        }
        Layer::Processes => {
            make(true).at("")?;
            // Only processes, only those it may look at, and nothing of it can be written.
            let flags =
                MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
            let options = c"subset=pid,hidepid=invisible";
            mount("proc", &at, "proc", flags, Some(options)).at("")
        }
    }
}

/// A folder in memory that is mounted nowhere yet.
fn memory(bytes: u64, mode: &str) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "size", bytes.to_string())?;
    // An empty file takes memory, too, which is no part of the size.
    let files = if bytes == 0 { 0 } else { bytes / BYTES_PER_FILE + FILES_MIN };
    fsconfig_set_string(context.as_fd(), "nr_inodes", files.to_string())?;
    fsconfig_set_string(context.as_fd(), "mode", mode)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// An empty folder that nobody can read or write; with places for what the profile opens further in.
fn closed_folder(path: &Path, places: &[PathBuf]) -> io::Result<OwnedFd> {
    let inside: Vec<&Path> = places
        .iter()
        .filter_map(|place| place.strip_prefix(path).ok())
        .filter(|place| !place.as_os_str().is_empty())
        .collect();
    let folder = memory(TREE_BYTES, if inside.is_empty() { "0000" } else { "0111" })?;
    for place in inside {
        let mut made = PathBuf::new();
        for part in place {
            made.push(part);
            match mkdirat(&folder, &made, Mode::from_raw_mode(0o111)) {
                Err(error) if error != rustix::io::Errno::EXIST => return Err(error.into()),
                _ => {}
            }
        }
    }
    let read_only = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    set_mount_attributes(folder.as_fd(), read_only)?;
    Ok(folder)
}

/// An empty file that nobody can read or write: it lies in the tree under a name that is removed again.
fn closed_file(base: &Path) -> io::Result<OwnedFd> {
    let file = base.join(".closed");
    make_file(&file)?;
    rustix::fs::chmod(&file, Mode::empty())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &file, flags)?;
    let read_only = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    set_mount_attributes(tree.as_fd(), read_only)?;
    Ok(tree)
}

fn attach(tree: &OwnedFd, at: &Path) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn under(base: &Path, path: &Path) -> PathBuf {
    base.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_folder(at: &Path) -> io::Result<()> {
    if at.is_dir() { Ok(()) } else { fs::create_dir_all(at) }
}

fn make_file(at: &Path) -> io::Result<()> {
    if at.exists() {
        return Ok(());
    }
    at.parent().map_or(Ok(()), make_folder)?;
    fs::write(at, "")
}

fn link(base: &Path, path: &Path, real: &Path) -> io::Result<()> {
    let at = under(base, path);
    if fs::symlink_metadata(&at).is_ok() {
        return Ok(());
    }
    at.parent().map_or(Ok(()), make_folder)?;
    symlink(real, at)
}

/// Makes the tree the root, and lets go of the old one.
fn enter(base: &Path) -> io::Result<()> {
    std::env::set_current_dir(base)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    let root = open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let read_only = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    crate::sys::set_one_mounts_attributes(root.as_fd(), read_only)
}
