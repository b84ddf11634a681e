//! What people decide: answers, replies, settlements, cancel, pause, rollback. And the clock.

use std::sync::Arc;

use super::{
    EARLY_SIGNALS_MAX, Fault, Ports, Refused, Run, STEERING_MAX_BYTES, emit::seal, state::Phase,
    system_text,
};
use crate::{
    action::Proposal,
    approval::{Refusal, check_approver},
    event::{Answered, Body, Role, Stage},
    exception::{Class, Need},
    id::{ApprovalId, Digest, Seq},
    input::{Answer, Input, OnConflict, Scope},
    label::{Confidentiality, Label, LabelMap, Trust},
    principal::{Kind, Principal},
    rollback::{State as TokenState, Token},
};

impl Run {
    /// Checks one input and journals it, or refuses it without a trace.
    pub(super) fn take_in(
        &mut self,
        input: Input,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        match input {
            Input::Tick => self.tick(ports).map(Ok),
            Input::Claimed { epoch } => self.claimed(epoch, ports).map(Ok),
            Input::Outcome { action, attempt, outcome } => {
                self.take_outcome((action, attempt), outcome, ports)
            }
            Input::Answer { approval, action, shown, by, answer } => {
                self.answer(approval, (action, shown), (by, answer), ports)
            }
            Input::Elicited { asked } => self.elicited(*asked, ports),
            Input::Relayed { relay } => self.relayed(*relay, ports),
            Input::Reply { question, by, value } => self.reply(question, by, value, ports),
            Input::Signal { name, body } => {
                let waits =
                    self.state.waits.values().any(|wait| wait.signal.as_ref() == Some(&name));
                if self.state.is_stopping() {
                    return Ok(Err(Refused::Late("the run is over or stopping")));
                }
                if !waits && self.state.early.len() >= EARLY_SIGNALS_MAX {
                    return Ok(Err(Refused::NotNow("too many signals that no step waits for yet")));
                }
                let body = seal(ports, body, LabelMap::default())?;
                self.emit(Body::Signalled { name, body })?;
                Ok(Ok(()))
            }
            Input::Settle { exception, by, settlement, evidence } => {
                self.settle_exception(&exception, (by, evidence), settlement, ports)
            }
            Input::PolicyChanged { digest } => {
                let known = self.state.current_policy.unwrap_or(self.state.header.policy);
                if known != digest && !self.is_at_rest() {
                    self.emit(Body::PolicyChanged { digest })?;
                }
                Ok(Ok(()))
            }
            Input::Fault { message } => {
                let (value, labels) = system_text(&message);
                let message = seal(ports, value, labels)?;
                self.emit(Body::Faulted { message })?;
                let owner = self.state.header.owner.clone();
                self.raise(Need::Defect, Class::UnexpectedShape, (String::new(), None, owner))?;
                Ok(Ok(()))
            }
            Input::Hold => self.hold().map(Ok),
            Input::Cancel { by, reason } => self.cancel(by, &reason, ports),
            Input::Steer { by, text } => self.steer(by, &text, ports),
            Input::Pause { by } => self.pause(by),
            Input::Resume { by } => self.resume(by, ports),
            Input::Halt { halt } => {
                if self.state.halted.as_ref() != Some(&halt) {
                    self.emit(Body::Halted { halt })?;
                }
                Ok(Ok(()))
            }
            Input::Unhalt { halt } => {
                if self.state.halted.as_ref() != Some(&halt) {
                    return Ok(Err(Refused::Late("no such halt holds the run")));
                }
                self.emit(Body::Unhalted { halt })?;
                self.advance_open(ports)?;
                Ok(Ok(()))
            }
            Input::Rollback { by, scope, on_conflict } => self.take_back(by, scope, on_conflict),
        }
    }

    fn hold(&mut self) -> Result<(), Fault> {
        if self.state.held || self.is_at_rest() {
            return Ok(());
        }
        self.emit(Body::Held)?;
        // Nobody who leaves waits for a person.
        self.lapse_elicited(|_| true)
    }

