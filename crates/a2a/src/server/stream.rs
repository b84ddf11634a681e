//! A task as it goes on, event by event.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::stream::unfold;
use lf::{JsonRpcResponse, StreamResponse};
use serde::Serialize;
use serde_json::json;

use super::{
    Desk, Refusal, Task,
    http::{self, Events, Frame},
};
use crate::wire::{self, Outputs};

/// A stream that is under way.
struct Following {
    desk: Arc<dyn Desk>,
    frame: Frame,
    /// The task as its listener knows it; none once nothing more comes.
    seen: Option<Task>,
    waiting: VecDeque<Bytes>,
}

/// The task as it is, and then what becomes of it until it is over.
pub(super) fn follow(desk: Arc<dyn Desk>, task: Task, frame: Frame) -> Events {
    let first = StreamResponse::Task(wire::task_out(&task, Outputs::Told));
    let waiting = VecDeque::from([event(&frame, &first)]);
    let seen = Some(task).filter(|task| !task.state.is_over());
    let following = Following { desk, frame, seen, waiting };
    Box::pin(unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((event, following))
    }))
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let seen = self.seen.take()?;
            match self.desk.next(seen).await {
                Ok(task) => self.tell(task),
                // It ends with the last word that is true of it.
                Err(refusal) => self.waiting.push_back(failed(&self.frame, &refusal)),
            }
        }
    }

    fn tell(&mut self, task: Task) {
        if let Some(artifact) = wire::artifact_out(&task).filter(|_| task.state.is_over()) {
            let update = StreamResponse::ArtifactUpdate(lf::TaskArtifactUpdateEvent {
                task_id: task.id.clone(),
                context_id: task.context.clone(),
                artifact,
                append: Some(false),
                last_chunk: Some(true),
                metadata: None,
            });
            self.waiting.push_back(event(&self.frame, &update));
        }
        let update = StreamResponse::StatusUpdate(lf::TaskStatusUpdateEvent {
            task_id: task.id.clone(),
            context_id: task.context.clone(),
            status: wire::status_out(&task),
            metadata: Some(wire::metadata(&task.meta)).filter(|map| !map.is_empty()),
        });
        self.waiting.push_back(event(&self.frame, &update));
        self.seen = Some(task).filter(|task| !task.state.is_over());
    }
}

fn event(frame: &Frame, told: &StreamResponse) -> Bytes {
    match frame {
        Frame::Plain => data(told),
        Frame::Rpc(id) => match serde_json::to_value(told) {
            Ok(value) => data(&JsonRpcResponse::success(id.clone(), value)),
            Err(error) => failed(frame, &http::broken(error)),
        },
    }
}

fn failed(frame: &Frame, refusal: &Refusal) -> Bytes {
    let error = http::error_of(refusal);
    match frame {
        Frame::Plain => data(&json!({ "error": error })),
        Frame::Rpc(id) => data(&JsonRpcResponse::error(id.clone(), error)),
    }
}

/// One event; JSON has no line breaks.
fn data<T: Serialize>(value: &T) -> Bytes {
    let mut text = b"data: ".to_vec();
    text.extend(serde_json::to_vec(value).unwrap_or_default());
    text.extend(b"\n\n");
    Bytes::from(text)
}
