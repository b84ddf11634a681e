//! Sensors: what looks at a result or an answer and says whether something is wrong with it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::OperationId;

/// Most sensors of one agent.
pub const SENSORS_MAX: usize = 64;

/// A declared sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensor {
    /// Its name.
    pub name: String,
    /// When it looks.
    pub stage: Stage,
    /// How it looks.
    pub sense: Sense,
    /// What the model is told when it fails. Of what the agent does not see it is told this and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// What the harness proposes by itself when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    /// Whether the model may know that it exists.
    #[serde(default, skip_serializing_if = "Voice::is_open")]
    pub voice: Voice,
}

/// When a sensor looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "after", deny_unknown_fields)]
pub enum Stage {
    /// After a call of one of these has worked.
    Result {
        /// Which.
        operations: Vec<OperationId>,
    },
    /// When the agent answers.
    Answer,
}

/// How a sensor looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by", deny_unknown_fields)]
pub enum Sense {
    /// An expression over `result` and `args` that must be true.
    That {
        /// It.
        that: String,
    },
    /// A read whose output is `{verdict, message, findings?, fix?}`.
    Do {
        /// Which.
        operation: OperationId,
        /// Its arguments: JSON in which strings may hold `${{ … }}` over `result` and `args`.
        with: Value,
    },
    /// A model, which may be wrong: never a gate.
    Judge {
        /// What it is asked.
        question: String,
        /// Which model: operation `model.<role>`.
        role: String,
    },
}

impl Sense {
    /// Whether the same is always sensed in the same.
    #[must_use]
    pub fn kind(&self) -> SensorKind {
        match self {
            Self::That { .. } | Self::Do { .. } => SensorKind::Computational,
            Self::Judge { .. } => SensorKind::Inferential,
        }
    }
}

/// A declared way to put right what a sensor found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// What is proposed.
    pub operation: OperationId,
    /// Its arguments: as [`Sense::Do`], and over `findings` and `fix` of what the sensor said.
    pub with: Value,
}

/// Whether the model may know of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voice {
    /// It is told what was sensed.
    #[default]
    Open,
    /// It is told what its author wrote for it, as with every acceptance check.
    Sealed,
}

impl Voice {
    fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// Kinds of sensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SensorKind {
    /// Computed: it gates where it stands at the answer.
    Computational,
    /// Judged by a model: it is told and recorded.
    Inferential,
}

/// What was sensed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensed {
    /// Nothing is wrong.
    Pass,
    /// Something is.
    Fail,
    /// It could not look: that is no pass.
    NotRun,
}

impl Sensed {
    /// The word used in journals and for the model.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotRun => "not_run",
        }
    }
}
