//! Limits, and the meter that an evaluation runs on.

use crate::Error;

/// Longest source of one expression, in bytes.
pub const MAX_SOURCE_BYTES: usize = 4 * 1024;
/// Deepest nesting of one expression: of brackets and calls while parsing, and of its syntax tree.
pub const MAX_NESTING: usize = 32;
/// Longest list, in elements, that an expression may walk or build.
pub const MAX_LIST: usize = 10_000;
/// Steps one evaluation may cost when the caller has no better number.
pub const DEFAULT_COST: u64 = 100_000;
/// Deepest nesting of the JSON value of a template.
pub const MAX_TEMPLATE_DEPTH: usize = 64;
/// Most JSON nodes in a template.
pub const MAX_TEMPLATE_NODES: usize = 10_000;
/// Most nodes a type read from a JSON Schema may have; what is beyond becomes `any`.
pub const MAX_TYPE_NODES: usize = 20_000;

/// Deepest nesting of a value that is compared or given back.
pub(crate) const MAX_VALUE_DEPTH: usize = 192;

/// Bytes of text that cost one step to copy, compare or scan.
const BYTES_PER_STEP: usize = 16;

/// What one evaluation may spend and has spent, in steps.
///
/// A step is one syntax node, one list element, one map entry, one label looked up or sixteen bytes
/// of text. One meter may serve several evaluations: it only ever counts up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    limit: u64,
    spent: u64,
}

impl Cost {
    /// A meter that stops the evaluation which spends more than `limit` steps.
    pub fn new(limit: u64) -> Self {
        Self { limit, spent: 0 }
    }

    /// The most that may be spent, in steps.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What has been spent, in steps.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    pub(crate) fn spend(&mut self, steps: usize, at: usize) -> Result<(), Error> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.spent = self.spent.saturating_add(steps);
        if self.spent > self.limit {
            return Err(Error::CostLimit { at, limit: self.limit });
        }
        Ok(())
    }

    pub(crate) fn spend_text(&mut self, bytes: usize, at: usize) -> Result<(), Error> {
        self.spend(bytes.div_ceil(BYTES_PER_STEP), at)
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::new(DEFAULT_COST)
    }
}