    /// What a person says is a person's word: it may be told to a model and is no authority for anything.
    fn steer(
        &mut self,
        by: Principal,
        text: &str,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        if by.kind != Kind::Person {
            return Ok(Err(Refused::NotNow("only people steer a run")));
        }
        if self.state.is_stopping() {
            return Ok(Err(Refused::Late("the run is over or stopping")));
        }
        if text.is_empty() || text.len() > STEERING_MAX_BYTES {
            return Ok(Err(Refused::NotNow(
                "a steering message is between 1 and 16384 bytes long",
            )));
        }
        let label = Label::new(Trust::User, Confidentiality::Internal);
        let value = Arc::new(serde_json::Value::String(text.to_owned()));
        let text = seal(ports, value, LabelMap::uniform(label))?;
        self.emit(Body::Steered { by, text })?;
        Ok(Ok(()))
    }

    fn answer(
        &mut self,
        approval: ApprovalId,
        (digest, shown): (Digest, Digest),
        (by, answer): (Principal, Answer),
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        let action = match self.check_answer(&approval, digest, &by) {
            Ok(action) => action,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let self_approved = by.id == self.state.header.chain.on_behalf_of.id;
        let edited = match &answer {
            Answer::Edit { args } => Some(Arc::clone(args)),
            Answer::Approve | Answer::Deny { .. } => None,
        };
        let answer = self.seal_answer(action, answer, ports)?;
        let denied = matches!(answer, Answered::Denied { .. });
        let body = Body::Answered { approval, action, digest, shown, by, self_approved, answer };
        self.emit(body)?;
        if denied {
            self.reject(action, Stage::Refused, Class::PolicyError, "refused".to_owned())?;
            self.resume_parents(ports)?;
        } else if let Some(args) = edited {
            self.edit(action, args, ports)?;
        } else {
            self.advance(action, ports)?;
        }
        Ok(Ok(()))
    }

    /// Whether this person's answer to this ask would count now; changes nothing.
    ///
    /// # Errors
    /// The reason why it would not.
    pub fn check_answer(
        &self,
        approval: &ApprovalId,
        digest: Digest,
        by: &Principal,
    ) -> Result<Seq, Refusal> {
        let action = *self.state.asks.get(approval).ok_or(Refusal::NotAsked)?;
        let act = self.state.acts.get(&action).ok_or(Refusal::NotAsked)?;
        let ask = act.ask.as_ref().ok_or(Refusal::NotAsked)?;
        if act.digest != Some(digest) {
            return Err(Refusal::OtherAction);
        }
        if self.state.at >= ask.expires_at {
            return Err(Refusal::Expired);
        }
        let header = &self.state.header;
        let required = &ask.requirement.approvals;
        check_approver(by, &header.chain, &header.approvers, required, &act.approvals)?;
        Ok(action)
    }

    fn seal_answer(
        &mut self,
        action: Seq,
        answer: Answer,
        ports: &mut Ports<'_>,
    ) -> Result<Answered, Fault> {
        Ok(match answer {
            Answer::Approve => Answered::Approved,
            Answer::Deny { reason } => {
                let (value, labels) = system_text(&reason);
                Answered::Denied { reason: seal(ports, value, labels)? }
            }
            Answer::Edit { args } => {
                let labels = LabelMap::uniform(self.edited_label(action));
                Answered::Edited { args: seal(ports, args, labels)? }
            }
        })
    }

    /// A person wrote these arguments: their word, as confidential as what they replace.
    fn edited_label(&self, action: Seq) -> Label {
        let old = self.state.acts.get(&action).map(|act| act.args.labels().join_all());
        Label { trust: Trust::User, ..old.unwrap_or_default() }
    }

    /// Replaces an action by the same step with other arguments, which walks the whole gate again.
    fn edit(
        &mut self,
        action: Seq,
        args: Arc<serde_json::Value>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Ok(());
        };
        let role = act.role.clone();
        let proposal = Proposal {
            step: act.step.clone(),
            operation: act.operation.id.clone(),
            arg_labels: LabelMap::uniform(self.edited_label(action)),
            existence: act.existence.clone(),
            attempt: act.attempt,
            proposer: act.proposer.clone(),
            args,
        };
        if role != Role::Step {
            return self.reject(action, Stage::Refused, Class::PolicyError, "edited".to_owned());
        }
        self.reject(action, Stage::Edited, Class::PolicyError, "edited".to_owned())?;
        self.propose(proposal, role, ports)?;
        self.resume_parents(ports)
    }

