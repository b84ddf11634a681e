//! The checker of the simulator again, over what real processes left: the world's ledger and the journals
//! in the database, read without the program. It knows how an event is hashed and what a key is, and nothing of how runs decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Storm;
use crate::support::{Office, World};

/// Runs that are verified and replayed by the program itself, too.
const VERIFIED_MAX: usize = 12;
/// The writes of the storm.
const WRITE: &str = "crm.update_contract";

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) runs: usize,
    pub(super) events: usize,
    pub(super) effects: usize,
}

/// The store's database, to read from.
pub(super) fn database(office: &Office) -> Connection {
    let path = office.path("store/harness.db");
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    conn
}

/// Every run and its status.
pub(super) fn runs(office: &Office) -> Vec<(String, String)> {
    let conn = database(office);
    let mut query = conn.prepare("SELECT run, coalesce(status, '') FROM runs").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// How often the world performed the effect under a key.
pub(super) fn performed(world: &World, key: &str) -> u64 {
    let found = world.get(&format!("/_world/effects?key={key}"));
    let lines = found["effects"].as_array().unwrap().iter();
    lines.map(|line| line["times_performed"].as_u64().unwrap()).sum()
}

/// The key under which an action in doubt was sent last.
pub(super) fn key_in_doubt(bundle: &Value, action: &Value) -> String {
    let mut events = bundle["events"].as_array().unwrap().iter().rev().map(event_of);
    let sent = events.find(|event| {
        let body = &event["body"];
        body["kind"] == "dispatched" && (action.is_null() || body["action"] == *action)
    });
    sent.map(|event| event["body"]["key"].as_str().unwrap().to_owned()).unwrap_or_default()
}

/// An exported bundle, which is removed.
pub(super) fn bundle(path: &Path) -> Value {
    let bundle = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    fs::remove_file(path).unwrap();
    bundle
}

fn event_of(kept: &Value) -> Value {
    serde_json::from_str(kept["event"].as_str().unwrap()).unwrap()
}

/// A run's journal as it lies in the database, its chain checked: for thousands of runs a command each would
/// take longer than the storm.
fn journal(conn: &Connection, run: &str) -> Vec<Value> {
    let sql = "SELECT events FROM batches WHERE tenant = 'default' AND run = ?1 ORDER BY seq";
    let mut query = conn.prepare_cached(sql).unwrap();
    let batches = query.query_map([run], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let batches: Vec<Vec<u8>> =
        batches.map(|packed| store::unpack(&packed.unwrap()).unwrap()).collect();
    let texts = batches.iter().flat_map(|batch| batch.split(|byte| *byte == b'\n'));
    let mut before = format!("sha256:{}", "0".repeat(64));
    let mut events = Vec::new();
    for (index, text) in texts.enumerate() {
        let event: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(event["seq"], index, "{run}: a gap");
        assert_eq!(event["prev_hash"], before.as_str(), "{run}: event {index} does not follow");
        let hash = Sha256::digest(text);
        before = hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        events.push(event);
    }
    let closes =
        |e: &&Value| ["receipted", "closed"].contains(&e["body"]["kind"].as_str().unwrap());
    let sql = "SELECT count(*) FROM receipts WHERE tenant = 'default' AND run = ?1";
    let receipts: usize = conn.query_row(sql, [run], |row| row.get(0)).unwrap();
    assert_eq!(events.iter().filter(closes).count(), receipts, "{run}: receipts and events differ");
    events
}

/// One journal against the ledger.
fn check_run(
    (storm, conn): (&Storm, &Connection),
    run: &str,
    ledger: &BTreeMap<String, u64>,
) -> (usize, BTreeSet<String>) {
    let events = journal(conn, run);
    let (mut sent, mut operations) = (BTreeMap::new(), BTreeMap::new());
    let (mut told, mut given) = (BTreeMap::<String, bool>::new(), BTreeSet::new());
    let (mut finished, mut closed) = (false, false);
    let mut receipted = BTreeMap::<u64, u32>::new();
    let mut spent = BTreeSet::new();
    for event in &events {
        let (seq, body) = (event["seq"].as_u64().unwrap(), &event["body"]);
        let action = body["action"].as_u64();
        let kind = body["kind"].as_str().unwrap();
        let reopens = ["rollback_requested", "settled"].contains(&kind);
        assert!(!closed || reopens, "{run}: `{kind}` follows the close record");
        closed = kind == "closed";
        match kind {
            "proposed" => drop(operations.insert(seq, body["operation"].clone())),
            "answered" => drop(given.insert(body["approval"].as_str().unwrap().to_owned())),
            "dispatched" => {
                drop(sent.insert(action.unwrap(), body["key"].as_str().unwrap().to_owned()));
            }
            "receipted" => {
                *receipted.entry(action.unwrap()).or_default() += 1;
                if operations[&action.unwrap()] == WRITE && body["landed"] != "unknown" {
                    let landed = body["landed"] == "yes";
                    *told.entry(sent[&action.unwrap()].clone()).or_default() |= landed;
                }
            }
            "redeemed"
                if ["restored", "compensated"]
                    .contains(&body["undone"]["result"].as_str().unwrap()) =>
            {
                let token = body["token"].as_str().unwrap().to_owned();
                assert!(spent.insert(token), "{run}: a token was used twice");
            }
            "finished" => {
                assert!(!finished, "{run}: it finished twice");
                finished = true;
            }
            _ => {}
        }
    }
    assert!(finished && closed, "{run}: it is over and not closed");
    assert!(sent.keys().all(|action| receipted.get(action) == Some(&1)), "{run}: {receipted:?}");
    assert_eq!(sent.len(), receipted.len(), "{run}: a receipt without a call");
    for (key, landed) in &told {
        let performed =
            ledger.get(key).copied().unwrap_or_else(|| performed(&storm.office.world, key));
        assert_eq!(
            u64::from(*landed),
            performed,
            "{run}: the receipts of {key} and the ledger differ"
        );
    }
    for (approval, of) in storm.book().given.iter().filter(|(_, of)| of == run) {
        assert!(given.contains(approval), "{of}: the yes to {approval} is lost");
    }
    (events.len(), sent.into_values().collect())
}

/// Everything that must hold after the storm.
pub(super) fn everything(storm: &Storm) -> Seen {
    let world = &storm.office.world;
    world.performed_nothing_twice();
    let runs: BTreeMap<String, String> = runs(&storm.office).into_iter().collect();
    assert_eq!(storm.unfinished(), vec![], "these runs are stuck");
    for (key, run) in &storm.book().keys {
        let run = run.as_ref().unwrap_or_else(|| panic!("{key} was never acknowledged"));
        assert!(runs.contains_key(run), "{key} was acknowledged and its run is not there");
    }
    let ledger: BTreeMap<String, u64> = world
        .effects()
        .iter()
        .map(|e| (e["key"].as_str().unwrap().to_owned(), e["times_performed"].as_u64().unwrap()))
        .collect();
    let mut written = BTreeSet::new();
    let mut seen = Seen { runs: runs.len(), ..Seen::default() };
    let conn = database(&storm.office);
    for run in runs.keys() {
        let (events, keys) = check_run((storm, &conn), run, &ledger);
        seen.events += events;
        written.extend(keys);
    }
    for (key, times) in &ledger {
        assert!(*times == 0 || written.contains(key), "{key} happened and stands in no journal");
        seen.effects += usize::from(*times > 0);
    }
    for run in runs.keys().step_by(runs.len() / VERIFIED_MAX + 1) {
        let verified = storm.office.json(&["receipt", "verify", run]).exits(0).document();
        assert_eq!(verified["verdict"], "verified", "{verified:#}");
        let replayed = storm.office.json(&["run", "replay", run]).exits(0).document();
        assert_eq!(replayed["identical"], true, "{replayed:#}");
        // What the program hands out is what lies there.
        let path = storm.office.path(&format!("{run}.bundle"));
        storm.office.json(&["run", "export", run, "--to", path.to_str().unwrap()]).exits(0);
        let handed = bundle(&path);
        let handed: Vec<Value> =
            handed["events"].as_array().unwrap().iter().map(event_of).collect();
        assert_eq!(handed, journal(&conn, run), "{run}: exported is something else");
    }
    seen
}
