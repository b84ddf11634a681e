//! Outcomes, doubt, receipts and the close record.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    ATTEMPTS_MAX, Fault, Ports, Refused, Run,
    emit::seal,
    state::{Act, Phase},
    system_text,
};
use crate::{
    decision::Decision,
    event::{Body, Ended, Purpose, Role},
    exception::{Class, Landed, Need},
    id::{Digest, EffectKey, ReceiptId, Seq},
    label::{Label, LabelMap},
    operation::{Retry, Undo},
    port::{Failure, Outcome, Returned},
    receipt::{Because, CLOSE_TYPE, Close, Draft, Predicate, RECEIPT_TYPE, Statement},
    sealed::Sealed,
};

impl Run {
    /// Takes the outcome of a call in.
    pub(super) fn take_outcome(
        &mut self,
        (action, attempt): (Seq, u32),
        outcome: Outcome,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        let act = self.state.acts.get(&action).filter(|act| act.phase == Phase::Dispatched);
        let current = act.filter(|act| act.dispatch.as_ref().is_some_and(|d| d.attempt == attempt));
        let Some(act) = current else {
            return Ok(Err(Refused::Late("the call was settled before its answer came")));
        };
        let led_to_it = act.existence.join(&act.args.labels().join_all());
        let ended = seal_outcome(outcome, &led_to_it, ports)?;
        self.emit(Body::Returned { action, attempt, ended })?;
        self.lapse_elicited(|of| of == action)?;
        self.settle(action, ports)?;
        Ok(Ok(()))
    }

