//! Taking back: newest first, one at a time, each undo an action that walks the whole gate.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Fault, Ports, Run,
    companions::same_image,
    emit::seal,
    state::{Act, Phase, Unwind},
};
use crate::{
    action::{Proposal, Resource},
    event::{Because, Body, End, Purpose, Role, Undone, Unwound},
    exception::{Class, Landed, Need},
    id::{Seq, TokenId},
    input::{OnConflict, Scope},
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Companion, Undo, bind},
    principal::Kind,
    rollback::{State as TokenState, Token},
    sealed::Sealed,
};

impl Run {
    /// Nothing more is wanted: end what is to be ended, begin taking back what is to be taken back.
    pub(super) fn wind_down(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        self.resume_parents(ports)?;
        while !self.state.is_held() && self.is_undo_due() {
            self.next_undo(ports)?;
            self.resume_parents(ports)?;
        }
        let state = &self.state;
        if state.paused || state.faulted || state.held || self.has_unknowns() {
            return Ok(());
        }
        // Ending sends nothing, so a halted run may end; taking back waits.
        let may_call = state.halted.is_none();
        if self.state.cancelled && self.state.end.is_none() {
            self.end_empty(End::Cancelled, ports)?;
        }
        if self.state.unwind.is_some() {
            return Ok(());
        }
        if self.state.end.is_none()
            && let Some((step, class)) = self.state.abandoned.clone()
        {
            if self.state.effects.is_empty() || self.state.unwound.is_some() {
                self.end_empty(End::Failed, ports)?;
            } else if !may_call {
                return Ok(());
            } else {
                return self.unwind(Because::Failure { step, class }, &Scope::Run, ports);
            }
        }
        match self.state.rollback.clone() {
            Some(_) if !may_call => Ok(()),
            Some((_, scope, _)) => self.unwind(Because::Asked, &scope, ports),
            None => self.close(),
        }
    }

    fn end_empty(&mut self, end: End, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let labels = LabelMap::uniform(Label::bottom());
        let output = seal(ports, Arc::new(Value::Null), labels)?;
        self.emit(Body::Finished { end, output, caveats: Vec::new() }).map(|_| ())
    }

    fn unwind(
        &mut self,
        because: Because,
        scope: &Scope,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let in_scope = |token: &TokenId| match scope {
            Scope::Run => true,
            Scope::Token { token: only } => token == only,
        };
        let mut tokens = Vec::new();
        let mut irreversible = Vec::new();
        for (action, token) in self.state.effects.iter().rev() {
            match token {
                Some(token) if in_scope(token) => tokens.push(token.clone()),
                None if *scope == Scope::Run => irreversible.push(*action),
                Some(_) | None => {}
            }
        }
        let acts = self.state.acts.iter().filter(|(_, act)| act.phase == Phase::Doubt);
        let doubts = acts.map(|(seq, _)| *seq).collect();
        self.emit(Body::Unwinding { because, tokens, irreversible, doubts })?;
        self.wind_down(ports)
    }

    /// Whether something is under way, or in doubt, that must be known first. When a person asked to
    /// take back, a doubt that only a person can settle holds up nothing but its own record.
    fn has_unknowns(&self) -> bool {
        if !self.is_machine(2) || self.state.rollback.is_none() {
            return self.state.has_loose_ends();
        }
        let loose = |act: &Act| {
            matches!(act.phase, Phase::Dispatched | Phase::Ended | Phase::Doubt | Phase::Helping)
        };
        let acts = self.state.acts.iter();
        acts.filter(|(_, act)| loose(act)).any(|(seq, _)| !self.is_handed_over(*seq))
    }

    /// Reverse order per record: the newest effect that nothing newer on its record stands in the way
    /// of. An effect whose record is not named may be anywhere.
    fn next_token(&self, unwind: &Unwind) -> Option<TokenId> {
        if !self.is_machine(2) {
            let stuck = unwind.results.iter().any(|undone| !undone.is_back());
            return unwind.queue.front().filter(|_| !stuck).cloned();
        }
        let free = |id: &&TokenId| {
            let Some(token) = self.state.tokens.get(*id) else { return true };
            !unwind.snags.iter().any(|(action, record)| covers((*action, record.as_ref()), token))
        };
        unwind.queue.iter().find(free).cloned()
    }

