//! Checks that need more than one file: names that must exist, permissions, exceptions, policy cases.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    conversation::MODEL_CONNECTOR,
    decision::Evidence,
    exception::Class,
    id::OperationId,
    operation::{Companions, Effect, Operation},
    playbook::{Recovery, Step, Work},
};

use crate::{
    check_agents::{agent_operations, agent_uses, check_agents},
    check_operations::check_connectors,
    checker::Checker,
    load::Draft,
    model::{ExceptionRule, Expected, Where, WrittenAgent},
    problem::{Place, Problem, Problems, did_you_mean},
    recovery::{EffectOf, merged, refused},
    schema::{check_object_schema, leads_somewhere, violation_once},
};

/// What every check needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'d> {
    pub(crate) draft: &'d Draft,
    pub(crate) problems: &'d Problems,
    pub(crate) warnings: &'d Problems,
}

impl<'d> Context<'d> {
    /// The place of the value at a pointer in a file.
    pub(crate) fn place(&self, file: &str, at: &str) -> Place {
        self.draft.docs.get(file).map(|doc| doc.place(at)).unwrap_or_default()
    }

    pub(crate) fn wrong(
        &self,
        (file, at): (&str, &str),
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.problems.add(Problem::new(file, self.place(file, at), message, fix));
    }

    /// A fault at a byte offset in the text at a pointer: what is wrong, and what to do.
    pub(crate) fn wrong_in(
        &self,
        (file, at): (&str, &str),
        offset: usize,
        (message, fix): (String, String),
    ) {
        let doc = self.draft.docs.get(file);
        let place = doc.map(|doc| doc.place_in(at, offset)).unwrap_or_default();
        self.problems.add(Problem::new(file, place, message, fix));
    }

    pub(crate) fn operation(
        &self,
        id: &OperationId,
        (file, at): (&str, &str),
    ) -> Option<&'d Operation> {
        let found = self.draft.operations.get(id);
        if found.is_none() {
            let fix =
                did_you_mean(id.as_str(), self.draft.operations.keys().map(OperationId::as_str));
            self.wrong((file, at), format!("no operation `{id}`"), fix);
        }
        found.map(|operation| &**operation)
    }

    pub(crate) fn agent(&self, name: &str, spot: (&str, &str)) -> Option<&'d WrittenAgent> {
        let found = self.draft.agent(name);
        if found.is_none() {
            let names = self.draft.agents.iter().map(|(_, agent)| agent.name.as_str());
            self.wrong(spot, format!("no agent `{name}`"), did_you_mean(name, names));
        }
        found
    }

    /// What an operation of the pack does to the world.
    pub(crate) fn effect_of(&self, id: &OperationId) -> Option<Effect> {
        self.draft.operations.get(id).map(|operation| operation.facts.effect)
    }

    /// Says that a recovery cannot help where it stands.
    pub(crate) fn refuse_useless(
        &self,
        (recovery, class): (&Recovery, Class),
        operation: Option<&Operation>,
        spot: (&str, &str),
    ) {
        let refused = refused(recovery, class, operation, &|id| self.effect_of(id));
        if let Some(why) = refused {
            let message =
                format!("`{}` after `{}` is refused: {why}", recovery.name(), class.name());
            self.wrong(spot, message, "use another recovery");
        }
    }

    pub(crate) fn role(&self, role: &str, (file, at): (&str, &str)) {
        let roles = &self.draft.manifest.roles;
        if !roles.contains(role) && !role.is_empty() {
            let fix = match did_you_mean(role, roles.iter().map(String::as_str)) {
                fix if fix.starts_with("did") => fix,
                _ => format!("add `{role}` to `roles` in pack.yaml"),
            };
            self.wrong((file, at), format!("no role `{role}`"), fix);
        }
    }
}

/// Checks everything against everything; what is wrong goes to `problems`, the rest is returned.
pub(crate) fn check_draft(draft: &Draft, problems: &Problems) -> Problems {
    let warnings = Problems::default();
    let context = Context { draft, problems, warnings: &warnings };
    check_intents(context);
    check_connectors(context);
    check_exceptions(context);
    check_playbooks(context);
    check_agents(context);
    check_asks(context);
    check_cases(context);
    warnings
}

