//! Everything that can be wrong with an expression, when it is parsed, checked or evaluated.

/// Why an expression was refused or failed. `at` is a byte offset into the expression's source.
///
/// Messages hold names from the source and the schema, never a value that was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not an expression.
    #[error("{message} (at offset {at})")]
    Syntax {
        /// Byte offset.
        at: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// The text may be CEL, but not of the subset of this crate.
    #[error("{what} is not supported in expressions (at offset {at}): {instead}")]
    Unsupported {
        /// Byte offset.
        at: usize,
        /// The construct.
        what: String,
        /// What to write in its place.
        instead: String,
    },
    /// A size limit of the language.
    #[error("{what} is over the limit of {limit} (at offset {at}); split it or make it smaller")]
    TooLarge {
        /// Byte offset.
        at: usize,
        /// What is too large, with its unit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A root variable or loop variable that does not exist here.
    #[error("unknown variable `{name}` (at offset {at}){hint}")]
    UnknownVariable {
        /// Byte offset.
        at: usize,
        /// The name as written.
        name: String,
        /// Empty, or `; did you mean …`.
        hint: String,
    },
    /// A field that the schema does not declare.
    #[error("unknown field `{name}` of `{of}` (at offset {at}){hint}")]
    UnknownField {
        /// Byte offset of the name.
        at: usize,
        /// The name as written.
        name: String,
        /// The expression it was read from.
        of: String,
        /// Empty, or `; did you mean …`, or what is known.
        hint: String,
    },
    /// A field that may be absent is read without a guard.
    #[error(
        "`{path}` may be absent (at offset {at}); guard it with `has({path}) && …` or `has({path}) ? … : …`, or write `default({path}, …)`"
    )]
    MaybeAbsent {
        /// Byte offset of the field name.
        at: usize,
        /// The expression.
        path: String,
    },
    /// A value that may be null is used as if it could not.
    #[error(
        "`{path}` may be null (at offset {at}); guard it with `{path} != null && …` or write `default({path}, …)`"
    )]
    MaybeNull {
        /// Byte offset.
        at: usize,
        /// The expression.
        path: String,
    },
    /// The checker found a type where another is needed.
    #[error("expected {expected}, found {found} (at offset {at})")]
    Mismatch {
        /// Byte offset.
        at: usize,
        /// What is needed here.
        expected: String,
        /// What the expression gives.
        found: String,
    },
    /// A loop variable takes the name of a variable already in scope.
    #[error("`{name}` is already a variable (at offset {at}); rename the loop variable")]
    Shadowed {
        /// Byte offset of the loop variable.
        at: usize,
        /// The name.
        name: String,
    },
    /// A value was of another type than the one needed, while evaluating.
    #[error(
        "expected {expected}, the value is {found} (at offset {at}); check the schema of its source"
    )]
    WrongType {
        /// Byte offset.
        at: usize,
        /// What is needed.
        expected: String,
        /// The kind of the value.
        found: &'static str,
    },
    /// A field was not there while evaluating.
    #[error("no field `{name}` (at offset {at}); use `has()` or `default()` if it may be absent")]
    Missing {
        /// Byte offset of the name.
        at: usize,
        /// The name as written.
        name: String,
    },
    /// A list index out of range, a computed key that is not there, or the least of an empty list.
    #[error("no such element (at offset {at}); check `size()` first or use `default()`")]
    NoElement {
        /// Byte offset.
        at: usize,
    },
    /// Arithmetic without a result.
    #[error("{reason} (at offset {at})")]
    Arithmetic {
        /// Byte offset.
        at: usize,
        /// What went wrong, with a next step.
        reason: &'static str,
    },
    /// A text that cannot be read as the number asked for.
    #[error("the text is not {wanted} (at offset {at}); check its source")]
    Convert {
        /// Byte offset.
        at: usize,
        /// The kind of number.
        wanted: &'static str,
    },
    /// The evaluation spent more than it may.
    #[error(
        "the expression costs more than its limit of {limit} steps (at offset {at}); walk shorter lists or nest fewer loops"
    )]
    CostLimit {
        /// Byte offset of the step that was one too many.
        at: usize,
        /// The limit, in steps.
        limit: u64,
    },
    /// An error in a string of a template.
    #[error("at `{pointer}`, offset {offset}: {source}")]
    InTemplate {
        /// JSON pointer of the string within the template.
        pointer: String,
        /// Byte offset within that string.
        offset: usize,
        /// What is wrong; its own offset counts from the start of the expression.
        source: Box<Error>,
    },
}

