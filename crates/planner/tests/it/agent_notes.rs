//! What an agent keeps in mind has kinds and lifetimes (C239): its task as long as the run, what came of its calls for
//! some turns whole, what it thought until the conversation is shortened, its notes as long as they say.

use kernel::{
    agent::{Lifetime, OUTPUT_TURNS, ShortTerm},
    conversation::{Segment, Source},
    label::Trust,
};
use serde_json::{Value, json};

use crate::{
    agent::{call, prompt, results, says, says_as, started, told_by},
    support::Drive,
};

fn noting() -> Drive {
    started(json!({ "noting": "kept", "limits": {
        "context_tokens_max": 4_000, "turns_max": 100, "calls_max": 200, "tokens_max": 10_000_000,
        "result_bytes_max": 2_000,
    } }))
}

fn note(id: &str, name: &str, text: &str, turns: u32) -> Value {
    call(id, "note", json!({ "name": name, "text": text, "turns": turns }))
}

fn whole(drive: &Drive, turn: u32) -> String {
    serde_json::to_string(&prompt(drive, turn).segments).unwrap()
}

/// Each kind outlives the shortening of a conversation exactly as far as its lifetime says.
#[test]
fn every_kind_is_kept_as_long_as_it_says_and_no_longer() {
    let kinds: Vec<Lifetime> = ShortTerm::ALL.into_iter().map(ShortTerm::lifetime).collect();
    assert_eq!((kinds[0], kinds[2]), (Lifetime::Run, Lifetime::Conversation));
    let mut drive = noting();
    let notes =
        json!([note("n1", "short", "SHORT-LIVED", 2), note("n2", "long", "LONG-LIVED", 50)]);
    says(&mut drive, 1, notes);
    assert_eq!(results(&drive, 2)[0].1, "kept for 2 turns");
    assert!(told_by(&drive, 2, Source::State).is_empty(), "nothing is told twice");
    for turn in 2..=20 {
        let thought = json!({ "item": "reasoning", "text": format!("THOUGHT-{turn}") });
        let usage = call(&format!("c{turn}"), "r_usage", json!({ "id": turn.to_string() }));
        let said = (json!([thought, usage]), "tools", 200 * u64::from(turn));
        says_as(&mut drive, turn, said, Trust::User);
        // The two notes were calls, too.
        let fact = format!("fact-{turn} {} end-{turn}.", "z".repeat(1_000));
        drive.done(&format!("a/r.usage[{}]", turn + 1), json!(fact));
    }
    let begun: Vec<u32> = (2..=21).filter(|turn| prompt(&drive, *turn).turn == 0).collect();
    assert!(begun.len() > 1, "it was shortened: {begun:?}");
    for turn in begun.into_iter().filter(|turn| *turn > 3) {
        let told = whole(&drive, turn);
        assert!(told.contains("Look into Acme"), "the task stays");
        assert!(!told.contains("THOUGHT-"), "thoughts go: {told}");
        assert!(told.contains(&format!("end-{}.", turn - 1)), "the last output is whole");
        let far = turn.saturating_sub(OUTPUT_TURNS + 2);
        assert!(far < 2 || !told.contains(&format!("end-{far}.")), "{far} is a handle: {told}");
        assert_eq!(told.matches("LONG-LIVED").count(), 1, "told again, once: {told}");
        assert!(!told.contains("SHORT-LIVED"), "it has run out: {told}");
        let pairs = prompt(&drive, turn).segments.into_iter();
        let answered =
            pairs.filter(|s| matches!(s, Segment::Result { name, .. } if name == "note"));
        assert_eq!(answered.count(), 2, "calls keep their results");
    }
}

/// A note is replaced and forgotten by its name; what is no note is told so and kept nowhere.
#[test]
fn notes_are_replaced_forgotten_and_refused() {
    let mut drive = noting();
    let bad = [
        call("b1", "note", json!({ "name": "", "text": "x" })),
        call("b2", "note", json!({ "name": "n", "text": "x".repeat(2_001) })),
        call("b3", "note", json!({ "name": "n", "text": "x", "turns": 51 })),
        call("b4", "note", json!({ "name": "n", "text": "x", "turns": "soon" })),
    ];
    says(&mut drive, 1, json!(bad));
    assert!(
        results(&drive, 2).iter().all(|(_, _, is_error)| *is_error),
        "{:?}",
        results(&drive, 2)
    );
    says(&mut drive, 2, json!([note("n1", "plan", "first", 9), note("n2", "plan", "", 9)]));
    let told: Vec<String> = results(&drive, 3).into_iter().map(|(_, told, _)| told).collect();
    assert_eq!(told, ["kept for 9 turns", "`plan` is forgotten"]);
    let many: Vec<Value> =
        (0..33).map(|n| note(&format!("m{n}"), &format!("n{n}"), "x", 9)).collect();
    says(&mut drive, 3, json!(many));
    let told = results(&drive, 4);
    assert!(told[31].1.starts_with("kept") && told[32].2, "{:?}", told[32]);

    let mut without = started(json!({}));
    assert!(prompt(&without, 1).tools.iter().all(|tool| tool.name != "note"));
    says(&mut without, 1, json!([note("n1", "plan", "first", 9)]));
    assert!(results(&without, 2)[0].1.contains("there is no tool `note`"));
}
