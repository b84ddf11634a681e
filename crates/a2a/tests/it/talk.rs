//! The client against the server, at a desk that is written down; and bytes that make no sense.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use a2a::{
    State, VERSION, VERSION_HEADER,
    client::{self, Outgoing},
    server::{
        About, Answer, Desk, HELD_MAX, Http, Later, Note, Page, Patience, Refusal, Refused,
        Request, Said, Skill, Task, Wanted,
    },
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

/// A desk that works on everything, and is done at the third look.
#[derive(Debug, Default)]
struct Scripted {
    heard: Mutex<Vec<(Said, Patience)>>,
    looks: AtomicUsize,
    output: Option<Value>,
    /// Held back until it is told otherwise, which nobody does.
    gate: Option<Arc<tokio::sync::Notify>>,
}

impl Scripted {
    fn at(&self, state: State) -> Task {
        Task {
            id: "t-1".to_owned(),
            context: "c-1".to_owned(),
            state,
            note: Some(Note { text: state.word().to_owned(), data: None }),
            changed_ms: 1_795_165_200_000,
            output: self.output.clone().filter(|_| state == State::Completed),
            meta: serde_json::Map::from_iter([("harness/run".to_owned(), json!("t-1"))]),
        }
    }
}

impl Desk for Scripted {
    fn skills(&self) -> Later<'_, Result<Vec<Skill>, Refusal>> {
        let skill = Skill {
            id: "quote".to_owned(),
            title: "Quote".to_owned(),
            input: json!({"type": "object"}),
            ..Skill::default()
        };
        Box::pin(async move { Ok(vec![skill]) })
    }

    fn send(&self, said: Said, patience: Patience) -> Later<'_, Result<Task, Refusal>> {
        self.heard.lock().unwrap().push((said, patience));
        Box::pin(async move {
            if let Some(gate) = self.gate.as_ref().filter(|_| patience == Patience::Settled) {
                gate.notified().await;
            }
            Ok(self.at(State::Working))
        })
    }

    fn task(&self, id: String) -> Later<'_, Result<Task, Refusal>> {
        let known = id == "t-1";
        let state = match self.looks.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => State::InputRequired,
            _ => State::Completed,
        };
        Box::pin(async move {
            match known {
                true => Ok(self.at(state)),
                false => {
                    Err(Refusal::new(Refused::NoTask, "task-not-found", "no such task")
                        .next("look"))
                }
            }
        })
    }

    fn tasks(&self, wanted: Wanted) -> Later<'_, Result<Page, Refusal>> {
        let page = Page { tasks: vec![self.at(State::Completed)], next: None, total: wanted.count };
        Box::pin(async move { Ok(page) })
    }

    fn cancel(&self, _: String) -> Later<'_, Result<Task, Refusal>> {
        Box::pin(async { Ok(self.at(State::Canceled)) })
    }

    fn next(&self, seen: Task) -> Later<'_, Result<Task, Refusal>> {
        Box::pin(async move {
            match seen.state {
                State::Working => Ok(self.at(State::InputRequired)),
                State::InputRequired => Ok(self.at(State::Completed)),
                _ => Err(Refusal::new(Refused::Here, "over", "nothing more")),
            }
        })
    }
}

fn about() -> About {
    About { name: "x".to_owned(), url: "http://127.0.0.1/a2a".to_owned(), ..About::default() }
}

fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("a2a-version", HeaderValue::from_static(VERSION));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Request { method, path: path.to_owned(), query: query.to_owned(), headers, body: body.into() }
}

async fn whole(http: &Http, desk: &Arc<Scripted>, request: Request) -> (u16, Bytes) {
    match http.answer(request, &about(), Arc::clone(desk) as Arc<dyn Desk>).await {
        Answer::Whole(response) => (response.status().as_u16(), response.into_body()),
        Answer::Events(_) => panic!("a stream"),
    }
}

fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(future).poll(&mut context).is_pending()
}

async fn posted(http: &Http, desk: &Arc<Scripted>, body: Vec<u8>) -> Bytes {
    let (status, body) = whole(http, desk, request(Method::POST, "", body)).await;
    assert_eq!(status, 200);
    body
}

/// What our client says our server hears, and what our server says our client reads.
#[tokio::test]
async fn the_client_and_the_server_understand_each_other() {
    let (http, desk) = (
        Http::default(),
        Arc::new(Scripted { output: Some(json!({"price": 12})), ..Scripted::default() }),
    );
    let said = Outgoing {
        id: "m-1".to_owned(),
        text: Some("How much?".to_owned()),
        data: Some(json!({"amount": 3})),
        metadata: serde_json::Map::from_iter([("skill".to_owned(), json!("quote"))]),
    };
    let sent = posted(&http, &desk, client::send(said).unwrap()).await;
    let client::Said::Task(task) = client::read_sent(&sent).unwrap() else { panic!("{sent:?}") };
    assert_eq!((&*task.id, task.state, &*task.note), ("t-1", State::Working, "working"));
    let heard = desk.heard.lock().unwrap().pop().unwrap();
    let expected = Said {
        id: "m-1".to_owned(),
        skill: Some("quote".to_owned()),
        text: "How much?".to_owned(),
        data: json!({"amount": 3}).as_object().cloned(),
        ..Said::default()
    };
    assert_eq!(heard, (expected, Patience::None));
    let look = client::ask("t-1").unwrap();
    for state in [State::InputRequired, State::InputRequired, State::Completed] {
        let task = client::read_task(&posted(&http, &desk, look.clone()).await, "t-1").unwrap();
        assert_eq!(task.state, state);
        let data = if state == State::Completed { vec![json!({"price": 12})] } else { Vec::new() };
        assert_eq!(task.answer.data, data);
    }
    let none = posted(&http, &desk, client::ask("t-2").unwrap()).await;
    let error = client::read_task(&none, "t-2").unwrap_err();
    assert_eq!(error.to_string(), "the agent refused (-32001): no such task; look");
    let ended = posted(&http, &desk, client::cancel("t-1").unwrap()).await;
    assert_eq!(client::read_task(&ended, "t-1").unwrap().state, State::Canceled);
    assert_eq!(client::read_task(&ended, "t-9").unwrap_err(), client::Error::Other);
    let card =
        client::read_extended(&posted(&http, &desk, client::ask_card().unwrap()).await).unwrap();
    assert_eq!((card.url.as_str(), card.wants_bearer), ("http://127.0.0.1/a2a", true));
    assert_eq!(card.skills[0].input, Some(json!({"type": "object"})));
    let public = Http::public_card(&about()).into_body();
    assert_eq!(client::read_card(&public).unwrap().skills, []);
    assert_eq!(VERSION_HEADER, "A2A-Version");
}

