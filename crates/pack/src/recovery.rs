//! Recoveries: reading them, which rules apply to a step, and where a retry cannot help.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    exception::Class,
    id::OperationId,
    operation::{Effect, Operation, Retry},
    playbook::Recovery,
};
use serde_json::{Map, Value};

use crate::{
    model::{ExceptionRule, Where},
    read::{Fields, Reader, cut},
    steps::QUESTION_EXPIRES_MS,
    yaml::{Doc, Kind, Node},
};

/// Most repetitions of one retry.
pub(crate) const RETRIES_MAX: i64 = 10;

/// Most recoveries in a row.
pub(crate) const RECOVERIES_MAX: usize = 8;

/// Tries beyond the first of a write that was put off, where nobody says.
const PUT_OFF_RETRIES: u32 = 3;

/// First pause of a retry that does not say, in milliseconds.
const RETRY_DELAY_MS: i64 = 1_000;

pub(crate) const CLASSES: [(&str, Class); 14] = [
    ("timeout", Class::Timeout),
    ("unavailable", Class::Unavailable),
    ("rate_limit", Class::RateLimit),
    ("permission", Class::Permission),
    ("missing_field", Class::MissingField),
    ("unexpected_shape", Class::UnexpectedShape),
    ("stale", Class::Stale),
    ("duplicate", Class::Duplicate),
    ("mismatch", Class::Mismatch),
    ("unknown_field", Class::UnknownField),
    ("invalid_arguments", Class::InvalidArguments),
    ("in_doubt", Class::InDoubt),
    ("budget", Class::Budget),
    ("policy_error", Class::PolicyError),
];

const KINDS: [&str; 7] = ["retry", "fallback", "partial", "clarify", "escalate", "stop", "log"];

/// One recovery or a list of them.
pub(crate) fn read_recoveries(node: &Node, reader: Reader<'_>) -> Vec<Recovery> {
    let items = match &node.kind {
        Kind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() || items.len() > RECOVERIES_MAX {
        let message = format!("1 to {RECOVERIES_MAX} recoveries are needed here");
        reader.wrong(node.place, message, "write `- stop` to end the run");
    }
    let recoveries: Vec<Recovery> =
        items.iter().filter_map(|item| read_recovery(item, reader)).collect();
    for (recovery, item) in recoveries.iter().zip(items).take(recoveries.len().saturating_sub(1)) {
        if !matches!(
            recovery,
            Recovery::Retry { .. } | Recovery::Fallback { .. } | Recovery::Clarify { .. }
        ) {
            let message = format!("nothing after `{}` is ever reached", recovery.name());
            reader.wrong(item.place, message, "put it last");
        }
    }
    recoveries
}

fn read_recovery(node: &Node, reader: Reader<'_>) -> Option<Recovery> {
    if let Kind::Text(text) = &node.kind {
        return match text.value.as_str() {
            "stop" => Some(Recovery::Stop),
            "retry" => Some(Recovery::Retry { times: 1, delay_ms: RETRY_DELAY_MS }),
            other => {
                match needs(other) {
                    Some(needs) => {
                        let message = format!("`{other}` alone says too little");
                        let fix = format!("write `- {other}: {{{needs}}}`");
                        reader.wrong(node.place, message, fix);
                    }
                    None => unknown(other, node, reader),
                }
                None
            }
        };
    }
    let [(key, body)] = reader.entries(node, "a recovery") else {
        reader.wrong(node.place, "one recovery per list item", "begin each with its own `- `");
        return None;
    };
    if key.name == "stop" {
        reader.wrong(key.place, "`stop` takes nothing", "write `- stop`");
        return Some(Recovery::Stop);
    }
    if !KINDS.contains(&key.name.as_str()) {
        unknown(&key.name, node, reader);
        return None;
    }
    let mut fields = reader.fields(body, &key.name)?;
    let recovery = read_body(&key.name, &mut fields);
    fields.done();
    recovery
}

/// What a recovery cannot do without, as its author writes it.
fn needs(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "fallback" => "do: connector.operation, caveat: why it is less",
        "partial" => "caveat: what is missing",
        "clarify" => "question: what to ask, answer: {type: string}, role: who answers",
        "escalate" => "to: role",
        "log" => "caveat: what was passed over",
        _ => return None,
    })
}

