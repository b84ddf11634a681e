use std::{collections::BTreeMap, fs, io::Write as _, path::PathBuf};

use sandbox::{
    Account, Bind, Child, Command, End, Feature, Input, Mounts, Profile, Sandbox, Tier, Tmpfs,
    probe::attempts,
};

use super::{folder, is_root, local, sh, text, tiers};

#[test]
fn a_profile_is_the_same_as_json_and_as_toml() {
    let mut profile = Profile::default();
    profile.paths.read = vec!["/srv/data".into()];
    profile.paths.none = vec!["/srv/data/private".into()];
    profile.proxy = Some("/run/proxy.sock".into());
    profile.mounts.tmpfs = vec![Tmpfs { at: "/cache".into(), bytes: 1 << 20 }];
    profile.run_as = Some(Account { uid: 1000, gid: 1000 });
    let json = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
    let toml = toml::to_string(&profile).unwrap();
    assert_eq!(toml::from_str::<Profile>(&toml).unwrap(), profile);
    let short = "[paths]\nread = [\"/srv/data\"]\n[limits]\nprocesses = 4\n";
    let short: Profile = toml::from_str(short).unwrap();
    assert_eq!(short.limits.processes, 4);
    assert_eq!(short.limits.open_files, Profile::default().limits.open_files);
}

