//! The syntax tree. Chains of one precedence are flat, so depth is what a reader would call nesting.

use rust_decimal::Decimal;

use crate::function::Function;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// First byte in the source.
    pub(crate) at: usize,
    /// Byte after the last in the source.
    pub(crate) end: usize,
    /// Nodes on the longest way down, this one included.
    pub(crate) depth: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Decimal(Decimal),
    Text(String),
    Name(String),
    Field(Box<Node>, FieldName),
    Index(Box<Node>, Box<Node>),
    List(Vec<Node>),
    /// Keys are literals and distinct.
    Map(Vec<(FieldName, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Chain(Box<Node>, Vec<(Arithmetic, Node)>),
    Choose(Box<Choice>),
    /// `has(a.b)`: the node is a `Field`.
    Has(Box<Node>),
    Default(Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    Loop(Box<Loop>),
}

/// A name with its own position, for errors which are about the name alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldName {
    pub(crate) text: String,
    pub(crate) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub(crate) condition: Node,
    pub(crate) yes: Node,
    pub(crate) no: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loop {
    pub(crate) kind: LoopKind,
    pub(crate) list: Node,
    pub(crate) variable: FieldName,
    pub(crate) body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl LoopKind {
    pub(crate) fn named(name: &str) -> Option<LoopKind> {
        match name {
            "all" => Some(LoopKind::All),
            "exists" => Some(LoopKind::Exists),
            "exists_one" => Some(LoopKind::ExistsOne),
            "filter" => Some(LoopKind::Filter),
            "map" => Some(LoopKind::Map),
            _ => None,
        }
    }
}

impl Node {
    pub(crate) fn new(kind: Kind, at: usize, end: usize) -> Node {
        let mut depth = 0;
        kind.for_each_child(&mut |child| depth = depth.max(child.depth));
        Node { kind, at, end, depth: depth + 1 }
    }

    /// The source of this node.
    pub(crate) fn text<'s>(&self, source: &'s str) -> &'s str {
        source.get(self.at..self.end).unwrap_or("")
    }
}

impl Kind {
    pub(crate) fn for_each_child<'n>(&'n self, visit: &mut dyn FnMut(&'n Node)) {
        match self {
            Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Decimal(_)
            | Kind::Text(_)
            | Kind::Name(_) => {}
            Kind::Field(base, _) | Kind::Not(base) | Kind::Negate(base) | Kind::Has(base) => {
                visit(base);
            }
            Kind::Index(left, right)
            | Kind::Compare(_, left, right)
            | Kind::Default(left, right) => {
                visit(left);
                visit(right);
            }
            Kind::List(nodes) | Kind::All(nodes) | Kind::Any(nodes) | Kind::Call(_, nodes) => {
                nodes.iter().for_each(visit);
            }
            Kind::Map(entries) => entries.iter().for_each(|(_, node)| visit(node)),
            Kind::Chain(first, rest) => {
                visit(first);
                rest.iter().for_each(|(_, node)| visit(node));
            }
            Kind::Choose(choice) => {
                visit(&choice.condition);
                visit(&choice.yes);
                visit(&choice.no);
            }
            Kind::Loop(each) => {
                visit(&each.list);
                visit(&each.body);
            }
        }
    }
}
