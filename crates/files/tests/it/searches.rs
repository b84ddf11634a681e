use files::{Case, Found, Hidden, Ignored, Limits, Pattern, Role, Root, Search, Stop};

use crate::Ground;

fn literal(text: &str) -> Pattern {
    Pattern::Literal(text.to_owned())
}

fn regex(text: &str) -> Pattern {
    Pattern::Regex(text.to_owned())
}

fn told(found: &Found) -> Vec<String> {
    let mut told = Vec::new();
    for file in &found.files {
        for line in &file.lines {
            let mark = if line.role == Role::Match { ':' } else { '-' };
            told.push(format!("{}{mark}{}{mark}{}", file.path, line.number, line.text));
        }
    }
    told
}

fn find(root: &Root, pattern: &Pattern, search: &Search) -> Vec<String> {
    told(&root.search(pattern, search).unwrap())
}

#[test]
fn lines_are_found_by_expression_and_by_text() {
    for which in 0..2 {
        let ground = Ground::new();
        ground.put("a.txt", "one.two\r\nonextwo\nONE.TWO\n");
        ground.put("sub/b.txt", "nothing\none.two");
        let root = &ground.roots()[which];
        let search = Search::default();
        assert_eq!(
            find(root, &literal("one.two"), &search),
            ["a.txt:1:one.two", "sub/b.txt:2:one.two"]
        );
        assert_eq!(find(root, &regex("^one.two$"), &search).len(), 2, "a carriage return counts");
        assert_eq!(find(root, &regex("one.two"), &search).len(), 3);
        let either = Search { case: Case::Insensitive, ..Search::default() };
        assert_eq!(find(root, &literal("one.two"), &either).len(), 3);
        let smart = Search { case: Case::Smart, ..Search::default() };
        assert_eq!(find(root, &literal("one.two"), &smart).len(), 3);
        assert_eq!(find(root, &literal("ONE"), &smart), ["a.txt:3:ONE.TWO"]);
        let one = Search { path: "sub/b.txt".to_owned(), ..Search::default() };
        assert_eq!(find(root, &literal("one"), &one), ["sub/b.txt:2:one.two"]);
        let sub = Search { path: "sub".to_owned(), ..Search::default() };
        assert_eq!(find(root, &literal("one"), &sub), ["sub/b.txt:2:one.two"]);
    }
}

#[test]
fn lines_around_a_match_are_marked() {
    let ground = Ground::new();
    ground.put("a", "1\n2\nhit\n4\n5\n6\nhit\n");
    let search = Search { lines_before: 1, lines_after: 2, ..Search::default() };
    let found = find(&ground.root(), &literal("hit"), &search);
    assert_eq!(found, ["a-2-2", "a:3:hit", "a-4-4", "a-5-5", "a-6-6", "a:7:hit"]);
}

#[test]
fn globs_dots_rules_binaries_and_sizes_narrow() {
    let ground = Ground::new();
    for path in ["a.rs", "src/b.rs", "src/c.txt", "src/gen/d.rs", ".dot.rs", "out/e.rs"] {
        ground.put(path, "hit\n");
    }
    ground.put(".gitignore", "out/\n");
    ground.put("binary.rs", "hit\n\0");
    ground.put("late.rs", format!("hit\n{}\0", "x".repeat(200_000)));
    ground.put("large.rs", "hit ".repeat(100_000));
    let limits = Limits { search_file_bytes: 300_000, ..Limits::default() };
    let root = Root::open_with(ground.path(), limits).unwrap();
    let files = |search: &Search| -> Vec<String> {
        let found = root.search(&literal("hit"), search).unwrap();
        found.files.into_iter().map(|file| file.path).collect()
    };
    let all = ["a.rs", "src/b.rs", "src/c.txt", "src/gen/d.rs"];
    assert_eq!(files(&Search::default()), all);
    let globs = |globs: &[&str]| Search {
        globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        ..Search::default()
    };
    assert_eq!(files(&globs(&["*.rs"])), ["a.rs", "src/b.rs", "src/gen/d.rs"]);
    assert_eq!(files(&globs(&["/src/*.rs"])), ["src/b.rs"]);
    assert_eq!(files(&globs(&["*.rs", "!src/gen"])), ["a.rs", "src/b.rs"]);
    assert_eq!(files(&globs(&["out/*.rs"])), [""; 0]);
    let hidden = Search { hidden: Hidden::Show, ..Search::default() };
    assert!(files(&hidden).contains(&".dot.rs".to_owned()));
    let ignored = Search { ignored: Ignored::Show, ..Search::default() };
    assert!(files(&ignored).contains(&"out/e.rs".to_owned()));
    let skipped = root.search(&literal("hit"), &Search::default()).unwrap().skipped;
    assert_eq!((skipped.binary, skipped.large), (2, 1));
}

