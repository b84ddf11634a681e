//! Answers to asks: bound to one action digest, by someone who may, before they expire.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    id::{At, Digest, PrincipalId},
    principal::{Chain, Kind, Principal},
};

/// How long an ask stays open when nothing else is said: one day.
pub const ASK_EXPIRES_MS: i64 = 24 * 3_600_000;

/// Who may answer, beyond holding the role. Pinned with the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproverRule {
    /// Whether the person the agent acts for may approve; recorded as self-approved when used.
    pub self_approval: SelfApproval,
    /// How long an ask stays open, in milliseconds.
    pub expires_ms: i64,
}

impl Default for ApproverRule {
    fn default() -> Self {
        Self { self_approval: SelfApproval::Refused, expires_ms: ASK_EXPIRES_MS }
    }
}

/// Whether requester and approver may be the same person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfApproval {
    /// Single-user mode: allowed, and said so in the receipt.
    Recorded,
    /// A second person is needed.
    Refused,
}

/// One person's yes to one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who, opaque.
    pub by: PrincipalId,
    /// Roles held when answering.
    pub roles: BTreeSet<String>,
    /// When.
    pub at: At,
    /// Digest of exactly what was approved.
    pub action: Digest,
    /// Digest of the card that was shown.
    pub shown: Digest,
    /// The person it acts for approved it.
    pub self_approved: bool,
}

/// Why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no open ask under this id.
    #[error("nothing is waiting for this answer; see `harness approval list`")]
    NotAsked,
    /// The digest is not the one that is asked about.
    #[error("this answers another version of the action; open the card again")]
    OtherAction,
    /// The ask has expired.
    #[error("the ask has expired; the action was denied")]
    Expired,
    /// Only people approve.
    #[error("agents and services never approve")]
    NotAPerson,
    /// The proposing agent never approves.
    #[error("the proposing agent never approves")]
    Proposer,
    /// The requester may not approve here.
    #[error("the person it acts for may not approve it here")]
    Requester,
    /// None of the roles asked for is held.
    #[error("none of the roles asked for is held")]
    NoRole,
    /// The same person twice.
    #[error("the same person has approved already; a quorum counts distinct people")]
    Twice,
}

/// Checks that a person may add to the approvals of an ask.
///
/// # Errors
/// The first reason why not.
pub fn check_approver(
    by: &Principal,
    chain: &Chain,
    rule: &ApproverRule,
    required: &BTreeMap<String, u32>,
    given: &[Approval],
) -> Result<(), Refusal> {
    if by.id == chain.agent.id {
        return Err(Refusal::Proposer);
    }
    if by.kind != Kind::Person {
        return Err(Refusal::NotAPerson);
    }
    if by.id == chain.on_behalf_of.id && rule.self_approval == SelfApproval::Refused {
        return Err(Refusal::Requester);
    }
    if !required.keys().any(|role| by.roles.contains(role)) {
        return Err(Refusal::NoRole);
    }
    if given.iter().any(|approval| approval.by == by.id) {
        return Err(Refusal::Twice);
    }
    Ok(())
}

/// Per role, how many distinct people approved exactly this action.
#[must_use]
pub fn count(approvals: &[Approval], action: &Digest) -> BTreeMap<String, u32> {
    let mut people: BTreeMap<&str, BTreeSet<&PrincipalId>> = BTreeMap::new();
    for approval in approvals.iter().filter(|approval| approval.action == *action) {
        for role in &approval.roles {
            people.entry(role).or_default().insert(&approval.by);
        }
    }
    people.into_iter().map(|(role, who)| (role.to_owned(), who.len() as u32)).collect()
}
