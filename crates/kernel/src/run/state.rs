//! What the events of a run fold to. Changed only by `apply`; read by everything that decides.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{
    action::Resource,
    approval::Approval,
    budget::Spent,
    conversation::{Said, Thread, Word},
    decision::{Decision, Requirement},
    event::{End, Ended, Header, Purpose, Role, Undone, Unwound},
    exception::{Class, Exception, Landed, Need},
    hook::Opinion,
    id::{
        ApprovalId, At, Digest, EffectKey, Epoch, ExceptionId, HaltId, OperationId, Seq, TokenId,
    },
    input::{OnConflict, Scope},
    label::{Confidentiality, Label, Trust},
    operation::{Companion, Operation},
    planning::Labelled,
    principal::Principal,
    rollback::Token,
    sealed::Sealed,
};

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The gate can go on with it.
    Open,
    /// A companion call is under way for it.
    Helping,
    /// A person is asked.
    Asking,
    /// The call may be in flight.
    Dispatched,
    /// The call ended; the receipt waits for the after-image.
    Ended,
    /// Nobody knows whether it happened.
    Doubt,
}

/// A judgement about a model call that stands for the next ones alike.
#[derive(Clone, Debug)]
pub(crate) struct Cleared {
    shown: Label,
    existence: Label,
    policy: Option<Digest>,
    pub(crate) decision: Decision,
}

impl Cleared {
    pub(crate) fn of(
        act: &Act,
        policy: Option<Digest>,
        decision: &Decision,
    ) -> (OperationId, Self) {
        let (shown, existence) = (act.args.labels().join_all(), act.existence.clone());
        (act.operation.id.clone(), Self { shown, existence, policy, decision: decision.clone() })
    }

    pub(crate) fn covers(&self, act: &Act, policy: Option<Digest>) -> bool {
        self.policy == policy
            && self.existence == act.existence
            && self.shown == act.args.labels().join_all()
    }
}

/// The conversation that a model call belongs to.
pub(crate) fn conversation_of(act: &Act) -> String {
    let args = act.args.value();
    args.get("conversation").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a hook said.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) said: Opinion,
    /// Why, in its own words, for people.
    pub(crate) reason: Option<Labelled>,
}

/// An open ask.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) id: ApprovalId,
    pub(crate) requirement: Requirement,
    pub(crate) expires_at: At,
}

/// The latest dispatch of an action.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) seq: Seq,
    pub(crate) key: EffectKey,
    pub(crate) attempt: u32,
    pub(crate) dispatch_by: At,
    pub(crate) first_at: At,
}

/// An action that is not accounted for yet.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) step: String,
    pub(crate) operation: Arc<Operation>,
    pub(crate) definition: Digest,
    pub(crate) args: Sealed,
    pub(crate) resource: Option<Resource>,
    pub(crate) resource_root: Digest,
    pub(crate) existence: Label,
    pub(crate) attempt: u32,
    pub(crate) origin: Seq,
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    pub(crate) digest: Option<Digest>,
    pub(crate) decision: Option<Decision>,
    pub(crate) transforms: BTreeSet<String>,
    pub(crate) captures: BTreeMap<Purpose, Sealed>,
    pub(crate) missed: BTreeSet<Purpose>,
    /// What hooks said about it, in the order of their names.
    pub(crate) hooks: BTreeMap<OperationId, Heard>,
    pub(crate) ask: Option<Ask>,
    pub(crate) asks: u32,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) refreshed: Option<Sealed>,
    pub(crate) token: Option<TokenId>,
    pub(crate) dispatch: Option<Dispatch>,
    pub(crate) ended: Option<(At, Ended)>,
    /// Questions that its server has asked in the latest call.
    pub(crate) elicited: BTreeSet<u32>,
    /// Those that were relayed to the client that it is made for, and whether it has answered.
    pub(crate) relayed: BTreeMap<u32, bool>,
    pub(crate) probe_at: Option<At>,
    /// The provider whose model asked for it.
    pub(crate) proposer: Option<Arc<str>>,
}

