//! Reads companion calls: probe, before-image, preview and undo. Their arguments are pure paths.

use std::collections::BTreeMap;

use kernel::{
    operation::{Binding, Companion, Probe},
    pointer,
};
use serde_json::Value;

use crate::{
    read::{Fields, Reader},
    steps::unwrap,
    yaml::{Kind, Node},
};

/// What a companion's arguments may come from.
pub(crate) const ROOTS: [&str; 5] = ["args", "before", "output", "after", "key"];

pub(crate) fn read_companion(node: &Node, what: &str, reader: Reader<'_>) -> Option<Companion> {
    let mut fields = reader.fields(node, what)?;
    let companion = read_call(&mut fields);
    fields.done();
    companion
}

pub(crate) fn read_probe(node: &Node, reader: Reader<'_>) -> Option<Probe> {
    let mut fields = reader.fields(node, "probe")?;
    let call = read_call(&mut fields);
    let happened = fields.need("happened").and_then(|node| reader.pointer(node, "happened"));
    let conclusive = fields.duration_ms("conclusive_after");
    fields.done();
    let conclusive_after_ms = conclusive.and_then(|ms| u64::try_from(ms).ok());
    Some(Probe { call: call?, happened: happened?, conclusive_after_ms })
}

fn read_call(fields: &mut Fields<'_, '_>) -> Option<Companion> {
    let reader = fields.reader;
    let operation = fields.need_parse("use");
    let with = fields.get("with").map(|node| read_bindings(node, reader)).unwrap_or_default();
    let image = fields.get("image").map(|node| reader.pointers(node, "image")).unwrap_or_default();
    Some(Companion { operation: operation?, with, image })
}

fn read_bindings(node: &Node, reader: Reader<'_>) -> BTreeMap<String, Binding> {
    let entries = reader.entries(node, "with").iter();
    entries
        .filter_map(|(key, node)| Some((key.name.clone(), read_binding(node, reader)?)))
        .collect()
}

/// Whether something looks like an expression inside of a list or a map, where none is evaluated.
fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${{"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(map) => map.values().any(has_expression),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A literal, or exactly one path over [`ROOTS`] in `${{ }}`.
fn read_binding(node: &Node, reader: Reader<'_>) -> Option<Binding> {
    let Kind::Text(text) = &node.kind else {
        let value = node.to_value();
        if has_expression(&value) {
            let message = "a companion's argument is one path or a value without any";
            let fix = "take one path for all of it, such as `${{ args.paths }}`";
            reader.wrong(node.place, message, fix);
            return None;
        }
        return Some(Binding::Literal(value));
    };
    if !text.value.contains("${{") {
        return Some(Binding::Literal(node.to_value()));
    }
    let (offset, inner) = unwrap(&text.value);
    let path = if offset == 0 { None } else { path_pointer(inner.trim()) };
    if path.is_none() {
        let message = "a companion's argument is one path, not an expression";
        let fix =
            format!("write `${{{{ args.name }}}}`, beginning with one of: {}", ROOTS.join(", "));
        reader.wrong(node.place, message, fix);
    }
    path.map(Binding::From)
}

/// `args.items[0].id` as `/args/items/0/id`; `None` when it is not such a path.
fn path_pointer(path: &str) -> Option<String> {
    let mut segments = Vec::new();
    for part in path.split('.') {
        let (name, mut indexes) =
            part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !named {
            return None;
        }
        segments.push(pointer::escape(name));
        while let Some(open) = indexes {
            let (index, rest) = open.split_once(']')?;
            segments.push(index.parse::<u32>().ok()?.to_string());
            indexes = if rest.is_empty() { None } else { Some(rest.strip_prefix('[')?) };
        }
    }
    let root = segments.first()?;
    ROOTS.contains(&root.as_str()).then(|| format!("/{}", segments.join("/")))
}

#[cfg(test)]
mod tests {
    use super::path_pointer;

    #[test]
    fn only_pure_paths_become_pointers() {
        assert_eq!(path_pointer("args.account").as_deref(), Some("/args/account"));
        assert_eq!(path_pointer("key").as_deref(), Some("/key"));
        assert_eq!(path_pointer("output.data[0][2].id").as_deref(), Some("/output/data/0/2/id"));
        for bad in ["args.a + 1", "intent.x", "args['x']", "args.a[", "args.a[0]b", "args..a", ""] {
            assert_eq!(path_pointer(bad), None, "{bad}");
        }
    }
}
