//! What the harness itself sends and asks over HTTP: notices to whoever the operator named, and the
//! identity provider. It is no effect of a run, so there is no permit; in exchange it goes only where the
//! operator's configuration leads, never into a private network by way of a name, and follows nobody.

mod places;
mod sign;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use kernel::id::At;
use reqwest::{Client, RequestBuilder, Response, Url, header::HeaderValue, redirect, retry};
use secrets::Use;
use zeroize::Zeroizing;

use crate::{
    call::{MESSAGE_MAX_CHARS, clip},
    error::Error,
    http::{chain, status::retry_after_ms},
    secret::{Secrets, Vault},
};
use places::{Guarded, Places};

/// Most of an answer that is read, in bytes; more is an error.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How long one exchange may take, from name lookup to the last byte of the answer.
pub const EXCHANGE_WITHIN: Duration = Duration::from_secs(10);

/// The only way out for what is no effect of a run.
#[derive(Debug)]
pub struct Outward {
    vault: Vault,
    /// What its secrets are granted to.
    name: &'static str,
    places: Arc<Places>,
    /// Made when it is first needed: the one that speaks TLS needs the machine's certificates.
    tls: OnceLock<Client>,
    plain: OnceLock<Client>,
}

/// One request.
#[derive(Debug, Default)]
pub struct Ask {
    /// Where to.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body; `None` asks with GET.
    pub body: Option<Vec<u8>>,
    /// User and the name of the secret that proves it, sent as HTTP Basic.
    pub login: Option<(String, String)>,
}

/// What came back, with its headers.
pub(crate) type Whole = (u16, Vec<(String, String)>, Vec<u8>);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// How long the other side asked to be left alone, in milliseconds.
    pub retry_after_ms: Option<i64>,
    /// The body.
    pub body: Vec<u8>,
}

impl Outward {
    /// With references to secrets by name, the name that kept ones are granted to, and hosts that may be in a private
    /// network.
    ///
    /// # Errors
    /// A secret that is not granted.
    pub fn new(
        secrets: Secrets,
        name: &'static str,
        private_hosts: &[String],
    ) -> Result<Self, Error> {
        let vault = Vault::new(secrets)?;
        vault.secrets().names().try_for_each(|secret| vault.check(secret, &Use::by(name)))?;
        Ok(Self {
            vault,
            name,
            places: Arc::new(Places::new(private_hosts)),
            tls: OnceLock::new(),
            plain: OnceLock::new(),
        })
    }

    /// Every secret that has no usable value now, and why.
    #[must_use]
    pub fn unresolved(&self) -> Vec<Error> {
        self.vault.unresolved()
    }

