//! The never-arrows: what no crate and no module may know, read off the manifests and the sources.
//!
//! A new crate needs a line in [`ARROWS`]; a new heavy dependency one in [`LEAVES`]. Widening a line is
//! a decision about the architecture: see ARCHITECTURE.md, and write it down in docs/adr.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Crates that never ship and that nothing that ships may need: they may know everybody.
const DEVELOPMENT: [&str; 3] = ["bench", "fuzz", "sim"];

/// Crate → the crates of ours it may need in what ships.
const ARROWS: [(&str, &[&str]); 25] = [
    ("kernel", &[]),
    ("expr", &[]),
    ("world", &[]),
    ("testkit", &["kernel"]),
    ("planner", &["kernel", "expr"]),
    ("pack", &["kernel", "expr"]),
    ("policy", &["kernel", "shell"]),
    ("receipts", &["kernel"]),
    ("engine", &["kernel"]),
    ("store", &["kernel"]),
    (
        "connect",
        &["kernel", "files", "mcp", "a2a", "acp", "sandbox", "egress", "secrets", "shell", "web"],
    ),
    ("models", &["kernel"]),
    ("macros", &[]),
    ("sandbox", &[]),
    ("files", &[]),
    ("egress", &[]),
    ("web", &["egress"]),
    ("shell", &[]),
    ("secrets", &[]),
    ("openapi", &[]),
    ("mcp", &[]),
    ("a2a", &[]),
    ("acp", &[]),
    (
        "embed",
        &["kernel", "planner", "pack", "policy", "receipts", "engine", "store", "models", "macros"],
    ),
    (
        "harness",
        &[
            "kernel", "expr", "world", "planner", "pack", "policy", "receipts", "engine", "store",
            "connect", "models", "openapi", "mcp", "a2a", "sandbox", "secrets", "shell",
        ],
    ),
];

/// Heavy or telling dependency → the only crates that may need it.
const LEAVES: [(&str, &[&str]); 30] = [
    ("a2a-lf", &["a2a"]),
    ("age", &["secrets"]),
    ("agent-client-protocol", &["acp"]),
    ("anyhow", &["harness"]),
    ("axum", &["harness", "world"]),
    ("cedar-policy", &["policy"]),
    ("chrono", &["a2a"]),
    ("clap", &["harness"]),
    ("ed25519-dalek", &["receipts"]),
    ("flate2", &["web"]),
    ("getrandom", &["engine", "store", "harness"]),
    ("grep-searcher", &["files"]),
    ("hmac", &["connect", "secrets"]),
    ("html5ever", &["web"]),
    ("hyper-rustls", &["models"]),
    ("ignore", &["files"]),
    ("inventory", &["embed"]),
    ("jsonwebtoken", &["harness"]),
    ("landlock", &["sandbox"]),
    ("lettre", &["connect"]),
    ("libc", &["sandbox"]),
    ("reqwest", &["connect", "harness", "mcp"]),
    ("rmcp", &["mcp"]),
    ("rusqlite", &["store", "connect", "world"]),
    ("seccompiler", &["sandbox"]),
    ("syn", &["macros"]),
    ("testkit", &[]),
    (
        "tokio",
        &[
            "engine", "store", "connect", "egress", "web", "mcp", "acp", "models", "world",
            "embed", "harness",
        ],
    ),
    ("tokio-postgres", &["connect"]),
    ("zstd", &["store"]),
];

/// Crates that only compute.
const PURE: [&str; 8] =
    ["kernel", "expr", "planner", "policy", "pack", "receipts", "shell", "openapi"];

/// Modules of `std` that a crate which only computes never names.
const HANDS: [&str; 6] = ["env", "fs", "io", "net", "process", "thread"];

/// Types of `std` that it never names either: clocks and chance.
const CLOCKS: [&str; 3] = ["Instant", "RandomState", "SystemTime"];

/// Folders and files of `crates/harness/src` that are surfaces, and what each may know beside itself.
const SURFACES: [(&str, &[&str]); 4] = [
    ("cli", &["app", "service"]),
    ("api", &["app", "web"]),
    ("ui", &["app", "web"]),
    ("web", &["app"]),
];

