//! Signing in and out with a browser, and the stream its pages listen to. The page itself is the UI's.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::{Client, Form, Held, Session, SignIn, Told, Web, listen};

/// What the sign-in page sends.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    /// The secret of a one-time link.
    link: String,
    /// A person's token.
    token: String,
    /// Where they wanted to go.
    to: String,
}

/// What a form without other fields sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leave {
    form_token: String,
}

pub(crate) fn router() -> Router<Arc<Web>> {
    Router::new()
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/live", get(live))
}

/// A link is used by a click, not by being looked at: mail programs look at every link.
async fn sign_in(
    State(web): State<Arc<Web>>,
    Client(address): Client,
    Form(entry): Form<Entry>,
) -> Response {
    if let Err(told) = web.count_sign_in(address) {
        return told.into_response();
    }
    let begun = if entry.link.is_empty() {
        web.app.sign_in_with_token(&entry.token).await
    } else {
        web.app.sign_in_with_link(&entry.link).await
    };
    let to = inside(&entry.to);
    match begun {
        Ok(cookie) => {
            ([(header::SET_COOKIE, web.set_cookie(&cookie))], Redirect::to(to)).into_response()
        }
        Err(_) => Redirect::to(&format!("/sign-in?refused=1&to={}", super::signed::escape(to)))
            .into_response(),
    }
}

async fn sign_out(
    State(web): State<Arc<Web>>,
    session: Session,
    Form(leave): Form<Leave>,
) -> Result<Response, Told> {
    session.check_form(&leave.form_token)?;
    web.app.sign_out(&session.secret).await?;
    Ok(([(header::SET_COOKIE, web.clear_cookie())], Redirect::to("/sign-in")).into_response())
}

async fn live(
    State(web): State<Arc<Web>>,
    session: Result<Session, SignIn>,
    headers: HeaderMap,
) -> Response {
    // A stream cannot be sent to another page: it is told, and the page shows it.
    let Session { signed, secret, .. } = match session {
        Ok(session) => session,
        Err(SignIn::Page(_)) => return axum::http::StatusCode::NO_CONTENT.into_response(),
        Err(SignIn::Told(told)) => return told.into_response(),
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    listen(web, (signed, Held::Session(secret)), last, None)
}

/// A place of ours; whatever leads elsewhere leads to the first page.
pub(super) fn inside(to: &str) -> &str {
    let plain = to.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'\\');
    if to.starts_with('/') && !to.starts_with("//") && plain { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for to in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "",
            "/a\nb",
            "javascript:1",
        ] {
            assert_eq!(inside(to), "/", "{to}");
        }
        assert_eq!(inside("/runs/run_1?after=2"), "/runs/run_1?after=2");
    }
}
