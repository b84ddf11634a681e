//! The functions of the language: one line each here, one arm each in the checker and the evaluator.

use std::ops::RangeInclusive;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Lower,
    Upper,
    Trim,
    Int,
    Text,
    Number,
    Least,
    Greatest,
    Sum,
    Round,
    Join,
    Keys,
}

/// Most arguments of one call.
const MAX_ARGUMENTS: usize = 32;

/// Name, function, how many arguments. A call may be written `f(x, …)` or `x.f(…)`.
pub(crate) const FUNCTIONS: &[(&str, Function, RangeInclusive<usize>)] = &[
    ("size", Function::Size, 1..=1),
    ("contains", Function::Contains, 2..=2),
    ("startsWith", Function::StartsWith, 2..=2),
    ("endsWith", Function::EndsWith, 2..=2),
    ("lower", Function::Lower, 1..=1),
    ("upper", Function::Upper, 1..=1),
    ("trim", Function::Trim, 1..=1),
    ("int", Function::Int, 1..=1),
    ("string", Function::Text, 1..=1),
    ("number", Function::Number, 1..=1),
    ("decimal", Function::Number, 1..=1),
    ("min", Function::Least, 1..=MAX_ARGUMENTS),
    ("max", Function::Greatest, 1..=MAX_ARGUMENTS),
    ("sum", Function::Sum, 1..=1),
    ("round", Function::Round, 2..=2),
    ("join", Function::Join, 2..=2),
    ("keys", Function::Keys, 1..=1),
];

/// Functions of CEL that are left out, with what to write instead.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("matches", "use `contains`, `startsWith` or `endsWith`; there are no regular expressions"),
    ("double", "use `number()`, which is an exact decimal"),
    ("uint", "use `int()`"),
    ("bool", "compare with `== 'true'`"),
    ("bytes", "use strings"),
    ("type", "types are checked when the pack loads"),
    ("dyn", "leave it out"),
    ("timestamp", "there is no time in expressions; let a step compute it"),
    ("duration", "there is no time in expressions; let a step compute it"),
    ("now", "there is no clock in expressions; let a step read it"),
    ("lowerAscii", "use `lower()`"),
    ("upperAscii", "use `upper()`"),
    ("existsOne", "use `exists_one()`"),
];

/// Names which the grammar itself gives a meaning.
pub(crate) const SPECIAL: &[&str] =
    &["has", "default", "all", "exists", "exists_one", "filter", "map"];

/// Words that CEL reserves and no variable may be called.
pub(crate) const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];