/// The one file that may hold `unsafe`: the calls to the kernel that no crate makes safely.
const UNSAFE: &str = "sandbox/src/sys.rs";

/// Who starts a program otherwise than through the sandbox, and which; everything else is started by it.
const STARTS: [(&str, &str); 2] = [
    ("connect/src/hook.rs", "a hook, which the operator wrote and names by itself"),
    ("harness/src/app/demo.rs", "the harness itself, for the demo"),
];

/// Lines of code a source file may have, its tests not counted.
const LINES_MAX: usize = 600;

/// Lines a crate may take to say what it is.
const OPENING_MAX: usize = 20;

#[test]
fn crates_of_ours_know_only_the_floors_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into();
    let needs = needs();
    let known: BTreeSet<&str> = needs.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(known, listed, "each crate of the workspace has a line in ARROWS");
    let mut wrong = Vec::new();
    for (name, needed) in &needs {
        let ours = needed.iter().filter(|dependency| listed.contains(dependency.as_str()));
        let forbidden =
            ours.filter(|dependency| !allowed[name.as_str()].contains(&dependency.as_str()));
        wrong.extend(forbidden.map(|dependency| format!("{name} -> {dependency}")));
    }
    assert!(wrong.is_empty(), "forbidden arrows: {wrong:?}");
}

#[test]
fn heavy_dependencies_stay_in_their_leaves() {
    let needs = needs();
    let mut wrong = Vec::new();
    for (dependency, leaves) in LEAVES {
        let holders = needs.iter().filter(|(_, needed)| needed.contains(dependency));
        let strangers = holders.filter(|(name, _)| !leaves.contains(&name.as_str()));
        wrong.extend(strangers.map(|(name, _)| format!("{name} -> {dependency}")));
    }
    assert!(wrong.is_empty(), "dependencies outside of their leaves: {wrong:?}");
}

/// What `deny.toml` says, held here too: it needs no tool that a fresh machine lacks.
#[test]
fn every_licence_in_the_tree_is_one_we_can_ship() {
    let allowed = fs::read_to_string(root().join("deny.toml")).unwrap();
    let metadata = metadata(&["--locked"]);
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none stated");
        let may_ship = |name: &str| allowed.contains(&format!("\"{name}\""));
        // `A OR B` needs one of them, `A AND B` needs both; older manifests write `A/B` for OR.
        let licence = licence.replace(['(', ')'], " ").replace('/', " OR ");
        let either = licence.split(" OR ").any(|all| {
            all.split(" AND ").all(|one| {
                may_ship(one.trim()) || may_ship(one.split(" WITH ").next().unwrap().trim())
            })
        });
        if !either && !package["source"].is_null() {
            wrong.push(format!("{}: {licence}", package["name"]));
        }
    }
    assert!(wrong.is_empty(), "licences that deny.toml does not allow: {wrong:?}");
}

/// C102: six crates name no file, network, process, clock or chance.
#[test]
fn crates_that_only_compute_have_no_hands() {
    let sources = sources().into_iter().filter(|source| PURE.contains(&source.krate()));
    let mut wrong = Vec::new();
    for source in sources {
        let code = source.shipped();
        let modules = modules_of("std", &code).into_iter();
        let hands = modules.filter(|module| HANDS.contains(&module.as_str()));
        let clocks = CLOCKS.into_iter().filter(|clock| find_word(&code, clock).is_some());
        let found = hands.chain(clocks.map(str::to_owned));
        wrong.extend(found.map(|what| format!("{}: {what}", source.name)));
    }
    assert!(wrong.is_empty(), "pure crates reach for the outside: {wrong:#?}");
}

