//! Parameters as arguments, and where each stands in the request.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    document::{Document, short},
    name::take_free,
    schema::Turner,
    write::Node,
};

/// Headers that are not an argument's to set; what they say, the request says itself.
const OWN_HEADERS: [&str; 10] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Parameters that lead through pages.
const PAGE_WORDS: [&str; 14] = [
    "after",
    "continuation",
    "continuation_token",
    "cursor",
    "next_token",
    "offset",
    "page",
    "page_cursor",
    "page_number",
    "page_token",
    "skip",
    "start",
    "start_cursor",
    "starting_after",
];

/// The arguments of an operation, and its request.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) properties: Map<String, Value>,
    pub(crate) required: BTreeSet<String>,
    taken: BTreeSet<String>,
    /// The path, its places named as the arguments are.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, Node)>,
    pub(crate) headers: Vec<(String, Node)>,
    /// The header that says that a call is the same as one before.
    pub(crate) idempotency: Option<String>,
    /// The parameter that leads through pages.
    pub(crate) pages: Option<String>,
    /// What could not be kept, in words.
    pub(crate) notes: BTreeSet<String>,
}

/// A parameter, read.
struct Parameter<'d> {
    name: &'d str,
    place: &'d str,
    is_required: bool,
    schema: Option<&'d Value>,
    whole: &'d Value,
}

impl Arguments {
    /// Of a path, with the parameters of the path and of the operation: the latter replace the former.
    ///
    /// # Errors
    /// Why the operation cannot be called.
    pub(crate) fn read<'d>(
        document: Document<'d>,
        (path, lists): (&str, [Option<&'d Value>; 2]),
        turner: &mut Turner<'d>,
    ) -> Result<Self, String> {
        let mut all: Vec<Parameter<'d>> = Vec::new();
        for value in lists.into_iter().flatten().filter_map(Value::as_array).flatten() {
            let parameter = Parameter::read(document, value)?;
            all.retain(|known| (known.name, known.place) != (parameter.name, parameter.place));
            all.push(parameter);
        }
        // Those of the path keep their names whatever others are called.
        all.sort_by_key(|parameter| parameter.place != "path");
        let mut arguments = Self { path: path.to_owned(), ..Self::default() };
        // The body's.
        arguments.taken.insert("body".to_owned());
        for parameter in &all {
            arguments.add(document, parameter, turner)?;
        }
        arguments.check_path()?;
        Ok(arguments)
    }

    fn add<'d>(
        &mut self,
        document: Document<'d>,
        parameter: &Parameter<'d>,
        turner: &mut Turner<'d>,
    ) -> Result<(), String> {
        let lower = parameter.name.to_ascii_lowercase();
        match parameter.place {
            "header" if OWN_HEADERS.contains(&lower.as_str()) => return Ok(()),
            "header" if lower.contains("idempotency") => {
                self.idempotency = Some(parameter.name.to_owned());
                return Ok(());
            }
            _ => {}
        }
        match self.place(document, parameter) {
            Ok(()) => {}
            Err(why) if parameter.is_required => return Err(why),
            Err(why) => {
                self.notes.insert(format!("{why}: it is left out"));
                return Ok(());
            }
        }
        let name = self.named(parameter);
        let mut schema = match parameter.schema {
            Some(schema) => turner.turn(schema)?,
            None => json!({}),
        };
        if let (Some(text), Value::Object(map)) =
            (parameter.whole.get("description").and_then(Value::as_str), &mut schema)
            && !map.contains_key("$ref")
        {
            map.entry("description").or_insert_with(|| json!(short(text)));
        }
        if parameter.is_required || parameter.place == "path" {
            self.required.insert(name.clone());
        }
        self.properties.insert(name, schema);
        Ok(())
    }

    /// The name its argument will have; not taken yet.
    fn free_name(&self, parameter: &Parameter<'_>) -> String {
        let own = if parameter.name.starts_with("__") { "op" } else { "" };
        take_free(&format!("{own}{}", parameter.name), &mut self.taken.clone())
    }

    fn named(&mut self, parameter: &Parameter<'_>) -> String {
        let name = self.free_name(parameter);
        self.taken.insert(name.clone());
        name
    }

    /// Where it stands in the request.
    fn place<'d>(
        &mut self,
        document: Document<'d>,
        parameter: &Parameter<'d>,
    ) -> Result<(), String> {
        let name = self.free_name(parameter);
        let own = format!("the {} parameter `{}`", parameter.place, short(parameter.name));
        let shape = Shape::of(document, parameter.schema);
        match parameter.place {
            "path" => {
                if shape != Shape::Single {
                    return Err(format!("{own} is not one value"));
                }
                let place = format!("{{{}}}", parameter.name);
                if !self.path.contains(&place) {
                    return Err(format!("{own} has no place in the path"));
                }
                self.path = self.path.replace(&place, &format!("{{{name}}}"));
            }
            "query" => {
                let words = crate::name::name_of(parameter.name);
                if PAGE_WORDS.contains(&words.as_str()) && self.pages.is_none() {
                    self.pages = Some(name.clone());
                }
                let style = parameter.text("style").unwrap_or("form");
                let explode = parameter.flag("explode").unwrap_or(style == "form");
                let pairs = pairs(
                    document,
                    (parameter.name, &pointer(&[&name])),
                    (parameter.schema, style, explode),
                );
                self.query.extend(pairs.map_err(|why| format!("{own} {why}"))?);
            }
            "header" if shape == Shape::Single => {
                self.headers.push((parameter.name.to_owned(), Node::text(pointer(&[&name]))));
            }
            "header" => return Err(format!("{own} is not one value")),
            "cookie" => return Err(format!("{own} cannot be sent")),
            other => return Err(format!("a parameter in `{}` is not known here", short(other))),
        }
        Ok(())
    }

    /// Every place in the path has its argument.
    fn check_path(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/{}".contains(c);
        let mut fixed = self.path.clone();
        let mut rest = self.path.as_str();
        while let Some((_, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or("its path has a brace too many")?;
            if !self.required.contains(name) {
                return Err(format!("nothing says what `{{{}}}` in its path is", short(name)));
            }
            fixed = fixed.replace(&format!("{{{name}}}"), "_");
            rest = tail;
        }
        let segments = fixed.split('/').any(|part| matches!(part, "." | ".."));
        if !fixed.starts_with('/') || fixed.contains("//") || segments || !fixed.chars().all(plain)
        {
            return Err("its path holds what no connector sends".to_owned());
        }
        Ok(())
    }
}

