//! Asks: what a person is shown, and what they answer.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

use kernel::{
    Digest, RunId, canon,
    decision::Rule,
    id::{ApprovalId, At, PrincipalId},
    input::{self, Input},
    operation::Undo,
    port::Task,
    principal::{Kind, Principal},
    run::AskView,
};
use serde::Serialize;
use serde_json::Value;

use crate::Error;

/// Who answers when an answer does not say.
pub const APPROVER: &str = "person:approver";

/// The role of whoever answers when an answer does not say.
pub const APPROVER_ROLE: &str = "approver";

/// A call that waits for a person. The answer binds to exactly this: any change asks again.
#[derive(Clone, Debug, Serialize)]
pub struct Ask {
    /// The ask's id.
    pub id: ApprovalId,
    /// The run.
    pub run: RunId,
    /// The tool.
    pub tool: String,
    /// The arguments.
    pub args: Arc<Value>,
    /// Whether an untrusted input had a part in the arguments.
    pub untrusted: bool,
    /// How it can be taken back.
    pub undo: Undo,
    /// The rules that ask, with their reasons.
    pub why: Vec<Rule>,
    /// Role → how many people.
    pub needs: BTreeMap<String, u32>,
    /// Until when an answer counts, in ms since the Unix epoch.
    pub expires_at: At,
    /// Digest of the action that is asked about.
    pub action: Digest,
}

impl Ask {
    pub(crate) fn of(run: &RunId, view: AskView) -> Self {
        let action = view.action;
        let id = action.operation.id.as_str();
        Self {
            id: view.id,
            run: run.clone(),
            tool: id.split_once('.').map_or(id, |(_, tool)| tool).to_owned(),
            args: action.args,
            untrusted: action.arg_labels.join_all().is_tainted(),
            undo: action.undo,
            why: action.decision.map(|decision| decision.rules).unwrap_or_default(),
            needs: view.requirement.approvals,
            expires_at: view.expires_at,
            action: action.digest.unwrap_or_default(),
        }
    }

    /// The input that hands an answer in.
    pub(crate) fn input(&self, answer: Answer) -> Result<Input, Error> {
        let by = match answer.by {
            Some(by) => by,
            None => person(APPROVER, &[APPROVER_ROLE])?,
        };
        Ok(Input::Answer {
            approval: self.id.clone(),
            action: self.action,
            shown: canon::digest(self).unwrap_or_default(),
            by,
            answer: answer.answer,
        })
    }
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    answer: input::Answer,
    by: Option<Principal>,
}

impl Answer {
    /// Yes, to exactly this.
    #[must_use]
    pub fn approve() -> Self {
        Self { answer: input::Answer::Approve, by: None }
    }

    /// No; the model is told that a person refused, never why.
    #[must_use]
    pub fn deny(reason: &str) -> Self {
        Self { answer: input::Answer::Deny { reason: reason.to_owned() }, by: None }
    }

    /// Not this, but with these arguments: a new proposal, which is judged and asked about again.
    #[must_use]
    pub fn edit(args: Value) -> Self {
        Self { answer: input::Answer::Edit { args: Arc::new(args) }, by: None }
    }

    /// Who answers. Absent: [`APPROVER`] in the role `approver`.
    #[must_use]
    pub fn by(mut self, person: Principal) -> Self {
        self.by = Some(person);
        self
    }
}

/// A person by id and roles, such as `person("person:mira", &["finance"])`.
///
/// # Errors
/// When the id is none.
pub fn person(id: &str, roles: &[&str]) -> Result<Principal, Error> {
    let id = id.parse::<PrincipalId>().map_err(|e| Error::Agent(e.to_string()))?;
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Ok(Principal { id, kind: Kind::Person, roles })
}

type Answering = dyn Fn(Ask) -> Task<'static, Answer> + Send + Sync;

/// Whoever is asked.
#[derive(Clone)]
pub(crate) struct Approver(Arc<Answering>);

impl Approver {
    pub(crate) fn new<F, W>(ask: F) -> Self
    where
        F: Fn(Ask) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        Self(Arc::new(move |one| Box::pin(ask(one))))
    }

    /// Asks; an approver that panics has said no.
    pub(crate) async fn ask(&self, one: Ask) -> Answer {
        let asking = tokio::spawn((self.0)(one));
        asking.await.unwrap_or_else(|_| Answer::deny("whoever is asked stopped unexpectedly"))
    }
}

impl fmt::Debug for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Approver(..)")
    }
}
