//! Reading a binding: every key known, every pointer well-formed, every error with its place.

use kernel::{id::OperationId, operation::Operation};
use serde_json::{Map, Value};

use crate::error::{Error, hint};

/// One object inside a binding.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    operation: &'a OperationId,
    at: String,
    map: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    /// The binding itself.
    pub(crate) fn of(operation: &'a Operation) -> Result<Self, Error> {
        let map = operation.binding.as_object();
        let map =
            map.ok_or_else(|| problem(&operation.id, "", "must be an object with a `kind`"))?;
        Ok(Self { operation: &operation.id, at: String::new(), map })
    }

    /// An error at this object or at one of its keys.
    pub(crate) fn error(&self, key: &str, text: impl Into<String>) -> Error {
        let at = if key.is_empty() { self.at.clone() } else { format!("{}/{key}", self.at) };
        problem(self.operation, &at, text)
    }

    /// Refuses every key that is not listed.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Error> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(Error::UnknownKey {
                operation: self.operation.clone(),
                at: self.at.clone(),
                key: key.clone(),
                hint: hint(key, known.iter().copied()),
            }),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }

    pub(crate) fn text_opt(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.map.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "must be text")),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<&'a str, Error> {
        self.text_opt(key)?.ok_or_else(|| self.error(key, "is required"))
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, Error> {
        match self.map.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.error(key, "must be true or false")),
        }
    }

    pub(crate) fn count(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.map.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| self.error(key, "must be a whole number from 0")),
        }
    }

    pub(crate) fn pointer(&self, key: &str) -> Result<Option<String>, Error> {
        let Some(text) = self.text_opt(key)? else {
            return Ok(None);
        };
        self.check_pointer(key, text)?;
        Ok(Some(text.to_owned()))
    }

    /// Refuses text that is no JSON pointer.
    pub(crate) fn check_pointer(&self, key: &str, text: &str) -> Result<(), Error> {
        let mut escapes = text.split('~').skip(1);
        let escaped = escapes.all(|rest| rest.starts_with(['0', '1']));
        if escaped && (text.is_empty() || text.starts_with('/')) {
            return Ok(());
        }
        Err(self.error(key, format!("`{text}` is not a JSON pointer such as `/account`")))
    }

    pub(crate) fn child(&self, key: &str) -> Result<Option<Self>, Error> {
        match self.map.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(self.inside(key, map))),
            Some(_) => Err(self.error(key, "must be an object")),
        }
    }

    pub(crate) fn inside(&self, key: &str, map: &'a Map<String, Value>) -> Self {
        Self { operation: self.operation, at: format!("{}/{key}", self.at), map }
    }

    /// The objects of a list.
    pub(crate) fn children(&self, key: &str) -> Result<Vec<Self>, Error> {
        let items = match self.map.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.error(key, "must be a list")),
        };
        let child = |(index, item): (usize, &'a Value)| match item {
            Value::Object(map) => Ok(self.inside(&format!("{key}/{index}"), map)),
            _ => Err(self.error(key, "must be a list of objects")),
        };
        items.iter().enumerate().map(child).collect()
    }

    /// `name -> pointer` pairs in name order.
    pub(crate) fn pointers(&self, key: &str) -> Result<Vec<(String, String)>, Error> {
        let Some(child) = self.child(key)? else {
            return Ok(Vec::new());
        };
        let mut pairs = Vec::new();
        for name in child.map.keys() {
            let pointer = child.pointer(name)?.unwrap_or_default();
            pairs.push((name.clone(), pointer));
        }
        pairs.sort();
        Ok(pairs)
    }
}

fn problem(operation: &OperationId, at: &str, text: impl Into<String>) -> Error {
    Error::Binding { operation: operation.clone(), at: at.to_owned(), problem: text.into() }
}
