//! What forms send: checked to come from the session's own page, handed to `app`, and answered with a
//! redirect, so that a reload repeats nothing. What is refused is shown on the page it was sent from.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use maud::Markup;
use serde_json::{Value, json};

use super::{
    pages::fields,
    parts,
    routes::{self, Fields, Ignored, filled},
    views::{self, Visitor},
};
use crate::{
    app::{approvals::DecidedBatch, problem::Problem},
    web::{Session, Told, Web},
};

/// How long an answer waits for its run before the page shows it going on, in ms.
const WAIT_MS: u64 = 1_000;

type Sent = (State<Arc<Web>>, Session, Form<Fields>);

/// What a form of one's own session sent.
struct Received {
    web: Arc<Web>,
    visitor: Visitor,
    fields: Fields,
}

fn receive((State(web), session, Form(fields)): Sent) -> Result<Received, Told> {
    session.check_form(fields.get("form_token").map(String::as_str).unwrap_or_default())?;
    let visitor = routes::visitor(&session, &Fields::new());
    Ok(Received { web, visitor, fields })
}

impl Received {
    fn field(&self, name: &str) -> String {
        filled(&self.fields, name).unwrap_or_default()
    }

    async fn call(&self, op: &str, body: Value) -> Result<Ignored, Problem> {
        views::ask(&self.web.app, &self.visitor.caller, (op, body)).await
    }

    /// The page again, with what was wrong.
    async fn refused(
        self,
        problem: Problem,
        page: impl AsyncFnOnce(&Self) -> Result<Markup, Problem>,
    ) -> Response {
        let status = routes::status_of(&problem);
        let visitor = Visitor { wrong: Some(problem.detail.clone()), ..self.visitor.clone() };
        let again = Self { visitor, ..self };
        match page(&again).await {
            Ok(page) => (status, Html(page.into_string())).into_response(),
            Err(_) => routes::answer(&again.web, &again.visitor, Err(problem)).await,
        }
    }
}

fn done(place: &str, id: &str, said: &str) -> Response {
    Redirect::to(&format!("/{place}/{}?said={said}", parts::escape(id))).into_response()
}

/// Answers an ask.
pub(super) async fn decide(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = receive(sent)?;
    let verb = received.field("verb");
    let value = fields::read(&received.fields);
    let (value, unreadable) = match (verb.as_str(), value) {
        ("edit" | "reply", Err(wrong)) => (Value::Null, Some(wrong)),
        (_, value) => (value.unwrap_or_default(), None),
    };
    let body = json!({
        "approval": id, "verb": verb, "digest": filled(&received.fields, "digest"),
        "reason": received.field("reason"), "value": value, "wait_ms": WAIT_MS,
    });
    let answered = match unreadable {
        Some(wrong) => Err(Problem::usage("bad-value", wrong)),
        None => received.call("approval.decide", body).await,
    };
    Ok(match answered {
        Ok(_) => done("approvals", &id, said(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::approvals(&again.web.app, &again.visitor, (Some(&id), None)).await
            };
            received.refused(problem, page).await
        }
    })
}

fn said(verb: &str) -> &'static str {
    match verb {
        "approve" => "approved",
        "deny" => "denied",
        "edit" => "edit",
        _ => "replied",
    }
}

/// Claims an ask, releases it, sets it aside or takes it up again. It decides nothing.
pub(super) async fn claim(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = receive(sent)?;
    let verb = received.field("verb");
    let body = json!({ "approval": id, "verb": verb });
    Ok(match received.call("approval.claim", body).await {
        Ok(_) if verb == "set_aside" => Redirect::to("/approvals?said=aside").into_response(),
        Ok(_) => done("approvals", &id, claimed(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::approvals(&again.web.app, &again.visitor, (Some(&id), None)).await
            };
            received.refused(problem, page).await
        }
    })
}

