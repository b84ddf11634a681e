//! What forms send: checked to come from the session's own page, handed to `app`, and answered with a
//! redirect, so that a reload repeats nothing. What is refused is shown on the page it was sent from.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{MethodRouter, post},
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
    app::{
        approvals::{DecidedBatch, ListApprovals},
        problem::Problem,
    },
    web::{Form, Path, Session, Told, Web},
};

/// How long an answer waits for its run before the page shows it going on, in ms.
const WAIT_MS: u64 = 1_000;

/// A form of a page: where it is sent, the one operation it may ask for, and the verbs it may say.
#[derive(Clone, Copy)]
pub struct Sends {
    /// The place it stands in, and the tail of its address behind what it is about.
    at: (&'static str, &'static str),
    /// The operation.
    pub op: &'static str,
    /// Its verbs; none where the operation has none.
    pub verbs: &'static [&'static str],
    handle: fn() -> MethodRouter<Arc<Web>>,
}

impl std::fmt::Debug for Sends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sends").field("op", &self.op).field("verbs", &self.verbs).finish()
    }
}

static DECIDE: Sends = Sends {
    at: ("approvals", ""),
    op: "approval.decide",
    verbs: &["approve", "deny", "edit", "reply"],
    handle: || post(decide),
};
static CLAIM: Sends = Sends {
    at: ("approvals", "/claim"),
    op: "approval.claim",
    verbs: &["claim", "assign", "release", "set_aside", "take_up"],
    handle: || post(claim),
};
static TOGETHER: Sends = Sends {
    at: ("approvals", "/together"),
    op: "approval.decide-batch",
    verbs: &["approve", "deny"],
    handle: || post(decide_together),
};
static SETTLE: Sends = Sends {
    at: ("exceptions", ""),
    op: "exception.settle",
    verbs: &["happened", "did_not_happen", "retry", "use", "skip", "stop", "rollback", "close"],
    handle: || post(settle),
};
static LOOK_AFTER: Sends = Sends {
    at: ("exceptions", "/claim"),
    op: "exception.claim",
    verbs: &["claim", "assign", "release", "set_aside", "take_up"],
    handle: || post(claim_exception),
};
static STEER: Sends = Sends {
    at: ("runs", ""),
    op: "run.steer",
    verbs: &["pause", "resume", "cancel", "tell"],
    handle: || post(steer),
};
static ROLL_BACK: Sends =
    Sends { at: ("rollback", ""), op: "run.rollback", verbs: &[], handle: || post(roll_back) };

/// Every form: there is no other address that takes one from a page.
pub static FORMS: [&Sends; 7] =
    [&DECIDE, &CLAIM, &TOGETHER, &SETTLE, &LOOK_AFTER, &STEER, &ROLL_BACK];

type Sent = (State<Arc<Web>>, Session, Form<Fields>);

/// What a form of one's own session sent.
struct Received {
    web: Arc<Web>,
    visitor: Visitor,
    fields: Fields,
    form: &'static Sends,
}

impl Sends {
    /// Its address, `{id}` for what it is about.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}/{{id}}{}", self.at.0, self.at.1)
    }

    pub(super) fn route(&self) -> MethodRouter<Arc<Web>> {
        (self.handle)()
    }

    fn receive(
        &'static self,
        id: &str,
        (State(web), session, Form(fields)): Sent,
    ) -> Result<Received, Told> {
        session.check_form(fields.get("form_token").map(String::as_str).unwrap_or_default())?;
        let verb = fields.get("verb").map(String::as_str).unwrap_or_default();
        if !self.verbs.is_empty() && !self.verbs.contains(&verb) {
            let next = format!("it sends one of {}", self.verbs.join(", "));
            return Err(Problem::usage("bad-verb", "this form does not send that")
                .next(next)
                .into());
        }
        let mut visitor = routes::visitor(&session, &Fields::new());
        visitor.here = Some(format!("/{}/{}", self.at.0, parts::escape(id)));
        visitor.asked = Some(self.op);
        Ok(Received { web, visitor, fields, form: self })
    }
}

impl Received {
    fn field(&self, name: &str) -> String {
        // Browsers end the lines of a text area as mail does.
        filled(&self.fields, name).unwrap_or_default().replace("\r\n", "\n")
    }

    /// Asks for what the form stands for, and for nothing else.
    async fn call(&self, body: Value) -> Result<Ignored, Problem> {
        views::ask(&self.web.app, &self.visitor.caller, (self.form.op, body)).await
    }