/// C138: no address of a provider stands in the code; an operator or a program names it.
#[test]
fn no_provider_is_asked_that_nobody_named() {
    let models = sources().into_iter().filter(|source| source.krate() == "models");
    let names_one = |source: &Source| {
        let shipped = source.shipped();
        let code = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.clone().any(|line| line.contains("https://")).then(|| source.name.clone())
    };
    let wrong: Vec<String> = models.filter_map(|source| names_one(&source)).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn surfaces_know_the_app_and_nothing_below_it() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((surface, known)) = source.surface() else {
            continue;
        };
        let code = source.shipped();
        let reached = reached_crates(&code).into_iter().map(str::to_owned);
        let modules = modules_of("crate", &code).into_iter();
        let strangers =
            modules.filter(|module| module != surface && !known.contains(&module.as_str()));
        let reached = reached.chain(strangers.map(|module| format!("crate::{module}")));
        wrong.extend(reached.map(|what| format!("{}: {what}", source.name)));
    }
    assert!(wrong.is_empty(), "a surface may only call `app`: {wrong:#?}");
}

#[test]
fn the_scan_of_surfaces_finds_what_it_is_for() {
    let reaches = |code| reached_crates(code);
    assert_eq!(reaches("use kernel::id::RunId;"), ["kernel"]);
    assert_eq!(reaches("pub(crate) use {store as s, std::fs};"), ["store"]);
    assert_eq!(reaches("fn a() -> engine::Error { todo() }"), ["engine"]);
    assert_eq!(reaches("let x = ::policy::Bundle::load();"), ["policy"]);
    assert!(reaches("mod policy; fn a() { policy::check() }").is_empty(), "a module of its own");
    assert!(reaches("use super::{pack, table}; fn a() { pack::list() }").is_empty());
    assert!(reaches("mod policy; fn a() { ::policy::Bundle::load() }") == ["policy"]);
    assert!(reaches("let pack = app.pack(); pack.name").is_empty());
    assert!(reaches("app::store::open(); x.store::<u8>()").is_empty());
    let modules = |code| modules_of("crate", code).into_iter().collect::<Vec<_>>();
    assert_eq!(
        modules("use crate::{app::{App, Caller}, cli::out}; crate::api::x()"),
        ["api", "app", "cli"]
    );
}

#[test]
fn nothing_is_unsafe_but_the_calls_of_the_sandbox() {
    let root = read(&root().join("Cargo.toml"));
    assert!(root.contains("unsafe_code = \"forbid\""), "the workspace forbids it");
    let (_, shared) = root.split_once("[workspace.lints.clippy]").unwrap();
    let shared: Vec<&str> = shared.lines().take_while(|line| !line.starts_with('[')).collect();
    for (name, folder) in folders() {
        let manifest = read(&folder.join("Cargo.toml"));
        if UNSAFE.starts_with(&format!("{name}/")) {
            assert!(manifest.contains("unsafe_code = \"deny\""), "{name}: only where it says so");
            let missing: Vec<_> = shared.iter().filter(|lint| !manifest.contains(**lint)).collect();
            assert!(missing.is_empty(), "{name} leaves these lints: {missing:?}");
            continue;
        }
        let lints = manifest.split("[lints]").nth(1).unwrap_or_default();
        assert!(
            lints.trim_start().starts_with("workspace = true"),
            "{name} leaves the workspace's lints"
        );
    }
    let guilty = sources().into_iter().filter(|source| find_word(&source.code, "unsafe").is_some());
    let guilty: Vec<String> =
        guilty.map(|source| source.name).filter(|name| name != UNSAFE).collect();
    assert!(guilty.is_empty(), "unsafe code: {guilty:?}");
}

/// C215: nothing that ships starts a program but the sandbox, which is asked for each by a profile; what a model says
/// has no other way to run. Two places start something that is no model's, and they are named.
#[test]
fn nothing_starts_a_program_but_the_sandbox() {
    let shipped = sources()
        .into_iter()
        .filter(|source| source.krate() != "sandbox" && !DEVELOPMENT.contains(&source.krate()));
    let starts = |source: &Source| {
        let code = source.shipped();
        let of_std = ["std", "tokio"].into_iter().any(|of| names_command(&code, of));
        of_std || find_word(&code, "CommandExt").is_some()
    };
    let found: BTreeSet<String> = shipped.filter(starts).map(|source| source.name).collect();
    let known: BTreeSet<String> = STARTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known, "these start programs");
}

