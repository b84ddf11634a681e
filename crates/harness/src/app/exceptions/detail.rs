//! One exception in full: what happened, what was tried, and what is safe to do next.

use kernel::{
    event::{Body, Record},
    exception::{Exception, Need},
    id::{ExceptionId, RunId},
    planning::Mark,
    run::Run,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::ExceptionEntry;

use super::{ExceptionView, run_of, verb_of, view, word};
use crate::app::{
    App, Caller, parse_id,
    problem::Problem,
    rollbacks::rollback_of,
    runs::{self, RunView, rfc3339},
    timeline::{ActionLine, action_lines},
    value::visible,
};

/// Which exception.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetException {
    /// Its id.
    pub exception: String,
}

/// An exception with everything a person needs to decide.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExceptionDetail {
    /// As the queue shows it.
    pub exception: ExceptionView,
    /// The run it belongs to.
    pub run: RunView,
    /// What it is about, in one sentence.
    pub summary: String,
    /// What was said when it failed: outside text, hidden characters made visible.
    pub said: Option<String>,
    /// A sample or difference kept with it.
    pub sample: Option<Value>,
    /// Calls made for it, in order, with decisions and outcomes.
    pub tried: Vec<ActionLine>,
    /// What was done about it before: recoveries, and earlier decisions of people.
    pub steps_back: Vec<StepBack>,
    /// What is safe to do next, the safest first, and why.
    pub safe: Vec<VerbView>,
    /// JSON Schema an answer must fit, where one is declared.
    pub answer: Option<Value>,
}

/// Something that was done about the trouble.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StepBack {
    /// When, RFC 3339 UTC.
    pub at: String,
    /// What: a recovery's name, or the verb a person chose.
    pub what: String,
    /// Who, when a person did it.
    pub by: Option<String>,
    /// Why or how they know; the caveat of a recovery.
    pub why: Option<String>,
}

/// What may be decided.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerbView {
    /// The verb.
    pub verb: String,
    /// What it does.
    pub does: String,
    /// Why it is safe, or what to look at first.
    pub why: String,
    /// The command.
    pub command: String,
}

/// Shows one exception.
///
/// # Errors
/// When there is no such exception.
pub async fn get(
    app: &App,
    caller: &Caller,
    request: GetException,
) -> Result<ExceptionDetail, Problem> {
    let id: ExceptionId = parse_id(&request.exception)?;
    let run_id = run_of(app, caller, &id).await?;
    let records = app.records(caller, &run_id).await?;
    let run = app.fold(&run_id, &records).await?;
    let exception = last_raised(&records, &id)
        .ok_or_else(|| Problem::not_found("exception", &request.exception))?;
    let open = run.exceptions().iter().any(|open| open.id == id);
    let closed_at = if open { None } else { closed_at(&records, &id) };
    let entry = ExceptionEntry { run: run_id.clone(), exception: exception.clone(), closed_at };
    let conflict = rollback_of(&records).and_then(|last| last.conflict);
    let conflict = conflict.unwrap_or_else(|| "DIGEST".to_owned());
    let tried = tried(&records, &exception);
    let said = tried.iter().rev().find_map(|line| line.failure.clone());
    let mut shown = view(&entry, app.now());
    if open {
        shown.verbs = run.verbs_now(&id).into_iter().map(str::to_owned).collect();
    }
    Ok(ExceptionDetail {
        exception: shown,
        run: runs::view_of(app, caller, &run_id).await?,
        summary: summary(&exception),
        said,
        sample: sample(&records, &exception),
        tried,
        steps_back: steps_back(&records, &exception),
        safe: if open { safe(&run, &exception, &conflict) } else { Vec::new() },
        answer: run.answer_schema(&exception.step).map(|schema| (*schema).clone()),
    })
}

fn last_raised(records: &[Record], id: &ExceptionId) -> Option<Exception> {
    records.iter().rev().find_map(|record| match &record.event.body {
        Body::Raised { exception, .. } if exception.id == *id => Some(exception.clone()),
        _ => None,
    })
}

/// When it stopped being open: settled, or the run stopped.
fn closed_at(records: &[Record], id: &ExceptionId) -> Option<i64> {
    let settled = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Settled { exception, .. } if exception == id => Some(record.event.at),
        _ => None,
    });
    settled.or_else(|| records.last().map(|record| record.event.at))
}

/// The actions of its step; those of the undo, when taking back is the trouble.
fn tried(records: &[Record], exception: &Exception) -> Vec<ActionLine> {
    let undoing = matches!(exception.need, Need::UndoFailed | Need::Conflict);
    let lines = action_lines(records).into_iter();
    let mine = lines.filter(|line| {
        let own = exception.action == Some(line.action);
        let step = line.step == exception.step && !exception.step.is_empty();
        own || step && (undoing || exception.need != Need::InDoubt || line.role == "probe")
    });
    mine.collect()
}

/// The difference a refused rollback kept, or what was kept with the exception itself.
fn sample(records: &[Record], exception: &Exception) -> Option<Value> {
    let kept = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Raised { exception: raised, detail } if raised.id == exception.id => detail.as_ref(),
        _ => None,
    });
    let armed = records.iter().find_map(|record| match &record.event.body {
        Body::Armed { action, token, .. } if Some(*action) == exception.action => Some(token),
        _ => None,
    });
    let difference = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Redeemed { token, undone: kernel::event::Undone::Conflict { difference } }
            if Some(token) == armed =>
        {
            Some(difference)
        }
        _ => None,
    });
    kept.or(difference).map(|sealed| (*sealed.value()).clone())
}

