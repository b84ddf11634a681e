//! The support desk: numeric ids, offsets, unix times, companies under names of their own.

use serde_json::{Value, json};

use crate::check::{Field, Shape, check, check_change, merge, optional, required};
use crate::problem::{Problem, Refusal};
use crate::records::{Doc, Kind, Records, Window, object, text};
use crate::route::{Call, MAX_PAGE, Reply, Route};

const DEFAULT_PAGE: usize = 25;
const FIRST_ESCALATION: i64 = 900_000;
const FIRST_REPLY: i64 = 950_000;

pub(crate) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/desk/companies",
        operation: "desk.find_company",
        list: "companies",
        field: "/companies/*/id",
        run: find_company,
    },
    Route {
        method: "GET",
        path: "/desk/companies/{}",
        operation: "desk.get_company",
        list: "",
        field: "/domain",
        run: |records, call| get(records, Kind::Company, call.param(0)),
    },
    Route {
        method: "GET",
        path: "/desk/tickets",
        operation: "desk.list_tickets",
        list: "tickets",
        field: "/tickets/*/priority",
        run: list_tickets,
    },
    Route {
        method: "GET",
        path: "/desk/tickets/{}",
        operation: "desk.get_ticket",
        list: "",
        field: "/priority",
        run: |records, call| get(records, Kind::Ticket, call.param(0)),
    },
    Route {
        method: "PATCH",
        path: "/desk/tickets/{}",
        operation: "desk.update_ticket",
        list: "",
        field: "/status",
        run: update_ticket,
    },
    Route {
        method: "POST",
        path: "/desk/tickets/{}/replies",
        operation: "desk.reply_ticket",
        list: "",
        field: "/id",
        run: reply_ticket,
    },
    Route {
        method: "GET",
        path: "/desk/escalations",
        operation: "desk.list_escalations",
        list: "escalations",
        field: "/escalations/*/status",
        run: list_escalations,
    },
    Route {
        method: "GET",
        path: "/desk/escalations/{}",
        operation: "desk.get_escalation",
        list: "",
        field: "/status",
        run: |records, call| get(records, Kind::Escalation, call.param(0)),
    },
    Route {
        method: "POST",
        path: "/desk/escalations",
        operation: "desk.create_escalation",
        list: "",
        field: "/id",
        run: create_escalation,
    },
    Route {
        method: "POST",
        path: "/desk/escalations/{}/cancel",
        operation: "desk.cancel_escalation",
        list: "",
        field: "/status",
        run: cancel_escalation,
    },
];

static TICKET_CHANGE: &[Field] = &[
    optional("status", Shape::OneOf(&["open", "pending", "solved"])),
    optional("priority", Shape::OneOf(&["low", "normal", "high", "urgent"])),
];

static REPLY_FIELDS: &[Field] =
    &[required("body", Shape::Text(20_000)), optional("public", Shape::YesNo)];

static ESCALATION_FIELDS: &[Field] = &[
    required("ticket_id", Shape::Whole(1, i64::MAX)),
    required("severity", Shape::OneOf(&["sev1", "sev2", "sev3"])),
    required("reason", Shape::Text(2000)),
    optional("client_ref", Shape::TextOrNull(200)),
];

static CANCEL_FIELDS: &[Field] = &[required("reason", Shape::Text(2000))];

fn find(records: Records<'_>, kind: Kind, id: &str) -> Result<Doc, Refusal> {
    let found = records.get(kind, id)?;
    Ok(found.ok_or_else(|| Refusal::not_found(kind.noun(), id))?.doc)
}

fn get(records: Records<'_>, kind: Kind, id: &str) -> Result<Reply, Refusal> {
    Ok(Reply::ok(Value::Object(find(records, kind, id)?)))
}

fn find_company(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let name = call.filter("name").map(str::to_lowercase);
    list(records, call, (Kind::Company, None), &|doc| {
        call.agrees(doc, "external_ref")
            && call.agrees(doc, "domain")
            && name.as_deref().is_none_or(|part| text(doc, "name").to_lowercase().contains(part))
    })
}

