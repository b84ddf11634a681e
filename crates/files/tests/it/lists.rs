use files::{Hidden, Ignored, Kind, Limits, List, Root};

use crate::Ground;

fn paths(root: &Root, path: &str, list: &List) -> Vec<String> {
    root.list(path, list).unwrap().entries.into_iter().map(|entry| entry.path).collect()
}

fn deep() -> List {
    List { depth: 9, ..List::default() }
}

#[test]
fn entries_come_by_path_with_kind_and_size() {
    for which in 0..2 {
        let ground = Ground::new();
        ground.put("b/x", "12");
        ground.put("b.txt", "123");
        ground.put("a", "");
        let root = &ground.roots()[which];
        let entries = root.list(".", &deep()).unwrap().entries;
        let told: Vec<_> =
            entries.iter().map(|entry| (entry.path.as_str(), entry.kind, entry.size)).collect();
        let file = Kind::File;
        let wanted = [
            ("a", file, Some(0)),
            ("b", Kind::Folder, None),
            ("b/x", file, Some(2)),
            ("b.txt", file, Some(3)),
        ];
        assert_eq!(told, wanted);
        assert_eq!(paths(root, ".", &List::default()), ["a", "b", "b.txt"]);
        assert_eq!(paths(root, "", &List::default()), ["a", "b", "b.txt"]);
        assert_eq!(paths(root, "b", &List::default()), ["b/x"]);
        assert_eq!(
            root.list("a", &deep()).unwrap_err().to_string(),
            "a: it is a file, not a folder"
        );
        assert_eq!(root.list("c", &deep()).unwrap_err().code(), "files.absent");
    }
}

#[test]
fn pages_put_together_are_the_list() {
    let ground = Ground::new();
    for folder in ["a", "a/b", "a.b", "c/d/e", "c"] {
        for file in ["1", "2", "b"] {
            if !ground.path().join(folder).join(file).is_dir() {
                ground.put(&format!("{folder}/{file}.txt"), "");
            }
        }
    }
    let root = ground.root();
    let all = paths(&root, ".", &deep());
    assert!(all.len() > 15);
    for entries in 1..=all.len() {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = root.list(".", &List { entries, after, ..deep() }).unwrap();
            pages.extend(page.entries.into_iter().map(|entry| entry.path));
            after = page.more;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, all, "{entries} at a time");
    }
}

#[test]
fn rules_and_dots_hide_unless_they_are_asked_for() {
    for which in 0..2 {
        let ground = Ground::new();
        ground.put(".gitignore", "*.log\n/target/\n!keep.log\nno\\\n[\n");
        ground.put(".ignore", "secret*\n");
        ground.put("a.log", "");
        ground.put("keep.log", "");
        ground.put("secret.txt", "");
        ground.put("target/out", "");
        ground.put("sub/target/out", "");
        ground.put("sub/.gitignore", "!b.log\nkeep.log\n");
        ground.put("sub/b.log", "");
        ground.put("sub/keep.log", "");
        ground.put("sub/deep/a.log", "");
        ground.put(".hidden/file", "");
        let root = &ground.roots()[which];
        let shown = ["keep.log", "sub", "sub/b.log", "sub/deep", "sub/target", "sub/target/out"];
        assert_eq!(paths(root, ".", &deep()), shown);
        assert_eq!(paths(root, "sub", &deep()), shown[2..]);
        assert_eq!(paths(root, "sub/deep", &deep()), [""; 0]);
        assert_eq!(paths(root, "target", &deep()), ["target/out"]);
        let hidden = List { hidden: Hidden::Show, ..deep() };
        assert!(paths(root, ".", &hidden).contains(&".hidden/file".to_owned()));
        let ignored = List { ignored: Ignored::Show, ..deep() };
        for path in ["a.log", "secret.txt", "target/out", "sub/keep.log"] {
            assert!(paths(root, ".", &ignored).contains(&path.to_owned()), "{path}");
        }
    }
}

#[test]
fn names_that_are_not_text_are_counted_and_too_many_entries_are_refused() {
    let ground = Ground::new();
    ground.put("a", "");
    ground.put("b", "");
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    std::fs::write(ground.path().join(name), "").unwrap();
    let listing = ground.root().list(".", &deep()).unwrap();
    assert_eq!((listing.entries.len(), listing.unnamed), (2, 1));
    let limits = Limits { walk_entries: 1, ..Limits::default() };
    let root = Root::open_with(ground.path(), limits).unwrap();
    assert_eq!(root.list(".", &deep()).unwrap_err().code(), "files.too_large");
}
