//! A kept call in the words of the protocol's extension for tasks (SEP-2663). Where it lies is the desk's business: here nothing
//! is remembered.

use rmcp::model::{CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload};
use serde_json::{Map, Value};

use super::{
    Kept, Refusal, Stands,
    words::{answered, meta_of, refused, requests},
};

/// How soon a client may come back, in milliseconds.
const POLL_MS: u64 = 5_000;

/// What a call is answered with that is kept.
pub(super) fn begun(kept: Kept) -> Result<CreateTaskResult, Refusal> {
    let meta = meta_of(kept.meta.clone());
    let DetailedTask { task, .. } = detailed(kept)?;
    let result = CreateTaskResult::new(task);
    Ok(match meta {
        Some(meta) => result.with_meta(meta),
        None => result,
    })
}

/// Where it stands.
pub(super) fn seen(kept: Kept) -> Result<GetTaskResult, Refusal> {
    let meta = meta_of(kept.meta.clone());
    let mut result = GetTaskResult::new(detailed(kept)?);
    result.meta = meta;
    Ok(result)
}

fn detailed(kept: Kept) -> Result<DetailedTask, Refusal> {
    let payload = match kept.stands {
        Stands::Working => TaskPayload::Working,
        Stands::Asks(asked) => {
            let input_requests = requests(asked).ok_or_else(no_words)?;
            TaskPayload::InputRequired { input_requests }
        }
        Stands::Ended(told) => TaskPayload::Completed { result: object(answered(told))? },
        Stands::Refused(refusal) => TaskPayload::Failed { error: object(refused(refusal))? },
        Stands::Cancelled => TaskPayload::Cancelled,
    };
    let task = Task::new(kept.id, payload.status(), kept.begun_at, kept.changed_at)
        .with_status_message(kept.message)
        .with_poll_interval_ms(POLL_MS);
    Ok(DetailedTask::new(task, payload))
}

fn object(value: impl serde::Serialize) -> Result<Map<String, Value>, Refusal> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(no_words()),
    }
}

/// There are no words in the protocol for what it came to.
fn no_words() -> Refusal {
    let message = "what came cannot be passed on".to_owned();
    Refusal { kind: super::Refused::Here, message, data: Value::Null }
}
