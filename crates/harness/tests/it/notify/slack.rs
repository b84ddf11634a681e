//! A Slack-shaped peer: what the channel sees, and buttons that decide as everything else does.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Peer, approve, asks, configure, says_no_value, secret};
use crate::{
    api::{Answer, Api, send},
    support::Office,
};

const SIGNING: &str = "8f742231b10e8888abcd99yyyzzz85a5";

fn office(peer: &Peer, show: &str) -> Api {
    told_by_slack(Office::open(), peer, show)
}

pub(super) fn told_by_slack(office: Office, peer: &Peer, show: &str) -> Api {
    let signing = secret(&office, "slack", SIGNING);
    let url = secret(&office, "slack-url", &format!("{}/services/T0/B0/x", peer.url()));
    configure(
        &office,
        &format!(
            "[notify.slack]\nurl = \"{url}\"\nsigning_secret = \"{signing}\"\nshow = \"{show}\"\n\
             users = {{ U1 = \"mira\", U2 = \"ulla\", U3 = \"lars\", U4 = \"ada\" }}\n"
        ),
    );
    Api::of(office)
}

/// Somebody who presses, as Slack says it.
pub(super) struct Press<'a> {
    user: &'a str,
    action: &'a str,
    value: &'a str,
    answer_at: String,
    /// Seconds from now.
    shifted: i64,
    secret: &'a str,
}

impl<'a> Press<'a> {
    pub(super) fn by(user: &'a str, action: &'a str, value: &'a str, peer: &Peer) -> Self {
        let answer_at = format!("{}/actions/1", peer.url());
        Self { user, action, value, answer_at, shifted: 0, secret: SIGNING }
    }

    pub(super) fn at(&self, api: &Api) -> Answer {
        let payload = json!({
            "type": "block_actions", "user": {"id": self.user, "username": "x", "team_id": "T0"},
            "team": {"id": "T0"}, "trigger_id": "1.2", "response_url": self.answer_at,
            "actions": [{"action_id": self.action, "block_id": "b", "type": "button",
                         "value": self.value, "action_ts": "1"}],
        });
        let body = format!("payload={}", percent(&payload.to_string()));
        let seconds = jiff::Timestamp::now().as_second() + self.shifted;
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(format!("v0:{seconds}:{body}").as_bytes());
        let bytes = mac.finalize().into_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let head =
            format!("X-Slack-Request-Timestamp: {seconds}\r\nX-Slack-Signature: v0={hex}\r\n");
        hook(api, &head, &body)
    }
}

