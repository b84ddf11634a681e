//! A value on its way: what it is, where it was read from, and the label it has gathered.

use std::rc::Rc;

use serde_json::Value;

use crate::number::Num;
use crate::{Join, Key};

/// A value and what is known of its label. Its label is the join of `label`, of the labels of the
/// place it was read from, and of the labels of what it contains.
#[derive(Debug, Clone)]
pub(crate) struct Tracked<'e, L> {
    pub(crate) data: Data<'e, L>,
    pub(crate) place: Option<Place<'e>>,
    pub(crate) label: L,
}

#[derive(Debug, Clone)]
pub(crate) enum Data<'e, L> {
    /// Read from the environment as it is; always has a place.
    Json(&'e Value),
    Null,
    Bool(bool),
    Num(Num),
    Text(Rc<str>),
    /// Text of the expression or a key of the environment.
    Borrowed(&'e str),
    List(Rc<Vec<Tracked<'e, L>>>),
    Map(Rc<Vec<(&'e str, Tracked<'e, L>)>>),
}

/// Where in the environment a value was read.
#[derive(Debug, Clone)]
pub(crate) struct Place<'e> {
    pub(crate) root: &'e str,
    pub(crate) path: Rc<[Key<'e>]>,
}

impl<'e> Place<'e> {
    pub(crate) fn child(&self, key: Key<'e>) -> Place<'e> {
        let mut path = Vec::with_capacity(self.path.len() + 1);
        path.extend_from_slice(&self.path);
        path.push(key);
        Place { root: self.root, path: path.into() }
    }
}

impl<'e, L: Join> Tracked<'e, L> {
    pub(crate) fn constant(data: Data<'e, L>) -> Self {
        Self::computed(data, L::bottom())
    }

    pub(crate) fn computed(data: Data<'e, L>, label: L) -> Self {
        Self { data, place: None, label }
    }

    /// The same value, chosen or reached through something of this label.
    pub(crate) fn raised(mut self, label: &L) -> Self {
        self.label = self.label.join(label);
        self
    }
}

impl<L> Data<'_, L> {
    pub(crate) fn text(text: String) -> Self {
        Data::Text(text.into())
    }

    /// The kind of value, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Data::Null | Data::Json(Value::Null) => "null",
            Data::Bool(_) | Data::Json(Value::Bool(_)) => "a bool",
            Data::Num(_) | Data::Json(Value::Number(_)) => "a number",
            Data::Text(_) | Data::Borrowed(_) | Data::Json(Value::String(_)) => "a string",
            Data::List(_) | Data::Json(Value::Array(_)) => "a list",
            Data::Map(_) | Data::Json(Value::Object(_)) => "an object",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Data::Null | Data::Json(Value::Null))
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Data::Bool(value) | Data::Json(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Data::Text(text) => Some(text),
            Data::Borrowed(text) => Some(text),
            Data::Json(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Data::Num(_) | Data::Json(Value::Number(_)))
    }

    /// None if it is no number or not an exact one.
    pub(crate) fn as_number(&self) -> Option<Num> {
        match self {
            Data::Num(number) => Some(*number),
            Data::Json(Value::Number(number)) => Num::from_json(number),
            _ => None,
        }
    }

    /// Elements, entries or characters; none for what has no size.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Data::List(items) => Some(items.len()),
            Data::Map(entries) => Some(entries.len()),
            Data::Json(Value::Array(items)) => Some(items.len()),
            Data::Json(Value::Object(entries)) => Some(entries.len()),
            _ => self.as_text().map(|text| text.chars().count()),
        }
    }
}
