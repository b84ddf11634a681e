//! The header of a new run, for everything that opens one: requests, the drill of a backup, pack tests.

use std::collections::BTreeMap;

use kernel::{
    Digest,
    approval::ApproverRule,
    budget::Budget,
    event::{Header, MACHINE},
    id::Tenant,
    plan::Plan,
    principal::{Chain, Grant},
};
use pack::Manifest;
use serde_json::json;

use super::{config::Config, shelf::Stock};

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

/// Digest of the configuration that can change what a run does.
pub(super) fn config_digest(config: &Config, tenant: &Tenant, stock: &Stock) -> Digest {
    let mut pinned = json!({
        "tenant": tenant,
        "budget": config.budget,
        "approvers": config.approvers,
        "models": stock.operator().models,
        "systems": config.systems.iter().map(|(name, s)| (name, s.kind())).collect::<BTreeMap<_, _>>(),
    });
    // What programs run in, as it was declared: other walls are another configuration, in every receipt.
    let walled = |(_, system): &(&String, &connect::System)| {
        use connect::System::{Acp, Folder, Process};
        matches!(system, Process(_) | Folder(_) | Acp(_))
    };
    let sandboxes: BTreeMap<_, _> = config.systems.iter().filter(walled).collect();
    if let (Some(pinned), false) = (pinned.as_object_mut(), sandboxes.is_empty()) {
        pinned.insert("sandboxes".to_owned(), json!(sandboxes));
    }
    let hooks: Vec<_> = config.hooks.iter().map(|one| (one.operation(), &one.matches)).collect();
    if let (Some(pinned), false) = (pinned.as_object_mut(), hooks.is_empty()) {
        pinned.insert("hooks".to_owned(), json!(hooks));
    }
    kernel::canon::digest(&pinned).unwrap_or_default()
}
