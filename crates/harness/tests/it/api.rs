//! The HTTP API as somebody outside meets it: a real server, a real store, a socket.

mod attacks;
mod compare;
mod desk;
mod document;
mod doors;
mod gate;
mod identity;
mod listening;
mod operate;
mod packs;
mod parity;
mod receipts;
mod restarts;
mod story;

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::support::{Office, Serving};

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The document of an answer that is a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The code of an answer that is a refusal with this status; every refusal is a problem document.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        for key in ["type", "title", "code", "detail", "kind"] {
            assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes as they are and reads one answer.
pub(crate) fn send(host: &str, bytes: &[u8]) -> Answer {
    try_send(host, bytes).unwrap_or_else(|error| panic!("no answer: {error}"))
}

/// As [`send`], where a connection may be cut.
pub(crate) fn try_send(host: &str, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    // Whoever is refused early may find the line closed before everything is sent.
    let _ = stream.write_all(bytes);
    read_answer(&mut BufReader::new(stream))
}

fn read_answer(reader: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("{line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").and_then(|n| n.parse().ok());
    if let Some(length) = length {
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).map_err(io::Error::other)?;
    }
    Ok(answer)
}

/// An office that serves its API.
pub(crate) struct Api {
    pub(crate) office: Office,
    pub(crate) host: String,
    pub(crate) serving: Option<Serving>,
}

impl Api {
    pub(crate) fn open() -> Self {
        Self::of(Office::open())
    }

    /// With lines of configuration added.
    pub(crate) fn with(more: &str) -> Self {
        let office = Office::open();
        let config = std::fs::read_to_string(office.config()).unwrap();
        std::fs::write(office.config(), config + more).unwrap();
        Self::of(office)
    }

    pub(crate) fn of(office: Office) -> Self {
        let (serving, host) = Serving::listening(&office);
        Self { office, host, serving: Some(serving) }
    }

    /// A token made at the terminal by a declared person, with these further words.
    pub(crate) fn token(&self, person: &str, words: &[&str]) -> String {
        let made = self.office.json_as(person, &[&["token", "create", "a test"], words].concat());
        made.exits(0).document()["token"].as_str().unwrap().to_owned()
    }

    /// One request with a token; `extra` are header lines.
    pub(crate) fn ask(
        &self,
        token: &str,
        (method, path): (&str, &str),
        body: &Value,
        extra: &[&str],
    ) -> Answer {
        send(&self.host, request(&self.host, token, (method, path), body, extra).as_bytes())
    }

    pub(crate) fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, ("GET", path), &Value::Null, &[])
    }

    /// The status alone, also of an answer that never ends.
    pub(crate) fn get_status(&self, token: &str, path: &str) -> u16 {
        let text = request(&self.host, token, ("GET", path), &Value::Null, &[]);
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.ask(token, ("POST", path), body, &[])
    }

    /// Decides something as it is now.
    pub(crate) fn decide(&self, token: &str, shown: &str, verb: &str, body: &Value) -> Answer {
        let tag = self.get(token, shown).header("etag").map_or("none".to_owned(), str::to_owned);
        let path = format!("{shown}/{verb}");
        self.ask(token, ("POST", &path), body, &[&format!("If-Match: {tag}")])
    }
}

/// A browser without a script: a session and the forms of its pages.
pub(crate) struct Pages<'a> {
    api: &'a Api,
    cookie: String,
    form_token: String,
}

impl<'a> Pages<'a> {
    /// Signed in with a one-time link, as a person at the terminal would.
    pub(crate) fn open(api: &'a Api, person: &str) -> Self {
        let link = api.office.json_as(person, &["token", "link"]).exits(0).document();
        Self::with_link(api, link["path"].as_str().unwrap().split("link=").nth(1).unwrap())
    }

    /// Signed in with the secret of such a link.
    pub(crate) fn with_link(api: &'a Api, link: &str) -> Self {
        let mut pages = Self { api, cookie: String::new(), form_token: String::new() };
        let signed = pages.send("/sign-in", &format!("link={link}&to=%2Fruns"));
        assert_eq!(signed.status, 303, "{signed:?}");
        pages.cookie = signed.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let page = pages.page("/packs");
        let token = page.split("name=\"form_token\" value=\"").nth(1).unwrap();
        pages.form_token = token.split('"').next().unwrap().to_owned();
        pages
    }

    /// What a page holds.
    pub(crate) fn page(&self, path: &str) -> String {
        let (host, cookie) = (&self.api.host, &self.cookie);
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        let answer = send(host, text.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Sends a form of such a page.
    pub(crate) fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let escape = |text: &str| -> String {
            let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            };
            text.bytes().map(byte).collect()
        };
        let own = ("form_token", self.form_token.as_str());
        let pairs = fields.iter().chain([&own]);
        let body: Vec<String> =
            pairs.map(|(name, value)| format!("{name}={}", escape(value))).collect();
        self.send(path, &body.join("&"))
    }

    fn send(&self, path: &str, body: &str) -> Answer {
        let (host, cookie, length) = (&self.api.host, &self.cookie, body.len());
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nCookie: {cookie}\r\n\
             Origin: http://{host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        send(host, text.as_bytes())
    }
}

pub(crate) fn request(
    host: &str,
    token: &str,
    (method, path): (&str, &str),
    body: &Value,
    extra: &[&str],
) -> String {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if !token.is_empty() {
        text.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    for line in extra {
        text.push_str(&format!("{line}\r\n"));
    }
    format!("{text}\r\n{body}")
}