    /// Back to the page, which says what was done.
    fn done(&self, said: &str) -> Response {
        let here = self.visitor.here.as_deref().unwrap_or("/");
        Redirect::to(&format!("{here}?said={said}")).into_response()
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

/// Answers an ask.
async fn decide(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = DECIDE.receive(&id, sent)?;
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
        None => received.call(body).await,
    };
    Ok(match answered {
        Ok(_) => received.done(said(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::approvals(
                    &again.web.app,
                    &again.visitor,
                    (Some(&id), ListApprovals::default()),
                )
                .await
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

/// Claims an ask, gives it to somebody, releases it, sets it aside or takes it up again. It decides nothing.
async fn claim(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = CLAIM.receive(&id, sent)?;
    let verb = received.field("verb");
    let (to, note) = (filled(&received.fields, "to"), received.field("note"));
    let body = json!({ "approval": id, "verb": verb, "to": to, "note": note });
    Ok(match received.call(body).await {
        Ok(_) if verb == "set_aside" => Redirect::to("/approvals?said=aside").into_response(),
        Ok(_) => received.done(claimed(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::approvals(
                    &again.web.app,
                    &again.visitor,
                    (Some(&id), ListApprovals::default()),
                )
                .await
            };
            received.refused(problem, page).await
        }
    })
}

fn claimed(verb: &str) -> &'static str {
    match verb {
        "claim" => "claimed",
        "assign" => "assigned",
        "release" => "released",
        "set_aside" => "aside",
        _ => "taken-up",
    }
}

/// Claims an exception, gives it to somebody, releases it, sets it aside or takes it up again. It decides
/// nothing.
async fn claim_exception(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = LOOK_AFTER.receive(&id, sent)?;
    let verb = received.field("verb");
    let (to, note) = (filled(&received.fields, "to"), received.field("note"));
    let body = json!({ "exception": id, "verb": verb, "to": to, "note": note });
    Ok(match received.call(body).await {
        Ok(_) => received.done(claimed(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::exception(&again.web.app, &again.visitor, &id).await
            };
            received.refused(problem, page).await
        }
    })
}

/// Answers those of several asks that were chosen, each bound to the digest it was shown with.
async fn decide_together(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = TOGETHER.receive(&id, sent)?;
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
            let op = received.form.op;
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
        Ok(()) => received.done(said(&verb)),
        Err(problem) => {
            let page = async |again: &Received| {
                views::approvals(
                    &again.web.app,
                    &again.visitor,
                    (Some(&id), ListApprovals::default()),
                )
                .await
            };
            received.refused(problem, page).await
        }
    })
}

/// Decides about an exception.
async fn settle(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = SETTLE.receive(&id, sent)?;
    let verb = received.field("verb");
    let value = fields::read(&received.fields);
    let settled = match (verb.as_str(), value) {
        ("use", Err(wrong)) => Err(Problem::usage("bad-value", wrong)),
        (_, value) => {
            let body = json!({
                "exception": id, "verb": verb, "evidence": received.field("evidence"),
                "value": value.unwrap_or_default(),
            });
            received.call(body).await
        }
    };
    Ok(match settled {
        Ok(_) => received.done("settled"),
        Err(problem) => {
            let page = async |again: &Received| {
                views::exception(&again.web.app, &again.visitor, &id).await
            };
            received.refused(problem, page).await
        }
    })
}

/// Holds a run, lets it go on, stops it, or tells its agent something.
async fn steer(Path(id): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = STEER.receive(&id, sent)?;
    let verb = received.field("verb");
    let said = match verb.as_str() {
        "pause" => "pause",
        "resume" => "resume",
        "tell" => "told",
        _ => "cancel",
    };
    let body = json!({
        "run": id, "verb": verb, "reason": received.field("reason"),
        "text": received.field("text"), "wait_ms": WAIT_MS,
    });
    Ok(match received.call(body).await {
        Ok(_) => received.done(said),
        Err(problem) => {
            let page = async |again: &Received| {
                views::run(&again.web.app, &again.visitor, (&id, "", None)).await
            };
            received.refused(problem, page).await
        }
    })
}

/// Takes a run back.
async fn roll_back(Path(run): Path<String>, sent: Sent) -> Result<Response, Told> {
    let received = ROLL_BACK.receive(&run, sent)?;
    // A box that is not ticked is not sent.
    let seen = Some(received.field("accept_conflict")).filter(|seen| !seen.is_empty());
    let body = json!({ "run": run, "accept_conflict": seen });
    Ok(match received.call(body).await {
        Ok(_) => received.done("rollback"),
        Err(problem) => {
            let page = async |again: &Received| {
                views::rollback(&again.web.app, &again.visitor, &run).await
            };
            received.refused(problem, page).await
        }
    })
}
