//! Remote workers, end to end (C125): a pack's operation is done by a program that only makes requests, at most once,
//! whatever happens to it, to the line or to the service.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    api::{Answer, Api, request, try_send},
    support::{Office, Serving, root},
};

const PACK: &str = r#"schema: harness.pack/v1
name: books
version: 0.1.0
owner: tests
description: Books that nobody reaches from here.
harness: ">=0.1"
asks: {operations: [books.look, books.post], secrets: [], egress: []}
roles: [approver]
constants: {}
"#;

const CONNECTOR: &str = r#"schema: harness.connector/v1
name: books
kind: worker
system: books
defaults:
  labels: {trust: untrusted, confidentiality: internal}
  clearance: {confidentiality: internal}
  timeout_ms: 60000
operations:
  look:
    effect: read
    summary: "Look into {/account}"
    input: INPUT
    output: OUTPUT
    request: {task: post}
  post:
    effect: write
    summary: "Post {/amount} to {/account}"
    input: INPUT
    output: OUTPUT
    request: {task: post, external_ref: /entry}
"#;

const INPUT: &str = "{type: object, required: [account, amount], additionalProperties: false, \
                     properties: {account: {type: string}, amount: {type: integer}}}";

fn write_pack(office: &Office) {
    let output = "{type: object, required: [entry], properties: {entry: {type: string}}}";
    let connector = CONNECTOR.replace("INPUT", INPUT).replace("OUTPUT", output);
    let mut files = vec![
        ("pack.yaml".to_owned(), PACK.to_owned()),
        ("connectors/books.yaml".to_owned(), connector),
    ];
    for name in ["look", "post"] {
        files.push((
            format!("intents/{name}.yaml"),
            format!(
                "schema: harness.intent/v1\nname: {name}\ntitle: Do it\ninput: {INPUT}\nplaybook: {name}\n\
                 agent: agent:books\ntriggers: [{name} it]\nexamples: []\nsubjects: {{}}\n"
            ),
        ));
        files.push((
            format!("playbooks/{name}.yaml"),
            format!(
                "schema: harness.playbook/v1\nname: {name}\nsteps:\n  - id: books\n    do: books.{name}\n    with:\n      \
                 account: ${{{{ intent.account }}}}\n      amount: ${{{{ intent.amount }}}}\n    on_failure:\n      \
                 unavailable: [stop]\n      timeout: [stop]\n      unexpected_shape: [stop]\n  \
                 - id: result\n    return: ${{{{ steps.books.output }}}}\n"
            ),
        ));
    }
    for (path, text) in files {
        let path = office.path("books").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A service whose books are somewhere else.
struct Desk {
    api: Api,
    ulla: String,
    mira: String,
    worker: String,
}

impl Desk {
    fn open(heartbeat_ms: u32) -> Self {
        let office = Office::open();
        write_pack(&office);
        office.reconfigure("\"packs/customer-ops\"", "\"packs/customer-ops\", \"books\"");
        let config = fs::read_to_string(office.config()).unwrap();
        let more = format!(
            "[systems.books]\nkind = \"worker\"\nprincipals = [\"service:books\"]\nheartbeat_ms = {heartbeat_ms}\n\
             [serve]\nrequests_per_second = 100000\n"
        );
        fs::write(office.config(), config + &more).unwrap();
        let api = Api::of(office);
        let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
        let worker = api.token("ada", &["--service", "books"]);
        Self { api, ulla, mira, worker }
    }

    /// Begins a run, and approves what it asks: its id.
    fn begin(&self, intent: &str, amount: u32) -> String {
        let inputs = json!({"account": "A-1", "amount": amount});
        let body = json!({"intent": intent, "inputs": inputs, "idempotency_key": format!("{intent}-{amount}")});
        let submitted = self.api.post(&self.ulla, "/v1/intents", &body).ok();
        let run = submitted["run"]["id"].as_str().unwrap().to_owned();
        if intent == "post" {
            let asking = self.until(&run, |run| run["run"]["status"] == "asking");
            let shown = format!("/v1/approvals/{}", asking["waiting_for"][0].as_str().unwrap());
            let card = self.api.get(&self.mira, &shown).ok();
            let yes = json!({"digest": card["digest"], "wait_ms": 1});
            self.api.decide(&self.mira, &shown, "approve", &yes).ok();
        }
        run
    }

    /// A run once something holds of it.
    fn until(&self, run: &str, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let seen = self.api.get(&self.ulla, &format!("/v1/runs/{run}")).ok();
            if holds(&seen) {
                return seen;
            }
            thread::yield_now();
        }
    }

    /// A run that is over, or needs somebody; looked at once more, for its status may be newer than the rest.
    fn ended(&self, run: &str) -> Value {
        let goes_on = ["running", "waiting", "asking"];
        self.until(run, |seen| !goes_on.contains(&seen["run"]["status"].as_str().unwrap()));
        self.api.get(&self.ulla, &format!("/v1/runs/{run}")).ok()
    }

    fn ask(&self, path: &str, body: Value) -> Answer {
        self.api.post(&self.worker, &format!("/v1/workers/books/{path}"), &body)
    }

    /// The job that a run is about to put in line.
    fn lease(&self) -> Value {
        let leased = self.ask("lease", json!({"wait_ms": 30_000})).ok();
        assert!(leased["job"].is_object(), "{leased}");
        leased["job"].clone()
    }

    fn commit(&self, job: &Value, said: Value) -> Answer {
        self.ask(&format!("leases/{}/commit", job["lease"].as_str().unwrap()), said)
    }

    fn beat(&self, job: &Value) -> Value {
        self.ask(&format!("leases/{}/heartbeat", job["lease"].as_str().unwrap()), json!({})).ok()
    }

    fn nothing_waits(&self) {
        assert_eq!(self.ask("lease", json!({})).ok().get("job"), None, "handed out again");
    }

    fn workers(&self) -> Value {
        let checks = self.api.get(&self.ulla, "/v1/doctor").ok()["checks"].clone();
        let mut checks = checks.as_array().unwrap().clone().into_iter();
        checks.find(|check| check["id"] == "workers").unwrap()
    }

    fn needs(&self, run: &str) -> Vec<String> {
        let open = self.api.get(&self.mira, "/v1/exceptions").ok();
        let of_run = open["items"].as_array().unwrap().iter().filter(|item| item["run"] == *run);
        of_run.map(|item| item["need"].as_str().unwrap().to_owned()).collect()
    }
}

fn entry(text: &str) -> Value {
    json!({"ok": {"entry": text}})
}

/// Never lost by itself while a test looks.
const PATIENT_MS: u32 = 60_000;

/// The program of docs/workers.md, as it stands there.
struct Python(Child);

impl Python {
    fn start(desk: &Desk) -> Self {
        let page = fs::read_to_string(root().join("docs/workers.md")).unwrap();
        let text = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        assert!(text.lines().count() <= 60, "an example is short");
        let path = desk.api.office.path("worker.py");
        fs::write(&path, text).unwrap();
        let mut command = Command::new("python3");
        command.arg(path).env("HARNESS_URL", format!("http://{}", desk.api.host));
        command.env("HARNESS_TOKEN", &desk.worker).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Whether it waits for connections itself: of the sockets that listen here, none is one of its own.
    fn listens(&self) -> bool {
        let tables = ["tcp", "tcp6"].map(|name| format!("/proc/{}/net/{name}", self.0.id()));
        let text: String = tables.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
        let listening: Vec<&str> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.get(3) == Some(&"0A"))
            .filter_map(|words| words.get(9).copied())
            .collect();
        let own = fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().flatten();
        let own = own.filter_map(|entry| fs::read_link(entry.path()).ok());
        let mut own = own.map(|target| target.display().to_string());
        own.any(|name| listening.iter().any(|inode| name == format!("socket:[{inode}]")))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn a_program_that_only_makes_requests_does_what_a_pack_declares() {
    let desk = Desk::open(PATIENT_MS);
    assert_eq!(desk.workers()["result"], "warning", "nobody has come yet");
    let python = Python::start(&desk);
    let looked = desk.ended(&desk.begin("look", 7));
    assert_eq!(looked["run"]["status"], "succeeded", "{looked:#}");
    assert_eq!(looked["output"]["entry"], "A-1-7", "{looked:#}");
    assert!(!python.listens());
    let run = desk.begin("post", 8);
    let posted = desk.ended(&run);
    assert_eq!(posted["run"]["status"], "succeeded", "{posted:#}");
    assert_eq!(posted["output"]["entry"], "A-1-8", "{posted:#}");
    let verified = desk.api.post(&desk.ulla, &format!("/v1/runs/{run}/verify"), &json!({})).ok();
    assert_eq!(verified["verdict"], "verified", "{verified}");
    let workers = desk.workers();
    assert_eq!(workers["result"], "ok");
    let found = workers["found"].as_str().unwrap();
    assert!(
        found.starts_with("books: 0 jobs waiting, 0 leased, service:books came last"),
        "{found}"
    );
}

#[test]
fn of_two_workers_one_gets_the_job() {
    let desk = Desk::open(PATIENT_MS);
    let got = AtomicBool::new(false);
    let come = || {
        let mut jobs = Vec::new();
        loop {
            let last = got.load(Ordering::SeqCst);
            let leased = desk.ask("lease", json!({"wait_ms": 200})).ok();
            if leased["job"].is_object() {
                got.store(true, Ordering::SeqCst);
                jobs.push(leased["job"].clone());
            }
            // Once more after somebody has it.
            if last {
                return jobs;
            }
        }
    };
    thread::scope(|scope| {
        let both = [scope.spawn(come), scope.spawn(come)];
        let run = desk.begin("look", 1);
        let jobs: Vec<Value> = both.into_iter().flat_map(|one| one.join().unwrap()).collect();
        assert_eq!(jobs.len(), 1, "{jobs:#?}");
        assert_eq!(jobs[0]["arguments"], json!({"account": "A-1", "amount": 1}));
        assert_eq!((&jobs[0]["run"], &jobs[0]["task"]), (&json!(run), &json!("post")));
        desk.commit(&jobs[0], entry("one")).ok();
        assert_eq!(desk.ended(&run)["output"]["entry"], "one");
    });
}

#[test]
fn a_worker_that_vanishes_leaves_a_write_in_doubt_and_a_read_that_timed_out() {
    let desk = Desk::open(300);
    let run = desk.begin("post", 1);
    let job = desk.lease();
    let ended = desk.ended(&run);
    assert_eq!(ended["run"]["status"], "needs_person", "{ended:#}");
    assert_eq!(desk.needs(&run), ["in_doubt"]);
    desk.nothing_waits();
    // It comes back with what it did: too late, and it is told so.
    assert_eq!(desk.beat(&job)["state"], "over");
    assert_eq!(desk.commit(&job, entry("late")).refused(410), "lease-over");
    assert_eq!(desk.needs(&run), ["in_doubt"]);

    let run = desk.begin("look", 2);
    let job = desk.lease();
    let ended = desk.ended(&run);
    let trouble = &ended["troubles"][0];
    assert_eq!(
        (&trouble["class"], &trouble["landed"]),
        (&json!("timeout"), &json!("no")),
        "{ended:#}"
    );
    assert_eq!(desk.commit(&job, entry("late")).refused(410), "lease-over");
}

#[test]
fn what_nobody_takes_did_not_happen() {
    let desk = Desk::open(PATIENT_MS);
    let run = desk.begin("post", 1);
    let ended = desk.ended(&run);
    let trouble = &ended["troubles"][0];
    let expected = (&json!("unavailable"), &json!("no"));
    assert_eq!((&trouble["class"], &trouble["landed"]), expected, "{ended:#}");
    assert!(!desk.needs(&run).contains(&"in_doubt".to_owned()));
    desk.nothing_waits();
}

#[test]
fn a_slow_worker_that_says_so_is_waited_for() {
    let desk = Desk::open(1_000);
    let run = desk.begin("post", 1);
    let job = desk.lease();
    let left = job["left_ms"].as_u64().unwrap();
    loop {
        let heard = desk.beat(&job);
        assert_eq!(heard["state"], "wanted", "{heard}");
        // Longer than a silent worker is waited for.
        if heard["left_ms"].as_u64().unwrap() + 3_000 < left {
            break;
        }
        thread::yield_now();
    }
    desk.commit(&job, entry("slow")).ok();
    assert_eq!(desk.ended(&run)["output"]["entry"], "slow");
}

#[test]
fn the_first_word_counts_and_what_is_malformed_is_none() {
    let desk = Desk::open(PATIENT_MS);
    let run = desk.begin("post", 1);
    let job = desk.lease();
    let unknown = json!({"failed": {"class": "bad_mood", "message": "no"}});
    let both = json!({"ok": {}, "failed": {"class": "timeout", "message": "no"}});
    for malformed in [json!({}), both, unknown] {
        assert_eq!(desk.commit(&job, malformed).refused(422), "bad-commit");
    }
    let landed = json!({"failed": {"class": "timeout", "message": "no", "landed": "yes"}});
    assert_eq!(desk.commit(&job, landed).refused(400), "bad-request");
    assert_eq!(desk.commit(&job, json!({"done": {}})).refused(400), "bad-request");
    assert_eq!(desk.commit(&job, entry(&"x".repeat(1_100_000))).refused(413), "too-large");
    assert_eq!(desk.beat(&job)["state"], "wanted", "the lease stands");
    assert_eq!(desk.commit(&job, entry("one")).ok()["taken"], "first");
    assert_eq!(desk.commit(&job, entry("one")).ok()["taken"], "again");
    assert_eq!(desk.commit(&job, entry("two")).refused(409), "commit-differs");
    let ended = desk.ended(&run);
    assert_eq!(ended["output"]["entry"], "one", "{ended:#}");

    let run = desk.begin("look", 2);
    let job = desk.lease();
    desk.commit(&job, entry(&"x".repeat(300_000))).ok();
    assert_eq!(desk.ended(&run)["troubles"][0]["class"], "unexpected_shape");

    // A failure is the worker's to classify.
    let run = desk.begin("post", 3);
    let job = desk.lease();
    let failed = json!({"failed": {"class": "unavailable", "message": "closed", "landed": "no"}});
    desk.commit(&job, failed).ok();
    let ended = desk.ended(&run);
    let trouble = &ended["troubles"][0];
    assert_eq!(
        (&trouble["landed"], &trouble["said"]),
        (&json!("no"), &json!("closed")),
        "{ended:#}"
    );
}

#[test]
fn nobody_but_the_named_service_takes_jobs() {
    let desk = Desk::open(PATIENT_MS);
    let run = desk.begin("look", 1);
    let job = desk.lease();
    let (api, lease) = (&desk.api, job["lease"].as_str().unwrap());
    let others = [
        api.token("ada", &["--service", "other", "--role", "admin"]),
        api.token("ada", &["--agent", "books", "--owner", "ulla"]),
        desk.ulla.clone(),
    ];
    for other in &others {
        for (path, body) in [
            ("lease".to_owned(), json!({})),
            (format!("leases/{lease}/heartbeat"), json!({})),
            (format!("leases/{lease}/commit"), entry("a lie")),
        ] {
            let answer = api.post(other, &format!("/v1/workers/books/{path}"), &body);
            assert_eq!(answer.refused(403), "no-worker", "{path}");
        }
    }
    let elsewhere = api.post(&desk.worker, "/v1/workers/crm/lease", &json!({}));
    assert_eq!(elsewhere.refused(404), "system-not-found");
    desk.commit(&job, entry("the truth")).ok();
    assert_eq!(desk.ended(&run)["output"]["entry"], "the truth");

    // Of another tenant nothing is known here, nor of this one there.
    let office = Office::open();
    office.reconfigure("store = ", "tenant = \"elsewhere\"\nstore = ");
    let there = Api::of(office);
    let worker = there.token("ada", &["--service", "books"]);
    let asked = there.post(&worker, "/v1/workers/books/lease", &json!({}));
    assert_eq!(asked.refused(404), "system-not-found");
    let asked = there.post(&desk.worker, "/v1/workers/books/lease", &json!({}));
    assert_eq!(asked.refused(401), "not-signed-in");
    assert_eq!(
        api.post(&worker, "/v1/workers/books/lease", &json!({})).refused(401),
        "not-signed-in"
    );
}

#[test]
fn a_cancelled_run_tells_its_worker() {
    let desk = Desk::open(PATIENT_MS);
    let cancel = |run: &str| {
        let body = json!({"reason": "not needed", "wait_ms": 1});
        desk.api.post(&desk.ulla, &format!("/v1/runs/{run}/cancel"), &body).ok()
    };
    let run = desk.begin("post", 1);
    let job = desk.lease();
    assert_eq!(desk.beat(&job)["state"], "wanted");
    cancel(&run);
    assert_eq!(desk.beat(&job)["state"], "cancelled");
    // What was done all the same is known.
    assert_eq!(desk.commit(&job, entry("done")).ok()["taken"], "first");
    let ended = desk.ended(&run);
    assert_eq!(ended["run"]["status"], "cancelled", "{ended:#}");
    assert_eq!(ended["actions"][0]["outcome"], "done", "{ended:#}");

    // For a read that is cancelled nobody waits.
    let run = desk.begin("look", 2);
    let job = desk.lease();
    cancel(&run);
    desk.ended(&run);
    assert_eq!(desk.beat(&job)["state"], "over");
    assert_eq!(desk.commit(&job, entry("late")).refused(410), "lease-over");
}

#[test]
fn after_a_crash_every_lease_is_over_and_an_end_waits_for_workers() {
    let mut desk = Desk::open(PATIENT_MS);
    let run = desk.begin("post", 1);
    let lost = desk.lease();
    drop(desk.api.serving.take());
    let (serving, host) = Serving::listening(&desk.api.office);
    (desk.api.serving, desk.api.host) = (Some(serving), host);
    assert_eq!(desk.beat(&lost)["state"], "over");
    assert_eq!(desk.commit(&lost, entry("late")).refused(410), "lease-over");
    assert_eq!(desk.ended(&run)["run"]["status"], "needs_person");
    assert_eq!(desk.needs(&run), ["in_doubt"]);
    desk.nothing_waits();

    // Told to end, it hands out nothing more and takes what workers have.
    let run = desk.begin("post", 2);
    let job = desk.lease();
    let serving = desk.api.serving.take().unwrap();
    let ends = thread::spawn(move || serving.end("TERM"));
    let lease = || {
        let path = ("POST", "/v1/workers/books/lease");
        let text = request(&desk.api.host, &desk.worker, path, &json!({"wait_ms": 1}), &[]);
        try_send(&desk.api.host, text.as_bytes()).unwrap()
    };
    while lease().status == 200 {
        thread::yield_now();
    }
    assert_eq!(lease().refused(503), "shutting-down");
    assert_eq!(desk.commit(&job, entry("in time")).ok()["taken"], "first");
    assert_eq!(ends.join().unwrap(), Some(0));
    let (serving, host) = Serving::listening(&desk.api.office);
    (desk.api.serving, desk.api.host) = (Some(serving), host);
    let ended = desk.ended(&run);
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
}

#[test]
fn answers_validate_and_a_pack_of_workers_passes_its_tests() {
    let desk = Desk::open(PATIENT_MS);
    let validates = |kind: &str, document: &Value| {
        let schema = fs::read(root().join(format!("schemas/worker-{kind}.json"))).unwrap();
        let schema: Value = serde_json::from_slice(&schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(document), "{document:#}");
    };
    let command = |words: &[&str]| {
        let mut command = desk.api.office.command(&[words, &["-o", "json"]].concat());
        command.env("HARNESS_SERVER", format!("http://{}", desk.api.host));
        command.env("HARNESS_TOKEN", &desk.worker);
        crate::support::Ran::of(words, command.output().unwrap()).exits(0).document()
    };
    let nothing = command(&["worker", "lease", "books", "--timeout", "0s"]);
    validates("lease", &nothing);
    let run = desk.begin("look", 1);
    let leased = command(&["worker", "lease", "books"]);
    validates("lease", &leased);
    let lease = leased["job"]["lease"].as_str().unwrap();
    validates("heartbeat", &command(&["worker", "beat", "books", lease]));
    let output = entry("by hand")["ok"].to_string();
    let committed = command(&["worker", "commit", "books", lease, "--ok", &output]);
    validates("commit", &committed);
    assert_eq!(desk.ended(&run)["output"]["entry"], "by hand");
    let status = desk.api.office.json(&["pack", "status"]).exits(0).document();
    let systems = status["items"].as_array().unwrap().iter();
    let mut systems = systems.flat_map(|pack| pack["systems"].as_array().unwrap().clone());
    let books = systems.find(|system| system["system"] == "books").unwrap();
    assert_eq!(books["workers"]["last_seen"], "service:books", "{books:#}");
    // At the terminal somebody is a person, who takes no job.
    let refused = desk.api.office.json(&["worker", "lease", "books"]).exits(4).problem();
    assert_eq!(refused["code"], "no-worker");
    let pack = desk.api.office.path("books").display().to_string();
    let tested = desk.api.office.json(&["pack", "test", &pack]).exits(0).document();
    assert_eq!(tested["passed"], true, "{tested:#}");
}
