//! What went wrong in a run and what was done about it, from its journal alone: the failure as it was
//! seen, the answer that broke its contract, the recovery taken, and who decided.

use std::collections::BTreeMap;

use kernel::{
    event::{Body, Ended, Record, Role, Settled, Stage},
    exception::{Class, Landed, Need},
    hook::{HOOK_CONNECTOR, Moment, Opinion},
    id::{ApprovalId, ExceptionId, OperationId, Seq},
    planning::Mark,
    run::Run,
    sealed::Sealed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{exceptions::word, runs::rfc3339, value::visible};

/// One failure and its way out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleView {
    /// The step it happened in.
    pub step: String,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// The failure class.
    pub class: String,
    /// The operation that failed; absent when a check of the step did.
    pub operation: Option<String>,
    /// The action, by its place in the journal.
    pub action: Option<u64>,
    /// Which try of the step it was.
    pub attempt: Option<u32>,
    /// Whether the effect may be there: `no`, `unknown` or `yes`.
    pub landed: Option<String>,
    /// What was seen, or the rule that refused.
    pub said: String,
    /// How long the target asked to wait, in milliseconds.
    pub retry_after_ms: Option<i64>,
    /// The answer that broke its contract, capped, redacted and masked, with what speaks for it.
    pub sample: Option<Value>,
    /// The recovery taken: `retry`, `fallback`, `partial`, `clarify`, `escalate`, `stop` or `log`.
    pub recovery: Option<String>,
    /// What a reader of the result must know.
    pub caveat: Option<String>,
    /// What a fallback answered with.
    #[serde(default)]
    pub instead: Option<InsteadView>,
    /// Operations that are switched off for the rest of the run.
    pub forbids: Vec<String>,
    /// Who was asked or handed it.
    pub owner: Option<String>,
    /// Who decided, and what.
    pub decided: Option<String>,
}

/// What stands in for what failed: how far its word goes, and of when it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InsteadView {
    /// The operation.
    pub operation: String,
    /// How far it is trusted: `system`, `operator`, `user`, `verified` or `untrusted`.
    pub trust: String,
    /// What it says that it is of; absent where the operation declares no freshness.
    pub as_of: Option<Value>,
}

/// Every failure of a run, in order. Without the run, answers of fallbacks do not say of when they are.
#[must_use]
pub fn troubles(records: &[Record], run: Option<&Run>) -> Vec<TroubleView> {
    let mut told = Telling { run, ..Telling::default() };
    for record in records {
        told.take(record);
    }
    told.troubles
}

/// Operations that recoveries have switched off for the rest of the run.
#[must_use]
pub fn switched_off(troubles: &[TroubleView]) -> Vec<String> {
    let mut off: Vec<String> =
        troubles.iter().flat_map(|trouble| trouble.forbids.iter().cloned()).collect();
    off.sort();
    off.dedup();
    off
}

#[derive(Default)]
struct Telling<'a> {
    run: Option<&'a Run>,
    troubles: Vec<TroubleView>,
    /// Step, operation and try of each action.
    actions: BTreeMap<Seq, (String, String, u32)>,
    questions: BTreeMap<ApprovalId, String>,
    exceptions: BTreeMap<ExceptionId, String>,
    /// Looks of hooks, and at which action.
    looks: BTreeMap<Seq, Seq>,
    /// Why a hook is against an action, in its own words.
    words: BTreeMap<(Seq, String), String>,
    /// Why a hook is against what an agent is told or answers, by the step of its look.
    against: BTreeMap<String, String>,
}

