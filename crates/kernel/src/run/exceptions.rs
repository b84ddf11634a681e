//! Exceptions as work: raising them once, and what people may decide about them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Fault, Ports, Refused, Run, emit::seal, state::Phase, system_text};
use crate::{
    approval::Refusal,
    event::{Body, Settled},
    exception::{Class, Exception, Landed, Need},
    id::{ExceptionId, Seq},
    input::Settlement,
    label::{Confidentiality, Label, LabelMap, Trust},
    playbook::{Work, static_path, visit_steps},
    port::Validate,
    principal::{Kind, Principal},
    rollback::State as TokenState,
};

impl Run {
    /// Raises an exception, or counts it where the same one is open; returns its id.
    pub(super) fn raise(
        &mut self,
        need: Need,
        class: Class,
        (step, action, owner): (String, Option<Seq>, String),
    ) -> Result<ExceptionId, Fault> {
        let at = self.state.at;
        let fresh = ExceptionId::of(&self.tenant, &self.id, self.state.next_seq);
        let mut exception = Exception { id: fresh, need, class, step, action, owner, at, count: 1 };
        if self.is_machine(2) {
            let trouble = super::apply_exceptions::trouble(&exception);
            let before = self.state.raised.get(&trouble).copied().unwrap_or_default();
            exception.count = before.saturating_add(1);
            let mut open = self.state.exceptions.values();
            let same = |open: &&Exception| super::apply_exceptions::trouble(open) == trouble;
            if let Some(open) = open.find(same) {
                (exception.id, exception.at) = (open.id.clone(), open.at);
            }
        }
        let id = exception.id.clone();
        self.emit(Body::Raised { exception, detail: None })?;
        Ok(id)
    }

    /// Whether this person's decision about this exception would count now; changes nothing.
    ///
    /// # Errors
    /// The reason why it would not.
    pub fn check_settlement(
        &self,
        exception: &ExceptionId,
        by: &Principal,
        settlement: &Settlement,
        validate: &dyn Validate,
    ) -> Result<(), Refused> {
        let open = self.open_exception(exception, by, settlement)?;
        if !open.is_decided_by(by) {
            return Err(Refused::NotYours { owner: open.owner.clone() });
        }
        self.check_now(open, settlement)?;
        let Settlement::Use { value } = settlement else {
            return Ok(());
        };
        let schema = self.answer_schema(&open.step);
        match schema.and_then(|schema| validate.violation(&schema, value)) {
            Some(violation) => Err(Refused::Shape { at: violation.at, problem: violation.problem }),
            None => Ok(()),
        }
    }

    /// What every machine version asks for.
    fn open_exception(
        &self,
        id: &ExceptionId,
        by: &Principal,
        settlement: &Settlement,
    ) -> Result<&Exception, Refused> {
        let open = self.state.exceptions.get(id);
        let open = open.ok_or(Refused::Late("no such exception is open"))?;
        if by.kind != Kind::Person || by.id == self.state.header.chain.agent.id {
            return Err(Refusal::NotAPerson.into());
        }
        if !verbs(open.need).contains(&verb(settlement)) {
            return Err(Refused::NotNow(
                "this verb does not fit this exception; see `harness exception get`",
            ));
        }
        Ok(open)
    }

