//! A small typed reader over nodes: every key is asked for by name, and what nobody asked for is
//! refused with the nearest known name. Problems are collected, so several are reported at once.

use std::str::FromStr;

use serde_json::Value;

use crate::{
    problem::{Place, Problem, Problems, did_you_mean},
    yaml::{Key, Kind, Node},
};

/// Longest text of a name.
pub(crate) const NAME_MAX: usize = 64;

/// Where problems of one file go.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'p> {
    pub(crate) file: &'p str,
    pub(crate) problems: &'p Problems,
}

impl<'p> Reader<'p> {
    pub(crate) fn wrong(&self, place: Place, message: impl Into<String>, fix: impl Into<String>) {
        self.problems.add(Problem::new(self.file, place, message, fix));
    }

    fn mistyped(&self, node: &Node, what: &str, wanted: &str) {
        let message = format!("{what} must be {wanted}, not {}", node.describe());
        let fix = match (&node.kind, wanted) {
            (Kind::Number(_) | Kind::Bool(_), "text") => "put it in quotes".to_owned(),
            _ => format!("write {wanted}"),
        };
        self.wrong(node.place, message, fix);
    }

    /// The map at a node.
    pub(crate) fn fields<'n>(&self, node: &'n Node, what: &str) -> Option<Fields<'n, 'p>> {
        match &node.kind {
            Kind::Map(entries) => {
                Some(Fields { reader: *self, place: node.place, entries, known: Vec::new() })
            }
            _ => {
                self.mistyped(node, what, "a map");
                None
            }
        }
    }

    pub(crate) fn text<'n>(&self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Text(text) => Some(&text.value),
            _ => {
                self.mistyped(node, what, "text");
                None
            }
        }
    }

    pub(crate) fn list<'n>(&self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => items,
            _ => {
                self.mistyped(node, what, "a list");
                &[]
            }
        }
    }

    pub(crate) fn entries<'n>(&self, node: &'n Node, what: &str) -> &'n [(Key, Node)] {
        match &node.kind {
            Kind::Map(entries) => entries,
            _ => {
                self.mistyped(node, what, "a map");
                &[]
            }
        }
    }

    pub(crate) fn texts(&self, node: &Node, what: &str) -> Vec<String> {
        let items = self.list(node, what).iter();
        items.filter_map(|item| self.text(item, what).map(str::to_owned)).collect()
    }

    pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(
        &self,
        node: &Node,
        what: &str,
    ) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(node.place, error.to_string(), format!("correct {what}"));
                None
            }
        }
    }

    /// A lower-case name of letters, digits, `_` and `-`.
    pub(crate) fn name(&self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        self.check_name(text, node.place, what).then(|| text.to_owned())
    }

    pub(crate) fn check_name(&self, text: &str, place: Place, what: &str) -> bool {
        let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let fine = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= NAME_MAX
            && text.chars().all(safe);
        if !fine {
            let fix =
                format!("use a-z, 0-9, `_` and `-`, a letter first, at most {NAME_MAX} characters");
            self.wrong(place, format!("{what} is not a name"), fix);
        }
        fine
    }

    /// One of a closed set.
    pub(crate) fn choice<T: Copy>(&self, node: &Node, what: &str, set: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = set.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let fix = did_you_mean(text, set.iter().map(|(name, _)| *name));
        self.wrong(node.place, format!("`{}` is no {what}", cut(text)), fix);
        None
    }

    pub(crate) fn integer(
        &self,
        node: &Node,
        what: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        match &node.kind {
            Kind::Number(number) if number.as_i64().is_some_and(|n| range.contains(&n)) => {
                number.as_i64()
            }
            _ => {
                let (low, high) = (range.start(), range.end());
                let message = format!("{what} must be a whole number from {low} to {high}");
                self.wrong(node.place, message, format!("write a number from {low} to {high}"));
                None
            }
        }
    }

    /// A span such as `250ms`, `30s`, `5m`, `4h`, `2d`, `1w`, in milliseconds.
    pub(crate) fn duration_ms(&self, node: &Node, what: &str) -> Option<i64> {
        let parsed = match &node.kind {
            Kind::Text(text) => parse_duration(&text.value),
            _ => None,
        };
        if parsed.is_none() {
            let message = format!("{what} is not a time span");
            self.wrong(
                node.place,
                message,
                "write a number and a unit: `250ms`, `30s`, `5m`, `4h`, `2d`, `1w`",
            );
        }
        parsed
    }

    /// A JSON pointer; `*` segments are allowed.
    pub(crate) fn pointer(&self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if text.is_empty() || text.starts_with('/') {
            return Some(text.to_owned());
        }
        let message = format!("{what} must be a JSON pointer");
        self.wrong(node.place, message, format!("write `/{}`", cut(text)));
        None
    }

    pub(crate) fn pointers(&self, node: &Node, what: &str) -> Vec<String> {
        self.list(node, what).iter().filter_map(|item| self.pointer(item, what)).collect()
    }
}

