use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Attempt, Fixture, Tried, unless};
use crate::control::Control::{self, Files, Metadata, Pids, ReadOnly, Root, SetIdFiles};

/// How often a name is turned round while it is being opened.
const TURNS: usize = 400;

/// How long that may take.
const TURNS_WITHIN: Duration = Duration::from_secs(20);

const OUTSIDE: Option<&[Control]> = Some(&[Files]);
const TREE: Option<&[Control]> = Some(&[Files, Root]);
const LAYERS: Option<&[Control]> = Some(&[]);

type Run = fn(&Fixture) -> Tried;

const fn outside(name: &'static str, run: Run) -> Attempt {
    Attempt { name, restricted: OUTSIDE, isolated: TREE, run }
}

const fn layered(name: &'static str, run: Run) -> Attempt {
    Attempt { name, restricted: LAYERS, isolated: LAYERS, run }
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    outside("file.read", |f| read(&f.outside.join("secret"), f)),
    outside("file.overwrite", |f| unless(write(&f.outside.join("secret")), "opened for writing")),
    outside("file.truncate", |f| {
        let length = fs::metadata(f.outside.join("long")).map_or(0, |m| m.len());
        let path = path_bytes(&f.outside.join("long"));
        let done = crate::sys::raw(libc::SYS_truncate, [path.as_ptr().addr(), 4096, 0, 0, 0, 0]);
        unless(done.map_err(io::Error::from_raw_os_error), &format!("cut from {length} bytes"))
    }),
    outside("file.create", |f| unless(create(&f.outside.join("folder/made")), "made a file")),
    outside("file.remove", |f| unless(fs::remove_file(f.outside.join("expendable")), "removed it")),
    outside("folder.list", |f| unless(fs::read_dir(&f.outside), "listed it")),
    outside("folder.create", |f| unless(fs::create_dir(f.outside.join("folder/sub")), "made it")),
    outside("folder.remove", |f| unless(fs::remove_dir(f.outside.join("empty")), "removed it")),
    outside("file.rename-out", |f| {
        let mine = scratch("mine");
        create(&mine).and_then(|()| fs::copy(&mine, f.outside.join("folder/moved"))).map_or_else(
            |error| Tried::Held(error.to_string()),
            |_| Tried::Reached("put a file there".to_owned()),
        )
    }),
    outside("file.rename-in", |f| {
        let to = f.outside.join("folder/renamed");
        unless(fs::rename(f.outside.join("movable"), to), "renamed it")
    }),
    outside("file.link", |f| {
        let to = f.outside.join("folder/linked");
        unless(fs::hard_link(f.outside.join("secret"), to), "linked it")
    }),
    outside("file.symlink-there", |f| {
        unless(symlink("/", f.outside.join("folder/sym")), "made a link")
    }),
    outside("file.fifo-there", |f| {
        let path = f.outside.join("folder/fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        let done = rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0);
        unless(done, "made a pipe")
    }),
    outside("file.execute", |f| unless(Command::new(f.outside.join("program")).status(), "ran it")),
    outside("file.by-symlink", |f| {
        let link = scratch("link-to-secret");
        symlink(f.outside.join("secret"), &link).unwrap_or(());
        read(&link, f)
    }),
    outside("file.by-dots", |f| {
        let up = "../".repeat(24);
        let target = f.outside.strip_prefix("/").unwrap_or(&f.outside).join("secret");
        read(&std::env::temp_dir().join(up).join(target), f)
    }),
    outside("file.by-race", race),
    outside("file.by-descriptor-of-root", |f| {
        let Ok(root) = File::options().read(true).custom_flags(libc::O_PATH).open("/") else {
            return Tried::Held("the root cannot be opened".to_owned());
        };
        let target = f.outside.strip_prefix("/").unwrap_or(&f.outside).join("secret");
        let flags = rustix::fs::OFlags::RDONLY;
        let opened = rustix::fs::openat(root, &target, flags, rustix::fs::Mode::empty());
        opened.map_or_else(
            |error| Tried::Held(error.to_string()),
            |file| is_canary(File::from(file), f),
        )
    }),
    layered("file.by-proc-root", |f| {
        let target = f.outside.strip_prefix("/").unwrap_or(&f.outside).join("secret");
        read(&Path::new("/proc/self/root").join(target), f)
    }),
    layered("file.by-proc-cwd", |f| {
        let up = Path::new("/proc/self/cwd").join("../".repeat(24));
        let target = f.outside.strip_prefix("/").unwrap_or(&f.outside).join("secret");
        read(&up.join(target), f)
    }),
    layered("file.by-chroot", |f| {
        let chrooted = rustix::process::chroot(".");
        if let Err(error) = chrooted {
            return Tried::Held(error.to_string());
        }
        read(&f.outside.join("secret"), f)
    }),
    outside("file.passwords", |_| unless(File::open("/etc/passwd"), "opened")),
    outside("home.list", |_| {
        let homes = ["/root", "/home"].map(fs::read_dir);
        let opened = homes.into_iter().any(|home| home.is_ok());
        // An ordinary user cannot list root's, but everybody the folder of homes.
        if opened { Tried::Reached("listed".to_owned()) } else { Tried::Held("closed".to_owned()) }
    }),
    outside("host.list-temporary", |f| {
        let parent = f.outside.parent().unwrap_or(Path::new("/tmp"));
        let entries = fs::read_dir(parent).map(|entries| {
            entries.flatten().any(|entry| f.outside.file_name() == Some(&entry.file_name()))
        });
        match entries {
            Ok(true) => Tried::Reached("saw the host's".to_owned()),
            other => Tried::Held(format!("{other:?}")),
        }
    }),
    Attempt {
        name: "file.write-readable",
        restricted: OUTSIDE,
        isolated: Some(&[Files, ReadOnly]),
        run: |f| unless(create(&f.readable.join("made")), "made a file in what is only readable"),
    },
    Attempt {
        name: "file.exists",
        restricted: None,
        isolated: Some(&[Root]),
        run: |f| unless(fs::metadata(f.outside.join("secret")), "its size and times are known"),
    },
    Attempt {
        name: "file.mode-by-path",
        restricted: Some(&[Metadata]),
        isolated: Some(&[Root]),
        run: |f| {
            let mode = fs::Permissions::from_mode(0o640);
            unless(fs::set_permissions(f.outside.join("secret"), mode), "changed its mode")
        },
    },
    Attempt {
        name: "file.owner-by-path",
        restricted: Some(&[Metadata]),
        isolated: Some(&[Root]),
        run: |f| {
            let own = Some(rustix::process::geteuid().as_raw());
            let changed = std::os::unix::fs::lchown(f.outside.join("secret"), own, None);
            unless(changed, "changed its owner")
        },
    },
    Attempt {
        name: "file.times-by-path",
        restricted: Some(&[Metadata]),
        isolated: Some(&[Root]),
        run: |f| {
            let path = f.outside.join("secret");
            let now = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
            let flags = rustix::fs::AtFlags::empty();
            let set = rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags);
            unless(set, "changed its times")
        },
    },
    Attempt {
        name: "file.attributes-by-path",
        restricted: Some(&[Metadata]),
        isolated: Some(&[Root]),
        run: |f| {
            let path = f.outside.join("secret");
            let flags = rustix::fs::XattrFlags::empty();
            let set = rustix::fs::setxattr(path, "user.probe", b"1", flags);
            unless(set, "set an attribute")
        },
    },
    set_id("set-id.by-mode", |_| {
        let file = scratch("set-id-mode");
        create(&file).unwrap_or(());
        let done = File::open(&file)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o4755)));
        unless(done, "made it run as its owner")
    }),
    set_id("set-group.by-mode", |_| {
        let file = scratch("set-group-mode");
        create(&file).unwrap_or(());
        let done = File::open(&file)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o2755)));
        unless(done, "made it run as its group")
    }),
    set_id("set-id.at-creation", |_| {
        let mut options = OpenOptions::new();
        let path = scratch("set-id-created");
        unless(options.write(true).create_new(true).mode(0o4755).open(path), "made it")
    }),
    set_id("set-id.by-openat2", |_| {
        let path = path_bytes(&scratch("set-id-openat2"));
        let how: [u64; 3] = [(libc::O_CREAT | libc::O_WRONLY).unsigned_abs().into(), 0o4755, 0];
        let here = usize::MAX - 99; // AT_FDCWD
        let arguments = [here, path.as_ptr().addr(), how.as_ptr().addr(), 24, 0, 0];
        let done = crate::sys::raw(libc::SYS_openat2, arguments);
        unless(done.map_err(io::Error::from_raw_os_error), "made it")
    }),
    layered("device.make", |_| {
        let kind = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let device = rustix::fs::makedev(1, 1);
        let path = scratch("mem");
        unless(rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device), "made /dev/mem")
    }),
    layered("device.memory", |_| opens(&["/dev/mem", "/dev/kmem", "/dev/port"])),
    layered("device.kernel-log", |_| opens(&["/dev/kmsg"])),
    layered("device.disks", |_| opens(&["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"])),
    layered("device.terminals", |_| {
        opens(&["/dev/ptmx", "/dev/pts/ptmx", "/dev/tty", "/dev/tty0"])
    }),
    layered("device.kvm-and-fuse", |_| opens(&["/dev/kvm", "/dev/fuse", "/dev/net/tun"])),
    layered("device.loop-control", |_| opens(&["/dev/loop-control", "/dev/mapper/control"])),
    layered("proc.core-pattern", |_| opens(&["/proc/sys/kernel/core_pattern"])),
    layered("proc.sysrq", |_| opens(&["/proc/sysrq-trigger"])),
    layered("proc.kernel-memory", |_| opens(&["/proc/kcore", "/proc/kallsyms", "/proc/keys"])),
    layered("proc.own-maps-of-accounts", |_| {
        writes(&["/proc/self/uid_map", "/proc/self/setgroups"])
    }),
    layered("proc.first-process", |_| {
        opens(&["/proc/1/environ", "/proc/1/mem", "/proc/1/maps", "/proc/1/root/etc/passwd"])
    }),
    layered("sys.control-groups", |_| {
        let files = ["memory/cgroup.procs", "pids/tasks", "cgroup.procs", "unified/cgroup.procs"];
        let first =
            files.iter().find(|file| write(&Path::new("/sys/fs/cgroup").join(file)).is_ok());
        first.map_or(Tried::Held("closed".to_owned()), |file| Tried::Reached((*file).to_owned()))
    }),
    layered("sys.release-agent", |_| writes(&["/sys/fs/cgroup/memory/release_agent"])),
    layered("sys.kernel", |_| opens(&["/sys/kernel/vmcoreinfo", "/sys/kernel/uevent_helper"])),
    layered("run.sockets", |_| {
        let folders = ["/run", "/var/run"].map(fs::read_dir);
        let seen = folders.into_iter().flatten().flatten().flatten();
        let mut foreign = seen.filter(|entry| entry.file_name() != "harness");
        foreign.next().map_or(Tried::Held("none".to_owned()), |e| Tried::Reached(format!("{e:?}")))
    }),
    Attempt {
        name: "proc.arguments-of-others",
        restricted: OUTSIDE,
        isolated: Some(&[Files, Pids, Root]),
        run: |f| opens(&[&format!("/proc/{}/cmdline", f.victim)]),
    },
    layered("proc.environment-of-others", |f| opens(&[&format!("/proc/{}/environ", f.victim)])),
    layered("proc.memory-of-others", |f| opens(&[&format!("/proc/{}/mem", f.victim)])),
    layered("proc.descriptors-of-others", |f| {
        unless(fs::read_dir(format!("/proc/{}/fd", f.victim)), "listed")
    }),
    layered("proc.root-of-others", |f| {
        let target = f.outside.strip_prefix("/").unwrap_or(&f.outside).join("secret");
        read(&Path::new(&format!("/proc/{}/root", f.victim)).join(target), f)
    }),
    layered("proc.namespaces-of-others", |f| opens(&[&format!("/proc/{}/ns/mnt", f.victim)])),
];