impl Act {
    /// Who asked for it, when it is an undo.
    pub(crate) fn undo_of(&self) -> Option<&TokenId> {
        match &self.role {
            Role::Undo { token, .. } => Some(token),
            Role::Step | Role::Companion { .. } => None,
        }
    }

    /// What was shown to approvers: the preview, else the image before.
    pub(crate) fn shown(&self) -> Option<(Purpose, &Sealed)> {
        let image = |purpose| self.captures.get(&purpose).map(|sealed| (purpose, sealed));
        image(Purpose::Preview).or_else(|| image(Purpose::Before))
    }
}

/// The effect that the last try of a step was about.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) seq: Seq,
    pub(crate) operation: OperationId,
    pub(crate) args: Arc<Value>,
    pub(crate) landed: Landed,
    /// Its way back, where one is armed.
    pub(crate) token: Option<TokenId>,
}

/// A question that waits for a typed answer.
#[derive(Clone, Debug)]
pub(crate) struct OpenQuestion {
    pub(crate) step: String,
    /// The action in the middle of whose call a server asks it; none where a step does.
    pub(crate) action: Option<Seq>,
    pub(crate) role: String,
    pub(crate) answer: Arc<Value>,
    pub(crate) expires_at: At,
}

/// A branch that waits.
#[derive(Clone, Debug)]
pub(crate) struct OpenWait {
    pub(crate) signal: Option<String>,
    pub(crate) until: At,
}

/// A rollback under way.
#[derive(Clone, Debug)]
pub(crate) struct Unwind {
    pub(crate) by: Principal,
    pub(crate) on_conflict: OnConflict,
    pub(crate) queue: VecDeque<TokenId>,
    pub(crate) irreversible: usize,
    pub(crate) results: Vec<Undone>,
    /// Effects that stay for now, with their record: what came before them on it stays too.
    pub(crate) snags: Vec<(Seq, Option<Resource>)>,
    /// Actions in doubt when it began.
    pub(crate) doubts: usize,
}

/// What makes two exceptions of a run the same: need, step, class and action.
pub(crate) type Trouble = (Need, String, Class, Option<Seq>);

/// The fold.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) header: Arc<Header>,
    pub(crate) chain_digest: Digest,
    pub(crate) intent: Labelled,
    pub(crate) subjects: Vec<String>,
    pub(crate) opened_at: At,
    pub(crate) at: At,
    pub(crate) epoch: Epoch,
    pub(crate) next_seq: Seq,
    pub(crate) head: Digest,
    pub(crate) current_policy: Option<Digest>,
    /// Boxed: a node of the map has room for eleven.
    pub(crate) acts: BTreeMap<Seq, Box<Act>>,
    pub(crate) asks: BTreeMap<ApprovalId, Seq>,
    pub(crate) questions: BTreeMap<ApprovalId, OpenQuestion>,
    pub(crate) waits: BTreeMap<String, OpenWait>,
    /// Signals that came before a step waited for them.
    pub(crate) early: BTreeMap<String, Sealed>,
    pub(crate) exceptions: BTreeMap<ExceptionId, Exception>,
    /// How often each sort of exception was raised at each place.
    pub(crate) raised: BTreeMap<Trouble, u32>,
    pub(crate) tokens: BTreeMap<TokenId, Token>,
    /// Effects that landed, oldest first: with a token, or without a way back.
    pub(crate) effects: Vec<(Seq, Option<TokenId>)>,
    /// Effects that landed, by the first try: tries share one effect.
    pub(crate) landed: BTreeSet<Seq>,
    /// Step whose last try failed → the effect it tried.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// Steps whose action a person replaced: the next proposal is not the planner's.
    pub(crate) replacing: BTreeSet<String>,
    pub(crate) spent: Spent,
    pub(crate) uses: BTreeMap<OperationId, u32>,
    /// What policy allowed to show to each model, as it was asked last.
    pub(crate) cleared: BTreeMap<OperationId, Cleared>,
    /// Conversations with models, by name, up to the last reply.
    pub(crate) threads: BTreeMap<String, Arc<Thread>>,
    /// Large results that calls of this run brought.
    pub(crate) kept: BTreeSet<Digest>,
    pub(crate) denied: u32,
    pub(crate) forbidden: BTreeSet<OperationId>,
    pub(crate) recoveries: BTreeSet<String>,
    pub(crate) receipts: u64,
    pub(crate) last_statement: Digest,
    pub(crate) paused: bool,
    pub(crate) held: bool,
    /// The halt that holds the run.
    pub(crate) halted: Option<HaltId>,
    pub(crate) faulted: bool,
    pub(crate) cancelled: bool,
    pub(crate) abandoned: Option<(String, Class)>,
    pub(crate) rollback: Option<(Principal, Scope, OnConflict)>,
    pub(crate) unwind: Option<Unwind>,
    /// What the last rollback was to take back.
    pub(crate) unwind_scope: Scope,
    pub(crate) unwound: Option<Unwound>,
    pub(crate) end: Option<End>,
    pub(crate) closed: bool,
}

