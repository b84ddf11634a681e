//! `[notify]`: who is told when something waits for a person, by webhook, mail and Slack.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Person;
use crate::app::problem::Problem;

/// Most webhooks.
const WEBHOOKS_MAX: usize = 16;

/// Most roles that mail is sent to, and most people of Slack.
const NAMES_MAX: usize = 1_000;

/// Most reminders of one ask.
const REMINDERS_MAX: usize = 5;

/// Tries of one notice where `tries` does not say: over ten hours with the usual waits.
const TRIES: u32 = 12;

/// Most tries that may be declared.
const TRIES_MAX: u32 = 100;

/// Wait after a first failure where `retry_ms` does not say, in milliseconds.
const RETRY_MS: i64 = 15_000;

/// What can be told.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Happening {
    /// Somebody is asked.
    #[serde(rename = "approval.opened")]
    ApprovalOpened,
    /// Nobody has answered yet, and time runs out.
    #[serde(rename = "approval.reminder")]
    ApprovalReminder,
    /// As a reminder, to the next role.
    #[serde(rename = "approval.escalated")]
    ApprovalEscalated,
    /// It was answered, has expired, or is not needed any more.
    #[serde(rename = "approval.closed")]
    ApprovalClosed,
    /// A run needs a person.
    #[serde(rename = "exception.opened")]
    ExceptionOpened,
    /// It needs nobody any more.
    #[serde(rename = "exception.closed")]
    ExceptionClosed,
    /// A run has something to say to people.
    #[serde(rename = "notice.posted")]
    NoticePosted,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ApprovalOpened,
        Self::ApprovalReminder,
        Self::ApprovalEscalated,
        Self::ApprovalClosed,
        Self::ExceptionOpened,
        Self::ExceptionClosed,
        Self::NoticePosted,
    ];

    /// As it stands in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApprovalOpened => "approval.opened",
            Self::ApprovalReminder => "approval.reminder",
            Self::ApprovalEscalated => "approval.escalated",
            Self::ApprovalClosed => "approval.closed",
            Self::ExceptionOpened => "exception.opened",
            Self::ExceptionClosed => "exception.closed",
            Self::NoticePosted => "notice.posted",
        }
    }
}

/// `[notify]`, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyFile {
    /// Programs that are told, signed as Standard Webhooks says.
    pub webhook: Vec<WebhookFile>,
    /// People who are told by mail.
    pub mail: Option<MailFile>,
    /// A Slack channel.
    pub slack: Option<SlackFile>,
    /// Hosts that may be in a private network; all others must be public.
    pub private_hosts: Vec<String>,
    /// Tries of one notice before it is given up, and shown by `harness doctor`. By default 12.
    pub tries: Option<u32>,
    /// Wait after the first failure, in milliseconds; it doubles up to an hour. By default 15000.
    pub retry_ms: Option<i64>,
    /// Remind when these percentages of an ask's time are left, such as `[50, 10]`; none by default.
    pub remind_at: Vec<u8>,
    /// Tell somebody else when an ask is about to expire.
    pub escalate: Option<EscalateFile>,
}

/// `[[notify.webhook]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookFile {
    /// Where to: `https://…`, or a reference to it.
    pub url: String,
    /// What signs it: `env:NAME` or `file:PATH` of a `whsec_…`.
    pub secret: String,
    /// What it is told; everything by default.
    #[serde(default)]
    pub events: Vec<Happening>,
}

/// `[notify.mail]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailFile {
    /// A declared system of kind `smtp`.
    pub system: String,
    /// Who sends, such as `Harness <harness@example.org>`.
    pub from: String,
    /// Addresses by the role that is asked; `*` for roles that are not listed.
    pub to: BTreeMap<String, Vec<String>>,
}