fn unknown(name: &str, node: &Node, reader: Reader<'_>) {
    let fix = crate::problem::did_you_mean(name, KINDS);
    reader.wrong(node.place, format!("`{}` is no recovery", cut(name)), fix);
}

fn read_body(kind: &str, fields: &mut Fields<'_, '_>) -> Option<Recovery> {
    let reader = fields.reader;
    match kind {
        "retry" => {
            let times = fields
                .need("times")
                .and_then(|node| reader.integer(node, "times", 1..=RETRIES_MAX));
            Some(Recovery::Retry {
                times: times.and_then(|times| u32::try_from(times).ok()).unwrap_or(1),
                delay_ms: fields.duration_ms("delay").unwrap_or(RETRY_DELAY_MS),
            })
        }
        "fallback" => {
            let operation = fields.need_parse("do");
            let with = fields.value("with").unwrap_or_else(|| Value::Object(Map::new()));
            let caveat = fields.need_text("caveat");
            Some(Recovery::Fallback { operation: operation?, with, caveat })
        }
        "partial" => {
            let value = fields.value("value").unwrap_or_default();
            let caveat = fields.need_text("caveat");
            let forbid =
                fields.get("forbid").map(|node| reader.list(node, "forbid")).unwrap_or_default();
            let forbid: BTreeSet<_> =
                forbid.iter().filter_map(|item| reader.parse(item, "an operation id")).collect();
            Some(Recovery::Partial { value, caveat, forbid })
        }
        "clarify" => Some(Recovery::Clarify {
            question: fields.need_text("question"),
            answer: fields.need_value("answer"),
            role: fields.need_name("role"),
            expires_ms: fields.duration_ms("expires").unwrap_or(QUESTION_EXPIRES_MS),
        }),
        "escalate" => Some(Recovery::Escalate { owner: fields.need_name("to") }),
        "log" => Some(Recovery::Log { caveat: fields.need_text("caveat") }),
        _ => None,
    }
}

/// Reads `exceptions.yaml`. `names` tells a playbook from an operation.
pub(crate) fn read_exceptions(doc: &Doc, reader: Reader<'_>) -> Vec<ExceptionRule> {
    let Some(mut fields) = reader.fields(&doc.root, "exceptions.yaml") else { return Vec::new() };
    fields.get("schema");
    let mut rules: Vec<ExceptionRule> = Vec::new();
    let items = fields.need("rules").map(|node| reader.list(node, "rules")).unwrap_or_default();
    for (index, item) in items.iter().enumerate() {
        let Some(mut rule) = reader.fields(item, "a rule") else { continue };
        let scope = rule.need("where").and_then(|node| read_scope(node, reader));
        let classes = rule.need("class").map(|node| read_classes(node, reader)).unwrap_or_default();
        let recoveries =
            rule.need("recover").map(|node| read_recoveries(node, reader)).unwrap_or_default();
        rule.done();
        let Some(scope) = scope else { continue };
        for class in classes {
            if rules.iter().any(|known| known.scope == scope && known.class == class) {
                let message = format!("a second rule for `{}` here", class.name());
                reader.wrong(item.place, message, "keep one rule per place and class");
            }
            let (scope, recoveries) = (scope.clone(), recoveries.clone());
            let (file, rule) = (reader.file.to_owned(), format!("/rules/{index}"));
            let (scope_at, at) = (format!("{rule}/where"), format!("{rule}/recover"));
            rules.push(ExceptionRule { scope, class, recoveries, file, scope_at, at });
        }
    }
    fields.done();
    rules
}

fn read_scope(node: &Node, reader: Reader<'_>) -> Option<Where> {
    let text = reader.text(node, "where")?;
    if text == "*" {
        return Some(Where::Anywhere);
    }
    if text.contains('.') {
        return reader.parse(node, "an operation id").map(Where::Operation);
    }
    reader.name(node, "a playbook").map(Where::Playbook)
}

