//! Who looks after what waits for people: claimed, assigned, set aside. A courtesy among people. It gives
//! nobody a right and takes none: whether an answer counts is the core's to say.

use std::collections::BTreeMap;

use kernel::id::{At, ExceptionId, PrincipalId, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Document, Documents as _, Expected, Kept};

use super::{
    App, Caller, Right, approvals,
    exceptions::{self, GetException},
    parse_id,
    problem::{Kind, Problem},
    runs::{self, rfc3339},
    value::visible,
};

/// The kind of document a claim is kept as.
pub(super) const KIND: &str = "claim";

/// How long a claim is remembered, in milliseconds: longer than anything should wait.
const KEPT_MS: i64 = 90 * 24 * 3_600_000;

/// Longest note, in bytes.
const NOTE_BYTES_MAX: usize = 500;

/// Times a change is made again when somebody else made one meanwhile.
const TRIES: usize = 5;

/// Who looks after something that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// Who claimed it, or was assigned to it.
    #[serde(default)]
    pub claimed_by: Option<String>,
    /// Since when, RFC 3339 UTC.
    #[serde(default)]
    pub claimed_at: Option<String>,
    /// Who assigned it, where somebody else did.
    #[serde(default)]
    pub assigned_by: Option<String>,
    /// Who set it aside.
    #[serde(default)]
    pub aside_by: Option<String>,
    /// When, RFC 3339 UTC.
    #[serde(default)]
    pub aside_at: Option<String>,
    /// Why it was set aside, or what whoever is assigned should know.
    #[serde(default)]
    pub note: String,
}

/// What somebody does about an open ask.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimApproval {
    /// The ask.
    pub approval: String,
    /// `claim`, `assign`, `release`, `set_aside` or `take_up`.
    pub verb: Verb,
    /// The person it is assigned to, as `people` declares them.
    #[serde(default)]
    pub to: Option<String>,
    /// Why, or what they should know.
    #[serde(default)]
    pub note: String,
}

/// What somebody does about an open exception.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimException {
    /// The exception.
    pub exception: String,
    /// `claim`, `assign`, `release`, `set_aside` or `take_up`.
    pub verb: Verb,
    /// The person it is assigned to, as `people` declares them.
    #[serde(default)]
    pub to: Option<String>,
    /// Why, or what they should know.
    #[serde(default)]
    pub note: String,
}

/// What can be done about what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// The caller looks after it.
    Claim,
    /// Somebody else does.
    Assign,
    /// Nobody does.
    Release,
    /// It waits at the end of the list.
    SetAside,
    /// It waits in its place again.
    TakeUp,
}

/// A claim and what it is about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimView {
    /// The ask or the exception.
    pub id: String,
    /// Who looks after it.
    #[serde(flatten)]
    pub claim: Claim,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    holder: Option<(PrincipalId, At)>,
    assigned_by: Option<PrincipalId>,
    aside: Option<(PrincipalId, At)>,
    note: String,
}

impl Note {
    fn view(&self) -> Claim {
        let who = |one: &Option<(PrincipalId, At)>| one.as_ref().map(|(who, _)| who.to_string());
        let when = |one: &Option<(PrincipalId, At)>| one.as_ref().map(|(_, at)| rfc3339(*at));
        Claim {
            claimed_by: who(&self.holder),
            claimed_at: when(&self.holder),
            assigned_by: self.assigned_by.as_ref().map(ToString::to_string),
            aside_by: who(&self.aside),
            aside_at: when(&self.aside),
            note: visible(&self.note),
        }
    }
}

/// Claims, assigns, releases, sets aside or takes up an open ask.
///
/// # Errors
/// When it is not open, somebody else holds it, or nobody is called so.
pub async fn approval(
    app: &App,
    caller: &Caller,
    request: ClaimApproval,
) -> Result<ClaimView, Problem> {
    let get = approvals::GetApproval { approval: request.approval.clone() };
    let run = approvals::get(app, caller, get).await?.run;
    let change = Change { verb: request.verb, to: request.to, note: request.note };
    app.claim(caller, (&request.approval, &run), change).await
}

/// Claims, assigns, releases, sets aside or takes up an open exception.
///
/// # Errors
/// When it is not open, somebody else holds it, or nobody is called so.
pub async fn exception(
    app: &App,
    caller: &Caller,
    request: ClaimException,
) -> Result<ClaimView, Problem> {
    let id: ExceptionId = parse_id(&request.exception)?;
    let get = GetException { exception: id.to_string() };
    let found = exceptions::get(app, caller, get).await?.exception;
    if found.state != "open" {
        let detail = format!("{id} is not open any more");
        return Err(Problem::new(Kind::Conflict, "exception-settled", detail)
            .next("`harness exception get` shows how it was settled"));
    }
    let change = Change { verb: request.verb, to: request.to, note: request.note };
    app.claim(caller, (&request.exception, &found.run), change).await
}

