//! Addresses of pages: each parses, asks a view, and answers with a document.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    assets,
    forms::FORMS,
    icons::Icon,
    parts::{self, Tone},
    shell, views,
    views::Visitor,
};
use crate::{
    app::{
        approvals::ListApprovals,
        exceptions::ListExceptions,
        ledger::ListLedger,
        problem::{Kind, Problem},
        runs::ListRuns,
    },
    web::{Path, Query, Session, Told, Web},
};

/// The fields of a query; those left empty are not there.
pub(super) type Fields = BTreeMap<String, String>;

/// Every page and form.
pub(crate) fn router() -> Router<Arc<Web>> {
    let pages = Router::new()
        .route("/", get(|| async { Redirect::to("/approvals") }))
        .route("/sign-in", get(sign_in))
        .route("/assets/{hash}/{name}", get(asset))
        .route("/approvals", get(approvals))
        .route("/approvals/{id}", get(approval))
        .route("/exceptions", get(exceptions))
        .route("/exceptions/{id}", get(exception))
        .route("/runs", get(runs))
        .route("/runs/{id}", get(run))
        .route("/receipts", get(receipts))
        .route("/receipts/verify", get(verified))
        .route("/receipts/{id}", get(receipt))
        .route("/rollback/{id}", get(rollback))
        .route("/packs", get(packs))
        .route("/packs/{id}", get(pack));
    FORMS.iter().fold(pages, |pages, form| pages.route(&form.path(), form.route()))
}

/// Whoever looks, from their session.
pub(super) fn visitor(session: &Session, query: &Fields) -> Visitor {
    Visitor {
        caller: session.signed.caller.clone(),
        form_token: session.form_token.clone(),
        said: query.get("said").cloned(),
        wrong: None,
        here: None,
        asked: None,
    }
}

/// A page, or what is told instead of it.
pub(super) async fn answer(
    web: &Web,
    visitor: &Visitor,
    page: Result<Markup, Problem>,
) -> Response {
    match page {
        Ok(page) => Html(page.into_string()).into_response(),
        Err(problem) => {
            let page = views::trouble(&web.app, visitor, &problem).await;
            (status_of(&problem), Html(page.into_string())).into_response()
        }
    }
}

/// The status a problem is told with.
pub(super) fn status_of(problem: &Problem) -> StatusCode {
    Told::from(problem.clone()).into_response().status()
}

/// A field that was filled in.
pub(super) fn filled(query: &Fields, name: &str) -> Option<String> {
    query.get(name).filter(|value| !value.trim().is_empty()).map(|value| value.trim().to_owned())
}

async fn asset(Path((hash, name)): Path<(String, String)>) -> Response {
    match assets::find(&hash, &name) {
        Some(asset) => {
            let kept = "public, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, kept)], asset.text)
                .into_response()
        }
        None => {
            let problem = Problem::new(Kind::NotFound, "no-such-asset", "there is no such file")
                .next("load the page again: a newer version has files of its own");
            Told::from(problem).into_response()
        }
    }
}

/// Why somebody is at the sign-in page again.
fn refused(why: &str) -> &'static str {
    match why {
        "group" => "Your company's account is known, but none of your groups may enter here.",
        _ => "That did not work: it was used, has expired, or never was.",
    }
}

