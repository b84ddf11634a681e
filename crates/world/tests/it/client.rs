//! A small HTTP client that sees what the wire carries, resets included.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::{AsOf, World, WorldConfig};

/// A world on the world clock, with 200 accounts.
pub(crate) async fn start() -> World {
    World::start(config()).await.unwrap()
}

pub(crate) fn config() -> WorldConfig {
    WorldConfig { accounts: 200, as_of: AsOf::World, ..WorldConfig::default() }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// One request, `"METHOD /path"`, with extra headers and a body.
pub(crate) struct Ask {
    pub(crate) text: String,
    pub(crate) body: String,
}

pub(crate) fn ask(request: &str) -> Ask {
    Ask {
        text: format!("{request} HTTP/1.1\r\nHost: world\r\nConnection: close\r\n"),
        body: String::new(),
    }
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.text.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = body.to_string();
        self
    }

    /// Writes the request and leaves the answer to the caller.
    pub(crate) async fn open(self, world: &World) -> TcpStream {
        let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
        let head = format!("{}Content-Length: {}\r\n\r\n", self.text, self.body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(self.body.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn try_send(self, world: &World) -> std::io::Result<Answer> {
        let mut stream = self.open(world).await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok(parse(&bytes))
    }

    pub(crate) async fn send(self, world: &World) -> Answer {
        self.try_send(world).await.unwrap()
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("no end of headers");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let chunked = headers.get("transfer-encoding").is_some_and(|how| how == "chunked");
    let body = if chunked { unchunk(rest) } else { rest.to_vec() };
    Answer { status, headers, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

/// A read with the write token of the path's system.
pub(crate) async fn get(world: &World, path: &str) -> Answer {
    ask(&format!("GET {path}")).token(token_for(world, path)).send(world).await
}

/// A write with the write token and no key.
pub(crate) async fn write(world: &World, request: &str, body: Value) -> Answer {
    let token = token_for(world, request.split(' ').nth(1).unwrap());
    ask(request).token(token).body(body).send(world).await
}

/// A write with the write token and an idempotency key.
pub(crate) async fn write_keyed(world: &World, key: &str, request: &str, body: Value) -> Answer {
    let token = token_for(world, request.split(' ').nth(1).unwrap());
    ask(request).token(token).key(key).body(body).send(world).await
}

pub(crate) fn token_for<'a>(world: &'a World, path: &str) -> &'a str {
    let tokens = world.tokens();
    match path.split('/').nth(1).unwrap() {
        "crm" => &tokens.crm.write,
        "desk" => &tokens.desk.write,
        "billing" => &tokens.billing.write,
        "usage" => &tokens.usage.write,
        _ => "none",
    }
}

pub(crate) async fn hash(world: &World) -> String {
    get(world, "/_world/hash").await.expect(200)["hash"].as_str().unwrap().to_owned()
}

/// How often an effect was asked for and performed.
pub(crate) async fn effect(world: &World, operation: &str, key: &str) -> (u64, u64) {
    let path = format!("/_world/effects?operation={operation}&key={key}");
    let body = get(world, &path).await.expect(200);
    let effects = body["effects"].as_array().unwrap();
    assert!(effects.len() <= 1, "{effects:?}");
    effects.first().map_or((0, 0), |effect| {
        let count = |name: &str| effect[name].as_u64().unwrap();
        (count("times_requested"), count("times_performed"))
    })
}
