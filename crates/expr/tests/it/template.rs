use expr::{Cost, Error, Template, Type};
use serde_json::{Value, json};

use crate::check::types;
use crate::support::World;

fn world() -> World {
    World::new(json!({"intent": {"name": "Ada", "amount": 10.5, "tags": ["a"], "none": null}}))
        .mark("intent.name", "N")
        .mark("intent.tags", "T")
}

fn value(template: Value) -> Result<Value, Error> {
    let parsed = Template::parse(&template)?;
    Ok(parsed.eval(&world(), &mut Cost::default())?.value)
}

#[test]
fn strings_become_values() {
    let cases = [
        (json!("plain"), json!("plain")),
        (json!(1.50), json!(1.50)),
        (json!("${{ intent.tags }}"), json!(["a"])),
        (json!("${{intent.amount + 1}}"), json!(11.5)),
        (json!(" ${{ intent.amount }}"), json!(" 10.5")),
        (json!("Hi ${{ intent.name }}, ${{ 1 + 1 }}${{ true }}!"), json!("Hi Ada, 2true!")),
        (json!("$${{ intent.name }}"), json!("${{ intent.name }}")),
        (json!("$${{ ${{ 1 }}"), json!("${{ 1")),
        (json!("${{ {'a': {'b': '}}'}}}}"), json!({"a": {"b": "}}"}})),
        (json!("${{ '${{' }}"), json!("${{")),
        (json!("}} ${ { $"), json!("}} ${ { $")),
        (json!("é${{ 'ü' }}ß"), json!("éüß")),
        (
            json!({"a": [null, true, "${{ 1 }}", {"b": []}], "c": {}}),
            json!({"a": [null, true, 1, {"b": []}], "c": {}}),
        ),
    ];
    for (template, wanted) in cases {
        assert_eq!(value(template.clone()).unwrap(), wanted, "{template}");
    }
}

#[test]
fn errors_name_the_string_and_the_offset() {
    let cases = [
        (json!({"a/b": ["x", "é ${{ 1 + }}"]}), "/a~1b/1", 11, "expr.syntax"),
        (json!("${{ 1"), "", 5, "expr.syntax"),
        (json!("${{ }}"), "", 4, "expr.syntax"),
        (json!("${{ 1 }"), "", 6, "expr.syntax"),
        (json!({"k": "${{ now() }}"}), "/k", 4, "expr.unsupported"),
        (json!({"${{ a }}": 1}), "/${{ a }}", 0, "expr.unsupported"),
    ];
    for (template, pointer, offset, code) in cases {
        let error = Template::parse(&template).unwrap_err();
        let found = (error.pointer(), error.offset(), error.code());
        assert_eq!(found, (Some(pointer), offset, code), "{template}: {error}");
    }
    let template = json!({"a": "x ${{ intent.name + intent.nope }}"});
    let parsed = Template::parse(&template).unwrap();
    for error in [
        parsed.eval(&world(), &mut Cost::default()).unwrap_err(),
        parsed.check(&types()).unwrap_err(),
    ] {
        assert_eq!((error.pointer(), error.offset()), (Some("/a"), 27), "{error}");
    }
    let error = parsed.eval(&world(), &mut Cost::new(3)).unwrap_err();
    assert_eq!((error.pointer(), error.code()), (Some("/a"), "expr.cost_limit"));
}

#[test]
fn only_scalars_stand_within_text() {
    for template in ["x ${{ intent.tags }}", "x ${{ null }}", "x ${{ {} }}"] {
        let error = value(json!(template)).unwrap_err();
        assert_eq!((error.code(), error.offset()), ("expr.wrong_type", 6), "{template}: {error}");
        let parsed = Template::parse(&json!(template)).unwrap();
        assert_eq!(parsed.check(&types()).unwrap_err().code(), "expr.mismatch", "{template}");
    }
    let nullable = Template::parse(&json!("x ${{ intent.note }}")).unwrap();
    assert_eq!(nullable.check(&types()).unwrap_err().code(), "expr.maybe_null");
}

#[test]
fn templates_are_checked_as_a_whole() {
    let template = json!({"to": "${{ intent.name }}", "n": 3, "l": ["${{ intent.amount }}", 1], "t": "a ${{ 1 }}"});
    let found = Template::parse(&template).unwrap().check(&types()).unwrap();
    let wanted = Type::object([
        ("to", Type::String),
        ("n", Type::Int),
        ("l", Type::list(Type::Number)),
        ("t", Type::String),
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn labels_reads_and_estimates_are_by_pointer() {
    let template = json!({"to": "Dear ${{ intent.name }}", "n": 3, "l": ["${{ intent.tags }}"], "e": {},
                          "c": "${{ 1 + 1 }}"});
    let parsed = Template::parse(&template).unwrap();
    let result = parsed.eval(&world(), &mut Cost::default()).unwrap();
    let of = |pointer: &str| {
        let label = result.leaves.get(pointer).unwrap();
        label.0.iter().cloned().collect::<Vec<_>>().join("")
    };
    assert_eq!((of("/to"), of("/l/0/0")), ("N".to_owned(), "T".to_owned()));
    assert_eq!((of("/n"), of("/e"), of("/c")), Default::default());
    assert_eq!(result.leaves.len(), 5);
    assert_eq!(result.label.0.len(), 2);
    let reads = parsed.reads();
    assert_eq!(reads.keys().collect::<Vec<_>>(), ["/l/0", "/to"]);
    assert_eq!(reads["/to"][0].path, ["name"]);
    assert!(parsed.estimate(10) > 10 && !parsed.is_constant());
    assert!(Template::parse(&json!({"c": "${{ 1 + 1 }}"})).unwrap().is_constant());
}

#[test]
fn depth_and_size_are_bounded() {
    let mut deep = json!("x");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert_eq!(Template::parse(&deep).unwrap_err().code(), "expr.too_large");
    let wide = Value::Array(vec![Value::Null; 20_000]);
    assert_eq!(Template::parse(&wide).unwrap_err().code(), "expr.too_large");
    let long = format!("{}${{{{ 1 }}}}", "x".repeat(50_000));
    assert!(value(json!(long)).is_ok());
}
