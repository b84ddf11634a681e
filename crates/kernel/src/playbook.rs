//! The compiled playbook: steps people wrote, as data. Expressions stay source text here; the planner
//! compiles them and the pack has type-checked them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::{Agent, Does},
    exception::Class,
    id::OperationId,
    operation::Companion,
};

/// Most steps of one playbook, inlined ones included.
pub const STEPS_MAX: usize = 500;

/// Most turns of one `for_each`.
pub const FOR_EACH_MAX: u32 = 10_000;

/// A compiled playbook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Its name.
    pub name: String,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique among its siblings; paths join ids with `/` and loop turns as `[n]`.
    pub id: String,
    /// What it does.
    pub work: Work,
    /// Expression that must be true, else the step is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Checks on the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
    /// Class → recoveries in order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on_failure: BTreeMap<Class, Vec<Recovery>>,
    /// Replaces the operation's own undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Companion>,
    /// Said with the result whenever this step contributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Work {
    /// Uses an operation.
    Do {
        /// Which.
        operation: OperationId,
        /// Arguments: JSON in which strings may hold `${{ … }}`.
        with: Value,
    },
    /// Asks a person a typed question.
    Ask {
        /// The question: text that may hold `${{ … }}`.
        question: String,
        /// JSON Schema of the answer.
        answer: Value,
        /// Role that may answer.
        role: String,
        /// How long it stays open, in milliseconds.
        expires_ms: i64,
    },
    /// Hands a task to a model-driven agent.
    Agent {
        /// Which.
        agent: Box<Agent>,
        /// Its task, as [`Work::Do`].
        with: Value,
    },
    /// Runs steps of another playbook in this run, with its own `intent` scope.
    Playbook {
        /// Which.
        name: String,
        /// Inputs, as [`Work::Do`].
        with: Value,
        /// Its steps, inlined.
        steps: Vec<Step>,
    },
    /// Runs branches side by side.
    Parallel {
        /// One step each.
        branches: Vec<Step>,
    },
    /// Runs steps for each item of a list.
    ForEach {
        /// Expression that gives the list.
        items: String,
        /// Name of the loop variable.
        var: String,
        /// Most turns; a longer list is a failure, never cut.
        max: u32,
        /// The body.
        steps: Vec<Step>,
        /// Value of each turn; the step's output is the list of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        collect: Option<Value>,
    },
    /// Waits for a time span.
    Sleep {
        /// Milliseconds.
        ms: i64,
    },
    /// Waits for a named signal.
    Await {
        /// Signal name: text that may hold `${{ … }}`.
        signal: String,
        /// How long, in milliseconds.
        timeout_ms: i64,
    },
    /// Ends the playbook with a value.
    Return {
        /// JSON in which strings may hold `${{ … }}`.
        value: Value,
    },
}

/// A check on a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Expression over `result` and the usual roots.
    pub that: String,
    /// The class it fails with.
    pub class: Class,
}

/// A declared way out of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "recovery")]
pub enum Recovery {
    /// Again, after a growing pause.
    Retry {
        /// Tries beyond the first.
        times: u32,
        /// First pause in milliseconds; doubles, with jitter from the run id.
        delay_ms: i64,
    },
    /// Another operation instead.
    Fallback {
        /// Which.
        operation: OperationId,
        /// Its arguments.
        with: Value,
        /// What the reader must know.
        caveat: String,
    },
    /// Go on without this result.
    Partial {
        /// Stands in for the output.
        value: Value,
        /// What the reader must know.
        caveat: String,
        /// Operations that must not be used for the rest of the run.
        #[serde(default)]
        forbid: BTreeSet<OperationId>,
    },
    /// Ask a person a typed question whose answer stands in for the output.
    Clarify {
        /// The question.
        question: String,
        /// JSON Schema of the answer.
        answer: Value,
        /// Role that may answer.
        role: String,
        /// How long it stays open, in milliseconds.
        expires_ms: i64,
    },
    /// Hand over to a person and wait.
    Escalate {
        /// Role that owns it.
        owner: String,
    },
    /// End the run; take back what was done.
    Stop,
    /// Note it and go on with JSON null.
    Log {
        /// What the reader must know.
        caveat: String,
    },
}

impl Recovery {
    /// The name used in packs and events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::Fallback { .. } => "fallback",
            Self::Partial { .. } => "partial",
            Self::Clarify { .. } => "clarify",
            Self::Escalate { .. } => "escalate",
            Self::Stop => "stop",
            Self::Log { .. } => "log",
        }
    }
}

/// Calls `visit` with every step and its static path (loop turns shown as `[]`), parents first.
pub fn visit_steps<'a>(steps: &'a [Step], visit: &mut dyn FnMut(&str, &'a Step)) {
    fn walk<'a>(at: &str, steps: &'a [Step], visit: &mut dyn FnMut(&str, &'a Step)) {
        for step in steps {
            let path = join_path(at, &step.id);
            visit(&path, step);
            match &step.work {
                Work::Playbook { steps, .. } => walk(&path, steps, visit),
                Work::Parallel { branches } => walk(&path, branches, visit),
                Work::ForEach { steps, .. } => walk(&format!("{path}[]"), steps, visit),
                Work::Agent { agent, .. } => {
                    for tool in &agent.tools {
                        if let Does::Playbook { name, steps } = &tool.does {
                            walk(&call_path(&path, name), steps, visit);
                        }
                    }
                }
                Work::Do { .. }
                | Work::Ask { .. }
                | Work::Sleep { .. }
                | Work::Await { .. }
                | Work::Return { .. } => {}
            }
        }
    }
    walk("", steps, visit);
}

/// Static path of an agent's model calls.
#[must_use]
pub fn think_path(agent: &str) -> String {
    format!("{agent}/think[]")
}

/// Static path of the model calls that answer an agent's questions about what it does not see.
#[must_use]
pub fn extract_path(agent: &str) -> String {
    call_path(agent, "extract")
}

/// Static path of the read that an agent is reminded by.
#[must_use]
pub fn memory_path(agent: &str) -> String {
    call_path(agent, "memory")
}

/// Static path of the looks of hooks at moments of an agent.
#[must_use]
pub fn look_path(agent: &str) -> String {
    call_path(agent, "hook")
}

/// Static path of what an agent's sensors call.
#[must_use]
pub fn sense_path(agent: &str) -> String {
    call_path(agent, "sense")
}

/// Static path of what is proposed to put right what an agent's sensors found.
#[must_use]
pub fn fix_path(agent: &str) -> String {
    call_path(agent, "fix")
}

/// Static path of an agent's calls of one operation or playbook.
#[must_use]
pub fn call_path(agent: &str, what: &str) -> String {
    format!("{agent}/{what}[]")
}

/// Joins a parent path and a step id.
#[must_use]
pub fn join_path(parent: &str, id: &str) -> String {
    if parent.is_empty() { id.to_owned() } else { format!("{parent}/{id}") }
}

/// The static form of a path: every `[n]` becomes `[]`.
#[must_use]
pub fn static_path(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        if c == ']' {
            inside = false;
        }
        if !inside {
            text.push(c);
        }
        if c == '[' {
            inside = true;
        }
    }
    text
}