    /// Whether an address may be asked at all: https (or this very machine), without credentials, and not
    /// an address in a private network.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, url: &str) -> Result<(), String> {
        self.places.check(url).map(drop)
    }

    /// The value of a secret that is an address: some are secrets themselves.
    ///
    /// # Errors
    /// When it has none now.
    pub fn address(&self, secret: &str) -> Result<String, Error> {
        self.vault.resolve(secret, &Use::by(self.name)).map(|value| value.expose().to_owned())
    }

    /// Asks once. Redirects are not followed; every address a name leads to is checked when it is
    /// connected to.
    ///
    /// # Errors
    /// Why there is no answer, without addresses or secrets in it.
    pub async fn ask(&self, ask: Ask, now: At) -> Result<Reply, String> {
        let exchange = self.exchange(ask, now);
        let answered = tokio::time::timeout(EXCHANGE_WITHIN, exchange).await;
        let answered = answered
            .unwrap_or_else(|_| Err(format!("no answer within {} s", EXCHANGE_WITHIN.as_secs())));
        answered
            .map_err(|problem| clip(&self.vault.redactor().scrub_text(&problem), MESSAGE_MAX_CHARS))
    }

    /// As [`Self::ask`], with whatever headers there are on both sides.
    pub(crate) async fn ask_whole(
        &self,
        (url, body): (&str, Option<Vec<u8>>),
        headers: Vec<(String, String)>,
    ) -> Result<Whole, String> {
        let exchange = async {
            let mut request = self.request(url, body)?;
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let sent = request.send().await;
            let mut response = sent.map_err(|error| chain(&error.without_url()))?;
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = response.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
            Ok((response.status().as_u16(), headers, read_body(&mut response).await?))
        };
        let answered = tokio::time::timeout(EXCHANGE_WITHIN, exchange).await;
        answered
            .unwrap_or_else(|_| Err(format!("no answer within {} s", EXCHANGE_WITHIN.as_secs())))
    }

    fn request(&self, url: &str, body: Option<Vec<u8>>) -> Result<RequestBuilder, String> {
        let url = self.places.check(url)?;
        let client = self.client(&url)?;
        Ok(match body {
            Some(body) => client.post(url).body(body),
            None => client.get(url),
        })
    }

    async fn exchange(&self, ask: Ask, now: At) -> Result<Reply, String> {
        let mut request = self.request(&ask.url, ask.body)?;
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        if let Some((user, secret)) = ask.login {
            let secret =
                self.vault.resolve(&secret, &Use::by(self.name)).map_err(|e| e.to_string())?;
            request = request.basic_auth(user, Some(secret.expose()));
        }
        let sent = request.send().await;
        let mut response = sent.map_err(|error| chain(&error.without_url()))?;
        let retry_after_ms = retry_after_ms(response.headers(), now);
        let status = response.status().as_u16();
        let body = read_body(&mut response).await?;
        Ok(Reply { status, retry_after_ms, body })
    }

    fn client(&self, url: &Url) -> Result<&Client, String> {
        let (cell, is_plain) = match url.scheme() {
            "http" => (&self.plain, true),
            _ => (&self.tls, false),
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("harness/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .connect_timeout(EXCHANGE_WITHIN)
            .dns_resolver(Arc::new(Guarded(Arc::clone(&self.places))));
        if is_plain {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|e| format!("no HTTP client: {}", chain(&e)))?;
        Ok(cell.get_or_init(|| client))
    }

    /// Signs a message as Standard Webhooks says: `v1,` and the base64 of an HMAC-SHA256 over id, time in
    /// Unix seconds and body.
    ///
    /// # Errors
    /// When the secret has no value now, or is no `whsec_…`.
    pub fn sign_webhook(
        &self,
        secret: &str,
        (id, seconds): (&str, i64),
        body: &[u8],
    ) -> Result<String, Error> {
        let value = self.vault.resolve(secret, &Use::by(self.name))?;
        let key = sign::webhook_key(value.expose()).ok_or_else(|| Error::Secret {
            secret: secret.to_owned(),
            problem: sign::WEBHOOK_KEY.to_owned(),
        })?;
        let seconds = seconds.to_string();
        let parts = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
        Ok(format!("v1,{}", sign::base64(&sign::hmac(&key, &parts))))
    }

    /// Whether Slack signed a request: `v0=` and the hex of an HMAC-SHA256 over version, time and body.
    ///
    /// # Errors
    /// When the secret has no value now.
    pub fn is_from_slack(
        &self,
        secret: &str,
        (seconds, signature): (&str, &str),
        body: &[u8],
    ) -> Result<bool, Error> {
        let value = self.vault.resolve(secret, &Use::by(self.name))?;
        let key = Zeroizing::new(value.expose().as_bytes().to_vec());
        let parts = [b"v0:", seconds.as_bytes(), b":", body];
        let given = signature.strip_prefix("v0=").and_then(sign::unhex);
        Ok(given.is_some_and(|given| sign::is_hmac(&key, &parts, &given)))
    }
}

/// A body, as far as it may go.
async fn read_body(response: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| chain(&error.without_url()))?;
        let Some(bytes) = chunk else { return Ok(body) };
        body.extend_from_slice(&bytes);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"));
        }
    }
}

/// A field of a form, as browsers and Slack send them; the first of that name.
#[must_use]
pub fn form_field(body: &str, name: &str) -> Option<String> {
    let mut url = Url::parse("http://form/").ok()?;
    url.set_query(Some(body));
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Fields as a form is sent.
#[must_use]
pub fn form(fields: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

/// The SHA-256 of a text in base64 for addresses, as PKCE wants it.
#[must_use]
pub fn sha256_base64url(text: &str) -> String {
    sign::sha256_base64url(text.as_bytes())
}

/// The host of an address, in lower case.
#[must_use]
pub fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests;
