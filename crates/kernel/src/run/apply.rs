//! The fold: one match over every event. Nothing else changes a run's state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    Fault, Run,
    state::{
        Act, Ask, Cleared, Dispatch, Origin, Phase, conversation_of, undo_label, undo_scope,
        unknown,
    },
    view::run_value,
};
use crate::{
    action::Resource,
    approval::Approval,
    conversation::CONTEXT_TOO_LONG,
    decision::{Decision, Verdict},
    event::{Answered, Body, Ended, Purpose, Record, Role, Side, Stage, Unwound},
    exception::{Class, Landed, Need},
    id::{Digest, Seq, TokenId},
    planning::{Labelled, Mark, Observation, Settled},
    rollback::{State as TokenState, Token},
    sealed::Sealed,
};

pub(super) fn labelled(sealed: &Sealed) -> Labelled {
    Labelled { value: sealed.value(), labels: sealed.labels() }
}

impl Run {
    /// Folds one event. Emitting and loading end here alike.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), Fault> {
        let event = &record.event;
        let illegal = |problem| Fault::Illegal { seq: event.seq, problem };
        if event.seq != self.state.next_seq {
            return Err(illegal("the sequence has a gap"));
        }
        self.state.at = self.state.at.max(event.at);
        self.state.closed = false;
        self.apply_body(event.seq, &event.body).map_err(illegal)?;
        self.state.next_seq = event.seq + 1;
        self.state.head = record.hash;
        Ok(())
    }

    fn apply_body(&mut self, seq: Seq, body: &Body) -> Result<(), &'static str> {
        match body {
            Body::Opened { subjects, .. } => self.on_opened(subjects),
            Body::Ticked | Body::Rewritten { .. } | Body::Deferred { .. } => self.on_small(body)?,
            Body::Claimed { .. }
            | Body::Held
            | Body::Faulted { .. }
            | Body::Cancelled { .. }
            | Body::Paused { .. }
            | Body::Halted { .. }
            | Body::Unhalted { .. }
            | Body::Resumed { .. } => self.on_held(body),
            Body::PolicyChanged { digest } => self.state.current_policy = Some(*digest),
            Body::Proposed { .. } => self.on_proposed(seq, body)?,
            Body::Rejected { action, stage, class, code } => {
                self.on_rejected(*action, (*stage, code), *class)?
            }
            Body::Judged { action, digest, decision } => {
                self.on_judged(*action, (*digest, decision))?;
            }
            Body::Captured { action, purpose, image } => {
                self.on_captured(*action, *purpose, image)?
            }
            Body::Asked { .. } | Body::Answered { .. } | Body::Voided { .. } => {
                self.on_ask(body)?
            }
            Body::Armed { .. } => self.on_armed(body)?,
            Body::Dispatched { .. } => self.on_dispatched(seq, body)?,
            Body::Returned { action, ended, .. } => self.on_returned(*action, ended)?,
            Body::Doubted { action } => self.act(*action)?.phase = Phase::Doubt,
            Body::Receipted { .. } => self.on_receipted(body)?,
            Body::Relayed { action, nth, from, .. } => {
                self.act(*action)?.relayed.insert(*nth, *from == Side::Client);
            }
            Body::Questioned { .. }
            | Body::Elicited { .. }
            | Body::Replied { .. }
            | Body::Lapsed { .. } => self.on_question(body)?,
            Body::Waiting { .. } | Body::Woken { .. } | Body::Signalled { .. } => {
                self.on_wait(body)
            }
            Body::Marked { step, mark } => self.on_marked(step, mark),
            Body::Steered { text, .. } => {
                let text = labelled(text);
                self.observe(Observation::Steered { text: &text });
            }
            Body::Raised { exception, .. } => self.on_raised(exception),
            Body::Settled { exception, by, settled, .. } => {
                self.on_settled(exception, by, settled)?;
            }
            Body::Abandoned { .. } | Body::Finished { .. } => self.on_ending(body),
            Body::RollbackRequested { by, scope, on_conflict } => {
                self.state.rollback = Some((by.clone(), scope.clone(), on_conflict.clone()));
            }
            Body::Unwinding { tokens, irreversible, doubts, .. } => {
                self.on_unwinding(tokens, irreversible.len(), doubts);
            }
            Body::Redeemed { token, undone } => self.on_redeemed(token, undone)?,
            Body::Unwound { unwound } => self.on_unwound(*unwound),
            Body::Closed { statement, .. } => {
                self.state.receipts += 1;
                self.state.last_statement = *statement;
                self.state.closed = true;
            }
        }
        Ok(())
    }

    fn on_judged(
        &mut self,
        action: Seq,
        (digest, decision): (Digest, &Decision),
    ) -> Result<(), &'static str> {
        let policy = self.state.current_policy;
        let act = self.act(action)?;
        act.digest = Some(digest);
        act.decision = Some(decision.clone());
        // A quorum that is not full yet: the same ask stays open.
        let asks = matches!(&decision.verdict, Verdict::Ask(r) if r.transforms.is_empty());
        if asks && act.ask.is_some() {
            act.phase = Phase::Asking;
        }
        if act.operation.is_model_call() && decision.verdict == Verdict::Allow {
            let (id, cleared) = Cleared::of(act, policy, decision);
            self.state.cleared.insert(id, cleared);
        }
        Ok(())
    }

    fn on_ending(&mut self, body: &Body) {
        match body {
            Body::Abandoned { step, class } => {
                self.state.abandoned = Some((step.clone(), *class));
            }
            Body::Finished { end, .. } => self.state.end = Some(*end),
            _ => {}
        }
        self.state.waits.clear();
        self.forget_escalations();
    }

    /// Who holds the run, and who lets it go.
    fn on_held(&mut self, body: &Body) {
        match body {
            Body::Claimed { epoch } => (self.state.epoch, self.state.held) = (*epoch, false),
            Body::Held => self.state.held = true,
            Body::Faulted { .. } => self.state.faulted = true,
            Body::Paused { .. } => self.state.paused = true,
            Body::Halted { halt } => self.state.halted = Some(halt.clone()),
            Body::Unhalted { .. } => self.state.halted = None,
            Body::Resumed { .. } => (self.state.paused, self.state.faulted) = (false, false),
            // Whoever ends a run that is held wants it to end, not to wait.
            Body::Cancelled { .. } => {
                (self.state.paused, self.state.faulted) = (false, false);
                self.state.cancelled = true;
                self.state.waits.clear();
                self.forget_escalations();
            }
            _ => {}
        }
        // What was read again before a pause or a crash says nothing about the world after it.
        let open = self.state.acts.values_mut().filter(|act| act.phase == Phase::Open);
        open.for_each(|act| act.refreshed = None);
    }

    pub(super) fn act(&mut self, action: Seq) -> Result<&mut Act, &'static str> {
        let act = self.state.acts.get_mut(&action);
        act.map(|act| &mut **act).ok_or("it names an action that is not open")
    }

    pub(super) fn observe(&mut self, seen: Observation<'_>) {
        self.pins.planner.observe(self.state.at, seen);
    }

    fn on_opened(&mut self, subjects: &[String]) {
        self.state.subjects = subjects.to_vec();
        let run = run_value(&self.id, &self.state.header, self.state.opened_at);
        let intent = self.state.intent.clone();
        let machine = self.state.header.machine;
        self.observe(Observation::Opened { intent: &intent, run: &run, machine });
    }

    fn on_small(&mut self, body: &Body) -> Result<(), &'static str> {
        match body {
            Body::Rewritten { action, transforms } => {
                self.act(*action)?.transforms.extend(transforms.iter().cloned());
            }
            Body::Deferred { action, until } => {
                let act = self.act(*action)?;
                act.probe_at = Some(*until);
                act.phase = Phase::Doubt;
            }
            _ => {}
        }
        Ok(())
    }

    fn on_proposed(&mut self, seq: Seq, body: &Body) -> Result<(), &'static str> {
        let Body::Proposed {
            step,
            operation,
            definition,
            args,
            resource,
            existence,
            attempt,
            origin,
            because,
            proposer,
        } = body
        else {
            return Err("not a proposal");
        };
        // An operation that does not exist is rejected at once and never looked into.
        let entry = self.entry(operation, step, because);
        let operation =
            entry.map(|e| Arc::clone(&e.operation)).unwrap_or_else(|| unknown(operation));
        let resource_root = resource.as_ref().map(|r| r.commitment().root).unwrap_or_default();
        let named = Resource::of(&operation, &args.value());
        let token = self.shared_token(seq, (step, *origin));
        let act = Act {
            step: step.clone(),
            operation,
            definition: *definition,
            args: args.clone(),
            resource: named,
            resource_root,
            existence: existence.clone(),
            attempt: *attempt,
            origin: *origin,
            role: because.clone(),
            phase: Phase::Open,
            digest: None,
            decision: None,
            transforms: Default::default(),
            captures: Default::default(),
            missed: Default::default(),
            hooks: Default::default(),
            ask: None,
            asks: 0,
            approvals: Vec::new(),
            refreshed: None,
            token,
            dispatch: None,
            ended: None,
            elicited: BTreeSet::new(),
            relayed: BTreeMap::new(),
            probe_at: None,
            proposer: proposer.clone(),
        };
        self.state.acts.insert(seq, Box::new(act));
        match because {
            Role::Step if self.state.replacing.remove(step) => {}
            Role::Step => self.observe(Observation::Proposed { step, seq }),
            Role::Companion { of, .. } => {
                if let Some(parent) = self.state.acts.get_mut(of) {
                    parent.probe_at = None;
                    if parent.phase == Phase::Open {
                        parent.phase = Phase::Helping;
                    }
                }
            }
            Role::Undo { token, .. } => self.set_token(token, TokenState::Redeeming),
        }
        Ok(())
    }

    /// The way back that an earlier try of the same effect armed and left standing.
    fn shared_token(&self, seq: Seq, (step, origin): (&str, Seq)) -> Option<TokenId> {
        if self.state.header.machine < 3 || origin == seq {
            return None;
        }
        let earlier = self.state.origins.get(step).filter(|earlier| earlier.seq == origin)?;
        earlier.token.clone().filter(|id| self.state.tokens.contains_key(id))
    }

    fn on_rejected(
        &mut self,
        action: Seq,
        (stage, code): (Stage, &str),
        class: Class,
    ) -> Result<(), &'static str> {
        let act = self.state.acts.remove(&action).ok_or("it rejects an action that is not open")?;
        if let Some(ask) = &act.ask {
            self.state.asks.remove(&ask.id);
        }
        if stage == Stage::Policy {
            self.state.denied += 1;
        }
        match &act.role {
            Role::Step if stage == Stage::Edited => {
                self.state.replacing.insert(act.step.clone());
            }
            Role::Step => {
                let mut label = act.existence.join(&act.args.labels().join_all());
                // Other steps switched it off, used the budget up, or moved the counters a policy reads:
                // untrusted input may have led there.
                if matches!(stage, Stage::Forbidden | Stage::Budget | Stage::Policy) {
                    label.trust = crate::label::Trust::Untrusted;
                }
                let code = Some(code.to_owned());
                let settled = Settled::Failed { class, code, retry_after_ms: None, label };
                self.observe(Observation::Settled { step: &act.step, settled: &settled });
            }
            Role::Companion { of, purpose } if purpose.is_hook() => self.hook_ended(*of, &act),
            Role::Companion { of, purpose } => self.companion_missed(*of, *purpose),
            Role::Undo { token, .. } => self.set_token(token, TokenState::Armed),
        }
        Ok(())
    }

    fn companion_missed(&mut self, of: Seq, purpose: Purpose) {
        if let Some(parent) = self.state.acts.get_mut(&of) {
            parent.missed.insert(purpose);
            if parent.phase == Phase::Helping {
                parent.phase = Phase::Open;
            }
        }
    }

    fn on_captured(
        &mut self,
        action: Seq,
        purpose: Purpose,
        image: &Sealed,
    ) -> Result<(), &'static str> {
        let act = self.act(action)?;
        match purpose {
            Purpose::Refresh => act.refreshed = Some(image.clone()),
            _ => {
                act.captures.insert(purpose, image.clone());
            }
        }
        if act.phase == Phase::Helping {
            act.phase = Phase::Open;
        }
        let token = act.token.clone();
        if purpose == Purpose::After
            && let Some(token) = token.and_then(|id| self.state.tokens.get_mut(&id))
        {
            token.after_image = image.opening().map(|o| Arc::clone(&o.value));
        }
        Ok(())
    }

    fn on_ask(&mut self, body: &Body) -> Result<(), &'static str> {
        match body {
            Body::Asked { action, approval, requirement, expires_at, .. } => {
                let act = self.act(*action)?;
                let (id, requirement) = (approval.clone(), requirement.clone());
                act.ask = Some(Ask { id, requirement, expires_at: *expires_at });
                act.asks += 1;
                act.phase = Phase::Asking;
                self.state.asks.insert(approval.clone(), *action);
            }
            Body::Answered { action, digest, shown, by, self_approved, answer, .. }
                if *answer == Answered::Approved =>
            {
                let at = self.state.at;
                let approval = Approval {
                    by: by.id.clone(),
                    roles: by.roles.clone(),
                    at,
                    action: *digest,
                    shown: *shown,
                    self_approved: *self_approved,
                };
                let act = self.act(*action)?;
                act.approvals.push(approval);
                // A further approval while the image is being read again changes nothing about the read.
                if act.phase == Phase::Asking {
                    act.phase = Phase::Open;
                }
            }
            Body::Voided { action, approval } => {
                let act = self.act(*action)?;
                let shown = act.shown().map(|(purpose, _)| purpose);
                if let (Some(purpose), Some(image)) = (shown, act.refreshed.take()) {
                    act.captures.insert(purpose, image);
                }
                act.approvals.clear();
                act.ask = None;
                act.phase = Phase::Open;
                self.state.asks.remove(approval);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_armed(&mut self, body: &Body) -> Result<(), &'static str> {
        let Body::Armed { action, token, undo, expires_at } = body else {
            return Err("not an arming");
        };
        let overrides = &self.undo_overrides;
        let act = self.state.acts.get_mut(action).ok_or("it arms an action that is not open")?;
        let companion = super::state::undo_companion(&act.operation, overrides, &act.step);
        let undo_with = companion.cloned().ok_or("it arms what has no undo")?;
        act.token = Some(token.clone());
        let before = act.captures.get(&Purpose::Before);
        let armed = Token {
            id: token.clone(),
            action: *action,
            undo: *undo,
            undo_with,
            before: act.operation.companions.before.clone(),
            before_image: before.and_then(|s| s.opening()).map(|o| Arc::clone(&o.value)),
            resource: act.resource.clone(),
            after_image: None,
            scope: Arc::new(serde_json::Value::Null),
            labels: act.args.labels(),
            expires_at: *expires_at,
            state: TokenState::Armed,
            landed: false,
        };
        self.state.tokens.insert(token.clone(), armed);
        Ok(())
    }

    fn on_dispatched(&mut self, seq: Seq, body: &Body) -> Result<(), &'static str> {
        let Body::Dispatched { action, key, attempt, dispatch_by, .. } = body else {
            return Err("not a dispatch");
        };
        let at = self.state.at;
        let act =
            self.state.acts.get_mut(action).ok_or("it dispatches an action that is not open")?;
        if let Some(ask) = act.ask.take() {
            self.state.asks.remove(&ask.id);
        }
        let first_at = act.dispatch.as_ref().map_or(at, |d| d.first_at);
        let (key, attempt, dispatch_by) = (key.clone(), *attempt, *dispatch_by);
        act.dispatch = Some(Dispatch { seq, key, attempt, dispatch_by, first_at });
        act.phase = Phase::Dispatched;
        act.elicited.clear();
        act.relayed.clear();
        act.probe_at = None;
        self.state.spent.reserve(act.operation.sort(), act.operation.cost_max);
        *self.state.uses.entry(act.operation.id.clone()).or_default() += 1;
        Ok(())
    }

    fn on_returned(&mut self, action: Seq, ended: &Ended) -> Result<(), &'static str> {
        let at = self.state.at;
        let act = self.state.acts.get_mut(&action).ok_or("it ends an action that is not open")?;
        // A cost nobody reported is the worst case; only what certainly did not happen is free.
        let worst = act.operation.cost_max;
        let cost = match ended {
            Ended::Done { cost, .. } => cost.or(worst),
            Ended::Failed { landed: Landed::No, .. } => None,
            Ended::Failed { .. } => worst,
        };
        self.state.spent.settle(worst, cost);
        act.ended = Some((at, ended.clone()));
        act.phase = Phase::Ended;
        if act.operation.is_model_call() {
            self.on_spoken(action, ended);
        } else {
            self.note_kept(ended);
        }
        Ok(())
    }

    /// A model has spoken, or failed to: nothing more is to be done about the call.
    fn on_spoken(&mut self, action: Seq, ended: &Ended) {
        let Some(act) = self.state.acts.remove(&action) else { return };
        let class = match ended {
            Ended::Done { output, .. } => {
                let said = self.state.answered(action, &act, output.value());
                self.state.threads.insert(conversation_of(&act), said);
                None
            }
            Ended::Failed { class, .. } => Some(*class),
        };
        self.settle_step(&act, Landed::No, class);
    }

    fn on_receipted(&mut self, body: &Body) -> Result<(), &'static str> {
        let Body::Receipted { action, statement, landed, class, .. } = body else {
            return Err("not a receipt");
        };
        let act = self.state.acts.remove(action).ok_or("it receipts an action that is not open")?;
        self.state.receipts += 1;
        self.state.last_statement = *statement;
        self.forget_doubt(*action);
        if let Some(token) = act.token.as_ref().and_then(|id| self.state.tokens.get_mut(id)) {
            token.scope = Arc::new(undo_scope(&act, token));
            token.labels = token.labels.clone().joined_with(&undo_label(&act));
        }
        match &act.role {
            Role::Step => {
                if act.operation.is_write() {
                    self.state.note_effect(*action, &act, *landed);
                }
                self.settle_step(&act, *landed, *class);
            }
            Role::Companion { of, purpose } if purpose.is_hook() => {
                self.hook_ended(*of, &act);
            }
            Role::Companion { of, purpose } => {
                if class.is_some() {
                    self.companion_missed(*of, *purpose);
                }
            }
            Role::Undo { .. } => {}
        }
        Ok(())
    }

    /// An exception about an action ends with the action.
    fn forget_doubt(&mut self, action: Seq) {
        self.state.exceptions.retain(|_, e| e.action != Some(action) || e.need != Need::InDoubt);
    }

    fn settle_step(&mut self, act: &Act, landed: Landed, class: Option<Class>) {
        let label = act.existence.join(&act.args.labels().join_all());
        let settled = match (&act.ended, class) {
            (_, Some(class)) => {
                let origin = Origin {
                    seq: act.origin,
                    operation: act.operation.id.clone(),
                    args: act.args.value(),
                    landed: if self.state.repeats(act) { Landed::Yes } else { landed },
                    token: act.token.clone(),
                };
                self.state.origins.insert(act.step.clone(), origin);
                let retry_after_ms = match &act.ended {
                    Some((_, Ended::Failed { retry_after_ms, .. })) => *retry_after_ms,
                    _ => None,
                };
                // What an answer held decided that it does not fit: the failure carries its labels. That
                // there was none says no more than whose word the target is.
                let label = if class.is_about_content() {
                    label.join(&act.operation.labels.join_all())
                } else {
                    label.join(&act.operation.labels.whole)
                };
                let code = self.too_long(act);
                Settled::Failed { class, code, retry_after_ms, label }
            }
            (Some((_, Ended::Done { output, .. })), None) => {
                self.state.origins.remove(&act.step);
                Settled::Done(labelled(output))
            }
            // Settled by probe or by a person: it happened, its answer is lost.
            _ => {
                let labels = crate::label::LabelMap::uniform(label);
                let value = Arc::new(json!({ "happened": landed != Landed::No }));
                Settled::Done(Labelled { value, labels })
            }
        };
        self.observe(Observation::Settled { step: &act.step, settled: &settled });
    }

    /// That a conversation was longer than its model can read: whoever plans can tell it again, shorter. The code is
    /// that of our own wires, never a provider's words.
    fn too_long(&self, act: &Act) -> Option<String> {
        let Some((_, Ended::Failed { sample: Some(sample), .. })) = &act.ended else { return None };
        let known = act.operation.is_model_call() && self.state.header.machine >= 5;
        let sample = sample.value();
        let said = sample.get("code").and_then(Value::as_str).filter(|_| known)?;
        (said == CONTEXT_TOO_LONG).then(|| said.to_owned())
    }

    fn on_marked(&mut self, step: &str, mark: &Mark) {
        if let Mark::Recovered { recovery, forbid, .. } = mark {
            self.state.recoveries.insert(recovery.clone());
            self.state.forbidden.extend(forbid.iter().cloned());
        }
        self.observe(Observation::Marked { step });
    }

    fn on_unwound(&mut self, unwound: Unwound) {
        (self.state.unwind, self.state.rollback) = (None, None);
        // What was taken back before stays so when a later request finds nothing it can do.
        if unwound != Unwound::Refused || self.state.unwound.is_none() {
            self.state.unwound = Some(unwound);
        }
    }

    pub(super) fn set_token(&mut self, id: &TokenId, state: TokenState) {
        if let Some(token) = self.state.tokens.get_mut(id) {
            token.state = state;
        }
    }
}
