//! Programs that would use everything there is, or never end: contained, with the host as it was (C217: processes, memory,
//! disk, descriptors, processor time, output, and what runs on alone).

use std::fs;

use sandbox::{Child, Command, Control, End, Finished, Limit, Limits, Profile, Sandbox, Tier};

use super::{is_root, local, probe, run, sh, text, tiers, with_probe};

/// What stops what nothing else does. Long against everything that these tests do otherwise.
const DEADLINE_MS: u64 = 2000;

fn limited() -> Profile {
    let limits = Limits {
        memory_bytes: 192 << 20,
        cpu_seconds: 1,
        file_bytes: 8 << 20,
        scratch_bytes: 32 << 20,
        open_files: 64,
        processes: 16,
        deadline_ms: DEADLINE_MS,
        output_bytes: 4096,
    };
    with_probe(Profile { limits, ..Profile::default() })
}

/// Ends by its deadline, and nothing of it is left.
fn runs_into(tier: Tier, profile: &Profile, command: Command, limit: Limit) -> Finished {
    let finished = run(tier, profile, command);
    assert!(finished.outcome.limits.contains(&limit), "{tier:?}: {:?}", finished.outcome);
    assert!(!finished.outcome.survivors, "{tier:?}: {:?}", finished.outcome);
    finished
}

#[test]
fn a_fork_bomb_ends_at_the_deadline() {
    for tier in tiers() {
        let mut profile = limited();
        profile.limits.cpu_seconds = 60;
        runs_into(tier, &profile, probe(&["fork-bomb"]), Limit::Deadline);
    }
}

#[test]
fn whoever_takes_memory_is_stopped() {
    for tier in tiers() {
        let mut profile = limited();
        profile.limits.deadline_ms = 60_000;
        let finished = run(tier, &profile, probe(&["hog"]));
        assert!(matches!(finished.outcome.end, End::Signal(_)), "{:?}", finished.outcome);
        assert!(!finished.outcome.limits.contains(&Limit::Deadline), "{:?}", finished.outcome);
        assert!(finished.outcome.peak_memory_bytes < 256 << 20, "{:?}", finished.outcome);
    }
}

#[test]
fn whoever_fills_the_disk_is_stopped_or_gets_no_further() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let mut profile = limited();
    profile.limits.cpu_seconds = 60;
    profile.limits.deadline_ms = 60_000;
    runs_into(Tier::Restricted, &profile, probe(&["fill"]), Limit::Scratch);
    profile.limits.deadline_ms = DEADLINE_MS;
    runs_into(Tier::Isolated, &profile, probe(&["fill"]), Limit::Deadline);
    let script = "n=0; while true > /tmp/$n; do n=$((n+1)); done 2> /dev/null; echo $n";
    profile.limits.deadline_ms = 60_000;
    profile.limits.scratch_bytes = 1 << 20;
    let finished = sh(Tier::Isolated, &profile, script);
    let files: u64 = finished.output.text().trim().parse().unwrap();
    assert!((1000..2000).contains(&files), "empty files are counted: {files}");
    profile.limits.scratch_bytes = 32 << 20;
    let script = "head -c 60000000 /dev/zero > /tmp/a; head -c 60000000 /dev/zero > /tmp/b; \
                  stat -c %s /tmp/a /tmp/b";
    profile.limits.file_bytes = 24 << 20;
    let finished = sh(Tier::Isolated, &profile, script);
    let sizes: Vec<u64> = finished.output.text().lines().map(|n| n.parse().unwrap()).collect();
    assert!(sizes.iter().sum::<u64>() <= 32 << 20, "{sizes:?}");
}

#[test]
fn whoever_spins_runs_out_of_processor_time() {
    for tier in tiers() {
        let mut profile = limited();
        profile.limits.deadline_ms = 60_000;
        let finished = runs_into(tier, &profile, probe(&["spin"]), Limit::CpuTime);
        assert_eq!(finished.outcome.end, End::Signal(24), "SIGXCPU");
        assert!(finished.outcome.cpu_ms > 0, "{:?}", finished.outcome);
    }
}

#[test]
fn output_without_end_is_cut_and_counted() {
    for tier in tiers() {
        let mut profile = limited();
        profile.limits.cpu_seconds = 60;
        let finished = runs_into(tier, &profile, probe(&["output"]), Limit::Deadline);
        assert_eq!(finished.output.bytes.len(), 4096);
        assert!(finished.output.dropped > 0);
        assert!(finished.output.text().contains("more bytes were written"));
    }
}

