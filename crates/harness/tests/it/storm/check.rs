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
/// The writes of the storm: one whose target deduplicates, and one that nobody may repeat.
const WRITES: [&str; 2] = ["crm.update_contract", "mail.send"];
/// What a mail server is told a mail is called: its key, and this.
const MESSAGE: &str = "@harness";

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
    let calls: u64 = lines.map(|line| line["times_performed"].as_u64().unwrap()).sum();
    let found = world.get(&format!("/_world/mail?message_id={key}{MESSAGE}"));
    let mails = found["messages"].as_array().unwrap().iter();
    calls + mails.map(|mail| mail["deliveries"].as_u64().unwrap()).sum::<u64>()
}

/// The key in what the ledger calls an effect.
fn key_of(effect: &Value) -> String {
    let named = effect["key"].as_str().unwrap().trim_matches(['<', '>']);
    named.strip_suffix(MESSAGE).unwrap_or(named).to_owned()
}

/// Who owned a run, and who said yes to what in it, as its journal tells.
#[derive(Debug, Default)]
struct Answers {
    /// Epoch of its last owner: each is newer than the one before.
    owner: u64,
    /// Approval → the action it is for.
    given: BTreeMap<String, u64>,
    /// What policy was last asked about each action, and what people last said yes to.
    judged: BTreeMap<u64, String>,
    approved: BTreeMap<u64, String>,
    /// Actions that ended without a call.
    rejected: BTreeSet<u64>,
}

impl Answers {
    fn take(&mut self, run: &str, body: &Value) {
        if let Some(epoch) = body["epoch"].as_u64() {
            assert!(epoch > self.owner, "{run}: epoch {epoch} after {}", self.owner);
            self.owner = epoch;
        }
        let Some(action) = body["action"].as_u64() else { return };
        let digest = || body["digest"].as_str().unwrap().to_owned();
        match body["kind"].as_str().unwrap() {
            "judged" => drop(self.judged.insert(action, digest())),
            "answered" if body["answer"]["verdict"] == "approved" => {
                let approval = body["approval"].as_str().unwrap().to_owned();
                let before = self.given.insert(approval, action);
                assert_eq!(before, None, "{run}: a yes was taken twice");
                self.approved.insert(action, digest());
            }
            "voided" => drop(self.approved.remove(&action)),
            "rejected" => drop(self.rejected.insert(action)),
            _ => {}
        }
    }

    /// Every write of the storm asks: it leaves after a yes to exactly it.
    fn covers(&self, action: u64) -> bool {
        let said = self.approved.get(&action);
        said.is_some() && said == self.judged.get(&action)
    }

    /// Each yes that still stood led to its call, or to a refusal that is told.
    fn led_somewhere(&self, run: &str, sent: &BTreeMap<u64, String>) {
        for action in self.approved.keys() {
            let used = sent.contains_key(action) || self.rejected.contains(action);
            assert!(used, "{run}: the yes to action {action} led nowhere");
        }
    }
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

/// A packed text of a database file.
fn unpacked(conn: &Connection, packed: &[u8]) -> Vec<u8> {
    let own = |name: &[u8]| {
        let sql = "SELECT bytes FROM dictionaries WHERE name = ?1";
        let packed: Vec<u8> = conn.query_row(sql, [name], |row| row.get(0)).ok()?;
        store::unpack(&packed, |_| None)
    };
    store::unpack(packed, own).unwrap()
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
    let batches: Vec<Vec<u8>> = batches.map(|packed| unpacked(conn, &packed.unwrap())).collect();
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
    let (mut told, mut answers) = (BTreeMap::<String, bool>::new(), Answers::default());
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
        answers.take(run, body);
        match kind {
            "proposed" => {
                let of_step = body["because"]["role"] == "step";
                drop(operations.insert(seq, (body["operation"].clone(), of_step)));
            }
            "dispatched" => {
                let action = action.unwrap();
                let (operation, of_step) = &operations[&action];
                let asked = *of_step && WRITES.iter().any(|write| operation == write);
                assert!(!asked || answers.covers(action), "{run}: {action} left without a yes");
                drop(sent.insert(action, body["key"].as_str().unwrap().to_owned()));
            }
            "receipted" => {
                *receipted.entry(action.unwrap()).or_default() += 1;
                let (operation, _) = &operations[&action.unwrap()];
                let write = WRITES.iter().any(|write| operation == write);
                if write && body["landed"] != "unknown" {
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
    answers.led_somewhere(run, &sent);
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
        assert!(answers.given.contains_key(approval), "{of}: the yes to {approval} is lost");
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
        .map(|e| (key_of(e), e["times_performed"].as_u64().unwrap()))
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
