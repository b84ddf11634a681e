//! On agents of loopback: what is sent to them, what becomes of a task, and what an agent cannot do to us.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use serde_json::{Value, json};

use crate::testing::{CANARY, DISPATCH_BY, Reply, Server, Trial};

fn binding() -> Value {
    json!({
        "kind": "a2a", "system": "sys", "auth": {"bearer": "token"}, "text": "/question", "data": "/details",
        "metadata": {"skill": "quote"},
    })
}

fn task(state: &str, more: &Value) -> Value {
    let mut task = json!({
        "id": "t-1", "contextId": "c-1", "status": {"state": format!("TASK_STATE_{state}")},
    });
    let map = task.as_object_mut().unwrap();
    map.extend(
        more.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())),
    );
    task
}

fn told(result: &Value) -> Reply {
    Reply::json(&json!({"jsonrpc": "2.0", "id": 1, "result": result}))
}

/// An agent that answers the first message with a task that works, and each look with the next of these.
async fn agent(looks: Vec<Value>) -> Server {
    let looked = AtomicUsize::new(0);
    Server::start(move |request| match () {
        () if request.contains("\"SendMessage\"") => {
            told(&json!({"task": task("WORKING", &json!({}))}))
        }
        () if request.contains("\"CancelTask\"") => told(&task("CANCELED", &json!({}))),
        () => {
            let at = looked.fetch_add(1, Ordering::SeqCst).min(looks.len() - 1);
            told(&looks[at])
        }
    })
    .await
}

fn done() -> Value {
    task(
        "COMPLETED",
        &json!({"artifacts": [
            {"artifactId": "a", "parts": [{"text": "Twelve."}, {"data": {"price": 12}}]},
            {"artifactId": "b", "parts": [
                {"url": "http://127.0.0.1:1/secret", "filename": "q.pdf", "mediaType": "application/pdf"},
                {"raw": "AAECAw==", "filename": "x.bin"},
            ]},
        ]}),
    )
}

fn write(server: &Server, binding: Value) -> Trial {
    let args =
        json!({"question": "How much?", "details": {"amount": 3}, "secret_of_the_run": "stays"});
    Trial::write(server.system(), binding).args(args)
}