fn steps_back(records: &[Record], exception: &Exception) -> Vec<StepBack> {
    let mut done = Vec::new();
    for record in records {
        let at = rfc3339(record.event.at);
        match &record.event.body {
            Body::Marked { step, mark: Mark::Recovered { recovery, caveat, .. } }
                if *step == exception.step =>
            {
                let (what, why) = (recovery.clone(), caveat.clone());
                done.push(StepBack { at, what, by: None, why });
            }
            Body::Settled { exception: other, by, settled, evidence } => {
                let about = last_raised(records, other);
                if about.is_some_and(|a| a.step == exception.step && a.need == exception.need) {
                    let why = evidence.value().as_str().map(visible);
                    let (what, by) = (verb_of(settled), Some(by.id.to_string()));
                    done.push(StepBack { at, what, by, why });
                }
            }
            _ => {}
        }
    }
    done
}

fn summary(exception: &Exception) -> String {
    let Exception { class, step, count, .. } = exception;
    let class = class.name().replace('_', " ");
    let what = match exception.need {
        Need::InDoubt => {
            format!(
                "nobody knows whether the call of step `{step}` took effect; it is not repeated"
            )
        }
        Need::Escalated => format!("step `{step}` failed ({class}) and its recoveries are used up"),
        Need::UndoFailed => format!("an effect could not be taken back ({class})"),
        Need::Conflict => {
            "somebody changed the record since; taking it back would overwrite that".to_owned()
        }
        Need::Unplanned => {
            format!("step `{step}` wanted what the plan does not hold; the run was stopped")
        }
        Need::Defect => {
            "the run met a state that should be impossible and is held: a defect of ours".to_owned()
        }
    };
    if *count > 1 { format!("{what}; it happened {count} times") } else { what }
}

/// The verbs that fit now, the safest first: what would be refused is not offered.
fn safe(run: &Run, exception: &Exception, conflict: &str) -> Vec<VerbView> {
    let mut words = run.verbs_now(&exception.id);
    match exception.need {
        // To overwrite is to take back again, and fits when that does.
        Need::Conflict if words.first() == Some(&"retry") => words.insert(1, "accept"),
        // Nothing is held by it any more.
        Need::Defect if words.contains(&"close") => words.retain(|word| *word == "close"),
        _ => {}
    }
    words.iter().map(|verb| explained(verb, (exception, run.id(), conflict))).collect()
}

fn explained(verb: &str, (exception, run, conflict): (&Exception, &RunId, &str)) -> VerbView {
    let id = &exception.id;
    let undo = matches!(exception.need, Need::UndoFailed | Need::Conflict);
    let reason = "--reason WHY";
    let (does, why, command) = match verb {
        "happened" => (
            "record that the effect is there, and go on",
            "look into the target first; nothing is called",
            format!("harness exception settle {id} happened --evidence HOW"),
        ),
        "did_not_happen" => (
            "record that the effect is not there; the step counts as failed",
            "look into the target first: a wrong no can make it happen twice",
            format!("harness exception settle {id} did-not-happen --evidence HOW"),
        ),
        "retry" if undo => (
            "take back again what is left",
            "what is back already is not touched; it refuses again while the world differs",
            format!("harness exception retry {id} {reason}"),
        ),
        "retry" if exception.need == Need::Defect => (
            "let the run go on from its journal",
            "nothing that was done is repeated; if it fails again it comes back here",
            format!("harness exception retry {id} {reason}"),
        ),
        "retry" => (
            "run the step again",
            "the effect certainly did not happen, or the target deduplicates it",
            format!("harness exception retry {id} {reason}"),
        ),
        "use" => (
            "go on with your answer as the step's output",
            "it is checked against the step's schema and labelled as a person's word",
            format!("harness exception answer {id} JSON {reason}"),
        ),
        "skip" => (
            "go on without the step; its output is null",
            "the result says that it is missing",
            format!("harness exception skip {id} {reason}"),
        ),
        "stop" => (
            "end the run and take back what it did",
            "newest first per record; what cannot be taken back is reported",
            format!("harness exception settle {id} stop --evidence WHY"),
        ),
        "rollback" if exception.need == Need::InDoubt => (
            "end the run and take back what it did",
            "a doubt stays open and holds up its own record; where it names none, all that came before it",
            format!("harness exception rollback {id} {reason}"),
        ),
        "rollback" => (
            "end the run and take back what it did",
            "newest first per record; what cannot be taken back is reported",
            format!("harness exception rollback {id} {reason}"),
        ),
        "accept" => (
            "overwrite what was changed since",
            "only after you have seen the difference; somebody's change is lost",
            format!("harness run rollback {run} --accept-conflict {conflict}"),
        ),
        _ => (
            "take it off the queue; nothing is done",
            "only once it was put right by hand, or needs nothing",
            format!("harness exception close {id} {reason}"),
        ),
    };
    VerbView { verb: word(verb), does: does.to_owned(), why: why.to_owned(), command }
}