#[test]
fn what_a_profile_does_not_know_is_an_error() {
    for text in
        ["nets = []", "[paths]\nwritable = []", "[limits]\nmemory = 1", "[mounts]\nbind = []"]
    {
        let error = toml::from_str::<Profile>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{text}: {error}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_field() {
    let refuses = |field: &str, change: fn(&mut Profile)| {
        let mut profile = Profile::default();
        change(&mut profile);
        for tier in tiers() {
            let error = local(tier).check(&profile).unwrap_err();
            assert_eq!(error.code(), "sandbox.profile", "{error}");
            assert!(error.to_string().contains(field), "{field}: {error}");
            assert!(local(tier).spawn(&profile, Command::new("/usr/bin/true")).is_err());
        }
    };
    refuses("limits.processes", |p| p.limits.processes = 0);
    refuses("limits.deadline_ms", |p| p.limits.deadline_ms = u64::MAX);
    refuses("environment", |p| drop(p.environment.insert("A=B".into(), String::new())));
    refuses("environment", |p| drop(p.environment.insert("A".into(), "\0".into())));
    refuses("paths.read", |p| p.paths.read.push("relative".into()));
    refuses("paths.read", |p| p.paths.read.push("/".into()));
    refuses("paths.write", |p| p.paths.write.push("/tmp/../etc".into()));
    refuses("paths.none", |p| p.paths.none.push("/does/not/exist".into()));
    refuses("run_as", |p| p.run_as = Some(Account { uid: 0, gid: 0 }));
}

/// C230: nothing runs under less than its profile; what is missing is named.
#[test]
fn what_a_tier_cannot_hold_is_refused_by_feature() {
    let missing = |tier: Tier, feature: Feature, change: fn(&mut Profile)| {
        let mut profile = Profile::default();
        change(&mut profile);
        let error = local(tier).check(&profile).unwrap_err();
        assert_eq!(error.code(), "sandbox.unenforceable");
        assert!(error.to_string().contains(feature.name()), "{error}");
        assert!(!error.next_step().is_empty());
        local(tier).spawn(&profile, Command::new("/usr/bin/true")).unwrap_err();
    };
    missing(Tier::Restricted, Feature::ProxySocket, |p| p.proxy = Some("/run/x.sock".into()));
    missing(Tier::Restricted, Feature::Namespaces, |p| {
        p.mounts = Mounts {
            read: vec![Bind { from: "/usr".into(), at: "/opt".into() }],
            ..Mounts::default()
        };
    });
    if !is_root() {
        missing(Tier::Isolated, Feature::RunAs, |p| p.run_as = Some(Account { uid: 9, gid: 9 }));
    }
    let folder = folder();
    let mut profile = Profile::default();
    profile.paths.write = vec![folder.path().to_owned()];
    std::fs::create_dir(folder.path().join("inner")).unwrap();
    profile.paths.none = vec![folder.path().join("inner")];
    let error = local(Tier::Restricted).check(&profile).unwrap_err();
    assert_eq!(error.code(), "sandbox.inexpressible");
    local(Tier::Isolated).check(&profile).unwrap();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    for tier in tiers() {
        let none = Command::new("/no/such/program");
        let error = local(tier).spawn(&Profile::default(), none).unwrap_err();
        assert_eq!(error.code(), "sandbox.exec");
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}

#[test]
fn a_launcher_that_is_none_is_refused() {
    for program in ["/usr/bin/true", "/no/such/program"] {
        let wrong = sandbox::Local::with_launcher(Tier::Restricted, program);
        let error = wrong.spawn(&Profile::default(), Command::new("/usr/bin/true")).unwrap_err();
        assert!(error.to_string().contains("launcher"), "{error}");
        assert!(error.next_step().contains("main_if_asked"));
    }
}

#[test]
fn the_environment_is_what_the_profile_says() {
    let environment = BTreeMap::from([("ONE".to_owned(), "1".to_owned())]);
    let profile = Profile { environment, ..Profile::default() };
    for tier in tiers() {
        let finished = super::run(tier, &profile, Command::new("/usr/bin/env"));
        let text = text(&finished);
        let names: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
        assert_eq!(names, ["ONE", "TMPDIR"], "{tier:?}: {text}");
    }
}

#[test]
fn a_program_starts_in_its_temporary_folder_or_where_the_profile_says() {
    for tier in tiers() {
        let here =
            sh(tier, &Profile::default(), "test \"$PWD\" = \"$TMPDIR\" && echo yes > a && cat a");
        assert_eq!(here.output.text(), "yes\n", "{}", text(&here));
        let profile = Profile { folder: Some("/usr/share".into()), ..Profile::default() };
        assert_eq!(sh(tier, &profile, "pwd").output.text(), "/usr/share\n");
        let outside: PathBuf = "/var".into();
        let profile = Profile { folder: Some(outside), ..Profile::default() };
        let entered = local(tier).spawn(&profile, Command::new("/bin/pwd"));
        // Where one may stand is not what Landlock holds; in a tree of its own there is no such place.
        assert_eq!(entered.is_err(), tier == Tier::Isolated);
    }
}

#[test]
fn as_another_account_files_and_processes_are_that_ones() {
    if !is_root() {
        return println!("skipped: only root can run as another account");
    }
    let profile =
        Profile { run_as: Some(Account { uid: 65534, gid: 65534 }), ..Profile::default() };
    for tier in tiers() {
        let finished = sh(tier, &profile, "id -u; id -g; id -G; echo x > f && stat -c %u f");
        assert_eq!(finished.output.text(), "65534\n65534\n65534\n65534\n", "{}", text(&finished));
    }
}

#[test]
fn a_program_that_runs_as_its_owner_does_not() {
    use std::os::unix::fs::PermissionsExt;
    if !is_root() {
        return println!("skipped: only root can make a program that runs as root");
    }
    let folder = folder();
    let program = super::reachable_launcher(folder.path());
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    let mut profile =
        Profile { run_as: Some(Account { uid: 65534, gid: 65534 }), ..Profile::default() };
    profile.paths.read = vec![program.clone()];
    let whoami = || Command::new(&program).arguments(["--harness-sandbox-probe", "euid"]);
    for tier in tiers() {
        assert_eq!(super::run(tier, &profile, whoami()).outcome.end, End::Exit(0), "{tier:?}");
    }
    let held_by = attempts().into_iter().find(|attempt| attempt.name == "privileges.new").unwrap();
    let loose = local(Tier::Restricted).without(held_by.restricted.unwrap());
    let outcome = loose.spawn(&profile, whoami()).and_then(Child::wait).unwrap().outcome;
    assert_eq!(outcome.end, End::Exit(1), "without its controls it is root");
}

/// C229: what a program may reach is burned in when it starts. A profile that opens more is for who is started next; it
/// opens nothing for who runs.
#[test]
fn what_is_opened_later_stays_closed_to_who_runs() {
    let folder = folder();
    let file = folder.path().join("opened-later");
    fs::write(&file, "now you see it").unwrap();
    let script = format!("read go; cat {0}; echo over", file.display());
    let start = |tier, profile: &Profile| {
        let (input, go) = std::io::pipe().unwrap();
        let command = Command::new("/bin/sh").arguments(["-c", &script]);
        let child = local(tier).spawn(profile, command.input(Input::From(input.into()))).unwrap();
        (child, go)
    };
    let ends = |(child, mut go): (Child, std::io::PipeWriter)| {
        go.write_all(b"go\n").unwrap();
        child.wait().unwrap().output.text()
    };
    for tier in tiers() {
        let running = start(tier, &Profile::default());
        let mut wider = Profile::default();
        wider.paths.read.push(file.clone());
        assert_eq!(ends(start(tier, &wider)), "now you see itover\n", "{tier:?}");
        assert_eq!(ends(running), "over\n", "{tier:?}");
    }
}
