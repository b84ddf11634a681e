//! What imported operations send: documents of the corpus become connectors of a pack, and somebody at the other end writes
//! down every byte that arrives.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tempfile::TempDir;

use super::{approve_all, import};
use crate::support::{PERMIT_ALL, id_of, root, run_in};

/// Document of the corpus, the secret that its login wants, its value.
const SYSTEMS: [(&str, &str, &str); 4] = [
    ("payments.json", "payments_password", "pay-7f3a91c2d4"),
    ("pets.yaml", "pets_key", "pet-1b8e60a9f7"),
    ("tickets.yaml", "tickets_key", "tic-c5d2e81f06"),
    ("search.json", "search_key", "sea-94ab07e3d1"),
];

/// Each way in which a document says where a value goes. `bytes` is what no text can hold.
const PLAYBOOK: &str = r#"schema: harness.playbook/v1
name: send
steps:
  - {id: list, do: payments.get_charges, with: {created: {gt: 5, lt: 9}, expand: ["a", "b c"]}}
  - id: charge
    do: payments.post_charges
    with: {body: {amount: 1200, currency: "e&r=", items: ["a b", "c+d"], card: {number: "12", cvc: "3"}}}
  - {id: photo, do: pets.upload_photo, with: {petId: 7, body: {caption: "a \"b\"", tags: ["x", "y"], file: "AP8NCi0t"}}}
  - {id: gone, do: pets.delete_pet, with: {petId: 7, X-Reason: "moved away"}}
  - {id: ticket, do: tickets.show_ticket, with: {id: 4, id_2: "of/it", body_2: true}}
  - {id: search, do: search.get_search, with: {q: "what?"}}
"#;

/// One request, as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    method: String,
    path: String,
    query: Vec<String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A server of this machine that answers as the documents promise, and keeps what it was sent.