fn hook(api: &Api, head: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!(
        "POST /hooks/slack HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{head}Content-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}",
        api.host
    );
    send(&api.host, text.as_bytes())
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The buttons of a message: action and value.
pub(super) fn buttons(body: &str) -> Vec<(String, String)> {
    let body: Value = serde_json::from_str(body).unwrap();
    let blocks = body["blocks"].as_array().unwrap();
    let actions = blocks.iter().find(|block| block["type"] == "actions").unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let elements = actions["elements"].as_array().unwrap().iter();
    elements.map(|e| (text(&e["action_id"]), text(&e["value"]))).collect()
}

#[test]
fn a_channel_that_sees_no_card_gets_no_button_that_decides() {
    let peer = Peer::start(&[]);
    let api = office(&peer, "ids");
    let (_, approval) = asks(&api, "ACC-0007");
    let heard = peer.next();
    assert_eq!(heard.path, "/services/T0/B0/x");
    says_no_value(&heard.body);
    assert!(heard.body.contains(&format!("/approvals/{approval}")));
    assert_eq!(buttons(&heard.body).len(), 1, "only the link: {}", heard.body);
}

#[test]
fn a_button_decides_as_everything_else_does_and_the_others_are_told_who_was_faster() {
    let peer = Peer::start(&[]);
    let api = office(&peer, "card");
    let (run, approval) = asks(&api, "ACC-0007");
    let heard = peer.next();
    let value = buttons(&heard.body).into_iter().find(|(action, _)| action == "approve").unwrap().1;
    let carried: Value = serde_json::from_str(&value).unwrap();
    let mira = api.token("mira", &[]);
    let card = api.get(&mira, &format!("/v1/approvals/{approval}")).ok();
    assert_eq!((&carried["approval"], &carried["digest"]), (&json!(approval), &card["digest"]));
    assert!(heard.body.contains(card["digest"].as_str().unwrap()), "the card says what it decides");

    // Those who may not: who asked for it, a viewer, an admin, somebody nobody declared.
    for (user, why) in [("U2", "Nothing"), ("U3", "Nothing"), ("U4", "Nothing"), ("U9", "Nobody")] {
        let told = Press::by(user, "approve", &value, &peer).at(&api).ok();
        assert!(told["text"].as_str().unwrap().starts_with(why), "{user}: {told}");
        let heard = peer.next();
        assert_eq!(heard.path, "/actions/1");
        assert!(heard.body.contains(why), "{heard:?}");
    }
    let other = json!({"approval": approval, "digest": format!("sha256:{}", "0".repeat(64))});
    let told = Press::by("U1", "approve", &other.to_string(), &peer).at(&api).ok();
    assert!(told["text"].as_str().unwrap().starts_with("Nothing was decided"), "{told}");
    peer.next();
    assert!(api.office.writes().is_empty(), "nothing was decided");

    let told = Press::by("U1", "approve", &value, &peer).at(&api).ok();
    assert_eq!(told["text"], "Approved by person:mira. It goes on as shown.");
    peer.next();
    // Pressed again, and by others: nothing is decided twice, and everybody learns who did.
    for user in ["U1", "U2"] {
        for action in ["approve", "deny"] {
            let told = Press::by(user, action, &value, &peer).at(&api).ok();
            let text = told["text"].as_str().unwrap();
            assert!(text.contains("person:mira was faster (approved)"), "{user} {action}: {told}");
            peer.next();
        }
    }
    let ulla = api.token("ulla", &[]);
    let events = loop {
        let detail = api.get(&ulla, &format!("/v1/runs/{run}")).ok();
        if detail["run"]["status"] == "succeeded" {
            break api.get(&ulla, &format!("/v1/runs/{run}/events")).ok();
        }
    };
    let answers = events["items"].as_array().unwrap().iter().filter(|e| e["kind"] == "answered");
    assert_eq!(answers.count(), 1, "one record: {events}");
    api.office.world.performed_nothing_twice();
}

#[test]
fn a_button_denies_with_a_reason_and_what_somebody_else_decided_stands() {
    let peer = Peer::start(&[]);
    let api = office(&peer, "card");
    let (run, _) = asks(&api, "ACC-0007");
    let value = buttons(&peer.next().body)[1].1.clone();
    let told = Press::by("U1", "deny", &value, &peer).at(&api).ok();
    assert_eq!(told["text"], "Denied by person:mira.");
    peer.next();
    let ulla = api.token("ulla", &[]);
    assert_ne!(api.get(&ulla, &format!("/v1/runs/{run}")).ok()["run"]["status"], "succeeded");
    assert!(api.office.writes().is_empty());

    let (_, second) = asks(&api, "ACC-0008");
    let value = buttons(&peer.next().body)[1].1.clone();
    approve(&api, &second);
    let told = Press::by("U1", "deny", &value, &peer).at(&api).ok();
    assert!(told["text"].as_str().unwrap().contains("person:mira was faster (approved)"), "{told}");
}

/// Where a name at the terminal is not enough, Slack's signature about a listed person still is.
#[test]
fn a_button_decides_where_the_terminal_needs_a_token() {
    let peer = Peer::start(&[]);
    let office = Office::open();
    office.reconfigure("approvals.terminal = \"name\"", "approvals.terminal = \"token\"");
    let api = told_by_slack(office, &peer, "card");
    asks(&api, "ACC-0007");
    let value = buttons(&peer.next().body).into_iter().find(|(action, _)| action == "approve");
    let (_, value) = value.unwrap();
    let told = Press::by("U1", "approve", &value, &peer).at(&api).ok();
    assert_eq!(told["text"], "Approved by person:mira. It goes on as shown.");
}

#[test]
fn only_slack_is_heard_and_only_now() {
    let (peer, elsewhere) = (Peer::start(&[]), Peer::start(&[]));
    let api = office(&peer, "card");
    asks(&api, "ACC-0007");
    let value = buttons(&peer.next().body)[1].1.clone();
    let press = || Press::by("U1", "approve", &value, &peer);
    for forged in [
        Press { secret: "another-signing-secret", ..press() },
        Press { shifted: -301, ..press() },
        Press { shifted: 302, ..press() },
    ] {
        assert_eq!(forged.at(&api).refused(401), "not-signed");
    }
    for head in [
        "",
        "X-Slack-Request-Timestamp: x\r\nX-Slack-Signature: v0=\r\n",
        "X-Slack-Request-Timestamp: 9223372036854775807\r\nX-Slack-Signature: v0=00\r\n",
    ] {
        assert_eq!(hook(&api, head, "payload=%7B%7D").refused(401), "not-signed");
    }
    // A bearer token is no signature.
    let mira = api.token("mira", &[]);
    assert_eq!(api.post(&mira, "/hooks/slack", &json!({})).refused(401), "not-signed");
    assert!(api.office.writes().is_empty());

    // An answer goes to where the channel is, whatever the request says.
    let away = Press {
        answer_at: format!("{}/x", elsewhere.url().replace("127.0.0.1", "localhost")),
        ..press()
    };
    away.at(&api).ok();
    let told = press().at(&api).ok();
    assert!(told["text"].as_str().unwrap().contains("faster"), "{told}");
    assert_eq!(peer.next().path, "/actions/1");
    assert!(elsewhere.rest().is_empty());
}

#[test]
fn without_slack_there_is_no_hook() {
    let api = Api::open();
    assert_eq!(hook(&api, "", "payload=%7B%7D").refused(404), "hook-not-found");
}
