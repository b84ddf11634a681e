//! A compiled agent: what a model is told, what it may use, and when it is done. Data, pinned with the
//! plan that holds it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    conversation::{Source, tokens},
    extract::Extract,
    id::OperationId,
    operation::Effect,
    playbook::Step,
    sensor::Sensor,
};

/// Most values of a run that are put before an agent.
pub const STATE_VALUES_MAX: usize = 32;

/// Turns at the end of a conversation that are told again as they were when it is shortened.
pub const OUTPUT_TURNS: u32 = 4;

/// Most turns that a note is kept.
pub const NOTE_TURNS_MAX: u32 = 50;

/// Longest instructions or guide, in bytes.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;

/// Most turns of one agent, whatever its limits say.
pub const TURNS_MAX: u32 = 10_000;

/// An agent as a step of a playbook runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Which model: operation `model.<role>`.
    pub role: String,
    /// Which model sums up what no longer fits; absent = nothing is summed up, only shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_role: Option<String>,
    /// What it is told before everything else.
    pub instructions: String,
    /// What it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<AgentTool>,
    /// JSON Schema of its answer; absent = text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Value>>,
    /// What must hold of its answer, or it goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<Acceptance>,
    /// What it is told where it helps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guides: Vec<Guide>,
    /// Instructions it may load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<Skill>,
    /// Role that answers its questions; absent = it may not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// Whether it sees untrusted results or only handles to them.
    #[serde(default)]
    pub results: Results,
    /// Whether its answer says what it is without.
    #[serde(default, skip_serializing_if = "Gaps::are_untold")]
    pub gaps: Gaps,
    /// What is put before it besides its task.
    #[serde(default, skip_serializing_if = "Context::is_empty")]
    pub context: Context,
    /// What looks at its results and its answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensors: Vec<Sensor>,
    /// Questions it may have answered about results that it does not see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extracts: Vec<Extract>,
    /// Which model answers them; absent = its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract_role: Option<String>,
    /// Whether it may have a person endorse a value.
    #[serde(default, skip_serializing_if = "Endorsing::is_never")]
    pub endorsing: Endorsing,
    /// Whether it may note something down for itself.
    #[serde(default, skip_serializing_if = "Noting::is_never")]
    pub noting: Noting,
    /// Its limits.
    pub limits: Limits,
}

impl Agent {
    /// An agent of which nothing is known but its name: whoever compiles a pack puts the rest in.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self {
            name,
            role: String::new(),
            summary_role: None,
            instructions: String::new(),
            tools: Vec::new(),
            output: None,
            accept: Vec::new(),
            guides: Vec::new(),
            skills: Vec::new(),
            asks: None,
            results: Results::default(),
            gaps: Gaps::default(),
            context: Context::default(),
            sensors: Vec::new(),
            extracts: Vec::new(),
            extract_role: None,
            endorsing: Endorsing::default(),
            noting: Noting::default(),
            limits: Limits::default(),
        }
    }
}

/// What one source of a conversation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Most tokens.
    pub tokens_max: u64,
    /// Of what.
    pub of: ShareOf,
}

/// What a share is the most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareOf {
    /// Everything that comes from the source.
    All,
    /// Each piece of it.
    Piece,
}

impl Agent {
    /// What a source may take of a conversation; `None` where it has no budget but that of the whole.
    #[must_use]
    pub fn share(&self, source: Source) -> Option<Share> {
        let all = |tokens_max: u64| Some(Share { tokens_max, of: ShareOf::All });
        let piece = |bytes: usize| Some(Share { tokens_max: tokens(bytes), of: ShareOf::Piece });
        match source {
            // Of rules there is a line for each of its tools, and of those there are so many.
            Source::System | Source::Policy => all(tokens(TEXT_BYTES_MAX)),
            Source::Guide => piece(TEXT_BYTES_MAX),
            Source::Memory => {
                all(self.context.memory.as_ref().map_or(0, |memory| memory.tokens_max.into()))
            }
            Source::State => {
                all(self.context.state.as_ref().map_or(0, |state| state.tokens_max.into()))
            }
            Source::Tool => {
                piece(usize::try_from(self.limits.result_bytes_max).unwrap_or(usize::MAX))
            }
            Source::History => all(self.limits.shortened_at()),
            Source::Skill | Source::User | Source::Steering | Source::Sensor | Source::Hook => None,
        }
    }
}

