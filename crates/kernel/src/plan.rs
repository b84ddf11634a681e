//! What a run may do: compiled, hashed and stored before any effect.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    canon,
    hook::Hook,
    id::{Digest, OperationId, PrincipalId},
    kept::read_path,
    money::Money,
    operation::Facts,
    playbook::{Playbook, Work, look_path, visit_steps},
};

/// Whether a step will stop for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "asks")]
pub enum Asks {
    /// Never.
    No,
    /// Always, whatever the arguments.
    Always {
        /// Roles and numbers.
        approvals: BTreeMap<String, u32>,
        /// Rules that ask.
        rules: Vec<String>,
    },
    /// Depending on these arguments or on labels.
    Maybe {
        /// Roles and numbers, at most.
        approvals: BTreeMap<String, u32>,
        /// Rules that may ask.
        rules: Vec<String>,
        /// Attributes the rules read, such as `args.amount`.
        depends_on: BTreeSet<String>,
    },
    /// Denied whatever happens.
    Denied {
        /// Rules that deny, or `no rule permits it`.
        rules: Vec<String>,
    },
}

/// One operation step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanStep {
    /// Static path: loop turns as `[]`.
    pub path: String,
    /// What it may call; the first is the step's own, the rest are fallbacks.
    pub operation: OperationId,
    /// Digest of that definition.
    pub definition: Digest,
    /// Effect facts.
    pub facts: Facts,
    /// Most times it can run.
    pub times_max: u64,
    /// Worst-case cost of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<Money>,
    /// Whether it runs only on a condition.
    pub conditional: bool,
    /// Whether it will ask.
    pub asks: Asks,
}

/// A stored plan. A function of inputs and of pack, policy and configuration digests only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Schema of this document.
    pub schema: String,
    /// The intent's name.
    pub intent: String,
    /// Digest of the canonical inputs. Kept out of hashed bodies and of anything exported alone. None where calls of any sort
    /// share the plan: what each is called with stands in its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Digest>,
    /// Pack name.
    pub pack: String,
    /// Pack version.
    pub pack_version: String,
    /// Pack digest.
    pub pack_digest: Digest,
    /// Policy bundle digest.
    pub policy_digest: Digest,
    /// Configuration digest.
    pub config_digest: Digest,
    /// Servers that others run and its operations call, by name of the system, each with a digest of where it is: what
    /// is approved is approved for these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, Digest>,
    /// What it may do, step by step.
    pub steps: Vec<PlanStep>,
    /// The playbook itself.
    pub playbook: Playbook,
    /// Constants of the pack, readable as `pack`.
    pub constants: Value,
    /// Who looks at its calls and agents, in the order in which they are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
}

impl Plan {
    /// The plan hash.
    ///
    /// # Errors
    /// When a literal in the playbook has no canonical form.
    pub fn digest(&self) -> Result<Digest, canon::Error> {
        canon::digest(self)
    }

    /// The plan step that allows this operation at this static path.
    #[must_use]
    pub fn step(&self, static_path: &str, operation: &OperationId) -> Option<&PlanStep> {
        self.steps.iter().find(|step| step.path == static_path && step.operation == *operation)
    }

    /// Whether this is a hook of the plan, and the static path one where it looks at a moment of an agent.
    #[must_use]
    pub fn looks(&self, static_path: &str, hook: &OperationId) -> bool {
        let is_it = |known: &&Hook| known.on.is_of_agent() && known.operation.id == *hook;
        let Some(hook) = self.hooks.iter().find(is_it) else { return false };
        let mut found = false;
        visit_steps(&self.playbook.steps, &mut |path, step| {
            let Work::Agent { agent, .. } = &step.work else { return };
            found |= hook.agents.contains(&agent.name) && look_path(path) == static_path;
        });
        found
    }

    /// Whether an agent reads its large results at this static path.
    #[must_use]
    pub fn reads_on(&self, static_path: &str) -> bool {
        let mut found = false;
        visit_steps(&self.playbook.steps, &mut |path, step| {
            found |= matches!(step.work, Work::Agent { .. }) && read_path(path) == static_path;
        });
        found
    }

    /// The agents inside whose steps this static path lies: for halts.
    #[must_use]
    pub fn agents_around(&self, static_path: &str) -> BTreeSet<PrincipalId> {
        let mut around = BTreeSet::new();
        visit_steps(&self.playbook.steps, &mut |path, step| {
            let Work::Agent { agent, .. } = &step.work else { return };
            if static_path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')) {
                around.extend(format!("agent:{}", agent.name).parse::<PrincipalId>());
            }
        });
        around
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::{Agent, AgentTool, Does},
        playbook::Step,
    };

    fn step(id: &str, work: Work) -> Step {
        Step {
            id: id.to_owned(),
            work,
            when: None,
            expect: Vec::new(),
            on_failure: BTreeMap::new(),
            undo: None,
            caveat: None,
        }
    }

    fn agent(name: &str, tools: Vec<AgentTool>) -> Work {
        let agent = Box::new(Agent { tools, ..Agent::named(name.to_owned()) });
        Work::Agent { agent, with: Value::Null }
    }

    #[test]
    fn what_an_agent_does_lies_in_its_step_at_any_depth() {
        let inner = vec![step("think", agent("inner", Vec::new()))];
        let tool = AgentTool {
            name: "check".into(),
            description: String::new(),
            input: Default::default(),
            does: Does::Playbook { name: "check".into(), steps: inner },
        };
        let turns = Work::ForEach {
            items: "intent.all".into(),
            var: "one".into(),
            max: 9,
            steps: vec![step("ask", agent("outer", vec![tool]))],
            collect: None,
        };
        let plan = Plan {
            schema: String::new(),
            intent: String::new(),
            inputs: Some(Digest::default()),
            pack: String::new(),
            pack_version: String::new(),
            pack_digest: Digest::default(),
            policy_digest: Digest::default(),
            config_digest: Digest::default(),
            servers: Default::default(),
            steps: Vec::new(),
            playbook: Playbook { name: String::new(), steps: vec![step("each", turns)] },
            constants: Value::Null,
            hooks: Vec::new(),
        };
        let around = |path: &str| -> Vec<String> {
            plan.agents_around(path).iter().map(ToString::to_string).collect()
        };
        assert_eq!(around("each[]/ask/think[]"), ["agent:outer"]);
        assert_eq!(around("each[]/ask/mail.send[]!before"), ["agent:outer"]);
        let both = ["agent:inner", "agent:outer"];
        assert_eq!(around("each[]/ask/check[]/think/crm.get[]"), both);
        assert_eq!(around("each[]/asked"), Vec::<String>::new());
        assert_eq!(around("each[]/ask"), Vec::<String>::new(), "the step itself calls nothing");
    }
}
