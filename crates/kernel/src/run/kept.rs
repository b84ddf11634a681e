//! Reads of large results: allowed where an agent is, of what the same run brought.

use serde_json::Value;

use super::{Run, state::Act};
use crate::{
    action::Proposal,
    decision::Decision,
    event::{Ended, Role},
    hook,
    id::{Digest, OperationId},
    kept::{self, KEPT_READ, Kept},
    playbook::static_path,
};

impl Run {
    /// Whether a call reads on in a large result, at a place that an agent has for it.
    pub(super) fn reads_on(&self, id: &OperationId, step: &str, because: &Role) -> bool {
        let is_it = id.as_str() == KEPT_READ && *because == Role::Step && self.is_machine(5);
        is_it && self.pins.plan.reads_on(&static_path(step))
    }

    /// Whether it would read something that no result of this run stands for.
    pub(super) fn is_foreign(&self, proposal: &Proposal) -> bool {
        let blob = proposal.args.get("blob").and_then(Value::as_str);
        let blob = blob.and_then(|blob| blob.parse::<Digest>().ok());
        blob.is_none_or(|blob| !self.state.kept.contains(&blob))
    }

    /// What is decided without a policy: whether somebody may look, or read on.
    pub(super) fn decided(&self, act: &Act) -> Option<Decision> {
        let id = &act.operation.id;
        if self.is_look(id, &act.step, &act.role) {
            return Some(hook::configured(id));
        }
        self.reads_on(id, &act.step, &act.role).then(kept::allowed)
    }

    /// Remembers that a call brought a large result.
    pub(super) fn note_kept(&mut self, ended: &Ended) {
        if let Ended::Done { output, .. } = ended
            && let Some(kept) = Kept::of(&output.value())
        {
            self.state.kept.insert(kept.blob);
        }
    }
}
