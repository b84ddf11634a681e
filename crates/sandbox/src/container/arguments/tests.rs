//! C226: rootless, no engine's socket inside, the image's digest pinned.

use std::{os::unix::net::UnixListener, path::PathBuf};

use super::*;
use crate::profile::{Account, Bind, Tmpfs, Workspace};

const IMAGE: &str = "docker.io/library/debian@sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn told(engine: Engine, profile: &Profile) -> Result<Vec<String>, Error> {
    let command = Command::new("/bin/sh").arguments(["-c", "echo --privileged"]);
    let words = create(engine, IMAGE, profile, &command)?;
    Ok(words.into_iter().map(|word| word.into_string().unwrap()).collect())
}

fn refused(profile: &Profile, code: &str, what: &str) {
    let error = told(Engine::Podman, profile).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn every_container_is_closed_by_what_it_is_told() {
    for engine in [Engine::Podman, Engine::Docker] {
        let words = told(engine, &Profile::default()).unwrap();
        let image = words.iter().position(|word| word == IMAGE).unwrap();
        let (options, program) = words.split_at(image);
        assert_eq!(program, [IMAGE, "-c", "echo --privileged"]);
        assert!(options.iter().all(|word| word.starts_with("--")), "{options:?}");
        for word in [
            "--pull=never",
            "--network=none",
            "--read-only",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
            "--pids-limit=64",
            "--memory=1073741824",
            "--memory-swap=1073741824",
            "--cpus=2",
            "--ulimit=nofile=256:256",
            "--ulimit=fsize=268435456:268435456",
            "--ulimit=cpu=300:300",
            "--ulimit=core=0:0",
            "--tmpfs=/tmp:rw,nosuid,nodev,size=268435456,mode=1777",
            "--workdir=/tmp",
            "--env=LANG=C.UTF-8",
            "--env=PATH=/usr/bin:/bin",
            "--env=TMPDIR=/tmp",
            "--entrypoint=/bin/sh",
        ] {
            assert!(options.iter().any(|told| told == word), "{engine:?}: {word}: {options:?}");
        }
        let opens = ["--privileged", "--volume", "--mount", "--device", "--publish", "--pid="];
        let opened = options.iter().find(|word| opens.iter().any(|open| word.starts_with(open)));
        assert_eq!(opened, None);
        let keeps = options.iter().any(|word| word == "--userns=keep-id");
        assert_eq!(keeps, engine == Engine::Podman, "docker has no such thing");
    }
}

#[test]
fn what_a_profile_opens_is_open_and_read_only_unless_it_says_write() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for name in ["read", "read/write", "other"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let _proxy = UnixListener::bind(root.join("proxy")).unwrap();
    let mut profile = Profile::default();
    profile.paths.read.push(root.join("read"));
    profile.paths.write.push(root.join("read/write"));
    profile.mounts.read.push(Bind { from: root.join("other"), at: "/data".into() });
    profile.mounts.tmpfs.push(Tmpfs { at: "/cache".into(), bytes: 4096 });
    profile.proxy = Some(root.join("proxy"));
    profile.folder = Some(root.join("read/write"));
    let words = told(Engine::Podman, &profile).unwrap();
    let root = root.display();
    let opened: Vec<&String> = words
        .iter()
        .filter(|word| word.starts_with("--mount") || word.starts_with("--tmpfs=/cache"))
        .collect();
    assert_eq!(
        opened,
        [
            &format!("--mount=type=bind,source={root}/read,target={root}/read,readonly"),
            &format!("--mount=type=bind,source={root}/read/write,target={root}/read/write"),
            &format!("--mount=type=bind,source={root}/other,target=/data,readonly"),
            "--tmpfs=/cache:rw,nosuid,nodev,size=4096,mode=1777",
            &format!("--mount=type=bind,source={root}/proxy,target={PROXY},readonly"),
        ]
    );
    assert!(words.contains(&format!("--env=HARNESS_PROXY={PROXY}")));
    assert!(words.contains(&format!("--workdir={root}/read/write")));
}

#[test]
fn what_cannot_be_held_or_would_be_the_host_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("open/closed")).unwrap();
    fs::create_dir(root.join("a,readonly=false")).unwrap();
    fs::create_dir(root.join("engine")).unwrap();
    let _one = UnixListener::bind(root.join("any")).unwrap();
    let _two = UnixListener::bind(root.join("engine/docker.sock")).unwrap();
    let with = |change: &dyn Fn(&mut Profile)| {
        let mut profile = Profile::default();
        change(&mut profile);
        profile
    };
    let reads = |path: PathBuf| with(&move |profile| profile.paths.read.push(path.clone()));
    refused(&reads(root.join("any")), "sandbox.profile", "socket");
    refused(&reads(root.join("engine")), "sandbox.profile", "socket");
    refused(&reads(root.join("engine/docker.sock")), "sandbox.profile", "socket");
    refused(&reads(root.join("a,readonly=false")), "sandbox.profile", "comma");
    let proxy = with(&|profile| profile.proxy = Some(root.join("engine/docker.sock")));
    refused(&proxy, "sandbox.profile", "proxy");
    let narrow = with(&|profile| {
        profile.paths.write.push(root.join("open"));
        profile.paths.none.push(root.join("open/closed"));
    });
    refused(&narrow, "sandbox.inexpressible", "container");
    let (lower, upper) = (root.join("open"), root.join("engine"));
    let workspace = Workspace { lower, upper, at: "/job".into() };
    let overlay = with(&|profile| profile.mounts.workspace = Some(workspace.clone()));
    refused(&overlay, "sandbox.unenforceable", "no workspaces");
    let account = with(&|profile| profile.run_as = Some(Account { uid: 1, gid: 1 }));
    refused(&account, "sandbox.unenforceable", "account");
    assert!(is_of_engine(Path::new("/run")) && is_of_engine(Path::new("/")));
    assert!(!is_of_engine(Path::new("/usr/lib")));
}