/// Longest span: ten years, so that sums cannot overflow.
const DURATION_MAX_MS: i64 = 10 * 366 * 86_400_000;

fn parse_duration(text: &str) -> Option<i64> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return None,
    };
    let ms = number.parse::<i64>().ok()?.checked_mul(factor)?;
    (ms <= DURATION_MAX_MS).then_some(ms)
}

/// At most 80 characters of a text that goes into a message.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The fields of one map, asked for by name.
pub(crate) struct Fields<'n, 'p> {
    pub(crate) reader: Reader<'p>,
    pub(crate) place: Place,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n, '_> {
    /// The value of an optional field.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        let found = self.entries.iter().find(|(key, _)| key.name == name);
        found.map(|(_, node)| node)
    }

    /// The value of a required field.
    pub(crate) fn need(&mut self, name: &'static str) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            let message = format!("`{name}` is missing");
            self.reader.wrong(self.place, message, format!("add `{name}:` here"));
        }
        found
    }

    pub(crate) fn need_text(&mut self, name: &'static str) -> String {
        let node = self.need(name);
        node.and_then(|node| self.reader.text(node, name)).unwrap_or_default().to_owned()
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let node = self.get(name)?;
        self.reader.text(node, name).map(str::to_owned)
    }

    pub(crate) fn need_name(&mut self, name: &'static str) -> String {
        let node = self.need(name);
        node.and_then(|node| self.reader.name(node, name)).unwrap_or_default()
    }

    pub(crate) fn name(&mut self, name: &'static str) -> Option<String> {
        let node = self.get(name)?;
        self.reader.name(node, name)
    }

    pub(crate) fn need_parse<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &'static str,
    ) -> Option<T> {
        let node = self.need(name)?;
        self.reader.parse(node, name)
    }

    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.get(name).map(|node| self.reader.texts(node, name)).unwrap_or_default()
    }

    pub(crate) fn value(&mut self, name: &'static str) -> Option<Value> {
        self.get(name).map(Node::to_value)
    }

    pub(crate) fn need_value(&mut self, name: &'static str) -> Value {
        self.need(name).map(Node::to_value).unwrap_or_default()
    }

    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, set: &[(&str, T)]) -> Option<T> {
        let node = self.get(name)?;
        self.reader.choice(node, name, set)
    }

    pub(crate) fn duration_ms(&mut self, name: &'static str) -> Option<i64> {
        let node = self.get(name)?;
        self.reader.duration_ms(node, name)
    }

    pub(crate) fn pointer(&mut self, name: &'static str) -> Option<String> {
        let node = self.get(name)?;
        self.reader.pointer(node, name)
    }

    /// The names present, whether asked for or not.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'n str> {
        self.entries.iter().map(|(key, _)| key.name.as_str())
    }

    /// Refuses every key that nobody asked for.
    pub(crate) fn done(self) {
        for (key, _) in self.entries {
            if !self.known.contains(&key.name.as_str()) {
                let message = format!("unknown key `{}`", cut(&key.name));
                let fix = did_you_mean(&key.name, self.known.iter().copied());
                self.reader.wrong(key.place, message, fix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units_and_a_limit() {
        assert_eq!(parse_duration("250ms"), Some(250));
        assert_eq!(parse_duration("2d"), Some(172_800_000));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration("m"), None);
        assert_eq!(parse_duration("99999w"), None);
        assert_eq!(parse_duration("é"), None);
    }
}
