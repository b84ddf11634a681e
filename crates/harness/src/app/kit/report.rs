//! What testing a pack came to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tested pack: a matrix of steps and probes, and everything that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackTested {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
    /// What every made-up value came from: the same seed, the same result.
    pub seed: u64,
    /// Policies above the pack's own: `permit-all` of the kit, or the operator's files.
    pub policies: Vec<String>,
    /// Whether nothing was wrong.
    pub passed: bool,
    /// Runs played by probes.
    pub cases: usize,
    /// Runs in which something was wrong.
    pub wrong: usize,
    /// The columns.
    pub probes: Vec<ProbeView>,
    /// The rows, by intent.
    pub items: Vec<IntentTested>,
    /// Everything that was wrong.
    pub failures: Vec<Failure>,
    /// Steps that no setting reached: nothing is known about them.
    pub unreached: Vec<String>,
    /// Intents that a model-driven agent has a part in: not played, for nobody can make up what it would say.
    #[serde(default)]
    pub handed_to_agents: Vec<String>,
    /// What an author should look at.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeView {
    /// Its name, as `--only` takes it.
    pub name: String,
    /// What it does to a step.
    pub what: String,
}

/// The steps of one intent's playbook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntentTested {
    /// The intent.
    pub intent: String,
    /// Its steps in order.
    pub steps: Vec<StepTested>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepTested {
    /// Its path; turns of a loop stand as `[]`.
    pub step: String,
    /// The operation it uses, `ask` or `wait`.
    pub does: String,
    /// The setting in which it was reached.
    pub setting: Option<u32>,
    /// One cell a probe, in the order of the columns.
    pub cells: Vec<Cell>,
}

/// How one probe of one step came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// The probe.
    pub probe: String,
    /// How it came out.
    pub state: CellState,
    /// Runs played.
    pub cases: usize,
    /// Runs in which something was wrong.
    pub wrong: usize,
}

/// How a cell came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// As declared.
    Ok,
    /// Something was wrong.
    Wrong,
    /// The probe has nothing to do here.
    None,
    /// The step was never reached.
    Unreached,
    /// Left out by `--only`.
    Skipped,
}

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The intent.
    pub intent: String,
    /// The step.
    pub step: String,
    /// The probe.
    pub probe: String,
    /// Which of its cases.
    pub case: String,
    /// What happened.
    pub happened: String,
    /// What should have.
    pub expected: String,
    /// Arguments of `harness pack test` that play this one again.
    pub reproduce: String,
}
