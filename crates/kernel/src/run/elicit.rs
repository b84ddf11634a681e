//! What servers ask in the middle of calls, and what they are told. People of ours are asked by typed questions that live as
//! long as the call whose they are; what the client of a call is asked is put down as it is relayed. The planner hears
//! nothing of either.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Fault, Ports, Refused, Run,
    emit::seal,
    state::{Act, Phase},
};
use crate::{
    canon,
    event::{Body, Side},
    id::{ApprovalId, Seq},
    input::{Elicitation, Relay},
    label::{Confidentiality, Label, LabelMap, Trust},
};

/// Most questions that a server may ask a person in the middle of one call.
pub const ELICITED_MAX: usize = 20;
/// Longest text, or schema, of such a question, in bytes.
pub const ELICITED_MAX_BYTES: usize = 16_384;

/// Most questions of one call that are relayed to the client that it is made for.
pub const RELAYED_MAX: usize = 100;
/// Longest question, or answer, that is relayed, in canonical bytes.
pub const RELAYED_MAX_BYTES: usize = 262_144;

/// What is said in the middle of a call is from outside, and may tell all that the call was told.
fn outside(act: &Act) -> LabelMap {
    let outside = Label::new(Trust::Untrusted, Confidentiality::Internal);
    LabelMap::uniform(act.existence.join(&act.args.labels().join_all()).join(&outside))
}

impl Run {
    /// Takes a question in; one that was taken in before changes nothing.
    pub(super) fn elicited(
        &mut self,
        asked: Elicitation,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        let act = match self.asking_call(&asked) {
            Ok(act) => act,
            Err(refused) => return Ok(Err(refused)),
        };
        if act.elicited.contains(&asked.nth) {
            return Ok(Ok(()));
        }
        if act.elicited.len() >= ELICITED_MAX {
            return Ok(Err(Refused::NotNow("the server asks too much in one call")));
        }
        let labels = outside(act);
        let Elicitation { action, attempt, nth, text, answer, role, expires_ms } = asked;
        let question = ApprovalId::of(&self.tenant, &self.id, self.state.next_seq);
        let text = seal(ports, Arc::new(Value::String(text)), labels.clone())?;
        let answer = seal(ports, answer, labels)?;
        let expires_at = self.state.at.saturating_add(expires_ms);
        let body =
            Body::Elicited { action, attempt, nth, question, text, answer, role, expires_at };
        self.emit(body)?;
        Ok(Ok(()))
    }

    /// Takes in what a server and the client of a call say to each other; what was taken in before changes nothing. A
    /// client answers what it was asked, once.
    pub(super) fn relayed(
        &mut self,
        relay: Relay,
        ports: &mut Ports<'_>,
    ) -> Result<Result<(), Refused>, Fault> {
        let (act, known) = match self.relaying_call(&relay) {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        if known {
            return Ok(Ok(()));
        }
        let labels = outside(act);
        let Relay { action, attempt, nth, from, said } = relay;
        let said = seal(ports, said, labels)?;
        self.emit(Body::Relayed { action, attempt, nth, from, said })?;
        Ok(Ok(()))
    }

    /// The call in the middle of which this may be said now, and whether it was taken in before.
    fn relaying_call(&self, relay: &Relay) -> Result<(&Act, bool), Refused> {
        let act = self.call_in_flight(relay.action, relay.attempt)?;
        let answered = act.relayed.get(&relay.nth).copied();
        match (relay.from, answered) {
            (Side::Server, Some(_)) | (Side::Client, Some(true)) => return Ok((act, true)),
            (Side::Client, None) => return Err(Refused::NotNow("the client was not asked this")),
            (Side::Client, Some(false)) => {}
            (Side::Server, None) => {
                self.check_may_ask(act)?;
                if act.relayed.len() >= RELAYED_MAX {
                    return Err(Refused::NotNow("the server asks too much in one call"));
                }
            }
        }
        let bytes = canon::bytes(&*relay.said).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > RELAYED_MAX_BYTES {
            return Err(Refused::NotNow("what is relayed has at most 262144 bytes"));
        }
        Ok((act, false))
    }

    /// This call, while it is out.
    fn call_in_flight(&self, action: Seq, attempt: u32) -> Result<&Act, Refused> {
        let act = self.state.acts.get(&action).filter(|act| act.phase == Phase::Dispatched);
        let act = act.filter(|act| act.dispatch.as_ref().is_some_and(|d| d.attempt == attempt));
        act.map(Box::as_ref).ok_or(Refused::Late("the call is over"))
    }

    /// Whether anybody may be asked anything new in this call.
    fn check_may_ask(&self, act: &Act) -> Result<(), Refused> {
        if self.state.is_held() {
            return Err(Refused::NotNow("nobody is asked anything new while the run is held"));
        }
        // What takes effects back is wanted by whoever asked for that.
        if self.state.is_stopping() && act.undo_of().is_none() {
            return Err(Refused::Late("the run is over or stopping"));
        }
        Ok(())
    }

    /// The call in the middle of which this may be asked now.
    fn asking_call(&self, asked: &Elicitation) -> Result<&Act, Refused> {
        let act = self.call_in_flight(asked.action, asked.attempt)?;
        self.check_may_ask(act)?;
        // What has no canonical form, or is endless, is the server's doing and not a defect of ours.
        let bytes = canon::bytes(&*asked.answer).map_or(usize::MAX, |bytes| bytes.len());
        if bytes.max(asked.text.len()) > ELICITED_MAX_BYTES || asked.text.is_empty() {
            return Err(Refused::NotNow(
                "a question, and the schema of its answer, has 1 to 16384 bytes",
            ));
        }
        if !asked.answer.is_object() {
            return Err(Refused::NotNow("the schema of an answer is an object"));
        }
        if asked.role.is_empty() || asked.expires_ms <= 0 {
            return Err(Refused::NotNow("a question has a role that answers, and time for it"));
        }
        Ok(act)
    }

    /// Nobody wants to know any more what is asked in the middle of these calls.
    pub(super) fn lapse_elicited(&mut self, of: impl Fn(Seq) -> bool) -> Result<(), Fault> {
        let open = self.state.questions.iter();
        let open = open.filter(|(_, question)| question.action.is_some_and(&of));
        let open: Vec<ApprovalId> = open.map(|(id, _)| id.clone()).collect();
        for question in open {
            self.emit(Body::Lapsed { question })?;
        }
        Ok(())
    }

    /// Whether nothing goes on in any call in flight before a person has answered its server.
    pub(super) fn calls_only_ask(&self) -> bool {
        let asks = |seq: &Seq| self.state.questions.values().any(|q| q.action == Some(*seq));
        let mut calls = self.state.acts.iter().filter(|(_, act)| act.phase == Phase::Dispatched);
        calls.all(|(seq, _)| asks(seq))
    }
}
