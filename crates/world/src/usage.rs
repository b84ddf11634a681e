//! Product usage: decimals as text, page numbers, no idempotency keys.

use serde_json::{Value, json};

use crate::check::{Field, Shape, check, optional, required};
use crate::problem::{Problem, Refusal};
use crate::records::{Doc, Kind, Records, Window, object};
use crate::route::{Call, MAX_PAGE, Reply, Route};
use crate::{clock, seed};

const DEFAULT_PAGE: usize = 25;
const DEFAULT_WEEKS: usize = 12;

pub(crate) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/usage/accounts",
        operation: "usage.list_usage",
        list: "items",
        field: "/items/*/change_8w_pct",
        run: list_usage,
    },
    Route {
        method: "GET",
        path: "/usage/accounts/{}",
        operation: "usage.get_usage",
        list: "",
        field: "/series",
        run: get_usage,
    },
    Route {
        method: "POST",
        path: "/usage/annotations",
        operation: "usage.create_annotation",
        list: "",
        field: "/id",
        run: create_annotation,
    },
    Route {
        method: "GET",
        path: "/usage/annotations",
        operation: "usage.find_annotation",
        list: "items",
        field: "/items/*/id",
        run: find_annotation,
    },
];

static ANNOTATION_FIELDS: &[Field] = &[
    required("account", Shape::Text(20)),
    required("text", Shape::Text(5000)),
    optional("client_ref", Shape::TextOrNull(200)),
];

fn find(records: Records<'_>, account: &str) -> Result<Doc, Refusal> {
    let found = records.get(Kind::Usage, account)?;
    Ok(found.ok_or_else(|| Refusal::not_found("account", account))?.doc)
}

fn list_usage(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let number = call.number("page", 1)?.max(1);
    let per_page = call.number("per_page", DEFAULT_PAGE)?.clamp(1, MAX_PAGE);
    let skip = (number - 1).saturating_mul(per_page);
    let window = Window { after_seq: 0, skip, take: per_page };
    let page = records.page(Kind::Usage, None, window, &|_| true)?;
    let items = page.rows.into_iter().map(|mut row| {
        row.doc.remove("series");
        Value::Object(row.doc)
    });
    let items: Vec<Value> = items.collect();
    let pages = page.total.div_ceil(per_page);
    Ok(Reply::ok(json!({"items": items, "page": number, "pages": pages})))
}

fn get_usage(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let weeks = call.number("weeks", DEFAULT_WEEKS)?;
    if !(1..=seed::WEEKS).contains(&weeks) {
        let message = format!("weeks must be 1 to {}, got {weeks}", seed::WEEKS);
        return Err(Refusal::new(Problem::BadParameter, message).on("weeks"));
    }
    let mut doc = find(records, call.param(0))?;
    if let Some(Value::Array(series)) = doc.get_mut("series") {
        series.drain(..series.len().saturating_sub(weeks));
    }
    Ok(Reply::ok(Value::Object(doc)))
}

/// How many weeks back the change is measured over, and how large a figure may be.
const CHANGE_WEEKS: usize = 8;
const MAX_ACTIVE: i64 = 1_000_000;

pub(crate) static SERIES_FIELDS: &[Field] =
    &[required("account", Shape::Text(20)), required("active", Shape::Whole(0, MAX_ACTIVE))];

/// The customer's life goes on: the newest week of its series reads so many active users from now on.
pub(crate) fn set_active(records: Records<'_>, body: &Doc) -> Result<Value, Refusal> {
    check(body, SERIES_FIELDS)?;
    let account = body.get("account").and_then(Value::as_str).unwrap_or_default();
    let active = body.get("active").and_then(Value::as_i64).unwrap_or_default();
    let mut doc = find(records, account)?;
    let mut before = None;
    if let Some(Value::Array(series)) = doc.get_mut("series") {
        let back = series.len().checked_sub(CHANGE_WEEKS + 1);
        before = back.and_then(|at| series.get(at)).and_then(|week| week.get("value")).cloned();
        if let Some(Value::Object(week)) = series.last_mut() {
            week.insert("value".to_owned(), format!("{active}.0").into());
        }
    }
    let before: f64 =
        before.as_ref().and_then(Value::as_str).and_then(|t| t.parse().ok()).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "at most MAX_ACTIVE")]
    let change = if before > 0.0 { (active as f64 / before - 1.0) * 100.0 } else { 0.0 };
    doc.insert("change_8w_pct".to_owned(), format!("{change:.1}").into());
    records.update(Kind::Usage, account, &doc)?;
    Ok(json!({"account": account, "active": active}))
}

fn create_annotation(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    check(&call.body, ANNOTATION_FIELDS)?;
    let account = call.text("account");
    find(records, account)?;
    let id = format!("ann_{}", records.next_seq(Kind::Annotation)?);
    let doc = object(json!({
        "id": id,
        "account": account,
        "text": call.text("text"),
        "client_ref": call.body.get("client_ref"),
        "created_at": clock::rfc3339(call.now),
    }));
    records.insert(Kind::Annotation, &id, Some(account), &doc)?;
    Ok(Reply::created(Value::Object(doc)))
}

fn find_annotation(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let client_ref = call.filter("client_ref");
    let window = Window { after_seq: 0, skip: 0, take: MAX_PAGE };
    let page = records.page(Kind::Annotation, call.filter("account"), window, &|doc| {
        let held = doc.get("client_ref").and_then(Value::as_str);
        client_ref.is_none_or(|want| held == Some(want))
    })?;
    let items: Vec<Value> = page.rows.into_iter().map(|row| Value::Object(row.doc)).collect();
    Ok(Reply::ok(json!({"items": items, "count": page.total})))
}
