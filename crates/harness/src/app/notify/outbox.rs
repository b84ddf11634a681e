//! The outbox: what is to be said, to whom, and what became of it. Small documents beside the journal.

use kernel::{
    Digest,
    id::{At, Tenant},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store::{Document, Documents, Expected};

use super::Subject;
use crate::app::{
    App,
    config::notify::Happening,
    problem::{Kind, Problem},
};

/// The kind of document a notice is kept as.
pub(super) const NOTICE: &str = "notice";

/// The kind of document of what was told to be open.
pub(super) const TOLD: &str = "notice-told";

/// The kind of document of a notice that was given up.
pub(super) const LOST: &str = "notice-lost";

/// The kind of document that says until when it was looked for what to tell.
pub(super) const MARK: &str = "notice-mark";

/// How long a notice that was sent is remembered, in milliseconds, and longer while its subject is open:
/// for as long it is not told again.
pub(super) const REMEMBERED_MS: i64 = 7 * 24 * 3_600_000;

/// How long a notice that was given up is shown, in milliseconds.
const LOST_MS: i64 = 30 * 24 * 3_600_000;

/// Most notices that were given up which `doctor` looks at.
const LOST_MAX: usize = 200;

/// Whom a notice goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub(super) enum Channel {
    /// A program, by the webhook's key.
    Webhook { key: String },
    /// The people of a role.
    Mail { role: String },
    /// The channel.
    Slack,
    /// Whoever pressed a button, at the address that came with it.
    SlackReply { url: String },
}

impl Channel {
    /// Tells channels apart, without an address that may be a secret.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Webhook { key } => key.clone(),
            Self::Mail { role } => format!("mail {role}"),
            Self::Slack => "slack".to_owned(),
            Self::SlackReply { .. } => "slack reply".to_owned(),
        }
    }
}

/// How a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Waiting,
    Sent,
}

/// What else there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct More {
    /// Percentage of an ask's time that is left.
    pub(super) left: Option<u8>,
    /// The role that is told now.
    pub(super) escalated_to: Option<String>,
    /// How it ended.
    pub(super) state: Option<String>,
    /// Who ended it.
    pub(super) by: Option<String>,
    /// The text of a reply.
    pub(super) text: Option<String>,
}

/// One message to one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) channel: Channel,
    /// What happened; `None` for a reply.
    pub(super) happening: Option<Happening>,
    pub(super) subject: Subject,
    pub(super) more: More,
    /// When it happened.
    pub(super) at: At,
    pub(super) state: State,
    pub(super) tries: u32,
    /// Why it was not sent the last time.
    #[serde(default)]
    pub(super) trouble: Option<String>,
}

/// What was told to be open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) subject: Subject,
    /// Percentages left at which somebody was reminded, or need not be any more.
    #[serde(default)]
    pub(super) reminded: Vec<u8>,
    #[serde(default)]
    pub(super) escalated: bool,
    /// It is over; remembered for as long as a look back may find it again.
    #[serde(default)]
    pub(super) closed: bool,
}

/// Until when it was looked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) at: At,
}

impl App {
    /// Writes what somebody is to be told, once: whatever has this name already stands.
    pub(super) async fn enqueue(&self, entry: Entry) -> Result<(), Problem> {
        enqueue(&*self.store, (&self.config.tenant, self.now()), entry).await
    }

    /// Remembers that something is open, and when to look at it again.
    pub(super) async fn keep_told(&self, told: Told, due: Option<At>) -> Result<(), Problem> {
        let document = document(TOLD, (&told.subject.id, due), &told)?;
        self.store.keep(&self.config.tenant, document, Expected::Any).await?;
        self.notifier.known().insert(told.subject.id.clone(), told);
        Ok(())
    }

    /// Gives a notice up, where `doctor` shows it.
    pub(super) async fn give_up(&self, id: &str, entry: &Entry) -> Result<(), Problem> {
        let tenant = &self.config.tenant;
        let lost = document(LOST, (id, Some(self.now() + LOST_MS)), entry)?;
        self.store.keep(tenant, lost, Expected::Any).await?;
        self.store.discard(tenant, NOTICE, id).await?;
        Ok(())
    }

    /// Forgets notices that were given up long ago.
    pub(in crate::app) async fn sweep_notices(&self) {
        let Ok(old) = self.store.due_documents(LOST, self.now(), 1_000).await else { return };
        for lost in old {
            drop(self.store.discard(&lost.tenant, LOST, &lost.id).await);
        }
    }

    /// What `doctor` says of notices: what is wrong with secrets, and what was given up.
    pub(in crate::app) async fn notice_troubles(
        &self,
    ) -> Result<(Vec<String>, Vec<String>), Problem> {
        let unresolved =
            self.notifier.outward.unresolved().iter().map(ToString::to_string).collect();
        let lost = self.store.documents(&self.config.tenant, LOST, (None, LOST_MAX)).await?;
        let mut told = Vec::new();
        for kept in lost {
            let entry: Entry = read(&kept.body)?;
            let what = entry.happening.map_or("a reply", Happening::name);
            let why = entry.trouble.unwrap_or_default();
            let (id, channel) = (&entry.subject.id, entry.channel.key());
            let tries = crate::app::value::counted(entry.tries, "try").replace("trys", "tries");
            told.push(format!("{what} of {id} to {channel}, after {tries}: {why}"));
        }
        Ok((unresolved, told))
    }
}

/// Writes what somebody is to be told, once and from now on: whatever has this name already stands.
pub(super) async fn enqueue(
    store: &dyn Documents,
    (tenant, now): (&Tenant, At),
    entry: Entry,
) -> Result<(), Problem> {
    let id = name_of(&entry, tenant.as_str());
    for kind in [NOTICE, LOST] {
        if store.document(tenant, kind, &id).await?.is_some() {
            return Ok(());
        }
    }
    let document = document(NOTICE, (&id, Some(now)), &entry)?;
    match store.keep(tenant, document, Expected::Absent).await {
        Ok(_) | Err(store::Error::Stale { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The message's name: the same message has the same, whenever and however often it is found.
fn name_of(entry: &Entry, tenant: &str) -> String {
    let happening = entry.happening.map_or("reply", Happening::name);
    let left = entry.more.left.map(|left| left.to_string()).unwrap_or_default();
    let to = match &entry.channel {
        Channel::SlackReply { url } => format!("slack reply {url} {}", entry.at),
        other => other.key(),
    };
    let parts = [tenant, happening, &entry.subject.id, &left, &to].map(str::as_bytes);
    let name = Digest::of_parts("harness/notice/v1", &parts).hex();
    format!("msg_{}", name.get(..32).unwrap_or(&name))
}

pub(super) fn document<T: Serialize>(
    kind: &'static str,
    (id, due): (&str, Option<At>),
    body: &T,
) -> Result<Document, Problem> {
    let body = serde_json::to_vec(body).map_err(unreadable)?;
    Ok(Document { kind, id: id.to_owned(), due, body })
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::new(Kind::Unexpected, "notice-unreadable", error.to_string())
        .next("`harness doctor` checks the store")
}
