//! The control surface `/_world`: what a test or a demo asks of the world itself.

use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::check::{Field, Shape, check, required};
use crate::fault::Fault;
use crate::ledger::{EffectFilter, list_effects};
use crate::problem::{Problem, Refusal};
use crate::records::{Doc, Records};
use crate::serve::{MAX_BODY_BYTES, Shared, json_response, read_object, read_query};
use crate::{billing, clock, db, mail};

const MAX_ADVANCE_SECONDS: i64 = 10 * 365 * 86_400;

static CLOCK_FIELDS: &[Field] =
    &[required("advance_seconds", Shape::Whole(0, MAX_ADVANCE_SECONDS))];

/// Answers a control request.
pub(crate) async fn answer(world: &Shared, request: Request) -> Response {
    match dispatch(world, request).await {
        Ok((status, body)) => json_response(status, &body),
        Err(refusal) => json_response(refusal.problem.status(), &json!({"error": refusal.message})),
    }
}

async fn dispatch(world: &Shared, request: Request) -> Result<(u16, Value), Refusal> {
    let (parts, body) = request.into_parts();
    let mut query = read_query(&parts.uri)?;
    match (parts.method.as_str(), parts.uri.path()) {
        ("GET", "/_world") => Ok((200, world.about.clone())),
        ("GET", "/_world/hash") => {
            let hash = world.db.with(|tx| Records::new(tx).hash()).await?;
            Ok((200, json!({"hash": hash})))
        }
        ("GET", "/_world/effects") => {
            let filter = EffectFilter {
                system: query.remove("system"),
                operation: query.remove("operation"),
                key: query.remove("key"),
            };
            Ok((200, world.db.with(move |tx| list_effects(tx, &filter)).await?))
        }
        ("GET", "/_world/mail") => {
            let (id, to) = (query.remove("message_id"), query.remove("to"));
            let list =
                move |tx: &rusqlite::Transaction<'_>| mail::list(tx, id.as_deref(), to.as_deref());
            Ok((200, world.db.with(list).await?))
        }
        ("GET", "/_world/clock") => {
            let now = world.db.with(|tx| db::now_seconds(tx)).await?;
            Ok((200, json!({"now": clock::rfc3339(now)})))
        }
        ("POST", "/_world/clock") => advance_clock(world, read_body(body).await?).await,
        ("POST", "/_world/usage") => {
            let body = read_body(body).await?;
            let set = move |tx: &rusqlite::Transaction<'_>| {
                crate::usage::set_active(Records::new(tx), &body)
            };
            Ok((200, world.db.with(set).await?))
        }
        ("GET", "/_world/faults") => Ok((200, json!({"faults": world.faults.list()}))),
        ("POST", "/_world/faults") => {
            let rule = Value::Object(read_body(body).await?);
            let fault: Fault = serde_json::from_value(rule).map_err(bad_fault)?;
            world.faults.add(fault.clone()).map_err(bad_fault)?;
            Ok((201, json!({"fault": fault})))
        }
        ("DELETE", "/_world/faults") => {
            world.faults.clear();
            Ok((200, json!({"faults": []})))
        }
        (method, path) => {
            Err(Refusal::new(Problem::NotFound, format!("no such control: {method} {path}")))
        }
    }
}

fn bad_fault(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Problem::BadParameter, error.to_string())
}

async fn read_body(body: axum::body::Body) -> Result<Doc, Refusal> {
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await;
    read_object(&bytes.map_err(|_| Refusal::new(Problem::TooLarge, "the body is too large"))?)
}

async fn advance_clock(world: &Shared, body: Doc) -> Result<(u16, Value), Refusal> {
    check(&body, CLOCK_FIELDS)?;
    let seconds = body.get("advance_seconds").and_then(Value::as_i64).unwrap_or(0);
    let now = world
        .db
        .with(move |tx| {
            let now = db::now_seconds(tx)?.saturating_add(seconds);
            db::set_now(tx, now)?;
            billing::settle_refunds(Records::new(tx), now)?;
            Ok::<_, crate::Error>(now)
        })
        .await?;
    Ok((200, json!({"now": clock::rfc3339(now)})))
}
