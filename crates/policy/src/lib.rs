//! Cedar behind [`kernel::port::Judge`]: layers of policies, and asking as missing evidence.
//!
//! Pure. It must not know: any crate of ours but `kernel`, files, clocks, packs. Texts come in as
//! [`Source`]s, questions as [`kernel::decision::Question`]s, and everything that cannot be judged is
//! denied: an unknown operation, an argument that does not fit, a rule that fails to evaluate.
//!
//! Start with [`Bundle::load`]; then `judge`, [`Bundle::forecast`], [`Bundle::explain`] and
//! [`run_tests`]. How JSON Schemas become Cedar types stands in [`schema`].

mod advice;
mod bundle;
mod check;
mod explain;
mod finding;
mod forecast;
mod judge;
mod least;
mod load;
mod monotone;
mod pair;
mod reading;
mod request;
mod rule;
pub mod schema;
mod shape;
mod source;
mod starter;
mod syntax;
mod trial;
mod typo;
mod want;

pub use bundle::{Bundle, SCHEMA_VERSION};
pub use explain::{Explanation, LayerView, RuleView};
pub use finding::{Finding, Kind};
pub use forecast::Row;
pub use load::{
    ID_CHARS_MAX, LAYER_RULES_MAX, Loaded, NESTING_MAX, REASON_CHARS_MAX, TEXT_BYTES_MAX,
};
pub use pair::Pair;
pub use source::{Layer, Problem, Source};
pub use starter::{INHERITED, STARTER};
pub use trial::{Case, CaseLabels, CaseResult, Coverage, Expect, coverage, run_tests};

#[cfg(test)]
mod command_tests;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