    /// A newer action that may have happened, on the record of this token or on one that is not named: as
    /// long as it is in doubt, the token takes nothing back.
    #[must_use]
    pub fn doubt_over(&self, token: &Token) -> Option<Seq> {
        let acts = self.state.acts.iter();
        let mut doubts = acts.filter(|(_, act)| act.phase == Phase::Doubt);
        doubts.find(|(seq, act)| covers((**seq, act.resource.as_ref()), token)).map(|(seq, _)| *seq)
    }

    /// Taking back is under way, and no comparison or undo is: read off the fold, so that a crash or a
    /// pause between two tokens loses nothing.
    fn is_undo_due(&self) -> bool {
        let compares =
            |act: &Act| matches!(act.role, Role::Companion { purpose: Purpose::Compare, .. });
        let busy = |act: &Act| act.undo_of().is_some() || compares(act);
        self.state.unwind.is_some() && !self.state.acts.values().any(|act| busy(act))
    }

    /// Begins with the next token, or reports how taking back ended.
    fn next_undo(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        loop {
            let Some(unwind) = &self.state.unwind else {
                return Ok(());
            };
            let Some(id) = self.next_token(unwind) else {
                return self.end_unwind(ports);
            };
            let Some(token) = self.state.tokens.get(&id).cloned() else {
                return Err(self.illegal("it takes back what was never armed"));
            };
            if token.state == TokenState::Spent || token.expires_at <= self.state.at {
                self.emit(Body::Redeemed { token: id, undone: Undone::Expired })?;
                continue;
            }
            return match &token.before {
                Some(before) if token.undo == Undo::Restore => {
                    let before = before.clone();
                    self.compare(&token, &before, ports)
                }
                Some(_) | None => self.undo(&token, &Value::Null, ports),
            };
        }
    }

    fn end_unwind(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let Some(unwind) = &self.state.unwind else {
            return Ok(());
        };
        let back = unwind.results.iter().filter(|undone| undone.is_back()).count();
        // One effect taken back out of several is partial, whatever was asked for.
        let effects = self.state.effects.len() + unwind.doubts;
        let left = unwind.queue.len() + unwind.irreversible + effects;
        let all = left == 0 && back == unwind.results.len();
        let unwound = match (all, back) {
            (true, _) => Unwound::Complete,
            (false, 0) => Unwound::Refused,
            (false, _) => Unwound::Partial,
        };
        self.emit(Body::Unwound { unwound })?;
        self.wind_down(ports)
    }

    /// Reads what is there now, to compare it with what we left.
    fn compare(
        &mut self,
        token: &Token,
        before: &Companion,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let Some(args) = bind(before, &token.scope) else {
            return self.conflict(token, None, ports);
        };
        let proposal = self.undo_proposal(token, (before.operation.clone(), args));
        let because = Role::Companion { of: token.action, purpose: Purpose::Compare };
        self.propose(proposal, because, ports)?;
        self.resume_parents(ports)
    }

    /// The comparison is in: restore, find it restored already, or refuse with the difference.
    pub(super) fn compared(
        &mut self,
        of: Seq,
        now: Option<Sealed>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let token = self.state.tokens.values().find(|token| token.action == of).cloned();
        let Some(token) = token else {
            return Ok(());
        };
        let Some(now) = now.map(|sealed| sealed.value()) else {
            return self.conflict(&token, None, ports);
        };
        let Some(companion) = token.before.clone() else {
            return self.undo(&token, &now, ports);
        };
        let same = |image: &Option<Arc<Value>>| {
            image.as_ref().is_some_and(|image| same_image(&companion, image, &now))
        };
        if same(&token.before_image) {
            let undone = Undone::Restored;
            return self.emit(Body::Redeemed { token: token.id, undone }).map(|_| ());
        }
        if same(&token.after_image) || self.is_accepted(&token, &now) {
            return self.undo(&token, &now, ports);
        }
        self.conflict(&token, Some(now), ports)
    }

    /// Whether somebody accepted to overwrite what is there now. What moved since they looked is not it.
    fn is_accepted(&self, token: &Token, now: &Value) -> bool {
        match self.state.unwind.as_ref().map(|unwind| &unwind.on_conflict) {
            None | Some(OnConflict::Refuse) => false,
            Some(OnConflict::Accept) => true,
            Some(OnConflict::Seen { images }) => {
                token.seen(now).is_some_and(|image| images.contains(&image))
            }
        }
    }

