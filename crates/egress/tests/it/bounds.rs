//! That everything ends: bytes, times, heads and numbers.

use std::{sync::Arc, time::Instant};

use egress::Limits;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::ground::{Ground, PATIENCE, Seen, Server, Told, hasty, read_request, respond, start};

fn with(server: &Server, change: Value, limits: Limits) -> Ground {
    let mut rule = server.rule();
    rule.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    start(json!([rule]), |setup| setup.limits = limits)
}

/// Never stops sending.
async fn endless() -> Server {
    Server::run(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let piece = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        while stream.write_all(piece.as_bytes()).await.is_ok() {}
    })
    .await
}

/// Takes a request and says nothing.
async fn silent() -> Server {
    Server::run(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test]
async fn an_endless_answer_is_cut_where_the_rule_says() {
    let server = endless().await;
    let ground = with(&server, json!({"response_bytes_max": 100_000}), Limits::default());
    let text = ground.raw(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url("/"))).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.len() < 110_000, "{}", text.len());
    assert!(!text.ends_with("0\r\n\r\n"), "it is not taken for whole");
    let events = ground.seen.wait(1).await;
    assert_eq!(Seen::codes(&events), ["egress-bytes"]);
    assert_eq!(events[0].status, Some(200));
}

#[tokio::test]
async fn an_answer_that_announces_too_much_is_refused_at_once() {
    let server = Server::says("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\nx").await;
    let ground = with(&server, json!({"response_bytes_max": 1000}), Limits::default());
    let told = ground.get(&server.url("/")).await;
    assert_eq!((told.status, told.code().as_str()), (403, "egress-bytes"), "{told:?}");
}

