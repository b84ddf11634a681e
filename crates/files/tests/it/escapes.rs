//! Whatever a path says, and whatever lies in the root, nothing outside is read or changed.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, symlink},
        net::UnixListener,
    },
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use files::{
    Edit, Error, Expect, Hash, Hidden, Ignored, Image, Kind, List, Pattern, Range, Root, Search,
};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mkfifoat, mknodat, renameat_with};

use crate::{Ground, Over, SECRET, snapshot, text};

fn everything() -> Search {
    Search { hidden: Hidden::Show, ignored: Ignored::Show, ..Search::default() }
}

/// Lays every kind of link into the root; their paths.
fn links(ground: &Ground) -> Vec<&'static str> {
    ground.put("inside.txt", "inside\n");
    ground.put("deep/file.txt", "deep\n");
    let outside = ground.outside();
    let outside = outside.to_str().unwrap();
    let absolute = format!("{outside}/secret.txt");
    let itself = ground.path();
    let links = [
        ("out_file", "../outside/secret.txt"),
        ("out_folder", "../outside"),
        ("abs_file", absolute.as_str()),
        ("abs_folder", outside),
        ("abs_inside", itself.to_str().unwrap()),
        ("chain_1", "chain_2"),
        ("chain_2", "deep/chain_3"),
        ("deep/chain_3", "../../outside"),
        ("loop_1", "loop_2"),
        ("loop_2", "loop_1"),
        ("itself", "itself"),
        ("dangling_out", "../outside/new.txt"),
        ("dangling_abs", "/nowhere/at/all"),
        ("dangling_in", "nothing"),
        ("deep/up", "../.."),
        ("deep/up_and_in", "../../root/inside.txt"),
        ("root_slash", "/"),
        ("proc_root", "/proc/self/root"),
        ("proc_cwd", "/proc/self/cwd"),
        ("proc_fd", "/proc/self/fd/0"),
        ("dots", "deep/./../../outside/secret.txt"),
        ("slashes", "..//outside///secret.txt"),
    ];
    for (name, target) in links {
        symlink(target, ground.path().join(name)).unwrap();
    }
    links.map(|(name, _)| name).to_vec()
}

/// Every spelling of a way out that we know, from links and from dots.
fn corpus(links: &[&str], ground: &Ground) -> Vec<String> {
    let outside = ground.outside().to_str().unwrap().to_owned();
    let mut paths = Vec::new();
    let ends = [
        "",
        "/",
        "/secret.txt",
        "/new.txt",
        "/..",
        "/../outside/secret.txt",
        "/outside/secret.txt",
        "/./secret.txt",
    ];
    for start in ["", "./", "deep/../", "/", "//", "deep//../", "../root/"] {
        for link in links {
            paths.extend(ends.map(|end| format!("{start}{link}{end}")));
        }
    }
    let dots = [
        "..",
        "../",
        "/..",
        "../.",
        ".. ",
        "..\0",
        "deep/../..",
        "deep/../../outside",
        "deep/..",
        "./..",
        "...//..",
        "../../../../../../../..",
    ];
    for dots in dots {
        paths.extend(ends.map(|end| format!("{dots}{end}")));
        paths.extend(ends.map(|end| format!("{dots}/outside{end}")));
    }
    paths.extend([outside.clone(), format!("/{outside}"), format!("{outside}/secret.txt")]);
    paths.extend(
        ["", "/", "//", ".", "\0", "inside.txt\0", "inside.txt/", "inside.txt/..", "a//b"]
            .map(str::to_owned),
    );
    paths.extend(
        ["deep/../inside.txt", "deep/./file.txt", "/proc/self/environ", "/dev/null"]
            .map(str::to_owned),
    );
    paths.push("../".repeat(3000));
    paths.push(format!("{}outside/secret.txt", "deep/../".repeat(200)));
    paths.push("x".repeat(5000));
    paths.push("x/".repeat(1000) + "x");
    paths
}