/// Whether code names the command of a crate's module `process`.
fn names_command(code: &str, krate: &str) -> bool {
    let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let imported = flat.split("use ").filter_map(|rest| rest.split(';').next()).any(|used| {
        used.starts_with(&format!("{krate}::"))
            && used.split("process::").skip(1).any(|rest| {
                let group = rest.split('}').next().unwrap_or_default();
                let named = if rest.starts_with('{') { group } else { first_word(rest) };
                find_word(named, "Command").is_some()
            })
    });
    let in_place = [format!("{krate}::process::Command"), "process::Command::new".to_owned()];
    imported || in_place.iter().any(|place| flat.contains(place.as_str()))
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

#[test]
fn the_scan_of_commands_finds_what_it_is_for() {
    for code in [
        "use std::process::Command;",
        "use std::{fs, process::{Child, Command}};",
        "use std::{\n    io,\n    process::Command,\n};",
        "fn a() { std::process::Command::new(x); }",
        "use std::process; fn a() { process::Command::new(x); }",
    ] {
        assert!(names_command(code, "std"), "{code}");
    }
    for code in [
        "use sandbox::Command; fn a() { Command::new(x) }",
        "use std::process::ExitCode;",
        "use std::{process::Stdio, sync::Arc}; use sandbox::Command;",
    ] {
        assert!(!names_command(code, "std"), "{code}");
    }
}

#[test]
fn only_the_command_line_prints() {
    let mut guilty = Vec::new();
    for source in sources() {
        let may = source.surface().is_some_and(|(surface, _)| surface == "cli")
            || ["harness/src/main.rs", "sandbox/src/bin/probe.rs", "files/src/bin/writer.rs"]
                .contains(&source.name.as_str());
        let code = source.shipped();
        let prints = ["println!", "eprintln!", "print!", "eprint!"]
            .iter()
            .any(|p| find_word(&code, p).is_some());
        if prints && !may {
            guilty.push(source.name);
        }
    }
    assert!(guilty.is_empty(), "these print: {guilty:?}");
}

#[test]
fn files_are_short_enough_to_be_read() {
    let lengths = sources().into_iter().map(|source| {
        let lines = source.shipped().lines().count();
        (source.name, lines)
    });
    let long: Vec<_> = lengths.filter(|(_, lines)| *lines > LINES_MAX).collect();
    assert!(long.is_empty(), "split these: {long:?}");
}

#[test]
fn each_crate_opens_by_saying_what_it_is() {
    for (name, folder) in folders() {
        let text = read(&folder.join("src/lib.rs"));
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(
            (1..=OPENING_MAX).contains(&lines),
            "{name}: {lines} opening lines, 1 to {OPENING_MAX} wanted"
        );
    }
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    let mut wrong = Vec::new();
    for path in files(&root()) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for folder in [concat!("/wo", "rk/"), concat!("/ro", "ot/")] {
            let absolute = text.match_indices(folder).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
            });
            if absolute {
                wrong.push(format!("{}: {folder}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let mut named = 0;
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"] {
        let text = read(&root().join(document));
        for quoted in text.split('`').skip(1).step_by(2) {
            let Some((file, name)) = quoted.split_once(".rs::") else {
                continue;
            };
            named += 1;
            let source = fs::read_to_string(root().join("crates").join(format!("{file}.rs")));
            let source = source.unwrap_or_default();
            if find_word(&source, &format!("fn {name}")).is_none() {
                missing.push(format!("{document}: {quoted}"));
            }
        }
    }
    assert!(named > 0, "the documents name their tests as `path.rs::name`");
    assert!(missing.is_empty(), "these tests do not exist: {missing:#?}");
}

/// Crate → names of everything it needs in what ships; tests are left out.
fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--manifest-path"]);
    let output = command.arg(root().join("Cargo.toml")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn needs() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let shipped = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies.filter(|d| d["kind"] != "dev").map(|d| short(&d["name"])).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    let all = packages.map(|package| (short(&package["name"]), shipped(package)));
    let needs: BTreeMap<String, BTreeSet<String>> = all.collect();
    let ships = |name: &str| !DEVELOPMENT.contains(&name);
    let sneaks = needs.iter().filter(|(name, _)| ships(name));
    let sneaks: Vec<&String> = sneaks
        .filter(|(_, needed)| DEVELOPMENT.iter().any(|d| needed.contains(*d)))
        .map(|(name, _)| name)
        .collect();
    assert!(sneaks.is_empty(), "these ship and need a development crate: {sneaks:?}");
    needs.into_iter().filter(|(name, _)| ships(name)).collect()
}

fn short(name: &Value) -> String {
    let name = name.as_str().unwrap();
    name.strip_prefix("harness-").unwrap_or(name).to_owned()
}

/// One source file below `crates/*/src`.
struct Source {
    /// Its path below `crates`.
    name: String,
    /// Its text without comments and without what stands in quotes; line breaks stay.
    code: String,
}

impl Source {
    fn krate(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// The surface it belongs to, if it is part of one.
    fn surface(&self) -> Option<(&'static str, &'static [&'static str])> {
        let inside = self.name.strip_prefix("harness/src/")?;
        let first = inside.split('/').next()?.trim_end_matches(".rs");
        SURFACES.into_iter().find(|(surface, _)| *surface == first)
    }

    /// The code without tests: a file of tests is empty, and a test module inside a file is left out.
    fn shipped(&self) -> String {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        if ["tests.rs", "testing.rs"].contains(&file) || self.name.contains("/tests/") {
            return String::new();
        }
        let mut text = String::new();
        let mut lines = self.code.lines();
        while let Some(line) = lines.next() {
            if line != "#[cfg(test)]" {
                text.push_str(line);
                text.push('\n');
            } else if lines
                .by_ref()
                .find(|l| !l.starts_with("#["))
                .is_some_and(|l| l.ends_with('{'))
            {
                // At the outermost level: it ends where a line is only a brace.
                lines.by_ref().take_while(|l| *l != "}").for_each(drop);
            }
        }
        text
    }
}

fn sources() -> Vec<Source> {
    let crates = root().join("crates");
    let mut sources = Vec::new();
    for (_, folder) in folders() {
        for path in files(&folder.join("src")) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&crates).unwrap().to_string_lossy().into_owned();
                sources.push(Source { name, code: bare(&read(&path)) });
            }
        }
    }
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

/// Crates of ours that code names directly; modules of its own with the same name do not count.
fn reached_crates(code: &str) -> Vec<&'static str> {
    let tokens = tokens(code);
    let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
    let before = |at: usize, back: usize| at.checked_sub(back).map(token).unwrap_or_default();
    let local = local_names(&tokens);
    let mut found = BTreeSet::new();
    let mut in_use = false;
    for at in 0..tokens.len() {
        in_use = token(at) == "use" || (in_use && token(at) != ";");
        let Some((name, _)) =
            ARROWS.iter().find(|(name, _)| *name == token(at) && *name != "harness")
        else {
            continue;
        };
        let absolute = before(at, 1) == "::" && !is_word(before(at, 2)) && before(at, 2) != ">";
        let first = !["::", "."].contains(&before(at, 1));
        let used_as_path =
            token(at + 1) == "::" || (in_use && ["use", "{", ","].contains(&before(at, 1)));
        let nested = in_use && !stands_at_root(&tokens, at);
        if absolute && !nested || first && used_as_path && !nested && !local.contains(name) {
            found.insert(*name);
        }
    }
    found.into_iter().collect()
}

/// Whether no `path::{` is open around a token of a `use`.
fn stands_at_root(tokens: &[&str], at: usize) -> bool {
    let mut depth = 0_i32;
    for back in (0..at).rev() {
        match tokens[back] {
            "}" => depth += 1,
            "{" if depth > 0 => depth -= 1,
            "{" if back > 0 && tokens[back - 1] == "::" => return false,
            "use" | ";" => return true,
            _ => {}
        }
    }
    true
}

/// Names that `mod` declares here, or that a `use` brings in from this crate.
fn local_names<'a>(tokens: &[&'a str]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let mut from_here = false;
    for pair in tokens.windows(2) {
        match pair {
            ["mod", name] => _ = names.insert(*name),
            ["use", root] => from_here = ["super", "self", "crate"].contains(root),
            [_, ";"] => from_here = false,
            _ => {}
        }
        if from_here {
            names.insert(pair[1]);
        }
    }
    names
}

