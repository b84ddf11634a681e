use expr::{Cost, Error, Expr, MAX_LIST};
use serde_json::{Value, json};

use crate::support::{World, eval_in};

fn world() -> World {
    World::new(json!({
        "intent": {"amount": 10.5, "name": "Ünal", "note": null, "tags": ["a", "b"], "flag": true},
        "steps": {"crm": {"output": {"items": [
            {"id": 1, "price": 0.1, "qty": 3}, {"id": 2, "price": 2, "qty": 0}
        ], "empty": []}}},
        "big": 9223372036854775807_i64, "huge": 1e300, "whole": 2.0, "map": {"b": 1, "a": 2}
    }))
}

#[test]
fn values() {
    let cases: &[(&str, Value)] = &[
        ("0.1 + 0.2 == 0.3", json!(true)),
        ("0.1 + 0.2", json!(0.3)),
        ("1 / 2", json!(0.5)),
        ("6 / 2", json!(3)),
        ("int(7 / 2)", json!(3)),
        ("int(-7 / 2)", json!(-3)),
        ("7 % 3", json!(1)),
        ("-7 % 3", json!(-1)),
        ("2 + 3 * 4 - 1", json!(13)),
        ("(2 + 3) * 4", json!(20)),
        ("10 - 3 - 2", json!(5)),
        ("-(-3)", json!(3)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("2 == 2.0 && whole == 2", json!(true)),
        ("string(2.50)", json!("2.5")),
        ("string(whole)", json!("2")),
        ("1e3", json!(1000)),
        ("big", json!(i64::MAX)),
        ("big * 1.0 == big", json!(true)),
        ("huge", json!(1e300)),
        ("intent.amount * 2", json!(21)),
        ("intent.name + '!'", json!("Ünal!")),
        ("size(intent.name)", json!(4)),
        ("intent.name.upper()", json!("ÜNAL")),
        ("lower('ÀB') == 'àb'", json!(true)),
        ("trim('  x ')", json!("x")),
        ("'\\u00e9\\n\\'' == \"é\\n'\"", json!(true)),
        ("'abc'.contains('bc') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", json!(true)),
        ("'a' < 'b' && !('b' <= 'a') && 2 >= 2 && 3 > 2", json!(true)),
        ("1 == 1 ? 'y' : 'n'", json!("y")),
        ("false ? 1 : true ? 2 : 3", json!(2)),
        ("false && 1 / 0 == 1", json!(false)),
        ("true || 1 / 0 == 1", json!(true)),
        ("intent.tags[1]", json!("b")),
        ("intent['name']", json!("Ünal")),
        ("map[intent.tags[0]]", json!(2)),
        ("'a' in intent.tags && 'a' in map && !('z' in map) && 2.0 in [1, 2]", json!(true)),
        ("has(intent.name) && !has(intent.nope) && has(intent.note)", json!(true)),
        ("has(intent.note.deep.deeper)", json!(false)),
        ("default(intent.nope, 3)", json!(3)),
        ("default(intent.note, 'none')", json!("none")),
        ("default(intent.tags[7], 'none')", json!("none")),
        ("default(intent.nope.deeper[0].x, 1)", json!(1)),
        ("default(intent.name, 1 / 0)", json!("Ünal")),
        ("int('42') + int(1.9) + number('0.5')", json!(43.5)),
        ("decimal(' 1e2 ')", json!(100)),
        ("string(true) + string(1) + string('x')", json!("true1x")),
        ("min(3, 1.5, 2)", json!(1.5)),
        ("max([1, 5, 2])", json!(5)),
        ("sum([])", json!(0)),
        ("sum(steps.crm.output.items.map(i, i.price * i.qty))", json!(0.3)),
        ("round(2.5, 0)", json!(3)),
        ("round(-2.5, 0)", json!(-3)),
        ("round(10 / 3, 2)", json!(3.33)),
        ("join(intent.tags, ', ')", json!("a, b")),
        ("keys(map)", json!(["a", "b"])),
        ("keys({'z': 1, 'y': 2})", json!(["y", "z"])),
        ("[1, 'a', null, [true]]", json!([1, "a", null, [true]])),
        ("{'a': {'b': intent.tags}}.a.b[0]", json!("a")),
        (
            "{'k': 1} == {'k': 1.0} && [1, [2]] == [1, [2.0]] && map == {'a': 2, 'b': 1}",
            json!(true),
        ),
        ("[1] == [1, 2] || {'a': 1} == {'b': 1} || 1 == '1'", json!(false)),
        ("null == intent.note && intent.name != null", json!(true)),
        ("[1] + [2, 3]", json!([1, 2, 3])),
        ("steps.crm.output.items.filter(i, i.qty > 0).map(i, i.id)", json!([1])),
        ("steps.crm.output.items.exists(i, i.id == 2)", json!(true)),
        ("steps.crm.output.items.all(i, i.id == 2)", json!(false)),
        ("[1, 2, 1].exists_one(x, x == 1)", json!(false)),
        ("[1, 2, 1].exists_one(x, x == 2)", json!(true)),
        ("[[1, 2], [3]].map(l, l.map(x, x + size(l)))", json!([[3, 4], [4]])),
        ("steps.crm.output.empty", json!([])),
        ("size(map) + size([1]) + size(steps.crm.output.items)", json!(5)),
    ];
    for (source, wanted) in cases {
        let result = eval_in(source, &world()).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(result.value, *wanted, "{source}");
    }
}

#[test]
fn failures_have_a_kind_and_a_place() {
    let cases = [
        ("1 + 1 / 0", "expr.arithmetic", 8),
        ("1 % 0", "expr.arithmetic", 4),
        ("big + 1", "expr.arithmetic", 6),
        ("-(big) - 2", "expr.arithmetic", 9),
        ("huge + 1", "expr.arithmetic", 0),
        ("79228162514264337593543950335 + 1", "expr.arithmetic", 32),
        ("12345678901234567.89 + 0", "expr.arithmetic", 0),
        ("int(1e20)", "expr.arithmetic", 4),
        ("round(1, 29)", "expr.arithmetic", 9),
        ("round(1, 0.5)", "expr.arithmetic", 9),
        ("int('1.5')", "expr.convert", 4),
        ("number('1_000')", "expr.convert", 7),
        ("number('')", "expr.convert", 7),
        ("nope", "expr.unknown_variable", 0),
        ("intent.nope", "expr.missing", 7),
        ("intent.note.x", "expr.missing", 12),
        ("intent.tags[2]", "expr.no_element", 12),
        ("intent.tags[0 - 1]", "expr.no_element", 12),
        ("min([])", "expr.no_element", 0),
        ("intent.name.x", "expr.wrong_type", 0),
        ("1 + 'a'", "expr.wrong_type", 4),
        ("'a' + 1", "expr.wrong_type", 6),
        ("1 && true", "expr.wrong_type", 0),
        ("1 < 'a'", "expr.wrong_type", 4),
        ("[1].map(x, x.y)", "expr.wrong_type", 11),
        ("join([1], '')", "expr.wrong_type", 5),
        ("'a' in 'abc'", "expr.wrong_type", 7),
    ];
    for (source, code, at) in cases {
        let error = eval_in(source, &world()).unwrap_err();
        assert_eq!((error.code(), error.offset()), (code, at), "{source}: {error}");
    }
}

#[test]
fn errors_never_quote_values() {
    let secret = World::new(json!({"a": "hunter2", "m": {}, "l": []}));
    for source in ["int(a)", "a + 1", "m[a]", "l[a]", "a.b", "a && true"] {
        let error = eval_in(source, &secret).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{source}: {error}");
    }
}

#[test]
fn cost_stops_an_evaluation_and_names_its_limit() {
    let list: Vec<u32> = (0..1000).collect();
    let world = World::new(json!({"l": list, "s": "x".repeat(1000)}));
    for source in [
        "l.all(a, l.all(b, l.all(c, a + b + c >= 0)))",
        "l.map(a, l)",
        "l.map(a, s + s)",
        "l.all(a, l == l)",
        "l.map(a, join(l.map(b, s), s))",
        "l.all(a, s.contains('y') || s.upper() == s || l.all(b, b in l))",
    ] {
        let expr = Expr::parse(source).unwrap();
        let mut cost = Cost::new(20_000);
        let error = expr.eval(&world, &mut cost).unwrap_err();
        assert!(matches!(error, Error::CostLimit { limit: 20_000, .. }), "{source}: {error}");
        assert!(error.to_string().contains("20000"), "{error}");
        assert!(cost.spent() < 20_000 + 11_000, "{source}: {}", cost.spent());
    }
}

#[test]
fn equal_inputs_cost_the_same() {
    let expr = Expr::parse("steps.crm.output.items.map(i, i.price * i.qty)").unwrap();
    let mut first = Cost::default();
    let mut second = Cost::default();
    expr.eval(&world(), &mut first).unwrap();
    expr.eval(&world(), &mut second).unwrap();
    assert_eq!(first, second);
    assert!(first.spent() <= expr.estimate(2), "{} {}", first.spent(), expr.estimate(2));
}

#[test]
fn long_lists_are_not_walked() {
    let list: Vec<u32> = vec![0; MAX_LIST + 1];
    let world = World::new(json!({ "l": list }));
    for source in ["l.all(x, true)", "sum(l)", "l + [1]", "0 in l"] {
        let error = eval_in(source, &world).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: MAX_LIST, .. }), "{source}: {error}");
    }
    assert_eq!(eval_in("size(l)", &world).unwrap().value, json!(MAX_LIST + 1));
    assert_eq!(eval_in("l", &world).unwrap().leaves.len(), MAX_LIST + 1);
}

#[test]
fn the_deepest_expressions_fit_the_stack_of_a_thread() {
    let nest = |open: &str, inner: &str, close: &str| {
        let text = |n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
        let deepest = (1..64).rev().map(text).find(|t| Expr::parse(t).is_ok());
        deepest.unwrap_or_else(|| panic!("{open}"))
    };
    let nested = [
        nest("[", "1", "]"),
        nest("(", "1", ")"),
        nest("!", "true", ""),
        nest("true ? ", "1", " : 0"),
        nest("size([", "1", "])"),
        nest("{'a': ", "1", "}.a"),
        nest("[1 + ", "1", "][0]"),
        nest("default(intent.x, ", "1", ")"),
    ];
    let types = expr::Types::new().with("intent", expr::Type::Any);
    for text in nested {
        let expr = Expr::parse(&text).unwrap();
        assert!(text.len() > 30, "{text}");
        expr.check(&types).unwrap_or_else(|e| panic!("{text}: {e}"));
        eval_in(&text, &world()).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    let mut loops = "true".to_owned();
    for depth in (0..28).rev() {
        loops = format!("[1].all(v{depth}, {loops})");
    }
    assert_eq!(eval_in(&loops, &world()).unwrap().value, json!(true));
}
