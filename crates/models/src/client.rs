//! One provider, asked over HTTP.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response, Uri,
    body::{Frame, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use kernel::{
    attachment::Attachment,
    conversation::{Reply, Thread},
    port::Task,
};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    ask::{Ask, Delta, Embedded, Model, Speaking},
    attached::Contents,
    buffer::{Buffer, Followed},
    embed,
    error::Error,
    http::{CONNECTIONS_MAX, Frames, Http},
    key::Key,
    provider::{Auth, Plaintext, Provider},
    reading::{self, Hearing, Received, take},
    shelf::Shelf,
    status, wire,
};

/// Longest request, in bytes: what the strictest of the large providers takes.
pub const REQUEST_MAX_BYTES: usize = 32 * 1024 * 1024;

/// How much of a refusal is read, in bytes.
const REFUSAL_MAX_BYTES: usize = 64 * 1024;

/// How long a complete stream may take to end, in milliseconds.
const LINGER_MAX_MS: u64 = 200;

/// Shortest key that is looked for in answers: a word such as `ollama`, which local servers take for a
/// key, may well be said.
const TELLING_MIN_BYTES: usize = 16;

/// Names of headers and of query fields that hold keys have one of these words in them: such may not
/// stand in a configuration, which anybody may print.
const KEY_WORDS: [&str; 6] = ["key", "token", "secret", "auth", "password", "cookie"];

/// One configured provider. Keeps the conversations it leads, see the crate's documentation.
#[derive(Debug)]
pub struct Client {
    provider: Provider,
    key: Key,
    uri: Uri,
    headers: HeaderMap,
    http: Http,
    shelf: Shelf,
    connections: Semaphore,
}

impl Client {
    /// A client for a provider, over a pool that others may share.
    ///
    /// # Errors
    /// [`Error::Config`] when address, headers, body fields or key cannot be used.
    pub fn new(provider: Provider, key: Key, http: &Http) -> Result<Self, Error> {
        if provider.name.is_empty() || provider.model.is_empty() {
            return Err(Error::config("a provider needs a `name` and a `model`"));
        }
        provider.check_body()?;
        let uri = uri(&provider, &provider.endpoint())?;
        let headers = headers(&provider)?;
        key_header(&provider.auth(), &key)?;
        let connections = provider.connections_max.map_or(CONNECTIONS_MAX, usize::from);
        if connections == 0 {
            let problem = format!("`connections_max` of provider `{}` is 0", provider.name);
            return Err(Error::config(problem));
        }
        let (shelf, connections) = (Shelf::default(), Semaphore::new(connections));
        Ok(Self { provider, key, uri, headers, http: http.clone(), shelf, connections })
    }

    /// What is configured about it.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The request as it stands at the end of the conversation, from what is kept where that fits.
    async fn frames(&self, ask: &Ask) -> Result<Vec<Bytes>, Error> {
        let place = (ask.tenant.clone(), ask.run.clone(), ask.conversation.clone());
        let mut buffer = self.shelf.take(&place);
        let mut files = Contents::default();
        while let Followed::Wants(missing) = buffer.follow(&self.provider, &ask.thread, &files)? {
            self.check_takes(&missing)?;
            files.read(ask.files.as_ref(), (&ask.tenant, &ask.run), &missing).await?;
        }
        let frames = buffer.frames(&self.provider);
        self.shelf.put(place, buffer, self.http.clock.boot_ms());
        Ok(frames)
    }

    /// A model is sent no file that its provider's entry does not say it takes.
    fn check_takes(&self, files: &[Attachment]) -> Result<(), Error> {
        let takes = |file: &&Attachment| !self.provider.takes(file.kind());
        match files.iter().find(takes) {
            None => Ok(()),
            Some(file) => {
                let kind = file.kind().word();
                Err(Error::NotTaken(format!("`{}` takes no {kind}", self.provider.name)))
            }
        }
    }

    /// Keeps what a stream came to until the conversation goes on: it need not be put together twice.
    fn keep(&self, ask: &Ask, raw: &str, answer: String) {
        let place = (ask.tenant.clone(), ask.run.clone(), ask.conversation.clone());
        let mut buffer = self.shelf.take(&place);
        buffer.keep(raw.to_owned(), answer);
        self.shelf.put(place, buffer, self.http.clock.boot_ms());
    }

    async fn converse(&self, ask: Ask) -> Result<Reply, Error> {
        let frames = self.frames(&ask).await?;
        let _place = self.connections.acquire().await;
        let response = self.post(self.uri.clone(), frames, &ask).await?;
        let received = match self.provider.is_streaming() && is_stream(&response) {
            true => self.read_stream(response, &ask).await?,
            false => self.read_whole(response).await?,
        };
        Ok(received.into_reply(&self.provider))
    }

