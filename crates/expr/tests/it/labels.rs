use expr::Labelled;
use serde_json::json;

use crate::support::{Sources, World, eval_in};

fn world() -> World {
    World::new(json!({
        "a": {"low": 1, "high": 2, "flag": true, "absent_": 0, "empty": []},
        "list": [{"id": 1, "secret": "s"}, {"id": 2, "secret": "t"}],
        "names": ["x", "y"], "at": 1
    }))
    .mark("a.high", "H")
    .mark("a.flag", "F")
    .mark("a.gone", "G")
    .mark("a.empty", "E")
    .mark("list[].secret", "S")
    .mark("names", "N")
    .mark("at", "A")
}

fn labels(result: &Labelled<Sources>) -> String {
    let show = |label: &Sources| label.0.iter().cloned().collect::<Vec<_>>().join("");
    let mut shown = Vec::new();
    for (pointer, label) in &result.leaves {
        shown.push(format!("{pointer}={}", show(label)));
    }
    shown.join(" ")
}

#[test]
fn leaves_carry_what_they_read_and_no_more() {
    let cases = [
        ("1 + 2", "="),
        ("a.low", "="),
        ("a.high", "=H"),
        ("a.low + a.high", "=H"),
        ("a.empty", "=E"),
        ("{'x': a.low, 'y': a.high, 'z': []}", "/x= /y=H /z="),
        ("{'x': a.low, 'y': a.high}.x", "="),
        ("[a.low, a.high][1]", "=H"),
        ("list[0]", "/id= /secret=S"),
        ("list[0].id", "="),
        ("list[at].id", "=A"),
        ("names[at]", "=AN"),
        ("a", "/absent_= /empty=E /flag=F /high=H /low="),
        ("a.flag ? a.low : a.high", "=F"),
        ("a.flag ? {'x': a.low, 'y': a.high} : {'x': 0, 'y': 0}", "/x=F /y=FH"),
        ("!a.flag", "=F"),
        ("a.flag && a.low == 1", "=F"),
        ("!a.flag && a.high == 1", "=F"),
        ("a.low == 2 && a.high == 1", "="),
        ("a.flag || a.high == 1", "=F"),
        ("a.high == null", "=H"),
        ("has(a.high)", "=H"),
        ("has(a.low)", "="),
        ("has(a.gone)", "=G"),
        ("default(a.gone, a.low)", "=G"),
        ("default(a.low, a.high)", "="),
        ("default(list[at + 5].id, 0)", "=AS"),
        ("size(list)", "=S"),
        ("size([a.low, a.high])", "="),
        ("a.low in [a.high]", "=H"),
        ("'x' in names", "=N"),
        ("list.all(i, i.id > 0)", "=S"),
        ("[1, 2].all(i, i > 0 && a.flag)", "=F"),
        ("[1, 2].filter(i, a.flag)", "/0=F /1=F"),
        ("[1, 2].filter(i, !a.flag)", "=F"),
        ("[a.low, a.high].map(i, i)", "/0= /1=H"),
        ("[a.low, a.high].filter(i, i > 0)", "/0=H /1=H"),
        ("list.map(i, i.id)", "/0=S /1=S"),
        ("names.map(n, 1)", "/0=N /1=N"),
        ("[1].map(x, a.high)", "/0=H"),
        ("[a.low] + names", "/0=N /1=N /2=N"),
        ("keys(a)", "/0=EFGH /1=EFGH /2=EFGH /3=EFGH /4=EFGH"),
        ("keys({'k': a.high})", "/0="),
        ("string(a.high) + 'x'", "=H"),
        ("join(names, '-')", "=N"),
        ("min(a.low, a.high)", "=H"),
        ("sum([a.low, a.high])", "=H"),
        ("round(a.low, a.high)", "=H"),
        ("-a.high", "=H"),
        ("a.flag ? list[0].id : 0", "=F"),
    ];
    for (source, wanted) in cases {
        let result = eval_in(source, &world()).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(labels(&result), wanted, "{source}");
        let joined: Sources =
            Sources(result.leaves.values().flat_map(|l| l.0.iter().cloned()).collect());
        assert_eq!(result.label, joined, "{source}");
    }
}

#[test]
fn pointers_are_escaped() {
    let result = eval_in("{'a/b': {'c~d': 1}}", &world()).unwrap();
    assert_eq!(labels(&result), "/a~1b/c~0d=");
    assert_eq!(result.value.pointer("/a~1b/c~0d"), Some(&json!(1)));
}
