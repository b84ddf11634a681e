//! Every damage is found, by both verifiers, at the place where it was done.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{Digest, id::Tenant};
use proptest::{prelude::*, test_runner::RngSeed};
use receipts::{
    bundle::{Bundle, CONSISTENCY_MAX, Earlier, Logged},
    dsse,
    verify::{Check, Outcome, Verdict},
};
use serde_json::{Value, json};

use crate::{
    python::verify_twice,
    world::{self, Export, Log},
};

/// Verifies a damaged bundle twice and expects this check to be the first that fails.
#[track_caller]
fn expect(bundle: &Bundle, check: Check) {
    expect_bytes(&bundle.write().unwrap(), check);
}

#[track_caller]
fn expect_bytes(bytes: &[u8], check: Check) {
    let said = verify_twice(bytes, None);
    let failed = said.report.checks.iter().find(|c| matches!(c.outcome, Outcome::Failed { .. }));
    assert_eq!(failed.map(|c| c.check), Some(check), "{}", said.report);
    assert_eq!(said.report.verdict, Verdict::Failed);
}

#[track_caller]
fn expect_open(bundle: &Bundle) {
    let said = verify_twice(&bundle.write().unwrap(), None);
    assert_eq!(said.report.verdict, Verdict::Open, "{}", said.report);
    assert!(said.report.reason.contains("could be cut"), "{}", said.report);
}

fn long() -> Export {
    world::export(world::long_run("a"))
}

