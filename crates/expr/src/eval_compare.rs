//! Equality, order and membership.

use serde_json::Value;

use crate::ast::{Comparison, Node};
use crate::cost::MAX_VALUE_DEPTH;
use crate::eval::{Evaluated, Evaluator, arithmetic, number_of, too_deep};
use crate::number::NOT_EXACT;
use crate::value::{Data, Tracked};
use crate::{Env, Error, Join};

impl<'e, E: Env> Evaluator<'e, '_, E> {
    pub(crate) fn compare(
        &mut self,
        comparison: Comparison,
        left_node: &'e Node,
        right_node: &'e Node,
    ) -> Evaluated<'e, E::Label> {
        let left = self.eval(left_node)?;
        let right = self.eval(right_node)?;
        let label = self.label(&left, left_node)?;
        let label = label.join(&self.label(&right, right_node)?);
        let result = match comparison {
            Comparison::Equal => self.same(&left.data, &right.data, (left_node, 0))?,
            Comparison::NotEqual => !self.same(&left.data, &right.data, (left_node, 0))?,
            Comparison::In => self.contains((left_node, &left), (right_node, &right))?,
            Comparison::Less => self.order((left_node, &left), (right_node, &right))?.is_lt(),
            Comparison::LessEqual => self.order((left_node, &left), (right_node, &right))?.is_le(),
            Comparison::Greater => self.order((left_node, &left), (right_node, &right))?.is_gt(),
            Comparison::GreaterEqual => {
                self.order((left_node, &left), (right_node, &right))?.is_ge()
            }
        };
        Ok(Tracked::computed(Data::Bool(result), label))
    }

    fn order(
        &mut self,
        (left_node, left): (&Node, &Tracked<'e, E::Label>),
        (right_node, right): (&Node, &Tracked<'e, E::Label>),
    ) -> Result<std::cmp::Ordering, Error> {
        if let Some(text) = left.data.as_text() {
            self.pay_text(text.len(), left_node)?;
            return Ok(text.cmp(self.text_of(right_node, right)?));
        }
        Ok(number_of(left_node, left)?.order(number_of(right_node, right)?))
    }

    fn contains(
        &mut self,
        (needle_node, needle): (&Node, &Tracked<'e, E::Label>),
        (node, haystack): (&Node, &Tracked<'e, E::Label>),
    ) -> Result<bool, Error> {
        match &haystack.data {
            Data::Json(Value::Object(fields)) => {
                Ok(fields.contains_key(self.text_of(needle_node, needle)?))
            }
            Data::Map(entries) => {
                let name = self.text_of(needle_node, needle)?;
                Ok(entries.iter().any(|(key, _)| *key == name))
            }
            _ => {
                for item in self.items(haystack, node)? {
                    if self.same(&item.data, &needle.data, (node, 0))? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Equality of JSON values; numbers by their mathematical value, different kinds are not equal.
    fn same(
        &mut self,
        left: &Data<'e, E::Label>,
        right: &Data<'e, E::Label>,
        (node, depth): (&Node, usize),
    ) -> Result<bool, Error> {
        self.pay(1, node)?;
        if depth > MAX_VALUE_DEPTH {
            return Err(too_deep(node));
        }
        if let (Some(left), Some(right)) = (left.as_text(), right.as_text()) {
            self.pay_text(left.len(), node)?;
            return Ok(left == right);
        }
        if left.is_number() && right.is_number() {
            let exact = |data: &Data<'e, E::Label>| {
                data.as_number().ok_or_else(|| arithmetic(node, NOT_EXACT))
            };
            return Ok(exact(left)? == exact(right)?);
        }
        if left.kind() != right.kind() || left.size() != right.size() {
            return Ok(false);
        }
        self.pay(left.size().unwrap_or(0), node)?;
        if let (Some(left), Some(right)) = (elements(left), elements(right)) {
            for (left, right) in left.iter().zip(&right) {
                if !self.same(left, right, (node, depth + 1))? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        if let (Some(left), Some(right)) = (entries(left), entries(right)) {
            for ((left_key, left), (right_key, right)) in left.iter().zip(&right) {
                if left_key != right_key || !self.same(left, right, (node, depth + 1))? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Ok(match (left.as_bool(), right.as_bool()) {
            (Some(left), Some(right)) => left == right,
            _ => left.is_null() && right.is_null(),
        })
    }
}

fn elements<'e, L: Clone>(data: &Data<'e, L>) -> Option<Vec<Data<'e, L>>> {
    match data {
        Data::List(items) => Some(items.iter().map(|item| item.data.clone()).collect()),
        Data::Json(Value::Array(items)) => Some(items.iter().map(Data::Json).collect()),
        _ => None,
    }
}

/// Sorted by key.
fn entries<'e, L: Clone>(data: &Data<'e, L>) -> Option<Vec<(&'e str, Data<'e, L>)>> {
    let mut entries: Vec<_> = match data {
        Data::Map(entries) => entries.iter().map(|(k, v)| (*k, v.data.clone())).collect(),
        Data::Json(Value::Object(fields)) => {
            fields.iter().map(|(k, v)| (k.as_str(), Data::Json(v))).collect()
        }
        _ => return None,
    };
    entries.sort_by_key(|(key, _)| *key);
    Some(entries)
}
