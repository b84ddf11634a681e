//! A server of our own, and clients that ask it over its own wire.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Barrier,
    thread,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
};

/// Connections that ask at a time.
pub(crate) const CONNECTIONS: usize = 64;

/// What the kernel counts processor time in, in ms: a hundredth of a second on every Linux, whatever its clock.
const TICK_MS: f64 = 10.0;

/// A pack's files, by their path below its folder.
pub(crate) type Files = [(&'static str, &'static str)];

/// One request.
pub(crate) struct Asked {
    head: String,
    body: String,
}

impl Asked {
    pub(crate) fn get(path: &str) -> Self {
        Self { head: format!("GET {path} HTTP/1.1\r\n"), body: String::new() }
    }

    /// Asks for a page as somebody who has signed in.
    pub(crate) fn page(path: &str, cookie: &str) -> Self {
        let head = format!("GET {path} HTTP/1.1\r\nCookie: {cookie}\r\n");
        Self { head, body: String::new() }
    }
}

/// Calls a tool at this path, in the generation of the protocol that has no sessions.
pub(crate) fn tool_call(path: &str, (tool, arguments): (&str, Value)) -> Asked {
    let version = "2026-07-28";
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let head = format!(
        "POST {path} HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: {version}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
    );
    Asked { head, body: call.to_string() }
}

/// Submits an intent.
pub(crate) fn submission(key: &str, (intent, inputs): (&str, Value)) -> Asked {
    let body = json!({ "intent": intent, "inputs": inputs }).to_string();
    let head = format!(
        "POST /v1/intents HTTP/1.1\r\nIdempotency-Key: {}\r\nContent-Type: application/json\r\n",
        key.replace(' ', "-")
    );
    Asked { head, body }
}

/// A server of our own.
pub(crate) struct Served {
    /// None: somebody else's.
    child: Option<Child>,
    host: String,
    token: String,
}

impl Served {
    /// Starts one over the store of this folder, with one pack and more of a configuration; `None`
    /// where nothing can be started.
    pub(crate) fn start(
        options: &Options,
        folder: &Path,
        (files, more): (&Files, &str),
    ) -> Result<Option<Self>, Broken> {
        for (path, text) in files {
            let path = folder.join("pack").join(path);
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).doing("make a folder")?;
            std::fs::write(&path, text).doing("write a pack")?;
        }
        let config = "store = \"store\"\npacks = [\"pack\"]\nme = \"ann\"\n[people.ann]\n\
             roles = [\"operator\"]\n[keys]\nreceipts = \"file:keys/receipts.key\"\n[serve]\n\
             requests_per_second = 1000000\nstreams_per_principal = 10000\n\
             [unusual]\nafter = 0\n[budget]\n\
             calls_max = 10000\nwrites_max = 50\nwall_max_ms = 2592000000\n";
        let config = format!("{config}{more}");
        std::fs::write(folder.join("harness.toml"), config).doing("write a configuration")?;
        let token = ["token", "create", "bench"];
        Self::of(options, folder, (&["serve", "--listen", "127.0.0.1:0"], &token))
    }

    /// Starts one in a folder with a configuration, and makes a token for it; both by their words.
    pub(crate) fn of(
        options: &Options,
        folder: &Path,
        (words, token): (&[&str], &[&str]),
    ) -> Result<Option<Self>, Broken> {
        let mut command = Command::new(&options.binary);
        command.args(words).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else { return Ok(None) };
        let mut line = String::new();
        let errors = child
            .stderr
            .take()
            .ok_or_else(|| Broken::new("start a server", "it has no standard error"))?;
        let mut errors = BufReader::new(errors);
        errors.read_line(&mut line).doing("read a line")?;
        // It may have more to say later; nobody waits for it.
        thread::spawn(move || drop(std::io::copy(&mut errors, &mut std::io::sink())));
        let host = line.split(" at http://").nth(1).and_then(|rest| rest.split(';').next());
        let Some(host) = host.map(|host| host.trim().to_owned()) else {
            let _ended = child.kill();
            return Ok(None);
        };
        let mut made = Command::new(&options.binary);
        made.args(token).args(["-o", "json"]).current_dir(folder);
        let said = made.output().doing("make a token")?;
        let made: Value = serde_json::from_slice(&said.stdout).doing("read a token")?;
        let token = made.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Some(Self { child: Some(child), host, token }))
    }

    /// One that is there already and knows nobody.
    pub(crate) fn elsewhere(host: &str) -> Self {
        let host = host.split('/').next().unwrap_or_default().to_owned();
        Self { child: None, host, token: String::new() }
    }

    /// Processor time of the server since it began, in ms.
    pub(crate) fn cpu_ms(&self) -> Option<f64> {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.as_ref()?.id())).ok()?;
        // The name in brackets may hold anything; user and system time are the 12th and 13th behind it.
        let mut rest = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || rest.next()?.parse::<f64>().ok();
        Some((ticks()? + ticks()?) * TICK_MS)
    }

    pub(crate) fn connect(&self) -> std::io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.host)?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    pub(crate) fn text(&self, asked: &Asked) -> String {
        let (host, token) = (&self.host, &self.token);
        let Asked { head, body } = asked;
        format!(
            "{head}Host: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    pub(crate) fn ask(&self, asked: &Asked) -> std::io::Result<Vec<u8>> {
        let mut line = self.connect()?;
        line.get_mut().write_all(self.text(asked).as_bytes())?;
        read_answer(&mut line)
    }

    /// A figure of the service, by its name.
    pub(crate) fn figure(&self, name: &str) -> Result<u64, Broken> {
        let text = self.ask(&Asked::get("/metrics")).doing("read the figures")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|n| n.parse().ok()).ok_or_else(|| Broken::new("read a figure", name))
    }

    /// Signs in at the web UI; its cookie.
    pub(crate) fn sign_in(&self) -> Result<String, Broken> {
        let body = format!("token={}", self.token);
        let text = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let mut line = self.connect().doing("sign in")?;
        line.get_mut().write_all(text.as_bytes()).doing("sign in")?;
        let mut said = String::new();
        line.read_to_string(&mut said).doing("sign in")?;
        let cookie = said.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next())?
        });
        let cookie = cookie.map(|cookie| cookie.trim().to_owned());
        cookie.ok_or_else(|| Broken::new("sign in", said.lines().next().unwrap_or_default()))
    }

    pub(crate) fn resident_mib(&self) -> Option<f64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kibi| kibi / 1024.0)
    }
}

