//! Decisions at the terminal with a token of the person (C173): typed when it is asked for, never shown,
//! never kept; a command without a terminal decides nothing.

use serde_json::Value;

use crate::{
    support::{Office, Ran},
    wrapped::{at_terminal, without_terminal},
};

fn office() -> Office {
    let office = Office::open();
    office.reconfigure("approvals.terminal = \"name\"\n", "");
    office
}

fn unattended(office: &Office, person: &str, words: &[&str]) -> Ran {
    let said = [&["--as", person][..], words, &["-o", "json"]].concat();
    Ran::of(&said, without_terminal(&office.command(&said)).output().unwrap())
}

fn at_a_terminal(office: &Office, person: &str, typed: &str, words: &[&str]) -> Ran {
    let said = [&["--as", person][..], words, &["-o", "json"]].concat();
    Ran::of(&said, at_terminal(&office.command(&said), typed).output().unwrap())
}

#[test]
fn a_decision_needs_the_persons_token_typed_at_a_terminal() {
    let office = office();
    let made = |person: &str| -> Value {
        unattended(&office, person, &["token", "create", "mine"]).exits(0).document()
    };
    let (mira, lars) = (made("mira"), made("lars"));
    let token = |made: &Value| made["token"].as_str().unwrap().to_owned();
    // Who has a token gets no other one without it.
    for words in [&["token", "create", "another"][..], &["token", "link"]] {
        let refused = unattended(&office, "mira", words).exits(4).problem();
        assert_eq!(refused["code"], "token-needed", "{words:?}");
    }
    let run = crate::support::id_of(&office.submit_change("ACC-0007", 45, "typed"));
    let (approval, digest) = office.card(&run);
    let words = ["approval", "approve", &approval, "--digest", &digest];
    let before = office.world.hash();
    let refused = unattended(&office, "mira", &words).exits(4).problem();
    assert_eq!(refused["code"], "token-needed");
    for typed in [token(&lars), "hns_nothing".to_owned()] {
        let shown = at_a_terminal(&office, "mira", &typed, &words);
        assert_eq!(shown.code, 4, "{shown:?}");
        assert!(shown.stdout.contains("not-signed-in"), "{shown:?}");
    }
    assert_eq!(office.world.hash(), before, "nothing was decided");

    let typed = token(&mira);
    let shown = at_a_terminal(&office, "mira", &typed, &words);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("succeeded"), "{shown:?}");
    assert!(!shown.stdout.contains(&typed), "what is typed is not shown");
    // Nothing of it is kept in the clear.
    for (path, bytes) in crate::support::files(office.dir()) {
        assert!(!crate::support::holds(&bytes, &typed), "{} holds it", path.display());
    }
}

/// A link made with a token signs in to what the token may do.
#[test]
fn a_link_made_with_a_token_does_no_more_than_the_token() {
    let office = office();
    let words = ["token", "create", "mine", "--scope", "read"];
    let made = unattended(&office, "mira", &words).exits(0).document();
    let typed = made["token"].as_str().unwrap();
    let shown = at_a_terminal(&office, "mira", typed, &["token", "link"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let link = shown.stdout.split("link=").nth(1).unwrap();
    let link: String = link.chars().take_while(char::is_ascii_hexdigit).collect();
    let run = crate::support::id_of(&office.submit_change("ACC-0007", 45, "link"));
    let (approval, digest) = office.card(&run);
    let api = crate::api::Api::of(office);
    let pages = crate::api::Pages::with_link(&api, &link);
    let fields = [("verb", "approve"), ("digest", digest.as_str())];
    let answered = pages.submit(&format!("/approvals/{approval}"), &fields);
    assert_eq!(api.office.card(&run).0, approval, "it is still open: {answered:?}");
    assert!(api.office.writes().is_empty(), "{answered:?}");
}

#[test]
fn a_name_is_enough_where_the_operator_says_so() {
    let office = Office::open();
    let run = crate::support::id_of(&office.submit_change("ACC-0007", 45, "named"));
    let (approval, digest) = office.card(&run);
    let words = ["approval", "approve", &approval, "--digest", &digest];
    unattended(&office, "mira", &words).exits(0);
}
