//! Streams: what changes is told, nothing is lost, and they end with their credential.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Api, request};
use crate::support::id_of;

/// One event: its name, id and data.
type Told = (String, String, Value);

struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(api: &Api, token: &str, path: &str, extra: &[&str]) -> Self {
        let mut stream = TcpStream::connect(&api.host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let text = request(&api.host, token, ("GET", path), &Value::Null, extra);
        stream.write_all(text.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "closed");
        }
        Self(reader)
    }

    /// The next event; `None` once the server ended the stream.
    fn next(&mut self) -> Option<Told> {
        let (mut name, mut id, mut data) = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("event", text)) => name = text.to_owned(),
                Some(("id", text)) => id = text.to_owned(),
                Some(("data", text)) => data = text.to_owned(),
                _ if line.is_empty() && !name.is_empty() => {
                    return Some((name, id, serde_json::from_str(&data).unwrap()));
                }
                _ => {}
            }
        }
    }

    /// Everything about a run until one of these kinds was told.
    fn until(&mut self, run: &str, kind: &str) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            let next = self.next().expect("the stream goes on");
            let ends = next.2["run"] == *run
                && next.2["kinds"].as_array().is_some_and(|kinds| kinds.contains(&json!(kind)));
            told.push(next);
            if ends {
                return told;
            }
        }
    }
}

fn submit(api: &Api, token: &str, account: &str) -> String {
    let body =
        json!({"intent": "churn_risk_read", "inputs": {"account": account}, "wait_ms": 20_000});
    id_of(&api.post(token, "/v1/intents", &body).ok())
}

/// C098: every event once, and again from wherever a listener says it was.
#[test]
fn a_listener_hears_ids_and_kinds_and_resumes_without_a_gap() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let mut stream = Stream::open(&api, &ulla, "/v1/events", &[]);
    let (name, mark, _) = stream.next().unwrap();
    assert_eq!(name, "ready");
    let run = submit(&api, &ulla, "ACC-0007");
    let heard = stream.until(&run, "closed");
    let events: u64 =
        heard.iter().map(|(_, _, d)| d["kinds"].as_array().unwrap().len() as u64).sum();
    assert_eq!(events, heard.last().unwrap().2["events"].as_u64().unwrap(), "every event once");
    let text = format!("{heard:?}");
    assert!(!text.contains("ACC-0007"), "values are not told: {text}");
    drop(stream);

    // What was missed while nobody listened is told to whoever comes back, in order.
    let second = submit(&api, &ulla, "ACC-0008");
    let last = heard.last().unwrap().1.clone();
    let mut stream = Stream::open(&api, &ulla, "/v1/events", &[&format!("Last-Event-ID: {last}")]);
    assert_eq!(stream.next().unwrap().0, "ready");
    let missed = stream.until(&second, "closed");
    assert!(missed.iter().all(|(_, _, data)| data["run"] == *second), "{missed:?}");
    assert_eq!(missed[0].2["kinds"][0], "opened");
    let mut all = Stream::open(&api, &ulla, &format!("/v1/events?after={mark}&run={second}"), &[]);
    all.next().unwrap();
    assert_eq!(all.until(&second, "closed").len(), missed.len());
}

#[test]
fn a_mark_of_a_process_that_ended_says_read_again() {
    let mut api = Api::open();
    let ulla = api.token("ulla", &[]);
    let mut stream = Stream::open(&api, &ulla, "/v1/events", &[]);
    let mark = stream.next().unwrap().1;
    assert_eq!(api.serving.take().unwrap().end("TERM"), Some(0), "an open stream holds nobody up");
    assert!(stream.next().is_none());
    let (serving, host) = crate::support::Serving::listening(&api.office);
    (api.serving, api.host) = (Some(serving), host);
    let mut stream = Stream::open(&api, &ulla, "/v1/events", &[&format!("Last-Event-ID: {mark}")]);
    assert_eq!(stream.next().unwrap().0, "reset");
    let run = submit(&api, &ulla, "ACC-0007");
    stream.until(&run, "closed");
}

#[test]
fn one_principal_holds_so_many_streams_and_others_are_not_kept_out() {
    let api = Api::with("[serve]\nstreams_per_principal = 2\n");
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    let other = api.token("ulla", &[]);
    let mut first = Stream::open(&api, &ulla, "/v1/events", &[]);
    let second = Stream::open(&api, &other, "/v1/events", &[]);
    let refused = api.get(&ulla, "/v1/events");
    assert_eq!(refused.refused(429), "too-many-streams");
    assert!(refused.header("retry-after").is_some());
    Stream::open(&api, &mira, "/v1/events", &[]);
    first.next().unwrap();
    drop(second);
    // The place of a line that was let go is free again as soon as that is noticed.
    while api.get_status(&ulla, "/v1/events") == 429 {
        std::thread::yield_now();
    }
}

/// A mark that no process gave is one that was missed, however large it is.
#[test]
fn a_forged_mark_says_read_again() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let mark = Stream::open(&api, &ulla, "/v1/events", &[]).next().unwrap().1;
    let epoch = mark.split('-').next().unwrap();
    for position in ["18446744073709551615", "18446744073709551614", "99999"] {
        let forged = format!("Last-Event-ID: {epoch}-{position}");
        let mut stream = Stream::open(&api, &ulla, "/v1/events", &[&forged]);
        let told = [stream.next().unwrap().0, stream.next().unwrap().0];
        assert!(told.contains(&"reset".to_owned()), "{position}: {told:?}");
    }
}

#[test]
fn a_stream_ends_with_its_token() {
    let api = Api::open();
    let (ulla, ada) = (api.token("ulla", &[]), api.token("ada", &[]));
    let ci = json!({"name": "ci", "sort": "service", "principal": "ci", "roles": ["viewer"]});
    let made = api.post(&ada, "/v1/tokens", &ci).ok();
    let mut stream = Stream::open(&api, made["token"].as_str().unwrap(), "/v1/events", &[]);
    stream.next().unwrap();
    let path = format!("/v1/tokens/{}", made["kept"]["id"].as_str().unwrap());
    api.ask(&ada, ("DELETE", &path), &Value::Null, &[]).ok();
    let ended = std::iter::from_fn(|| stream.next()).count();
    assert_eq!(ended, 0, "nothing was told after it was revoked");
    api.get(&ulla, "/v1/runs").ok();
}