/// C133, C094: what is sent is what the arguments say and the file fixes, with the connector's own credential and the effect's
/// key as the message's name; what comes back is text, data, and files that are named and not fetched.
#[tokio::test]
async fn a_message_says_the_arguments_and_nothing_else() {
    let server = agent(vec![task("WORKING", &json!({})), done()]).await;
    let trial = write(&server, binding());
    let output = trial.output().await;
    assert_eq!(
        output,
        json!({
            "text": "Twelve.", "data": [{"price": 12}], "task": "t-1",
            "files": [
                {"name": "q.pdf", "media": "application/pdf", "url": "http://127.0.0.1:1/secret"},
                {"name": "x.bin", "bytes": 4},
            ],
        })
    );
    let seen = server.seen();
    assert_eq!(seen.len(), 3, "{seen:#?}");
    for request in &seen {
        let head = request.to_lowercase();
        assert!(head.starts_with("post /base http/1.1"), "{request}");
        assert!(head.contains("a2a-version: 1.0"), "{request}");
        assert!(head.contains(&format!("authorization: bearer {CANARY}")), "{request}");
    }
    let body = |request: &str| -> Value {
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let sent = body(&seen[0]);
    assert_eq!(
        sent["params"]["message"],
        json!({
            "messageId": trial.call().key.as_str(), "role": "ROLE_USER",
            "parts": [{"text": "How much?"}, {"data": {"amount": 3}}], "metadata": {"skill": "quote"},
        })
    );
    assert_eq!(sent["params"]["configuration"]["returnImmediately"], true, "{sent}");
    assert_eq!(body(&seen[1])["params"]["id"], "t-1");
    assert!(!seen.concat().contains("stays"), "{seen:#?}");
}

/// An agent may answer at once, with a message or with a task that is over.
#[tokio::test]
async fn an_answer_at_once_needs_no_second_look() {
    let message = json!({"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "Hello."}]});
    for (result, text) in [
        (json!({"message": message}), "Hello."),
        (
            json!({"task": task("COMPLETED", &json!({"status": {
                "state": "TASK_STATE_COMPLETED", "message": message,
            }}))}),
            "Hello.",
        ),
        (json!({"task": done()}), "Twelve."),
    ] {
        let server = Server::start(move |_| told(&result)).await;
        assert_eq!(write(&server, binding()).output().await["text"], text);
        assert_eq!(server.seen().len(), 1);
    }
}

async fn failed(trial: &Trial) -> Failure {
    trial.run().await.unwrap_err()
}

/// How a task ends decides what is known about its effect: what was rejected did not begin, and what failed may have done half
/// of it, unless its file says that it cannot.
#[tokio::test]
async fn a_task_that_did_not_end_well_is_a_failure_that_says_what_is_known() {
    let mut known = binding();
    known["landed_on_error"] = json!("no");
    let why = json!({"status": {"state": "", "message": {
        "messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "no such part"}],
    }}});
    for (state, binding, class, landed) in [
        ("REJECTED", binding(), Class::Permission, Landed::No),
        ("FAILED", binding(), Class::InvalidArguments, Landed::Unknown),
        ("FAILED", known, Class::InvalidArguments, Landed::No),
        ("CANCELED", binding(), Class::Unavailable, Landed::Unknown),
    ] {
        let mut told = why.clone();
        told["status"]["state"] = json!(format!("TASK_STATE_{state}"));
        let server = agent(vec![task(state, &told)]).await;
        let failure = failed(&write(&server, binding)).await;
        assert_eq!((failure.class, failure.landed), (class, landed), "{state}: {failure:?}");
        assert!(failure.message.contains("no such part"), "{failure:?}");
    }
}

/// An agent that wants to know something is not answered by anybody here: the call fails in words, and its task is let go of;
/// where a person on its side may be waited for, it is.
#[tokio::test]
async fn an_agent_that_asks_is_let_go_of_or_waited_for() {
    let asks = json!({"status": {"state": "TASK_STATE_INPUT_REQUIRED", "message": {
        "messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "Which colour?"}],
    }}});
    let waits = task("INPUT_REQUIRED", &asks);
    let server = agent(vec![waits.clone(), done()]).await;
    let failure = failed(&write(&server, binding())).await;
    assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::Unknown));
    assert!(
        failure.message.contains("Which colour?") && failure.message.contains("ended by us"),
        "{failure:?}"
    );
    assert!(server.seen().iter().any(|request| request.contains("\"CancelTask\"")));
    let read = Trial::read(server.system(), binding()).args(json!({"question": "?"}));
    assert_eq!(read.output().await["text"], "Twelve.", "the next look finds it done");

    let mut patient = binding();
    patient["on_input_required"] = json!("wait");
    let server = agent(vec![waits.clone(), waits, done()]).await;
    assert_eq!(write(&server, patient).output().await["text"], "Twelve.");
    let server = agent(vec![task("AUTH_REQUIRED", &json!({}))]).await;
    assert_eq!(failed(&write(&server, binding())).await.class, Class::Permission);
}

/// What cannot be understood, is about something else, or never ends, is contained; what was said before leaves no doubt about
/// what is not known.
#[tokio::test]
async fn what_an_agent_cannot_do_to_us() {
    let error =
        |code: i32| json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "no"}});
    let other_id = json!({"jsonrpc": "2.0", "id": 2, "result": {"task": done()}});
    let nowhere =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"task": task("UNSPECIFIED", &json!({}))}});
    let many: Vec<Value> = (0..300).map(|_| json!({"text": "x"})).collect();
    let many = json!({"artifacts": [{"artifactId": "a", "parts": many}]});
    let many = json!({"jsonrpc": "2.0", "id": 1, "result": {"task": task("COMPLETED", &many)}});
    let (shape, unknown) = (Class::UnexpectedShape, Landed::Unknown);
    let answers: BTreeMap<&str, (Value, Class, Landed)> = BTreeMap::from([
        ("other id", (other_id, shape, unknown)),
        ("stands nowhere", (nowhere, shape, unknown)),
        ("too many parts", (many, shape, unknown)),
        ("no result", (json!({"jsonrpc": "2.0", "id": 1}), shape, unknown)),
        ("no rpc", (json!([1, 2]), shape, unknown)),
        ("bad params", (error(-32_602), Class::InvalidArguments, Landed::No)),
        ("another version", (error(-32_009), Class::InvalidArguments, Landed::No)),
        ("broken there", (error(-32_603), Class::Unavailable, unknown)),
    ]);
    for (name, (answer, class, landed)) in answers {
        let server = Server::start(move |_| Reply::json(&answer)).await;
        let failure = failed(&write(&server, binding())).await;
        assert_eq!((failure.class, failure.landed), (class, landed), "{name}: {failure:?}");
    }
    for (which, class, landed) in [
        ("flood", shape, unknown),
        ("reset", Class::Unavailable, unknown),
        ("broken", Class::Unavailable, unknown),
        ("unknown", Class::Permission, Landed::No),
        ("elsewhere", shape, unknown),
    ] {
        let server = Server::start(move |_| match which {
            "flood" => Reply::Flood("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"),
            "reset" => Reply::Reset,
            "broken" => Reply::status(500, "", CANARY),
            "unknown" => Reply::status(401, "", "who?"),
            _ => Reply::status(302, "Location: http://127.0.0.1:1/\r\n", ""),
        })
        .await;
        let failure = failed(&write(&server, binding())).await;
        assert_eq!((failure.class, failure.landed), (class, landed), "{which}: {failure:?}");
        assert!(!failure.message.contains(CANARY), "{failure:?}");
    }
    // A look that says less than before takes nothing back: what left may have done something.
    for (look, class) in [
        (
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32_602, "message": "no"}}),
            Class::InvalidArguments,
        ),
        (
            json!({"jsonrpc": "2.0", "id": 1, "result": task("COMPLETED", &json!({"id": "t-2"}))}),
            shape,
        ),
    ] {
        let server = Server::start(move |request| match request.contains("\"SendMessage\"") {
            true => told(&json!({"task": task("WORKING", &json!({}))})),
            false => Reply::json(&look),
        })
        .await;
        let failure = failed(&write(&server, binding())).await;
        assert_eq!((failure.class, failure.landed), (class, Landed::Unknown), "{failure:?}");
    }
}

