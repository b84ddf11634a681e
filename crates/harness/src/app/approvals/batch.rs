//! Several answers at once: each binds to its own action and counts alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    super::{
        App, Caller,
        problem::{Kind, Problem},
        runs::RunView,
    },
    Decide, decide,
};

/// Most answers in one request.
const ANSWERS_MAX: usize = 100;

/// One of several answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneAnswer {
    /// The ask.
    pub approval: String,
    /// The digest that was shown; needed to approve or edit an action.
    #[serde(default)]
    pub digest: Option<String>,
    /// `approve`, `deny`, `edit` or `reply`.
    pub verb: String,
    /// Why, for deny.
    #[serde(default)]
    pub reason: String,
    /// The arguments to use instead, for edit; the typed answer, for reply.
    #[serde(default)]
    pub value: Value,
}

/// Several answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideBatch {
    /// Answered in this order.
    pub answers: Vec<OneAnswer>,
}

/// What came of several answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DecidedBatch {
    /// In the order of the answers.
    pub items: Vec<OneDecided>,
    /// Answers that counted.
    pub counted: usize,
}

/// What came of one of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OneDecided {
    /// The ask.
    pub approval: String,
    /// Its run, when the answer counted.
    pub run: Option<RunView>,
    /// Why it did not count.
    pub problem: Option<NotCounted>,
}

/// Why an answer did not count.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NotCounted {
    /// What sort.
    pub kind: Kind,
    /// Stable code, such as `approval-closed`.
    pub code: String,
    /// What is wrong, in one sentence.
    pub detail: String,
    /// What to do next.
    pub next: Option<String>,
}

impl From<Problem> for NotCounted {
    fn from(problem: Problem) -> Self {
        let next = problem.next.map(String::from);
        Self { kind: problem.kind, code: problem.code.into(), detail: problem.detail, next }
    }
}

impl From<NotCounted> for Problem {
    fn from(not: NotCounted) -> Self {
        let problem = Self::new(not.kind, &not.code, not.detail);
        match not.next {
            Some(next) => problem.next(next),
            None => problem,
        }
    }
}

/// Answers several asks. One that does not count keeps no other from counting.
///
/// # Errors
/// When there are none, or too many.
pub async fn decide_batch(
    app: &App,
    caller: &Caller,
    request: DecideBatch,
) -> Result<DecidedBatch, Problem> {
    if request.answers.is_empty() || request.answers.len() > ANSWERS_MAX {
        let detail = format!("a batch holds 1 to {ANSWERS_MAX} answers");
        return Err(Problem::usage("batch-size", detail).at("/answers").next("split it"));
    }
    let mut items = Vec::new();
    for OneAnswer { approval, digest, verb, reason, value } in request.answers {
        let one =
            Decide { approval: approval.clone(), digest, verb, reason, value, wait_ms: Some(0) };
        let (run, problem) = match decide(app, caller, one).await {
            Ok(run) => (Some(run), None),
            Err(problem) => (None, Some(problem.into())),
        };
        items.push(OneDecided { approval, run, problem });
    }
    let counted = items.iter().filter(|one| one.run.is_some()).count();
    Ok(DecidedBatch { items, counted })
}
