//! C026, C045, C072, C081, C172, C207, C348: `kill -9` at random moments, by the hundred, while people
//! submit, approve and roll back through commands of their own, and the systems fail. What must hold is
//! looked at in the world's own ledger and in the journals, as the simulator does.
//!
//! `HARNESS_KILLS` says how many kills there are, `HARNESS_SOAK_SECONDS` how long the load goes on,
//! `HARNESS_SEED` which numbers chance draws. `./proof` and `./soak` set them; a plain test run takes a
//! short sample.

mod check;
mod kills;
mod soak;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Office, Ran, change, id_of};

/// Accounts of the demo companies that contracts are changed for.
const ACCOUNTS: u64 = 60;
/// Turns in which people bring everything to its end.
const TURNS_MAX: usize = 400;
/// Times an owner is started while a command still holds the store.
const STARTS_MAX: usize = 40;
/// One submission in so many sends a mail; the others change a contract.
const NOTES_ONE_IN: u64 = 3;
/// One command in so many is killed.
const KILLED_ONE_IN: u64 = 8;
/// Open asks above which desks answer rather than submit: people keep up, or the load would measure a queue.
const WAITING_MAX: usize = 30;
/// How long nobody settles an exception: the call it is about may still be on its way.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// A number from the environment, or what a short sample takes.
fn asked(name: &str, sample: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(sample)
}

/// Numbers without a pattern (splitmix64, after Vigna), shared by every thread.
#[derive(Debug)]
struct Odd(AtomicU64);

impl Odd {
    fn below(&self, bound: u64) -> u64 {
        let n = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)) % bound.max(1)
    }

    /// Stands at a random moment: nothing is waited for but the moment itself.
    fn moment(&self, below_ms: u64) {
        let (_open, never) = mpsc::channel::<()>();
        let _timeout = never.recv_timeout(Duration::from_millis(self.below(below_ms)));
    }
}

/// What people know: what they asked for, and what they were told.
#[derive(Debug, Default)]
struct Book {
    /// Key → its run, once a submission was acknowledged.
    keys: BTreeMap<String, Option<String>>,
    /// Approvals that were acknowledged, with their run.
    given: BTreeSet<(String, String)>,
    /// Exceptions by id, and when they were first seen.
    open: BTreeMap<String, Instant>,
    commands: u64,
    /// How commands ended: exit code → times; -1 for those that were killed.
    codes: BTreeMap<i32, u64>,
}

/// The pack learns to send a note: a mail, which nobody may send twice and nobody can be asked about.
fn teach_notes(office: &Office) {
    let place = |name: &str| office.path(&format!("packs/customer-ops/{name}"));
    fs::write(
        place("intents/owner_note.yaml"),
        "schema: harness.intent/v1\nname: owner_note\ntitle: Send a note to an account's owner\n\
         input:\n  type: object\n  required: [account, text]\n  additionalProperties: false\n  \
         properties:\n    account: {type: string, pattern: \"^ACC-[0-9]{4}$\"}\n    \
         text: {type: string, minLength: 1, maxLength: 500}\nplaybook: owner_note\n\
         agent: agent:notes\ntriggers: [note to the owner]\n\
         examples: [Send a note to the owner of ACC-0042]\n",
    )
    .unwrap();
    fs::write(
        place("playbooks/owner_note.yaml"),
        "schema: harness.playbook/v1\nname: owner_note\ntitle: Note\nsteps:\n  \
         - {id: account, do: crm.get_account, with: {account: \"${{ intent.account }}\"}}\n  \
         - id: note\n    do: mail.send\n    with:\n      \
         to: [\"${{ steps.account.output.OwnerEmail }}\"]\n      subject: A note\n      \
         text: \"${{ intent.text }}\"\n  \
         - {id: result, return: {told: \"${{ steps.note.output != null }}\"}}\n",
    )
    .unwrap();
    // Whoever looks into a doubt waits until the call cannot be on its way any more.
    let mail = fs::read_to_string(place("connectors/mail.yaml")).unwrap();
    let quick = mail.replace("timeout_ms: 20000", "timeout_ms: 2000");
    assert_ne!(quick, mail);
    fs::write(place("connectors/mail.yaml"), quick).unwrap();
}

