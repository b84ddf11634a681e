//! JSON with expressions in its strings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::check::Checker;
use crate::check_call::scalar;
use crate::eval::Evaluator;
use crate::label::push_token;
use crate::output::Leaves;
use crate::reads::collect_reads;
use crate::{
    Compared, Cost, Env, Error, Expr, Join, Labelled, MAX_TEMPLATE_DEPTH, MAX_TEMPLATE_NODES, Read,
    Type, Types,
};

const OPEN: &str = "${{";
/// Two dollars write the opening itself.
const ESCAPED: &str = "$${{";

/// A JSON value whose strings may hold expressions.
///
/// A string that is exactly `${{ expr }}` stands for the value of the expression, of any type. In
/// `text ${{ expr }} text` the expression must give a scalar other than null, which becomes text.
/// `$${{` writes `${{`. Keys of objects are always plain.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    part: Part,
    /// Over all parts.
    size: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Constant(Value),
    Whole(Embedded),
    Text(Vec<Piece>),
    List(Vec<Part>),
    Object(BTreeMap<String, Part>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Plain(String),
    Embedded(Embedded),
}

#[derive(Debug, Clone, PartialEq)]
struct Embedded {
    expr: Expr,
    /// Offset of the expression in its string.
    base: usize,
}

impl Template {
    /// Finds and parses the expressions. An error names the string by JSON pointer and the offset in it.
    pub fn parse(value: &Value) -> Result<Template, Error> {
        let mut size = 0;
        let part = parse_part(value, "", (&mut size, 0))?;
        Ok(Template { part, size })
    }

    /// Whether nothing is read, so that every evaluation gives the same.
    pub fn is_constant(&self) -> bool {
        self.reads().is_empty()
    }

    /// The type of the result; see [`Expr::check`].
    pub fn check(&self, types: &Types) -> Result<Type, Error> {
        check_part(&self.part, types, "")
    }

    /// The value with its labels; constants have the bottom label. See [`Expr::eval`].
    pub fn eval<E: Env>(&self, env: &E, cost: &mut Cost) -> Result<Labelled<E::Label>, Error> {
        let mut leaves = Leaves::new();
        let value = eval_part(&self.part, (env, cost), "", &mut leaves)?;
        Ok(Labelled::new(value, leaves.by_pointer))
    }

    /// Steps that an evaluation costs, about; see [`Expr::estimate`].
    pub fn estimate(&self, list_len: u64) -> u64 {
        let mut steps = u64::try_from(self.size).unwrap_or(u64::MAX);
        for_each_embedded(&self.part, "", &mut |_, embedded| {
            steps = steps.saturating_add(embedded.expr.estimate(list_len));
        });
        steps
    }

    /// For each string with expressions, by JSON pointer, everything it may read. A string whose
    /// expressions read nothing is not listed.
    pub fn reads(&self) -> BTreeMap<String, Vec<Read>> {
        let mut all: BTreeMap<String, BTreeSet<Read>> = BTreeMap::new();
        for_each_embedded(&self.part, "", &mut |pointer, embedded| {
            let reads = all.entry(pointer.to_owned()).or_default();
            collect_reads(&embedded.expr.node, &mut Vec::new(), reads);
        });
        all.into_iter()
            .filter(|(_, reads)| !reads.is_empty())
            .map(|(pointer, reads)| (pointer, reads.into_iter().collect()))
            .collect()
    }

    /// Everything its expressions hold against each other; see [`Expr::compares`].
    pub fn compares(&self) -> Vec<Compared> {
        let mut found = Vec::new();
        for_each_embedded(&self.part, "", &mut |_, embedded| {
            found.extend(embedded.expr.compares());
        });
        found
    }
}

fn parse_part(
    value: &Value,
    pointer: &str,
    (size, depth): (&mut usize, usize),
) -> Result<Part, Error> {
    *size += 1;
    check_limit(*size, MAX_TEMPLATE_NODES, ("the template, in values,", pointer))?;
    check_limit(depth, MAX_TEMPLATE_DEPTH, ("the nesting of the template", pointer))?;
    match value {
        Value::String(text) => parse_text(text, pointer),
        Value::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let place = format!("{pointer}/{index}");
                list.push(parse_part(item, &place, (size, depth + 1))?);
            }
            Ok(Part::List(list))
        }
        Value::Object(entries) => {
            let mut object = BTreeMap::new();
            for (key, entry) in entries {
                let place = push_token(pointer, key);
                if key.contains(OPEN) {
                    let error = Error::Unsupported {
                        at: 0,
                        what: "an expression in a key".to_owned(),
                        instead: "build the object with one expression for its whole".to_owned(),
                    };
                    return Err(error.in_template(&place, 0));
                }
                object.insert(key.clone(), parse_part(entry, &place, (size, depth + 1))?);
            }
            Ok(Part::Object(object))
        }
        scalar => Ok(Part::Constant(scalar.clone())),
    }
}

