//! `/sign-in/oidc` and `/sign-in/callback`: to the identity provider and back.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;

use super::{Client, Query, Scheme, Told, Web, door::inside, signed};
use crate::app::identity::Returned;

/// Longest cookie of somebody who is at the provider, in bytes.
const AWAY_BYTES_MAX: usize = 2_048;

/// Longest place to go to afterwards, in bytes; others lead to the first page.
const TO_BYTES_MAX: usize = 500;

/// What the sign-in page says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    /// Where they wanted to go.
    to: String,
}

pub(crate) fn router() -> Router<Arc<Web>> {
    Router::new().route("/sign-in/oidc", get(depart)).route("/sign-in/callback", get(come_back))
}

async fn depart(
    State(web): State<Arc<Web>>,
    Client(address): Client,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, Told>,
) -> Response {
    if let Err(told) = web.count_sign_in(address) {
        return told.into_response();
    }
    let to = wanted.map(|Query(wanted)| wanted.to).unwrap_or_default();
    let to = if to.len() > TO_BYTES_MAX { String::new() } else { to };
    match web.app.depart(&web.back(&headers), &signed::escape(inside(&to))).await {
        Ok(departure) => {
            let cookie = web.away_cookie(&departure.kept, departure.kept_s);
            ([(header::SET_COOKIE, cookie)], Redirect::to(&departure.location)).into_response()
        }
        Err(problem) => Told::from(problem).into_response(),
    }
}

async fn come_back(
    State(web): State<Arc<Web>>,
    Client(address): Client,
    headers: HeaderMap,
    returned: Result<Query<Returned>, Told>,
) -> Response {
    if let Err(told) = web.count_sign_in(address) {
        return told.into_response();
    }
    let returned = returned.map(|Query(returned)| returned).unwrap_or_default();
    let kept = signed::cookie_of(&headers, (web.away_name(), AWAY_BYTES_MAX)).unwrap_or_default();
    let begun = web.app.come_back(&web.back(&headers), &kept, &returned).await;
    let mut response = match begun {
        Ok((cookie, to)) => {
            let to = signed::unescape(&to);
            let mut response = Redirect::to(inside(&to)).into_response();
            if let Ok(cookie) = HeaderValue::from_str(&web.set_cookie(&cookie)) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(problem) => {
            // Why goes to the log: whoever tries something learns nothing from the page.
            tracing::warn!(%problem, code = &*problem.code, "somebody was not signed in");
            let code = if &*problem.code == "no-group" { "group" } else { "1" };
            Redirect::to(&format!("/sign-in?refused={code}")).into_response()
        }
    };
    // It is used up, whatever came of it.
    if let Ok(gone) = HeaderValue::from_str(&web.away_cookie("", 0)) {
        response.headers_mut().append(header::SET_COOKIE, gone);
    }
    response
}

impl Web {
    /// Where the provider sends people back to: at the name they came by, which the guard has checked.
    fn back(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let own = || format!("http://{}", host.unwrap_or_default());
        let base = self.app.config().serve.public_url.clone().unwrap_or_else(own);
        format!("{base}/sign-in/callback")
    }

    fn away_name(&self) -> &'static str {
        match self.scheme {
            Scheme::Https => "__Host-harness-away",
            Scheme::Http => "harness-away",
        }
    }

    /// What a browser keeps while its person is at the provider.
    fn away_cookie(&self, kept: &str, seconds: i64) -> String {
        let secure = if self.scheme == Scheme::Https { "; Secure" } else { "" };
        let name = self.away_name();
        format!("{name}={kept}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
    }
}