/// Does everything that can be done with a path; what was read that way.
fn everything_with(root: &Root, path: &str) -> String {
    let mut seen = String::new();
    let mut note = |what: &dyn std::fmt::Debug| seen.push_str(&format!("{what:?}\n"));
    note(&root.read(path, Range::default()));
    note(&root.read(path, Range::Lines { from: 1, lines: 5, bytes: 100 }));
    let list = List { depth: 3, hidden: Hidden::Show, ignored: Ignored::Show, ..List::default() };
    note(&root.list(path, &list));
    let search = Search { path: path.to_owned(), ..everything() };
    note(&root.search(&Pattern::Literal("kept".to_owned()), &search));
    note(&root.before(path));
    note(&root.tree_hash(path).map(|_| ()));
    note(&root.edit(path, &[Edit::once("kept", "lost")], Expect::Any));
    note(&root.write(path, b"written", Expect::Absent));
    note(&root.write(path, b"written", Expect::Hash(Hash::of(SECRET.as_bytes()))));
    note(&root.move_to(path, "moved", Expect::Hash(Hash::of(SECRET.as_bytes()))));
    note(&root.move_to("inside.txt", path, Expect::Any));
    note(&root.make_folder(path));
    note(&root.restore(path, &Image::Absent, Expect::Hash(Hash::of(SECRET.as_bytes()))));
    let image =
        Image::File { mode: 0o777, hash: Hash::of(b"written"), content: b"written".to_vec() };
    note(&root.restore(path, &image, Expect::Any));
    note(&root.restore(path, &Image::Folder { mode: 0o777 }, Expect::Any));
    note(&root.remove(path, Expect::Any));
    seen
}

/// C120: `..`, links, encodings and look-alikes.
#[test]
fn no_spelling_of_a_path_reads_or_changes_what_is_outside() {
    for which in 0..2 {
        let ground = Ground::new();
        let links = links(&ground);
        let outside = snapshot(&ground.outside());
        let root = &ground.roots()[which];
        let kept = snapshot(&ground.path());
        for path in corpus(&links, &ground) {
            let seen = everything_with(root, &path);
            assert!(!seen.contains(SECRET), "{path:?} was read: {seen}");
            assert!(!seen.contains("secret.txt\", kind"), "{path:?} was listed: {seen}");
            assert_eq!(snapshot(&ground.outside()), outside, "{path:?} changed what is outside");
            let beside: Vec<_> = fs::read_dir(ground.dir.path()).unwrap().collect();
            assert_eq!(beside.len(), 2, "{path:?} made something beside the root");
            if snapshot(&ground.path()) != kept {
                // Something inside changed, as it may: the next path finds everything again.
                fs::remove_dir_all(ground.path()).unwrap();
                panic!("{path:?} is a way out and yet did something: {seen}");
            }
        }
    }
}

