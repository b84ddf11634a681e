//! A playbook, a script of outcomes, and the moves as lines of text.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    Digest, Label, LabelMap, RunId,
    action::Proposal,
    event::MACHINE,
    exception::Class,
    id::{OperationId, Tenant},
    label::{Confidentiality, Trust},
    operation::{Effect, Facts},
    plan::{Asks, Plan, PlanStep},
    planning::{Labelled, Mark, Move, Observation, Planner, Resolution, Settled, Wait},
    playbook::{Playbook, Recovery, Step, Work, visit_steps},
    port::{Validate, Violation},
};
use planner::PlaybookPlanner;
use serde_json::{Value, json};

pub(crate) const USER: Trust = Trust::User;
pub(crate) const VERIFIED: Trust = Trust::Verified;
pub(crate) const UNTRUSTED: Trust = Trust::Untrusted;

pub(crate) fn label(trust: Trust) -> Label {
    Label::new(trust, Confidentiality::Internal)
}

pub(crate) fn labelled(value: Value, trust: Trust) -> Labelled {
    Labelled { value: Arc::new(value), labels: LabelMap::uniform(label(trust)) }
}

/// A value of which the named parts are untrusted.
pub(crate) fn mixed(value: Value, untrusted: &[&str]) -> Labelled {
    let mut made = labelled(value, VERIFIED);
    for part in untrusted {
        made.labels.parts.insert((*part).to_owned(), label(UNTRUSTED));
    }
    made
}

pub(crate) fn run_id() -> RunId {
    RunId::of_intent(&Tenant::default(), "test", "1")
}

/// A plan in which operations of connector `r` read and all others write.
pub(crate) fn plan(steps: Vec<Step>) -> Plan {
    let mut held = Vec::new();
    visit_steps(&steps, &mut |path, step| {
        let mut operations: Vec<&OperationId> = Vec::new();
        if let Work::Do { operation, .. } = &step.work {
            operations.push(operation);
        }
        for recovery in step.on_failure.values().flatten() {
            if let Recovery::Fallback { operation, .. } = recovery {
                operations.push(operation);
            }
        }
        for operation in operations {
            let read = operation.connector() == "r";
            let effect = if read { Effect::Read } else { Effect::Write };
            held.push(PlanStep {
                path: path.to_owned(),
                operation: operation.clone(),
                definition: Digest::default(),
                facts: Facts { effect, ..Facts::default() },
                times_max: 1,
                cost_max: None,
                conditional: false,
                asks: Asks::No,
            });
        }
    });
    Plan {
        schema: "plan/v1".into(),
        intent: "test".into(),
        inputs: Some(Digest::default()),
        pack: "p".into(),
        pack_version: "1.0.0".into(),
        pack_digest: Digest::default(),
        policy_digest: Digest::default(),
        config_digest: Digest::default(),
        servers: Default::default(),
        steps: held,
        playbook: Playbook { name: "test".into(), steps },
        constants: json!({"limit": 7}),
        hooks: Vec::new(),
    }
}

/// `type`, `required`, `properties` and `additionalProperties: false`: enough to see what does not fit.
#[derive(Debug)]
struct Shapes;

impl Validate for Shapes {
    fn violation(&self, schema: &Arc<Value>, value: &Value) -> Option<Violation> {
        fn wrong(schema: &Value, value: &Value, at: &str) -> Option<(String, String)> {
            let fits = match schema["type"].as_str() {
                Some("object") => value.is_object(),
                Some("string") => value.is_string(),
                Some("integer") => value.is_i64(),
                Some("array") => value.is_array(),
                _ => true,
            };
            if !fits {
                return Some((at.to_owned(), format!("it is no {}", schema["type"])));
            }
            let names = schema["required"].as_array().into_iter().flatten();
            for name in names.filter_map(Value::as_str) {
                if value.get(name).is_none() {
                    return Some((at.to_owned(), format!("`{name}` is missing")));
                }
            }
            for (name, value) in value.as_object().into_iter().flatten() {
                let at = format!("{at}/{name}");
                match schema["properties"].get(name) {
                    Some(inner) => {
                        if let Some(found) = wrong(inner, value, &at) {
                            return Some(found);
                        }
                    }
                    None if schema["additionalProperties"] == Value::Bool(false) => {
                        return Some((at, format!("`{name}` is unknown")));
                    }
                    None => {}
                }
            }
            None
        }
        let (at, problem) = wrong(schema, value, "")?;
        Some(Violation { at, problem, class: Class::InvalidArguments })
    }
}

pub(crate) fn planner(steps: Vec<Step>) -> PlaybookPlanner {
    planner_of(plan(steps))
}

pub(crate) fn planner_of(plan: Plan) -> PlaybookPlanner {
    let planner = PlaybookPlanner::new(Arc::new(plan), &run_id()).unwrap();
    planner.with_schemas(Arc::new(Shapes))
}