    /// Goes on with an action whose call has ended.
    fn settle(&mut self, action: Seq, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Ok(());
        };
        match act.ended.as_ref().map(|(_, ended)| ended) {
            Some(Ended::Done { .. }) if wants_after(act) => {
                self.help(action, Purpose::After, ports)?;
                self.resume_parents(ports)
            }
            Some(Ended::Done { .. }) => self.account(action, Landed::Yes, None, ports),
            Some(Ended::Failed { class, landed, .. }) => {
                let (class, landed) = (*class, self.landed_at_all(act, *landed));
                if act.operation.is_write() && landed == Landed::Unknown {
                    return self.doubt(action, ports);
                }
                let landed = if act.operation.is_write() { landed } else { Landed::No };
                self.account(action, landed, Some(class), ports)
            }
            None => Err(self.illegal("it settles a call that has not ended")),
        }
    }

    /// Has hooks look at how an action ended, one after the other, then accounts for it.
    fn account(
        &mut self,
        action: Seq,
        landed: Landed,
        class: Option<Class>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let Some(hook) = self.watch_due(action, class) else {
            return self.receipt(action, landed, class, ports);
        };
        self.consult(action, (hook, Purpose::Watch), ports)?;
        self.resume_parents(ports)
    }

    /// What the failure of the latest call says about the whole effect: a keyed call that certainly
    /// did not land leaves open what became of the one before it.
    fn landed_at_all(&self, act: &Act, latest: Landed) -> Landed {
        let again = act.dispatch.as_ref().is_some_and(|d| d.attempt > 1);
        let keyed = act.operation.facts.retry == Retry::Keyed;
        if latest == Landed::No && again && keyed { Landed::Unknown } else { latest }
    }

    /// Nobody knows whether a write happened: ask again under the same key, probe, or ask a person.
    ///
    /// A read without an owner is asked again. While the run is held it stays in doubt: nothing leaves.
    pub(super) fn doubt(&mut self, action: Seq, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Ok(());
        };
        if self.state.is_held() {
            let known = act.phase == Phase::Doubt;
            return if known { Ok(()) } else { self.emit(Body::Doubted { action }).map(|_| ()) };
        }
        let affords = self.affords(act);
        if !act.operation.is_write() {
            return if affords {
                self.dispatch(action)
            } else {
                self.receipt(action, Landed::No, Some(Class::Budget), ports)
            };
        }
        let attempts = act.dispatch.as_ref().map_or(0, |d| d.attempt);
        let earliest = act.dispatch.as_ref().map_or(self.state.at, |d| {
            d.dispatch_by.saturating_add(i64::from(act.operation.timeout_ms))
        });
        match act.operation.facts.retry {
            Retry::Keyed if attempts < ATTEMPTS_MAX && affords => self.dispatch(action),
            Retry::Probe if act.operation.companions.probe.is_some() => {
                if self.state.at < earliest {
                    return self.emit(Body::Deferred { action, until: earliest }).map(|_| ());
                }
                self.probe(action, ports)
            }
            Retry::Keyed | Retry::Probe | Retry::Never => self.hand_over_doubt(action),
        }
    }

    /// Goes on with every doubt that nothing is under way for: the run was held when it arose.
    pub(super) fn resume_doubts(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let state = &self.state;
        let probed = |seq: Seq| {
            let probe = |act: &Act| matches!(act.role, Role::Companion { of, purpose: Purpose::Probe } if of == seq);
            state.acts.values().any(|act| probe(act))
        };
        let raised = |seq: Seq| state.exceptions.values().any(|e| e.action == Some(seq));
        let idle = |seq: Seq, act: &Act| {
            let waits = act.probe_at.is_some() || probed(seq) || raised(seq);
            act.phase == Phase::Doubt && !waits
        };
        let acts = state.acts.iter().filter(|(seq, act)| idle(**seq, act));
        let idle: Vec<Seq> = acts.map(|(seq, _)| *seq).collect();
        for action in idle {
            self.doubt(action, ports)?;
        }
        Ok(())
    }

    /// Asks the target whether it happened.
    pub(super) fn probe(&mut self, action: Seq, ports: &mut Ports<'_>) -> Result<(), Fault> {
        self.emit(Body::Doubted { action })?;
        self.help(action, Purpose::Probe, ports)?;
        self.resume_parents(ports)
    }

    fn hand_over_doubt(&mut self, action: Seq) -> Result<(), Fault> {
        let Some(step) = self.state.acts.get(&action).map(|act| act.step.clone()) else {
            return Ok(());
        };
        self.emit(Body::Doubted { action })?;
        let owner = self.state.header.owner.clone();
        self.raise(Need::InDoubt, Class::InDoubt, (step, Some(action), owner)).map(|_| ())
    }

    /// What a probe's answer means.
    fn probed(
        &mut self,
        action: Seq,
        answer: Option<Sealed>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Ok(());
        };
        let probe = act.operation.companions.probe.clone();
        let affords = self.affords(act);
        let (Some(probe), Some(answer)) = (probe, answer) else {
            return self.hand_over_doubt(action);
        };
        if happened(&answer, &probe.happened) {
            return self.receipt(action, Landed::Yes, None, ports);
        }
        let Some(conclusive_after_ms) = probe.conclusive_after_ms else {
            return self.hand_over_doubt(action);
        };
        let attempts = act.dispatch.as_ref().map_or(0, |d| d.attempt);
        let wait = i64::try_from(conclusive_after_ms).unwrap_or(i64::MAX);
        let dispatch_by = act.dispatch.as_ref().map_or(self.state.at, |d| d.dispatch_by);
        let until = dispatch_by.saturating_add(wait);
        if self.state.at < until {
            self.emit(Body::Deferred { action, until }).map(|_| ())
        } else if self.state.is_held() {
            Ok(())
        } else if attempts < ATTEMPTS_MAX && affords {
            self.dispatch(action)
        } else {
            self.hand_over_doubt(action)
        }
    }

    /// Accounts for an action: one statement, then whoever waits for it goes on.
    pub(super) fn receipt(
        &mut self,
        action: Seq,
        landed: Landed,
        class: Option<Class>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action).cloned() else {
            return Err(self.illegal("it receipts an action that is not open"));
        };
        let receipt = ReceiptId::of(&self.tenant, &self.id, self.state.next_seq);
        let restored = self.is_restored(&act);
        let predicate = self.predicate(action, &act, (receipt.clone(), landed, class, restored));
        let digest = predicate.action_digest;
        let statement = Statement::new(receipt.to_string(), digest, RECEIPT_TYPE, predicate);
        let payload = statement.payload()?;
        let statement = Digest::of(&payload);
        self.emit(Body::Receipted { action, receipt: receipt.clone(), statement, landed, class })?;
        self.pending.drafts.push(Draft { id: receipt, action: Some(action), payload });
        match &act.role {
            Role::Step => Ok(()),
            Role::Companion { of, purpose } => {
                let output = match (&act.ended, class) {
                    (Some((_, Ended::Done { output, .. })), None) => Some(output.clone()),
                    _ => None,
                };
                self.companion_ended((*of, *purpose), output, ports)
            }
            Role::Undo { token, .. } => match class {
                Some(class) => self.undo_failed(token.clone(), class, landed),
                None => self.undo_done(token.clone(), restored),
            },
        }
    }

    fn predicate(
        &self,
        action: Seq,
        act: &Act,
        (receipt, landed, class, restored): (ReceiptId, Landed, Option<Class>, Option<bool>),
    ) -> Predicate {
        let header = &self.state.header;
        let dispatch = act.dispatch.as_ref();
        let result = act.ended.as_ref().map(|(_, ended)| match ended {
            Ended::Done { output, .. } => output.commitment().clone(),
            Ended::Failed { message, .. } => message.commitment().clone(),
        });
        let image = |purpose| act.captures.get(&purpose).map(|s: &Sealed| s.commitment().clone());
        let (external_ref, cost) = match act.ended.as_ref().map(|(_, ended)| ended) {
            Some(Ended::Done { external_ref, cost, .. }) => {
                (external_ref.as_ref().map(|r| r.commitment().clone()), *cost)
            }
            _ => (None, None),
        };
        Predicate {
            v: 1,
            witness: act.operation.witness,
            receipt,
            index: self.state.receipts,
            prev: self.state.last_statement,
            run: self.id.clone(),
            chain: header.chain.clone(),
            intent: header.intent.clone(),
            pack: header.pack.clone(),
            pack_digest: header.pack_digest,
            plan: header.plan,
            config: header.config,
            step: act.step.clone(),
            action,
            action_digest: act.digest.unwrap_or_default(),
            because: Because::of(&act.role, restored),
            operation: act.operation.id.clone(),
            definition: act.definition,
            facts: act.operation.facts.clone(),
            args: act.args.commitment().clone(),
            result: result.clone(),
            classes: classes(act.args.commitment(), result.as_ref()),
            decision: act.decision.clone().unwrap_or_else(|| Decision::denied("none", "")),
            approvals: act.approvals.clone(),
            transforms: act.transforms.clone(),
            key: EffectKey::of(&self.tenant, &self.id, act.origin),
            attempts: dispatch.map_or(0, |d| d.attempt),
            landed,
            class,
            before: image(Purpose::Before),
            after: image(Purpose::After),
            external_ref,
            cost,
            started_at: dispatch.map_or(self.state.at, |d| d.first_at),
            ended_at: act.ended.as_ref().map_or(self.state.at, |(at, _)| *at),
            undo: if act.token.is_some() { self.undo_class(act) } else { Undo::None },
            token: act.token.clone(),
            proposer: act.proposer.clone(),
        }
    }

    /// A companion call ended, well (`Some`) or badly.
    pub(super) fn companion_ended(
        &mut self,
        (of, purpose): (Seq, Purpose),
        output: Option<Sealed>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        if purpose == Purpose::Compare {
            return self.compared(of, output, ports);
        }
        if !self.state.acts.contains_key(&of) {
            return Ok(());
        }
        let is_image = purpose != Purpose::Probe && !purpose.is_hook();
        if let (Some(output), true) = (&output, is_image) {
            let image = seal(ports, output.value(), output.labels())?;
            self.emit(Body::Captured { action: of, purpose, image })?;
        }
        match purpose {
            Purpose::After => self.account(of, Landed::Yes, None, ports),
            Purpose::Watch => self.settle(of, ports),
            Purpose::Probe => self.probed(of, output, ports),
            Purpose::Before
            | Purpose::Preview
            | Purpose::Refresh
            | Purpose::Compare
            | Purpose::Gate => {
                if self.state.is_stopping() && self.state.unwind.is_none() {
                    return Ok(());
                }
                self.advance(of, ports)
            }
        }
    }

    /// Companions that were rejected before they reached a connector: their parents go on.
    pub(super) fn resume_parents(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        while let Some(parent) = self.pending_companions.pop() {
            self.companion_ended(parent, None, ports)?;
        }
        Ok(())
    }

    /// Signs off the run's receipts up to here, once nothing more is to follow.
    pub(super) fn close(&mut self) -> Result<(), Fault> {
        let over = self.state.end.is_some() && self.state.acts.is_empty();
        if !over || self.state.closed {
            return Ok(());
        }
        let receipt = ReceiptId::of(&self.tenant, &self.id, self.state.next_seq);
        let close = Close {
            v: 1,
            receipt: receipt.clone(),
            run: self.id.clone(),
            index: self.state.receipts,
            prev: self.state.last_statement,
            events: self.state.next_seq,
            journal_head: self.state.head,
            status: self.status().word().to_owned(),
            at: self.state.at,
        };
        let subject = self.state.head;
        let payload = Statement::new(self.id.to_string(), subject, CLOSE_TYPE, close).payload()?;
        let statement = Digest::of(&payload);
        self.emit(Body::Closed { receipt: receipt.clone(), statement })?;
        self.pending.drafts.push(Draft { id: receipt, action: None, payload });
        Ok(())
    }
}

