//! Somebody who is told: a server that hears, and answers as its script says.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How a peer answers.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// With this status and these header lines.
    Status(u16, String),
    /// It hangs up without an answer.
    HangUp,
    /// It never answers, and keeps the line open.
    Hold,
}

impl Say {
    pub(super) fn status(status: u16) -> Self {
        Self::Status(status, String::new())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Heard {
    #[track_caller]
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// Checks as the specification of Standard Webhooks tells receivers to.
    #[track_caller]
    pub(super) fn is_signed_with(&self, secret: &str) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let (id, seconds) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{seconds}.{}", self.body).as_bytes());
        let wanted = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(self.header("webhook-signature"), wanted, "{self:?}");
        let seconds: i64 = seconds.parse().unwrap();
        let now = jiff::Timestamp::now().as_second();
        assert!((now - 300..=now + 5).contains(&seconds), "{seconds} is not now, {now}");
    }
}

/// A server of its own that ends with the test's process.
#[derive(Debug)]
pub(super) struct Peer {
    host: String,
    heard: mpsc::Receiver<Heard>,
    script: Arc<Mutex<VecDeque<Say>>>,
}

impl Peer {
    /// Answers these in turn, and 200 afterwards.
    pub(super) fn start(script: &[Say]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (tell, heard) = mpsc::channel();
        let script: VecDeque<Say> = script.to_vec().into();
        let script = Arc::new(Mutex::new(script));
        let peer = Self { host, heard, script: Arc::clone(&script) };
        let held = Arc::new(Mutex::new(Vec::new()));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, script, held) = (tell.clone(), Arc::clone(&script), Arc::clone(&held));
                thread::spawn(move || hear(stream, &tell, &script, &held));
            }
        });
        peer
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// The next request; waits for it.
    pub(super) fn next(&self) -> Heard {
        self.heard.recv().unwrap()
    }

    /// Requests that came already.
    pub(super) fn rest(&self) -> Vec<Heard> {
        self.heard.try_iter().collect()
    }

    /// Answers this the next time.
    pub(super) fn will_say(&self, say: Say) {
        self.script.lock().unwrap().push_back(say);
    }
}

fn hear(
    stream: TcpStream,
    tell: &mpsc::Sender<Heard>,
    script: &Mutex<VecDeque<Say>>,
    held: &Mutex<Vec<TcpStream>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.and_then(|(_, n)| n.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let heard = Heard { path, headers, body: String::from_utf8(body).ok()? };
    // What it says is settled before the test hears of it.
    let say = script.lock().unwrap().pop_front().unwrap_or(Say::status(200));
    tell.send(heard).ok()?;
    let mut stream = stream;
    match say {
        Say::HangUp => {}
        Say::Hold => held.lock().unwrap().push(stream),
        Say::Status(status, more) => {
            let answer = format!(
                "HTTP/1.1 {status} x\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).ok()?;
        }
    }
    Some(())
}
