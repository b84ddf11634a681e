//! The keywords of JSON Schema: which there are, which one a pointer into a schema leads to, what each wants.

/// Keywords a pack may use. Only references into the same document: nothing is ever fetched.
pub(crate) const KEYWORDS: [&str; 47] = [
    "$comment",
    "$defs",
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "default",
    "definitions",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "then",
    "title",
    "type",
];
/// As [`KEYWORDS`], the rest.
pub(crate) const MORE_KEYWORDS: [&str; 6] = [
    "readOnly",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
    // Says that a client of MCP repeats the argument in a header; checks nothing of the value.
    "x-mcp-header",
];

/// Keywords whose value is a map from names to schemas.
pub(crate) const MAPS: [&str; 5] =
    ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
/// Keywords whose value is a schema or a list of schemas.
pub(crate) const NESTED: [&str; 14] = [
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// The keyword that the place at a pointer into a schema belongs to; the schema as a whole when to none.
pub(crate) fn keyword_at(pointer: &str) -> &str {
    let mut segments = pointer.split('/').skip(1).peekable();
    let mut keyword = "the schema";
    while let Some(segment) = segments.next() {
        keyword = segment;
        if MAPS.contains(&segment) {
            // The name that a schema stands under.
            let _name = segments.next();
        } else if NESTED.contains(&segment) {
            let _index = segments.next_if(|next| next.chars().all(|c| c.is_ascii_digit()));
        } else {
            break;
        }
    }
    keyword
}

/// What to write for a keyword.
pub(crate) fn advice(keyword: &str) -> &'static str {
    match keyword {
        "required" => "write a list of names: `required: [one, another]`",
        "dependentRequired" => "write a map from names to lists of names",
        "pattern" | "patternProperties" => {
            "write a regular expression without look-around and back-references"
        }
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
        | "minContains" | "maxContains" => "write a whole number from 0",
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => "write a number",
        "multipleOf" => "write a number that is more than 0",
        "enum" | "examples" => "write a list of values",
        "type" => "write one type, or a list of different ones",
        "format" => "write one of JSON Schema, such as `date`, `date-time`, `email`, `uri`, `uuid`",
        "uniqueItems" | "deprecated" | "readOnly" | "writeOnly" => "write `true` or `false`",
        "title" | "description" | "$comment" | "$schema" | "contentEncoding"
        | "contentMediaType" => "write text",
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => "write a list of schemas, one at least",
        map if MAPS.contains(&map) => "write a map from names to schemas",
        nested if NESTED.contains(&nested) => "write one schema: a map, `true` or `false`",
        _ => "see json-schema.org, 2020-12, for what may stand here",
    }
}
