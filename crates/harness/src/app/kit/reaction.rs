//! Whether every failure led to what the pack declares for it, in that order, and nothing was buried.

use std::collections::BTreeMap;

use kernel::{
    event::{Body, End, Role, Stage as GateStage},
    exception::{Class, Need},
    id::{ExceptionId, OperationId, Seq},
    operation::Effect,
    planning::{Caveat, Mark},
    playbook::{Recovery, Step, Work, static_path, visit_steps},
};

use super::{drive::Story, law::Finding, stage::Stage, told::Act};

/// How often a read is tried again when its pack says nothing, and may pass.
const DEFAULT_RETRIES: u32 = 3;

/// What one turn of a step has come to.
#[derive(Debug, Default)]
struct Turn {
    /// A failure nothing has been done about yet.
    pending: Option<Class>,
    /// The failure whose recovery is at work.
    trouble: Option<Class>,
    /// Class → place in its list and how often that was used.
    cursors: BTreeMap<Class, (usize, u32)>,
    /// A person ended it.
    stopped: bool,
}

/// Reads a story against the recoveries that its plan holds.
struct Reader<'s> {
    stage: &'s Stage,
    steps: BTreeMap<String, &'s Step>,
    acts: &'s BTreeMap<Seq, Act>,
    turns: BTreeMap<String, Turn>,
    escalations: BTreeMap<ExceptionId, String>,
    forbidden: BTreeMap<OperationId, Seq>,
    caveats: Vec<(String, String)>,
    stopping: bool,
    found: Vec<Finding>,
}

/// Everything that was not done as declared.
pub(super) fn findings(stage: &Stage, story: &Story, acts: &BTreeMap<Seq, Act>) -> Vec<Finding> {
    let mut steps = BTreeMap::new();
    visit_steps(&story.plan.playbook.steps, &mut |path, step| {
        steps.insert(path.to_owned(), step);
    });
    let mut reader = Reader {
        stage,
        steps,
        acts,
        turns: BTreeMap::new(),
        escalations: BTreeMap::new(),
        forbidden: BTreeMap::new(),
        caveats: Vec::new(),
        stopping: false,
        found: Vec::new(),
    };
    for record in &story.records {
        reader.read(record.event.seq, &record.event.body);
    }
    if story.stuck.is_none() && !reader.stopping {
        for (path, turn) in &reader.turns {
            if let Some(class) = turn.pending {
                let happened =
                    format!("`{path}` failed with {} and nothing followed", class.name());
                reader.found.push(Finding::new(happened, "a failure leads somewhere"));
            }
        }
    }
    reader.found
}

