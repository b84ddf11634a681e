//! What is spoken on the socket.

use std::sync::atomic::Ordering;

use egress::{Proxy, Setup};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ground::{Ground, Script, Seen, Server, Told, setup, start};

/// A proxy in front of one server.
fn before(server: &Server) -> Ground {
    start(json!([server.rule()]), |_| {})
}

/// C218: each request is told, with what came of it.
#[tokio::test]
async fn a_request_that_a_rule_allows_is_sent_and_told_once() {
    let server = Server::echo().await;
    let ground = before(&server);
    let body = "hello";
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{body}",
        server.url("/a?q=1")
    );
    let told = Told::read(&ground.raw(head).await);
    assert_eq!(told.status, 200, "{told:?}");
    assert!(told.body.starts_with("POST /a?q=1 HTTP/1.1\r\n"), "{}", told.body);
    assert!(told.body.ends_with("\r\n\r\nhello"), "{}", told.body);
    let events = ground.seen.wait(1).await;
    let event = &events[0];
    assert_eq!((events.len(), event.rule, event.refusal), (1, Some(0), None));
    assert_eq!(
        (event.method.as_str(), event.path.as_str(), event.host.as_str()),
        ("POST", "/a", "127.0.0.1")
    );
    assert_eq!((event.port, event.address), (server.port(), Some(server.address)));
    assert_eq!((event.status, event.bytes_out, event.at_ms), (Some(200), 5, 1_700_000_000_000));
    assert_eq!(event.bytes_in, u64::try_from(told.body.len()).unwrap());
}

#[tokio::test]
async fn a_path_is_sent_as_it_was_judged() {
    let server = Server::echo().await;
    let ground = before(&server);
    for (given, sent) in [
        ("", "/"),
        ("?q=1", "/?q=1"),
        ("//evil.example/", "//evil.example/"),
        ("/a?b=/../c", "/a?b=/../c"),
    ] {
        let told = ground.get(&server.url(given)).await;
        assert!(told.body.starts_with(&format!("GET {sent} HTTP/1.1\r\n")), "{given}: {told:?}");
    }
    for refused in ["/a/../b", "/%2e%2e/", "/a\\b", "/%00"] {
        let told = ground.get(&server.url(refused)).await;
        assert!(told.status == 400 || told.code() == "egress-path-spelling", "{refused}: {told:?}");
    }
}

#[tokio::test]
async fn headers_of_the_hop_stay_behind_and_the_host_is_the_urls() {
    let server = Server::echo().await;
    let ground = before(&server);
    let told = ground
        .ask("GET", &server.url("/"), "Proxy-Authorization: Basic eA==\r\nProxy-Connection: close\r\nTE: trailers\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: websocket\r\nConnection: x-hop, upgrade\r\nExpect: 100-continue\r\nX-Kept: 1\r\n")
        .await;
    let sent = told.body.to_lowercase();
    assert!(sent.contains(&format!("host: {}\r\n", server.address)), "{sent}");
    assert!(sent.contains("x-kept: 1"), "{sent}");
    for gone in ["proxy-", "te:", "x-hop", "keep-alive", "upgrade", "expect", "host: x"] {
        assert!(!sent.contains(&format!("\n{gone}")), "{gone}: {sent}");
    }
}