pub(crate) fn steps(value: Value) -> Vec<Step> {
    serde_json::from_value(value).unwrap()
}

/// One observation, owned.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Opened(Labelled),
    Entered(&'static str, String),
    Settled(String, Settled),
    Answered(String, Option<Labelled>),
    Woken(String, Option<Labelled>),
    Resolved(String, Resolution),
    Steered(Labelled),
    Told(String, Labelled),
}

impl Seen {
    pub(crate) fn tell(&self, planner: &mut PlaybookPlanner) {
        self.tell_as(planner, MACHINE);
    }

    /// As a run that is pinned to a version of the machine tells it.
    fn tell_as(&self, planner: &mut PlaybookPlanner, machine: u32) {
        let run = labelled(json!({"id": "run_1"}), Trust::System);
        let seen = match self {
            Self::Opened(intent) => Observation::Opened { intent, run: &run, machine },
            Self::Entered("propose", step) => Observation::Proposed { step, seq: 1 },
            Self::Entered("ask", step) => Observation::Asked { step },
            Self::Entered("wait", step) => Observation::Waiting { step },
            Self::Entered("mark", step) => Observation::Marked { step },
            Self::Entered(_, step) => Observation::Escalated { step },
            Self::Settled(step, settled) => Observation::Settled { step, settled },
            Self::Answered(step, answer) => Observation::Answered { step, answer: answer.as_ref() },
            Self::Woken(step, signal) => Observation::Woken { step, signal: signal.as_ref() },
            Self::Resolved(step, resolution) => Observation::Resolved { step, resolution },
            Self::Steered(text) => Observation::Steered { text },
            Self::Told(step, text) => Observation::Told { step, text },
        };
        planner.observe(0, seen);
    }
}

/// The observation that a move entered the journal; none for the last move.
pub(crate) fn entry(wanted: &Move) -> Option<Seen> {
    let (kind, step) = match wanted {
        Move::Propose(proposal) => ("propose", &proposal.step),
        Move::Ask(question) => ("ask", &question.step),
        Move::Wait { step, .. } => ("wait", step),
        Move::Mark { step, .. } => ("mark", step),
        Move::Escalate { step, .. } => ("escalate", step),
        Move::Finish { .. } | Move::Abandon { .. } => return None,
    };
    Some(Seen::Entered(kind, step.clone()))
}

/// A planner under test with everything it was told and everything it wanted.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) planner: PlaybookPlanner,
    pub(crate) seen: Vec<Seen>,
    pub(crate) moves: Vec<Move>,
    pub(crate) ended: bool,
}

impl Drive {
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Self::of(plan(steps))
    }

    pub(crate) fn of(plan: Plan) -> Self {
        Self { planner: planner_of(plan), seen: Vec::new(), moves: Vec::new(), ended: false }
    }

    pub(crate) fn tell(&mut self, seen: Seen) {
        seen.tell(&mut self.planner);
        self.seen.push(seen);
    }

    /// Takes in every move that is wanted now, as the journal would.
    pub(crate) fn drain(&mut self) {
        while let (false, Some(wanted)) = (self.ended, self.planner.next()) {
            let entered = entry(&wanted);
            self.moves.push(wanted);
            match entered {
                Some(entered) => self.tell(entered),
                None => self.ended = true,
            }
        }
    }

    pub(crate) fn told(&mut self, seen: Seen) -> &mut Self {
        self.tell(seen);
        self.drain();
        self
    }

    pub(crate) fn done(&mut self, step: &str, value: Value) -> &mut Self {
        self.done_as(step, labelled(value, VERIFIED))
    }

    pub(crate) fn done_as(&mut self, step: &str, value: Labelled) -> &mut Self {
        self.told(Seen::Settled(step.into(), Settled::Done(value)))
    }

    pub(crate) fn failed(&mut self, step: &str, class: Class) -> &mut Self {
        self.failed_as(step, class, (None, VERIFIED))
    }

    pub(crate) fn failed_as(
        &mut self,
        step: &str,
        class: Class,
        (retry_after_ms, trust): (Option<i64>, Trust),
    ) -> &mut Self {
        let label = label(trust);
        self.told(Seen::Settled(
            step.into(),
            Settled::Failed { class, code: None, retry_after_ms, label },
        ))
    }

    pub(crate) fn answered(&mut self, step: &str, value: Value) -> &mut Self {
        self.told(Seen::Answered(step.into(), Some(labelled(value, USER))))
    }

    pub(crate) fn woken(&mut self, step: &str) -> &mut Self {
        self.told(Seen::Woken(step.into(), None))
    }

    pub(crate) fn resolved(&mut self, step: &str, resolution: Resolution) -> &mut Self {
        self.told(Seen::Resolved(step.into(), resolution))
    }

    /// All moves so far as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.moves.iter().map(line).collect()
    }

    pub(crate) fn proposals(&self) -> impl Iterator<Item = &Proposal> {
        self.moves.iter().filter_map(|wanted| match wanted {
            Move::Propose(proposal) => Some(proposal),
            _ => None,
        })
    }

    pub(crate) fn proposal(&self, step: &str) -> &Proposal {
        self.proposals().find(|proposal| proposal.step == step).unwrap()
    }

    /// The result, when it finished.
    pub(crate) fn output(&self) -> &Labelled {
        match self.moves.last() {
            Some(Move::Finish { output, .. }) => output,
            other => panic!("not finished: {other:?}"),
        }
    }
}