/// First segments after `root::`, grouped ones included.
fn modules_of(root: &str, code: &str) -> BTreeSet<String> {
    let tokens = tokens(code);
    let mut modules = BTreeSet::new();
    for at in
        tokens.windows(2).enumerate().filter(|(_, w)| *w == [root, "::"]).map(|(at, _)| at + 2)
    {
        if tokens.get(at) != Some(&"{") {
            modules.extend(tokens.get(at).map(|token| (*token).to_owned()));
            continue;
        }
        let mut depth = 0;
        for pair in tokens[at..].windows(2) {
            depth += i32::from(pair[0] == "{") - i32::from(pair[0] == "}");
            if depth == 0 {
                break;
            }
            if depth == 1 && ["{", ","].contains(&pair[0]) && is_word(pair[1]) {
                modules.insert(pair[1].to_owned());
            }
        }
    }
    modules
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Words, `::` and single signs.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if rest.starts_with("::") { 2 } else { word.max(first.len_utf8()) };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// Where a word stands that is not part of a longer one.
fn find_word(code: &str, word: &str) -> Option<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let found = code.match_indices(word).find(|(at, _)| {
        !code[..*at].chars().next_back().is_some_and(part_of_word)
            && !code[at + word.len()..].chars().next().is_some_and(part_of_word)
    });
    found.map(|(at, _)| at)
}