fn list_tickets(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    list(records, call, (Kind::Ticket, call.filter("company_id")), &|doc| {
        ["external_ref", "status", "priority"].iter().all(|name| call.agrees(doc, name))
    })
}

fn list_escalations(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let ticket = call.filter("ticket_id");
    list(records, call, (Kind::Escalation, call.filter("company_id")), &|doc| {
        let id = doc.get("ticket_id").map(Value::to_string);
        call.agrees(doc, "client_ref") && ticket.is_none_or(|want| id.as_deref() == Some(want))
    })
}

fn list(
    records: Records<'_>,
    call: &Call,
    (kind, parent): (Kind, Option<&str>),
    keep: &dyn Fn(&Doc) -> bool,
) -> Result<Reply, Refusal> {
    let offset = call.number("offset", 0)?;
    let limit = call.number("limit", DEFAULT_PAGE)?.clamp(1, MAX_PAGE);
    let window = Window { after_seq: 0, skip: offset, take: limit };
    let page = records.page(kind, parent, window, keep)?;
    let rows: Vec<Value> = page.rows.into_iter().map(|row| Value::Object(row.doc)).collect();
    let mut body = Doc::new();
    let plural = match kind {
        Kind::Company => "companies",
        Kind::Ticket => "tickets",
        _ => "escalations",
    };
    body.insert(plural.to_owned(), rows.into());
    body.insert("offset".to_owned(), offset.into());
    body.insert("limit".to_owned(), limit.into());
    body.insert("total".to_owned(), page.total.into());
    Ok(Reply::ok(Value::Object(body)))
}

fn update_ticket(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let id = call.param(0);
    let mut doc = find(records, Kind::Ticket, id)?;
    check_change(&call.body, TICKET_CHANGE)?;
    merge(&mut doc, &call.body);
    records.update(Kind::Ticket, id, &doc)?;
    Ok(Reply::ok(Value::Object(doc)))
}

fn reply_ticket(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let ticket = find(records, Kind::Ticket, call.param(0))?;
    check(&call.body, REPLY_FIELDS)?;
    let id = FIRST_REPLY + records.next_seq(Kind::TicketReply)?;
    let doc = object(json!({
        "id": id,
        "ticket_id": ticket.get("id"),
        "body": call.text("body"),
        "public": call.body.get("public").and_then(Value::as_bool).unwrap_or(true),
        "created_at": call.now,
    }));
    records.insert(Kind::TicketReply, &id.to_string(), Some(call.param(0)), &doc)?;
    Ok(Reply::created(Value::Object(doc)))
}

fn create_escalation(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    check(&call.body, ESCALATION_FIELDS)?;
    let ticket_id = call.body.get("ticket_id").and_then(Value::as_i64).unwrap_or_default();
    let ticket = find(records, Kind::Ticket, &ticket_id.to_string())?;
    let id = FIRST_ESCALATION + records.next_seq(Kind::Escalation)?;
    let company = ticket.get("company_id").and_then(Value::as_i64).unwrap_or_default();
    let doc = object(json!({
        "id": id,
        "ticket_id": ticket_id,
        "company_id": company,
        "severity": call.text("severity"),
        "reason": call.text("reason"),
        "client_ref": call.body.get("client_ref"),
        "status": "active",
        "cancel_reason": null,
        "created_at": call.now,
    }));
    records.insert(Kind::Escalation, &id.to_string(), Some(&company.to_string()), &doc)?;
    Ok(Reply::created(Value::Object(doc)))
}

fn cancel_escalation(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let id = call.param(0);
    let mut doc = find(records, Kind::Escalation, id)?;
    check(&call.body, CANCEL_FIELDS)?;
    if text(&doc, "status") != "active" {
        let message = format!("escalation {id} is already cancelled");
        return Err(Refusal::new(Problem::Conflict, message).on("status"));
    }
    doc.insert("status".to_owned(), "cancelled".into());
    doc.insert("cancel_reason".to_owned(), call.text("reason").into());
    records.update(Kind::Escalation, id, &doc)?;
    Ok(Reply::ok(Value::Object(doc)))
}
