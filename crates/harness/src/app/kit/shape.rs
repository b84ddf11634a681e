//! Believable values of a JSON Schema: the same for the same seed and place, and different from seed to
//! seed where a schema leaves room.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use kernel::port::Validate;
use pack::Schemas;
use serde_json::{Map, Value, json};

use super::{
    dice::{Chance, Dice},
    hints::{Candidate, Hints, Source, plain_name},
    names, pattern,
};

/// Deepest nesting of a value that is made up.
const DEPTH_MAX: usize = 16;
/// Most items of a list, unless its schema wants more.
const ITEMS_MAX: u64 = 3;
/// How often an optional field is there, in a hundred varied values.
const OPTIONAL_PERCENT: u64 = 80;
/// How often a value is null where it may be.
const NULL_PERCENT: u64 = 25;
/// How often a varied value is one of the candidates that are known for it.
const KNOWN_PERCENT: u64 = 75;
/// Words of examples tried for one text.
const WORDS_MAX: usize = 64;

/// Checks values against schemas that are made up on the way, each compiled once.
#[derive(Debug, Default)]
pub(super) struct Fit {
    schemas: Schemas,
    known: Mutex<HashMap<String, Arc<Value>>>,
}

impl Fit {
    /// Whether a value is one of a schema.
    pub(super) fn fits(&self, schema: &Value, value: &Value) -> bool {
        let key = schema.to_string();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.entry(key).or_insert_with(|| Arc::new(schema.clone()));
        let kept = Arc::clone(kept);
        drop(known);
        self.schemas.violation(&kept, value).is_none()
    }
}

/// How far values may stray from the plainest ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taste {
    /// One of everything, nothing absent.
    Plain,
    /// Lists of several lengths, absent fields, unusual numbers.
    Varied,
}

/// Makes values of one schema.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    /// The whole schema: what `$ref` refers to.
    pub(super) root: &'a Value,
    pub(super) source: Source,
    pub(super) hints: &'a Hints,
    pub(super) fit: &'a Fit,
    /// The intent's inputs, once there are some.
    pub(super) inputs: &'a Value,
    /// Values that fields of these names repeat, by plain name.
    pub(super) echoes: &'a BTreeMap<String, Value>,
    /// A list that holds at most one item.
    pub(super) single: Option<&'a str>,
    pub(super) taste: Taste,
}

/// Where in the value the maker is.
#[derive(Clone, Debug)]
struct Spot {
    /// Pointer with `*` for any index.
    pattern: String,
    name: String,
    dice: Dice,
    depth: usize,
}

impl Spot {
    fn field(&self, name: &str) -> Self {
        Self {
            pattern: format!("{}/{}", self.pattern, kernel::pointer::escape(name)),
            name: name.to_owned(),
            dice: self.dice.at(name),
            depth: self.depth + 1,
        }
    }

    fn item(&self, index: u64) -> Self {
        Self {
            pattern: format!("{}/*", self.pattern),
            name: self.name.clone(),
            dice: self.dice.at(&format!("[{index}]")),
            depth: self.depth + 1,
        }
    }
}

