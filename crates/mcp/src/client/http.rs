//! Streamable HTTP as this client speaks it: to one address, and nowhere else.

use std::{collections::HashMap, fmt, time::Duration};

use reqwest::{
    Client, Url,
    header::{HeaderName, HeaderValue},
    redirect,
};
use rmcp::transport::{
    StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
};

use super::{Error, Limits};

/// How long a connection may take to be made: nothing of a request has left before.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// How long a connection waits for the next request.
const IDLE_AT_MOST: Duration = Duration::from_millis(200);

/// Most bytes of an answer that is no answer, for what is said about it.
const ERROR_BYTES: usize = 8 << 10;

/// Where a server is, and what it is told about who asks.
#[derive(Clone, Default)]
pub struct Http {
    /// Its address, `http` or `https`, without credentials.
    pub url: String,
    /// Headers of every request, by name.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Http").field("url", &self.url).field("headers", &names).finish()
    }
}

impl Http {
    /// Whether it makes sense by itself.
    ///
    /// # Errors
    /// Says what does not.
    pub fn check(&self) -> Result<(), Error> {
        self.address().map(drop)?;
        self.given().map(drop)
    }

    fn address(&self) -> Result<Url, Error> {
        let wrong = |problem: String| Error::Unusable(problem);
        let url =
            Url::parse(&self.url).map_err(|e| wrong(format!("its url cannot be read: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(wrong("its url must begin with http:// or https://".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "its url holds credentials; declare a secret and name it under `headers`"
                    .to_owned(),
            ));
        }
        Ok(url)
    }

    fn given(&self) -> Result<HashMap<HeaderName, HeaderValue>, Error> {
        let one = |(name, value): &(String, String)| {
            let wrong = || Error::Unusable(format!("`{name}` is no header that can be sent"));
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok((key, value))
        };
        self.headers.iter().map(one).collect()
    }
}

pub(super) fn transport(
    to: &Http,
    limits: &Limits,
) -> Result<StreamableHttpClientTransport<Client>, Error> {
    let url = to.address()?;
    let mut builder = Client::builder()
        .user_agent(concat!("harness/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        // A connection that the server closes in the same moment would leave a call in doubt that was never seen: only one
        // that it has just answered on is used again, long before any server closes what nobody uses.
        .pool_idle_timeout(IDLE_AT_MOST);
    if url.scheme() == "http" {
        // Nothing to verify: start without certificates on the machine.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().map_err(|e| Error::Unusable(format!("no HTTP client: {e}")))?;
    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(to.given()?)
        .max_sse_event_size(limits.message_bytes)
        .max_json_response_size(limits.message_bytes)
        .max_error_response_size(ERROR_BYTES)
        // What was sent once is never sent again: whether it has done something is the caller's to judge.
        .reinit_on_expired_session(false);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}
