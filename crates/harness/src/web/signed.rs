//! Who asks: a bearer token at the API, a session's cookie in the browser. Never one in the other's place.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};

use super::{Client, Scheme, Told, Web};
use crate::app::{
    identity::{Cookie, Signed, form_token},
    problem::{Kind, Problem},
};

/// Longest token or cookie that is looked at, in bytes.
const SECRET_BYTES_MAX: usize = 256;

/// Whoever a bearer token stands for.
#[derive(Debug)]
pub(crate) struct Bearer {
    pub(crate) signed: Signed,
    /// The token itself: a stream that stays open looks at it again.
    pub(crate) token: String,
}

impl FromRequestParts<Arc<Web>> for Bearer {
    type Rejection = Told;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Told> {
        let Client(address) = Client::of(parts, web);
        let token = bearer_of(&parts.headers, SECRET_BYTES_MAX);
        let signed = match token {
            Some(token) => web.app.bearer(token).await,
            None => Err(Problem::new(Kind::NotSignedIn, "not-signed-in", "a token is needed")
                .next("send `Authorization: Bearer hns_…`; `harness token create` makes one")),
        };
        match signed {
            Ok(signed) => {
                web.limits.count(&signed.credential)?;
                let token = token.unwrap_or_default().to_owned();
                Ok(Self { signed, token })
            }
            Err(problem) => {
                web.limits.count_stranger(address)?;
                Err(problem.into())
            }
        }
    }
}

/// The token that a request shows, unless it shows several or one that is longer than this.
pub(super) fn bearer_of(headers: &HeaderMap, bytes_max: usize) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let given = all.next().filter(|_| all.next().is_none())?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= bytes_max;
    fits.then_some(token.trim())
}

/// A person signed in with a browser.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) signed: Signed,
    /// Stands in every form of theirs.
    pub(crate) form_token: String,
    /// To end it with.
    pub(crate) secret: String,
}

/// Nobody is signed in: to the sign-in page, and back afterwards.
#[derive(Debug)]
pub(crate) enum SignIn {
    /// To the page.
    Page(String),
    /// Something else is wrong.
    Told(Told),
}

impl IntoResponse for SignIn {
    fn into_response(self) -> Response {
        match self {
            Self::Page(to) => Redirect::to(&to).into_response(),
            Self::Told(told) => told.into_response(),
        }
    }
}

impl FromRequestParts<Arc<Web>> for Session {
    type Rejection = SignIn;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, SignIn> {
        let secret = cookie_of(&parts.headers, (web.cookie_name(), SECRET_BYTES_MAX));
        let signed = match &secret {
            Some(secret) => web.app.session(secret).await.ok(),
            None => None,
        };
        let (Some(secret), Some(signed)) = (secret, signed) else {
            let Client(address) = Client::of(parts, web);
            web.limits.count_stranger(address).map_err(SignIn::Told)?;
            let wanted = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let back = if parts.method == axum::http::Method::GET { wanted } else { "/" };
            return Err(SignIn::Page(format!("/sign-in?to={}", escape(back))));
        };
        web.limits.count(&signed.credential).map_err(SignIn::Told)?;
        Ok(Self { signed, form_token: form_token(&secret), secret })
    }
}

impl Session {
    /// Refuses a form that does not carry the session's own token.
    pub(crate) fn check_form(&self, given: &str) -> Result<(), Told> {
        if given == self.form_token {
            return Ok(());
        }
        let problem =
            Problem::new(Kind::NotAllowed, "form-not-yours", "this form is not from your session")
                .next("open the page again and send it from there");
        Err(Told::with(StatusCode::FORBIDDEN, problem))
    }
}

impl Web {
    /// A cookie that only this host may set, where TLS allows to say so.
    pub(crate) fn cookie_name(&self) -> &'static str {
        match self.scheme {
            Scheme::Https => "__Host-harness",
            Scheme::Http => "harness",
        }
    }

    /// The header that keeps a session in the browser.
    pub(crate) fn set_cookie(&self, cookie: &Cookie) -> String {
        let (name, secret) = (self.cookie_name(), &cookie.secret);
        let secure = if self.scheme == Scheme::Https { "; Secure" } else { "" };
        format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax{secure}")
    }

    /// The header that forgets it.
    pub(crate) fn clear_cookie(&self) -> String {
        let secure = if self.scheme == Scheme::Https { "; Secure" } else { "" };
        format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{secure}", self.cookie_name())
    }

    /// Counts a try to sign in by somebody nobody knows yet.
    pub(crate) fn count_sign_in(&self, address: IpAddr) -> Result<(), Told> {
        self.limits.count_stranger(address)
    }
}

/// The value of a cookie, unless it is empty or longer than this.
pub(super) fn cookie_of(headers: &HeaderMap, (name, bytes_max): (&str, usize)) -> Option<String> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut each =
        all.flat_map(|value| value.split(';')).filter_map(|one| one.trim().split_once('='));
    let found = each.find(|(key, _)| *key == name).map(|(_, value)| value)?;
    (found.len() <= bytes_max && !found.is_empty()).then(|| found.to_owned())
}

/// Escapes what stands in a query.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Reads what [`escape`] wrote; whatever else is there stays as it is.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.filter(|_| *first == b'%').and_then(|p| u8::from_str_radix(p, 16).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(plain).unwrap_or_default()
}