#[test]
fn limits_give_the_first_matches_in_the_order_of_paths_every_time() {
    let ground = Ground::new();
    for file in 0..400 {
        ground.put(
            &format!("{}/{}/{file}.txt", file % 7, file % 3),
            format!("hit {file}\nno\nhit again\n"),
        );
    }
    let root = ground.root();
    let all = root.search(&literal("hit"), &Search::default()).unwrap();
    assert_eq!((all.matches, all.stopped, all.files.len()), (800, None, 400));
    for matches in [1, 2, 7, 399, 799, 800] {
        for _ in 0..8 {
            let some =
                root.search(&literal("hit"), &Search { matches, ..Search::default() }).unwrap();
            assert_eq!(told(&some), told(&all)[..matches]);
            assert_eq!(some.stopped, (matches < 800).then_some(Stop::Matches));
        }
    }
    let bytes = told(&all).iter().take(33).map(|told| told.rsplit(':').next().unwrap().len()).sum();
    for _ in 0..8 {
        let some = root.search(&literal("hit"), &Search { bytes, ..Search::default() }).unwrap();
        assert_eq!((told(&some).as_slice(), some.stopped), (&told(&all)[..33], Some(Stop::Bytes)));
    }
}

#[test]
fn a_search_that_is_late_or_meets_too_much_says_so() {
    let ground = Ground::new();
    for file in 0..50 {
        ground.put(&format!("{file}"), "hit\n");
    }
    let late = Search { time_ms: 0, ..Search::default() };
    assert_eq!(ground.root().search(&literal("hit"), &late).unwrap().stopped, Some(Stop::Time));
    let limits = Limits { walk_entries: 49, ..Limits::default() };
    let root = Root::open_with(ground.path(), limits).unwrap();
    let found = root.search(&literal("hit"), &Search::default()).unwrap();
    assert_eq!(found.stopped, Some(Stop::Entries));
}

#[test]
fn a_long_line_is_cut_at_a_character_and_what_is_not_text_is_replaced() {
    let ground = Ground::new();
    ground.put("long", format!("hit {}", "ż".repeat(1_000)));
    ground.put("mixed", b"hit \xff\n");
    let found = ground.root().search(&literal("hit"), &Search::default()).unwrap();
    let (long, mixed) = (&found.files[0].lines[0], &found.files[1].lines[0]);
    assert!(long.is_cut && long.text.len() == 500 && long.text.ends_with('ż'));
    assert_eq!((mixed.text.as_str(), mixed.is_cut), ("hit \u{fffd}", false));
}

#[test]
fn what_cannot_be_searched_is_refused_by_name() {
    let ground = Ground::new();
    let root = ground.root();
    for (pattern, says) in [
        (regex("("), "the expression"),
        (regex(""), "empty"),
        (literal("a\nb"), "the text"),
        (regex(&"(a{1000}){1000}".repeat(9)), "the expression"),
    ] {
        let error = root.search(&pattern, &Search::default()).unwrap_err();
        assert_eq!(error.code(), "files.pattern");
        assert!(error.to_string().contains(says), "{error}");
    }
    let glob = Search { globs: vec!["a[".to_owned()], ..Search::default() };
    assert!(root.search(&literal("a"), &glob).unwrap_err().to_string().starts_with("the glob"));
    let nowhere = Search { path: "nowhere".to_owned(), ..Search::default() };
    assert_eq!(root.search(&literal("a"), &nowhere).unwrap_err().code(), "files.absent");
}
