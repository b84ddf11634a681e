//! What a planner sees and what it can want: one signature for playbooks and models.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    action::Proposal,
    agent::StopReason,
    conversation::Usage,
    exception::Class,
    extract::AnswerType,
    hook::{Moment, Opinion},
    id::{At, OperationId, Seq},
    label::{Label, LabelMap},
    sensor::{Sensed, SensorKind},
};

/// A value with the labels of its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The value.
    pub value: Arc<Value>,
    /// Its labels.
    pub labels: LabelMap,
}

/// What the reader of a result must know about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caveat {
    /// The step it comes from.
    pub step: String,
    /// The failure behind it, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Declared text from the pack, never from outside.
    pub text: String,
}

/// A typed question to a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The step that asks.
    pub step: String,
    /// The question's text.
    pub text: Labelled,
    /// JSON Schema of the answer.
    pub answer: Arc<Value>,
    /// Role that may answer.
    pub role: String,
    /// How long it stays open, in milliseconds.
    pub expires_ms: i64,
}

/// What a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "wait")]
pub enum Wait {
    /// A span of time from now.
    Sleep {
        /// Milliseconds.
        ms: i64,
    },
    /// A named signal, or the timeout.
    Signal {
        /// Its name.
        name: String,
        /// Milliseconds.
        timeout_ms: i64,
    },
}

/// How a step ended without an action of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mark")]
pub enum Mark {
    /// Its condition was false.
    Skipped,
    /// An agent stopped.
    Concluded {
        /// Why.
        reason: StopReason,
        /// Turns its model took.
        turns: u32,
        /// Tools it called.
        calls: u32,
        /// What its model read and wrote.
        usage: Usage,
        /// Effects its answer claims that no receipt shows, as the words in which it claims them are
        /// counted: how many.
        #[serde(default, skip_serializing_if = "is_zero")]
        unproven: u32,
    },
    /// A declared recovery was taken.
    Recovered {
        /// Which: `retry`, `fallback`, ….
        recovery: String,
        /// From which failure.
        class: Class,
        /// What the reader must know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caveat: Option<String>,
        /// Operations forbidden from here on.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        forbid: BTreeSet<OperationId>,
    },
    /// A declared question about a value was answered, and the answer is trusted further than the value.
    /// The model call of the same step holds what was asked about and what was answered, both sealed: a
    /// digest of a yes or no would be the yes or no.
    Extracted {
        /// The question's name.
        question: String,
        /// What an answer could be.
        answer: AnswerType,
        /// Whether there was one.
        found: Found,
        /// The label of what was asked about.
        before: Label,
        /// The label of the answer.
        after: Label,
    },
    /// A sensor looked at a result or at an answer.
    Sensed {
        /// Which.
        sensor: String,
        /// What kind it is.
        kind: SensorKind,
        /// What it said.
        verdict: Sensed,
        /// The label of what it said.
        before: Label,
        /// The label of what the agent was told of it: of what the agent does not see it is told the verdict
        /// and what the pack's author wrote.
        after: Label,
    },
    /// A hook looked at a moment of an agent: what its answer, which is sealed, was taken for.
    Looked {
        /// The hook, `hook.<name>`: as a rule, where it is against something.
        hook: OperationId,
        /// The moment.
        on: Moment,
        /// What it said.
        said: Opinion,
    },
    /// A person endorsed a value: the question and the answer of the same step say which, and who.
    Endorsed {
        /// Its label until then.
        before: Label,
        /// Its label from then on.
        after: Label,
    },
}

/// Whether a declared question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// With a value of its type.
    Answered,
    /// Not: the model could not be asked, or said something else.
    Unanswered,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What a planner wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Use an operation.
    Propose(Proposal),
    /// Ask a person.
    Ask(Question),
    /// Park this branch.
    Wait {
        /// The step that waits.
        step: String,
        /// For what.
        wait: Wait,
    },
    /// Record how a step ended.
    Mark {
        /// The step.
        step: String,
        /// How.
        mark: Mark,
    },
    /// A person must take over before this branch goes on.
    Escalate {
        /// The step.
        step: String,
        /// The failure.
        class: Class,
        /// Role that owns it.
        owner: String,
    },
    /// Done, with a result.
    Finish {
        /// The result.
        output: Labelled,
        /// What its reader must know.
        caveats: Vec<Caveat>,
    },
    /// Give up and take back what was done.
    Abandon {
        /// The step that failed.
        step: String,
        /// The failure.
        class: Class,
    },
}

/// How an action ended, as planners see it.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It happened; this came back.
    Done(Labelled),
    /// It failed in this way.
    Failed {
        /// The class.
        class: Class,
        /// The rule or check that refused it, for what never reached its target; of a call of a model, that the
        /// conversation was too long for it.
        code: Option<String>,
        /// How long the target asked us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
        /// The label of whatever made it fail.
        label: Label,
    },
}

/// What a planner learns, in journal order. Folding these is all of its state.
#[derive(Clone, Debug)]
pub enum Observation<'a> {
    /// The run begins.
    Opened {
        /// The intent's inputs.
        intent: &'a Labelled,
        /// Public facts of the run, readable as `run`.
        run: &'a Labelled,
        /// Version of the machine's behaviour that the run is pinned to; planners keep to it too.
        machine: u32,
    },
    /// A proposal entered the journal at `seq`.
    Proposed {
        /// The step.
        step: &'a str,
        /// Its place in the journal.
        seq: Seq,
    },
    /// An action of a step ended.
    Settled {
        /// The step.
        step: &'a str,
        /// How.
        settled: &'a Settled,
    },
    /// A hook has something to say about an action of a step.
    Told {
        /// The step.
        step: &'a str,
        /// What.
        text: &'a Labelled,
    },
    /// A question entered the journal.
    Asked {
        /// The step.
        step: &'a str,
    },
    /// A person answered, or the ask ran out.
    Answered {
        /// The step.
        step: &'a str,
        /// The typed answer; `None` when nobody answered in time.
        answer: Option<&'a Labelled>,
    },
    /// A wait entered the journal.
    Waiting {
        /// The step.
        step: &'a str,
    },
    /// A wait ended: by time (`None`) or by a signal with its body.
    Woken {
        /// The step.
        step: &'a str,
        /// The signal's body.
        signal: Option<&'a Labelled>,
    },
    /// A mark entered the journal.
    Marked {
        /// The step.
        step: &'a str,
    },
    /// A person has something to say to whoever plans.
    Steered {
        /// What.
        text: &'a Labelled,
    },
    /// An escalation entered the journal.
    Escalated {
        /// The step.
        step: &'a str,
    },
    /// A person resolved an escalation.
    Resolved {
        /// The step.
        step: &'a str,
        /// What to do now.
        resolution: &'a Resolution,
    },
}

/// What a person decided about an escalated step.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// Try the step again.
    Retry,
    /// Go on with this value as the step's output.
    Use(Labelled),
    /// Go on without the step.
    Skip,
    /// End the run and take back what was done.
    Stop,
}

/// A pure fold from what was observed to what is wanted next.
///
/// `next` must depend on nothing but the observations, in order: after a crash the same observations
/// give the same moves. `None` means: nothing more until something else is observed.
pub trait Planner: Send + fmt::Debug {
    /// Takes one fact in.
    fn observe(&mut self, at: At, seen: Observation<'_>);

    /// What to do now, without doing it; repeated calls give the same answer.
    fn next(&self) -> Option<Move>;
}
