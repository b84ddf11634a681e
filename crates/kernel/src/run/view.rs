//! Read-only views of what is open, for cards and lists.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::{
    Run, Status,
    state::{Act, Heard, Phase},
};
use crate::{
    action::Resource,
    approval::Approval,
    decision::{Decision, Requirement},
    event::{End, Header, Purpose, Role, Unwound},
    exception::Exception,
    halt::Reach,
    id::{ApprovalId, At, Digest, HaltId, OperationId, RunId, Seq, TokenId},
    kept,
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Operation, Undo},
    planning::{Labelled, Move},
    rollback::{State as TokenState, Token},
};

/// An open action.
#[derive(Clone, Debug)]
pub struct ActionView {
    /// Its proposal's place.
    pub seq: Seq,
    /// The step.
    pub step: String,
    /// The operation.
    pub operation: Arc<Operation>,
    /// The arguments.
    pub args: Arc<Value>,
    /// Their labels.
    pub arg_labels: LabelMap,
    /// What it touches.
    pub resource: Option<Resource>,
    /// Digest of exactly this action.
    pub digest: Option<Digest>,
    /// What policy said last.
    pub decision: Option<Decision>,
    /// Why it belongs to the run.
    pub role: Role,
    /// What is there before, if read.
    pub before: Option<Arc<Value>>,
    /// What the preview said, if taken.
    pub preview: Option<Arc<Value>>,
    /// Rewrites applied.
    pub transforms: BTreeSet<String>,
    /// The undo class that will be armed.
    pub undo: Undo,
    /// Approvals given so far.
    pub approvals: Vec<Approval>,
    /// What hooks want people to know about it, by the hook's name.
    pub hooks: Vec<(OperationId, Labelled)>,
}

/// An open ask.
#[derive(Clone, Debug)]
pub struct AskView {
    /// Its id.
    pub id: ApprovalId,
    /// What is needed.
    pub requirement: Requirement,
    /// Until when.
    pub expires_at: At,
    /// About which action.
    pub action: ActionView,
}

/// An open question.
#[derive(Clone, Debug)]
pub struct QuestionView {
    /// Its id.
    pub id: ApprovalId,
    /// The step that asks, or makes the call in the middle of which a server asks.
    pub step: String,
    /// The action of that call.
    pub action: Option<Seq>,
    /// Role that may answer.
    pub role: String,
    /// JSON Schema of the answer.
    pub answer: Arc<Value>,
    /// Until when.
    pub expires_at: At,
}