impl Telling<'_> {
    fn take(&mut self, record: &Record) {
        let at = rfc3339(record.event.at);
        match &record.event.body {
            Body::Proposed { step, operation, attempt, because, .. } => {
                if let Role::Companion { of, .. } = because
                    && because.is_hook()
                {
                    self.looks.insert(record.event.seq, *of);
                }
                let seen = (step.clone(), operation.to_string(), *attempt);
                self.actions.insert(record.event.seq, seen);
            }
            Body::Returned { action, ended: Ended::Failed { .. }, .. } => {
                self.failed(*action, &record.event.body, at);
            }
            Body::Returned { action, ended: Ended::Done { output, .. }, .. }
                if self.is_look(*action) =>
            {
                self.looked(*action, output);
            }
            Body::Returned { action, ended: Ended::Done { output, .. }, .. } => {
                self.stood_in(*action, output);
            }
            Body::Rejected { action, stage, class, code } if *stage != Stage::Edited => {
                let words = self.words.get(&(*action, code.clone()));
                let words = words.map(|words| format!(": “{words}”")).unwrap_or_default();
                let said = format!("refused before anything left: {code}{words}");
                let trouble =
                    TroubleView { class: class.name().to_owned(), said, ..self.of(*action, at) };
                self.troubles.push(TroubleView { landed: Some("no".to_owned()), ..trouble });
            }
            Body::Marked { step, mark: Mark::Recovered { recovery, class, caveat, forbid } } => {
                self.recovered((step, class.name()), at, |trouble| {
                    trouble.recovery = Some(recovery.clone());
                    trouble.caveat.clone_from(caveat);
                    trouble.forbids = forbid.iter().map(ToString::to_string).collect();
                });
            }
            Body::Marked { step, mark: Mark::Looked { hook, on, said } } => {
                self.held((step, *on), (hook, *said), at);
            }
            Body::Abandoned { step, class } => {
                self.recovered((step, class.name()), at, |trouble| {
                    trouble.recovery = Some("stop".to_owned());
                });
            }
            Body::Raised { exception, .. } => {
                self.recovered((&exception.step, exception.class.name()), at, |trouble| {
                    trouble.owner = Some(exception.owner.clone());
                    if exception.need == Need::Escalated {
                        trouble.recovery = Some("escalate".to_owned());
                    }
                });
                self.exceptions.insert(exception.id.clone(), exception.step.clone());
            }
            Body::Questioned { step, question, role, .. } => {
                if let Some(trouble) = self.last_of(step) {
                    trouble.owner = Some(role.clone());
                    self.questions.insert(question.clone(), step.clone());
                }
            }
            Body::Replied { .. } | Body::Lapsed { .. } | Body::Settled { .. } => {
                self.decided(&record.event.body, &at);
            }
            _ => {}
        }
    }

    /// A failure of this action, with nothing said yet.
    fn of(&self, action: Seq, at: String) -> TroubleView {
        let (step, operation, attempt) = self.actions.get(&action).cloned().unwrap_or_default();
        let (action, operation, attempt) = (Some(action), Some(operation), Some(attempt));
        TroubleView { step, at, operation, action, attempt, ..TroubleView::default() }
    }

    fn failed(&mut self, action: Seq, body: &Body, at: String) {
        let Body::Returned { ended, .. } = body else { return };
        let Ended::Failed { class, landed, message, retry_after_ms, sample } = ended else {
            return;
        };
        let landed = match landed {
            Landed::No => "no",
            Landed::Unknown => "unknown",
            Landed::Yes => "yes",
        };
        self.troubles.push(TroubleView {
            class: class.name().to_owned(),
            landed: Some(landed.to_owned()),
            said: visible(message.value().as_str().unwrap_or_default()),
            retry_after_ms: *retry_after_ms,
            sample: sample.as_ref().map(|sealed| (*sealed.value()).clone()),
            ..self.of(action, at)
        });
    }

    /// Whether this is the call of a hook.
    fn is_look(&self, action: Seq) -> bool {
        let of_agent = |(_, operation, _): &(String, String, u32)| {
            operation.split('.').next() == Some(HOOK_CONNECTOR)
        };
        self.looks.contains_key(&action) || self.actions.get(&action).is_some_and(of_agent)
    }

    /// A hook has looked at an action, or at an agent.
    fn looked(&mut self, look: Seq, answer: &Sealed) {
        let Some((step, hook, _)) = self.actions.get(&look) else { return };
        let answer = answer.value();
        let Some(reason) = answer.get("reason").and_then(Value::as_str) else { return };
        match self.looks.get(&look) {
            Some(of) => self.words.insert((*of, hook.clone()), visible(reason)),
            None => self.against.insert(step.clone(), visible(reason)),
        };
    }

    /// A hook kept something from an agent, or took no answer of it: a failure of the agent's step.
    fn held(
        &mut self,
        (look, on): (&str, Moment),
        (hook, said): (&OperationId, Opinion),
        at: String,
    ) {
        let what = match on {
            Moment::Prompt if said != Opinion::Pass => "kept from the agent",
            Moment::Stop if said != Opinion::Pass => "the answer was not accepted",
            _ => return,
        };
        let words = self.against.get(look).map(|words| format!(": “{words}”"));
        let said = format!("{what}: {hook}{}", words.unwrap_or_default());
        let step = look.rsplit_once('/').map_or(look, |(agent, _)| agent).to_owned();
        let (class, operation) = (Class::PolicyError.name().to_owned(), Some(hook.to_string()));
        self.troubles.push(TroubleView { step, at, class, operation, said, ..Default::default() });
    }

    /// An answer came; after a fallback it stands in for the one that failed.
    fn stood_in(&mut self, action: Seq, output: &Sealed) {
        let Some((step, operation, _)) = self.actions.get(&action).cloned() else { return };
        let at = self.run.and_then(|run| run.operation(&operation.parse().ok()?));
        let at = at.and_then(|operation| Some(operation.contract.freshness.as_ref()?.at.clone()));
        let Some(trouble) = self.last_of(&step) else { return };
        if trouble.recovery.as_deref() != Some("fallback") || trouble.instead.is_some() {
            return;
        }
        let as_of = at.and_then(|at| output.value().pointer(&at).cloned());
        let trust = word(output.labels().join_all().trust);
        trouble.instead = Some(InsteadView { operation, trust, as_of });
    }

    fn decided(&mut self, body: &Body, at: &str) {
        let (step, decided) = match body {
            Body::Replied { question, by, .. } => {
                (self.questions.get(question), format!("{} answered at {at}", by.id))
            }
            Body::Lapsed { question } => {
                (self.questions.get(question), format!("nobody answered until {at}"))
            }
            Body::Settled { exception, by, settled, evidence } => {
                let verb = match settled {
                    Settled::Happened => "it happened",
                    Settled::DidNotHappen => "it did not happen",
                    Settled::Retry => "try again",
                    Settled::Use { .. } => "use this value",
                    Settled::Stop => "stop",
                    Settled::Close => "close",
                    Settled::Skip => "skip",
                    Settled::Rollback => "roll back",
                };
                let why = visible(evidence.value().as_str().unwrap_or_default());
                (self.exceptions.get(exception), format!("{} at {at}: {verb} ({why})", by.id))
            }
            _ => return,
        };
        let Some(step) = step.cloned() else { return };
        if let Some(trouble) = self.last_of(&step) {
            trouble.decided = Some(decided);
        }
    }

    fn last_of(&mut self, step: &str) -> Option<&mut TroubleView> {
        self.troubles.iter_mut().rfind(|trouble| trouble.step == step)
    }

    /// Notes a recovery at the failure of this step that has none yet; a check that failed shows here first.
    fn recovered(
        &mut self,
        (step, class): (&str, &str),
        at: String,
        note: impl FnOnce(&mut TroubleView),
    ) {
        let open = |trouble: &&mut TroubleView| trouble.step == step && trouble.recovery.is_none();
        if let Some(trouble) = self.troubles.iter_mut().rfind(open) {
            return note(trouble);
        }
        let (step, class) = (step.to_owned(), class.to_owned());
        let mut trouble = TroubleView { step, class, at, ..TroubleView::default() };
        note(&mut trouble);
        self.troubles.push(trouble);
    }
}
