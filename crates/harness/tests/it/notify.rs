//! Who waits for whom is told outside: real peers on loopback that refuse, dawdle, die and check for
//! themselves (C167, C185).

mod channels;
mod mail;
mod peer;
mod slack;
mod webhooks;

use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{Office, Serving, id_of};
use peer::{Heard, Peer};

/// The secret of every webhook here.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/// What the secret file of an office holds, and its reference.
fn secret(office: &Office, name: &str, value: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = office.path(&format!("secrets/{name}"));
    std::fs::write(&path, value).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("file:{}", path.display())
}

/// Adds lines to an office's configuration.
fn configure(office: &Office, more: &str) {
    let config = std::fs::read_to_string(office.config()).unwrap();
    std::fs::write(office.config(), format!("{config}\n{more}")).unwrap();
}

/// A webhook to this peer, in words of the configuration.
fn webhook(office: &Office, peer: &Peer, more: &str) -> String {
    let secret = secret(office, "hook", SECRET);
    format!("[[notify.webhook]]\nurl = \"{}/hook\"\nsecret = \"{secret}\"\n{more}\n", peer.url())
}

/// An office that tells a peer.
fn told(peer: &Peer, notify: &str, more: &str) -> Office {
    let office = Office::open();
    let hook = webhook(&office, peer, more);
    configure(&office, &format!("[notify]\n{notify}\n{hook}"));
    office
}

fn change(account: &str) -> Value {
    json!({"intent": "contract_field_change", "inputs": {
        "account": account, "field": "PaymentTermsDays", "value": "45",
        "reason": "as agreed in the call"}, "wait_ms": 20_000})
}

/// A run that asks: its id and its approval's.
fn asks(api: &Api, account: &str) -> (String, String) {
    let ulla = api.token("ulla", &[]);
    let submitted = api.post(&ulla, "/v1/intents", &change(account)).ok();
    assert_eq!(submitted["run"]["status"], "asking", "{submitted}");
    let run = id_of(&submitted);
    let detail = api.get(&ulla, &format!("/v1/runs/{run}")).ok();
    (run, detail["waiting_for"][0].as_str().unwrap().to_owned())
}

/// Approves it over the API, as mira.
fn approve(api: &Api, approval: &str) -> Value {
    let mira = api.token("mira", &[]);
    let shown = format!("/v1/approvals/{approval}");
    let digest = json!({"digest": api.get(&mira, &shown).ok()["digest"], "wait_ms": 20_000});
    api.decide(&mira, &shown, "approve", &digest).ok()
}

/// Nothing that was asked for stands in a message.
#[track_caller]
fn says_no_value(text: &str) {
    for value in ["ACC-0", "CTR-0", "PaymentTerms", "as agreed", "45", "Northwind", "@northwind"] {
        // Ids are hex and may hold any two digits.
        let found = match value {
            "45" => text.contains("\"45\"") || text.contains(" 45 "),
            other => text.contains(other),
        };
        assert!(!found, "{value} is told: {text}");
    }
}

/// Ends a server as a power cut would, and begins it again.
fn killed_and_back(api: &mut Api) {
    api.serving.take().unwrap().end("KILL");
    let (serving, host) = Serving::listening(&api.office);
    (api.serving, api.host) = (Some(serving), host);
}

/// What a peer heard, as a webhook of ours: checked, and its name, type and data.
#[track_caller]
fn checked(heard: &Heard) -> (String, String, Value) {
    heard.is_signed_with(SECRET);
    let body: Value = serde_json::from_str(&heard.body).unwrap();
    says_no_value(&heard.body);
    let id = heard.header("webhook-id").to_owned();
    (id, body["type"].as_str().unwrap().to_owned(), body["data"].clone())
}
