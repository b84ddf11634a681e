//! Checks of agents: what they name must exist, and what they check must be checkable.

use std::collections::{BTreeMap, BTreeSet};

use expr::Type;
use kernel::{
    conversation::MODEL_CONNECTOR,
    hook::HOOK_CONNECTOR,
    id::OperationId,
    kept::KEPT_CONNECTOR,
    playbook::{Step, Work},
    sensor::{Sense, Sensor, Stage, Voice},
};

use crate::{
    agent_sensors::JUDGE_ROLE,
    check::{Context, check_playbook_name, used_operations},
    checker::Checker,
    load::Draft,
    model::WrittenAgent,
    problem::did_you_mean,
    schema::leads_somewhere,
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
    let judge = JUDGE_ROLE.to_owned();
    let judges = agent.sensors.iter().any(|s| matches!(s.sense, Sense::Judge { .. }));
    let roles = std::iter::once(&agent.role).chain(&agent.summary_role).chain(&small);
    let roles = roles.chain(judges.then_some(&judge));
    let models = roles.map(|role| format!("{MODEL_CONNECTOR}.{role}"));
    let tools = agent.operations.iter().map(|tool| tool.what.clone());
    let named = models.chain(tools).filter_map(|id| id.parse().ok());
    let reminded = agent.context.memory.iter().map(|memory| memory.operation.clone());
    named.chain(agent.sensors.iter().flat_map(sensor_operations)).chain(reminded).collect()
}

/// What a sensor calls, its fix included; who judges is a role.
fn sensor_operations(sensor: &Sensor) -> Vec<OperationId> {
    let looks = match &sensor.sense {
        Sense::Do { operation, .. } => Some(operation.clone()),
        Sense::That { .. } | Sense::Judge { .. } => None,
    };
    looks.into_iter().chain(sensor.fix.iter().map(|fix| fix.operation.clone())).collect()
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
        if connector.name == KEPT_CONNECTOR {
            let message = format!("`{KEPT_CONNECTOR}` names the results that a run reads on in");
            context.wrong((file, "/name"), message, "give the connector another name");
        }
        if connector.name == HOOK_CONNECTOR {
            let message = format!("`{HOOK_CONNECTOR}` names the operator's hooks");
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
        check_answer(&checker, file, agent);
        check_context(&checker, file, agent);
    }
}

/// What is put before an agent besides its task.
fn check_context(checker: &Checker<'_>, file: &str, agent: &WrittenAgent) {
    let (types, none) = (checker.before(), BTreeSet::new());
    for (name, value) in agent.context.state.iter().flat_map(|state| &state.values) {
        let at = format!("/context/state/values/{}", kernel::pointer::escape(name));
        checker.template((file, &at), value, (&types, &none));
    }
    let Some(memory) = &agent.context.memory else { return };
    let spot = (file, "/context/memory/do");
    let Some(found) = checker.context.operation(&memory.operation, spot) else { return };
    if found.is_write() {
        let message = format!("`{}` changes something: nobody remembers by that", found.id);
        checker.context.wrong(spot, message, "name a read");
    }
    checker.args((file, "/context/memory/with"), &memory.with, (&types, &none), found);
}

/// What looks at an agent's results and its answer.
fn check_answer(checker: &Checker<'_>, file: &str, agent: &WrittenAgent) {
    let output = agent.output.as_ref().map_or(Type::String, |output| Type::from_schema(output));
    // Both kinds of checks stand in one list of the file.
    let sealed = |sensor: &&Sensor| sensor.voice == Voice::Sealed;
    let by_operation: BTreeSet<&str> =
        agent.sensors.iter().filter(sealed).map(|sensor| sensor.name.as_str()).collect();
    let places = (0..).filter(|index| !by_operation.contains(format!("accept-{index}").as_str()));
    for (check, index) in agent.accept.iter().zip(places) {
        checker.accept((file, &format!("/accept/{index}/that")), &check.that, &output);
    }
    let mut number = 0_usize;
    for sensor in &agent.sensors {
        let at = match (sensor.voice, sensor.name.strip_prefix("accept-")) {
            (Voice::Sealed, Some(index)) => format!("/accept/{index}"),
            _ => {
                number = number.saturating_add(1);
                format!("/sensors/{}", number.saturating_sub(1))
            }
        };
        check_sensor(checker, (file, &at), (sensor, agent), &output);
    }
}

fn check_sensor(
    checker: &Checker<'_>,
    (file, at): (&str, &str),
    (sensor, agent): (&Sensor, &WrittenAgent),
    output: &Type,
) {
    let context = checker.context;
    let mut result = output.clone();
    if let Stage::Result { operations } = &sensor.stage {
        for operation in operations {
            let found = context.operation(operation, (file, &format!("{at}/after")));
            result = found.map_or(Type::Any, |found| Type::from_schema(&found.output));
            if !agent.operations.iter().any(|tool| tool.what == operation.as_str()) {
                let message = format!("the agent does not use `{operation}`");
                let names = agent.operations.iter().map(|tool| tool.what.as_str());
                let fix = did_you_mean(operation.as_str(), names);
                context.wrong((file, &format!("{at}/after")), message, fix);
            }
        }
        // Of several operations it is not known which result it is.
        if operations.len() != 1 {
            result = Type::Any;
        }
    }
    let seen = checker.sensing(result);
    let none = BTreeSet::new();
    match &sensor.sense {
        Sense::That { that } => checker.condition((file, &format!("{at}/that")), that, &seen),
        Sense::Do { operation, with } => {
            let spot = format!("{at}/do");
            if let Some(found) = context.operation(operation, (file, &spot)) {
                if found.is_write() {
                    let message = format!("`{operation}` changes something: a sensor only looks");
                    context.wrong((file, &spot), message, "name a read; what changes is a `fix`");
                }
                if !leads_somewhere(&found.output, "/verdict") {
                    let message = format!("the output of `{operation}` has no `verdict`");
                    let fix = "a sensor returns `{verdict: pass|fail|not_run, message, findings?}`";
                    context.wrong((file, &spot), message, fix);
                }
                checker.args((file, &format!("{at}/with")), with, (&seen, &none), found);
            }
        }
        Sense::Judge { .. } => {}
    }
    if let Some(fix) = &sensor.fix {
        let found = context.operation(&fix.operation, (file, &format!("{at}/fix/do")));
        if let Some(found) = found {
            let seen = seen.with("findings", Type::Any).with("fix", Type::Any);
            checker.args((file, &format!("{at}/fix/with")), &fix.with, (&seen, &none), found);
        }
    }
}
