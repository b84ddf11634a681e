//! `harness sandbox`: a program at the terminal, held to a profile. What holds it is proven in the crate `sandbox`;
//! here is what a person sees of it, and that the harness's own things are out of its reach.

use std::{fs, net::TcpListener, path::Path};

use serde_json::Value;

use crate::support::{Office, Ran};

/// `sandbox run` as JSON: what stands behind `--` is the program's.
fn boxed(office: &Office, options: &[&str], program: &[&str]) -> Ran {
    office.run(&[&["-o", "json", "sandbox", "run"], options, &["--"], program].concat())
}

/// Runs a script in a sandbox, and gives how it ended.
fn script(office: &Office, options: &[&str], text: &str) -> Value {
    boxed(office, options, &["/bin/sh", "-c", text]).document()
}

/// The tiers that this machine runs; a test says which one it leaves out.
fn tiers(office: &Office) -> Vec<String> {
    let ran = office.json(&["sandbox", "doctor"]);
    let (runs, refused): (Vec<Value>, Vec<Value>) = {
        let all = ran.document()["tiers"].as_array().unwrap().clone();
        all.into_iter().partition(|tier| tier.get("refused").is_none())
    };
    for tier in refused {
        println!("skipped: {}: {}", tier["tier"], tier["refused"]);
    }
    runs.iter().map(|tier| tier["tier"].as_str().unwrap().to_owned()).collect()
}

