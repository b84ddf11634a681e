//! A proposed use of one operation: inert, and bound to one digest.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    canon,
    id::{Digest, OperationId, RunId, Seq, Tenant},
    label::{Label, LabelMap},
    operation::Operation,
};

/// What an action touches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The kind of thing, such as `Account`.
    pub kind: String,
    /// Which one, as the arguments name it.
    pub id: String,
}

impl Resource {
    /// Extracts what these arguments touch; `None` when the operation does not say or the arguments do not.
    #[must_use]
    pub fn of(operation: &Operation, args: &Value) -> Option<Self> {
        let rule = operation.resource.as_ref()?;
        let id = match args.pointer(&rule.id)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        Some(Self { kind: rule.kind.clone(), id })
    }
}

/// What a planner wants done: one operation with arguments, and why it exists at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Path of the step it belongs to, such as `review/usage[3]`.
    pub step: String,
    /// Which operation.
    pub operation: OperationId,
    /// The arguments.
    pub args: Arc<Value>,
    /// Labels of the arguments and their parts.
    pub arg_labels: LabelMap,
    /// The join of everything that decided that this action exists.
    pub existence: Label,
    /// 1 for the first try of this step with these arguments.
    pub attempt: u32,
    /// The configured provider whose model asked for it; none where no model did.
    pub proposer: Option<Arc<str>>,
}

/// Everything an approval binds to.
#[derive(Debug, Serialize)]
pub struct Binding<'a> {
    /// Whose run.
    pub tenant: &'a Tenant,
    /// Which run.
    pub run: &'a RunId,
    /// The proposal's place in the journal.
    pub proposal: Seq,
    /// The plan it belongs to.
    pub plan: Digest,
    /// The step of that plan.
    pub step: &'a str,
    /// Digest of the principal chain.
    pub chain: Digest,
    /// Operation id.
    pub operation: &'a OperationId,
    /// Digest of the operation's definition.
    pub definition: Digest,
    /// Commitment to the arguments: the salted root, so that the digest shows nothing.
    pub args: Digest,
    /// Commitment to what it touches.
    pub resource: Digest,
    /// Digest of the preview or before-image that was shown.
    pub preview: Option<Digest>,
}

impl Binding<'_> {
    /// The action digest.
    ///
    /// # Errors
    /// When a part has no canonical form.
    pub fn digest(&self) -> Result<Digest, canon::Error> {
        canon::digest(self)
    }
}
