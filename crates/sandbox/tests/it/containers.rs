//! The container tier (C226) against a stand-in that speaks as podman does, and against an engine of the machine where
//! there is one.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
};

use rustix::process::{Pid, Signal, kill_process};
use sandbox::{
    Child, Command, Container, End, Engine, Error, Input, Limit, Profile, Sandbox, Start, Tier,
    Worktrees,
};

use super::{endings::until, folder, launcher, text};

const IMAGE: &str =
    "example.org/base@sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// What podman says of itself, as far as it is read.
const FACTS: &str = r#"{"host":{"cgroupVersion":"v2","cgroupControllers":["cpu","memory","pids"],
"security":{"rootless":true,"seccompEnabled":true}}}"#;

/// The words that are used, with what podman does about them; a container is a folder.
const STAND_IN: &str = r#"#!/bin/sh
state=@STATE@
printf '%s\n' "$*" >> "$state/log"
env | grep -v '^_=\|^PWD=\|^SHLVL=' >> "$state/environment"
verb=$1; shift
case $verb in
info) cat "$state/info" ;;
create)
  for word; do
    case $word in
    --name=*) name=${word#--name=} ;;
    --label=harness.sandbox.guard=*) guard=${word#--label=harness.sandbox.guard=} ;;
    --entrypoint=*) entry=${word#--entrypoint=} ;;
    --*) ;;
    *) break ;;
    esac
    shift
  done
  [ "$1" = "@IMAGE@" ] || { echo "Error: $1: image not known" >&2; exit 125; }
  shift
  mkdir "$state/containers/$name"
  cd "$state/containers/$name"
  echo "$guard" > guard; echo false > oom; printf '%s\n' "$entry" "$@" > words
  echo 0123456789abcdef ;;
start)
  cd "$state/containers/$3"
  exec 3<&0
  xargs -d '\n' -a words sh -c 'echo $$ > pid; exec "$@" <&3' sh &
  wait $!
  status=$?
  [ -e pid ] && [ $status = 123 ] && status=7
  exit $status ;;
kill) kill -9 "$(cat "$state/containers/$3/pid")" ;;
rm) rm -r "$state/containers/$3" ;;
ps) ls "$state/containers" ;;
inspect)
  case $2 in
  *OOMKilled*) cat "$state/containers/$3/oom" ;;
  *) cat "$state/containers/$3/guard" ;;
  esac ;;
*) echo "Error: unrecognized command $verb" >&2; exit 125 ;;
esac
"#;

