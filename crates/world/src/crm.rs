//! The CRM: PascalCase records, cursors, versions with `ETag` and `If-Match`, PATCH for writes.

use serde_json::{Value, json};

use crate::check::{Field, Shape, check, check_change, merge, optional, required};
use crate::problem::{Problem, Refusal};
use crate::records::{Doc, Kind, Record, Records, Window, object, text};
use crate::route::{Call, Reply, Route};

const DEFAULT_PAGE: usize = 25;

pub(crate) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/crm/accounts",
        operation: "crm.list_accounts",
        list: "records",
        field: "/records/*/Name",
        run: list_accounts,
    },
    Route {
        method: "GET",
        path: "/crm/accounts/{}",
        operation: "crm.get_account",
        list: "",
        field: "/Tier",
        run: |records, call| get(records, Kind::Account, call.param(0)),
    },
    Route {
        method: "PATCH",
        path: "/crm/accounts/{}",
        operation: "crm.update_account",
        list: "",
        field: "/Tier",
        run: |records, call| patch(records, call, Kind::Account, ACCOUNT_FIELDS),
    },
    Route {
        method: "GET",
        path: "/crm/accounts/{}/contacts",
        operation: "crm.list_contacts",
        list: "records",
        field: "/records/*/Email",
        run: |records, call| list_children(records, call, Kind::Contact),
    },
    Route {
        method: "GET",
        path: "/crm/accounts/{}/contracts",
        operation: "crm.list_contracts",
        list: "records",
        field: "/records/*/Terms",
        run: |records, call| list_children(records, call, Kind::Contract),
    },
    Route {
        method: "GET",
        path: "/crm/contracts/{}",
        operation: "crm.get_contract",
        list: "",
        field: "/RenewalDate",
        run: |records, call| get(records, Kind::Contract, call.param(0)),
    },
    Route {
        method: "PATCH",
        path: "/crm/contracts/{}",
        operation: "crm.update_contract",
        list: "",
        field: "/RenewalDate",
        run: |records, call| patch(records, call, Kind::Contract, CONTRACT_FIELDS),
    },
    Route {
        method: "GET",
        path: "/crm/opportunities",
        operation: "crm.list_opportunities",
        list: "records",
        field: "/records/*/Amount",
        run: list_opportunities,
    },
    Route {
        method: "GET",
        path: "/crm/opportunities/{}",
        operation: "crm.get_forecast",
        list: "",
        field: "/Category",
        run: |records, call| get(records, Kind::Opportunity, call.param(0)),
    },
    Route {
        method: "PATCH",
        path: "/crm/opportunities/{}",
        operation: "crm.update_forecast",
        list: "",
        field: "/Category",
        run: |records, call| patch(records, call, Kind::Opportunity, FORECAST_FIELDS),
    },
    Route {
        method: "GET",
        path: "/crm/accounts/{}/churn_risk",
        operation: "crm.get_churn_risk",
        list: "",
        field: "/Level",
        run: |records, call| get(records, Kind::ChurnRisk, call.param(0)),
    },
    Route {
        method: "PATCH",
        path: "/crm/accounts/{}/churn_risk",
        operation: "crm.mark_churn_risk",
        list: "",
        field: "/Level",
        run: |records, call| patch(records, call, Kind::ChurnRisk, RISK_FIELDS),
    },
    Route {
        method: "GET",
        path: "/crm/accounts/{}/notes",
        operation: "crm.list_notes",
        list: "records",
        field: "/records/*/Text",
        run: |records, call| list_children(records, call, Kind::Note),
    },
    Route {
        method: "POST",
        path: "/crm/accounts/{}/notes",
        operation: "crm.add_note",
        list: "",
        field: "/Id",
        run: add_note,
    },
    Route {
        method: "POST",
        path: "/crm/notes/{}/withdraw",
        operation: "crm.withdraw_note",
        list: "",
        field: "/Status",
        run: withdraw_note,
    },
];

const MAX_MINOR: i64 = 1_000_000_000_000;

static ACCOUNT_FIELDS: &[Field] = &[
    optional("Tier", Shape::OneOf(&["enterprise", "growth", "starter"])),
    optional("OwnerName", Shape::Text(200)),
    optional("OwnerEmail", Shape::Text(200)),
];

static MONEY_FIELDS: &[Field] =
    &[optional("AmountMinor", Shape::Whole(0, MAX_MINOR)), optional("Currency", Shape::Currency)];

static TERMS_FIELDS: &[Field] = &[
    optional("NoticePeriodDays", Shape::WholeOrNull(0, 730)),
    optional("AutoRenew", Shape::YesNo),
    optional("PaymentTermsDays", Shape::Whole(0, 365)),
    optional("DiscountPct", Shape::Decimal),
];

static CONTRACT_FIELDS: &[Field] = &[
    optional("RenewalDate", Shape::Date),
    optional("Status", Shape::OneOf(&["active", "in_negotiation", "renewed", "cancelled"])),
    optional("Terms", Shape::Fields(TERMS_FIELDS)),
    optional("Price", Shape::Fields(MONEY_FIELDS)),
];

