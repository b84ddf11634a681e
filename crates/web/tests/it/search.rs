//! C122: search engines, as their documents say they answer. None of them was asked over the network.

use egress::Trust;
use serde_json::{Value, json};
use web::{Engine, Query, RESULTS_MAX, Searcher, Trip, Ways, Why};

use crate::ground::{NOW, Request, Server, answer, on_time};

const KEY: &str = "key-7731-canary";

fn json_answer(status: u16, headers: &str, body: &Value) -> Vec<u8> {
    answer(status, &format!("Content-Type: application/json\r\n{headers}"), body.to_string())
}

fn searcher(engine: Engine, server: &Server, path: &str) -> Searcher {
    let ways = Ways { trust: Trust::Roots(Vec::new()), ..Ways::default() };
    Searcher::new(engine, Some(&server.url(path)), &ways).unwrap()
}

async fn ask(searcher: &Searcher, key: Option<&str>) -> Result<web::Found, web::Failed> {
    let query = Query { text: "rust & async".to_owned(), results: 2 };
    searcher.search(&query, key, &Trip { now_ms: NOW, leave: &on_time }).await
}

fn brave_reply(request: &Request) -> Vec<u8> {
    assert!(request.path().starts_with("/res/v1/web/search?"), "{}", request.path());
    if request.header("x-subscription-token") != Some(KEY) {
        let error = json!({
            "id": "e-1", "status": 422, "code": "SUBSCRIPTION_TOKEN_INVALID",
            "detail": "The provided subscription token is invalid.", "meta": {"component": "authentication"},
        });
        return json_answer(422, "", &json!({"type": "ErrorResponse", "error": error, "time": 1}));
    }
    json_answer(
        200,
        "X-RateLimit-Limit: 1, 2000\r\nX-RateLimit-Remaining: 0, 1999\r\nX-RateLimit-Reset: 1, 1419704\r\n",
        &json!({
            "type": "search",
            "query": {"original": "rust & async", "more_results_available": true},
            "mixed": {"type": "mixed", "main": []},
            "web": {"type": "search", "family_friendly": true, "results": [
                {"title": "Async <strong>Rust</strong> &amp; you", "url": "https://Example.org/a/../b#c", "is_source_local": false,
                 "description": "A <strong>book</strong>\n about it.", "age": "May 3, 2026", "page_age": "2026-05-03T00:00:00",
                 "profile": {"name": "Example"}, "language": "en", "type": "search_result"},
                {"title": "Odd", "url": "javascript:alert(1)", "description": "no address"},
                {"title": "Second", "url": "https://second.example/", "description": "x"},
                {"title": "Third", "url": "https://third.example/", "description": "y"},
            ]},
        }),
    )
}

#[tokio::test]
async fn brave_is_asked_and_read_as_it_documents() {
    let server = Server::start(brave_reply).await;
    let brave = searcher(Engine::Brave, &server, "/res/v1/web/search");
    let found = ask(&brave, Some(KEY)).await.unwrap();
    assert_eq!((found.engine, found.left_out, found.hits.len()), ("brave", 1, 2));
    let first = &found.hits[0];
    assert_eq!(first.title, "Async Rust & you");
    assert_eq!(first.url, "https://example.org/b");
    assert_eq!(first.snippet, "A book about it.");
    assert_eq!(first.age.as_deref(), Some("May 3, 2026"));
    assert_eq!((found.hits[1].title.as_str(), &found.hits[1].age), ("Second", &None));
    let asked = &server.seen()[0];
    assert!(
        asked.path().contains("q=rust+%26+async") && asked.path().contains("count=2"),
        "{asked:?}"
    );
    let failed = ask(&brave, Some("wrong")).await.unwrap_err();
    assert_eq!((failed.why, failed.retry_after_ms), (Why::Refused, None));
    assert!(failed.message.contains("search.key") && !failed.message.contains("wrong"), "{failed}");
}

