//! C361, C093: a journal of every released format version folds and replays in this build: the state of a run is
//! nothing else.
//!
//! A new version gets a new file, written with `GOLDEN_WRITE=1`; the old ones must stay as they are.

use std::{fs, path::PathBuf, sync::Arc};

use kernel::{
    event::Record,
    id::Digest,
    input::{Answer, Input, OnConflict, Scope},
    operation::{Binding, Companion, Effect, Operation, ResourceRule, Retry, Undo},
    run::{Run, replay},
    sealed::Opening,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use testkit::{Bench, Crash, NoSchemas, Rules, operation, person, proposal, returned};

/// One stored event: its bytes as text and what opens it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    event: String,
    openings: Vec<Option<Opening>>,
}

fn operations() -> Vec<Operation> {
    let mut set = operation("crm.set", Effect::Write, Undo::Restore, Retry::Keyed);
    set.resource = Some(ResourceRule { kind: "Account".into(), id: "/account".into() });
    let before = [("account".to_owned(), Binding::From("/args/account".into()))];
    set.companions.before = Some(Companion {
        operation: "crm.get".parse().unwrap(),
        with: before.clone().into(),
        image: vec!["/value".into()],
    });
    let [account] = before;
    set.companions.undo_with = Some(Companion {
        operation: "crm.set".parse().unwrap(),
        with: [account, ("value".to_owned(), Binding::From("/before/value".into()))].into(),
        image: vec![],
    });
    let get = operation("crm.get", Effect::Read, Undo::None, Retry::Keyed);
    let mail = operation("mail.send", Effect::Write, Undo::None, Retry::Never);
    vec![set, get, mail]
}

fn bench() -> Bench {
    let steps = vec![
        proposal("read", "crm.get", json!({"account": "A"})),
        proposal("set", "crm.set", json!({"account": "A", "value": "new"})),
        proposal("send", "mail.send", json!({"to": "x"})),
    ];
    let rules = Rules::default().ask("mail.send", "approver", 1).ask("crm.set", "approver", 2);
    let mut bench = Bench::new(operations(), steps, rules);
    bench.world.script("crm.get", vec![Ok(returned(json!("record")))]);
    bench.world.record = json!("original");
    bench
}

/// Asks, a quorum, an edit, a pause, a new owner, a rollback: one run that meets most events.
fn story() -> Bench {
    let mut b = bench();
    b.start(Crash::Never);
    let answer = |b: &mut Bench, who: &str, answer: Answer| {
        let ask = b.run.as_ref().unwrap().asks().remove(0);
        let (approval, action) = (ask.id, ask.action.digest.unwrap());
        let (by, shown) = (person(who, &["approver"]), Digest::of(b"card"));
        b.at += 10;
        b.input(Input::Answer { approval, action, shown, by, answer }).unwrap();
    };
    answer(&mut b, "person:lena", Answer::Approve);
    answer(&mut b, "person:omar", Answer::Approve);
    b.input(Input::Pause { by: person("person:lena", &[]) }).unwrap();
    b.input(Input::Resume { by: person("person:lena", &[]) }).unwrap();
    b.recover(Crash::Never).unwrap();
    answer(&mut b, "person:lena", Answer::Edit { args: Arc::new(json!({"to": "y"})) });
    answer(&mut b, "person:omar", Answer::Approve);
    let (by, scope) = (person("person:lena", &[]), Scope::Run);
    b.input(Input::Rollback { by, scope, on_conflict: OnConflict::Refuse }).unwrap();
    b
}

/// Every released pair of format and machine.
const RELEASED: [(u32, u32); 6] = [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)];

/// The journal of a format version, written by a machine version.
fn file((version, machine): (u32, u32)) -> PathBuf {
    let name = format!("tests/golden/journal-v{version}-m{machine}.json");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn stored(record: &Record) -> Stored {
    let event = String::from_utf8(record.bytes.clone()).unwrap();
    Stored { event, openings: record.openings() }
}

#[test]
fn the_golden_journal_is_what_is_written_today() {
    let today: Vec<Stored> = story().records.iter().map(stored).collect();
    let today_is = (kernel::event::VERSION, kernel::event::MACHINE);
    assert_eq!(RELEASED.last(), Some(&today_is), "name the new file");
    let path = file(today_is);
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(&today).unwrap() + "\n").unwrap();
    }
    let golden: Vec<Stored> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let differs = golden.iter().zip(&today).position(|(old, new)| old != new);
    let news = "another format is written: a new version needs a new file";
    assert_eq!((golden.len(), differs), (today.len(), None), "{news}");
}

#[test]
fn golden_journals_of_every_version_fold_and_replay() {
    for version in RELEASED {
        let text = fs::read_to_string(file(version)).unwrap();
        let stored: Vec<Stored> = serde_json::from_str(&text).unwrap();
        let read =
            |(seq, s): (usize, Stored)| Record::read(seq as u64, s.event.into_bytes(), s.openings);
        let records: Vec<Record> =
            stored.into_iter().enumerate().map(|r| read(r).unwrap()).collect();
        let b = bench();
        let run = Run::fold(&records, b.pins()).unwrap();
        assert_eq!(run.head(), records.last().unwrap().hash);
        let replayed = replay(&records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
        assert_eq!(replayed.events, records.len() as u64, "version {version:?}");
    }
}
