//! The client against servers that lie, flood, lead elsewhere or end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use mcp::client::{Client, Error, Generation, Http, Limits, Setup};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream},
    net::TcpListener,
};

use crate::client::{args, over_http, over_pipes, setup};

/// A server of pipes that says what it is told to say for each method; `ID` stands for the id of the request.
fn scripted(lines: fn(&str) -> Vec<String>) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let (from, mut to) = tokio::io::split(far);
        let mut from = BufReader::new(from).lines();
        while let Ok(Some(line)) = from.next_line().await {
            let asked: Value = serde_json::from_str(&line).unwrap();
            let Some(id) = asked.get("id") else { continue };
            for line in lines(asked["method"].as_str().unwrap_or_default()) {
                let line = line.replace("\"ID\"", &id.to_string());
                if to.write_all(line.as_bytes()).await.is_err()
                    || to.write_all(b"\n").await.is_err()
                {
                    return;
                }
            }
        }
    });
    near
}

fn hello() -> String {
    json!({"jsonrpc": "2.0", "id": "ID", "result": {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "scripted", "version": "0"},
    }})
    .to_string()
}

fn said(id: &Value, text: &str) -> String {
    let content = json!([{"type": "text", "text": text}]);
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": content}}).to_string()
}

async fn connected(pipe: DuplexStream, limits: Limits) -> Result<Client, Error> {
    let (from, to) = tokio::io::split(pipe);
    let setup = Setup { limits, generation: Generation::Sessions, ..Setup::default() };
    Client::over_pipes(from, to, setup).await
}

/// An answer under an id that nobody asked with is no answer, and neither is anything that is no message at all.
#[tokio::test]
async fn answers_to_other_questions_and_noise_are_left_aside() {
    let pipe = scripted(|method| match method {
        "initialize" => vec![hello()],
        _ => vec![
            "no json at all".to_owned(),
            said(&json!(999_999), "of somebody else"),
            said(&json!("ID "), "of nobody"),
            "[]".to_owned(),
            said(&json!("ID"), "of this call"),
            said(&json!("ID"), "a second one"),
        ],
    });
    let client = connected(pipe, Limits::default()).await.unwrap();
    for _ in 0..2 {
        let result = client.call("anything", Map::new()).await.unwrap();
        assert_eq!(result.text(), "of this call");
    }
}

/// A line that is longer than it may be is dropped as it comes, and what follows is heard.
#[tokio::test]
async fn a_flood_on_a_pipe_is_not_kept() {
    let pipe = scripted(|method| match method {
        "initialize" => vec![hello()],
        _ => vec!["x".repeat(3_000_000), said(&json!("ID"), "after the flood")],
    });
    let limits = Limits { message_bytes: 64 << 10, ..Limits::default() };
    let client = connected(pipe, limits).await.unwrap();
    assert_eq!(client.call("any", Map::new()).await.unwrap().text(), "after the flood");
}

/// Over HTTP a message that is longer than it may be is refused, in both generations.
#[tokio::test]
async fn a_message_over_http_is_bounded() {
    for generation in [Generation::Sessions, Generation::Stateless] {
        let limits = Limits { message_bytes: 64 << 10, ..Limits::default() };
        let client = over_http(None, Setup { limits, ..setup(generation) }).await;
        let fits = client.call("big", args(json!({"bytes": 1_000}))).await.unwrap();
        assert_eq!(fits.text().len(), 1_000);
        let flood = client.call("big", args(json!({"bytes": 1_000_000}))).await;
        assert!(flood.is_err(), "{generation:?}");
    }
}

/// A server that ends in the middle of a call leaves an error that says so, and a connection that knows that it is over.
#[tokio::test]
async fn the_end_of_a_server_is_seen() {
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let (from, mut to) = tokio::io::split(far);
        let mut from = BufReader::new(from).lines();
        let first: Value = serde_json::from_str(&from.next_line().await.unwrap().unwrap()).unwrap();
        let hello = hello().replace("\"ID\"", &first["id"].to_string());
        to.write_all(format!("{hello}\n").as_bytes()).await.unwrap();
        // The notification, then the call.
        from.next_line().await.unwrap();
        from.next_line().await.unwrap();
    });
    let client = connected(near, Limits::default()).await.unwrap();
    assert_eq!(client.call("any", Map::new()).await.unwrap_err(), Error::Over);
    assert!(client.is_over());
}

