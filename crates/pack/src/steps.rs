//! Reads `playbooks/*.yaml`: steps of every kind.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    exception::Class,
    id::OperationId,
    playbook::{Expect, FOR_EACH_MAX, Recovery, STEPS_MAX, Step, Work},
};
use serde_json::{Map, Value};

use crate::{
    companion::read_companion,
    model::Written,
    read::{Fields, Reader},
    recovery::{CLASSES, read_recoveries},
    yaml::{Doc, Kind, Node},
};

/// How long a question stays open when it does not say, in milliseconds.
pub(crate) const QUESTION_EXPIRES_MS: i64 = kernel::approval::ASK_EXPIRES_MS;

/// Keys that say what a step does; exactly one per step.
pub(crate) const WORKS: [&str; 8] =
    ["do", "ask", "agent", "playbook", "parallel", "for_each", "wait", "return"];

pub(crate) fn read_playbook(doc: &Doc, reader: Reader<'_>) -> Written {
    let Some(mut fields) = reader.fields(&doc.root, "a playbook") else {
        return Written::default();
    };
    fields.get("schema");
    let name = fields.need_name("name");
    fields.text("title");
    let input = fields.value("input").map(Arc::new);
    let steps = fields.need("steps").map(|node| read_steps(node, reader)).unwrap_or_default();
    fields.done();
    Written { name, input, steps }
}

pub(crate) fn read_steps(node: &Node, reader: Reader<'_>) -> Vec<Step> {
    let items = reader.list(node, "steps");
    if items.is_empty() {
        reader.wrong(node.place, "no steps", "write at least one step");
    }
    if items.len() > STEPS_MAX {
        let message = format!("more than {STEPS_MAX} steps");
        reader.wrong(node.place, message, "move some into their own playbook");
    }
    let steps: Vec<Step> = items.iter().filter_map(|item| read_step(item, reader)).collect();
    let mut seen = BTreeMap::new();
    for (step, item) in steps.iter().zip(items) {
        if let Some(first) = seen.insert(step.id.clone(), item.place) {
            let message = format!("two steps are called `{}`", step.id);
            let place = id_place(item);
            reader.wrong(
                place,
                message,
                format!("rename one; the first is on line {}", first.line),
            );
        }
    }
    steps
}

fn id_place(item: &Node) -> crate::problem::Place {
    let Kind::Map(entries) = &item.kind else { return item.place };
    entries.iter().find(|(key, _)| key.name == "id").map_or(item.place, |(_, node)| node.place)
}

fn read_step(node: &Node, reader: Reader<'_>) -> Option<Step> {
    let mut fields = reader.fields(node, "a step")?;
    let id = read_step_id(&mut fields);
    let work = read_work(&mut fields);
    let step = Step {
        id,
        work,
        when: fields.get("when").and_then(|node| read_expression(node, "when", reader)),
        expect: fields.get("expect").map(|node| read_expects(node, reader)).unwrap_or_default(),
        on_failure: fields
            .get("on_failure")
            .map(|node| read_on_failure(node, reader))
            .unwrap_or_default(),
        undo: fields.get("undo").and_then(|node| read_companion(node, "undo", reader)),
        caveat: fields.text("caveat"),
    };
    fields.done();
    Some(step)
}

/// Ids are names of the expression language too, so that `steps.<id>` can be written.
fn read_step_id(fields: &mut Fields<'_, '_>) -> String {
    let Some(node) = fields.need("id") else { return String::new() };
    let reader = fields.reader;
    let id = reader.name(node, "a step id").unwrap_or_default();
    if id.contains('-') {
        reader.wrong(node.place, "a step id has no `-`: expressions read it as minus", "use `_`");
    }
    id
}

fn read_work(fields: &mut Fields<'_, '_>) -> Work {
    let reader = fields.reader;
    let empty = || Work::Return { value: Value::Null };
    let found: Vec<&str> = fields.names().filter(|name| WORKS.contains(name)).collect();
    // Asked for here so that they are known names when a key was mistyped.
    let nodes = WORKS.map(|name| fields.get(name));
    let [do_, ask, agent, playbook, parallel, for_each, wait, return_] = nodes;
    if found.len() != 1 {
        let message = match found.first() {
            None => "the step does nothing".to_owned(),
            Some(_) => format!("the step does several things: {}", found.join(", ")),
        };
        reader.wrong(fields.place, message, format!("write exactly one of: {}", WORKS.join(", ")));
        for name in ["with", "answer", "role", "expires", "as", "max", "steps", "collect"] {
            fields.get(name);
        }
        return empty();
    }
    if let Some(node) = do_ {
        let operation = reader.parse::<OperationId>(node, "an operation id");
        let with = read_with(fields);
        operation.map_or_else(empty, |operation| Work::Do { operation, with })
    } else if let Some(node) = ask {
        read_ask(node, fields)
    } else if let Some(node) = agent {
        let name = reader.name(node, "an agent").unwrap_or_default();
        let agent = Box::new(kernel::agent::Agent::named(name));
        Work::Agent { agent, with: read_with(fields) }
    } else if let Some(node) = playbook {
        let name = reader.name(node, "a playbook").unwrap_or_default();
        Work::Playbook { name, with: read_with(fields), steps: Vec::new() }
    } else if let Some(node) = parallel {
        Work::Parallel { branches: read_steps(node, reader) }
    } else if let Some(node) = for_each {
        read_for_each(node, fields)
    } else if let Some(node) = wait {
        read_wait(node, reader)
    } else {
        Work::Return { value: return_.map(Node::to_value).unwrap_or_default() }
    }
}

