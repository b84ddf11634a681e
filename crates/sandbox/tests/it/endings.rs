//! How programs end, and that nothing is left, whoever is killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process,
    time::{Duration, Instant},
};

use sandbox::{Command, End, Error, Limit, Output, Profile, Sandbox, Tier};

use super::{as_ordinary_user, folder, local, reachable_launcher, sh, tiers};

/// Longest time that something may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something to be so; what is waited for has no event of its own.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn lives(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // A zombie has ended; somebody else has to wait for it.
    !stat.is_empty() && !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z")
}

/// Control groups of sandboxes.
fn groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("harness-sandbox-") {
                found.push(entry.path().display().to_string());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn statuses_and_signals_are_told_apart() {
    for tier in tiers() {
        let profile = Profile::default();
        assert_eq!(sh(tier, &profile, "exit 7").outcome.end, End::Exit(7));
        assert_eq!(sh(tier, &profile, "kill -TERM $$").outcome.end, End::Signal(15));
        let done = sh(tier, &profile, "echo out; echo err >&2");
        assert!(done.outcome.is_success());
        assert_eq!((done.output.text(), done.errors.text()), ("out\n".into(), "err\n".into()));
    }
}

#[test]
fn the_deadline_ends_all_of_it() {
    for tier in tiers() {
        let mut profile = Profile::default();
        profile.limits.deadline_ms = 300;
        let script = "trap '' TERM INT HUP; sleep 600 & sleep 600 & wait";
        let done = sh(tier, &profile, script);
        assert_eq!(done.outcome.limits, [Limit::Deadline]);
        assert_eq!(done.outcome.end, End::Signal(9));
        assert!(!done.outcome.survivors);
        assert!(done.outcome.wall_ms >= 300);
    }
}

#[test]
fn a_caller_can_have_it_killed_or_just_let_go_of_it() {
    for tier in tiers() {
        let spawn = || {
            let command = Command::new("/bin/sh").arguments(["-c", "sleep 600 & sleep 600"]);
            local(tier).spawn(&Profile::default(), command).unwrap()
        };
        let child = spawn();
        child.kill();
        let outcome = child.wait().unwrap().outcome;
        assert!(outcome.asked && !outcome.is_success() && !outcome.survivors, "{outcome:?}");
        let child = spawn();
        let (program, guard) = (child.id(), i32::try_from(child.guard_id()).unwrap());
        assert!(lives(program) && lives(guard));
        drop(child);
        assert!(!lives(program) && !lives(guard));
    }
}

#[test]
fn an_outcome_can_be_waited_for_with_others() {
    use rustix::event::{PollFd, PollFlags, poll};
    for tier in tiers() {
        let child = local(tier).spawn(&Profile::default(), Command::new("/usr/bin/true")).unwrap();
        let mut polled = [PollFd::new(&child, PollFlags::IN)];
        assert_eq!(poll(&mut polled, None).unwrap(), 1);
        assert!(child.wait().unwrap().outcome.is_success());
    }
}

#[test]
fn output_can_go_to_a_file() {
    let folder = folder();
    for tier in tiers() {
        let file = fs::File::create(folder.path().join("out")).unwrap();
        let command = Command::new("/bin/echo").arguments(["there"]);
        let command = command.output(Output::To(file.into()));
        let done = super::run(tier, &Profile::default(), command);
        assert!(done.output.bytes.is_empty());
        assert_eq!(fs::read_to_string(folder.path().join("out")).unwrap(), "there\n");
    }
}

#[test]
fn when_the_guard_is_killed_the_program_dies_and_the_caller_is_told() {
    for tier in tiers() {
        let command = Command::new("/bin/sh").arguments(["-c", "sleep 600 & sleep 600"]);
        let child = local(tier).spawn(&Profile::default(), command).unwrap();
        let program = child.id();
        let guard = i32::try_from(child.guard_id()).unwrap();
        let pid = rustix::process::Pid::from_raw(guard).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert!(matches!(child.wait().unwrap_err(), Error::GuardLost), "{tier:?}");
        until("the program is gone", || !lives(program));
    }
}

/// `kill -9` on the supervisor: the guard sees its socket close, kills everything and clears up.
fn kill_supervisor(mut supervisor: process::Command, tier: Tier, folder: &Path) {
    let beat = folder.join("beats/beat");
    let _fresh = fs::remove_file(&beat);
    let tmp = folder.join("tmp");
    let arguments = ["supervise", tier.name(), beat.to_str().unwrap()];
    let mut supervisor = supervisor
        .args(arguments)
        .env("TMPDIR", &tmp)
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ids: Vec<i32> = line.split_whitespace().map(|id| id.parse().expect(&line)).collect();
    until("it writes", || beat.exists());
    assert!(ids.iter().all(|id| lives(*id)), "{line}");
    let scratch = || {
        let entries = fs::read_dir(&tmp).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.contains("-ground-")).collect::<Vec<_>>()
    };
    assert_eq!(scratch().is_empty(), tier == Tier::Isolated);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    until("all of it is gone", || !ids.iter().any(|id| lives(*id)));
    assert_eq!(scratch(), Vec::<String>::new());
    // Nobody is left to write it again.
    until("nobody writes", || {
        fs::remove_file(&beat).unwrap_or(());
        std::thread::park_timeout(Duration::from_millis(50));
        !beat.exists()
    });
}

#[test]
fn nothing_is_left_when_the_supervisor_is_killed() {
    let folder = folder();
    let copy = reachable_launcher(folder.path());
    for name in ["beats", "tmp"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        fs::set_permissions(folder.path().join(name), all).unwrap();
    }
    for tier in tiers() {
        kill_supervisor(process::Command::new(&copy), tier, folder.path());
        let ordinary = as_ordinary_user(&copy).into_iter();
        ordinary.for_each(|ordinary| kill_supervisor(ordinary, tier, folder.path()));
    }
}

/// Nobody is left to kill anything: the first process of the namespace dies with the guard, and the rest with it.
#[test]
fn in_the_isolated_tier_nothing_runs_on_when_supervisor_and_guard_are_killed_at_once() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let folder = folder();
    let copy = reachable_launcher(folder.path());
    let beat = folder.path().join("beat");
    let mut supervisor = process::Command::new(&copy)
        .args(["supervise", "isolated", beat.to_str().unwrap()])
        .env("TMPDIR", folder.path())
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ids: Vec<i32> = line.split_whitespace().map(|id| id.parse().expect(&line)).collect();
    until("it writes", || beat.exists());
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", ids[1])).unwrap();
    for id in [i32::try_from(supervisor.id()).unwrap(), ids[0]] {
        let pid = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    supervisor.wait().unwrap();
    until("all of it is gone", || !ids.iter().any(|id| lives(*id)));
    // This is the one case that leaves its groups, emptied.
    for line in groups.lines().filter(|line| line.contains("harness-sandbox-")) {
        let mut parts = line.splitn(3, ':').skip(1);
        let group = format!("/sys/fs/cgroup/{}{}", parts.next().unwrap(), parts.next().unwrap());
        until("the group is empty", || {
            fs::remove_dir(&group).is_ok() || !Path::new(&group).exists()
        });
    }
}

#[test]
fn groups_of_sandboxes_are_gone_with_them() {
    for tier in tiers() {
        let child = local(tier).spawn(&Profile::default(), Command::new("/usr/bin/true")).unwrap();
        assert!(child.wait().unwrap().outcome.is_success());
    }
    // Other tests run beside this one; what is there now goes as they end.
    let known = groups();
    until("what was there is gone", || {
        let now = groups();
        known.iter().all(|path| !now.contains(path))
    });
}