#[test]
fn the_kernel_and_our_own_walk_say_the_same_of_every_path() {
    let ground = Ground::new();
    let links = links(&ground);
    symlink("../inside.txt", ground.path().join("deep/fine")).unwrap();
    symlink("deep/fine", ground.path().join("twice")).unwrap();
    symlink("deep", ground.path().join("folder")).unwrap();
    symlink(".", ground.path().join("here")).unwrap();
    let [kernel, walk] = ground.roots();
    let mut paths = corpus(&links, &ground);
    let fine = [
        "twice",
        "deep/fine",
        "folder/fine",
        "folder/file.txt",
        "here/inside.txt",
        "here/here/folder/fine",
    ];
    for path in fine {
        assert!(text(&kernel, path).is_ok() && text(&walk, path).is_ok(), "{path}");
        let refused = walk.write(path, b"x", Expect::Any).unwrap_err();
        assert!(matches!(refused, Error::Link { .. }), "{path}: {refused}");
    }
    paths.extend(fine.map(str::to_owned));
    for path in paths {
        let code = |root: &Root| match root.read(&path, Range::default()) {
            Ok(part) => format!("{part:?}"),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(code(&kernel), code(&walk), "{path:?}");
        let code = |root: &Root| match root.write(&path, b"x", Expect::Hash(Hash::of(b"never"))) {
            Ok(written) => format!("{written:?}"),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(code(&kernel), code(&walk), "{path:?}");
    }
}

#[test]
fn links_of_the_kernel_are_not_followed() {
    let file = fs::File::open("/proc/self/status").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let root = Root::open("/proc/self").unwrap();
    for root in [root, Root::open("/proc/self").unwrap().walking()] {
        for path in [
            format!("fd/{number}"),
            "exe".to_owned(),
            "cwd/Cargo.toml".to_owned(),
            "root/etc/passwd".to_owned(),
            "ns/net".to_owned(),
        ] {
            assert!(root.read(&path, Range::default()).is_err(), "{path}");
        }
        assert!(root.list("cwd", &List::default()).is_err());
        assert!(root.list("root", &List::default()).is_err());
    }
}

#[test]
fn names_that_look_like_dots_and_slashes_are_plain_names() {
    let names = [
        "\u{2024}\u{2024}",
        "\u{2025}",
        "\u{ff0e}\u{ff0e}",
        "a\u{2215}b",
        "a\u{ff0f}b",
        "\u{2044}etc",
        "%2e%2e%2fetc",
        "..%c0%afetc",
        "..\\etc",
        "...",
        "..a",
        "~",
        "-rf",
        "a b",
        "$HOME",
        "C:",
        "\u{202e}txt",
        "A.txt",
        "a.txt",
        " ",
        ".. ",
    ];
    for which in 0..2 {
        let ground = Ground::new();
        let root = &ground.roots()[which];
        let mut made = 0;
        for name in names {
            root.write(name, name.as_bytes(), Expect::Absent).unwrap();
            made += 1;
            let there: Vec<_> = fs::read_dir(ground.path()).unwrap().collect();
            assert_eq!(there.len(), made, "{name}");
            assert_eq!(ground.get(name), name);
            assert_eq!(text(root, name).unwrap(), name);
        }
        let before = fs::read_dir(ground.dir.path()).unwrap().count();
        assert_eq!(before, 2);
    }
}

#[test]
fn what_is_wrong_with_a_path_is_said() {
    let ground = Ground::new();
    let root = ground.root();
    let long = "x".repeat(256);
    let reserved = ".harness-files-0";
    for (path, says) in [
        ("", "empty"),
        ("../x", "`..`"),
        ("/x", "absolute"),
        ("a\0b", "zero byte"),
        ("a//b", "double"),
        ("a/", "trailing"),
        ("./a", "`.`"),
        (long.as_str(), "255"),
        (reserved, "kept for"),
    ] {
        let error = root.write(path, b"", Expect::Any).unwrap_err();
        assert_eq!(error.code(), "files.path");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.next_step().is_empty());
    }
    let error = root.write("a/b/c", b"", Expect::Any).unwrap_err();
    assert_eq!(error.to_string(), "a/b/c: the folder a is not there");
    assert_eq!(error.next_step(), "make the folder first");
}

#[test]
fn devices_fifos_and_sockets_are_refused_and_never_opened() {
    for which in 0..2 {
        let ground = Ground::new();
        mkfifoat(CWD, ground.path().join("fifo"), Mode::from_raw_mode(0o666)).unwrap();
        let _socket = UnixListener::bind(ground.path().join("socket")).unwrap();
        let mut paths = vec!["fifo", "socket"];
        let device = ground.path().join("device");
        let null = rustix::fs::makedev(1, 3);
        match mknodat(CWD, &device, FileType::CharacterDevice, Mode::from_raw_mode(0o666), null) {
            Ok(()) => {
                assert!(fs::symlink_metadata(&device).unwrap().file_type().is_char_device());
                paths.push("device");
            }
            Err(error) => println!("skipped: no device can be made here: {error}"),
        }
        let root = &ground.roots()[which];
        for path in paths {
            let refused = root.read(path, Range::default()).unwrap_err();
            assert!(matches!(refused, Error::Kind { found: Kind::Other, .. }), "{path}: {refused}");
            for error in [
                root.write(path, b"x", Expect::Any).unwrap_err(),
                root.edit(path, &[Edit::once("a", "b")], Expect::Any).unwrap_err(),
                root.remove(path, Expect::Any).unwrap_err(),
                root.move_to(path, "other", Expect::Any).unwrap_err(),
                root.before(path).unwrap_err(),
            ] {
                assert!(matches!(error, Error::Kind { found: Kind::Other, .. }), "{path}: {error}");
            }
        }
        let listed = root.list(".", &List::default()).unwrap();
        assert!(listed.entries.iter().all(|entry| entry.kind == Kind::Other));
        // A reader of a fifo would wait here for ever.
        let found = root.search(&Pattern::Literal("x".to_owned()), &everything()).unwrap();
        assert!(found.files.is_empty());
        assert!(root.tree_hash(".").is_ok());
    }
}

#[test]
fn walks_do_not_follow_links_and_rules_are_not_read_through_them() {
    for which in 0..2 {
        let ground = Ground::new();
        links(&ground);
        fs::write(ground.outside().join("rules"), "inside.txt\n").unwrap();
        symlink("../outside/rules", ground.path().join(".gitignore")).unwrap();
        let root = &ground.roots()[which];
        let found = root.search(&Pattern::Regex("kept|inside|deep".to_owned()), &Search::default());
        let paths: Vec<String> = found.unwrap().files.into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["deep/file.txt", "inside.txt"]);
        let list = List { depth: 9, ..List::default() };
        let listed = root.list(".", &list).unwrap();
        assert!(listed.entries.iter().all(|entry| !entry.path.contains("secret")));
        assert!(
            listed
                .entries
                .iter()
                .any(|entry| entry.path == "out_folder" && entry.kind == Kind::Link)
        );
    }
}

