//! Companion reads: images, previews and probes around an action, each an action of its own.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Fault, Ports, Run, state::Act};
use crate::{
    action::Proposal,
    event::{Purpose, Role, Stage},
    exception::Class,
    id::{EffectKey, Seq},
    label::{Label, LabelMap},
    operation::{Companion, bind},
};

impl Run {
    /// What nobody waits for any more is not called and asks nobody.
    pub(super) fn stop_companions(&mut self, parent: Seq) -> Result<(), Fault> {
        let serves = |act: &Act| {
            act.dispatch.is_none()
                && matches!(&act.role, Role::Companion { of, purpose }
                    if *of == parent && *purpose != Purpose::Compare)
        };
        let open = self.state.acts.iter().filter(|(_, act)| serves(act));
        let open: Vec<Seq> = open.map(|(seq, _)| *seq).collect();
        for action in open {
            self.reject(action, Stage::Stopped, Class::PolicyError, "not-needed".to_owned())?;
        }
        Ok(())
    }

    pub(super) fn companion<'a>(&self, act: &'a Act, purpose: Purpose) -> Option<&'a Companion> {
        let companions = &act.operation.companions;
        match purpose {
            Purpose::Preview => companions.preview.as_ref(),
            Purpose::Refresh => companions
                .preview
                .as_ref()
                .filter(|_| act.captures.contains_key(&Purpose::Preview))
                .or(companions.before.as_ref()),
            Purpose::Before | Purpose::After | Purpose::Compare => companions.before.as_ref(),
            Purpose::Probe => companions.probe.as_ref().map(|probe| &probe.call),
            // Hooks stand in the plan, not with the operation; see `Run::consult`.
            Purpose::Gate | Purpose::Watch => None,
        }
    }

    /// Proposes a companion read for an action.
    pub(super) fn help(
        &mut self,
        action: Seq,
        purpose: Purpose,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Err(self.illegal("it helps an action that is not open"));
        };
        let scope = self.companion_scope(act);
        let companion = self.companion(act, purpose).cloned();
        let before = act.captures.get(&Purpose::Before).map(|image| image.labels().join_all());
        let label = act.args.labels().join_all().join(&before.unwrap_or_else(Label::bottom));
        let labels = LabelMap::uniform(label);
        let (step, existence) = (act.step.clone(), act.existence.clone());
        let args = companion.as_ref().and_then(|companion| bind(companion, &scope));
        let (Some(companion), Some(args)) = (companion, args) else {
            return self.miss(action, purpose, ports);
        };
        let proposal = Proposal {
            step,
            operation: companion.operation,
            args: Arc::new(args),
            arg_labels: labels,
            existence,
            attempt: 1,
            proposer: None,
        };
        self.propose(proposal, Role::Companion { of: action, purpose }, ports).map(|_| ())
    }

    fn companion_scope(&self, act: &Act) -> Value {
        let key = EffectKey::of(&self.tenant, &self.id, act.origin);
        let image = |p| act.captures.get(&p).map(|s| (*s.value()).clone());
        json!({ "args": *act.args.value(), "before": image(Purpose::Before), "key": key })
    }

    /// A companion whose arguments lead nowhere is a companion that failed, and is journaled as one.
    fn miss(&mut self, action: Seq, purpose: Purpose, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Ok(());
        };
        let operation = self.companion(act, purpose).map(|c| c.operation.clone());
        let proposal = Proposal {
            step: act.step.clone(),
            operation: operation.unwrap_or_else(|| act.operation.id.clone()),
            args: Arc::new(Value::Null),
            arg_labels: LabelMap::uniform(Label::bottom()),
            existence: act.existence.clone(),
            attempt: 1,
            proposer: None,
        };
        self.propose(proposal, Role::Companion { of: action, purpose }, ports).map(|_| ())
    }
}

/// Whether two images agree where the companion says it matters.
pub(super) fn same_image(companion: &Companion, one: &Value, other: &Value) -> bool {
    crate::pointer::project(one, &companion.image)
        == crate::pointer::project(other, &companion.image)
}
