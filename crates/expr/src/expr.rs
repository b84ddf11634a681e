//! One expression.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ast::Node;
use crate::check::Checker;
use crate::compares;
use crate::eval::Evaluator;
use crate::output::Leaves;
use crate::parse::{parse_braced, parse_whole};
use crate::reads::{collect_reads, estimate};
use crate::{Compared, Cost, Env, Error, Labelled, MAX_SOURCE_BYTES, Read, Type, Types};

/// A parsed expression; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    source: Arc<str>,
    pub(crate) node: Arc<Node>,
}

impl Expr {
    /// Parses an expression, without `${{ }}` around it. Never panics, whatever the text; an error
    /// carries its byte offset.
    pub fn parse(source: &str) -> Result<Expr, Error> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::TooLarge {
                at: MAX_SOURCE_BYTES,
                what: "the expression, in bytes,",
                limit: MAX_SOURCE_BYTES,
            });
        }
        Ok(Expr { node: Arc::new(parse_whole(source)?), source: source.into() })
    }

    /// Parses an expression that `}}` ends; also gives the offset after the braces.
    pub(crate) fn parse_braced(text: &str) -> Result<(Expr, usize), Error> {
        let (node, end) = parse_braced(text)?;
        let source = text.get(..end.saturating_sub(2)).unwrap_or("");
        let expr = Expr { node: Arc::new(node), source: source.into() };
        Ok((expr, end))
    }

    /// The text, without surrounding white space.
    pub fn source(&self) -> &str {
        self.source.trim()
    }

    /// The type of the result. What passes does not fail at run time by a wrong type, an absent field
    /// or a null, for values that are of `types`, except where a type is `any`.
    pub fn check(&self, types: &Types) -> Result<Type, Error> {
        let mut checker = Checker::new(types, &self.source);
        Ok(checker.check(&self.node)?.into_owned())
    }

    /// The value and its labels. Equal environments give equal results and equal costs.
    pub fn eval<E: Env>(&self, env: &E, cost: &mut Cost) -> Result<Labelled<E::Label>, Error> {
        let mut evaluator = Evaluator::new(env, cost);
        let value = evaluator.eval(&self.node)?;
        let mut leaves = Leaves::new();
        let json = evaluator.emit(value, "", &mut leaves, &self.node)?;
        Ok(Labelled::new(json, leaves.by_pointer))
    }

    /// Steps that an evaluation costs, about, if every list it walks has `list_len` elements and texts
    /// are short. For refusing nested loops before they run; the exact bound is [`Cost`].
    pub fn estimate(&self, list_len: u64) -> u64 {
        estimate(&self.node, list_len)
    }

    /// Everything an evaluation may read, sorted, each once.
    pub fn reads(&self) -> Vec<Read> {
        let mut reads = BTreeSet::new();
        collect_reads(&self.node, &mut Vec::new(), &mut reads);
        reads.into_iter().collect()
    }

    /// Everything it holds against each other, in the order of the source.
    pub fn compares(&self) -> Vec<Compared> {
        let mut found = Vec::new();
        compares::collect(&self.node, &mut Vec::new(), &mut found);
        found
    }
}
