use expr::{Type, Types};
use serde_json::json;

use crate::support::check_in;

fn shown(schema: serde_json::Value) -> String {
    Type::from_schema(&schema).to_string()
}

#[test]
fn schemas_become_types() {
    let cases = [
        (json!({"type": "integer"}), "int"),
        (json!({"type": "number"}), "number"),
        (json!({"type": ["string", "null"]}), "string or null"),
        (json!({"type": "string", "nullable": true}), "string or null"),
        (json!({"enum": ["a", "b"]}), "string"),
        (json!({"type": "string", "enum": ["a", null]}), "string or null"),
        (json!({"const": 1}), "int"),
        (json!({"type": "array", "items": {"type": "boolean"}}), "list(bool)"),
        (json!({"type": "array"}), "list(any)"),
        (json!({"type": "array", "prefixItems": [{}], "items": {"type": "string"}}), "list(any)"),
        (
            json!({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"],
                   "additionalProperties": false}),
            "object{a, b?}",
        ),
        (json!({"type": "object", "properties": {"a": {}}}), "object{a?, …}"),
        (json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}), "int or string"),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "number"),
        (json!({"$ref": "#/$defs/x", "$defs": {"x": {"type": "null"}}}), "null"),
        (json!({"$ref": "#/$defs/y", "$defs": {}}), "any"),
        (json!({"$ref": "https://example.org/s"}), "any"),
        (json!({"$ref": "#"}), "any"),
        (json!({"properties": {"a": {"type": "string"}}}), "any"),
        (json!({"allOf": [{"type": "string"}]}), "any"),
        (json!({"type": "strange"}), "any"),
        (json!({"type": []}), "any"),
        (json!(true), "any"),
        (json!(3), "any"),
    ];
    for (schema, wanted) in cases {
        assert_eq!(shown(schema.clone()), wanted, "{schema}");
    }
}

#[test]
fn recursive_and_exploding_schemas_end() {
    let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {
        "left": {"$ref": "#/$defs/t"}, "right": {"$ref": "#/$defs/t"}, "x": {"type": "integer"}}}}});
    let types = Types::new().with("t", Type::from_schema(&tree));
    let found = check_in("default(t.left.right.left.x, 0)", &types).unwrap();
    assert_eq!(found, Type::Int);
}

#[test]
fn fitting() {
    let read = |schema| Type::from_schema(&schema);
    let order = read(
        json!({"type": "object", "required": ["id", "total"], "additionalProperties": false,
        "properties": {"id": {"type": "string"}, "total": {"type": "number"}, "note": {"type": "string"},
                       "lines": {"type": "array", "items": {"type": "integer"}}}}),
    );
    let given = |fields: &[(&str, Type)]| Type::object(fields.iter().cloned());
    let fine = given(&[("id", Type::String), ("total", Type::Int)]);
    assert!(fine.fits(&order));
    assert!(given(&[("id", Type::Any), ("total", Type::Int)]).fits(&order));
    assert!(Type::Any.fits(&order) && order.fits(&Type::Any));
    assert!(order.fits(&order));
    let cases = [
        (given(&[("id", Type::String)]), "/total", "required, but not given"),
        (given(&[("id", Type::Int), ("total", Type::Int)]), "/id", "expected string, found int"),
        (
            given(&[("id", Type::String), ("total", Type::Int), ("nte", Type::String)]),
            "/nte",
            "unknown field; did you mean `note`?",
        ),
        (
            given(&[
                ("id", Type::String),
                ("total", Type::Int),
                ("lines", Type::list(Type::Number)),
            ]),
            "/lines/*",
            "expected int, found number",
        ),
        (Type::String, "", "expected object"),
        (order.clone().or(Type::Null), "", "found null"),
    ];
    for (ty, pointer, words) in cases {
        let misfit = ty.misfit(&order).unwrap();
        assert_eq!(misfit.pointer, pointer, "{misfit:?}");
        assert!(misfit.message.contains(words), "{misfit:?}");
        assert!(!ty.fits(&order));
    }
    assert!(Type::Bool.fits(&Type::Bool.or(Type::Null)));
    assert!(!Type::Bool.or(Type::Null).fits(&Type::Bool));
    assert!(!Type::Number.fits(&Type::Int) && Type::Int.fits(&Type::Number));
}
