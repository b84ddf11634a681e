//! What to do about a refusal of Cedar's own: it names what is wrong, and seldom the next step.

use cedar_policy::ffi::DetailedError;

/// A whole rule, to hold the written one against.
const FORM: &str =
    "a rule reads `@id(\"a.name\") permit (principal, action, resource) when { … };`";

/// Beginnings of Cedar's messages, and what to do.
const KNOWN: &[(&str, &str)] = &[
    ("duplicate annotation", "keep one of the two"),
    ("invalid policy effect", "begin the rule with `permit` or `forbid`"),
    (
        "unable to find an applicable action",
        "no operation has such a principal and such a resource: compare the two with what the operation is declared for",
    ),
    (
        "`when` condition clause cannot be empty",
        "write a condition between the braces, or leave the clause out",
    ),
    (
        "`unless` condition clause cannot be empty",
        "write a condition between the braces, or leave the clause out",
    ),
    ("invalid token", "take this character out, or close the quotes before it"),
];

/// Cedar's own help, else what it expected to read here, else what is known about its message.
pub(crate) fn advice(error: &DetailedError) -> String {
    if let Some(help) = &error.help {
        return help.clone();
    }
    let expected = error.source_locations.iter().find_map(|place| place.label.as_deref());
    if let Some(expected) = expected.and_then(|label| label.strip_prefix("expected ")) {
        return format!("write {expected} here; {FORM}");
    }
    if let Some((_, what)) = KNOWN.iter().find(|(start, _)| error.message.starts_with(start)) {
        return (*what).to_owned();
    }
    let types =
        error.message.split_once("expected ").and_then(|(_, rest)| rest.split_once(" but "));
    match types {
        Some((wanted, _)) => format!("put {wanted} here, or compare with what has the same type"),
        None => FORM.to_owned(),
    }
}