/// `[notify.slack]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlackFile {
    /// The channel's incoming webhook: `https://…`, or a reference to it.
    pub url: String,
    /// What Slack signs its requests to `/hooks/slack` with: `env:NAME` or `file:PATH`.
    pub signing_secret: String,
    /// Who somebody is: member id to a name of `[people]`.
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    /// What the channel sees.
    #[serde(default)]
    pub show: Show,
}

/// What a Slack channel sees of an ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// That there is one, and where; nobody decides on what they have not seen, so there are no buttons.
    #[default]
    Ids,
    /// The card with its values, and buttons that decide exactly that.
    Card,
}

/// `[notify.escalate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalateFile {
    /// When this percentage of an ask's time is left.
    pub at: u8,
    /// The role that is told then, by the role that was asked; it gets no right by it.
    pub to: BTreeMap<String, String>,
}

/// Where something is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// As written.
    Plain(String),
    /// The value of this secret.
    Secret(String),
}

/// A webhook in force.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Tells it from the others for as long as its address stays the same.
    pub key: String,
    /// Where to.
    pub address: Address,
    /// Name of the secret that signs.
    pub secret: String,
    /// What it is told.
    pub events: BTreeSet<Happening>,
}

/// Slack in force.
#[derive(Clone, Debug)]
pub struct Slack {
    /// Where to.
    pub address: Address,
    /// Name of the secret that Slack signs with.
    pub secret: String,
    /// Member id to a declared name.
    pub users: BTreeMap<String, String>,
    /// What the channel sees.
    pub show: Show,
}

/// `[notify]` in force.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Programs.
    pub webhooks: Vec<Webhook>,
    /// People by mail.
    pub mail: Option<MailFile>,
    /// A channel.
    pub slack: Option<Slack>,
    /// Hosts that may be in a private network.
    pub private_hosts: Vec<String>,
    /// Tries of one notice.
    pub tries: u32,
    /// Wait after the first failure, in milliseconds.
    pub retry_ms: i64,
    /// Percentages left at which somebody is reminded, most first.
    pub remind_at: Vec<u8>,
    /// Whom else to tell, and when.
    pub escalate: Option<EscalateFile>,
    /// Secret references by the names used here.
    pub secrets: Vec<(String, String)>,
}

impl Notify {
    pub(super) fn of(
        file: &NotifyFile,
        people: &BTreeMap<String, Person>,
        absolute: impl Fn(&str) -> String,
    ) -> Result<Self, Problem> {
        let mut secrets = Vec::new();
        let mut secret = |name: String, reference: &str| {
            secrets.push((name.clone(), absolute(reference)));
            name
        };
        let mut webhooks = Vec::new();
        for (index, webhook) in file.webhook.iter().enumerate() {
            let events = match webhook.events.is_empty() {
                true => Happening::ALL.into(),
                false => webhook.events.iter().copied().collect(),
            };
            webhooks.push(Webhook {
                key: format!("webhook {}", webhook.url),
                address: address(&webhook.url, |reference| {
                    secret(format!("notify.webhook.{index}.url"), reference)
                }),
                secret: secret(format!("notify.webhook.{index}.secret"), &webhook.secret),
                events,
            });
        }
        let slack = file.slack.as_ref().map(|slack| Slack {
            address: address(&slack.url, |reference| {
                secret("notify.slack.url".to_owned(), reference)
            }),
            secret: secret("notify.slack.signing_secret".to_owned(), &slack.signing_secret),
            users: slack.users.clone(),
            show: slack.show,
        });
        check(file, people)?;
        let mut remind_at = file.remind_at.clone();
        remind_at.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Self {
            webhooks,
            mail: file.mail.clone(),
            slack,
            private_hosts: file.private_hosts.clone(),
            tries: file.tries.unwrap_or(TRIES),
            retry_ms: file.retry_ms.unwrap_or(RETRY_MS),
            remind_at,
            escalate: file.escalate.clone(),
            secrets,
        })
    }

    /// Whether anybody is told anything.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.webhooks.is_empty() || self.mail.is_some() || self.slack.is_some()
    }
}

