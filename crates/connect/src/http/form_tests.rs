//! Forms, joined lists, files and keys outside of headers, as they stand on the wire.

use kernel::exception::{Class, Landed};
use serde_json::{Value, json};

use crate::testing::{CANARY, Reply, Server, Trial};

fn post(more: Value) -> Value {
    let mut binding = json!({"kind": "http", "system": "sys", "method": "POST", "path": "/things",
                             "idempotency": {"header": "Idempotency-Key"}});
    for (key, value) in more.as_object().unwrap() {
        binding[key] = value.clone();
    }
    binding
}

/// Head and body of the one request that a write with these arguments makes.
async fn sent(binding: Value, args: Value) -> (String, String) {
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    Trial::write(server.system(), binding).args(args).run().await.unwrap();
    let request = server.seen().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_form_is_sent_as_browsers_send_it_and_no_value_leaves_its_place() {
    let form = json!({"form": {"amount": "/body/amount", "card[number]": "/body/card/number", "items": "/body/items",
                               "none": "/body/none", "ids": {"at": "/body/ids", "join": ","}}});
    let args = json!({"body": {"amount": 5, "card": {"number": "4&x=1"}, "items": ["a b", "c"], "ids": [1, 2]}});
    let (head, body) = sent(post(form), args).await;
    assert!(
        head.to_lowercase().contains("content-type: application/x-www-form-urlencoded"),
        "{head}"
    );
    assert_eq!(body, "amount=5&card%5Bnumber%5D=4%26x%3D1&ids=1%2C2&items=a+b&items=c");
}

#[tokio::test]
async fn a_file_is_sent_as_its_bytes_and_no_value_opens_another_part() {
    let parts = json!({"multipart": {"caption": "/body/caption", "file": {"at": "/body/file", "as": "file"}}});
    let evil = "x\r\n--harness-0\r\nContent-Disposition: form-data; name=\"admin\"\r\n\r\n1";
    let args = json!({"body": {"caption": evil, "file": "aGVsbG8="}});
    let (head, body) = sent(post(parts.clone()), args).await;
    let boundary = head.split("boundary=").nth(1).unwrap().lines().next().unwrap().to_owned();
    let pieces: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(pieces.len(), 4, "two parts, and the end: {body}");
    assert!(pieces[1].ends_with(&format!("\r\n\r\n{evil}\r\n")), "{body}");
    assert!(
        pieces[2].contains("name=\"file\"; filename=\"file\"")
            && pieces[2].ends_with("\r\n\r\nhello\r\n")
    );
    assert_eq!(pieces[3], "--\r\n");
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    let args = json!({"body": {"file": "not base64!"}});
    let failure = Trial::write(server.system(), post(parts)).args(args).run().await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::No));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_list_in_one_value_is_refused_where_an_item_would_become_two() {
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    let binding = json!({"kind": "http", "system": "sys", "method": "GET", "path": "/things",
                         "query": {"ids": {"at": "/ids", "join": ","}}});
    let read = |ids: Value| Trial::read(server.system(), binding.clone()).args(json!({"ids": ids}));
    read(json!(["a", "b"])).run().await.unwrap();
    assert!(server.seen()[0].starts_with("GET /base/things?ids=a%2Cb "), "{}", server.seen()[0]);
    read(json!([])).run().await.unwrap();
    assert!(server.seen()[1].starts_with("GET /base/things HTTP"), "{}", server.seen()[1]);
    let failure = read(json!(["a,b"])).run().await.unwrap_err();
    assert_eq!(failure.class, Class::InvalidArguments);
    assert!(failure.message.contains("between items"), "{}", failure.message);
}

#[tokio::test]
async fn a_key_travels_in_the_query_or_a_cookie_and_no_failure_repeats_it() {
    let query = json!({"body": "/body", "auth": {"query": {"name": "api_key", "secret": "token"}}});
    let (head, _) = sent(post(query.clone()), json!({"body": {}})).await;
    assert!(head.starts_with(&format!("POST /base/things?api_key={CANARY} ")), "{head}");
    let cookie = json!({"body": "/body", "media": "application/merge-patch+json",
                        "auth": {"cookie": {"name": "sid", "secret": "token"}}});
    let (head, _) = sent(post(cookie), json!({"body": {}})).await;
    let lower = head.to_lowercase();
    assert!(lower.contains(&format!("cookie: sid={CANARY}")), "{head}");
    assert!(lower.contains("content-type: application/merge-patch+json"), "{head}");
    let server = Server::start(|_| Reply::Reset).await;
    let failure = Trial::write(server.system(), post(query)).run().await.unwrap_err();
    assert!(!failure.message.contains(CANARY), "{}", failure.message);
}

#[tokio::test]
async fn what_a_request_cannot_be_is_refused_when_it_is_loaded() {
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    for (more, said) in [
        (json!({"form": {"a": "/a"}, "body": "/b"}), "one of"),
        (json!({"form": {"a": {"at": "/a", "as": "file"}}}), "join"),
        (json!({"form": {"a": {"at": "/a", "join": ""}}}), "join"),
        (json!({"form": {"a": "/a"}, "idempotency": {"body": "/key"}}), "use a header"),
        (json!({"body": "/a", "media": "text/plain"}), "media type of JSON"),
        (json!({"auth": {"cookie": {"name": "a b", "secret": "token"}}}), "header name"),
    ] {
        let trial = Trial::write(server.system(), post(more.clone()));
        let refused = trial.connectors().check(&trial.operation).unwrap_err().to_string();
        assert!(refused.contains(said), "{more}: {refused}");
    }
}