const fn set_id(name: &'static str, run: Run) -> Attempt {
    Attempt { name, restricted: Some(&[SetIdFiles]), isolated: Some(&[SetIdFiles]), run }
}

/// A file of the probe's own: it stands in a folder for this once.
fn scratch(name: &str) -> PathBuf {
    PathBuf::from(name)
}

fn path_bytes(path: &Path) -> Vec<u8> {
    let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn create(path: &Path) -> io::Result<()> {
    File::create(path).map(drop)
}

fn write(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

fn read(path: &Path, fixture: &Fixture) -> Tried {
    File::open(path)
        .map_or_else(|error| Tried::Held(error.to_string()), |file| is_canary(file, fixture))
}

fn is_canary(mut file: File, fixture: &Fixture) -> Tried {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if text == fixture.canary => Tried::Reached("read the secret".to_owned()),
        other => Tried::Held(format!("{other:?}")),
    }
}

/// Reached if one of them can be read or written.
fn opens(paths: &[&str]) -> Tried {
    let opened = paths.iter().find(|path| {
        let quiet = libc::O_NONBLOCK | libc::O_NOCTTY;
        let read = File::options().read(true).custom_flags(quiet).open(path).is_ok();
        read || write(Path::new(path)).is_ok()
    });
    opened.map_or(Tried::Held("closed".to_owned()), |path| Tried::Reached((*path).to_owned()))
}

fn writes(paths: &[&str]) -> Tried {
    let opened = paths.iter().find(|path| write(Path::new(path)).is_ok());
    opened.map_or(Tried::Held("closed".to_owned()), |path| Tried::Reached((*path).to_owned()))
}

/// A name that is now a file of its own and now a link to the secret, while it is being opened.
fn race(fixture: &Fixture) -> Tried {
    let (name, own, link) = (scratch("race"), scratch("race-own"), scratch("race-link"));
    let turns = AtomicUsize::new(0);
    let until = Instant::now() + TURNS_WITHIN;
    fs::write(&own, "mine").unwrap_or(());
    thread::scope(|scope| {
        scope.spawn(|| {
            while turns.fetch_add(1, Ordering::Relaxed) < TURNS {
                fs::remove_file(&link).unwrap_or(());
                symlink(fixture.outside.join("secret"), &link).unwrap_or(());
                fs::rename(&link, &name).unwrap_or(());
                thread::yield_now();
                fs::hard_link(&own, &link).unwrap_or(());
                fs::rename(&link, &name).unwrap_or(());
            }
        });
        let mut tries = 0_u64;
        while turns.load(Ordering::Relaxed) < TURNS && Instant::now() < until {
            tries += 1;
            if let reached @ Tried::Reached(_) = read(&name, fixture) {
                turns.store(TURNS, Ordering::Relaxed);
                return reached;
            }
        }
        Tried::Held(format!("{tries} times"))
    })
}
