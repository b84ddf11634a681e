//! Billing: integer minor units, prefixed ids, `starting_after` pages, refunds that settle.

use serde_json::{Value, json};

use crate::check::{Field, Shape, check, required};
use crate::problem::{Problem, Refusal};
use crate::records::{Doc, Kind, Record, Records, Window, object, text};
use crate::route::{Call, Reply, Route};

const DEFAULT_PAGE: usize = 10;
/// How long a refund can be cancelled, by the world clock.
const CANCEL_WINDOW_SECONDS: i64 = 3600;

pub(crate) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/billing/customers",
        operation: "billing.find_customer",
        list: "data",
        field: "/data/*/id",
        run: find_customer,
    },
    Route {
        method: "GET",
        path: "/billing/customers/{}",
        operation: "billing.get_customer",
        list: "",
        field: "/currency",
        run: |records, call| get(records, Kind::Customer, call.param(0)),
    },
    Route {
        method: "GET",
        path: "/billing/customers/{}/balance",
        operation: "billing.get_balance",
        list: "",
        field: "/amount_overdue",
        run: get_balance,
    },
    Route {
        method: "GET",
        path: "/billing/invoices",
        operation: "billing.list_invoices",
        list: "data",
        field: "/data/*/amount_due",
        run: |records, call| list_under_customer(records, call, Kind::Invoice),
    },
    Route {
        method: "GET",
        path: "/billing/invoices/{}",
        operation: "billing.get_invoice",
        list: "",
        field: "/amount_due",
        run: |records, call| get(records, Kind::Invoice, call.param(0)),
    },
    Route {
        method: "GET",
        path: "/billing/refunds",
        operation: "billing.list_refunds",
        list: "data",
        field: "/data/*/status",
        run: |records, call| list_under_customer(records, call, Kind::Refund),
    },
    Route {
        method: "GET",
        path: "/billing/refunds/{}",
        operation: "billing.get_refund",
        list: "",
        field: "/status",
        run: |records, call| get(records, Kind::Refund, call.param(0)),
    },
    Route {
        method: "POST",
        path: "/billing/refunds",
        operation: "billing.create_refund",
        list: "",
        field: "/id",
        run: create_refund,
    },
    Route {
        method: "POST",
        path: "/billing/refunds/{}/cancel",
        operation: "billing.cancel_refund",
        list: "",
        field: "/status",
        run: cancel_refund,
    },
];

static REFUND_FIELDS: &[Field] = &[
    required("invoice", Shape::Text(100)),
    required("amount", Shape::Whole(1, 1_000_000_000_000)),
    required("currency", Shape::Text(3)),
    required("reason", Shape::Text(500)),
];

fn find(records: Records<'_>, kind: Kind, id: &str) -> Result<Record, Refusal> {
    let found = records.get(kind, id)?;
    found.ok_or_else(|| Refusal::not_found(kind.noun(), id))
}

fn get(records: Records<'_>, kind: Kind, id: &str) -> Result<Reply, Refusal> {
    Ok(Reply::ok(Value::Object(find(records, kind, id)?.doc)))
}

fn find_customer(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let account = call.filter("account");
    list(records, call, (Kind::Customer, None), &|doc| {
        let held = doc.get("metadata").and_then(|data| data.get("account")).and_then(Value::as_str);
        call.agrees(doc, "email") && account.is_none_or(|want| held == Some(want))
    })
}

fn list_under_customer(records: Records<'_>, call: &Call, kind: Kind) -> Result<Reply, Refusal> {
    list(records, call, (kind, call.filter("customer")), &|doc| {
        ["account", "status", "invoice"].iter().all(|name| call.agrees(doc, name))
    })
}

fn list(
    records: Records<'_>,
    call: &Call,
    (kind, parent): (Kind, Option<&str>),
    keep: &dyn Fn(&Doc) -> bool,
) -> Result<Reply, Refusal> {
    let take = call.strict_limit("limit", DEFAULT_PAGE)?;
    let after_seq = match call.filter("starting_after") {
        None => 0,
        Some(id) => find(records, kind, id)?.seq,
    };
    let page = records.page(kind, parent, Window { after_seq, skip: 0, take }, keep)?;
    let has_more = page.total > take;
    let data: Vec<Value> = page.rows.into_iter().map(|row| Value::Object(row.doc)).collect();
    Ok(Reply::ok(json!({"object": "list", "data": data, "has_more": has_more})))
}

