//! What the attributes' expansions name. Not an interface: it may change with them.

pub use crate::{
    argument::Arguments,
    registry::{guide, skill},
};
pub use inventory;
pub use kernel::{
    agent::GuideScope,
    label::{Confidentiality, Trust},
    operation::{Critical, Effect, Facts, Retry, Undo},
};

use std::sync::Arc;

use serde_json::Value;

use crate::{Failed, IntoFailed, Output, argument::Fallible};

/// A `Result`, whatever its alias is called: its error is a failure, never a value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a tool",
    note = "`Result<T, E>` needs a `T` with `serde::Serialize` and `schemars::JsonSchema`, and an `E` with `Display`"
)]
pub trait Falls {
    /// JSON Schema of what it returns.
    fn schema() -> Arc<Value>;

    /// As JSON.
    ///
    /// # Errors
    /// The tool's own.
    fn into_value(self) -> Result<Value, Failed>;
}

impl<T: Output, E: IntoFailed> Falls for Result<T, E> {
    fn schema() -> Arc<Value> {
        T::schema()
    }

    fn into_value(self) -> Result<Value, Failed> {
        Fallible(self).into_value()
    }
}