impl Maker<'_> {
    /// A value of the whole schema.
    pub(super) fn value(&self, dice: Dice) -> Value {
        let spot = Spot { pattern: String::new(), name: String::new(), dice, depth: 0 };
        self.make(self.root, &spot)
    }

    fn make(&self, schema: &Value, spot: &Spot) -> Value {
        let schema = self.resolve(schema);
        let Value::Object(map) = &schema else { return Value::Null };
        if spot.depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(value) = self.known(&schema, spot) {
            return value;
        }
        if let Some(value) = map.get("const") {
            return value.clone();
        }
        if let Some(options) = map.get("enum").and_then(Value::as_array) {
            return self.one_of(options, spot);
        }
        let examples = map.get("examples").and_then(Value::as_array).filter(|e| !e.is_empty());
        if let Some(examples) = examples {
            return self.one_of(examples, spot);
        }
        for ways in ["oneOf", "anyOf"] {
            if let Some(ways) = map.get(ways).and_then(Value::as_array) {
                let way = self.pick(ways, spot).cloned().unwrap_or_default();
                return self.make(&merged(map, &[ways_key(map), ""], &way), spot);
            }
        }
        self.of_type(&self.type_of(map, spot), map, spot)
    }

    fn of_type(&self, name: &str, map: &Map<String, Value>, spot: &Spot) -> Value {
        match name {
            "object" => self.object(map, spot),
            "array" => self.array(map, spot),
            "string" => Value::String(self.text(map, spot)),
            "integer" => Value::from(self.integer(map, spot)),
            "number" => self.number(map, spot),
            "boolean" => Value::Bool(spot.dice.at("bool").below(2) == 0),
            _ => Value::Null,
        }
    }

    /// Follows references and folds `allOf` in.
    fn resolve(&self, schema: &Value) -> Value {
        let mut schema = schema.clone();
        for _ in 0..DEPTH_MAX {
            let target = schema.get("$ref").and_then(Value::as_str);
            let target = target.and_then(|text| text.strip_prefix('#'));
            match target.and_then(|pointer| self.root.pointer(pointer)) {
                Some(next) => schema = next.clone(),
                None => break,
            }
        }
        let parts = schema.get("allOf").and_then(Value::as_array).cloned();
        if let (Some(parts), Some(map)) = (parts, schema.as_object().cloned()) {
            let parts = parts.iter().map(|part| self.resolve(part));
            return parts.fold(Value::Object(map), |whole, part| match whole {
                Value::Object(map) => merged(&map, &["allOf", ""], &part),
                other => other,
            });
        }
        schema
    }

    /// What is known about this place, where it fits the place's own schema.
    fn known(&self, schema: &Value, spot: &Spot) -> Option<Value> {
        let place = (self.source.clone(), spot.pattern.clone());
        let candidates = self.hints.candidates(&place, &spot.name);
        let learnt = |candidate: &Candidate| matches!(candidate, Candidate::Fits(_));
        let taken = |echo: &&Value| {
            let mut asked = candidates.iter().filter(|candidate| learnt(candidate)).peekable();
            let fits = |candidate: &Candidate| match candidate {
                Candidate::Fits(other) => self.fit.fits(other, echo),
                Candidate::Literal(_) | Candidate::Input(_) => false,
            };
            self.fit.fits(schema, echo) && (asked.peek().is_none() || asked.any(fits))
        };
        if let Some(echo) = self.echo(spot).filter(taken) {
            return Some(echo.clone());
        }
        let nothing = Hints::default();
        let of = |candidate: &Candidate| match candidate {
            Candidate::Literal(value) => Some(value.clone()),
            Candidate::Input(pointer) => self.inputs.pointer(pointer).cloned(),
            Candidate::Fits(other) => {
                let both = match schema {
                    Value::Object(map) => merged(map, &["", ""], other),
                    _ => (**other).clone(),
                };
                let inner = Maker { source: self.source.clone(), hints: &nothing, ..*self };
                Some(inner.make(&both, spot))
            }
        };
        let words = self.words(schema).into_iter().map(Value::String);
        let values = candidates.iter().filter_map(of).chain(words);
        let values: Vec<Value> = values.filter(|value| self.fit.fits(schema, value)).collect();
        match self.taste {
            Taste::Plain => values.into_iter().next(),
            Taste::Varied if spot.dice.at("known").happens(KNOWN_PERCENT) == Chance::Yes => {
                spot.dice.at("which").pick(&values).cloned()
            }
            Taste::Varied => None,
        }
    }

    /// The argument that this field repeats. A bare `id` names what is asked about, not what a list of
    /// other things holds.
    fn echo(&self, spot: &Spot) -> Option<&Value> {
        let name = plain_name(&spot.name);
        let stands = !name.is_empty() && (name != "id" || spot.depth == 1);
        self.echoes.get(&name).filter(|_| stands)
    }

    /// Words of the examples that a patterned input may be.
    fn words(&self, schema: &Value) -> Vec<String> {
        let wanted = self.source == Source::Input && schema.get("pattern").is_some();
        let words = self.hints.words().take(if wanted { WORDS_MAX } else { 0 });
        words.cloned().collect()
    }

    fn pick<'v>(&self, options: &'v [Value], spot: &Spot) -> Option<&'v Value> {
        match self.taste {
            Taste::Plain => options.first(),
            Taste::Varied => spot.dice.at("pick").pick(options),
        }
    }

    fn one_of(&self, options: &[Value], spot: &Spot) -> Value {
        self.pick(options, spot).cloned().unwrap_or_default()
    }

    fn type_of(&self, map: &Map<String, Value>, spot: &Spot) -> String {
        let guess = || {
            let says = |key: &str| map.contains_key(key);
            if says("properties") || says("required") {
                "object"
            } else if says("items") {
                "array"
            } else if says("pattern") || says("format") || says("minLength") || says("maxLength") {
                "string"
            } else if says("minimum") || says("maximum") {
                "integer"
            } else {
                "null"
            }
        };
        match map.get("type") {
            Some(Value::String(name)) => name.clone(),
            Some(Value::Array(names)) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                let null = names.contains(&"null") && self.taste == Taste::Varied;
                if null && spot.dice.at("null").happens(NULL_PERCENT) == Chance::Yes {
                    return "null".to_owned();
                }
                let rest: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
                let chosen = match self.taste {
                    Taste::Plain => rest.first(),
                    Taste::Varied => spot.dice.at("type").pick(&rest),
                };
                chosen.map_or_else(|| "null".to_owned(), |name| (*name).to_owned())
            }
            _ => guess().to_owned(),
        }
    }

    fn object(&self, map: &Map<String, Value>, spot: &Spot) -> Value {
        let required: Vec<&str> = map
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut made = Map::new();
        for (name, schema) in map.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let field = spot.field(name);
            let there = required.contains(&name.as_str())
                || self.taste == Taste::Plain
                || field.dice.at("there").happens(OPTIONAL_PERCENT) == Chance::Yes;
            if there {
                made.insert(name.clone(), self.make(schema, &field));
            }
        }
        for name in required {
            made.entry(name.to_owned()).or_insert_with(|| Value::String(names::plain_text(name)));
        }
        Value::Object(made)
    }

    fn array(&self, map: &Map<String, Value>, spot: &Spot) -> Value {
        let bound = |key: &str| map.get(key).and_then(Value::as_u64);
        let least = bound("minItems").unwrap_or_default();
        let single = self.single.is_some_and(|at| at == spot.pattern);
        let most = bound("maxItems").unwrap_or(u64::MAX).min(if single { 1 } else { u64::MAX });
        let count = match self.taste {
            Taste::Plain => 1,
            Taste::Varied => match spot.dice.at("count").below(20) {
                0..3 => 0,
                3..14 => 1,
                n => n % ITEMS_MAX + 1,
            },
        };
        let items = map.get("items").cloned().unwrap_or_else(|| json!({}));
        let count = count.max(least).min(most.max(least));
        (0..count).map(|index| self.make(&items, &spot.item(index))).collect()
    }

    fn text(&self, map: &Map<String, Value>, spot: &Spot) -> String {
        let word = |key: &str| map.get(key).and_then(Value::as_str);
        if let Some(text) = word("pattern").and_then(|p| pattern::text_of(p, spot.dice.at("text")))
        {
            return text;
        }
        if let Some(format) = word("format") {
            return names::of_format(format, spot.dice);
        }
        let bound = |key: &str| map.get(key).and_then(Value::as_u64);
        let mut text = names::of_field(&spot.name, spot.dice);
        let least = bound("minLength").and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        let most = bound("maxLength").and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        while text.chars().count() < least {
            text.push('x');
        }
        text.chars().take(most).collect()
    }

    fn integer(&self, map: &Map<String, Value>, spot: &Spot) -> i64 {
        let bound = |key: &str| map.get(key).and_then(Value::as_f64);
        let whole = |number: f64| number as i64;
        let least = bound("minimum").map(|n| whole(n.ceil()));
        let above = bound("exclusiveMinimum").map(|n| whole(n.floor()).saturating_add(1));
        let most = bound("maximum").map(|n| whole(n.floor()));
        let below = bound("exclusiveMaximum").map(|n| whole(n.ceil()).saturating_sub(1));
        let least = least.into_iter().chain(above).max();
        let most = most.into_iter().chain(below).min();
        let usual = names::number_of(&spot.name, spot.dice, self.taste);
        let low = least.unwrap_or(i64::MIN);
        let high = most.unwrap_or(i64::MAX).max(low);
        let number = usual.clamp(low, high);
        let multiple = map.get("multipleOf").and_then(Value::as_i64).filter(|n| *n > 0);
        multiple.map_or(number, |n| {
            let up = number.saturating_add(n - 1).div_euclid(n).saturating_mul(n);
            if up > high { up.saturating_sub(n) } else { up }
        })
    }

    fn number(&self, map: &Map<String, Value>, spot: &Spot) -> Value {
        Value::from(self.integer(map, spot))
    }
}

