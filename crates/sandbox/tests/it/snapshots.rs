//! Trees that are kept: C221 (take, branch two ways, restore, hash-equal), C222 (artifacts out), C224 (go on later).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use sandbox::{Bounds, Digest, Item, Profile, Snapshots, Source, Tier, Workspace};

use super::{folder, sh, text};

/// A tree as the system shows it, told by other means than those that are tested: permissions, kind, content, and the
/// first name of what has several.
pub(crate) fn told(top: &Path) -> BTreeMap<PathBuf, (u32, String, Vec<u8>)> {
    let mut told = BTreeMap::new();
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut open = vec![top.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = open.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.push(path);
    }
    all.sort();
    for path in all {
        let found = fs::symlink_metadata(&path).unwrap();
        let at = path.strip_prefix(top).unwrap().to_owned();
        let (kind, held) = if found.is_dir() {
            ("folder".to_owned(), Vec::new())
        } else if found.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            ("link".to_owned(), target.as_os_str().as_bytes().to_vec())
        } else {
            let name = first.entry(found.ino()).or_insert_with(|| at.clone());
            (format!("file {}", name.display()), fs::read(&path).unwrap())
        };
        let mode = if found.is_symlink() { 0 } else { found.mode() & 0o7777 };
        told.insert(at, (mode, kind, held));
    }
    told
}

fn snapshots(folder: &Path) -> Snapshots {
    Snapshots::open(folder.join("snapshots")).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything that a tree can hold.
fn make_tree(top: &Path) {
    fs::create_dir_all(top.join("deep/er")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("deep/er/run"), "#!/bin/sh\n").unwrap();
    mode(&top.join("deep/er/run"), 0o755);
    fs::write(top.join("deep/none"), "").unwrap();
    fs::write(top.join(OsStr::from_bytes(b"odd \xff\n%")), "odd").unwrap();
    fs::hard_link(top.join("deep/er/run"), top.join("also")).unwrap();
    fs::write(top.join("copy"), "#!/bin/sh\n").unwrap();
    symlink("/etc/passwd", top.join("link")).unwrap();
    symlink(OsStr::from_bytes(b"no\xfewhere"), top.join("deep/dangling")).unwrap();
    fs::create_dir(top.join("locked")).unwrap();
    fs::write(top.join("locked/in"), "in").unwrap();
    mode(&top.join("locked/in"), 0o400);
    mode(&top.join("locked"), 0o500);
    mode(top, 0o751);
}

#[test]
fn a_tree_comes_back_as_it_was_from_its_snapshot_alone() {
    let folder = folder();
    let (tree, back) = (folder.path().join("tree"), folder.path().join("back"));
    make_tree(&tree);
    let before = told(&tree);
    let taken = snapshots(folder.path()).take(Source::Folder(&tree)).unwrap();
    assert_eq!(taken.manifest.bytes(), 25, "{:?}", taken.manifest);
    let same = taken.manifest.get(Path::new("deep/er/run")).unwrap();
    assert_eq!(*same, Item::Same { to: "also".into() });
    mode(&tree.join("locked"), 0o700);
    fs::remove_dir_all(&tree).unwrap();

    // The next day: another process that knows only the name.
    let later = snapshots(folder.path());
    let id: Digest = taken.id.to_string().parse().unwrap();
    assert_eq!(later.list().unwrap(), [id]);
    later.check(id).unwrap();
    later.restore(id, &back).unwrap();
    assert_eq!(told(&back), before);
    let again = later.take(Source::Folder(&back)).unwrap();
    assert_eq!((again.id, again.new_bytes), (id, 0));
    assert_eq!(fs::metadata(back.join("also")).unwrap().nlink(), 2);
}

#[test]
fn what_is_kept_is_kept_once_and_privately() {
    let folder = folder();
    let tree = folder.path().join("tree");
    make_tree(&tree);
    let kept = snapshots(folder.path());
    let first = kept.take(Source::Folder(&tree)).unwrap();
    assert_eq!(first.new_bytes, 15, "a copy and another name cost nothing");
    fs::write(tree.join("copy"), "other").unwrap();
    let second = kept.take(Source::Folder(&tree)).unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(second.new_bytes, 5);
    for path in files(&folder.path().join("snapshots")) {
        let most = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, most, "{}", path.display());
        for inner in path.is_dir().then(|| files(&path)).into_iter().flatten() {
            assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o7777, 0o600);
        }
    }
    assert!(files(&folder.path().join("snapshots/making")).is_empty());

    // What no snapshot needs goes, and so does what was never finished.
    fs::write(folder.path().join("snapshots/making/half"), "half").unwrap();
    let swept = kept.retain(&BTreeSet::from([second.id])).unwrap();
    assert_eq!((swept.snapshots, swept.blobs, swept.unfinished), (1, 0, 1));
    kept.check(second.id).unwrap();
    assert_eq!(kept.check(first.id).unwrap_err().code(), "sandbox.file");
    let swept = kept.retain(&BTreeSet::new()).unwrap();
    assert_eq!((swept.snapshots, swept.blobs), (1, 5));
    assert!(files(&folder.path().join("snapshots/blobs")).is_empty());
}

