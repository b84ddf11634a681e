//! The service from outside, over its own wire, client included: reads, durable submissions, listeners.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Goal, Report},
    spread::Spread,
};

/// Connections that ask at a time.
const CONNECTIONS: usize = 64;

/// Runs that lists and reads look at.
const RUNS: usize = 500;

/// A pack whose one playbook waits: what is measured is the way in, not the work.
const PACK: [(&str, &str); 3] = [
    (
        "pack.yaml",
        "schema: harness.pack/v1\nname: waits\nversion: 1.0.0\nowner: bench\ndescription: It waits.\n\
         harness: \">=0.1\"\nasks: {operations: [], secrets: [], egress: []}\nroles: []\n",
    ),
    (
        "intents/park.yaml",
        "schema: harness.intent/v1\nname: park\ntitle: Wait for a day\nagent: agent:waits\n\
         playbook: park\ninput:\n  type: object\n  additionalProperties: false\n  properties:\n    \
         n: {type: integer}\n",
    ),
    (
        "playbooks/park.yaml",
        "schema: harness.playbook/v1\nname: park\nsteps:\n  - id: later\n    wait: 1d\n",
    ),
];

/// Item 8.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let Some(served) = Served::start(options, folder.path())? else {
        let why = format!("{} does not serve here", options.binary.display());
        report.add(Figure::unmeasured("authenticated reads", "1/s", (Goal::AtLeast(2_000.0), why)));
        return Ok(());
    };
    for n in 0..options.pick(RUNS, 20) {
        served.ask(&submission(&format!("seed {n}"), n)).doing("submit")?;
    }
    let asked = options.pick(300, 10);
    let reads = storm(&served, asked, &|_, _| Asked::get("/v1/runs?limit=20"))?;
    tell(report, "authenticated reads (a page of 20 runs)", &reads, 2_000.0);
    let submissions = storm(&served, asked, &|c, n| submission(&format!("storm {c} {n}"), n))?;
    tell(report, "durable submissions", &submissions, 1_000.0);
    let expected = options.pick(RUNS, 20) + CONNECTIONS * asked;
    let counted = served.count_runs()?;
    if counted != expected as u64 {
        let problem = format!("{expected} were acknowledged, {counted} are there");
        return Err(Broken::new("find every run again", problem));
    }
    listeners(options, &served, report)
}

fn tell(report: &mut Report, what: &str, storm: &Storm, least: f64) {
    let rate = Spread::of(vec![storm.per_second]);
    report.add(Figure::new(what, (rate, "1/s"), None, Goal::AtLeast(least)));
    let name = format!("{what}, 99th percentile of {CONNECTIONS} connections");
    report.add(Figure::new(
        name,
        (Spread::of(vec![storm.p99_ms]), "ms"),
        None,
        Goal::AtMost(100.0),
    ));
}

/// One request.
struct Asked {
    head: String,
    body: String,
}

impl Asked {
    fn get(path: &str) -> Self {
        Self { head: format!("GET {path} HTTP/1.1\r\n"), body: String::new() }
    }
}

fn submission(key: &str, n: usize) -> Asked {
    let body = json!({"intent": "park", "inputs": {"n": n}}).to_string();
    let head = format!(
        "POST /v1/intents HTTP/1.1\r\nIdempotency-Key: {}\r\nContent-Type: application/json\r\n",
        key.replace(' ', "-")
    );
    Asked { head, body }
}

/// A server of our own.
struct Served {
    child: Child,
    host: String,
    token: String,
}

