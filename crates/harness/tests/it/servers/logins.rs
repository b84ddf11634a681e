//! Servers that want OAuth: a person logs in once, what was granted goes to its own server alone, is renewed without anybody,
//! and nothing that runs by itself ever waits for a person.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{Shop, class, fixture, said};
use crate::{
    kit::validates,
    support::{Ran, program},
};

/// What no answer, no message and no file in the clear may hold.
const CANARIES: [&str; 3] = ["access-canary", "refresh-canary", "robot-canary"];

/// A server behind an authority, and a project that declares it.
struct Guarded {
    shop: Shop,
    server: Child,
    url: String,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _gone = self.server.wait();
    }
}

impl Guarded {
    fn open(oauth: &str) -> Self {
        let shop = Shop::bare(&[]);
        let mut command = Command::new(fixture());
        command.arg("--guarded").arg(shop.path("state")).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        let guarded = Self { shop, server, url };
        guarded.declare(oauth);
        guarded
    }

    fn declare(&self, oauth: &str) {
        let system =
            format!("[systems.notes]\nkind = \"mcp\"\nurl = \"{}\"\noauth = {oauth}\n", self.url);
        self.shop.configure(&system, "");
    }

    /// With somebody who says yes in a browser.
    fn login(&self) -> Ran {
        let args = ["-o", "json", "mcp", "login", "notes"];
        let mut command = program(self.shop.dir.path());
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut asking = command.spawn().unwrap();
        let mut told = String::new();
        let mut errors = BufReader::new(asking.stderr.take().unwrap());
        while errors.read_line(&mut told).unwrap() > 0 {
            let line = told.lines().next_back().unwrap_or_default().trim();
            if line.starts_with("http://") && line.contains("/authorize?") {
                let back = visit(line).expect("the page leads back");
                visit(&back);
            }
        }
        let mut output = asking.wait_with_output().unwrap();
        output.stderr = told.into_bytes();
        Ran::of(&args, output)
    }

    /// What was asked of the authority, line by line.
    fn asked(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.shop.path("state/asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    fn import(&self) {
        self.shop.import().exits(0);
        self.shop.classify(&["add", "echo"]);
    }

    fn add(&self) -> Value {
        self.shop.ask("add", json!({"a": 2, "b": 40}))
    }
}

/// Opens a page as a browser does that follows nothing: where it leads.
pub(super) fn visit(url: &str) -> Option<String> {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
    location.map(str::to_owned)
}

/// Whether a text, or any file below a folder, holds something that must stay where it is.
fn spilled(text: &str, below: &std::path::Path) -> Vec<String> {
    let mut found: Vec<String> =
        CANARIES.iter().filter(|word| text.contains(**word)).map(|w| (*w).to_owned()).collect();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                let held =
                    |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
                found.extend(
                    CANARIES.iter().filter(|w| held(w)).map(|_| path.display().to_string()),
                );
            }
        }
    }
    found
}

/// C132, C134: nobody has logged in, so nothing is asked and nobody is waited for: the failure names the command. A person
/// logs in once; then the server is imported and called. What was granted stands in no answer, no journal and no file in the
/// clear, and only its own entry of the file of secrets leads to it.
#[test]
fn a_person_logs_in_once_and_runs_go_on_without_them() {
    let guarded = Guarded::open("{}");
    let refused = guarded.shop.import().exits(2).problem();
    let detail = refused.to_string();
    assert!(detail.contains("harness mcp login notes"), "{refused:#}");
    assert_eq!(guarded.asked(), [""; 0], "nobody is asked by what runs by itself");

    let login = guarded.login().exits(0);
    let done = login.document();
    validates(&done);
    assert_eq!((&done["system"], &done["scopes"]), (&json!("notes"), &json!(["notes"])));
    assert_eq!(done["renewed"], true);
    assert_eq!(
        guarded.asked(),
        ["register \"harness\"", "authorize notes", "token authorization_code"]
    );

    guarded.import();
    let run = guarded.add();
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    assert_eq!(run["output"]["sum"], 42, "{run:#}");
    let all = format!("{}{}{run}", login.stdout, login.stderr);
    // The folder of the server is the outside company's own.
    assert_eq!(spilled(&all, &guarded.shop.path("store")), [""; 0]);
    let kept = guarded.shop.json(&["secret", "list"]).exits(0).document();
    let access =
        kept["items"].as_array().unwrap().iter().find(|one| one["name"] == "mcp.notes.access");
    let grants = &access.unwrap()["grants"];
    let host = guarded.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    assert_eq!((&grants[0]["system"], &grants[0]["host"]), (&json!("notes"), &json!(host)));
}

