//! A key is shown to its provider and to nobody else.

use std::{collections::BTreeMap, sync::Arc};

use models::{
    ApiKind, Ask, Auth, Client, Contents, Http, Key, Model, Models, Provider, Role, Streaming,
};

use crate::{
    server::{Answer, Server},
    talk::{CANARY, Heard, ask, client, opening, provider, say},
    wires::fixture,
};

fn check(what: &str, text: &str) {
    assert!(!text.contains(CANARY), "{what} shows the key: {text}");
}

/// C138: whatever is printed of a client, it is not its key.
#[tokio::test]
async fn nothing_prints_a_key() {
    for api in ApiKind::ALL {
        let server = Server::script(vec![Answer::of(&fixture(api, "plain.json"))]).await;
        let client = client(api, &server.url, Streaming::Off);
        let thread = say(None, 1, &opening());
        let reply = client.ask(ask(&thread)).await.unwrap();
        check("a client", &format!("{client:?} {:#?}", client.provider()));
        check("a reply", &serde_json::to_string(&reply).unwrap());
        check(
            "a request",
            &String::from_utf8_lossy(&client.request_bytes(&thread, &Contents::default()).unwrap()),
        );
        let models =
            Models::builder().client(client).role("main", Role::of(&["p"])).build().unwrap();
        check("models", &format!("{models:?} {:?}", models.operations()));
        check("status", &serde_json::to_string(&models.status()).unwrap());
    }
    let key = Key::new(format!("  {CANARY}\n"));
    check("a key", &format!("{key:?} {:#?}", Some(&key)));
}

#[tokio::test]
async fn a_server_that_repeats_the_key_does_not_bring_it_into_anything() {
    let in_text = format!(r#"{{"error":{{"message":"Incorrect API key provided: {CANARY}"}}}}"#);
    let in_json = fixture(ApiKind::OpenAi, "plain.json").replace("1 + 2", CANARY);
    let in_error = format!("data: {{\"error\":{{\"message\":\"no {CANARY}\"}}}}\n\n");
    let no_json = format!("data: {CANARY}\n\n");
    let in_stream = fixture(ApiKind::OpenAi, "stream.sse").replace("Größe", CANARY);
    let answers = [
        Answer::status(401, &in_text),
        Answer::status(500, CANARY),
        Answer::json(&in_json),
        Answer::json(&in_text),
        Answer::of(&in_error),
        Answer::of(&no_json),
        Answer::of(&in_stream),
    ];
    for answer in answers {
        let server = Server::script(vec![answer]).await;
        let client = client(ApiKind::OpenAi, &server.url, Streaming::On);
        let heard = Arc::new(Heard::default());
        let thread = say(None, 1, &opening());
        let listened = Ask { progress: Some(heard), ..ask(&thread) };
        let error = client.ask(listened).await.unwrap_err();
        check("an error", &format!("{error} {error:?}"));
        check("a failure", &format!("{:?}", error.into_failure("p")));
    }
}

#[test]
fn keys_do_not_stand_in_a_configuration() {
    for name in
        ["Authorization", "x-api-key", "API-Key", "cf-aig-authorization", "Cookie", "X-Token"]
    {
        let mut configured = provider(ApiKind::OpenAi, "http://127.0.0.1:1", Streaming::On);
        configured.headers = BTreeMap::from([(name.to_owned(), CANARY.to_owned())]);
        let error = Client::new(configured, Key::none(), &Http::default()).unwrap_err();
        check("an error", &error.to_string());
        assert_eq!(error.code(), "model_config");
    }
    let configured: Provider = provider(ApiKind::OpenAi, "http://127.0.0.1:1", Streaming::On);
    let odd = Key::new(format!("{CANARY}\nx"));
    let error = Client::new(configured.clone(), odd, &Http::default()).unwrap_err();
    check("an error", &error.to_string());
    for path in ["/chat?key=", "/chat?v=1&access_token="] {
        let path = Some(format!("{path}{CANARY}"));
        let error =
            Client::new(Provider { path, ..configured.clone() }, Key::none(), &Http::default());
        check("an error", &error.unwrap_err().to_string());
    }
    let empty = Client::new(configured.clone(), Key::new(" \n".to_owned()), &Http::default());
    assert!(empty.unwrap_err().to_string().contains("empty"));
    let odd = Provider { auth: Some(Auth::Header("no header".to_owned())), ..configured.clone() };
    let error = Client::new(odd, Key::new(CANARY.to_owned()), &Http::default()).unwrap_err();
    check("an error", &error.to_string());
    let mut reserved = configured;
    reserved.body.insert("messages".to_owned(), CANARY.into());
    let error = Client::new(reserved, Key::none(), &Http::default()).unwrap_err();
    assert!(error.to_string().contains("body.messages"), "{error}");
}