/// A line that breaks between two looks is tried again; a task that never ends is over with its call's time.
#[tokio::test]
async fn a_look_may_be_lost_and_a_task_may_not_last_for_ever() {
    let looked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looked);
    let server = Server::start(move |request| {
        if request.contains("\"SendMessage\"") {
            return told(&json!({"task": task("WORKING", &json!({}))}));
        }
        match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Reset,
            1 => Reply::status(503, "", ""),
            _ => told(&done()),
        }
    })
    .await;
    assert_eq!(write(&server, binding()).output().await["text"], "Twelve.");
    assert_eq!(looked.load(Ordering::SeqCst), 3);
    let server = agent(vec![task("WORKING", &json!({}))]).await;
    let trial = write(&server, binding()).with(|trial| trial.operation.timeout_ms = 600);
    let failure = failed(&trial).await;
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::Unknown), "{failure:?}");
}

/// Nothing is sent after the dispatch window; what only looks after a call that left in time is not held by it.
#[tokio::test]
async fn a_message_leaves_within_its_window_and_looks_may_come_later() {
    let server = agent(vec![done()]).await;
    let late = write(&server, binding()).with(|trial| trial.punctual = 0);
    let failure = failed(&late).await;
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No), "{failure:?}");
    assert_eq!(server.seen(), Vec::<String>::new());
    assert!(late.call().dispatch_by_boot_ms == DISPATCH_BY);
    // In time when it is looked at before it is sent, and late from then on.
    let just = write(&server, binding()).with(|trial| trial.punctual = 3);
    assert_eq!(just.output().await["text"], "Twelve.");
}

/// A binding that says what cannot be is refused when it is loaded.
#[tokio::test]
async fn a_binding_that_makes_no_sense_is_refused() {
    let server = agent(vec![done()]).await;
    for (key, value) in [
        ("text", json!("question")),
        ("on_input_required", json!("ask")),
        ("landed_on_error", json!("yes")),
        ("metadata", json!({"skill": 1})),
        ("auth", json!({"bearer": "nobody"})),
        ("headers", json!({})),
    ] {
        let mut wrong = binding();
        wrong[key] = value;
        let trial = write(&server, wrong);
        assert!(trial.connectors().check(&trial.operation).is_err(), "{key}");
    }
    let silent = json!({"kind": "a2a", "system": "sys"});
    let trial = write(&server, silent);
    assert!(trial.connectors().check(&trial.operation).is_err());
    let nothing = write(&server, binding()).args(json!({}));
    assert_eq!(failed(&nothing).await.landed, Landed::No);
    assert_eq!(server.seen(), Vec::<String>::new());
}
