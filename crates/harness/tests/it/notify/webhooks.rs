//! Webhooks: signed, durable, under one name however often they are tried.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    approve, asks, change, checked, configure, killed_and_back,
    peer::{Peer, Say},
    told, webhook,
};
use crate::{
    api::Api,
    support::{Office, Serving, id_of},
};

#[test]
fn what_opens_and_closes_is_told_signed_under_one_name_however_often_it_is_tried() {
    let elsewhere = Peer::start(&[]);
    let redirect = Say::Status(307, format!("Location: {}/stolen\r\n", elsewhere.url()));
    let peer = Peer::start(&[Say::status(500), Say::HangUp, redirect, Say::status(429)]);
    let api = Api::of(told(&peer, "retry_ms = 20", ""));
    let (run, approval) = asks(&api, "ACC-0007");
    let tries: Vec<_> = (0..5).map(|_| peer.next()).collect();
    let (id, kind, data) = checked(&tries[0]);
    assert_eq!(kind, "approval.opened");
    assert_eq!((data["approval"].as_str(), data["run"].as_str()), (Some(&*approval), Some(&*run)));
    assert_eq!(data["roles"], json!(["approver"]), "{data}");
    assert!(data["link"].as_str().unwrap().ends_with(&format!("/approvals/{approval}")));
    assert!(data["expires_at"].is_string());
    for again in &tries {
        assert_eq!((checked(again).0, &again.body), (id.clone(), &tries[0].body), "the same again");
    }
    assert_eq!(elsewhere.rest().len(), 0, "nobody follows a redirect");

    assert_eq!(approve(&api, &approval)["status"], "succeeded");
    let (closed, kind, data) = checked(&peer.next());
    assert_eq!((kind.as_str(), data["state"].as_str()), ("approval.closed", Some("approved")));
    assert_eq!(data["decided_by"], "person:mira");
    assert_ne!(closed, id);
    assert!(peer.rest().is_empty(), "told once, it is not told again");
}

const TELLS: [(&str, &str); 5] = [
    (
        "pack.yaml",
        "schema: harness.pack/v1\nname: bell\nversion: 0.1.0\nowner: tests\ndescription: Tells people.\n\
         harness: \">=0.1\"\nasks: {operations: [people.tell], secrets: [], egress: []}\nroles: [finance]\nconstants: {}\n",
    ),
    (
        "connectors/people.yaml",
        "schema: harness.connector/v1\nname: people\nkind: builtin\n\
         defaults: {labels: {trust: verified, confidentiality: internal}, clearance: {confidentiality: internal}}\n\
         operations:\n  tell:\n    effect: write\n    egress: true\n    undo: none\n    retry: keyed\n    \
         summary: \"Tell {/to}: {/title}\"\n    request: {name: people.notify}\n    \
         input: {type: object, required: [to, title], additionalProperties: false, \
         properties: {to: {type: string}, title: {type: string}, text: {type: string}}}\n    \
         output: {type: object, required: [to, told]}\n",
    ),
    (
        "intents/tell.yaml",
        "schema: harness.intent/v1\nname: tell\ntitle: Tell them\ninput: {type: object, required: [title], \
         additionalProperties: false, properties: {title: {type: string}}}\nplaybook: tell\nagent: agent:bell\n\
         triggers: [tell them]\nexamples: []\nsubjects: {}\n",
    ),
    (
        "playbooks/tell.yaml",
        "schema: harness.playbook/v1\nname: tell\nsteps:\n  - id: tell\n    do: people.tell\n    with:\n      \
         to: finance\n      title: ${{ intent.title }}\n      text: The refund of 1,299.00 EUR is there.\n  \
         - id: result\n    return: ${{ steps.tell.output }}\n",
    ),
    (
        "policies/bell.cedar",
        "@id(\"bell.tell\")\n@reason(\"It tells people.\")\npermit (principal, action, resource);\n",
    ),
];