    async fn vectors(&self, texts: &[String], ask: &Ask) -> Result<Embedded, Error> {
        let (address, body) = embed::request(&self.provider, texts)?;
        let _place = self.connections.acquire().await;
        let response = self.post(uri(&self.provider, &address)?, vec![body], ask).await?;
        let answer = self.body_text(response).await?;
        let answer = embed::read(self.provider.api, &answer, texts.len())?;
        let embed::Answer { vectors, usage, model } = answer;
        let model = model.unwrap_or_else(|| self.provider.model.clone());
        Ok(Embedded { provider: self.provider.name.clone(), model, vectors, usage })
    }

    /// Sends a body and waits for the head of the answer; anything but a 2xx is an error.
    async fn post(
        &self,
        uri: Uri,
        frames: Vec<Bytes>,
        ask: &Ask,
    ) -> Result<Response<Incoming>, Error> {
        let length: usize = frames.iter().map(Bytes::len).sum();
        if length > REQUEST_MAX_BYTES {
            return Err(Error::ContextTooLong(format!("more than {REQUEST_MAX_BYTES} bytes")));
        }
        let clock = Arc::clone(&self.http.clock);
        let mut request = Request::new(Frames::new(frames, clock, ask.dispatch_by_boot_ms));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if let Some((name, value)) = key_header(&self.provider.auth(), &self.key)? {
            request.headers_mut().insert(name, value);
        }
        if let Some(name) = &self.provider.idempotency_header {
            let value = HeaderValue::from_str(ask.key.as_str());
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value) {
                request.headers_mut().insert(name, value);
            }
        }
        let response = self.http.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn refusal(&self, response: Response<Incoming>) -> Error {
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let now_ms = self.http.clock.now_ms();
        let wait = status::retry_after(header("retry-after-ms"), header("retry-after"), now_ms);
        let status = response.status().as_u16();
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while let Some(Ok(frame)) = body.frame().await {
            text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if text.len() >= REFUSAL_MAX_BYTES {
                text.truncate(REFUSAL_MAX_BYTES);
                break;
            }
        }
        status::refused(status, &self.without_key(&String::from_utf8_lossy(&text)), wait)
    }

    /// The key, if it is long enough to be told from ordinary text.
    fn telling_key(&self) -> Option<&str> {
        self.key.expose().filter(|key| key.len() >= TELLING_MIN_BYTES)
    }

    /// A server that repeats the key must not bring it into a message.
    fn without_key(&self, text: &str) -> String {
        match self.telling_key() {
            Some(key) => text.replace(key, "[key]"),
            None => text.to_owned(),
        }
    }

    fn check_no_key(&self, text: &str) -> Result<(), Error> {
        match self.telling_key().is_some_and(|key| text.contains(key)) {
            true => Err(Error::garbage("it repeats the provider's key")),
            false => Ok(()),
        }
    }

    async fn read_whole(&self, response: Response<Incoming>) -> Result<Received, Error> {
        let raw = self.body_text(response).await?;
        Received::read(self.provider.api, raw)
    }

    /// The body as text, within the limit.
    async fn body_text(&self, response: Response<Incoming>) -> Result<String, Error> {
        let (mut body, mut bytes) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Error::unavailable(status::broken(&error)))?;
            take(&mut bytes, frame.data_ref().map_or(&[], |data| data))?;
        }
        let text = reading::text(bytes)?;
        self.check_no_key(&text)?;
        Ok(text)
    }

    async fn read_stream(
        &self,
        response: Response<Incoming>,
        ask: &Ask,
    ) -> Result<Received, Error> {
        let wire = wire::of(self.provider.api);
        let mut hearing = Hearing::new(wire);
        let speaking = Speaking {
            tenant: &ask.tenant,
            run: &ask.run,
            conversation: &ask.conversation,
            provider: &self.provider.name,
        };
        let mut tell = |delta: Delta<'_>| {
            if let Some(progress) = &ask.progress {
                progress.tell(&speaking, delta);
            }
        };
        let (mut body, mut bytes) = (response.into_body(), Vec::new());
        while let Some(frame) = next_frame(&mut body, &hearing).await {
            let frame = frame.map_err(|error| Error::unavailable(status::broken(&error)))?;
            let piece = frame.data_ref().map_or(&[][..], |data| data);
            take(&mut bytes, piece)?;
            hearing.hear(piece, &mut tell).map_err(|error| self.cleared(error))?;
        }
        let raw = reading::text(bytes)?;
        self.check_no_key(&raw)?;
        let told = hearing.finish(&raw, &mut tell).map_err(|error| self.cleared(error))?;
        let answer = wire.read(&told)?;
        self.keep(ask, &raw, told);
        Ok(Received { raw, answer })
    }

    /// An error whose words came from the provider, without the key.
    fn cleared(&self, error: Error) -> Error {
        match error {
            Error::Unavailable { message, retry_after_ms } => {
                Error::Unavailable { message: self.without_key(&message), retry_after_ms }
            }
            other if self.check_no_key(&other.to_string()).is_ok() => other,
            _ => Error::garbage("an error that repeats the provider's key"),
        }
    }
}

