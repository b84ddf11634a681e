//! What opened and closed since it was last looked, and who is to be told.
//!
//! Lists are the source, not the feed: what another process did to the store while nobody served is found
//! like anything else. Reading a little further back than to where it was last looked costs nothing, since
//! the same notice has the same name.

use std::collections::BTreeSet;

use kernel::{
    event::{Answered, Body, Record},
    id::{At, ExceptionId, RunId},
};
use store::{
    ApprovalEntry, Documents as _, ExceptionEntry, ExceptionFilter, Expected, PAGE_MAX, Page,
    Query as _, State as Listed,
};

use super::{
    Sort, Subject,
    outbox::{Channel, Entry, MARK, Mark, More, State, TOLD, Told, document, read},
};
use crate::app::{
    App, Caller,
    config::notify::{Happening, Notify},
    exceptions::word,
    parse_id,
    problem::Problem,
};

/// How much further back it is looked than to the last look, in milliseconds: a run's clock may be behind.
const OVERLAP_MS: i64 = 60_000;

/// Most items of a list that are read at a look.
const READ_MAX: usize = 100_000;

/// Most reminders that are due at a look.
const REMINDERS_MAX: usize = 1_000;

/// The name of the one mark.
const GATHERED: &str = "gathered";

/// How closely it is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// At everything that is open: the outbox may be older than the lists, channels may be new.
    Everything,
    /// At what is new.
    New,
}

impl App {
    /// Writes to the outbox what is to be told.
    pub(super) async fn gather(&self, look: Look) -> Result<(), Problem> {
        let (tenant, now) = (&self.config.tenant, self.now());
        if look == Look::Everything {
            self.recall().await?;
        }
        let mark = self.store.document(tenant, MARK, GATHERED).await?;
        let mark = mark.map(|kept| read::<Mark>(&kept.body)).transpose()?;
        let mut found = Vec::new();
        if let Some(Mark { at }) = mark {
            // Also what was closed meanwhile: it was opened, and that is told.
            found = self.listed(Listed::All, Some(at - OVERLAP_MS)).await?;
        }
        // Read after the others, so that whatever was found and is not here has been closed.
        let open = self.listed(Listed::Open, None).await?;
        let ids: BTreeSet<String> = open.iter().map(|subject| subject.id.clone()).collect();
        let is_whole = open.len() < READ_MAX;
        found.extend(open);
        let mut seen = BTreeSet::new();
        for subject in found {
            let is_known = self.notifier.known().contains_key(&subject.id);
            let is_open = ids.contains(&subject.id);
            let again = look == Look::Everything && is_open;
            if seen.insert(subject.id.clone()) && (!is_known || again) {
                self.tell_opened(subject).await?;
            }
        }
        if is_whole {
            let known: Vec<Told> = self.notifier.known().values().cloned().collect();
            let over = |told: &Told| !told.closed && !ids.contains(&told.subject.id);
            for told in known.into_iter().filter(over) {
                self.tell_closed(told).await?;
            }
        }
        let mark = document(MARK, (GATHERED, None), &Mark { at: now })?;
        self.store.keep(tenant, mark, Expected::Any).await?;
        Ok(())
    }

