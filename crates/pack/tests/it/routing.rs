//! The router against labelled requests, and its rules one by one.

use pack::{Request, Routed, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{customer_ops, load, small};

#[derive(Deserialize)]
struct Labelled {
    text: String,
    /// An intent, `none`, or `ask` for a request that must not be guessed.
    want: String,
}

fn labelled() -> Vec<Labelled> {
    let lines = include_str!("../data/router.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(text: &str) -> Request {
    Request { text: Some(text.to_owned()), ..Request::default() }
}

fn chosen(routed: &Routed) -> &str {
    match routed {
        Routed::One(one) => &one.intent,
        Routed::Tie { .. } => "ask",
        Routed::None { .. } => "none",
    }
}

#[test]
fn labelled_requests_find_their_intent_and_none_is_guessed_wrong() {
    let router = Router::new([&customer_ops()]);
    let all = labelled();
    let (mut right, mut wrong, mut missed) = (0, String::new(), String::new());
    for request in &all {
        let routed = router.route(&text(&request.text));
        let got = chosen(&routed);
        // Asking where nothing fits is as good as saying so: neither acts.
        let same = got == request.want || (request.want == "ask" && got == "none");
        match routed {
            _ if same => right += 1,
            Routed::One(one) => wrong.push_str(&format!("{} -> {one:?}\n", request.text)),
            other => {
                missed.push_str(&format!("{} ({}) -> {other:?}\n", request.text, request.want))
            }
        }
    }
    let percent = f64::from(right) * 100.0 / all.len() as f64;
    println!("{right} of {} right: {percent:.1} %\nmissed:\n{missed}", all.len());
    assert!(all.len() >= 200);
    assert!(wrong.is_empty(), "confident and wrong:\n{wrong}");
    assert!(percent >= 95.0, "{percent} %\n{missed}");
}

/// Requests written by somebody who had read the intents' titles and not the router, and never tuned for.
#[test]
fn requests_it_has_never_seen_are_asked_about_rather_than_guessed() {
    let router = Router::new([&customer_ops()]);
    let lines = include_str!("../data/router_held_out.jsonl").lines();
    let all: Vec<Labelled> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut right, mut wrong, mut asked) = (0, Vec::new(), Vec::new());
    for request in &all {
        let routed = router.route(&text(&request.text));
        let got = chosen(&routed);
        match routed {
            _ if got == request.want || (request.want == "ask" && got == "none") => right += 1,
            Routed::One(_) => wrong.push(format!("{} -> {got}", request.text)),
            _ => asked.push(format!("{} -> {got}", request.text)),
        }
    }
    println!("{right} of {} right; asked about: {asked:#?}", all.len());
    assert!(wrong.is_empty(), "confident and wrong: {wrong:#?}");
    assert!(right * 100 >= all.len() * 60, "{right} of {}: {asked:#?}", all.len());
}

#[test]
fn a_named_intent_wins_and_a_near_name_is_offered() {
    let router = Router::new([&customer_ops()]);
    let named = |name: &str| {
        let request =
            Request { intent: Some(name.to_owned()), ..text("escalate the ticket 7000421") };
        router.route(&request)
    };
    for name in ["renewal_risk_review", "customer-ops/renewal_risk_review"] {
        let Routed::One(one) = named(name) else { panic!("{name}") };
        assert_eq!((one.intent.as_str(), one.score), ("renewal_risk_review", 1_000));
        assert_eq!(one.why, ["named explicitly"]);
    }
    let Routed::None { nearest } = named("renewal_risk_reviews") else {
        panic!("a near name is no name")
    };
    assert_eq!(nearest[0].intent, "renewal_risk_review");
    assert!(matches!(named("other/renewal_risk_review"), Routed::None { .. }));
}

#[test]
fn two_packs_with_one_intent_tie_until_the_pack_is_said() {
    let (one, mut other) = (load(&small()).unwrap().pack, load(&small()).unwrap().pack);
    other.manifest.name = "other".to_owned();
    let router = Router::new([&one, &other]);
    let Routed::Tie { candidates } = router.route(&text("check the account")) else {
        panic!("no tie")
    };
    assert_eq!(candidates.iter().map(|c| c.pack.as_str()).collect::<Vec<_>>(), ["other", "small"]);
    let named =
        |name: &str| router.route(&Request { intent: Some(name.to_owned()), ..Request::default() });
    assert!(matches!(named("check"), Routed::Tie { .. }));
    assert!(matches!(named("other/check"), Routed::One(one) if one.pack == "other"));
}

#[test]
fn inputs_alone_choose_only_where_one_intent_takes_them() {
    let router = Router::new([&customer_ops()]);
    let by_inputs =
        |inputs: Value| router.route(&Request { inputs: Some(inputs), ..Request::default() });
    assert_eq!(
        chosen(&by_inputs(json!({"account": "ACC-0042", "ticket": 7_000_421}))),
        "support_escalation"
    );
    assert_eq!(
        chosen(&by_inputs(json!({"account": "ACC-0042"}))),
        "ask",
        "two intents take just an account"
    );
    assert_eq!(chosen(&by_inputs(json!({"weather": "rain"}))), "none");
}

#[test]
fn inputs_that_an_intent_refuses_rule_it_out() {
    let router = Router::new([&customer_ops()]);
    let mut request = text("Escalate ticket 7000421 for ACC-0042");
    assert_eq!(chosen(&router.route(&request)), "support_escalation");
    request.inputs = Some(json!({"invoice": "in_000042_1"}));
    assert_ne!(chosen(&router.route(&request)), "support_escalation");
}

#[test]
fn the_answer_says_which_phrases_matched_and_does_not_depend_on_pack_order() {
    let (ops, small) = (customer_ops(), load(&small()).unwrap().pack);
    let request = text("Please review the renewal risk of ACC-0042");
    let one = Router::new([&ops, &small]).route(&request);
    assert_eq!(one, Router::new([&small, &ops]).route(&request));
    let Routed::One(one) = one else { panic!("{one:?}") };
    assert!(
        one.why.iter().any(|why| why.contains("`Review the renewal risk of ACC-0042`")),
        "{:?}",
        one.why
    );
    assert!(one.why.iter().any(|why| why.contains("value for `account`")), "{:?}", one.why);
}
