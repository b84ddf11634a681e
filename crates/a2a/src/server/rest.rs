//! The binding HTTP+JSON: a path for each operation.

use std::sync::Arc;

use ::http::{Method, Response, StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::{
    About, Desk, Refusal, Refused,
    http::{self, Done, Http, Request, document},
};
use crate::wire;

/// Does what a path asks for.
pub(super) async fn done(
    http: &Http,
    request: &Request,
    about: &About,
    desk: &Arc<dyn Desk>,
) -> Result<Done, Refusal> {
    let (is_get, is_post) = (request.method == Method::GET, request.method == Method::POST);
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["message:send"] if is_post => http.send(body(request)?, desk).await,
        ["message:stream"] if is_post => http::begin(body(request)?, desk).await,
        ["extendedAgentCard"] if is_get => http::extended(about, desk).await,
        ["tasks"] if is_get => http::list(http::read(Value::Object(query(request)))?, desk).await,
        ["tasks", _, "pushNotificationConfigs"] | ["tasks", _, "pushNotificationConfigs", _] => {
            Err(wire::no_push())
        }
        ["tasks", named] => match named.split_once(':') {
            None if is_get => {
                let mut asked = query(request);
                asked.insert("id".to_owned(), json!(named));
                http::get(http::read(Value::Object(asked))?, desk).await
            }
            Some((id, "cancel")) if is_post => {
                http::cancel(http::read(json!({ "id": id }))?, desk).await
            }
            // The specification has it by POST; the first version of it, and clients that know it, by GET.
            Some((id, "subscribe")) if is_post || is_get => {
                http::subscribe(http::read(json!({ "id": id }))?, desk).await
            }
            _ => Err(nothing_here(request)),
        },
        _ => Err(nothing_here(request)),
    }
}

fn body<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    let value: Value = serde_json::from_slice(&request.body)
        .map_err(|error| wire::params("body-invalid", format!("the body is no JSON: {error}")))?;
    http::read(value)
}

/// A query as the object that it stands for. What is a number or a yes in there is one here.
fn query(request: &Request) -> Map<String, Value> {
    const NUMBERS: [&str; 2] = ["pageSize", "historyLength"];
    let pairs = form_urlencoded::parse(request.query.as_bytes());
    let read = pairs.map(|(name, text)| {
        let number = || text.parse::<i64>().ok().map(Value::from);
        let value = match &*text {
            "true" => json!(true),
            "false" => json!(false),
            _ if NUMBERS.contains(&&*name) => number().unwrap_or_else(|| json!(text)),
            _ => json!(text),
        };
        (name.into_owned(), value)
    });
    read.collect()
}

fn nothing_here(request: &Request) -> Refusal {
    let shown: String = request.path.chars().take(128).collect();
    let message = format!("there is nothing at {} {shown}", request.method);
    Refusal::new(Refused::Unsupported, "no-method", message)
        .next("use the paths of HTTP+JSON, such as POST /message:send")
}

/// A refusal as this binding tells it.
pub(super) fn refused(refusal: &Refusal) -> Response<Bytes> {
    let called = wire::called(refusal);
    let status = StatusCode::from_u16(called.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let told = json!({ "error": {
        "code": called.http,
        "status": called.grpc,
        "message": wire::words(refusal),
        "details": wire::details(refusal, called.reason),
    }});
    document(status, &told)
}