#[test]
fn a_write_never_changes_another_name_of_the_file() {
    for which in 0..2 {
        let ground = Ground::new();
        fs::hard_link(ground.outside().join("secret.txt"), ground.path().join("linked")).unwrap();
        let outside = snapshot(&ground.outside());
        let root = &ground.roots()[which];
        root.write("linked", b"new", Expect::Hash(Hash::of(SECRET.as_bytes()))).unwrap();
        assert_eq!(ground.get("linked"), "new");
        assert_eq!(snapshot(&ground.outside()), outside);
        fs::remove_file(ground.path().join("linked")).unwrap();
        fs::hard_link(ground.outside().join("secret.txt"), ground.path().join("linked")).unwrap();
        root.edit("linked", &[Edit::once("kept", "lost")], Expect::Any).unwrap();
        let image = Image::File { mode: 0o600, hash: Hash::of(b"x"), content: b"x".to_vec() };
        root.restore("linked", &image, Expect::Any).unwrap();
        root.remove("linked", Expect::Any).unwrap();
        assert_eq!(snapshot(&ground.outside()), outside);
    }
}

/// A file is exchanged with a link that leads out, over and over, while others walk over it.
#[test]
fn nothing_outside_is_reached_while_a_file_turns_into_a_link() {
    const ROUNDS: usize = 4_000;
    for which in 0..2 {
        let ground = Ground::new();
        ground.put("file", SECRET.to_uppercase());
        symlink("../outside/secret.txt", ground.path().join("link")).unwrap();
        let outside = snapshot(&ground.outside());
        let root = &ground.roots()[which];
        let is_over = AtomicBool::new(false);
        let wrong = Expect::Hash(Hash::of(b"never"));
        let known = Hash::of(SECRET.as_bytes());
        thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (ground.path().join("file"), ground.path().join("link"));
                while !is_over.load(Relaxed) {
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let _over = Over(&is_over);
            for _ in 0..ROUNDS {
                let found = root.search(&Pattern::Literal("kept".to_owned()), &everything());
                assert!(found.unwrap().files.is_empty());
                let said =
                    format!("{:?} {:?}", root.write("file", b"x", wrong), root.before("file"));
                assert!(!said.contains(&known.to_string()), "{said}");
                if let Ok(text) = text(root, "file") {
                    assert_ne!(text, SECRET);
                }
            }
        });
        assert_eq!(snapshot(&ground.outside()), outside);
    }
}

/// A folder is exchanged with a link that leads out, over and over, while everything is done below it.
/// C120: by a race, too.
#[test]
fn nothing_outside_is_reached_while_a_folder_turns_into_a_link() {
    const ROUNDS: usize = 1_500;
    for which in 0..2 {
        let ground = Ground::new();
        ground.put("turning/secret.txt", "inside");
        ground.put("turning/other.txt", "inside");
        symlink("../outside", ground.path().join("link")).unwrap();
        let outside = snapshot(&ground.outside());
        let root = &ground.roots()[which];
        let is_over = AtomicBool::new(false);
        let (mut seen, mut refused) = (0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (ground.path().join("turning"), ground.path().join("link"));
                while !is_over.load(Relaxed) {
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                    thread::yield_now();
                }
            });
            let _over = Over(&is_over);
            for _ in 0..ROUNDS {
                match text(root, "turning/secret.txt") {
                    Ok(text) => {
                        assert_ne!(text, SECRET);
                        seen += 1;
                    }
                    Err(_) => refused += 1,
                }
                for done in [
                    root.write("turning/new.txt", b"written", Expect::Any).map(|_| ()),
                    root.write("turning/secret.txt", b"inside", Expect::Any).map(|_| ()),
                    root.make_folder("turning/folder"),
                    root.remove("turning/folder", Expect::Any),
                    root.move_to("turning/other.txt", "turning/moved.txt", Expect::Any),
                    root.move_to("turning/moved.txt", "turning/other.txt", Expect::Any),
                ] {
                    if let Err(error) = done {
                        assert_ne!(error.code(), "files.busy", "{error}");
                    }
                }
                let search = Search { path: "turning".to_owned(), ..everything() };
                if let Ok(found) = root.search(&Pattern::Literal("kept".to_owned()), &search) {
                    assert!(found.files.is_empty(), "{found:?}");
                }
                let found = root.search(&Pattern::Literal("kept".to_owned()), &everything());
                assert!(found.unwrap().files.is_empty());
            }
        });
        assert_eq!(snapshot(&ground.outside()), outside);
        assert!(seen > 0 && refused > 0, "both were met: {seen} reads, {refused} refusals");
    }
}
