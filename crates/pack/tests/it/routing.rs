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