#[test]
fn damage_is_found_wherever_it_is_and_nothing_half_is_left() {
    let folder = folder();
    let tree = folder.path().join("tree");
    make_tree(&tree);
    let kept = snapshots(folder.path());
    let id = kept.take(Source::Folder(&tree)).unwrap().id;
    let damaged = |path: &Path, bytes: &[u8]| {
        let whole = fs::read(path).unwrap();
        fs::write(path, bytes).unwrap();
        for error in [
            kept.check(id).unwrap_err(),
            kept.restore(id, &folder.path().join("back")).unwrap_err(),
        ] {
            assert_eq!(error.code(), "sandbox.damaged", "{error}");
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(files(folder.path()).len(), 2, "nothing but the tree and what is kept");
        fs::write(path, whole).unwrap();
    };
    let blobs = files(&folder.path().join("snapshots/blobs"));
    assert_eq!(blobs.len(), 4);
    for blob in blobs.iter().chain([&folder.path().join("snapshots/trees").join(id.to_string())]) {
        let mut bytes = fs::read(blob).unwrap();
        bytes.push(b'x');
        damaged(blob, &bytes);
        bytes.pop();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
            damaged(blob, &bytes);
        }
    }
    kept.check(id).unwrap();
    fs::remove_file(&blobs[0]).unwrap();
    assert_eq!(kept.check(id).unwrap_err().code(), "sandbox.damaged");
    // A tree that still holds it makes it whole again.
    fs::write(&blobs[1], "rot").unwrap();
    assert_eq!(kept.take(Source::Folder(&tree)).unwrap().id, id);
    kept.check(id).unwrap();
}

