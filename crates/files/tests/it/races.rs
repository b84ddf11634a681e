use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Stdio},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use files::{Error, Expect, Hash};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{Ground, Over, left, text};

#[test]
fn of_writers_that_expect_the_same_exactly_one_wins_each_round() {
    const WRITERS: usize = 6;
    for which in 0..2 {
        let ground = Ground::new();
        ground.put("a", "start");
        let root = &ground.roots()[which];
        let barrier = Barrier::new(WRITERS);
        for round in 0..60 {
            let expect = Expect::Hash(Hash::of(ground.get("a").as_bytes()));
            let won: Vec<String> = thread::scope(|scope| {
                let write = |writer: usize| {
                    let content = format!("round {round} writer {writer}");
                    barrier.wait();
                    match root.write("a", content.as_bytes(), expect) {
                        Ok(_) => Some(content),
                        Err(Error::Conflict { .. }) => None,
                        Err(error) => panic!("{error}"),
                    }
                };
                let writers: Vec<_> =
                    (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
                writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect()
            });
            assert_eq!(won, [ground.get("a")], "round {round}");
        }
        assert_eq!(left(&ground.path()), 0);
    }
}

#[test]
fn of_creators_removers_and_movers_exactly_one_wins_each_round() {
    const OTHERS: usize = 4;
    let ground = Ground::new();
    let root = &ground.root();
    let barrier = Barrier::new(OTHERS);
    let wins = |each: &(dyn Fn(usize) -> Result<(), Error> + Sync)| -> usize {
        let barrier = &barrier;
        thread::scope(|scope| {
            let run = |other: usize| {
                barrier.wait();
                usize::from(each(other).is_ok())
            };
            let others: Vec<_> = (0..OTHERS).map(|other| scope.spawn(move || run(other))).collect();
            others.into_iter().map(|other| other.join().unwrap()).sum()
        })
    };
    for round in 0..40 {
        assert_eq!(wins(&|_| root.make_folder("folder")), 1, "round {round}");
        let create = |other: usize| {
            root.write("a", other.to_string().as_bytes(), Expect::Absent).map(|_| ())
        };
        assert_eq!(wins(&create), 1, "round {round}");
        assert_eq!(wins(&|other| root.move_to("a", &format!("folder/{other}"), Expect::Any)), 1);
        let name = fs::read_dir(ground.path().join("folder")).unwrap().next().unwrap().unwrap();
        let path = format!("folder/{}", name.file_name().to_str().unwrap());
        assert_eq!(wins(&|_| root.remove(&path, Expect::Any)), 1, "round {round}");
        assert_eq!(wins(&|_| root.remove("folder", Expect::Any)), 1, "round {round}");
    }
}

#[test]
fn no_update_of_any_process_is_lost() {
    const PROCESSES: usize = 4;
    const TIMES: usize = 60;
    let ground = Ground::new();
    ground.put("count", "0");
    let processes: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_files-writer"))
                .args(["count", ground.path().to_str().unwrap(), "count", &TIMES.to_string()])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for process in processes {
        let done = process.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
    assert_eq!(ground.get("count"), (PROCESSES * TIMES).to_string());
    assert_eq!(left(&ground.path()), 0);
}

/// Waits for a moment that differs from number to number, so that two threads meet at every point of what they do.
fn wait(number: usize, most_us: usize) {
    let wait = Duration::from_micros((number.wrapping_mul(2_654_435_761) % most_us) as u64);
    let began = Instant::now();
    while began.elapsed() < wait {
        std::hint::spin_loop();
    }
}

/// Somebody who knows nothing of our locks exchanges the file all the time, and keeps what comes out. It is what they
/// put there last, or it was written by us over exactly that.
#[test]
fn what_others_put_in_place_of_a_file_is_never_overwritten_unseen() {
    const OTHERS: usize = 4_000;
    let ground = Ground::new();
    ground.put("a", "other 0");
    let root = &ground.root();
    let is_over = AtomicBool::new(false);
    let mut over: BTreeMap<String, String> = BTreeMap::new();
    let mut tangled = 0;
    let mut out: Vec<String> = thread::scope(|scope| {
        let others = scope.spawn(|| {
            let _over = Over(&is_over);
            let (theirs, path) = (ground.path().join("theirs"), ground.path().join("a"));
            let exchange = |number: usize| {
                fs::write(&theirs, format!("other {number}")).unwrap();
                wait(number, 150);
                renameat_with(CWD, &theirs, CWD, &path, RenameFlags::EXCHANGE).unwrap();
                fs::read_to_string(&theirs).unwrap()
            };
            (1..=OTHERS).map(exchange).collect()
        });
        let mut number = 0;
        while !is_over.load(Relaxed) {
            let before = text(root, "a").unwrap();
            let content = format!("ours {number}");
            number += 1;
            match root.write("a", content.as_bytes(), Expect::Hash(Hash::of(before.as_bytes()))) {
                Ok(_) => {
                    over.insert(content, before);
                }
                Err(Error::Tangled { kept, .. }) => {
                    assert!(ground.get(&kept).starts_with("other"));
                    tangled += 1;
                }
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        others.join().unwrap()
    });
    out.push(ground.get("a"));
    let mut lost = 0; // What came out that should not have been there.
    for (number, mut seen) in out.iter().enumerate() {
        while let Some(before) = over.get(seen) {
            seen = before;
        }
        lost += usize::from(*seen != format!("other {number}"));
    }
    println!("{} of our writes and {OTHERS} of others, {tangled} tangled", over.len());
    assert!(!over.is_empty());
    // A tangle is at most three surprises: what we took back, and twice what was kept for them.
    assert!(lost <= 3 * tangled, "{lost} surprises in {tangled} tangles");
    assert_eq!(left(&ground.path()), 0);
}

/// Each content that somebody else put there comes out to them again, or was removed by us who had read exactly that.
#[test]
fn only_what_was_expected_is_removed_or_moved() {
    const OTHERS: usize = 600;
    // So much that comparing takes a while, in which others come.
    let padding = ".".repeat(100_000);
    let name = |content: &str| content.trim_end_matches('.').to_owned();
    let ground = Ground::new();
    let root = &ground.root();
    let (theirs, path) = (ground.path().join("theirs"), ground.path().join("a"));
    fs::write(&path, format!("other 0{padding}")).unwrap();
    let is_over = AtomicBool::new(false);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut removed = 0;
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            let _over = Over(&is_over);
            let mut out = Vec::new();
            for number in 1..=OTHERS {
                fs::write(&theirs, format!("other {number}{padding}")).unwrap();
                wait(number, 500);
                while renameat_with(CWD, &theirs, CWD, &path, RenameFlags::EXCHANGE).is_err() {
                    let put = renameat_with(CWD, &theirs, CWD, &path, RenameFlags::NOREPLACE);
                    if put.is_ok() {
                        break;
                    }
                }
                out.extend(fs::read_to_string(&theirs).map(|content| name(&content)));
            }
            out
        });
        while !is_over.load(Relaxed) {
            let Ok(before) = text(root, "a") else { continue };
            let expect = Expect::Hash(Hash::of(before.as_bytes()));
            if removed % 2 == 0 {
                match root.remove("a", expect) {
                    Ok(()) => {}
                    Err(Error::Tangled { kept, .. }) => {
                        seen.insert(name(&ground.get(&kept)));
                        continue;
                    }
                    Err(_) => continue,
                }
            } else if root.move_to("a", "moved", expect).is_ok() {
                assert_eq!(ground.get("moved"), before);
                fs::remove_file(ground.path().join("moved")).unwrap();
            } else {
                // A tangle leaves it where it went.
                seen.extend(
                    fs::read_to_string(ground.path().join("moved")).map(|content| name(&content)),
                );
                fs::remove_file(ground.path().join("moved")).unwrap_or_default();
                continue;
            }
            seen.insert(name(&before));
            removed += 1;
        }
        seen.extend(others.join().unwrap());
    });
    seen.extend(fs::read_to_string(&path).map(|content| name(&content)));
    let lost: Vec<String> = (0..=OTHERS)
        .map(|number| format!("other {number}"))
        .filter(|one| !seen.contains(one))
        .collect();
    assert!(lost.is_empty(), "{lost:?} lost of {removed} removed");
    assert!(removed > 0);
}