impl Limits {
    /// Tokens at which a conversation is shortened.
    #[must_use]
    pub fn shortened_at(&self) -> u64 {
        u64::from(self.context_tokens_max).saturating_mul(3) / 4
    }

    /// Tokens that all results of one turn may take together, however many there are: what is left over when a
    /// conversation is just not shortened yet.
    #[must_use]
    pub fn results_tokens_max(&self) -> u32 {
        self.context_tokens_max / 4
    }
}

/// One thing an agent may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentTool {
    /// Its name on the wire.
    pub name: String,
    /// What the model is told about it.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input: Arc<Value>,
    /// What a call does.
    pub does: Does,
}

/// What a tool call does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "does", deny_unknown_fields)]
pub enum Does {
    /// Uses an operation.
    Operation {
        /// Which.
        operation: OperationId,
        /// Reads may run side by side, writes one after the other.
        effect: Effect,
    },
    /// Runs a playbook in this run.
    Playbook {
        /// Which.
        name: String,
        /// Its steps.
        steps: Vec<Step>,
    },
}

impl AgentTool {
    /// Whether calls of it may run side by side.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(&self.does, Does::Operation { effect: Effect::Read, .. })
    }
}

/// A condition on an agent's answer. The agent is told what it says, never how it is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// Expression over `result` (the answer) and the usual roots that must be true.
    pub that: String,
    /// What the agent is told when it is not.
    pub say: String,
}

/// What is put before an agent besides its task, each source with a budget of its own.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Values of the run, told again when they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSource>,
    /// What a read remembers, told once before the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemorySource>,
}

impl Context {
    fn is_empty(&self) -> bool {
        self.state.is_none() && self.memory.is_none()
    }
}

/// Values of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSource {
    /// By name: JSON in which strings may hold `${{ … }}`.
    pub values: BTreeMap<String, Value>,
    /// Most tokens that they may take at once.
    pub tokens_max: u32,
}

/// What a read remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySource {
    /// The read.
    pub operation: OperationId,
    /// Its arguments: JSON in which strings may hold `${{ … }}`.
    pub with: Value,
    /// Most tokens that what it returns may take.
    pub tokens_max: u32,
}

/// Text that is put before the model where it helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guide {
    /// Its name.
    pub name: String,
    /// When it applies.
    pub when: GuideScope,
    /// The text.
    pub text: String,
}

/// When a guide applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "applies", deny_unknown_fields)]
pub enum GuideScope {
    /// Always.
    Always,
    /// When the task holds one of these words, case aside.
    Task {
        /// Words or phrases.
        any: Vec<String>,
    },
    /// When the task names a file that matches one of these patterns (`*`, `**`, `?`).
    Files {
        /// The patterns.
        any: Vec<String>,
    },
}

/// Instructions that an agent may load when it wants them: its name and description are always told,
/// its text only once loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skill {
    /// Its name.
    pub name: String,
    /// What it is for and when to use it.
    pub description: String,
    /// The text.
    pub text: String,
    /// Files beside it, which its text refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SkillFile>,
}

/// A file of a skill, told only when the agent asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkillFile {
    /// Where it is in the skill's folder, with `/` between names.
    pub path: String,
    /// What it says; absent where it is no text, or longer than may be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Whether an agent sees untrusted results or only handles to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Results {
    /// A handle where the agent can change anything, the result itself where it can only read.
    #[default]
    Auto,
    /// Always the result: the agent is tainted by what it reads.
    Shown,
    /// A handle to everything that is untrusted, until the agent looks.
    Opaque,
}

/// Whether an answer says which reads came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gaps {
    /// No: agents of plans that were made before it could.
    #[default]
    Untold,
    /// A caveat for each read that failed and did not work later.
    Told,
}