fn check_intents(context: Context<'_>) {
    for (file, intent) in &context.draft.intents {
        for (at, message, fix) in check_object_schema(&intent.input) {
            context.wrong((file, &format!("/input{at}")), message, fix);
        }
        if let Some(agent) = &intent.hands_to {
            context.agent(agent, (file, "/hands_to"));
        } else if context.draft.playbook(&intent.playbook).is_none() {
            let names = context.draft.playbooks.iter().map(|(_, playbook)| playbook.name.as_str());
            let fix = did_you_mean(&intent.playbook, names);
            context.wrong((file, "/playbook"), format!("no playbook `{}`", intent.playbook), fix);
        }
        for (subject, pointer) in &intent.subjects {
            if !leads_somewhere(&intent.input, pointer) {
                let message = format!("`{pointer}` names no input");
                let fix = did_you_mean(
                    pointer.trim_start_matches('/'),
                    crate::binding::properties(&intent.input),
                );
                context.wrong((file, &format!("/subjects/{subject}")), message, fix);
            }
        }
        if intent.triggers.is_empty() && intent.examples.is_empty() {
            let place = context.place(file, "");
            let message = "nothing routes to this intent: it has neither triggers nor examples";
            context.warnings.add(Problem::new(
                file,
                place,
                message,
                "add some, or name it explicitly",
            ));
        }
    }
}

fn check_playbooks(context: Context<'_>) {
    if has_recursion(context) {
        return;
    }
    let checker = Checker::new(context);
    for (file, playbook) in &context.draft.playbooks {
        checker.check_playbook(&playbook.name);
        let started =
            context.draft.intents.iter().any(|(_, intent)| intent.playbook == playbook.name);
        let called = context
            .draft
            .playbooks
            .iter()
            .any(|(_, other)| calls(context.draft, &other.steps).contains(&playbook.name));
        let called = called || is_tool(context.draft, &playbook.name);
        if !started && !called {
            let place = context.place(file, "/name");
            let message = "no intent starts this playbook and no other playbook calls it";
            context.warnings.add(Problem::new(
                file,
                place,
                message,
                "name it in an intent, or remove it",
            ));
        }
    }
}

/// Whether an agent may call a playbook.
fn is_tool(draft: &Draft, playbook: &str) -> bool {
    let mut tools = draft.agents.iter().flat_map(|(_, agent)| &agent.playbooks);
    tools.any(|tool| tool.what == playbook)
}

/// Names of the playbooks that these steps call, by themselves or through an agent.
fn calls(draft: &Draft, steps: &[Step]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    kernel::playbook::visit_steps(steps, &mut |_, step| match &step.work {
        Work::Playbook { name, .. } => {
            names.insert(name.clone());
        }
        Work::Agent { agent, .. } => {
            let tools = draft.agent(&agent.name).map(|agent| &agent.playbooks);
            names.extend(tools.into_iter().flatten().map(|tool| tool.what.clone()));
        }
        _ => {}
    });
    names
}

fn has_recursion(context: Context<'_>) -> bool {
    let graph: BTreeMap<&str, BTreeSet<String>> = context
        .draft
        .playbooks
        .iter()
        .map(|(_, playbook)| (playbook.name.as_str(), calls(context.draft, &playbook.steps)))
        .collect();
    let mut found = false;
    for (file, playbook) in &context.draft.playbooks {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut todo: Vec<&str> = vec![&playbook.name];
        while let Some(name) = todo.pop() {
            for next in graph.get(name).into_iter().flatten() {
                if reached.insert(next) {
                    todo.push(next);
                }
            }
        }
        if reached.contains(playbook.name.as_str()) {
            found = true;
            let message = format!("`{}` calls itself, directly or through others", playbook.name);
            context.wrong(
                (file, "/name"),
                message,
                "break the circle; use `for_each` to repeat steps",
            );
        }
    }
    found
}

