//! No conversation outgrows its limit: whatever comes back at once, in whatever script, whoever fails to sum it up, and
//! however little its model can read (C213, C235, C237, C238).

use std::collections::BTreeSet;

use kernel::{
    conversation::{CONTEXT_TOO_LONG, Item, Prompt, Segment, Source},
    exception::Class,
    planning::Settled,
};
use serde_json::{Value, json};

use crate::{
    agent::{agent, call, concluded, prompt, results, says, says_as, started, text},
    random::Draws,
    support::{Drive, Seen, UNTRUSTED, USER, VERIFIED, give, label, labelled, open_as},
};

/// Tokens of a text as the harshest of tokenizers would count them.
fn tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let others = text.chars().filter(|letter| !letter.is_ascii());
    ascii.div_ceil(3) + others.map(|letter| letter.len_utf8() as u64 * 2 / 3).sum::<u64>()
}

fn tokens_of_item(item: &Item) -> u64 {
    match item {
        Item::Text { text } | Item::Reasoning { text } | Item::Refusal { text } => tokens(text),
        Item::Call { name, arguments, malformed, .. } => {
            let arguments = arguments.as_ref().map_or(0, |args| tokens(&args.to_string()));
            let malformed = malformed.as_ref().map_or(0, |malformed| tokens(&malformed.text));
            tokens(name) + arguments + malformed + 8
        }
        Item::Provided { detail, .. } => tokens(&detail.to_string()),
    }
}

fn tokens_of(prompt: &Prompt) -> u64 {
    let told = prompt.segments.iter().map(|segment| match segment {
        Segment::System { text, .. } => tokens(text) + 4,
        Segment::User { .. } => tokens(&words(segment)) + 4,
        Segment::Result { content, .. } => tokens(content) + 8,
        Segment::Said { items } => items.iter().map(tokens_of_item).sum(),
    });
    let tools = prompt.tools.iter().map(|tool| {
        tokens(&tool.name) + tokens(&tool.description) + tokens(&tool.input.to_string())
    });
    told.sum::<u64>() + tools.sum::<u64>()
}

