//! Thirty days of an onboarding in seconds: the companies, the built product in this process, a clock that is
//! set, and a process that dies on several days (C344).

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use harness::app::{
    App, Caller,
    config::{Config, Overrides},
    host::{Lock, SystemClock},
    ops,
    problem::Problem,
};
use kernel::input::Now;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    agents::{
        model::{Model, Says},
        think_with,
    },
    support::{Office, id_of},
};

const ACCOUNT: &str = "ACC-0001";
/// 2026-11-20T09:00:00Z, when the world's clock begins.
const BEGIN_AT: i64 = 1_795_165_200_000;
const DAY_S: i64 = 86_400;

const WELCOME: &str = r#"{"next": "remind", "note": "Welcomed.", "subject": "Welcome aboard",
    "text": "Hello, here is the first step: invite your team."}"#;
const REMIND: &str = r#"{"next": "remind", "note": "Few are there yet; reminded the champion.",
    "subject": "Your next step", "text": "Hello, a short reminder: connect your data."}"#;
const WAIT: &str =
    r#"{"next": "wait", "note": "The first people are in.", "subject": "", "text": ""}"#;
const HAND_OVER: &str = r#"{"next": "hand_over", "note": "Nobody has signed in; somebody should call.",
    "subject": "", "text": ""}"#;

/// The wall clock as the test sets it; what a call may take is measured by the machine's own.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl engine::Clock for SetClock {
    fn now(&self) -> Now {
        Now { at: self.0.load(Ordering::SeqCst), ..engine::Clock::now(&SystemClock) }
    }
}

/// The product in this process, until it is killed.
struct Living {
    runtime: Runtime,
    app: Arc<App>,
}

struct Month {
    office: Office,
    model: Model,
    clock: Arc<SetClock>,
    config: Config,
    living: Option<Living>,
    run: String,
}

