//! That what is added outside is never seen inside.

use std::sync::Arc;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::ground::{Ground, Seen, Server, Told, Values, read_request, start};

const SECRET: &str = "k3y/with+odd=chars&more";

fn rule(server: &Server) -> Value {
    let mut rule = server.rule();
    let inject = json!([{"header": "Authorization", "prefix": "Bearer ", "secret": "key"}]);
    rule.as_object_mut().unwrap().insert("inject".to_owned(), inject);
    rule
}

fn with(written: Value) -> Ground {
    start(written, |setup| setup.secrets = Arc::new(Values([("key", SECRET)].into())))
}

/// No part of a secret that could be put together again.
fn assert_clean(text: &str) {
    let lower = text.to_lowercase();
    for part in ["k3y/with", "odd=chars", "k3y%2f", "6b33792f", "azn5l3dpd", "azn5l3"] {
        assert!(!lower.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn the_secret_is_sent_outside_and_taken_out_of_what_comes_back() {
    let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = Arc::clone(&sent);
    let server = Server::run(move |mut stream| {
        let keep = Arc::clone(&keep);
        async move {
            let request = read_request(&mut stream).await;
            keep.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            crate::ground::respond(&mut stream, "200 OK", "", &request).await;
        }
    })
    .await;
    let ground = with(json!([rule(&server)]));
    let headers = "Authorization: Bearer mine\r\nAUTHORIZATION: other\r\nRange: bytes=0-3\r\nIf-Range: x\r\nAccept-Encoding: gzip, br\r\n";
    let told = ground.ask("GET", &server.url("/"), headers).await;
    let sent = sent.lock().unwrap().join("").to_lowercase();
    assert_eq!(sent.matches("authorization:").count(), 1, "{sent}");
    assert!(sent.contains(&format!("authorization: bearer {SECRET}\r\n")), "{sent}");
    assert!(sent.contains("accept-encoding: identity") && !sent.contains("range:"), "{sent}");
    assert!(told.body.contains("Bearer [secret]"), "{told:?}");
    assert_clean(&told.head);
    assert_clean(&told.body);
    assert_clean(&format!("{:?}", ground.seen.wait(1).await));
}

#[tokio::test]
async fn a_connection_header_does_not_take_the_secret_away() {
    let server = Server::echo().await;
    let ground = with(json!([rule(&server)]));
    let told = ground.ask("GET", &server.url("/"), "Connection: authorization\r\n").await;
    assert!(told.body.contains("Bearer [secret]"), "{told:?}");
}

/// Ways of giving a secret back.
fn echoes() -> Vec<String> {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut all = vec![
        SECRET.to_owned(),
        SECRET.to_uppercase(),
        hex.to_uppercase(),
        hex,
        percent,
        SECRET.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D").replace('&', "%26"),
        SECRET.replace('/', "%2f").replace('+', "%2b").replace('=', "%3d").replace('&', "%26"),
        SECRET.replace('/', "\\/"),
        SECRET.replace('&', "&amp;"),
    ];
    for before in ["", "x", "xy", "user:"] {
        all.push(STANDARD.encode(format!("{before}{SECRET}")));
        all.push(URL_SAFE_NO_PAD.encode(format!("{before}{SECRET}!")));
    }
    all
}

/// C150: what was added outside does not come in with an answer.
#[tokio::test]
async fn every_form_of_a_secret_is_taken_out_however_it_is_cut() {
    for echo in echoes() {
        for size in [1, 2, 7, 1000] {
            let body = format!("before {echo} between {echo} after");
            let server = Server::run(move |mut stream| {
                let body = body.clone();
                async move {
                    read_request(&mut stream).await;
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                        .await;
                    for piece in body.as_bytes().chunks(size) {
                        let _ = stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await;
                        let _ = stream.write_all(piece).await;
                        let _ = stream.write_all(b"\r\n").await;
                        tokio::task::yield_now().await;
                    }
                    let _ = stream.write_all(b"0\r\n\r\n").await;
                }
            })
            .await;
            let ground = with(json!([rule(&server)]));
            let told = ground.get(&server.url("/")).await;
            let body = unchunk(&told.body);
            assert!(body.starts_with("before ") && body.ends_with(" after"), "{body}");
            assert!(body.matches("[secret]").count() == 2, "{echo} by {size}: {body}");
            assert_clean(&body);
        }
    }
}

/// The body that chunks make.
fn unchunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        out.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    out
}

#[tokio::test]
async fn a_secret_in_a_head_is_taken_out() {
    for echo in echoes() {
        let name: String = echo.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        let head = format!(
            "HTTP/1.1 200 {SECRET}\r\nX-Echo: a {echo} b\r\nX-Echo: {echo}\r\nLocation: https://evil.example/?k={echo}\r\nSet-Cookie: s={echo}\r\nX-{name}: 1\r\nContent-Length: 0\r\n\r\n"
        );
        let server = Server::says(head).await;
        let ground = with(json!([rule(&server)]));
        let told = ground.get(&server.url("/")).await;
        assert_eq!(told.status, 200, "{told:?}");
        assert!(told.head.matches("[secret]").count() >= 4, "{told:?}");
        assert_clean(&told.head);
    }
    // A name that is a secret itself is left out.
    let server =
        Server::says("HTTP/1.1 200 OK\r\nX-abcdefgh1234-Y: 1\r\nContent-Length: 0\r\n\r\n").await;
    let ground = start(json!([rule(&server)]), |setup| {
        setup.secrets = Arc::new(Values([("key", "abcdefgh1234")].into()))
    });
    let told = ground.get(&server.url("/")).await;
    assert!(told.status == 200 && !told.head.contains("abcdefgh"), "{told:?}");
}

#[tokio::test]
async fn an_answer_that_is_packed_against_the_request_is_refused() {
    let server =
        Server::says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd")
            .await;
    let mut other = server.rule();
    other["methods"] = json!(["POST"]);
    let ground = with(json!([rule(&server), other]));
    for method in ["GET", "POST"] {
        let told = ground.ask(method, &server.url("/"), "").await;
        assert_eq!(
            (told.status, told.code().as_str()),
            (403, "egress-encoding"),
            "{method}: {told:?}"
        );
    }
    // Where no secret is sent it may be.
    let ground = start(json!([server.rule()]), |_| {});
    assert_eq!(ground.get(&server.url("/")).await.status, 200);
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_secret_to_another_host() {
    let other = Server::echo().await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", other.url("/x"));
    let first = Server::says(answer).await;
    let ground = with(json!([rule(&first), other.rule()]));
    let told = ground.get(&first.url("/")).await;
    assert_eq!(told.status, 302);
    let told = ground.get(&other.url("/x")).await;
    assert!(told.status == 200 && !told.body.to_lowercase().contains("authorization"), "{told:?}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_or_used_stops_the_request() {
    let server = Server::echo().await;
    for value in [
        None,
        Some(""),
        Some("short"),
        Some("line\r\nbreak: x"),
        Some(" spaces around "),
        Some("bücher-bücher"),
    ] {
        let values = Values(value.map(|value| ("key", value)).into_iter().collect());
        let ground = start(json!([rule(&server)]), |setup| setup.secrets = Arc::new(values));
        let told = ground.get(&server.url("/")).await;
        assert_eq!(
            (told.status, told.code().as_str()),
            (403, "egress-secret"),
            "{value:?}: {told:?}"
        );
    }
    assert_eq!(server.taken(), 0);
}

#[tokio::test]
async fn a_path_that_holds_a_secret_is_told_without_it() {
    let server = Server::echo().await;
    let ground = start(json!([rule(&server)]), |setup| {
        setup.secrets = Arc::new(Values([("key", "abcdefgh1234")].into()))
    });
    let told: Told = ground.get(&server.url("/at/abcdefgh1234/x?q=abcdefgh1234")).await;
    assert_eq!(told.status, 200);
    assert_eq!(ground.seen.wait(1).await[0].path, "/at/[secret]/x");
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), [""]);
}

#[test]
fn nothing_prints_a_value() {
    assert_eq!(format!("{:?}", egress::Secret::new(SECRET.to_owned())), "Secret(…)");
}