/// One client that asks one after another.
pub(crate) struct Client<'a> {
    served: &'a Served,
    line: BufReader<TcpStream>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(served: &'a Served) -> Result<Self, Broken> {
        Ok(Self { served, line: served.connect().doing("connect")? })
    }

    /// The answer's body and how long it took, in ms.
    pub(crate) fn ask(&mut self, asked: &Asked) -> Result<(Vec<u8>, f64), Broken> {
        let text = self.served.text(asked);
        let began = Instant::now();
        self.line.get_mut().write_all(text.as_bytes()).doing("ask")?;
        let body = read_answer(&mut self.line).doing("read an answer")?;
        Ok((body, began.elapsed().as_secs_f64() * 1_000.0))
    }

    /// The answer as JSON and how long it took, in ms.
    pub(crate) fn json(&mut self, path: &str) -> Result<(Value, f64), Broken> {
        let (body, took) = self.ask(&Asked::get(path))?;
        Ok((serde_json::from_slice(&body).doing("read an answer")?, took))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

/// The body of one answer that is a success.
fn read_answer(line: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let bad = |what: String| std::io::Error::other(what);
    let (mut length, mut is_chunked) = (0, false);
    let mut head = String::new();
    line.read_line(&mut head)?;
    let is_success = head.split(' ').nth(1) == Some("200");
    loop {
        let mut text = String::new();
        line.read_line(&mut text)?;
        if text.trim().is_empty() {
            break;
        }
        let lower = text.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| bad(text.clone()))?;
        }
        is_chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
    }
    let body = if is_chunked { read_chunks(line)? } else { read_piece(line, length)? };
    if is_success {
        Ok(body)
    } else {
        Err(bad(format!("{head}{}", String::from_utf8_lossy(&body))))
    }
}

fn read_piece(line: &mut BufReader<TcpStream>, length: usize) -> std::io::Result<Vec<u8>> {
    let mut piece = vec![0; length];
    line.read_exact(&mut piece)?;
    Ok(piece)
}

fn read_chunks(line: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        line.read_line(&mut size)?;
        let length = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        body.extend(read_piece(line, length)?);
        // The end of the line behind it.
        read_piece(line, 2)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// What a storm came to.
pub(crate) struct Storm {
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
}

/// Every connection asks so often, one request after another.
pub(crate) fn storm(
    served: &Served,
    each: usize,
    asked: &(dyn Fn(usize, usize) -> Asked + Sync),
) -> Result<Storm, Broken> {
    let barrier = Barrier::new(CONNECTIONS + 1);
    let one = |connection: usize| -> std::io::Result<Vec<f64>> {
        let mut line = served.connect()?;
        barrier.wait();
        let mut times = Vec::with_capacity(each);
        for n in 0..each {
            let text = served.text(&asked(connection, n));
            let began = Instant::now();
            line.get_mut().write_all(text.as_bytes())?;
            read_answer(&mut line)?;
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(times)
    };
    let (took, mut times) = thread::scope(|scope| {
        let one = &one;
        let all: Vec<_> = (0..CONNECTIONS).map(|n| scope.spawn(move || one(n))).collect();
        barrier.wait();
        let began = Instant::now();
        let mut times = Vec::new();
        for joined in all {
            let done = joined.join().map_err(|_| std::io::Error::other("a client panicked"));
            times.extend(done.and_then(|times| times)?);
        }
        Ok::<_, std::io::Error>((began.elapsed(), times))
    })
    .doing("ask the service")?;
    times.sort_by(f64::total_cmp);
    let at = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
    let p99_ms = times.get(at).copied().unwrap_or_default();
    Ok(Storm { per_second: times.len() as f64 / took.as_secs_f64(), p99_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_no_answer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for status in ["200 OK", "429 Too Many Requests"] {
                let (mut stream, _) = listener.accept().unwrap();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        });
        let read = || read_answer(&mut BufReader::new(TcpStream::connect(address).unwrap()));
        assert_eq!(read().unwrap(), b"ok");
        assert!(read().is_err());
    }
}
