//! Works the outbox off: each notice until it has arrived, a few at a time to each channel, so that one
//! that is slow or dead holds up nobody else. Nothing is noted before it is sent: a process that dies in
//! between sends the same notice again, under the same name.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use connect::{
    Notice,
    outward::{Ask, Reply},
};
use futures_util::stream::FuturesUnordered;
use kernel::id::At;
use store::{Documents as _, Expected, Kept};

use super::{
    Sort,
    outbox::{Channel, Entry, NOTICE, REMEMBERED_MS, State, document, read},
    words,
};
use crate::app::{
    App,
    config::notify::{Address, Show},
    problem::Problem,
};

/// Notices on their way to one channel at a time.
const PER_CHANNEL_MAX: usize = 4;

/// Notices that are due which are looked at in one go.
const DUE_MAX: usize = 1_000;

/// How long a notice stands aside when there are more than can be looked at, in milliseconds.
const ASIDE_MS: i64 = 30_000;

/// Longest wait between two tries, in milliseconds.
const WAIT_MAX_MS: i64 = 3_600_000;

/// Tries of a reply to somebody who pressed a button: later nobody looks for it.
const REPLY_TRIES: u32 = 5;

/// What is on its way.
#[derive(Default)]
pub(super) struct Round<'a> {
    pub(super) sending: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send + 'a>>>,
    /// Ids on their way, with their channels.
    under_way: BTreeMap<String, String>,
}

/// A notice whose try has ended, and been noted.
pub(super) struct Done {
    id: String,
}

impl Round<'_> {
    pub(super) fn end(&mut self, done: &Done) {
        self.under_way.remove(&done.id);
    }

    fn is_full(&self, channel: &str) -> bool {
        self.under_way.values().filter(|busy| *busy == channel).count() >= PER_CHANNEL_MAX
    }
}

/// How a try ended.
enum Ended {
    /// It arrived.
    Sent,
    /// There is nobody to tell any more, or nothing.
    Moot,
    /// It did not arrive, or nobody knows.
    Failed { why: String, wait_ms: Option<i64> },
    /// The other side wants no more of it.
    Refused(String),
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self::Failed { why, wait_ms: None }
    }
}