    /// What may be decided about an open exception where the run stands, by whoever may decide.
    #[must_use]
    pub fn verbs_now(&self, id: &ExceptionId) -> Vec<&'static str> {
        let Some(open) = self.state.exceptions.get(id) else { return Vec::new() };
        let every = [
            Settlement::Happened,
            Settlement::DidNotHappen,
            Settlement::Retry,
            Settlement::Use { value: Arc::default() },
            Settlement::Skip,
            Settlement::Stop,
            Settlement::Rollback,
            Settlement::Close,
        ];
        let fits = |word: &&&str| {
            let mut meant = every.iter().filter(|settlement| verb(settlement) == **word);
            meant.any(|settlement| self.check_now(open, settlement).is_ok())
        };
        verbs(open.need).iter().filter(fits).copied().collect()
    }

    /// Whether the run can take the decision where it stands.
    fn check_now(&self, open: &Exception, settlement: &Settlement) -> Result<(), Refused> {
        let busy = self.state.unwind.is_some() || self.state.rollback.is_some();
        match (open.need, settlement) {
            (_, Settlement::Rollback) if busy => {
                Err(Refused::NotNow("a rollback is under way; wait for it to end"))
            }
            (Need::UndoFailed | Need::Conflict, Settlement::Retry) if busy => {
                Err(Refused::NotNow("a rollback is under way; wait for it to end"))
            }
            (Need::UndoFailed | Need::Conflict, Settlement::Retry)
                if self.state.end.is_none() && !self.state.is_stopping() =>
            {
                Err(Refused::NotNow("the run is not over; cancel it first"))
            }
            (Need::UndoFailed, Settlement::Retry) if !self.may_undo_again(open) => {
                Err(Refused::NotNow(
                    "the undo itself may have happened, and an undo has no undo: look, put it right by hand, then close",
                ))
            }
            (Need::Defect, Settlement::Close) if self.state.faulted => {
                Err(Refused::NotNow("the run is still held by it: retry, or roll back"))
            }
            _ => Ok(()),
        }
    }

    /// Whether what failed to be taken back can be tried again: its token was not used up.
    fn may_undo_again(&self, open: &Exception) -> bool {
        let Some(action) = open.action else { return true };
        let mut tokens = self.state.tokens.values();
        tokens.any(|t| t.action == action && t.state == TokenState::Armed && t.landed)
    }

    /// The schema an answer must fit to stand in for a step's output; `None` where nothing is declared.
    #[must_use]
    pub fn answer_schema(&self, step: &str) -> Option<Arc<Value>> {
        let wanted = static_path(step);
        let mut found = None;
        visit_steps(&self.pins.plan.playbook.steps, &mut |path, step| {
            if path == wanted {
                found = Some(&step.work);
            }
        });
        match found? {
            Work::Do { operation, .. } => {
                let entry = self.pins.catalogue.get(operation)?;
                Some(Arc::clone(&entry.operation.output))
            }
            Work::Ask { answer, .. } => Some(Arc::new(answer.clone())),
            Work::Agent { agent, .. } => {
                Some(agent.output.clone().unwrap_or_else(|| Arc::new(json!({ "type": "string" }))))
            }
            Work::Parallel { .. } => Some(Arc::new(json!({ "type": "object" }))),
            Work::ForEach { .. } => Some(Arc::new(json!({ "type": ["array", "null"] }))),
            Work::Playbook { .. }
            | Work::Sleep { .. }
            | Work::Await { .. }
            | Work::Return { .. } => None,
        }
    }

    pub(super) fn settle_exception(
        &mut self,
        id: &ExceptionId,
        (by, evidence): (Principal, String),
        settlement: Settlement,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        // A journal of the first machine replays as it was decided then.
        let checked = if self.is_machine(2) {
            self.check_settlement(id, &by, &settlement, ports.validate)
        } else {
            self.open_exception(id, &by, &settlement).map(|_| ())
        };
        if let Err(refused) = checked {
            return Ok(Err(refused));
        }
        let action = self.state.exceptions.get(id).and_then(|open| open.action);
        if settlement == Settlement::DidNotHappen && self.may_still_land(action) {
            return Ok(Err(Refused::NotNow(
                "too early to say: the call may still be on its way until its dispatch window and its \
                 timeout have passed; look again then",
            )));
        }
        let landed = match settlement {
            Settlement::Happened => Some(Landed::Yes),
            Settlement::DidNotHappen => Some(Landed::No),
            _ => None,
        };
        let ended = settlement == Settlement::Rollback && !self.state.is_stopping();
        let goes_on = settlement == Settlement::Retry && self.state.faulted;
        let settled = seal_settlement(settlement, ports)?;
        let (value, labels) = system_text(&evidence);
        let evidence = seal(ports, value, labels)?;
        self.emit(Body::Settled { exception: id.clone(), by, settled, evidence })?;
        if let (Some(landed), Some(action)) = (landed, action) {
            let class = (landed == Landed::No).then_some(Class::Unavailable);
            self.receipt(action, landed, class, ports)?;
        }
        if ended {
            self.stop_open_actions()?;
        }
        if ended || goes_on {
            self.advance_open(ports)?;
        }
        Ok(Ok(()))
    }

    /// Whether the call in doubt may still reach its target: an earlier owner that stood still sends until
    /// its window ends. A no before that could be overtaken, and a repeat would be a second effect.
    fn may_still_land(&self, action: Option<Seq>) -> bool {
        let act = action.and_then(|action| self.state.acts.get(&action));
        let last = act.and_then(|act| Some((act.dispatch.as_ref()?, act.operation.timeout_ms)));
        self.is_machine(3)
            && last.is_some_and(|(dispatch, timeout_ms)| {
                self.state.at < dispatch.dispatch_by.saturating_add(i64::from(timeout_ms))
            })
    }

    /// Whether an action's outcome waits for a person alone.
    pub(super) fn is_handed_over(&self, action: Seq) -> bool {
        let about = |e: &Exception| e.need == Need::InDoubt && e.action == Some(action);
        let doubt = self.state.acts.get(&action).is_some_and(|act| act.phase == Phase::Doubt);
        doubt && self.state.exceptions.values().any(about)
    }
}

fn seal_settlement(settlement: Settlement, ports: &mut Ports<'_>) -> Result<Settled, Fault> {
    Ok(match settlement {
        Settlement::Happened => Settled::Happened,
        Settlement::DidNotHappen => Settled::DidNotHappen,
        Settlement::Retry => Settled::Retry,
        Settlement::Skip => Settled::Skip,
        Settlement::Stop => Settled::Stop,
        Settlement::Rollback => Settled::Rollback,
        Settlement::Close => Settled::Close,
        Settlement::Use { value } => {
            let label = Label::new(Trust::User, Confidentiality::Internal);
            Settled::Use { value: seal(ports, value, LabelMap::uniform(label))? }
        }
    })
}

fn verb(settlement: &Settlement) -> &'static str {
    match settlement {
        Settlement::Happened => "happened",
        Settlement::DidNotHappen => "did_not_happen",
        Settlement::Retry => "retry",
        Settlement::Use { .. } => "use",
        Settlement::Skip => "skip",
        Settlement::Stop => "stop",
        Settlement::Rollback => "rollback",
        Settlement::Close => "close",
    }
}

/// What a person may decide about an exception of this sort.
#[must_use]
pub fn verbs(need: Need) -> &'static [&'static str] {
    match need {
        Need::InDoubt => &["happened", "did_not_happen", "rollback"],
        Need::Escalated => &["retry", "use", "skip", "stop", "rollback"],
        Need::UndoFailed | Need::Conflict => &["retry", "close"],
        Need::Unplanned => &["close"],
        Need::Defect => &["retry", "rollback", "close"],
    }
}
