//! Writers that are killed, and disks that are full.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Ground, left};

fn writer() -> &'static str {
    env!("CARGO_BIN_EXE_files-writer")
}

#[test]
fn a_writer_that_is_killed_leaves_one_of_the_two_contents_and_at_most_one_file_to_sweep() {
    const KILLS: u64 = 200;
    const BYTES: usize = 300_000;
    let ground = Ground::new();
    let root = ground.root();
    let (mut swept, mut seen) = (0, [0, 0]);
    for kill in 0..KILLS {
        let mut child = Command::new(writer())
            .args(["alternate", ground.path().to_str().unwrap(), "a", &BYTES.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        // Spread over more than one write, without a pattern of its own.
        let wait = Duration::from_micros(kill.wrapping_mul(2_654_435_761) % 2_500);
        let began = Instant::now();
        while began.elapsed() < wait {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let found = std::fs::read(ground.path().join("a")).unwrap_or_default();
        if !found.is_empty() {
            assert_eq!(found.len(), BYTES, "kill {kill}");
            assert!(found.iter().all(|byte| *byte == found[0]), "kill {kill}");
            seen[usize::from(found[0] == b'b')] += 1;
        } else {
            assert!(!ground.path().join("a").exists(), "kill {kill}: it is empty");
            assert!(seen == [0, 0], "kill {kill}: it is gone");
        }
        assert!(left(&ground.path()) <= 1, "kill {kill}");
        swept += root.sweep().unwrap().removed;
        assert_eq!(left(&ground.path()), 0);
    }
    println!("{swept} files swept after {KILLS} kills, contents {seen:?}");
    assert!(swept > 0, "no writer was killed in the middle");
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let ground = Ground::new();
    let path = ground.path();
    let path = path.to_str().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=256k files {path} && exec {} grow {path} a 1000000",
        writer()
    );
    let done = Command::new("unshare").args(["-m", "sh", "-c", &script]).output();
    match done {
        Ok(done) if done.status.success() => {
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.starts_with("files.io: "), "{said}");
            assert!(said.contains("No space left") && said.ends_with("intact\n0 left\n"), "{said}");
        }
        Ok(done) if done.stdout.is_empty() => {
            let said = String::from_utf8_lossy(&done.stderr);
            println!("skipped: no file system can be mounted here: {said}");
        }
        Ok(done) => panic!("{}", String::from_utf8_lossy(&done.stdout)),
        Err(error) => println!("skipped: no namespaces here: {error}"),
    }
}

#[test]
fn a_file_that_may_not_grow_leaves_what_was_there() {
    let ground = Ground::new();
    let path = ground.path();
    let path = path.to_str().unwrap();
    // Blocks of 512 bytes. The signal is ignored, so that the write fails instead of ending the process.
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {} grow {path} a 1000000", writer());
    let done = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.starts_with("files.io: ") && said.ends_with("intact\n0 left\n"), "{said}");
    // Where it is not ignored the process ends in the middle of the write.
    let script = format!("ulimit -f 8; exec {} grow {path} b 1000000", writer());
    let done = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(!done.status.success());
    assert_eq!(ground.get("b"), "small and whole");
    assert_eq!(ground.root().sweep().unwrap().removed, 1);
}