#[tokio::test]
async fn an_answer_of_just_the_size_passes() {
    let server = Server::says(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1000))).await;
    let ground = with(&server, json!({"response_bytes_max": 1000}), Limits::default());
    let told = ground.get(&server.url("/")).await;
    assert!(told.status == 200 && told.body.contains(&"x".repeat(1000)), "{told:?}");
    assert_eq!(ground.seen.wait(1).await[0].bytes_in, 1000);
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_announced_or_not() {
    let server = Server::echo().await;
    let ground = with(&server, json!({"request_bytes_max": 1000}), Limits::default());
    let url = server.url("/");
    let head = format!("POST {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let told = Told::read(&ground.raw(format!("{head}Content-Length: 1001\r\n\r\n")).await);
    assert_eq!((told.status, told.code().as_str()), (403, "egress-bytes"), "{told:?}");
    assert_eq!(server.taken(), 0);
    let chunks = format!("3e8\r\n{}\r\n1\r\nx\r\n0\r\n\r\n", "x".repeat(1000));
    let told =
        Told::read(&ground.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}")).await);
    assert_eq!((told.status, told.code().as_str()), (403, "egress-bytes"), "{told:?}");
    let told = Told::read(
        &ground.raw(format!("{head}Content-Length: 1000\r\n\r\n{}", "x".repeat(1000))).await,
    );
    assert_eq!(told.status, 200);
    assert_eq!(Seen::codes(&ground.seen.wait(3).await), ["egress-bytes", "egress-bytes", ""]);
}

#[tokio::test]
async fn bytes_and_requests_are_bounded_over_the_whole_life() {
    let server =
        Server::says(format!("HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{}", "x".repeat(600)))
            .await;
    let ground = with(&server, json!({}), Limits { bytes_in_max: 1000, ..Limits::default() });
    assert_eq!(ground.get(&server.url("/")).await.body.len(), 600);
    assert!(ground.get(&server.url("/")).await.body.len() < 600);
    assert_eq!(Seen::codes(&ground.seen.wait(2).await), ["", "egress-bytes"]);
    let server = Server::echo().await;
    let ground =
        with(&server, json!({}), Limits { bytes_out_max: 6, requests_max: 3, ..Limits::default() });
    let mut codes = Vec::new();
    for _ in 0..4 {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nabcd",
            server.url("/")
        );
        codes.push(Told::read(&ground.raw(head).await).code());
    }
    assert_eq!(codes, ["", "egress-bytes", "egress-bytes", "egress-requests"]);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::echo().await;
    let limits = Limits { head_bytes_max: 8192, headers_max: 20, ..Limits::default() };
    let ground = with(&server, json!({}), limits);
    let url = server.url("/");
    let many: String = (0..30).map(|number| format!("X-{number}: y\r\n")).collect();
    for (head, status) in [
        (format!("GET {url} HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(10_000)), 431),
        (format!("GET {url} HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
        (format!("GET {url}{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(100_000)), 414),
    ] {
        let told = Told::read(&ground.raw(&head).await);
        assert!(told.status == status || told.status == 431, "{told:?}");
    }
    assert_eq!(server.taken(), 0);
    assert_eq!(Seen::codes(&ground.seen.wait(3).await), ["egress-headers"; 3]);
}

#[tokio::test]
async fn a_head_of_an_answer_that_is_too_large_is_not_passed_on() {
    for headers in [format!("X: {}\r\n", "y".repeat(10_000)), "X: y\r\n".repeat(30)] {
        let server =
            Server::says(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")).await;
        let limits = Limits { head_bytes_max: 8192, headers_max: 20, ..Limits::default() };
        let told = with(&server, json!({}), limits).get(&server.url("/")).await;
        assert_eq!((told.status, told.code().as_str()), (502, "egress-upstream"), "{told:?}");
    }
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_its_connection() {
    let server = Server::echo().await;
    let ground = with(&server, json!({}), hasty());
    let mut stream = ground.connect().await;
    stream.write_all(b"GET http://").await.unwrap();
    let mut out = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut out)).await.expect("it is closed");
    assert!(!String::from_utf8_lossy(&out).starts_with("HTTP/1.1 2"));
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-timeout"]);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_sent_is_closed_and_no_event() {
    let server = Server::echo().await;
    let ground = with(&server, json!({}), hasty());
    let mut stream = ground.connect().await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is closed");
    ground.get(&server.url("/")).await;
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), [""]);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let server = Server::echo().await;
    let ground = with(&server, json!({}), hasty());
    let head =
        format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nslow", server.url("/"));
    let told = Told::read(&ground.raw(head).await);
    assert_eq!((told.status, told.code().as_str()), (504, "egress-timeout"), "{told:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let server = silent().await;
    let ground = with(&server, json!({}), hasty());
    let told = ground.get(&server.url("/")).await;
    assert_eq!((told.status, told.code().as_str()), (504, "egress-timeout"), "{told:?}");
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-timeout"]);
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_is_given_up() {
    let server = Server::run(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        std::future::pending::<()>().await;
    })
    .await;
    let ground = with(&server, json!({}), hasty());
    let text = ground.raw(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url("/"))).await;
    assert!(text.ends_with("half"), "{text}");
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-timeout"]);
}

#[tokio::test]
async fn a_request_has_an_end_even_while_something_moves() {
    // A byte now and then, so that it is never quiet.
    let server = Server::run(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let mut turns = tokio::time::interval(std::time::Duration::from_millis(20));
        while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
            turns.tick().await;
        }
    })
    .await;
    let ground = with(&server, json!({}), Limits { total_ms: 300, ..Limits::default() });
    let began = Instant::now();
    let text = ground.raw(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url("/"))).await;
    assert!(text.starts_with("HTTP/1.1 200") && !text.ends_with("0\r\n\r\n"), "{text}");
    assert!(began.elapsed().as_millis() >= 300);
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-timeout"]);
}

#[tokio::test]
async fn a_program_that_does_not_read_its_answer_is_cut_off() {
    let server = endless().await;
    let change = json!({"response_bytes_max": 1_000_000_000_u64});
    let ground = with(&server, change, Limits { total_ms: 300, ..Limits::default() });
    let mut stream = ground.connect().await;
    stream
        .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url("/")).as_bytes())
        .await
        .unwrap();
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-timeout"]);
}

#[tokio::test]
async fn a_program_that_goes_away_ends_its_request_outside() {
    let gone = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&gone);
    let server = Server::run(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            read_request(&mut stream).await;
            let _ = stream.read(&mut [0; 16]).await;
            told.notify_one();
        }
    })
    .await;
    let ground = with(&server, json!({}), Limits::default());
    let mut stream = ground.connect().await;
    stream
        .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url("/")).as_bytes())
        .await
        .unwrap();
    while server.taken() == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    timeout(PATIENCE, gone.notified()).await.expect("the connection outside ends, too");
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-gone"]);
}

#[tokio::test]
async fn more_connections_than_there_may_be_wait_for_their_turn() {
    let server = Server::run(|mut stream| async move {
        read_request(&mut stream).await;
        respond(&mut stream, "200 OK", "", b"ok").await;
    })
    .await;
    let ground =
        with(&server, json!({}), Limits { connections_max: 1, head_ms: 300, ..Limits::default() });
    let mut first = ground.connect().await;
    // The second is served once the first, on which nothing is said, is closed.
    let second = ground.get(&server.url("/")).await;
    assert_eq!(second.status, 200);
    assert_eq!(first.read(&mut [0; 16]).await.unwrap_or(0), 0);
}
