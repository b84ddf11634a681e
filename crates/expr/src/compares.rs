//! What an expression compares with what, from its syntax alone: for whoever makes up values that reach
//! both sides of a condition.

use serde_json::Value;

use crate::ast::{Comparison, Kind, Node};
use crate::function::Function;

/// Name that stands for any index in a path.
pub const ANY_INDEX: &str = "*";

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Side {
    /// A place: names from a root variable; any index is [`ANY_INDEX`], and a loop variable stands for
    /// an element of the list that it walks.
    Path(Vec<String>),
    /// The size of what is at a place.
    Size(Vec<String>),
    /// A literal.
    Literal(Value),
    /// Something that reads as a number: said of places which `int` or `number` convert.
    Number,
}

/// Two things that an expression holds against each other.
pub type Compared = (Side, Side);

/// Loop variables and what they stand for.
type Bound<'n> = Vec<(&'n str, Vec<String>)>;

pub(crate) fn collect<'n>(node: &'n Node, bound: &mut Bound<'n>, found: &mut Vec<Compared>) {
    match &node.kind {
        Kind::Compare(Comparison::In, left, right) => {
            if let (Some(left), Kind::List(options)) = (side(left, bound), &right.kind) {
                let options = options.iter().filter_map(|option| side(option, bound));
                found.extend(options.map(|option| (left.clone(), option)));
            }
        }
        Kind::Compare(_, left, right) => {
            if let (Some(left), Some(right)) = (side(left, bound), side(right, bound)) {
                found.push((left, right));
            }
        }
        Kind::Call(Function::Int | Function::Number, arguments) => {
            let places = arguments.iter().filter_map(|argument| path(argument, bound));
            found.extend(places.map(|place| (Side::Path(place), Side::Number)));
        }
        Kind::Loop(each) => {
            collect(&each.list, bound, found);
            let mut element = path(&each.list, bound).unwrap_or_default();
            element.push(ANY_INDEX.to_owned());
            bound.push((&each.variable.text, element));
            collect(&each.body, bound, found);
            bound.pop();
            return;
        }
        _ => {}
    }
    node.kind.for_each_child(&mut |child| collect(child, bound, found));
}

fn side(node: &Node, bound: &Bound<'_>) -> Option<Side> {
    match &node.kind {
        Kind::Null => Some(Side::Literal(Value::Null)),
        Kind::Bool(truth) => Some(Side::Literal(Value::Bool(*truth))),
        Kind::Int(number) => Some(Side::Literal(Value::from(*number))),
        Kind::Negate(inner) => match &inner.kind {
            Kind::Int(number) => Some(Side::Literal(Value::from(number.checked_neg()?))),
            _ => None,
        },
        Kind::Text(text) => Some(Side::Literal(Value::String(text.clone()))),
        Kind::Call(Function::Size, arguments) => {
            arguments.first().and_then(|list| path(list, bound)).map(Side::Size)
        }
        Kind::Call(Function::Int | Function::Number, arguments) => {
            arguments.first().and_then(|inner| path(inner, bound)).map(Side::Path)
        }
        Kind::Default(base, _) => path(base, bound).map(Side::Path),
        _ => path(node, bound).map(Side::Path),
    }
}

fn path(node: &Node, bound: &Bound<'_>) -> Option<Vec<String>> {
    match &node.kind {
        Kind::Name(name) => {
            let stands_for = bound.iter().rev().find(|(variable, _)| variable == name);
            Some(stands_for.map_or_else(|| vec![name.clone()], |(_, place)| place.clone()))
        }
        Kind::Field(base, name) => {
            let mut place = path(base, bound)?;
            place.push(name.text.clone());
            Some(place)
        }
        Kind::Index(base, _) => {
            let mut place = path(base, bound)?;
            place.push(ANY_INDEX.to_owned());
            Some(place)
        }
        // `list.filter(x, …)[0]` is an element of the list all the same.
        Kind::Loop(each) => path(&each.list, bound),
        _ => None,
    }
}