impl Served {
    fn start(options: &Options, folder: &Path) -> Result<Option<Self>, Broken> {
        for (path, text) in PACK {
            let path = folder.join("waits").join(path);
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).doing("make a folder")?;
            std::fs::write(&path, text).doing("write a pack")?;
        }
        let config = "store = \"store\"\npacks = [\"waits\"]\nme = \"ann\"\n[people.ann]\n\
             roles = [\"operator\"]\n[keys]\nreceipts = \"file:keys/receipts.key\"\n[serve]\n\
             requests_per_second = 1000000\n[unusual]\nafter = 0\n";
        std::fs::write(folder.join("harness.toml"), config).doing("write a configuration")?;
        let mut command = Command::new(&options.binary);
        command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(folder);
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
        let Some(host) = host.map(str::to_owned) else {
            let _ended = child.kill();
            return Ok(None);
        };
        let mut made = Command::new(&options.binary);
        made.args(["token", "create", "bench", "-o", "json"]).current_dir(folder);
        let said = made.output().doing("make a token")?;
        let made: Value = serde_json::from_slice(&said.stdout).doing("read a token")?;
        let token = made.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Some(Self { child, host, token }))
    }

    fn connect(&self) -> std::io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.host)?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    fn text(&self, asked: &Asked) -> String {
        let (host, token) = (&self.host, &self.token);
        let Asked { head, body } = asked;
        format!(
            "{head}Host: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn ask(&self, asked: &Asked) -> std::io::Result<Vec<u8>> {
        let mut line = self.connect()?;
        line.get_mut().write_all(self.text(asked).as_bytes())?;
        read_answer(&mut line)
    }

    fn count_runs(&self) -> Result<u64, Broken> {
        let text = self.ask(&Asked::get("/metrics")).doing("read the figures")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("harness_runs "));
        line.and_then(|n| n.parse().ok())
            .ok_or_else(|| Broken::new("count runs", "the figures do not tell"))
    }

    fn resident_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kibi| kibi / 1024.0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// The body of one answer that is a success.
fn read_answer(line: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let bad = |what: String| std::io::Error::other(what);
    let mut length = 0;
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
    }
    let mut body = vec![0; length];
    line.read_exact(&mut body)?;
    if is_success {
        Ok(body)
    } else {
        Err(bad(format!("{head}{}", String::from_utf8_lossy(&body))))
    }
}

/// What a storm came to.
struct Storm {
    per_second: f64,
    p99_ms: f64,
}

/// Every connection asks so often, one request after another.
fn storm(
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

/// Many listeners at once: what they cost, and that each hears everything.
fn listeners(options: &Options, served: &Served, report: &mut Report) -> Result<(), Broken> {
    let (count, submissions) = (options.pick(1_000, 50), options.pick(20, 3));
    let before = served.resident_mib().unwrap_or_default();
    let mut lines = Vec::new();
    for _ in 0..count {
        let mut line = served.connect().doing("listen")?;
        line.get_mut().set_read_timeout(Some(Duration::from_secs(60))).doing("listen")?;
        let text = served.text(&Asked::get("/v1/events"));
        line.get_mut().write_all(text.as_bytes()).doing("listen")?;
        read_until(&mut line, "event: ready").doing("listen")?;
        lines.push(line);
    }
    let grown = served.resident_mib().unwrap_or_default() - before;
    let name = format!("memory of {count} listeners");
    report.add(Figure::new(name, (Spread::of(vec![grown]), "MiB"), None, Goal::AtMost(100.0)));
    let heard = thread::scope(|scope| {
        let lines: Vec<_> = lines.iter_mut().collect();
        let per = lines.len().div_ceil(8);
        let mut lines = lines.into_iter();
        let mut all = Vec::new();
        loop {
            let share: Vec<_> = lines.by_ref().take(per).collect();
            if share.is_empty() {
                break;
            }
            all.push(scope.spawn(move || {
                share.into_iter().try_for_each(|line| {
                    (0..submissions).try_for_each(|_| read_until(line, "\"opened\""))
                })
            }));
        }
        for n in 0..submissions {
            served.ask(&submission(&format!("heard {n}"), n))?;
        }
        all.into_iter().try_for_each(|one| {
            one.join().map_err(|_| std::io::Error::other("a listener panicked"))?
        })
    });
    heard.doing("hear everything")
}

fn read_until(line: &mut BufReader<TcpStream>, wanted: &str) -> std::io::Result<()> {
    loop {
        let mut text = String::new();
        if line.read_line(&mut text)? == 0 {
            return Err(std::io::Error::other("the stream ended"));
        }
        if text.contains(wanted) {
            return Ok(());
        }
    }
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
