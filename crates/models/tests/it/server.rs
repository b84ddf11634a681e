//! A loopback HTTP/1.1 server that does what a script says and remembers what it was asked.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it should.
    Whole,
    /// The connection is closed before the body has ended.
    Cut,
    /// Nothing more comes, the connection stays.
    Hang,
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) ending: Ending,
    /// Where a piece waits for its permit before it is sent, but the first.
    pub(crate) gate: Option<Arc<Semaphore>>,
}

impl Answer {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let pieces = vec![body.as_bytes().to_vec()];
        Self { status, headers, pieces, ending: Ending::Whole, gate: None }
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn stream(pieces: Vec<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        Self { status: 200, headers, pieces, ending: Ending::Whole, gate: None }
    }

    /// As JSON, or as a stream in one piece, by what it looks like.
    pub(crate) fn of(raw: &str) -> Self {
        match raw.trim_start().starts_with('{') {
            true => Self::json(raw),
            false => Self::stream(vec![raw.as_bytes().to_vec()]),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// After its first piece each waits for a permit.
    pub(crate) fn behind(mut self, gate: &Arc<Semaphore>) -> Self {
        self.gate = Some(Arc::clone(gate));
        self
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    hung_up: Arc<AtomicUsize>,
    lines: Arc<AtomicUsize>,
}

impl Server {
    /// Answers the n-th request with the n-th answer; the last one repeats.
    pub(crate) async fn script(answers: Vec<Answer>) -> Self {
        let count = AtomicUsize::new(0);
        Self::start(move |_| {
            let n = count.fetch_add(1, Ordering::SeqCst);
            answers.get(n).or(answers.last()).unwrap().clone()
        })
        .await
    }

    pub(crate) async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}/v1", listener.local_addr().unwrap()),
            asked: Arc::default(),
            connections: Arc::default(),
            hung_up: Arc::default(),
            lines: Arc::default(),
        };
        let (asked, connections) = (Arc::clone(&server.asked), Arc::clone(&server.connections));
        let (answer, hung_up) = (Arc::new(answer), Arc::clone(&server.hung_up));
        let lines = Arc::clone(&server.lines);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                let (hung_up, lines) = (Arc::clone(&hung_up), Arc::clone(&lines));
                tokio::spawn(async move {
                    serve(stream, &asked, &lines, &*answer).await;
                    hung_up.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Lines of requests, complete or not.
    pub(crate) fn lines(&self) -> usize {
        self.lines.load(Ordering::SeqCst)
    }

    /// Connections whose other end is gone.
    pub(crate) fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::SeqCst)
    }
}

async fn serve(
    stream: TcpStream,
    asked: &Mutex<Vec<Asked>>,
    lines: &AtomicUsize,
    answer: &impl Fn(&Asked) -> Answer,
) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream, lines).await {
        asked.lock().unwrap().push(request.clone());
        let answer = answer(&request);
        let mut head = format!("HTTP/1.1 {} X\r\ntransfer-encoding: chunked\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        for (n, piece) in answer.pieces.iter().filter(|piece| !piece.is_empty()).enumerate() {
            if let Some(gate) = answer.gate.as_ref().filter(|_| n > 0) {
                gate.acquire().await.unwrap().forget();
            }
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            if stream.write_all(&chunk).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        match answer.ending {
            Ending::Whole => drop(stream.write_all(b"0\r\n\r\n").await),
            Ending::Cut => return,
            Ending::Hang => {
                let _ = stream.read(&mut [0]).await;
                return;
            }
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>, lines: &AtomicUsize) -> Option<Asked> {
    let (mut path, mut headers) = (String::new(), BTreeMap::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        lines.fetch_add(1, Ordering::SeqCst);
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.to_owned())),
            None => path = line.split(' ').nth(1)?.to_owned(),
        }
    }
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { path, headers, body })
}
