use std::{fs, os::unix::fs::PermissionsExt};

use files::{Count, Edit, Error, Expect, Hash, Limits, Root, State};

use crate::{Ground, left, snapshot};

fn mode(ground: &Ground, path: &str) -> u32 {
    fs::metadata(ground.path().join(path)).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_is_written_where_nothing_is_and_replaced_where_the_expected_one_is() {
    for which in 0..2 {
        let ground = Ground::new();
        let root = &ground.roots()[which];
        let written = root.write("a.txt", b"one", Expect::Absent).unwrap();
        assert_eq!((written.hash, written.size), (Hash::of(b"one"), 3));
        root.write("a.txt", b"two", Expect::Hash(written.hash)).unwrap();
        root.write("a.txt", b"three", Expect::Any).unwrap();
        root.write("b.txt", b"new", Expect::Any).unwrap();
        assert_eq!((ground.get("a.txt"), ground.get("b.txt")), ("three".into(), "new".into()));
        assert_eq!(left(&ground.path()), 0);
    }
}

#[test]
fn whatever_is_not_as_expected_is_a_conflict_and_nothing_changes() {
    let ground = Ground::new();
    ground.put("a.txt", "one");
    ground.put("folder/b.txt", "b");
    let root = ground.root();
    let wrong = Expect::Hash(Hash::of(b"other"));
    let before = snapshot(&ground.path());
    for (what, done) in [
        ("written over", root.write("a.txt", b"x", Expect::Absent).map(|_| ())),
        ("written", root.write("a.txt", b"x", wrong).map(|_| ())),
        ("written new", root.write("new", b"x", wrong).map(|_| ())),
        ("written on a folder", root.write("folder", b"x", wrong).map(|_| ())),
        ("edited", root.edit("a.txt", &[Edit::once("one", "x")], wrong).map(|_| ())),
        (
            "edited as new",
            root.edit("a.txt", &[Edit::once("one", "x")], Expect::Absent).map(|_| ()),
        ),
        ("moved", root.move_to("a.txt", "c.txt", wrong)),
        ("moved as absent", root.move_to("a.txt", "c.txt", Expect::Absent)),
        ("moved over", root.move_to("a.txt", "folder/b.txt", Expect::Any)),
        ("moved on a folder", root.move_to("a.txt", "folder", Expect::Any)),
        ("a folder moved by hash", root.move_to("folder", "other", wrong)),
        ("removed", root.remove("a.txt", wrong)),
        ("removed as absent", root.remove("a.txt", Expect::Absent)),
        ("a folder removed by hash", root.remove("folder", wrong)),
        ("made", root.make_folder("folder")),
        ("made on a file", root.make_folder("a.txt")),
    ] {
        let error = done.expect_err(what);
        assert!(matches!(error, Error::Conflict { .. }), "{what}: {error}");
        assert_eq!(snapshot(&ground.path()), before, "{what}");
    }
    let error = root.write("a.txt", b"x", wrong).unwrap_err();
    let Error::Conflict { path, found, .. } = error else { panic!("no conflict") };
    assert_eq!((path.as_str(), found), ("a.txt", State::Hash(Hash::of(b"one"))));
}

#[test]
fn a_replaced_file_leaves_its_mode_and_a_new_one_has_an_ordinary_one() {
    let ground = Ground::new();
    ground.put("run.sh", "#!");
    fs::set_permissions(ground.path().join("run.sh"), fs::Permissions::from_mode(0o4751)).unwrap();
    let root = ground.root();
    root.write("run.sh", b"#!/bin/sh", Expect::Any).unwrap();
    assert_eq!(mode(&ground, "run.sh"), 0o751);
    let all = fs::metadata(ground.path().join("run.sh")).unwrap().permissions().mode();
    assert_eq!(all & 0o7000, 0, "what ran as its owner does not any more");
    root.edit("run.sh", &[Edit::once("sh", "bash")], Expect::Any).unwrap();
    assert_eq!(mode(&ground, "run.sh"), 0o751);
    root.write("new", b"", Expect::Absent).unwrap();
    assert_eq!(mode(&ground, "new") & 0o111, 0);
}

#[test]
fn files_and_folders_are_moved_and_removed() {
    for which in 0..2 {
        let ground = Ground::new();
        ground.put("a.txt", "one");
        ground.put("folder/b.txt", "b");
        let root = &ground.roots()[which];
        root.move_to("a.txt", "folder/c.txt", Expect::Hash(Hash::of(b"one"))).unwrap();
        root.move_to("folder/c.txt", "folder/d.txt", Expect::Any).unwrap();
        root.move_to("folder", "other", Expect::Any).unwrap();
        assert_eq!(ground.get("other/d.txt"), "one");
        let refused = root.move_to("other", "other/deeper", Expect::Any).unwrap_err();
        assert_eq!(refused.code(), "files.path");
        assert_eq!(root.remove("other", Expect::Any).unwrap_err().code(), "files.not_empty");
        root.remove("other/d.txt", Expect::Hash(Hash::of(b"one"))).unwrap();
        root.remove("other/b.txt", Expect::Any).unwrap();
        ground.put("other/.harness-files-0123456789abcdef", "left by somebody killed");
        root.remove("other", Expect::Any).unwrap();
        assert_eq!(root.remove("other", Expect::Any).unwrap_err().code(), "files.absent");
        assert!(snapshot(&ground.path()).is_empty());
    }
}

/// C120: an edit fits exactly or nothing is changed.
#[test]
fn edits_are_made_one_after_the_other_and_all_or_none() {
    let ground = Ground::new();
    ground.put("a.txt", "one two\ntwo three\n");
    let root = ground.root();
    let all = Edit { old: "two".into(), new: "2".into(), count: Count::Exactly(2) };
    let then = Edit { old: "2".into(), new: "two two".into(), count: Count::All };
    let written = root.edit("a.txt", &[all.clone(), then], Expect::Any).unwrap();
    assert_eq!(ground.get("a.txt"), "one two two\ntwo two three\n");
    assert_eq!(written.hash, Hash::of(ground.get("a.txt").as_bytes()));
    let before = ground.get("a.txt");
    let error = root.edit("a.txt", &[Edit::once("one", "1"), all], Expect::Any).unwrap_err();
    let said = "a.txt: edit 2: the text is there 4 times, not 2 times; \
                see line 1: 1 two two | line 1: 1 two two | line 2: two two three | line 2: two two three";
    assert_eq!(error.to_string(), said);
    assert_eq!(ground.get("a.txt"), before);
    let refused = root.edit("a.txt", &[Edit::once("", "x")], Expect::Any).unwrap_err();
    assert_eq!(refused.code(), "files.pattern");
}

#[test]
fn an_edit_that_fits_nowhere_names_the_lines_that_are_like_it() {
    let ground = Ground::new();
    ground.put("a.rs", "fn main() {\n\tlet total = sum(values);\n    print(total);\n}\n");
    let root = ground.root();
    let edit = Edit::once("    let total = sum(values);\n", "");
    let Error::Edit { found, near, .. } = root.edit("a.rs", &[edit], Expect::Any).unwrap_err()
    else {
        panic!("it does not fit")
    };
    assert_eq!(found, 0);
    assert_eq!((near[0].line, near[0].text.as_str()), (2, "\tlet total = sum(values);"));
    let edit = Edit::once("let total = sum(value)", "");
    let Error::Edit { near, .. } = root.edit("a.rs", &[edit], Expect::Any).unwrap_err() else {
        panic!("it does not fit")
    };
    assert_eq!(near[0].line, 2);
}

#[test]
fn what_is_not_text_is_not_edited_and_what_is_too_large_is_not_written() {
    let ground = Ground::new();
    ground.put("a", b"\xffone");
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    let root = Root::open_with(ground.path(), limits).unwrap();
    let refused = root.edit("a", &[Edit::once("one", "x")], Expect::Any).unwrap_err();
    assert_eq!(refused.code(), "files.binary");
    assert_eq!(root.write("b", &[0; 11], Expect::Any).unwrap_err().code(), "files.too_large");
    ground.put("c", "12345");
    let grow = Edit::once("5", "123456789");
    assert_eq!(root.edit("c", &[grow], Expect::Any).unwrap_err().code(), "files.too_large");
    let explode = Edit { old: "2".into(), new: "x".repeat(1 << 20), count: Count::All };
    assert_eq!(root.edit("c", &[explode], Expect::Any).unwrap_err().code(), "files.too_large");
    let many = vec![Edit::once("1", "1"); files::EDITS_MAX + 1];
    assert_eq!(root.edit("c", &many, Expect::Any).unwrap_err().code(), "files.too_large");
    assert_eq!(ground.get("c"), "12345");
}