impl Month {
    /// Day 0, with nobody signed in.
    fn begin(says: impl IntoIterator<Item = Says>) -> Self {
        let (office, model) = (Office::out_of_time(), Model::start(says));
        think_with(&office, &model);
        let overrides = Overrides { config: Some(office.config()), ..Overrides::default() };
        let config = Config::load(&overrides, office.dir()).unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(BEGIN_AT)));
        let run = String::new();
        let mut month = Self { office, model, clock, config, living: None, run };
        month.active(0);
        let inputs = json!({ "account": ACCOUNT });
        let body = json!({ "intent": "onboarding", "inputs": inputs, "wait_ms": 60_000 });
        let submitted = month.call("ulla", "intent.submit", body);
        month.run = id_of(&submitted);
        month
    }

    /// The product; another process than the one that was killed.
    fn living(&mut self) -> &Living {
        if self.living.is_none() {
            let runtime = Runtime::new().unwrap();
            let lock = loop {
                // The killed one may still be letting go.
                match Lock::take(&self.config.store).unwrap() {
                    Some(lock) => break lock,
                    None => std::thread::yield_now(),
                }
            };
            let clock = Arc::clone(&self.clock) as Arc<dyn engine::Clock>;
            let app = runtime.block_on(App::open_at(self.config.clone(), lock, clock)).unwrap();
            self.living = Some(Living { runtime, app });
        }
        self.living.as_ref().unwrap()
    }

    fn try_call(&mut self, person: &str, op: &str, body: Value) -> Result<Value, Problem> {
        let caller = Caller::person(&self.config, person).unwrap();
        let Living { runtime, app } = self.living();
        runtime.block_on(ops::call(app, &caller, op, body))
    }

    #[track_caller]
    fn call(&mut self, person: &str, op: &str, body: Value) -> Value {
        self.try_call(person, op, body).unwrap_or_else(|problem| panic!("{op}: {problem:?}"))
    }

    /// Nothing is told to end: whatever is under way is dropped where it stands.
    fn kill(&mut self) {
        if let Some(Living { runtime, app }) = self.living.take() {
            runtime.shutdown_background();
            drop(app);
        }
    }

    /// Goes on, and is killed once the model has been asked so often and says nothing.
    fn resume_and_kill_at(&mut self, heard: usize) {
        let caller = Caller::person(&self.config, "ulla").unwrap();
        let body = json!({ "run": self.run });
        let Living { runtime, app } = self.living();
        let app = Arc::clone(app);
        runtime.spawn(async move { ops::call(&app, &caller, "run.resume", body).await });
        while self.model.heard().len() < heard {
            std::thread::yield_now();
        }
        self.kill();
    }

    /// So many days later.
    fn pass(&mut self, days: i64) {
        self.clock.0.fetch_add(days * DAY_S * 1_000, Ordering::SeqCst);
        let body = json!({ "advance_seconds": days * DAY_S });
        assert_eq!(self.office.world.ask("POST", "/_world/clock", &body).0, 200);
    }

    /// So many people of the customer use the product from now on.
    fn active(&self, active: i64) {
        let body = json!({ "account": ACCOUNT, "active": active });
        assert_eq!(self.office.world.ask("POST", "/_world/usage", &body).0, 200);
    }

    fn seats(&self) -> i64 {
        let usage = self.office.world.get(&format!("/usage/accounts/{ACCOUNT}"));
        usage["seats"].as_str().unwrap().parse().unwrap()
    }

    /// Goes on, and says where the run stands then.
    #[track_caller]
    fn resume(&mut self) -> String {
        let run = self.run.clone();
        let view = self.call("ulla", "run.resume", json!({ "run": run }));
        view["status"].as_str().unwrap().to_owned()
    }

    fn detail(&mut self) -> Value {
        let run = self.run.clone();
        self.call("ulla", "run.get", json!({ "run": run }))
    }

    /// The mail that waits is read and let go.
    #[track_caller]
    fn approve(&mut self) {
        let detail = self.detail();
        assert_eq!(detail["run"]["status"], "asking", "{detail:#}");
        let approval = detail["waiting_for"][0].clone();
        let card = self.call("mira", "approval.get", json!({ "approval": approval }));
        let body = json!({
            "approval": approval, "verb": "approve", "digest": card["digest"], "wait_ms": 60_000,
        });
        self.call("mira", "approval.decide", body);
    }

    fn subjects(&self) -> Vec<String> {
        let mails = self.office.world.mails();
        mails.iter().map(|mail| mail["subject"].as_str().unwrap().to_owned()).collect()
    }

    fn notes(&self) -> Vec<String> {
        let notes = self.office.world.get(&format!("/crm/accounts/{ACCOUNT}/notes"));
        let notes = notes["records"].as_array().unwrap().iter();
        notes.map(|note| note["Text"].as_str().unwrap().to_owned()).collect()
    }

    /// Ended, with everything done once, and the journal proves and repeats it without a model.
    #[track_caller]
    fn ends_once(&mut self, asked: usize) {
        assert_eq!(self.model.heard().len(), asked, "what was said is not asked again");
        self.office.world.performed_nothing_twice();
        let run = self.run.clone();
        let replay = self.call("ulla", "run.replay", json!({ "run": run }));
        assert_eq!(replay["identical"], true, "{replay:#}");
        self.call("ulla", "run.verify", json!({ "run": run }));
        assert_eq!(self.model.heard().len(), asked, "a replay asks nobody");
    }
}

