//! Steps that run one after the other.

use kernel::{Label, LabelMap, planning::Labelled, playbook::join_path};
use serde_json::Value;

use super::{
    desk::Desk,
    flow::{Ended, Flow, Stimulus},
    program::Block,
    scope::{Link, Scope},
    task::Task,
};

/// A running block.
#[derive(Debug)]
pub(super) struct Sequence {
    block: Block,
    at: usize,
    prefix: String,
    pub(super) scope: Scope,
    /// What decided that this block runs.
    base: Label,
    /// What inside it decided that it runs on.
    raised: Label,
    running: Option<Box<Task>>,
}

impl Sequence {
    /// A block about to run under `prefix`, because of `base`.
    pub(super) fn new(block: Block, prefix: String, scope: Scope, base: Label) -> Self {
        Self { block, at: 0, prefix, scope, base, raised: Label::bottom(), running: None }
    }

    /// Goes on as far as it can without the outside.
    pub(super) fn step(
        &mut self,
        desk: &mut Desk,
        outer: Option<&Link<'_>>,
        stimulus: Stimulus<'_>,
    ) -> Flow {
        loop {
            let link = Link { scope: &self.scope, outer };
            let flow = match (&mut self.running, self.block.get(self.at)) {
                (Some(task), _) => task.take(desk, link, stimulus),
                (None, None) => return Flow::Ended(self.end()),
                (None, Some(_)) if desk.is_full() => {
                    desk.starve();
                    return Flow::Blocked;
                }
                (None, Some(code)) => {
                    let path = join_path(&self.prefix, &code.id);
                    let governing = self.base.join(&self.raised);
                    let task = Task::new(code.clone(), path, governing);
                    self.running.insert(Box::new(task)).begin(desk, link)
                }
            };
            match flow {
                Flow::Ended(ended) => self.keep(ended),
                Flow::Blocked | Flow::Returned { .. } | Flow::Stopped { .. } => return flow,
            }
        }
    }

    fn keep(&mut self, ended: Ended) {
        self.running = None;
        self.raised.join_from(&ended.raise);
        if let Some(code) = self.block.get(self.at) {
            self.scope.keep(&code.id, ended.output);
        }
        self.at = self.at.saturating_add(1);
    }

    /// At its end without a return: nothing, and whatever decided that no return was met shows in it.
    fn end(&self) -> Ended {
        let labels = LabelMap::uniform(self.raised.clone());
        let output = Labelled { value: Value::Null.into(), labels };
        Ended { output, raise: self.raised.clone() }
    }
}
