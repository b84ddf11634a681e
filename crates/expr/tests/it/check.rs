use expr::{Expr, Type, Types};
use serde_json::json;

use crate::support::check_in;

pub(crate) fn types() -> Types {
    let read = |schema| Type::from_schema(&schema);
    Types::new()
        .with(
            "intent",
            read(json!({"type": "object", "required": ["amount", "name", "tags", "note", "who"],
                "additionalProperties": false, "properties": {
                "amount": {"type": "number"}, "count": {"type": "integer"}, "name": {"type": "string"},
                "note": {"type": ["string", "null"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "who": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["id"],
                    "properties": {"id": {"type": "string"}, "mail": {"type": "string"}}}]}}})),
        )
        .with(
            "steps",
            read(json!({"type": "object", "required": ["crm"], "additionalProperties": false,
                "properties": {"crm": {"type": "object", "required": ["output"], "properties": {
                "output": {"type": "object", "required": ["items"], "properties": {
                "account": {"type": "object", "required": ["name"],
                            "properties": {"name": {"type": "string"}, "tier": {"type": "string"}}},
                "items": {"type": "array", "items": {"type": "object", "required": ["id"],
                          "properties": {"id": {"type": "integer"}, "qty": {"type": "number"}}}}}}}}}})),
        )
        .with("bag", read(json!({"type": "object", "additionalProperties": {"type": "integer"}})))
        .with("run", Type::Any)
}

#[test]
fn types_of_expressions() {
    let cases = [
        ("1 + 2", "int"),
        ("1 + 0.5", "number"),
        ("1 / 2", "number"),
        ("intent.amount * 2 > 3 && intent.name != ''", "bool"),
        ("intent.tags.map(t, size(t))", "list(int)"),
        ("intent.tags[0] + 'x'", "string"),
        ("[]", "an empty list"),
        ("[1, 'a']", "list(int or string)"),
        ("{'a': 1, 'b': [1]}", "object{a, b}"),
        ("{'a': 1}.a", "int"),
        ("true ? 1 : 'a'", "int or string"),
        ("run.anything.goes", "any"),
        ("run.x + 1", "number"),
        ("run.x + 'a'", "string"),
        ("has(steps.crm.output.account) ? steps.crm.output.account.name : ''", "string"),
        ("has(steps.crm.output.account) && steps.crm.output.account.name == 'x'", "bool"),
        ("!has(steps.crm.output.account) || steps.crm.output.account.name == 'x'", "bool"),
        ("!has(intent.count) ? 0 : intent.count", "int"),
        ("has(steps.crm.output.account.tier) ? steps.crm.output.account.name : ''", "string"),
        ("has(intent.who.mail) && intent.who.mail != ''", "bool"),
        ("default(steps.crm.output.account.tier, 'none')", "string"),
        ("default(intent.count, 'none')", "int or string"),
        ("default(intent.note, '')", "string"),
        ("default(intent.who.id, '')", "string"),
        ("intent.note == null ? 0 : size(intent.note)", "int"),
        ("intent.note != null && intent.note.contains('x')", "bool"),
        ("intent.who != null && intent.who.id == 'x'", "bool"),
        ("steps.crm.output.items.filter(i, has(i.qty) && i.qty > 1).map(i, i.id)", "list(int)"),
        ("sum(steps.crm.output.items.map(i, default(i.qty, 0)))", "number"),
        ("sum(steps.crm.output.items.map(i, i.id))", "int"),
        ("min(1, 2)", "int"),
        ("max([1, 2.5])", "number"),
        ("keys(bag)", "list(string)"),
        ("bag['x' + 'y']", "int"),
        ("default(bag.x, 0)", "int"),
        ("'x' in bag", "bool"),
        ("intent.tags + ['x']", "list(string)"),
        ("intent.note in intent.tags", "bool"),
        ("[].all(x, x.y > 1)", "bool"),
    ];
    for (source, wanted) in cases {
        let found = check_in(source, &types()).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(found.to_string(), wanted, "{source}");
    }
}