fn get_balance(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let id = call.param(0);
    let customer = find(records, Kind::Customer, id)?.doc;
    let (mut due, mut overdue, mut paid, mut refunded) = (0, 0, 0, 0);
    for invoice in records.children(Kind::Invoice, id)? {
        let owed = amount(&invoice.doc, "amount_due") - amount(&invoice.doc, "amount_paid");
        match text(&invoice.doc, "status") {
            "open" => due += owed,
            "past_due" => {
                due += owed;
                overdue += owed;
            }
            _ => {}
        }
        paid += amount(&invoice.doc, "amount_paid");
        refunded += amount(&invoice.doc, "amount_refunded");
    }
    Ok(Reply::ok(json!({
        "object": "balance",
        "customer": id,
        "currency": customer.get("currency"),
        "amount_due": due,
        "amount_overdue": overdue,
        "amount_paid": paid,
        "amount_refunded": refunded,
        "payment_status": if overdue > 0 { "past_due" } else { "current" },
    })))
}

fn create_refund(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    check(&call.body, REFUND_FIELDS)?;
    let invoice_id = call.text("invoice");
    let invoice = find(records, Kind::Invoice, invoice_id)?.doc;
    if text(&invoice, "currency") != call.text("currency") {
        let message = format!("invoice {invoice_id} is in {}", text(&invoice, "currency"));
        return Err(Refusal::new(Problem::BadParameter, message).on("currency"));
    }
    let asked = amount(&call.body, "amount");
    let left = amount(&invoice, "amount_paid") - amount(&invoice, "amount_refunded");
    if asked > left {
        let message = format!("only {left} of {invoice_id} can be refunded, not {asked}");
        return Err(Refusal::new(Problem::AmountTooLarge, message).on("amount"));
    }
    let id = format!("re_{:06}", records.next_seq(Kind::Refund)?);
    let refund = object(json!({
        "id": id,
        "object": "refund",
        "invoice": invoice_id,
        "customer": text(&invoice, "customer"),
        "amount": asked,
        "currency": text(&invoice, "currency"),
        "reason": call.text("reason"),
        "status": "pending",
        "created": call.now,
        "cancelable_until": call.now + CANCEL_WINDOW_SECONDS,
    }));
    records.insert(Kind::Refund, &id, Some(text(&invoice, "customer")), &refund)?;
    add_refunded(records, invoice, asked)?;
    Ok(Reply::ok(Value::Object(refund)))
}

fn cancel_refund(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let id = call.param(0);
    let mut refund = find(records, Kind::Refund, id)?.doc;
    check(&call.body, &[])?;
    if text(&refund, "status") != "pending" {
        let message = format!("refund {id} is {}, not pending", text(&refund, "status"));
        return Err(Refusal::new(Problem::Conflict, message).on("status"));
    }
    refund.insert("status".to_owned(), "canceled".into());
    records.update(Kind::Refund, id, &refund)?;
    let invoice = find(records, Kind::Invoice, text(&refund, "invoice"))?.doc;
    add_refunded(records, invoice, -amount(&refund, "amount"))?;
    Ok(Reply::ok(Value::Object(refund)))
}

fn add_refunded(records: Records<'_>, mut invoice: Doc, minor: i64) -> Result<(), Refusal> {
    let total = amount(&invoice, "amount_refunded") + minor;
    invoice.insert("amount_refunded".to_owned(), total.into());
    let id = text(&invoice, "id").to_owned();
    records.update(Kind::Invoice, &id, &invoice)?;
    Ok(())
}

/// Settles the pending refunds whose window has passed at `now` (unix seconds).
pub(crate) fn settle_refunds(records: Records<'_>, now: i64) -> Result<(), crate::Error> {
    let all = Window { after_seq: 0, skip: 0, take: usize::MAX };
    let due =
        |doc: &Doc| text(doc, "status") == "pending" && amount(doc, "cancelable_until") <= now;
    for mut refund in records.page(Kind::Refund, None, all, &due)?.rows {
        refund.doc.insert("status".to_owned(), "succeeded".into());
        let id = text(&refund.doc, "id").to_owned();
        records.update(Kind::Refund, &id, &refund.doc)?;
    }
    Ok(())
}

fn amount(doc: &Doc, name: &str) -> i64 {
    doc.get(name).and_then(Value::as_i64).unwrap_or(0)
}