/// `intent submit owner_note`, under a key.
fn note(account: &str, key: &str) -> Vec<String> {
    let inputs = json!({ "account": account, "text": format!("About {key}.") }).to_string();
    let words = ["intent", "submit", "owner_note", "--json", &inputs, "--idempotency-key", key];
    words.map(str::to_owned).to_vec()
}

/// An office in a storm.
#[derive(Debug)]
struct Storm {
    office: Office,
    odd: Odd,
    seed: u64,
    book: Mutex<Book>,
    stop: AtomicBool,
    /// Commands hold back: an owner is about to start.
    quiet: AtomicBool,
    /// An owner is there.
    owned: AtomicBool,
    /// Processes killed while they were alive: owners, and commands.
    owners: AtomicU32,
    commands: AtomicU32,
    serial: AtomicU64,
    /// Asks that were open when somebody looked last.
    waiting: AtomicUsize,
}

impl Storm {
    fn new(minutes: u64) -> Self {
        let seed = asked("HARNESS_SEED", 0x5eed);
        let office = Office::open_for(minutes);
        teach_notes(&office);
        Self {
            office,
            odd: Odd(AtomicU64::new(seed)),
            seed,
            book: Mutex::default(),
            stop: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            owned: AtomicBool::new(false),
            owners: AtomicU32::new(0),
            commands: AtomicU32::new(0),
            serial: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Two desks work while trouble is made, until it is over or a desk fell over; everything is brought
    /// home and looked at.
    fn under_load(&self, trouble: impl FnOnce(&dyn Fn() -> bool)) -> check::Seen {
        std::thread::scope(|scope| {
            let workers = [0, 1].map(|desk| scope.spawn(move || self.work(desk)));
            trouble(&|| !workers.iter().any(|worker| worker.is_finished()));
            self.stop.store(true, Ordering::Relaxed);
        });
        let mut owner = self.bring_home();
        let seen = check::everything(self);
        owner.kill().unwrap();
        owner.wait().unwrap();
        seen
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn killed(&self) -> u32 {
        self.owners.load(Ordering::Relaxed) + self.commands.load(Ordering::Relaxed)
    }

    /// Runs a command; one in so many is killed at a random moment and has no answer.
    fn command(&self, args: &[&str]) -> Option<Ran> {
        self.book().commands += 1;
        let mut command = self.office.command(&[args, &["-o", "json"]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if self.odd.below(KILLED_ONE_IN) == 0 {
            self.odd.moment(120);
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                self.commands.fetch_add(1, Ordering::Relaxed);
            }
        }
        let output = child.wait_with_output().unwrap();
        let code = output.status.code();
        *self.book().codes.entry(code.unwrap_or(-1)).or_default() += 1;
        code?;
        Some(Ran::of(args, output))
    }

    fn answer(&self, args: &[&str]) -> Option<Value> {
        let ran = self.command(args).filter(|ran| ran.code == 0)?;
        Some(ran.document())
    }

    /// Starts an owner; none while a command holds the store. Others hold back meanwhile.
    fn serve(&self) -> Option<Child> {
        self.quiet.store(true, Ordering::Relaxed);
        let owner = (0..STARTS_MAX).find_map(|_| self.start_owner());
        self.owned.store(owner.is_some(), Ordering::Relaxed);
        self.quiet.store(false, Ordering::Relaxed);
        owner
    }

    fn start_owner(&self) -> Option<Child> {
        let mut command = self.office.command(&["serve"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        if line.starts_with("serving ") {
            // Whoever has nobody to read to would block.
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
            return Some(child);
        }
        let _gone = child.kill();
        child.wait().unwrap();
        None
    }

    fn kill(&self, mut owner: Child) {
        if owner.try_wait().unwrap().is_none() {
            owner.kill().unwrap();
            self.owners.fetch_add(1, Ordering::Relaxed);
        }
        owner.wait().unwrap();
        self.owned.store(false, Ordering::Relaxed);
    }

    /// Somebody at work, until told to stop. Without an owner the first goes on alone: each command then
    /// owns the store while it runs.
    fn work(&self, desk: u32) {
        while !self.stop.load(Ordering::Relaxed) {
            let alone = desk > 0 && !self.owned.load(Ordering::Relaxed);
            if alone || self.quiet.load(Ordering::Relaxed) {
                self.odd.moment(20);
                continue;
            }
            match self.odd.below(20) {
                0..8 if self.waiting.load(Ordering::Relaxed) < WAITING_MAX => self.submit(),
                0..16 => self.decide(),
                16..18 => self.roll_back(),
                18 => self.settle_one(),
                _ => drop(self.command(&["run", "list"])),
            }
        }
    }

    /// Submits under a new key, or once more under one that nobody acknowledged.
    fn submit(&self) {
        let open = self.book().keys.iter().find(|(_, run)| run.is_none()).map(|(k, _)| k.clone());
        let again = open.filter(|_| self.odd.below(2) == 0);
        self.submit_under(again);
    }

    fn submit_under(&self, again: Option<String>) {
        let key =
            again.unwrap_or_else(|| format!("key-{}", self.serial.fetch_add(1, Ordering::Relaxed)));
        let number: u64 = key.trim_start_matches("key-").parse().unwrap();
        self.book().keys.entry(key.clone()).or_default();
        let account = format!("ACC-{:04}", 3 + number % ACCOUNTS);
        let days = u32::try_from(20 + number % 60).unwrap();
        let answer = if number.is_multiple_of(NOTES_ONE_IN) {
            let words = note(&account, &key);
            self.answer(&words.iter().map(String::as_str).collect::<Vec<_>>())
        } else {
            self.answer(&change(&account, days, &key).each())
        };
        if let Some(answer) = answer {
            self.book().keys.insert(key, Some(id_of(&answer)));
        }
    }

    /// Says yes, and sometimes no, to what is asked.
    fn decide(&self) {
        let Some(listed) = self.answer(&["approval", "list"]) else { return };
        let items = listed["items"].as_array().unwrap();
        self.waiting.store(items.len(), Ordering::Relaxed);
        let Some(item) = items.get(self.odd.below(items.len() as u64) as usize) else { return };
        let id = item["id"].as_str().unwrap();
        self.decide_on(id);
    }

    /// Settles an exception that has been open for a while, if there is one.
    fn settle_one(&self) {
        let Some(listed) = self.answer(&["exception", "list"]) else { return };
        let items = listed["items"].as_array().unwrap();
        let mut due: Vec<&Value> = items.iter().collect();
        due.retain(|item| {
            let id = item["id"].as_str().unwrap().to_owned();
            self.book().open.entry(id).or_insert_with(Instant::now).elapsed() > SETTLED_AFTER
        });
        if let Some(exception) = due.get(self.odd.below(due.len() as u64) as usize) {
            self.settle(exception);
        }
    }

    fn decide_on(&self, id: &str) {
        let Some(card) = self.answer(&["--as", "mira", "approval", "get", id]) else { return };
        let digest = card["digest"].as_str().unwrap();
        if self.odd.below(8) == 0 {
            let words = ["--as", "mira", "approval", "deny", id, "--reason", "not today"];
            drop(self.command(&words));
            return;
        }
        let words = ["--as", "mira", "approval", "approve", id, "--digest", digest];
        if let Some(run) = self.answer(&words) {
            self.book().given.insert((id.to_owned(), id_of(&run)));
        }
    }

    fn roll_back(&self) {
        let listed = self.answer(&["run", "list", "--status", "succeeded", "--limit", "20"]);
        let Some(listed) = listed else { return };
        let items = listed["items"].as_array().unwrap();
        let Some(item) = items.get(self.odd.below(items.len() as u64) as usize) else { return };
        drop(self.command(&["run", "rollback", item["id"].as_str().unwrap()]));
    }

    /// The systems fail for a while, in one way.
    fn trouble(&self) {
        let kinds = [
            json!({"kind": "timeout_after", "delay_ms": 300}),
            json!({"kind": "timeout_before", "delay_ms": 300}),
            json!({"kind": "5xx", "phase": "before"}),
            json!({"kind": "5xx", "phase": "after"}),
            json!({"kind": "reset", "phase": "after"}),
            json!({"kind": "429", "retry_after_s": 1}),
        ];
        let mut rule = kinds[self.odd.below(kinds.len() as u64) as usize].clone();
        let operations =
            ["crm.update_contract", "crm.get_contract", "crm.get_account", "mail.send"];
        let operation = operations[self.odd.below(operations.len() as u64) as usize];
        rule["system"] = json!(operation.split('.').next());
        rule["operation"] = json!(operation);
        rule["on_call"] = json!(self.odd.below(3) + 1);
        self.office.world.heal();
        self.office.world.fault(&rule);
    }

    /// The sky clears: people bring everything to its end, beside an owner that stays; it
    /// is given back to answer those who check.
    fn bring_home(&self) -> Child {
        self.office.world.heal();
        let owner = self.serve().expect("somebody holds the store");
        for _ in 0..TURNS_MAX {
            let open = self.office.json(&["exception", "list"]).exits(0).document();
            for exception in open["items"].as_array().unwrap() {
                self.settle(exception);
            }
            let asked = self.office.json(&["approval", "list"]).exits(0).document();
            for item in asked["items"].as_array().unwrap() {
                self.decide_on(item["id"].as_str().unwrap());
            }
            let unheard: Vec<String> = {
                let book = self.book();
                book.keys.iter().filter(|(_, run)| run.is_none()).map(|(k, _)| k.clone()).collect()
            };
            let all_heard = unheard.is_empty();
            unheard.into_iter().for_each(|key| self.submit_under(Some(key)));
            if all_heard && self.unfinished().is_empty() {
                break;
            }
        }
        owner
    }

    /// Settles what a run cannot, by looking into the ledger.
    fn settle(&self, exception: &Value) {
        let id = exception["id"].as_str().unwrap();
        let verb = match exception["need"].as_str().unwrap() {
            "in_doubt" => match self.landed(exception) {
                Some(true) => "happened",
                Some(false) => "did_not_happen",
                None => return,
            },
            "escalated" => "stop",
            _ => "close",
        };
        let words = ["exception", "settle", id, verb, "--evidence", "I looked into the ledger"];
        drop(self.command(&words));
    }

    /// Whether the action in doubt was performed; none when its journal could not be had.
    fn landed(&self, exception: &Value) -> Option<bool> {
        let run = exception["run"].as_str().unwrap();
        // Two may look into the same exception at once.
        let own = self.serial.fetch_add(1, Ordering::Relaxed);
        let path = self.office.path(&format!("looked-into-{own}.bundle"));
        self.answer(&["run", "export", run, "--to", path.to_str().unwrap()])?;
        let key = check::key_in_doubt(&check::bundle(&path), &exception["action"]);
        Some(check::performed(&self.office.world, &key) > 0)
    }

    /// Runs that are not over, by id.
    fn unfinished(&self) -> Vec<(String, String)> {
        let over =
            ["succeeded", "partial", "failed", "cancelled", "rolled_back", "partly_rolled_back"];
        let runs = check::runs(&self.office);
        runs.into_iter().filter(|(_, status)| !over.contains(&status.as_str())).collect()
    }
}