static FORECAST_FIELDS: &[Field] = &[
    optional("Category", Shape::OneOf(&["commit", "best_case", "pipeline", "at_risk"])),
    optional("Amount", Shape::Fields(MONEY_FIELDS)),
    optional("CloseDate", Shape::Date),
];

static RISK_FIELDS: &[Field] = &[
    optional("Level", Shape::OneOf(&["none", "low", "medium", "high"])),
    optional("Reason", Shape::TextOrNull(2000)),
];

static NOTE_FIELDS: &[Field] = &[required("Text", Shape::Text(5000))];

fn with_version(mut record: Record) -> Value {
    record.doc.insert("Version".to_owned(), record.version.into());
    Value::Object(record.doc)
}

fn find(records: Records<'_>, kind: Kind, id: &str) -> Result<Record, Refusal> {
    let found = records.get(kind, id)?;
    found.ok_or_else(|| Refusal::not_found(kind.noun(), id).on("Id"))
}

fn get(records: Records<'_>, kind: Kind, id: &str) -> Result<Reply, Refusal> {
    let record = find(records, kind, id)?;
    let version = Some(record.version);
    Ok(Reply { version, ..Reply::ok(with_version(record)) })
}

fn patch(
    records: Records<'_>,
    call: &Call,
    kind: Kind,
    fields: &'static [Field],
) -> Result<Reply, Refusal> {
    let id = call.param(0);
    let mut record = find(records, kind, id)?;
    if let Some(expected) = &call.if_match {
        let expected = expected.trim().trim_matches('"');
        if expected != "*" && expected != record.version.to_string() {
            let message =
                format!("{id} is at version {}, not {expected}; read it again", record.version);
            return Err(Refusal::new(Problem::Moved, message).on("If-Match"));
        }
    }
    check_change(&call.body, fields)?;
    merge(&mut record.doc, &call.body);
    record.version = records.update(kind, id, &record.doc)?;
    let version = Some(record.version);
    Ok(Reply { version, ..Reply::ok(with_version(record)) })
}

fn add_note(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let account = call.param(0);
    find(records, Kind::Account, account)?;
    check(&call.body, NOTE_FIELDS)?;
    let id = format!("NOTE-{}", records.next_seq(Kind::Note)?);
    let doc = object(json!({
        "Id": id, "AccountId": account, "Text": call.text("Text"), "Status": "active",
    }));
    records.insert(Kind::Note, &id, Some(account), &doc)?;
    let record = find(records, Kind::Note, &id)?;
    Ok(Reply::created(with_version(record)))
}

/// The row stays, as with everything that was said once.
fn withdraw_note(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let id = call.param(0);
    let mut record = find(records, Kind::Note, id)?;
    check(&call.body, &[])?;
    if text(&record.doc, "Status") != "active" {
        let message = format!("note {id} is already withdrawn");
        return Err(Refusal::new(Problem::BadParameter, message).on("Status"));
    }
    record.doc.insert("Status".to_owned(), "withdrawn".into());
    record.version = records.update(Kind::Note, id, &record.doc)?;
    Ok(Reply::ok(with_version(record)))
}

fn list_accounts(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let name = call.filter("name").map(str::to_lowercase);
    let tier = call.filter("tier");
    list(records, call, (Kind::Account, None), &|doc| {
        let named =
            name.as_deref().is_none_or(|part| text(doc, "Name").to_lowercase().contains(part));
        named && tier.is_none_or(|tier| text(doc, "Tier") == tier)
    })
}

fn list_opportunities(records: Records<'_>, call: &Call) -> Result<Reply, Refusal> {
    let category = call.filter("category");
    list(records, call, (Kind::Opportunity, call.filter("account_id")), &|doc| {
        category.is_none_or(|category| text(doc, "Category") == category)
    })
}

fn list_children(records: Records<'_>, call: &Call, kind: Kind) -> Result<Reply, Refusal> {
    find(records, Kind::Account, call.param(0))?;
    list(records, call, (kind, Some(call.param(0))), &|_| true)
}

fn list(
    records: Records<'_>,
    call: &Call,
    (kind, parent): (Kind, Option<&str>),
    keep: &dyn Fn(&Doc) -> bool,
) -> Result<Reply, Refusal> {
    let take = call.strict_limit("limit", DEFAULT_PAGE)?;
    let after_seq = match call.filter("cursor") {
        None => 0,
        Some(cursor) => read_cursor(cursor)?,
    };
    let page = records.page(kind, parent, Window { after_seq, skip: 0, take }, keep)?;
    let last = page.rows.last().map(|record| record.seq);
    let next_cursor = last.filter(|_| page.total > take).map(|seq| format!("c{seq:x}"));
    let rows: Vec<Value> = page.rows.into_iter().map(with_version).collect();
    Ok(Reply::ok(json!({"records": rows, "next_cursor": next_cursor})))
}

fn read_cursor(cursor: &str) -> Result<i64, Refusal> {
    let seq = cursor.strip_prefix('c').and_then(|hex| i64::from_str_radix(hex, 16).ok());
    seq.ok_or_else(|| {
        let message = "cursor is not one this list gave out; start without one";
        Refusal::new(Problem::BadParameter, message).on("cursor")
    })
}
