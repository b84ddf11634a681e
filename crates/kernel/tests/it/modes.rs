//! C095: the modes of a run are a closed set, and each is a state machine of its own: every order of inputs up to a
//! depth is played from the beginning, and what comes out is held against a table.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    decision::Mode,
    event::{Body, Stage},
    exception::{Class, Landed},
    id::Digest,
    input::{Answer, Input, OnConflict, Scope, Settlement},
    operation::{Effect, Operation, Retry, Undo},
    run::{PREVIEWED, PREVIEWED_ASK, Run, Status},
};
use serde_json::json;
use std::sync::Arc;
use testkit::{Bench, Crash, Rules, failure, operation, person, proposal, restorable_set};

/// Inputs in a row that are tried in every order.
const DEPTH: usize = 3;

/// What may be handed to a run at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hand {
    Approve,
    Deny,
    Edit,
    Expire,
    Pause,
    Resume,
    Cancel,
    Rollback,
    Happened,
    DidNotHappen,
    Crash,
}

const HANDS: [Hand; 11] = [
    Hand::Approve,
    Hand::Deny,
    Hand::Edit,
    Hand::Expire,
    Hand::Pause,
    Hand::Resume,
    Hand::Cancel,
    Hand::Rollback,
    Hand::Happened,
    Hand::DidNotHappen,
    Hand::Crash,
];

/// How the change that asks goes, once it is made.
#[derive(Clone, Copy, Debug)]
enum World {
    Works,
    Fails,
    IsSilent,
}

fn operations() -> Vec<Operation> {
    vec![
        operation("crm.get", Effect::Read, Undo::None, Retry::Keyed),
        restorable_set(),
        operation("mail.send", Effect::Write, Undo::None, Retry::Never),
    ]
}

/// A read, a change that can be taken back, and one that asks a person and cannot.
fn bench(mode: Mode, world: World) -> Bench {
    let steps = vec![
        proposal("a", "crm.get", json!({})),
        proposal("b", "crm.set", json!({"value": 1})),
        proposal("c", "mail.send", json!({"to": "x"})),
    ];
    let rules = Rules::default().ask("mail.send", "approver", 1);
    let mut bench = Bench::new(operations(), steps, rules);
    bench.header_mut().mode = mode;
    // A planner that is told why a change was not made goes on, as an agent does.
    bench.goes_on = true;
    match world {
        World::Works => {}
        World::Fails => {
            bench.world.script("mail.send", vec![failure(Class::Permission, Landed::No)])
        }
        World::IsSilent => {
            bench.world.script("mail.send", vec![failure(Class::Timeout, Landed::Unknown)]);
        }
    }
    bench.start(Crash::Never);
    bench
}

fn status(bench: &Bench) -> Status {
    bench.run.as_ref().unwrap().status()
}

/// Hands something over, where it means anything now.
fn hand(bench: &mut Bench, hand: Hand) {
    let by = person("person:lena", &["approver", "operator"]);
    let run = bench.run.as_ref().unwrap();
    let answer = |answer: Answer| {
        let ask = run.asks().into_iter().next()?;
        let (action, shown) = (ask.action.digest?, Digest::of(b"card"));
        Some(Input::Answer { approval: ask.id, action, shown, by: by.clone(), answer })
    };
    let settle = |settlement: Settlement| {
        let exception = run.exceptions().into_iter().next()?.id.clone();
        Some(Input::Settle { exception, by: by.clone(), settlement, evidence: "seen".into() })
    };
    let input = match hand {
        Hand::Approve => answer(Answer::Approve),
        Hand::Deny => answer(Answer::Deny { reason: "no".into() }),
        Hand::Edit => answer(Answer::Edit { args: Arc::new(json!({"to": "y"})) }),
        Hand::Expire => {
            bench.at += kernel::approval::ASK_EXPIRES_MS;
            Some(Input::Tick)
        }
        Hand::Pause => Some(Input::Pause { by: by.clone() }),
        Hand::Resume => Some(Input::Resume { by: by.clone() }),
        Hand::Cancel => Some(Input::Cancel { by: by.clone(), reason: "enough".into() }),
        Hand::Rollback => Some(Input::Rollback {
            by: by.clone(),
            scope: Scope::Run,
            on_conflict: OnConflict::Refuse,
        }),
        Hand::Happened => settle(Settlement::Happened),
        Hand::DidNotHappen => settle(Settlement::DidNotHappen),
        Hand::Crash => {
            bench.recover(Crash::Never).unwrap();
            None
        }
    };
    if let Some(input) = input {
        // What the run does not take now leaves no trace: that is a transition to itself.
        let before = bench.records.len();
        if bench.input(input).is_err() {
            assert_eq!(bench.records.len(), before, "{hand:?} was refused and left a trace");
        }
    }
}

