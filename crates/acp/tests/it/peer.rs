//! An agent that says what a test says, line by line, and whoever prompts it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use acp::client::{self, Answer, Ended, Errand, Error, Over, Side, Use};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf},
    sync::watch,
};

/// Whoever prompts: answers as it is told, and remembers.
#[derive(Debug)]
pub(crate) struct Prompter {
    pub(crate) leaves: bool,
    /// None: it does not answer.
    pub(crate) verdict: Option<Answer>,
    pub(crate) judged: Mutex<Vec<Use>>,
    pub(crate) over: Mutex<Vec<Over>>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Prompter {
    pub(crate) fn new(verdict: Option<Answer>) -> Self {
        let stop = watch::Sender::new(false);
        Self { leaves: true, verdict, judged: Mutex::default(), over: Mutex::default(), stop }
    }
}

impl Side for Prompter {
    fn leaves(&self) -> bool {
        self.leaves
    }

    fn judge(&self, used: Use) -> futures_util::future::BoxFuture<'_, Answer> {
        self.judged.lock().unwrap().push(used);
        Box::pin(async {
            match self.verdict {
                Some(verdict) => verdict,
                None => std::future::pending().await,
            }
        })
    }

    fn over(&self, over: Over) {
        self.over.lock().unwrap().push(over);
    }

    fn stop(&self) -> futures_util::future::BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.subscribe().wait_for(|stop| *stop).await.unwrap();
        })
    }
}

/// The agent's end.
pub(crate) struct Peer {
    lines: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    to: WriteHalf<DuplexStream>,
}

impl Peer {
    pub(crate) async fn reads(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// The next message, which is of this method.
    pub(crate) async fn takes(&mut self, method: &str) -> Value {
        let message = self.reads().await;
        assert_eq!(message["method"], method, "{message}");
        message
    }

    pub(crate) async fn writes(&mut self, bytes: &[u8]) -> bool {
        self.to.write_all(bytes).await.is_ok()
    }

    pub(crate) async fn says(&mut self, message: Value) {
        assert!(self.writes(format!("{message}\n").as_bytes()).await);
    }

    pub(crate) async fn answers(&mut self, request: &Value, result: Value) {
        self.says(json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await;
    }

    /// Hello, and the session `s`: the request of the prompt, and what the client said that it can.
    pub(crate) async fn opens(&mut self) -> (Value, Value) {
        let hello = self.takes("initialize").await;
        let is = json!({"name": "scripted", "version": "7"});
        self.answers(&hello, json!({"protocolVersion": 1, "agentInfo": is})).await;
        let opened = self.takes("session/new").await;
        self.answers(&opened, json!({"sessionId": "s"})).await;
        (self.takes("session/prompt").await, hello)
    }

    pub(crate) async fn updates(&mut self, update: Value) {
        let params = json!({"sessionId": "s", "update": update});
        self.says(json!({"jsonrpc": "2.0", "method": "session/update", "params": params})).await;
    }

    /// Asks for permission: what is chosen.
    pub(crate) async fn asks(&mut self, session: &str, call: Value, options: Value) -> Value {
        let params = json!({"sessionId": session, "toolCall": call, "options": options});
        let method = "session/request_permission";
        self.says(json!({"jsonrpc": "2.0", "id": 77, "method": method, "params": params})).await;
        let answer = self.reads().await;
        assert_eq!(answer["id"], 77, "{answer}");
        answer["result"]["outcome"].clone()
    }

    pub(crate) async fn ends(&mut self, prompt: &Value) {
        self.answers(prompt, json!({"stopReason": "end_turn"})).await;
    }
}

/// Every choice that an agent may offer.
pub(crate) fn options() -> Value {
    json!([
        {"optionId": "always", "name": "Always", "kind": "allow_always"},
        {"optionId": "once", "name": "Once", "kind": "allow_once"},
        {"optionId": "no", "name": "No", "kind": "reject_once"},
        {"optionId": "never", "name": "Never", "kind": "reject_always"},
    ])
}

/// Prompts an agent that does this.
pub(crate) async fn prompted(
    side: &Arc<Prompter>,
    agent: impl AsyncFnOnce(&mut Peer),
) -> Result<Ended, Error> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (from, to) = tokio::io::split(ours);
    let (their_from, their_to) = tokio::io::split(theirs);
    let mut peer = Peer { lines: BufReader::new(their_from).lines(), to: their_to };
    let errand =
        Errand { text: "Do it.".to_owned(), cwd: "/desk".into(), within: Duration::from_secs(60) };
    let asked = client::prompt((from, to), errand, Arc::clone(side) as Arc<dyn Side>);
    let acts = async {
        agent(&mut peer).await;
        drop(peer);
    };
    tokio::join!(asked, acts).0
}