#[tokio::test]
async fn brave_says_when_to_come_again_by_the_window_that_is_used_up() {
    for (left, wait) in [("0, 1999", 1_000), ("0, 0", web::PAUSE_MAX_MS), ("1, 1", 5_000)] {
        let server = Server::start(move |_| {
            let headers = format!("X-RateLimit-Remaining: {left}\r\nX-RateLimit-Reset: 1, 1419704\r\n");
            let error = json!({"id": "e", "status": 429, "code": "RATE_LIMITED", "detail": "Request rate limit exceeded for plan."});
            json_answer(429, &headers, &json!({"type": "ErrorResponse", "error": error}))
        })
        .await;
        let failed = ask(&searcher(Engine::Brave, &server, "/"), Some(KEY)).await.unwrap_err();
        assert_eq!((failed.why, failed.retry_after_ms), (Why::Often, Some(wait)), "{left}");
    }
}

#[tokio::test]
async fn a_brave_search_that_finds_nothing_is_no_failure() {
    let server = Server::start(|_| {
        json_answer(200, "", &json!({"type": "search", "query": {"original": "x"}}))
    })
    .await;
    assert!(ask(&searcher(Engine::Brave, &server, "/"), Some(KEY)).await.unwrap().hits.is_empty());
}

#[tokio::test]
async fn tavily_is_asked_and_read_as_it_documents() {
    let server = Server::start(|request| {
        assert!(request.head.starts_with("POST /search "), "{}", request.head);
        assert_eq!(request.header("content-type"), Some("application/json"));
        match request.header("authorization") {
            Some("Bearer key-7731-canary") => {}
            Some("Bearer used-up") => return json_answer(432, "", &json!({"detail": {"error": "This request exceeds your plan's set usage limit."}})),
            Some("Bearer often") => return json_answer(429, "Retry-After: 60\r\n", &json!({"detail": {"error": "Your request has been blocked due to excessive requests."}})),
            _ => return json_answer(401, "", &json!({"detail": {"error": "Unauthorized: missing or invalid API key."}})),
        }
        let asked: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!((&asked["query"], &asked["max_results"]), (&json!("rust & async"), &json!(2)));
        assert_eq!(asked["include_answer"], false);
        json_answer(200, "", &json!({
            "query": "rust & async", "answer": null, "images": [], "follow_up_questions": null,
            "results": [
                {"title": "One", "url": "https://one.example/x", "content": "Text of one", "score": 0.81, "raw_content": null},
                {"title": "Two", "url": "http://two.example", "content": "Text of two", "score": 0.5, "published_date": "Mon, 04 May 2026"},
            ],
            "response_time": "1.67", "request_id": "123e4567",
        }))
    })
    .await;
    let tavily = searcher(Engine::Tavily, &server, "/search");
    let found = ask(&tavily, Some(KEY)).await.unwrap();
    let urls: Vec<&str> = found.hits.iter().map(|hit| hit.url.as_str()).collect();
    assert_eq!(urls, ["https://one.example/x", "http://two.example/"]);
    assert_eq!(found.hits[0].snippet, "Text of one");
    for (key, why, wait) in [
        ("wrong", Why::Refused, None),
        ("used-up", Why::Refused, None),
        ("often", Why::Often, Some(60_000)),
    ] {
        let failed = ask(&tavily, Some(key)).await.unwrap_err();
        assert_eq!((failed.why, failed.retry_after_ms), (why, wait), "{key}: {failed}");
    }
}