    /// Reads what was told to be open before this process began.
    async fn recall(&self) -> Result<(), Problem> {
        let mut after = None;
        loop {
            let page = self.store.documents(&self.config.tenant, TOLD, (after, PAGE_MAX)).await?;
            after = page.last().map(|kept| kept.id.clone());
            let is_last = page.len() < PAGE_MAX;
            for kept in page {
                let told: Told = read(&kept.body)?;
                self.notifier.known().insert(kept.id, told);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Approvals and exceptions of a list, down to those that opened at `since`.
    async fn listed(&self, state: Listed, since: Option<At>) -> Result<Vec<Subject>, Problem> {
        let tenant = &self.config.tenant;
        let mut subjects: Vec<Subject> = Vec::new();
        let is_old = |subject: &Subject| since.is_some_and(|since| subject.opened_at < since);
        let mut page = Page { after: None, limit: PAGE_MAX };
        loop {
            let listed = self.store.approvals(tenant, state, page).await?;
            subjects.extend(listed.items.into_iter().map(of_approval));
            page = Page { after: listed.next, limit: PAGE_MAX };
            let ends = page.after.is_none() || subjects.last().is_some_and(is_old);
            if ends || subjects.len() >= READ_MAX {
                break;
            }
        }
        let mut page = Page { after: None, limit: PAGE_MAX };
        loop {
            let wanted = (state, ExceptionFilter::default());
            let listed = self.store.exceptions(tenant, wanted, page).await?;
            subjects.extend(listed.items.into_iter().map(of_exception));
            page = Page { after: listed.next, limit: PAGE_MAX };
            let ends = page.after.is_none() || subjects.last().is_some_and(is_old);
            if ends || subjects.len() >= READ_MAX {
                break;
            }
        }
        subjects.retain(|subject| !is_old(subject));
        Ok(subjects)
    }

    async fn tell_opened(&self, subject: Subject) -> Result<(), Problem> {
        let (opened, _) = subject.sort.happenings();
        let before = self.notifier.known().get(&subject.id).cloned();
        for channel in self.channels(opened, &subject.roles) {
            self.enqueue(Entry { channel, ..self.entry(opened, &subject, More::default()) })
                .await?;
        }
        let new = Told { subject, reminded: Vec::new(), escalated: false, closed: false };
        let told = before.unwrap_or(new);
        let due = self.next_reminder(&told);
        self.keep_told(told, due).await
    }

    async fn tell_closed(&self, told: Told) -> Result<(), Problem> {
        let (_, closed) = told.subject.sort.happenings();
        // A journal that cannot be read is told by `doctor`; it must not keep everything else from being told.
        let ended = self.how_it_ended(&told.subject).await;
        let (state, by) = ended.unwrap_or_else(|_| ("closed".to_owned(), None));
        let more = More { state: Some(state), by, ..More::default() };
        let mut entry = self.entry(closed, &told.subject, more);
        for channel in self.channels(closed, &[]) {
            entry.channel = channel;
            self.enqueue(entry.clone()).await?;
        }
        // A look back may find it again: until then it is known.
        let due = self.now() + 2 * OVERLAP_MS;
        self.keep_told(Told { closed: true, ..told }, Some(due)).await
    }

    fn entry(&self, happening: Happening, subject: &Subject, more: More) -> Entry {
        let opened = [Happening::ApprovalOpened, Happening::ExceptionOpened];
        let at = if opened.contains(&happening) { subject.opened_at } else { self.now() };
        Entry {
            channel: Channel::Slack,
            happening: Some(happening),
            subject: subject.clone(),
            more,
            at,
            state: State::Waiting,
            tries: 0,
            trouble: None,
        }
    }

    /// Who is told of this. People are told what they can do something about, so not that it is over.
    fn channels(&self, happening: Happening, roles: &[String]) -> Vec<Channel> {
        channels(&self.config.notify, happening, roles)
    }

    /// Reminds of what is about to expire, and tells the next role.
    pub(super) async fn remind(&self) -> Result<(), Problem> {
        let due = self.store.due_documents(TOLD, self.now(), REMINDERS_MAX).await?;
        for kept in due {
            let mut told: Told = read(&kept.body)?;
            if told.closed {
                self.store.discard(&kept.tenant, TOLD, &kept.id).await?;
                self.notifier.known().remove(&kept.id);
                continue;
            }
            let subject = told.subject.clone();
            let passed = |percent: &u8| at_percent(&subject, *percent) <= Some(self.now());
            let notify = &self.config.notify;
            let marks = notify.remind_at.iter().copied().filter(passed);
            let new: Vec<u8> = marks.filter(|mark| !told.reminded.contains(mark)).collect();
            // Of several that passed while nobody looked, the latest says it all.
            if let Some(left) = new.iter().min().copied() {
                let more = More { left: Some(left), ..More::default() };
                for channel in self.channels(Happening::ApprovalReminder, &subject.roles) {
                    let more = more.clone();
                    let entry = self.entry(Happening::ApprovalReminder, &subject, more);
                    self.enqueue(Entry { channel, ..entry }).await?;
                }
            }
            told.reminded.extend(new);
            let escalate = notify.escalate.as_ref().filter(|rule| passed(&rule.at));
            if let Some(rule) = escalate.filter(|_| !told.escalated) {
                let next = subject.roles.iter().filter_map(|role| rule.to.get(role));
                for role in next.collect::<BTreeSet<_>>() {
                    self.escalate(&subject, rule.at, role).await?;
                }
                told.escalated = true;
            }
            let due = self.next_reminder(&told);
            self.keep_told(told, due).await?;
        }
        Ok(())
    }

    async fn escalate(&self, subject: &Subject, left: u8, role: &str) -> Result<(), Problem> {
        let escalated_to = Some(role.to_owned());
        let more = More { left: Some(left), escalated_to, ..More::default() };
        for channel in self.channels(Happening::ApprovalEscalated, &[role.to_owned()]) {
            let entry = self.entry(Happening::ApprovalEscalated, subject, more.clone());
            self.enqueue(Entry { channel, ..entry }).await?;
        }
        Ok(())
    }

    fn next_reminder(&self, told: &Told) -> Option<At> {
        let notify = &self.config.notify;
        let marks = notify.remind_at.iter().filter(|mark| !told.reminded.contains(mark));
        let escalate = notify.escalate.as_ref().filter(|_| !told.escalated).map(|rule| &rule.at);
        marks.chain(escalate).filter_map(|mark| at_percent(&told.subject, *mark)).min()
    }

    /// How something ended, and who ended it.
    pub(super) async fn how_it_ended(
        &self,
        subject: &Subject,
    ) -> Result<(String, Option<String>), Problem> {
        let run: RunId = parse_id(&subject.run)?;
        let caller = self.own_caller()?;
        let records = self.records(&caller, &run).await?;
        Ok(ending(&records, subject))
    }

    /// The harness itself, for reading what it tells.
    pub(super) fn own_caller(&self) -> Result<Caller, Problem> {
        let principal = kernel::principal::Principal {
            id: parse_id("service:harness-notices")?,
            kind: kernel::principal::Kind::Service,
            roles: ["viewer".to_owned()].into(),
        };
        Ok(Caller::of(self.config.tenant.clone(), principal, None))
    }
}

/// Who is told of this, as it is configured.
pub(super) fn channels(notify: &Notify, happening: Happening, roles: &[String]) -> Vec<Channel> {
    let wanted = notify.webhooks.iter().filter(|hook| hook.events.contains(&happening));
    let mut channels: Vec<Channel> =
        wanted.map(|hook| Channel::Webhook { key: hook.key.clone() }).collect();
    if [Happening::ApprovalClosed, Happening::ExceptionClosed].contains(&happening) {
        return channels;
    }
    if let Some(mail) = &notify.mail {
        let listed = roles.iter().map(|role| match mail.to.contains_key(role) {
            true => role.as_str(),
            false => "*",
        });
        let listed: BTreeSet<&str> = listed.filter(|role| mail.to.contains_key(*role)).collect();
        channels.extend(listed.into_iter().map(|role| Channel::Mail { role: role.to_owned() }));
    }
    channels.extend(notify.slack.is_some().then_some(Channel::Slack));
    channels
}

/// When this percentage of an ask's time is left.
fn at_percent(subject: &Subject, percent: u8) -> Option<At> {
    let expires_at = subject.expires_at?;
    let whole = expires_at.saturating_sub(subject.opened_at).max(0);
    Some(expires_at - whole / 100 * i64::from(percent))
}

fn of_approval(entry: ApprovalEntry) -> Subject {
    let row = entry.row;
    Subject {
        sort: Sort::Approval,
        id: row.id.to_string(),
        run: entry.run.to_string(),
        step: row.step,
        about: row.sort,
        class: None,
        roles: row.roles,
        opened_at: row.opened_at,
        expires_at: Some(row.expires_at),
    }
}

fn of_exception(entry: ExceptionEntry) -> Subject {
    let exception = entry.exception;
    Subject {
        sort: Sort::Exception,
        id: exception.id.to_string(),
        run: entry.run.to_string(),
        step: exception.step,
        about: word(exception.need),
        class: Some(exception.class.name().to_owned()),
        roles: vec![exception.owner],
        opened_at: exception.at,
        expires_at: None,
    }
}

/// The word for how it ended, and whose deed it was.
fn ending(records: &[Record], subject: &Subject) -> (String, Option<String>) {
    let exception: Option<ExceptionId> = subject.id.parse().ok();
    let mut found = ("closed".to_owned(), None);
    for record in records {
        match &record.event.body {
            Body::Answered { approval, by, answer, .. } if approval.as_str() == subject.id => {
                let state = match answer {
                    Answered::Approved => "approved",
                    Answered::Denied { .. } => "denied",
                    Answered::Edited { .. } => "edited",
                };
                found = (state.to_owned(), Some(by.id.to_string()));
            }
            Body::Replied { question, by, .. } if question.as_str() == subject.id => {
                found = ("answered".to_owned(), Some(by.id.to_string()));
            }
            Body::Lapsed { question } if question.as_str() == subject.id => {
                found = ("expired".to_owned(), None);
            }
            Body::Settled { exception: id, by, .. } if Some(id) == exception.as_ref() => {
                found = ("settled".to_owned(), Some(by.id.to_string()));
            }
            _ => {}
        }
    }
    let is_late =
        subject.expires_at.zip(records.last()).is_some_and(|(until, last)| last.event.at >= until);
    if found.1.is_none() && is_late {
        found.0 = "expired".to_owned();
    }
    found
}