#[test]
fn what_cannot_be_kept_is_refused_by_name() {
    let folder = folder();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let kept = snapshots(folder.path()).with_bounds(Bounds { entries: 4, bytes: 10 });
    let refused = |what: &str| {
        let error = kept.take(Source::Folder(&tree)).unwrap_err();
        assert_eq!(error.code(), "sandbox.tree", "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(kept.list().unwrap().is_empty());
    };
    let socket = UnixListener::bind(tree.join("socket")).unwrap();
    refused("socket: is a socket, a pipe or a device");
    drop(socket);
    fs::remove_file(tree.join("socket")).unwrap();
    // A hole costs no disk; it counts with its length.
    fs::File::create(tree.join("hole")).unwrap().set_len(11).unwrap();
    refused("hole: is more than the 10 bytes");
    fs::write(tree.join("hole"), "12345").unwrap();
    fs::write(tree.join("more"), "123456").unwrap();
    refused("more: is more than the 10 bytes");
    fs::write(tree.join("more"), "12345").unwrap();
    fs::create_dir(tree.join("a")).unwrap();
    fs::write(tree.join("z"), "").unwrap();
    refused("z: is more than the 4 entries");
    fs::remove_file(tree.join("z")).unwrap();
    kept.take(Source::Folder(&tree)).unwrap();
    mode(&tree.join("a"), 0o777);
    assert_eq!(Snapshots::open(tree.join("a")).unwrap_err().code(), "sandbox.tree");
    mode(&tree.join("a"), 0o755);
    let inside = Snapshots::open(tree.join("a")).unwrap();
    assert_eq!(inside.take(Source::Folder(&tree)).unwrap_err().code(), "sandbox.tree");
}

#[test]
fn whoever_keeps_and_whoever_clears_up_at_one_time_do_not_harm_each_other() {
    let folder = folder();
    let kept = snapshots(folder.path());
    let takers = ["one", "two", "three"].map(|name| {
        let tree = folder.path().join(name);
        fs::create_dir(&tree).unwrap();
        let kept = kept.clone();
        std::thread::spawn(move || {
            for round in 0..40 {
                // The same content in every tree, and some of its own.
                fs::write(tree.join("shared"), format!("round {}", round / 2)).unwrap();
                fs::write(tree.join("own"), format!("{name} {round}")).unwrap();
                let id = kept.take(Source::Folder(&tree)).unwrap().id;
                match kept.check(id) {
                    Ok(()) => {}
                    // It was cleared away as a whole.
                    Err(error) => assert_eq!(error.code(), "sandbox.file", "{error}"),
                }
            }
        })
    });
    while takers.iter().any(|taker| !taker.is_finished()) {
        kept.retain(&BTreeSet::new()).unwrap();
    }
    for taker in takers {
        taker.join().unwrap();
    }
    for id in kept.list().unwrap() {
        kept.check(id).unwrap();
    }
}

#[test]
fn nothing_is_restored_over_something_or_through_a_link() {
    let folder = folder();
    let tree = folder.path().join("tree");
    make_tree(&tree);
    let kept = snapshots(folder.path());
    let id = kept.take(Source::Folder(&tree)).unwrap().id;
    let (there, link) = (folder.path().join("there"), folder.path().join("link"));
    fs::create_dir(&there).unwrap();
    symlink(folder.path().join("elsewhere"), &link).unwrap();
    for to in [&there, &link] {
        assert_eq!(kept.restore(id, to).unwrap_err().code(), "sandbox.file");
        assert_eq!(kept.export(id, Path::new("copy"), to).unwrap_err().code(), "sandbox.file");
    }
    assert!(files(&there).is_empty() && !folder.path().join("elsewhere").exists());
    assert_eq!(files(folder.path()).len(), 4, "nothing half is left");
}

#[test]
fn artifacts_come_out_by_path_and_are_what_was_kept() {
    let folder = folder();
    let tree = folder.path().join("tree");
    make_tree(&tree);
    let kept = snapshots(folder.path());
    let taken = kept.take(Source::Folder(&tree)).unwrap();
    let to = folder.path().join("out");
    // By either name of a file.
    let artifact = kept.export(taken.id, Path::new("deep/er/run"), &to).unwrap();
    assert_eq!(fs::read_to_string(&to).unwrap(), "#!/bin/sh\n");
    let Some(Item::File { sha256, .. }) = taken.manifest.get(Path::new("also")) else { panic!() };
    assert_eq!((artifact.sha256, artifact.size), (*sha256, 10));
    for path in ["link", "deep", "absent", "../tree/copy", ""] {
        let error = kept.export(taken.id, Path::new(path), &folder.path().join("no")).unwrap_err();
        assert_eq!(error.code(), "sandbox.tree", "{path}");
    }
    fs::write(folder.path().join("snapshots/blobs").join(sha256.to_string()), "#!/bin/zz\n")
        .unwrap();
    let error = kept.export(taken.id, Path::new("also"), &folder.path().join("no")).unwrap_err();
    assert_eq!(error.code(), "sandbox.damaged");
    assert!(!folder.path().join("no").exists());
}

fn workspace(lower: &Path, upper: PathBuf) -> (Workspace, Profile) {
    fs::create_dir(&upper).unwrap();
    let workspace = Workspace { lower: lower.to_owned(), upper, at: "/job".into() };
    let mut profile = Profile { folder: Some("/job".into()), ..Profile::default() };
    profile.mounts.workspace = Some(workspace.clone());
    (workspace, profile)
}

/// What a program sees of its folder; a link has no mode of its own.
const TELL: &str = "find . -type l -printf '%p %l\\n' -o -printf '%p %m %y\\n' | sort; \
                    find . -type f -exec sha256sum {} + | sort";

#[test]
fn work_branches_two_ways_from_one_snapshot_and_goes_on_the_next_day() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("lower/gone/deep")).unwrap();
    fs::create_dir(at("lower/again")).unwrap();
    for path in ["kept", "removed", "gone/deep/x", "again/old"] {
        fs::write(at("lower").join(path), path).unwrap();
    }
    let kept = snapshots(folder.path());
    let (first, profile) = workspace(&at("lower"), at("upper"));
    let script = "set -e; rm removed; rm -r gone; rm -r again; mkdir again; echo n > again/new; \
                  mkdir -p more/empty; ln kept same; chmod 700 more; ln -s kept link; echo 1 > state";
    let done = sh(Tier::Isolated, &profile, script);
    assert!(done.outcome.is_success(), "{}", text(&done));
    let seen = sh(Tier::Isolated, &profile, TELL).output.text();
    assert!(!seen.contains("again/old") && !seen.contains("gone"), "{seen}");
    let start = kept.take(Source::Workspace(&first)).unwrap().id;
    fs::remove_dir_all(at("lower")).unwrap();
    fs::remove_dir_all(at("upper")).unwrap();

    kept.restore(start, &at("base")).unwrap();
    let mut ids = Vec::new();
    for (name, script) in [("left", "echo 2 >> state"), ("right", "rm state; echo r > only")] {
        let (branch, profile) = workspace(&at("base"), at(name));
        assert_eq!(sh(Tier::Isolated, &profile, TELL).output.text(), seen);
        // A program that only looked changed nothing.
        assert_eq!(kept.take(Source::Workspace(&branch)).unwrap().id, start);
        assert!(sh(Tier::Isolated, &profile, script).outcome.is_success());
        ids.push(kept.take(Source::Workspace(&branch)).unwrap().id);
    }
    assert!(ids[0] != ids[1] && !ids.contains(&start));
    for (id, state) in [(start, "1\n"), (ids[0], "1\n2\n"), (ids[1], "")] {
        let to = at(&id.to_string());
        kept.restore(id, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("state")).unwrap_or_default(), state);
        assert_eq!(kept.take(Source::Folder(&to)).unwrap().id, id);
        assert_eq!(to.join("only").exists(), id == ids[1]);
    }
}

