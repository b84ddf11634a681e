//! Who acts, for whom, with which rights.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{OperationId, PrincipalId, Tenant};

/// What sort of actor a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A human being.
    Person,
    /// A model-driven or playbook-driven agent. Never an approver.
    Agent,
    /// A program that calls on its own account. Never an approver.
    Service,
}

/// Someone or something that acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// Opaque id; names and addresses of people stay outside the journal.
    pub id: PrincipalId,
    /// What sort of actor.
    pub kind: Kind,
    /// Roles held, such as `finance`.
    #[serde(default)]
    pub roles: BTreeSet<String>,
}

/// The chain every run begins with: agent → on behalf of → tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Who proposes actions.
    pub agent: Principal,
    /// The person or service it acts for.
    pub on_behalf_of: Principal,
    /// Whose data and rights are at stake.
    pub tenant: Tenant,
}

/// The operations a run may use at all. Delegation only ever narrows it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Exactly these operations; empty grants nothing.
    pub operations: BTreeSet<OperationId>,
}

impl Grant {
    /// Whether the operation is within the grant.
    #[must_use]
    pub fn allows(&self, operation: &OperationId) -> bool {
        self.operations.contains(operation)
    }

    /// What both grants allow.
    #[must_use]
    pub fn narrowed_to(&self, other: &Self) -> Self {
        Self { operations: self.operations.intersection(&other.operations).cloned().collect() }
    }
}
