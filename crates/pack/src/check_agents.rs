//! Checks of agents: what they name must exist, and what they check must be checkable.

use std::collections::{BTreeMap, BTreeSet};

use expr::Type;
use kernel::{
    conversation::MODEL_CONNECTOR,
    id::OperationId,
    playbook::{Step, Work},
};

use crate::{
    check::{Context, check_playbook_name, used_operations},
    checker::Checker,
    load::Draft,
    model::WrittenAgent,
    problem::did_you_mean,
};

/// The role that answers an agent's questions about what it does not see, where the pack asks for it.
pub(crate) const SMALL_ROLE: &str = "small";

/// Which role answers an agent's questions; its own where the pack asks for no small one.
pub(crate) fn extract_role(agent: &WrittenAgent, asked: &BTreeSet<OperationId>) -> Option<String> {
    let id = format!("{MODEL_CONNECTOR}.{SMALL_ROLE}").parse::<OperationId>().ok()?;
    let has_small = !agent.extracts.is_empty() && asked.contains(&id);
    has_small.then(|| SMALL_ROLE.to_owned())
}

/// Operations that an agent names, its models among them.
pub(crate) fn agent_operations(draft: &Draft, agent: &WrittenAgent) -> Vec<OperationId> {
    let small = extract_role(agent, &draft.manifest.asks.operations);
    let roles = std::iter::once(&agent.role).chain(&agent.summary_role).chain(&small);
    let models = roles.map(|role| format!("{MODEL_CONNECTOR}.{role}"));
    let tools = agent.operations.iter().map(|tool| tool.what.clone());
    models.chain(tools).filter_map(|id| id.parse().ok()).collect()
}

/// Every operation that an agent may use: its own, those of the playbooks it calls, and companions.
pub(crate) fn agent_uses(draft: &Draft, agent: &WrittenAgent) -> BTreeSet<OperationId> {
    let step = Step {
        id: agent.name.clone(),
        work: Work::Agent {
            agent: Box::new(kernel::agent::Agent::named(agent.name.clone())),
            with: serde_json::Value::Null,
        },
        when: None,
        expect: Vec::new(),
        on_failure: BTreeMap::new(),
        undo: None,
        caveat: None,
    };
    used_operations(draft, &agent.name, &[step])
}

pub(crate) fn check_agents(context: Context<'_>) {
    let checker = Checker::new(context);
    for (file, connector) in &context.draft.connectors {
        if connector.name == MODEL_CONNECTOR {
            let message = format!("`{MODEL_CONNECTOR}` names the operator's models");
            context.wrong((file, "/name"), message, "give the connector another name");
        }
    }
    for (file, agent) in &context.draft.agents {
        for (index, tool) in agent.operations.iter().enumerate() {
            let Ok(id) = tool.what.parse::<OperationId>() else { continue };
            context.operation(&id, (file, &format!("/uses/{index}")));
        }
        for (index, tool) in agent.playbooks.iter().enumerate() {
            check_playbook_name(context, &tool.what, (file, &format!("/playbooks/{index}")));
        }
        for (index, name) in agent.skills.iter().enumerate() {
            if !context.draft.skills.contains_key(name) {
                let fix = did_you_mean(name, context.draft.skills.keys().map(String::as_str));
                let spot = format!("/skills/{index}");
                context.wrong((file, &spot), format!("no skill `{name}`"), fix);
            }
        }
        if let Some(role) = &agent.asks {
            context.role(role, (file, "/asks"));
        }
        for (at, schema) in [("/input", &agent.input), ("/output", &agent.output)] {
            if let Some(schema) = schema {
                checker.schema((file, at), schema);
            }
        }
        let output = agent.output.as_ref().map_or(Type::String, |output| Type::from_schema(output));
        for (index, check) in agent.accept.iter().enumerate() {
            checker.accept((file, &format!("/accept/{index}/that")), &check.that, &output);
        }
    }
}
