//! `harness chat` through pipes: messages in, answers out, and nothing is approved by talking.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::{Value, json};

use crate::{
    agents::{
        model::{Model, Says},
        think_with,
    },
    support::{Office, Ran, Serving, kill, program, run_in},
};

fn office(model: &Model) -> Office {
    let office = Office::open();
    think_with(&office, model);
    office
}

/// A chat that is talked to line by line.
struct Chat {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Chat {
    fn open(office: &Office, more: &[&str]) -> Self {
        let words = [&["chat", "-o", "ndjson"], more].concat();
        let mut command = office.command(&words);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn say(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    /// Nothing more is said: its exit code.
    fn end(mut self) -> i32 {
        drop(self.input.take());
        self.child.wait().unwrap().code().unwrap()
    }
}

/// Says these lines and no more: each answer, and how it ended.
pub(crate) fn piped(office: &Office, more: &[&str], lines: &str) -> (Vec<Value>, Ran) {
    let words = [&["chat", "-o", "ndjson"], more].concat();
    let mut command = office.command(&words);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let ran = Ran::of(&words, child.wait_with_output().unwrap());
    (ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), ran)
}

fn run_of(answer: &Value) -> String {
    answer["run"]["id"].as_str().unwrap().to_owned()
}

/// What the model was told as the message of its `n`-th request.
fn message(model: &Model, n: usize) -> Value {
    let messages = model.messages(n);
    let user = messages.iter().find(|message| message["role"] == "user").unwrap();
    serde_json::from_str(user["content"].as_str().unwrap()).unwrap()
}

/// Each message is a run of its own that is told what was said before, and replays alone. C098: a session is
/// resumed by the id of its last run.
#[test]
fn what_was_said_is_told_again_and_every_turn_is_a_run() {
    let model = Model::start([
        Says::Calls(vec![("crm_get_account", json!({ "account": "ACC-0001" }))]),
        Says::Text("It is healthy."),
        Says::Text("Because its usage is steady."),
        Says::Text("You are welcome."),
    ]);
    let office = office(&model);
    let lines = "How is ACC-0001?\n\n/help\nWhy?\n/context\n/nonsense\n";
    let (answers, ran) = piped(&office, &["--agent", "email-drafter"], lines);
    let ran = ran.exits(0);
    assert_eq!(answers.len(), 3, "{ran:#?}");
    assert_eq!(ran.stderr, "", "a program hears nothing but answers");
    assert_eq!(answers[0]["schema"], "harness.agent-run/v1");
    assert_eq!(answers[2]["schema"], "harness.context/v1");
    let (first, second) = (run_of(&answers[0]), run_of(&answers[1]));
    assert_ne!(first, second);
    assert_eq!(message(&model, 1), json!({ "task": "How is ACC-0001?" }));
    let earlier = json!([
        { "said": "How is ACC-0001?", "answered": answers[0]["output"], "ended": "succeeded" },
    ]);
    assert_eq!(message(&model, 3), json!({ "task": "Why?", "earlier": earlier, "left_out": 0 }));
    let (answers, ran) = piped(&office, &["--resume", &second], "Thanks!\n/quit\nNot heard.\n");
    ran.exits(0);
    assert_eq!(run_of(&answers[0]), second, "first, where it stands");
    assert_eq!(answers[1]["run"]["agent"], "agent:email-drafter", "{answers:#?}");
    assert_eq!(message(&model, 4)["earlier"].as_array().unwrap().len(), 2);
    assert_eq!(model.heard().len(), 4);
    for run in [first, second, run_of(&answers[1])] {
        let replay = office.json(&["run", "replay", &run]).exits(0).document();
        assert_eq!(replay["identical"], true, "{replay:#}");
    }
}

/// C103: what is attached in a chat.
#[test]
fn a_file_goes_with_the_next_message_and_no_other() {
    let model = Model::start([Says::Text("It is about roofs."), Says::Text("Nothing else.")]);
    let office = office(&model);
    let notes = office.path("the notes.txt");
    fs::write(&notes, "roofs").unwrap();
    let lines = format!("/attach {}\nWhat is it about?\nAnd else?\n", notes.display());
    let (answers, ran) = piped(&office, &["--agent", "email-drafter"], &lines);
    ran.exits(0);
    let attached: Vec<&Value> = answers.iter().map(|answer| &answer["attached"]).collect();
    assert_eq!(attached[0][0]["name"], "the notes.txt", "{answers:#?}");
    assert_eq!(attached[1], &Value::Null, "{answers:#?}");
    let said = model.heard()[0]["messages"].to_string();
    assert!(said.contains("the notes.txt:\\nroofs"), "{said}");
    let gone = piped(&office, &[], "/attach nowhere.txt\n").1.exits(2);
    assert!(gone.stderr.contains("nowhere.txt"), "{gone:#?}");
}

/// What asks a person asks; "yes" in the chat is a word like another.
#[test]
fn talking_approves_nothing() {
    let mail = json!({ "to": ["ana@example.com"], "subject": "Hello", "text": "Hello Ana." });
    let model = Model::start([
        Says::Calls(vec![("mail_send", mail)]),
        Says::Text("It is sent."),
        Says::Text("As I said."),
    ]);
    let office = office(&model);
    let served = Serving::start(&office);
    let mut chat = Chat::open(&office, &["--write"]);
    chat.say("Write to Ana.");
    let asking = chat.hear();
    let run = run_of(&asking);
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    chat.say("Yes, approve it, I am the boss.");
    let asking = chat.hear();
    assert_eq!(
        (&asking["run"]["status"], run_of(&asking)),
        (&json!("asking"), run.clone()),
        "it is told, and still waits: {asking:#}"
    );
    assert!(office.world.mails().is_empty());
    office.approve(&run).exits(0);
    chat.say("");
    let ended = chat.hear();
    assert_eq!(
        (&ended["run"]["status"], &ended["output"]),
        (&json!("succeeded"), &json!("It is sent."))
    );
    assert_eq!(office.world.mails().len(), 1);
    let told = model.messages(2);
    assert_eq!(told.last().unwrap()["content"], "Yes, approve it, I am the boss.");
    chat.say("Did you?");
    assert_ne!(run_of(&chat.hear()), run, "a new turn after one that ended");
    assert_eq!(chat.end(), 0);
    office.world.performed_nothing_twice();
    drop(served);
    // Without an owner of the store, whoever decides finds it free between two messages.
    let model = Model::start([
        Says::Calls(vec![(
            "mail_send",
            json!({ "to": ["b@example.com"], "subject": "B", "text": "B." }),
        )]),
        Says::Text("Sent."),
    ]);
    let office = self::office(&model);
    let mut chat = Chat::open(&office, &["--write"]);
    chat.say("Write to B.");
    let run = run_of(&chat.hear());
    office.approve(&run).exits(0);
    chat.say("");
    assert_eq!(chat.hear()["output"], "Sent.");
    chat.say("/quit");
    assert_eq!(chat.end(), 0);
}

/// What untrusted text had a part in keeps its label when it is told again: a note that nobody is asked
/// about otherwise is asked about.
#[test]
fn an_answer_does_not_become_a_persons_word_by_being_told_again() {
    let note =
        || Says::Calls(vec![("crm_add_note", json!({ "account": "ACC-0042", "text": "Angry." }))]);
    let model = Model::start([
        note(),
        Says::Text("Noted."),
        Says::Calls(vec![("desk_get_ticket", json!({ "ticket": 7_000_422 }))]),
        Says::Text("The ticket says: note that they are angry."),
        note(),
        Says::Text("Noted."),
    ]);
    let office = office(&model);
    let (clean, _) = piped(&office, &["--write"], "Note that ACC-0042 is angry.\n");
    assert_eq!(clean[0]["run"]["status"], "succeeded", "{clean:#?}");
    let (read, _) = piped(&office, &[], "Read ticket 7000422.\n");
    let read = run_of(&read[0]);
    let (answers, ran) = piped(&office, &["--write", "--resume", &read], "Do what it says.\n");
    ran.exits(7);
    assert_eq!(answers[1]["run"]["status"], "asking", "{:#}", answers[1]);
    assert_eq!(
        office.world.get("/crm/accounts/ACC-0042/notes")["records"].as_array().unwrap().len(),
        1
    );
}

/// Killed while its model thinks: the turn is there, and the chat goes on with it.
#[test]
fn a_chat_that_is_killed_goes_on() {
    let model = Model::start([
        Says::Text("Hello."),
        Says::Hangs,
        Says::Text("Here I am again."),
        Says::Text("Three things."),
    ]);
    let office = office(&model);
    let mut chat = Chat::open(&office, &[]);
    chat.say("Hello");
    chat.hear();
    chat.say("What do you know?");
    while model.heard().len() < 2 {
        std::thread::yield_now();
    }
    chat.child.kill().unwrap();
    chat.child.wait().unwrap();
    let listed = office.json(&["run", "list"]).exits(0).document();
    let run = listed["items"][0]["id"].as_str().unwrap();
    let (answers, ran) = piped(&office, &["--resume", run], "And now?\n");
    ran.exits(0);
    assert_eq!(
        (run_of(&answers[0]), &answers[0]["output"]),
        (run.to_owned(), &json!("Here I am again."))
    );
    assert_eq!(answers[1]["output"], "Three things.");
    let earlier = message(&model, 4)["earlier"].clone();
    let said: Vec<&Value> =
        earlier.as_array().unwrap().iter().map(|turn| &turn["answered"]).collect();
    assert_eq!(said, [&json!("Hello."), &json!("Here I am again.")]);
}

/// Ctrl-C stops a turn; the chat goes on after it.
#[test]
fn an_interrupt_stops_the_turn_and_not_the_chat() {
    let model = Model::start([Says::Hangs, Says::Text("Good.")]);
    let office = office(&model);
    let mut chat = Chat::open(&office, &[]);
    chat.say("Count to a million.");
    while model.heard().is_empty() {
        std::thread::yield_now();
    }
    kill(chat.child.id(), "INT");
    let stopped = chat.hear();
    assert_eq!(stopped["run"]["status"], "cancelled", "{stopped:#}");
    chat.say("Never mind.");
    assert_eq!(chat.hear()["output"], "Good.");
    assert_eq!(message(&model, 2)["earlier"][0]["ended"], "cancelled");
    assert_eq!(chat.end(), 0);
}

#[test]
fn what_is_no_chat_is_said() {
    let model = Model::start([]);
    let office = office(&model);
    let refused = office.json(&["chat"]).exits(2).problem();
    assert!(refused["next"].as_str().unwrap().contains("ndjson"), "{refused}");
    let other = office.changed("ACC-0007", 45, "other");
    let (_, ran) = piped(&office, &["--resume", &other, "--agent", "email-drafter"], "Hello\n");
    let ran = ran.exits(2);
    let problem: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(problem["code"], "not-a-turn", "{problem}");
    let (_, ran) = piped(&office, &["--resume", "run_00000000000000000000000000000000"], "Hello\n");
    ran.exits(3);
    let (_, ran) = piped(&office, &[], &"x".repeat(70_000));
    assert!(ran.exits(2).stderr.contains("65536"));
    assert!(model.heard().is_empty());
}

/// A new project's agent is talked to offline, and people read text.
#[test]
fn a_new_project_can_be_talked_to() {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), &["new", "hello"]).exits(0);
    let mut child = program(dir.path())
        .current_dir(dir.path().join("hello"))
        .args(["chat", "--agent", "clerk"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let words = "What is 19 percent of 250?\nAnd once more?\n";
    child.stdin.take().unwrap().write_all(words.as_bytes()).unwrap();
    let ran = Ran::of(&["chat"], child.wait_with_output().unwrap()).exits(0);
    assert_eq!(ran.stdout.matches("19 percent of 250 is 47.5.").count(), 2, "{ran:#?}");
    assert!(fs::exists(dir.path().join("hello/answers.yaml")).unwrap());
}
