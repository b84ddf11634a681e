//! Facts of a card that follow from declarations and the journal: how much hangs on it, what it would do,
//! and what the run has seen before it asked.

use kernel::{
    catalogue::Catalogue,
    event::{Body, Ended, Record, Role},
    id::ApprovalId,
    label::{Label, LabelMap},
    money::{Currency, Money},
    operation::{Operation, Undo},
    run::ActionView,
};
use serde_json::Value;

use super::Evidence;
use crate::app::{
    runs::rfc3339,
    value::{plain, summarise, visible},
};

/// Most pieces of evidence on a card; the newest are kept.
const EVIDENCE_MAX: usize = 24;

/// Most fields of an answer that one line of evidence tells.
const FIELDS_MAX: usize = 4;

/// Longest value one line of evidence tells.
const FIELD_MAX: usize = 48;

/// Operations of this connector are a model's words.
const MODEL: &str = "model";

/// The group that operations which move money declare.
const MOVES_MONEY: &str = "moves_money";

/// When an ask was put.
pub(super) fn asked_at(records: &[Record], wanted: &ApprovalId) -> Option<i64> {
    records.iter().find_map(|record| match &record.event.body {
        Body::Asked { approval, .. } if approval == wanted => Some(record.event.at),
        Body::Questioned { question, .. } | Body::Elicited { question, .. }
            if question == wanted =>
        {
            Some(record.event.at)
        }
        _ => None,
    })
}

/// How much hangs on an action, and which fact says so. The strictest fact wins.
pub(super) fn risk(action: &ActionView, label: &Label) -> (String, String) {
    let operation = &action.operation;
    let undo = action.undo;
    let facts = [
        (operation.is_write() && undo == Undo::None, "high", "it cannot be taken back"),
        (money_in(operation, &action.args).is_some(), "high", "it moves money"),
        (operation.groups.iter().any(|group| group == MOVES_MONEY), "high", "it moves money"),
        (label.is_tainted(), "high", "text from outside had a part in it"),
        (operation.facts.egress, "moderate", "it leaves the company"),
        (undo == Undo::Compensate, "moderate", "taking it back leaves a trace"),
    ];
    let strictest = facts.into_iter().find(|(holds, _, _)| *holds);
    let (_, level, because) = strictest.unwrap_or((true, "low", "it can be restored exactly"));
    (level.to_owned(), because.to_owned())
}

/// Verb and object: the operation's name in words.
pub(super) fn does(action: &ActionView) -> String {
    if matches!(action.role, Role::Undo { .. }) {
        return "take it back".to_owned();
    }
    let id = action.operation.id.to_string();
    let (connector, name) = id.split_once('.').unwrap_or(("", &id));
    match name.contains('_') {
        true => name.replace('_', " "),
        false => format!("{name} {connector}"),
    }
}

/// Money among the arguments: an amount with its currency, at the top or inside of one argument.
pub(super) fn money_in(operation: &Operation, args: &Value) -> Option<Money> {
    let declared = operation.groups.iter().any(|group| group == MOVES_MONEY);
    let flat = declared.then(|| flat_money(args)).flatten();
    flat.or_else(|| nested_money(args))
}

fn flat_money(args: &Value) -> Option<Money> {
    let currency = args.get("currency")?.as_str()?.to_ascii_uppercase();
    Some(Money { minor: args.get("amount")?.as_i64()?, currency: Currency::parse(&currency)? })
}

fn nested_money(args: &Value) -> Option<Money> {
    match args {
        Value::Object(map) => {
            Money::from_value(args).or_else(|| map.values().find_map(nested_money))
        }
        _ => None,
    }
}

/// What the run has seen: answers of systems, words of models, answers of people, newest last.
pub(super) fn evidence(records: &[Record], catalogue: &Catalogue) -> Vec<Evidence> {
    let mut seen = Vec::new();
    for record in records {
        let found = match &record.event.body {
            Body::Returned { action, ended: Ended::Done { output, .. }, .. } => {
                read_before(records, *action, catalogue)
                    .map(|read| of_system(record, &read, (&output.value(), &output.labels())))
            }
            Body::Replied { by, value, .. } => Some(Evidence {
                source: "person".to_owned(),
                text: format!("{} answered: {}", by.id, cut(&plain(&value.value()))),
                at: rfc3339(record.event.at),
                untrusted: false,
                receipt: None,
            }),
            Body::Receipted { action, receipt, .. } => {
                let place = format!("{action}");
                let mine = seen.iter_mut().rfind(|(known, _): &&mut (String, _)| *known == place);
                if let Some((_, evidence)) = mine {
                    let evidence: &mut Evidence = evidence;
                    evidence.receipt = Some(receipt.to_string());
                }
                None
            }
            _ => None,
        };
        let place = match &record.event.body {
            Body::Returned { action, .. } => format!("{action}"),
            _ => String::new(),
        };
        seen.extend(found.map(|found| (place, found)));
    }
    let first = seen.len().saturating_sub(EVIDENCE_MAX);
    seen.into_iter().skip(first).map(|(_, evidence)| evidence).collect()
}

/// A read that a step wanted.
struct Read {
    sentence: String,
    /// `system` or `model`.
    source: &'static str,
    /// The field that says how old the answer is: no evidence of its own.
    as_of: Option<String>,
}

/// What a step read, if it was a read.
fn read_before(records: &[Record], action: u64, catalogue: &Catalogue) -> Option<Read> {
    let proposed = usize::try_from(action).ok().and_then(|at| records.get(at))?;
    let Body::Proposed { operation, args, because: Role::Step, .. } = &proposed.event.body else {
        return None;
    };
    let known = &catalogue.get(operation)?.operation;
    let source = if operation.connector() == MODEL { "model" } else { "system" };
    let sentence = summarise(&known.summary, &args.value());
    let as_of = known.contract.freshness.as_ref().map(|freshness| freshness.at.clone());
    (!known.is_write()).then_some(Read { sentence, source, as_of })
}

fn of_system(record: &Record, read: &Read, (output, labels): (&Value, &LabelMap)) -> Evidence {
    let told = told(output, labels, read.as_of.as_deref());
    let sentence = read.sentence.trim_end_matches('.');
    Evidence {
        source: read.source.to_owned(),
        text: if told.is_empty() { sentence.to_owned() } else { format!("{sentence}: {told}") },
        at: rfc3339(record.event.at),
        untrusted: labels.join_all().is_tainted(),
        receipt: None,
    }
}

/// The plain fields of an answer that nobody outside could have written.
fn told(output: &Value, labels: &LabelMap, as_of: Option<&str>) -> String {
    let Value::Object(fields) = output else { return String::new() };
    let plain_fields = fields.iter().filter(|(name, value)| {
        let scalar = value.is_string() || value.is_number() || value.is_boolean();
        let place = format!("/{name}");
        scalar && as_of != Some(place.as_str()) && !labels.at(&place).is_tainted()
    });
    let told = plain_fields.take(FIELDS_MAX);
    let told: Vec<String> =
        told.map(|(name, value)| format!("{} {}", visible(name), cut(&plain(value)))).collect();
    told.join(" · ")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(FIELD_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
