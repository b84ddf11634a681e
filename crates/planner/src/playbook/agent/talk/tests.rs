//! How a conversation is shortened, stage by stage.

use super::*;

fn call(id: &str) -> Item {
    let arguments = Some(Arc::new(Value::Null));
    Item::Call { id: id.into(), name: "t".into(), arguments, malformed: None }
}

fn result(id: &str, content: String) -> Segment {
    Segment::Result { call: id.into(), name: "t".into(), content, is_error: false }
}

/// The same as a result that is called by its turn.
fn named(turn: usize, content: String) -> Told {
    let (to, whole) = (content.len(), content.len());
    let piece = Some(Piece { of: format!("`r{turn}`"), from: 0, to, whole });
    Told { segment: result(&format!("c{turn}"), content), piece }
}

/// A long conversation, with a fact at the start of every result and one at its end.
fn long(turns: usize, bytes: usize) -> Talk {
    let system = Segment::System { text: "the rules".into(), source: Source::System };
    let mut talk =
        Talk::new(("a".into(), SINCE), vec![system, message("the task", Source::User)], 0);
    for turn in 0..turns {
        talk.prompt(&[], 100);
        let id = format!("c{turn}");
        let thought = Item::Reasoning { text: "x".repeat(bytes) };
        talk.hear([thought, call(&id)].into(), 10);
        let content = format!("fact-{turn} {} end-{turn}", "y".repeat(bytes));
        talk.add_results(vec![named(turn, content)], usize::MAX);
        if turn == 2 {
            talk.pin(message("mind the gap", Source::Steering));
        }
    }
    talk
}

fn told(talk: &mut Talk) -> (String, Prompt) {
    let prompt = talk.prompt(&[], 100);
    (serde_json::to_string(&prompt).unwrap(), prompt)
}

/// Planted facts survive, pinned pieces are there once, calls and results stay pairs (C235).
#[test]
fn a_shortened_conversation_keeps_its_facts_and_its_pairs() {
    let mut talk = long(40, 2_000);
    assert!(talk.shorten(9_000, 40));
    let (text, prompt) = told(&mut talk);
    assert_eq!((prompt.conversation.as_str(), prompt.turn), ("a#2", 0));
    for turn in 0..40 {
        assert!(text.contains(&format!("fact-{turn} ")), "fact {turn}");
        // What is left out of a result can be read by its name, from where it was cut.
        let whole = 11 + 2_000 + 2 * turn.to_string().len();
        let mark = format!("[{} bytes of `r{turn}` follow, from 160]", whole - 160);
        assert_eq!(text.contains(&mark), !text.contains(&format!("end-{turn}\"")), "{mark}");
    }
    for pinned in ["the rules", "the task", "mind the gap"] {
        assert_eq!(text.matches(pinned).count(), 1, "{pinned}");
    }
    assert!(!text.contains("xxx"), "what it thought is gone");
    let mut wanted = Vec::new();
    for segment in &prompt.segments {
        match segment {
            Segment::Said { items } => {
                assert!(wanted.is_empty(), "a call without its result: {wanted:?}");
                let ids = items.iter().filter_map(|item| match item {
                    Item::Call { id, .. } => Some(id.clone()),
                    _ => None,
                });
                wanted.extend(ids);
            }
            Segment::Result { call, .. } => {
                let at = wanted.iter().position(|id| id == call).expect("a result of its own");
                wanted.remove(at);
            }
            Segment::System { .. } | Segment::User { .. } => {}
        }
    }
    assert!(wanted.is_empty());
}

#[test]
fn a_summary_takes_the_place_of_the_oldest_turns() {
    let mut talk = long(400, 2_000);
    assert!(!talk.shorten(2_000, 400), "too much even when shortened");
    let old = talk.old(1_000_000).unwrap();
    assert!(old.contains("t gave (`r0`): fact-0 ") && !old.contains("fact-399 "));
    talk.replace_old("facts 0 to 395 were found".into(), 400);
    assert!(talk.tokens() < 5_000, "{}", talk.tokens());
    let (text, _) = told(&mut talk);
    assert!(text.contains("facts 0 to 395") && text.contains("fact-399 "));
    assert!(text.contains("can be read again by name:") && text.contains("`r395`."), "{text}");
    assert_eq!(text.matches("mind the gap").count(), 1);
}