/// A link is used by a click, never by being looked at.
async fn sign_in(State(web): State<Arc<Web>>, Query(query): Query<Fields>) -> Response {
    let to = filled(&query, "to").unwrap_or_default();
    let link = filled(&query, "link");
    let body = html! {
        div.card {
            header { div { h1 { "Sign in" } p.meta { "harness" } } }
            @if let Some(why) = query.get("refused") {
                (parts::note(Tone::Bad, Icon::Lock, html! { span role="alert" { (refused(why)) } }))
            }
            @match &link {
                Some(link) => {
                    form.row.stack method="post" action="/sign-in" {
                        input type="hidden" name="link" value=(link);
                        input type="hidden" name="to" value=(to);
                        p { "This link signs you in, once." }
                        p { button.main { "Sign in" } }
                    }
                }
                None => {
                    @if web.app.config().oidc.is_some() {
                        p.row { a.button.main href={ "/sign-in/oidc?to=" (parts::escape(&to)) } { "Sign in with your company's account" } }
                    }
                    form.row.stack method="post" action="/sign-in" {
                        input type="hidden" name="to" value=(to);
                        label { "Your token" input type="password" name="token" autocomplete="current-password" required autofocus; }
                        p { button.main { "Sign in" } }
                        p.meta { "Or open the link that " code { "harness token link" } " prints." }
                    }
                }
            }
        }
    };
    let status =
        if query.contains_key("refused") { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    (status, Html(shell::door("Sign in", &body).into_string())).into_response()
}

type Asked = (State<Arc<Web>>, Session, Query<Fields>);

async fn approvals((State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let asked = ListApprovals {
        all: false,
        run: filled(&query, "run"),
        intent: filled(&query, "intent"),
        agent: filled(&query, "agent"),
        pack: filled(&query, "pack"),
        operation: filled(&query, "operation"),
        customer: filled(&query, "customer"),
        account: filled(&query, "account"),
        since: filled(&query, "since"),
        until: filled(&query, "until"),
        after: filled(&query, "after"),
        limit: None,
    };
    let page = views::approvals(&web.app, &visitor, (None, asked)).await;
    answer(&web, &visitor, page).await
}

async fn approval(Path(id): Path<String>, (State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let page = views::approvals(&web.app, &visitor, (Some(&id), ListApprovals::default())).await;
    answer(&web, &visitor, page).await
}

async fn exceptions((State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let asked = ListExceptions {
        all: query.get("all").is_some_and(|all| all == "true"),
        run: filled(&query, "run"),
        class: filled(&query, "class"),
        need: filled(&query, "need"),
        owner: filled(&query, "owner"),
        intent: filled(&query, "intent"),
        agent: filled(&query, "agent"),
        pack: filled(&query, "pack"),
        operation: filled(&query, "operation"),
        customer: filled(&query, "customer"),
        account: filled(&query, "account"),
        since: filled(&query, "since"),
        until: filled(&query, "until"),
        after: filled(&query, "after"),
        ..ListExceptions::default()
    };
    let page = views::exceptions(&web.app, &visitor, asked).await;
    answer(&web, &visitor, page).await
}

async fn exception(Path(id): Path<String>, (State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let page = views::exception(&web.app, &visitor, &id).await;
    answer(&web, &visitor, page).await
}

async fn runs((State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let asked = ListRuns {
        status: filled(&query, "status"),
        intent: filled(&query, "intent"),
        agent: filled(&query, "agent"),
        pack: filled(&query, "pack"),
        since: filled(&query, "since"),
        until: filled(&query, "until"),
        operation: filled(&query, "operation"),
        customer: filled(&query, "customer"),
        account: filled(&query, "account"),
        subject: filled(&query, "subject"),
        after: filled(&query, "after"),
        limit: None,
    };
    let page = views::runs(&web.app, &visitor, asked).await;
    answer(&web, &visitor, page).await
}

async fn run(Path(id): Path<String>, (State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let view = filled(&query, "view").unwrap_or_default();
    let after = filled(&query, "after").and_then(|after| after.parse().ok());
    let page = views::run(&web.app, &visitor, (&id, &view, after)).await;
    answer(&web, &visitor, page).await
}

async fn receipts((State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let run = filled(&query, "run");
    if let Some(receipt) = run.as_deref().filter(|id| id.starts_with("rct_")) {
        return Redirect::to(&format!("/receipts/{}", parts::escape(receipt))).into_response();
    }
    let asked = ListLedger {
        run,
        intent: filled(&query, "intent"),
        agent: filled(&query, "agent"),
        pack: filled(&query, "pack"),
        operation: filled(&query, "operation"),
        customer: filled(&query, "customer"),
        account: filled(&query, "account"),
        since: filled(&query, "since"),
        until: filled(&query, "until"),
        after: filled(&query, "after"),
    };
    let page = views::receipts(&web.app, &visitor, asked).await;
    answer(&web, &visitor, page).await
}

async fn verified((State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let run = filled(&query, "run").unwrap_or_default();
    let page = views::verified(&web.app, &visitor, &run).await;
    answer(&web, &visitor, page).await
}

async fn receipt(Path(id): Path<String>, (State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let page = views::receipt(&web.app, &visitor, &id).await;
    answer(&web, &visitor, page).await
}

async fn rollback(Path(run): Path<String>, (State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let page = views::rollback(&web.app, &visitor, &run).await;
    answer(&web, &visitor, page).await
}

async fn packs((State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let page = views::packs(&web.app, &visitor).await;
    answer(&web, &visitor, page).await
}

async fn pack(Path(name): Path<String>, (State(web), session, Query(query)): Asked) -> Response {
    let visitor = visitor(&session, &query);
    let page = views::pack(&web.app, &visitor, &name).await;
    answer(&web, &visitor, page).await
}

/// An answer's body nobody reads.
pub(super) type Ignored = Value;
