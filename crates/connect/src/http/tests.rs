use std::{net::TcpListener as StdListener, sync::Arc, time::Duration};

use kernel::{
    exception::{Class, Landed},
    id::Digest,
    operation::{Contract, Freshness, Match, Retry, TIMEOUT_MAX_MS},
    port::Failure,
};
use serde_json::{Value, json};

use crate::{
    CONCURRENT_PER_SYSTEM_MAX, System,
    blob::PREVIEW_BYTES,
    testing::{Blobs, CANARY, NOW, Reply, Server, Trial},
};

fn get() -> Value {
    json!({"kind": "http", "system": "sys", "method": "GET", "path": "/things"})
}

fn post() -> Value {
    json!({"kind": "http", "system": "sys", "method": "POST", "path": "/things", "body": "",
           "idempotency": {"header": "Idempotency-Key"}})
}

fn merged(mut base: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

async fn fail_with(trial: Trial) -> Failure {
    trial.run().await.unwrap_err()
}

#[tokio::test]
async fn every_status_has_a_class_and_says_whether_it_landed() {
    use Class::*;
    for (status, class, write_landed) in [
        (301, UnexpectedShape, Landed::Unknown),
        (302, UnexpectedShape, Landed::Unknown),
        (304, UnexpectedShape, Landed::Unknown),
        (400, InvalidArguments, Landed::No),
        (401, Permission, Landed::No),
        (403, Permission, Landed::No),
        (404, InvalidArguments, Landed::No),
        (405, InvalidArguments, Landed::No),
        (408, Timeout, Landed::Unknown),
        (409, InvalidArguments, Landed::No),
        (410, InvalidArguments, Landed::No),
        (412, Stale, Landed::No),
        (413, InvalidArguments, Landed::No),
        (422, InvalidArguments, Landed::No),
        (429, RateLimit, Landed::No),
        (500, Unavailable, Landed::Unknown),
        (502, Unavailable, Landed::Unknown),
        (503, Unavailable, Landed::Unknown),
        (504, Unavailable, Landed::Unknown),
    ] {
        let server =
            Server::start(move |_| Reply::status(status, "Location: /elsewhere\r\n", "no")).await;
        let failure = fail_with(Trial::read(server.system(), get())).await;
        assert_eq!((failure.class, failure.landed), (class, Landed::No), "read {status}");
        let failure = fail_with(Trial::write(server.system(), post())).await;
        assert_eq!((failure.class, failure.landed), (class, write_landed), "write {status}");
        assert_eq!(server.seen().len(), 2, "{status}: nothing is followed or repeated");
    }
}

#[tokio::test]
async fn an_operation_maps_statuses_itself() {
    let server = Server::start(|_| Reply::status(409, "", "already")).await;
    let errors = json!({"errors": [{"status": 409, "class": "duplicate", "landed": "yes"}]});
    let failure = fail_with(Trial::write(server.system(), merged(post(), errors))).await;
    assert_eq!((failure.class, failure.landed), (Class::Duplicate, Landed::Yes));
    let gone = Server::start(|_| Reply::status(404, "", "nothing")).await;
    let absent = merged(get(), json!({"absent_ok": true}));
    assert_eq!(Trial::read(gone.system(), absent).output().await, Value::Null);
}

#[tokio::test]
async fn retry_after_in_seconds_and_as_a_date() {
    for (header, expected) in [
        ("Retry-After: 7\r\n", Some(7_000)),
        ("Retry-After: Fri, 20 Nov 2026 09:00:30 GMT\r\n", Some(30_000)),
        ("Retry-After: Fri, 20 Nov 2020 09:00:30 GMT\r\n", Some(0)),
        ("Retry-After: 99999999999999\r\n", Some(86_400_000)),
        ("Retry-After: soon\r\n", None),
        ("", None),
    ] {
        let server = Server::start(move |_| Reply::status(429, header, "")).await;
        let failure = fail_with(Trial::read(server.system(), get())).await;
        assert_eq!(failure.retry_after_ms, expected, "{header} at {NOW}");
    }
}

#[tokio::test]
async fn the_request_is_what_the_binding_says() {
    let server =
        Server::start(|_| Reply::status(200, "ETag: \"4\"\r\n", r#"{"data":{"id":9,"n":1.5}}"#))
            .await;
    let binding = json!({
        "kind": "http", "system": "sys", "method": "PATCH", "path": "/accounts/{account}/forecast",
        "auth": {"bearer": "token"}, "query": {"limit": "/limit", "none": "/none", "tag": "/tags"},
        "headers": {"If-Match": "/if_match", "X-None": "/none"},
        "body": {"category": "/category", "gone": "/gone", "null": "/nothing",
                 "deep": {"n": "/limit", "fixed": {"$literal": "x"}, "flag": true}},
        "idempotency": {"body": "/meta/client_ref"}, "result": "/data", "capture": {"etag": "header:ETag"},
        "external_ref": "/id",
    });
    let args = json!({"account": "ACC 1", "limit": 5, "none": null, "tags": ["a&b", "c"], "if_match": "\"3\"",
                      "category": "risk", "nothing": null});
    let trial = Trial::write(server.system(), binding).args(args);
    let returned = trial.run().await.unwrap();
    assert_eq!(*returned.output, json!({"id": 9, "n": 1.5, "etag": "\"4\""}));
    assert_eq!(returned.external_ref.as_deref(), Some("9"));
    assert_eq!(returned.received, Digest::of(br#"{"data":{"id":9,"n":1.5}}"#));
    assert_eq!(returned.labels, trial.operation.labels);
    let request = server.seen().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let first = "PATCH /base/accounts/ACC%201/forecast?limit=5&tag=a%26b&tag=c HTTP/1.1\r\n";
    assert!(head.starts_with(first), "{head}");
    let lower = head.to_lowercase();
    assert!(lower.contains(&format!("authorization: bearer {CANARY}")), "{head}");
    assert!(lower.contains("if-match: \"3\"") && !lower.contains("x-none"), "{head}");
    let key = trial.call().key;
    let body: Value = serde_json::from_str(body).unwrap();
    let expected = json!({"category": "risk", "null": null, "deep": {"n": 5, "fixed": "x", "flag": true},
                          "meta": {"client_ref": key.as_str()}});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn the_effect_key_and_other_logins_travel_in_headers() {
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    let trial = Trial::write(
        server.system(),
        merged(post(), json!({"auth": {"basic": {"user": "u", "secret": "token"}}})),
    );
    trial.run().await.unwrap();
    let other = json!({"auth": {"header": {"name": "X-Api-Key", "secret": "token"}}});
    Trial::write(server.system(), merged(post(), other)).run().await.unwrap();
    let seen = server.seen();
    assert!(seen[0].contains(&format!("idempotency-key: {}", trial.call().key)), "{}", seen[0]);
    assert!(seen[0].contains("authorization: Basic dTp0b2stYzRuYXJ5LTc3MzE="), "{}", seen[0]);
    assert!(seen[1].contains(&format!("x-api-key: {CANARY}")), "{}", seen[1]);
}

#[tokio::test]
async fn a_path_argument_never_escapes_its_segment() {
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    let binding = json!({"kind": "http", "system": "sys", "method": "GET", "path": "/a/{id}/b"});
    for (id, path) in [
        ("x?admin=1", "/base/a/x%3Fadmin%3D1/b"),
        ("x#frag", "/base/a/x%23frag/b"),
        ("x/y", "/base/a/x%2Fy/b"),
        ("x&y=z;w", "/base/a/x%26y%3Dz%3Bw/b"),
        ("%41", "/base/a/%2541/b"),
        ("青空", "/base/a/%E9%9D%92%E7%A9%BA/b"),
        ("a..b", "/base/a/a..b/b"),
        ("...", "/base/a/.../b"),
        (" ", "/base/a/%20/b"),
        ("@evil.example", "/base/a/%40evil.example/b"),
    ] {
        let before = server.seen().len();
        Trial::read(server.system(), binding.clone()).args(json!({"id": id})).run().await.unwrap();
        let request = server.seen().remove(before);
        assert!(request.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{id}: {request}");
    }
    let before = server.connections();
    for id in [
        json!(".."),
        json!("."),
        json!("../x"),
        json!("x/../y"),
        json!("..\\x"),
        json!("%2e%2e"),
        json!("%2E."),
        json!("a%2f..%2fb"),
        json!("x\ny"),
        json!("x\r\nHost: evil"),
        json!("x\0"),
        json!(""),
        json!(null),
        json!(["a"]),
        json!({"a": 1}),
    ] {
        let failure =
            fail_with(Trial::read(server.system(), binding.clone()).args(json!({"id": id}))).await;
        assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::No), "{id}");
    }
    let failure = fail_with(
        Trial::read(server.system(), merged(get(), json!({"headers": {"X-A": "/a"}})))
            .args(json!({"a": "x\r\nHost: evil"})),
    )
    .await;
    assert_eq!(failure.class, Class::InvalidArguments);
    assert_eq!(server.connections(), before, "nothing of these was sent");
}

#[tokio::test]
async fn a_call_ends_with_its_deadline_however_it_hangs() {
    for slow in
        ["HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{", "HTTP/1.1 200 OK\r\nX-Slow: ", ""]
    {
        let reply = move |_: &str| {
            if slow.is_empty() { Reply::Hang } else { Reply::Drip(slow) }
        };
        let server = Server::start(reply).await;
        let short = |trial: &mut Trial| trial.operation.timeout_ms = 200;
        let failure = fail_with(Trial::read(server.system(), get()).with(short)).await;
        assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No), "{slow}");
        let failure = fail_with(Trial::write(server.system(), post()).with(short)).await;
        assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::Unknown), "{slow}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_unknown_only_after_sending() {
    let server = Server::start(|_| Reply::Reset).await;
    let failure = fail_with(Trial::write(server.system(), post())).await;
    assert_eq!(
        (failure.class, failure.landed),
        (Class::Unavailable, Landed::Unknown),
        "{}",
        failure.message
    );
    assert_eq!(server.seen().len(), 1, "not repeated");
    let failure = fail_with(Trial::read(server.system(), get())).await;
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::No));
    let half = Server::start(|_| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"a\"".to_vec())
    })
    .await;
    let failure = fail_with(Trial::write(half.system(), post())).await;
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::Unknown));
    // A port that was free a moment ago refuses.
    let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let failure = fail_with(Trial::write(
        System::Http { url, rate: None, redact: crate::redact::Personal::default() },
        post(),
    ))
    .await;
    assert_eq!(
        (failure.class, failure.landed),
        (Class::Unavailable, Landed::No),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_leaves_the_effect_in_place() {
    let deep = "[".repeat(200);
    for (body, class) in [
        ("<html>", Class::UnexpectedShape),
        ("{\"n\":9007199254740993}", Class::UnexpectedShape),
        ("{\"n\":\u{1}}", Class::UnexpectedShape),
        (deep.as_str(), Class::UnexpectedShape),
        ("[]", Class::UnexpectedShape),
        ("{}", Class::MissingField),
    ] {
        let text = body.to_owned();
        let server = Server::start(move |_| Reply::status(200, "", &text)).await;
        let schema = |trial: &mut Trial| {
            trial.operation.output = Arc::new(json!({"type": "object", "required": ["id"]}));
        };
        let failure = fail_with(Trial::write(server.system(), post()).with(schema)).await;
        assert_eq!((failure.class, failure.landed), (class, Landed::Yes), "{body}");
        let failure = fail_with(Trial::read(server.system(), get()).with(schema)).await;
        assert_eq!((failure.class, failure.landed), (class, Landed::No), "{body}");
    }
    let empty = Server::start(|_| Reply::status(204, "", "")).await;
    assert_eq!(Trial::write(empty.system(), post()).output().await, Value::Null);
    let server = Server::start(|_| Reply::json(&json!({"a": 1}))).await;
    let failure =
        fail_with(Trial::read(server.system(), merged(get(), json!({"result": "/data"})))).await;
    assert_eq!(failure.class, Class::MissingField);
}

#[tokio::test]
async fn a_huge_answer_goes_to_the_sink_redacted() {
    let body =
        format!("{{\"a\":\"{}{CANARY}{}\"}}", "x".repeat(PREVIEW_BYTES), "y".repeat(PREVIEW_BYTES));
    let text = body.clone();
    let server = Server::start(move |_| Reply::status(200, "", &text)).await;
    let blobs = Arc::new(Blobs::default());
    let sink = |trial: &mut Trial| trial.blobs = Some(Arc::clone(&blobs));
    let returned =
        Trial::write(server.system(), merged(post(), json!({"auth": {"bearer": "token"}})))
            .with(sink)
            .run()
            .await
            .unwrap();
    let stored = String::from_utf8(blobs.0.lock().unwrap().clone()).unwrap();
    assert_eq!(stored, body.replace(CANARY, "[secret:token]"));
    assert_eq!(returned.output["$blob"], json!(Digest::of(stored.as_bytes()).to_string()));
    assert_eq!(returned.output["bytes"], json!(body.len()));
    assert_eq!(returned.output["preview"].as_str().unwrap(), &body[..4096]);
    assert_eq!(returned.received, Digest::of(body.as_bytes()));

    let failure = fail_with(Trial::write(server.system(), post())).await;
    assert_eq!((failure.class, failure.landed), (Class::UnexpectedShape, Landed::Yes), "no sink");
    assert!(failure.message.contains("262144"), "{}", failure.message);
    let masked = Trial::read(server.system(), get()).with(sink).with(|trial| {
        trial.masks.insert("/a".to_owned());
    });
    assert_eq!(
        fail_with(masked).await.class,
        Class::UnexpectedShape,
        "what cannot be masked does not come back"
    );
    let stored_after = blobs.0.lock().unwrap().len();
    assert_eq!(stored_after, stored.len(), "nor is it stored");
}

/// The target has answered in time: how long our own disk takes says nothing about its effect.
#[tokio::test]
async fn a_slow_sink_does_not_put_an_effect_in_doubt() {
    let body = format!("\"{}\"", "x".repeat(PREVIEW_BYTES));
    let server = Server::start(move |_| Reply::status(200, "", &body)).await;
    let deadline = Duration::from_secs(3);
    let returned = Trial::write(server.system(), post())
        .with(|trial| {
            trial.operation.timeout_ms = 3_000;
            trial.blobs = Some(Arc::new(Blobs(Arc::default(), deadline + deadline / 10)));
        })
        .run()
        .await
        .unwrap();
    assert_eq!(returned.output["bytes"], json!(PREVIEW_BYTES + 2));
}

/// C150: a system that says the secret back says it to nobody.
#[tokio::test]
async fn a_secret_comes_back_nowhere() {
    let echo = |request: &str| {
        let basic = request
            .lines()
            .find(|line| line.starts_with("authorization"))
            .unwrap_or_default()
            .to_owned();
        let hexed = kernel::id::hex(CANARY.as_bytes());
        let body =
            json!({"echo": basic, CANARY: hexed, "list": [format!("key={CANARY}&")]}).to_string();
        let headers = format!("X-Echo: {CANARY}\r\n");
        if request.starts_with("POST") {
            Reply::status(500, &headers, &body)
        } else {
            Reply::status(200, &headers, &body)
        }
    };
    let server = Server::start(echo).await;
    for auth in
        [json!({"bearer": "token"}), json!({"basic": {"user": "someone", "secret": "token"}})]
    {
        let more =
            json!({"auth": auth, "capture": {"seen": "header:X-Echo"}, "external_ref": "/seen"});
        let returned =
            Trial::read(server.system(), merged(get(), more.clone())).run().await.unwrap();
        let text = format!("{returned:?}");
        let hexed = kernel::id::hex(CANARY.as_bytes());
        // The middle of its Base64, whatever stands around it.
        for spelling in [CANARY, &hexed, "dG9rLWM0bmFyeS03Nz"] {
            assert!(!text.contains(spelling), "{text}");
        }
        assert!(text.contains("[secret:token]"));
        let failure =
            fail_with(Trial::write(server.system(), merged(post(), json!({"auth": auth})))).await;
        assert!(
            !failure.message.contains(CANARY) && failure.message.contains("[secret:token]"),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn failure_messages_repeat_little_and_nothing_that_is_masked() {
    let server = Server::start(|_| Reply::status(400, "", &"v".repeat(10_000))).await;
    let failure = fail_with(Trial::read(server.system(), get())).await;
    assert_eq!(failure.message.matches('v').count(), 200);
    let masked = Trial::read(server.system(), get()).with(|trial| {
        trial.masks.insert("/email".to_owned());
    });
    assert!(!fail_with(masked).await.message.contains("vv"));
}

#[tokio::test]
async fn masks_replace_what_they_name_after_the_checks() {
    let items = json!({"id": "i1", "items": [{"email": "a@x"}, {"email": "b@x", "n": 1}]});
    let server = Server::start(move |_| Reply::json(&items)).await;
    let trial =
        Trial::read(server.system(), merged(get(), json!({"external_ref": "/id"}))).with(|trial| {
            trial.masks.extend(["/items/*/email".to_owned(), "/id".to_owned()]);
            trial.operation.output = Arc::new(json!({"type": "object", "required": ["id"]}));
        });
    let returned = trial.run().await.unwrap();
    let expected =
        json!({"id": "[masked]", "items": [{"email": "[masked]"}, {"email": "[masked]", "n": 1}]});
    assert_eq!(*returned.output, expected);
    assert_eq!(returned.external_ref, None, "a masked field does not come back by another name");
}

#[tokio::test]
async fn nothing_is_sent_after_the_dispatch_window() {
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    for trial in [Trial::read(server.system(), get()), Trial::write(server.system(), post())] {
        let failure = fail_with(trial.with(|trial| trial.punctual = 0)).await;
        assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No));
    }
    assert_eq!(server.connections(), 0);
    // The window closes while the connection is being made.
    let failure =
        fail_with(Trial::write(server.system(), post()).with(|trial| trial.punctual = 1)).await;
    assert_eq!(
        (failure.class, failure.landed),
        (Class::Timeout, Landed::No),
        "{}",
        failure.message
    );
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn the_contract_is_checked() {
    let answer = json!({"as_of": "2026-11-20T08:00:00Z", "unix": 1_795_161_600, "name": "Müller & Søn GmbH",
                        "rows": [1, 2], "one": [1], "odd": "soon"});
    let server = Server::start(move |_| Reply::json(&answer)).await;
    let fresh = |at: &str, max_age_ms| Contract {
        freshness: Some(Freshness { at: at.to_owned(), max_age_ms }),
        ..Contract::default()
    };
    let unique = |at: &str| Contract { unique: Some(at.to_owned()), ..Contract::default() };
    let matches = |output: &str| Contract {
        matches: Some(Match {
            output: output.to_owned(),
            expected: "/name".to_owned(),
            threshold: 90,
        }),
        ..Contract::default()
    };
    for (contract, name, expected) in [
        (fresh("/as_of", 3_600_000), "x", None),
        (fresh("/as_of", 3_599_999), "x", Some(Class::Stale)),
        (fresh("/unix", 3_600_000), "x", None),
        (fresh("/unix", 3_599_999), "x", Some(Class::Stale)),
        (fresh("/none", 1), "x", Some(Class::MissingField)),
        (fresh("/odd", 1), "x", Some(Class::UnexpectedShape)),
        (unique("/one"), "x", None),
        (unique("/rows"), "x", Some(Class::Duplicate)),
        (unique("/odd"), "x", Some(Class::UnexpectedShape)),
        (unique("/none"), "x", Some(Class::MissingField)),
        (matches("/name"), "Mueller and Soen", None),
        (matches("/name"), "Northwind", Some(Class::Mismatch)),
        (matches("/none"), "Northwind", Some(Class::MissingField)),
        (matches("/name"), "", Some(Class::InvalidArguments)),
    ] {
        let shown = format!("{contract:?} {name}");
        let trial = Trial::read(server.system(), get()).args(json!({"name": name}));
        let outcome = trial.with(|trial| trial.operation.contract = contract).run().await;
        assert_eq!(outcome.err().map(|failure| failure.class), expected, "{shown}");
    }
}

#[tokio::test]
async fn bindings_are_checked_at_load() {
    let system = System::Http {
        url: "https://crm.example/api".to_owned(),
        rate: None,
        redact: crate::redact::Personal::default(),
    };
    for (more, expected) in [
        (json!({"methd": "GET"}), "did you mean `method`?"),
        (json!({"method": "FETCH"}), "no method `FETCH`"),
        (json!({"kind": "htpp"}), "did you mean `http`?"),
        (json!({"system": "syss"}), "did you mean `sys`?"),
        (json!({"path": "things"}), "must begin with `/`"),
        (json!({"path": "/a/../b"}), "`..`"),
        (json!({"path": "/a/{id"}), "not closed"),
        (json!({"path": "/a?b"}), "must begin"),
        (json!({"query": {"a": "limit"}}), "not a JSON pointer"),
        (json!({"query": {"a": "/~2"}}), "not a JSON pointer"),
        (json!({"headers": {"Host": "/a"}}), "not a binding's to set"),
        (json!({"headers": {"a b": "/a"}}), "no header name"),
        (json!({"auth": {"bearer": "tokn"}}), "did you mean `token`?"),
        (json!({"auth": {"bearr": "token"}}), "did you mean `bearer`?"),
        (json!({"auth": {}}), "one of"),
        (json!({"idempotency": {"headr": "X"}}), "did you mean `header`?"),
        (json!({"capture": {"e": "ETag"}}), "header:NAME"),
        (json!({"errors": [{"status": 412, "class": "stael"}]}), "did you mean `stale`?"),
        (json!({"errors": [{"status": 200, "class": "stale"}]}), "300 to 599"),
        (json!({"method": "POST", "body": {"a": "text"}}), "$literal"),
        (json!({"body": ""}), "a GET has none"),
    ] {
        let trial = Trial::read(system.clone(), merged(get(), more.clone()));
        let error = trial.connectors().check(&trial.operation).unwrap_err().to_string();
        assert!(error.contains(expected), "{more}: {error}");
    }
    let keyed = Trial::write(
        system.clone(),
        json!({"kind": "http", "system": "sys", "method": "POST", "path": "/x"}),
    )
    .with(|trial| trial.operation.facts.retry = Retry::Keyed);
    assert!(
        keyed
            .connectors()
            .check(&keyed.operation)
            .unwrap_err()
            .to_string()
            .contains("no key is sent")
    );
    let absent = Trial::write(system, merged(post(), json!({"absent_ok": true})));
    assert!(absent.connectors().check(&absent.operation).is_err());
    let wrong = Trial::read(
        System::Sqlite {
            path: "/x".into(),
            rate: None,
            redact: crate::redact::Personal::default(),
        },
        get(),
    );
    assert!(
        wrong
            .connectors()
            .check(&wrong.operation)
            .unwrap_err()
            .to_string()
            .contains("is of kind sqlite")
    );
}

#[test]
fn urls_of_systems_hold_no_credentials() {
    for url in ["ftp://x", "http://u:p@x", "http://x?k=v", "x"] {
        let error = super::Clients::new("crm", url).err().unwrap().to_string();
        assert!(error.contains("system `crm`") && !error.contains(":p@"), "{error}");
    }
}

#[tokio::test]
async fn builtins_need_no_system() {
    let system = System::Http {
        url: "http://unused.invalid".to_owned(),
        rate: None,
        redact: crate::redact::Personal::default(),
    };
    let now = Trial::read(system.clone(), json!({"kind": "builtin", "name": "time.now"}));
    assert_eq!(now.output().await, json!({"now": "2026-11-20T09:00:00Z", "unix_ms": NOW}));
    let sum = json!({"kind": "builtin", "name": "calculator.evaluate"});
    let trial =
        Trial::read(system.clone(), sum.clone()).args(json!({"expression": "12.50 * 3 - 0.1"}));
    assert_eq!(trial.output().await, json!({"result": "37.4"}));
    let failure =
        fail_with(Trial::read(system.clone(), sum).args(json!({"expression": "1/0"}))).await;
    assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::No));
    let unknown = Trial::read(system, json!({"kind": "builtin", "name": "time.noww"}));
    let error = unknown.connectors().check(&unknown.operation).unwrap_err().to_string();
    assert!(error.contains("did you mean `time.now`?"), "{error}");
}

/// A list is written whole; a word to people needs a role with somebody in it, and says that it is a write.
#[tokio::test]
async fn a_list_is_kept_and_people_are_told_without_a_system() {
    let system = System::Http {
        url: "http://unused.invalid".to_owned(),
        rate: None,
        redact: crate::redact::Personal::default(),
    };
    let todo = json!({"kind": "builtin", "name": "todo.write"});
    let trial = Trial::read(system.clone(), todo.clone());
    assert!(crate::writes_todo(&trial.operation));
    let output = trial.args(json!({"items": [{"text": "look"}]})).output().await;
    assert_eq!(output["items"], json!([{"id": "1", "text": "look", "state": "open"}]));
    let wrong = Trial::read(system.clone(), todo).args(json!({"items": [{"text": ""}]}));
    assert_eq!(fail_with(wrong).await.class, Class::InvalidArguments);
    let notify = json!({"kind": "builtin", "name": "people.notify"});
    let tell = |to: &str, title: &str| {
        let args = json!({"to": to, "title": title, "text": "See the run."});
        let told = Trial::write(system.clone(), notify.clone()).args(args);
        told.with(|trial| trial.operation.facts.egress = true)
    };
    let output = tell("finance", "The refund is there").output().await;
    assert_eq!(output["to"], "finance");
    assert!(output["told"][0].as_str().unwrap().starts_with("mail finance of "), "{output}");
    for (to, title) in [("nobody", "x"), ("", "x"), ("finance", " ")] {
        let failure = fail_with(tell(to, title)).await;
        assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::No));
    }
    for quiet in [Trial::read(system.clone(), notify.clone()), Trial::write(system, notify)] {
        let error = quiet.connectors().check(&quiet.operation).unwrap_err().to_string();
        assert!(error.contains("`egress: true`"), "{error}");
    }
}