/// C069: between the eight times its model is asked, the steps of the playbook read, write, wait and decide by
/// themselves. C076: parked for days at a time, up to nine, killed six times on the way, and it finishes.
#[test]
fn thirty_days_with_a_customer_who_gets_there() {
    let look = || Says::Calls(vec![("usage_get_usage", json!({ "account": ACCOUNT, "weeks": 4 }))]);
    let mut month = Month::begin([
        Says::Text(WELCOME),
        look(),
        Says::Hangs,
        Says::Text(REMIND),
        Says::Text(WAIT),
        Says::Text(REMIND),
        Says::Hangs,
        Says::Text(REMIND),
    ]);
    month.approve();
    assert_eq!(month.resume(), "waiting");
    assert_eq!(month.subjects(), ["Welcome aboard"]);

    // Day 2: nothing is due. Day 3: the process dies while the model thinks, and goes on.
    month.pass(2);
    month.kill();
    assert_eq!(month.resume(), "waiting");
    assert_eq!(month.model.heard().len(), 1);
    month.pass(1);
    month.resume_and_kill_at(3);
    assert_eq!(month.resume(), "asking");
    // It dies while a person reads, too.
    month.kill();
    month.approve();
    assert_eq!(month.subjects().len(), 2);

    // Day 7: the first people are there, and nobody is bothered.
    month.active(month.seats() / 10);
    month.kill();
    month.pass(4);
    assert_eq!(month.resume(), "waiting");
    let heard = month.model.heard().len();

    // A bad week: the process is started twenty times, and the run neither moves nor asks anybody.
    for _ in 0..20 {
        month.kill();
        assert_eq!(month.resume(), "waiting");
    }
    assert_eq!((month.model.heard().len(), month.subjects().len()), (heard, 2));

    // Day 14: still no more than those.
    month.pass(7);
    assert_eq!(month.resume(), "asking");
    month.approve();
    month.kill();
    assert_eq!(month.resume(), "waiting");
    assert_eq!(month.subjects().len(), 3);

    // Day 21: the model wants to write a third time, and the company's rule says two.
    month.pass(2);
    assert_eq!(month.resume(), "waiting");
    month.pass(5);
    month.resume_and_kill_at(7);
    assert_eq!(month.resume(), "waiting");

    // Day 30: the goal is arithmetic, and no model is asked.
    month.active(month.seats() / 2 + 1);
    month.pass(9);
    month.resume();
    let detail = month.detail();
    assert_eq!(detail["run"]["status"], "succeeded", "{detail:#}");
    assert_eq!(
        detail["output"],
        json!({
            "outcome": "onboarded", "account": ACCOUNT, "day": 30, "welcomed": true, "reminders": 2,
            "notes": 6,
        })
    );
    assert_eq!(detail["caveats"], json!([]), "{detail:#}");
    assert_eq!(month.subjects(), ["Welcome aboard", "Your next step", "Your next step"]);
    let notes = month.notes();
    assert_eq!(notes.len(), 6, "{notes:#?}");
    assert!(notes[5].starts_with("Onboarding, day 30: the goal is reached"), "{notes:#?}");
    month.ends_once(8);
}

#[test]
fn a_customer_who_does_not_move_becomes_somebodys_business() {
    let mut month = Month::begin([
        Says::Text(WELCOME),
        Says::Text(REMIND),
        Says::Text(REMIND),
        Says::Text(HAND_OVER),
    ]);
    month.approve();
    for days in [3, 4] {
        month.pass(days);
        month.kill();
        assert_eq!(month.resume(), "asking");
        month.approve();
    }
    assert_eq!(month.subjects().len(), 3);
    // Day 14: nobody is there. Two days for somebody to say otherwise, then a person is called.
    month.pass(7);
    assert_eq!(month.resume(), "waiting");
    month.kill();
    month.pass(2);
    assert_eq!(month.resume(), "needs_person");
    let open = month.call("mira", "exception.list", json!({}));
    let open = &open["items"][0];
    assert_eq!(
        (&open["step"], &open["need"], &open["owner"], &open["count"]),
        (&json!("help"), &json!("escalated"), &json!("approver"), &json!(1)),
        "{open:#}"
    );
    // It stays one, however often the process begins anew.
    month.kill();
    month.pass(1);
    assert_eq!(month.resume(), "needs_person");
    let body = json!({
        "exception": open["id"], "verb": "skip", "evidence": "I called them; they begin on Monday.",
    });
    month.call("mira", "exception.settle", body);
    month.active(month.seats());
    month.pass(5);
    // Whether a signal came is nobody's word in the company: what follows from it asks, a note too.
    assert_eq!(month.resume(), "asking");
    month.approve();
    let detail = month.detail();
    assert_eq!(detail["run"]["status"], "partial", "{detail:#}");
    assert_eq!(
        (&detail["output"]["outcome"], &detail["output"]["day"], &detail["output"]["reminders"]),
        (&json!("onboarded"), &json!(21), &json!(2)),
        "{detail:#}"
    );
    assert_eq!(month.subjects().len(), 3, "a person called; no further mail");
    month.ends_once(4);
}
