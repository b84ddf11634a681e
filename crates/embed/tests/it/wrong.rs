//! Programs that must not compile, each with the words it is refused in (C033): attributes on what they do not fit
//! (C089), and ways to make a `Trusted` of something a tool or a model said (C155).
//!
//! They are compiled against what this test is linked with, which lies beside it: nothing is built a second time.
//! `WRONG_WRITE=1` writes the words down again; read the difference before it is kept.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// What programs may name, apart from the standard library.
const CRATES: [&str; 2] = ["embed", "serde_json"];

#[test]
fn wrong_use_does_not_compile_and_says_why() {
    let (libraries, refused) = fitting();
    assert_eq!(refused, "", "no libraries beside that fit together");
    let differing: Vec<String> =
        programs().iter().filter_map(|program| differs(program, &libraries)).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

/// The same compiler takes what is right: a library that is not found would refuse every program.
#[test]
fn right_use_compiles() {
    assert_eq!(fitting().1, "");
}

/// What is right.
const RIGHT: &str = "use embed::tool;\n/// The weather.\n#[tool(effect = \"read\")]\n\
                     async fn weather(city: String) -> Result<serde_json::Value, String> { Ok(city.into()) }\n\
                     fn main() {}\n";

/// The library that was built last, with the one of those beside it that it was built with, which builds of other features
/// may have come after; and why the last that was tried takes not even what is right.
fn fitting() -> ([PathBuf; 2], String) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("right.rs");
    fs::write(&program, RIGHT).unwrap();
    let [embed, values] = CRATES.map(newest_first);
    let mut tried = values.into_iter().map(|values| [embed[0].clone(), values]).map(|libraries| {
        let output = compile(&program, &libraries);
        let refused = match output.status.success() {
            true => String::new(),
            false => String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        (libraries, refused)
    });
    let first = tried.next().unwrap();
    match first.1.is_empty() {
        true => first,
        false => tried.find(|(_, refused)| refused.is_empty()).unwrap_or(first),
    }
}

fn programs() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir("tests/wrong").unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    found.sort();
    assert!(found.len() > 20, "programs of tests/wrong: {found:?}");
    found
}

fn differs(program: &Path, libraries: &[PathBuf; 2]) -> Option<String> {
    let name = program.display();
    let output = compile(program, libraries);
    if output.status.success() {
        return Some(format!("{name} compiles, and must not"));
    }
    let said = spoken(program, &String::from_utf8(output.stderr).unwrap());
    let kept = program.with_extension("txt");
    if env::var_os("WRONG_WRITE").is_some() {
        fs::write(&kept, &said).unwrap();
    }
    let asked = fs::read_to_string(&kept).unwrap_or_default();
    (said != asked)
        .then(|| format!("{name} is refused in other words.\n---- asked\n{asked}---- said\n{said}"))
}

fn compile(program: &Path, libraries: &[PathBuf; 2]) -> Output {
    let scratch = tempfile::tempdir().unwrap();
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--error-format=json"]);
    rustc
        .arg("--out-dir")
        .arg(scratch.path())
        .arg("-L")
        .arg(format!("dependency={}", beside().display()));
    for (name, library) in CRATES.iter().zip(libraries) {
        rustc.arg("--extern").arg(format!("{name}={}", library.display()));
    }
    rustc.arg(program).output().unwrap()
}

/// Where the test lies, and every library it is linked with.
fn beside() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// The libraries of this name, the one that was built last first: builds of other features lie beside each other.
fn newest_first(name: &str) -> Vec<PathBuf> {
    let (start, end) = (format!("lib{name}-"), ".rlib");
    let libraries = fs::read_dir(beside()).unwrap().map(|entry| entry.unwrap().path());
    let named = libraries.filter(|path| {
        let file = path.file_name().unwrap().to_string_lossy();
        file.starts_with(&start) && file.ends_with(end)
    });
    let mut named: Vec<PathBuf> = named.collect();
    named.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().modified().unwrap()));
    assert!(!named.is_empty(), "no {start}*{end} beside this test");
    named
}

/// What the compiler says of the program: each error, where in the program it is, and what is added to it. Where
/// sources of others lie, and how many types it does not list, another machine or another build would say differently.
fn spoken(program: &Path, stderr: &str) -> String {
    let mut said = String::new();
    for line in stderr.lines() {
        let diagnostic: Value = serde_json::from_str(line).unwrap();
        // Without a place: how many errors there were, and where to read about them.
        if !diagnostic["spans"].as_array().unwrap().is_empty() {
            say(&mut said, "", program, &diagnostic);
        }
    }
    said
}

fn say(said: &mut String, indent: &str, program: &Path, diagnostic: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let message = diagnostic["message"].as_str().unwrap();
    if message.starts_with("the full name for the type")
        || message.starts_with("consider using `--verbose`")
    {
        return;
    }
    let message: Vec<&str> = message.lines().filter(|line| !is_count_of_others(line)).collect();
    let code =
        diagnostic["code"]["code"].as_str().map(|code| format!("[{code}]")).unwrap_or_default();
    let after = format!("\n{indent}    ");
    writeln!(said, "{indent}{}{code}: {}", text(&diagnostic["level"]), message.join(&after))
        .unwrap();
    for span in diagnostic["spans"].as_array().unwrap() {
        if Path::new(span["file_name"].as_str().unwrap()) != program {
            continue;
        }
        let (from, to) = (&span["column_start"], &span["column_end"]);
        let line = format!("{indent}  {}:{from}-{to} {}", span["line_start"], text(&span["label"]));
        writeln!(said, "{}", line.trim_end()).unwrap();
    }
    for child in diagnostic["children"].as_array().unwrap() {
        say(said, &format!("{indent}  "), program, child);
    }
}

fn is_count_of_others(line: &str) -> bool {
    line.trim().starts_with("and ") && line.ends_with(" others")
}
