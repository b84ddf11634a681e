//! Cassettes: recorded once, played without a network, refused where anything differs.

use std::{fs, sync::Arc};

use models::{ApiKind, Cassette, Error, Model, Order, Provider, Streaming};

use crate::{
    server::{Answer, Server},
    talk::{CANARY, ask, client, client_of, hear, opening, prompt, say, user},
    wires::fixture,
};

#[tokio::test]
async fn a_recording_plays_without_a_network_and_refuses_what_it_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    for api in ApiKind::ALL {
        let path = folder.path().join(api.name());
        let answers = ["stream.sse", "plain.json"].map(|name| Answer::of(&fixture(api, name)));
        let server = Server::script(answers.to_vec()).await;
        let live = Arc::new(client(api, &server.url, Streaming::On));
        let recorder = Cassette::record(live, &path).unwrap();
        let first = say(None, 1, &opening());
        let one = recorder.ask(ask(&first)).await.unwrap();
        let second = say(Some(hear(first.clone(), &one)), 2, &prompt(1, vec![user("Sure?")]));
        let two = recorder.ask(ask(&second)).await.unwrap();
        let recorded = fs::read_to_string(&path).unwrap();
        assert_eq!(recorded.lines().count(), 3);
        assert!(!recorded.contains(CANARY) && !format!("{recorder:?}").contains(CANARY));

        for order in [Order::Strict, Order::ByRequest] {
            let nobody = Provider::new("p", api, "http://127.0.0.1:1", "model-1");
            let player = Cassette::replay(Arc::new(client_of(nobody)), &path, order).unwrap();
            assert_eq!(player.ask(ask(&first)).await.unwrap(), one);
            let mut other = opening();
            other.output_tokens_max = 999;
            let error = player.ask(ask(&say(None, 1, &other))).await.unwrap_err();
            let Error::Unrecorded(why) = error else { panic!("{error}") };
            assert!(why.contains("999") || order == Order::Strict, "{why}");
            assert!(why.contains("differs in"), "{why}");
            assert_eq!(player.ask(ask(&second)).await.unwrap(), two);
            match order {
                Order::Strict => {
                    let error = player.ask(ask(&second)).await.unwrap_err();
                    assert!(error.to_string().contains("nothing more"), "{error}");
                }
                Order::ByRequest => {
                    assert_eq!(player.ask(ask(&second)).await.unwrap(), two);
                    assert_eq!(player.ask(ask(&first)).await.unwrap(), one, "in any order");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_cassette_is_refused_with_its_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, why) in [
        ("{\"format\":\"other\"}\n", "format"),
        ("{\"format\":\"harness.cassette/v1\"}\n{}\n", "line 2"),
        ("x\n", "line 1"),
    ] {
        fs::write(file.path(), text).unwrap();
        let model = Arc::new(client(ApiKind::OpenAi, "http://127.0.0.1:1", Streaming::On));
        let error = Cassette::replay(model, file.path(), Order::Strict).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
