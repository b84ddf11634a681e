//! Using more than was given: as attempts that end, and as programs that would not.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};

use super::{Attempt, Fixture, Tried, others::in_child};
use crate::{
    control::Control::{self, CpuTime, FileSize, Memory, OpenFiles, Processes, Scratch},
    sys::{self, Side},
};

/// More forks than a fork bomb is let make where nothing held it.
const FORKS_MAX: u64 = 4096;

type Run = fn(&Fixture) -> Tried;

const fn both(name: &'static str, held_by: &'static [Control], run: Run) -> Attempt {
    Attempt { name, restricted: Some(held_by), isolated: Some(held_by), run }
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    both("use.memory", &[Memory], |f| {
        let most = usize::try_from(f.memory_bytes).unwrap_or(usize::MAX);
        in_child(|| touch(most + most / 2), "held more than the limit")
    }),
    both("use.file-size", &[FileSize], |f| {
        let most = f.file_bytes;
        in_child(|| write_bytes(Path::new("large"), most + 65536), "wrote more")
    }),
    both("use.open-files", &[OpenFiles], |f| {
        let most = f.open_files;
        in_child(
            || {
                let opened: Vec<_> =
                    (0..=most).map_while(|_| File::open("/dev/null").ok()).collect();
                u64::try_from(opened.len()).unwrap_or(0) > most
            },
            "opened more than the limit",
        )
    }),
    both("use.processes", &[Processes], |f| {
        let most = f.processes + 16;
        in_child(|| fork_many(most) >= most, "started more than the limit")
    }),
    both("use.processor-time", &[CpuTime], |_| match getrlimit(Resource::Cpu).maximum {
        Some(seconds) => Tried::Held(format!("{seconds} s")),
        None => Tried::Reached("without end".to_owned()),
    }),
    Attempt {
        name: "use.scratch",
        restricted: None, // watched by the guard: see the tests of abuse
        isolated: Some(&[Scratch]),
        run: |f| {
            let (most, each) = (f.scratch_bytes, f.file_bytes);
            let files = most / each + 2;
            let all = (0..files).all(|n| write_bytes(Path::new(&format!("fill-{n}")), each));
            match all {
                true => Tried::Reached("wrote more than the limit".to_owned()),
                false => Tried::Held("full".to_owned()),
            }
        },
    },
];

/// Whether that much memory can be had and written to.
fn touch(bytes: usize) -> bool {
    let chunk = vec![1; 1 << 20];
    let mut held: Vec<u8> = Vec::new();
    if held.try_reserve_exact(bytes).is_err() {
        return false;
    }
    while held.len() + chunk.len() <= bytes {
        held.extend_from_slice(&chunk);
    }
    held.last() == Some(&1)
}

/// Holds a bit more than `all` in files without a name, half of it in another process: each has too few descriptors for
/// all of it.
fn hold_in_two_processes(each: u64, all: u64) -> bool {
    let count = all / each / 2 + 4;
    let (Ok((hold, held)), Ok((done_there, done))) = (rustix::pipe::pipe(), rustix::pipe::pipe())
    else {
        return false;
    };
    match sys::fork(0) {
        Err(_) => false,
        Ok(Side::Child) => {
            drop((hold, done));
            let files = memory_files(count, each);
            let answer = if files.is_some() { [1] } else { [0] };
            let _said = rustix::io::write(&held, &answer);
            let _until_done = rustix::io::read(&done_there, &mut [0; 1]);
            std::process::exit(0)
        }
        Ok(Side::Parent(_)) => {
            drop((held, done_there));
            let mut answer = [0];
            let _said = rustix::io::read(&hold, &mut answer);
            let both = answer == [1] && memory_files(count, each).is_some();
            drop(done);
            both
        }
    }
}

fn memory_files(count: u64, bytes: u64) -> Option<Vec<File>> {
    let chunk = vec![7; usize::try_from(bytes).ok()?];
    let make = |_| {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::memfd_create("probe", flags).ok()?);
        file.write_all(&chunk).ok()?;
        Some(file)
    };
    (0..count).map(make).collect()
}

