//! Expressions: parse, type-check and evaluate a declared subset of CEL, with labels and cost limits.
//!
//! Values in a pack are JSON literals or `${{ … }}` over root variables. This crate gives them
//! meaning: [`Expr`] is one expression, [`Template`] a JSON value with expressions in its strings.
//! Both are parsed once, checked against [`Types`] made from JSON Schemas, and evaluated against an
//! [`Env`]; every result leaf carries the [`Join`] of the labels of everything it was computed from.
//!
//! It has no clock, no randomness, no IO and no regular expressions: equal inputs give equal results.
//! It must not know what a label means (any [`Join`] will do), what a root variable is called, what a
//! pack, a step or an operation is, nor any other crate of ours.
//!
//! An error says where (a byte offset) and never quotes a value, only names from the source or the
//! schema. That an evaluation failed is itself information: label it with the join of `reads`.
//!
//! Start at [`Expr`] and [`Template`]; the language is in [`language`]; limits are the constants here.

mod ast;
mod check;
mod check_call;
mod compares;
mod cost;
mod error;
mod eval;
mod eval_call;
mod eval_compare;
mod expr;
mod facts;
mod function;
mod label;
mod number;
mod output;
mod parse;
mod reads;
mod schema;
mod template;
mod token;
mod types;
mod value;

#[doc = include_str!("../LANGUAGE.md")]
pub mod language {}

pub use compares::{ANY_INDEX, Compared, Side};
pub use cost::{
    Cost, DEFAULT_COST, MAX_LIST, MAX_NESTING, MAX_SOURCE_BYTES, MAX_TEMPLATE_DEPTH,
    MAX_TEMPLATE_NODES, MAX_TYPE_NODES,
};
pub use error::{Error, line_column};
pub use expr::Expr;
pub use label::{Env, Join, Key, Labelled};
pub use reads::Read;
pub use template::Template;
pub use types::{Field, Misfit, Object, Presence, Type, Types};
