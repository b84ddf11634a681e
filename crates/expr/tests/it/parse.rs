use expr::{Error, Expr, MAX_NESTING, MAX_SOURCE_BYTES, line_column};

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", 0, "expected a value, found the end"),
        ("a.b +", 5, "expected a value, found the end"),
        ("a..b", 2, "expected a field name, found `.`"),
        ("1 2", 2, "expected an operator or the end, found `2`"),
        ("'abc", 0, "no closing '"),
        ("'é' + ü", 7, "unexpected character `ü`"),
        ("a = b", 2, "compare with `==`"),
        ("a & b", 2, "use `&&`"),
        ("a | b", 2, "use `||`"),
        ("(1", 2, "expected `)`, found the end"),
        ("[1, 2", 5, "expected `,`, found the end"),
        ("{a: 1}", 1, "a key in quotes"),
        ("{'a': 1, 'a': 2}", 9, "twice"),
        ("a ? b", 5, "expected `:`"),
        ("if", 0, "reserved word"),
        ("a.in", 2, "a field name"),
        ("siez(a)", 0, "did you mean `size`?"),
        ("a.fliter(x, true)", 2, "did you mean `filter`?"),
        ("size()", 0, "`size` takes 1 argument, found 0"),
        ("a.contains()", 2, "`contains` takes 2 arguments, found 1"),
        ("min()", 0, "`min` takes 1 to 32 arguments"),
        ("has(a)", 4, "`has` takes a field"),
        ("filter(a, b)", 0, "write `list.filter(variable, expression)`"),
        ("a.map(1, x)", 6, "the loop variable is a plain name"),
        ("'\\q'", 1, "unknown escape"),
        ("'\\ud800'", 1, "hexadecimal digits of a character"),
        ("'\\u00é0'", 1, "hexadecimal digits"),
        ("1e", 0, "an exponent needs digits"),
        ("99999999999999999999999999999999", 0, "28 digits"),
        ("0.12345678901234567890123456789", 0, "28 digits"),
        ("\u{0}", 0, "unexpected character `\\0`"),
    ];
    for (source, at, words) in cases {
        let error = Expr::parse(source).unwrap_err();
        assert_eq!(error.code(), "expr.syntax", "{source}: {error}");
        assert_eq!(error.offset(), at, "{source}: {error}");
        assert!(error.to_string().contains(words), "{source}: {error}");
    }
}

#[test]
fn the_rest_of_cel_is_refused_with_what_to_write() {
    let cases = [
        ("a.matches('x')", 2, "no regular expressions"),
        ("timestamp('2020')", 0, "no time in expressions"),
        ("double(1)", 0, "use `number()`"),
        ("b'abc'", 0, "the string prefix `b`"),
        ("r'abc'", 0, "the string prefix `r`"),
        ("'''abc'''", 0, "triple-quoted"),
        ("1u", 0, "suffix or in another base"),
        ("0x1f", 0, "suffix or in another base"),
        ("a.?b", 2, "use `has()` or `default()`"),
        ("Message{a: 1}", 7, "a message"),
        ("1 // two", 2, "a comment"),
        ("l.map(x, x > 1, x)", 2, "other than two arguments"),
    ];
    for (source, at, words) in cases {
        let error = Expr::parse(source).unwrap_err();
        assert_eq!(error.code(), "expr.unsupported", "{source}: {error}");
        assert_eq!(error.offset(), at, "{source}: {error}");
        assert!(error.to_string().contains(words), "{source}: {error}");
    }
}

