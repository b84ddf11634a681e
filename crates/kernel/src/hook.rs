//! Hooks: what the operator has look at calls, and at moments of agents. They may only narrow what happens.
//!
//! A hook is a catalogued read that serves another action, like an image or a probe, or that an agent's
//! step has made at a moment of its own. Which hooks look at which operations and agents is part of the
//! plan: a run keeps those it was opened with.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    decision::{Decision, Rule, Verdict},
    id::OperationId,
    operation::Operation,
};

/// The connector that hooks are operations of. No pack has one of this name.
pub const HOOK_CONNECTOR: &str = "hook";

/// Most hooks of one plan.
pub const HOOKS_MAX: usize = 16;

/// When a hook looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before a call that policy does not deny; it may deny it, or have a person asked.
    Before,
    /// After a call that worked; it may say something to whoever plans.
    After,
    /// After a call that failed; as [`Moment::After`].
    Failure,
    /// When an agent begins: it may say something to it.
    Start,
    /// Before an agent's model is told its task or what a person says: it may keep that from it, or say
    /// something beside it.
    Prompt,
    /// When an agent gives an answer that would stand: it may send the agent on.
    Stop,
}

impl Moment {
    /// Whether it is a moment of an agent, not of a call.
    #[must_use]
    pub fn is_of_agent(self) -> bool {
        match self {
            Self::Before | Self::After | Self::Failure => false,
            Self::Start | Self::Prompt | Self::Stop => true,
        }
    }
}

/// A hook of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// When it looks.
    pub on: Moment,
    /// At calls of which operations.
    pub looks_at: BTreeSet<OperationId>,
    /// At moments of which agents, by their names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agents: BTreeSet<String>,
    /// The read that looks, `hook.<name>`.
    pub operation: Arc<Operation>,
}

/// What a hook said. There is no yes: whatever is nothing against a call changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// Nothing against it.
    Pass,
    /// A person must approve it first.
    Ask,
    /// It must not happen.
    Deny,
    /// Nothing that counts: it crashed, took too long, or could not be understood.
    Failed,
}

impl Opinion {
    /// Reads a hook's answer: `{"verdict": "pass" | "ask" | "deny", …}`; whatever else it is, it failed.
    #[must_use]
    pub fn read(answer: &Value) -> Self {
        match answer.get("verdict").and_then(Value::as_str) {
            Some("pass") => Self::Pass,
            Some("ask") => Self::Ask,
            Some("deny") => Self::Deny,
            Some(_) | None => Self::Failed,
        }
    }

    /// Why a call does not go ahead, in words of our own: a hook's are in its answer.
    fn reason(self) -> &'static str {
        match self {
            Self::Pass => "a hook has nothing against it",
            Self::Ask => "a hook wants a person to approve it",
            Self::Deny => "a hook denies it",
            Self::Failed => "a hook failed, and what it could not look at does not happen",
        }
    }

    /// As a rule that spoke.
    pub(crate) fn rule(self, hook: &OperationId) -> Rule {
        let (id, reason) = (hook.to_string(), self.reason().to_owned());
        Rule { layer: "operator".to_owned(), id, reason }
    }
}

/// That a hook may be called is the operator's configuration; policy has nothing to add to it.
pub(crate) fn configured(hook: &OperationId) -> Decision {
    let reason = "the operator has it look at this".to_owned();
    let rule = Rule { layer: "operator".to_owned(), id: hook.to_string(), reason };
    Decision { verdict: Verdict::Allow, rules: vec![rule], policies: Vec::new() }
}