#[tokio::test]
async fn searxng_is_asked_and_read_as_it_documents() {
    let server = Server::start(|request| {
        assert!(request.path().starts_with("/search?"), "{}", request.path());
        assert!(request.path().contains("format=json"), "{}", request.path());
        json_answer(200, "", &json!({
            "query": "rust & async", "number_of_results": 0,
            "results": [
                {"url": "https://one.example/", "title": "One", "content": "Text", "engine": "duckduckgo", "engines": ["duckduckgo"],
                 "parsed_url": ["https", "one.example", "/", "", "", ""], "score": 1.0, "category": "general", "publishedDate": null},
            ],
            "answers": [], "corrections": [], "infoboxes": [], "suggestions": [],
            "unresponsive_engines": [["google", "timeout"]],
        }))
    })
    .await;
    let found = ask(&searcher(Engine::Searxng, &server, "/search"), None).await.unwrap();
    assert_eq!(
        (found.engine, found.hits[0].title.as_str(), &found.hits[0].age),
        ("searxng", "One", &None)
    );
    // An instance that does not allow JSON.
    let closed =
        Server::start(|_| answer(403, "Content-Type: text/html\r\n", "<h1>Forbidden</h1>")).await;
    let failed = ask(&searcher(Engine::Searxng, &closed, "/search"), None).await.unwrap_err();
    assert_eq!(failed.why, Why::Shape, "{failed}");
}

#[tokio::test]
async fn what_no_engine_promises_is_a_failure_and_nothing_is_sent_elsewhere() {
    let elsewhere = Server::start(|_| json_answer(200, "", &json!({"results": []}))).await;
    let to = elsewhere.url("/");
    let replies: [(&str, Vec<u8>, Why); 6] = [
        ("html", answer(200, "Content-Type: text/html\r\n", "<html>"), Why::Shape),
        ("other", json_answer(200, "", &json!({"results": {"a": 1}})), Why::Shape),
        ("list", json_answer(200, "", &json!([])), Why::Shape),
        ("away", answer(503, "", ""), Why::Away),
        ("redirect", answer(302, &format!("Location: {to}\r\n"), ""), Why::Shape),
        ("asked", answer(400, "", ""), Why::Asked),
    ];
    for (name, reply, why) in replies {
        let server = Server::start(move |_| reply.clone()).await;
        for engine in [Engine::Brave, Engine::Tavily, Engine::Searxng] {
            let failed = ask(&searcher(engine, &server, "/"), Some(KEY)).await.unwrap_err();
            assert_eq!(failed.why, why, "{name} {engine:?}: {failed}");
            assert!(!failed.message.contains(KEY), "{failed}");
        }
    }
    assert!(elsewhere.seen().is_empty(), "a key does not follow a redirect");
}

#[tokio::test]
async fn queries_and_results_are_bounded() {
    let server = Server::start(|_| {
        let results: Vec<Value> = (0..100)
            .map(|number| json!({"title": "t".repeat(9_000), "url": format!("https://a.example/{number}"), "content": "c".repeat(9_000)}))
            .collect();
        json_answer(200, "", &json!({"results": results}))
    })
    .await;
    let searxng = searcher(Engine::Searxng, &server, "/search");
    let trip = Trip { now_ms: NOW, leave: &on_time };
    let query = |text: &str| Query { text: text.to_owned(), results: 10_000 };
    let found = searxng.search(&query("x"), None, &trip).await.unwrap();
    assert_eq!(found.hits.len(), RESULTS_MAX);
    let longest = found.hits.iter().map(|hit| hit.title.len() + hit.snippet.len()).max().unwrap();
    assert!(longest < 2_000, "{longest}");
    for text in ["", "  ", &"x".repeat(401)] {
        let failed = searxng.search(&query(text), None, &trip).await.unwrap_err();
        assert_eq!(failed.why, Why::Asked);
    }
    let late = Trip { now_ms: NOW, leave: &|| false };
    assert_eq!(searxng.search(&query("x"), None, &late).await.unwrap_err().why, Why::Late);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn an_address_that_cannot_be_used_is_refused_at_once() {
    let ways = Ways { trust: Trust::Roots(Vec::new()), ..Ways::default() };
    assert!(Searcher::new(Engine::Searxng, None, &ways).is_err());
    assert!(Searcher::new(Engine::Brave, None, &ways).is_ok());
    for url in ["ftp://a.example/", "https://user:x@a.example/", "a.example", "http://2130706433/"]
    {
        assert!(Searcher::new(Engine::Searxng, Some(url), &ways).is_err(), "{url}");
    }
}
