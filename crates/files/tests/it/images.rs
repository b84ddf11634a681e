use std::fs;

use files::{Edit, Error, Expect, Hash, Image, Limits, Root};
use proptest::prelude::*;

use crate::Ground;

#[derive(Clone, Debug)]
enum Step {
    Write(String, String),
    Edit(String),
    Move(String, String),
    Remove(String),
    MakeFolder(String),
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof!["[abc]", "[abc]/[abc]", "[abc]/[abc]/[abc]"]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), "[xy]{0,3}").prop_map(|(path, content)| Step::Write(path, content)),
        2 => path().prop_map(Step::Edit),
        3 => (path(), path()).prop_map(|(from, to)| Step::Move(from, to)),
        2 => path().prop_map(Step::Remove),
        3 => path().prop_map(Step::MakeFolder),
    ]
}

/// What takes a step back.
enum Back {
    Restore(String, Image, Expect),
    Move(String, String),
}

fn take(root: &Root, step: &Step) -> Option<Back> {
    let hash = |path: &str| match root.before(path) {
        Ok(Image::File { hash, .. }) => Expect::Hash(hash),
        Ok(Image::Absent) => Expect::Absent,
        _ => Expect::Any,
    };
    match step {
        Step::Write(path, content) => {
            let before = root.before(path).ok()?;
            let written = root.write(path, content.as_bytes(), hash(path)).ok()?;
            Some(Back::Restore(path.clone(), before, Expect::Hash(written.hash)))
        }
        Step::Edit(path) => {
            let before = root.before(path).ok()?;
            let written = root.edit(path, &[Edit::once("x", "yy")], hash(path)).ok()?;
            Some(Back::Restore(path.clone(), before, Expect::Hash(written.hash)))
        }
        Step::Move(from, to) => {
            root.move_to(from, to, Expect::Any).ok()?;
            Some(Back::Move(to.clone(), from.clone()))
        }
        Step::Remove(path) => {
            let before = root.before(path).ok()?;
            root.remove(path, hash(path)).ok()?;
            Some(Back::Restore(path.clone(), before, Expect::Absent))
        }
        Step::MakeFolder(path) => {
            let before = root.before(path).ok()?;
            root.make_folder(path).ok()?;
            Some(Back::Restore(path.clone(), before, Expect::Any))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn any_changes_taken_back_in_reverse_leave_what_was_there(
        steps in proptest::collection::vec(step(), 0..40),
        which in 0_usize..2,
    ) {
        let ground = Ground::new();
        ground.put("a/a/x", "x");
        ground.put("b", "xyx");
        fs::set_permissions(ground.path().join("b"), std::os::unix::fs::PermissionsExt::from_mode(0o741)).unwrap();
        fs::set_permissions(ground.path().join("a/a"), std::os::unix::fs::PermissionsExt::from_mode(0o710)).unwrap();
        let root = &ground.roots()[which];
        let mut hashes = vec![root.tree_hash(".").unwrap()];
        let mut backs = Vec::new();
        for step in &steps {
            if let Some(back) = take(root, step) {
                backs.push(back);
                hashes.push(root.tree_hash(".").unwrap());
            }
        }
        while let Some(back) = backs.pop() {
            match back {
                Back::Restore(path, image, expect) => root.restore(&path, &image, expect).unwrap(),
                Back::Move(from, to) => root.move_to(&from, &to, Expect::Any).unwrap(),
            }
            hashes.pop();
            prop_assert_eq!(&root.tree_hash(".").unwrap(), hashes.last().unwrap());
        }
        prop_assert_eq!(root.sweep().unwrap().removed, 0);
    }
}

#[test]
fn nothing_is_restored_over_what_others_did_since() {
    let ground = Ground::new();
    ground.put("a", "before");
    let root = ground.root();
    let image = root.before("a").unwrap();
    let written = root.write("a", b"changed", Expect::Any).unwrap();
    fs::write(ground.path().join("a"), "by somebody else").unwrap();
    let refused = root.restore("a", &image, Expect::Hash(written.hash)).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    let refused = root.restore("a", &Image::Absent, Expect::Hash(written.hash)).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    let refused = root.restore("a", &Image::Folder { mode: 0o755 }, Expect::Any).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    assert_eq!(ground.get("a"), "by somebody else");
}

#[test]
fn an_image_survives_being_stored_and_a_forged_one_is_refused() {
    let ground = Ground::new();
    ground.put("a", b"\x00\xff");
    let root = ground.root();
    let image = root.before("a").unwrap();
    let stored = serde_json::to_string(&image).unwrap();
    assert_eq!(serde_json::from_str::<Image>(&stored).unwrap(), image);
    let forged = Image::File { mode: 0o644, hash: Hash::of(b"good"), content: b"bad".to_vec() };
    assert_eq!(root.restore("a", &forged, Expect::Any).unwrap_err().code(), "files.pattern");
}

#[test]
fn what_is_too_large_to_be_taken_back_has_no_image() {
    let ground = Ground::new();
    ground.put("a", "12345");
    let limits = Limits { image_bytes: 4, ..Limits::default() };
    let root = Root::open_with(ground.path(), limits).unwrap();
    let refused = root.before("a").unwrap_err();
    assert!(matches!(refused, Error::TooLarge { size: 5, most: 4, .. }), "{refused}");
    assert_eq!(root.before("b/c").unwrap(), Image::Absent);
}

#[test]
fn a_tree_hash_tells_names_contents_modes_and_links_apart() {
    let ground = Ground::new();
    let root = ground.root();
    let mut seen = vec![root.tree_hash(".").unwrap()];
    let mut differs = |what: &str| {
        let hash = root.tree_hash(".").unwrap();
        assert!(!seen.contains(&hash), "{what}");
        seen.push(hash);
    };
    ground.put("a/b", "c");
    differs("a file in a folder");
    ground.put("a/b", "d");
    differs("another content");
    fs::rename(ground.path().join("a/b"), ground.path().join("a/c")).unwrap();
    differs("another name");
    fs::rename(ground.path().join("a/c"), ground.path().join("c")).unwrap();
    differs("another folder");
    fs::set_permissions(
        ground.path().join("c"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    differs("another mode");
    std::os::unix::fs::symlink("c", ground.path().join("l")).unwrap();
    differs("a link");
    fs::remove_file(ground.path().join("l")).unwrap();
    std::os::unix::fs::symlink("d", ground.path().join("l")).unwrap();
    differs("another link");
}
