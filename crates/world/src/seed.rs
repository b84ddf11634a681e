//! Grows the accounts of a world from a seed: the same seed and size give the same records.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::clock::{DAY_SECONDS, START_SECONDS, TODAY_DAYS, date};
use crate::config::Error;
use crate::names::{
    COUNTRIES, FAMILY, FIRST, GIVEN, Health, INJECTIONS, OWNERS, PROTAGONISTS, SECOND, TICKETS,
};
use crate::records::{Kind, Records, object};

/// How many weeks of usage are kept per account.
pub(crate) const WEEKS: usize = 26;
/// Steps from the week the trend is measured from to the last week.
const TREND_WEEKS: usize = 8;
/// The Monday of the last complete week, 2026-11-09.
const LAST_WEEK_DAYS: i64 = TODAY_DAYS - 11;

/// The account whose renewal is at risk.
const AT_RISK: u32 = 42;
/// The account whose contract has no notice period.
const NO_NOTICE: u32 = 113;
/// The account the desk knows twice.
const TWICE_IN_DESK: u32 = 200;

/// Numbers from a seed (SplitMix64, after Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1);
        let step = self.next() % span;
        low.saturating_add(i64::try_from(step).unwrap_or(0))
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let len = u64::try_from(from.len()).unwrap_or(1).max(1);
        from.get(usize::try_from(self.next() % len).unwrap_or(0))
    }
}

/// One customer, before it becomes records in four systems.
struct Customer {
    number: u32,
    crm_id: String,
    crm_name: String,
    desk_name: String,
    domain: String,
    country: &'static str,
    currency: &'static str,
    tier: &'static str,
    health: Health,
    price_minor: i64,
    renewal_days: i64,
    contacts: Vec<(String, String, &'static str)>,
}

/// Writes the records of every account.
pub(crate) fn fill(connection: &Connection, seed: u64, accounts: u32) -> Result<(), Error> {
    let records = Records::new(connection);
    let names = company_names(seed);
    let mut free_names = names.iter();
    for number in 1..=accounts {
        let mut dice = Dice(seed ^ (u64::from(number) << 32));
        let customer = draw_customer(&mut dice, number, &mut free_names);
        write_crm(records, &customer, &mut dice)?;
        write_desk(records, &customer, &mut dice)?;
        write_billing(records, &customer)?;
        write_usage(records, &customer, &mut dice)?;
    }
    Ok(())
}

/// Every pair of words, in an order that follows from the seed.
fn company_names(seed: u64) -> Vec<String> {
    let mut names: Vec<String> = FIRST
        .iter()
        .flat_map(|first| SECOND.iter().map(move |second| format!("{first} {second}")))
        .collect();
    let mut dice = Dice(seed);
    for at in (1..names.len()).rev() {
        let bound = u64::try_from(at).unwrap_or(0).saturating_add(1);
        names.swap(at, usize::try_from(dice.next() % bound).unwrap_or(at));
    }
    names
}

fn draw_customer<'a>(
    dice: &mut Dice,
    number: u32,
    free_names: &mut impl Iterator<Item = &'a String>,
) -> Customer {
    let drawn = free_names.next().cloned().unwrap_or_else(|| format!("Company {number}"));
    let (country, currency, suffix) =
        dice.pick(COUNTRIES).copied().unwrap_or(("US", "USD", "Inc."));
    let health = match dice.between(1, 100) {
        1..=60 => Health::Healthy,
        61..=85 => Health::Steady,
        _ => Health::AtRisk,
    };
    let tier = dice.pick(&["enterprise", "growth", "growth", "starter", "starter"]);
    let mut customer = Customer {
        number,
        crm_id: format!("ACC-{number:04}"),
        desk_name: desk_name(&drawn, suffix, number),
        domain: format!("{}.example", drawn.to_lowercase().replace(' ', "-")),
        crm_name: drawn,
        country,
        currency,
        tier: tier.copied().unwrap_or("starter"),
        health,
        price_minor: dice.between(40, 2400) * 100_000,
        renewal_days: dice.between(15, 350),
        contacts: Vec::new(),
    };
    if let Some(known) = PROTAGONISTS.iter().find(|known| known.number == number) {
        known.crm_name.clone_into(&mut customer.crm_name);
        known.desk_name.clone_into(&mut customer.desk_name);
        known.domain.clone_into(&mut customer.domain);
        (customer.country, customer.currency) = known.country;
        customer.health = known.health;
    }
    customer.contacts = draw_contacts(dice, &customer.domain);
    if number == AT_RISK {
        customer.tier = "enterprise";
        customer.price_minor = 18_400_000;
        customer.renewal_days = 38;
        let person =
            |name: &str, local: &str| (name.to_owned(), format!("{local}@{}", customer.domain));
        let (ana, jonas) =
            (person("Ana Keller", "ana.keller"), person("Jonas Weber", "jonas.weber"));
        customer.contacts = vec![(ana.0, ana.1, "champion"), (jonas.0, jonas.1, "economic_buyer")];
    }
    customer
}

