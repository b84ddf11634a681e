//! What a pack holds once it is read: definitions as people wrote them, in kernel terms where those fit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    LabelMap,
    agent::{Acceptance, Context, Guide, Limits, Noting, Results},
    decision::{Autonomy, Evidence, Mode},
    exception::Class,
    extract::Extract,
    id::{OperationId, PrincipalId},
    label::Label,
    operation::Operation,
    playbook::{Recovery, Step},
    sensor::Sensor,
};
use serde::Serialize;
use serde_json::Value;

use crate::problem::Place;

/// `pack.yaml`: who it is and what it asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// Name, also of its folder.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Who answers for it.
    pub owner: String,
    /// One paragraph.
    pub description: String,
    /// Versions of the harness it needs, such as `>=0.1`.
    pub harness: String,
    /// What it asks the operator for.
    pub asks: Asked,
    /// Roles its steps, recoveries and policy cases name.
    pub roles: BTreeSet<String>,
    /// Values every playbook reads as `pack`.
    pub constants: Value,
}

/// Permissions a pack asks for; everything else is refused to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Exactly the operations its playbooks use, companions included.
    pub operations: BTreeSet<OperationId>,
    /// Names of secrets its connectors use.
    pub secrets: BTreeSet<String>,
    /// Hosts, or `system:<name>` for a declared system through which something leaves.
    pub egress: BTreeSet<String>,
}

/// A typed request that people and programs can make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// Unique in the pack.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// JSON Schema of the inputs.
    pub input: Arc<Value>,
    /// The playbook that serves it; empty where an agent does.
    pub playbook: String,
    /// The model-driven agent that serves it.
    pub hands_to: Option<String>,
    /// The principal that proposes its actions, such as `agent:renewals`.
    pub agent: Option<PrincipalId>,
    /// Phrases that ask for it.
    pub triggers: Vec<String>,
    /// Whole requests that ask for it.
    pub examples: Vec<String>,
    /// What the inputs identify, such as `customer`, to a pointer into them.
    pub subjects: BTreeMap<String, String>,
}

/// A playbook as written: calls to other playbooks are not inlined yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Unique in the pack.
    pub name: String,
    /// JSON Schema of the inputs, when it does not take them from its intent.
    pub input: Option<Arc<Value>>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// An agent as written: what it may call is named, not looked up yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WrittenAgent {
    /// Unique in the pack.
    pub name: String,
    /// What a person reads.
    pub title: Option<String>,
    /// Which model: a role that the operator gives a provider.
    pub role: String,
    /// Which model sums up what no longer fits.
    pub summary_role: Option<String>,
    /// What it is told before everything else.
    pub instructions: String,
    /// JSON Schema of its task.
    pub input: Option<Arc<Value>>,
    /// Operations it may call.
    pub operations: Vec<Tool>,
    /// Playbooks it may call.
    pub playbooks: Vec<Tool>,
    /// JSON Schema of its answer.
    pub output: Option<Arc<Value>>,
    /// What must hold of its answer.
    pub accept: Vec<Acceptance>,
    /// What it is told where it helps.
    pub guides: Vec<Guide>,
    /// Names of skills it may load.
    pub skills: Vec<String>,
    /// Role that answers its questions.
    pub asks: Option<String>,
    /// What is put before it besides its task.
    pub context: Context,
    /// What looks at its results and its answer, acceptance checks that an operation makes included.
    pub sensors: Vec<Sensor>,
    /// Questions it may have answered about results that it does not see.
    pub extracts: Vec<Extract>,
    /// Whether it sees untrusted results.
    pub results: Results,
    /// Its limits.
    pub limits: Limits,
    /// Whether it may note something down for itself.
    pub noting: Noting,
}

/// Something an agent may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// The operation or the playbook.
    pub what: String,
    /// Its name for the model, when not its own.
    pub called: Option<String>,
    /// What the model is told about it, when not what its author wrote.
    pub description: Option<String>,
}

impl Tool {
    /// Its name on the wire.
    #[must_use]
    pub fn wire_name(&self) -> String {
        self.called.clone().unwrap_or_else(|| self.what.replace('.', "_"))
    }
}

/// Which kind of outside system a connector speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectorKind {
    /// HTTP with JSON.
    Http,
    /// Parameterised statements.
    Sql,
    /// SMTP.
    Mail,
    /// A program in a sandbox.
    Process,
    /// Files of a folder, and a shell in it.
    Folder,
    /// Pages of the web, and searching.
    Web,
    /// Jobs that workers of an application come for.
    Worker,
    /// A server of the Model Context Protocol.
    Mcp,
    /// An agent of the Agent2Agent protocol.
    A2a,
    /// An agent of the Agent Client Protocol.
    Acp,
    /// Built into the harness.
    Builtin,
    /// Made by whoever asked: an agent that is not ours, with tools of its own.
    Outside,
}

