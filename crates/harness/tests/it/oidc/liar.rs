//! A provider that signs whatever it is told to.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

/// An Ed25519 key from a seed, as PKCS #8 has it.
pub(crate) fn key(seed: u8) -> EncodingKey {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    EncodingKey::from_ed_der(&[head.as_slice(), &[seed; 32]].concat())
}

/// It signs whoever it is told to in, with whatever token it is told to give.
pub(crate) struct Liar {
    pub(crate) issuer: String,
    pub(crate) gives: Arc<Mutex<String>>,
    /// The one key that it lists.
    pub(crate) listed: Value,
    /// How often it was asked for it.
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Liar {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let gives = Arc::new(Mutex::new(String::new()));
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&key(1), Algorithm::EdDSA).unwrap());
        let jwk = jwk.as_mut().unwrap();
        jwk["kid"] = json!("one");
        let (listed, asked) = (jwk.clone(), Arc::new(AtomicUsize::new(0)));
        let documents = [
            (
                "/.well-known/openid-configuration",
                json!({"issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys")}),
            ),
            ("/keys", json!({"keys": [jwk]})),
        ];
        let (given, counts) = (Arc::clone(&gives), Arc::clone(&asked));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut line, mut length) = (String::new(), 0);
                reader.read_line(&mut line).unwrap();
                let path = line.split(' ').nth(1).unwrap().to_owned();
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                    let header = line.to_ascii_lowercase();
                    if let Some(n) = header.strip_prefix("content-length: ") {
                        length = n.trim().parse().unwrap();
                    }
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                if path == "/keys" {
                    counts.fetch_add(1, Ordering::SeqCst);
                }
                let body = match documents.iter().find(|(known, _)| *known == path) {
                    Some((_, document)) => document.to_string(),
                    None => json!({"token_type": "Bearer", "id_token": *given.lock().unwrap()})
                        .to_string(),
                };
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{body}"
                );
            }
        });
        Self { issuer, gives, listed, asked }
    }
}

/// What a token signed with a key of this name begins with.
pub(crate) fn header(kid: &str) -> Header {
    Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) }
}