/// One change to a tree, by small numbers that say which names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    what: u8,
    one: usize,
    other: usize,
    held: u8,
}

const NAMES: [&[u8]; 7] = [b"a", b"a/b", b"a/b/c", b"a.b", b"\xff\xfe", b"d e\n", b"a/%41"];

pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = (0..7_u8, 0..NAMES.len(), 0..NAMES.len(), 0..3_u8);
    prop::collection::vec(
        one.prop_map(|(what, one, other, held)| Change { what, one, other, held }),
        0..24,
    )
}

pub(crate) fn change(top: &Path, changes: &[Change]) {
    for Change { what, one, other, held } in changes {
        let [one, other] = [one, other].map(|n| top.join(OsStr::from_bytes(NAMES[*n])));
        // What makes no sense just now changes nothing.
        let _same = match what {
            0 => fs::create_dir(one),
            1 => fs::write(one, vec![*held; usize::from(*held) * 40_000]),
            2 => symlink(NAMES.map(OsStr::from_bytes)[usize::from(*held)], one),
            3 => fs::hard_link(one, other),
            4 => fs::remove_file(&one).or_else(|_| fs::remove_dir_all(one)),
            5 if !one.is_symlink() && one.exists() => {
                mode(&one, [0o700, 0o755, 0o1777][usize::from(*held)]);
                Ok(())
            }
            _ => fs::rename(one, other),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn any_tree_comes_back_and_any_change_of_it_shows(before in changes(), after in changes()) {
        let folder = folder();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let kept = snapshots(folder.path());
        change(&tree, &before);
        let first = (told(&tree), kept.take(Source::Folder(&tree)).unwrap().id);
        change(&tree, &after);
        let second = (told(&tree), kept.take(Source::Folder(&tree)).unwrap().id);
        prop_assert_eq!(first.0 == second.0, first.1 == second.1);
        for (n, (seen, id)) in [first, second].into_iter().enumerate() {
            let back = folder.path().join(n.to_string());
            kept.restore(id, &back).unwrap();
            prop_assert_eq!(told(&back), seen);
            prop_assert_eq!(kept.take(Source::Folder(&back)).unwrap().id, id);
        }
    }
}

#[test]
fn any_change_over_any_folder_is_seen_as_the_program_sees_it() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let names = prop::collection::vec(0..5_usize, 8);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    });
    let words = ["a", "a/b", "a/b/c", "d", "a/e"];
    let run = |(lower, picked, kinds): (Vec<Change>, Vec<usize>, Vec<u8>)| {
        let folder = folder();
        fs::create_dir_all(folder.path().join("lower/a/b")).unwrap();
        fs::write(folder.path().join("lower/a/b/c"), "c").unwrap();
        fs::write(folder.path().join("lower/a/e"), "e").unwrap();
        change(&folder.path().join("lower"), &lower);
        let (workspace, profile) =
            workspace(&folder.path().join("lower"), folder.path().join("upper"));
        let mut script = String::new();
        for (name, kind) in picked.iter().zip(&kinds) {
            let name = words[*name];
            script.push_str(&match kind {
                0 => format!("rm -rf {name}\n"),
                1 => format!("mkdir {name}\n"),
                2 => format!("echo {name} >> {name}\n"),
                3 => format!("rm -rf {name}; mkdir {name}; echo new > {name}/b\n"),
                _ => format!("chmod 711 {name}\n"),
            });
        }
        sh(Tier::Isolated, &profile, &script);
        let seen = sh(Tier::Isolated, &profile, TELL).output.text();
        let kept = snapshots(folder.path());
        let id = kept.take(Source::Workspace(&workspace)).unwrap().id;
        let back = folder.path().join("back");
        kept.restore(id, &back).unwrap();
        let mut profile = Profile { folder: Some(back.clone()), ..Profile::default() };
        profile.paths.read.push(back);
        assert_eq!(sh(Tier::Isolated, &profile, TELL).output.text(), seen, "{script}");
        Ok(())
    };
    runner.run(&(changes(), names, prop::collection::vec(0..5_u8, 8)), run).unwrap();
}
