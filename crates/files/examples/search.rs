//! What a search costs: 10,000 files of source-like text in 200 folders, and three patterns. Prints medians of 15 in
//! milliseconds, and those of `rg` on the same files where it is installed, both by turns so that a busy machine is
//! busy for both.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that is run by hand"
)]

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use files::{MATCHES_MAX, Pattern, Root, Search};

const FILES: usize = 10_000;
const ROUNDS: usize = 15;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..FILES {
        let folder = dir.path().join(format!("part{}/mod{}", file % 10, file % 200));
        fs::create_dir_all(&folder).unwrap();
        let mut text = String::new();
        for line in 0..60 {
            text.push_str(&format!(
                "fn item_{file}_{line}(value: u64) -> u64 {{ value + {line} }}\n"
            ));
        }
        if file % 100 == 0 {
            text.push_str("// here is the needle\n");
        }
        fs::write(folder.join(format!("file{file}.rs")), text).unwrap();
    }
    fs::write(dir.path().join(".gitignore"), "target/\n*.log\n").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let search = Search { matches: MATCHES_MAX, ..Search::default() };
    for (name, pattern) in [
        ("rare", Pattern::Literal("needle".to_owned())),
        ("regex", Pattern::Regex(r"the \w+dle$".to_owned())),
        ("absent", Pattern::Regex(r"no_such_[0-9]{4}".to_owned())),
    ] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut matches = 0;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            matches = root.search(&pattern, &search).unwrap().matches;
            ours.push(began.elapsed());
            theirs.extend(rg(dir.path(), &pattern));
        }
        let rg = median(&mut theirs).map_or("not installed".to_owned(), |ms| format!("{ms:.1} ms"));
        println!("{name:<7} {matches:>4} matches  {:.1} ms  rg {rg}", median(&mut ours).unwrap());
    }
}

fn rg(folder: &std::path::Path, pattern: &Pattern) -> Option<Duration> {
    let (how, text) = match pattern {
        Pattern::Regex(text) => ("--no-fixed-strings", text),
        Pattern::Literal(text) => ("--fixed-strings", text),
    };
    let began = Instant::now();
    let mut command = Command::new("rg");
    command.args(["--no-require-git", "--line-number", how, text]).arg(folder);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    assert!(matches!(status.code(), Some(0 | 1)), "rg failed: {status}");
    Some(began.elapsed())
}

fn median(times: &mut [Duration]) -> Option<f64> {
    times.sort();
    times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1_000.0)
}