#[derive(Clone)]
struct Echo {
    url: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let echo = Self { url, arrived: Arc::default() };
        let served = echo.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let served = served.clone();
                thread::spawn(move || served.answer(stream.unwrap()));
            }
        });
        echo
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let (mut first, mut headers) = (String::new(), BTreeMap::new());
        reader.read_line(&mut first).ok()?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        reader.read_exact(&mut body).ok()?;
        let mut words = first.split(' ');
        let (method, place) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = place.split_once('?').unwrap_or((place, ""));
        let (path, query) = (path.to_owned(), sorted(query));
        let (status, said) = match (method.as_str(), path.as_str()) {
            ("DELETE", _) => ("204 No Content", ""),
            ("GET", "/v1/charges") => ("200 OK", r#"{"data": [], "has_more": false}"#),
            ("POST", "/v1/charges") => ("200 OK", r#"{"id": "ch_1"}"#),
            ("POST", _) => ("200 OK", r#"{"size": 6}"#),
            _ => ("200 OK", r#"{"subject": "s", "created": "2026-12-01T00:00:00Z"}"#),
        };
        self.arrived.lock().unwrap().push(Arrived { method, path, query, headers, body });
        let length = if said.is_empty() { String::new() } else { length_of(said) };
        let head = format!("HTTP/1.1 {status}\r\n{length}Connection: close\r\n\r\n{said}");
        stream.write_all(head.as_bytes()).ok()
    }

    /// The one request of this method below this path.
    fn one(&self, method: &str, path: &str) -> Arrived {
        let arrived = self.arrived.lock().unwrap();
        let mine: Vec<_> =
            arrived.iter().filter(|one| one.method == method && one.path == path).collect();
        assert_eq!(mine.len(), 1, "{method} {path}: {arrived:#?}");
        mine[0].clone()
    }
}

fn length_of(said: &str) -> String {
    format!("Content-Type: application/json\r\nContent-Length: {}\r\n", said.len())
}

/// Entries of a query or a form, in an order that does not matter.
fn sorted(entries: &str) -> Vec<String> {
    let mut all: Vec<String> =
        entries.split('&').filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    all.sort();
    all
}

/// An installation whose one pack is made of four documents, with one playbook that calls what they describe.
fn sender(echo: &Echo) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    for folder in ["pack/connectors", "pack/playbooks", "pack/intents"] {
        fs::create_dir_all(here.join(folder)).unwrap();
    }
    let (mut secrets, mut systems) = (String::new(), String::new());
    for (file, secret, value) in SYSTEMS {
        let document = root().join("crates/openapi/tests/corpus").join(file).display().to_string();
        let name = file.split('.').next().unwrap();
        import(here, &[&document, "--name", name, "--to", "pack/connectors"]).exits(0);
        let kept = here.join(secret);
        fs::write(&kept, value).unwrap();
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
        secrets += &format!("{secret} = \"file:{}\"\n", kept.display());
        systems += &format!("[systems.{name}]\nkind = \"http\"\nurl = \"{}\"\n", echo.url);
    }
    let names = SYSTEMS.map(|(_, secret, _)| secret).join(", ");
    let asks = "payments.get_charges, payments.post_charges, pets.upload_photo, pets.delete_pet, \
                tickets.show_ticket, search.get_search";
    let files = [
        (
            "pack/pack.yaml",
            format!(
                "schema: harness.pack/v1\nname: sender\nversion: 0.1.0\nowner: team\ndescription: Sends.\n\
                 harness: \">=0.1\"\nasks: {{operations: [{asks}], secrets: [{names}]}}\n"
            ),
        ),
        ("pack/playbooks/send.yaml", PLAYBOOK.to_owned()),
        (
            "pack/intents/send.yaml",
            "schema: harness.intent/v1\nname: send\ntitle: Send\ninput: {type: object}\nplaybook: send\n\
             agent: agent:sender\ntriggers: [send]\n"
                .to_owned(),
        ),
        ("operator.cedar", PERMIT_ALL.to_owned()),
        (
            "harness.toml",
            format!(
                "store = \"store\"\npacks = [\"pack\"]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
                 [people.ulla]\nroles = [\"requester\"]\n[people.mira]\nroles = [\"approver\"]\n\
                 [keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
                 [secrets]\n{secrets}{systems}"
            ),
        ),
    ];
    for (name, text) in files {
        fs::write(here.join(name), text).unwrap();
    }
    dir
}

/// Submits the playbook and agrees to each of its writes; the run.
fn played(here: &Path) -> Value {
    let json = |words: &[&str]| run_in(here, &[&["-o", "json"], words].concat());
    json(&["pack", "check", "pack"]).exits(0);
    let run = id_of(&json(&["intent", "submit", "send"]).document());
    let agreed = approve_all(here, &run);
    let run = json(&["run", "get", &run]).exits(0).document();
    assert_eq!(agreed, 3, "each write asks: {run:#}");
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    run
}

/// What the document says of forms, files, headers, cookies and queries is what arrives, each credential in its own place.
#[test]
fn forms_files_headers_and_cookies_arrive_as_the_documents_say() {
    let echo = Echo::start();
    let dir = sender(&echo);
    let run = played(dir.path());
    assert_eq!(echo.arrived.lock().unwrap().len(), 6, "nothing is sent twice");

    let basic = format!("Basic {}", STANDARD.encode("api:pay-7f3a91c2d4"));
    let list = echo.one("GET", "/v1/charges");
    assert_eq!(list.query, ["created%5Bgt%5D=5", "created%5Blt%5D=9", "expand=a%2Cb+c"]);
    assert_eq!(list.headers["authorization"], basic);

    let charge = echo.one("POST", "/v1/charges");
    assert_eq!(charge.headers["content-type"], "application/x-www-form-urlencoded");
    let entries = [
        "amount=1200",
        "card%5Bcvc%5D=3",
        "card%5Bnumber%5D=12",
        "currency=e%26r%3D",
        "items=a+b",
        "items=c%2Bd",
    ];
    assert_eq!(sorted(&String::from_utf8(charge.body.clone()).unwrap()), entries);
    assert_eq!(charge.headers["authorization"], basic);
    assert!(charge.headers["idempotency-key"].len() > 16, "{charge:?}");

    let gone = echo.one("DELETE", "/pets/7");
    assert_eq!(gone.headers["x-reason"], "moved away");
    assert_eq!(gone.headers["x-api-key"], "pet-1b8e60a9f7");
    assert!(gone.body.is_empty() && !gone.headers.contains_key("authorization"), "{gone:?}");

    let ticket = echo.one("GET", "/tickets/4.json");
    assert_eq!(ticket.headers["cookie"], "sid=tic-c5d2e81f06");
    assert_eq!(ticket.query, ["body=true", "id=of%2Fit"]);

    let search = echo.one("GET", "/search");
    assert_eq!(search.query, ["api_key=sea-94ab07e3d1", "q=what%3F"]);
    assert!(search.headers.keys().all(|name| name != "cookie" && name != "x-api-key"));
    for (_, _, value) in SYSTEMS {
        assert!(!run.to_string().contains(value), "what one logs in with is in no journal");
    }
}

/// A file is base64 in the argument and bytes on the wire, beside the fields of its form.
#[test]
fn a_file_of_an_imported_form_arrives_as_its_bytes() {
    let echo = Echo::start();
    let dir = sender(&echo);
    played(dir.path());
    let photo = echo.one("POST", "/pets/7/photo");
    let media = &photo.headers["content-type"];
    let boundary =
        media.strip_prefix("multipart/form-data; boundary=").unwrap_or_else(|| panic!("{media}"));
    // Bytes that are no text, one character each.
    let body: String = photo.body.iter().map(|byte| char::from(*byte)).collect();
    let body = format!("\r\n{body}");
    let mark = format!("\r\n--{boundary}");
    let mut parts: Vec<&str> = body.split(mark.as_str()).collect();
    assert_eq!((parts.remove(0), parts.pop()), ("", Some("--\r\n")), "{body:?}");
    let mut told: Vec<(String, String)> = Vec::new();
    for part in parts {
        let (head, value) = part.split_once("\r\n\r\n").unwrap();
        let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!(head.contains("filename="), name == "file", "{head}");
        told.push((name.to_owned(), value.to_owned()));
    }
    told.sort();
    let expected =
        [("caption", "a \"b\""), ("file", "\u{0}\u{ff}\r\n--"), ("tags", "x"), ("tags", "y")];
    assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(photo.headers["x-api-key"], "pet-1b8e60a9f7");
}
