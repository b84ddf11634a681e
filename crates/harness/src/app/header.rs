//! The header of a new run, for everything that opens one: requests, the drill of a backup, pack tests.

use std::collections::BTreeMap;

use kernel::{
    Digest,
    approval::ApproverRule,
    budget::Budget,
    event::{Header, MACHINE},
    id::Tenant,
    operation::Operation,
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
    let servers: BTreeMap<_, _> =
        config.systems.keys().filter_map(|name| Some((name, place_of(config, name)?))).collect();
    if let (Some(pinned), false) = (pinned.as_object_mut(), servers.is_empty()) {
        pinned.insert("servers".to_owned(), json!(servers));
    }
    let hooks: Vec<_> = config.hooks.iter().map(|one| (one.operation(), &one.matches)).collect();
    if let (Some(pinned), false) = (pinned.as_object_mut(), hooks.is_empty()) {
        pinned.insert("hooks".to_owned(), json!(hooks));
    }
    kernel::canon::digest(&pinned).unwrap_or_default()
}

/// Digest of where an MCP server is: its address or its program; none where the system is none.
pub(super) fn place_of(config: &Config, system: &str) -> Option<Digest> {
    match config.systems.get(system)? {
        connect::System::Mcp(server) => {
            kernel::canon::digest(&json!({"url": server.url, "run": server.run})).ok()
        }
        _ => None,
    }
}

/// Where each MCP server is that one of these operations calls, by name of its system.
pub(super) fn places_of<'o>(
    config: &Config,
    operations: impl Iterator<Item = &'o Operation>,
) -> BTreeMap<String, Digest> {
    let named = operations.filter_map(|operation| operation.binding.get("system")?.as_str());
    named.filter_map(|name| Some((name.to_owned(), place_of(config, name)?))).collect()
}
