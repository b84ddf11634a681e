//! What an expression reads and about what it costs, from its syntax alone.

use std::collections::BTreeSet;

use crate::ast::{Comparison, Kind, Node};
use crate::function::Function;

/// A part of the environment that an expression may read: everything at and under a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// Name of the root variable.
    pub root: String,
    /// Field names from the root; ends at the first index or computed key.
    pub path: Vec<String>,
}

/// Adds what `node` may read to `reads`. `bound` holds the loop variables, which stand for parts of
/// the lists they walk and are therefore read with these.
pub(crate) fn collect_reads<'n>(
    node: &'n Node,
    bound: &mut Vec<&'n str>,
    reads: &mut BTreeSet<Read>,
) {
    match &node.kind {
        Kind::Name(_) | Kind::Field(..) | Kind::Index(..) => {
            if let Some((read, _)) = path_read(node, bound, reads) {
                reads.insert(read);
            }
        }
        Kind::Loop(each) => {
            collect_reads(&each.list, bound, reads);
            bound.push(&each.variable.text);
            collect_reads(&each.body, bound, reads);
            bound.pop();
        }
        kind => kind.for_each_child(&mut |child| collect_reads(child, bound, reads)),
    }
}

/// Whether more names may be added to a path.
#[derive(PartialEq)]
enum End {
    Open,
    Closed,
}

fn path_read<'n>(
    node: &'n Node,
    bound: &mut Vec<&'n str>,
    reads: &mut BTreeSet<Read>,
) -> Option<(Read, End)> {
    match &node.kind {
        Kind::Name(name) if bound.contains(&name.as_str()) => None,
        Kind::Name(name) => {
            let root = name.clone();
            let path = Vec::new();
            Some((Read { root, path }, End::Open))
        }
        Kind::Field(base, name) => {
            let (mut read, end) = path_read(base, bound, reads)?;
            if end == End::Open {
                read.path.push(name.text.clone());
            }
            Some((read, end))
        }
        Kind::Index(base, index) => {
            collect_reads(index, bound, reads);
            let (read, _) = path_read(base, bound, reads)?;
            Some((read, End::Closed))
        }
        _ => {
            collect_reads(node, bound, reads);
            None
        }
    }
}

/// Steps that each node costs at most besides the lists and texts it walks: itself, a path step, a
/// label, a result leaf.
const STEPS_PER_NODE: u64 = 4;

/// An estimate of the steps `node` costs if every list it walks has `list_len` elements.
pub(crate) fn estimate(node: &Node, list_len: u64) -> u64 {
    let mut inner: u64 = 0;
    let walked = list_len.saturating_mul(2);
    let own = match &node.kind {
        Kind::Loop(each) => {
            let rounds = length_of(&each.list, list_len);
            let body = estimate(&each.body, list_len).saturating_add(STEPS_PER_NODE);
            inner = estimate(&each.list, list_len).saturating_add(rounds.saturating_mul(body));
            rounds
        }
        kind => {
            kind.for_each_child(&mut |child| {
                inner = inner.saturating_add(estimate(child, list_len));
            });
            match kind {
                Kind::Compare(Comparison::In, ..) => walked,
                Kind::Call(
                    Function::Sum
                    | Function::Join
                    | Function::Keys
                    | Function::Least
                    | Function::Greatest,
                    arguments,
                ) if arguments.len() <= 2 => walked,
                _ => 0,
            }
        }
    };
    STEPS_PER_NODE.saturating_add(own).saturating_add(inner)
}

fn length_of(list: &Node, list_len: u64) -> u64 {
    match &list.kind {
        Kind::List(elements) => u64::try_from(elements.len()).unwrap_or(u64::MAX),
        _ => list_len,
    }
}