/// Whether the image after must be read: to compare with before a rollback, or to prove a restore.
fn wants_after(act: &Act) -> bool {
    let reads_back = act.operation.companions.before.is_some();
    let untried =
        !act.captures.contains_key(&Purpose::After) && !act.missed.contains(&Purpose::After);
    let matters = act.token.is_some() || act.undo_of().is_some();
    act.operation.is_write() && reads_back && untried && matters
}

fn happened(answer: &Sealed, pointer: &str) -> bool {
    use serde_json::Value;
    match answer.value().pointer(pointer) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => true,
    }
}

fn classes(
    args: &crate::sealed::Commitment,
    result: Option<&crate::sealed::Commitment>,
) -> BTreeSet<String> {
    let of_result = result.into_iter().flat_map(|r| r.label.classes.iter());
    args.label.classes.iter().chain(of_result).cloned().collect()
}

fn seal_outcome(
    outcome: Outcome,
    led_to_it: &Label,
    ports: &mut Ports<'_>,
) -> Result<Ended, Fault> {
    match outcome {
        Ok(Returned { output, labels, external_ref, cost, .. }) => {
            let output = seal(ports, output, labels.joined_with(led_to_it))?;
            let external_ref = match external_ref {
                Some(text) => {
                    let labels = LabelMap::uniform(output.commitment().label.clone());
                    Some(seal(ports, Arc::new(serde_json::Value::String(text)), labels)?)
                }
                None => None,
            };
            Ok(Ended::Done { output, external_ref, cost })
        }
        Err(Failure { class, landed, message, retry_after_ms, sample }) => {
            let (value, mut labels) = system_text(&message);
            labels.whole.join_from(&Label::default());
            let message = seal(ports, value, labels)?;
            // Nobody checked what it holds: as untrusted and as secret as a value can be.
            let strictest = || LabelMap::uniform(Label::default());
            let sample = sample.map(|value| seal(ports, value, strictest())).transpose()?;
            Ok(Ended::Failed { class, landed, message, retry_after_ms, sample })
        }
    }
}