#[test]
fn size_and_nesting_are_bounded_before_the_stack_is() {
    let deep = MAX_SOURCE_BYTES / 2 - 8;
    let nested = [
        format!("{}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("{}1{}", "[".repeat(deep), "]".repeat(deep)),
        "[".repeat(MAX_SOURCE_BYTES),
        "{'a':".repeat(800),
        format!("{}a", "!".repeat(deep)),
        format!("{}a", "- ".repeat(deep)),
        format!("a{}", ".b".repeat(deep)),
        format!("a{}", "[0]".repeat(1000)),
        format!("{}1", "a?b:".repeat(1000)),
        "a?".repeat(deep),
        format!("1{}", "==1".repeat(1000)),
        "size(".repeat(800),
        format!("a{}", ".lower()".repeat(500)),
    ];
    for source in nested {
        let error = Expr::parse(&source).unwrap_err();
        let shown: String = source.chars().take(12).collect();
        let limit = MAX_NESTING;
        assert!(
            matches!(error, Error::TooLarge { limit: l, .. } if l == limit),
            "{shown}: {error}"
        );
    }
    let long = format!("'{}'", "x".repeat(MAX_SOURCE_BYTES));
    assert!(matches!(Expr::parse(&long), Err(Error::TooLarge { limit: MAX_SOURCE_BYTES, .. })));
}

#[test]
fn flat_chains_are_not_nesting() {
    for source in [
        format!("1{}", " + 1".repeat(500)),
        format!("true{}", " && true".repeat(300)),
        format!("[{}]", "1, ".repeat(1000)),
    ] {
        assert!(Expr::parse(&source).is_ok());
    }
}

#[test]
fn an_offset_becomes_line_and_column() {
    let source = "a &&\n  'é' == ü";
    let error = Expr::parse(source).unwrap_err();
    assert_eq!(line_column(source, error.offset()), (2, 10));
    assert_eq!(line_column(source, 0), (1, 1));
    assert_eq!(line_column(source, 999), (2, 11));
}

#[test]
fn reads_are_static() {
    let cases: [(&str, &[&str]); 8] = [
        ("1 + 2", &[]),
        ("steps.crm.output.id", &["steps.crm.output.id"]),
        ("steps['crm'].output[0].id", &["steps.crm.output"]),
        ("intent.a == intent.b", &["intent.a", "intent.b"]),
        ("run.list.all(x, x.ok && intent.ok)", &["intent.ok", "run.list"]),
        ("run.list[intent.at].name", &["intent.at", "run.list"]),
        ("has(a.b) ? default(a.b.c, d) : [e, {'k': f}]", &["a.b", "a.b.c", "d", "e", "f"]),
        ("l.map(x, l.filter(y, y == x && z))", &["l", "z"]),
    ];
    for (source, wanted) in cases {
        let reads = Expr::parse(source).unwrap().reads();
        let mut shown = Vec::new();
        for read in reads {
            let mut path = vec![read.root];
            path.extend(read.path);
            shown.push(path.join("."));
        }
        assert_eq!(shown, wanted, "{source}");
    }
}

#[test]
fn estimates_multiply_with_nested_loops() {
    let estimate = |source: &str| Expr::parse(source).unwrap().estimate(1000);
    assert!(estimate("a.b > 1 && c") < 100);
    assert!((1_000..50_000).contains(&estimate("l.all(x, x > 1)")));
    assert!(estimate("l.all(x, l.all(y, y > x))") > 1_000_000);
    assert!(estimate("[1, 2].all(x, x > 1)") < 100);
    let wide =
        "l.all(a, l.all(b, l.all(c, l.all(d, l.all(e, l.all(f, l.all(g, l.all(h, true))))))))";
    let expr = Expr::parse(wide).unwrap();
    assert_eq!(expr.estimate(u64::MAX), u64::MAX);
}

#[test]
fn expressions_may_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Expr>();
    shared::<expr::Template>();
}

#[test]
fn the_language_page_names_every_function() {
    let page = include_str!("../../LANGUAGE.md");
    for name in [
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "lower",
        "upper",
        "trim",
        "int",
        "string",
        "number",
        "decimal",
        "min",
        "max",
        "sum",
        "round",
        "join",
        "keys",
        "has",
        "default",
    ] {
        assert!(page.contains(&format!("`{name}(")), "{name}");
        let error = Expr::parse(&format!("{name}()")).unwrap_err();
        assert!(error.to_string().contains("takes"), "{name}: {error}");
    }
}