#[test]
fn whoever_keeps_files_open_runs_out_of_them() {
    for tier in tiers() {
        let finished = run(tier, &limited(), probe(&["leak"]));
        // Its own three are the rest.
        assert_eq!(finished.outcome.end, End::Exit(61), "{}", text(&finished));
    }
}

#[test]
fn orphans_are_waited_for() {
    for tier in tiers() {
        let mut profile = limited();
        profile.limits.deadline_ms = 60_000;
        profile.limits.cpu_seconds = 60;
        // Many more than may live at a time.
        let finished = run(tier, &profile, probe(&["zombies", "100"]));
        assert_eq!(finished.outcome.end, End::Exit(0), "{:?}", finished.outcome);
        assert!(!finished.outcome.survivors);
    }
}

#[test]
fn a_daemon_ends_with_the_program_that_started_it() {
    let folder = super::folder();
    let beat = folder.path().join("beat");
    let mut profile = limited();
    profile.limits.deadline_ms = 60_000;
    profile.paths.write = vec![folder.path().to_owned()];
    for tier in tiers() {
        let finished = run(tier, &profile, probe(&["daemon", beat.to_str().unwrap()]));
        assert_eq!(finished.outcome.end, End::Exit(0), "{}", text(&finished));
        assert!(!finished.outcome.survivors);
        // Nobody is left to write it again.
        fs::write(&beat, "").unwrap_or(());
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        assert_eq!(fs::read_to_string(&beat).unwrap(), "", "{tier:?}");
    }
}

/// What shows that the group is what holds a daemon in the restricted tier: one that may leave it stays behind, and is
/// reported.
#[test]
fn a_daemon_that_may_leave_its_group_stays_behind_and_is_reported() {
    if !super::runs(Tier::Restricted) {
        return;
    }
    let folder = super::folder();
    let beat = folder.path().join("beat");
    let mut profile = limited();
    profile.limits.cpu_seconds = 20;
    profile.paths.write = vec![folder.path().to_owned()];
    let loose = local(Tier::Restricted).without(&[Control::Sessions]);
    let command = probe(&["daemon", beat.to_str().unwrap()]);
    let outcome = loose.spawn(&profile, command).and_then(Child::wait).unwrap().outcome;
    let survivor = with_argument(beat.to_str().unwrap()).expect("it goes on");
    let groups = fs::read_to_string(format!("/proc/{survivor}/cgroup")).unwrap();
    let survivor = rustix::process::Pid::from_raw(survivor).unwrap();
    rustix::process::kill_process(survivor, rustix::process::Signal::KILL).unwrap();
    assert!(outcome.survivors, "{outcome:?}");
    // Its groups stayed with it.
    for line in groups.lines().filter(|line| line.contains("harness-sandbox-")) {
        let mut parts = line.splitn(3, ':').skip(1);
        let folder = format!("/sys/fs/cgroup/{}{}", parts.next().unwrap(), parts.next().unwrap());
        let began = std::time::Instant::now();
        while fs::remove_dir(&folder).is_err() && began.elapsed().as_secs() < 30 {
            std::thread::yield_now();
        }
    }
}

/// The process that has this among its arguments.
fn with_argument(argument: &str) -> Option<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find(|number: &i32| {
        let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

#[test]
fn limits_of_processes_hold_without_control_groups_too() {
    let mut profile = limited();
    profile.limits.deadline_ms = 60_000;
    if is_root() {
        // Root is not held to a number of processes; another account is.
        profile.run_as = Some(sandbox::Account { uid: 65533, gid: 65533 });
    }
    for tier in tiers() {
        let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
                      sleep 30 & done; kill %1; echo end";
        let finished = sh(tier, &profile, script);
        assert!(text(&finished).to_lowercase().contains("fork"), "{}", text(&finished));
    }
}

#[test]
fn memory_that_belongs_to_no_address_space_is_held_too() {
    let folder = super::folder();
    let copy = super::reachable_launcher(folder.path());
    let end = |mut driver: std::process::Command, tier: Tier, without: &[&str]| {
        let words = ["abuse", tier.name(), "memory-files"];
        let output = driver.args(words.iter().chain(without)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for tier in tiers() {
        let ours = || Some(std::process::Command::new(&copy));
        let ordinary = || super::as_ordinary_user(&copy);
        for held in [ours(), ordinary()].into_iter().flatten().map(|driver| end(driver, tier, &[]))
        {
            assert!(["Signal(9)\n", "Exit(1)\n"].contains(&held.as_str()), "{tier:?}: {held}");
        }
        for driver in [ours(), ordinary()].into_iter().flatten() {
            assert_eq!(end(driver, tier, &["Memory"]), "Exit(42)\n");
        }
    }
}
