//! What an expression compares with what.

use expr::{Expr, Side, Template};
use serde_json::json;

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

#[test]
fn both_sides_are_named_wherever_they_stand() {
    let source = "size(a.list) > 0 && a.list.exists(x, x.role == 'champion') && a.list[0].n <= -3 \
                  ? int(b.text) == c.n : b.kind in ['p', 'q']";
    let found = Expr::parse(source).unwrap().compares();
    let literal = |value| Side::Literal(value);
    let expected = [
        (Side::Size(path("a.list")), literal(json!(0))),
        (Side::Path(path("a.list.*.role")), literal(json!("champion"))),
        (Side::Path(path("a.list.*.n")), literal(json!(-3))),
        (Side::Path(path("b.text")), Side::Path(path("c.n"))),
        (Side::Path(path("b.text")), Side::Number),
        (Side::Path(path("b.kind")), literal(json!("p"))),
        (Side::Path(path("b.kind")), literal(json!("q"))),
    ];
    assert_eq!(found, expected);
}

#[test]
fn templates_say_it_for_every_string() {
    let template = Template::parse(&json!({"a": "${{ x.y == 'z' }}", "b": ["${{ number(w.v) }}"]}));
    let found = template.unwrap().compares();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], (Side::Path(path("w.v")), Side::Number));
}
