//! Hooks: who looks at calls, asked one after the other, each by a call of its own.
//!
//! What planners and rollbacks call is looked at. What serves such a call (images, probes, previews, other
//! hooks) is not, nor is what is said to a model. Looks at moments of agents are asked for by whoever plans,
//! at the place that the plan has for them; what they say is for it to heed.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    Fault, Ports, Run,
    propose::FLOOR_ROLE,
    state::{Act, Heard, Phase},
};
use crate::{
    action::Proposal,
    canon,
    catalogue::Entry,
    decision::{Decision, Evidence, Requirement, Verdict},
    event::{Ended, Purpose, Role},
    exception::Class,
    hook::{HOOK_CONNECTOR, Moment, Opinion},
    id::{OperationId, Seq},
    kept,
    label::LabelMap,
    plan::Plan,
    planning::{Labelled, Observation},
    playbook::static_path,
};

/// Where a hook's answer says why, for people.
const REASON: &str = "reason";

/// Where a hook's answer says something to whoever plans.
const TOLD: &str = "told";

/// The hooks of a plan with the digests of their definitions.
pub(super) fn entries(plan: &Plan) -> Result<BTreeMap<OperationId, Entry>, canon::Error> {
    let entry = |operation: &Arc<crate::operation::Operation>| {
        let digest = canon::digest(&**operation)?;
        Ok((operation.id.clone(), Entry { operation: Arc::clone(operation), digest }))
    };
    plan.hooks.iter().map(|hook| entry(&hook.operation)).collect()
}

impl Run {
    /// What an operation is: hooks are looked up in the plan alone, everything else but the read of large results in
    /// the catalogue.
    pub(super) fn entry(&self, id: &OperationId, step: &str, because: &Role) -> Option<&Entry> {
        if self.reads_on(id, step, because) {
            return kept::entry();
        }
        let looks = self.is_look(id, step, because);
        if looks { self.hooks.get(id) } else { self.pins.catalogue.get(id) }
    }

    /// Whether a call is a hook's: one that serves an action, or a look of the plan at a moment of an agent.
    pub(super) fn is_look(&self, id: &OperationId, step: &str, because: &Role) -> bool {
        match because {
            Role::Companion { purpose, .. } => purpose.is_hook(),
            Role::Step => {
                id.connector() == HOOK_CONNECTOR && self.pins.plan.looks(&static_path(step), id)
            }
            Role::Undo { .. } => false,
        }
    }

    /// The next hook that must be asked before this action may go on; none once it is denied.
    pub(super) fn gate_due(&self, action: Seq, decision: &Decision) -> Option<OperationId> {
        if decision.verdict == Verdict::Deny {
            return None;
        }
        self.hook_due(action, Moment::Before)
    }

    /// The next hook that looks at how this action ended.
    pub(super) fn watch_due(&self, action: Seq, class: Option<Class>) -> Option<OperationId> {
        self.hook_due(action, if class.is_none() { Moment::After } else { Moment::Failure })
    }

    fn hook_due(&self, action: Seq, on: Moment) -> Option<OperationId> {
        let looking = self.pins.plan.hooks.iter().filter(|hook| hook.on == on);
        let act = self.state.acts.get(&action).filter(|act| is_looked_at(act))?;
        let mut looking = looking.filter(|hook| hook.looks_at.contains(&act.operation.id));
        let due = looking.find(|hook| !act.hooks.contains_key(&hook.operation.id))?;
        Some(due.operation.id.clone())
    }

    /// Proposes the call of a hook about an action.
    pub(super) fn consult(
        &mut self,
        action: Seq,
        (hook, purpose): (OperationId, Purpose),
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Err(self.illegal("a hook looks at an action that is not open"));
        };
        let mut label = act.args.labels().join_all();
        let mut seen = json!({
            "operation": act.operation.id,
            "args": *act.args.value(),
            "action": action,
        });
        let ended = act.ended.as_ref().filter(|_| purpose == Purpose::Watch);
        let (name, value) = match ended.map(|(_, ended)| ended) {
            Some(Ended::Done { output, .. }) => {
                label.join_from(&output.labels().join_all());
                ("output", (*output.value()).clone())
            }
            // What a failing system says stays where it is: nobody has looked at it.
            Some(Ended::Failed { class, .. }) => ("failed", json!(class)),
            None => ("", Value::Null),
        };
        if let (Some(seen), false) = (seen.as_object_mut(), name.is_empty()) {
            seen.insert(name.to_owned(), value);
        }
        let proposal = Proposal {
            step: act.step.clone(),
            operation: hook,
            args: Arc::new(seen),
            arg_labels: LabelMap::uniform(label),
            existence: act.existence.clone(),
            attempt: 1,
            proposer: None,
        };
        self.propose(proposal, Role::Companion { of: action, purpose }, ports).map(|_| ())
    }

    /// A hook answered, or will not: the action it looks at goes on, and whoever plans is told.
    pub(super) fn hook_ended(&mut self, of: Seq, hook: &Act) {
        let text = |answer: &crate::sealed::Sealed, place: &str| {
            let value = answer.value();
            let text = value.get(place).and_then(Value::as_str).filter(|text| !text.is_empty())?;
            let labels = LabelMap::uniform(answer.labels().join_all());
            Some(Labelled { value: Arc::new(Value::String(text.to_owned())), labels })
        };
        let (said, reason, told) = match &hook.ended {
            Some((_, Ended::Done { output, .. })) => {
                (Opinion::read(&output.value()), text(output, REASON), text(output, TOLD))
            }
            Some((_, Ended::Failed { .. })) | None => (Opinion::Failed, None, None),
        };
        let Some(act) = self.state.acts.get_mut(&of) else { return };
        act.hooks.insert(hook.operation.id.clone(), Heard { said, reason });
        if act.phase == Phase::Helping {
            act.phase = Phase::Open;
        }
        let step = (act.role == Role::Step).then(|| act.step.clone());
        if let (Some(step), Some(text)) = (step, told) {
            self.observe(Observation::Told { step: &step, text: &text });
        }
    }
}

/// Whether hooks look at an action at all.
fn is_looked_at(act: &Act) -> bool {
    let serves = matches!(act.role, Role::Companion { .. });
    !serves && !act.operation.is_model_call()
}

/// Narrows what policy decided by what hooks said: a no is a no, an ask needs a person, and nothing else
/// changes anything.
pub(super) fn narrow(decision: &mut Decision, act: &Act, evidence: &Evidence) {
    let approved = evidence.approvals.get(FLOOR_ROLE).is_some_and(|count| *count > 0);
    for (hook, heard) in &act.hooks {
        if decision.verdict == Verdict::Deny {
            return;
        }
        match heard.said {
            Opinion::Pass => {}
            // Whoever denies speaks alone.
            Opinion::Deny | Opinion::Failed => {
                decision.verdict = Verdict::Deny;
                decision.rules = vec![heard.said.rule(hook)];
            }
            Opinion::Ask if approved => {}
            Opinion::Ask => {
                let mut needed = match &decision.verdict {
                    Verdict::Ask(needed) => needed.clone(),
                    Verdict::Allow | Verdict::Deny => Requirement::default(),
                };
                needed.approvals.entry(FLOOR_ROLE.to_owned()).or_insert(1);
                decision.verdict = Verdict::Ask(needed);
                decision.rules.insert(0, heard.said.rule(hook));
            }
        }
    }
}
