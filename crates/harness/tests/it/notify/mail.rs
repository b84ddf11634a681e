//! Mail to whoever holds the role, with a link that only opens the card.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Peer, SECRET, asks, checked, configure, says_no_value, secret};
use crate::{api::Api, support::Office};

pub(super) const MAIL: &str = "[notify.mail]\nsystem = \"smtp\"\nfrom = \"Harness <harness@office.example>\"\n\
                    [notify.mail.to]\napprover = [\"mira@office.example\"]\n\
                    chief = [\"boss@office.example\"]\n";

/// Mails to an address once there are so many.
pub(super) fn mails(api: &Api, to: &str, count: usize) -> Vec<Value> {
    loop {
        let all = api.office.world.mails();
        let theirs = all.into_iter().filter(|mail| mail["to"].to_string().contains(to));
        let theirs: Vec<Value> = theirs.collect();
        if theirs.len() >= count {
            return theirs;
        }
    }
}

#[test]
fn whoever_is_asked_gets_a_mail_without_values_whose_link_decides_nothing() {
    let office = Office::open();
    configure(&office, MAIL);
    let api = Api::of(office);
    let (_, approval) = asks(&api, "ACC-0007");
    let mail = mails(&api, "mira@office.example", 1).remove(0);
    let text = mail.to_string();
    says_no_value(&text);
    assert!(text.contains(&format!("/approvals/{approval}")), "{text}");
    // Looking at the link, as mail programs do, decides nothing.
    for path in [format!("/approvals/{approval}"), format!("/v1/approvals/{approval}/approve")] {
        let looked = api.get("", &path);
        assert!(looked.status != 200, "{looked:?}");
    }
    let mira = api.token("mira", &[]);
    api.get(&mira, &format!("/v1/approvals/{approval}")).ok();
    let writes = api.office.writes();
    assert!(writes.iter().all(|write| write["system"] == "mail"), "{writes:?}");
}

#[test]
fn nobody_answers_so_they_are_reminded_and_the_next_role_is_told_in_time() {
    let peer = Peer::start(&[]);
    let office = Office::open();
    let secret = secret(&office, "hook", SECRET);
    let hook = format!(
        "[[notify.webhook]]\nurl = \"{}/\"\nsecret = \"{secret}\"\n\
         events = [\"approval.reminder\", \"approval.escalated\", \"approval.closed\"]\n",
        peer.url()
    );
    office.reconfigure("approvals.terminal", "approvals.expires_ms = 4000\napprovals.terminal");
    configure(
        &office,
        &format!(
            "[notify]\nretry_ms = 20\nremind_at = [90, 40]\n\
             [notify.escalate]\nat = 20\nto = {{ approver = \"chief\" }}\n{MAIL}{hook}"
        ),
    );
    let api = Api::of(office);
    let (_, approval) = asks(&api, "ACC-0007");
    let told: Vec<_> = (0..4).map(|_| checked(&peer.next())).collect();
    let said: Vec<_> =
        told.iter().map(|(_, kind, data)| (kind.as_str(), data["percent_left"].as_u64())).collect();
    assert_eq!(
        said,
        [
            ("approval.reminder", Some(90)),
            ("approval.reminder", Some(40)),
            ("approval.escalated", Some(20)),
            ("approval.closed", None),
        ]
    );
    assert!(told.iter().all(|(_, _, data)| data["approval"] == *approval));
    assert_eq!(told.iter().map(|(id, ..)| id).collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(
        (told[2].2["escalated_to"].as_str(), told[3].2["state"].as_str()),
        (Some("chief"), Some("expired"))
    );
    assert_eq!(mails(&api, "boss@office.example", 1).len(), 1);
    assert_eq!(mails(&api, "mira@office.example", 3).len(), 3, "once, and two reminders");
}