impl ConnectorKind {
    /// The name used in packs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sql => "sql",
            Self::Mail => "mail",
            Self::Process => "process",
            Self::Folder => "folder",
            Self::Web => "web",
            Self::Worker => "worker",
            Self::Mcp => "mcp",
            Self::A2a => "a2a",
            Self::Acp => "acp",
            Self::Builtin => "builtin",
            Self::Outside => "outside",
        }
    }
}

/// A system and its operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connector {
    /// First part of its operations' ids.
    pub name: String,
    /// Which kind.
    pub kind: ConnectorKind,
    /// Entry of the operator's `[systems]`; none for builtins and for calls made outside.
    pub system: Option<String>,
    /// Secrets it names.
    pub secrets: BTreeSet<String>,
    /// Its operations.
    pub operations: Vec<Arc<Operation>>,
    /// What its operations say about their own failures.
    #[serde(skip)]
    pub(crate) rules: Vec<ExceptionRule>,
}

/// A declared recovery for a failure class somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExceptionRule {
    /// An operation, a playbook, or everywhere.
    pub scope: Where,
    /// The failure.
    pub class: Class,
    /// What is tried, in order.
    pub recoveries: Vec<Recovery>,
    /// Path inside the pack.
    #[serde(skip)]
    pub(crate) file: String,
    /// Pointer to what says where it holds.
    #[serde(skip)]
    pub(crate) scope_at: String,
    /// Pointer to its recoveries.
    #[serde(skip)]
    pub(crate) at: String,
}

/// Where a rule holds; [`crate::merged`] says which rule wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// In every step of this playbook.
    Playbook(String),
    /// In every step that uses this operation.
    Operation(OperationId),
    /// In every step.
    Anywhere,
}

/// What a KPI computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// How many.
    Count,
    /// Total of `value`.
    Sum,
    /// Mean of `value`.
    Avg,
    /// Share of all that fit `where`.
    Ratio,
    /// The `percentile` of `value`.
    Percentile,
}

/// What a KPI looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Runs of this pack.
    Runs,
    /// Actions proposed.
    Actions,
    /// Asks and their answers.
    Approvals,
    /// Exceptions opened.
    Exceptions,
    /// What went wrong, each time, with its class.
    Failures,
    /// Receipts.
    Receipts,
    /// Money moved.
    Money,
    /// Model tokens of agents that stopped.
    Tokens,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More.
    Up,
    /// Less.
    Down,
}

/// A measure with its target. Only the definition: it is computed from journals elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kpi {
    /// Unique in the pack.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// Unit of the value, such as `percent` or `ms`.
    pub unit: String,
    /// What is computed.
    pub measure: Measure,
    /// Over what.
    pub of: Subject,
    /// Expression over one item that must hold for it to count.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Expression over one item that gives its number.
    pub value: Option<String>,
    /// Which percentile, 1 to 99.
    pub percentile: Option<u8>,
    /// Expression over one item that groups.
    pub by: Option<String>,
    /// How far back, in milliseconds.
    pub window_ms: i64,
    /// The number to reach, in `unit`.
    pub target: Option<Value>,
    /// Which way is better.
    pub direction: Direction,
}

/// Policy text, kept as it stands; `policy` reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyText {
    /// Path inside the pack.
    pub file: String,
    /// Cedar.
    pub text: String,
}

/// What a policy case must give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Allowed as it is.
    Allow,
    /// Allowed once these approvals are there.
    Ask(BTreeMap<String, u32>),
    /// Denied, whatever is added.
    Deny,
}

/// An example request with the verdict it must get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyCase {
    /// What it shows.
    pub name: String,
    /// Who proposes.
    pub agent: PrincipalId,
    /// Roles of the agent.
    pub roles: BTreeSet<String>,
    /// Whom it acts for; the agent's own id when absent.
    pub on_behalf_of: Option<PrincipalId>,
    /// Which operation.
    pub operation: OperationId,
    /// With which arguments.
    pub args: Value,
    /// Labels of the arguments.
    pub arg_labels: LabelMap,
    /// Label of the action's existence.
    pub existence: Label,
    /// What is proven.
    pub evidence: Evidence,
    /// How much the run may do by itself.
    pub autonomy: Autonomy,
    /// What it is done for.
    pub mode: Mode,
    /// The verdict.
    pub expect: Expected,
    /// Rules that must speak; empty = not looked at.
    pub rules: BTreeSet<String>,
    /// Path inside the pack.
    pub file: String,
    /// Where the case stands.
    pub place: Place,
}