impl App {
    /// Begins to send what is due and has a free place.
    pub(super) async fn begin_sending<'a>(&'a self, round: &mut Round<'a>) -> Result<(), Problem> {
        let due = self.store.due_documents(NOTICE, self.now(), DUE_MAX).await?;
        let is_crowded = due.len() >= DUE_MAX;
        for kept in due {
            if round.under_way.contains_key(&kept.id) {
                continue;
            }
            let entry: Entry = match read(&kept.body) {
                Ok(entry) => entry,
                Err(problem) => {
                    tracing::warn!(notice = %kept.id, %problem, "a notice cannot be read");
                    continue;
                }
            };
            if entry.state == State::Sent {
                self.forget(&kept, &entry).await?;
                continue;
            }
            let channel = entry.channel.key();
            if !round.is_full(&channel) {
                round.under_way.insert(kept.id.clone(), channel);
                round.sending.push(Box::pin(self.send(kept, entry)));
            } else if is_crowded {
                // What waits for one channel must not hide what others wait for.
                let later = document(NOTICE, (&kept.id, Some(self.now() + ASIDE_MS)), &entry)?;
                self.store.keep(&kept.tenant, later, Expected::Version(kept.version)).await?;
            }
        }
        Ok(())
    }

    /// Forgets a notice that was sent long ago, unless what it says still holds.
    async fn forget(&self, kept: &Kept, entry: &Entry) -> Result<(), Problem> {
        let is_open = self.notifier.known().get(&entry.subject.id).is_some_and(|told| !told.closed);
        if is_open {
            let later = document(NOTICE, (&kept.id, Some(self.now() + REMEMBERED_MS)), entry)?;
            self.store.keep(&kept.tenant, later, Expected::Version(kept.version)).await?;
        } else {
            self.store.discard(&kept.tenant, NOTICE, &kept.id).await?;
        }
        Ok(())
    }

    async fn send(&self, kept: Kept, entry: Entry) -> Done {
        let ended = match self.deliver(&kept.id, &entry).await {
            Ok(ended) | Err(ended) => ended,
        };
        let id = kept.id.clone();
        if let Err(problem) = self.note(kept, entry, ended).await {
            // Sent again, then, under the same name.
            tracing::warn!(notice = %id, %problem, "what became of a notice could not be noted");
        }
        Done { id }
    }

    async fn note(&self, kept: Kept, entry: Entry, ended: Ended) -> Result<(), Problem> {
        let mut entry = Entry { tries: entry.tries.saturating_add(1), ..entry };
        let is_reply = matches!(entry.channel, Channel::SlackReply { .. });
        let due = match ended {
            Ended::Moot => return self.drop_notice(&kept).await,
            Ended::Sent if is_reply => return self.drop_notice(&kept).await,
            Ended::Sent => {
                (entry.state, entry.trouble) = (State::Sent, None);
                self.now() + REMEMBERED_MS
            }
            Ended::Refused(why) => {
                entry.trouble = Some(why);
                return self.give_up(&kept.id, &entry).await;
            }
            Ended::Failed { why, wait_ms } => {
                let tries = if is_reply { REPLY_TRIES } else { self.config.notify.tries };
                tracing::warn!(notice = %kept.id, channel = entry.channel.key(), why, "not told yet");
                entry.trouble = Some(why);
                if entry.tries >= tries {
                    return self.give_up(&kept.id, &entry).await;
                }
                let wait = wait_before(entry.tries, self.config.notify.retry_ms, chance());
                self.now() + wait.max(wait_ms.unwrap_or_default())
            }
        };
        let document = document(NOTICE, (&kept.id, Some(due)), &entry)?;
        self.store.keep(&kept.tenant, document, Expected::Version(kept.version)).await?;
        Ok(())
    }

    async fn drop_notice(&self, kept: &Kept) -> Result<(), Problem> {
        self.store.discard(&kept.tenant, NOTICE, &kept.id).await?;
        Ok(())
    }

    async fn deliver(&self, id: &str, entry: &Entry) -> Result<Ended, Ended> {
        match &entry.channel {
            Channel::Webhook { key } => self.deliver_webhook(key, id, entry).await,
            Channel::Mail { role } => self.deliver_mail(role, id, entry).await,
            Channel::Slack => self.deliver_slack(entry).await,
            Channel::SlackReply { url } => {
                let body = words::slack_reply(entry.more.text.as_deref().unwrap_or_default());
                self.post(url.clone(), Vec::new(), body).await
            }
        }
    }

    async fn deliver_webhook(&self, key: &str, id: &str, entry: &Entry) -> Result<Ended, Ended> {
        let Some(hook) = self.config.notify.webhooks.iter().find(|hook| hook.key == key) else {
            return Ok(Ended::Moot);
        };
        let body = words::webhook(entry, &self.link_to(&entry.subject), &self.config.tenant);
        let seconds = self.now() / 1_000;
        let signed =
            self.notifier.outward.sign_webhook(&hook.secret, (id, seconds), body.as_bytes());
        let signature = signed.map_err(|error| error.to_string())?;
        let headers = vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ];
        let url = self.address(&hook.address)?;
        self.post(url, headers, body).await
    }

    async fn deliver_mail(&self, role: &str, id: &str, entry: &Entry) -> Result<Ended, Ended> {
        let mail = self.config.notify.mail.as_ref();
        let listed = mail.and_then(|mail| Some((mail, mail.to.get(role)?)));
        let Some((mail, to)) = listed.filter(|_| self.is_worth_telling(entry)) else {
            return Ok(Ended::Moot);
        };
        let (subject, text) = words::mail(entry, &self.link_to(&entry.subject));
        let (system, from) = (mail.system.as_str(), mail.from.as_str());
        let notice = Notice { system, from, to, id, subject: &subject, text: &text };
        let sent = self.connectors.notify(&notice).await;
        sent.map(|()| Ended::Sent).map_err(|failure| Ended::Failed {
            why: failure.message,
            wait_ms: failure.retry_after_ms,
        })
    }

    async fn deliver_slack(&self, entry: &Entry) -> Result<Ended, Ended> {
        let Some(slack) = self.config.notify.slack.as_ref() else { return Ok(Ended::Moot) };
        if !self.is_worth_telling(entry) {
            return Ok(Ended::Moot);
        }
        let card = match slack.show {
            Show::Ids => None,
            // A card that is gone meanwhile is not worth telling either; the link says how it ended.
            Show::Card => self.card_of(&entry.subject).await,
        };
        let body = words::slack(entry, &self.link_to(&entry.subject), card.as_ref());
        let url = self.address(&slack.address)?;
        self.post(url, Vec::new(), body).await
    }

    /// People are not asked to decide what is decided.
    fn is_worth_telling(&self, entry: &Entry) -> bool {
        entry.subject.sort == Sort::Notice
            || self.notifier.known().get(&entry.subject.id).is_some_and(|told| !told.closed)
    }

    fn address(&self, address: &Address) -> Result<String, String> {
        match address {
            Address::Plain(url) => Ok(url.clone()),
            Address::Secret(name) => {
                self.notifier.outward.address(name).map_err(|error| error.to_string())
            }
        }
    }

    async fn post(
        &self,
        url: String,
        mut headers: Vec<(&'static str, String)>,
        body: String,
    ) -> Result<Ended, Ended> {
        headers.push(("content-type", "application/json".to_owned()));
        let ask = Ask { url, headers, body: Some(body.into_bytes()), login: None };
        let Reply { status, retry_after_ms, .. } =
            self.notifier.outward.ask(ask, self.now()).await?;
        match status {
            200..=299 => Ok(Ended::Sent),
            // What the specification of webhooks has for an address that is no more.
            410 => Ok(Ended::Refused("the receiver answered 410: it wants no more".to_owned())),
            _ => {
                let why = format!("the receiver answered {status}");
                Ok(Ended::Failed { why, wait_ms: retry_after_ms })
            }
        }
    }
}

/// How long to wait after so many tries, in milliseconds: twice as long each time, up to an hour, and
/// between half of it and all of it by chance, so that what failed together does not come back together.
fn wait_before(tries: u32, first_ms: i64, chance: u32) -> At {
    let doublings = tries.saturating_sub(1).min(20);
    let whole = first_ms.saturating_mul(1_i64 << doublings).min(WAIT_MAX_MS);
    let half = whole / 2;
    half + i64::from(chance) * (whole - half) / i64::from(u32::MAX)
}

fn chance() -> u32 {
    // Without chance nothing breaks: what failed together comes back together.
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_spread() {
        let waits: Vec<i64> = (1..=12).map(|tries| wait_before(tries, 15_000, u32::MAX)).collect();
        assert_eq!(waits[..4], [15_000, 30_000, 60_000, 120_000]);
        assert_eq!(waits[11], WAIT_MAX_MS);
        assert_eq!(wait_before(1, 15_000, 0), 7_500);
        assert_eq!(wait_before(u32::MAX, i64::MAX, u32::MAX), WAIT_MAX_MS);
        assert_eq!(wait_before(0, 1, 0), 0);
    }
}
