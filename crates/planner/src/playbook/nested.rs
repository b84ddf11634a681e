//! Steps inside a step: an inlined playbook, branches side by side, the turns of a loop.

use std::sync::Arc;

use expr::Cost;
use kernel::{Label, LabelMap, exception::Class, planning::Labelled};
use serde_json::{Map, Value};

use super::{
    desk::Desk,
    flow::{Ended, Flow, Stimulus},
    labels,
    program::{Block, Code, Job, Turns},
    recovery::{Again, Failure},
    scope::{Item, Link, Scope},
    seq::Sequence,
    task::{Task, null},
};

/// Most steps of evaluation that all `collect` values of one loop may cost: what bounds their size.
pub const COLLECT_COST_MAX: u64 = 10_000_000;

/// A failure of the step around, with what decided about later steps until then.
pub(super) type Broken = (Failure, Label);

/// The inside of a step.
#[derive(Debug)]
pub(super) enum Nested {
    Playbook(Sequence),
    Parallel(Vec<Branch>),
    ForEach(Box<Loop>),
}

/// One branch.
#[derive(Debug)]
pub(super) struct Branch {
    id: String,
    block: Sequence,
    /// What it raises, once it is done.
    done: Option<Label>,
}

/// A running loop.
#[derive(Debug)]
pub(super) struct Loop {
    turns: Arc<Turns>,
    path: String,
    outlives_evaluation: bool,
    items: Arc<Labelled>,
    length: usize,
    /// How many turns there are, and for what: it governs every turn.
    label: Label,
    governing: Label,
    raised: Label,
    turn: usize,
    block: Option<Sequence>,
    collected: Vec<Value>,
    collected_labels: Option<LabelMap>,
    cost: Cost,
}

impl Nested {
    /// Opens the inside of a step.
    pub(super) fn open(task: &Task, desk: &Desk, link: Link<'_>) -> Result<Self, Failure> {
        let code: &Code = &task.code;
        match &code.job {
            Job::Playbook { with, body } => {
                let made = with.eval(&desk.scene(link, None)).map_err(Failure::of_evaluation)?;
                let scope = Scope::of_playbook(Arc::new(made));
                let (path, base) = (task.path.clone(), task.governing.clone());
                Ok(Self::Playbook(Sequence::new(body.clone(), path, scope, base)))
            }
            Job::Parallel { branches } => {
                let open = |branch: &Arc<Code>| Branch {
                    id: branch.id.clone(),
                    block: Sequence::new(
                        Block::from([branch.clone()]),
                        task.path.clone(),
                        Scope::of_branch(),
                        task.governing.clone(),
                    ),
                    done: None,
                };
                Ok(Self::Parallel(branches.iter().map(open).collect()))
            }
            Job::ForEach(turns) => {
                let made = turns.items.eval(&desk.scene(link, None));
                let items = made.map_err(Failure::of_evaluation)?;
                Ok(Self::ForEach(Box::new(Loop::open(task, turns.clone(), items)?)))
            }
            Job::Do(_)
            | Job::Ask(_)
            | Job::Agent(_)
            | Job::Sleep { .. }
            | Job::Await { .. }
            | Job::Return(_) => {
                let (class, again) = (Class::UnexpectedShape, Again::Never);
                Err(Failure { class, label: Label::bottom(), retry_after_ms: None, again })
            }
        }
    }

    /// Goes on as far as it can without the outside.
    pub(super) fn step(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        stimulus: Stimulus<'_>,
    ) -> Result<Flow, Broken> {
        match self {
            Self::Playbook(block) => Ok(match block.step(desk, Some(&link), stimulus) {
                Flow::Returned { value, raise } => Flow::Ended(Ended { output: value, raise }),
                flow => flow,
            }),
            Self::Parallel(branches) => Ok(step_branches(branches, desk, link, stimulus)),
            Self::ForEach(turns) => turns.step(desk, link, stimulus),
        }
    }
}

/// Lets every branch go on. Branches do not see and do not govern each other; what comes after all of
/// them is governed by what any of them raised.
fn step_branches(
    branches: &mut [Branch],
    desk: &mut Desk,
    link: Link<'_>,
    stimulus: Stimulus<'_>,
) -> Flow {
    for branch in branches.iter_mut().filter(|branch| branch.done.is_none()) {
        match branch.block.step(desk, Some(&link), stimulus) {
            Flow::Blocked => {}
            Flow::Ended(ended) => branch.done = Some(ended.raise),
            flow @ (Flow::Returned { .. } | Flow::Stopped { .. }) => return flow,
        }
    }
    let raises: Option<Vec<&Label>> = branches.iter().map(|branch| branch.done.as_ref()).collect();
    let Some(raises) = raises else {
        return Flow::Blocked;
    };
    let raise = raises.into_iter().fold(Label::bottom(), |all, one| all.join(one));
    let outputs: Vec<(&str, Labelled)> = branches
        .iter_mut()
        .map(|branch| {
            (branch.id.as_str(), branch.block.scope.take(&branch.id).unwrap_or_else(null))
        })
        .collect();
    let labels = labels::of_object(outputs.iter().map(|(id, output)| (*id, &output.labels)));
    let take = |(id, output): (&str, Labelled)| (id.to_owned(), Arc::unwrap_or_clone(output.value));
    let value: Map<String, Value> = outputs.into_iter().map(take).collect();
    Flow::Ended(Ended { output: Labelled { value: Value::Object(value).into(), labels }, raise })
}

