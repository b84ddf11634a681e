//! The mail sink: the server's side of ESMTP (RFC 5321), as far as a sink needs it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::Error;
use crate::fault::{Fault, FaultKind, Phase};
use crate::ledger::Entry;
use crate::mail::Letter;
use crate::problem::System;
use crate::route::MAIL_OPERATION;
use crate::serve::{Shared, hang_ms};

const MAX_CONNECTIONS: usize = 64;
const MAX_LINE_BYTES: u64 = 4096;
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// How much of a message that is too large is read away before the line is cut.
const MAX_DISCARD_BYTES: usize = 32 * MAX_MESSAGE_BYTES;
const MAX_RECIPIENTS: usize = 100;
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes connections until the world goes down.
pub(crate) async fn serve(listener: TcpListener, world: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut sessions = JoinSet::new();
    let mut closing = world.closing.clone();
    loop {
        // Ended sessions are forgotten here, so the set stays within the number of places.
        while sessions.try_join_next().is_some() {}
        let accepted = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            continue;
        };
        let world = Arc::clone(&world);
        sessions.spawn(async move {
            let mut session = Session::new(stream, world);
            // A broken connection ends the session; there is nobody to tell.
            let _ = session.run().await;
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(_) => {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether the dialogue goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    HangUp,
}

struct Session {
    stream: BufReader<TcpStream>,
    world: Arc<Shared>,
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
}

impl Session {
    fn new(stream: TcpStream, world: Arc<Shared>) -> Self {
        let stream = BufReader::new(stream);
        Self { stream, world, greeted: false, from: None, to: Vec::new() }
    }

    async fn run(&mut self) -> std::io::Result<()> {
        self.say("220 mail.world.example ESMTP").await?;
        while let Some(line) = self.read_chunk().await? {
            if !line.ends_with(b"\n") {
                self.say("500 line too long").await?;
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if self.obey(&line).await? == Next::HangUp {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn obey(&mut self, line: &str) -> std::io::Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.greet();
                let size = format!("250-SIZE {MAX_MESSAGE_BYTES}");
                for text in ["250-mail.world.example", "250-8BITMIME", "250-SMTPUTF8", &size] {
                    self.say(text).await?;
                }
                self.say("250 PIPELINING").await?;
            }
            "HELO" => {
                self.greet();
                self.say("250 mail.world.example").await?;
            }
            "MAIL" => {
                let reply = self.begin(rest);
                self.say(reply).await?;
            }
            "RCPT" => {
                let reply = self.address(rest);
                self.say(reply).await?;
            }
            "DATA" => return self.data().await,
            "RSET" => {
                self.forget();
                self.say("250 forgotten").await?;
            }
            "NOOP" => self.say("250 still here").await?,
            "VRFY" => self.say("252 send, and you will see").await?,
            "QUIT" => {
                self.say("221 goodbye").await?;
                return Ok(Next::HangUp);
            }
            _ => self.say("500 unknown command").await?,
        }
        Ok(Next::GoOn)
    }

    fn greet(&mut self) {
        self.greeted = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn begin(&mut self, rest: &str) -> &'static str {
        if !self.greeted || self.from.is_some() {
            return "503 bad sequence: EHLO first, then one MAIL";
        }
        let Some((address, parameters)) = parse_path(rest, "FROM:") else {
            return "501 expected MAIL FROM:<address>";
        };
        let too_large = parameters.split(' ').any(|parameter| {
            let size =
                parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("SIZE"));
            size.is_some_and(|(_, size)| {
                size.parse().is_ok_and(|n: u64| n > MAX_MESSAGE_BYTES as u64)
            })
        });
        if too_large {
            return "552 message too large";
        }
        self.from = Some(address);
        "250 sender noted"
    }

    fn address(&mut self, rest: &str) -> &'static str {
        if self.from.is_none() {
            return "503 bad sequence: MAIL first";
        }
        match parse_path(rest, "TO:") {
            Some((address, _)) if !address.is_empty() => {
                if self.to.len() >= MAX_RECIPIENTS {
                    return "452 too many recipients";
                }
                self.to.push(address);
                "250 recipient noted"
            }
            _ => "501 expected RCPT TO:<address>",
        }
    }

    async fn data(&mut self) -> std::io::Result<Next> {
        let (Some(from), false) = (self.from.clone(), self.to.is_empty()) else {
            self.say("503 bad sequence: MAIL and RCPT first").await?;
            return Ok(Next::GoOn);
        };
        self.say("354 go on, end with a dot").await?;
        let Some(message) = self.read_message().await? else {
            return Ok(Next::HangUp);
        };
        let to = std::mem::take(&mut self.to);
        self.forget();
        match message {
            None => {
                self.say("552 message too large").await?;
                Ok(Next::GoOn)
            }
            Some(bytes) => self.deliver(Letter::read(from, to, &bytes)).await,
        }
    }

    /// Reads up to the lone dot. Outer `None`: the line went dead. Inner `None`: too large.
    /// Only CR LF counts as a line's end, so that no message can smuggle another.
    async fn read_message(&mut self) -> std::io::Result<Option<Option<Vec<u8>>>> {
        let mut message = Vec::new();
        let (mut total, mut line_start) = (0usize, true);
        loop {
            let Some(chunk) = self.read_chunk().await? else {
                return Ok(None);
            };
            if line_start && chunk == b".\r\n" {
                return Ok(Some((total <= MAX_MESSAGE_BYTES).then_some(message)));
            }
            let text = match chunk.strip_prefix(b".") {
                Some(unstuffed) if line_start => unstuffed,
                _ => chunk.as_slice(),
            };
            line_start = chunk.ends_with(b"\r\n");
            total = total.saturating_add(text.len());
            if total > MAX_DISCARD_BYTES {
                return Ok(None);
            }
            if total <= MAX_MESSAGE_BYTES {
                message.extend_from_slice(text);
            }
        }
    }

    async fn deliver(&mut self, letter: Letter) -> std::io::Result<Next> {
        let key = letter.message_id.clone().unwrap_or_default();
        let entry = Entry { system: System::Mail, operation: MAIL_OPERATION, key };
        let counted = entry.clone();
        let asked: Result<(), Error> =
            self.world.db.with(move |tx| counted.count_requested(tx)).await;
        if asked.is_err() {
            self.say("451 the store refused").await?;
            return Ok(Next::GoOn);
        }
        let fault = self.world.faults.fire(System::Mail, MAIL_OPERATION);
        if let Some(fault) = &fault
            && let Some(next) = self.strike(fault, Phase::Before).await?
        {
            return Ok(next);
        }
        let stored: Result<(), Error> = self
            .world
            .db
            .with(move |tx| {
                letter.store(tx)?;
                entry.count_performed(tx)
            })
            .await;
        if stored.is_err() {
            self.say("451 the store refused").await?;
            return Ok(Next::GoOn);
        }
        if let Some(fault) = &fault
            && let Some(next) = self.strike(fault, Phase::After).await?
        {
            return Ok(next);
        }
        self.say("250 delivered").await?;
        Ok(Next::GoOn)
    }

    /// Misbehaves as the fault says, if it strikes at this point.
    async fn strike(&mut self, fault: &Fault, point: Phase) -> std::io::Result<Option<Next>> {
        match (fault.kind, point) {
            (FaultKind::TimeoutBefore, Phase::Before) | (FaultKind::TimeoutAfter, Phase::After) => {
                self.wait_for_leaving(hang_ms(fault)).await;
                Ok(Some(Next::HangUp))
            }
            (FaultKind::ServerError, point) if point == fault.phase => {
                self.say("451 having trouble, try later").await?;
                Ok(Some(Next::GoOn))
            }
            (FaultKind::Reset, point) if point == fault.phase => {
                self.stream.get_ref().set_zero_linger()?;
                Ok(Some(Next::HangUp))
            }
            (FaultKind::RateLimit, Phase::Before) => {
                self.say("421 too many messages, come back later").await?;
                Ok(Some(Next::HangUp))
            }
            (FaultKind::Forbidden, Phase::Before) => {
                self.say("550 not allowed to send here").await?;
                Ok(Some(Next::GoOn))
            }
            _ => Ok(None),
        }
    }

    /// Hangs until the delay is over, the world goes down, or the client leaves.
    async fn wait_for_leaving(&mut self, ms: u64) {
        let world = Arc::clone(&self.world);
        tokio::select! {
            () = world.hang(ms) => {}
            _ = self.read_chunk() => {}
        }
    }

    /// A line with its end, or as much of it as fits; `None` at the end of the stream.
    async fn read_chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut chunk = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_LINE_BYTES);
        let read = tokio::time::timeout(IDLE_TIMEOUT, limited.read_until(b'\n', &mut chunk)).await;
        match read {
            Ok(Ok(0)) | Err(_) => Ok(None),
            Ok(Ok(_)) => Ok(Some(chunk)),
            Ok(Err(error)) => Err(error),
        }
    }

    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await
    }
}

/// `FROM:<a@b> SIZE=3` → `a@b` and `SIZE=3`.
fn parse_path(text: &str, keyword: &str) -> Option<(String, String)> {
    let head = text.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let path = text.get(keyword.len()..)?.trim_start().strip_prefix('<')?;
    let (address, parameters) = path.split_once('>')?;
    Some((address.to_owned(), parameters.trim().to_owned()))
}