impl Reader<'_> {
    fn read(&mut self, seq: Seq, body: &Body) {
        match body {
            Body::Proposed { operation, because: Role::Step, step, .. } => {
                self.turns.entry(step.clone()).or_default();
                let _known = operation;
            }
            Body::Dispatched { action, .. } => self.check_forbidden(seq, *action),
            Body::Rejected { action, stage, class, .. } => {
                let ends = !matches!(stage, GateStage::Stopped | GateStage::Edited);
                if ends {
                    self.failed(*action, *class);
                }
            }
            Body::Receipted { action, class: Some(class), .. } => self.failed(*action, *class),
            Body::Receipted { action, class: None, .. } => self.ended_well(*action),
            Body::Lapsed { .. } => {}
            Body::Marked { step, mark: Mark::Recovered { recovery, class, caveat, forbid } } => {
                for operation in forbid {
                    self.forbidden.entry(operation.clone()).or_insert(seq);
                }
                let said = matches!(recovery.as_str(), "partial" | "log");
                if let (true, Some(text)) = (said, caveat) {
                    self.caveats.push((step.clone(), text.clone()));
                }
                self.reacted(step, (*class, recovery));
            }
            Body::Raised { exception, .. } if exception.need == Need::Escalated => {
                self.escalations.insert(exception.id.clone(), exception.step.clone());
                self.reacted(&exception.step, (exception.class, "escalate"));
            }
            Body::Settled { exception, .. } => {
                if let Some(step) = self.escalations.get(exception).cloned() {
                    self.turns.entry(step).or_default().stopped = true;
                }
            }
            Body::Abandoned { step, class } => {
                let unplanned = self.turns.get(step).is_some_and(|turn| turn.stopped);
                if !unplanned {
                    self.reacted(step, (*class, "stop"));
                }
                self.stopping = true;
            }
            Body::Cancelled { .. } | Body::RollbackRequested { .. } => self.stopping = true,
            Body::Finished { end: End::Succeeded | End::Partial, caveats, .. } => {
                self.check_caveats(caveats);
            }
            _ => {}
        }
    }

    /// The turn of a step that an action belongs to, when it is the step's own.
    fn turn_of(&mut self, action: Seq) -> Option<(&Act, &mut Turn)> {
        let act = self.acts.get(&action).filter(|act| act.is_step())?;
        Some((act, self.turns.entry(act.path.clone()).or_default()))
    }

    fn failed(&mut self, action: Seq, class: Class) {
        if self.stopping {
            return;
        }
        if let Some((_, turn)) = self.turn_of(action) {
            turn.pending = Some(class);
        }
    }

    fn ended_well(&mut self, action: Seq) {
        if let Some((_, turn)) = self.turn_of(action) {
            turn.pending = None;
            turn.trouble = None;
        }
    }

    fn declared(&self, path: &str, class: Class) -> Vec<Recovery> {
        let step = self.steps.get(&static_path(path));
        if let Some(list) = step.and_then(|step| step.on_failure.get(&class)) {
            return list.clone();
        }
        let reads = step.is_some_and(|step| match &step.work {
            Work::Do { operation, .. } => self
                .stage
                .operation(operation)
                .is_some_and(|operation| operation.facts.effect == Effect::Read),
            _ => false,
        });
        let retry = Recovery::Retry { times: DEFAULT_RETRIES, delay_ms: 0 };
        match (reads, class.may_pass()) {
            (true, true) => vec![retry, Recovery::Stop],
            _ => vec![Recovery::Stop],
        }
    }

    /// A step did something about a failure.
    fn reacted(&mut self, path: &str, (class, did): (Class, &str)) {
        if self.stopping {
            return;
        }
        let declared = self.declared(path, class);
        let turn = self.turns.entry(path.to_owned()).or_default();
        let by_action = turn.pending.is_some();
        let about = turn.trouble.or(turn.pending).unwrap_or(class);
        turn.pending = None;
        let cursor = turn.cursors.entry(class).or_default();
        let fits = about == class && advance(cursor, &declared, (class, did, by_action));
        turn.trouble = matches!(did, "fallback" | "clarify" | "escalate").then_some(class);
        if !fits {
            let happened = format!("`{path}` failed with {} and did: {did}", about.name());
            let names: Vec<String> = declared.iter().map(say).collect();
            let expected = format!("as declared for {}: {}", class.name(), names.join(", then "));
            self.found.push(Finding::new(happened, expected));
        }
    }

    fn check_forbidden(&mut self, seq: Seq, action: Seq) {
        let Some(act) = self.acts.get(&action).filter(|act| act.is_step()) else { return };
        let since = self.forbidden.get(&act.operation).filter(|since| **since < act.seq);
        if since.is_some_and(|since| *since < seq) {
            let happened = format!("{} was dispatched in `{}`", act.operation, act.step);
            self.found
                .push(Finding::new(happened, "a recovery forbade it for the rest of the run"));
        }
    }

    fn check_caveats(&mut self, caveats: &[Caveat]) {
        for (step, text) in &self.caveats {
            if !caveats.iter().any(|caveat| caveat.text == *text) {
                let happened = format!("`{step}` went on without its result and the end is silent");
                let expected = format!("the result carries the caveat “{text}”");
                self.found.push(Finding::new(happened, expected));
            }
        }
    }
}

/// Moves a place in a list of recoveries on to what was done; `false` when that is not its turn.
fn advance(
    cursor: &mut (usize, u32),
    declared: &[Recovery],
    (class, did, by_action): (Class, &str, bool),
) -> bool {
    loop {
        let Some(next) = declared.get(cursor.0) else { return did == "stop" };
        let spent = match next {
            Recovery::Retry { times, .. } if class.may_pass() => cursor.1 >= *times,
            Recovery::Retry { .. } => true,
            _ => cursor.1 >= 1 && !matches!(next, Recovery::Escalate { .. }),
        };
        if next.name() == did && !spent {
            cursor.1 += 1;
            return true;
        }
        // A try that is due is made, unless the failure was of a result that a check did not like; what
        // stands in for a result may itself have none.
        let passes = match next {
            Recovery::Retry { .. } => spent || !by_action,
            Recovery::Fallback { .. } | Recovery::Partial { .. } | Recovery::Clarify { .. } => true,
            Recovery::Escalate { .. } | Recovery::Stop | Recovery::Log { .. } => spent,
        };
        if !passes {
            return false;
        }
        *cursor = (cursor.0 + 1, 0);
    }
}

fn say(recovery: &Recovery) -> String {
    match recovery {
        Recovery::Retry { times, .. } => format!("retry × {times}"),
        other => other.name().to_owned(),
    }
}
