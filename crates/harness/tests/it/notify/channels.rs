//! One ask, told by every channel, is one record: whoever answers first, wherever, has answered it everywhere (C185).

use serde_json::{Value, json};

use super::{
    Peer, configure,
    mail::{MAIL, mails},
    slack::{Press, buttons, told_by_slack},
};
use crate::{
    api::{Api, Pages},
    support::Office,
};

/// Where somebody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Slack,
    Page,
    Terminal,
    Api,
}

const WAYS: [Way; 4] = [Way::Slack, Way::Page, Way::Terminal, Way::Api];

/// An ask and what every channel has of it.
struct Asked {
    run: String,
    approval: String,
    digest: String,
    /// The value of the button that approves.
    button: String,
}

impl Asked {
    /// An agent that is not ours calls a tool that changes something.
    fn by_an_agent(api: &Api, peer: &Peer, at: usize) -> Self {
        let agent = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
        let account = ["ACC-0007", "ACC-0008", "ACC-0042", "ACC-0009"][at];
        let arguments = json!({
            "account": account, "field": "PaymentTermsDays", "value": "45", "reason": "as agreed",
        });
        let body = json!({"arguments": arguments, "wait_ms": 20_000});
        let called = api.post(&agent, "/v1/tools/contract_field_change/call", &body).ok();
        assert_eq!(called["state"], "pending_approval", "{called}");
        let approval = called["asks"][0]["approval"].as_str().unwrap().to_owned();
        let heard = peer.next();
        assert!(heard.body.contains(&approval), "{heard:?}");
        let button = buttons(&heard.body).into_iter().find(|(action, _)| action == "approve");
        let mail = mails(api, "mira@office.example", at + 1).pop().unwrap().to_string();
        assert!(mail.contains(&format!("/approvals/{approval}")), "{mail}");
        let run = called["run"].as_str().unwrap().to_owned();
        let (shown, digest) = api.office.card(&run);
        assert_eq!(shown, approval, "the terminal shows it");
        let page = Pages::open(api, "mira").page(&format!("/approvals/{approval}"));
        assert!(page.contains(&digest), "the page shows what it binds");
        Self { run, approval, digest, button: button.unwrap().1 }
    }

    fn answer(&self, api: &Api, peer: &Peer, (way, verb): (Way, &str)) {
        let Self { approval, digest, .. } = self;
        match way {
            Way::Slack => {
                Press::by("U1", verb, &self.button, peer).at(api);
                peer.next();
            }
            Way::Page => {
                let fields = [("verb", verb), ("digest", digest), ("reason", "I say so")];
                Pages::open(api, "mira").submit(&format!("/approvals/{approval}"), &fields);
            }
            Way::Terminal => {
                let words = ["approval", verb, approval, "--digest", digest];
                let words = match verb {
                    "deny" => [&words[..], &["--reason", "I say so"]].concat(),
                    _ => words.to_vec(),
                };
                api.office.json_as("mira", &words);
            }
            Way::Api => {
                let mira = api.token("mira", &[]);
                let body = match verb {
                    "deny" => json!({"digest": digest, "reason": "I say so"}),
                    _ => json!({"digest": digest, "wait_ms": 1}),
                };
                api.decide(&mira, &format!("/v1/approvals/{approval}"), verb, &body);
            }
        }
    }

    fn events(&self, api: &Api) -> Vec<Value> {
        let ulla = api.token("ulla", &[]);
        let events = api.get(&ulla, &format!("/v1/runs/{}/events", self.run)).ok();
        events["items"].as_array().unwrap().clone()
    }
}

#[test]
fn an_ask_is_told_everywhere_and_answered_once_wherever_that_is() {
    let peer = Peer::start(&[]);
    let office = Office::open();
    configure(&office, &format!("[notify]\n{MAIL}"));
    let api = told_by_slack(office, &peer, "card");
    for (at, first) in WAYS.into_iter().enumerate() {
        let asked = Asked::by_an_agent(&api, &peer, at);
        asked.answer(&api, &peer, (first, "approve"));
        let ulla = api.token("ulla", &[]);
        let status = || api.get(&ulla, &format!("/v1/runs/{}", asked.run)).ok()["run"].clone();
        while status()["status"] != "succeeded" {
            assert_ne!(status()["status"], "failed", "{first:?}");
        }
        // Everybody else comes late, with another answer.
        for late in WAYS {
            asked.answer(&api, &peer, (late, "deny"));
        }
        assert_eq!(status()["status"], "succeeded", "{first:?}");
        let events = asked.events(&api);
        let answered: Vec<&Value> = events.iter().filter(|e| e["kind"] == "answered").collect();
        assert_eq!(answered.len(), 1, "{first:?}: {answered:#?}");
        assert!(answered[0].to_string().contains("person:mira"), "{answered:#?}");
        let open = api.office.json_as("mira", &["approval", "list"]).exits(0).document();
        assert_eq!(open["items"], json!([]), "{first:?}");
    }
    api.office.world.performed_nothing_twice();
}