fn words(segment: &Segment) -> String {
    let Segment::User { parts, .. } = segment else { return String::new() };
    let parts = parts.iter().map(|part| serde_json::to_value(part).unwrap());
    parts.map(|part| part["text"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A provider that takes no conversation that is longer than it may be, or in which a call and its result are not a pair.
#[derive(Debug, Default)]
struct Provider {
    conversation: String,
    holds: u64,
    /// Calls that were not answered yet.
    open: BTreeSet<String>,
    seen: Met,
}

/// What the runs of a test met at least once.
#[derive(Debug, Default)]
struct Met {
    begun: u32,
    left_out: u32,
    cut: u32,
    unsummed: u32,
    summed: u32,
    too_long: u32,
    uncounted: u32,
}

impl Provider {
    fn ask(&mut self, prompt: &Prompt, tokens_max: u64) {
        if prompt.turn == 0 {
            self.conversation.clone_from(&prompt.conversation);
            (self.holds, self.open) = (0, BTreeSet::new());
            self.seen.begun += 1;
        }
        assert_eq!(self.conversation, prompt.conversation);
        self.holds += tokens_of(prompt);
        assert!(self.holds <= tokens_max, "{} of {tokens_max} tokens: {prompt:#?}", self.holds);
        for segment in &prompt.segments {
            match segment {
                Segment::Said { items } => self.say(items),
                Segment::Result { call, content, .. } => {
                    assert!(self.open.remove(call), "{call} is answered, and was not called");
                    self.seen.cut += u32::from(content.contains(" follow, from "));
                }
                Segment::System { .. } | Segment::User { .. } => {
                    let left_out = words(segment).contains("turns before this are left out");
                    self.seen.left_out += u32::from(left_out);
                }
            }
        }
        assert!(self.open.is_empty(), "{:?} are not answered", self.open);
    }

    fn say(&mut self, items: &[Item]) {
        assert!(self.open.is_empty(), "{:?} are not answered", self.open);
        let ids = items.iter().filter_map(|item| match item {
            Item::Call { id, .. } => Some(id.clone()),
            _ => None,
        });
        self.open.extend(ids);
    }
}

fn filler(draws: &mut Draws, bytes: u64) -> String {
    let piece = *draws.pick(&["word ", "漢字", "é", "{\"a\":1}", "🦀", "x"]);
    piece.repeat(bytes as usize / piece.len() + 1)
}

/// Everything that was called and is not a model comes back, with results of any size.
fn bring(drive: &mut Drive, draws: &mut Draws, settled: &mut usize) {
    while *settled < drive.moves.len() {
        let wanted = drive.moves[*settled].clone();
        *settled += 1;
        let kernel::planning::Move::Propose(proposal) = wanted else { continue };
        if proposal.operation.connector() == "model" {
            continue;
        }
        let most = *draws.pick(&[10, 300, 3_000, 30_000]);
        let bytes = draws.below(most);
        let value = json!(filler(draws, bytes));
        drive.told(Seen::Settled(proposal.step, Settled::Done(labelled(value, VERIFIED))));
    }
}

fn failed(drive: &mut Drive, step: &str, class: Class, code: Option<&str>) {
    let code = code.map(str::to_owned);
    let settled = Settled::Failed { class, code, retry_after_ms: None, label: label(VERIFIED) };
    drive.told(Seen::Settled(step.to_owned(), settled));
}

fn last_asked(drive: &Drive) -> (u32, Prompt) {
    let asked = drive.proposals().filter(|p| p.operation.connector() == "model").count() as u32;
    (asked, prompt(drive, asked))
}

/// What is random about an agent, as its plan says it.
fn written(draws: &mut Draws, tokens_max: u64) -> Value {
    let mut more = json!({ "noting": "kept", "limits": {
        "context_tokens_max": tokens_max, "turns_max": 100, "calls_max": 10_000,
        "tokens_max": 10_000_000, "result_bytes_max": 200 + draws.below(20_000), "circles": "ignore",
    } });
    if draws.below(3) > 0 {
        more["summary_role"] = json!("small");
    }
    if draws.below(3) == 0 {
        let values =
            json!({ "state": { "values": { "u": "${{ pack.limit }}" }, "tokens_max": 300 } });
        more["context"] = values;
    }
    more
}

/// What a model says in a round: words, and calls of what there is and what there is not.
fn said_at(draws: &mut Draws, round: u32) -> Vec<Value> {
    let mut items = vec![json!({ "item": "reasoning", "text": "hm" })];
    let bytes = draws.below(300);
    items.push(text(&filler(draws, bytes)));
    for at in 0..1 + draws.below(20) {
        let bytes = draws.below(60);
        let args = json!({ "id": filler(draws, bytes) });
        let name = *draws.pick(&["r_account", "r_usage", "w_send", "nothing"]);
        items.push(call(&format!("c{round}-{at}"), name, args));
    }
    items
}

/// One agent with one model, both random, for some turns.
fn play(seed: u64, provider: &mut Provider) {
    let mut draws = Draws::new(seed);
    let tokens_max = 2_500 + draws.below(6_000);
    let mut drive = started(written(&mut draws, tokens_max));
    let (mut settled, mut said, mut refused) = (0, Vec::new(), !seed.is_multiple_of(3));
    let counts = draws.below(4) > 0;
    // Each time it is asked: a model that was too long to be read is asked again, and so is one that sums up.
    for round in 1..=30 {
        if !concluded(&drive).is_empty() {
            panic!("{}: {:?}", concluded(&drive), drive.lines().last());
        }
        let (asked, prompt) = last_asked(&drive);
        assert_eq!(asked, round);
        let step = format!("a/think[{asked}]");
        if prompt.conversation.contains("#sum") {
            assert!(tokens_of(&prompt) <= tokens_max, "{} of {tokens_max}", tokens_of(&prompt));
            if draws.below(2) == 0 {
                provider.seen.unsummed += 1;
                failed(&mut drive, &step, Class::Permission, None);
            } else {
                provider.seen.summed += 1;
                let bytes = draws.below(8_000);
                let summary = filler(&mut draws, bytes);
                says(&mut drive, asked, json!([text(&summary)]));
            }
            continue;
        }
        provider.ask(&prompt, tokens_max);
        if prompt.turn == 0 {
            let told = serde_json::to_string(&prompt.segments).unwrap();
            for pinned in
                ["Find out.", "Look into Acme"].into_iter().chain(said.iter().map(String::as_str))
            {
                assert_eq!(told.matches(pinned).count(), 1, "{pinned}: {told}");
            }
        }
        // Once, and where there is something to leave out: who reads less and less ends with nothing.
        let is_long = prompt.turn > 0 && provider.holds * 3 > tokens_max * 2;
        if is_long && !std::mem::replace(&mut refused, true) {
            provider.seen.too_long += 1;
            failed(&mut drive, &step, Class::InvalidArguments, Some(CONTEXT_TOO_LONG));
            continue;
        }
        let items = said_at(&mut draws, round);
        let heard: Vec<Item> = serde_json::from_value(json!(items)).unwrap();
        provider.say(&heard);
        provider.holds += heard.iter().map(tokens_of_item).sum::<u64>();
        provider.seen.uncounted += u32::from(!counts);
        let counted = if counts { provider.holds } else { 0 };
        if draws.below(10) == 0 {
            let word = format!("steer-{round}.");
            drive.told(Seen::Steered(labelled(json!(word), USER)));
            said.push(word);
        }
        let reply = json!({
            "provider": "p", "model": "m", "wire": "openai", "items": items, "stop": "tools",
            "usage": { "input": counted, "output": 0 }, "raw": "",
        });
        drive.told(Seen::Settled(step, Settled::Done(labelled(reply, USER))));
        bring(&mut drive, &mut draws, &mut settled);
    }
}

/// Every prompt fits, calls keep their results, and what is pinned stays, whatever happens.
#[test]
fn no_prompt_is_longer_than_may_be() {
    let mut provider = Provider::default();
    for seed in 0..30 {
        play(seed, &mut provider);
    }
    let Met { begun, left_out, cut, unsummed, summed, too_long, uncounted } = provider.seen;
    let met = [begun, left_out, cut, unsummed, summed, too_long, uncounted];
    assert!(
        met.iter().all(|count| *count >= 3),
        "{:?} is too little to say anything",
        provider.seen
    );
}

/// A conversation that outgrows its limit begins anew, shorter, and the task is still in it; nothing that came back is
/// lost: `look` shows the end of each result by the name that stands where it was cut.
#[test]
fn a_conversation_that_grows_too_long_is_shortened() {
    let mut drive = started(json!({ "limits": {
        "context_tokens_max": 4_000, "turns_max": 100, "calls_max": 100, "tokens_max": 10_000_000,
        "result_bytes_max": 2_000,
    } }));
    let mut provider = Provider::default();
    for turn in 1..=20 {
        provider.ask(&prompt(&drive, turn), 4_000);
        let items =
            json!([call(&format!("c{turn}"), "r_usage", json!({ "id": turn.to_string() }))]);
        let heard: Vec<Item> = serde_json::from_value(items.clone()).unwrap();
        provider.say(&heard);
        provider.holds += heard.iter().map(tokens_of_item).sum::<u64>();
        says_as(&mut drive, turn, (items, "tools", provider.holds), USER);
        let fact = format!("begin-{turn} {} end-{turn}.", "z".repeat(1_000));
        drive.done(&format!("a/r.usage[{turn}]"), json!(fact));
    }
    let begun = (1..=21).rev().find(|turn| prompt(&drive, *turn).turn == 0).unwrap();
    assert!(begun > 15, "{begun}");
    let told = serde_json::to_string(&prompt(&drive, begun)).unwrap();
    assert!(told.contains("Look into Acme"), "{told}");
    assert!(!prompt(&drive, begun).tools.is_empty(), "tools are offered again");
    assert!(told.contains("begin-9 ") && !told.contains("end-9."), "the end is left out: {told}");
    // The model reads on from where it was cut, by what it was told alone.
    let marked = told.split("bytes of `r9` follow, from ").nth(1).expect(&told);
    let from: u64 = marked.split(']').next().unwrap().parse().unwrap();
    let more = json!({ "result": "r9", "from": from });
    says(&mut drive, 21, json!([call("look", "look", more)]));
    let (_, content, is_error) = results(&drive, 22).pop().unwrap();
    assert!(content.ends_with(" end-9.") && !is_error, "{content}");
}

/// What a turn brings is limited together, and each that is cut says where it goes on.
#[test]
fn what_a_turn_brings_is_limited_together() {
    let mut drive = started(json!({ "limits": {
        "context_tokens_max": 20_000, "result_bytes_max": 16_384, "calls_max": 100,
    } }));
    let calls: Vec<Value> = (1..=12)
        .map(|n| call(&format!("c{n}"), "r_usage", json!({ "id": n.to_string() })))
        .collect();
    says(&mut drive, 1, json!(calls));
    for n in 1..=12 {
        let bytes = if n == 1 { 100 } else { 16_000 };
        drive.done(&format!("a/r.usage[{n}]"), json!("z".repeat(bytes)));
    }
    let told = results(&drive, 2);
    assert_eq!((told.len(), told[0].1.len()), (12, 100), "who needs little has it");
    let together: usize = told.iter().map(|(_, content, _)| content.len()).sum();
    assert!((12_000..=15_000).contains(&together), "a quarter of 20,000 tokens: {together}");
    for (n, (_, content, _)) in told.iter().enumerate().skip(1) {
        assert!(content.contains(&format!("bytes of `r{}` follow, from ", n + 1)), "{content}");
    }
    let from = told[11].1.split("follow, from ").nth(1).unwrap().trim_end_matches(']');
    let from: u64 = from.parse().unwrap();
    says(&mut drive, 2, json!([call("l", "look", json!({ "result": "r12", "from": from }))]));
    assert_eq!(results(&drive, 3)[0].1.len() as u64, 16_000 - from, "the rest is read alone");
}

fn too_long(drive: &mut Drive, asked: u32) {
    failed(drive, &format!("a/think[{asked}]"), Class::InvalidArguments, Some(CONTEXT_TOO_LONG));
}

fn read_on(machine: u32) -> Drive {
    let steps = json!([agent(json!({ "limits": { "result_bytes_max": 9_000 } })), give(json!(1))]);
    let mut drive = open_as(steps, json!({ "task": "Look into Acme", "u": "x" }), machine);
    for turn in 1..=6 {
        let items =
            json!([call(&format!("c{turn}"), "r_usage", json!({ "id": turn.to_string() }))]);
        says(&mut drive, turn, items);
        let fact = format!("begin-{turn} {} end-{turn}.", "z".repeat(4_000));
        drive.done(&format!("a/r.usage[{turn}]"), json!(fact));
    }
    drive
}

/// A provider that reads less than was declared says so: the conversation is told again with half of it, as a prompt of
/// its own, and no more often than three times in a row.
#[test]
fn a_conversation_that_the_model_finds_too_long_is_told_again_shorter() {
    let mut drive = read_on(5);
    let whole: u64 = (1..=7).map(|turn| tokens_of(&prompt(&drive, turn))).sum();
    too_long(&mut drive, 7);
    let again = prompt(&drive, 8);
    assert_eq!((again.conversation.as_str(), again.turn), ("a#2", 0));
    assert!(tokens_of(&again) <= whole * 6 / 10, "{} of {whole}", tokens_of(&again));
    let told = serde_json::to_string(&again).unwrap();
    assert!(told.contains("Look into Acme") && told.contains("end-6."), "{told}");
    assert!(told.contains("begin-1 ") && told.contains("bytes of `r1` follow, from 160"), "{told}");
    assert_eq!(drive.proposal("a/think[8]").attempt, 1);
    // It is not forgotten: the next conversation is shortened before the model has to say so.
    too_long(&mut drive, 8);
    too_long(&mut drive, 9);
    let least = prompt(&drive, 10);
    assert_eq!(least.conversation, "a#4");
    assert!(tokens_of(&least) < tokens_of(&again), "{} is no less", tokens_of(&least));
    too_long(&mut drive, 10);
    assert_eq!(concluded(&drive), "model_failed");

    // What else a provider refuses is not asked again, and neither is a conversation that holds nothing but its task.
    let mut drive = read_on(5);
    failed(&mut drive, "a/think[7]", Class::InvalidArguments, None);
    assert_eq!(concluded(&drive), "model_failed");
    let mut drive = started(json!({}));
    too_long(&mut drive, 1);
    assert_eq!(concluded(&drive), "model_failed");
}

/// Runs that exist do what they did.
#[test]
fn runs_of_before_are_told_what_they_were_told() {
    let mut drive = read_on(4);
    too_long(&mut drive, 7);
    assert_eq!(concluded(&drive), "model_failed");
    let limits =
        json!({ "context_tokens_max": 2_000, "turns_max": 100, "result_bytes_max": 9_000 });
    let more = json!({ "summary_role": "small", "limits": limits });
    let steps = json!([agent(more), give(json!(1))]);
    let mut drive = open_as(steps, json!({ "task": "Look into Acme", "u": "x" }), 4);
    for turn in 1..=5 {
        let items =
            json!([call(&format!("c{turn}"), "r_usage", json!({ "id": turn.to_string() }))]);
        says(&mut drive, turn, items);
        drive.done(&format!("a/r.usage[{turn}]"), json!("z".repeat(6_000)));
    }
    // It was too long from the first on, and nothing could be summed up until there were five turns.
    assert_eq!(prompt(&drive, 6).conversation, "a#sum5");
    failed(&mut drive, "a/think[6]", Class::Permission, None);
    let told = prompt(&drive, 7);
    let contents: Vec<String> = results(&drive, 7).into_iter().map(|(_, told, _)| told).collect();
    let short = format!("{}\n[5840 bytes left out; `look` shows them again]", "z".repeat(160));
    assert_eq!((told.conversation.as_str(), contents.len()), ("a#6", 5));
    assert!(contents[..4].iter().all(|content| *content == short), "{contents:#?}");
    assert_eq!(contents[4].len(), 6_000);
    // As long as a conversation is; another machine would have made it fit.
    assert!(tokens_of(&told) > 2_000);
}

/// What must be told and does not fit ends the agent: nobody is asked what would be refused.
#[test]
fn a_task_that_does_not_fit_is_not_asked() {
    let spec =
        json!({ "instructions": "x".repeat(9_000), "limits": { "context_tokens_max": 3_000 } });
    let drive = started(spec);
    assert_eq!(concluded(&drive), "budget");
    assert_eq!(drive.proposals().count(), 0);
}

/// A large result is told by its beginning, and a part of it is a read of its own; runs of before are told what stands
/// for it.
#[test]
fn a_large_result_is_read_on_by_a_read() {
    let blob = kernel::Digest::of(b"x").to_string();
    let kept = json!({ "$blob": blob, "bytes": 10_000_000, "preview": "line 1\nline 2" });
    let drive = |machine: u32, trust| {
        let steps = json!([agent(json!({})), give(json!(1))]);
        let mut drive = open_as(steps, json!({ "task": "Look into Acme", "u": "x" }), machine);
        says(&mut drive, 1, json!([call("c1", "r_usage", json!({ "id": "1" }))]));
        drive.done_as("a/r.usage[1]", labelled(kept.clone(), trust));
        says(
            &mut drive,
            2,
            json!([call("l", "look", json!({ "result": "r1", "from": 9_000_000 }))]),
        );
        drive
    };
    let mut old = drive(4, VERIFIED);
    assert!(results(&old, 2)[0].1.starts_with("{\"$blob\""));
    assert_eq!(results(&old, 3)[0].1, "", "it looked into what stands for it");
    says(&mut old, 3, json!([text("done")]));

    let mut new = drive(5, VERIFIED);
    let mark = "line 1\nline 2\n[9999987 bytes of `r1` follow, from 13]";
    assert_eq!(results(&new, 2)[0].1, mark);
    let read = new.proposal("a/kept.read[2]").clone();
    assert_eq!(read.operation.as_str(), "kept.read");
    assert_eq!(*read.args, json!({ "blob": blob, "from": 9_000_000, "bytes": 200 }));
    let part = json!({ "text": "line 9", "from": 9_000_000, "to": 9_000_006, "whole": 10_000_000 });
    new.done("a/kept.read[2]", part);
    assert_eq!(results(&new, 3)[0].1, "line 9\n[999994 bytes of `r1` follow, from 9000006]");
    says(&mut new, 3, json!([call("l2", "look", json!({ "result": "r1", "from": 20_000_000 }))]));
    assert_eq!(new.proposal("a/kept.read[3]").args["from"], 10_000_000, "its end");
    failed(&mut new, "a/kept.read[3]", Class::MissingField, None);
    assert!(results(&new, 4)[0].2, "it is told that it failed");

    // Whoever looks has seen it: what it asks for and what it does then carry what is in it.
    let mut tainted = drive(5, UNTRUSTED);
    assert_eq!(results(&tainted, 2)[0].1, "{\"$result\":\"r1\"}");
    let read = tainted.proposal("a/kept.read[2]").clone();
    assert!(read.existence.is_tainted() && read.arg_labels.join_all().is_tainted());
    let part = json!({ "text": "obey", "from": 0, "to": 4, "whole": 4 });
    tainted.done_as("a/kept.read[2]", labelled(part, UNTRUSTED));
    says(&mut tainted, 3, json!([call("w", "w_send", json!({ "id": "1" }))]));
    assert!(tainted.proposals().last().unwrap().existence.is_tainted());
}

/// A call beyond what one turn may make is answered, too: no provider takes a conversation in which it is not.
#[test]
fn every_call_is_answered_however_many_there_are() {
    let mut drive = started(json!({ "limits": { "calls_max": 100 } }));
    let calls: Vec<Value> = (0..70).map(|n| call(&format!("c{n}"), "nothing", json!({}))).collect();
    says(&mut drive, 1, json!(calls));
    let told = results(&drive, 2);
    assert_eq!(told.len(), 70);
    assert!(
        told[64..].iter().all(|(_, content, is_error)| content.contains("at most 64") && *is_error)
    );
    assert!(prompt(&drive, 2).segments.iter().all(|s| s.source() == Source::Tool));
}
