//! Every refusal a provider gives, as the kernel hears of it, on every wire (C135, C136, C137).

use kernel::exception::{Class, Landed};
use models::{ApiKind, Ask, Http, Key, Model, Streaming, clock::Clock};

use crate::{
    server::{Answer, Ending, Server},
    talk::{ask, client, opening, provider, say},
};

async fn error(api: ApiKind, streaming: Streaming, answer: Answer) -> models::Error {
    let server = Server::script(vec![answer]).await;
    let client = client(api, &server.url, streaming);
    client.ask(ask(&say(None, 1, &opening()))).await.unwrap_err()
}

#[tokio::test]
async fn each_status_has_its_class() {
    for (status, code, class) in [
        (302, "model_not_found", Class::InvalidArguments),
        (400, "model_bad_request", Class::InvalidArguments),
        (401, "model_auth", Class::Permission),
        (402, "model_quota", Class::Permission),
        (403, "model_permission", Class::Permission),
        (404, "model_not_found", Class::InvalidArguments),
        (408, "model_timeout", Class::Timeout),
        (409, "model_unavailable", Class::Unavailable),
        (413, "model_context_too_long", Class::InvalidArguments),
        (422, "model_bad_request", Class::InvalidArguments),
        (429, "model_rate_limit", Class::RateLimit),
        (499, "model_cancelled", Class::Unavailable),
        (500, "model_unavailable", Class::Unavailable),
        (502, "model_unavailable", Class::Unavailable),
        (503, "model_unavailable", Class::Unavailable),
        (504, "model_timeout", Class::Timeout),
        (529, "model_overloaded", Class::Unavailable),
    ] {
        for api in ApiKind::ALL {
            let body = r#"{"error":{"message":"no luck"}}"#;
            let answer = Answer::status(status, body).header("location", "http://127.0.0.1:1/");
            let error = error(api, Streaming::On, answer).await;
            assert_eq!((error.code(), error.class()), (code, class), "{api} {status}");
            let failure = error.clone().into_failure("p");
            assert_eq!(failure.landed, Landed::No);
            assert!(status == 302 || failure.message.contains("no luck"), "{}", failure.message);
            assert!(!error.next_step().is_empty());
        }
    }
}

use ApiKind::{Anthropic, Gemini, OpenAi, OpenAiResponses};