impl State {
    pub(crate) fn new(header: Header, intent: Labelled, at: At) -> Self {
        let chain_digest = crate::canon::digest(&header.chain).unwrap_or_default();
        Self {
            header: Arc::new(header),
            chain_digest,
            intent,
            subjects: Vec::new(),
            opened_at: at,
            at,
            epoch: 0,
            next_seq: 0,
            head: Digest::default(),
            current_policy: None,
            acts: BTreeMap::new(),
            asks: BTreeMap::new(),
            questions: BTreeMap::new(),
            waits: BTreeMap::new(),
            early: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            raised: BTreeMap::new(),
            tokens: BTreeMap::new(),
            effects: Vec::new(),
            landed: BTreeSet::new(),
            origins: BTreeMap::new(),
            replacing: BTreeSet::new(),
            spent: Spent::default(),
            uses: BTreeMap::new(),
            cleared: BTreeMap::new(),
            threads: BTreeMap::new(),
            kept: BTreeSet::new(),
            denied: 0,
            forbidden: BTreeSet::new(),
            recoveries: BTreeSet::new(),
            receipts: 0,
            last_statement: Digest::default(),
            paused: false,
            held: false,
            halted: None,
            faulted: false,
            cancelled: false,
            abandoned: None,
            rollback: None,
            unwind: None,
            unwind_scope: Scope::Run,
            unwound: None,
            end: None,
            closed: false,
        }
    }

    /// What a model call says and what it follows.
    pub(crate) fn thread(&self, action: Seq, act: &Act) -> Arc<Thread> {
        Thread::after(self.said_before(act), action, Said::Prompt(act.args.value().into()))
    }

    /// A model call that was answered, and the answer. Nobody is waiting for them any more: packed.
    pub(crate) fn answered(&self, action: Seq, act: &Act, output: Arc<Value>) -> Arc<Thread> {
        let asked = Said::Prompt(Word::packed(act.args.value()));
        let asked = Thread::after(self.said_before(act), action, asked);
        Thread::after(Some(asked), action, Said::Reply(Word::packed(output)))
    }

    fn said_before(&self, act: &Act) -> Option<Arc<Thread>> {
        let args = act.args.value();
        let begins = args.get("turn").and_then(Value::as_u64).unwrap_or_default() == 0;
        self.threads.get(&conversation_of(act)).filter(|_| !begins).cloned()
    }

    /// Nothing new may be dispatched for now.
    pub(crate) fn is_held(&self) -> bool {
        self.paused || self.faulted || self.held || self.halted.is_some()
    }