#[tokio::test]
async fn headers_of_the_hop_behind_stay_behind() {
    let server = Server::says("HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nProxy-Authenticate: Basic\r\nKeep-Alive: 5\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n2\r\nok\r\n0\r\nX-End: 1\r\n\r\n").await;
    let told = before(&server).get(&server.url("/")).await;
    let head = told.head.to_lowercase();
    assert!(head.contains("x-kept: 1") && told.body.contains("ok"), "{told:?}");
    for gone in ["x-hop", "proxy-", "keep-alive", "trailer"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert!(!told.body.contains("X-End"), "{told:?}");
}

#[tokio::test]
async fn a_head_request_keeps_the_length_that_it_is_told() {
    let server = Server::says("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await;
    let ground = before(&server);
    let told = ground.ask("HEAD", &server.url("/"), "").await;
    assert!(
        told.status == 200 && told.head.to_lowercase().contains("content-length: 99999999999"),
        "{told:?}"
    );
    assert_eq!(ground.seen.wait(1).await[0].refusal, None);
}

#[tokio::test]
async fn what_is_no_request_for_a_proxy_is_refused() {
    let server = Server::echo().await;
    let ground = before(&server);
    let place = server.address;
    for (request, code) in [
        (format!("GET / HTTP/1.1\r\nHost: {place}\r\n"), "egress-form"),
        (format!("GET /http://{place}/ HTTP/1.1\r\nHost: {place}\r\n"), "egress-form"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n".to_owned(), "egress-form"),
        (format!("GET {place} HTTP/1.1\r\nHost: x\r\n"), "egress-form"),
        (format!("GET ftp://{place}/ HTTP/1.1\r\nHost: x\r\n"), "egress-form"),
        (format!("GET file:///etc/passwd HTTP/1.1\r\nHost: {place}\r\n"), ""),
        (format!("GET ws://{place}/ HTTP/1.1\r\nHost: x\r\n"), "egress-form"),
        (format!("GET http://{place}/ HTTP/1.0\r\n"), "egress-malformed"),
        (format!("GET http://{place}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n"), "egress-malformed"),
        (format!("GET http://user@{place}/ HTTP/1.1\r\nHost: x\r\n"), "egress-host"),
        (format!("TRACE http://{place}/ HTTP/1.1\r\nHost: x\r\n"), "egress-method"),
        (format!("CONNECT {place} HTTP/1.1\r\nHost: x\r\n"), "egress-no-tunnel"),
    ] {
        let told = Told::read(&ground.raw(format!("{request}Connection: close\r\n\r\n")).await);
        assert!(told.status == 403 || told.status == 400, "{request}: {told:?}");
        assert_eq!(told.code(), code, "{request}: {told:?}");
    }
    assert_eq!(server.taken(), 0, "nothing was sent");
}

#[tokio::test]
async fn shapes_that_smuggle_a_request_reach_nobody() {
    let server = Server::echo().await;
    let ground = before(&server);
    let url = server.url("/");
    let start = format!("POST {url} HTTP/1.1\r\nHost: x\r\n");
    for rest in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5, 6\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0x5\r\n\r\nhello",
        "Content-Length: 99999999999999999999\r\n\r\nhello",
        "Content-Length : 5\r\n\r\nhello",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "X: a\r\n folded\r\n\r\n",
        "X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n\r\n",
        "X\r\n\r\n",
        ": x\r\n\r\n",
        "(X): x\r\n\r\n",
    ] {
        let told = Told::read(&ground.raw(format!("{start}{rest}")).await);
        assert!(told.status == 400 || told.code() == "egress-malformed", "{rest:?}: {told:?}");
    }
    for line in [
        "GET  {url} HTTP/1.1",
        "GET {url}\tHTTP/1.1",
        "GET {url} HTTP/1.1 x",
        "GET {url} HTTP/2.0",
        "GET {url}",
        "PRI * HTTP/2.0",
    ] {
        let line = line.replace("{url}", &url);
        let told = Told::read(&ground.raw(format!("{line}\r\nHost: x\r\n\r\n")).await);
        assert_eq!(told.status, 400, "{line:?}: {told:?}");
    }
    assert_eq!(server.taken(), 0, "nothing was sent");
    let events = ground.seen.wait(26).await;
    assert!(Seen::codes(&events).iter().all(|code| *code == "egress-malformed"), "{events:?}");
}

#[tokio::test]
async fn two_lengths_for_one_body_send_one_request_and_end_the_connection() {
    let server = Server::echo().await;
    let ground = before(&server);
    let (url, other) = (server.url("/one"), server.url("/two"));
    let smuggled = format!("0\r\n\r\nGET {other} HTTP/1.1\r\nHost: x\r\n\r\n");
    let length = smuggled.len();
    for lengths in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
    ] {
        let text =
            ground.raw(format!("POST {url} HTTP/1.1\r\nHost: x\r\n{lengths}\r\n{smuggled}")).await;
        let sent = text.to_lowercase();
        assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
        assert!(!text.contains("/two"), "{text}");
        assert!(!sent.contains(&format!("content-length: {length}\r\ntransfer")), "{text}");
    }
    assert_eq!(server.taken(), 2, "what stood in the body was no request");
}

#[tokio::test]
async fn chunks_that_cannot_be_read_end_the_request() {
    let server = Server::echo().await;
    let ground = before(&server);
    let url = server.url("/");
    for chunks in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "5\nhello\n0\n\n",
    ] {
        let text = ground
            .raw(format!(
                "POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ))
            .await;
        assert!(!text.starts_with("HTTP/1.1 200"), "{chunks:?}: {text}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_judged_one_by_one() {
    let server = Server::echo().await;
    let ground = before(&server);
    let (good, bad) = (server.url("/good"), "http://10.0.0.1/bad");
    let text = ground
        .raw(format!("GET {good} HTTP/1.1\r\nHost: x\r\n\r\nGET {bad} HTTP/1.1\r\nHost: x\r\n\r\nGET {good} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        .await;
    let statuses: Vec<&str> = text
        .split("HTTP/1.1 ")
        .filter(|part| part.len() > 3)
        .map(|part| &part[..3])
        .filter(|part| part.parse::<u16>().is_ok())
        .collect();
    assert_eq!(statuses, ["200", "403", "200"], "{text}");
    assert_eq!(server.taken(), 2);
    assert_eq!(Seen::codes(&ground.seen.wait(3).await), ["", "egress-no-rule", ""]);
}

#[tokio::test]
async fn a_redirect_is_passed_back_and_judged_when_it_is_followed() {
    let inside = Server::says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ninside").await;
    let target = inside.url("/latest/meta-data/");
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
    let second = Server::says(answer).await;
    let answer = format!(
        "HTTP/1.1 307 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        second.url("/b")
    );
    let first = Server::says(answer).await;
    let ground = start(json!([first.rule(), second.rule()]), |_| {});
    let mut next = first.url("/a");
    for status in [307, 302, 403] {
        let told = ground.get(&next).await;
        assert_eq!(told.status, status, "{told:?}");
        let found = told.head.lines().find_map(|line| line.strip_prefix("location: "));
        next = found.unwrap_or_default().to_owned();
    }
    assert_eq!(inside.taken(), 0);
    assert_eq!(Seen::codes(&ground.seen.wait(3).await)[2], "egress-no-rule");
}

#[tokio::test]
async fn another_protocol_is_not_switched_to() {
    let server = Server::says(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nraw",
    )
    .await;
    let ground = before(&server);
    let told = ground.ask("GET", &server.url("/"), "Upgrade: websocket\r\n").await;
    assert_eq!((told.status, told.code().as_str()), (502, "egress-upstream"), "{told:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_not_passed_on() {
    for answer in [
        "",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    ] {
        let server = Server::says(answer).await;
        let ground = before(&server);
        let told = ground.get(&server.url("/")).await;
        assert_eq!(
            (told.status, told.code().as_str()),
            (502, "egress-upstream"),
            "{answer:?}: {told:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let server = Server::says(answer).await;
        let ground = before(&server);
        let text = ground.raw(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url("/"))).await;
        assert!(!text.ends_with("0\r\n\r\n"), "{text}");
        assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-upstream"]);
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure_outside() {
    let server = Server::echo().await;
    let (rule, url) = (server.rule(), server.url("/"));
    drop(server);
    let ground = start(
        json!([rule, {"host": "nowhere.example", "methods": ["GET"], "paths": ["/**"]}]),
        |_| {},
    );
    let told = ground.get(&url).await;
    assert_eq!((told.status, told.code().as_str()), (502, "egress-unreachable"), "{told:?}");
    let told = ground.get("https://nowhere.example/").await;
    assert_eq!((told.status, told.code().as_str()), (502, "egress-resolve"), "{told:?}");
}

#[tokio::test]
async fn two_hundred_requests_at_one_time_are_all_answered() {
    let server = Server::echo().await;
    let ground = std::sync::Arc::new(before(&server));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (ground, url) = (std::sync::Arc::clone(&ground), server.url(&format!("/{number}/")));
        all.spawn(async move { (number, ground.get(&url).await) });
    }
    while let Some(done) = all.join_next().await {
        let (number, told) = done.unwrap();
        assert!(told.status == 200 && told.body.contains(&format!("GET /{number}/ ")), "{told:?}");
    }
    let events = ground.seen.wait(200).await;
    assert!(events.len() == 200 && events.iter().all(|event| event.refusal.is_none()));
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let server = Server::echo().await;
    let ground = before(&server);
    let mut stream = ground.connect().await;
    for turn in 0..3 {
        let head = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url(&format!("/{turn}")));
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.contains(&format!("GET /{turn} HTTP/1.1")) || !text.ends_with("\r\n\r\n") {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }
}

#[tokio::test]
async fn the_socket_is_the_users_alone_and_gone_with_the_proxy() {
    use std::os::unix::fs::PermissionsExt;
    let ground = start(json!([]), |_| {});
    let socket = ground.proxy.socket().to_owned();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(ground.folder.path()).unwrap().count(),
        1,
        "nothing else is left there"
    );
    let (lost, _, folder) = setup(json!([]));
    drop(folder);
    let other = Proxy::start(lost);
    assert!(other.is_err(), "its folder is gone: {other:?}");
    drop(ground.proxy);
    assert!(!socket.exists());
    let ground = start(json!([]), |_| {});
    let socket = ground.proxy.socket().to_owned();
    ground.proxy.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn stopping_waits_for_what_is_under_way_and_cuts_what_does_not_end() {
    let server = Server::run(|mut stream| async move {
        crate::ground::read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let ground = start(json!([server.rule()]), |setup: &mut Setup| setup.limits.stop_ms = 100);
    let mut stream = ground.connect().await;
    stream
        .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", server.url("/")).as_bytes())
        .await
        .unwrap();
    while server.taken() == 0 {
        tokio::task::yield_now().await;
    }
    ground.proxy.stop().await;
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-stopped"]);
}

/// C146: names are looked up outside, and only those that a rule names. C218: what was refused is told too.
#[tokio::test]
async fn what_no_rule_allows_is_not_even_looked_up() {
    let script = Script::new(&[]);
    let ground =
        start(json!([{"host": "a.example", "methods": ["GET"], "paths": ["/x"]}]), |setup| {
            setup.resolver = std::sync::Arc::clone(&script) as _;
        });
    for url in ["https://secret.b.example/", "https://a.example/y", "http://a.example/x"] {
        assert_eq!(ground.get(url).await.status, 403);
    }
    assert_eq!(script.asked.load(Ordering::Relaxed), 0);
}