#[test]
fn what_would_fail_is_refused() {
    let cases = [
        ("intnet.name", "expr.unknown_variable", 0, "did you mean `intent`?"),
        ("intent.nmae", "expr.unknown_field", 7, "did you mean `name`?"),
        ("steps.crm.output.acount", "expr.unknown_field", 17, "did you mean `account`?"),
        ("steps.crm.zzzzzzzz", "expr.unknown_field", 10, "known: output"),
        ("steps.crm.output.account.name", "expr.maybe_absent", 17, "has(steps.crm.output.account)"),
        ("intent.count + 1", "expr.maybe_absent", 7, "default(intent.count, …)"),
        ("bag.x", "expr.maybe_absent", 4, "may be absent"),
        ("has(intent.count) || intent.count > 1", "expr.maybe_absent", 28, ""),
        ("has(intent.count) ? 1 : intent.count", "expr.maybe_absent", 31, ""),
        ("(has(intent.count) && true) == false && intent.count > 1", "expr.maybe_absent", 47, ""),
        (
            "intent.tags.exists(t, has(intent.count)) && intent.count > 1",
            "expr.maybe_absent",
            51,
            "",
        ),
        ("intent.note + 'x'", "expr.maybe_null", 0, "`intent.note` may be null"),
        ("intent.note.contains('x')", "expr.maybe_null", 0, ""),
        ("intent.who.id", "expr.maybe_null", 0, "`intent.who` may be null"),
        ("intent.note != null || intent.note < 'x'", "expr.maybe_null", 23, ""),
        ("has(intent.note) && intent.note < 'x'", "expr.maybe_null", 20, ""),
        ("intent.name.x", "expr.mismatch", 0, "an object with the field `x`, found string"),
        ("1 + 'a'", "expr.mismatch", 4, "two numbers, two strings"),
        ("'a' - 'b'", "expr.mismatch", 6, "two numbers"),
        ("intent.name == 1", "expr.mismatch", 15, "expected string"),
        ("intent.name < 1", "expr.mismatch", 14, "expected string, found int"),
        ("true < false", "expr.mismatch", 0, "a number or a string"),
        ("intent.name && true", "expr.mismatch", 0, "expected bool, found string"),
        ("!intent.amount", "expr.mismatch", 1, "expected bool"),
        ("-intent.name", "expr.mismatch", 1, "expected number"),
        ("intent.name ? 1 : 2", "expr.mismatch", 0, "expected bool"),
        ("intent.tags['x']", "expr.mismatch", 0, "an object with the field"),
        ("intent.tags[intent.amount]", "expr.mismatch", 12, "an index of type int"),
        ("1 in intent.tags", "expr.mismatch", 0, "expected string, found int"),
        ("'a' in intent.name", "expr.mismatch", 7, "use `contains`"),
        ("intent.name.map(x, x)", "expr.mismatch", 0, "a list"),
        ("intent.tags.all(t, t)", "expr.mismatch", 19, "expected bool"),
        ("intent.tags.map(intent, 1)", "expr.shadowed", 16, "rename the loop variable"),
        ("intent.tags.map(t, intent.tags.map(t, 1))", "expr.shadowed", 35, ""),
        ("intent.tags.map(t, 1) == t", "expr.unknown_variable", 25, ""),
        ("size(1)", "expr.mismatch", 5, "a string, a list or an object"),
        ("join([1], ',')", "expr.mismatch", 5, "expected list(string)"),
        ("sum(intent.tags)", "expr.mismatch", 4, "expected list(number)"),
        ("string(intent.tags)", "expr.mismatch", 7, "a string, a number or a bool"),
        ("round(1, 0.5)", "expr.mismatch", 9, "expected int"),
        ("keys(intent.tags)", "expr.mismatch", 5, "an object"),
    ];
    for (source, code, at, words) in cases {
        let error = match check_in(source, &types()) {
            Err(error) => error,
            Ok(found) => panic!("{source}: {found}"),
        };
        assert_eq!((error.code(), error.offset()), (code, at), "{source}: {error}");
        assert!(error.to_string().contains(words), "{source}: {error}");
    }
}

#[test]
fn every_error_is_told_with_a_next_step_of_its_own() {
    let types = types();
    for text in [
        "",
        "a..b",
        "1 2",
        "'abc",
        "(1",
        "size()",
        "has(a)",
        "map(x)",
        "1e",
        "'\\q'",
        "in",
        "{'a': 1, 'a': 2}",
        "nothing",
        "intent.name == nothing",
        "intent.nmae",
        "intent.name == 1",
        "1 + 'a'",
        "#",
        "a = b",
        "exec(1)",
        "matches('a', 'b')",
        "0.12345678901234567890123456789",
    ] {
        let error = Expr::parse(text).and_then(|expr| expr.check(&types)).unwrap_err();
        let (what, next) = error.told();
        assert!(!what.is_empty() && next.len() > 5 && next != what, "{text}: {what} / {next}");
        assert!(!what.contains("offset") && !next.contains("offset"), "{text}: {what} / {next}");
    }
    let told = Expr::parse("intent.name == nothing").unwrap().check(&types).unwrap_err().told();
    assert!(told.1.ends_with("`'nothing'`"), "{told:?}");
}