    fn reply(
        &mut self,
        question: ApprovalId,
        by: Principal,
        value: Arc<serde_json::Value>,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        if let Err(refused) = self.check_reply(&question, &by, &value, ports) {
            return Ok(Err(refused));
        }
        let label = Label { trust: Trust::User, ..Label::default() };
        let label = Label { confidentiality: crate::label::Confidentiality::Internal, ..label };
        let value = seal(ports, value, LabelMap::uniform(label))?;
        self.emit(Body::Replied { question, by, value })?;
        Ok(Ok(()))
    }

    fn check_reply(
        &self,
        question: &ApprovalId,
        by: &Principal,
        value: &serde_json::Value,
        ports: &Ports<'_>,
    ) -> Result<(), Refused> {
        let open = self.state.questions.get(question).ok_or(Refusal::NotAsked)?;
        if by.id == self.state.header.chain.agent.id {
            return Err(Refusal::Proposer.into());
        }
        if by.kind != Kind::Person {
            return Err(Refusal::NotAPerson.into());
        }
        if !by.roles.contains(&open.role) {
            return Err(Refusal::NoRole.into());
        }
        if self.state.at >= open.expires_at {
            return Err(Refusal::Expired.into());
        }
        if open.action.is_some() && value.is_null() {
            return Ok(());
        }
        match ports.validate.violation(&open.answer, value) {
            Some(violation) => Err(Refused::Shape { at: violation.at, problem: violation.problem }),
            None => Ok(()),
        }
    }

    fn cancel(
        &mut self,
        by: Principal,
        reason: &str,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        if self.state.is_stopping() {
            return Ok(Err(Refused::NotNow("the run is over or already stopping")));
        }
        let (value, labels) = system_text(reason);
        let reason = seal(ports, value, labels)?;
        self.emit(Body::Cancelled { by, reason })?;
        self.stop_open_actions()?;
        // It may have been paused: what was in doubt meanwhile is looked into now.
        self.advance_open(ports)?;
        Ok(Ok(()))
    }

    fn pause(&mut self, by: Principal) -> Result<Result<(), Refused>, Fault> {
        if self.state.paused || self.state.is_stopping() {
            return Ok(Err(Refused::NotNow("the run is paused or over")));
        }
        self.emit(Body::Paused { by })?;
        Ok(Ok(()))
    }

    fn resume(
        &mut self,
        by: Principal,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        if !self.state.paused && !self.state.faulted {
            return Ok(Err(Refused::NotNow("the run is not paused")));
        }
        self.emit(Body::Resumed { by })?;
        self.advance_open(ports)?;
        Ok(Ok(()))
    }

    pub(super) fn advance_open(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let open = self.state.acts.iter().filter(|(_, act)| act.phase == Phase::Open);
        let open: Vec<Seq> = open.map(|(seq, _)| *seq).collect();
        for action in open {
            self.advance(action, ports)?;
        }
        self.resume_doubts(ports)
    }

