use base64::{Engine, engine::general_purpose::STANDARD};
use files::{Content, Error, Hash, Limits, Next, Range, Root};

use crate::Ground;

fn lines(from: u64, lines: u64) -> Range {
    Range::Lines { from, lines, bytes: 1 << 20 }
}

fn says(content: Content) -> String {
    match content {
        Content::Text(text) => text,
        Content::Binary(base64) => format!("base64:{base64}"),
    }
}

#[test]
fn a_small_file_is_read_whole_with_its_hash() {
    let ground = Ground::new();
    ground.put("a.txt", "one\ntwo\n");
    let part = ground.root().read("a.txt", Range::default()).unwrap();
    assert_eq!(says(part.content), "one\ntwo\n");
    assert_eq!((part.from, part.size, part.next), (0, 8, None));
    assert_eq!(part.hash, Some(Hash::of(b"one\ntwo\n")));
    ground.put("empty", "");
    let part = ground.root().read("empty", lines(1, 10)).unwrap();
    assert_eq!((says(part.content), part.size, part.next), (String::new(), 0, None));
}

#[test]
fn lines_are_counted_from_one_and_say_where_to_go_on() {
    let ground = Ground::new();
    ground.put("a.txt", "one\ntwo\nthree\nfour");
    let root = ground.root();
    for (from, count, text, next) in [
        (1, 1, "one\n", Some(Next { byte: 4, line: Some(2) })),
        (0, 1, "one\n", Some(Next { byte: 4, line: Some(2) })),
        (2, 2, "two\nthree\n", Some(Next { byte: 14, line: Some(4) })),
        (4, 9, "four", None),
        (5, 9, "", None),
    ] {
        let part = root.read("a.txt", lines(from, count)).unwrap();
        assert_eq!((says(part.content).as_str(), part.next), (text, next), "from line {from}");
        assert_eq!(part.hash, Some(Hash::of(b"one\ntwo\nthree\nfour")));
    }
}

#[test]
fn parts_put_together_are_the_file_however_they_are_cut() {
    let ground = Ground::new();
    let text = "zażółć gęślą jaźń\n🦀🦀🦀 and\r\n\nno end".repeat(7_000);
    ground.put("a.txt", &text);
    let root = ground.root();
    for bytes in [4, 5, 1_000, 65_536, 65_537, 1 << 20] {
        let (mut all, mut from, mut rounds) = (String::new(), 0, 0);
        loop {
            let part = root.read("a.txt", Range::Bytes { from, bytes }).unwrap();
            assert_eq!(part.from, from);
            all.push_str(&says(part.content));
            rounds += 1;
            match part.next {
                // So small parts of so long a file are enough when they have gone on for a while.
                Some(next) if rounds < 60 => from = next.byte,
                Some(_) => break,
                None => {
                    assert_eq!(all.len(), text.len());
                    break;
                }
            }
        }
        assert!(text.starts_with(&all));
    }
    let (mut all, mut next) = (String::new(), Some(1));
    while let Some(from) = next {
        let part = root.read("a.txt", Range::Lines { from, lines: 3_000, bytes: 1 << 20 }).unwrap();
        all.push_str(&says(part.content));
        next = part.next.map(|next| next.line.unwrap());
    }
    assert_eq!(all, text);
}

#[test]
fn a_line_that_is_too_long_is_cut_and_goes_on_by_bytes() {
    let ground = Ground::new();
    ground.put("a.txt", format!("{}\nend\n", "x".repeat(100)));
    let root = ground.root();
    let part = root.read("a.txt", Range::Lines { from: 1, lines: 5, bytes: 10 }).unwrap();
    assert_eq!(says(part.content), "x".repeat(10));
    assert_eq!(part.next, Some(Next { byte: 10, line: None }));
    let part = root.read("a.txt", Range::Bytes { from: 10, bytes: 1 << 20 }).unwrap();
    assert!(says(part.content).ends_with("x\nend\n"));
}

#[test]
fn what_is_not_text_comes_as_base64() {
    let ground = Ground::new();
    for bytes in [&b"a\0b"[..], b"\xff\xfe", b"ok\xc3", b"\x80"] {
        ground.put("a", bytes);
        let part = ground.root().read("a", Range::default()).unwrap();
        let Content::Binary(base64) = part.content else { panic!("{bytes:?} is not text") };
        assert_eq!(STANDARD.decode(base64).unwrap(), bytes);
        assert_eq!(part.next, None);
    }
}

#[test]
fn a_file_above_the_limit_is_read_by_bytes_only_and_has_no_hash() {
    let ground = Ground::new();
    ground.put("large", "0123456789");
    let limits = Limits { file_bytes: 9, ..Limits::default() };
    let root = Root::open_with(ground.path(), limits).unwrap();
    let refused = root.read("large", lines(1, 1)).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { size: 10, most: 9, .. }), "{refused}");
    let part = root.read("large", Range::Bytes { from: 4, bytes: 3 }).unwrap();
    assert_eq!((says(part.content).as_str(), part.from, part.hash), ("456", 4, None));
    assert_eq!(part.next, Some(Next { byte: 7, line: None }));
    let part = root.read("large", Range::Bytes { from: 99, bytes: 3 }).unwrap();
    assert_eq!((says(part.content).as_str(), part.from, part.next), ("", 10, None));
}

#[test]
fn a_folder_is_not_read_and_what_is_missing_is_said() {
    let ground = Ground::new();
    ground.put("a/b", "");
    let root = ground.root();
    assert_eq!(
        root.read("a", Range::default()).unwrap_err().to_string(),
        "a: it is a folder, not a file"
    );
    assert_eq!(root.read("c", Range::default()).unwrap_err().code(), "files.absent");
    assert_eq!(root.read("a/b/c", Range::default()).unwrap_err().code(), "files.absent");
}

/// C120: a part fits into what its reader has room for, written as JSON, whatever the file holds; parts are the file.
#[test]
fn a_part_takes_no_more_json_than_there_is_room_for() {
    let ground = Ground::new();
    let binary: Vec<u8> =
        (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let quoted = "a \"quoted\" line\n\tand \u{1} more\n".repeat(3_000).into_bytes();
    let mut broken = "żółw ".repeat(9_000).into_bytes();
    broken.truncate(broken.len() - 3);
    for bytes in [binary, quoted, broken, vec![0xff; 90_000], vec![1; 90_000]] {
        ground.put("a", &bytes);
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let range = Range::Bytes { from, bytes: 1 << 20 };
            let part = ground.root().read_within("a", range, 30_000).unwrap();
            let json = serde_json::to_vec(&part.content).unwrap().len();
            assert!(json <= 30_000 + 16, "{json} bytes of JSON");
            match part.content {
                Content::Text(text) => all.extend(text.into_bytes()),
                Content::Binary(base64) => all.extend(STANDARD.decode(base64).unwrap()),
            }
            match part.next {
                Some(next) => from = next.byte,
                None => break,
            }
        }
        assert!(all == bytes);
    }
    let range = Range::Lines { from: 1, lines: 5_000, bytes: 1 << 20 };
    ground.put("lines", "0123456789\n".repeat(1_000));
    let part = ground.root().read_within("lines", range, 1_200).unwrap();
    assert_eq!(part.next, Some(Next { byte: 1_100, line: Some(101) }));
}
