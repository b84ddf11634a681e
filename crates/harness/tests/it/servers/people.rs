//! What a server asks in the middle of a call that no client makes: a typed question of the run, in the inbox of the people
//! whose role its system names, whose answer reaches the server while the call is open.

use std::thread;

use serde_json::{Value, json};

use super::{Serving, Shop};
use crate::{
    kit::validates,
    support::{self, Ran, id_of, program},
};

const BOTH: [&str; 2] = ["sessions", "stateless"];
const ROLE: &str = "answered_by = \"support\"";

/// A store that somebody serves, with a server that may ask.
struct Desk {
    shop: Shop,
    owner: Option<support::Serving>,
    _serving: Serving,
}

impl Desk {
    fn open(speaks: &str, more: &str) -> Self {
        let shop = Shop::bare(&[]);
        let serving = Serving::start(&shop.path("state"));
        let system = format!(
            "[systems.notes]\nkind = \"mcp\"\nurl = \"{}\"\nspeaks = \"{speaks}\"\nmay_ask = [\"elicitation\"]\n{more}\n",
            serving.1
        );
        shop.configure(&system, "[people.lena]\nroles = [\"support\"]\n");
        shop.import().exits(0);
        shop.classify(&["ask"]);
        shop.edit("\n  ask:\n", "\n  ask:\n    timeout_ms: 600000\n");
        let mut desk = Self { shop, owner: None, _serving: serving };
        desk.serve();
        desk
    }

    fn serve(&mut self) {
        let mut command = program(self.shop.dir.path());
        command.arg("serve");
        self.owner = Some(support::Serving::of(command).0);
    }

    /// Whoever serves ends by this.
    fn leaves(&mut self, signal: &str) -> Option<i32> {
        self.owner.take().unwrap().end(signal)
    }

    /// Begins a run whose one step makes the server ask.
    fn begins(&self, kind: &str) -> String {
        let inputs = json!({ "kind": kind }).to_string();
        let submit = ["intent", "submit", "ask", "--json", &inputs, "--timeout", "0s"];
        id_of(&self.shop.json(&submit).exits(0).document())
    }

    /// The run in full, once it is over.
    fn ended(&self, run: &str) -> Value {
        loop {
            let seen = self.shop.get(run);
            if !["running", "asking"].contains(&seen["run"]["status"].as_str().unwrap()) {
                return seen;
            }
            thread::yield_now();
        }
    }

    fn ran(&self, kind: &str) -> Value {
        self.ended(&self.begins(kind))
    }

    /// Asks of the inbox that are like this.
    fn asks(&self, like: &[&str]) -> Vec<Value> {
        let words = [&["approval", "list"], like].concat();
        let listed = self.shop.json(&words).exits(0).document();
        validates(&listed);
        listed["items"].as_array().unwrap().clone()
    }

    /// What a run asks, once it does.
    fn asked(&self, run: &str) -> Value {
        loop {
            if let Some(asked) = self.asks(&["--run", run]).pop() {
                return asked;
            }
            let seen = self.shop.get(run);
            assert!(
                ["running", "asking"].contains(&seen["run"]["status"].as_str().unwrap()),
                "{seen:#}"
            );
            thread::yield_now();
        }
    }

    fn card(&self, asked: &Value) -> Value {
        let card = self.shop.json(&["approval", "get", asked["id"].as_str().unwrap()]).exits(0);
        validates(&card.document());
        card.document()
    }

    fn reply(&self, who: &str, asked: &Value, answer: &Value) -> Ran {
        let (id, answer) = (asked["id"].as_str().unwrap(), answer.to_string());
        self.shop.json(&["--as", who, "approval", "reply", id, &answer])
    }

    /// Kinds of the run's events. What it says of itself is sound, and comes out again.
    fn kinds(&self, run: &Value) -> Vec<String> {
        let id = run["run"]["id"].as_str().unwrap();
        let replay = self.shop.json(&["run", "replay", id]).exits(0).document();
        assert_eq!(replay["identical"], true, "{replay:#}");
        self.shop.json(&["receipt", "verify", id]).exits(0);
        let events = self.shop.json(&["run", "events", id]).exits(0).document();
        let events = events["items"].as_array().unwrap().iter();
        events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }
}

fn count(kinds: &[String], kind: &str) -> usize {
    kinds.iter().filter(|one| *one == kind).count()
}

fn heard(run: &Value) -> String {
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    run["output"]["text"].as_str().unwrap().to_owned()
}

