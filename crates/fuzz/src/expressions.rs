//! Expressions: parsed, checked, evaluated.

use expr::{Cost, Env, Expr, Join, Key, Template, Type, Types};
use serde_json::{Value, json};

/// Longest list that an estimate assumes.
const LIST_LEN: u64 = 100;

/// Steps one evaluation may take.
const STEPS_MAX: u64 = 20_000;

/// Which roots were read, as bits.
#[derive(Clone, Debug, PartialEq)]
struct Bits(u8);

impl Join for Bits {
    fn join(&self, other: &Self) -> Self {
        Self(self.0 | other.0)
    }

    fn bottom() -> Self {
        Self(0)
    }
}

struct Roots(Value);

impl Env for Roots {
    type Label = Bits;

    fn value(&self, root: &str) -> Option<&Value> {
        self.0.get(root)
    }

    fn label(&self, root: &str, _: &[Key<'_>]) -> Bits {
        Bits(match root {
            "a" => 1,
            "b" => 2,
            _ => 4,
        })
    }
}

/// A line of source; what follows it is, where it is JSON, the variable `a`.
pub(crate) fn evaluate(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (source, given) = text.split_once('\n').unwrap_or((&text, ""));
    let given = serde_json::from_str(given).unwrap_or_else(|_| {
        json!({"name": "Ana", "n": 7, "list": [1, 2, 3], "people": [{"name": "Jo", "age": 41}],
            "price": 1.5, "when": "2026-11-24T16:00:00Z", "none": null, "yes": true})
    });
    let roots = Roots(json!({"a": given, "b": {"text": "b", "items": ["x", "y"]}}));
    let types = Types::new()
        .with("a", Type::from_schema(&json!({})))
        .with("b", Type::from_schema(&schema()));
    if let Ok(expr) = Expr::parse(source) {
        let _ = (expr.estimate(LIST_LEN), expr.reads(), expr.check(&types));
        let once = expr.eval(&roots, &mut Cost::new(STEPS_MAX));
        let twice = expr.eval(&roots, &mut Cost::new(STEPS_MAX));
        assert_eq!(shown(&once), shown(&twice), "two evaluations differ");
    } else if let Err(error) = Expr::parse(source) {
        assert!(error.offset() <= source.len(), "{error} at {}", error.offset());
    }
    if let Ok(template) = Template::parse(&json!({"it": text, "list": [source]})) {
        let _ = (template.estimate(LIST_LEN), template.reads(), template.is_constant());
        let _ = template.check(&types);
        let _ = template.eval(&roots, &mut Cost::new(STEPS_MAX));
    }
}

fn schema() -> Value {
    json!({"type": "object", "required": ["text", "items"], "additionalProperties": false,
        "properties": {"text": {"type": "string"},
            "items": {"type": "array", "items": {"type": "string"}}}})
}

fn shown(result: &impl std::fmt::Debug) -> String {
    format!("{result:?}")
}
