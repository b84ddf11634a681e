//! A folder for each job, and the way back into a branch: C225 (parallel jobs never see each other; merge preview).

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process,
};

use proptest::prelude::*;
use sandbox::{
    Author, Bounds, Change, Child, Command, Error, Kept, Kind, Preview, Profile, Start, Tier, Way,
    Worktree, Worktrees,
};

use super::{
    endings::until,
    folder, launcher, local, runs,
    snapshots::{change, changes, told},
    text,
};

const MAIN: Start<'static> = Start::Branch("main");

fn author() -> Author {
    Author { name: "A. Job".into(), email: "job@example.com".into(), at_s: 1_700_000_000 }
}

/// What the owner of a repository does in it.
fn git(at: &Path, words: &[&str]) -> String {
    let mut command = process::Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.args(["-c", "user.name=Owner", "-c", "user.email=owner@example.com", "-C"]);
    command.arg(at).args(["-c", "core.hooksPath=/dev/null"]).args(words);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "git {words:?}: {said}");
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

fn commit(at: &Path, message: &str) {
    git(at, &["add", "-A"]);
    git(at, &["commit", "-q", "-m", message]);
}

struct Place {
    folder: tempfile::TempDir,
    repository: PathBuf,
    jobs: Worktrees,
}

/// A repository with a few files, its checkout in use, and a folder for jobs.
fn place() -> Place {
    place_with(&[])
}