impl Loop {
    fn open(task: &Task, turns: Arc<Turns>, items: Labelled) -> Result<Self, Failure> {
        let label = items.labels.join_all();
        let fail = |class| Failure {
            class,
            label: label.clone(),
            retry_after_ms: None,
            again: Again::Never,
        };
        let list = items.value.as_array().ok_or_else(|| fail(Class::UnexpectedShape))?;
        let length = list.len();
        if length > usize::try_from(turns.max).unwrap_or(usize::MAX) {
            return Err(fail(Class::InvalidArguments));
        }
        Ok(Self {
            turns,
            path: task.path.clone(),
            outlives_evaluation: task.code.outlives_evaluation,
            items: Arc::new(items),
            length,
            governing: task.governing.join(&label),
            label,
            raised: Label::bottom(),
            turn: 0,
            block: None,
            collected: Vec::new(),
            collected_labels: None,
            cost: Cost::new(COLLECT_COST_MAX),
        })
    }

    fn step(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        stimulus: Stimulus<'_>,
    ) -> Result<Flow, Broken> {
        loop {
            let mut block = match self.block.take() {
                Some(block) => block,
                None if self.turn == self.length => return Ok(Flow::Ended(self.end())),
                None => self.open_turn(desk)?,
            };
            match block.step(desk, Some(&link), stimulus) {
                Flow::Ended(ended) => {
                    self.raised.join_from(&ended.raise);
                    self.collect(desk, link, &block.scope)?;
                    self.turn = self.turn.saturating_add(1);
                }
                flow @ (Flow::Blocked | Flow::Returned { .. } | Flow::Stopped { .. }) => {
                    self.block = Some(block);
                    return Ok(flow);
                }
            }
        }
    }

    fn open_turn(&mut self, desk: &mut Desk) -> Result<Sequence, Broken> {
        // Whoever lengthened any list of the run may have used the turns up.
        desk.take_turn().ok_or_else(|| self.broken(Class::Budget, labels::of_silence()))?;
        let (name, list) = (self.turns.var.clone(), self.items.clone());
        let scope = Scope::of_turn(Item { name, list, index: self.turn });
        let prefix = format!("{}[{}]", self.path, self.turn);
        let base = self.governing.join(&self.raised);
        Ok(Sequence::new(self.turns.body.clone(), prefix, scope, base))
    }

    fn collect(&mut self, desk: &Desk, outer: Link<'_>, scope: &Scope) -> Result<(), Broken> {
        let turns = self.turns.clone();
        let Some(collect) = &turns.collect else {
            return Ok(());
        };
        let link = Link { scope, outer: Some(&outer) };
        let made = match collect.eval_on(&desk.scene(link, None), &mut self.cost) {
            Ok(made) => made,
            Err(unknown) => {
                // The turns before share the meter.
                let before = self.collected_labels.as_ref().map(LabelMap::join_all);
                let label = before.iter().fold(unknown.label, |all, one| all.join(one));
                return Err(self.broken(Class::UnexpectedShape, label));
            }
        };
        if self.outlives_evaluation {
            self.raised.join_from(&collect.reads_label(&desk.scene(link, None)));
            self.raised.join_from(&self.governing);
        }
        let merged = labels::merge_item(self.collected_labels.take(), &made.labels);
        self.collected_labels = Some(merged);
        self.collected.push(Arc::unwrap_or_clone(made.value));
        Ok(())
    }

    fn broken(&self, class: Class, label: Label) -> Broken {
        let failure = Failure { class, label, retry_after_ms: None, again: Again::Never };
        (failure, self.raised.clone())
    }

    /// All turns are done. How many there were shows in the list that was collected.
    fn end(&mut self) -> Ended {
        let mut raise = self.raised.clone();
        if self.turns.body.iter().any(|code| code.may_return) {
            raise.join_from(&self.governing);
        }
        if self.turns.collect.is_none() {
            return Ended { output: null(), raise };
        }
        let labels = labels::of_list(self.collected_labels.take(), &self.label);
        let value = Value::Array(std::mem::take(&mut self.collected));
        Ended { output: Labelled { value: value.into(), labels }, raise }
    }
}