/// A run has something to say to people: through the gate, with a receipt, told once on the channels that approvals use;
/// what it says stays in the run.
#[test]
fn a_word_of_a_run_is_told_once_and_says_where_it_stands() {
    let peer = Peer::start(&[Say::status(500)]);
    let office = told(&peer, "retry_ms = 20", "events = [\"notice.posted\"]");
    for (name, text) in TELLS {
        let path = office.path("packs/bell").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    office.reconfigure("[\"packs/customer-ops\"]", "[\"packs/customer-ops\", \"packs/bell\"]");
    let title = "Invoice 42 is refunded";
    let inputs = json!({ "title": title }).to_string();
    let submit = ["intent", "submit", "tell", "--json", &inputs, "--idempotency-key", "k"];
    let submitted = office.json(&submit).exits(0).document();
    let run = id_of(&submitted);
    assert_eq!(submitted["run"]["status"], "asking", "what leaves and cannot be taken back asks");
    office.approve(&run).exits(0);
    let ended = office.json(&["run", "get", &run]).exits(0).document();
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    assert_eq!(ended["output"]["told"].as_array().unwrap().len(), 1, "{ended:#}");
    assert!(ended["actions"][0]["receipt"].is_string(), "{ended:#}");
    // Again under its key it is the same run, and nobody hears of it twice.
    office.json(&submit);
    let (_serving, _) = Serving::listening(&office);
    let first = peer.next();
    let (id, kind, data) = checked(&first);
    assert_eq!(kind, "notice.posted");
    assert_eq!((data["run"].as_str(), &data["roles"]), (Some(&*run), &json!(["finance"])));
    assert!(data["link"].as_str().unwrap().ends_with(&format!("/runs/{run}")), "{data}");
    assert!(!data.to_string().contains("Invoice") && !data.to_string().contains("1,299"), "{data}");
    let again = peer.next();
    assert_eq!((checked(&again).0, &again.body), (id, &first.body), "the same again");
    assert!(peer.rest().is_empty(), "heard once, it is not told again");
}

/// Where nobody can be told, it is said so, and nothing is written as if it had been.
#[test]
fn a_word_that_nobody_would_hear_fails_with_what_to_do() {
    let office = Office::open();
    for (name, text) in TELLS {
        let path = office.path("packs/bell").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    office.reconfigure("[\"packs/customer-ops\"]", "[\"packs/customer-ops\", \"packs/bell\"]");
    let inputs = json!({ "title": "x" }).to_string();
    let submitted = office.json(&["intent", "submit", "tell", "--json", &inputs]).document();
    let run = id_of(&submitted);
    office.approve(&run);
    let ended = office.json(&["run", "get", &run]).exits(0).document();
    let trouble = &ended["troubles"][0];
    assert_eq!((&trouble["class"], &trouble["landed"]), (&json!("permission"), &json!("no")));
    assert!(trouble["said"].as_str().unwrap().contains("[notify] in harness.toml"), "{trouble:#}");
}

#[test]
fn what_opened_while_nobody_served_is_told_and_so_is_how_it_ended() {
    let peer = Peer::start(&[]);
    let office = told(&peer, "", "");
    let submitted = office.submit_change("ACC-0007", 45, "alone");
    let first = office.card(&id_of(&submitted)).0;
    let (serving, _) = Serving::listening(&office);
    let (told, kind, data) = checked(&peer.next());
    assert_eq!((kind.as_str(), data["approval"].as_str()), ("approval.opened", Some(&*first)));
    serving.end("TERM");
    // One is opened and decided, one decided, one opened while nobody serves.
    let second = office.submit_change("ACC-0008", 45, "both");
    let (second, digest) = office.card(&id_of(&second));
    let yes = ["approval", "approve", &second, "--digest", &digest];
    office.json_as("mira", &yes).exits(0);
    office.approve(&id_of(&submitted)).exits(0);
    let third = office.card(&id_of(&office.submit_change("ACC-0009", 45, "third"))).0;
    let (_serving, _) = Serving::listening(&office);
    // Ended before it noted that it was heard, the server says the same again under the same name.
    let notices = std::iter::repeat_with(|| checked(&peer.next())).filter(|(id, ..)| *id != told);
    let all: BTreeSet<_> = notices
        .take(4)
        .map(|(_, kind, data)| (kind, data["approval"].as_str().unwrap().to_owned()))
        .collect();
    let wanted = [
        ("approval.closed", &first),
        ("approval.closed", &second),
        ("approval.opened", &second),
        ("approval.opened", &third),
    ];
    assert_eq!(all, wanted.map(|(kind, id)| (kind.to_owned(), id.clone())).into());
}

#[test]
fn killed_before_it_was_heard_it_is_told_again_under_the_same_name() {
    let peer = Peer::start(&[Say::Hold]);
    let mut api = Api::of(told(&peer, "", ""));
    asks(&api, "ACC-0007");
    let held = checked(&peer.next());
    killed_and_back(&mut api);
    assert_eq!(checked(&peer.next()), held, "the very same");
    killed_and_back(&mut api);
    let (_, second) = asks(&api, "ACC-0008");
    // Killed once more in the moment it was heard, it may come again, but only as the same.
    let next = std::iter::repeat_with(|| checked(&peer.next())).find(|next| *next != held);
    assert_eq!(next.unwrap().2["approval"], json!(second));
}

/// However a receiver behaves and however often the sender dies: what was opened is told, each under one
/// name, and names are not shared (C098).
#[test]
fn what_was_opened_is_told_at_least_once_under_one_name() {
    const ACCOUNTS: u32 = 9;
    let peer = Peer::start(&[]);
    let moods = [Say::status(503), Say::HangUp, Say::status(200), Say::status(404), Say::HangUp];
    for turn in 0..40_usize {
        peer.will_say(moods[turn * turn % moods.len()].clone());
    }
    let mut api =
        Api::of(told(&peer, "retry_ms = 20\ntries = 60", "events = [\"approval.opened\"]"));
    let mut opened = BTreeSet::new();
    for account in 1..=ACCOUNTS {
        opened.insert(asks(&api, &format!("ACC-000{account}")).1);
        if account % 3 == 0 {
            killed_and_back(&mut api);
        }
    }
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while names.len() < opened.len() {
        let (id, _, data) = checked(&peer.next());
        names.entry(data["approval"].as_str().unwrap().to_owned()).or_default().insert(id);
    }
    assert_eq!(names.keys().cloned().collect::<BTreeSet<_>>(), opened);
    let all: Vec<_> = names.values().flatten().collect();
    assert!(names.values().all(|ids| ids.len() == 1), "{names:?}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), opened.len(), "{names:?}");
}

#[test]
fn a_dead_receiver_holds_up_nobody_and_is_given_up_where_doctor_shows_it() {
    let dead = Peer::start(&vec![Say::Hold; 64]);
    let sour = Peer::start(&vec![Say::status(500); 64]);
    let gone = Peer::start(&[Say::status(410)]);
    let well = Peer::start(&[]);
    let office = Office::open();
    let hooks: Vec<String> =
        [&dead, &sour, &gone, &well].map(|peer| webhook(&office, peer, "")).to_vec();
    configure(&office, &format!("[notify]\ntries = 2\nretry_ms = 20\n{}", hooks.concat()));
    let api = Api::of(office);
    let mut heard = BTreeSet::new();
    for account in ["ACC-0001", "ACC-0002", "ACC-0003", "ACC-0004", "ACC-0005", "ACC-0006"] {
        asks(&api, account);
        heard.insert(checked(&well.next()).0);
    }
    assert_eq!(heard.len(), 6, "each at once, while another hangs");
    let names = |diagnosis: &Value| -> Value {
        let checks = diagnosis["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == "notices").unwrap().clone()
    };
    loop {
        let check = names(&api.office.json(&["doctor"]).exits(0).document());
        let found = check["found"].as_str().unwrap();
        let counts = |host: &str| found.matches(host).count();
        if counts(&sour.url()) == 6 && counts(&gone.url()) >= 1 {
            assert_eq!(check["result"], "warning", "{check}");
            assert!(found.contains("after 2 tries: the receiver answered 500"), "{check}");
            assert!(found.contains("after 1 try: the receiver answered 410"), "{check}");
            break;
        }
    }
    assert_eq!(sour.rest().len(), 12, "as often as declared, and not once more");
}

#[test]
fn exceptions_are_told_and_only_what_a_receiver_wants() {
    let (all, some) = (Peer::start(&[]), Peer::start(&[]));
    let office = Office::open();
    let hooks =
        [webhook(&office, &all, ""), webhook(&office, &some, "events = [\"exception.closed\"]")];
    configure(&office, &hooks.concat());
    let api = Api::of(office);
    api.office.world.fault(&json!({
        "system": "crm", "operation": "crm.get_account", "kind": "403",
    }));
    let ulla = api.token("ulla", &[]);
    let run = id_of(&api.post(&ulla, "/v1/intents", &change("ACC-0007")).ok());
    let (_, kind, data) = checked(&all.next());
    assert_eq!(kind, "exception.opened");
    assert_eq!((data["run"].as_str(), data["class"].as_str()), (Some(&*run), Some("permission")));
    api.office.world.heal();
    let id = data["exception"].as_str().unwrap();
    // The run fails by it, and says so.
    api.office.json(&["exception", "settle", id, "stop", "--evidence", "looked into it"]).exits(8);
    let (_, kind, data) = checked(&some.next());
    assert_eq!((kind.as_str(), data["exception"].as_str()), ("exception.closed", Some(id)));
    assert_eq!(data["decided_by"], "person:ulla");
    assert!(some.rest().is_empty());
}

#[test]
fn what_leads_inside_or_is_not_encrypted_does_not_start() {
    for (url, code) in [
        ("http://hooks.example.org/x", "notify-invalid"),
        ("https://169.254.169.254/latest", "notify-invalid"),
        ("https://10.0.0.7/x", "notify-invalid"),
        ("https://[::ffff:10.0.0.7]/x", "notify-invalid"),
        ("https://user:word@hooks.example.org/x", "notify-invalid"),
        ("not an address", "notify-invalid"),
    ] {
        let office = Office::open();
        let hook = format!("[[notify.webhook]]\nurl = \"{url}\"\nsecret = \"env:NONE\"\n");
        configure(&office, &hook);
        assert_eq!(office.json(&["run", "list"]).exits(2).problem()["code"], code, "{url}");
    }
    let office = Office::open();
    configure(
        &office,
        "[[notify.webhook]]\nurl = \"https://a.example\"\nsecret = \"whsec_AAAA\"\n",
    );
    let refused = office.json(&["run", "list"]).exits(2).problem();
    assert!(!refused.to_string().contains("whsec_AAAA"), "{refused}");
    let office = Office::open();
    let listed = "[notify]\nprivate_hosts = [\"10.0.0.7\"]\n[[notify.webhook]]\n\
                  url = \"https://10.0.0.7/x\"\nsecret = \"env:NONE\"\n";
    configure(&office, listed);
    office.json(&["run", "list"]).exits(0);
    let unresolved = office.json(&["doctor"]).exits(10).document();
    assert!(unresolved.to_string().contains("NONE is not set"), "{unresolved}");
}