/// Every operation that these steps may use: their own, fallbacks, and companions of all of them.
pub(crate) fn used_operations(
    draft: &Draft,
    playbook: &str,
    steps: &[Step],
) -> BTreeSet<OperationId> {
    let mut used = BTreeSet::new();
    let mut todo: Vec<OperationId> = Vec::new();
    kernel::playbook::visit_steps(steps, &mut |_, step| {
        if let Work::Agent { agent, .. } = &step.work {
            let agents = draft.agent(&agent.name).into_iter();
            todo.extend(agents.flat_map(|agent| agent_operations(draft, agent)));
        }
        let Work::Do { operation, .. } = &step.work else { return };
        todo.push(operation.clone());
        todo.extend(step.undo.iter().map(|undo| undo.operation.clone()));
        let Some(operation) = draft.operations.get(operation) else { return };
        let other = |id: &OperationId| draft.operations.get(id).map(|other| other.facts.effect);
        let site = (&**operation, &other as EffectOf<'_>);
        for recovery in
            merged(&step.on_failure, &draft.exceptions, playbook, site).values().flatten()
        {
            if let Recovery::Fallback { operation, .. } = recovery {
                todo.push(operation.clone());
            }
        }
    });
    while let Some(id) = todo.pop() {
        if !used.insert(id.clone()) {
            continue;
        }
        if let Some(operation) = draft.operations.get(&id) {
            todo.extend(companion_operations(&operation.companions));
        }
    }
    used
}

fn companion_operations(companions: &Companions) -> Vec<OperationId> {
    let probe = companions.probe.iter().map(|probe| &probe.call);
    let others = [&companions.before, &companions.preview, &companions.undo_with];
    probe.chain(others.into_iter().flatten()).map(|call| call.operation.clone()).collect()
}

/// Whether an operation is a tool of a server of MCP whose answers are passed on as they come.
fn is_passed_on(draft: &Draft, id: &OperationId) -> bool {
    let binding = draft.operations.get(id).map(|operation| &operation.binding);
    binding.is_some_and(|binding| binding["kind"] == "mcp" && binding["answer"] == "whole")
}

fn check_asks(context: Context<'_>) {
    let draft = context.draft;
    let asks = &draft.manifest.asks;
    let mut used: BTreeMap<OperationId, (String, String)> = BTreeMap::new();
    for (file, playbook) in &draft.playbooks {
        for id in used_operations(draft, &playbook.name, &playbook.steps) {
            used.entry(id).or_insert_with(|| (file.clone(), playbook.name.clone()));
        }
    }
    for (file, agent) in &draft.agents {
        for id in agent_uses(draft, agent) {
            used.entry(id).or_insert_with(|| (file.clone(), agent.name.clone()));
        }
    }
    // What clients of the proxy use needs no playbook.
    let passed_on = asks.operations.iter().filter(|id| is_passed_on(draft, id));
    for id in passed_on {
        used.entry(id.clone()).or_insert_with(|| ("pack.yaml".to_owned(), "the proxy".to_owned()));
    }
    let is_model = |id: &OperationId| id.connector() == MODEL_CONNECTOR;
    for (id, (file, playbook)) in &used {
        if (draft.operations.contains_key(id) || is_model(id)) && !asks.operations.contains(id) {
            let message =
                format!("`{playbook}` ({file}) uses `{id}`, which the pack does not ask for");
            context.wrong(
                ("pack.yaml", "/asks/operations"),
                message,
                format!("add `{id}` to `asks.operations`"),
            );
        }
    }
    for (index, id) in listed(context, "/asks/operations") {
        let at = format!("/asks/operations/{index}");
        let Ok(id) = id.parse::<OperationId>() else { continue };
        let known = is_model(&id) || context.operation(&id, ("pack.yaml", &at)).is_some();
        if known && !used.contains_key(&id) {
            let message = format!("`{id}` is asked for, but no playbook uses it");
            context.wrong(
                ("pack.yaml", &at),
                message,
                "leave it out: a pack asks for what it needs",
            );
        }
    }
    let secrets = draft
        .connectors
        .iter()
        .flat_map(|(_, connector)| connector.secrets.iter().cloned())
        .collect();
    check_both_ways(context, "secrets", &asks.secrets, &secrets);
    let egress: BTreeSet<String> = used
        .keys()
        .filter_map(|id| draft.operations.get(id))
        .filter(|operation| operation.facts.egress)
        .filter_map(|operation| {
            Some(format!("system:{}", operation.binding.get("system")?.as_str()?))
        })
        .collect();
    let systems = asks.egress.iter().filter(|name| name.starts_with("system:")).cloned().collect();
    check_both_ways(context, "egress", &systems, &egress);
}

/// The texts of a list in `pack.yaml`, with their positions in it.
fn listed(context: Context<'_>, at: &str) -> Vec<(usize, String)> {
    let node = context.draft.docs.get("pack.yaml").and_then(|doc| doc.node(at));
    let value = node.map(crate::yaml::Node::to_value).unwrap_or_default();
    let texts = value.as_array().into_iter().flatten().enumerate();
    texts.filter_map(|(index, item)| Some((index, item.as_str()?.to_owned()))).collect()
}

fn check_both_ways(
    context: Context<'_>,
    what: &str,
    asked: &BTreeSet<String>,
    used: &BTreeSet<String>,
) {
    let at = format!("/asks/{what}");
    for name in used.difference(asked) {
        let fix = format!("add `{name}` to `asks.{what}`");
        context.wrong(
            ("pack.yaml", &at),
            format!("`{name}` is used, but the pack does not ask for it"),
            fix,
        );
    }
    for (index, name) in listed(context, &at) {
        if asked.contains(&name) && !used.contains(&name) {
            let fix = did_you_mean(&name, used.iter().map(String::as_str));
            let message = format!("`{name}` is asked for, but no connector uses it");
            context.wrong(("pack.yaml", &format!("{at}/{index}")), message, fix);
        }
    }
}

fn check_exceptions(context: Context<'_>) {
    let checker = Checker::new(context);
    for (index, rule) in context.draft.exceptions.iter().enumerate() {
        let (file, at) = (rule.file.as_str(), rule.scope_at.as_str());
        let operation = match &rule.scope {
            Where::Anywhere => None,
            Where::Operation(id) => context.operation(id, (file, at)),
            Where::Playbook(name) => {
                check_playbook_name(context, name, (file, at));
                None
            }
        };
        let mut earlier = context.draft.exceptions.iter().take(index);
        let twice = |other: &&ExceptionRule| {
            other.file != rule.file && other.scope == rule.scope && other.class == rule.class
        };
        if let Some(other) = earlier.find(twice) {
            let message = format!("`{}` has a rule in {} already", rule.class.name(), other.file);
            context.wrong((file, at), message, "keep one of the two");
        }
        for (index, recovery) in rule.recoveries.iter().enumerate() {
            let base = checker.recovery_at(file, &rule.at, index);
            checker.check_shared_recovery(recovery, file, &base);
            context.refuse_useless((recovery, rule.class), operation, (file, &base));
        }
    }
}

pub(crate) fn check_playbook_name(context: Context<'_>, name: &str, spot: (&str, &str)) {
    if context.draft.playbook(name).is_some() {
        return;
    }
    let names = context.draft.playbooks.iter().map(|(_, playbook)| playbook.name.as_str());
    let names = names.chain(context.draft.operations.keys().map(OperationId::as_str));
    context.wrong(spot, format!("no playbook `{name}`"), did_you_mean(name, names));
}

fn check_cases(context: Context<'_>) {
    for case in &context.draft.cases {
        let wrong = |message: String, fix: String| {
            context.problems.add(Problem::new(&case.file, case.place, message, fix));
        };
        let Some(operation) = context.draft.operations.get(&case.operation) else {
            let known = context.draft.operations.keys().map(OperationId::as_str);
            let fix = did_you_mean(case.operation.as_str(), known);
            wrong(format!("no operation `{}`", case.operation), fix);
            continue;
        };
        if let Some(violation) = violation_once(&operation.input, &case.args) {
            let message = format!("`args{}` {}", violation.at, violation.problem);
            wrong(message, format!("see the input of `{}`", case.operation));
        }
        let Evidence { approvals, .. } = &case.evidence;
        let expected = match &case.expect {
            Expected::Ask(approvals) => Some(approvals),
            Expected::Allow | Expected::Deny => None,
        };
        for role in approvals.keys().chain(expected.into_iter().flat_map(BTreeMap::keys)) {
            if !context.draft.manifest.roles.contains(role) {
                let fix =
                    did_you_mean(role, context.draft.manifest.roles.iter().map(String::as_str));
                wrong(format!("no role `{role}`"), fix);
            }
        }
    }
}