/// What must hold of a run in a mode, whatever was handed to it.
fn check(bench: &Bench, mode: Mode, path: &[Hand]) {
    let writes: BTreeSet<u64> = bench
        .records
        .iter()
        .filter_map(|record| match &record.event.body {
            Body::Proposed { operation, .. } if operation.as_str() != "crm.get" => {
                Some(record.event.seq)
            }
            _ => None,
        })
        .collect();
    for record in &bench.records {
        match &record.event.body {
            Body::Dispatched { action, .. } | Body::Armed { action, .. } => {
                let may = mode.makes_changes() || !writes.contains(action);
                assert!(may, "{mode:?} {path:?}: a change left");
            }
            Body::Asked { .. } => assert!(mode.makes_changes(), "{mode:?} {path:?}: it asks"),
            Body::Rejected { stage: Stage::Previewed, code, .. } => {
                assert!(!mode.makes_changes(), "{mode:?} {path:?}");
                assert!([PREVIEWED, PREVIEWED_ASK].contains(&code.as_str()), "{code}");
            }
            _ => {}
        }
    }
    if !mode.makes_changes() {
        assert!(bench.world.effects.is_empty(), "{mode:?} {path:?}: {:?}", bench.world.effects);
    }
    assert!(bench.world.effects.values().all(|times| *times == 1), "{mode:?} {path:?}: twice");
    let folded = Run::fold(&bench.records, bench.pins()).unwrap();
    assert_eq!(folded.status(), status(bench), "{mode:?} {path:?}: folded it is something else");
}

/// From a word to words.
type Table = BTreeMap<&'static str, BTreeSet<&'static str>>;

/// Plays every order of inputs: where each status leads in one step.
fn explore(mode: Mode, world: World) -> Table {
    let mut table = Table::new();
    let mut rest: Vec<Vec<Hand>> = vec![vec![]];
    // Orders that lead to a journal that was seen already go on as that one did.
    let mut seen = BTreeSet::new();
    while let Some(path) = rest.pop() {
        let mut bench = bench(mode, world);
        path.iter().for_each(|each| hand(&mut bench, *each));
        check(&bench, mode, &path);
        let from = status(&bench);
        if !seen.insert((path.len(), bench.kinds(), bench.at)) || path.len() == DEPTH {
            continue;
        }
        for next in HANDS {
            let mut bench = self::bench(mode, world);
            path.iter().chain([&next]).for_each(|each| hand(&mut bench, *each));
            table.entry(from.word()).or_default().insert(status(&bench).word());
            rest.push(path.iter().copied().chain([next]).collect());
        }
    }
    table
}

fn table(rows: &[(&'static str, &[&'static str])]) -> Table {
    rows.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect()
}

/// C095: in a mode that makes no change, no order of inputs makes one or asks anybody; the run ends by itself, and only
/// what a person does to it afterwards is taken in.
#[test]
fn a_mode_that_makes_no_change_makes_none_whatever_is_handed_to_it() {
    let never = Mode::ALL.into_iter().filter(|mode| !mode.makes_changes());
    for mode in never {
        for world in [World::Works, World::Fails, World::IsSilent] {
            let rejected = bench(mode, world).records.into_iter().filter_map(|record| match record
                .event
                .body
            {
                Body::Rejected { stage: Stage::Previewed, code, .. } => Some(code),
                _ => None,
            });
            assert_eq!(rejected.collect::<Vec<_>>(), [PREVIEWED, PREVIEWED_ASK], "{mode:?}");
            let found = explore(mode, world);
            assert_eq!(found, table(&PREVIEWS), "{mode:?} {world:?}");
        }
    }
}

/// C095: modes that make changes are one machine, with these transitions and no others.
#[test]
fn modes_that_make_changes_go_only_where_their_table_says() {
    let worlds =
        [(World::Works, &WORKS[..]), (World::Fails, &FAILS[..]), (World::IsSilent, &SILENT[..])];
    let mut wrong = Vec::new();
    for mode in Mode::ALL.into_iter().filter(|mode| mode.makes_changes()) {
        for (world, rows) in worlds {
            let found = explore(mode, world);
            if found != table(rows) {
                wrong.push((mode, world, found));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What was only shown has nothing to be taken back: a rollback of it is complete at once.
const PREVIEWS: [(&str, &[&str]); 2] =
    [("succeeded", &["succeeded", "rolled_back"]), ("rolled_back", &["rolled_back"])];

/// The mail cannot be called back, so that of a run that sent it some is taken back and some is not.
const WORKS: [(&str, &[&str]); 6] = [
    ("asking", &["asking", "paused", "cancelled", "succeeded"]),
    ("paused", &["asking", "paused", "cancelled", "succeeded"]),
    ("succeeded", &["succeeded", "partly_rolled_back", "rolled_back"]),
    ("cancelled", &["cancelled", "rolled_back"]),
    ("rolled_back", &["rolled_back"]),
    ("partly_rolled_back", &["partly_rolled_back"]),
];

const FAILS: [(&str, &[&str]); 5] = [
    ("asking", &["asking", "paused", "cancelled", "succeeded"]),
    ("paused", &["asking", "paused", "cancelled", "succeeded"]),
    ("succeeded", &["succeeded", "rolled_back"]),
    ("cancelled", &["cancelled", "rolled_back"]),
    ("rolled_back", &["rolled_back"]),
];

/// Whether the mail was sent is nobody's guess: a person says it, or the run ends with the doubt open.
const SILENT: [(&str, &[&str]); 6] = [
    ("asking", &["asking", "paused", "cancelled", "needs_person", "succeeded"]),
    ("paused", &["asking", "paused", "cancelled", "needs_person", "succeeded"]),
    ("needs_person", &["needs_person", "paused", "cancelled", "succeeded"]),
    ("succeeded", &["succeeded", "partly_rolled_back", "rolled_back"]),
    ("cancelled", &["cancelled", "rolled_back"]),
    ("rolled_back", &["rolled_back"]),
];