struct Place {
    folder: tempfile::TempDir,
    engine: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("containers")).unwrap();
        fs::write(at("info"), FACTS).unwrap();
        let script = STAND_IN.replace("@STATE@", folder.path().to_str().unwrap());
        fs::write(at("podman"), script.replace("@IMAGE@", IMAGE)).unwrap();
        fs::set_permissions(at("podman"), fs::Permissions::from_mode(0o755)).unwrap();
        let engine = at("podman");
        Self { folder, engine }
    }

    fn find(&self, image: &str) -> Result<Container, Error> {
        let found = Container::with_engine(Engine::Podman, &self.engine, image)?;
        Ok(found.with_launcher(launcher()))
    }

    fn container(&self) -> Container {
        self.find(IMAGE).unwrap()
    }

    fn containers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("containers")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Starts something that does not end by itself, and gives its process.
    fn sleeper(&self, profile: &Profile) -> (Child, i32) {
        let command = Command::new("/bin/sleep").arguments(["600"]);
        let child = self.container().spawn(profile, command).unwrap();
        let mut process = None;
        until("it runs", || {
            let pid = self.containers().first().map(|folder| folder.join("pid"));
            let said = pid.and_then(|pid| fs::read_to_string(pid).ok());
            process = said.and_then(|said| said.trim().parse().ok());
            process.is_some()
        });
        (child, process.unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn is_gone(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[test]
fn a_program_runs_with_its_streams_and_nothing_is_left() {
    let place = Place::new();
    let input = place.folder.path().join("input");
    fs::write(&input, "hello\n").unwrap();
    let from = Input::From(fs::File::open(&input).unwrap().into());
    let command = Command::new("/bin/sh").arguments(["-c", "cat; echo err >&2"]).input(from);
    let container = place.container();
    assert_eq!(container.tier(), Tier::Container);
    let done = container.spawn(&Profile::default(), command).and_then(Child::wait).unwrap();
    assert!(done.outcome.is_success(), "{:?} {}", done.outcome, text(&done));
    assert_eq!((done.output.text(), done.errors.text()), ("hello\n".into(), "err\n".into()));
    let command = Command::new("/bin/sh").arguments(["-c", "exit 7"]);
    let done = container.spawn(&Profile::default(), command).and_then(Child::wait).unwrap();
    assert_eq!(done.outcome.end, End::Exit(7));
    assert!(place.containers().is_empty());
    let log = place.log();
    let verbs: Vec<&str> = log.lines().filter_map(|line| line.split(' ').next()).collect();
    let once = ["create", "start", "inspect", "kill", "rm"];
    assert_eq!(verbs, [&["info"][..], &once, &once].concat(), "nothing is ever pulled");
    assert!(log.contains("--network=none") && log.contains("--cap-drop=all"), "{log}");
    // The engine sees nothing of ours but where its own files are.
    let seen = fs::read_to_string(place.folder.path().join("environment")).unwrap();
    let known = ["HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST", "PATH", "CONTAINERS_CONF", "OLDPWD"];
    for line in seen.lines() {
        assert!(known.contains(&line.split('=').next().unwrap()), "{line}");
    }
}

#[test]
fn the_deadline_ends_the_container_and_so_does_whoever_lets_go() {
    let place = Place::new();
    let mut profile = Profile::default();
    profile.limits.deadline_ms = 1_500;
    let (child, process) = place.sleeper(&profile);
    let done = child.wait().unwrap();
    assert_eq!(
        (done.outcome.end, &done.outcome.limits[..]),
        (End::Signal(9), &[Limit::Deadline][..])
    );
    assert!(!done.outcome.asked && !done.outcome.survivors);
    assert!(is_gone(process) && place.containers().is_empty());

    let (child, process) = place.sleeper(&Profile::default());
    child.kill();
    assert!(child.wait().unwrap().outcome.asked);
    assert!(is_gone(process) && place.containers().is_empty());

    let (child, process) = place.sleeper(&Profile::default());
    drop(child);
    assert!(is_gone(process) && place.containers().is_empty());
}

#[test]
fn when_the_guard_is_killed_the_container_goes_and_the_caller_is_told() {
    let place = Place::new();
    let (child, process) = place.sleeper(&Profile::default());
    let guard = Pid::from_raw(i32::try_from(child.guard_id()).unwrap()).unwrap();
    kill_process(guard, Signal::KILL).unwrap();
    assert!(matches!(child.wait(), Err(Error::GuardLost)));
    until("the program is gone", || is_gone(process));
    assert!(place.containers().is_empty());
}

#[test]
fn what_is_left_when_all_of_us_are_killed_is_found_by_its_label() {
    let place = Place::new();
    let (child, _process) = place.sleeper(&Profile::default());
    // A guard that ended, and a later process under its number.
    let mut ended = process::Command::new("/bin/true").spawn().unwrap();
    ended.wait().unwrap();
    for (name, guard) in
        [("harness-sandbox-a", format!("{}.1", ended.id())), ("harness-sandbox-b", "1.0".into())]
    {
        let left = place.folder.path().join("containers").join(name);
        fs::create_dir(&left).unwrap();
        fs::write(left.join("guard"), guard).unwrap();
    }
    let mut gone = place.container().prune().unwrap();
    gone.sort();
    assert_eq!(gone, ["harness-sandbox-a", "harness-sandbox-b"]);
    assert_eq!(place.containers().len(), 1, "what runs stays");
    let space = fs::read_link("/proc/self/ns/pid").unwrap();
    let space: String = space.to_str().unwrap().chars().filter(char::is_ascii_digit).collect();
    let filter = format!("--filter label=harness.sandbox.space={space}");
    assert!(place.log().contains(&filter), "those of other process numbers are not judged");
    drop(child);
}

#[test]
fn a_program_of_a_job_sees_the_folder_of_that_job_alone() {
    let place = Place::new();
    let at = |name: &str| place.folder.path().join(name);
    fs::create_dir(at("repository")).unwrap();
    let script = "git init -q -b main . && : > file && git add file && \
                  git -c user.name=o -c user.email=o@example.com commit -q -m start";
    let mut made = process::Command::new("/bin/sh");
    made.args(["-c", script]).current_dir(at("repository"));
    assert!(made.env("HOME", "/dev/null").status().unwrap().success());
    let jobs = Worktrees::open(&at("jobs")).unwrap();
    let job = jobs.create("job", &at("repository"), Start::Head).unwrap();
    let command = Command::new("/bin/sh").arguments(["-c", "true"]);
    let container = place.container();
    let done = job.spawn(&container, &Profile::default(), command).and_then(Child::wait).unwrap();
    assert!(done.outcome.is_success(), "{}", text(&done));
    let tree = job.path().display().to_string();
    let log = place.log();
    let told = log.lines().find(|line| line.starts_with("create ")).unwrap();
    let opened: Vec<&str> = told
        .split(' ')
        .filter(|word| word.starts_with("--mount") || word.starts_with("--workdir"))
        .collect();
    let mount = format!("--mount=type=bind,source={tree},target={tree}");
    assert_eq!(opened, [&mount, &format!("--workdir={tree}")]);
}

#[test]
fn running_out_of_memory_is_told() {
    let place = Place::new();
    let script = "cd containers; for said in */oom; do echo true > $said; done; exit 137";
    let script =
        script.replace("containers", place.folder.path().join("containers").to_str().unwrap());
    let command = Command::new("/bin/sh").arguments(["-c", &script]);
    let child = place.container().spawn(&Profile::default(), command).unwrap();
    assert_eq!(child.wait().unwrap().outcome.limits, [Limit::Memory]);
}

#[test]
fn an_image_without_its_digest_or_that_is_not_there_is_refused() {
    let place = Place::new();
    let digest = "0".repeat(64);
    for image in [
        "debian".to_owned(),
        "debian:12".to_owned(),
        "debian@sha256:00".to_owned(),
        format!("debian@sha256:{}", digest.replace('0', "A")),
        format!("debian@sha512:{digest}"),
        format!("--privileged@sha256:{digest}"),
        format!("a b@sha256:{digest}"),
        format!("@sha256:{digest}"),
    ] {
        let error = place.find(&image).unwrap_err();
        assert_eq!(error.code(), "sandbox.profile", "{image}");
        assert!(error.to_string().contains("NAME@sha256:DIGEST"), "{error}");
    }
    let other = place.find(&format!("debian@sha256:{digest}")).unwrap();
    let error = other.spawn(&Profile::default(), Command::new("/bin/true")).unwrap_err();
    assert_eq!(error.code(), "sandbox.unenforceable");
    assert!(error.to_string().contains("image not known"), "{error}");
    assert!(place.containers().is_empty());
}

#[test]
fn an_engine_that_has_privileges_or_holds_nothing_is_refused() {
    let place = Place::new();
    for (from, to, what) in [
        ("\"rootless\":true", "\"rootless\":false", "privileges of root"),
        ("\"seccompEnabled\":true", "\"seccompEnabled\":false", "no system calls"),
        ("\"v2\"", "\"v1\"", "control groups v2"),
        ("\"memory\",", "", "control groups v2"),
        (",\"pids\"", "", "control groups v2"),
        ("{\"host\"", "", "its facts"),
        ("\"rootless\":true,", "", "privileges of root"),
    ] {
        fs::write(place.folder.path().join("info"), FACTS.replace(from, to)).unwrap();
        let error = place.find(IMAGE).unwrap_err();
        assert_eq!(error.code(), "sandbox.unenforceable");
        assert!(error.to_string().contains(what), "{error}");
    }
    let facts = r#"{"SecurityOptions":["name=seccomp,profile=builtin","name=rootless","name=cgroupns"],
                    "CgroupVersion":"2","MemoryLimit":true,"PidsLimit":true}"#;
    for (facts, fits) in [(facts.to_owned(), true), (facts.replace("rootless", "x"), false)] {
        fs::write(place.folder.path().join("info"), facts).unwrap();
        let found = Container::with_engine(Engine::Docker, &place.engine, IMAGE);
        assert_eq!(found.is_ok(), fits);
    }
    let absent = Container::with_engine(Engine::Podman, Path::new("/nowhere"), IMAGE);
    assert_eq!(absent.unwrap_err().code(), "sandbox.unenforceable");
}

/// The same promises against an engine of the machine: `HARNESS_TEST_IMAGE` names an image that is there.
#[test]
fn an_engine_of_this_machine_holds_what_is_promised() {
    let Ok(image) = std::env::var("HARNESS_TEST_IMAGE") else {
        println!("skipped: container: HARNESS_TEST_IMAGE names no image with a shell");
        return;
    };
    let container = match Container::find(&image) {
        Ok(found) => found.with_launcher(launcher()),
        Err(error) => {
            println!("skipped: container: {error}");
            return;
        }
    };
    let run = |profile: &Profile, script: &str| {
        let command = Command::new("/bin/sh").arguments(["-c", script]);
        container.spawn(profile, command).and_then(Child::wait).unwrap()
    };
    let mut profile = Profile::default();
    let done =
        run(&profile, "ls /sys/class/net; echo x > /x; echo y > /tmp/y && cat /tmp/y; exit 7");
    assert_eq!((done.output.text().as_str(), done.outcome.end), ("lo\ny\n", End::Exit(7)));
    let shared = folder();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o777)).unwrap();
    profile.paths.write.push(shared.path().to_owned());
    run(&profile, &format!("echo made > {}/made", shared.path().display()));
    assert_eq!(fs::read_to_string(shared.path().join("made")).unwrap(), "made\n");
    profile.limits.deadline_ms = 5_000;
    assert_eq!(run(&profile, "sleep 600").outcome.limits, [Limit::Deadline]);
    assert!(container.prune().unwrap().is_empty());
}