fn payload(logged: &Logged) -> String {
    let envelope: Value = serde_json::from_str(&logged.envelope).unwrap();
    String::from_utf8(STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// A change to an event.
type Edit = fn(&mut Value);

/// Rewrites an event and everything that hangs on its hash, as somebody without the key can.
fn edit_event(bundle: &mut Bundle, seq: usize, edit: impl Fn(&mut Value)) {
    let mut previous: Option<Digest> = None;
    for (index, entry) in bundle.events.iter_mut().enumerate() {
        let mut event: Value = serde_json::from_str(&entry.event).unwrap();
        if index == seq {
            edit(&mut event);
        }
        if let Some(previous) = previous {
            event["prev_hash"] = json!(previous);
        }
        let bytes = kernel::canon::bytes(&event).unwrap();
        previous = Some(Digest::of(&bytes));
        entry.event = String::from_utf8(bytes).unwrap();
    }
}

#[test]
fn the_whole_bundle_verifies() {
    let export = long();
    let said = verify_twice(&export.bundle.write().unwrap(), None);
    assert_eq!(said.report.verdict, Verdict::Verified, "{}", said.report);
}

#[test]
fn an_edited_statement() {
    let mut bundle = long().bundle;
    let text = payload(&bundle.receipts[1]);
    let edited = text.replace("person:mira", "person:eve");
    assert_ne!(edited, text);
    let envelope = &mut bundle.receipts[1].envelope;
    *envelope = envelope.replace(&STANDARD.encode(text), &STANDARD.encode(edited));
    expect(&bundle, Check::Signatures);
}

#[test]
fn an_edited_statement_signed_with_another_key() {
    for claims_trusted_key in [false, true] {
        let mut bundle = long().bundle;
        let edited = payload(&bundle.receipts[1]).replace("person:mira", "person:eve");
        let envelope = dsse::envelope(&world::stranger(), edited.as_bytes());
        let mut envelope = String::from_utf8(envelope).unwrap();
        if claims_trusted_key {
            envelope =
                envelope.replace(&world::stranger().public().id(), &world::signer().public().id());
        }
        bundle.receipts[1].envelope = envelope;
        expect(&bundle, Check::Signatures);
    }
}

#[test]
fn a_deleted_statement() {
    for index in 0..5 {
        let mut bundle = long().bundle;
        bundle.receipts.remove(index);
        expect(&bundle, Check::Chain);
    }
}

#[test]
fn statements_in_another_order() {
    let mut bundle = long().bundle;
    bundle.receipts.swap(0, 1);
    expect(&bundle, Check::Chain);
}

#[test]
fn a_statement_twice() {
    let mut bundle = long().bundle;
    bundle.receipts.insert(1, bundle.receipts[1].clone());
    expect(&bundle, Check::Chain);
}

#[test]
fn a_statement_of_another_run() {
    let export = long();
    let mut bundle = export.bundle;
    bundle.receipts[1].envelope = String::from_utf8(export.other.envelopes[1].clone()).unwrap();
    expect(&bundle, Check::Chain);
}

#[test]
fn a_cut_tail() {
    let whole = long().bundle;
    let mut receipts_only = whole.clone();
    receipts_only.receipts.truncate(2);
    expect(&receipts_only, Check::Journal);

    let mut events_only = whole.clone();
    events_only.events.truncate(12);
    expect(&events_only, Check::Journal);

    // Both, so that they agree: what is left holds, and is open.
    let is_receipted = |seq: usize| whole.events[seq].event.contains("\"kind\":\"receipted\"");
    let second = (0..whole.events.len()).filter(|seq| is_receipted(*seq)).nth(1).unwrap();
    let mut both = whole.clone();
    both.receipts.truncate(2);
    both.events.truncate(second + 1);
    expect_open(&both);
}

#[test]
fn a_dropped_close_record() {
    let mut bundle = world::export(world::short_run("a")).bundle;
    bundle.receipts.pop();
    expect(&bundle, Check::Journal);
    bundle.events.pop();
    expect_open(&bundle);
}

#[test]
fn a_run_that_went_on_after_its_close_record() {
    let mut run = world::short_run("a");
    run.emit(kernel::event::Body::Claimed { epoch: 2 });
    expect_open(&world::export(run).bundle);
}

#[test]
fn a_close_record_over_another_journal() {
    // The right key signed it, but not over the journal that is enclosed.
    for (fewer, head) in
        [(1, None), (0, Some(Digest::of(b"another journal"))), (1, Some(Digest::default()))]
    {
        let mut run = world::open_run("a");
        let (events, honest) = run.head();
        run.close_over("succeeded", events - fewer, head.unwrap_or(honest));
        expect(&world::export(run).bundle, Check::Close);
    }
}

#[test]
fn an_edited_event() {
    let mut naive = long().bundle;
    naive.events[3].event = naive.events[3].event.replace("\"attempt\":1", "\"attempt\":2");
    naive.events[0].event = naive.events[0].event.replace("\"owner\":\"ops\"", "\"owner\":\"eve\"");
    expect(&naive, Check::Events);

    // The chain mended behind it: the close record still tells.
    let mut mended = long().bundle;
    edit_event(&mut mended, 0, |event| event["body"]["header"]["owner"] = json!("eve"));
    expect(&mended, Check::Close);
}

/// C292: arguments and result of a call are what its receipt commits to.
#[test]
fn an_edited_event_that_a_receipt_speaks_of() {
    let edits: [(&str, Edit); 9] = [
        ("proposed", |e| e["body"]["step"] = json!("other")),
        ("proposed", |e| e["body"]["args"]["bytes"] = json!(1)),
        ("proposed", |e| e["body"]["proposer"] = json!("another")),
        ("judged", |e| e["body"]["decision"]["rules"] = json!([])),
        ("answered", |e| e["body"]["by"]["id"] = json!("person:eve")),
        ("answered", |e| e["body"]["answer"] = json!({"verdict": "approved", "x": 1})),
        ("dispatched", |e| e["body"]["key"] = json!("key_other")),
        ("returned", |e| e["body"]["ended"]["output"]["bytes"] = json!(1)),
        ("receipted", |e| e["body"]["landed"] = json!("no")),
    ];
    for (kind, edit) in edits {
        let mut bundle = long().bundle;
        bundle.withhold_openings();
        let wanted = format!("\"kind\":\"{kind}\"");
        let seq = bundle.events.iter().position(|e| e.event.contains(&wanted)).unwrap();
        edit_event(&mut bundle, seq, edit);
        // The extra field changes nothing a receipt says: only the close record tells.
        let is_extra = bundle.events[seq].event.contains("\"x\":1");
        expect(&bundle, if is_extra { Check::Close } else { Check::Journal });
    }
}

/// What a run is pinned to stands in every receipt: a journal that names another version of it is not theirs
/// (C099).
#[test]
fn a_header_that_is_not_the_receipts() {
    for pinned in ["pack_digest", "plan", "config"] {
        let other = json!(format!("sha256:{}", "f".repeat(64)));
        let mut bundle = long().bundle;
        edit_event(&mut bundle, 0, |event| event["body"]["header"][pinned] = other.clone());
        expect(&bundle, Check::Journal);
    }
    let mut bundle = long().bundle;
    edit_event(&mut bundle, 0, |event| event["body"]["header"]["intent"] = json!("other"));
    expect(&bundle, Check::Journal);
    let mut bundle = long().bundle;
    bundle.tenant = "other".parse::<Tenant>().unwrap();
    expect(&bundle, Check::Events);
    let mut bundle = long().bundle;
    bundle.run = world::short_run("b").id;
    expect(&bundle, Check::Events);
}

#[test]
fn an_event_written_otherwise() {
    for (from, to) in [
        ("{\"at\":", "{ \"at\":"),
        ("\"seq\":0", "\"seq\":0.0"),
        ("\"seq\":0", "\"seq\":0,\"seq\":0"),
        ("\"v\":1", "\"v\":1,\"w\":1"),
        ("machine", "\\u006dachine"),
    ] {
        let mut bundle = long().bundle;
        let changed = bundle.events[0].event.replacen(from, to, 1);
        assert_ne!(changed, bundle.events[0].event);
        bundle.events[0].event = changed;
        expect(&bundle, Check::Events);
    }
}

#[test]
fn events_missing_moved_or_of_another_run() {
    let whole = long().bundle;
    let mut missing = whole.clone();
    missing.events.remove(4);
    expect(&missing, Check::Events);
    let mut moved = whole.clone();
    moved.events.swap(4, 5);
    expect(&moved, Check::Events);
    let mut headless = whole.clone();
    headless.events.clear();
    expect(&headless, Check::Events);
    let mut spliced = whole;
    spliced.events[4] = world::export(world::short_run("b")).bundle.events[4].clone();
    expect(&spliced, Check::Events);
    let mut back = long().bundle;
    edit_event(&mut back, 4, |event| event["at"] = json!(0));
    expect(&back, Check::Events);
}

#[test]
fn a_value_that_was_not_the_one() {
    let whole = long().bundle;
    let opened: Vec<usize> =
        (0..whole.events.len()).filter(|i| !whole.events[*i].openings.is_empty()).collect();
    let damages: [fn(&mut receipts::bundle::Entry); 5] = [
        |e| {
            let opening = e.openings.values_mut().next().unwrap();
            opening.salt[0] ^= 1;
        },
        |e| {
            let opening = e.openings.values_mut().next().unwrap();
            opening.value = std::sync::Arc::new(json!({"account": "acct-2"}));
        },
        |e| {
            let opening = e.openings.values_mut().next().unwrap();
            opening.labels.parts.clear();
        },
        |e| {
            let (_, opening) = e.openings.pop_first().unwrap();
            e.openings.insert("/body/kind".into(), opening);
        },
        |e| {
            let (_, opening) = e.openings.pop_first().unwrap();
            e.openings.insert("/nowhere/0".into(), opening);
        },
    ];
    for damage in damages {
        let mut bundle = whole.clone();
        damage(&mut bundle.events[opened[1]]);
        expect(&bundle, Check::Openings);
    }
    let mut swapped = whole.clone();
    let first = swapped.events[opened[0]].openings["/body/intent"].clone();
    swapped.events[opened[1]].openings.insert("/body/args".into(), first);
    expect(&swapped, Check::Openings);
}

#[test]
fn an_edited_checkpoint() {
    let whole = long().bundle;
    let size = whole.checkpoint.lines().nth(1).unwrap().to_owned();
    let mut longer = whole.clone();
    longer.checkpoint = whole.checkpoint.replacen(&format!("\n{size}\n"), "\n99\n", 1);
    expect(&longer, Check::Checkpoint);
    let mut unsigned = whole.clone();
    unsigned.checkpoint = whole.checkpoint.split_inclusive("\n\n").next().unwrap().to_owned();
    expect(&unsigned, Check::Checkpoint);
    let mut renamed = whole.clone();
    renamed.checkpoint = whole.checkpoint.replace("harness.example", "other.example");
    expect(&renamed, Check::Checkpoint);
    let mut forged = whole.clone();
    let log = Log::default().checkpoint();
    forged.checkpoint = log.sign(&world::stranger(), world::stranger().public()).unwrap();
    expect(&forged, Check::Checkpoint);
    // The right key, another log.
    let mut other = whole;
    other.checkpoint = log.sign(&world::signer(), world::signer().public()).unwrap();
    expect(&other, Check::Inclusion);
}

#[test]
fn a_proof_that_leads_elsewhere() {
    let damages: [fn(&mut Logged); 4] = [
        |l| l.leaf += 1,
        |l| l.inclusion[0].0[0] ^= 1,
        |l| l.inclusion.truncate(1),
        |l| l.inclusion.push(Digest::default()),
    ];
    for damage in damages {
        let mut bundle = long().bundle;
        damage(&mut bundle.receipts[2]);
        expect(&bundle, Check::Inclusion);
    }
}

#[test]
fn leaves_that_do_not_grow() {
    // Logged again in another order: each stands in the log, but not one after the other.
    let run = world::short_run("a");
    let mut log = Log::default();
    let mut leaves: Vec<u64> = run.envelopes.iter().rev().map(|e| log.append(e)).collect();
    leaves.reverse();
    expect(&log.export(&run, &leaves, &[]), Check::Inclusion);
}

#[test]
fn an_earlier_checkpoint() {
    let export = long();
    let (signer, bytes) = (world::signer(), export.bundle.write().unwrap());
    let sign = |checkpoint: &receipts::checkpoint::Checkpoint| {
        checkpoint.sign(&signer, signer.public()).unwrap()
    };
    let verdict = |bytes: &[u8], note: &str| {
        let said = verify_twice(bytes, Some(note));
        let since = said.report.checks.iter().find(|c| c.check == Check::Since).unwrap();
        let held = matches!(since.outcome, Outcome::Ok { .. });
        assert_eq!(held, said.report.verdict == Verdict::Verified, "{}", said.report);
        held
    };
    assert!(verdict(&bytes, &sign(&export.since)));
    assert!(verdict(&bytes, &export.bundle.checkpoint));
    assert!(verdict(&bytes, &sign(&Log::default().checkpoint())), "everything begins with nothing");

    let mut rewritten = export.since.clone();
    rewritten.head.root = Digest::of(b"another past");
    assert!(!verdict(&bytes, &sign(&rewritten)));
    let mut renamed = export.since.clone();
    renamed.origin = "other.example/log".into();
    assert!(!verdict(&bytes, &sign(&renamed)));
    let mut longer = export.since.clone();
    longer.head.size = 1_000;
    assert!(!verdict(&bytes, &sign(&longer)));
    let mut unproven = export.since.clone();
    unproven.head.size += 1;
    assert!(!verdict(&bytes, &sign(&unproven)));
    let mut damaged = export.bundle.clone();
    damaged.consistency[0].proof[0].0[0] ^= 1;
    assert!(!verdict(&damaged.write().unwrap(), &sign(&export.since)));
}

#[test]
fn content_that_is_another() {
    let mut bundle = long().bundle;
    let name = *bundle.blobs.keys().next().unwrap();
    bundle.blobs.insert(name, STANDARD.encode(b"other"));
    expect(&bundle, Check::Blobs);
    bundle.blobs.insert(name, "!".into());
    expect(&bundle, Check::Blobs);
}

#[test]
fn a_file_that_is_no_bundle() {
    let text = String::from_utf8(long().bundle.write().unwrap()).unwrap();
    for damaged in [
        String::new(),
        "{}".to_owned(),
        "[".repeat(100_000),
        text[..text.len() / 2].to_owned(),
        text.replace("harness.bundle/v1", "harness.bundle/v2"),
        text.replacen("\"tenant\"", "\"extra\": 1, \"tenant\"", 1),
        text.replacen("\"tenant\"", "\"tenant\": \"default\", \"tenant\"", 1),
        text.replacen("\"leaf\"", "\"extra\": 1, \"leaf\"", 1),
        text.replacen("\"checkpoint\"", "\"check\"", 1),
    ] {
        assert_ne!(damaged, text);
        expect_bytes(damaged.as_bytes(), Check::Format);
    }
}

#[test]
fn more_proofs_of_consistency_than_a_bundle_may_hold() {
    let mut bundle = long().bundle;
    bundle.consistency = vec![Earlier { from: 1, proof: Vec::new() }; CONSISTENCY_MAX];
    assert_eq!(verify_twice(&bundle.write().unwrap(), None).report.verdict, Verdict::Verified);
    bundle.consistency.push(Earlier { from: 1, proof: Vec::new() });
    expect(&bundle, Check::Format);
    bundle.consistency.push(Earlier { from: 1, proof: Vec::new() });
    expect(&bundle, Check::Format);
}

#[test]
fn a_bundle_proves_nothing_to_another_key() {
    let bytes = long().bundle.write().unwrap();
    let public = world::stranger().public().to_string();
    let said = crate::python::verify_with(&bytes, &public, None);
    assert_eq!(said.report.verdict, Verdict::Failed);
}

proptest! {
    // The same places every time: a new seed is a deliberate look at others.
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(2_026),
        ..ProptestConfig::default()
    })]

    /// Wherever a letter or digit is changed, both say the same: that it failed, unless it stands where
    /// nothing is proven without `--since`: the hint which keys to ask for, and proofs of consistency.
    #[test]
    fn any_changed_character(pick in any::<prop::sample::Index>(), step in 1_u8..10) {
        let original = world::export(world::short_run("a")).bundle;
        let mut bytes = original.write().unwrap();
        let places: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i].is_ascii_alphanumeric()).collect();
        let at = places[pick.index(places.len())];
        bytes[at] = match bytes[at] {
            digit @ b'0'..=b'9' => b'0' + (digit - b'0' + step) % 10,
            upper @ b'A'..=b'Z' => b'A' + (upper - b'A' + step) % 26,
            other => b'a' + (other - b'a' + step) % 26,
        };
        let said = verify_twice(&bytes, None);
        let unproven = Bundle::read(&bytes).is_ok_and(|b| {
            b.keys != original.keys || b.consistency != original.consistency
        });
        let noticed = said.report.verdict != Verdict::Verified;
        prop_assert!(noticed || unproven, "at {at}: {}", said.report);
    }

    /// Whatever stands in place of any part of the file, both say the same: it failed.
    #[test]
    fn any_part_replaced(pick in any::<prop::sample::Index>(), by in 0_usize..10) {
        let bytes = world::export(world::short_run("a")).bundle.write().unwrap();
        let mut file: Value = serde_json::from_slice(&bytes).unwrap();
        let parts = parts(&file, String::new());
        let place = &parts[pick.index(parts.len())];
        let others = [
            json!(null), json!(true), json!(0), json!(1.5), json!(-1), json!(""), json!([]), json!({}),
            json!([null]), json!("sha256:00"),
        ];
        let part = file.pointer_mut(place).unwrap();
        prop_assume!(*part != others[by] && !place.starts_with("/keys"));
        *part = others[by].clone();
        // What is optional may be absent.
        let is_harmless = [("/blobs", json!({})), ("/consistency", json!([]))]
            .iter()
            .any(|(harmless, empty)| place == harmless && others[by] == *empty)
            || (place.ends_with("/openings") && others[by] == json!({}));
        let said = verify_twice(&serde_json::to_vec(&file).unwrap(), None);
        prop_assert_eq!(said.report.verdict == Verdict::Verified, is_harmless, "{}: {}", place, said.report);
    }
}

/// Pointers to every part of a JSON value.
fn parts(value: &Value, at: String) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, child)| (kernel::pointer::escape(key), child)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(i, child)| (i.to_string(), child)).collect()
        }
        _ => vec![],
    };
    let inner = children.into_iter().flat_map(|(key, child)| parts(child, format!("{at}/{key}")));
    std::iter::once(at.clone()).chain(inner).collect()
}
