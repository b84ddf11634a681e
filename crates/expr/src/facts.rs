//! What a condition proves about paths: that a field is there, or that a value is not null.

use crate::ast::{Comparison, Kind, Node};

/// A variable, then names or literal indexes, each with a mark of its kind.
pub(crate) type Path = Vec<String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    Present(Path),
    NotNull(Path),
}

/// Facts that hold where a condition was true, and where it was false.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) when_true: Vec<Fact>,
    pub(crate) when_false: Vec<Fact>,
}

/// The static path a node reads, if it is one.
pub(crate) fn path_of(node: &Node) -> Option<Path> {
    match &node.kind {
        Kind::Name(name) => Some(vec![name.clone()]),
        Kind::Field(base, name) => {
            let mut path = path_of(base)?;
            path.push(format!(".{}", name.text));
            Some(path)
        }
        Kind::Index(base, index) => match index.kind {
            Kind::Int(at) => {
                let mut path = path_of(base)?;
                path.push(format!("[{at}]"));
                Some(path)
            }
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn facts_of(condition: &Node) -> Facts {
    match &condition.kind {
        Kind::Not(inner) => {
            let Facts { when_true, when_false } = facts_of(inner);
            Facts { when_true: when_false, when_false: when_true }
        }
        Kind::All(operands) => Facts {
            when_true: operands.iter().flat_map(|one| facts_of(one).when_true).collect(),
            when_false: Vec::new(),
        },
        Kind::Any(operands) => Facts {
            when_true: Vec::new(),
            when_false: operands.iter().flat_map(|one| facts_of(one).when_false).collect(),
        },
        Kind::Has(field) => Facts { when_true: has_facts(field), when_false: Vec::new() },
        Kind::Compare(comparison, left, right) => null_facts(*comparison, left, right),
        _ => Facts::default(),
    }
}

/// `has(a.b.c)` is false when any part is absent or null before the last: all of it is proven.
fn has_facts(field: &Node) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut node = field;
    while let Kind::Field(base, _) = &node.kind {
        facts.extend(path_of(node).map(Fact::Present));
        facts.extend(path_of(base).map(Fact::NotNull));
        node = base;
    }
    facts
}

fn null_facts(comparison: Comparison, left: &Node, right: &Node) -> Facts {
    let path = match (&left.kind, &right.kind) {
        (_, Kind::Null) => path_of(left),
        (Kind::Null, _) => path_of(right),
        _ => None,
    };
    let facts: Vec<Fact> = path.into_iter().map(Fact::NotNull).collect();
    match comparison {
        Comparison::NotEqual => Facts { when_true: facts, when_false: Vec::new() },
        Comparison::Equal => Facts { when_true: Vec::new(), when_false: facts },
        _ => Facts::default(),
    }
}
