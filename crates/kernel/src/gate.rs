//! The permit: the only key to a connector.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use crate::{
    conversation::Thread,
    id::{EffectKey, RunId, Seq, Tenant},
    label::LabelMap,
    operation::Operation,
};

/// How long after its dispatch is durable a call may still leave, in milliseconds.
pub const DISPATCH_WINDOW_MS: i64 = 5_000;

/// Proof that one action passed the gate and that its dispatch is in the journal.
///
/// It carries everything the call may use. Only [`crate::run::Run::next`] makes one, each dispatch
/// yields one, and it cannot be copied:
///
/// ```compile_fail,E0599
/// fn again(permit: kernel::gate::Permit) -> (kernel::gate::Permit, kernel::gate::Permit) {
///     (permit.clone(), permit)
/// }
/// ```
///
/// Nobody else can build one, whatever they hold:
///
/// ```compile_fail,E0451
/// # fn forge(like: kernel::gate::Permit) -> kernel::gate::Permit {
/// kernel::gate::Permit { attempt: 2, ..like }
/// # }
/// ```
#[derive(Debug)]
pub struct Permit {
    pub(crate) tenant: Tenant,
    pub(crate) run: RunId,
    pub(crate) action: Seq,
    pub(crate) attempt: u32,
    pub(crate) operation: Arc<Operation>,
    pub(crate) args: Arc<Value>,
    pub(crate) arg_labels: LabelMap,
    pub(crate) key: EffectKey,
    pub(crate) masks: BTreeSet<String>,
    pub(crate) dispatch_by_boot_ms: u64,
    pub(crate) thread: Option<Arc<Thread>>,
}

impl Permit {
    /// Whose run.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Which run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Which action, by its proposal's place in the journal.
    #[must_use]
    pub fn action(&self) -> Seq {
        self.action
    }

    /// Which call of this action, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What to do.
    #[must_use]
    pub fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    /// With which arguments.
    #[must_use]
    pub fn args(&self) -> &Arc<Value> {
        &self.args
    }

    /// Labels of the arguments.
    #[must_use]
    pub fn arg_labels(&self) -> &LabelMap {
        &self.arg_labels
    }

    /// What the target deduplicates on: the same for every try of the same effect.
    #[must_use]
    pub fn key(&self) -> &EffectKey {
        &self.key
    }

    /// Pointer patterns of result fields that must not come back.
    #[must_use]
    pub fn masks(&self) -> &BTreeSet<String> {
        &self.masks
    }

    /// For a model call: the conversation it goes on with, its own prompt last.
    #[must_use]
    pub fn thread(&self) -> Option<&Arc<Thread>> {
        self.thread.as_ref()
    }

    /// Boot-time clock in ms after which no byte of this call may leave.
    #[must_use]
    pub fn dispatch_by_boot_ms(&self) -> u64 {
        self.dispatch_by_boot_ms
    }
}
