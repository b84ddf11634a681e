use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use files::{Error, Expect, Hash};

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

/// Somebody who knows nothing of our locks replaces the file all the time. Whoever follows what was written back to
/// what it was written over comes to the last content of theirs.
#[test]
fn what_others_put_in_place_of_a_file_is_never_overwritten_unseen() {
    const OTHERS: usize = 3_000;
    let ground = Ground::new();
    ground.put("a", "other 0");
    let root = &ground.root();
    let is_over = AtomicBool::new(false);
    let mut over: BTreeMap<String, String> = BTreeMap::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&is_over);
            for number in 1..=OTHERS {
                fs::write(ground.path().join("theirs"), format!("other {number}")).unwrap();
                fs::rename(ground.path().join("theirs"), ground.path().join("a")).unwrap();
                if number % 4 == 0 {
                    thread::yield_now();
                }
            }
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
                Err(Error::Tangled { kept, .. }) => assert!(ground.get(&kept).starts_with("other")),
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut last = ground.get("a");
    while let Some(before) = over.get(&last) {
        last.clone_from(before);
    }
    assert_eq!(last, format!("other {OTHERS}"));
    assert_eq!(left(&ground.path()), 0);
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