/// Rust without comments and without what stands in quotes; line breaks stay.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| quoted(rest, out.chars().next_back()));
        let length = skipped.unwrap_or(c.len_utf8());
        let (taken, after) = rest.split_at(length);
        match skipped {
            Some(_) => out.extend(taken.chars().filter(|c| *c == '\n')),
            None => out.push(c),
        }
        rest = after;
    }
    out
}

/// Length of the comment that begins here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let mut depth = 0_u32;
    let mut at = 0;
    while rest.starts_with("/*") {
        let step = match rest.as_bytes().get(at..at + 2)? {
            b"/*" => 1,
            b"*/" => -1,
            _ => 0,
        };
        depth = depth.checked_add_signed(step)?;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Length of the text or character literal that begins here; `before` is the character before it.
fn quoted(rest: &str, before: Option<char>) -> Option<usize> {
    let in_word = before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let inside = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(2 + hashes + inside.find(&end)? + end.len());
    }
    let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let mut chars = rest.char_indices().skip(1);
    if quote == '\'' {
        let (_, first) = chars.next()?;
        let (at, second) = chars.next()?;
        if first != '\\' {
            return (second == '\'').then_some(at + 1); // otherwise a lifetime
        }
    }
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

#[test]
fn comments_and_quotes_are_no_code() {
    let check = |text: &str, code: &str| assert_eq!(bare(text), code, "{text}");
    check("a // unsafe\nb", "a \nb");
    check("a /* x /* y – */ z */ b", "a  b");
    check("f(\"// \\\" unsafe\", 'x', '\\'', b'\"') // y", "f(, , , b) ");
    check("r#\"a \" unsafe\"# + r\"\\\" + for_r", " +  + for_r");
    check("fn a<'a>(x: &'a str) {}", "fn a<'a>(x: &'a str) {}");
    let std: Vec<_> =
        modules_of("std", "use std::{fmt::{self, io}, fs}; std::env::var()").into_iter().collect();
    assert_eq!(std, ["env", "fmt", "fs"]);
    let source = |code: &str| Source { name: "kernel/src/a.rs".to_owned(), code: code.to_owned() };
    let code = "a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod tests;\nd\n";
    assert_eq!(source(code).shipped(), "a\nc\nd\n");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn folders() -> Vec<(String, PathBuf)> {
    ARROWS.iter().map(|(name, _)| ((*name).to_owned(), root().join("crates").join(name))).collect()
}

/// Every file of ours below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours = ![".git", "target", ".harness"].contains(&name.as_str());
        if ours && path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else if ours && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
