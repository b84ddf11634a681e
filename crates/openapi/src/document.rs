//! The document: its version, and what its references lead to.

use serde_json::{Map, Value};

/// Most operations one document may have.
pub const OPERATIONS_MAX: usize = 5_000;

/// References followed from one to the next.
const HOPS_MAX: usize = 16;

/// A document of which no draft can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {fix}")]
pub struct Refused {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl Refused {
    pub(crate) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }
}

/// Which dialect of schemas it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAPI 3.0: `nullable`, bounds that are flags, siblings of a `$ref` mean nothing.
    Three0,
    /// OpenAPI 3.1: JSON Schema 2020-12.
    Three1,
}

/// A document, with its references at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'d> {
    root: &'d Value,
    pub(crate) dialect: Dialect,
}

impl<'d> Document<'d> {
    /// # Errors
    /// When it is no OpenAPI document of a version that is read here, or has too much in it.
    pub(crate) fn new(root: &'d Value) -> Result<Self, Refused> {
        let version = root.get("openapi").and_then(Value::as_str);
        let dialect = match version {
            Some(version) if version == "3.0" || version.starts_with("3.0.") => Dialect::Three0,
            Some(version) if version == "3.1" || version.starts_with("3.1.") => Dialect::Three1,
            Some(version) => {
                let problem = format!("OpenAPI {} is not read here", short(version));
                return Err(Refused::new(problem, "give it as 3.0 or 3.1"));
            }
            None if root.get("swagger").is_some() => {
                let fix = "convert it to OpenAPI 3 first; its vendor may offer that, too";
                return Err(Refused::new("this is Swagger 2.0, not OpenAPI 3", fix));
            }
            None => {
                let fix = "an OpenAPI document begins with `openapi: 3.1.0` or the like";
                return Err(Refused::new("this is no OpenAPI document", fix));
            }
        };
        let document = Self { root, dialect };
        let count = document.paths().map(|(_, item)| methods(item).count()).sum::<usize>();
        if count > OPERATIONS_MAX {
            let problem = format!("it has {count} operations, more than {OPERATIONS_MAX}");
            return Err(Refused::new(problem, "cut it to the paths you need"));
        }
        if count == 0 {
            return Err(Refused::new(
                "it has no operations under `paths`",
                "give the whole document",
            ));
        }
        Ok(document)
    }

    /// A part of the document as a whole.
    pub(crate) fn part(&self, name: &str) -> Option<&'d Value> {
        self.root.get(name)
    }

    /// Its paths in order, with what their references lead to.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&'d str, &'d Map<String, Value>)> {
        let document = *self;
        let paths = self.root.get("paths").and_then(Value::as_object).into_iter().flatten();
        paths.filter_map(move |(path, item)| {
            Some((path.as_str(), document.resolve(item).ok()?.as_object()?))
        })
    }

    /// A text at a pointer, or nothing.
    pub(crate) fn text(&self, pointer: &str) -> &'d str {
        self.root.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// What a value is, references followed.
    ///
    /// # Errors
    /// Why a reference leads nowhere, in words.
    pub(crate) fn resolve(&self, value: &'d Value) -> Result<&'d Value, String> {
        let mut value = value;
        for _ in 0..HOPS_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
                return Ok(value);
            };
            value = self.target(reference)?;
        }
        Err("its references go round in a circle".to_owned())
    }

    /// What a reference leads to.
    ///
    /// # Errors
    /// That it leads out of the document, or nowhere.
    pub(crate) fn target(&self, reference: &str) -> Result<&'d Value, String> {
        let shown = short(reference);
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(format!(
                "it refers to `{shown}` outside of the document: nothing is fetched"
            ));
        };
        let pointer = unescape(pointer);
        self.root.pointer(&pointer).ok_or_else(|| format!("its `$ref` `{shown}` leads nowhere"))
    }
}

/// The methods of a path that a connector can call, in the order of this list, with their operations.
pub(crate) fn methods(
    item: &Map<String, Value>,
) -> impl Iterator<Item = (&'static str, &Map<String, Value>)> {
    const METHODS: [(&str, &str); 5] = [
        ("get", "GET"),
        ("post", "POST"),
        ("put", "PUT"),
        ("patch", "PATCH"),
        ("delete", "DELETE"),
    ];
    METHODS.into_iter().filter_map(|(key, method)| Some((method, item.get(key)?.as_object()?)))
}

/// A pointer as it stands in a fragment: `%7B` is a brace.
fn unescape(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let code = after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Somebody else's text, short enough for a message, on one line.
pub(crate) fn short(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 120;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    match line.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line,
    }
}