    fn conflict(
        &mut self,
        token: &Token,
        now: Option<Arc<Value>>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let image = |value: &Option<Arc<Value>>| value.as_ref().map(|v| (**v).clone());
        let difference = json!({
            "before": image(&token.before_image),
            "after": image(&token.after_image),
            "now": image(&now),
        });
        let labels = LabelMap::uniform(token.labels.join_all());
        let difference = seal(ports, Arc::new(difference), labels)?;
        let undone = Undone::Conflict { difference };
        self.emit(Body::Redeemed { token: token.id.clone(), undone })?;
        self.need_person(Need::Conflict, Class::Mismatch, &token.id)
    }

    fn undo(&mut self, token: &Token, now: &Value, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let mut scope = (*token.scope).clone();
        if let Value::Object(map) = &mut scope {
            map.insert("now".to_owned(), now.clone());
        }
        let by = self.state.unwind.as_ref().map(|unwind| unwind.by.clone());
        let (Some(args), Some(by)) = (bind(&token.undo_with, &scope), by) else {
            return self.undo_failed(token.id.clone(), Class::MissingField, Landed::No);
        };
        let proposal = self.undo_proposal(token, (token.undo_with.operation.clone(), args));
        self.propose(proposal, Role::Undo { token: token.id.clone(), by }, ports)?;
        self.resume_parents(ports)
    }

    /// An undo exists because a person asked or a declared recovery said so, never because of data.
    fn undo_proposal(
        &self,
        token: &Token,
        (operation, args): (crate::id::OperationId, Value),
    ) -> Proposal {
        let by = self.state.unwind.as_ref().map(|unwind| unwind.by.kind);
        let trust = if by == Some(Kind::Agent) { Trust::Operator } else { Trust::User };
        Proposal {
            step: "rollback".to_owned(),
            operation,
            args: Arc::new(args),
            arg_labels: token.labels.clone(),
            existence: Label::new(trust, Confidentiality::Internal),
            attempt: 1,
            proposer: None,
        }
    }

    /// Whether an undo brought the before-image back; `None` when it cannot be read.
    pub(super) fn is_restored(&self, act: &Act) -> Option<bool> {
        let token = self.state.tokens.get(act.undo_of()?)?;
        let companion = token.before.as_ref()?;
        let before = token.before_image.as_ref()?;
        let after = act.captures.get(&Purpose::After)?.value();
        Some(same_image(companion, before, &after))
    }

    /// An undo happened.
    pub(super) fn undo_done(
        &mut self,
        token: TokenId,
        restored: Option<bool>,
    ) -> Result<(), Fault> {
        let class = self.state.tokens.get(&token).map(|t| t.undo);
        let undone = match (class, restored) {
            (Some(Undo::Restore), Some(true)) => Undone::Restored,
            (Some(Undo::Restore), Some(false)) => {
                Undone::Failed { class: Class::Mismatch, landed: Landed::Yes }
            }
            _ => Undone::Compensated,
        };
        let failed = !undone.is_back();
        self.emit(Body::Redeemed { token: token.clone(), undone })?;
        if failed {
            self.need_person(Need::UndoFailed, Class::Mismatch, &token)?;
        }
        Ok(())
    }

    /// An undo did not happen, or nobody knows.
    pub(super) fn undo_failed(
        &mut self,
        token: TokenId,
        class: Class,
        landed: Landed,
    ) -> Result<(), Fault> {
        let undone = Undone::Failed { class, landed };
        self.emit(Body::Redeemed { token: token.clone(), undone })?;
        self.need_person(Need::UndoFailed, class, &token)?;
        Ok(())
    }

    fn need_person(&mut self, need: Need, class: Class, token: &TokenId) -> Result<(), Fault> {
        let owner = self.state.header.owner.clone();
        let known = self.state.tokens.get(token).filter(|_| self.is_machine(2));
        let action = known.map(|token| token.action);
        self.raise(need, class, ("rollback".to_owned(), action, owner)).map(|_| ())
    }
}

/// Whether what stays stands in the way of an older effect: it is newer, and not on another record.
fn covers((action, record): (Seq, Option<&Resource>), token: &Token) -> bool {
    let apart = matches!((record, &token.resource), (Some(a), Some(b)) if a != b);
    action > token.action && !apart
}
