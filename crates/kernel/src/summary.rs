//! The one sentence that says what a call does: a template in the operation's manifest, filled from typed
//! arguments, never from a model.
//!
//! `{/pointer}` stands for an argument, `{/amount /currency}` for an amount in minor units with its currency,
//! and what stands in `[…]` is left out when an argument it names is absent or null.

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// As it is written.
    Text(&'t str),
    /// The argument at this pointer.
    Place(&'t str),
    /// Minor units at the first pointer, in the currency at the second.
    Amount(&'t str, &'t str),
    /// Only when every argument it names is there.
    Maybe(Vec<Part<'t>>),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTemplate {
    /// What is wrong.
    pub message: String,
    /// How to write it.
    pub fix: String,
}

/// Reads a template.
///
/// # Errors
/// Says what is wrong with it, and how to write it.
pub fn parse(template: &str) -> Result<Vec<Part<'_>>, BadTemplate> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['[', ']']) {
        let (before, from) = rest.split_at(at);
        places(before, &mut parts)?;
        let inside = from.strip_prefix('[').and_then(|inside| inside.split_once(']'));
        let Some((inside, after)) = inside.filter(|(inside, _)| !inside.contains('[')) else {
            return Err(bad("brackets do not pair", "write parts that may be left out as `[…]`"));
        };
        let mut maybe = Vec::new();
        places(inside, &mut maybe)?;
        parts.push(Part::Maybe(maybe));
        rest = after;
    }
    places(rest, &mut parts)?;
    Ok(parts)
}

/// Every pointer a template names, in order.
#[must_use]
pub fn pointers<'t>(parts: &[Part<'t>]) -> Vec<&'t str> {
    let mut found = Vec::new();
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Place(place) => found.push(*place),
            Part::Amount(amount, currency) => found.extend([*amount, *currency]),
            Part::Maybe(inside) => found.extend(pointers(inside)),
        }
    }
    found
}

fn places<'t>(text: &'t str, parts: &mut Vec<Part<'t>>) -> Result<(), BadTemplate> {
    let unpaired = || bad("braces do not pair", "write places as `{/argument}`");
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, tail) = after.split_once('}').ok_or_else(unpaired)?;
        if before.contains('}') || place.contains('{') {
            return Err(unpaired());
        }
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        let (first, second) = match place.split_once(' ') {
            Some((amount, currency)) => (amount, Some(currency)),
            None => (place, None),
        };
        for one in [Some(first), second].into_iter().flatten() {
            if !one.starts_with('/') || one.contains(' ') {
                let fix = format!("write `{{/{}}}`", one.trim_start_matches('/'));
                return Err(bad(&format!("`{{{one}}}` is no pointer"), &fix));
            }
        }
        parts.push(second.map_or(Part::Place(first), |currency| Part::Amount(first, currency)));
        rest = tail;
    }
    if rest.contains('}') {
        return Err(unpaired());
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(())
}

fn bad(message: &str, fix: &str) -> BadTemplate {
    BadTemplate { message: message.to_owned(), fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Part, parse, pointers};

    #[test]
    fn places_amounts_and_what_may_be_left_out() {
        let parts = parse("Pay {/amount /currency} to {/to}[: {/why}]").unwrap();
        let expected = [
            Part::Text("Pay "),
            Part::Amount("/amount", "/currency"),
            Part::Text(" to "),
            Part::Place("/to"),
            Part::Maybe(vec![Part::Text(": "), Part::Place("/why")]),
        ];
        assert_eq!(parts, expected);
        assert_eq!(pointers(&parts), ["/amount", "/currency", "/to", "/why"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_a_fix() {
        let told = |template: &str| {
            let bad = parse(template).unwrap_err();
            format!("{}; {}", bad.message, bad.fix)
        };
        let braces = "braces do not pair; write places as `{/argument}`";
        let brackets = "brackets do not pair; write parts that may be left out as `[…]`";
        for template in ["{/a", "/a}", "{{/a}}", "[{/a]"] {
            assert_eq!(told(template), braces, "{template}");
        }
        for template in ["[a", "a]", "[a[b]c]"] {
            assert_eq!(told(template), brackets, "{template}");
        }
        assert_eq!(told("{a}"), "`{a}` is no pointer; write `{/a}`");
        assert_eq!(told("{/a b}"), "`{b}` is no pointer; write `{/b}`");
    }
}