/// The same company as its people write it to support: another suffix, sometimes another case.
fn desk_name(crm_name: &str, suffix: &str, number: u32) -> String {
    match number % 9 {
        0 => format!("{} {suffix}", crm_name.to_uppercase()),
        4 => format!("The {crm_name} Company"),
        5 => format!("{crm_name}, {suffix}"),
        _ => format!("{crm_name} {suffix}"),
    }
}

fn draw_contacts(dice: &mut Dice, domain: &str) -> Vec<(String, String, &'static str)> {
    let roles = ["champion", "economic_buyer", "user"];
    let count = usize::try_from(dice.between(2, 3)).unwrap_or(2);
    let mut contacts = Vec::new();
    for role in roles.into_iter().take(count) {
        let given = dice.pick(GIVEN).copied().unwrap_or("Ines");
        let family = dice.pick(FAMILY).copied().unwrap_or("Costa");
        let local = format!("{given}.{family}").to_lowercase();
        contacts.push((format!("{given} {family}"), format!("{local}@{domain}"), role));
    }
    contacts
}

fn insert(
    records: Records<'_>,
    (kind, id): (Kind, &str),
    parent: Option<&str>,
    doc: Value,
) -> Result<(), Error> {
    records.insert(kind, id, parent, &object(doc))
}

fn write_crm(records: Records<'_>, customer: &Customer, dice: &mut Dice) -> Result<(), Error> {
    let (id, number) = (customer.crm_id.as_str(), customer.number);
    let owner = if number == AT_RISK { OWNERS.first() } else { dice.pick(OWNERS) };
    let (owner_name, owner_email) = owner.copied().unwrap_or_default();
    let account = json!({
        "Id": id, "Name": customer.crm_name, "Tier": customer.tier,
        "OwnerName": owner_name, "OwnerEmail": owner_email,
        "Country": customer.country, "Currency": customer.currency, "Domain": customer.domain,
    });
    insert(records, (Kind::Account, id), None, account)?;
    for (at, (name, email, role)) in (1..).zip(&customer.contacts) {
        let contact_id = format!("CON-{number:04}-{at}");
        let contact = json!({
            "Id": contact_id, "AccountId": id, "Name": name, "Email": email, "Role": role,
        });
        insert(records, (Kind::Contact, &contact_id), Some(id), contact)?;
    }
    write_contract(records, customer, dice)?;
    let risk = json!({"AccountId": id, "Level": "none", "Reason": null});
    insert(records, (Kind::ChurnRisk, id), Some(id), risk)
}

