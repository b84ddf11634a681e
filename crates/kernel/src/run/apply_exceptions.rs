//! The fold, continued: exceptions, what people decided about them, and taking back.

use super::{
    Run,
    apply::labelled,
    state::{Trouble, Unwind},
};
use crate::{
    event::{Settled, Undone},
    exception::{Exception, Need},
    id::{ExceptionId, Seq, TokenId},
    input::{OnConflict, Scope},
    planning::{Observation, Resolution},
    principal::Principal,
    rollback::State as TokenState,
};

impl Run {
    pub(super) fn on_raised(&mut self, exception: &Exception) {
        if exception.need == Need::Escalated {
            self.observe(Observation::Escalated { step: &exception.step });
        }
        *self.state.raised.entry(trouble(exception)).or_default() += 1;
        self.state.exceptions.insert(exception.id.clone(), exception.clone());
    }

    pub(super) fn on_settled(
        &mut self,
        id: &ExceptionId,
        by: &Principal,
        settled: &Settled,
    ) -> Result<(), &'static str> {
        let exception = self.state.exceptions.remove(id).ok_or("no such exception is open")?;
        match (exception.need, settled) {
            (_, Settled::Rollback) => self.on_rolled_back(exception, by),
            (Need::Escalated, _) => self.resolve(&exception, settled),
            (Need::UndoFailed | Need::Conflict, Settled::Retry) => {
                let scope = self.state.unwind_scope.clone();
                self.state.rollback = Some((by.clone(), scope, OnConflict::Refuse));
            }
            (Need::Defect, Settled::Retry) => self.state.faulted = false,
            _ => {}
        }
        Ok(())
    }

    fn resolve(&mut self, exception: &Exception, settled: &Settled) {
        let resolution = match settled {
            Settled::Retry => Resolution::Retry,
            Settled::Use { value } => Resolution::Use(labelled(value)),
            Settled::Skip => Resolution::Skip,
            Settled::Stop
            | Settled::Rollback
            | Settled::Close
            | Settled::Happened
            | Settled::DidNotHappen => Resolution::Stop,
        };
        self.observe(Observation::Resolved { step: &exception.step, resolution: &resolution });
    }

    /// Whoever rolls a run back ends it first. What is in doubt stays in doubt.
    fn on_rolled_back(&mut self, exception: Exception, by: &Principal) {
        if !self.state.is_stopping() {
            (self.state.paused, self.state.faulted) = (false, false);
            self.state.cancelled = true;
            self.state.waits.clear();
            self.forget_escalations();
        }
        self.state.rollback = Some((by.clone(), Scope::Run, OnConflict::Refuse));
        if exception.need == Need::InDoubt {
            self.state.exceptions.insert(exception.id.clone(), exception);
        }
    }

    /// Nobody needs to decide how a run goes on that does not.
    pub(super) fn forget_escalations(&mut self) {
        if self.is_machine(2) {
            self.state.exceptions.retain(|_, open| open.need != Need::Escalated);
        }
    }

    pub(super) fn on_unwinding(&mut self, tokens: &[TokenId], irreversible: usize, doubts: &[Seq]) {
        let asked = self.state.rollback.as_ref();
        let by =
            asked.map_or_else(|| self.state.header.chain.agent.clone(), |(by, _, _)| by.clone());
        let on_conflict = asked.map(|(_, _, on_conflict)| on_conflict.clone()).unwrap_or_default();
        self.state.unwind_scope = asked.map_or(Scope::Run, |(_, scope, _)| scope.clone());
        self.state.recoveries.insert("rollback".to_owned());
        let record = |seq: &Seq| {
            let act = self.state.acts.get(seq);
            (*seq, act.and_then(|act| act.resource.clone()))
        };
        self.state.unwind = Some(Unwind {
            by,
            on_conflict,
            queue: tokens.iter().cloned().collect(),
            irreversible,
            results: Vec::new(),
            snags: doubts.iter().map(record).collect(),
            doubts: doubts.len(),
        });
    }

    pub(super) fn on_redeemed(
        &mut self,
        id: &TokenId,
        undone: &Undone,
    ) -> Result<(), &'static str> {
        let token = if undone.spends() { TokenState::Spent } else { TokenState::Armed };
        self.set_token(id, token);
        if undone.is_back() {
            self.state.effects.retain(|(_, token)| token.as_ref() != Some(id));
        }
        let stays = self.state.tokens.get(id).filter(|_| !undone.is_back());
        let snag = stays.map(|token| (token.action, token.resource.clone()));
        let unwind = self.state.unwind.as_mut().ok_or("nothing is being taken back")?;
        unwind.queue.retain(|queued| queued != id);
        unwind.results.push(undone.clone());
        unwind.snags.extend(snag);
        Ok(())
    }
}

/// What the exception is about: the same again is the same exception.
pub(super) fn trouble(exception: &Exception) -> Trouble {
    (exception.need, exception.step.clone(), exception.class, exception.action)
}