/// Errors of the protocol keep their code and their words.
#[tokio::test]
async fn an_error_of_the_protocol_is_told_as_it_is() {
    let client = over_pipes(None, Setup::default()).await;
    let error = client.call("nothing_like_it", Map::new()).await.unwrap_err();
    assert_eq!(
        error,
        Error::Answer { code: -32602, message: "no tool nothing_like_it".to_owned(), data: None }
    );
}

/// Answers every request with these bytes; how many came.
async fn wired(answer: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut buffer = vec![0_u8; 1 << 16];
            let mut read = 0;
            while let Ok(more) = stream.read(&mut buffer[read..]).await {
                read += more;
                // One request of one small body: it is whole when its brace is closed.
                if more == 0 || buffer[..read].ends_with(b"}") {
                    break;
                }
            }
            let _gone = stream.write_all(answer.as_bytes()).await;
        }
    });
    (format!("http://{address}/mcp"), came)
}

fn http(url: &str) -> Http {
    let token = ("authorization".to_owned(), "Bearer canary-7731".to_owned());
    Http { url: url.to_owned(), headers: vec![token] }
}

/// No redirect is followed: neither the call nor the credential reaches the place that it names.
#[tokio::test]
async fn a_redirect_leads_nowhere() {
    for status in
        ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let (elsewhere, came) =
            wired("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let (url, asked) = wired(answer).await;
        let refused = Client::over_http(&http(&url), setup(Generation::Stateless)).await;
        assert!(refused.is_err(), "{status}");
        assert_eq!((asked.load(Ordering::SeqCst), came.load(Ordering::SeqCst)), (1, 0), "{status}");
    }
}

/// What HTTP says about who asks and how often is told apart.
#[tokio::test]
async fn statuses_are_told_apart() {
    let answer =
        |head: &str| format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let (url, _) = wired(answer("401 Unauthorized\r\nwww-authenticate: Bearer")).await;
    let refused = Client::over_http(&http(&url), setup(Generation::Stateless)).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
    let (url, _) = wired(answer("429 Too Many Requests\r\nretry-after: 7")).await;
    let busy = Client::over_http(&http(&url), setup(Generation::Stateless)).await.unwrap_err();
    assert_eq!(busy, Error::Status { status: 429, retry_after: Some("7".to_owned()) });
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let url = format!("http://{free}/mcp");
    let nobody = Client::over_http(&http(&url), setup(Generation::Stateless)).await.unwrap_err();
    assert!(matches!(nobody, Error::Unreachable(_)), "{nobody:?}");
}

/// A server that hangs up without an answer, or in the middle of one, is over and has not said anything that is none.
#[tokio::test]
async fn whoever_hangs_up_is_over() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"jsonrpc\":";
    for answer in ["", cut] {
        let (url, _) = wired(answer.to_owned()).await;
        let over = Client::over_http(&http(&url), setup(Generation::Stateless)).await.unwrap_err();
        assert_eq!(over, Error::Over, "{answer:?}");
    }
    // A connection that is reset, which is what one sees whose other end was killed.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // What has come and was not read is answered with a reset.
            stream.readable().await.unwrap();
            drop(stream);
        }
    });
    let reset = Client::over_http(&http(&url), setup(Generation::Stateless)).await.unwrap_err();
    assert_eq!(reset, Error::Over);
    // What speaks another protocol has answered, and that is none.
    let (url, _) = wired("220 mail.example.org ESMTP\r\n".to_owned()).await;
    let other = Client::over_http(&http(&url), setup(Generation::Stateless)).await.unwrap_err();
    assert!(matches!(other, Error::NoAnswer(_)), "{other:?}");
}

/// An address with credentials, of another scheme or with a header that is none is refused before anything is sent; the
/// value of a header is printed nowhere.
#[tokio::test]
async fn addresses_and_headers_are_checked() {
    for url in ["file:///etc/passwd", "http://user:word@127.0.0.1/mcp", "no address"] {
        let refused = Client::over_http(&http(url), Setup::default()).await.unwrap_err();
        assert!(matches!(refused, Error::Unusable(_)), "{url}: {refused:?}");
        assert!(!refused.to_string().contains("canary"));
    }
    let split = Http {
        url: "http://127.0.0.1:1/mcp".to_owned(),
        headers: vec![("x".to_owned(), "a\r\nb: c".to_owned())],
    };
    assert!(matches!(split.check().unwrap_err(), Error::Unusable(_)));
    assert!(!format!("{:?}", http("http://x")).contains("canary"));
}