/// The next piece of a stream. Once the answer is complete, what is left of it is only waited for
/// shortly: a connection that is read to its end can be used again, one that hangs cannot.
async fn next_frame(
    body: &mut Incoming,
    hearing: &Hearing,
) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    if hearing.is_done() {
        let rest = timeout(Duration::from_millis(LINGER_MAX_MS), body.frame()).await;
        return rest.ok().flatten().filter(Result::is_ok);
    }
    body.frame().await
}

impl Model for Client {
    fn name(&self) -> &str {
        &self.provider.name
    }

    fn ask(&self, ask: Ask) -> Task<'_, Result<Reply, Error>> {
        let allowed = Duration::from_millis(ask.timeout_ms);
        Box::pin(async move {
            let late = || Error::Timeout(format!("{} ms were allowed", allowed.as_millis()));
            timeout(allowed, self.converse(ask)).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn embed<'a>(&'a self, texts: &'a [String], ask: &'a Ask) -> Task<'a, Result<Embedded, Error>> {
        let allowed = Duration::from_millis(ask.timeout_ms);
        Box::pin(async move {
            let late = || Error::Timeout(format!("{} ms were allowed", allowed.as_millis()));
            timeout(allowed, self.vectors(texts, ask)).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn request_bytes(&self, thread: &Arc<Thread>, files: &Contents) -> Result<Vec<u8>, Error> {
        let mut buffer = Buffer::default();
        if let Followed::Wants(missing) = buffer.follow(&self.provider, thread, files)? {
            let names: Vec<&str> = missing.iter().map(|file| file.name.as_str()).collect();
            return Err(Error::Thread(format!("it names {}, not read", names.join(", "))));
        }
        Ok(buffer.frames(&self.provider).concat())
    }
}

fn is_stream(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

fn names_a_key(name: &str) -> bool {
    let name = name.to_lowercase();
    KEY_WORDS.iter().any(|word| name.contains(word))
}

/// An address that may be asked.
fn uri(provider: &Provider, text: &str) -> Result<Uri, Error> {
    let name = &provider.name;
    let bad = |why: &str| Error::config(format!("the address of provider `{name}` {why}"));
    let uri: Uri = text.parse().map_err(|_| bad("is none"))?;
    let Some(authority) = uri.authority() else {
        return Err(bad("has no host"));
    };
    if authority.as_str().contains('@') {
        return Err(bad("holds a name or a password"));
    }
    let fields = uri.query().unwrap_or_default().split('&');
    if fields.filter_map(|field| field.split('=').next()).any(names_a_key) {
        return Err(bad("holds a key: give it as the provider's key"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback || provider.plaintext == Plaintext::Allowed => Ok(uri),
        Some("http") => Err(bad("does without TLS; use https, or say `plaintext = \"allowed\"`")),
        _ => Err(bad("is neither https nor http")),
    }
}

fn headers(provider: &Provider) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("harness"));
    for (name, value) in wire::of(provider.api).headers() {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let bad = |name: &str, why: &str| {
        Error::config(format!("header `{name}` of provider `{}` {why}", provider.name))
    };
    for (name, value) in &provider.headers {
        if names_a_key(name) {
            return Err(bad(name, "holds a key: give it as the provider's key"));
        }
        let header = HeaderName::try_from(name).map_err(|_| bad(name, "has no possible name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| bad(name, "has no possible value"))?;
        headers.insert(header, value);
    }
    if let Some(name) = &provider.idempotency_header {
        HeaderName::try_from(name).map_err(|_| bad(name, "has no possible name"))?;
    }
    Ok(headers)
}

/// The header that shows the key, marked so that nothing prints it.
fn key_header(auth: &Auth, key: &Key) -> Result<Option<(HeaderName, HeaderValue)>, Error> {
    let Some(key) = key.expose() else {
        return Ok(None);
    };
    if key.is_empty() {
        return Err(Error::config("the key is empty"));
    }
    let (name, value) = match auth {
        Auth::None => return Ok(None),
        Auth::Bearer => {
            let value = zeroize::Zeroizing::new(format!("Bearer {key}"));
            (header::AUTHORIZATION, HeaderValue::from_str(&value))
        }
        Auth::Header(name) => {
            let header = HeaderName::try_from(name);
            let header = header.map_err(|_| Error::config(format!("`{name}` is no header")))?;
            (header, HeaderValue::from_str(key))
        }
    };
    let mut value = value.map_err(|_| Error::config("the key holds what no header can"))?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}