fn check_limit(
    found: usize,
    limit: usize,
    (what, pointer): (&'static str, &str),
) -> Result<(), Error> {
    if found > limit {
        let at = 0;
        return Err(Error::TooLarge { at, what, limit }.in_template(pointer, 0));
    }
    Ok(())
}

fn parse_text(text: &str, pointer: &str) -> Result<Part, Error> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or("");
        let Some(found) = rest.find(OPEN) else {
            plain.push_str(rest);
            break;
        };
        let before = rest.get(..found).unwrap_or("");
        if let Some(before) = before.strip_suffix('$') {
            plain.push_str(before);
            plain.push_str(OPEN);
            at += before.len() + ESCAPED.len();
            continue;
        }
        plain.push_str(before);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(std::mem::take(&mut plain)));
        }
        let base = at + found + OPEN.len();
        let inner = text.get(base..).unwrap_or("");
        let (expr, end) =
            Expr::parse_braced(inner).map_err(|error| error.in_template(pointer, base))?;
        pieces.push(Piece::Embedded(Embedded { expr, base }));
        at = base + end;
    }
    if pieces.is_empty() {
        return Ok(Part::Constant(Value::String(plain)));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Plain(plain));
    }
    match <[Piece; 1]>::try_from(pieces) {
        Ok([Piece::Embedded(embedded)]) => Ok(Part::Whole(embedded)),
        Ok(one) => Ok(Part::Text(one.into())),
        Err(pieces) => Ok(Part::Text(pieces)),
    }
}

fn for_each_embedded(part: &Part, pointer: &str, visit: &mut dyn FnMut(&str, &Embedded)) {
    match part {
        Part::Constant(_) => {}
        Part::Whole(embedded) => visit(pointer, embedded),
        Part::Text(pieces) => {
            for piece in pieces {
                if let Piece::Embedded(embedded) = piece {
                    visit(pointer, embedded);
                }
            }
        }
        Part::List(items) => {
            for (index, item) in items.iter().enumerate() {
                for_each_embedded(item, &format!("{pointer}/{index}"), visit);
            }
        }
        Part::Object(entries) => {
            for (key, entry) in entries {
                for_each_embedded(entry, &push_token(pointer, key), visit);
            }
        }
    }
}

fn check_part(part: &Part, types: &Types, pointer: &str) -> Result<Type, Error> {
    match part {
        Part::Constant(value) => Ok(Type::of_value(value)),
        Part::Whole(embedded) => {
            embedded.expr.check(types).map_err(|error| error.in_template(pointer, embedded.base))
        }
        Part::Text(pieces) => {
            for piece in pieces {
                if let Piece::Embedded(embedded) = piece {
                    check_embedded(embedded, types)
                        .map_err(|error| error.in_template(pointer, embedded.base))?;
                }
            }
            Ok(Type::String)
        }
        Part::List(items) => {
            let mut all = Type::never();
            for (index, item) in items.iter().enumerate() {
                all = all.or(check_part(item, types, &format!("{pointer}/{index}"))?);
            }
            Ok(Type::list(all))
        }
        Part::Object(entries) => {
            let mut fields = Vec::with_capacity(entries.len());
            for (key, entry) in entries {
                let place = push_token(pointer, key);
                fields.push((key.clone(), check_part(entry, types, &place)?));
            }
            Ok(Type::object(fields))
        }
    }
}

fn check_embedded(embedded: &Embedded, types: &Types) -> Result<(), Error> {
    let Embedded { expr, .. } = embedded;
    let found = expr.check(types)?;
    if found.fits(&scalar()) {
        return Ok(());
    }
    let checker = Checker::new(types, expr.source());
    Err(checker.mismatch(&expr.node, "a string, a number or a bool within text", &found))
}

fn eval_part<E: Env>(
    part: &Part,
    (env, cost): (&E, &mut Cost),
    pointer: &str,
    leaves: &mut Leaves<E::Label>,
) -> Result<Value, Error> {
    let paid = cost.spend(1, 0);
    paid.map_err(|error| error.in_template(pointer, 0))?;
    match part {
        Part::Constant(value) => {
            let label = E::Label::bottom();
            leaves.by_pointer.insert(pointer.to_owned(), label);
            Ok(value.clone())
        }
        Part::Whole(Embedded { expr, base }) => {
            let mut evaluator = Evaluator::new(env, cost);
            let value = evaluator.eval(&expr.node);
            value
                .and_then(|value| evaluator.emit(value, pointer, leaves, &expr.node))
                .map_err(|error| error.in_template(pointer, *base))
        }
        Part::Text(pieces) => {
            let (text, label) = eval_pieces(pieces, (env, cost), pointer)?;
            leaves.by_pointer.insert(pointer.to_owned(), label);
            Ok(Value::String(text))
        }
        Part::List(items) => {
            if items.is_empty() {
                leaves.by_pointer.insert(pointer.to_owned(), E::Label::bottom());
            }
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let place = format!("{pointer}/{index}");
                list.push(eval_part(item, (env, &mut *cost), &place, leaves)?);
            }
            Ok(Value::Array(list))
        }
        Part::Object(entries) => {
            if entries.is_empty() {
                leaves.by_pointer.insert(pointer.to_owned(), E::Label::bottom());
            }
            let mut object = serde_json::Map::new();
            for (key, entry) in entries {
                let place = push_token(pointer, key);
                let value = eval_part(entry, (env, &mut *cost), &place, leaves)?;
                object.insert(key.clone(), value);
            }
            Ok(Value::Object(object))
        }
    }
}

fn eval_pieces<E: Env>(
    pieces: &[Piece],
    (env, cost): (&E, &mut Cost),
    pointer: &str,
) -> Result<(String, E::Label), Error> {
    let mut text = String::new();
    let mut label = E::Label::bottom();
    for piece in pieces {
        match piece {
            Piece::Plain(plain) => {
                let paid = cost.spend_text(plain.len(), 0);
                paid.map_err(|error| error.in_template(pointer, 0))?;
                text.push_str(plain);
            }
            Piece::Embedded(Embedded { expr, base }) => {
                let mut evaluator = Evaluator::new(env, &mut *cost);
                let (part, read) = evaluator
                    .text(&expr.node)
                    .map_err(|error| error.in_template(pointer, *base))?;
                text.push_str(&part);
                label = label.join(&read);
            }
        }
    }
    Ok((text, label))
}