fn read_classes(node: &Node, reader: Reader<'_>) -> Vec<Class> {
    match &node.kind {
        Kind::List(items) => {
            if items.is_empty() {
                let message = "a rule for no failure class does nothing";
                reader.wrong(node.place, message, "name one, such as `class: timeout`");
            }
            items.iter().filter_map(|item| reader.choice(item, "failure class", &CLASSES)).collect()
        }
        _ => reader.choice(node, "failure class", &CLASSES).into_iter().collect(),
    }
}

/// Why a recovery cannot help after this class; `None` when it may. `operation` is what failed, where
/// that is known; `other` tells what a fallback does.
pub(crate) fn refused(
    recovery: &Recovery,
    class: Class,
    operation: Option<&Operation>,
    other: EffectOf<'_>,
) -> Option<&'static str> {
    let writes = operation.filter(|operation| operation.is_write());
    match recovery {
        Recovery::Retry { .. } => retry_refused(class, operation),
        Recovery::Escalate { .. } | Recovery::Stop => None,
        _ if class == Class::InDoubt => {
            Some("nobody knows whether the effect happened, and only a person can find out")
        }
        Recovery::Fallback { .. } if matches!(class, Class::Budget | Class::PolicyError) => {
            Some("a limit or a rule is not to be worked around")
        }
        Recovery::Fallback { operation, .. } => {
            let again = class.is_about_content() && other(operation) != Some(Effect::Read);
            (writes.is_some() && again).then_some(
                "the write may have happened although its answer is no good: another would be a second one",
            )
        }
        Recovery::Clarify { .. } if writes.is_some() => {
            Some("an answer does not make a write happen; a person can take over")
        }
        Recovery::Clarify { .. } | Recovery::Partial { .. } | Recovery::Log { .. } => None,
    }
}

/// What an operation does to the world, by its name.
pub type EffectOf<'a> = &'a dyn Fn(&OperationId) -> Option<Effect>;

fn retry_refused(class: Class, operation: Option<&Operation>) -> Option<&'static str> {
    if !class.may_pass() {
        return Some("trying the same again cannot help after this class");
    }
    let unknown = matches!(class, Class::Timeout | Class::Unavailable);
    let once =
        |operation: &Operation| operation.is_write() && operation.facts.retry == Retry::Never;
    if unknown && operation.is_some_and(once) {
        return Some(
            "nobody knows whether the write happened, and the operation says `retry: never`",
        );
    }
    None
}

/// What a step recovers with: its own map, then the rules of its playbook, its operation, and
/// everywhere; the first that names a class wins. Shared rules lose the recoveries that cannot help
/// this operation (a step's own are errors at load), and vanish when nothing remains. A write that is
/// put off is tried again where nobody says otherwise.
#[must_use]
pub fn merged(
    own: &BTreeMap<Class, Vec<Recovery>>,
    rules: &[ExceptionRule],
    playbook: &str,
    (operation, other): (&Operation, EffectOf<'_>),
) -> BTreeMap<Class, Vec<Recovery>> {
    let mut all = own.clone();
    let scopes = [
        Where::Playbook(playbook.to_owned()),
        Where::Operation(operation.id.clone()),
        Where::Anywhere,
    ];
    for scope in scopes {
        for rule in rules.iter().filter(|rule| rule.scope == scope) {
            let usable = |recovery: &&Recovery| {
                refused(recovery, rule.class, Some(operation), other).is_none()
            };
            let recoveries: Vec<Recovery> =
                rule.recoveries.iter().filter(usable).cloned().collect();
            if !recoveries.is_empty() {
                all.entry(rule.class).or_insert(recoveries);
            }
        }
    }
    // Put off, by its target or by a limit of our own, a write has done nothing: it is tried again,
    // also where nobody thought of it.
    if operation.is_write() {
        let again = Recovery::Retry { times: PUT_OFF_RETRIES, delay_ms: RETRY_DELAY_MS };
        all.entry(Class::RateLimit).or_insert_with(|| vec![again, Recovery::Stop]);
    }
    all
}
