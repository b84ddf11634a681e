//! What servers ask people in the middle of calls: typed questions that live as long as the call whose they are, and
//! that the planner hears nothing of.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Fault, Ports, Refused, Run,
    emit::seal,
    state::{Act, Phase},
};
use crate::{
    canon,
    event::Body,
    id::{ApprovalId, Seq},
    input::Elicitation,
    label::{Confidentiality, Label, LabelMap, Trust},
};

/// Most questions that a server may ask a person in the middle of one call.
pub const ELICITED_MAX: usize = 20;
/// Longest text, or schema, of such a question, in bytes.
pub const ELICITED_MAX_BYTES: usize = 16_384;

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
        let outside = Label::new(Trust::Untrusted, Confidentiality::Internal);
        let labels = act.existence.join(&act.args.labels().join_all()).join(&outside);
        let Elicitation { action, attempt, nth, text, answer, role, expires_ms } = asked;
        let question = ApprovalId::of(&self.tenant, &self.id, self.state.next_seq);
        let labels = LabelMap::uniform(labels);
        let text = seal(ports, Arc::new(Value::String(text)), labels.clone())?;
        let answer = seal(ports, answer, labels)?;
        let expires_at = self.state.at.saturating_add(expires_ms);
        let body =
            Body::Elicited { action, attempt, nth, question, text, answer, role, expires_at };
        self.emit(body)?;
        Ok(Ok(()))
    }

    /// The call in the middle of which this may be asked now.
    fn asking_call(&self, asked: &Elicitation) -> Result<&Act, Refused> {
        let act = self.state.acts.get(&asked.action);
        let act = act.filter(|act| act.phase == Phase::Dispatched);
        let act =
            act.filter(|act| act.dispatch.as_ref().is_some_and(|d| d.attempt == asked.attempt));
        let act = act.ok_or(Refused::Late("the call is over"))?;
        if self.state.is_held() {
            return Err(Refused::NotNow("nobody is asked anything new while the run is held"));
        }
        // What takes effects back is wanted by whoever asked for that.
        if self.state.is_stopping() && act.undo_of().is_none() {
            return Err(Refused::Late("the run is over or stopping"));
        }
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
