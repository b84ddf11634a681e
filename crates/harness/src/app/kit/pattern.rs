//! Texts that a regular expression matches.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::dice::Dice;

/// Most turns of a repetition beyond the fewest it asks for.
const TURNS_MORE_MAX: u32 = 3;

/// Characters tried first, so that texts look like something people write.
const USUAL: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// A text that the pattern matches; `None` when it is no regular expression.
pub(super) fn text_of(pattern: &str, dice: Dice) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    write(&hir, dice, &mut text);
    Some(text)
}

fn write(hir: &Hir, dice: Dice, text: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => text.extend(one_of(class, dice)),
        HirKind::Capture(capture) => write(&capture.sub, dice, text),
        HirKind::Concat(parts) => {
            for (index, part) in parts.iter().enumerate() {
                write(part, dice.at(&index.to_string()), text);
            }
        }
        HirKind::Alternation(ways) => {
            if let Some(way) = dice.pick(ways) {
                write(way, dice.at("way"), text);
            }
        }
        HirKind::Repetition(repetition) => {
            let spare = repetition.max.map_or(TURNS_MORE_MAX, |max| max - repetition.min);
            let more = dice.below(u64::from(spare.min(TURNS_MORE_MAX)) + 1);
            for turn in 0..u64::from(repetition.min) + more {
                write(&repetition.sub, dice.at(&turn.to_string()), text);
            }
        }
    }
}

fn one_of(class: &Class, dice: Dice) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.ranges().iter().map(|r| (r.start(), r.end())).collect(),
        Class::Bytes(class) => {
            class.ranges().iter().map(|r| (char::from(r.start()), char::from(r.end()))).collect()
        }
    };
    let holds = |c: &char| ranges.iter().any(|(from, to)| from <= c && c <= to);
    let usual: Vec<char> = USUAL.chars().filter(holds).collect();
    dice.pick(&usual).copied().or_else(|| ranges.first().map(|(from, _)| *from))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernel::port::Validate as _;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_made_matches() {
        let patterns = [
            "^ACC-[0-9]{4}$",
            "^in_[0-9]{6}_[0-9]{1,3}$",
            "^-?[0-9]+(\\.[0-9]+)?$",
            "^(open|closed)-[^a-zA-Z0-9]+\\d*$",
            "x",
        ];
        for pattern in patterns {
            let schema = Arc::new(json!({"type": "string", "pattern": pattern}));
            for seed in 0..50 {
                let text = text_of(pattern, Dice::new(seed)).unwrap();
                let violation = pack::Schemas::new().violation(&schema, &Value::from(&*text));
                assert_eq!(violation, None, "{pattern}: {text}");
            }
        }
        assert_eq!(text_of("(", Dice::new(1)), None);
    }
}
