//! The way to the world: models for model calls, Rust tools for all others. Each reads its permit alone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use engine::Clock;
use kernel::{
    Digest, canon,
    exception::Class,
    gate::Permit,
    id::OperationId,
    port::{Connector, Outcome, Returned, Task},
};
use models::Models;
use serde_json::Value;
use tokio::{task, time::timeout};

use crate::{
    Failed, Sensor, Tool,
    sensor::accompanied,
    tool::{Body, Context},
};

/// Largest result of a tool, in bytes of JSON.
pub const RESULT_BYTES_MAX: usize = 1 << 20;

/// A tool with the sensors on its result.
#[derive(Debug)]
pub(crate) struct Sensed {
    pub(crate) tool: Tool,
    pub(crate) sensors: Vec<Sensor>,
}

/// Everything that calls leave by.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) models: Arc<Models>,
    pub(crate) tools: BTreeMap<OperationId, Sensed>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Connector for Doors {
    fn call(&self, permit: Permit) -> Task<'_, Outcome> {
        if permit.operation().is_model_call() {
            self.models.call(permit)
        } else {
            Box::pin(self.call_tool(permit))
        }
    }
}

impl Doors {
    async fn call_tool(&self, permit: Permit) -> Outcome {
        let effect = permit.operation().facts.effect;
        let called = self.call_checked(&permit).await;
        called.and_then(|value| returned(value, &permit)).map_err(|f| f.into_failure(effect))
    }

    async fn call_checked(&self, permit: &Permit) -> Result<Value, Failed> {
        let unknown = || Failed::nothing_happened(Class::UnknownField, "there is no such tool");
        let sensed = self.tools.get(&permit.operation().id).ok_or_else(unknown)?;
        if !permit.masks().is_empty() {
            let why = "a tool's result cannot be masked";
            return Err(Failed::nothing_happened(Class::PolicyError, why));
        }
        if self.clock.now().boot_ms > permit.dispatch_by_boot_ms() {
            let late = "too late: the dispatch window has passed";
            return Err(Failed::nothing_happened(Class::Unavailable, late));
        }
        let allowed_ms = u64::from(permit.operation().timeout_ms);
        let calling = call(&sensed.tool.body, Context::of(permit));
        let late = || Failed::unknown(Class::Timeout, format!("{allowed_ms} ms were allowed"));
        let value = timeout(Duration::from_millis(allowed_ms), calling).await;
        Ok(accompanied(value.map_err(|_| late())??, &sensed.sensors))
    }
}

/// A panic ends the call, not the run: the engine makes every call in a task of its own. An asynchronous
/// tool that is out of time is dropped; a blocking one goes on where nobody hears it.
async fn call(body: &Body, context: Context) -> Result<Value, Failed> {
    match body {
        Body::Async(later) => later(context).await,
        Body::Blocking(now) => {
            let now = Arc::clone(now);
            let stopped = |_| Failed::unknown(Class::Unavailable, "the tool stopped unexpectedly");
            task::spawn_blocking(move || now(&context)).await.map_err(stopped)?
        }
    }
}

/// What may be journaled of a result: canonical, bounded, labelled as its tool declares.
fn returned(value: Value, permit: &Permit) -> Result<Returned, Failed> {
    // The call is over: whatever is wrong with its answer does not undo it.
    let unusable = |problem: String| Failed::happened(Class::UnexpectedShape, problem);
    canon::check_depth(&value).map_err(|e| unusable(e.to_string()))?;
    let bytes = canon::bytes(&value).map_err(|e| unusable(e.to_string()))?;
    if bytes.len() > RESULT_BYTES_MAX {
        return Err(unusable(format!("a result of more than {RESULT_BYTES_MAX} bytes")));
    }
    let value = canon::parse(&bytes).map_err(|e| unusable(e.to_string()))?;
    Ok(Returned {
        output: Arc::new(value),
        labels: permit.operation().labels.clone(),
        external_ref: None,
        cost: None,
        received: Digest::of(&bytes),
    })
}