#[test]
fn a_file_that_others_make_first_is_not_replaced() {
    let ground = Ground::new();
    let root = &ground.root();
    let path = &ground.path().join("a");
    ground.put("theirs", "theirs");
    let barrier = &Barrier::new(2);
    let (mut ours, mut others) = (0, 0);
    for round in 0..1_500 {
        let is_theirs = thread::scope(|scope| {
            let theirs = scope.spawn(|| {
                barrier.wait();
                wait(round, 120);
                fs::hard_link(ground.path().join("theirs"), path).is_ok()
            });
            barrier.wait();
            let is_ours = root.write("a", b"ours", Expect::Absent).is_ok();
            let is_theirs = theirs.join().unwrap();
            assert_ne!(is_ours, is_theirs, "round {round}");
            is_theirs
        });
        let wanted = if is_theirs { "theirs" } else { "ours" };
        assert_eq!(ground.get("a"), wanted, "round {round}");
        fs::remove_file(path).unwrap();
        (ours, others) = if is_theirs { (ours, others + 1) } else { (ours + 1, others) };
    }
    assert!(ours > 0 && others > 0, "{ours} were ours, {others} were not");
}

#[test]
fn readers_see_whole_contents_and_never_nothing() {
    let ground = Ground::new();
    let contents = ["a".repeat(100_000), "b".repeat(150_000)];
    ground.put("a", &contents[0]);
    let root = &ground.root();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&is_over);
            for round in 0..400 {
                root.write("a", contents[round % 2].as_bytes(), Expect::Any).unwrap();
            }
        });
        while !is_over.load(Relaxed) {
            assert!(contents.contains(&text(root, "a").unwrap()));
        }
    });
}

#[test]
fn a_folder_that_somebody_locks_does_not_hang_a_sweep() {
    let ground = Ground::new();
    ground.put("sub/.harness-files-00", "left");
    ground.put(".harness-files-01", "left");
    let held = fs::File::open(ground.path().join("sub")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let swept = ground.root().sweep().unwrap();
    assert_eq!((swept.removed, swept.skipped), (1, 1));
    drop(held);
    let swept = ground.root().sweep().unwrap();
    assert_eq!((swept.removed, swept.skipped), (1, 0));
}