    /// Nothing is wanted from the planner any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.cancelled || self.abandoned.is_some() || self.end.is_some()
    }

    /// Calls may be in flight or their outcome is open.
    pub(crate) fn has_loose_ends(&self) -> bool {
        self.acts.values().any(|act| {
            matches!(act.phase, Phase::Dispatched | Phase::Ended | Phase::Doubt | Phase::Helping)
        })
    }

    /// When time alone will change something.
    pub(crate) fn wake_at(&self) -> Option<At> {
        let asks = self.acts.values().filter_map(|act| act.ask.as_ref()).map(|ask| ask.expires_at);
        let probes = self.acts.values().filter_map(|act| act.probe_at);
        let questions = self.questions.values().map(|question| question.expires_at);
        let waits = self.waits.values().map(|wait| wait.until);
        let wall = self.opened_at.saturating_add(self.header.budget.wall_max_ms);
        let wall = (!self.is_stopping()).then_some(wall);
        asks.chain(probes).chain(questions).chain(waits).chain(wall).min()
    }

    /// Whether this action tries again what has landed already: its effect and its way back are there.
    pub(crate) fn repeats(&self, act: &Act) -> bool {
        self.header.machine >= 3 && self.landed.contains(&act.origin)
    }

    /// Whether an effect counts as there for rollback. A further try of it adds none, and takes none away.
    pub(crate) fn note_effect(&mut self, seq: Seq, act: &Act, landed: Landed) {
        let repeats = self.repeats(act);
        let token = act.token.clone();
        if landed == Landed::No {
            if let Some(id) = token.filter(|_| !repeats) {
                self.tokens.remove(&id);
            }
            return;
        }
        if let Some(found) = token.as_ref().and_then(|id| self.tokens.get_mut(id)) {
            found.landed = true;
        }
        if !repeats {
            self.landed.insert(act.origin);
            self.effects.push((seq, token));
        }
    }
}

/// The companion that undoes an operation at a step: the step's own, else the operation's.
pub(crate) fn undo_companion<'a>(
    operation: &'a Operation,
    overrides: &'a BTreeMap<String, Companion>,
    step: &str,
) -> Option<&'a Companion> {
    let own = overrides.get(&crate::playbook::static_path(step));
    own.or(operation.companions.undo_with.as_ref())
}

/// What an undo's arguments can be bound from. What was there before is what the first try found.
pub(crate) fn undo_scope(act: &Act, token: &Token) -> Value {
    let image =
        |purpose| act.captures.get(&purpose).map(|sealed: &Sealed| (*sealed.value()).clone());
    let output = match &act.ended {
        Some((_, Ended::Done { output, .. })) => (*output.value()).clone(),
        _ => Value::Null,
    };
    json!({
        "args": *act.args.value(),
        "before": token.before_image.as_ref().map(|v| (**v).clone()).or(image(Purpose::Before)),
        "after": image(Purpose::After),
        "output": output,
        "key": act.dispatch.as_ref().map(|d: &Dispatch| d.key.clone()),
    })
}

/// What an undo's arguments may be bound from shapes them: images and result, not the arguments alone.
pub(crate) fn undo_label(act: &Act) -> Label {
    let images = act.captures.values().map(|image| image.labels().join_all());
    let output = match &act.ended {
        Some((_, Ended::Done { output, .. })) => Some(output.labels().join_all()),
        _ => None,
    };
    images.chain(output).fold(Label::bottom(), |joined, label| joined.join(&label))
}

/// A stand-in for an operation the catalogue does not hold: a write, so that nothing is assumed.
pub(crate) fn unknown(id: &OperationId) -> Arc<Operation> {
    Arc::new(Operation {
        id: id.clone(),
        summary: String::new(),
        facts: Default::default(),
        resource: None,
        input: Arc::new(Value::Bool(false)),
        output: Arc::new(Value::Bool(true)),
        labels: Default::default(),
        clearance: Label::new(Trust::Untrusted, Confidentiality::Public),
        maskable: Vec::new(),
        contract: Default::default(),
        companions: Default::default(),
        groups: Vec::new(),
        timeout_ms: crate::operation::TIMEOUT_DEFAULT_MS,
        cost_max: None,
        rate: None,
        witness: Default::default(),
        binding: Arc::new(Value::Null),
    })
}
