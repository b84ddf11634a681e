//! How writes change what reads show, as far as the declarations of before-images and undos say it.

use std::collections::BTreeMap;

use kernel::{
    catalogue::Catalogue,
    id::OperationId,
    operation::{Binding, Companion, Operation, bind},
};
use serde_json::{Map, Value, json};

use super::hints::plain_name;

/// Fields that a system itself moves on with every change, by plain name.
const COUNTERS: [&str; 5] = ["version", "revision", "rev", "etag", "sequence"];

/// What one write does to the record that its before-image reads.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// The read that shows the record.
    pub(super) before: Companion,
    /// Argument → the argument of the forward write that it repeats; empty for the forward write.
    repeats: BTreeMap<String, String>,
    /// Argument → pointer in the record.
    sets: Vec<(String, String)>,
    /// Places that change although no argument says to what.
    pub(super) stirs: Vec<String>,
}

/// Every relation of a catalogue, by the write.
pub(super) fn of_catalogue(catalogue: &Catalogue) -> BTreeMap<OperationId, Relation> {
    let mut all = BTreeMap::new();
    for (id, entry) in catalogue.iter() {
        let operation = &entry.operation;
        let Some(before) = &operation.companions.before else { continue };
        let Some(read) = catalogue.get(&before.operation) else { continue };
        all.insert(id.clone(), forward(operation, before, &read.operation));
        if let Some(undo) = operation.companions.undo_with.as_ref().filter(|u| u.operation != *id) {
            all.entry(undo.operation.clone()).or_insert_with(|| backward(before, undo));
        }
    }
    all
}

/// Arguments that an undo takes out of the before-image, with their places there.
fn restored(undo: &Companion) -> impl Iterator<Item = (String, String)> {
    undo.with.iter().filter_map(|(argument, binding)| match binding {
        Binding::From(pointer) => {
            pointer.strip_prefix("/before").map(|place| (argument.clone(), place.to_owned()))
        }
        Binding::Literal(_) => None,
    })
}

fn forward(operation: &Operation, before: &Companion, read: &Operation) -> Relation {
    let undo = operation.companions.undo_with.as_ref();
    let own = undo.filter(|undo| undo.operation == operation.id);
    let mut sets: Vec<(String, String)> = own.into_iter().flat_map(restored).collect();
    let names_it = |argument: &str| {
        let from = format!("/args/{}", kernel::pointer::escape(argument));
        before.with.values().any(|binding| *binding == Binding::From(from.clone()))
    };
    let fields = |schema: &Value| {
        let names = schema.get("properties").and_then(Value::as_object);
        names.map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
    };
    for argument in fields(&operation.input) {
        if names_it(&argument) || sets.iter().any(|(known, _)| *known == argument) {
            continue;
        }
        let same = |field: &&String| plain_name(field) == plain_name(&argument);
        if let Some(field) = fields(&read.output).iter().find(same) {
            sets.push((argument, format!("/{}", kernel::pointer::escape(field))));
        }
    }
    let told = |place: &String| sets.iter().any(|(_, known)| known == place);
    let stirs = undo.filter(|undo| undo.operation != operation.id).into_iter().flat_map(restored);
    let stirs = stirs.map(|(_, place)| place).filter(|place| !told(place)).collect();
    Relation { before: before.clone(), repeats: BTreeMap::new(), sets, stirs }
}

fn backward(before: &Companion, undo: &Companion) -> Relation {
    let repeats = undo.with.iter().filter_map(|(argument, binding)| match binding {
        Binding::From(pointer) => {
            let of = pointer.strip_prefix("/args/")?;
            Some((argument.clone(), of.to_owned()))
        }
        Binding::Literal(_) => None,
    });
    Relation {
        before: before.clone(),
        repeats: repeats.collect(),
        sets: restored(undo).collect(),
        stirs: Vec::new(),
    }
}

impl Relation {
    /// The arguments of the read that shows the record this write touches.
    pub(super) fn record_args(&self, args: &Value) -> Option<Value> {
        let forward = if self.repeats.is_empty() {
            args.clone()
        } else {
            let named = self.repeats.iter();
            let named = named.filter_map(|(own, of)| Some((of.clone(), args.get(own)?.clone())));
            Value::Object(named.collect::<Map<_, _>>())
        };
        bind(&self.before, &json!({ "args": forward }))
    }

    /// The record after the write. `schema` is that of the read's output.
    pub(super) fn apply(&self, record: &mut Value, args: &Value, schema: &Value) {
        for (argument, place) in &self.sets {
            if let Some(value) = args.get(argument) {
                let part = part_of(schema, place);
                set(record, place, |now| patched(now, value, part));
            }
        }
        if let Value::Object(fields) = record {
            let counters = fields.iter_mut();
            for (_, field) in counters.filter(|(name, _)| is_counter(name)) {
                if let Some(number) = field.as_i64() {
                    *field = Value::from(number.saturating_add(1));
                }
            }
        }
    }
}

/// Whether a field is one that the system itself moves on.
pub(super) fn is_counter(name: &str) -> bool {
    COUNTERS.contains(&plain_name(name).as_str())
}

/// A part of an object stands for the whole when it leaves nothing out that the whole must have.
fn patched(now: Option<&Value>, value: &Value, schema: Option<&Value>) -> Value {
    let (Some(Value::Object(now)), Value::Object(part)) = (now, value) else {
        return value.clone();
    };
    let required = schema.and_then(|schema| schema.get("required")).and_then(Value::as_array);
    let mut required = required.into_iter().flatten().filter_map(Value::as_str);
    if required.all(|name| part.contains_key(name)) {
        return value.clone();
    }
    let mut whole = now.clone();
    whole.extend(part.clone());
    Value::Object(whole)
}

/// Sets what stands at a pointer, making the last field when it is absent.
pub(super) fn set(value: &mut Value, place: &str, to: impl FnOnce(Option<&Value>) -> Value) {
    if let Some(part) = value.pointer_mut(place) {
        *part = to(Some(part));
        return;
    }
    let Some((parent, name)) = place.rsplit_once('/') else {
        *value = to(None);
        return;
    };
    if let Some(Value::Object(fields)) = value.pointer_mut(parent) {
        fields.insert(name.replace("~1", "/").replace("~0", "~"), to(None));
    }
}

/// The schema of what stands at a pointer.
pub(super) fn part_of<'s>(schema: &'s Value, place: &str) -> Option<&'s Value> {
    place.split('/').skip(1).try_fold(schema, |node, segment| {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let property = node.get("properties").and_then(|map| map.get(&name));
        property.or_else(|| node.get("items"))
    })
}