    fn take_back(
        &mut self,
        by: Principal,
        scope: Scope,
        on_conflict: OnConflict,
    ) -> Result<Result<(), Refused>, Fault> {
        if by.kind == Kind::Agent {
            return Ok(Err(Refused::NotNow(
                "agents do not roll back; a person or service asks for it",
            )));
        }
        if self.state.unwind.is_some() || self.state.rollback.is_some() {
            return Ok(Err(Refused::NotNow("a rollback is under way")));
        }
        if self.state.end.is_none() && !self.state.is_stopping() {
            return Ok(Err(Refused::NotNow("the run is not over; cancel it first")));
        }
        if let Scope::Token { token } = &scope {
            let usable =
                self.state.tokens.get(token).filter(|t| t.state == TokenState::Armed && t.landed);
            let Some(usable) = usable else {
                return Ok(Err(Refused::NotNow(
                    "this rollback token was used, or never became usable; an undo has no undo: ask for the change anew",
                )));
            };
            if on_conflict == OnConflict::Refuse && self.is_covered(usable) {
                return Ok(Err(Refused::NotNow(
                    "a later effect touches the same record; take that one back first",
                )));
            }
        }
        self.emit(Body::RollbackRequested { by, scope, on_conflict })?;
        Ok(Ok(()))
    }

    /// Whether a later effect on the same record can still be taken back: reverse order per record.
    fn is_covered(&self, token: &Token) -> bool {
        let later = self.state.effects.iter().filter(|(action, _)| *action > token.action);
        let tokens = later.filter_map(|(_, id)| self.state.tokens.get(id.as_ref()?));
        let armed = |t: &&Token| t.state == TokenState::Armed && t.expires_at > self.state.at;
        token.resource.is_some() && tokens.filter(armed).any(|t| t.resource == token.resource)
    }

    /// Over and closed: a reader's claim leaves no trace behind the close record.
    fn is_at_rest(&self) -> bool {
        let under_way = self.state.unwind.is_some() || self.state.rollback.is_some();
        self.state.end.is_some() && self.state.closed && !under_way
    }

    /// A new owner: calls of earlier owners have no caller any more.
    fn claimed(&mut self, epoch: crate::id::Epoch, ports: &mut Ports<'_>) -> Result<(), Fault> {
        if self.is_at_rest() {
            return Ok(());
        }
        self.emit(Body::Claimed { epoch })?;
        self.lapse_elicited(|_| true)?;
        let dispatched = self.state.acts.iter().filter(|(_, act)| act.phase == Phase::Dispatched);
        let orphans: Vec<Seq> = dispatched.map(|(seq, _)| *seq).collect();
        for action in orphans {
            self.doubt(action, ports)?;
        }
        self.advance_open(ports)
    }

    /// Deals with whatever is due; journals nothing when nothing is.
    fn tick(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        if self.state.wake_at().is_none_or(|due| due > self.state.at) {
            return Ok(());
        }
        self.emit(Body::Ticked)?;
        let at = self.state.at;
        let acts = self.state.acts.iter();
        let expired = acts.filter(|(_, a)| a.ask.as_ref().is_some_and(|ask| ask.expires_at <= at));
        let expired: Vec<Seq> = expired.map(|(seq, _)| *seq).collect();
        for action in expired {
            self.reject(action, Stage::Expired, Class::PolicyError, "expired".to_owned())?;
        }
        self.resume_parents(ports)?;
        let questions = self.state.questions.iter().filter(|(_, q)| q.expires_at <= at);
        let questions: Vec<ApprovalId> = questions.map(|(id, _)| id.clone()).collect();
        for question in questions {
            self.emit(Body::Lapsed { question })?;
        }
        let waits = self.state.waits.iter().filter(|(_, wait)| wait.until <= at);
        let waits: Vec<String> = waits.map(|(step, _)| step.clone()).collect();
        for step in waits {
            self.emit(Body::Woken { step })?;
        }
        let probes = self.state.acts.iter().filter(|(_, a)| a.probe_at.is_some_and(|t| t <= at));
        let probes: Vec<Seq> = probes.map(|(seq, _)| *seq).collect();
        for action in probes {
            self.probe(action, ports)?;
        }
        self.check_wall(at)
    }

    fn check_wall(&mut self, at: crate::id::At) -> Result<(), Fault> {
        let limit = self.state.opened_at.saturating_add(self.state.header.budget.wall_max_ms);
        if at >= limit && !self.state.is_stopping() {
            return self.abandon(String::new(), Class::Budget);
        }
        Ok(())
    }
}
