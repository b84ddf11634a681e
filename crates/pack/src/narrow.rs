//! What a step's `when` proves about what the step reads: `a.b != null` and `has(a.b)`, joined by `&&`.

use expr::{Object, Presence, Type};

/// The dotted paths that a condition proves to be there and not null. Conservative: a condition with
/// `||` or `?` at its top proves nothing.
pub(crate) fn proven_paths(when: &str) -> Vec<Vec<&str>> {
    conjuncts(when).into_iter().filter_map(proven).collect()
}

fn proven(conjunct: &str) -> Option<Vec<&str>> {
    let conjunct = conjunct.trim();
    let not_null =
        conjunct.strip_suffix("null").and_then(|rest| rest.trim_end().strip_suffix("!="));
    let has = || conjunct.strip_prefix("has(").and_then(|rest| rest.strip_suffix(')'));
    let path: Vec<&str> = not_null.or_else(has)?.trim().split('.').collect();
    let named = |part: &&str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    path.iter().all(named).then_some(path)
}

/// The parts between `&&` at the top level.
fn conjuncts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quote, mut escaped) = (0, 0_usize, None, false);
    for (at, c) in text.char_indices() {
        if let Some(open) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == open => quote = None,
                _ => {}
            }
            continue;
        }
        match c {
            '\'' | '"' => quote = Some(c),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' | '|' if depth == 0 => return Vec::new(),
            '&' if depth == 0 && text.get(at..).is_some_and(|rest| rest.starts_with("&&")) => {
                parts.extend(text.get(start..at));
                start = at + 2;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

/// The type once the part at `path` is known to be there and not null.
pub(crate) fn refine(ty: &Type, path: &[&str]) -> Type {
    let alternatives = match ty {
        Type::Union(alternatives) => alternatives.as_slice(),
        one => std::slice::from_ref(one),
    };
    let sure = alternatives.iter().filter(|one| **one != Type::Null).map(|one| match (one, path) {
        (Type::Object(object), [name, rest @ ..]) => refine_field(object, name, rest),
        (one, _) => one.clone(),
    });
    sure.reduce(Type::or).unwrap_or(Type::Any)
}

fn refine_field(object: &Object, name: &str, rest: &[&str]) -> Type {
    let mut object = object.clone();
    if let Some(field) = object.fields.get_mut(name) {
        field.ty = refine(&field.ty, rest);
        field.presence = Presence::Required;
    }
    Type::from(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surely_holds_is_proven() {
        let one = vec![vec!["a", "b"]];
        assert_eq!(proven_paths("a.b != null"), one);
        assert_eq!(proven_paths("x == 'y && z' && a.b != null"), one);
        assert_eq!(proven_paths("has(a.b) && size(a.b) > 0"), one);
        for nothing in [
            "a.b == null",
            "!(x && a.b != null)",
            "x || a.b != null",
            "x ? a.b != null : y",
            "a.b != null || x",
            "a[0] != null",
            "'a.b != null'",
        ] {
            assert_eq!(proven_paths(nothing), Vec::<Vec<&str>>::new(), "{nothing}");
        }
    }

    #[test]
    fn null_and_absence_are_taken_away_along_the_path() {
        let inner = Type::object([("b", Type::Int.or(Type::Null))]).or(Type::Null);
        let refined = refine(&inner, &["b"]);
        assert_eq!(refined, Type::object([("b", Type::Int)]));
        assert_eq!(refine(&Type::Any, &["b"]), Type::Any);
    }
}
