//! Random texts, random expressions, random values.

use expr::{Cost, Env, Error, Expr, Key, Labelled, Template, Type, Types};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{Sources, World};

/// A small stream of choices from one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// The schema of the one root `d`; `h…` fields are high in the non-interference test.
fn schema() -> Value {
    let person = |extra: &str| {
        json!({"type": "object", "additionalProperties": false, "required": ["i", "hs"],
            "properties": {"i": {"type": "integer"}, "hs": {"type": "string"},
                           extra: {"type": ["number", "null"]}}})
    };
    json!({"type": "object", "additionalProperties": false,
        "required": ["i", "n", "b", "s", "hb", "hi", "li", "ho", "hl", "z"], "properties": {
        "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
        "s": {"type": "string"}, "z": {"type": ["integer", "null"]}, "opt": {"type": "integer"},
        "hopt": {"type": "integer"}, "hb": {"type": "boolean"}, "hi": {"type": "integer"},
        "li": {"type": "array", "items": {"type": "integer"}},
        "lo": {"type": "array", "items": person("hz")},
        "ho": person("z"), "hl": {"type": "array", "items": {"type": "integer"}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}}}})
}

fn is_high(name: &str) -> bool {
    name.starts_with('h')
}

/// A value of the schema. High parts are rolled with their own dice, so that two values may differ
/// in these alone; whether an optional field is there is as high as the field.
fn value_of(schema: &Value, low: &mut Dice, high: &mut Dice) -> Value {
    match &schema["type"] {
        Value::Array(types) => {
            let ty = types[low.below(types.len())].clone();
            value_of(&json!({ "type": ty }), low, high)
        }
        Value::String(ty) => match ty.as_str() {
            "null" => Value::Null,
            "boolean" => json!(low.below(2) == 0),
            "integer" => match low.below(12) {
                0 => json!(i64::MAX),
                1 => json!(2.0),
                roll => json!(i64::try_from(roll).unwrap() - 4),
            },
            "number" => {
                [json!(0.1), json!(-2), json!(1e20), json!(2.50), json!(0)][low.below(5)].clone()
            }
            "string" => json!(low.pick(&["", "a", "é", "b c", "12"])),
            "array" => {
                let count = low.below(4);
                Value::Array((0..count).map(|_| value_of(&schema["items"], low, high)).collect())
            }
            "object" => object_of(schema, low, high),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

fn object_of(schema: &Value, low: &mut Dice, high: &mut Dice) -> Value {
    let mut object = Map::new();
    let none = Map::new();
    for (name, field) in schema["properties"].as_object().unwrap_or(&none) {
        let required = schema["required"].as_array().is_some_and(|r| r.contains(&json!(name)));
        let mut own = Dice(high.below(1 << 30) as u64);
        let dice = if is_high(name) { &mut own } else { &mut *low };
        if !required && dice.below(2) == 0 {
            continue;
        }
        let mut inner = Dice(high.below(1 << 30) as u64);
        object.insert(name.clone(), value_of(field, dice, &mut inner));
    }
    if !schema["additionalProperties"].is_boolean() {
        for name in ["k", "l"] {
            if low.below(2) == 0 {
                object.insert(name.into(), value_of(&schema["additionalProperties"], low, high));
            }
        }
    }
    Value::Object(object)
}

/// Source of a random expression, most often of the type wanted: b, i, n, s, li, lo, o.
fn source(
    dice: &mut Dice,
    want: &str,
    depth: usize,
    vars: &mut Vec<(String, &'static str)>,
) -> String {
    let want = if dice.below(40) == 0 { dice.pick(&["b", "i", "n", "s", "li"]) } else { want };
    let named: Vec<String> =
        vars.iter().filter(|(_, ty)| *ty == want).map(|(name, _)| name.clone()).collect();
    if !named.is_empty() && dice.below(3) == 0 {
        return named[dice.below(named.len())].clone();
    }
    if depth == 0 {
        return leaf(dice, want);
    }
    let mut sub = |dice: &mut Dice, want: &str| source(dice, want, depth - 1, vars);
    match (want, dice.below(10)) {
        ("b", 0) => format!("({} && {})", sub(dice, "b"), sub(dice, "b")),
        ("b", 1) => format!("({} || {})", sub(dice, "b"), sub(dice, "b")),
        ("b", 2) => format!("!{}", sub(dice, "b")),
        ("b", 3) => format!("({} < {})", sub(dice, "n"), sub(dice, "i")),
        ("b", 4) => {
            let ty = dice.pick(&["i", "s", "li", "lo", "o", "b"]);
            format!("({} == {})", sub(dice, ty), sub(dice, ty))
        }
        ("b", 5) => format!("({} in {})", sub(dice, "i"), sub(dice, "li")),
        ("b", 6) => format!("{}.contains({})", sub(dice, "s"), sub(dice, "s")),
        ("b", 7) => each(dice, "li", "b", (depth, vars)),
        ("b", 8) => each(dice, "lo", "b", (depth, vars)),
        ("i", 0) => format!("({} + {})", sub(dice, "i"), sub(dice, "i")),
        ("i", 1) => format!("({} - {})", sub(dice, "i"), sub(dice, "i")),
        ("i", 2) => format!("size({})", sub(dice, "s")),
        ("i", 3) => format!("size({})", sub(dice, "lo")),
        ("i", 4) => format!("{}[{}]", sub(dice, "li"), dice.below(3)),
        ("i", 5) => format!("default({}[{}], {})", sub(dice, "li"), sub(dice, "i"), sub(dice, "i")),
        ("i", 6) => format!("{}.i", sub(dice, "o")),
        ("i", 7) => format!("sum({})", sub(dice, "li")),
        ("i", 8) => guarded(dice),
        ("n", 0) => format!("({} * {})", sub(dice, "n"), sub(dice, "n")),
        ("n", 1) => format!("({} / {})", sub(dice, "i"), sub(dice, "n")),
        ("n", 2) => format!("round({}, 1)", sub(dice, "n")),
        ("n", 3) => format!("max({}, {})", sub(dice, "i"), sub(dice, "n")),
        ("n", 4) => format!("default({}.z, {})", sub(dice, "o"), sub(dice, "i")),
        ("s", 0) => format!("({} + {})", sub(dice, "s"), sub(dice, "s")),
        ("s", 1) => format!("string({})", sub(dice, "n")),
        ("s", 2) => format!("{}.upper()", sub(dice, "s")),
        ("s", 3) => format!("{}.hs", sub(dice, "o")),
        ("s", 4) => format!("join(keys({}), ',')", sub(dice, "o")),
        ("li", 0 | 1) => each(dice, "li", "li", (depth, vars)),
        ("li", 2) => format!("[{}, {}]", sub(dice, "i"), sub(dice, "i")),
        ("li", 3) => format!("({} + {})", sub(dice, "li"), sub(dice, "li")),
        ("li", 4) => each(dice, "lo", "li", (depth, vars)),
        ("lo", 0) => each(dice, "lo", "lo", (depth, vars)),
        ("lo", 1) => format!("[{}]", sub(dice, "o")),
        ("o", 0) => format!(
            "{{'i': {}, 'hs': {}, 'z': {}}}",
            sub(dice, "i"),
            sub(dice, "s"),
            sub(dice, "n")
        ),
        ("o", 1) => format!("{}[0]", sub(dice, "lo")),
        (want, 9) => format!("({} ? {} : {})", sub(dice, "b"), sub(dice, want), sub(dice, want)),
        (want, _) => leaf(dice, want),
    }
}

fn leaf(dice: &mut Dice, want: &str) -> String {
    match want {
        "b" => {
            dice.pick(&["true", "false", "d.b", "d.hb", "has(d.opt)", "has(d.hopt)", "d.z == null"])
        }
        "i" => {
            dice.pick(&["0", "1", "-7", "d.i", "d.hi", "d.li[0]", "d.ho.i", "default(d.hopt, 5)"])
        }
        "n" => dice.pick(&["0.5", "d.n", "d.i", "d.hi", "default(d.z, 0)", "default(d.ho.z, 1)"]),
        "s" => dice.pick(&["'a'", "''", "d.s", "d.ho.hs"]),
        "li" => dice.pick(&["[]", "[1, 2]", "d.li", "d.hl"]),
        "lo" => dice.pick(&["[]", "default(d.lo, [])", "[d.ho]"]),
        _ => dice.pick(&["d.ho", "{'i': 1, 'hs': 'x', 'z': 2}", "d"]),
    }
    .to_owned()
}

/// Reads of what may be absent or null, behind conditions that do or do not prove it.
fn guarded(dice: &mut Dice) -> String {
    dice.pick(&[
        "(has(d.opt) ? d.opt : 0)",
        "(!has(d.hopt) ? 1 : d.hopt)",
        "(d.z != null && d.b ? d.z : 3)",
        "(d.z == null || d.hb ? 2 : d.z)",
        "(d.b || has(d.opt) ? d.opt : 0)",
        "(d.z == null ? d.z : 3)",
        "(has(d.opt) ? 0 : d.opt)",
        "default(d.m.k, d.hi)",
        "(has(d.m.k) ? d.m.k : 0)",
        "size(default(d.m, {}))",
    ])
    .to_owned()
}

fn each(
    dice: &mut Dice,
    list: &str,
    want: &str,
    (depth, vars): (usize, &mut Vec<(String, &'static str)>),
) -> String {
    let range = source(dice, list, depth - 1, vars);
    let name = format!("v{}", vars.len());
    vars.push((name.clone(), if list == "li" { "i" } else { "o" }));
    let (verb, body) = match want {
        "b" => (dice.pick(&["all", "exists", "exists_one"]), "b"),
        _ if want == list && dice.below(2) == 0 => ("filter", "b"),
        "lo" => ("map", "o"),
        _ => ("map", "i"),
    };
    let body = source(dice, body, depth - 1, vars);
    vars.pop();
    format!("{range}.{verb}({name}, {body})")
}

/// Any path with an `h…` field on its way or below it is high.
struct TwoLevels(World);

impl Env for TwoLevels {
    type Label = Sources;

    fn value(&self, root: &str) -> Option<&Value> {
        self.0.value(root)
    }

    fn label(&self, root: &str, path: &[Key<'_>]) -> Sources {
        let names: Vec<&str> = path
            .iter()
            .filter_map(|key| match key {
                Key::Field(name) => Some(*name),
                Key::Index(_) => None,
            })
            .collect();
        let above = names.iter().any(|name| is_high(name));
        // What holds high fields: the root, and the persons in `lo` as a whole or one by one.
        let below = root == "d" && matches!(names.as_slice(), [] | ["lo"]);
        Sources((above || below).then(|| "H".to_owned()).into_iter().collect())
    }
}

fn is_low(label: &Sources) -> bool {
    label.0.is_empty()
}

/// Every low leaf of `one` is in `other`, low and equal.
fn low_leaves_agree(one: &Labelled<Sources>, other: &Labelled<Sources>) -> Result<(), String> {
    for (pointer, label) in &one.leaves {
        if !is_low(label) {
            continue;
        }
        let same = one.value.pointer(pointer) == other.value.pointer(pointer);
        let low = other.leaves.get(pointer).is_some_and(is_low);
        if !same || !low {
            return Err(format!("{pointer}: {} and {}", one.value, other.value));
        }
    }
    Ok(())
}

fn random_expr(seed: u64) -> String {
    let mut dice = Dice(seed);
    let want = dice.pick(&["b", "i", "n", "s", "li", "lo", "o"]);
    source(&mut dice, want, 4, &mut Vec::new())
}

fn world_of(low: u64, high: u64) -> World {
    let value = value_of(&schema(), &mut Dice(low), &mut Dice(high));
    World::new(json!({ "d": value }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_parses_or_fails_within_itself(text in "\\PC{0,60}") {
        if let Err(error) = Expr::parse(&text) {
            prop_assert!(error.offset() <= text.len(), "{error}");
            prop_assert!(text.is_char_boundary(error.offset()), "{error}");
        }
        let _ = Template::parse(&json!(text));
        let _ = Template::parse(&json!(format!("a ${{{{ {text}")));
    }

    #[test]
    fn any_tokens_parse_or_fail_within_themselves(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "a", "b", ".", "(", ")", "[", "]", "{", "}", "'x'", "'", "1", "0.5", "1e9", "+", "-", "*", "/",
            "%", "!", "?", ":", "&&", "||", "==", "<", " in ", "map", "filter", "has", "default", ",", "\\",
            "é", "null", "}}", "${{", "$", "size", "x,",
        ]), 0..24),
    ) {
        let text = tokens.concat();
        let world = World::new(json!({"a": {"b": [1, "x", {"a": null}]}, "b": [[1]]}));
        let types = Types::new().with("a", Type::Any).with("b", Type::list(Type::list(Type::Int)));
        match Expr::parse(&text) {
            Ok(expr) => {
                let _ = expr.check(&types);
                let _ = expr.eval(&world, &mut Cost::default());
                prop_assert_eq!(Expr::parse(expr.source()).map(|e| e.reads()), Ok(expr.reads()));
            }
            Err(error) => prop_assert!(text.is_char_boundary(error.offset()), "{}", error),
        }
        let _ = Template::parse(&json!(text));
    }

    #[test]
    fn every_evaluation_ends_near_its_limit(seed: u64, values: u64, limit in 0_u64..2_000) {
        let expr = Expr::parse(&random_expr(seed)).unwrap();
        let mut cost = Cost::new(limit);
        let result = expr.eval(&world_of(values, values), &mut cost);
        let stopped = matches!(result, Err(Error::CostLimit { .. }));
        prop_assert_eq!(stopped, cost.spent() > limit);
    }
}

#[test]
fn what_is_well_typed_does_not_fail_by_type() {
    let types = Types::new().with("d", Type::from_schema(&schema()));
    let (mut checked, mut ended) = (0, 0);
    for seed in 0..4_000_u64 {
        let text = random_expr(seed);
        let expr = Expr::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let Ok(ty) = expr.check(&types) else {
            continue;
        };
        checked += 1;
        for round in 0..3 {
            let world = world_of(seed * 7 + round, seed * 11 + round);
            match expr.eval(&world, &mut Cost::default()) {
                Ok(result) => {
                    ended += 1;
                    let found = Type::from_schema(&json!({ "const": result.value }));
                    assert!(found.fits(&ty), "{text}: {found} is not {ty}");
                }
                Err(
                    Error::Arithmetic { .. } | Error::NoElement { .. } | Error::CostLimit { .. },
                ) => {}
                Err(error) => panic!("{text}: {error}\n{:?}", world.roots),
            }
        }
    }
    assert!(checked > 1_500 && ended > 2_000, "too few to tell: {checked} {ended}");
}

#[test]
fn high_values_do_not_change_low_results() {
    let (mut compared, mut low) = (0, 0);
    for seed in 0..4_000_u64 {
        let text = random_expr(seed);
        let expr = Expr::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        for round in 0..3 {
            let eval = |high: u64| {
                let world = TwoLevels(world_of(seed * 7 + round, high));
                let result = expr.eval(&world, &mut Cost::default());
                (world, result)
            };
            let (one_world, one) = eval(seed * 13 + round);
            let (other_world, other) = eval(seed * 17 + round + 1);
            let (Ok(one), Ok(other)) = (one, other) else {
                continue;
            };
            compared += 1;
            let shown = || format!("{text}\n{:?}\n{:?}", one_world.0.roots, other_world.0.roots);
            low += usize::from(is_low(&one.label));
            if is_low(&one.label) || is_low(&other.label) {
                assert_eq!(one.value, other.value, "{}", shown());
            }
            if let Err(error) = low_leaves_agree(&one, &other) {
                panic!("{error}\n{}", shown());
            }
        }
    }
    assert!(compared > 4_000 && low > 800, "too few to tell: {compared} {low}");
}
