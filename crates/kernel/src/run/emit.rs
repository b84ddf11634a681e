//! Emitting an event: the only way state changes while deciding.

use std::sync::Arc;

use serde_json::Value;

use super::{Fault, Ports, Run};
use crate::{
    event::{Body, Event, Record, VERSION},
    exception::Need,
    id::{ApprovalId, At, ExceptionId, Seq, TokenId},
    label::LabelMap,
    operation::Undo,
    playbook::static_path,
    project::{self, Lookup},
    sealed::Sealed,
};

impl Run {
    /// Hashes, projects, applies and queues one event; returns its sequence number.
    pub(super) fn emit(&mut self, body: Body) -> Result<Seq, Fault> {
        let seq = self.state.next_seq;
        let record = Record::new(Event {
            v: VERSION,
            run: self.id.clone(),
            seq,
            at: self.state.at,
            body,
            prev_hash: self.state.head,
        })?;
        self.pending.changes.extend(project::changes(&record, self));
        self.note_reach(&record.event.body);
        self.apply(&record)?;
        self.pending.records.push(record);
        Ok(seq)
    }

    /// A batch that dispatches says what it touches: the store asks the halts.
    fn note_reach(&mut self, body: &Body) {
        let Body::Dispatched { action, .. } = body else { return };
        let act = self.state.acts.get(action);
        let connector = act.map(|act| act.operation.id.connector().to_owned());
        let agents = act.map(|act| self.pins.plan.agents_around(&static_path(&act.step)));
        let fresh = self.pending.reach.take().unwrap_or_else(|| self.reach());
        let reach = self.pending.reach.insert(fresh);
        reach.connectors.extend(connector);
        reach.agents.extend(agents.into_iter().flatten());
    }

    pub(super) fn illegal(&self, problem: &'static str) -> Fault {
        Fault::Illegal { seq: self.state.next_seq, problem }
    }
}

/// Seals a value with the next salt.
pub(super) fn seal(
    ports: &mut Ports<'_>,
    value: Arc<Value>,
    labels: LabelMap,
) -> Result<Sealed, Fault> {
    Ok(Sealed::new(value, labels, ports.salts.salt())?)
}

impl Lookup for Run {
    fn step(&self, action: Seq) -> String {
        self.state.acts.get(&action).map(|act| act.step.clone()).unwrap_or_default()
    }

    fn ask(&self, action: Seq) -> Option<ApprovalId> {
        self.state.acts.get(&action)?.ask.as_ref().map(|ask| ask.id.clone())
    }

    fn escalations(&self) -> Vec<ExceptionId> {
        let open = self.state.exceptions.values().filter(|_| self.is_machine(2));
        open.filter(|e| e.need == Need::Escalated).map(|e| e.id.clone()).collect()
    }

    fn is_doubt(&self, exception: &ExceptionId) -> bool {
        let open = self.state.exceptions.get(exception);
        open.is_some_and(|open| open.need == Need::InDoubt)
    }

    fn token(&self, id: &TokenId) -> Option<(Seq, Undo, At)> {
        self.state.tokens.get(id).map(|token| (token.action, token.undo, token.expires_at))
    }
}