impl Run {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = &self.state;
        if state.paused || state.faulted {
            return if state.faulted { Status::NeedsPerson } else { Status::Paused };
        }
        let taking_back = state.unwind.is_some() || state.rollback.is_some();
        if state.halted.is_some() && (state.end.is_none() || taking_back) {
            return Status::Halted;
        }
        if !state.exceptions.is_empty() && state.end.is_none() {
            return Status::NeedsPerson;
        }
        let asking = state.acts.values().any(|act| act.phase == Phase::Asking);
        let asking = asking || !state.questions.is_empty();
        // A call whose server waits for a person goes on by nothing else.
        let in_flight = self.in_flight() && !self.calls_only_ask();
        if taking_back {
            return if asking && !in_flight { Status::Asking } else { Status::RollingBack };
        }
        match (state.unwound, state.end) {
            (Some(Unwound::Complete), Some(_)) => Status::RolledBack,
            (Some(Unwound::Partial), Some(_)) => Status::PartlyRolledBack,
            (Some(Unwound::Refused) | None, Some(end)) => match end {
                End::Succeeded => Status::Succeeded,
                End::Partial => Status::Partial,
                End::Failed => Status::Failed,
                End::Cancelled => Status::Cancelled,
            },
            (_, None) if in_flight => Status::Running,
            (_, None) if asking => Status::Asking,
            (_, None) if state.has_loose_ends() => Status::Running,
            (_, None) if !state.waits.is_empty() => Status::Waiting,
            (_, None) => Status::Running,
        }
    }

    /// What the run touches whatever it calls: for halts.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let header = &self.state.header;
        let agents = [&header.chain.agent.id].into_iter().chain(&header.submitted_by);
        let (pack, agents) = (header.pack.clone(), agents.cloned().collect());
        Reach { pack, agents, connectors: BTreeSet::new() }
    }

    /// The halt that holds it.
    #[must_use]
    pub fn halted(&self) -> Option<&HaltId> {
        self.state.halted.as_ref()
    }

    /// Everything a person is asked to approve now.
    #[must_use]
    pub fn asks(&self) -> Vec<AskView> {
        let acts = self.state.acts.iter();
        acts.filter_map(|(seq, act)| {
            let ask = act.ask.as_ref()?;
            let (id, requirement) = (ask.id.clone(), ask.requirement.clone());
            let action = self.action_view(*seq, act);
            Some(AskView { id, requirement, expires_at: ask.expires_at, action })
        })
        .collect()
    }

    /// Every typed question that is open now.
    #[must_use]
    pub fn questions(&self) -> Vec<QuestionView> {
        let open = self.state.questions.iter();
        open.map(|(id, question)| QuestionView {
            id: id.clone(),
            step: question.step.clone(),
            action: question.action,
            role: question.role.clone(),
            answer: Arc::clone(&question.answer),
            expires_at: question.expires_at,
        })
        .collect()
    }

    /// Every open exception.
    #[must_use]
    pub fn exceptions(&self) -> Vec<Exception> {
        self.state.exceptions.values().cloned().collect()
    }

    /// Every action that is not accounted for.
    #[must_use]
    pub fn open_actions(&self) -> Vec<ActionView> {
        self.state.acts.iter().map(|(seq, act)| self.action_view(*seq, act)).collect()
    }

    /// Tokens whose effect is there and that were not used.
    #[must_use]
    pub fn usable_tokens(&self) -> Vec<&Token> {
        let tokens = self.state.tokens.values();
        tokens.filter(|token| token.landed && token.state == TokenState::Armed).collect()
    }

    /// One token, whatever its state.
    #[must_use]
    pub fn token_by_id(&self, id: &TokenId) -> Option<&Token> {
        self.state.tokens.get(id)
    }

    /// Effects that are there, newest first, with their token if there is a way back.
    #[must_use]
    pub fn effects(&self) -> Vec<(Seq, Option<TokenId>)> {
        self.state.effects.iter().rev().cloned().collect()
    }

    /// One operation it may use, as it is pinned.
    #[must_use]
    pub fn operation(&self, id: &OperationId) -> Option<&Operation> {
        let entry = self.pins.catalogue.get(id).or_else(|| self.hooks.get(id));
        let entry = entry.or_else(|| kept::entry().filter(|entry| entry.operation.id == *id));
        entry.map(|entry| &*entry.operation)
    }

    /// What the planner wants next: the same for the live run and for its fold.
    #[must_use]
    pub fn wanted(&self) -> Option<Move> {
        self.pins.planner.next()
    }

    /// When time alone will change something.
    #[must_use]
    pub fn wake_at(&self) -> Option<At> {
        self.state.wake_at()
    }

    fn action_view(&self, seq: Seq, act: &Act) -> ActionView {
        let image = |purpose| act.captures.get(&purpose).map(|sealed| sealed.value());
        ActionView {
            seq,
            step: act.step.clone(),
            operation: Arc::clone(&act.operation),
            args: act.args.value(),
            arg_labels: act.args.labels(),
            resource: act.resource.clone(),
            digest: act.digest,
            decision: act.decision.clone(),
            role: act.role.clone(),
            before: image(Purpose::Before),
            preview: image(Purpose::Preview),
            transforms: act.transforms.clone(),
            undo: self.undo_class(act),
            approvals: act.approvals.clone(),
            hooks: act.hooks.iter().filter_map(told).collect(),
        }
    }
}

fn told((hook, heard): (&OperationId, &Heard)) -> Option<(OperationId, Labelled)> {
    Some((hook.clone(), heard.reason.clone()?))
}

/// Public facts of a run, readable by expressions as `run`.
pub(super) fn run_value(id: &RunId, header: &Header, opened_at: At) -> Labelled {
    let mut value = serde_json::json!({
        "id": id,
        "intent": header.intent,
        "opened_at_ms": opened_at,
        "on_behalf_of": header.chain.on_behalf_of.id,
        "agent": header.chain.agent.id,
        "tenant": header.chain.tenant,
    });
    // Only where it was given: earlier journals fold to what they were.
    if let (Some(value), Some(retries_max)) = (value.as_object_mut(), header.budget.retries_max) {
        value.insert("retries_max".to_owned(), retries_max.into());
    }
    let labels = LabelMap::uniform(Label::new(Trust::System, Confidentiality::Internal));
    Labelled { value: Arc::new(value), labels }
}
