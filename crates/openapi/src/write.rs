//! Writes a draft as YAML, in the style of the packs: short things on one line, the rest in blocks.

use serde_json::Value;

/// Longest map or list on one line, in characters.
const LINE_MAX: usize = 94;

/// Words that YAML, in one version or another, takes for something else than text.
const WORDS: [&str; 12] =
    ["false", "inf", "n", "nan", "no", "null", "off", "on", "true", "y", "yes", "undefined"];

/// Keywords of a schema that are read first; the others follow by name.
const FIRST: [&str; 7] =
    ["$ref", "type", "title", "description", "enum", "required", "additionalProperties"];

/// A value with the order of its keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A scalar.
    One(Value),
    /// A list.
    List(Vec<Node>),
    /// A map, in this order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::One(Value::String(text.into()))
    }

    /// A schema, its keys in the order in which people read them.
    #[must_use]
    pub fn schema(value: &Value) -> Self {
        Self::of(value, Keys::Keywords)
    }

    fn of(value: &Value, keys: Keys) -> Self {
        match value {
            Value::Array(items) => {
                Self::List(items.iter().map(|item| Self::of(item, keys)).collect())
            }
            Value::Object(map) => {
                let mut entries: Vec<(&String, &Value)> = map.iter().collect();
                if keys == Keys::Keywords {
                    entries.sort_by_key(|(key, _)| rank(key));
                }
                let node = |(key, value): (&String, &Value)| {
                    (key.clone(), Self::of(value, keys.below(key)))
                };
                Self::Map(entries.into_iter().map(node).collect())
            }
            one => Self::One(one.clone()),
        }
    }

    /// How many values it holds, keys among them: what a reader of packs counts.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Self::Map(entries) => {
                1 + entries.iter().map(|(_, node)| 1 + node.count()).sum::<usize>()
            }
        }
    }

    /// On one line.
    fn flow(&self) -> String {
        match self {
            Self::One(value) => scalar(value),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", "))
            }
            Self::Map(entries) => {
                let entry =
                    |(name, node): &(String, Self)| format!("{}: {}", key(name), node.flow());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Whether it has room on one line. Looks no further than that.
    fn is_short(&self) -> bool {
        matches!(self, Self::One(_)) || self.fit(LINE_MAX).is_some()
    }

    /// What is left of so many characters once it is written on one line; nothing where they do not suffice.
    fn fit(&self, room: usize) -> Option<usize> {
        // Brackets, and what stands between two.
        const AROUND: usize = 2;
        match self {
            Self::One(value) => room.checked_sub(scalar(value).len()),
            Self::List(items) => {
                let inner = |room: usize, item: &Self| item.fit(room)?.checked_sub(AROUND);
                items.iter().try_fold(room.checked_sub(AROUND)?, inner)
            }
            Self::Map(entries) => {
                let inner = |room: usize, (name, node): &(String, Self)| {
                    node.fit(room.checked_sub(key(name).len() + AROUND)?)?.checked_sub(AROUND)
                };
                entries.iter().try_fold(room.checked_sub(AROUND)?, inner)
            }
        }
    }
}

/// Whether the keys of a map are keywords of a schema, or names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Keywords,
    Names,
    /// Values, such as those of `enum`.
    Free,
}

impl Keys {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Keywords, "$defs" | "properties" | "patternProperties" | "dependentSchemas") => {
                Self::Names
            }
            (Self::Keywords, "const" | "default" | "enum") | (Self::Free, _) => Self::Free,
            _ => Self::Keywords,
        }
    }
}

fn rank(key: &str) -> usize {
    match (FIRST.iter().position(|first| *first == key), key) {
        (Some(place), _) => place,
        (None, "$defs") => usize::MAX,
        _ => FIRST.len(),
    }
}

/// A map as a file.
#[must_use]
pub fn file(entries: &[(String, Node)]) -> String {
    let mut text = String::new();
    write_entries(entries, 0, &mut text);
    text
}

/// Entries of a map as they stand in a file, so far to the right.
#[must_use]
pub fn block(entries: &[(String, Node)], indent: usize) -> String {
    let mut text = String::new();
    write_entries(entries, indent, &mut text);
    text
}

fn write_entries(entries: &[(String, Node)], indent: usize, text: &mut String) {
    for (name, node) in entries {
        text.push_str(&" ".repeat(indent));
        text.push_str(&key(name));
        text.push(':');
        write_value(node, indent, text);
    }
}

fn write_value(node: &Node, indent: usize, text: &mut String) {
    match node {
        node if node.is_short() && indent > 0 || matches!(node, Node::One(_)) => {
            text.push(' ');
            text.push_str(&node.flow());
            text.push('\n');
        }
        Node::Map(entries) if !entries.is_empty() => {
            text.push('\n');
            write_entries(entries, indent + 2, text);
        }
        Node::List(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                text.push_str(&" ".repeat(indent + 2));
                text.push('-');
                match item {
                    Node::Map(entries) if !item.is_short() => {
                        let mut inner = String::new();
                        write_entries(entries, indent + 4, &mut inner);
                        text.push(' ');
                        text.push_str(inner.trim_start());
                    }
                    item => write_value(item, indent + 2, text),
                }
            }
        }
        node => {
            text.push(' ');
            text.push_str(&node.flow());
            text.push('\n');
        }
    }
}

fn key(name: &str) -> String {
    scalar(&Value::String(name.to_owned()))
}

/// A scalar that reads back as what it is. A quoted text of JSON is one of YAML, too.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a text needs no quotes, in a block or on a line.
fn is_plain(text: &str) -> bool {
    let opens = |c: char| c.is_ascii_alphabetic() || c == '/' || c == '$' || c == '_';
    let goes_on = |c: char| c.is_ascii_alphanumeric() || " .()/_-$*".contains(c);
    text.starts_with(opens)
        && text.chars().all(goes_on)
        && !text.ends_with(' ')
        && !text.contains("  ")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn short_things_stand_on_one_line_and_text_is_quoted_where_it_must_be() {
        let schema = json!({
            "properties": {"no": {"type": "string", "enum": ["yes", "1", "a: b", "plain text"]}},
            "type": "object", "required": ["no"],
        });
        let entries = vec![
            ("name".to_owned(), Node::text("crm")),
            ("input".to_owned(), Node::schema(&schema)),
        ];
        assert_eq!(
            file(&entries),
            "name: crm\ninput:\n  type: object\n  required: [\"no\"]\n  properties: {\"no\": {type: string, enum: \
             [\"yes\", \"1\", \"a: b\", plain text]}}\n"
        );
    }
}