fn profile(office: &Office, name: &str, text: &str) -> String {
    let path = office.path(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// C031, C219: from inside there is no store, no key, no configuration, no variable, no network and no server.
#[test]
fn what_is_the_harness_own_is_out_of_reach() {
    let office = Office::served();
    office.changed("ACC-0007", 45, "something to steal");
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    let root = office.path("");
    let kept: Vec<String> = files(&root).iter().map(|path| path.display().to_string()).collect();
    assert!(kept.iter().any(|path| path.ends_with("harness.db")), "{kept:?}");
    assert!(kept.iter().any(|path| path.ends_with("harness.toml")), "{kept:?}");
    for tier in &tiers(&office) {
        for path in &kept {
            let ended = script(&office, &["--tier", tier], &format!("cat '{path}' >/dev/null"));
            assert_ne!(ended["number"], 0, "{tier}: {path}: {ended:#}");
            let ended = script(&office, &["--tier", tier], &format!(": >>'{path}'"));
            assert_ne!(ended["number"], 0, "{tier}: {path} is written: {ended:#}");
        }
        let dial = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        let dialled = boxed(&office, &["--tier", tier], &["/bin/bash", "-c", &dial]).document();
        assert_ne!(dialled["number"], 0, "{tier} reaches a port");
        let seen = script(&office, &["--tier", tier], "env | cut -d= -f1 | sort | tr '\\n' ' '");
        let seen = seen["output"].as_str().unwrap();
        let known = ["LANG", "OLDPWD", "PATH", "PWD", "SHLVL", "TMPDIR", "_"];
        assert!(seen.split_whitespace().all(|name| known.contains(&name)), "{tier}: {seen}");
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.metadata().is_ok_and(|file| file.is_file()) => found.push(path),
            false => {}
        }
    }
    found
}

/// The exit code of the program is the command's, streams go through, and nothing else is printed.
#[test]
fn a_program_runs_as_if_it_stood_there_alone() {
    let office = Office::open();
    if !tiers(&office).iter().any(|tier| tier == "isolated") {
        return;
    }
    for (text, code) in [("exit 0", 0), ("exit 3", 3), ("exit 75", 75), ("kill -9 $$", 137)] {
        let ran = office.run(&["sandbox", "run", "--", "/bin/sh", "-c", text]);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{text}: {ran:#?}");
        assert_eq!(ran.stderr, "", "{text}");
    }
    let ran =
        office.run(&["sandbox", "run", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 4"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (4, "out\n", "err\n"));
    let missing = boxed(&office, &[], &["no-such-program"]).exits(2).problem();
    assert_eq!(missing["code"], "sandbox.exec", "{missing}");
}

/// What a profile opens is open, and a limit that is reached is named.
#[test]
fn a_profile_opens_what_it_names_and_limits_the_rest() {
    let office = Office::open();
    let (given, taken) = (office.path("given"), office.path("taken"));
    fs::create_dir(&given).unwrap();
    fs::create_dir(&taken).unwrap();
    fs::write(given.join("fact"), "seven").unwrap();
    let text = format!(
        "[paths]\nread = [{:?}]\nwrite = [{:?}]\n[environment]\nPATH = \"/usr/bin:/bin\"\nGREETING = \"hello\"\n\
         [limits]\ndeadline_ms = 500\n",
        given.display().to_string(),
        taken.display().to_string()
    );
    let named = profile(&office, "narrow.toml", &text);
    for tier in &tiers(&office) {
        let options = ["--profile", &named, "--tier", tier];
        let copy = format!(
            "cat {0}/fact >{1}/{tier} && echo $GREETING && ! touch {0}/more",
            given.display(),
            taken.display()
        );
        let ended = script(&office, &options, &copy);
        assert_eq!(ended["number"], 0, "{tier}: {ended:#}");
        assert_eq!(ended["output"], "hello\n", "{tier}: {ended:#}");
        assert_eq!(fs::read_to_string(taken.join(tier)).unwrap(), "seven", "{tier}");
        let slow = script(&office, &options, "sleep 600");
        assert_eq!(slow["limits"], serde_json::json!(["deadline_ms"]), "{tier}: {slow:#}");
        assert_eq!(slow["end"], "signal", "{tier}: {slow:#}");
    }
}

#[test]
fn a_profile_that_cannot_be_held_runs_nothing() {
    let office = Office::open();
    if tiers(&office).len() < 2 {
        return;
    }
    let mark = office.path("ran");
    let touch = format!("touch {}", mark.display());
    let refused = |name: &str, text: &str, tier: &str, code: i32| {
        let named = profile(&office, name, text);
        let options = ["--profile", &named, "--tier", tier];
        let ran = boxed(&office, &options, &["/bin/sh", "-c", &touch]).exits(code);
        assert!(!mark.exists(), "{name} ran");
        ran.problem()
    };
    let typo = refused("typo.toml", "[limits]\nmemory = 5\n", "isolated", 2);
    assert!(typo["detail"].as_str().unwrap().contains("memory_bytes"), "{typo}");
    let json = refused("odd.json", "{\"paths\": 1}", "isolated", 2);
    assert_eq!(json["code"], "profile", "{json}");
    let zero = refused("zero.toml", "[limits]\nprocesses = 0\n", "isolated", 2);
    assert_eq!(zero["code"], "sandbox.profile", "{zero}");
    let outer = office.path("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    let inner = format!("[paths]\nwrite = ['{0}']\nnone = ['{0}/inner']\n", outer.display());
    let narrow = refused("inner.toml", &inner, "restricted", 2);
    assert_eq!(narrow["code"], "sandbox.inexpressible", "{narrow}");
    assert!(narrow["next"].as_str().unwrap().contains("isolated"), "{narrow}");
    let gone = ["sandbox", "explain", "--profile", "/no/such/profile.toml"];
    office.json(&gone).exits(2);
    let explained = office.json(&["sandbox", "explain"]).exits(0).document();
    assert_eq!(explained["profile"]["limits"]["processes"], 64, "{explained:#}");
}

/// C221, C224: a folder is kept, goes on two ways from there the next day, and what is equal has one name.
#[test]
fn a_folder_is_kept_goes_on_two_ways_and_equal_trees_have_one_name() {
    let office = Office::served();
    let at = |name: &str| office.path(name).display().to_string();
    let snapshot = |words: &[&str]| office.json(&[&["sandbox", "snapshot"], words].concat());
    let take = |folder: &str| {
        let taken = snapshot(&["take", folder]).exits(0).document();
        taken["id"].as_str().unwrap().to_owned()
    };
    fs::create_dir_all(office.path("project/src")).unwrap();
    fs::write(office.path("project/src/main"), "one\n").unwrap();
    let first = take(&at("project"));
    fs::write(office.path("project/src/main"), "two\n").unwrap();
    let second = take(&at("project"));
    assert_ne!(first, second);
    let listed = snapshot(&["list"]).exits(0).document();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed:#}");

    // Another process, another day: nothing but the store is needed.
    fs::remove_dir_all(office.path("project")).unwrap();
    let (left, right) = (at("left"), at("right"));
    let branched = snapshot(&["branch", &first[..12], &left, &right]).exits(0).document();
    assert_eq!(branched["places"], serde_json::json!([left, right]));
    assert_eq!([take(&left), take(&right)], [first.clone(), first.clone()]);
    fs::write(office.path("left/src/main"), "two\n").unwrap();
    fs::write(office.path("right/new"), "three\n").unwrap();
    assert_eq!(take(&left), second, "the same by another way");
    let third = take(&right);
    assert!(third != first && third != second);

    // Nothing is written over, and what is not there is said.
    snapshot(&["restore", &first, &left]).exits(1);
    assert_eq!(fs::read_to_string(office.path("left/src/main")).unwrap(), "two\n");
    snapshot(&["restore", "0123456789", &at("none")]).exits(3);
    snapshot(&["restore", "01", &at("none")]).exits(2);
    snapshot(&["remove", &second]).exits(0);
    snapshot(&["restore", &second, &at("none")]).exits(3);
    snapshot(&["restore", &third, &at("again")]).exits(0);
    assert_eq!(take(&at("again")), third);
    assert!(!office.path("none").exists());
}