/// Opens a run with this intent, trusted as the user, except the parts under `/u`.
pub(crate) fn open(playbook: Value, intent: Value) -> Drive {
    open_as(playbook, intent, MACHINE)
}

/// The same, pinned to a version of the machine.
pub(crate) fn open_as(playbook: Value, intent: Value, machine: u32) -> Drive {
    open_with(plan(steps(playbook)), intent, machine)
}

/// The same, of a plan with more in it than its steps.
pub(crate) fn open_with(plan: Plan, intent: Value, machine: u32) -> Drive {
    let mut drive = Drive::of(plan);
    let mut intent = labelled(intent, USER);
    intent.labels.parts.insert("/u".into(), label(UNTRUSTED));
    let opened = Seen::Opened(intent);
    opened.tell_as(&mut drive.planner, machine);
    drive.seen.push(opened);
    drive.drain();
    drive
}

/// A `do` step.
pub(crate) fn act(id: &str, operation: &str, with: Value) -> Value {
    json!({"id": id, "work": {"kind": "do", "operation": operation, "with": with}})
}

/// A step with more keys.
pub(crate) fn with(mut step: Value, more: Value) -> Value {
    let more: BTreeMap<String, Value> = serde_json::from_value(more).unwrap();
    step.as_object_mut().unwrap().extend(more);
    step
}

pub(crate) fn give(value: Value) -> Value {
    json!({"id": "end", "work": {"kind": "return", "value": value}})
}

fn line(wanted: &Move) -> String {
    match wanted {
        Move::Propose(p) => format!("do {} {}#{} {}", p.step, p.operation, p.attempt, p.args),
        Move::Ask(q) => format!("ask {} {} of {}", q.step, q.text.value, q.role),
        Move::Wait { step, wait: Wait::Sleep { ms } } => format!("sleep {step} {ms}"),
        Move::Wait { step, wait: Wait::Signal { name, timeout_ms } } => {
            format!("signal {step} {name} {timeout_ms}")
        }
        Move::Mark { step, mark: Mark::Skipped } => format!("skip {step}"),
        Move::Mark { step, mark: Mark::Recovered { recovery, class, caveat, forbid } } => {
            let caveat = caveat.as_ref().map(|text| format!(" '{text}'")).unwrap_or_default();
            let forbid: Vec<&str> = forbid.iter().map(OperationId::as_str).collect();
            let forbid = if forbid.is_empty() { String::new() } else { format!(" -{forbid:?}") };
            format!("{recovery} {step} {}{caveat}{forbid}", class.name())
        }
        Move::Mark { step, mark: Mark::Concluded { reason, turns, calls, .. } } => {
            format!("{reason} {step} {turns}/{calls}")
        }
        Move::Mark { step, mark: Mark::Extracted { question, found, before, after, .. } } => {
            format!("{found:?} {step} {question} {:?}>{:?}", before.trust, after.trust)
        }
        Move::Mark { step, mark: Mark::Sensed { sensor, verdict, before, after, .. } } => {
            let (before, after) = (before.trust, after.trust);
            format!("{} {step} {sensor} {before:?}>{after:?}", verdict.word())
        }
        Move::Mark { step, mark: Mark::Looked { hook, on, said } } => {
            format!("{said:?} {step} {hook} {on:?}")
        }
        Move::Mark { step, mark: Mark::Endorsed { before, after } } => {
            format!("endorsed {step} {:?}>{:?}", before.trust, after.trust)
        }
        Move::Escalate { step, class, owner } => {
            format!("escalate {step} {} to {owner}", class.name())
        }
        Move::Finish { output, caveats } => {
            let text = |c: &kernel::planning::Caveat| {
                format!(" [{} {} '{}']", c.step, c.class.map_or("-", Class::name), c.text)
            };
            let caveats: String = caveats.iter().map(text).collect();
            format!("finish {}{caveats}", output.value)
        }
        Move::Abandon { step, class } => format!("abandon {step} {}", class.name()),
    }
}
