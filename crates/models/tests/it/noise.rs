//! Whatever a server sends, nothing breaks: an answer or an error, and the conversation goes on.

use models::{ApiKind, Client, Contents, Http, Key, Model, Provider, Streaming};
use proptest::prelude::*;

use crate::{
    server::{Answer, Server},
    talk::{ask, client, hear, opening, prompt, reply, say, user},
    wires::fixture,
};

const FIXTURES: [&str; 4] = ["plain.json", "calls.json", "refusal.json", "stream.sse"];

/// What happens to an answer on its way.
#[derive(Clone, Debug)]
enum Harm {
    /// These bytes take the place of what stands there.
    Overwrite(usize, Vec<u8>),
    /// So many bytes are missing there.
    Drop(usize, usize),
    /// One value takes the place of another.
    Replace(&'static str, &'static str),
}

fn harm() -> impl Strategy<Value = Harm> {
    let values = prop::sample::select(vec![
        ("\"index\":0", "\"index\":99999999"),
        ("\"index\":0", "\"index\":-1"),
        ("\"content\":", "\"content\":7,\"x\":"),
        ("\"parts\":", "\"parts\":{},\"x\":"),
        ("\"output\":", "\"output\":\"x\",\"y\":"),
        ("\"type\":", "\"type\":null,\"z\":"),
        ("\"arguments\":", "\"arguments\":{\"a\":[1]},\"z\":"),
        ("\"function\":", "\"function\":[],\"z\":"),
        ("\"usage\":", "\"usage\":[],\"z\":"),
        ("tool", "\u{1f642}"),
    ]);
    prop_oneof![
        (0..4_000_usize, prop::collection::vec(any::<u8>(), 1..4))
            .prop_map(|(at, bytes)| Harm::Overwrite(at, bytes)),
        (0..4_000_usize, 1..400_usize).prop_map(|(at, count)| Harm::Drop(at, count)),
        values.prop_map(|(from, to)| Harm::Replace(from, to)),
    ]
}

fn harmed(raw: &str, harms: &[Harm]) -> Vec<u8> {
    let mut bytes = raw.as_bytes().to_vec();
    for harm in harms {
        match harm {
            Harm::Overwrite(at, with) => {
                let at = at % bytes.len().max(1);
                let end = (at + with.len()).min(bytes.len());
                bytes.splice(at..end, with.iter().copied());
            }
            Harm::Drop(at, count) => {
                let at = at % bytes.len().max(1);
                let end = (at + count).min(bytes.len());
                bytes.drain(at..end);
            }
            Harm::Replace(from, to) => {
                bytes = String::from_utf8_lossy(&bytes).replace(from, to).into_bytes();
            }
        }
    }
    bytes
}

async fn hears(api: ApiKind, raw: Vec<u8>, streaming: Streaming) {
    let answer = match streaming {
        Streaming::On => Answer::stream(vec![raw]),
        Streaming::Off => Answer { pieces: vec![raw], ..Answer::json("") },
    };
    let server = Server::script(vec![answer]).await;
    let client = client(api, &server.url, streaming);
    let thread = say(None, 1, &opening());
    let Ok(reply) = client.ask(ask(&thread)).await else { return };
    let journaled = kernel::canon::bytes(&reply).expect("it can be journaled");
    let back = kernel::canon::parse(&journaled).expect("and read back");
    assert_eq!(serde_json::from_value::<kernel::conversation::Reply>(back).unwrap(), reply);
    let next = say(Some(hear(thread, &reply)), 2, &prompt(1, vec![user("Sure?")]));
    let sent = client.request_bytes(&next, &Contents::default()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&sent).expect("a request is JSON");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_that_was_harmed_breaks_nothing(
        api in prop::sample::select(ApiKind::ALL.to_vec()),
        name in prop::sample::select(FIXTURES.to_vec()),
        harms in prop::collection::vec(harm(), 0..5),
    ) {
        let raw = harmed(&fixture(api, name), &harms);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let streaming = if name.ends_with(".sse") { Streaming::On } else { Streaming::Off };
        runtime.block_on(hears(api, raw, streaming));
    }

    #[test]
    fn a_journaled_reply_that_cannot_be_read_is_told_from_its_items(
        api in prop::sample::select(ApiKind::ALL.to_vec()),
        raw in ".{0,40}",
    ) {
        let configured = Provider::new("p", api, "http://127.0.0.1:1", "m");
        let client = Client::new(configured, Key::none(), &Http::default()).unwrap();
        let mut heard = reply(api, &raw);
        heard.items = vec![kernel::conversation::Item::Text { text: "I said this".to_owned() }];
        let thread = hear(say(None, 1, &opening()), &heard);
        let thread = say(Some(thread), 2, &prompt(1, vec![user("Sure?")]));
        let sent = String::from_utf8(client.request_bytes(&thread, &Contents::default()).unwrap()).unwrap();
        prop_assert!(sent.contains("I said this"), "{}", sent);
    }
}