/// A form that a server asks for in the middle of a step's call is a question to the people whose role its system names, and
/// to nobody else; it says which server asks, holds answers to its schema, and its answer reaches the server.
#[test]
fn a_persons_answer_reaches_the_server_that_asked_for_it() {
    for speaks in BOTH {
        let desk = Desk::open(speaks, ROLE);
        let run = desk.begins("form");
        let asked = desk.asked(&run);
        assert_eq!((&asked["sort"], &asked["step"]), (&json!("question"), &json!("tool")));
        assert_eq!(asked["roles"], json!(["support"]), "{asked:#}");
        assert_eq!(desk.asks(&["--operation", "notes.ask"]).len(), 1);
        assert_eq!(desk.shop.get(&run)["run"]["status"], "asking");
        let card = desk.card(&asked);
        let summary = card["summary"].as_str().unwrap();
        assert_eq!(summary, "`notes` asks: Your session has expired: type your password");
        assert_eq!(
            (&card["question"]["asked_by"], &card["untrusted"]),
            (&json!("notes"), &json!(true))
        );

        let right = json!({"password": "sesame"});
        let stranger = desk.reply("mira", &asked, &right);
        assert_eq!(stranger.exits(4).problem()["code"], "refused");
        for wrong in
            [json!({"password": 1}), json!({}), json!({"password": "x", "more": "y"}), json!("x")]
        {
            let refused = desk.reply("lena", &asked, &wrong).exits(2).problem();
            assert!(
                refused["detail"].as_str().unwrap().contains("does not fit"),
                "{wrong}: {refused:#}"
            );
        }
        desk.reply("lena", &asked, &right).exits(0);
        let run = desk.ended(&run);
        let heard = heard(&run);
        assert!(heard.contains("\"accept\"") && heard.contains("sesame"), "{heard}");
        let kinds = desk.kinds(&run);
        assert_eq!((count(&kinds, "elicited"), count(&kinds, "replied")), (1, 1), "{kinds:?}");
        assert_eq!((count(&kinds, "lapsed"), desk.asks(&[])), (0, vec![]), "{kinds:?}");
        assert!(desk.reply("lena", &asked, &right).code != 0, "it is answered once");
    }
}

/// The address of a page is told with its host, and is opened by nobody but the person; yes, no and declining reach the
/// server as such.
#[test]
fn a_page_is_told_and_what_the_person_says_of_it_reaches_the_server() {
    for (speaks, said, told) in [
        ("sessions", json!(true), "accept"),
        ("stateless", json!(false), "decline"),
        ("stateless", json!(null), "decline"),
    ] {
        let desk = Desk::open(speaks, ROLE);
        let run = desk.begins("url");
        let asked = desk.asked(&run);
        let summary = desk.card(&asked)["summary"].as_str().unwrap().to_owned();
        let host = "to open a page of login.example.evil, which nobody here has looked at: https://login.example.evil/";
        assert!(summary.starts_with("`notes` asks: ") && summary.ends_with(host), "{summary}");
        desk.reply("lena", &asked, &json!("yes")).exits(2);
        desk.reply("lena", &asked, &said).exits(0);
        let heard = heard(&desk.ended(&run));
        assert!(heard.contains(&format!("\"action\":\"{told}\"")), "{heard}");
    }
}

/// Nobody answers: the server is told that it was put aside, the inbox is empty again, and the call goes on.
#[test]
fn a_server_whose_question_nobody_answers_goes_on_without() {
    for speaks in BOTH {
        let desk = Desk::open(speaks, &format!("{ROLE}\nanswered_within_ms = 1000"));
        let run = desk.ran("form");
        let heard = heard(&run);
        assert!(heard.contains("\"cancel\""), "{heard}");
        let kinds = desk.kinds(&run);
        assert_eq!((count(&kinds, "elicited"), count(&kinds, "lapsed")), (1, 1), "{kinds:?}");
        let place = |kind: &str| kinds.iter().position(|one| one == kind);
        assert!(place("lapsed") < place("returned"), "before the call is over: {kinds:?}");
        assert_eq!(desk.asks(&[]), Vec::<Value>::new());
        assert_eq!(desk.asks(&["--all"])[0]["state"], "expired");
    }
}

