//! A search over 10,000 files, against ripgrep where it is installed, else against a walk of its own libraries.

use std::{
    fmt::Write as _,
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use files::{MATCHES_MAX, Pattern, Root, Search};
use grep_regex::RegexMatcher;
use grep_searcher::{Searcher, sinks::UTF8};
use ignore::{WalkBuilder, WalkState};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, millis, wall},
};

/// How many files there are.
const FILES: usize = 10_000;

/// Lines of each.
const LINES: usize = 60;

/// How much longer than ripgrep it may take.
const RATIO: f64 = 1.3;

pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    write_files(folder.path(), options.pick(FILES, 500))?;
    let root = Root::open(folder.path()).doing("open the folder")?;
    let search = Search { matches: MATCHES_MAX, ..Search::default() };
    for (name, pattern) in [("a rare word", "needle"), ("an absent pattern", "no_such_[0-9]{4}")] {
        let (mut value, mut floor) = (Vec::new(), Vec::new());
        let mut floor_name = "ripgrep";
        let regex = Pattern::Regex(pattern.to_owned());
        for _ in 0..options.pick(15, 3) {
            let (took, found) = wall(|| root.search(&regex, &search));
            found.doing("search")?;
            value.push(millis(took));
            floor.push(match ripgrep(folder.path(), pattern)? {
                Some(took) => took,
                None => {
                    floor_name = "a walk of ripgrep's libraries";
                    walk(folder.path(), pattern)?
                }
            });
        }
        let floor = Floor { name: floor_name, value: Spread::of(floor) };
        let name = format!("search for {name} in {} files", options.pick(FILES, 500));
        let value = (Spread::of(value), "ms");
        report.add(Figure::new(name, value, Some(floor), Goal::RatioAtMost(RATIO)));
    }
    Ok(())
}

fn write_files(folder: &Path, files: usize) -> Result<(), Broken> {
    for file in 0..files {
        let place = folder.join(format!("part{}/mod{}", file % 10, file % 200));
        fs::create_dir_all(&place).doing("make a folder")?;
        let mut text = String::new();
        for line in 0..LINES {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "fn item_{file}_{line}(value: u64) -> u64 {{ value + {line} }}");
        }
        if file % 100 == 0 {
            text.push_str("// here is the needle\n");
        }
        fs::write(place.join(format!("file{file}.rs")), text).doing("write a file")?;
    }
    fs::write(folder.join(".gitignore"), "target/\n*.log\n").doing("write a file")
}

/// How long `rg` takes, in ms; none where it is not installed.
fn ripgrep(folder: &Path, pattern: &str) -> Result<Option<f64>, Broken> {
    let mut command = Command::new("rg");
    command.args(["--no-require-git", "--line-number", pattern]).arg(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (took, status) = wall(|| command.status());
    match status {
        Ok(status) if matches!(status.code(), Some(0 | 1)) => Ok(Some(millis(took))),
        Ok(status) => Err(Broken::new("search with rg", status)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Broken::new("search with rg", error)),
    }
}

/// How long a search takes that its libraries make with as many threads as they like, in ms.
fn walk(folder: &Path, pattern: &str) -> Result<f64, Broken> {
    let matcher = RegexMatcher::new(pattern).doing("compile the pattern")?;
    let (took, ()) = wall(|| {
        let walk = WalkBuilder::new(folder).require_git(false).threads(0).build_parallel();
        walk.run(|| {
            let (matcher, mut searcher) = (matcher.clone(), Searcher::new());
            Box::new(move |entry| {
                let file = entry.ok().filter(|e| e.file_type().is_some_and(|kind| kind.is_file()));
                if let Some(file) = file {
                    let count = UTF8(|line, _| Ok(std::hint::black_box(line) > 0));
                    drop(searcher.search_path(&matcher, file.path(), count));
                }
                WalkState::Continue
            })
        });
    });
    Ok(millis(took))
}
