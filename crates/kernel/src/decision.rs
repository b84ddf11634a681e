//! What policy is asked, what evidence it sees, and what it answers.
//!
//! Asking is missing evidence: a judge evaluates with the evidence there is; where the answer is no,
//! again with all evidence granted; what is still no is a denial, otherwise the least that is missing
//! is required. When it has arrived the same policies judge again: evidence is never a bypass.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    action::Resource,
    id::{At, Digest},
    label::{Label, LabelMap},
    operation::{Operation, Undo},
    principal::Chain,
};

/// What an action is performed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// For real.
    #[default]
    Live,
    /// To be looked at: reads are made, changes are shown as far as they got and not made.
    Preview,
    /// Against simulated systems.
    Simulate,
    /// From the journal, without effects.
    Replay,
    /// Old runs against other policies.
    Backtest,
    /// Inside an evaluation.
    Eval,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 6] =
        [Self::Live, Self::Preview, Self::Simulate, Self::Replay, Self::Backtest, Self::Eval];

    /// The word used in policies and answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Preview => "preview",
            Self::Simulate => "simulate",
            Self::Replay => "replay",
            Self::Backtest => "backtest",
            Self::Eval => "eval",
        }
    }

    /// Whether a change is made once everything speaks for it. Where it is not, it walks the gate as far as to the
    /// ask or the dispatch, and ends there.
    #[must_use]
    pub fn makes_changes(self) -> bool {
        match self {
            Self::Live | Self::Simulate | Self::Eval => true,
            Self::Preview | Self::Replay | Self::Backtest => false,
        }
    }
}

/// How much a run may do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autonomy {
    /// Reads and reports; no write.
    L1,
    /// A person gates every change the policy names.
    #[default]
    L2,
    /// Allow-listed writes without a person.
    L3,
}

impl Autonomy {
    /// What is left of it where nobody can say how the run will go: no write without a person.
    #[must_use]
    pub fn lowered(self) -> Self {
        self.min(Self::L2)
    }
}

/// Facts about the run that the kernel counts, for policies to use.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFacts {
    /// Calls dispatched so far.
    pub calls: u32,
    /// Writes dispatched so far.
    pub writes: u32,
    /// Calls left in the budget.
    pub calls_left: u32,
    /// Writes left in the budget.
    pub writes_left: u32,
    /// Times this operation was dispatched in this run.
    pub same_operation: u32,
    /// Actions denied so far.
    pub denied: u32,
}

/// Filled by the kernel alone.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Per role, how many distinct people approved exactly this action, unexpired.
    pub approvals: BTreeMap<String, u32>,
    /// A preview of exactly this action was taken.
    pub dry_run: bool,
    /// Registered rewrites already applied, such as `mask:/email`.
    pub transforms: BTreeSet<String>,
    /// The undo class actually armed.
    pub rollback: Undo,
}

/// One request to a judge. Borrowed: judging copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who acts, for whom.
    pub chain: &'a Chain,
    /// What would be done.
    pub operation: &'a Operation,
    /// To what.
    pub resource: Option<&'a Resource>,
    /// With what.
    pub args: &'a Value,
    /// Labels of the arguments and their parts.
    pub arg_labels: &'a LabelMap,
    /// The join of everything that led to the action being proposed at all.
    pub existence: &'a Label,
    /// Counts of the run.
    pub run: &'a RunFacts,
    /// Recoveries in force, such as `partial`.
    pub recoveries: &'a BTreeSet<String>,
    /// How much the run may do by itself.
    pub autonomy: Autonomy,
    /// What it is done for.
    pub mode: Mode,
    /// The time handed in.
    pub at: At,
    /// What is proven so far.
    pub evidence: &'a Evidence,
    /// Operator and tenant policy in force now, where it differs from the pinned one.
    pub current_policy: Option<Digest>,
}

/// The least evidence that would turn a no into a yes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Role → distinct people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: BTreeMap<String, u32>,
    /// A preview is needed.
    #[serde(default)]
    pub dry_run: bool,
    /// Rewrites the kernel applies before asking again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub transforms: BTreeSet<String>,
}

impl Requirement {
    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.approvals.is_empty() && !self.dry_run && self.transforms.is_empty()
    }
}

/// Which rule spoke.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `kernel`, `operator`, `tenant`, `pack` or `agent`.
    pub layer: String,
    /// The rule's `@id`.
    pub id: String,
    /// Its `@reason`, as people and the model are shown.
    pub reason: String,
}

/// The verdict of all layers together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may happen.
    Allow,
    /// It may happen once this is there.
    Ask(Requirement),
    /// It may not happen, whatever is added.
    Deny,
}

/// A judgement as an artifact: verdict, rules, and the digests that let anyone judge again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The rules that spoke for it.
    pub rules: Vec<Rule>,
    /// Digests of the policy layers asked, strictest included.
    pub policies: Vec<Digest>,
}

impl Decision {
    /// A denial by the kernel's own checks or by a judge that could not judge.
    #[must_use]
    pub fn denied(id: &str, reason: impl Into<String>) -> Self {
        let rule = Rule { layer: "kernel".into(), id: id.into(), reason: reason.into() };
        Self { verdict: Verdict::Deny, rules: vec![rule], policies: Vec::new() }
    }
}