/// What nobody answered in time is closed then, and not only with its call.
#[test]
fn a_server_that_asks_again_and_again_leaves_no_question_open() {
    let desk = Desk::open("stateless", &format!("{ROLE}\nanswered_within_ms = 1000"));
    desk.shop.misbehave("insists");
    let run = desk.ran("form");
    assert_eq!(run["run"]["status"], "failed", "{run:#}");
    let kinds = desk.kinds(&run);
    let asked = kinds.iter().filter(|kind| ["elicited", "lapsed"].contains(&kind.as_str()));
    let asked: Vec<&str> = asked.map(String::as_str).collect();
    assert_eq!(asked, ["elicited", "lapsed"].repeat(5), "one after the other: {kinds:?}");
    assert_eq!(desk.asks(&[]), Vec::<Value>::new());
}

/// Where the system names no role, and for whatever is no form and no safe page, nobody is asked and nothing is given.
#[test]
fn whatever_no_person_may_be_asked_is_declined() {
    for speaks in BOTH {
        let desk = Desk::open(speaks, "");
        let run = desk.ran("form");
        assert!(heard(&run).contains("decline"), "{run:#}");
        assert!(!desk.kinds(&run).contains(&"elicited".to_owned()));
        let desk = Desk::open(speaks, ROLE);
        for kind in ["endless", "open_url"] {
            let run = desk.ran(kind);
            assert!(heard(&run).contains("decline"), "{kind}: {run:#}");
            assert!(
                run["output"]["declined"].to_string().contains("session has expired"),
                "{run:#}"
            );
        }
        assert_eq!(desk.asks(&["--all"]), Vec::<Value>::new());
    }
    let desk = Desk::open("sessions", ROLE);
    for kind in ["nested", "sampling", "roots"] {
        let run = desk.ran(kind);
        assert!(!heard(&run).contains("accept"), "{kind}: {run:#}");
    }
    assert_eq!(desk.asks(&["--all"]), Vec::<Value>::new());
}

/// A run that is cancelled asks nobody any more. One whose process is gone asks nobody either: its next owner makes the read
/// again, and the server asks anew. A process that is told to end waits for no person.
#[test]
fn a_question_outlives_neither_its_run_nor_its_owner() {
    let desk = Desk::open("stateless", ROLE);
    let run = desk.begins("form");
    desk.asked(&run);
    desk.shop.json(&["run", "cancel", &run, "--reason", "enough"]);
    let run = desk.ended(&run);
    assert_eq!((&run["run"]["status"], desk.asks(&[])), (&json!("cancelled"), vec![]), "{run:#}");

    let mut desk = Desk::open("sessions", ROLE);
    let run = desk.begins("form");
    let first = desk.asked(&run);
    desk.leaves("KILL");
    desk.serve();
    let second = loop {
        let asked = desk.asked(&run);
        if asked["id"] != first["id"] {
            break asked;
        }
    };
    assert_ne!(desk.reply("lena", &first, &json!({"password": "x"})).code, 0);
    desk.reply("lena", &second, &json!({"password": "again"})).exits(0);
    let ended = desk.ended(&run);
    assert!(heard(&ended).contains("again"), "{ended:#}");
    let kinds = desk.kinds(&ended);
    assert_eq!((count(&kinds, "elicited"), count(&kinds, "lapsed")), (2, 1), "{kinds:?}");

    let run = desk.begins("form");
    desk.asked(&run);
    assert_eq!(desk.leaves("TERM"), Some(0), "it ends, and waits for nobody");
    desk.serve();
    let ended = desk.ended(&run);
    assert!(heard(&ended).contains("\"cancel\""), "{ended:#}");
}

/// What the configuration says has to make sense.
#[test]
fn whoever_answers_is_named_where_something_may_be_asked() {
    let shop = Shop::bare(&[]);
    for (more, why) in [
        ("answered_by = \"support\"", "needs `may_ask"),
        ("may_ask = [\"elicitation\"]\nanswered_within_ms = 5", "needs `answered_by`"),
        ("may_ask = [\"elicitation\"]\nanswered_by = \" \"", "the name of a role"),
        (
            "may_ask = [\"elicitation\"]\nanswered_by = \"a\"\nanswered_within_ms = 999",
            "at least 1000",
        ),
    ] {
        let system =
            format!("[systems.notes]\nkind = \"mcp\"\nurl = \"https://a.example/\"\n{more}\n");
        shop.configure(&system, "");
        let refused = shop.json(&["run", "list"]);
        assert!(refused.code != 0 && refused.stderr.contains(why), "{more}: {refused:?}");
    }
}
