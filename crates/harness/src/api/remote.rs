//! The API from the other side: an operation of `app` asked of a server, by the same table of routes.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, redirect::Policy};
use serde_json::{Map, Value};

use super::routes::{ROUTES, Route, Verb};
use crate::app::{
    problem::{Kind, Problem},
    requests,
};

/// Largest answer that is read, in bytes: a bundle of a long run.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How long a server may take to begin its answer: it waits for runs itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// Between two looks at a run that goes on longer than one answer may take.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A server, and who asks it.
#[derive(Debug)]
pub(crate) struct Remote {
    client: Client,
    url: String,
    token: String,
}

impl Remote {
    /// A server at an address, asked with a token.
    ///
    /// # Errors
    /// When the address is none, or would send the token in the clear beyond this machine.
    pub(crate) fn new(url: &str, token: String) -> Result<Self, Problem> {
        let url = url.trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&url).map_err(|_| bad_server(&url))?;
        let host = parsed.host_str().unwrap_or_default();
        let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_local) {
            let detail = "a token goes to another machine over https only";
            return Err(Problem::usage("no-tls", detail).next("write the server as https://…"));
        }
        let client = Client::builder().redirect(Policy::none()).timeout(ANSWER_WITHIN).build();
        let client =
            client.map_err(|e| Problem::new(Kind::Unexpected, "http-client", e.to_string()))?;
        Ok(Self { client, url, token })
    }

    /// Calls one operation there.
    ///
    /// # Errors
    /// What it refused, or that it does not answer.
    pub(crate) async fn call(&self, op: &str, body: Value) -> Result<Value, Problem> {
        let mut fields = match body {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        fields.retain(|_, value| !value.is_null());
        let route = route_of(op, &fields)?;
        let wait_ms = fields.get("wait_ms").and_then(Value::as_u64).unwrap_or_default();
        let until = tokio::time::Instant::now() + Duration::from_millis(wait_ms.min(1 << 40));
        let answer = self.send(route, fields).await?;
        self.follow(answer, until).await
    }

    async fn send(&self, route: &Route, mut fields: Map<String, Value>) -> Result<Value, Problem> {
        if let Some((name, _)) = route.fixed {
            fields.remove(name);
        }
        let mut path = String::new();
        let mut shown = String::new();
        for part in route.path.split('/').skip(1) {
            let field = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            let value = field.and_then(|name| fields.remove(name));
            path.push('/');
            path.push_str(&match value {
                Some(Value::String(text)) => escape(&text),
                Some(other) => escape(&other.to_string()),
                None => part.to_owned(),
            });
            if field.is_some() {
                path.clone_into(&mut shown);
            }
        }
        let url = format!("{}{path}", self.url);
        let request = match route.verb {
            Verb::Get => self.client.get(format!("{url}{}", query(&fields))),
            Verb::Delete => self.client.request(Method::DELETE, format!("{url}{}", query(&fields))),
            Verb::Post => self.post(url, route.op, fields)?,
        };
        let request = match route.decides {
            // Whoever decides here has looked at the card; the digest says at which one.
            Some(_) => request.header("if-match", self.version(&shown).await?),
            None => request,
        };
        self.answer(request).await.map(|(answer, _)| answer)
    }

    fn post(
        &self,
        url: String,
        op: &str,
        mut fields: Map<String, Value>,
    ) -> Result<RequestBuilder, Problem> {
        let key = match requests::takes_key(op) {
            true => None,
            false => fields.remove("idempotency_key"),
        };
        let body = serde_json::to_vec(&fields)
            .map_err(|e| Problem::new(Kind::Unexpected, "unserialisable", e.to_string()))?;
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        Ok(match key.as_ref().and_then(Value::as_str) {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        })
    }

    async fn version(&self, shown: &str) -> Result<String, Problem> {
        let request = self.client.get(format!("{}{shown}", self.url));
        Ok(self.answer(request).await?.1.unwrap_or_default())
    }

    /// Sends a request; the answer's document and its version.
    async fn answer(&self, request: RequestBuilder) -> Result<(Value, Option<String>), Problem> {
        let unreachable = |e: &dyn std::error::Error| {
            let why = e.source().map_or_else(|| e.to_string(), ToString::to_string);
            let detail = format!("{} does not answer: {why}", self.url);
            Problem::new(Kind::TryAgain, "server-unreachable", detail)
                .next("check the address, and that `harness serve --listen` runs there")
        };
        let sent = request.bearer_auth(&self.token).send().await;
        let response = sent.map_err(|error| unreachable(&error))?;
        let version = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
        let version = version.map(str::to_owned);
        let is_success = response.status().is_success();
        let status = response.status().as_u16();
        let bytes = read(response).await.map_err(|error| unreachable(&*error))?;
        let document: Value = serde_json::from_slice(&bytes).map_err(|_| {
            let detail = format!("{} answered {status} with something that is not ours", self.url);
            Problem::new(Kind::Unexpected, "not-a-harness", detail)
                .next("check the address; a proxy in front may have answered")
        })?;
        if is_success { Ok((document, version)) } else { Err(problem_of(&document)) }
    }

    /// A run that goes on longer than one answer may take is looked at again.
    async fn follow(
        &self,
        mut answer: Value,
        until: tokio::time::Instant,
    ) -> Result<Value, Problem> {
        let mut is_followed = false;
        loop {
            let run = answer.get("run").filter(|run| run.is_object()).unwrap_or(&answer);
            let goes_on = run.get("status").is_some_and(|status| status == "running");
            let Some(id) = run.get("id").and_then(Value::as_str).map(str::to_owned) else {
                return Ok(answer);
            };
            let at = format!("{}/v1/runs/{}", self.url, escape(&id));
            if !goes_on || tokio::time::Instant::now() >= until {
                if let Some(receipts) = answer.get_mut("receipts").filter(|_| is_followed) {
                    let listed = self.answer(self.client.get(format!("{at}/receipts"))).await?.0;
                    let items = listed.get("items").and_then(Value::as_array);
                    *receipts = items
                        .into_iter()
                        .flatten()
                        .filter_map(|line| line.get("id").cloned())
                        .collect();
                }
                return Ok(answer);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let (detail, _) = self.answer(self.client.get(at)).await?;
            see_again(&mut answer, detail);
            is_followed = true;
        }
    }
}

/// Where a run stands now, in an answer that says where it stood: the run alone, or all that came of it.
fn see_again(answer: &mut Value, detail: Value) {
    let (Some(answer), Value::Object(mut detail)) = (answer.as_object_mut(), detail) else {
        return;
    };
    if answer.get("run").is_none_or(|run| !run.is_object()) {
        if let Some(Value::Object(run)) = detail.remove("run") {
            answer.extend(run);
        }
        return;
    }
    let is_whole = answer.contains_key("actions");
    detail.retain(|name, _| name == "run" || (is_whole && name != "schema"));
    answer.extend(detail);
}

async fn read(mut response: Response) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("the answer is too large".into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The route that stands for an operation with these fields.
fn route_of(op: &str, fields: &Map<String, Value>) -> Result<&'static Route, Problem> {
    let fits = |route: &&Route| {
        route.op == op
            && route
                .fixed
                .is_none_or(|(name, value)| fields.get(name).and_then(Value::as_str) == Some(value))
    };
    ROUTES.iter().find(fits).ok_or_else(|| {
        let detail = format!("`{op}` cannot be asked of a server");
        Problem::usage("not-remote", detail).next("run it on the machine that owns the store")
    })
}

fn query(fields: &Map<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escape(&text(value)))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// What the server told, as this process would have told it.
fn problem_of(document: &Value) -> Problem {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = document.get("kind").cloned().unwrap_or_default();
    let kind = serde_json::from_value(kind).unwrap_or(Kind::Unexpected);
    let mut problem = Problem::new(kind, text("code"), text("detail"));
    let places = document.get("errors").and_then(Value::as_array).into_iter().flatten();
    let places = places.filter_map(|place| place.get("pointer").and_then(Value::as_str));
    problem.at = places.map(str::to_owned).collect();
    if text("next").is_empty() { problem } else { problem.next(text("next")) }
}

fn bad_server(url: &str) -> Problem {
    Problem::usage("bad-server", format!("`{url}` is no address of a server"))
        .next("write it as https://harness.example.com")
}

fn escape(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(byte);
    let each = text.bytes().map(|byte| {
        if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    each.collect()
}
