use std::{fs, path::PathBuf};

use sandbox::{Change, Command, Kind, Profile, Sandbox, Tier, Workspace, diff};

use super::{folder, sh, text};

#[test]
fn changes_go_to_the_upper_folder_and_are_listed() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let folder = folder();
    let (lower, upper) = (folder.path().join("lower"), folder.path().join("upper"));
    fs::create_dir_all(lower.join("gone/deep")).unwrap();
    fs::create_dir_all(lower.join("again")).unwrap();
    fs::create_dir(&upper).unwrap();
    for path in ["kept", "touched", "changed", "removed", "gone/deep/x", "again/old", "moded"] {
        fs::write(lower.join(path), path).unwrap();
    }
    let workspace = Workspace { lower: lower.clone(), upper, at: "/job".into() };
    assert_eq!(diff(&workspace).unwrap(), []);
    let mut profile = Profile { folder: Some("/job".into()), ..Profile::default() };
    profile.mounts.workspace = Some(workspace.clone());
    let script = "set -e; cat kept; echo more >> changed; : >> touched; rm removed; rm -r gone; \
                  rm -r again; mkdir again; echo n > again/new; mkdir added; echo f > added/file; \
                  ln -s kept link; chmod 600 moded";
    let finished = sh(Tier::Isolated, &profile, script);
    assert!(finished.outcome.is_success(), "{}", text(&finished));
    assert_eq!(finished.output.text(), "kept");
    let changes: Vec<(String, Kind)> = diff(&workspace)
        .unwrap()
        .into_iter()
        .map(|Change { path, kind }| (path.display().to_string(), kind))
        .collect();
    let expected = [
        ("added", Kind::Added),
        ("added/file", Kind::Added),
        ("again/new", Kind::Added),
        ("again/old", Kind::Deleted),
        ("changed", Kind::Changed),
        ("gone", Kind::Deleted),
        ("link", Kind::Added),
        ("moded", Kind::Changed),
        ("removed", Kind::Deleted),
    ];
    let expected = expected.map(|(path, kind)| (path.to_owned(), kind));
    assert_eq!(changes, expected);
    assert_eq!(fs::read_to_string(lower.join("changed")).unwrap(), "changed");
    assert!(lower.join("gone/deep/x").exists() && !lower.join("added").exists());
    assert!(!workspace.upper.join("work").exists(), "what overlayfs works in is gone");

    // The next program goes on where the last one was.
    let finished = sh(Tier::Isolated, &profile, "cat changed added/file; ls again");
    assert_eq!(finished.output.text(), "changedmore\nf\nnew\n", "{}", text(&finished));
}

#[test]
fn two_workspaces_on_one_folder_do_not_see_each_other() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let folder = folder();
    let lower = folder.path().join("lower");
    fs::create_dir(&lower).unwrap();
    let make = |name: &str| {
        let upper = folder.path().join(name);
        fs::create_dir(&upper).unwrap();
        let mut profile = Profile { folder: Some("/job".into()), ..Profile::default() };
        let at = PathBuf::from("/job");
        profile.mounts.workspace = Some(Workspace { lower: lower.clone(), upper, at });
        profile
    };
    let (one, two) = (make("one"), make("two"));
    assert!(sh(Tier::Isolated, &one, "echo 1 > file").outcome.is_success());
    assert_eq!(sh(Tier::Isolated, &two, "ls").output.text(), "");
    assert_eq!(sh(Tier::Isolated, &one, "cat file").output.text(), "1\n");
    assert_eq!(fs::read_dir(&lower).unwrap().count(), 0);
}

#[test]
fn a_workspace_that_cannot_be_is_refused_by_name() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let folder = folder();
    let (lower, upper) = (folder.path().join("lower"), folder.path().join("upper"));
    fs::create_dir(&lower).unwrap();
    let mut profile = Profile::default();
    let mut refuses = |upper: &PathBuf, code: &str, what: &str| {
        let at = PathBuf::from("/job");
        let workspace = Workspace { lower: lower.clone(), upper: upper.clone(), at };
        profile.mounts.workspace = Some(workspace);
        let command = Command::new("/usr/bin/true");
        let error = super::local(Tier::Isolated).spawn(&profile, command).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    refuses(&upper, "sandbox.profile", "mounts.workspace.upper");
    refuses(&lower, "sandbox.profile", "mounts.workspace.upper");
    // Nothing can be made in there.
    refuses(&PathBuf::from("/proc/sys"), "sandbox.unenforceable", "overlay");
}