fn write_bytes(path: &Path, bytes: u64) -> bool {
    let Ok(mut file) = File::create(path) else {
        return false;
    };
    let chunk = vec![7; 65536];
    (0..bytes.div_ceil(65536)).all(|_| file.write_all(&chunk).is_ok())
}

/// Starts processes that live as long as this one; how many came about.
fn fork_many(most: u64) -> u64 {
    let Ok((wait, hold)) = rustix::pipe::pipe() else {
        return 0;
    };
    let mut started = 0;
    while started < most {
        match sys::fork(0) {
            Ok(Side::Child) => {
                drop(hold);
                let _closed = rustix::io::read(&wait, &mut [0; 1]);
                std::process::exit(0)
            }
            Ok(Side::Parent(_)) => started += 1,
            Err(_) => break,
        }
    }
    drop(hold);
    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    started
}

/// Programs that would go on for ever.
pub(super) fn run(name: &str, word: Option<&str>) -> i32 {
    match name {
        "fork-bomb" => loop {
            for _ in 0..FORKS_MAX {
                if matches!(sys::fork(0), Ok(Side::Child)) {
                    break;
                }
            }
        },
        "spin" => loop {
            std::hint::spin_loop();
        },
        "output" => {
            let chunk = [b'x'; 8192];
            while io::stdout().write_all(&chunk).is_ok() {}
        }
        "hog" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            loop {
                held.push(vec![1; 16 << 20]);
            }
        }
        "memory-files" => {
            // Twice as much as the tests give.
            return if hold_in_two_processes(4 << 20, 384 << 20) { 42 } else { 1 };
        }
        "fill" => {
            let folder = std::env::temp_dir();
            for n in 0.. {
                write_bytes(&folder.join(n.to_string()), 1 << 20);
            }
        }
        "leak" => {
            let mut held = Vec::new();
            while let Ok(file) = File::open("/dev/null") {
                held.push(file);
            }
            return i32::try_from(held.len()).unwrap_or(0).min(250);
        }
        "say-to-proxy" => {
            let path = std::env::var_os("HARNESS_PROXY").unwrap_or_default();
            let said = UnixStream::connect(path).and_then(|mut proxy| proxy.write_all(b"hello"));
            return i32::from(said.is_err());
        }
        "zombies" => return zombies(word.and_then(|count| count.parse().ok()).unwrap_or(1)),
        "daemon" => return daemon(word),
        _ => return 2,
    }
    3
}

/// Processes whose parent is gone, one after the other: more than may live at a time, so somebody has to wait for them.
/// Gives 0 when all could be started; where nobody waits it does not end.
fn zombies(count: u64) -> i32 {
    for _ in 0..count {
        match fork_when_possible() {
            Side::Child => {
                fork_when_possible();
                std::process::exit(0);
            }
            Side::Parent(pid) => {
                let options = rustix::process::WaitOptions::empty();
                if rustix::process::waitpid(Some(pid), options).is_err() {
                    return 1;
                }
            }
        }
    }
    0
}

fn fork_when_possible() -> Side {
    loop {
        match sys::fork(0) {
            Ok(side) => return side,
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Starts a process that nobody waits for in a session of its own, and ends. It touches the file of the name it was
/// given over and over.
fn daemon(beat: Option<&str>) -> i32 {
    let Some(beat) = beat else {
        return 2;
    };
    match sys::fork(0) {
        Ok(Side::Child) => {
            // Whether it may or not, it goes on.
            let _left = rustix::process::setsid();
            match sys::fork(0) {
                Ok(Side::Child) => beat_for_ever(beat),
                _ => std::process::exit(0),
            }
        }
        Ok(Side::Parent(pid)) => {
            // It has done what it can to get away before this process, and with it the sandbox, ends.
            let options = rustix::process::WaitOptions::empty();
            i32::from(rustix::process::waitpid(Some(pid), options).is_err())
        }
        Err(_) => 1,
    }
}

fn beat_for_ever(beat: &str) -> ! {
    let began = Instant::now();
    loop {
        let since = began.elapsed().as_millis().to_string();
        fs::write(beat, since).unwrap_or(());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