fn claimed(verb: &str) -> &'static str {
    match verb {
        "claim" => "claimed",
        "release" => "released",
        "set_aside" => "aside",
        _ => "taken-up",
    }
}

/// Claims an exception, releases it, sets it aside or takes it up again. It decides nothing.
pub(super) async fn claim_exception(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = receive(sent)?;
    let verb = received.field("verb");
    let body = json!({ "exception": id, "verb": verb });
    Ok(match received.call("exception.claim", body).await {
        Ok(_) => done("exceptions", &id, claimed(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::exception(&again.web.app, &again.visitor, &id).await
            };
            received.refused(problem, page).await
        }
    })
}

/// Answers those of several asks that were chosen, each bound to the digest it was shown with.
pub(super) async fn decide_together(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = receive(sent)?;
    let verb = received.field("verb");
    let chosen = received.fields.iter().filter_map(|(name, digest)| {
        let approval = name.strip_prefix("ask-")?;
        Some(json!({
            "approval": approval, "digest": digest, "verb": verb, "reason": received.field("reason"),
        }))
    });
    let chosen: Vec<Value> = chosen.collect();
    let answered = match chosen.is_empty() {
        true => Err(Problem::usage("none-chosen", "choose what your answer is about")),
        false => {
            let body = json!({ "answers": chosen });
            let op = "approval.decide-batch";
            let answered: Result<DecidedBatch, Problem> =
                views::ask(&received.web.app, &received.visitor.caller, (op, body)).await;
            let refused = |answered: DecidedBatch| {
                let not = answered.items.into_iter().find_map(|one| one.problem);
                not.map_or(Ok(()), |not| Err(not.into()))
            };
            answered.and_then(refused)
        }
    };
    Ok(match answered {
        Ok(()) => done("approvals", &id, said(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::approvals(&again.web.app, &again.visitor, (Some(&id), None)).await
            };
            received.refused(problem, page).await
        }
    })
}

/// Decides about an exception.
pub(super) async fn settle(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = receive(sent)?;
    let verb = received.field("verb");
    let value = fields::read(&received.fields);
    let settled = match (verb.as_str(), value) {
        ("use", Err(wrong)) => Err(Problem::usage("bad-value", wrong)),
        (_, value) => {
            let body = json!({
                "exception": id, "verb": verb, "evidence": received.field("evidence"),
                "value": value.unwrap_or_default(),
            });
            received.call("exception.settle", body).await
        }
    };
    Ok(match settled {
        Ok(_) => done("exceptions", &id, "settled"),
        Err(problem) => {
            let page = async |again: &Received| {
                views::exception(&again.web.app, &again.visitor, &id).await
            };
            received.refused(problem, page).await
        }
    })
}

/// Holds a run, lets it go on, or stops it.
pub(super) async fn steer(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = receive(sent)?;
    let verb = received.field("verb");
    let said = match verb.as_str() {
        "pause" => "pause",
        "resume" => "resume",
        _ => "cancel",
    };
    let body = json!({
        "run": id, "verb": verb, "reason": received.field("reason"), "wait_ms": WAIT_MS,
    });
    Ok(match received.call("run.steer", body).await {
        Ok(_) => done("runs", &id, said),
        Err(problem) => {
            let page = async |again: &Received| {
                views::run(&again.web.app, &again.visitor, (&id, "", None)).await
            };
            received.refused(problem, page).await
        }
    })
}

/// Takes a run back.
pub(super) async fn roll_back(Path(run): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = receive(sent)?;
    // A box that is not ticked is not sent.
    let seen = Some(received.field("accept_conflict")).filter(|seen| !seen.is_empty());
    let body = json!({ "run": run, "accept_conflict": seen });
    Ok(match received.call("run.rollback", body).await {
        Ok(_) => done("rollback", &run, "rollback"),
        Err(problem) => {
            let page = async |again: &Received| {
                views::rollback(&again.web.app, &again.visitor, &run).await
            };
            received.refused(problem, page).await
        }
    })
}