fn write_contract(records: Records<'_>, customer: &Customer, dice: &mut Dice) -> Result<(), Error> {
    let (id, number) = (customer.crm_id.as_str(), customer.number);
    let fixed = number == AT_RISK;
    let renewal = date(TODAY_DAYS + customer.renewal_days);
    let price = json!({"AmountMinor": customer.price_minor, "Currency": customer.currency});
    let drawn_notice = dice.pick(&[30, 60, 90]).copied().unwrap_or(30);
    let notice = if fixed { 30 } else { drawn_notice };
    let contract_id = format!("CTR-{number:04}");
    let contract = json!({
        "Id": contract_id, "AccountId": id, "Status": "active",
        "StartDate": date(TODAY_DAYS + customer.renewal_days - 730),
        "RenewalDate": renewal,
        "Terms": {
            "NoticePeriodDays": (number != NO_NOTICE).then_some(notice),
            "AutoRenew": !fixed && dice.between(0, 1) == 1,
            "PaymentTermsDays": 30,
            "DiscountPct": if fixed { "0.00".to_owned() } else { format!("{}.00", dice.between(0, 4) * 5) },
        },
        "Price": price,
    });
    insert(records, (Kind::Contract, &contract_id), Some(id), contract)?;
    let drawn = dice.pick(&["commit", "best_case", "pipeline"]).copied().unwrap_or("commit");
    let opportunity_id = format!("OPP-{number:04}");
    let opportunity = json!({
        "Id": opportunity_id, "AccountId": id, "Name": format!("{} renewal", customer.crm_name),
        "Category": if fixed { "commit" } else { drawn },
        "Amount": price, "CloseDate": renewal,
    });
    insert(records, (Kind::Opportunity, &opportunity_id), Some(id), opportunity)
}

fn write_desk(records: Records<'_>, customer: &Customer, dice: &mut Dice) -> Result<(), Error> {
    let number = customer.number;
    let company_id = 70_000 + i64::from(number);
    // Every tenth company was never linked to the CRM: it must be matched by name and domain.
    let external_ref = (number % 10 != 8).then_some(customer.crm_id.as_str());
    let company = |id: i64, name: &str| {
        json!({
            "id": id, "name": name, "domain": customer.domain, "external_ref": external_ref,
            "plan": if customer.tier == "enterprise" { "premium" } else { "standard" },
        })
    };
    let doc = company(company_id, &customer.desk_name);
    insert(records, (Kind::Company, &company_id.to_string()), None, doc)?;
    if number == TWICE_IN_DESK {
        let second = company_id + 5000;
        let doc = company(second, "Cobalt Ridge Logistics (old)");
        insert(records, (Kind::Company, &second.to_string()), None, doc)?;
    }
    let count = match customer.health {
        Health::Healthy => dice.between(0, 2),
        Health::Steady => dice.between(1, 3),
        Health::AtRisk => 3,
    };
    for at in 1..=count {
        let ticket_id = 7_000_000 + i64::from(number) * 10 + at;
        let mut ticket = object(draw_ticket(dice, customer, at));
        ticket.insert("id".to_owned(), ticket_id.into());
        ticket.insert("company_id".to_owned(), company_id.into());
        ticket.insert("company_name".to_owned(), customer.desk_name.as_str().into());
        ticket.insert("external_ref".to_owned(), external_ref.into());
        let parent = company_id.to_string();
        records.insert(Kind::Ticket, &ticket_id.to_string(), Some(&parent), &ticket)?;
    }
    Ok(())
}

fn draw_ticket(dice: &mut Dice, customer: &Customer, at: i64) -> Value {
    let (subject, body, sentiment) = dice.pick(TICKETS).copied().unwrap_or(("", "", "neutral"));
    let injected = dice.between(1, 17) == 1;
    let injection = dice.pick(INJECTIONS).copied().unwrap_or("");
    let priority = dice.pick(&["low", "normal", "normal", "high"]).copied().unwrap_or("normal");
    let status = dice.pick(&["open", "pending", "solved", "solved"]).copied().unwrap_or("open");
    let requester = customer.contacts.first().map_or("", |contact| contact.1.as_str());
    let created_at = START_SECONDS - 9 * 3600 - at * 3 * DAY_SECONDS;
    let ticket = |subject: &str, body: &str, (priority, status, sentiment): (&str, &str, &str)| {
        json!({
            "subject": subject, "body": body, "requester_email": requester,
            "priority": priority, "status": status, "sentiment": sentiment,
            "created_at": created_at,
        })
    };
    let urgent = ("urgent", "open", "angry");
    match (customer.number, at) {
        (AT_RISK, 1) => ticket(
            "Robots stop twice a day",
            "Our line stopped again this morning, the second time today. We pay for premium support and wait since Tuesday. If this is not solved before the renewal we will leave.",
            urgent,
        ),
        (AT_RISK, 2) => ticket(
            "Still no answer to the outage",
            INJECTIONS.first().copied().unwrap_or(""),
            urgent,
        ),
        (AT_RISK, _) => ticket(
            "Question about seats",
            "Can we move unused seats between teams?",
            ("normal", "solved", "neutral"),
        ),
        _ if injected => ticket(subject, injection, (priority, status, sentiment)),
        _ => ticket(subject, body, (priority, status, sentiment)),
    }
}