/// A stream says the task first, then each change, the output before the last; and ends with it.
#[tokio::test]
async fn a_stream_is_over_with_its_task() {
    let (http, desk) = (
        Http::default(),
        Arc::new(Scripted { output: Some(json!("Twelve.")), ..Scripted::default() }),
    );
    let message =
        json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}});
    let ask = request(Method::POST, "/message:stream", message.to_string());
    let Answer::Events(events) = http.answer(ask, &about(), Arc::clone(&desk) as _).await else {
        panic!("no stream")
    };
    let events: Vec<Value> = events
        .map(|event| {
            let text = String::from_utf8(event.to_vec()).unwrap();
            serde_json::from_str(text.strip_prefix("data: ").unwrap().trim_end()).unwrap()
        })
        .collect()
        .await;
    let kinds: Vec<&str> =
        events.iter().map(|e| e.as_object().unwrap().keys().next().unwrap().as_str()).collect();
    assert_eq!(kinds, ["task", "statusUpdate", "artifactUpdate", "statusUpdate"]);
    assert_eq!(events[2]["artifactUpdate"]["artifact"]["parts"][0]["text"], "Twelve.");
    assert_eq!(events[3]["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED");
    assert_eq!(events[3]["statusUpdate"]["status"]["timestamp"], "2026-11-20T09:00:00Z");
}

/// Who finds no place to wait in is answered with where the task stands.
#[tokio::test]
async fn more_than_can_be_held_is_answered_at_once() {
    let desk = Arc::new(Scripted { gate: Some(Arc::default()), ..Scripted::default() });
    let http = Http::default();
    let message =
        json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}});
    let ask = || request(Method::POST, "/message:send", message.to_string());
    let mut held: Vec<_> = (0..HELD_MAX).map(|_| Box::pin(whole(&http, &desk, ask()))).collect();
    for one in &mut held {
        assert!(is_pending(one));
    }
    let (status, _) = whole(&http, &desk, ask()).await;
    assert_eq!(status, 200);
    let patience = |desk: &Scripted| desk.heard.lock().unwrap().last().unwrap().1;
    assert_eq!(patience(&desk), Patience::None);
    // Whoever hangs up gives the place back.
    drop(held.pop());
    let mut next = Box::pin(whole(&http, &desk, ask()));
    assert!(is_pending(&mut next));
    assert_eq!(patience(&desk), Patience::Settled);
}

/// Whatever comes in, there is an answer, in the protocol's words.
#[tokio::test]
async fn bytes_that_make_no_sense_are_answered_and_nothing_more() {
    let (http, desk) = (Http::default(), Arc::new(Scripted::default()));
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for (body, code) in [
        ("", -32_700),
        ("{", -32_700),
        (&*deep, -32_700),
        ("null", -32_600),
        ("[]", -32_600),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ListTasks\"}]", -32_600),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ListTasks\"}", -32_600),
        ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ListTasks\"}", -32_600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -32_600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\"}", -32_601),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"SendMessage\"}", -32_602),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"GetTask\",\"params\":[1]}", -32_602),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ListTasks\",\"params\":{\"pageSize\":1e99}}",
            -32_602,
        ),
    ] {
        let told: Value = serde_json::from_slice(&posted(&http, &desk, body.into()).await).unwrap();
        assert_eq!(told["error"]["code"], code, "{body}: {told}");
    }
    for (method, path, status) in [
        (Method::GET, "", 405),
        (Method::GET, "/tasks/t-1:cancel", 404),
        (Method::POST, "/tasks/t-1", 404),
        (Method::POST, "/message:send", 400),
        (Method::GET, "/tasks?pageSize=x", 400),
        (Method::GET, "/tasks?status=DONE", 400),
        (Method::GET, "/tasks/%00", 404),
        (Method::GET, "/tasks//x", 404),
        (Method::GET, "/../a2a", 404),
    ] {
        let (told, _) = whole(&http, &desk, request(method.clone(), path, "")).await;
        assert_eq!(told, status, "{method} {path}");
    }
    assert_eq!(*desk.heard.lock().unwrap(), []);
    for bytes in ["", "{}", "[]", "{\"jsonrpc\":\"2.0\",\"id\":1}", &deep] {
        assert!(client::read_sent(bytes.as_bytes()).is_err());
        assert!(client::read_card(bytes.as_bytes()).is_err());
    }
}