fn place_with(options: &[&str]) -> Place {
    let folder = folder();
    let repository = folder.path().join("repository");
    fs::create_dir(&repository).unwrap();
    git(&repository, &[&["init", "-q", "-b", "main"], options].concat());
    fs::create_dir(repository.join("src")).unwrap();
    fs::write(repository.join("src/a"), "1\n2\n3\n4\n5\n6\n7\n8\n").unwrap();
    fs::write(repository.join("src/b"), "b\n").unwrap();
    fs::write(repository.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(repository.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(repository.join(".gitignore"), "target/\n").unwrap();
    symlink("src/b", repository.join("link")).unwrap();
    commit(&repository, "start");
    let jobs = Worktrees::open(&folder.path().join("jobs")).unwrap();
    Place { folder, repository, jobs }
}

impl Place {
    fn job(&self, name: &str) -> Worktree {
        self.jobs.create(name, &self.repository, MAIN).unwrap()
    }

    fn stands_at(&self, branch: &str) -> String {
        git(&self.repository, &["rev-parse", branch])
    }

    /// What a branch holds at a path.
    fn held(&self, branch: &str, path: &str) -> String {
        git(&self.repository, &["show", &format!("{branch}:{path}")])
    }
}

fn preview(job: &Worktree, branch: &str) -> Preview {
    job.preview(branch, &author()).unwrap()
}

fn apply(job: &Worktree, preview: &Preview) -> Result<sandbox::Applied, Error> {
    job.apply(preview, &author(), "what the job did\n")
}

fn listed(preview: &Preview) -> Vec<(String, Kind)> {
    let told = |Change { path, kind }: &Change| (path.display().to_string(), *kind);
    preview.changes.iter().map(told).collect()
}

fn refused(result: Result<impl std::fmt::Debug, Error>, code: &str, what: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

fn sh(job: &Worktree, script: &str) -> String {
    let command = Command::new("/bin/sh").arguments(["-c", script]);
    let sandbox = local(Tier::Isolated);
    let done = job.spawn(&sandbox, &Profile::default(), command).and_then(Child::wait).unwrap();
    assert!(done.outcome.is_success(), "{}", text(&done));
    done.output.text()
}

#[test]
fn jobs_at_one_time_never_see_each_other_and_the_repository_stays_as_it_is() {
    if !runs(Tier::Isolated) {
        return;
    }
    let place = place();
    // Work that is not committed, which no job sees and none takes away.
    fs::write(place.repository.join("src/a"), "not committed\n").unwrap();
    fs::write(place.repository.join("new"), "not added\n").unwrap();
    let before = told(&place.repository);
    let (one, two) = (place.job("one"), place.job("two"));
    let other = two.path().display().to_string();
    let repository = place.repository.display().to_string();
    let script = format!(
        "pwd; cat src/b link; ls; echo one > src/mine; \
         for path in {other} {repository} ../git ../job.json; do ls $path 2>/dev/null; done; \
         echo x 2>/dev/null > ../x; echo x 2>/dev/null > {other}/x; true"
    );
    let seen = sh(&one, &script);
    assert_eq!(seen, format!("{}\nb\nb\nlink\nrun\nsrc\n", one.path().display()));
    assert_eq!(sh(&two, "ls src; echo two > src/mine; cat src/a | wc -l"), "a\nb\n8\n");
    for (job, line) in [(&one, "+one"), (&two, "+two")] {
        let preview = preview(job, "main");
        assert_eq!(preview.way, Way::FastForward);
        assert_eq!(listed(&preview), [("src/mine".to_owned(), Kind::Added)]);
        assert!(preview.diff.text().contains(line), "{}", preview.diff.text());
    }
    assert_eq!(told(&place.repository), before, "not one byte of it is different");
}

#[test]
fn what_was_shown_comes_into_a_branch_new_forward_or_three_ways() {
    let place = place();
    let job = place.job("job");
    let tree = job.path();
    fs::write(tree.join("src/a"), "one\n2\n3\n4\n5\n6\n7\n8\n").unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    fs::create_dir(tree.join("link")).unwrap();
    fs::write(tree.join("link/in"), "in\n").unwrap();
    fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o644)).unwrap();
    symlink("/etc/passwd", tree.join("out")).unwrap();
    fs::hard_link(tree.join("src/b"), tree.join("same")).unwrap();
    fs::create_dir_all(tree.join("target/deep")).unwrap();
    fs::write(tree.join("target/deep/big"), "built\n").unwrap();
    fs::write(tree.join(":!x"), "a name that is more to `git`\n").unwrap();

    let new = preview(&job, "fresh");
    assert_eq!((new.way, new.ignored, new.stands_at.clone()), (Way::NewBranch, 1, None));
    let changes = [
        (":!x", Kind::Added),
        ("link", Kind::Deleted),
        ("link/in", Kind::Added),
        ("out", Kind::Added),
        ("run", Kind::Changed),
        ("same", Kind::Added),
        ("src/a", Kind::Changed),
    ];
    assert_eq!(listed(&new), changes.map(|(path, kind)| (path.to_owned(), kind)));
    assert!(new.diff.text().contains("-1\n+one\n"), "{}", new.diff.text());
    let done = apply(&job, &new).unwrap();
    assert_eq!(place.stands_at("fresh"), done.commit);
    assert_eq!(place.held("fresh", "out"), "/etc/passwd", "the link, and not what it leads to");
    assert_eq!(place.held("fresh", "same"), "b");
    let modes = git(&place.repository, &["ls-tree", "fresh", "run", "out"]);
    assert!(modes.starts_with("120000") && modes.contains("\n100644"), "{modes}");
    let told = git(&place.repository, &["log", "-1", "--format=%an %ae %at %s", "fresh"]);
    assert_eq!(told, "A. Job job@example.com 1700000000 what the job did");
    assert_eq!(git(&place.repository, &["rev-parse", "fresh^"]), job.base());
    git(&place.repository, &["fsck", "--strict"]);

    // Again: the branch has it.
    let again = preview(&job, "fresh");
    assert_eq!((again.way, again.changes.len()), (Way::Nothing, 0));
    refused(apply(&job, &again), "sandbox.branch", "has all of it");

    // A branch where the job started goes forward; one that went on is merged.
    git(&place.repository, &["branch", "still"]);
    let forward = preview(&job, "still");
    assert_eq!(forward.way, Way::FastForward);
    apply(&job, &forward).unwrap();
    assert_eq!(git(&place.repository, &["rev-parse", "still^"]), job.base());
    fs::write(place.repository.join("src/a"), "1\n2\n3\n4\n5\n6\n7\neight\n").unwrap();
    commit(&place.repository, "went on");
    git(&place.repository, &["branch", "moved"]);
    let before = place.stands_at("moved");
    let merge = preview(&job, "moved");
    assert_eq!((merge.way, merge.conflicts.len()), (Way::ThreeWay, 0));
    assert_eq!(place.stands_at("moved"), before, "a preview changes nothing");
    let done = apply(&job, &merge).unwrap();
    assert_eq!(done.stood_at.as_deref(), Some(before.as_str()));
    assert_eq!(place.held("moved", "src/a"), "one\n2\n3\n4\n5\n6\n7\neight");
    assert_eq!(git(&place.repository, &["rev-parse", "moved^1"]), before);
    assert_eq!(git(&place.repository, &["rev-parse", "moved^2^"]), job.base());
}

#[test]
fn what_would_overwrite_somebodys_work_is_refused() {
    let place = place();
    let job = place.job("job");
    fs::write(job.path().join("src/a"), "mine\n").unwrap();
    fs::write(job.path().join("src/new"), "new\n").unwrap();
    git(&place.repository, &["branch", "other"]);

    // The branch of a checkout, and what is not committed there.
    fs::write(place.repository.join("src/b"), "not committed\n").unwrap();
    let before = told(&place.repository);
    let checked_out = preview(&job, "main");
    refused(apply(&job, &checked_out), "sandbox.branch", "is checked out in");
    assert_eq!(told(&place.repository), before);
    let second = place.folder.path().join("second");
    git(&place.repository, &["worktree", "add", "-q", second.to_str().unwrap(), "other"]);
    refused(apply(&job, &preview(&job, "other")), "sandbox.branch", "/second;");
    git(&place.repository, &["worktree", "remove", "--force", second.to_str().unwrap()]);

    // A branch that moved between the look and the deed, also where it is new.
    let (old, new) = (preview(&job, "other"), preview(&job, "fresh"));
    git(&place.repository, &["stash", "-q"]);
    fs::write(place.repository.join("src/a"), "theirs\n").unwrap();
    commit(&place.repository, "theirs");
    git(&place.repository, &["branch", "-f", "other", "main"]);
    git(&place.repository, &["branch", "fresh", "main"]);
    let theirs = place.stands_at("main");
    for shown in [&old, &new] {
        refused(apply(&job, shown), "sandbox.branch", "moved since the preview");
    }

    // Both changed the same lines.
    let conflict = preview(&job, "other");
    assert_eq!((conflict.way, &conflict.conflicts), (Way::Conflict, &vec!["src/a".into()]));
    assert!(conflict.diff.text().contains("+mine"), "{}", conflict.diff.text());
    refused(apply(&job, &conflict), "sandbox.branch", "1 paths conflict, `src/a`");
    for branch in ["main", "other", "fresh"] {
        assert_eq!(place.stands_at(branch), theirs);
    }
    // A branch that stands for another would have that one set.
    git(&place.repository, &["symbolic-ref", "refs/heads/alias", "refs/heads/other"]);
    for name in ["alias", "-x", "a..b", "", "x\ny", "a b"] {
        refused(job.preview(name, &author()), "sandbox.branch", "");
    }
}

/// What a repository can have run by whoever works with it: each writes to the same file.
fn make_hostile(repository: &Path, canary: &Path) {
    let run = format!("sh -c 'echo \"$0\" >> {}; cat' ", canary.display());
    for name in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.askPass",
        "core.alternateRefsCommand",
        "credential.helper",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "merge.evil.driver",
        "uploadpack.packObjectsHook",
        "gpg.program",
        "pager.diff-tree",
        "pager.worktree",
    ] {
        git(repository, &["config", name, &format!("{run}{name}")]);
    }
    git(repository, &["config", "filter.evil.required", "true"]);
    git(repository, &["config", "commit.gpgSign", "true"]);
    git(repository, &["config", "merge.default", "evil"]);
    let hooks = repository.join("own-hooks");
    fs::create_dir_all(&hooks).unwrap();
    for folder in [repository.join(".git/hooks"), hooks.clone()] {
        fs::create_dir_all(&folder).unwrap();
        for name in ["post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"] {
            let hook = format!("#!/bin/sh\necho {name} >> {}\n", canary.display());
            fs::write(folder.join(name), hook).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    git(repository, &["config", "core.hooksPath", hooks.to_str().unwrap()]);
    let info = repository.join(".git/info");
    fs::create_dir_all(&info).unwrap();
    fs::write(info.join("attributes"), "* filter=evil diff=evil merge=evil\n").unwrap();
}

#[test]
fn nothing_that_a_repository_brings_along_runs() {
    let place = place();
    let canary = place.folder.path().join("canary");
    let attributes = "* filter=evil diff=evil merge=evil text eol=crlf ident\n";
    fs::write(place.repository.join(".gitattributes"), attributes).unwrap();
    fs::write(place.repository.join("src/b"), "$Id$\n").unwrap();
    commit(&place.repository, "names what is set later");
    git(&place.repository, &["branch", "went"]);
    git(&place.repository, &["checkout", "-q", "went"]);
    fs::write(place.repository.join("src/a"), "1\n2\n3\n4\n5\n6\n7\neight\n").unwrap();
    commit(&place.repository, "went on");
    git(&place.repository, &["checkout", "-q", "--detach"]);
    make_hostile(&place.repository, &canary);
    let job = place.job("job");
    assert_eq!(fs::read_to_string(job.path().join("src/b")).unwrap(), "$Id$\n", "as it is kept");
    fs::write(job.path().join("src/a"), "one\n2\n3\n4\n5\n6\n7\n8\n").unwrap();
    for branch in ["went", "main", "fresh"] {
        let shown = preview(&job, branch);
        assert!(shown.diff.text().contains("+one\n"), "{}", shown.diff.text());
        apply(&job, &shown).unwrap();
    }
    assert_eq!(place.held("went", "src/a"), "one\n2\n3\n4\n5\n6\n7\neight");
    assert_eq!(fs::read_to_string(&canary).unwrap_or_default(), "", "nothing of it ran");
    // It does run for whoever takes it in: the test would see it.
    let script = format!("cd {} && git status", place.repository.display());
    process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    assert!(fs::read_to_string(&canary).unwrap().contains("core.fsmonitor"));
}

#[test]
fn nothing_of_what_a_job_leaves_is_taken_for_more_than_bytes() {
    if !runs(Tier::Isolated) {
        return;
    }
    let place = place();
    let canary = place.folder.path().join("canary");
    let job = place.job("job");
    // What a job can do to whoever runs `git` in its folder.
    for at in ["", "src/", "deep/"] {
        let inner = job.path().join(at);
        fs::create_dir_all(&inner).unwrap();
        git(&inner, &["init", "-q"]);
        make_hostile(&inner, &canary);
        fs::remove_dir_all(inner.join("own-hooks")).unwrap();
    }
    fs::write(job.path().join("deep/.gitattributes"), "* filter=evil\n").unwrap();
    fs::create_dir(job.path().join("deep/.GIT")).unwrap();
    fs::write(job.path().join("deep/.GIT/config"), "x").unwrap();
    let odd = OsStr::from_bytes(b"odd \xff\n\"\\D src");
    fs::write(job.path().join(odd), "odd\n").unwrap();
    sh(
        &job,
        "mkfifo pipe; echo x > src/b; ln -s ../../../secret up; rm -r src/a; ln -s /etc src/a",
    );
    let shown = preview(&job, "fresh");
    let mut left_out: Vec<String> =
        shown.left_out.iter().map(|path| path.display().to_string()).collect();
    left_out.sort();
    assert_eq!(left_out, [".git", "deep/.GIT", "deep/.git", "pipe", "src/.git"]);
    let changed: Vec<&Path> = shown.changes.iter().map(|change| change.path.as_path()).collect();
    let expected = ["deep/.gitattributes", "odd", "src/a", "src/b", "up"].map(Path::new);
    let expected: Vec<&Path> =
        expected.iter().map(|p| if *p == Path::new("odd") { Path::new(odd) } else { p }).collect();
    assert_eq!(changed, expected);
    apply(&job, &shown).unwrap();
    assert_eq!(place.held("fresh", "src/a"), "/etc");
    git(&place.repository, &["fsck", "--strict"]);
    assert!(!canary.exists(), "{}", fs::read_to_string(&canary).unwrap_or_default());
    // Where `git` would read, a pipe could keep it waiting, and a link lead it elsewhere.
    let secret = place.folder.path().join("secret");
    fs::write(&secret, "src/b\nup\n").unwrap();
    fs::remove_file(job.path().join(".gitignore")).unwrap();
    symlink(&secret, job.path().join(".gitignore")).unwrap();
    fs::write(job.path().join("more"), "").unwrap();
    assert_eq!(preview(&job, "other").ignored, 0);
    sh(&job, "rm .gitignore; mkfifo .gitignore");
    refused(job.preview("other", &author()), "sandbox.tree", ".gitignore");
}

#[test]
fn git_sees_nothing_of_the_environment() {
    let place = place();
    let (seen, own) = (place.folder.path().join("seen"), place.folder.path().join("git"));
    let script = format!("#!/bin/sh\nenv >> {}\nexec git \"$@\"\n", seen.display());
    fs::write(&own, script).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok(), "the test has something to hide");
    if !["/usr/bin/git", "/bin/git"].iter().any(|git| Path::new(git).exists()) {
        // The script finds it where its `PATH` does not.
        let found = path.split(':').map(|at| Path::new(at).join("git")).find(|at| at.exists());
        let found = found.unwrap().display().to_string();
        let script = format!("#!/bin/sh\nenv >> {}\nexec {found} \"$@\"\n", seen.display());
        fs::write(&own, script).unwrap();
    }
    let jobs = place.jobs.clone().with_git(&own);
    let job = jobs.create("job", &place.repository, Start::Head).unwrap();
    fs::write(job.path().join("new"), "").unwrap();
    apply(&job, &preview(&job, "fresh")).unwrap();
    let seen = fs::read_to_string(&seen).unwrap();
    let names: BTreeSet<&str> = seen.lines().filter_map(|line| line.split('=').next()).collect();
    let foreign = names.iter().filter(|name| {
        let ours = name.starts_with("GIT_") || name.ends_with("_ASKPASS");
        !ours
            && !["PATH", "LC_ALL", "HOME", "XDG_CONFIG_HOME", "PWD", "_", "SHLVL", "OLDPWD"]
                .contains(name)
    });
    assert_eq!(foreign.count(), 0, "{names:?}");
    for line in ["HOME=/dev/null", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"] {
        assert!(seen.lines().any(|seen| seen == line), "{line}");
    }
}

#[test]
fn what_killed_processes_left_is_found_and_removed() {
    let place = place();
    let running = place.job("running");
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    // The kernel lets go of what a killed process held, as this does.
    drop(place.job("killed"));
    drop(place.job("later"));
    fs::create_dir(place.folder.path().join("jobs/half")).unwrap();
    fs::create_dir(place.folder.path().join("jobs/.going-0")).unwrap();
    refused(place.jobs.create("later", &place.repository, MAIN), "sandbox.tree", "there already");
    refused(place.jobs.resume("running").map(drop), "sandbox.tree", "in use by a process");
    refused(place.jobs.resume("half").map(drop), "sandbox.tree", "no folder of a job");
    let keep = BTreeSet::from(["later".to_owned(), "half".to_owned()]);
    assert_eq!(place.jobs.prune(&keep).unwrap(), names(&["half", "killed"]));
    assert_eq!(place.jobs.list().unwrap(), names(&["later", "running"]));
    assert!(running.path().join("src/a").exists());
    assert!(!place.folder.path().join("jobs/.going-0").exists());
    running.remove().unwrap();
    assert_eq!(place.jobs.list().unwrap(), names(&["later"]));

    // The next day: what was changed is there.
    let later = place.jobs.resume("later").unwrap();
    fs::write(later.path().join("src/b"), "later\n").unwrap();
    let first = preview(&later, "fresh");
    drop(later);
    let later = place.jobs.resume("later").unwrap();
    assert_eq!(preview(&later, "fresh"), first, "the same commit, too");
    apply(&later, &first).unwrap();
    assert_eq!(place.held("fresh", "src/b"), "later");
}

#[test]
fn whoever_is_killed_at_any_time_leaves_nothing_that_is_not_found() {
    if !runs(Tier::Isolated) {
        return;
    }
    let place = place();
    let at = place.folder.path().join("jobs");
    // At the first word its folder is being made, at the second a program runs in it.
    for words in [1, 2] {
        let mut command = process::Command::new(launcher());
        command.args(["job", at.to_str().unwrap(), "killed"]).arg(&place.repository);
        let mut harness = command.stdout(process::Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(harness.stdout.take().unwrap()).lines().take(words);
        let last = said.last().unwrap().unwrap();
        if words == 2 {
            assert_eq!(place.jobs.prune(&BTreeSet::new()).unwrap(), [""; 0], "it is in use");
        }
        harness.kill().unwrap();
        harness.wait().unwrap();
        let keep = BTreeSet::new();
        until("its folder is found", || {
            let gone = place.jobs.prune(&keep).unwrap();
            gone == ["killed"] || words == 1 && place.jobs.list().unwrap().is_empty()
        });
        assert!(place.jobs.list().unwrap().is_empty());
        if let Ok(process) = last.parse::<i32>() {
            until("its program is gone", || !Path::new(&format!("/proc/{process}")).exists());
        }
    }
    let left: Vec<_> = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_program_of_a_job_is_held_by_the_isolated_tier_and_the_report_says_by_what() {
    if !runs(Tier::Isolated) {
        return;
    }
    let place = place();
    let (job, _other) = (place.job("job"), place.job("other"));
    let command = || Command::new("/usr/bin/true");
    let isolated = local(Tier::Isolated);
    let plain = Profile::default();
    refused(job.spawn(&local(Tier::Restricted), &plain, command()), "sandbox.profile", "isolated");
    let mut writes = plain.clone();
    writes.paths.write.push(place.repository.clone());
    refused(job.spawn(&isolated, &writes, command()), "sandbox.profile", "to no other");
    for shown in ["jobs", "jobs/other/tree", "."] {
        let mut shows = plain.clone();
        shows.paths.read.push(place.folder.path().join(shown));
        refused(job.spawn(&isolated, &shows, command()), "sandbox.profile", "other jobs");
    }
    let alone = job.separation(None).unwrap();
    assert_eq!((alone.changes, alone.files, alone.processes), (Kept::ByFolder, Kept::No, Kept::No));
    assert_eq!(alone.limits, None);
    let held = job.separation(Some((&isolated, &plain))).unwrap();
    assert_eq!(
        (held.files, held.processes, held.size),
        (Kept::BySandbox, Kept::BySandbox, Kept::No)
    );
    assert!(held.limits.is_some());
}

#[test]
fn what_is_too_much_or_no_name_is_refused_and_nothing_is_left() {
    let place = place();
    let small = |entries, bytes| place.jobs.clone().with_bounds(Bounds { entries, bytes });
    for (jobs, what) in [(small(3, 1 << 20), "3 entries"), (small(100, 20), "20 bytes")] {
        refused(jobs.create("job", &place.repository, MAIN).map(drop), "sandbox.tree", what);
        assert!(place.jobs.list().unwrap().is_empty());
    }
    for name in ["", "..", "a/b", "lock", ".hidden", "x y", &"n".repeat(65)] {
        refused(place.jobs.create(name, &place.repository, MAIN).map(drop), "sandbox.tree", "name");
    }
    let absent = Start::Branch("absent");
    refused(
        place.jobs.create("job", &place.repository, absent).map(drop),
        "sandbox.branch",
        "no such",
    );
    // No repository further up is taken.
    let inside = place.repository.join("src");
    refused(
        place.jobs.create("job", &inside, MAIN).map(drop),
        "sandbox.git",
        "not a git repository",
    );
    let job = small(100, 1 << 20).create("job", &place.repository, MAIN).unwrap();
    fs::File::create(job.path().join("hole")).unwrap().set_len(2 << 20).unwrap();
    refused(
        job.preview("fresh", &author()),
        "sandbox.tree",
        "hole: is more than the 1048576 bytes",
    );
    fs::remove_file(job.path().join("hole")).unwrap();
    let nobody = Author { name: "x\ncommitter y".into(), ..author() };
    fs::write(job.path().join("new"), "").unwrap();
    refused(job.preview("fresh", &nobody), "sandbox.git", "author");
    let shown = preview(&job, "fresh");
    refused(job.apply(&shown, &author(), " \n"), "sandbox.git", "message");
}

#[test]
fn repositories_of_every_shape_can_be_worked_with() {
    // Names of objects by SHA-256.
    let place = place_with(&["--object-format=sha256"]);
    let job = place.job("job");
    fs::write(job.path().join("new"), "new\n").unwrap();
    assert_eq!(apply(&job, &preview(&job, "fresh")).unwrap().commit.len(), 64);

    let place = self::place();
    fs::write(place.repository.join("src/b"), "b2\n").unwrap();
    git(&place.repository, &["add", "src/b"]);
    // Another repository in it stays as it is, and what a job puts there is named.
    let head = place.stands_at("main");
    git(
        &place.repository,
        &["update-index", "--add", "--cacheinfo", &format!("160000,{head},sub")],
    );
    git(&place.repository, &["commit", "-q", "-m", "second"]);
    let at = |name: &str| place.folder.path().join(name);
    let from = format!("file://{}", place.repository.display());
    git(place.folder.path(), &["clone", "-q", "--bare", &from, "bare"]);
    git(place.folder.path(), &["clone", "-q", "--depth", "1", &from, "shallow"]);
    git(&place.repository, &["worktree", "add", "-q", at("linked").to_str().unwrap(), "-b", "l"]);
    for (name, branch) in [("bare", "main"), ("shallow", "fresh"), ("linked", "fresh")] {
        let job = place.jobs.create(name, &at(name), Start::Head).unwrap();
        assert!(preview(&job, branch).changes.is_empty(), "{name}");
        fs::write(job.path().join("src/b"), "b3\n").unwrap();
        let shown = preview(&job, branch);
        assert_eq!(listed(&shown), [("src/b".to_owned(), Kind::Changed)], "{name}");
        fs::write(job.path().join("sub/mine"), "").unwrap();
        assert_eq!(preview(&job, branch).left_out, [PathBuf::from("sub")]);
        let done = apply(&job, &shown).unwrap();
        assert_eq!(git(&at(name), &["rev-parse", branch]), done.commit);
        assert_eq!(git(&at(name), &["show", &format!("{branch}:src/b")]), "b3");
        let sub = git(&at(name), &["ls-tree", branch, "sub"]);
        assert!(sub.starts_with("160000"), "{sub}");
    }
}

/// What a repository keeps of a tree: no folders, and of permissions whether it is a program.
fn kept(tree: &Path) -> Vec<(PathBuf, bool, bool, Vec<u8>)> {
    let all = told(tree).into_iter().filter(|(_, (_, kind, _))| kind != "folder");
    all.map(|(path, (mode, kind, held))| (path, mode & 0o100 != 0, kind == "link", held)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn whatever_a_job_leaves_is_what_the_branch_holds(first in changes(), then in changes()) {
        let place = place();
        let job = place.job("one");
        change(&job.path(), &first);
        let shown = preview(&job, "fresh");
        let start = match shown.changes.is_empty() {
            true => MAIN,
            false => {
                apply(&job, &shown).unwrap();
                Start::Branch("fresh")
            }
        };
        let next = place.jobs.create("two", &place.repository, start).unwrap();
        prop_assert_eq!(kept(&next.path()), kept(&job.path()));
        change(&next.path(), &then);
        let shown = preview(&next, "last");
        if !shown.changes.is_empty() {
            apply(&next, &shown).unwrap();
            let last = place.jobs.create("last", &place.repository, Start::Branch("last")).unwrap();
            prop_assert_eq!(kept(&last.path()), kept(&next.path()));
        }
    }
}