#[test]
fn what_is_said_next_is_what_was_not_said_yet() {
    let mut talk = long(2, 10);
    let (first, prompt) = told(&mut talk);
    assert!(first.contains("fact-1") && !first.contains("fact-0") && !first.contains("rules"));
    assert_eq!(prompt.turn, 2);
}

/// The last stage fits whatever is asked of it, as far as what nobody may drop does.
#[test]
fn the_last_stage_always_fits() {
    let names = |talk: &Talk| -> usize { talk.pinned.iter().map(Segment::weight).sum() };
    for most in [60, 100, 400, 1_000, 3_000, 10_000] {
        let mut talk = long(40, 2_000);
        talk.summary = Some("s".repeat(50_000));
        let least = tokens(names(&talk));
        assert_eq!(talk.fit(most, 40), least <= most, "{least} of {most}");
        assert!(talk.tokens() <= most.max(least), "{} of {most}", talk.tokens());
        let (text, _) = told(&mut talk);
        for pinned in ["the rules", "the task", "mind the gap"] {
            assert_eq!(text.matches(pinned).count(), 1, "{pinned}");
        }
        assert_eq!(text.contains("fact-39 "), most >= 400, "{most}: {text}");
        let is_short = text.contains("turns before this are left out");
        assert_eq!(is_short, (400..10_000).contains(&most), "{most}: {text}");
        let is_named = text.contains("`r10`") || text.contains("by name: `r0` to `r");
        assert!(most < 1_000 || is_named, "{most}: {text}");
    }
}

#[test]
fn the_heaviest_give_way_first() {
    assert_eq!(level(&[10, 20, 30], 60), usize::MAX);
    assert_eq!(level(&[10, 100, 100], 60), 25);
    assert_eq!(level(&[100, 100, 100], 60), 20);
    assert_eq!((level(&[], 0), level(&[1], 0)), (usize::MAX, 0));
    let mut talk = long(1, 10);
    talk.prompt(&[], 100);
    talk.hear([call("c1"), call("c2"), call("c3")].into(), 10);
    let results = [(1, 100), (2, 5_000), (3, 90_000)];
    let results = results.map(|(at, bytes)| named(at, "漢字".repeat(bytes / 6)));
    talk.add_results(results.into(), 30_000);
    assert!(talk.fresh.iter().map(|t| t.segment.weight()).sum::<usize>() <= 30_000);
    let (text, _) = told(&mut talk);
    assert!(!text.contains("`r1` follow") && !text.contains("`r2` follow"), "they are light");
    assert!(text.contains("bytes of `r3` follow, from "), "{}", text.len());
}

/// What was cut before is cut again from the same place, and what cannot be counted begins again.
#[test]
fn a_piece_knows_where_it_goes_on() {
    let piece = |to| Some(Piece { of: "`r1` at `/x`".into(), from: 100, to, whole: 9_000 });
    let mark = piece(5_100).unwrap().mark();
    assert_eq!(mark, "\n[3900 bytes of `r1` at `/x` follow, from 5100]");
    let told = |to: usize| {
        let segment = result("c", format!("{}{}", "z".repeat(5_000), piece(to).unwrap().mark()));
        cut(Told { segment, piece: piece(to) }, 1_200)
    };
    let ends = |told: &Told, end: &str| match &told.segment {
        Segment::Result { content, .. } => content.ends_with(end) && content.len() < 1_200,
        _ => false,
    };
    assert!(ends(&told(5_100), "z\n[7900 bytes of `r1` at `/x` follow, from 1100]"));
    // What does not show was spelled out: its places are others.
    assert!(ends(&told(5_050), "z\n[8900 bytes of `r1` at `/x` follow, from 100]"));
    let plain = cut(result("c", "z".repeat(5_000)).into(), 1_200);
    assert!(ends(&plain, "z\n[4000 bytes left out: too much at once]"));
}
