//! From a tracked value to JSON, with a label for each leaf.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::ast::Node;
use crate::cost::MAX_VALUE_DEPTH;
use crate::eval::{Evaluator, arithmetic, too_deep};
use crate::label::push_token;
use crate::number::NOT_JSON;
use crate::value::{Data, Tracked};
use crate::{Env, Error, Key};

/// The labels of the leaves given back so far.
#[derive(Debug)]
pub(crate) struct Leaves<L> {
    pub(crate) by_pointer: BTreeMap<String, L>,
    depth: usize,
}

impl<L> Leaves<L> {
    pub(crate) fn new() -> Self {
        Self { by_pointer: BTreeMap::new(), depth: 0 }
    }
}

impl<'e, E: Env> Evaluator<'e, '_, E> {
    /// The JSON of `value`; notes the label of each of its leaves, which lie at or under `pointer`.
    pub(crate) fn emit(
        &mut self,
        value: Tracked<'e, E::Label>,
        pointer: &str,
        leaves: &mut Leaves<E::Label>,
        node: &Node,
    ) -> Result<Value, Error> {
        self.pay(1, node)?;
        if leaves.depth > MAX_VALUE_DEPTH {
            return Err(too_deep(node));
        }
        leaves.depth += 1;
        let json = match self.parts(&value, node)? {
            Parts::Leaf => {
                let label = self.label(&value, node)?;
                leaves.by_pointer.insert(pointer.to_owned(), label);
                self.leaf(value, node)?
            }
            Parts::Items(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let place = format!("{pointer}/{index}");
                    let item = item.raised(&value.label);
                    list.push(self.emit(item, &place, leaves, node)?);
                }
                Value::Array(list)
            }
            Parts::Entries(entries) => {
                let mut object = Map::new();
                for (key, entry) in entries {
                    let place = push_token(pointer, key);
                    let entry = entry.raised(&value.label);
                    object.insert(key.to_owned(), self.emit(entry, &place, leaves, node)?);
                }
                Value::Object(object)
            }
        };
        leaves.depth -= 1;
        Ok(json)
    }

    fn parts(&mut self, value: &Tracked<'e, E::Label>, node: &Node) -> Result<Parts<'e, E>, Error> {
        Ok(match &value.data {
            Data::List(items) if !items.is_empty() => Parts::Items(items.to_vec()),
            Data::Json(Value::Array(items)) if !items.is_empty() => {
                // Values which only pass through may be longer than lists that are walked.
                self.pay(items.len(), node)?;
                let part = |(at, item)| child(value, item, Key::Index(at));
                Parts::Items(items.iter().enumerate().map(part).collect())
            }
            Data::Map(entries) if !entries.is_empty() => Parts::Entries(entries.to_vec()),
            Data::Json(Value::Object(fields)) if !fields.is_empty() => {
                self.pay(fields.len(), node)?;
                let part = |(key, field): (&'e String, _)| {
                    (key.as_str(), child(value, field, Key::Field(key)))
                };
                Parts::Entries(fields.iter().map(part).collect())
            }
            _ => Parts::Leaf,
        })
    }

    fn leaf(&mut self, value: Tracked<'e, E::Label>, node: &Node) -> Result<Value, Error> {
        self.pay_text(value.data.as_text().map_or(0, str::len), node)?;
        Ok(match value.data {
            Data::Json(json) => json.clone(),
            Data::Null => Value::Null,
            Data::Bool(truth) => Value::Bool(truth),
            Data::Num(number) => number.to_json().ok_or_else(|| arithmetic(node, NOT_JSON))?,
            Data::Text(text) => Value::String(text.as_ref().to_owned()),
            Data::Borrowed(text) => Value::String(text.to_owned()),
            Data::List(_) => Value::Array(Vec::new()),
            Data::Map(_) => Value::Object(Map::new()),
        })
    }
}

enum Parts<'e, E: Env> {
    Leaf,
    Items(Vec<Tracked<'e, E::Label>>),
    Entries(Vec<(&'e str, Tracked<'e, E::Label>)>),
}

fn child<'e, L: Clone>(whole: &Tracked<'e, L>, part: &'e Value, key: Key<'e>) -> Tracked<'e, L> {
    Tracked {
        data: Data::Json(part),
        place: whole.place.as_ref().map(|place| place.child(key)),
        label: whole.label.clone(),
    }
}
