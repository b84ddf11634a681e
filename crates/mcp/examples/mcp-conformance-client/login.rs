//! Logging in where a server wants it: the suite's page of consent says yes at once and leads back.

use std::sync::Arc;

use mcp::client::{
    Refusal,
    oauth::{Applicant, Ask, Authority, Grant, Reply, Sending, Wire},
};

use crate::Scenario;

/// Where a person would be sent back to. Nobody listens there: what is sent there is read off the redirect.
const REDIRECT: &str = "http://127.0.0.1:3000/callback";

/// Describes this program, for authorities that read such documents.
const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";

/// The way out of this program: anywhere on this machine, following nobody.
struct Loopback(reqwest::Client);

impl Wire for Loopback {
    fn send(&self, ask: Ask) -> Sending<'_> {
        Box::pin(async move {
            let mut asked = match ask.body {
                Some(body) => self.0.post(ask.url).body(body),
                None => self.0.get(ask.url),
            };
            for (name, value) in ask.headers {
                asked = asked.header(name, value);
            }
            let answer = asked.send().await.map_err(|error| error.to_string())?;
            let text = |value: &reqwest::header::HeaderValue| {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            let headers = answer.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
            let status = answer.status().as_u16();
            let body = answer.bytes().await.map_err(|error| error.to_string())?.to_vec();
            Ok(Reply { status, headers, body })
        })
    }
}

fn browser() -> reqwest::Client {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.no_proxy().tls_certs_only([]).build().unwrap()
}

fn authority(scenario: &Scenario) -> Authority {
    Authority::of(scenario.url.clone(), Arc::new(Loopback(browser())))
}

fn given(scenario: &Scenario, name: &str) -> Option<String> {
    scenario.context[name].as_str().map(str::to_owned)
}

/// What is granted before anything is asked: for a machine alone.
pub(crate) async fn first(scenario: &Scenario) -> Result<Option<Grant>, String> {
    if scenario.name != "auth/client-credentials-basic" {
        return Ok(None);
    }
    let id = given(scenario, "client_id").unwrap_or_default();
    let secret = given(scenario, "client_secret").unwrap_or_default();
    let granted = authority(scenario).machine((&id, &secret), (None, &[])).await;
    granted.map(Some).map_err(|error| error.to_string())
}

/// What is granted when the server has refused: a person says yes to what it wants, and to what was granted before.
pub(crate) async fn again(
    scenario: &Scenario,
    refusal: &Refusal,
    before: Option<&Grant>,
) -> Result<Grant, String> {
    let applicant = match given(scenario, "client_id") {
        Some(id) => Applicant::Known { id, secret: given(scenario, "client_secret") },
        None => Applicant::Document(DOCUMENT.to_owned()),
    };
    let scopes = before.map(|grant| grant.scopes.clone()).unwrap_or_default();
    let challenge = Some(refusal.challenge.as_str()).filter(|text| !text.is_empty());
    let login = authority(scenario).begin(&applicant, REDIRECT, (challenge, &scopes)).await;
    let login = login.map_err(|error| error.to_string())?;
    let page = browser().get(login.address()).send().await.map_err(|error| error.to_string())?;
    let back = page.headers().get("location").and_then(|value| value.to_str().ok());
    let back = back.ok_or("the page of consent leads nowhere")?.to_owned();
    login.finish(&back).await.map_err(|error| error.to_string())
}
