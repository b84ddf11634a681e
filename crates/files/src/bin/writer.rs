//! What the tests kill, fill up and race against: a writer in a process of its own.
#![allow(clippy::print_stdout, reason = "the tests read it")]

use std::{io::Write, process::ExitCode};

use files::{Content, Error, Expect, Hash, Range, Root};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["alternate", root, path, bytes] => alternate(root, path, bytes),
        ["count", root, path, times] => count(root, path, times),
        ["grow", root, path, bytes] => grow(root, path, bytes),
        _ => Err("alternate, count or grow, with a root, a path and a number".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn said(error: Error) -> String {
    format!("{}: {error}", error.code())
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

/// Writes one of two contents after the other until it is killed, removing the file now and then.
fn alternate(root: &str, path: &str, bytes: &str) -> Result<(), String> {
    let root = Root::open(root).map_err(said)?;
    let bytes = number(bytes)?;
    let contents = [vec![b'a'; bytes], vec![b'b'; bytes]];
    println!("ready");
    std::io::stdout().flush().map_err(|error| error.to_string())?;
    loop {
        for content in &contents {
            root.write(path, content, Expect::Any).map_err(said)?;
        }
    }
}

/// Adds one to the number in a file, so many times, whoever else does.
fn count(root: &str, path: &str, times: &str) -> Result<(), String> {
    let root = Root::open(root).map_err(said)?;
    for _ in 0..number(times)? {
        loop {
            let part = root.read(path, Range::default()).map_err(said)?;
            let Content::Text(text) = part.content else { return Err("no text".to_owned()) };
            let next = number(text.trim())? + 1;
            let expect = part.hash.map_or(Expect::Absent, Expect::Hash);
            match root.write(path, next.to_string().as_bytes(), expect) {
                Ok(_) => break,
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(said(error)),
            }
        }
    }
    Ok(())
}

/// Writes something small, then something so large that there is no room for it; says what is there then.
fn grow(root: &str, path: &str, bytes: &str) -> Result<(), String> {
    let root = Root::open(root).map_err(said)?;
    let small = b"small and whole";
    root.write(path, small, Expect::Any).map_err(said)?;
    let large = vec![b'x'; number(bytes)?];
    let refused = match root.write(path, &large, Expect::Hash(Hash::of(small))) {
        Ok(_) => return Err("it was written".to_owned()),
        Err(error) => said(error),
    };
    let part = root.read(path, Range::default()).map_err(said)?;
    println!("{refused}");
    println!("{}", if part.hash == Some(Hash::of(small)) { "intact" } else { "damaged" });
    println!("{} left", root.sweep().map_err(said)?.removed);
    Ok(())
}