impl Gaps {
    fn are_untold(&self) -> bool {
        *self == Self::Untold
    }
}

/// Whether an agent may have a person endorse a value that it must not trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endorsing {
    /// No: agents that ask nobody, and those of plans that were made before it could.
    #[default]
    Never,
    /// By the role that answers its questions.
    Asked,
}

impl Endorsing {
    fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

/// Whether an agent may note something down for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noting {
    /// No: agents of plans that were made before it could, and those that were not given it.
    #[default]
    Never,
    /// For some turns each.
    Kept,
}

impl Noting {
    fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

/// What an agent keeps in mind while it works: short-term memory, all of it gone with the run. Each kind is a fold of
/// the journal, so that it is the same after a crash and in a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShortTerm {
    /// The current task, and what people said on the way.
    Task,
    /// Recent outputs: what it said, and what its calls brought.
    Outputs,
    /// Recent thoughts, as far as the provider shows them.
    Thoughts,
    /// Temporary state: what it noted down for itself.
    Notes,
}

/// How long something is kept in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the run.
    Run,
    /// For so many turns of the model; then what is left of it is a handle, or nothing.
    Turns(u32),
    /// Until the conversation is shortened.
    Conversation,
}

impl ShortTerm {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Task, Self::Outputs, Self::Thoughts, Self::Notes];

    /// How long it is kept at the most. A note says itself for how many turns, within that.
    #[must_use]
    pub fn lifetime(self) -> Lifetime {
        match self {
            Self::Task => Lifetime::Run,
            Self::Outputs => Lifetime::Turns(OUTPUT_TURNS),
            Self::Thoughts => Lifetime::Conversation,
            Self::Notes => Lifetime::Turns(NOTE_TURNS_MAX),
        }
    }
}

/// Limits of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Model turns.
    pub turns_max: u32,
    /// Tool calls.
    pub calls_max: u32,
    /// Tokens of all its turns, read and written.
    pub tokens_max: u64,
    /// Wall time in milliseconds, waiting included.
    pub wall_max_ms: i64,
    /// Answers that may be sent back in a row because they cannot be used.
    pub repairs_max: u32,
    /// Tokens of one answer.
    pub output_tokens_max: u32,
    /// Most tokens of a conversation when its model is asked; it is shortened before.
    pub context_tokens_max: u32,
    /// Bytes of one result that the model is shown at once.
    pub result_bytes_max: u32,
    /// What happens when it makes the same calls again and again.
    #[serde(default)]
    pub circles: Circles,
}

/// What happens when an agent makes the same calls with the same results again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circles {
    /// It is told once, then it is stopped.
    #[default]
    Stop,
    /// Nothing: its work is to repeat.
    Ignore,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            turns_max: 30,
            calls_max: 100,
            tokens_max: 500_000,
            wall_max_ms: 3_600_000,
            repairs_max: 3,
            output_tokens_max: 4_096,
            context_tokens_max: 100_000,
            result_bytes_max: 16_384,
            circles: Circles::Stop,
        }
    }
}

/// Why an agent stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It gave an answer that was accepted.
    Done,
    /// It never gave an answer that can be used.
    InvalidModelOutput,
    /// It kept calling what does not exist.
    UnknownTool,
    /// It kept asking for what policy denies, or a hook kept its task from it or took none of its answers.
    PolicyDenied,
    /// Its turns or its calls are used up.
    MaxIterations,
    /// Its tokens, its money or its time are used up.
    Budget,
    /// It went round in circles.
    Stuck,
    /// The model will not answer.
    Refused,
    /// The model could not be reached, or failed.
    ModelFailed,
}

impl StopReason {
    /// The word used in journals and answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::InvalidModelOutput => "invalid_model_output",
            Self::UnknownTool => "unknown_tool",
            Self::PolicyDenied => "policy_denied",
            Self::MaxIterations => "max_iterations",
            Self::Budget => "budget",
            Self::Stuck => "stuck",
            Self::Refused => "refused",
            Self::ModelFailed => "model_failed",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