fn write_billing(records: Records<'_>, customer: &Customer) -> Result<(), Error> {
    let number = customer.number;
    let customer_id = format!("cus_{number:06}");
    let currency = customer.currency.to_lowercase();
    let doc = json!({
        "id": customer_id, "object": "customer", "name": customer.crm_name,
        "email": format!("ap@{}", customer.domain), "currency": currency,
        "metadata": {"account": customer.crm_id},
    });
    insert(records, (Kind::Customer, &customer_id), None, doc)?;
    let quarter = customer.price_minor / 4;
    let last = match customer.health {
        Health::AtRisk => "past_due",
        Health::Steady => "open",
        Health::Healthy => "paid",
    };
    // Days before today on which each invoice was issued; the last one of a customer that pays
    // late has been due for twenty days.
    let issued = [("paid", 234), ("paid", 142), (last, if last == "open" { 19 } else { 50 })];
    for (at, (status, days)) in (1..).zip(issued) {
        let id = format!("in_{number:06}_{at}");
        let invoice = json!({
            "id": id, "object": "invoice", "customer": customer_id, "account": customer.crm_id,
            "currency": currency, "amount_due": quarter,
            "amount_paid": if status == "paid" { quarter } else { 0 },
            "amount_refunded": 0, "status": status,
            "issued_on": date(TODAY_DAYS - days), "due_on": date(TODAY_DAYS - days + 30),
        });
        insert(records, (Kind::Invoice, &id), Some(&customer_id), invoice)?;
    }
    Ok(())
}

fn write_usage(records: Records<'_>, customer: &Customer, dice: &mut Dice) -> Result<(), Error> {
    let fixed = customer.number == AT_RISK;
    let drawn_base = dice.between(20, 900);
    let base = if fixed { 520 } else { drawn_base };
    let drawn_change = match customer.health {
        Health::Healthy => dice.between(0, 15),
        Health::Steady => dice.between(-6, 4),
        Health::AtRisk => dice.between(-45, -20),
    };
    let change_pct = if fixed { -40 } else { drawn_change };
    let from = WEEKS - 1 - TREND_WEEKS;
    let base_tenths = base * 10;
    let mut series = Vec::with_capacity(WEEKS);
    for week in 0..WEEKS {
        let steps = i64::try_from(week.saturating_sub(from)).unwrap_or(0);
        let steps_all = i64::try_from(TREND_WEEKS).unwrap_or(1);
        let trend = base_tenths + base_tenths * change_pct * steps / (100 * steps_all);
        let measured = week == from || week == WEEKS - 1;
        let noise = if measured { 0 } else { trend * dice.between(-15, 15) / 1000 };
        let back = i64::try_from(WEEKS - 1 - week).unwrap_or(0) * 7;
        series.push(json!({
            "week_start": date(LAST_WEEK_DAYS - back), "value": tenths(trend + noise),
        }));
    }
    let doc = json!({
        "account": customer.crm_id, "name": customer.crm_name.to_lowercase(),
        "metric": "weekly_active_users", "seats": (base * 15 / 13).to_string(),
        "change_8w_pct": tenths(change_pct * 10), "series": series,
    });
    insert(records, (Kind::Usage, &customer.crm_id), None, doc)
}

/// `-40.0` for -400.
fn tenths(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let size = value.unsigned_abs();
    format!("{sign}{}.{}", size / 10, size % 10)
}