fn address(text: &str, secret: impl FnOnce(&str) -> String) -> Address {
    if text.starts_with("env:") || text.starts_with("file:") {
        return Address::Secret(secret(text));
    }
    Address::Plain(text.to_owned())
}

fn check(file: &NotifyFile, people: &BTreeMap<String, Person>) -> Result<(), Problem> {
    let refuse = |detail: String, next: &str| {
        Err(Problem::usage("notify-invalid", detail).next(next.to_owned()))
    };
    let urls: BTreeSet<&str> = file.webhook.iter().map(|webhook| webhook.url.as_str()).collect();
    if urls.len() < file.webhook.len() || urls.len() > WEBHOOKS_MAX {
        let detail = format!("at most {WEBHOOKS_MAX} webhooks, each with another url");
        return refuse(detail, "merge their `events`, or take some away");
    }
    let percents = file.remind_at.iter().chain(file.escalate.as_ref().map(|e| &e.at));
    if file.remind_at.len() > REMINDERS_MAX || percents.into_iter().any(|p| !(1..=99).contains(p)) {
        let detail = format!("at most {REMINDERS_MAX} reminders, at 1 to 99 percent of time left");
        return refuse(detail, "write `remind_at = [50, 10]`");
    }
    let names = file.slack.iter().map(|slack| slack.users.len());
    let names = names.chain(file.mail.iter().map(|mail| mail.to.len()));
    if names.into_iter().any(|count| count > NAMES_MAX) {
        return refuse(format!("at most {NAMES_MAX} names"), "list fewer");
    }
    let mut users = file.slack.iter().flat_map(|slack| &slack.users);
    if let Some((user, name)) = users.find(|(_, name)| !people.contains_key(*name)) {
        let detail = format!("notify.slack.users says {user} is `{name}`, whom nobody declared");
        return refuse(detail, "declare them under [people], or correct the name");
    }
    if !(1..=TRIES_MAX).contains(&file.tries.unwrap_or(TRIES)) {
        return refuse(format!("notify.tries must be 1 to {TRIES_MAX}"), "leave it out for 12");
    }
    if file.retry_ms.is_some_and(|ms| !(1..=3_600_000).contains(&ms)) {
        return refuse("notify.retry_ms must be 1 to 3600000".to_owned(), "leave it out for 15000");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Notify, String> {
        let file: NotifyFile = toml::from_str(text).map_err(|e| e.to_string())?;
        let people = [("mira".to_owned(), Person::default())].into();
        Notify::of(&file, &people, str::to_owned).map_err(|problem| problem.detail)
    }

    #[test]
    fn nothing_is_told_unless_somebody_is_named() {
        assert!(!of("").unwrap().is_on());
        let one =
            of("remind_at = [10, 50]\n[[webhook]]\nurl = \"https://a\"\nsecret = \"env:A\"\n");
        let one = one.unwrap();
        assert!(one.is_on());
        assert_eq!(one.webhooks[0].events.len(), Happening::ALL.len());
        assert_eq!(one.remind_at, [50, 10]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let hook = "[[webhook]]\nurl = \"https://a\"\nsecret = \"env:A\"\n";
        for wrong in [
            "tries = 0",
            "retry_ms = 0",
            "remind_at = [0]",
            "remind_at = [100]",
            "remind_at = [9, 8, 7, 6, 5, 4]",
            &format!("{hook}{hook}"),
            "[[webhook]]\nurl = \"https://a\"\nsecret = \"env:A\"\nevents = [\"approval.opend\"]\n",
            "[slack]\nurl = \"https://a\"\nsigning_secret = \"env:A\"\nusers = { U1 = \"eve\" }\n",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_name_is_the_one_in_messages() {
        for happening in Happening::ALL {
            assert_eq!(serde_json::to_value(happening).unwrap(), happening.name());
        }
    }
}