impl<'d> Parameter<'d> {
    fn read(document: Document<'d>, value: &'d Value) -> Result<Self, String> {
        let whole = document.resolve(value)?;
        let text = |key: &str| whole.get(key).and_then(Value::as_str);
        let (Some(name), Some(place)) = (text("name"), text("in")) else {
            return Err("one of its parameters has no name or no place".to_owned());
        };
        let is_required = whole.get("required").and_then(Value::as_bool).unwrap_or(place == "path");
        Ok(Self { name, place, is_required, schema: whole.get("schema"), whole })
    }

    fn text(&self, key: &str) -> Option<&'d str> {
        self.whole.get(key).and_then(Value::as_str)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.whole.get(key).and_then(Value::as_bool)
    }
}

/// What a value is, as far as its place in a request depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One scalar.
    Single,
    /// A list of scalars.
    List,
    /// Fields with these names.
    Fields(Vec<String>),
    /// Something deeper, or nobody says what.
    Other,
}

/// How deep is looked to find out what a value is.
const SHAPE_DEPTH_MAX: usize = 8;

impl Shape {
    pub(crate) fn of<'d>(document: Document<'d>, schema: Option<&'d Value>) -> Self {
        Self::at(document, schema, 0)
    }

    fn at<'d>(document: Document<'d>, schema: Option<&'d Value>, depth: usize) -> Self {
        if depth > SHAPE_DEPTH_MAX {
            return Self::Other;
        }
        let Some(schema) = schema.and_then(|schema| document.resolve(schema).ok()) else {
            return Self::Other;
        };
        let is = |kind: &str| match schema.get("type") {
            Some(Value::String(one)) => one == kind,
            Some(Value::Array(many)) => many.iter().any(|one| one == kind),
            _ => false,
        };
        if is("array") {
            let items = schema.get("items");
            return match Self::at(document, items, depth + 1) {
                Self::Single => Self::List,
                _ => Self::Other,
            };
        }
        if is("object") || schema.get("properties").is_some() {
            let properties = schema.get("properties").and_then(Value::as_object);
            let names = properties.into_iter().flatten().map(|(name, _)| name.clone()).collect();
            return Self::Fields(names);
        }
        if is("string")
            || is("integer")
            || is("number")
            || is("boolean")
            || schema.get("enum").is_some()
        {
            return Self::Single;
        }
        // Put together from others, it is what those are, where they agree.
        let parts =
            ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)?.as_array());
        let mut shapes: Vec<Self> = parts
            .flatten()
            .filter(|part| !is_null(part))
            .map(|part| Self::at(document, Some(part), depth + 1))
            .collect();
        shapes.dedup();
        match (shapes.pop(), shapes.is_empty()) {
            (Some(shape), true) => shape,
            (None, _) => Self::Single,
            _ => Self::Other,
        }
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// What stands in a query or a form for one value: names, each with a pointer into the arguments.
///
/// # Errors
/// Why it cannot be said, as the end of a sentence.
pub(crate) fn pairs<'d>(
    document: Document<'d>,
    (name, at): (&str, &str),
    (schema, style, explode): (Option<&'d Value>, &str, bool),
) -> Result<Vec<(String, Node)>, String> {
    let one = |node: Node| Ok(vec![(name.to_owned(), node)]);
    let joined =
        |by: &str| Node::Map(vec![("at".into(), Node::text(at)), ("join".into(), Node::text(by))]);
    match (Shape::of(document, schema), style, explode) {
        (Shape::Single, ..) | (Shape::List, "form", true) => one(Node::text(at)),
        (Shape::List, "form", false) => one(joined(",")),
        (Shape::List, "spaceDelimited", _) => one(joined(" ")),
        (Shape::List, "pipeDelimited", _) => one(joined("|")),
        (Shape::Fields(fields), style, explode) if !fields.is_empty() => {
            let named = |field: &String| match (style, explode) {
                ("deepObject", _) => Some(format!("{name}[{field}]")),
                ("form", true) => Some(field.clone()),
                _ => None,
            };
            let pair = |field: &String| {
                Some((named(field)?, Node::text(format!("{at}{}", pointer(&[field])))))
            };
            let all: Option<Vec<_>> = fields.iter().map(pair).collect();
            all.ok_or_else(|| format!("is written in the style `{}`", short(style)))
        }
        _ => Err("is no single value, no list of such and no map of declared fields".to_owned()),
    }
}

/// A JSON pointer to a place.
pub(crate) fn pointer(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}