pub(crate) fn read_with(fields: &mut Fields<'_, '_>) -> Value {
    let Some(node) = fields.get("with") else { return Value::Object(Map::new()) };
    if !matches!(node.kind, Kind::Map(_)) {
        fields.reader.wrong(node.place, "`with` must be a map", "write `argument: value` pairs");
    }
    node.to_value()
}

fn read_ask(node: &Node, fields: &mut Fields<'_, '_>) -> Work {
    let question = fields.reader.text(node, "ask").unwrap_or_default().to_owned();
    Work::Ask {
        question,
        answer: fields.need_value("answer"),
        role: fields.need_name("role"),
        expires_ms: fields.duration_ms("expires").unwrap_or(QUESTION_EXPIRES_MS),
    }
}

fn read_for_each(node: &Node, fields: &mut Fields<'_, '_>) -> Work {
    let reader = fields.reader;
    let items = read_expression(node, "for_each", reader).unwrap_or_default();
    let var = fields.name("as").unwrap_or_else(|| "item".to_owned());
    let max = fields
        .need("max")
        .and_then(|node| reader.integer(node, "max", 1..=i64::from(FOR_EACH_MAX)));
    Work::ForEach {
        items,
        var,
        max: max.and_then(|max| u32::try_from(max).ok()).unwrap_or(1),
        steps: fields.need("steps").map(|node| read_steps(node, reader)).unwrap_or_default(),
        collect: fields.value("collect"),
    }
}

fn read_wait(node: &Node, reader: Reader<'_>) -> Work {
    if !matches!(node.kind, Kind::Map(_)) {
        return Work::Sleep { ms: reader.duration_ms(node, "wait").unwrap_or_default() };
    }
    let Some(mut fields) = reader.fields(node, "wait") else { return Work::Sleep { ms: 0 } };
    let signal = fields.need_text("event");
    let timeout = fields.need("timeout").and_then(|node| reader.duration_ms(node, "timeout"));
    fields.done();
    Work::Await { signal, timeout_ms: timeout.unwrap_or_default() }
}

/// An expression, bare or wrapped in `${{ }}`; kept exactly as written between the marks.
pub(crate) fn read_expression(node: &Node, what: &str, reader: Reader<'_>) -> Option<String> {
    match &node.kind {
        Kind::Bool(flag) => Some(flag.to_string()),
        _ => reader.text(node, what).map(|text| unwrap(text).1.to_owned()),
    }
}

/// The expression inside `${{ }}` and the offset at which it begins; bare text as it is.
pub(crate) fn unwrap(text: &str) -> (usize, &str) {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    match inner {
        Some(inner) if !inner.contains("${{") => {
            let lead = text.len() - text.trim_start().len();
            (lead + 3, inner)
        }
        _ => (0, text),
    }
}

fn read_expects(node: &Node, reader: Reader<'_>) -> Vec<Expect> {
    let mut expects = Vec::new();
    for item in reader.list(node, "expect") {
        let Some(mut fields) = reader.fields(item, "a check") else { continue };
        let that = fields.need("that").and_then(|node| read_expression(node, "that", reader));
        let class = fields.choice("class", &CLASSES);
        fields.done();
        let class = class.unwrap_or(Class::UnexpectedShape);
        expects.extend(that.map(|that| Expect { that, class }));
    }
    expects
}

/// Failure classes and what is done about each, in order.
pub(crate) fn read_on_failure(node: &Node, reader: Reader<'_>) -> BTreeMap<Class, Vec<Recovery>> {
    let mut map = BTreeMap::new();
    for (key, value) in reader.entries(node, "on_failure") {
        match CLASSES.iter().find(|(name, _)| *name == key.name) {
            Some((_, class)) => {
                map.insert(*class, read_recoveries(value, reader));
            }
            None => {
                let fix =
                    crate::problem::did_you_mean(&key.name, CLASSES.iter().map(|(name, _)| *name));
                let message = format!("`{}` is no failure class", crate::read::cut(&key.name));
                reader.wrong(key.place, message, fix);
            }
        }
    }
    map
}