impl Error {
    /// Byte offset: within the string for an error in a template, else within the expression.
    pub fn offset(&self) -> usize {
        match self {
            Error::Syntax { at, .. }
            | Error::Unsupported { at, .. }
            | Error::TooLarge { at, .. }
            | Error::UnknownVariable { at, .. }
            | Error::UnknownField { at, .. }
            | Error::MaybeAbsent { at, .. }
            | Error::MaybeNull { at, .. }
            | Error::Mismatch { at, .. }
            | Error::Shadowed { at, .. }
            | Error::WrongType { at, .. }
            | Error::Missing { at, .. }
            | Error::NoElement { at }
            | Error::Arithmetic { at, .. }
            | Error::Convert { at, .. }
            | Error::CostLimit { at, .. } => *at,
            Error::InTemplate { offset, .. } => *offset,
        }
    }

    /// JSON pointer within the template, for an error in a template.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Error::InTemplate { pointer, .. } => Some(pointer),
            _ => None,
        }
    }

    /// Stable code of the kind of error, for programs. A template gives the code of its cause.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Syntax { .. } => "expr.syntax",
            Error::Unsupported { .. } => "expr.unsupported",
            Error::TooLarge { .. } => "expr.too_large",
            Error::UnknownVariable { .. } => "expr.unknown_variable",
            Error::UnknownField { .. } => "expr.unknown_field",
            Error::MaybeAbsent { .. } => "expr.maybe_absent",
            Error::MaybeNull { .. } => "expr.maybe_null",
            Error::Mismatch { .. } => "expr.mismatch",
            Error::Shadowed { .. } => "expr.shadowed",
            Error::WrongType { .. } => "expr.wrong_type",
            Error::Missing { .. } => "expr.missing",
            Error::NoElement { .. } => "expr.no_element",
            Error::Arithmetic { .. } => "expr.arithmetic",
            Error::Convert { .. } => "expr.convert",
            Error::CostLimit { .. } => "expr.cost_limit",
            Error::InTemplate { source, .. } => source.code(),
        }
    }

    /// The message in two parts, without the offset: what is wrong, and what to do about it. Neither is
    /// empty, so that whoever shows them has a next step for every error.
    pub fn told(&self) -> (String, String) {
        if let Error::InTemplate { source, .. } = self {
            return source.told();
        }
        let message = self.to_string();
        let (what, rest) = message.rsplit_once(" (at offset ").unwrap_or((&message, ""));
        let next = rest.split_once(')').map_or("", |(_, next)| next);
        let next = next.trim_start_matches([';', ':', ' ']);
        let (what, next) = match what.rsplit_once("; ") {
            Some((what, instead)) if next.is_empty() => (what, instead),
            _ => (what, next),
        };
        let next = match self {
            // A bare word was often meant as text.
            Error::UnknownVariable { name, .. } if !next.starts_with("did you mean") => {
                let known = if next.is_empty() { "no variable is known here" } else { next };
                format!("{known}; a word that is meant as text stands in quotes: `'{name}'`")
            }
            _ if !next.is_empty() => next.to_owned(),
            other => other.advice().to_owned(),
        };
        (what.to_owned(), next)
    }

    /// What to do where the message itself does not say it.
    fn advice(&self) -> &'static str {
        match self {
            Error::Mismatch { .. } => {
                "use what has that type, or convert with `string()`, `int()` or `number()`"
            }
            Error::UnknownField { .. } => "it has no fields here; leave the name out",
            _ => "write one whole expression, such as `a.b == 'text'`",
        }
    }

    /// This error as one in the string at `pointer`, whose expression starts at `base`.
    pub(crate) fn in_template(self, pointer: &str, base: usize) -> Error {
        Error::InTemplate {
            pointer: pointer.to_owned(),
            offset: base.saturating_add(self.offset()),
            source: Box::new(self),
        }
    }
}

/// Line and column (both from 1, the column in characters) of a byte offset in `source`.
pub fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let mut line = 1;
    let mut column = 1;
    for (at, character) in source.char_indices() {
        if at >= offset {
            break;
        }
        if character == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    (line, column)
}

/// `; did you mean …` for the known name nearest to `name`, what is known if nothing is near.
pub(crate) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    /// Names listed when none is near.
    const MAX_LISTED: usize = 12;
    let known: Vec<&str> = known.collect();
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((distance, candidate)) if distance <= 1 + name.chars().count() / 3 => {
            format!("; did you mean `{candidate}`?")
        }
        Some(_) => {
            let listed: Vec<&str> = known.iter().take(MAX_LISTED).copied().collect();
            let more = if known.len() > MAX_LISTED { ", …" } else { "" };
            format!("; known: {}{more}", listed.join(", "))
        }
        None => String::new(),
    }
}
