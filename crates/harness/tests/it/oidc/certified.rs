//! The provider of the npm package `oidc-provider`, which the OpenID Foundation has certified.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use super::{Browser, SECRET, field, signing_in};
use crate::{
    api::{Api, send},
    support::{id_of, root},
};

/// The provider, until its value goes.
pub(crate) struct Provider {
    child: Child,
    /// It goes on talking, and ends when nobody listens.
    _says: BufReader<ChildStdout>,
    pub(crate) issuer: String,
}

impl Provider {
    /// `groups`: `tokens` when they stand in the identity token, anything else when they must be asked for.
    pub(crate) fn start(groups: &str) -> Self {
        let folder = installed();
        let mut child = Command::new("node")
            .args(["provider.mjs", SECRET, groups])
            .current_dir(&folder)
            .env("NODE_ENV", "production")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        // Whatever it says before it listens is no issuer.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !line.starts_with("http://") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "the provider did not start");
        }
        Self { child, _says: out, issuer: line.trim().to_owned() }
    }

    /// Whoever comes next is this one.
    pub(crate) fn greets(&self, account: &str) {
        let host = self.issuer.strip_prefix("http://").unwrap();
        let text =
            format!("GET /_as/{account} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(host, text.as_bytes()).status, 200);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The package and what it needs, as the lock file says; installed once, by whoever comes first.
fn installed() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
    fs::create_dir_all(&folder).unwrap();
    let guard = fs::File::create(folder.join("lock")).unwrap();
    guard.lock().unwrap();
    let from = root().join("crates/harness/tests/oidc");
    let lock = fs::read(from.join("package-lock.json")).unwrap();
    let is_there = fs::read(folder.join("installed")).is_ok_and(|done| done == lock);
    fs::copy(from.join("provider.mjs"), folder.join("provider.mjs")).unwrap();
    if !is_there {
        for name in ["package.json", "package-lock.json"] {
            fs::copy(from.join(name), folder.join(name)).unwrap();
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let ran = Command::new("npm").args(install).current_dir(&folder).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        fs::write(folder.join("installed"), lock).unwrap();
    }
    folder
}

/// Goes to the provider and back up to the address it comes back with.
fn away_and_back(browser: &mut Browser, api: &Api, to: &str) -> String {
    let ours = format!("http://{}/sign-in/callback", api.host);
    browser.follow(&format!("http://{}/sign-in/oidc?to={to}", api.host), |at| at.starts_with(&ours))
}

#[test]
fn somebody_signs_in_with_the_roles_of_their_groups() {
    for groups in ["tokens", "userinfo"] {
        let provider = Provider::start(groups);
        let api = signing_in(&provider.issuer, "");
        let mut browser = Browser::default();
        assert!(!browser.is_signed_in(&api));
        let back = away_and_back(&mut browser, &api, "%2Fruns%2Frun_1%3Fafter%3D2");
        let landed = browser.open(&back);
        assert_eq!((landed.status, landed.header("location")), (303, Some("/runs/run_1?after=2")));
        assert!(browser.is_signed_in(&api), "{groups}");
        let kept = kept_sessions(&api);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0]["principal"]["roles"], json!(["approver", "finance"]), "{kept:?}");
        let id = kept[0]["principal"]["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("person:oidc-") && !id.contains("mira"), "{id}");
        let session = landed.headers.iter().find(|(_, value)| value.starts_with("harness="));
        let session = &session.unwrap().1;
        assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax"), "{session}");

        // A code works once, and the browser forgot what it kept.
        assert_eq!(browser.cookie(&api.host, "harness-away"), None);
        let again = browser.open(&back);
        assert_eq!(again.header("location"), Some("/sign-in?refused=1"), "{again:?}");
        assert_eq!(Browser::default().open(&back).header("location"), Some("/sign-in?refused=1"));
        // The same person is the same principal the next time.
        let mut browser = Browser::default();
        let back = away_and_back(&mut browser, &api, "%2F");
        browser.open(&back);
        assert!(kept_sessions(&api).iter().all(|session| session["principal"]["id"] == *id));
        assert_eq!(kept_sessions(&api).len(), 2);
    }
}

/// Sessions as the store keeps them: without anything a browser could show.
fn kept_sessions(api: &Api) -> Vec<Value> {
    let file = api.office.path("store/harness.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    let mut rows = db.prepare("SELECT body FROM documents WHERE kind = 'session'").unwrap();
    let all = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    all.map(|body| serde_json::from_slice(&body.unwrap()).unwrap()).collect()
}

/// Whoever came through the provider decides as everybody else does, with the roles of their groups.
#[test]
fn somebody_who_signed_in_decides_on_the_page() {
    let provider = Provider::start("tokens");
    let api = signing_in(&provider.issuer, "");
    let door = Browser::default().open(&format!("http://{}/sign-in", api.host));
    assert!(door.body.contains("/sign-in/oidc"), "{door:?}");
    let ulla = api.token("ulla", &[]);
    let body = json!({"intent": "contract_field_change", "inputs": {
        "account": "ACC-0007", "field": "PaymentTermsDays", "value": "45",
        "reason": "as agreed in the call"}, "wait_ms": 20_000});
    let run = id_of(&api.post(&ulla, "/v1/intents", &body).ok());
    let detail = api.get(&ulla, &format!("/v1/runs/{run}")).ok();
    let approval = detail["waiting_for"][0].as_str().unwrap().to_owned();

    // The way of a mailed link: to the card, through the door, to the provider, and back to the card.
    let card = format!("/approvals/{approval}");
    let mut browser = Browser::default();
    let sent = browser.open(&format!("http://{}{card}", api.host));
    assert!(sent.header("location").unwrap().starts_with("/sign-in?to="), "{sent:?}");
    let back = away_and_back(&mut browser, &api, &card);
    assert_eq!(browser.open(&back).header("location"), Some(card.as_str()));
    let page = browser.open(&format!("http://{}{card}", api.host));
    let value = |name: &str| {
        let after = page.body.split(&format!("name=\"{name}\" value=\"")).nth(1);
        after.unwrap_or_else(|| panic!("no {name}")).split('"').next().unwrap().to_owned()
    };
    let form =
        format!("form_token={}&verb=approve&digest={}", value("form_token"), value("digest"));
    let cookie = browser.cookie(&api.host, "harness").unwrap();
    let length = form.len();
    let text = format!(
        "POST {card} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: harness={cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}",
        api.host
    );
    let decided = send(&api.host, text.as_bytes());
    assert_eq!(decided.status, 303, "{decided:?}");
    let events = api.get(&ulla, &format!("/v1/runs/{run}/events")).ok();
    let answered = events["items"].as_array().unwrap().iter().find(|e| e["kind"] == "answered");
    assert!(answered.unwrap().to_string().contains("person:oidc-"), "{events}");
}

#[test]
fn whose_groups_mean_nothing_is_refused_or_only_looks_as_configured() {
    let provider = Provider::start("tokens");
    provider.greets("lars");
    let strict = signing_in(&provider.issuer, "");
    let mut browser = Browser::default();
    let back = away_and_back(&mut browser, &strict, "%2F");
    assert_eq!(browser.open(&back).header("location"), Some("/sign-in?refused=group"));
    assert!(!browser.is_signed_in(&strict));

    let open = signing_in(&provider.issuer, "others = \"viewer\"");
    let mut browser = Browser::default();
    let back = away_and_back(&mut browser, &open, "%2F");
    assert_eq!(browser.open(&back).header("location"), Some("/"));
    assert!(browser.is_signed_in(&open));
}

#[test]
fn an_answer_counts_only_in_the_browser_that_asked_and_leads_nowhere_else() {
    let provider = Provider::start("tokens");
    let api = signing_in(&provider.issuer, "");
    // Somebody else's answer: what an attacker sends to a victim to sign them in as the attacker.
    let mut attacker = Browser::default();
    let back = away_and_back(&mut attacker, &api, "%2F");
    let mut victim = Browser::default();
    away_and_back(&mut victim, &api, "%2F");
    assert_eq!(victim.open(&back).header("location"), Some("/sign-in?refused=1"));
    assert!(!victim.is_signed_in(&api));

    let mut browser = Browser::default();
    let back = away_and_back(&mut browser, &api, "%2F");
    let state = field(&back, "state");
    let wrong = back.replace(&state, &"0".repeat(state.len()));
    assert_eq!(browser.open(&wrong).header("location"), Some("/sign-in?refused=1"));
    assert!(!browser.is_signed_in(&api), "another state");

    for away in
        ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2F%5Cevil.example", "%2F%250a"]
    {
        let mut browser = Browser::default();
        let back = away_and_back(&mut browser, &api, away);
        let landed = browser.open(&back);
        let to = landed.header("location").unwrap();
        assert!(to == "/" || to == "/%0a", "{away}: {to}");
    }
    // A page that is too long to keep is no reason not to be signed in.
    let mut browser = Browser::default();
    let back = away_and_back(&mut browser, &api, &format!("%2F{}", "a".repeat(4_000)));
    assert_eq!(browser.open(&back).header("location"), Some("/"));
}

#[test]
fn the_request_is_bound_to_its_answer_three_times() {
    let provider = Provider::start("tokens");
    let api = signing_in(&provider.issuer, "");
    let leaves = || {
        let answer = Browser::default().open(&format!("http://{}/sign-in/oidc", api.host));
        answer.header("location").unwrap().to_owned()
    };
    let (one, other) = (leaves(), leaves());
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(field(&one, name), field(&other, name), "{name}");
        assert!(field(&one, name).len() >= 43, "{name}");
    }
    assert_eq!(field(&one, "code_challenge_method"), "S256");
    assert_eq!(field(&one, "response_type"), "code");
    assert_eq!(field(&one, "redirect_uri"), format!("http://{}/sign-in/callback", api.host));
    assert!(!one.contains(SECRET));
}

#[test]
fn a_provider_that_is_gone_is_told_and_other_ways_in_stay() {
    let api = signing_in("http://127.0.0.1:1", "");
    let answer = Browser::default().open(&format!("http://{}/sign-in/oidc", api.host));
    assert_eq!(answer.refused(503), "provider-silent");
    let ulla = api.token("ulla", &[]);
    api.get(&ulla, "/v1/runs").ok();
    let without = Api::open();
    let answer = Browser::default().open(&format!("http://{}/sign-in/oidc", without.host));
    assert_eq!(answer.refused(404), "no-provider");
    assert_eq!(json!(answer.json()["kind"]), "not_found");
}