fn ways_key(map: &Map<String, Value>) -> &'static str {
    if map.contains_key("oneOf") { "oneOf" } else { "anyOf" }
}

/// One schema that asks for what both ask for, as far as they speak of different things.
fn merged(map: &Map<String, Value>, without: &[&str], other: &Value) -> Value {
    let mut whole = map.clone();
    whole.retain(|key, _| !without.contains(&key.as_str()));
    for (key, value) in other.as_object().into_iter().flatten() {
        match (key.as_str(), whole.get_mut(key), value) {
            ("properties", Some(Value::Object(mine)), Value::Object(theirs)) => {
                mine.extend(theirs.clone());
            }
            ("required", Some(Value::Array(mine)), Value::Array(theirs)) => {
                mine.extend(theirs.clone());
            }
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(schema: &Value, taste: Taste, seed: u64) -> Value {
        let (hints, fit, echoes) = (Hints::default(), Fit::default(), BTreeMap::new());
        let maker = Maker {
            root: schema,
            source: Source::Input,
            hints: &hints,
            fit: &fit,
            inputs: &Value::Null,
            echoes: &echoes,
            single: None,
            taste,
        };
        maker.value(Dice::new(seed))
    }

    #[test]
    fn whatever_a_schema_says_is_kept() {
        let schema = json!({
            "type": "object", "required": ["id", "when", "kind", "more"], "additionalProperties": false,
            "properties": {
                "id": {"type": "string", "pattern": "^X-[0-9]{3}$"},
                "when": {"type": "string", "format": "date-time"},
                "day": {"type": "string", "format": "date"},
                "mail": {"type": ["string", "null"], "format": "email"},
                "kind": {"enum": ["a", "b", null]},
                "count": {"type": "integer", "minimum": 3, "exclusiveMaximum": 9, "multipleOf": 2},
                "share": {"type": "number", "minimum": 0, "maximum": 1},
                "text": {"type": "string", "minLength": 3, "maxLength": 5},
                "list": {"type": "array", "minItems": 2, "maxItems": 4, "items": {"$ref": "#/$defs/item"}},
                "either": {"oneOf": [{"type": "string"}, {"type": "object", "required": ["x"],
                    "properties": {"x": {"const": 7}}}]},
                "more": {"allOf": [{"type": "object", "properties": {"a": {"type": "boolean"}},
                    "required": ["a"]}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}]}
            },
            "$defs": {"item": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}}
        });
        let fit = Fit::default();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            for taste in [Taste::Plain, Taste::Varied] {
                let value = made(&schema, taste, seed);
                assert!(fit.fits(&schema, &value), "{seed}: {value}");
                assert_eq!(value, made(&schema, taste, seed), "the same again");
                seen.insert(value.to_string());
            }
        }
        assert!(seen.len() > 50, "values vary: {}", seen.len());
        assert!(made(&schema, Taste::Plain, 1).get("mail").is_some_and(Value::is_string));
    }
}