/// What ends soon is renewed before a call, and what the server refuses is renewed once; when that is over, too, the call fails
/// with the next step, and nothing was sent.
#[test]
fn permissions_are_renewed_until_somebody_takes_them_back() {
    let guarded = Guarded::open("{}");
    guarded.shop.misbehave_as("lasts", "30");
    guarded.login().exits(0);
    guarded.import();
    let before = guarded.asked().len();
    assert_eq!(guarded.add()["run"]["status"], "succeeded");
    let renewed = &guarded.asked()[before..];
    assert!(
        !renewed.is_empty() && renewed.iter().all(|one| one == "token refresh_token"),
        "{renewed:?}"
    );

    guarded.shop.misbehave("withdrawn");
    let run = guarded.add();
    assert_eq!(class(&run), "permission", "{run:#}");
    assert!(said(&run).contains("harness mcp login notes"), "{}", said(&run));
    assert_eq!(guarded.shop.notes(), "");
    guarded.shop.behave("withdrawn");
    guarded.login().exits(0);
    assert_eq!(guarded.add()["run"]["status"], "succeeded");
}

/// Somebody who says no has granted nothing, and hears so at once.
#[test]
fn a_person_may_say_no() {
    let guarded = Guarded::open("{}");
    guarded.shop.misbehave("no");
    let refused = guarded.login();
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("not-granted"), "{refused:#?}");
    assert!(!guarded.asked().iter().any(|one| one.starts_with("token")), "{:?}", guarded.asked());
}

/// C134: metadata is the server's word. Where it leads into a private network, to a cloud's metadata service or, for a server
/// that is elsewhere, to this machine, nobody goes: that is why it fails, and not that nobody answers there.
#[test]
fn metadata_leads_nowhere_inside() {
    let guarded = Guarded::open("{}");
    // This machine has more than one address, and the server is at another of them: whoever is led here is heard.
    let here = TcpListener::bind("127.0.0.2:0").unwrap();
    here.set_nonblocking(true).unwrap();
    let here_at = format!("http://{}", here.local_addr().unwrap());
    let registers_here = format!("{here_at}/register");
    let (machine, private) = ("this very machine", "leads into a private network");
    let none = "none published usable metadata";
    for (leads, inside, why) in [
        // Of the address of an authority the library thinks the same, and asks nobody.
        ("elsewhere", "https://10.11.12.13", none),
        ("elsewhere", "https://169.254.169.254", none),
        ("elsewhere", "https://[fd00:ec2::254]", none),
        ("elsewhere", "https://192.168.1.1", none),
        ("elsewhere", here_at.as_str(), machine),
        ("registers", "https://10.11.12.13/register", private),
        ("registers", "https://169.254.169.254/latest/meta-data", private),
        ("registers", "https://[fd00:ec2::254]/register", private),
        ("registers", "https://[::ffff:192.168.1.1]/register", private),
        ("registers", registers_here.as_str(), machine),
    ] {
        guarded.shop.misbehave_as(leads, inside);
        let refused = guarded.login();
        assert_ne!(refused.code, 0, "{inside}");
        assert!(refused.stderr.contains(why), "{leads} {inside}: {refused:#?}");
        assert!(!refused.stderr.contains("Open this page"), "{inside}: {refused:#?}");
        guarded.shop.behave(leads);
    }
    assert!(here.accept().is_err(), "nobody came");
    assert_eq!(guarded.asked(), [""; 0]);
}

/// A machine proves itself with its own id and secret; nobody logs in.
#[test]
fn a_machine_needs_nobody() {
    let guarded = Guarded::open("{by = \"machine\", client = \"robot\", secret = \"robot\"}");
    let config = std::fs::read_to_string(guarded.shop.path("harness.toml")).unwrap();
    let key = guarded.shop.path("robot");
    std::fs::write(&key, "robot-canary-secret").unwrap();
    let only_ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, only_ours).unwrap();
    let secret = format!("[secrets]\nrobot = \"file:{}\"\n", key.display());
    std::fs::write(guarded.shop.path("harness.toml"), config.replace("[secrets]\n", &secret))
        .unwrap();
    guarded.import();
    assert_eq!(guarded.add()["run"]["status"], "succeeded");
    assert_eq!(guarded.asked().first().map(String::as_str), Some("token client_credentials"));
    let refused = guarded.login();
    assert!(refused.stderr.contains("nobody logs in"), "{refused:#?}");
}