struct Change {
    verb: Verb,
    to: Option<String>,
    note: String,
}

impl App {
    /// Who looks after each of these, where somebody does.
    pub(super) async fn claims(
        &self,
        caller: &Caller,
        ids: impl IntoIterator<Item = String>,
    ) -> Result<BTreeMap<String, Claim>, Problem> {
        let mut claims = BTreeMap::new();
        for id in ids {
            if let Some((note, _)) = self.claim_note(caller, &id).await? {
                claims.insert(id, note.view());
            }
        }
        Ok(claims)
    }

    async fn claim_note(&self, caller: &Caller, id: &str) -> Result<Option<(Note, u64)>, Problem> {
        let kept = self.store.document(caller.tenant(), KIND, id).await?;
        // What an older or newer build wrote differently is no claim: nothing hangs on it.
        let read = |kept: Kept| Some((serde_json::from_slice(&kept.body).ok()?, kept.version));
        Ok(kept.and_then(read))
    }

    async fn claim(
        &self,
        caller: &Caller,
        (id, run): (&str, &str),
        change: Change,
    ) -> Result<ClaimView, Problem> {
        for _ in 0..TRIES {
            let (mut note, expected) = match self.claim_note(caller, id).await? {
                Some((note, version)) => (note, Expected::Version(version)),
                None => (Note::default(), Expected::Any),
            };
            self.change_note(caller, &mut note, &change)?;
            let body = serde_json::to_vec(&note)
                .map_err(|e| Problem::new(Kind::Unexpected, "claim", e.to_string()))?;
            let due = Some(self.now() + KEPT_MS);
            let document = Document { kind: KIND, id: id.to_owned(), due, body };
            match self.store.keep(caller.tenant(), document, expected).await {
                Err(store::Error::Stale { .. }) => continue,
                kept => drop(kept?),
            }
            // Whoever has the list open sees it.
            let run: RunId = parse_id(run)?;
            let events = runs::view_of(self, caller, &run).await?.events;
            self.feed.tell(caller.tenant(), run, (events, "claimed"));
            return Ok(ClaimView { id: id.to_owned(), claim: note.view() });
        }
        let detail = format!("others change {id} at the same time");
        Err(Problem::new(Kind::TryAgain, "claim-busy", detail).next("try again"))
    }

    fn change_note(
        &self,
        caller: &Caller,
        note: &mut Note,
        change: &Change,
    ) -> Result<(), Problem> {
        if change.note.len() > NOTE_BYTES_MAX {
            let detail = format!("a note has at most {NOTE_BYTES_MAX} bytes");
            return Err(Problem::usage("note-too-long", detail).next("shorten it"));
        }
        let (me, now) = (&caller.principal().id, self.now());
        let others = note.holder.as_ref().map(|(who, _)| who).filter(|who| *who != me);
        match change.verb {
            Verb::Claim => {
                if let Some(other) = others {
                    return Err(held(other));
                }
                note.holder.get_or_insert((me.clone(), now));
            }
            Verb::Assign => {
                if let Some(other) = others.filter(|_| !caller.may(Right::Operate)) {
                    return Err(held(other));
                }
                let Some(to) = &change.to else {
                    return Err(Problem::usage("assign-to", "say who it is assigned to")
                        .at("/to")
                        .next("name a person that `people` declares"));
                };
                let to = self.config.person(to)?.id;
                note.assigned_by = (to != *me).then(|| me.clone());
                note.holder = Some((to, now));
            }
            Verb::Release => {
                if let Some(other) = others.filter(|_| !caller.may(Right::Operate)) {
                    return Err(held(other));
                }
                (note.holder, note.assigned_by) = (None, None);
            }
            Verb::SetAside => note.aside = Some((me.clone(), now)),
            Verb::TakeUp => note.aside = None,
        }
        note.note.clone_from(&change.note);
        Ok(())
    }

    /// Forgets what waits no more.
    pub(super) async fn sweep_claims(&self) {
        let Ok(old) = self.store.due_documents(KIND, self.now(), 1_000).await else { return };
        for document in old {
            drop(self.store.discard(&document.tenant, KIND, &document.id).await);
        }
    }
}

fn held(by: &PrincipalId) -> Problem {
    Problem::new(Kind::Conflict, "claimed", format!("{by} looks after it"))
        .next("ask them to release it, or have an operator assign it")
}
