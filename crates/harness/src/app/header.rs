//! The header of a new run, for everything that opens one: requests, the drill of a backup, pack tests.

use kernel::{
    Digest,
    approval::ApproverRule,
    budget::Budget,
    event::{Header, MACHINE},
    plan::Plan,
    principal::{Chain, Grant},
};
use pack::Manifest;

/// Pins everything that can change what the run does: the plan says which, its digest is the pin.
pub(crate) fn pin_header(
    chain: Chain,
    manifest: &Manifest,
    (plan, digest): (&Plan, Digest),
    grant: Grant,
    (budget, approvers): (Budget, ApproverRule),
) -> Header {
    Header {
        machine: MACHINE,
        chain,
        intent: plan.intent.clone(),
        pack: format!("{}@{}", manifest.name, manifest.version),
        pack_digest: plan.pack_digest,
        plan: digest,
        policy: plan.policy_digest,
        config: plan.config_digest,
        grant,
        budget,
        approvers,
        autonomy: Default::default(),
        mode: Default::default(),
        owner: manifest.owner.clone(),
        unusual: Vec::new(),
        submitted_by: None,
    }
}