/// Wire, status, body, and what it means.
const WORDS: [(ApiKind, u16, &str, &str); 15] = [
    (
        OpenAi,
        400,
        r#"{"error":{"message":"This model's maximum context length is 128000 tokens.","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
        "model_context_too_long",
    ),
    (
        OpenAi,
        429,
        r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
        "model_quota",
    ),
    (
        OpenAi,
        400,
        r#"{"error":{"message":"The response was filtered","code":"content_filter","status":400}}"#,
        "model_content_filter",
    ),
    (
        OpenAi,
        401,
        r#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#,
        "model_auth",
    ),
    (
        OpenAiResponses,
        400,
        r#"{"error":{"message":"Invalid prompt","type":"invalid_request_error","code":"invalid_prompt"}}"#,
        "model_content_filter",
    ),
    (
        Anthropic,
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
        "model_context_too_long",
    ),
    (
        Anthropic,
        529,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        "model_overloaded",
    ),
    (
        Anthropic,
        413,
        r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds"}}"#,
        "model_context_too_long",
    ),
    (
        Gemini,
        400,
        r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#,
        "model_auth",
    ),
    (
        Gemini,
        400,
        r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
        "model_context_too_long",
    ),
    (
        Gemini,
        503,
        r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#,
        "model_overloaded",
    ),
    (
        Gemini,
        429,
        r#"[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]"#,
        "model_rate_limit",
    ),
    (OpenAi, 404, "<html>no such page</html>", "model_not_found"),
    (OpenAi, 500, "", "model_unavailable"),
    (OpenAi, 400, r#"{"detail":[{"msg":"unhappy"}]}"#, "model_bad_request"),
];

#[tokio::test]
async fn providers_words_say_more_than_their_status() {
    for (api, status, body, code) in WORDS {
        let error = error(api, Streaming::Off, Answer::status(status, body)).await;
        assert_eq!(error.code(), code, "{api} {status} {body}: {error}");
    }
}

#[tokio::test]
async fn an_error_inside_of_a_good_answer_is_an_error() {
    for (api, body, code) in [
        (
            OpenAi,
            r#"{"error":{"message":"Provider returned error","code":502}}"#,
            "model_unavailable",
        ),
        (
            OpenAi,
            "data: {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\"}}\n\n",
            "model_rate_limit",
        ),
        (
            Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            "model_overloaded",
        ),
        (
            OpenAiResponses,
            "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow\",\"param\":null,\"sequence_number\":1}\n\n",
            "model_rate_limit",
        ),
        (
            OpenAiResponses,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"broke\"},\"output\":[]}}\n\n",
            "model_unavailable",
        ),
        (
            OpenAiResponses,
            r#"{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"},"output":[]}"#,
            "model_rate_limit",
        ),
        (
            Gemini,
            "data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded\",\"status\":\"UNAVAILABLE\"}}\n\n",
            "model_overloaded",
        ),
        (
            Gemini,
            "data: {\"error\":{\"code\":400,\"message\":\"bad\",\"status\":\"INVALID_ARGUMENT\"}}\n\n",
            "model_bad_request",
        ),
    ] {
        let error = error(api, Streaming::On, Answer::of(body)).await;
        assert_eq!(error.code(), code, "{api} {body}: {error}");
    }
}

/// C135: the headers of a 429.
#[tokio::test]
async fn the_wait_a_provider_asks_for_is_passed_on() {
    for (header, value, wait) in [
        ("retry-after", "7", Some(7_000)),
        ("retry-after", "0.25", Some(250)),
        ("retry-after-ms", "1250", Some(1_250)),
        ("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT", Some(3_600_000)),
        ("x-other", "1", None),
    ] {
        for (api, status) in ApiKind::ALL.iter().flat_map(|api| [429, 503, 529].map(|s| (api, s))) {
            let answer = Answer::status(status, "{}").header(header, value);
            let error = error(*api, Streaming::On, answer).await;
            assert_eq!(error.into_failure("p").retry_after_ms, wait, "{api}, {header}: {value}");
        }
    }
}

#[tokio::test]
async fn garbage_is_garbage_on_every_wire() {
    for api in ApiKind::ALL {
        for body in [
            "{}",
            "{\"choices\":[{}]}",
            "{\"x\":",
            "[1,2]",
            "null",
            "<html></html>",
            "data: {\n\n",
            "data: [1]\n\ndata: [DONE]\n\n",
            "",
        ] {
            for streaming in [Streaming::On, Streaming::Off] {
                let error = error(api, streaming, Answer::json(body)).await;
                let known = ["model_garbage", "model_unavailable"];
                assert!(known.contains(&error.code()), "{api} {body:?}: {error}");
            }
        }
        let latin = Answer::stream(vec![b"data: \xff\xfe\n\n".to_vec()]);
        assert_eq!(error(api, Streaming::On, latin).await.code(), "model_garbage");
    }
}

#[tokio::test]
async fn a_broken_connection_and_nobody_there_are_unavailable() {
    let cut = Answer::json("{\"choices\":").ending(Ending::Cut);
    assert_eq!(error(ApiKind::OpenAi, Streaming::Off, cut).await.code(), "model_unavailable");
    let nobody = client(ApiKind::OpenAi, "http://127.0.0.1:1/v1", Streaming::On);
    let error = nobody.ask(ask(&say(None, 1, &opening()))).await.unwrap_err();
    assert_eq!(error.code(), "model_unavailable");
    assert!(error.may_fall_back());
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_at_the_limit() {
    let line = [b"data: ".as_slice(), &vec![b'x'; 17 * 1024 * 1024]].concat();
    for (answer, streaming) in [
        (Answer::stream(vec![line]), Streaming::On),
        (Answer::json(&" ".repeat(models::BODY_MAX_BYTES + 1)), Streaming::Off),
    ] {
        let error = error(ApiKind::OpenAi, streaming, answer).await;
        assert_eq!(error.code(), "model_too_large", "{error}");
    }
}

/// Time stands.
#[derive(Debug)]
struct Held(u64);

impl Clock for Held {
    fn boot_ms(&self) -> u64 {
        self.0
    }

    fn now_ms(&self) -> i64 {
        1_795_165_200_000
    }
}

#[tokio::test]
async fn nothing_leaves_after_the_dispatch_window() {
    let server = Server::script(vec![Answer::json("{}")]).await;
    let configured = provider(ApiKind::OpenAi, &server.url, Streaming::Off);
    let http = Http::new(std::sync::Arc::new(Held(5_001)));
    let client = models::Client::new(configured, Key::none(), &http).unwrap();
    let thread = say(None, 1, &opening());
    let late = Ask { dispatch_by_boot_ms: 5_000, ..ask(&thread) };
    assert_eq!(client.ask(late).await.unwrap_err(), models::Error::TooLate);
    while server.hung_up() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((server.connections(), server.lines()), (1, 0), "no byte of it arrived");
    let in_time = Ask { dispatch_by_boot_ms: 5_001, ..ask(&thread) };
    assert_eq!(client.ask(in_time).await.unwrap_err().code(), "model_garbage");
    assert_eq!(server.asked().len(), 1);
}
