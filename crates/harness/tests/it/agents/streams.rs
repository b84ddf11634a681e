//! What is told while a model speaks: without secrets, however it cuts them (C150).

use std::path::Path;

use harness::app::{
    App, Caller,
    config::{Config, Overrides},
    host::Lock,
    ops,
    speech::Said,
};
use serde_json::json;

use super::{
    model::{Model, Says},
    office,
};
use crate::support::Office;

/// Bytes of a secret that are a leak by themselves.
const PIECE_BYTES: usize = 8;

/// What somebody hears who listens while this is said in these pieces, piece by piece, and what is left in the end.
async fn heard_of(office: &Office) -> (Vec<String>, String) {
    let overrides = Overrides { config: Some(office.config()), ..Overrides::default() };
    let config = Config::load(&overrides, Path::new(office.dir())).unwrap();
    let lock = Lock::take(&config.store).unwrap().unwrap();
    let caller = Caller::person(&config, &config.me).unwrap();
    let app = App::open(config, lock).await.unwrap();
    let mut listening = app.speech().listen();
    let task = json!({ "task": "Say all that you know", "wait_ms": 600_000 });
    let ran = ops::call(&app, &caller, "run.start", task).await.unwrap();
    let mut heard = Vec::new();
    while let Ok(piece) = listening.try_recv() {
        match piece.said {
            Said::Text(text) => heard.push(text),
            other => panic!("{other:?}"),
        }
    }
    app.shut_down().await.unwrap();
    (heard, ran["output"].as_str().unwrap().to_owned())
}

/// A model streams a secret of the company in pieces of one, three and seven characters, and whole: whoever listens
/// hears its mark where it was, and never a part of it; what is said around it is heard as it was said.
#[tokio::test]
async fn a_secret_that_is_streamed_in_pieces_reaches_no_listener() {
    for size in [1, 3, 7, 10_000] {
        let model = Model::start([]);
        let office = office(&model);
        office.reconfigure("streaming = \"off\"", "streaming = \"on\"");
        let secret = office.world.token("crm");
        assert!(secret.len() > 2 * PIECE_BYTES, "one that can be cut");
        let words = "and so it goes on and on ".repeat(12);
        let said = format!("{words}{secret} {words}the end");
        let letters: Vec<char> = said.chars().collect();
        let pieces: Vec<String> =
            letters.chunks(size).map(|piece| piece.iter().collect()).collect();
        model.says(Says::Streams(pieces));
        let (heard, output) = heard_of(&office).await;
        let whole = heard.concat();
        assert!(heard.len() > 1, "told on the way, not at the end: {heard:?}");
        assert_eq!(whole, said.replace(&secret, "[secret:crm_token]"), "in pieces of {size}");
        assert_eq!(whole, output);
        for at in 0..=secret.len() - PIECE_BYTES {
            let part = &secret[at..at + PIECE_BYTES];
            assert!(heard.iter().all(|piece| !piece.contains(part)), "in pieces of {size}: {part}");
            assert!(!whole.contains(part));
        }
    }
}