#[tokio::test]
async fn one_system_serves_a_limited_number_of_calls_at_a_time() {
    let server = Server::start(|_| Reply::Hang).await;
    let patient =
        Trial::write(server.system(), post()).with(|trial| trial.operation.timeout_ms = 600_000);
    let connectors = Arc::new(patient.connectors());
    let calls: Vec<_> = (0..CONCURRENT_PER_SYSTEM_MAX)
        .map(|_| {
            let (connectors, call) = (Arc::clone(&connectors), patient.call());
            tokio::spawn(async move { connectors.run(call).await })
        })
        .collect();
    while server.seen().len() < CONCURRENT_PER_SYSTEM_MAX {
        tokio::task::yield_now().await;
    }
    let hasty = patient.with(|trial| trial.operation.timeout_ms = 100);
    let failure = connectors.run(hasty.call()).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.landed),
        (Class::Timeout, Landed::No),
        "waited for its turn, sent nothing"
    );
    assert_eq!(server.connections(), CONCURRENT_PER_SYSTEM_MAX);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Most memory this process ever held, in bytes.
fn memory_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// Two gigabytes, said beforehand or not: a clear failure, and memory stays within the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_is_cut_off_and_memory_stays_bounded() {
    let heads = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ];
    for (head, bound) in heads.into_iter().zip([32 << 20, 4 * crate::blob::BLOB_MAX_BYTES]) {
        for with_sink in [false, true] {
            let server = Server::start(move |_| Reply::Flood(head)).await;
            let blobs = with_sink.then(|| Arc::new(Blobs::default()));
            let before = memory_peak();
            let trial = Trial::read(server.system(), get());
            // Its size is what ends it: every byte up to there is looked at, however slow the machine is.
            let patient = |trial: &mut Trial| trial.operation.timeout_ms = TIMEOUT_MAX_MS;
            let trial = trial.with(|trial| trial.blobs = blobs).with(patient);
            let failure = fail_with(trial).await;
            assert_eq!(failure.class, Class::UnexpectedShape, "{head}");
            assert!(failure.message.contains("larger than"), "{}", failure.message);
            let grown = memory_peak() - before;
            assert!(grown <= bound, "{grown} bytes more for {head:?}");
            let server = Server::start(move |_| Reply::Flood(head)).await;
            let failure = fail_with(Trial::write(server.system(), post()).with(patient)).await;
            assert_eq!(failure.landed, Landed::Yes, "it happened, its answer is unusable");
        }
    }
}
